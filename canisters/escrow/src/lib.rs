//! Accounts, jobs, settlement: the escrow canister. The endpoints, each thin: who calls, may it, the rule, the reply.
//!
//! The rules are plain functions over [`state::State`] that take `now` and `caller`; awaits are in `calls` and `pull`
//! only. `docs/protocol.md` is the page that the rules are tested against, `candid/escrow.did` the public contract.

pub mod audit;
pub mod bond;
pub mod books;
pub mod callback;
pub mod calls;
pub mod cancel;
mod canister;
pub mod claim;
pub mod delegate;
pub mod deliver;
pub mod deposit;
pub mod draw;
pub mod due;
pub mod feed;
pub mod guard;
pub mod http;
pub mod image;
pub mod install;
pub mod judge;
pub mod lease;
pub mod metrics;
pub mod mining_job;
pub mod mining_round;
pub mod movement;
pub mod native;
pub mod outage;
pub mod pace;
pub mod parameters;
pub mod pictures;
pub mod power;
pub mod pull;
pub mod quote;
pub mod receipts;
pub mod records;
pub mod report;
pub mod request_key;
pub mod retention;
pub mod secret;
pub mod settle;
pub mod state;
pub mod stored;
pub mod submit;
mod timers;
pub mod verdict;
pub mod view;
pub mod withdraw;

use crate::canister::{change, limits, now, read};
use candid::{Principal, candid_method};
use emc_protocol::account::{Delegate, SetDelegate, WithdrawReply, deposit_subaccount};
use emc_protocol::audit::{Audit, AuditSummary, AuditTask, CommitArgs, RevealArgs};
use emc_protocol::escrow::{EscrowArgs, EscrowInfo, Quote, QuoteArgs, ReceiptProof, ReceiptRecord};
use emc_protocol::job::{JobFilter, JobPage};
use emc_protocol::parameters::{EscrowParameterLog, EscrowParameters};
use emc_protocol::work::{
    ChunkArgs, ClaimArgs, DeclineArgs, DeliverArgs, DeliverReply, ExtendArgs, ExtendReply,
    ResultPart, ResultPartArgs, WorkSummary,
};
use emc_protocol::{
    AccountView, ApiError, ByteBuf, DepositArgs, DepositReply, Job, JobId, Lease, Ledgered,
    ModelRef, SubmitJob, SubmitReply, Totals, WithdrawArgs,
};
use ic_cdk::api::{
    accept_message, canister_cycle_balance, canister_self, certified_data_set, msg_caller,
};
use ic_cdk::{init, inspect_message, post_upgrade, query, update};
use ic_http_types::{HttpRequest, HttpResponse};
use ic_stable_structures::DefaultMemoryImpl;

/// The id of another canister of this deployment, where the deploying tool has put it in the environment.
fn find_canister(name: &str) -> Option<Principal> {
    let variable = format!("PUBLIC_CANISTER_ID:{name}");
    let set = ic_cdk::api::env_var_name_exists(&variable);
    Principal::from_text(set.then(|| ic_cdk::api::env_var_value(&variable))?).ok()
}

#[init]
fn init(args: EscrowArgs) {
    let config = install::configure(args, find_canister, msg_caller(), canister_self(), now());
    let config = config.unwrap_or_else(|error| ic_cdk::trap(error.to_string()));
    let memory = DefaultMemoryImpl::default();
    canister::set(state::State::create(
        memory,
        state::BUCKET_PAGES,
        config,
        now(),
    ));
    start();
}

#[post_upgrade]
fn post_upgrade(args: Option<EscrowArgs>) {
    let memory = DefaultMemoryImpl::default();
    let mut state = state::State::open(memory, state::BUCKET_PAGES, now())
        .unwrap_or_else(|error| ic_cdk::trap(error.to_string()));
    install::upgrade(&mut state, now(), msg_caller(), args)
        .unwrap_or_else(|error| ic_cdk::trap(error.to_string()));
    canister::set(state);
    start();
}

fn start() {
    certify();
    timers::start();
}

fn certify() {
    certified_data_set(read(|state| state.receipts.certified().digest()));
}

/// A filter against floods, run by one node only; the methods check again.
#[inspect_message]
fn inspect() {
    let verdict = read(|state| limits(|limits| guard::inspect(state, limits, now(), msg_caller())));
    match verdict {
        Ok(()) => accept_message(),
        Err(error) => ic_cdk::trap(error.to_string()),
    }
}

/// The caller, if it may call now.
fn enter() -> Result<Principal, ApiError> {
    let caller = msg_caller();
    read(|state| limits(|limits| guard::enter(state, limits, now(), caller)))?;
    Ok(caller)
}

// --- accounts ---

