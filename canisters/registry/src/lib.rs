//! Nodes, stake, models: the registry canister.
//!
//! Endpoints only: let in, call the rule, answer. The rules are plain functions over [`state::State`], one file for each
//! subject; calls to the ledger are in [`ledger_calls`]. The interface is documented in `candid/registry.did`.

pub mod burning;
pub mod catalogue;
pub mod config;
pub mod feed;
pub mod guard;
pub mod heartbeat;
pub mod jail;
pub mod keys;
pub mod ledger_calls;
pub mod lifecycle;
pub mod listing;
pub mod metrics;
pub mod mining;
pub mod model_records;
pub mod parameter_log;
pub mod parameters;
pub mod postings;
pub mod purpose;
pub mod records;
pub mod register;
pub mod report;
pub mod stake;
pub mod state;
pub mod terms;
pub mod unbonding;

use candid::{Principal, candid_method};
use emc_protocol::feed::{Changes, ChangesArgs};
use emc_protocol::mining::{EpochSummary, MiningStatus, NodeEpoch};
use emc_protocol::model::{ModelFilter, ModelPage, ModelTerms, PublishModel};
use emc_protocol::node::{
    Node, NodeFilter, NodePage, RegisterNode, RegistryArgs, RegistryInfo, StakeArgs, UnstakeArgs,
    UpdateNode,
};
use emc_protocol::parameters::{ParameterLog, RegistryParameters};
use emc_protocol::report::{Report, ReportReply};
use emc_protocol::{ApiError, ModelEntry, ModelRef, Tokens};
use ic_cdk::api::{msg_caller, time};
use ic_cdk::{post_upgrade, query, update};
use ic_http_types::{HttpRequest, HttpResponse};
use mining::history;

#[ic_cdk::init]
fn init(args: RegistryArgs) {
    lifecycle::install(args);
}

#[post_upgrade]
fn post_upgrade(args: Option<RegistryArgs>) {
    lifecycle::upgrade(args);
}

#[ic_cdk::inspect_message]
fn inspect_message() {
    lifecycle::inspect();
}

/// Lets the caller of an update in, or answers why not. What has come of time is put into effect first.
fn admit(method: &str) -> Result<Principal, ApiError> {
    let caller = msg_caller();
    state::with(|state| {
        guard::admit(state, caller, method, time())?;
        parameters::settle(state, time());
        Ok(caller)
    })
}

/// Lends the state to a query, with everything that has come of time in effect: a query keeps nothing, the timer will.
fn look<R>(use_it: impl FnOnce(&state::State) -> R) -> R {
    state::with(|state| {
        parameters::settle(state, time());
        use_it(state)
    })
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn register_node(args: RegisterNode) -> Result<Node, ApiError> {
    let caller = admit("register_node")?;
    state::with(|state| {
        register::register(state, time(), caller, args)?;
        listing::node(state, caller)
    })
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn update_node(args: UpdateNode) -> Result<Node, ApiError> {
    let caller = admit("update_node")?;
    state::with(|state| {
        register::update(state, time(), caller, args)?;
        listing::node(state, caller)
    })
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn heartbeat() -> Result<(), ApiError> {
    let caller = admit("heartbeat")?;
    state::with(|state| heartbeat::heartbeat(state, time(), caller))
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
async fn stake(args: StakeArgs) -> Result<Node, ApiError> {
    let caller = admit("stake")?;
    ledger_calls::stake(caller, args).await
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn unstake(args: UnstakeArgs) -> Result<Node, ApiError> {
    let caller = admit("unstake")?;
    state::with(|state| {
        unbonding::unstake(state, time(), caller, &args)?;
        listing::node(state, args.node)
    })
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
async fn withdraw_unbonded(node: Principal, id: Option<u64>) -> Result<Tokens, ApiError> {
    let caller = admit("withdraw_unbonded")?;
    ledger_calls::withdraw_unbonded(caller, node, id).await
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn publish_model(model: PublishModel) -> Result<ModelEntry, ApiError> {
    let caller = admit("publish_model")?;
    state::with(|state| catalogue::publish(state, time(), caller, model))
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn list_model(model: ModelRef) -> Result<ModelEntry, ApiError> {
    let caller = admit("list_model")?;
    state::with(|state| catalogue::list(state, caller, &model))
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn retire_model(model: ModelRef) -> Result<ModelEntry, ApiError> {
    let caller = admit("retire_model")?;
    state::with(|state| catalogue::retire(state, caller, &model))
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn set_model_terms(model: ModelRef, terms: ModelTerms) -> Result<ModelEntry, ApiError> {
    let caller = admit("set_model_terms")?;
    state::with(|state| terms::set(state, time(), caller, &model, terms))
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn report(report: Report) -> Result<ReportReply, ApiError> {
    let caller = admit("report")?;
    state::with(|state| report::report(state, time(), caller, &report))
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn unjail(node: Principal) -> Result<Node, ApiError> {
    let caller = admit("unjail")?;
    state::with(|state| {
        jail::unjail(state, time(), caller, node)?;
        listing::node(state, node)
    })
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn set_parameters(parameters: RegistryParameters) -> Result<RegistryInfo, ApiError> {
    let caller = admit("set_parameters")?;
    state::with(|state| {
        parameters::set(state, time(), caller, &parameters)?;
        Ok(listing::info(state))
    })
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn cancel_parameters() -> Result<RegistryInfo, ApiError> {
    let caller = admit("cancel_parameters")?;
    state::with(|state| {
        parameters::cancel(state, time(), caller)?;
        Ok(listing::info(state))
    })
}

#[query]
fn info() -> RegistryInfo {
    look(listing::info)
}

#[query]
fn node(id: Principal) -> Result<Node, ApiError> {
    look(|state| listing::node(state, id))
}

#[query]
fn nodes(filter: NodeFilter) -> Result<NodePage, ApiError> {
    look(|state| Ok(listing::nodes(state, &filter)))
}

#[query]
fn model(model: ModelRef) -> Result<ModelEntry, ApiError> {
    look(|state| catalogue::model(state, &model))
}

#[query]
fn models(filter: ModelFilter) -> Result<ModelPage, ApiError> {
    look(|state| Ok(listing::models(state, &filter)))
}

#[query]
fn changes_since(args: ChangesArgs) -> Result<Changes, ApiError> {
    look(|state| Ok(feed::changes_since(state, time(), &args)))
}

#[query]
fn parameter_log(start: u64, limit: u32) -> ParameterLog {
    look(|state| parameter_log::page(state, start, limit))
}

#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
async fn withdraw_mining(amount: Option<Tokens>) -> Result<Tokens, ApiError> {
    let caller = admit("withdraw_mining")?;
    ledger_calls::withdraw_mining(caller, amount).await
}

#[query]
fn mining_status() -> MiningStatus {
    look(|state| history::status(state, time()))
}

#[query]
fn mining_history(start: u64, limit: u32) -> Vec<EpochSummary> {
    look(|state| history::epochs(state, start, limit))
}

#[query]
fn mining_of(node: Principal, before: Option<u64>, limit: u32) -> Vec<NodeEpoch> {
    look(|state| history::of_node(state, time(), node, before, limit))
}

#[query]
fn mining_earnings(owner: Principal) -> Tokens {
    look(|state| history::earnings(state, owner))
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
