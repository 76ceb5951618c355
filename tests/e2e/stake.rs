//! Stake through registry and ledger, in and out, while the ledger is stopped, traps, or its answers are lost: nothing is
//! lost, nothing is doubled, and everything resolves by itself.

use anyhow::{Result, ensure};
use emc_client::Error;
use emc_devnet::control::{Fault, FaultKind};
use emc_devnet::market::{self, MINIMUM_STAKE, until};
use emc_devnet::node::HandNode;
use emc_devnet::{Control, Person};
use emc_protocol::node::{NodeStatus, StakeArgs, UnstakeArgs};
use emc_protocol::{JobState, Tokens, error::code};
use emc_tests::Scene;
use std::time::Duration;

const AMOUNT: Tokens = Tokens::emc(30);
const UNBONDING: Duration = Duration::from_secs(market::UNBONDING.0);

/// A node with its least stake, whose owner has `AMOUNT` more in the ledger and has approved the registry.
struct Staker {
    scene: Scene,
    control: Control,
    node: HandNode,
}

/// Where the owner's EMC are: in the ledger, behind the node, on their way out.
type Whereabouts = (Tokens, Tokens, Tokens);

impl Staker {
    /// `None` where the network has no time travel and no faults.
    async fn set(seed: u64) -> Result<Option<Self>> {
        let scene = Scene::set(seed).await?;
        let Some(control) = scene.market.network.control().cloned() else {
            println!("skipped: this network has no time travel and no faults");
            return Ok(None);
        };
        let node = scene.market.hand_node("node", &scene.model).await?;
        let staker = Self {
            scene,
            control,
            node,
        };
        staker.fund().await?;
        Ok(Some(staker))
    }

    fn owner(&self) -> &Person {
        &self.node.owner
    }

    fn registry(&self) -> emc_client::Registry {
        let market = &self.scene.market;
        market.client(self.owner()).registry(market.ids.registry)
    }

    async fn fund(&self) -> Result<()> {
        let market = &self.scene.market;
        market.person_with(&self.owner().name, AMOUNT).await?;
        let ledger = market.client(self.owner()).ledger(market.ids.ledger);
        // For all that a test stakes.
        let all = Tokens(AMOUNT.0 + MINIMUM_STAKE.0);
        ledger.approve(market.ids.registry, all).await?;
        Ok(())
    }

    async fn stake(&self, amount: Tokens) -> Result<(), Error> {
        let args = StakeArgs {
            node: self.node.node.principal(),
            escrow: self.scene.market.ids.escrow,
            amount,
            from_subaccount: None,
        };
        self.registry().stake(args).await.map(|_| ())
    }

    async fn unstake(&self, amount: Tokens) -> Result<u64, Error> {
        let args = UnstakeArgs {
            node: self.node.node.principal(),
            escrow: self.scene.market.ids.escrow,
            amount,
        };
        let node = self.registry().unstake(args).await?;
        let newest = node.unbonding.iter().map(|unbonding| unbonding.id).max();
        let acknowledged = self.scene.market.unstaking_acknowledged(node.id).await;
        acknowledged.expect("the escrow holds nothing of it");
        Ok(newest.unwrap_or_default())
    }

    async fn withdraw(&self, id: Option<u64>) -> Result<Tokens, Error> {
        let node = self.node.node.principal();
        self.registry().withdraw_unbonded(node, id).await
    }

    async fn whereabouts(&self) -> Result<Whereabouts> {
        self.scene.check().await?;
        let node = self.registry().node(self.node.node.principal()).await?;
        let sum = |amounts: &mut dyn Iterator<Item = Tokens>| Tokens(amounts.map(|a| a.0).sum());
        let staked = sum(&mut node.allotments.iter().map(|a| a.amount));
        let leaving = sum(&mut node.unbonding.iter().map(|u| u.amount));
        Ok((self.scene.in_ledger(self.owner()).await?, staked, leaving))
    }

    async fn expect(&self, expected: Whereabouts) -> Result<()> {
        let (ledger, staked, leaving) = self.whereabouts().await?;
        ensure!(
            (ledger, staked, leaving) == expected,
            "{ledger} in the ledger, {staked} staked, {leaving} unbonding, not {expected:?}"
        );
        Ok(())
    }

    /// Waits until no ledger call's outcome is open, moving time on as far as that takes.
    async fn resolved(&self) -> Result<()> {
        let limit = Duration::from_secs(60);
        until(limit, "the registry's journal to resolve", async || {
            let info = self.registry().info().await?;
            self.scene.check().await?;
            if info.journal_open > 0 {
                self.control.advance(Duration::from_secs(3600)).await?;
            }
            Ok((info.journal_open == 0).then_some(()))
        })
        .await?;
        self.scene.check().await
    }