/// Credits EMC that the caller has approved to this canister (ICRC-2). May answer `pending`: it then resolves by
/// itself.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
async fn deposit(args: DepositArgs) -> Result<DepositReply, ApiError> {
    calls::deposit(enter()?, args).await
}

/// Credits what was transferred to a beneficiary's deposit account; exactly what is swept from there. Anyone may call
/// it.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
async fn notify_deposit(beneficiary: Principal) -> Result<DepositReply, ApiError> {
    enter()?;
    calls::notify_deposit(beneficiary).await
}

/// Pays out of the caller's available balance. May answer `pending`: it then resolves by itself.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
async fn withdraw(args: WithdrawArgs) -> Result<WithdrawReply, ApiError> {
    let caller = enter()?;
    calls::withdraw(caller, movement::Source::Available(caller), args).await
}

/// Pays out of the treasury; the treasury's principal only.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
async fn withdraw_treasury(args: WithdrawArgs) -> Result<WithdrawReply, ApiError> {
    let caller = enter()?;
    let source = read(|state| withdraw::treasury(state, caller))?;
    calls::withdraw(caller, source, args).await
}

/// An account's balances.
#[query]
fn account(owner: Principal) -> AccountView {
    read(|state| state.books.account(&owner).view())
}

/// Everything that the escrow holds.
#[query]
fn totals() -> Totals {
    read(|state| state.books.totals(state.journal.figures().open))
}

/// Where plain transfers for a beneficiary go; `notify_deposit` credits them.
#[query]
fn deposit_account(beneficiary: Principal) -> Ledgered {
    Ledgered {
        owner: canister_self(),
        subaccount: Some(ByteBuf::from(deposit_subaccount(beneficiary).to_vec())),
    }
}

// --- requesters ---

/// What a job would cost, and who could do it.
#[query]
fn quote(args: QuoteArgs) -> Result<Quote, ApiError> {
    read(|state| quote::quote(state, now(), &args))
}

/// Asks for a job and locks the most it may cost. With a request key a repeated call is harmless.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn submit_job(job: SubmitJob) -> Result<SubmitReply, ApiError> {
    let caller = enter()?;
    read(|state| match request_key::is_known(state, caller, &job) {
        // A repetition begins nothing new.
        true => Ok(()),
        false => guard::enough_cycles(state, canister_cycle_balance()),
    })?;
    let reply = change(|state| submit::submit(state, now(), caller, job));
    timers::arm();
    reply
}

/// Cancels a job: free while no node has it, else the progress shown so far is paid.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn cancel_job(job: JobId) -> Result<(), ApiError> {
    let caller = enter()?;
    let cancelled = change(|state| cancel::cancel(state, now(), caller, job)).map(drop);
    timers::arm();
    cancelled
}

/// Lets somebody submit jobs that the caller pays, up to a limit; a limit of zero takes the permission away.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn set_delegate(args: SetDelegate) -> Result<(), ApiError> {
    let caller = enter()?;
    change(|state| delegate::set(state, now(), caller, &args))
}

/// Who may submit jobs that an account pays.
#[query]
fn delegates(owner: Principal) -> Vec<Delegate> {
    read(|state| delegate::list(state, owner))
}

/// A job. Prompt and answer only for its requester, or with its capability.
#[query]
fn get_job(job: JobId, capability: Option<ByteBuf>) -> Result<Job, ApiError> {
    read(|state| {
        view::get_job(
            state,
            msg_caller(),
            job,
            capability.as_deref().map(|c| &c[..]),
        )
    })
}

/// A part of a result's canonical bytes, for results that are too large for `get_job`. For whom may read the result, and
/// for the validators that check it.
#[query]
fn result_part(args: ResultPartArgs) -> Result<ResultPart, ApiError> {
    read(|state| view::result_part(state, msg_caller(), &args))
}

/// A requester's jobs, newest first; the caller's own where no other is named.
#[query]
fn list_jobs(filter: JobFilter) -> Result<JobPage, ApiError> {
    read(|state| view::list_jobs(state, msg_caller(), &filter))
}

// --- nodes ---

/// How much work of these models waits; of all where none is named.
#[query]
fn work_available(models: Vec<ModelRef>) -> Result<Vec<WorkSummary>, ApiError> {
    read(|state| view::work_available(state, now(), &models))
}

/// Takes jobs; the escrow chooses which, the oldest that fit.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn claim(args: ClaimArgs) -> Result<Vec<Lease>, ApiError> {
    let caller = enter()?;
    let leases = change(|state| claim::claim(state, now(), caller, &args));
    timers::arm();
    leases
}

