//! The block log as a stranger checks it over HTTP, with `emc_client::block_log`, which shares no code with the ledger:
//! the whole log is right, gives the ledger's own balances, and every way to falsify it is found out.

use crate::deployed::{Deployed, SUPPLY};
use anyhow::{Context, Result, ensure};
use candid::Nat;
use emc_client::block_log::{BlockLog, CheckedLog, LogError};
use emc_client::ledger::now;
use emc_client::{Account, Client, Ledger, Network};
use emc_protocol::Tokens;
use icrc_ledger_types::icrc::generic_value::ICRC3Value;
use icrc_ledger_types::icrc1::transfer::{Memo, TransferArg};
use icrc_ledger_types::icrc2::approve::ApproveArgs;
use icrc_ledger_types::icrc2::transfer_from::TransferFromArgs;

const FEE: u64 = 10_000;

/// Fetches the whole log and checks it; then holds the ledger's own answers against what the blocks say.
pub async fn check_all(ledger: &Ledger) -> Result<CheckedLog> {
    let checked = BlockLog::fetch(ledger).await?.check(ledger)?;
    let books = &checked.books;
    ensure!(
        ledger.icrc1_total_supply().await? == books.supply(),
        "the supply differs"
    );
    let sum: u128 = books.balances().map(|(_, balance)| balance.0).sum();
    ensure!(
        Tokens(sum) == books.supply(),
        "the balances do not sum to the supply"
    );
    for (account, balance) in books.balances() {
        let theirs = ledger.icrc1_balance_of(*account).await?;
        ensure!(
            theirs == balance,
            "{account}: {balance} by the blocks, {theirs} by the ledger"
        );
    }
    for (from, spender, _) in books.allowances() {
        let theirs = ledger.icrc2_allowance(*from, *spender).await?;
        // An allowance may end between the last block and the question, so it counts as of the answer.
        let ours = books.allowance(from, spender, now());
        let same = theirs.allowance == ours.amount.0 && theirs.expires_at == ours.until;
        ensure!(
            same,
            "{spender} from {from}: {ours:?} by the blocks, {theirs:?} by the ledger"
        );
    }
    Ok(checked)
}

fn of(person: &emc_devnet::Person, subaccount: Option<u8>) -> Account {
    Account {
        owner: person.principal(),
        subaccount: subaccount.map(|number| [number; 32]),
    }
}