    /// Makes the registry's next call of a method of the ledger fail.
    async fn fault(&self, kind: FaultKind, method: &str) -> Result<u64> {
        let registry = self.scene.market.ids.registry;
        self.control
            .fault(&Fault::next(kind, registry, method))
            .await
    }

    async fn fired(&self, fault: u64) -> Result<()> {
        let fired = self.control.fired(fault).await?;
        ensure!(fired == 1, "the fault never applied");
        Ok(())
    }
}

/// Both places hold what they should, whichever way the call went; true if it went through.
async fn moved(staker: &Staker, before: Whereabouts, after: Whereabouts) -> Result<bool> {
    let now = staker.whereabouts().await?;
    ensure!(
        now == before || now == after,
        "{now:?} is neither {before:?} nor {after:?}"
    );
    Ok(now == after)
}

#[tokio::test(flavor = "multi_thread")]
async fn stake_that_is_taken_out_waits_and_then_comes_back_whole() -> Result<()> {
    let Some(staker) = Staker::set(81).await? else {
        return Ok(());
    };
    let (scene, none) = (&staker.scene, Tokens::ZERO);
    staker.expect((AMOUNT, MINIMUM_STAKE, none)).await?;
    staker.stake(AMOUNT).await?;
    let both = Tokens(AMOUNT.0 + MINIMUM_STAKE.0);
    staker.expect((none, both, none)).await?;
    let again = staker.stake(AMOUNT).await;
    ensure!(again.is_err(), "the EMC are used up");
    staker.expect((none, both, none)).await?;

    let first = staker.unstake(Tokens::emc(10)).await?;
    staker.control.advance(Duration::from_secs(60)).await?;
    let second = staker.unstake(Tokens::emc(20)).await?;
    staker.expect((none, MINIMUM_STAKE, AMOUNT)).await?;
    for id in [None, Some(first), Some(second)] {
        let early = staker.withdraw(id).await;
        ensure!(early.is_err_and(|error| error.is_code(code::WRONG_STATE)));
    }
    let stranger = scene.alice().registry(scene.market.ids.registry);
    let node = staker.node.node.principal();
    let stolen = stranger.withdraw_unbonded(node, Some(first)).await;
    ensure!(stolen.is_err(), "only the owner may do that");
    staker.expect((none, MINIMUM_STAKE, AMOUNT)).await?;

    // The first is ready a minute before the second. The node still has its least stake, and works on.
    let rest = UNBONDING - Duration::from_secs(60 - 10);
    staker.control.advance(rest).await?;
    let early = staker.withdraw(Some(second)).await;
    ensure!(early.is_err_and(|error| error.is_code(code::WRONG_STATE)));
    ensure!(staker.withdraw(None).await? == Tokens::emc(10));
    staker
        .expect((Tokens::emc(10), MINIMUM_STAKE, Tokens::emc(20)))
        .await?;
    let twice = staker.withdraw(Some(first)).await;
    ensure!(twice.is_err_and(|error| error.is_code(code::NOT_FOUND)));
    staker.control.advance(Duration::from_secs(60)).await?;
    ensure!(staker.withdraw(Some(second)).await? == Tokens::emc(20));
    staker.expect((AMOUNT, MINIMUM_STAKE, none)).await?;
    let nothing = staker.withdraw(None).await;
    ensure!(nothing.is_err_and(|error| error.is_code(code::NOT_FOUND)));

    // Without stake it gets no work; with stake again it does.
    staker.node.heartbeat(&scene.market).await?;
    staker.unstake(MINIMUM_STAKE).await?;
    scene.market.feed_arrived().await?;
    let job = scene.ask("Is anybody there?").await?;
    let claimed = staker.node.claim(1).await;
    ensure!(
        claimed.as_ref().is_err() || claimed.is_ok_and(|leases| leases.is_empty()),
        "a node without stake gets no lease"
    );
    scene.expect_state(job.job_id, JobState::Open).await?;
    let exited = staker.registry().node(node).await?.status;
    ensure!(exited == Some(NodeStatus::Exited), "{exited:?}");
    staker.control.pass(UNBONDING).await?;
    ensure!(staker.withdraw(None).await? == MINIMUM_STAKE);
    staker.stake(MINIMUM_STAKE).await?;
    staker.expect((AMOUNT, MINIMUM_STAKE, none)).await?;
    let job = scene.ask("Is anybody there again?").await?;
    staker.node.heartbeat(&scene.market).await?;
    scene.market.feed_arrived().await?;
    let lease = staker.node.claim_one().await?;
    let delivery = staker.node.delivery(&lease, &[1], "Again.");
    staker.node.deliver(delivery).await?;
    scene.expect_state(job.job_id, JobState::Settled).await?;
    scene.check().await
}

