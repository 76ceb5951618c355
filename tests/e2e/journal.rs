//! Deposits and withdrawals while the ledger is stopped, traps, or its answers are lost: nothing is lost, nothing is
//! doubled, and everything resolves by itself.

use anyhow::{Result, ensure};
use emc_client::Error;
use emc_devnet::Control;
use emc_devnet::control::{Fault, FaultKind};
use emc_devnet::market::until;
use emc_protocol::account::{DepositArgs, WithdrawArgs};
use emc_protocol::{Tokens, error::code};
use emc_tests::Scene;
use std::time::Duration;

const AMOUNT: Tokens = Tokens::emc(2);

/// Waits until no ledger call's outcome is open, moving time on as far as that takes.
async fn resolved(scene: &Scene, control: &Control) -> Result<()> {
    until(
        Duration::from_secs(60),
        "the journal to resolve",
        async || {
            let totals = scene.escrow(&scene.alice).totals().await?;
            scene.check().await?;
            if totals.journal_open > 0 {
                control.advance(Duration::from_secs(3600)).await?;
            }
            Ok((totals.journal_open == 0).then_some(()))
        },
    )
    .await?;
    scene.check().await
}

fn deposit() -> DepositArgs {
    DepositArgs {
        amount: AMOUNT,
        beneficiary: None,
        from_subaccount: None,
    }
}

fn withdrawal() -> WithdrawArgs {
    WithdrawArgs {
        amount: AMOUNT,
        to: None,
    }
}

/// A person with EMC in the ledger, an approval for the escrow, and nothing in the escrow.
async fn depositor(scene: &Scene) -> Result<emc_devnet::Person> {
    let bob = scene.market.person_with("bob", AMOUNT).await?;
    scene
        .market
        .client(&bob)
        .ledger(scene.market.ids.ledger)
        .approve(scene.market.ids.escrow, AMOUNT)
        .await?;
    Ok(bob)
}

/// Whatever the caller was told, the money is either still his or credited, never both, never neither.
async fn exactly_once(scene: &Scene, bob: &emc_devnet::Person, credited: bool) -> Result<()> {
    let (ledger, escrow) = (scene.in_ledger(bob).await?, scene.available(bob).await?);
    let expected = if credited {
        (Tokens::ZERO, AMOUNT)
    } else {
        (AMOUNT, Tokens::ZERO)
    };
    ensure!(
        (ledger, escrow) == expected,
        "{ledger} in the ledger, {escrow} in the escrow"
    );
    Ok(())
}

