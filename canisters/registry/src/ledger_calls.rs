//! Stake in and out through the token's ledger, slashed stake burned there, mining's earnings paid out: the only file with
//! awaits, nearly all of them inside the journal's driver.
//!
//! Before the first await only the ledger's fee, minting account or a balance may be asked for, with nothing changed. Then,
//! in one message: every check again, the books set to "under way", the journal's entry. After it, in the message that ends
//! the entry: the books.

// Braces: the module `stake`, not also the endpoint of that name.
use crate::mining::{closing, earnings};
use crate::stake::{self};
use crate::{burning, listing, purpose, state, unbonding};
use candid::Principal;
use emc_journal::{Account, Entry, Host, Journal, Outcome, Verdict, driver, refusal};
use emc_protocol::mining::POOL_SUBACCOUNT;
use emc_protocol::node::{Node, StakeArgs};
use emc_protocol::{ApiError, Tokens};
use ic_cdk::api::{canister_self, time};
use ic_cdk::call::Call;

/// How long the ledger may take to say where it burns, seconds.
const CALL_SECONDS: u32 = 60;

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
        state::with(|state| purpose::ended(state, time(), entry, outcome));
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
        let entry = unbonding::begin_withdrawal(state, begun, caller, node, id, fee)?;
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

/// What the timer does after that: burns what was slashed, if there is something. The minting account is asked for each
/// time: what went to an account that mints no more would not be burned.
pub async fn burn() {
    if !state::with(|state| burning::is_due(state, time())) {
        return;
    }
    let minting_account = minting_account().await;
    // Other messages have run since: `begin` looks again.
    let entry = state::with(|state| match minting_account {
        Some(account) => burning::begin(state, time(), account),
        None => {
            burning::postpone(state, time());
            None
        }
    });
    if let Some(entry) = entry {
        driver::perform::<Registry>(entry).await;
    }
}

/// Pays out what an owner's nodes have earned by mining; what has arrived.
pub async fn withdraw_mining(
    caller: Principal,
    amount: Option<Tokens>,
) -> Result<Tokens, ApiError> {
    let fee = driver::fee::<Registry>()
        .await
        .map_err(|refusal| refusal.to_api_error())?;
    let begun = time();
    let (entry, arrives) = state::with(|state| {
        let entry = earnings::begin_withdrawal(state, begun, caller, amount, fee)?;
        let opened = state.journal.get(entry);
        let opened = opened.expect("the entry was opened in this message");
        Ok::<_, ApiError>((entry, Tokens(opened.operation.amount())))
    })?;
    finish(entry, begun).await?;
    Ok(arrives)
}

/// What the timer does last: asks what the mining pool holds, where an epoch waits for that or mining has not begun.
pub async fn look_at_pool() {
    let Some(look) = state::with(|state| closing::look(state, time())) else {
        return;
    };
    let balance = pool_balance().await;
    // Other messages have run since: `found` looks again.
    state::with(|state| match balance {
        Some(balance) => closing::found(state, time(), look, balance.0),
        None => closing::postpone(state, time()),
    });
}

/// What the pool holds; `None` where the ledger does not answer.
async fn pool_balance() -> Option<Tokens> {
    let account = Account {
        owner: canister_self(),
        subaccount: Some(POOL_SUBACCOUNT),
    };
    let reply = Call::bounded_wait(Registry::ledger(), "icrc1_balance_of")
        .with_arg(account)
        .change_timeout(CALL_SECONDS)
        .await;
    reply.ok()?.candid().ok()
}

/// Where a transfer burns; `None` where the ledger does not answer, or has no such account.
async fn minting_account() -> Option<Account> {
    let reply = Call::bounded_wait(Registry::ledger(), "icrc1_minting_account")
        .change_timeout(CALL_SECONDS)
        .await;
    reply.ok()?.candid().ok()?
}