/// A stake under a fault, after which everything resolves by itself.
async fn stake_under(seed: u64, kind: FaultKind) -> Result<()> {
    let Some(staker) = Staker::set(seed).await? else {
        return Ok(());
    };
    let none = Tokens::ZERO;
    let before = (AMOUNT, MINIMUM_STAKE, none);
    let after = (none, Tokens(MINIMUM_STAKE.0 + AMOUNT.0), none);
    let fault = staker.fault(kind, "icrc2_transfer_from").await?;
    let outcome = staker.stake(AMOUNT).await;
    staker.resolved().await?;
    staker.fired(fault).await?;
    let through = moved(&staker, before, after).await?;
    if matches!(kind, FaultKind::LoseReply | FaultKind::TrapCallback) {
        ensure!(through, "the ledger had carried it out");
    }
    ensure!(outcome.is_err() || through, "it was said to be staked");
    if !through {
        staker.stake(AMOUNT).await?;
    }
    staker.expect(after).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stake_whose_answer_is_lost_counts_once() -> Result<()> {
    stake_under(82, FaultKind::LoseReply).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stake_whose_callback_traps_counts_once() -> Result<()> {
    stake_under(83, FaultKind::TrapCallback).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stake_in_which_the_ledger_traps_counts_once_or_can_be_made_again() -> Result<()> {
    stake_under(84, FaultKind::TrapCallee).await
}

/// Withdrawals of two unbondings, the first under a fault; each arrives once.
async fn withdraw_under(seed: u64, kind: FaultKind) -> Result<()> {
    let Some(staker) = Staker::set(seed).await? else {
        return Ok(());
    };
    staker.stake(AMOUNT).await?;
    let half = Tokens(AMOUNT.0 / 2);
    let (first, second) = (staker.unstake(half).await?, staker.unstake(half).await?);
    staker.control.advance(UNBONDING).await?;
    let none = Tokens::ZERO;
    staker.expect((none, MINIMUM_STAKE, AMOUNT)).await?;
    let fault = staker.fault(kind, "icrc1_transfer").await?;
    let outcome = staker.withdraw(Some(first)).await;
    // What is under way neither goes out twice nor keeps the other back.
    let again = staker.withdraw(Some(first)).await;
    ensure!(again.is_err() || outcome.is_err(), "paid out twice");
    let again = again.is_ok();
    ensure!(staker.withdraw(Some(second)).await? == half);
    staker.resolved().await?;
    staker.fired(fault).await?;
    let (before, after) = ((half, MINIMUM_STAKE, half), (AMOUNT, MINIMUM_STAKE, none));
    let through = moved(&staker, before, after).await?;
    if matches!(kind, FaultKind::LoseReply | FaultKind::TrapCallback) {
        ensure!(through, "the ledger had carried it out");
    }
    ensure!(
        through || (outcome.is_err() && !again),
        "it was said to be paid"
    );
    if !through {
        ensure!(staker.withdraw(None).await? == half);
    }
    staker.expect(after).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbonded_stake_whose_answer_is_lost_is_paid_once() -> Result<()> {
    withdraw_under(85, FaultKind::LoseReply).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbonded_stake_whose_callback_traps_is_paid_once() -> Result<()> {
    withdraw_under(86, FaultKind::TrapCallback).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbonded_stake_at_which_the_ledger_traps_is_paid_once_or_stays() -> Result<()> {
    withdraw_under(87, FaultKind::TrapCallee).await
}

#[tokio::test(flavor = "multi_thread")]
async fn stake_moves_neither_in_nor_out_while_the_ledger_is_stopped_and_both_afterwards()
-> Result<()> {
    let Some(staker) = Staker::set(88).await? else {
        return Ok(());
    };
    let market = &staker.scene.market;
    let ten = Tokens::emc(10);
    staker.unstake(ten).await?;
    staker.control.advance(UNBONDING).await?;
    let staked = Tokens(MINIMUM_STAKE.0 - ten.0);
    let before = (AMOUNT, staked, ten);
    staker.expect(before).await?;

    market.deployer().stop(market.ids.ledger).await?;
    ensure!(
        staker.stake(AMOUNT).await.is_err(),
        "a stopped ledger moves nothing"
    );
    ensure!(staker.withdraw(None).await.is_err());
    staker.control.advance(Duration::from_secs(120)).await?;
    market.deployer().start(market.ids.ledger).await?;
    staker.resolved().await?;
    let (ledger, now, leaving) = staker.whereabouts().await?;
    if now == staked {
        staker.stake(AMOUNT).await?;
    }
    if leaving == ten {
        ensure!(staker.withdraw(None).await? == ten);
    }
    ensure!(ledger.0 <= AMOUNT.0 + ten.0);
    let after = (ten, Tokens(staked.0 + AMOUNT.0), Tokens::ZERO);
    staker.expect(after).await
}