/// A ledger with every kind of block, each with and without what is optional.
async fn eventful(seed: u64) -> Result<(Deployed, Ledger)> {
    let deployed = Deployed::with_fee(seed, FEE).await?;
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| deployed.person(name));
    let bank = deployed.ledger(&deployed.bank);
    let plain = |to, amount: u64| TransferArg {
        from_subaccount: None,
        to,
        fee: None,
        created_at_time: None,
        memo: None,
        amount: amount.into(),
    };
    bank.icrc1_transfer(plain(of(&alice, None), 5_000_000))
        .await?;
    let full = TransferArg {
        from_subaccount: None,
        fee: Some(FEE.into()),
        memo: Some(Memo::from(vec![])),
        ..plain(of(&alice, Some(7)), 5_000_000)
    };
    bank.icrc1_transfer(full).await?;
    // To oneself, a mint, a burn.
    let ledger = deployed.ledger(&alice);
    ledger
        .icrc1_transfer(plain(of(&alice, Some(0)), 1_000))
        .await?;
    let minter = deployed.ledger(&deployed.minter);
    minter.icrc1_transfer(plain(of(&bob, None), 70_000)).await?;
    ledger
        .icrc1_transfer(plain(of(&deployed.minter, None), 20_000))
        .await?;
    // Allowances: replaced, used by a transfer and by a burn, ended, left.
    let allow = |spender, amount: u64| ApproveArgs {
        from_subaccount: None,
        spender,
        amount: amount.into(),
        expected_allowance: None,
        expires_at: None,
        fee: None,
        memo: None,
        created_at_time: None,
    };
    ledger.icrc2_approve(allow(of(&bob, None), 1)).await?;
    let again = ApproveArgs {
        expected_allowance: Some(1u8.into()),
        expires_at: Some(now() + 3_600_000_000_000),
        fee: Some(FEE.into()),
        ..allow(of(&bob, None), 500_000)
    };
    ledger.icrc2_approve(again).await?;
    let beyond = ApproveArgs {
        from_subaccount: Some([7; 32]),
        amount: Nat::from(u128::MAX) * 3u8,
        ..allow(of(&carol, Some(9)), 0)
    };
    ledger.icrc2_approve(beyond).await?;
    let take = |from, to, amount: u64| TransferFromArgs {
        spender_subaccount: None,
        from,
        to,
        amount: amount.into(),
        fee: None,
        memo: None,
        created_at_time: None,
    };
    let bobs = deployed.ledger(&bob);
    bobs.icrc2_transfer_from(take(of(&alice, None), of(&carol, None), 100_000))
        .await?;
    bobs.icrc2_transfer_from(take(of(&alice, None), of(&deployed.minter, None), 50_000))
        .await?;
    let carols = TransferFromArgs {
        spender_subaccount: Some([9; 32]),
        fee: Some(FEE.into()),
        ..take(of(&alice, Some(7)), of(&alice, Some(7)), 10)
    };
    deployed.ledger(&carol).icrc2_transfer_from(carols).await?;
    ledger.icrc2_approve(allow(of(&carol, None), 0)).await?;
    let nobody = deployed
        .client(&alice)
        .with_identity(emc_client::Identity::anonymous());
    let reader = nobody.ledger(deployed.id);
    Ok((deployed, reader))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_checks_every_block_finds_the_ledgers_own_balances() -> Result<()> {
    let (_deployed, ledger) = eventful(211).await?;
    let checked = check_all(&ledger).await?;
    // One initial balance and twelve calls.
    ensure!(checked.length == 13, "{} blocks", checked.length);
    let minted_less_burned = SUPPLY + 70_000 - 20_000 - 50_000;
    let fees = 9 * FEE;
    ensure!(checked.books.supply().0 == u128::from(minted_less_burned - fees));
    ensure!(checked.books.allowances().count() == 2);
    Ok(())
}

/// Changes a number of a block.
fn add_one(block: &mut ICRC3Value, path: &[&str]) -> Result<()> {
    let field = path.iter().try_fold(block, |value, key| match value {
        ICRC3Value::Map(map) => map.get_mut(*key),
        _ => None,
    });
    match field.context("the block has such a field")? {
        ICRC3Value::Nat(number) => *number += 1u8,
        other => anyhow::bail!("{other} is not a number"),
    }
    Ok(())
}

