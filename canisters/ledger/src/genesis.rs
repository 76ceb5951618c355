//! The first blocks of a new ledger: one mint for each initial balance, under the same rules as every later mint.

use crate::{
    block_hash,
    commit::commit,
    config::{Config, ConfigError, InitArgs},
    postings::Posting,
    state::Ledger,
    supply,
    tokens::Tokens,
    transaction::{Operation, Transaction},
};
use ic_stable_structures::DefaultMemoryImpl;

/// Makes a new ledger in empty memory.
///
/// # Errors
/// Where a setting is out of its bounds, or the initial balances pass the cap or name the minting account.
pub fn create(memory: DefaultMemoryImpl, args: InitArgs, now: u64) -> Result<Ledger, ConfigError> {
    let mut ledger = Ledger::create(memory, Config::new(&args)?);
    for (to, amount) in args.initial_balances {
        if to == args.minting_account {
            return Err(ConfigError::InitialBalanceOfMinter);
        }
        supply::check_cap(&ledger, amount)
            .map_err(|_| ConfigError::InitialBalancesPassCap(ledger.config().max_supply))?;
        let transaction = Transaction {
            operation: Operation::Mint { to, amount },
            memo: None,
            created_at_time: None,
        };
        let hash = block_hash::hash_transaction(&transaction);
        let postings = [
            Posting::Issue(amount),
            Posting::Credit {
                account: &to,
                amount,
            },
        ];
        commit(&mut ledger, transaction, hash, Tokens::ZERO, &postings, now);
    }
    Ok(ledger)
}
