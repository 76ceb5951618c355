//! Mining over HTTP: an escrow that reports by hand, days that pass, faults and upgrades in between, and the `emc` command.
//! The pool has the test phase's EMC from the first day.

use anyhow::{Context, Result, ensure};
use emc_client::Registry;
use emc_devnet::control::{Fault, FaultKind};
use emc_devnet::market::{POOL, until};
use emc_devnet::node::HandNode;
use emc_devnet::{Control, Person};
use emc_protocol::Tokens;
use emc_protocol::mining::{EpochSummary, MiningReport, NodePower};
use emc_protocol::node::StakeArgs;
use emc_protocol::parameters::RegistryParameters;
use emc_protocol::report::Report;
use emc_tests::programs::Home;
use emc_tests::{Scene, control};
use std::time::Duration;

const STAKE: Tokens = Tokens::emc(30);
const A_DAY: Tokens = Tokens::emc(50_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A market whose mining is measured by the test itself.
struct Mine {
    scene: Scene,
    control: Control,
    meter: Person,
    nodes: Vec<HandNode>,
}

impl Mine {
    /// A market with so many nodes, all with stake in the test's own escrow, which alone measures.
    async fn set(scene: Scene, control: Control, nodes: usize) -> Result<Self> {
        let meter = scene.market.person("meter");
        let market = &scene.market;
        let change = RegistryParameters {
            mining_escrows: Some(vec![meter.principal()]),
            ..RegistryParameters::default()
        };
        let governor = market.client(&market.governor);
        let governor = governor.registry(market.ids.registry);
        let info = governor.set_parameters(change).await?;
        let holds = info.parameters.context("they are shown")?;
        ensure!(holds.mining_escrows == Some(vec![meter.principal()]));
        let mut mine = Self {
            scene,
            control,
            meter,
            nodes: vec![],
        };
        for n in 0..nodes {
            mine.add_node(&format!("node {n}")).await?;
        }
        // Mining begins by itself: the pool is there.
        until(Duration::from_secs(60), "mining to begin", async || {
            mine.control.advance(Duration::from_secs(300)).await?;
            let status = mine.registry(&mine.meter).mining_status().await?;
            Ok(status.first_epoch)
        })
        .await?;
        mine.scene.check().await?;
        Ok(mine)
    }

    async fn add_node(&mut self, name: &str) -> Result<()> {
        let market = &self.scene.market;
        let node = market.hand_node(name, &self.scene.model).await?;
        market.person_with(&node.owner.name, STAKE).await?;
        let owner = market.client(&node.owner);
        let ledger = owner.ledger(market.ids.ledger);
        ledger.approve(market.ids.registry, STAKE).await?;
        let args = StakeArgs {
            node: node.node.principal(),
            escrow: self.meter.principal(),
            amount: STAKE,
            from_subaccount: None,
        };
        owner.registry(market.ids.registry).stake(args).await?;
        self.nodes.push(node);
        Ok(())
    }

    fn registry(&self, person: &Person) -> Registry {
        let market = &self.scene.market;
        market.client(person).registry(market.ids.registry)
    }

    fn power(&self, node: usize, epoch: u64, power: u128, votes: u32) -> NodePower {
        NodePower {
            node: self.nodes[node].node.principal(),
            epoch,
            power,
            votes,
            forfeited: false,
        }
    }

    async fn today(&self) -> Result<u64> {
        Ok(self.registry(&self.meter).mining_status().await?.epoch)
    }

    async fn report(&self, number: u64, powers: Vec<NodePower>, complete: bool) -> Result<()> {
        let complete = match complete {
            true => Some(self.today().await?),
            false => None,
        };
        let report = Report {
            number,
            outcomes: vec![],
            acknowledgements: vec![],
            mining: Some(MiningReport { powers, complete }),
        };
        self.registry(&self.meter).report(report).await?;
        Ok(())
    }

    /// Waits until a day's shares are computed.
    async fn closed(&self, epoch: u64) -> Result<EpochSummary> {
        let registry = self.registry(&self.meter);
        until(Duration::from_secs(60), "the day's shares", async || {
            self.control.advance(Duration::from_secs(60)).await?;
            Ok(registry.mining_history(epoch, 1).await?.pop())
        })
        .await
    }

    async fn earnings(&self, node: usize) -> Result<Tokens> {
        let owner = self.nodes[node].owner.principal();
        Ok(self.registry(&self.meter).mining_earnings(owner).await?)
    }

    async fn in_pool(&self) -> Result<Tokens> {
        let market = &self.scene.market;
        let pool = self.registry(&self.meter).mining_pool();
        Ok(market
            .client(&self.meter)
            .ledger(market.ids.ledger)
            .balance(pool)
            .await?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_divided_by_what_nodes_have_shown_and_paid_from_the_pool() -> Result<()> {
    let scene = Scene::set(111).await?;
    let control = control!(scene.market);
    let mine = Mine::set(scene, control, 3).await?;
    ensure!(mine.in_pool().await? == POOL);
    let first = mine.today().await?;
    let lines = vec![
        mine.power(0, first, 300, 0),
        mine.power(1, first, 100, 3),
        mine.power(2, first, 500, 9),
    ];
    mine.report(1, lines, false).await?;
    // Node 2 is overturned later that day, and loses what it had shown.
    let mut forfeited = mine.power(2, first, 0, 0);
    forfeited.forfeited = true;
    mine.report(2, vec![forfeited], true).await?;
    mine.scene.check().await?;
    mine.control.advance(DAY).await?;
    let day = mine.closed(first).await?;
    mine.scene.check().await?;
    ensure!(
        day.available == A_DAY && day.rolled_over == Tokens::ZERO,
        "{day:?}"
    );
    ensure!(
        (day.power, day.votes, day.miners, day.forfeited) == (400, 3, 2, 1),
        "{day:?}"
    );
    ensure!(mine.earnings(0).await? == Tokens::emc(33_750));
    ensure!(mine.earnings(1).await? == Tokens::emc(11_250 + 5_000));
    ensure!(mine.earnings(2).await? == Tokens::ZERO);

    // What is known of it outlives an upgrade, and a payment whose answer is lost is made once.
    mine.scene.market.upgrade_all().await?;
    ensure!(mine.earnings(0).await? == Tokens::emc(33_750));
    let registry = mine.scene.market.ids.registry;
    let lost = Fault::next(FaultKind::LoseReply, registry, "icrc1_transfer");
    let lost = mine.control.fault(&lost).await?;
    let owner = &mine.nodes[0].owner;
    let before = mine.scene.in_ledger(owner).await?;
    let all = Tokens::emc(33_750);
    let paid = mine.registry(owner).withdraw_mining(None).await;
    ensure!(mine.control.fired(lost).await? == 1, "it never applied");
    if let Err(error) = paid {
        ensure!(error.is_code("pending"), "{error}");
    }
    until(Duration::from_secs(60), "the payment to end", async || {
        mine.control.advance(Duration::from_secs(60)).await?;
        mine.scene.check().await?;
        let info = mine.registry(owner).info().await?;
        Ok((info.journal_open == 0).then_some(()))
    })
    .await?;
    ensure!(mine.scene.in_ledger(owner).await?.0 == before.0 + all.0);
    ensure!(mine.in_pool().await?.0 == POOL.0 - all.0);
    let again = mine.registry(owner).withdraw_mining(None).await;
    ensure!(again.is_err_and(|error| error.is_code("not_found")));
    let status = mine.registry(owner).mining_status().await?;
    ensure!(
        (status.distributed, status.paid) == (A_DAY, all),
        "{status:?}"
    );
    mine.scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gpu_behind_ten_nodes_earns_what_one_node_earns() -> Result<()> {
    let scene = Scene::set(112).await?;
    let control = control!(scene.market);
    let mine = Mine::set(scene, control, 12).await?;
    let first = mine.today().await?;
    // Node 0 is a whole GPU, nodes 1 to 10 are another one's parts, node 11 is somebody else.
    let mut lines = vec![
        mine.power(0, first, 1_000, 0),
        mine.power(11, first, 777, 0),
    ];
    lines.extend((1..=10).map(|n| mine.power(n, first, 100, 0)));
    mine.report(1, lines, true).await?;
    mine.control.advance(DAY).await?;
    let day = mine.closed(first).await?;
    mine.scene.check().await?;
    let whole = mine.earnings(0).await?.0;
    let mut parts = 0;
    for n in 1..=10 {
        parts += mine.earnings(n).await?.0;
    }
    ensure!(parts <= whole && whole <= parts + 10, "{parts} for {whole}");
    let given = day.to_miners.0 + day.to_validators.0;
    ensure!(given + day.rolled_over.0 == A_DAY.0, "{day:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_while_a_day_is_closed_change_nothing() -> Result<()> {
    let scene = Scene::set(113).await?;
    let control = control!(scene.market);
    let mine = Mine::set(scene, control, 3).await?;
    let first = mine.today().await?;
    let powers = |epoch| {
        (0..3)
            .map(|n| mine.power(n, epoch, 7 * (n as u128 + 1), n as u32))
            .collect()
    };
    mine.report(1, powers(first), true).await?;
    mine.control.advance(DAY).await?;
    let registry = mine.registry(&mine.meter);
    // Again and again until the day is closed. On which step an upgrade falls is the network's matter; the native tests put
    // one after each.
    let day = until(Duration::from_secs(120), "the day's shares", async || {
        mine.scene.market.upgrade_all().await?;
        mine.scene.check().await?;
        mine.control.advance(Duration::from_secs(6)).await?;
        Ok(registry.mining_history(first, 1).await?.pop())
    })
    .await?;
    let mut earned = vec![];
    for n in 0..3 {
        earned.push(mine.earnings(n).await?.0);
    }
    // The next day, the same without a disturbance: the same shares.
    let second = first + 1;
    mine.report(2, powers(second), true).await?;
    mine.control.advance(DAY).await?;
    let same = mine.closed(second).await?;
    // What rounding left of the first day came on top of the second.
    ensure!(
        same.available.0 - day.rolled_over.0 == day.available.0,
        "{same:?}"
    );
    for (n, before) in earned.iter().enumerate() {
        let after = mine.earnings(n).await?.0 - before;
        ensure!(
            after.abs_diff(*before) <= 1,
            "node {n}: {before}, then {after}"
        );
    }
    mine.scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_the_pool_and_gets_earnings_out() -> Result<()> {
    let scene = Scene::set(114).await?;
    let control = control!(scene.market);
    let mine = Mine::set(scene, control, 2).await?;
    let market = &mine.scene.market;
    let home = Home::with_key(market, &mine.nodes[0].owner).await?;
    let first = mine.today().await?;
    mine.report(1, vec![mine.power(0, first, 5, 0)], true)
        .await?;
    let status = home
        .emc(&["mining", "status", "--json"])
        .await?
        .done()?
        .json()?;
    ensure!(
        status["pool"] == "3000000" && status["scheduled"] == "50000",
        "{status}"
    );
    ensure!(status["next_stage"]["scheduled"] == "50000", "{status}");
    let open = &status["nodes"][0]["days"][0];
    ensure!(open["power"] == "5" && open["reward"].is_null(), "{status}");
    home.emc(&["mining", "withdraw"])
        .await?
        .refuses(&["no earnings"])?;
    mine.control.advance(DAY).await?;
    mine.closed(first).await?;

    let meter = mine.meter.principal().to_text();
    let status = home.emc(&["mining", "status"]).await?.done()?;
    status.says(&[
        "3000000 EMC",
        "50000 EMC a day from",
        "45000 EMC can be withdrawn",
        "rolled over",
        "5000 EMC",
        &meter,
    ])?;
    let history = home
        .emc(&["mining", "history", "--json"])
        .await?
        .done()?
        .json()?;
    ensure!(
        history[0]["to_miners"] == "45000" && history[0]["miners"] == 1,
        "{history}"
    );
    let node = mine.nodes[0].node.principal().to_text();
    let history = home
        .emc(&["mining", "history", "--node", &node])
        .await?
        .done()?;
    history.says(&["45000 EMC"])?;
    home.emc(&["mining", "withdraw", "45000.1"])
        .await?
        .refuses(&["Only 45000 EMC"])?;
    let paid = home.emc(&["mining", "withdraw", "5000"]).await?.done()?;
    paid.says(&["paid 5000 EMC", "40000 EMC of mining"])?;
    let paid = home
        .emc(&["mining", "withdraw", "--json"])
        .await?
        .done()?
        .json()?;
    ensure!(paid["paid"] == "40000" && paid["earnings"] == "0", "{paid}");
    mine.scene.check().await?;
    let shown = home.emc(&["parameters", "show"]).await?.done()?;
    shown.says(&["mining escrows", &meter])?;
    mine.scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_can_fill_the_pool() -> Result<()> {
    let scene = Scene::set(115).await?;
    let market = &scene.market;
    let giver = market.person_with("giver", Tokens::emc(7)).await?;
    let home = Home::with_key(market, &giver).await?;
    scene.check().await?;
    let fund = home.emc(&["mining", "fund", "5"]).await?.done()?;
    fund.says(&["sent 5 EMC", "3000005 EMC now"])?;
    ensure!(scene.in_ledger(&giver).await? == Tokens::emc(2));
    let pool = market
        .anonymous()
        .registry(market.ids.registry)
        .mining_pool();
    let pool = market
        .anonymous()
        .ledger(market.ids.ledger)
        .balance(pool)
        .await?;
    ensure!(pool == Tokens(POOL.0 + Tokens::emc(5).0));
    home.emc(&["mining", "fund", "3"])
        .await?
        .refuses(&["2 EMC"])?;
    Ok(())
}
