//! Ledger calls: the awaits of deposit, sweep and withdrawal. Each reads as three steps.
//!
//! 1. Before the await: everything is checked, what leaves is set aside, the journal entry is opened. Committed.
//! 2. The await, in `emc-journal`: in the message in which the entry ends, [`Host::ended`] settles the books.
//! 3. After it: only the reply is made, from the state as it is then. If this traps, or the caller is gone, nothing is
//!    missing: the entry has ended, or the timer goes on with it.
//!
//! Asking for the fee or a balance commits nothing before and assumes nothing after: the checks are done again.

use crate::canister::{change, now, read};
use crate::movement::Source;
use crate::state::Mem;
use crate::{deposit as deposits, withdraw as withdrawals};
use candid::{Nat, Principal};
use emc_journal::{Account, Entry, Host, Journal, Outcome, Verdict, driver, refusal};
use emc_protocol::account::{WithdrawReply, deposit_subaccount};
use emc_protocol::{ApiError, DepositArgs, DepositReply, Tokens, WithdrawArgs, error::code};
use ic_cdk::call::Call;

/// The escrow as the journal's host.
pub struct Escrow;

impl Host for Escrow {
    type Memory = Mem;

    fn ledger() -> Principal {
        read(|state| state.config().ledger)
    }

    fn journal<R>(use_it: impl FnOnce(&mut Journal<Mem>) -> R) -> R {
        change(|state| use_it(&mut state.journal))
    }

    fn ended(entry: &Entry, outcome: &Outcome) {
        change(|state| deposits::ended(state, now(), entry, outcome));
    }
}

/// Pulls what the caller has approved.
pub async fn deposit(caller: Principal, args: DepositArgs) -> Result<DepositReply, ApiError> {
    read(|state| deposits::check(state, caller, &args))?;
    let fee = fee().await?;
    let entry = change(|state| deposits::begin(state, now(), caller, &args, fee))?;
    let beneficiary = args.beneficiary.unwrap_or(caller);
    finish_deposit(entry, beneficiary, args.amount).await
}

/// Sweeps a beneficiary's subaccount.
pub async fn notify_deposit(beneficiary: Principal) -> Result<DepositReply, ApiError> {
    read(|state| deposits::check_sweep(state, beneficiary))?;
    let fee = fee().await?;
    let balance = balance(beneficiary).await?;
    let entry = change(|state| deposits::begin_sweep(state, now(), beneficiary, balance, fee))?;
    let swept = Tokens(balance.0.saturating_sub(fee.0));
    finish_deposit(entry, beneficiary, swept).await
}

/// Pays out.
pub async fn withdraw(
    caller: Principal,
    source: Source,
    args: WithdrawArgs,
) -> Result<WithdrawReply, ApiError> {
    read(|state| withdrawals::check(state, caller, source, &args))?;
    let fee = fee().await?;
    let entry = change(|state| withdrawals::begin(state, now(), caller, source, &args, fee))?;
    let block_index = finish(entry).await?;
    let available = read(|state| match source {
        Source::Available(principal) => state.books.account(&principal).available(),
        Source::Treasury => state.books.treasury(),
    });
    Ok(WithdrawReply {
        paid: Tokens(args.amount.0.saturating_sub(fee.0)),
        block_index,
        available,
    })
}

async fn finish_deposit(
    entry: u64,
    beneficiary: Principal,
    credited: Tokens,
) -> Result<DepositReply, ApiError> {
    let block_index = finish(entry).await?;
    Ok(DepositReply {
        credited,
        block_index,
        available: read(|state| state.books.account(&beneficiary).available()),
    })
}

/// Makes the call of an entry; its block.
async fn finish(entry: u64) -> Result<u64, ApiError> {
    let created = now().0;
    match driver::perform::<Escrow>(entry).await {
        Verdict::Ended(Outcome::Done { block_index }) => Ok(block_index),
        Verdict::Ended(Outcome::NotDone { refusal }) => Err(refusal.to_api_error()),
        Verdict::Pending => Err(refusal::pending(entry, created)),
    }
}

async fn fee() -> Result<Tokens, ApiError> {
    let fee = driver::fee::<Escrow>().await;
    fee.map(Tokens).map_err(|refusal| refusal.to_api_error())
}

async fn balance(beneficiary: Principal) -> Result<Tokens, ApiError> {
    let unavailable = |error: String| {
        let message = format!("The ledger does not tell the balance: {error}. Try again later.");
        ApiError::new(code::UNAVAILABLE, message)
    };
    let (ledger, escrow) = read(|state| (state.config().ledger, state.config().escrow));
    let account = Account {
        owner: escrow,
        subaccount: Some(deposit_subaccount(beneficiary)),
    };
    let reply = Call::bounded_wait(ledger, "icrc1_balance_of")
        .with_arg(account)
        .change_timeout(60)
        .await
        .map_err(|error| unavailable(error.to_string()))?;
    let balance: Nat = reply
        .candid()
        .map_err(|error| unavailable(error.to_string()))?;
    Ok(Tokens(u128::try_from(balance.0).unwrap_or(u128::MAX)))
}