/// Renews a lease and shows a partial answer, at most every two seconds.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn extend(args: ExtendArgs) -> Result<ExtendReply, ApiError> {
    let caller = enter()?;
    let reply = change(|state| lease::extend(state, now(), caller, args));
    timers::arm();
    reply
}

/// Gives a lease back.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn decline(args: DeclineArgs) -> Result<(), ApiError> {
    let caller = enter()?;
    limits(|limits| guard::enter_decline(limits, now(), caller))?;
    let reply = change(|state| lease::decline(state, now(), caller, args));
    timers::arm();
    reply
}

/// Uploads a part of an output that is too large for one message, before `deliver`.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn upload_chunk(args: ChunkArgs) -> Result<(), ApiError> {
    let caller = enter()?;
    change(|state| deliver::upload_chunk(state, now(), caller, args)).map(drop)
}

/// Delivers a result with its signed receipt, and is paid.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn deliver(args: DeliverArgs) -> Result<DeliverReply, ApiError> {
    let caller = enter()?;
    let reply = change(|state| deliver::deliver(state, now(), caller, &args))?;
    certify();
    timers::arm();
    timers::arm_draw();
    Ok(reply)
}

// --- validators ---

/// The caller's audits that wait for it.
#[query]
fn audits() -> Result<Vec<AuditSummary>, ApiError> {
    Ok(read(|state| audit::list(state, msg_caller())))
}

/// What a validator needs to compute its vote; only for a member of the running round's committee.
#[query]
fn audit_task(job: JobId) -> Result<AuditTask, ApiError> {
    read(|state| audit::task(state, msg_caller(), job))
}

/// Commits to a vote.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn commit_vote(args: CommitArgs) -> Result<(), ApiError> {
    let caller = enter()?;
    let reply = change(|state| audit::commit(state, now(), caller, &args));
    timers::arm();
    timers::arm_draw();
    reply
}

/// Reveals a vote that the caller has committed to.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn reveal_vote(args: RevealArgs) -> Result<(), ApiError> {
    let caller = enter()?;
    let reply = change(|state| audit::reveal(state, now(), caller, args));
    timers::arm();
    timers::arm_draw();
    reply
}

// --- the governor ---

/// Announces a change of parameters, in place of one that is pending; the governor's.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn set_parameters(change: EscrowParameters) -> Result<EscrowInfo, ApiError> {
    let caller = enter()?;
    self::change(|state| {
        parameters::set(state, now(), caller, &change)?;
        Ok(view::info(state))
    })
}

/// Withdraws the change of parameters that is pending; the governor's.
#[update(encode_with = "emc_reply::encode", hidden = true)]
#[candid_method(update)]
fn cancel_parameters() -> Result<EscrowInfo, ApiError> {
    let caller = enter()?;
    change(|state| {
        parameters::cancel(state, now(), caller)?;
        Ok(view::info(state))
    })
}

// --- anyone ---

/// The escrow's settings and state.
#[query]
fn info() -> EscrowInfo {
    read(view::info)
}

/// The log of parameters, from a number on.
#[query]
fn parameter_log(start: u64, limit: u32) -> EscrowParameterLog {
    read(|state| parameters::log(state, start, limit))
}

/// A job's draw and audit, for anyone to recompute.
#[query]
fn audit(job: JobId) -> Result<Audit, ApiError> {
    read(|state| audit::show(state, job))
}

/// A settled job's receipt, by the job's number.
#[query]
fn receipt(job: JobId) -> Result<ReceiptRecord, ApiError> {
    read(|state| view::receipt(state, job))
}

/// A job's receipt with the proof that it is in the log whose root this canister certifies.
#[query]
fn receipt_proof(job: JobId) -> Result<ReceiptProof, ApiError> {
    read(|state| view::receipt_proof(state, job, ic_cdk::api::data_certificate()))
}

/// Receipts by their numbers in the log: from the first on, at most so many.
#[query]
fn receipts(start: u64, limit: u32) -> Result<Vec<ReceiptRecord>, ApiError> {
    read(|state| view::receipts(state, start, limit))
}

/// Metrics and results over HTTP.
#[query]
fn http_request(request: HttpRequest) -> HttpResponse {
    let certificate = ic_cdk::api::data_certificate();
    read(|state| http::answer(state, now(), &request, certificate))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod interface_tests {
    use super::*;
    use candid_parser::utils::{CandidSource, service_equal};

    candid::export_service!();

    const CONTRACT: &str = include_str!("../../../candid/escrow.did");

    #[test]
    fn the_public_contract_is_what_the_code_offers() {
        let offered = __export_service();
        let equal = service_equal(CandidSource::Text(&offered), CandidSource::Text(CONTRACT));
        assert!(equal.is_ok(), "{equal:?}; the code offers:\n{offered}");
    }
}
