//! An escrow's hold on stake, over HTTP: reports, slashing and burning under faults, jail, and stake that waits for an
//! acknowledgement. The escrow is a principal that reports by hand: to the registry an escrow is whoever stake is
//! allotted to.

use anyhow::{Context, Result, ensure};
use emc_client::{Error, Registry};
use emc_devnet::control::{Fault, FaultKind};
use emc_devnet::market::{UNBONDING, until};
use emc_devnet::node::HandNode;
use emc_devnet::{Control, Person};
use emc_protocol::node::{Node, NodeStatus, RegistryInfo, StakeArgs, UnstakeArgs};
use emc_protocol::parameters::{ParameterChange, RegistryParameters};
use emc_protocol::report::{Acknowledgement, NodeOutcome, Report};
use emc_protocol::{Seconds, Tokens, error::code};
use emc_tests::{Scene, control};
use std::time::Duration;

const STAKE: Tokens = Tokens::emc(30);
const SILENCE: Seconds = Seconds(14 * 24 * 3600);
const JAIL: Duration = Duration::from_secs(3 * 24 * 3600);

/// A node with stake in an escrow whose every report the test writes itself.
struct Hold {
    scene: Scene,
    control: Control,
    node: HandNode,
    arbiter: Person,
}

impl Hold {
    async fn set(scene: Scene, control: Control) -> Result<Self> {
        let node = scene.market.hand_node("node", &scene.model).await?;
        let hold = Self {
            arbiter: scene.market.person("arbiter"),
            scene,
            control,
            node,
        };
        // A silence that the test's time travel does not reach.
        let change = RegistryParameters {
            silence: Some(SILENCE),
            ..RegistryParameters::default()
        };
        hold.governor().set_parameters(change).await?;
        let (market, owner) = (&hold.scene.market, &hold.node.owner);
        market.person_with(&owner.name, STAKE).await?;
        let ledger = market.client(owner).ledger(market.ids.ledger);
        ledger.approve(market.ids.registry, STAKE).await?;
        let args = StakeArgs {
            node: hold.node.node.principal(),
            escrow: hold.arbiter.principal(),
            amount: STAKE,
            from_subaccount: None,
        };
        hold.owner().stake(args).await?;
        Ok(hold)
    }

    fn registry(&self, person: &Person) -> Registry {
        let market = &self.scene.market;
        market.client(person).registry(market.ids.registry)
    }

    fn owner(&self) -> Registry {
        self.registry(&self.node.owner)
    }

    fn governor(&self) -> Registry {
        self.registry(&self.scene.market.governor)
    }

    async fn seen(&self) -> Result<Node> {
        Ok(self.owner().node(self.node.node.principal()).await?)
    }

    /// What stands behind the node in the arbiter's escrow.
    async fn stake(&self) -> Result<Tokens> {
        let allotments = self.seen().await?.allotments.into_iter();
        let mut ours = allotments.filter(|a| a.escrow == self.arbiter.principal());
        Ok(ours.next().map_or(Tokens::ZERO, |a| a.amount))
    }

    async fn report(&self, number: u64, slashed: Tokens, overturned: u32) -> Result<u64, Error> {
        let outcome = NodeOutcome {
            node: self.node.node.principal(),
            settled: 3,
            lapsed: 0,
            declined: 0,
            upheld: 0,
            overturned,
            votes: 0,
            votes_lost: 0,
            slashed,
        };
        let report = Report {
            number,
            outcomes: vec![outcome],
            acknowledgements: vec![],
            mining: None,
        };
        let registry = self.registry(&self.arbiter);
        Ok(registry.report(report).await?.applied)
    }

    async fn acknowledge(&self, number: u64, sequence: u64) -> Result<()> {
        let acknowledgement = Acknowledgement {
            node: self.node.node.principal(),
            sequence,
        };
        let report = Report {
            number,
            outcomes: vec![],
            acknowledgements: vec![acknowledgement],
            mining: None,
        };
        self.registry(&self.arbiter).report(report).await?;
        Ok(())
    }