/// A deposit under a fault; returns once everything has resolved.
async fn deposit_under(
    seed: u64,
    kind: FaultKind,
) -> Result<Option<(Scene, emc_devnet::Person, Result<(), Error>)>> {
    let scene = Scene::set(seed).await?;
    let Some(control) = scene.market.network.control().cloned() else {
        println!("skipped: this network has no time travel and no faults");
        return Ok(None);
    };
    let bob = depositor(&scene).await?;
    let fault = control
        .fault(&Fault::next(
            kind,
            scene.market.ids.escrow,
            "icrc2_transfer_from",
        ))
        .await?;
    let outcome = scene.escrow(&bob).deposit(deposit()).await.map(|_| ());
    resolved(&scene, &control).await?;
    ensure!(control.fired(fault).await? == 1, "the fault never applied");
    Ok(Some((scene, bob, outcome)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_whose_answer_is_lost_is_credited_once() -> Result<()> {
    if let Some((scene, bob, outcome)) = deposit_under(31, FaultKind::LoseReply).await? {
        ensure!(
            outcome.as_ref().is_err_and(|e| e.is_code(code::PENDING)) || outcome.is_ok(),
            "{outcome:?}"
        );
        exactly_once(&scene, &bob, true).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_whose_callback_traps_is_credited_once() -> Result<()> {
    if let Some((scene, bob, outcome)) = deposit_under(32, FaultKind::TrapCallback).await? {
        ensure!(outcome.is_err(), "the call trapped");
        exactly_once(&scene, &bob, true).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_in_which_the_ledger_traps_leaves_the_money_or_credits_it() -> Result<()> {
    if let Some((scene, bob, outcome)) = deposit_under(33, FaultKind::TrapCallee).await? {
        let credited = scene.in_ledger(&bob).await?.is_zero();
        ensure!(outcome.is_err() || credited);
        exactly_once(&scene, &bob, credited).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_while_the_ledger_is_stopped_can_be_made_again_later() -> Result<()> {
    let scene = Scene::set(34).await?;
    let control = emc_tests::control!(scene.market);
    let bob = depositor(&scene).await?;
    scene
        .market
        .deployer()
        .stop(scene.market.ids.ledger)
        .await?;
    let outcome = scene.escrow(&bob).deposit(deposit()).await;
    ensure!(outcome.is_err(), "a stopped ledger moves nothing");
    control.advance(Duration::from_secs(60)).await?;
    scene
        .market
        .deployer()
        .start(scene.market.ids.ledger)
        .await?;
    resolved(&scene, &control).await?;
    let credited = scene.in_ledger(&bob).await?.is_zero();
    exactly_once(&scene, &bob, credited).await?;
    if !credited {
        // The approval may have run out with the time that has passed; it was made without an end.
        scene.escrow(&bob).deposit(deposit()).await?;
    }
    exactly_once(&scene, &bob, true).await?;
    scene.check().await
}

/// A withdrawal under a fault: what left the escrow is in the ledger, once.
async fn withdraw_under(seed: u64, kind: FaultKind) -> Result<()> {
    let scene = Scene::set(seed).await?;
    let control = emc_tests::control!(scene.market);
    let (ledger, escrow) = (
        scene.in_ledger(&scene.alice).await?,
        scene.available(&scene.alice).await?,
    );
    let fault = control
        .fault(&Fault::next(
            kind,
            scene.market.ids.escrow,
            "icrc1_transfer",
        ))
        .await?;
    let _ = scene.escrow(&scene.alice).withdraw(withdrawal()).await;
    resolved(&scene, &control).await?;
    ensure!(control.fired(fault).await? == 1, "the fault never applied");
    let moved = scene.in_ledger(&scene.alice).await?.0 - ledger.0;
    ensure!(moved == 0 || moved == AMOUNT.0, "{moved} e8s arrived");
    ensure!(scene.available(&scene.alice).await?.0 == escrow.0 - moved);
    if matches!(kind, FaultKind::LoseReply | FaultKind::TrapCallback) {
        ensure!(moved == AMOUNT.0, "the ledger had carried it out");
    }
    // What did not go the first time goes the second.
    if moved == 0 {
        scene.escrow(&scene.alice).withdraw(withdrawal()).await?;
        ensure!(scene.in_ledger(&scene.alice).await?.0 == ledger.0 + AMOUNT.0);
    }
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_whose_answer_is_lost_is_paid_once() -> Result<()> {
    withdraw_under(35, FaultKind::LoseReply).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_whose_callback_traps_is_paid_once() -> Result<()> {
    withdraw_under(36, FaultKind::TrapCallback).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_in_which_the_ledger_traps_is_paid_once_or_goes_back() -> Result<()> {
    withdraw_under(37, FaultKind::TrapCallee).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_that_is_not_delivered_goes_back() -> Result<()> {
    withdraw_under(38, FaultKind::Reject).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_while_the_ledger_is_stopped_is_paid_once_or_goes_back() -> Result<()> {
    let scene = Scene::set(39).await?;
    let control = emc_tests::control!(scene.market);
    let (ledger, escrow) = (
        scene.in_ledger(&scene.alice).await?,
        scene.available(&scene.alice).await?,
    );
    scene
        .market
        .deployer()
        .stop(scene.market.ids.ledger)
        .await?;
    ensure!(
        scene
            .escrow(&scene.alice)
            .withdraw(withdrawal())
            .await
            .is_err()
    );
    scene
        .market
        .deployer()
        .start(scene.market.ids.ledger)
        .await?;
    resolved(&scene, &control).await?;
    let moved = scene.in_ledger(&scene.alice).await?.0 - ledger.0;
    ensure!(moved == 0 || moved == AMOUNT.0);
    ensure!(scene.available(&scene.alice).await?.0 == escrow.0 - moved);
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_transfer_to_the_deposit_account_is_credited_when_told() -> Result<()> {
    let scene = Scene::set(40).await?;
    let bob = scene.market.person_with("bob", AMOUNT).await?;
    let escrow = scene.escrow(&bob);
    let to = escrow.deposit_account(bob.principal()).await?;
    let to = emc_client::Account {
        owner: to.owner,
        subaccount: to
            .subaccount
            .map(|bytes| bytes.as_slice().try_into())
            .transpose()?,
    };
    scene
        .market
        .client(&bob)
        .ledger(scene.market.ids.ledger)
        .transfer(to, AMOUNT)
        .await?;
    // Anyone may tell the escrow; the beneficiary is credited.
    let told = scene
        .escrow(&scene.alice)
        .notify_deposit(bob.principal())
        .await?;
    ensure!(told.credited == AMOUNT);
    exactly_once(&scene, &bob, true).await?;
    let again = scene
        .escrow(&scene.alice)
        .notify_deposit(bob.principal())
        .await;
    ensure!(
        again.is_err() || again.is_ok_and(|reply| reply.credited.is_zero()),
        "swept twice"
    );
    exactly_once(&scene, &bob, true).await?;
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_cannot_be_withdrawn() -> Result<()> {
    let scene = Scene::set(41).await?;
    let job = scene.ask("Lock this.").await?;
    let all = scene.available(&scene.alice).await?;
    let more = WithdrawArgs {
        amount: Tokens(all.0 + 1),
        to: None,
    };
    scene
        .refused(
            code::INSUFFICIENT_FUNDS,
            scene.escrow(&scene.alice).withdraw(more),
        )
        .await?;
    let reply = scene
        .escrow(&scene.alice)
        .withdraw(WithdrawArgs {
            amount: all,
            to: None,
        })
        .await?;
    ensure!(reply.available.is_zero() && reply.paid == all);
    scene.check().await?;
    scene.escrow(&scene.alice).cancel_job(job.job_id).await?;
    ensure!(scene.available(&scene.alice).await? == emc_tests::MAX_PRICE);
    scene.check().await
}
