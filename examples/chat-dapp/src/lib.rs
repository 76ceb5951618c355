//! A dapp that answers questions with the crate `ic-llm`, as it is published: only `with_canister` says that EMC's adapter
//! is to be asked, and not DFINITY's LLM canister.
//!
//! What it needs once: EMC in its escrow account (anyone can deposit for it), and `setup`, which lets the adapter spend
//! some of them. `docs/dapps.md` tells the whole way.

use std::cell::RefCell;

use candid::{CandidType, Principal};
use emc_protocol::account::SetDelegate;
use emc_protocol::{ApiError, Tokens};
use ic_cdk::api::{env_var_name_exists, env_var_value, is_controller, msg_caller, trap};
use ic_cdk::call::Call;
use ic_llm::ChatMessage;
use serde::Deserialize;

/// Whom this dapp talks to. The same argument is given at an upgrade; `icp deploy` needs none.
#[derive(CandidType, Deserialize, Clone, Copy)]
pub struct Canisters {
    escrow: Principal,
    llm: Principal,
}

thread_local! {
    static CANISTERS: RefCell<Option<Canisters>> = const { RefCell::new(None) };
}

#[ic_cdk::init]
fn init(canisters: Option<Canisters>) {
    let of_this_deployment = || Canisters {
        escrow: deployed("escrow"),
        llm: deployed("llm"),
    };
    CANISTERS.set(Some(canisters.unwrap_or_else(of_this_deployment)));
}

#[ic_cdk::post_upgrade]
fn post_upgrade(canisters: Option<Canisters>) {
    init(canisters);
}

/// The id that `icp deploy` has put into the environment.
fn deployed(name: &str) -> Principal {
    let variable = format!("PUBLIC_CANISTER_ID:{name}");
    let value = env_var_name_exists(&variable).then(|| env_var_value(&variable));
    value
        .and_then(|text| Principal::from_text(text).ok())
        .unwrap_or_else(|| trap(format!("name {name} in the argument, or set {variable}")))
}

fn canisters() -> Canisters {
    CANISTERS
        .with_borrow(|canisters| *canisters)
        .expect("init and post_upgrade set them")
}

/// Lets the adapter spend up to `limit` e8s of this dapp's escrow account, instead of what it still may; zero ends it.
/// For this dapp's controllers.
#[ic_cdk::update]
async fn setup(limit: Tokens) -> Result<(), String> {
    if !is_controller(&msg_caller()) {
        return Err("Only this dapp's controllers can do that.".into());
    }
    let permission = SetDelegate {
        delegate: canisters().llm,
        limit,
        expires: None,
    };
    let reply = Call::bounded_wait(canisters().escrow, "set_delegate")
        .with_arg(permission)
        .await;
    let reply = reply.map_err(|error| format!("The escrow does not answer: {error}"))?;
    let set: Result<(), ApiError> = reply.candid().map_err(|error| error.to_string())?;
    set.map_err(|error| error.to_string())
}

/// Answers a question. Whoever may call this spends this dapp's EMC, up to the limit: a real dapp would ask who it is.
#[ic_cdk::update]
async fn ask(question: String) -> String {
    let messages = vec![
        ChatMessage::System {
            content: "Answer in one sentence.".into(),
        },
        ChatMessage::User { content: question },
    ];
    let response = ic_llm::chat("llama3.1:8b")
        .with_canister(canisters().llm)
        .with_messages(messages)
        .send()
        .await;
    response.message.content.unwrap_or_default()
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
