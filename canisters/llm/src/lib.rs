//! An adapter with the interface of DFINITY's LLM canister: a dapp that uses that one can use the models of this market
//! by naming this canister instead.
//!
//! It holds no funds. The caller has EMC in the escrow and has named this canister there as its delegate, up to a limit;
//! every request becomes a job on the caller's balance. Endpoints only: the rules are plain functions, one file for each
//! subject; the calls to the escrow are in [`chat`]. Where there is no answer, the request is rejected with a text that
//! says what to do. The interface is documented in `candid/llm.did`.

pub mod chat;
pub mod choice;
pub mod config;
pub mod conversation;
pub mod interface;
pub mod lifecycle;
pub mod metrics;
pub mod places;
pub mod progress;
pub mod refusal;
pub mod state;

use crate::interface::{AssistantMessage, ChatRequestV0, ChatRequestV1, ChatResponseV1};
use crate::refusal::Refusal;
use candid::CandidType;
use emc_protocol::ApiError;
use emc_protocol::llm::{LlmArgs, LlmChange, LlmInfo};
use ic_cdk::api::{msg_caller, msg_deadline, msg_reject, msg_reply, time};
use ic_cdk::{post_upgrade, query, update};
use ic_http_types::{HttpRequest, HttpResponse};
use std::marker::PhantomData;

#[ic_cdk::init]
fn init(args: LlmArgs) {
    lifecycle::install(args);
}

#[post_upgrade]
fn post_upgrade(args: Option<LlmArgs>) {
    lifecycle::upgrade(args);
}

#[ic_cdk::inspect_message]
fn inspect_message() {
    lifecycle::inspect();
}

#[update(manual_reply = true)]
async fn v0_chat(request: ChatRequestV0) -> PhantomData<String> {
    let input = conversation::of_v0(request.messages);
    let (caller, ends) = (msg_caller(), msg_deadline().map(u64::from));
    reply(chat::answer(caller, ends, &request.model, input).await)
}

#[update(manual_reply = true)]
async fn v1_chat(request: ChatRequestV1) -> PhantomData<ChatResponseV1> {
    let input = conversation::of_v1(request.messages, request.tools);
    let (caller, ends) = (msg_caller(), msg_deadline().map(u64::from));
    let answer = chat::answer(caller, ends, &request.model, input).await;
    reply(answer.map(|text| ChatResponseV1 {
        message: AssistantMessage {
            content: Some(text),
            tool_calls: vec![],
        },
    }))
}

/// Replies, or rejects with the refusal's text.
fn reply<T: CandidType>(answer: Result<T, Refusal>) -> PhantomData<T> {
    match answer {
        Ok(value) => {
            msg_reply(candid::encode_one(value).expect("every answer of this interface encodes"));
        }
        Err(refusal) => msg_reject(refusal.to_string()),
    }
    PhantomData
}

#[update]
fn configure(change: LlmChange) -> Result<LlmInfo, ApiError> {
    state::with(|state| {
        let config = state.config.get().clone().configure(msg_caller(), change)?;
        state.config.set(config);
        Ok(about(state))
    })
}

#[query]
fn info() -> LlmInfo {
    state::with(|state| about(state))
}

fn about(state: &state::State) -> LlmInfo {
    let config = state.config.get();
    LlmInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        escrow: config.escrow,
        governor: config.governor,
        models: config.models(),
        settings: config.settings(),
        open: state.places.open(),
    }
}

#[query]
fn http_request(request: HttpRequest) -> HttpResponse {
    state::with(|state| metrics::http_request(state, time(), &request))
}

/// What the SDK's macro makes of the endpoints above.
#[allow(missing_docs, reason = "the macro's function has no documentation")]
mod exported {
    use super::*;
    ic_cdk::export_candid!();

    /// The interface as the code has it, in Candid.
    pub fn interface() -> String {
        __export_service()
    }
}

pub use exported::interface;
