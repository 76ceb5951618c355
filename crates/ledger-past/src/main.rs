//! The stable memory of a ledger with so many accounts and blocks, made natively through the ledger's rules: what a
//! canister is given by a development network so that its calls can be measured in a large state. There is no way to
//! fill a canister. A program of its own, because a program can hold the endpoints of one canister only.

use anyhow::{Context, Result, anyhow, ensure};
use candid::Principal;
use clap::Parser;
use emc_ledger::config::InitArgs;
use emc_ledger::tokens::Tokens;
use emc_ledger::{approve, lifecycle, state, transfer};
use ic_stable_structures::DefaultMemoryImpl;
use icrc_ledger_types::icrc1::transfer::{Memo, TransferArg};
use icrc_ledger_types::icrc2::approve::ApproveArgs;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Beside a transfer for every account there is an approval for every so many.
const APPROVAL_EVERY: u64 = 10;
/// Everything happened within so many nanoseconds, 23 hours, and is therefore remembered for deduplication: the hardest
/// past of that size.
const LENGTH: u64 = 23 * 3_600 * 1_000_000_000;
/// What the bank holds in the beginning, in e8s: 100,000,000 EMC.
const ISSUE: u128 = 10_000_000_000_000_000;
/// What every account is sent, in e8s.
const HELD: u64 = 1_000_000;

/// Of so many accounts the owners are told.
const NAMED: u64 = 50;

/// Writes the stable memory of a ledger with a past, and says as JSON what is in it.
#[derive(Parser)]
struct Arguments {
    /// Accounts, and as many mints and transfers
    #[arg(long)]
    accounts: u64,
    /// Who holds most of the tokens, mints, and is not limited in its calls
    #[arg(long)]
    bank: Principal,
    /// When the past ends, in nanoseconds since 1970
    #[arg(long)]
    end: u64,
    /// Where to write
    #[arg(long)]
    file: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.accounts > 0, "--accounts must be 1 at least");
    let bar = ProgressBar::new(arguments.accounts);
    bar.set_style(ProgressStyle::with_template(
        "making {human_len} accounts {bar:30} {per_sec}, {eta} left",
    )?);
    let said = write(&arguments, || bar.inc(1))?;
    bar.finish_and_clear();
    println!("{said}");
    Ok(())
}

/// The owner of account `n`: as long as people's principals, and ending as theirs do.
fn owner(n: u64) -> Principal {
    let hash = Sha256::digest(n.to_be_bytes());
    let mut bytes = [2; 29];
    bytes[..28].copy_from_slice(&hash[..28]);
    Principal::from_slice(&bytes)
}

fn write(arguments: &Arguments, done: impl Fn()) -> Result<serde_json::Value> {
    let (bank, accounts) = (arguments.bank, arguments.accounts);
    let memory = DefaultMemoryImpl::default();
    let begin = arguments.end.saturating_sub(LENGTH);
    let settings = InitArgs {
        minting_account: Some(owner(u64::MAX).into()),
        initial_balances: vec![(bank.into(), Tokens(ISSUE))],
        deployment_balances: None,
        max_supply: None,
        transfer_fee: None,
        token_name: None,
        token_symbol: None,
        logo: None,
        max_memo_length: None,
        rate_limit: None,
        exempt_principals: Some(vec![bank]),
        index_principal: None,
        total_rate_limit: None,
    };
    let mut ledger = lifecycle::create(memory.clone(), settings, bank, begin)?;
    for n in 1..accounts {
        let now = begin + LENGTH / accounts * n;
        let arg = TransferArg {
            from_subaccount: None,
            to: owner(n).into(),
            fee: None,
            created_at_time: Some(now),
            memo: Some(Memo::from([7; 32].to_vec())),
            amount: HELD.into(),
        };
        let sent = transfer::transfer(&mut ledger, bank, arg, now);
        sent.map_err(|error| anyhow!("a transfer is refused: {error:?}"))?;
        if n % APPROVAL_EVERY == 0 {
            let arg = ApproveArgs {
                from_subaccount: None,
                spender: owner(n / 2).into(),
                amount: HELD.into(),
                expected_allowance: None,
                expires_at: Some(arguments.end + LENGTH + n),
                fee: None,
                memo: Some(Memo::from([7; 32].to_vec())),
                created_at_time: Some(now),
            };
            let approved = approve::approve(&mut ledger, owner(n), arg, now);
            approved.map_err(|error| anyhow!("an approval is refused: {error:?}"))?;
        }
        done();
    }
    let parts: serde_json::Map<_, _> = state::sizes(memory.clone())
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes.into()))
        .collect();
    let some = (1..=NAMED).map(|n| owner(accounts * n / (NAMED + 1)).to_text());
    let some: Vec<_> = some.collect();
    let said = serde_json::json!({
        "accounts": accounts,
        "blocks": ledger.log_length(),
        "allowances": (accounts - 1) / APPROVAL_EVERY,
        "some_owners": some,
        "parts": parts,
    });
    drop(ledger);
    std::fs::write(&arguments.file, &*memory.borrow())
        .with_context(|| format!("writing {}", arguments.file.display()))?;
    Ok(said)
}