/// Makes the chain right again after a change, as a lying ledger would.
fn chain_anew(blocks: &mut [ICRC3Value]) {
    let mut parent: Option<[u8; 32]> = None;
    for block in blocks {
        if let ICRC3Value::Map(map) = block {
            map.remove("phash");
            if let Some(parent) = parent {
                map.insert("phash".into(), ICRC3Value::Blob(parent.to_vec().into()));
            }
        }
        parent = Some(block.clone().hash());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_falsified_log_is_found_out() -> Result<()> {
    let (deployed, ledger) = eventful(212).await?;
    let right = BlockLog::fetch(&ledger).await?;
    right.check(&ledger)?;
    let found = |what: &str, change: &dyn Fn(&mut BlockLog) -> Result<()>| -> Result<LogError> {
        let mut log = right.clone();
        change(&mut log)?;
        let wrong = log.check(&ledger).err();
        wrong.with_context(|| format!("{what} was not found out"))
    };
    macro_rules! is_found {
        ($what:expr, $change:expr, $error:pat) => {
            let error = found($what, &$change)?;
            ensure!(matches!(error, $error), "{} is found as: {error}", $what);
        };
    }
    let last = right.blocks.len() - 1;
    is_found!(
        "a changed amount",
        |log: &mut BlockLog| add_one(&mut log.blocks[1], &["tx", "amt"]),
        LogError::Chain(2)
    );
    is_found!(
        "a changed time of the last block",
        |log: &mut BlockLog| add_one(&mut log.blocks[last], &["ts"]),
        LogError::Tip(_)
    );
    is_found!(
        "a changed block with all hashes made anew",
        |log: &mut BlockLog| {
            add_one(&mut log.blocks[1], &["tx", "amt"])?;
            chain_anew(&mut log.blocks);
            Ok(())
        },
        LogError::Tip(_)
    );
    is_found!(
        "a dropped block",
        |log: &mut BlockLog| {
            log.blocks.remove(3);
            Ok(())
        },
        LogError::Chain(3)
    );
    is_found!(
        "a dropped first block",
        |log: &mut BlockLog| {
            log.blocks.remove(0);
            Ok(())
        },
        LogError::Chain(0)
    );
    is_found!(
        "a dropped last block",
        |log: &mut BlockLog| {
            log.blocks.pop();
            Ok(())
        },
        LogError::Tip(_)
    );
    is_found!(
        "a block too many",
        |log: &mut BlockLog| {
            let again = log.blocks[last].clone();
            log.blocks.push(again);
            chain_anew(&mut log.blocks);
            Ok(())
        },
        // The repeated block spends what nobody has, or is one more than is certified.
        LogError::Impossible { .. } | LogError::Tip(_)
    );
    is_found!(
        "two blocks in the wrong order",
        |log: &mut BlockLog| {
            log.blocks.swap(4, 5);
            Ok(())
        },
        LogError::Chain(4)
    );
    is_found!(
        "a transfer of what nobody has",
        |log: &mut BlockLog| {
            log.blocks.remove(0);
            chain_anew(&mut log.blocks);
            Ok(())
        },
        LogError::Impossible { index: 0, .. }
    );
    is_found!(
        "a block without an amount",
        |log: &mut BlockLog| {
            if let ICRC3Value::Map(block) = &mut log.blocks[2]
                && let Some(ICRC3Value::Map(tx)) = block.get_mut("tx")
            {
                tx.remove("amt");
            }
            Ok(())
        },
        LogError::Schema { index: 2, .. }
    );
    for byte in [0, right.certificate.len() / 2, right.certificate.len() - 1] {
        is_found!(
            "a changed certificate",
            |log: &mut BlockLog| {
                log.certificate[byte] ^= 1;
                Ok(())
            },
            LogError::Certificate(_)
        );
    }
    is_found!(
        "a changed tree",
        |log: &mut BlockLog| {
            let end = log.hash_tree.len() - 1;
            log.hash_tree[end] ^= 1;
            Ok(())
        },
        LogError::Certificate(_) | LogError::Tree(_)
    );

    // The certificate and tree of another ledger, whose blocks are not these.
    let other = deployed.another(FEE).await?;
    let other = ledger.client().ledger(other);
    let theirs = BlockLog::fetch(&other).await?;
    theirs.check(&other)?;
    is_found!(
        "a certificate of another canister",
        |log: &mut BlockLog| {
            log.certificate.clone_from(&theirs.certificate);
            Ok(())
        },
        LogError::Certificate(_)
    );
    is_found!(
        "certificate and tree of another canister",
        |log: &mut BlockLog| {
            log.certificate.clone_from(&theirs.certificate);
            log.hash_tree.clone_from(&theirs.hash_tree);
            Ok(())
        },
        LogError::Certificate(_)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_another_root_key_signed_is_found_out() -> Result<()> {
    let (deployed, ledger) = eventful(213).await?;
    let log = BlockLog::fetch(&ledger).await?;
    let stranger = emc_localnet::Network::builder().seed(99).start()?;
    let misled = Client::builder()
        .network(Network::Url(deployed.network.url().to_owned()))
        .root_key(stranger.root_key().to_vec())
        .build()
        .await?;
    let error = log.check(&misled.ledger(deployed.id)).err();
    ensure!(matches!(error, Some(LogError::Certificate(_))), "{error:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_ledger_has_nothing_to_check() -> Result<()> {
    let deployed = Deployed::with_fee(214, 0).await?;
    let empty = deployed.empty().await?;
    let ledger = deployed.client(&deployed.bank).ledger(empty);
    let error = BlockLog::fetch(&ledger).await.err();
    ensure!(matches!(error, Some(LogError::Empty)), "{error:?}");
    Ok(())
}
