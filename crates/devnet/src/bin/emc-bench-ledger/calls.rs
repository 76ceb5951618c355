//! The ledger's calls, counted from the network's log of messages.

use anyhow::{Context, Result, ensure};
use emc_client::protocol::Tokens;
use emc_devnet::Person;
use emc_devnet::ledger_past::LedgerWithPast;
use icrc_ledger_types::icrc1::transfer::{Memo, TransferArg};
use icrc_ledger_types::icrc2::approve::ApproveArgs;
use icrc_ledger_types::icrc2::transfer_from::TransferFromArgs;
use std::collections::BTreeMap;

/// The first rounds fill caches.
const WARM_UP: usize = 3;
const HOUR: u64 = 3_600_000_000_000;

/// Makes every call so many times, each time between accounts that are new; the median of each.
///
/// # Errors
/// If the ledger refuses one.
pub async fn count(scene: &LedgerWithPast, rounds: usize) -> Result<BTreeMap<String, f64>> {
    let mut counts = BTreeMap::<String, Vec<u64>>::new();
    let begun = scene.control()?.log(0).await?;
    let mut mark = begun.last().map_or(0, |line| line.n);
    for round in 0..WARM_UP + rounds {
        all_calls(scene, round as u64).await?;
        let mut log = scene.control()?.log(mark).await?;
        mark = log.last().map_or(mark, |line| line.n);
        log.retain(|line| line.canister == scene.ledger.to_text());
        log.retain(|line| matches!(line.kind.as_str(), "update" | "query"));
        // The first one prepares the round.
        for line in log.into_iter().skip(1).filter(|_| round >= WARM_UP) {
            let list = counts.entry(line.method).or_default();
            list.push(line.instructions);
        }
    }
    let upgrade = begun.iter().rfind(|line| line.kind == "post_upgrade");
    let upgrade = upgrade.context("an upgrade is in the log")?.instructions;
    counts.insert("post_upgrade".to_owned(), vec![upgrade]);
    Ok(counts.into_iter().map(median).collect())
}

fn median((name, mut list): (String, Vec<u64>)) -> (String, f64) {
    list.sort_unstable();
    (name, list[list.len() / 2] as f64)
}

/// A transfer from the bank to a new account, then one call of each kind.
async fn all_calls(scene: &LedgerWithPast, round: u64) -> Result<()> {
    let past = &scene.past;
    let payer = Person::named(&format!("payer {round}"), 1);
    let spender = Person::named(&format!("spender {round}"), 1);
    let new = |name: &str| Person::named(&format!("{name} {round}"), 1).principal();
    let now = scene.control()?.time().await?.0;
    let memo = || Some(Memo::from([7; 32].to_vec()));
    let send = |to, amount: u64| TransferArg {
        from_subaccount: None,
        to,
        fee: None,
        created_at_time: Some(now),
        memo: memo(),
        amount: amount.into(),
    };
    let bank = scene.client(&scene.bank);
    bank.icrc1_transfer(send(payer.principal().into(), 1_000_000))
        .await?;

    let ledger = scene.client(&payer);
    ledger
        .icrc1_transfer(send(new("receiver").into(), 1_000))
        .await?;
    let approval = ApproveArgs {
        from_subaccount: None,
        spender: spender.principal().into(),
        amount: 100_000u64.into(),
        expected_allowance: None,
        expires_at: Some(now + HOUR),
        fee: None,
        memo: memo(),
        created_at_time: Some(now),
    };
    ledger.icrc2_approve(approval).await?;
    let spending = TransferFromArgs {
        spender_subaccount: None,
        from: payer.principal().into(),
        to: new("shop").into(),
        amount: 50_000u64.into(),
        fee: None,
        memo: memo(),
        created_at_time: Some(now),
    };
    let spent = scene.client(&spender).icrc2_transfer_from(spending).await?;
    ensure!(spent >= past.blocks, "the ledger does not have its past");
    let someone = past.some_owners[round as usize % past.some_owners.len()];
    let held = ledger.balance(someone).await?;
    ensure!(held > Tokens::e8s(0), "an old account holds nothing");
    let read = ledger
        .icrc3_get_blocks(past.blocks / 3 + round, 100)
        .await?;
    ensure!(read.blocks.len() == 100, "a hundred blocks were asked for");
    Ok(())
}
