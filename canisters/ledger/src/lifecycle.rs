//! How a ledger begins and how it is carried over an upgrade.
//!
//! A new ledger begins with one mint for each initial balance, under the same rules as every later mint. An upgrade opens
//! what stable memory holds and changes the settings that it is told to. The wrong arguments are refused.

use crate::{
    block_hash,
    commit::{Checked, commit},
    config::{Config, ConfigError, InitArgs, LedgerArgs},
    state::Ledger,
    supply,
    tokens::Tokens,
    transaction::{Operation, Transaction},
};
use candid::Principal;
use ic_stable_structures::DefaultMemoryImpl;

/// Makes a new ledger in empty memory, as `init` is told to.
///
/// # Errors
/// Where the arguments are for an upgrade, or as [`create`] says.
pub fn install(
    memory: DefaultMemoryImpl,
    args: LedgerArgs,
    installer: Principal,
    now: u64,
) -> Result<Ledger, ConfigError> {
    let mut ledger = match args {
        LedgerArgs::Init(args) => create(memory, *args, installer, now)?,
        LedgerArgs::Upgrade(_) => return Err(ConfigError::InitExpected),
    };
    ledger.events().note(now, "installed");
    Ok(ledger)
}

/// Opens the ledger that memory holds, with the changes that an upgrade is told to make.
///
/// # Errors
/// Where the arguments are for a new ledger, the layout is unknown, or a setting is refused.
pub fn upgrade(
    memory: DefaultMemoryImpl,
    args: Option<LedgerArgs>,
    now: u64,
) -> Result<Ledger, ConfigError> {
    let changes = match args {
        Some(LedgerArgs::Init(_)) => return Err(ConfigError::UpgradeExpected),
        Some(LedgerArgs::Upgrade(changes)) => changes,
        None => None,
    };
    let mut ledger = Ledger::open(memory)?;
    match changes {
        Some(changes) => {
            ledger.reconfigure(*changes)?;
            ledger.events().note(now, "upgraded with new settings");
        }
        None => ledger.events().note(now, "upgraded"),
    }
    Ok(ledger)
}

/// Makes a new ledger in empty memory.
///
/// # Errors
/// Where a setting is out of its bounds, or the initial balances pass the cap or name the minting account.
pub fn create(
    memory: DefaultMemoryImpl,
    args: InitArgs,
    installer: Principal,
    now: u64,
) -> Result<Ledger, ConfigError> {
    let mut ledger = Ledger::create(memory, Config::new(&args, installer)?);
    let minting_account = ledger.config().minting_account;
    for (to, amount) in args.initial_balances {
        if to == minting_account {
            return Err(ConfigError::InitialBalanceOfMinter);
        }
        supply::check_cap(&ledger, amount)
            .map_err(|_| ConfigError::InitialBalancesPassCap(ledger.config().max_supply))?;
        let transaction = Transaction {
            operation: Operation::Mint { to, amount },
            memo: None,
            created_at_time: None,
        };
        let checked = Checked {
            hash: block_hash::hash_transaction(&transaction),
            transaction,
            fee: Tokens::ZERO,
            held: Tokens::ZERO,
        };
        commit(&mut ledger, checked, now);
    }
    Ok(ledger)
}
