//! The escrow without a canister around it: what a program needs beside the rules to run one natively, as the
//! simulation and the maker of large states for benchmarks do.
//!
//! Public, and not behind a feature or a test configuration, because those programs are crates of their own and must
//! run the very code that is deployed. It gives a canister no new power: nothing here is exported from the Wasm, and
//! every change goes through the same rules as the endpoints'. Ledger calls, which the endpoints await, are answered
//! here by a ledger that does at once what it is asked.

use crate::deposit as deposits;
use crate::install::{self, ArgumentError};
use crate::movement::Source;
use crate::records::{AuditRecord, JobRecord, Secret};
use crate::state::State;
use crate::withdraw as withdrawals;
use candid::Principal;
use emc_journal::{Action, Answer, Outcome, Progress};
use emc_protocol::error::code;
use emc_protocol::escrow::EscrowArgs;
use emc_protocol::{
    AccountView, ApiError, DepositArgs, JobId, Timestamp, Tokens, Totals, WithdrawArgs,
};
use ic_stable_structures::DefaultMemoryImpl;

/// A new escrow in a memory, with the secret that the canister would draw; with the canister's own size of buckets
/// ([`crate::state::BUCKET_PAGES`]) the canister can open it. The ledger's fee is zero.
///
/// # Errors
/// The argument is not for an installation, or says something that the canister would refuse.
pub fn install(
    memory: DefaultMemoryImpl,
    bucket_pages: u16,
    args: EscrowArgs,
    escrow: Principal,
    installer: Principal,
    secret: [u8; 32],
    now: Timestamp,
) -> Result<State, ArgumentError> {
    let mut config = install::configure(args, |_| None, installer, escrow, now)?;
    config.secret = Some(Secret(secret));
    let mut state = State::create(memory, bucket_pages, config, now);
    state.journal.fee_is(0);
    Ok(state)
}

/// A deposit of the caller for itself.
///
/// # Errors
/// What the endpoint would say.
pub fn deposit(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    amount: Tokens,
) -> Result<(), ApiError> {
    let args = DepositArgs {
        amount,
        beneficiary: None,
        from_subaccount: None,
    };
    let entry = deposits::begin(state, now, caller, &args, Tokens::ZERO)?;
    perform(state, now, entry)
}

/// A withdrawal of the caller to itself.
///
/// # Errors
/// What the endpoint would say.
pub fn withdraw(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    amount: Tokens,
) -> Result<(), ApiError> {
    let args = WithdrawArgs { amount, to: None };
    let source = Source::Available(caller);
    let entry = withdrawals::begin(state, now, caller, source, &args, Tokens::ZERO)?;
    perform(state, now, entry)
}

/// Does what a journal entry asks for, with a ledger that answers at once.
fn perform(state: &mut State, now: Timestamp, entry: u64) -> Result<(), ApiError> {
    while let Some((action, _)) = state.journal.prepare(entry, now.0) {
        let answer = match action {
            Action::LookAtTip => Answer::Tip { log_length: entry },
            Action::Send => Answer::Done { block_index: entry },
            Action::Scan { .. } | Action::Wait { .. } => break,
        };
        match state.journal.apply(entry, action, answer, now.0) {
            Progress::Going => {}
            Progress::Resting | Progress::Gone => break,
            Progress::Ended(entry, outcome) => {
                deposits::ended(state, now, &entry, &outcome);
                return match outcome {
                    Outcome::Done { .. } => Ok(()),
                    Outcome::NotDone { refusal } => Err(refusal.to_api_error()),
                };
            }
        }
    }
    Err(ApiError::new(
        code::UNAVAILABLE,
        "The ledger call did not end at once.",
    ))
}

/// An account's balances.
pub fn account(state: &State, owner: &Principal) -> AccountView {
    state.books.account(owner).view()
}

/// Everything that the escrow holds.
pub fn totals(state: &State) -> Totals {
    state.books.totals(state.journal.figures().open)
}

/// A job's record.
pub fn job(state: &State, id: JobId) -> Option<JobRecord> {
    state.jobs.get(&id)
}

/// The record of a job's draw and audit.
pub fn audit(state: &State, id: JobId) -> Option<AuditRecord> {
    state.audits.get(&id)
}