    /// Waits until nothing burns and no ledger call is open, moving time on as far as that takes.
    async fn burned(&self) -> Result<RegistryInfo> {
        let limit = Duration::from_secs(60);
        until(limit, "what was slashed to be burned", async || {
            self.control.advance(Duration::from_secs(60)).await?;
            self.scene.check().await?;
            let info = self.owner().info().await?;
            let still = info.journal_open == 0 && info.burning == Some(Tokens::ZERO);
            Ok(still.then_some(info))
        })
        .await
    }
}

/// A slash under a fault of the burn: it is burned once, and the ledger's supply shows it.
async fn slash_under(hold: &Hold, kind: Option<FaultKind>) -> Result<()> {
    let ten = Tokens::emc(10);
    let registry = hold.scene.market.ids.registry;
    let mut fault = None;
    if let Some(kind) = kind {
        let next = Fault::next(kind, registry, "icrc1_transfer");
        fault = Some(hold.control.fault(&next).await?);
    }
    ensure!(hold.report(1, ten, 0).await? == 1);
    ensure!(hold.stake().await? == Tokens::emc(20));
    ensure!(hold.report(1, ten, 0).await? == 1, "a repeated report");
    ensure!(hold.stake().await? == Tokens::emc(20), "changes nothing");
    let gap = hold.report(3, ten, 0).await;
    ensure!(gap.is_err_and(|error| error.is_code("gap")));
    let info = hold.burned().await?;
    ensure!(info.burned == Some(ten), "{:?} burned", info.burned);
    let outcomes = hold.seen().await?.outcomes.context("it was reported")?;
    ensure!((outcomes.settled, outcomes.slashed) == (3, ten));
    if let Some(fault) = fault {
        ensure!(hold.control.fired(fault).await? == 1, "it never applied");
    }
    // More than there is takes what there is.
    hold.report(2, Tokens::emc(1_000_000), 0).await?;
    ensure!(hold.stake().await? == Tokens::ZERO);
    let info = hold.burned().await?;
    ensure!(info.burned == Some(STAKE), "{:?} burned", info.burned);
    hold.scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn slashed_stake_is_burned_and_never_more_than_there_is() -> Result<()> {
    let scene = Scene::set(101).await?;
    let control = control!(scene.market);
    slash_under(&Hold::set(scene, control).await?, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burn_whose_answer_is_lost_is_done_once() -> Result<()> {
    let scene = Scene::set(102).await?;
    let control = control!(scene.market);
    slash_under(
        &Hold::set(scene, control).await?,
        Some(FaultKind::LoseReply),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burn_whose_callback_traps_is_done_once() -> Result<()> {
    let scene = Scene::set(103).await?;
    let control = control!(scene.market);
    slash_under(
        &Hold::set(scene, control).await?,
        Some(FaultKind::TrapCallback),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burn_in_which_the_ledger_traps_is_made_again() -> Result<()> {
    let scene = Scene::set(104).await?;
    let control = control!(scene.market);
    slash_under(
        &Hold::set(scene, control).await?,
        Some(FaultKind::TrapCallee),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overturned_node_sits_its_time_and_unstaking_waits_for_the_escrow() -> Result<()> {
    let scene = Scene::set(105).await?;
    let control = control!(scene.market);
    let hold = Hold::set(scene, control).await?;
    let (node, ten) = (hold.node.node.principal(), Tokens::emc(10));
    let unstake = UnstakeArgs {
        node,
        escrow: hold.arbiter.principal(),
        amount: ten,
    };
    let unbonding = hold.owner().unstake(unstake).await?.unbonding;
    ensure!(unbonding[0].waiting == Some(true) && unbonding[0].ready.0 == 0);
    let announced = hold.owner().info().await?.sequence;
    hold.control
        .advance(Duration::from_secs(UNBONDING.0 * 2))
        .await?;
    let withdraw = async || hold.owner().withdraw_unbonded(node, None).await;
    ensure!(
        withdraw()
            .await
            .is_err_and(|e| e.is_code(code::WRONG_STATE))
    );
    hold.acknowledge(1, announced - 1).await?;
    ensure!(hold.seen().await?.unbonding[0].waiting == Some(true));
    hold.acknowledge(2, announced).await?;
    ensure!(
        withdraw()
            .await
            .is_err_and(|e| e.is_code(code::WRONG_STATE))
    );

    // An overturned result: the bond burns, what was let go does not, and the node is barred.
    hold.report(3, STAKE, 1).await?;
    let jailed = hold.seen().await?;
    ensure!(jailed.status == Some(NodeStatus::Jailed), "{jailed:?}");
    ensure!(hold.stake().await? == Tokens::ZERO && jailed.unbonding[0].amount == ten);
    let unjail = async || hold.owner().unjail(node).await;
    ensure!(unjail().await.is_err_and(|e| e.is_code(code::WRONG_STATE)));
    let stranger = hold.registry(&hold.scene.alice).unjail(node).await;
    ensure!(stranger.is_err(), "only the owner frees it");
    hold.control
        .advance(Duration::from_secs(UNBONDING.0))
        .await?;
    ensure!(withdraw().await? == ten);
    hold.control.advance(JAIL).await?;
    ensure!(unjail().await?.status == Some(NodeStatus::Active));
    let info = hold.burned().await?;
    ensure!(info.burned == Some(Tokens::emc(20)));
    hold.scene.market.upgrade_all().await?;
    ensure!(hold.owner().info().await?.burned == info.burned);
    ensure!(
        hold.report(3, STAKE, 1).await? == 3,
        "known after an upgrade"
    );
    hold.scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_governor_s_change_waits_for_its_time_in_public() -> Result<()> {
    let scene = Scene::set(106).await?;
    let control = control!(scene.market);
    let market = &scene.market;
    let governor = market
        .client(&market.governor)
        .registry(market.ids.registry);
    let delay = |seconds| RegistryParameters {
        delay: Some(Seconds(seconds)),
        ..RegistryParameters::default()
    };
    let least = |emc| RegistryParameters {
        minimum_stake: Some(Tokens::emc(emc)),
        ..RegistryParameters::default()
    };
    let stranger = scene.alice().registry(market.ids.registry);
    ensure!(stranger.set_parameters(delay(0)).await.is_err());
    let before = governor.set_parameters(delay(3600)).await?;
    ensure!(before.pending.is_none(), "there was no delay until now");
    let announced = governor.set_parameters(least(7)).await?;
    ensure!(announced.minimum_stake == before.minimum_stake);
    let pending = announced.pending.context("it is announced")?;
    ensure!(pending.effective.since(pending.announced) == Seconds(3600));
    governor.cancel_parameters().await?;
    governor.set_parameters(least(8)).await?;
    control.advance(Duration::from_secs(3600)).await?;
    // Nobody did anything: whoever looks sees it, and the timer keeps it.
    let info = stranger.info().await?;
    ensure!(info.minimum_stake == Tokens::emc(8) && info.pending.is_none());
    control.advance(Duration::from_secs(6)).await?;
    let log = until(
        Duration::from_secs(30),
        "the timer to write it down",
        async || {
            let log = stranger.whole_parameter_log().await?;
            Ok((log.len() == 6).then_some(log))
        },
    )
    .await?;
    let kinds = log.iter().map(|event| match event.what {
        Some(ParameterChange::Announced { .. }) => 'a',
        Some(ParameterChange::Applied { .. }) => 'e',
        Some(ParameterChange::Cancelled { .. }) => 'c',
        _ => '?',
    });
    ensure!(kinds.collect::<String>() == "aeacae", "{log:?}");
    scene.check().await
}
