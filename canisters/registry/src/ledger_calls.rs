//! Stake in and out through the token's ledger: the only file with awaits, all of them inside the journal's driver.
//!
//! Before the first await only the ledger's fee may be asked for, with nothing changed. Then, in one message: every check
//! again, the books set to "under way", the journal's entry. After it, in the message that ends the entry: the books.

// Braces: the module `stake`, not also the endpoint of that name.
use crate::stake::{self};
use crate::{listing, state};
use candid::Principal;
use emc_journal::{Entry, Host, Journal, Outcome, Verdict, driver, refusal};
use emc_protocol::node::{Node, StakeArgs};
use emc_protocol::{ApiError, Tokens};
use ic_cdk::api::{canister_self, time};

/// The registry as the journal's canister.
pub struct Registry;

impl Host for Registry {
    type Memory = state::Memory;

    fn ledger() -> Principal {
        state::with(|state| state.config.get().ledger)
    }

    fn journal<R>(use_it: impl FnOnce(&mut Journal<Self::Memory>) -> R) -> R {
        state::with(|state| use_it(&mut state.journal))
    }

    fn ended(entry: &Entry, outcome: &Outcome) {
        state::with(|state| stake::ended(state, entry, outcome));
    }
}

/// Pulls stake in from the node's owner.
pub async fn stake(caller: Principal, args: StakeArgs) -> Result<Node, ApiError> {
    state::with(|state| stake::check_stake(state, caller, &args))?;
    let fee = driver::fee::<Registry>()
        .await
        .map_err(|refusal| refusal.to_api_error())?;
    let begun = time();
    let entry =
        state::with(|state| stake::begin_stake(state, begun, caller, canister_self(), &args, fee))?;
    finish(entry, begun).await?;
    state::with(|state| listing::node(state, args.node))
}

/// Pays out an unbonding; what has arrived.
pub async fn withdraw_unbonded(
    caller: Principal,
    node: Principal,
    id: Option<u64>,
) -> Result<Tokens, ApiError> {
    let fee = driver::fee::<Registry>()
        .await
        .map_err(|refusal| refusal.to_api_error())?;
    let begun = time();
    let (entry, arrives) = state::with(|state| {
        let entry = stake::begin_withdrawal(state, begun, caller, node, id, fee)?;
        let opened = state.journal.get(entry);
        let opened = opened.expect("the entry was opened in this message");
        Ok::<_, ApiError>((entry, Tokens(opened.operation.amount())))
    })?;
    finish(entry, begun).await?;
    Ok(arrives)
}

async fn finish(entry: u64, begun: u64) -> Result<(), ApiError> {
    match driver::perform::<Registry>(entry).await {
        Verdict::Ended(Outcome::Done { .. }) => Ok(()),
        Verdict::Ended(Outcome::NotDone { refusal }) => Err(refusal.to_api_error()),
        Verdict::Pending => Err(refusal::pending(entry, begun)),
    }
}

/// What the timer does: brings home calls whose outcome is not known.
pub async fn resume() {
    driver::resume_due::<Registry>().await;
}
