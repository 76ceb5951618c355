//! What one GPU earns by mining, behind one node or many: honest, with a cheap model, and by buying from itself.
//!
//! Some honest miners have a GPU each, of different speeds; the attacker has one, and any number of nodes in front of
//! it, each with an owner and stake of its own. Rounds begin at the moments that the escrow draws. In a round's window a
//! GPU works on one probe at a time, at its speed, for its nodes by turns; what it has not finished when the window ends
//! is lost. Then the draws and audits run to their end, and what the escrow reports of a day is divided as the registry
//! divides it ([`crate::reward`]). Owners free their nodes from jail as soon as they may.

use crate::frontier::each;
use crate::market::{Delivered, MINIMUM_STAKE, Market, Order, Setup, model};
use crate::people::{Node, ValidatorHabit, WorkerHabit};
use crate::reward::{self, Shown};
use anyhow::{Context, Result};
use candid::Principal;
use emc_escrow::{bond, claim, mining_round, native};
use emc_protocol::audit::{Assurance, AuditSettings};
use emc_protocol::mining::begins;
use emc_protocol::work::ClaimArgs;
use emc_protocol::{Lease, Seconds, Timestamp, Tokens};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Tokens that a GPU of speed 1 makes in a second.
pub const TOKENS_A_SECOND: f64 = 30.0;
/// The speeds of the honest miners' GPUs; the attacker's is 1.
pub const HONEST_SPEEDS: [f64; 12] = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 2.0, 2.0, 2.0];
/// How many times as fast a cheap model is that a cheat runs instead.
pub const CHEAP: f64 = 10.0;
/// What each node stakes: the least, and some EMC for bonds that may burn.
pub const STAKE: Tokens = Tokens(MINIMUM_STAKE.0 / 10 * 11);
/// What a million output tokens of the model count.
const UNITS: u64 = 1_000;
/// Validators.
const VALIDATORS: usize = 20;
/// Output tokens of a probe's answer, from and to.
const ANSWERS: std::ops::RangeInclusive<u32> = 128..=256;
/// Jobs that an attacker buys from itself at a time.
const BOUGHT_AT_ONCE: usize = 20;
const MINUTE: Seconds = Seconds(60);
const MINUTES_A_DAY: u64 = 24 * 60;
/// Some day.
const FIRST_DAY: u64 = 20_833;
/// Stands before every node.
const FIRST: Principal = Principal::management_canister();

/// What the attacker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Nodes in front of its GPU.
    pub nodes: usize,
    /// True where it answers every probe with the cheap model.
    pub cheap: bool,
    /// How many of the probes are audited, in basis points.
    pub rate: u16,
    /// Jobs a day that it buys from its own first node, while no round is open.
    pub bought: usize,
    /// False where it takes no probes.
    pub mines: bool,
    /// How many of the twenty validators collude with it.
    pub colluding: usize,
}

impl Case {
    /// An honest one behind so many nodes, at the default rate.
    pub fn honest(nodes: usize) -> Self {
        Self {
            nodes,
            cheap: false,
            rate: AuditSettings::default().sample_rate,
            bought: 0,
            mines: true,
            colluding: 0,
        }
    }

    /// One with the cheap model.
    pub fn cheap(nodes: usize, rate: u16) -> Self {
        Self {
            cheap: true,
            rate,
            ..Self::honest(nodes)
        }
    }
}

/// What came of a case, over all its days; amounts in e8s.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What the attacker did.
    pub case: Case,
    /// Days that were played.
    pub days: u64,
    /// Probes that it delivered.
    pub probes: u64,
    /// What its upheld probes showed, also what was forfeited then.
    pub shown: u128,
    /// Its power that counted.
    pub counted: u128,
    /// All power that counted.
    pub all: u128,
    /// What its owners were paid.
    pub paid: u128,
    /// What all miners were paid.
    pub to_miners: u128,
    /// What there was to pay: nine tenths of what the days had to give.
    pub for_miners: u128,
    /// Days on which a node of it showed something, one for each node and day.
    pub worked: u64,
    /// Of these, the ones that were forfeited.
    pub forfeited: u64,
    /// Its stake at the beginning.
    pub stake: u128,
    /// The most of it that was reserved as bonds at the end of a window.
    pub reserved: u128,
    /// What was burned of it.
    pub burned: u128,
    /// Jobs that it bought from itself.
    pub bought: u64,
    /// What buying from itself cost it: the treasury's share and the auditors' fees.
    pub spent: u128,
}

impl Outcome {
    /// Its share of what miners were paid, from 0 to 1.
    pub fn share(&self) -> f64 {
        self.paid as f64 / (self.to_miners as f64).max(1.0)
    }

    /// Divides a day and adds what became of it.
    fn add(&mut self, shown: &BTreeMap<Principal, Shown>, mine: &BTreeSet<Principal>) {
        self.for_miners += emc_protocol::mining::parts(reward::DAY).0;
        for (node, (for_power, _)) in reward::divide(reward::DAY, shown) {
            self.to_miners += for_power;
            self.all += shown[&node].power;
            if mine.contains(&node) {
                self.paid += for_power;
                self.counted += shown[&node].power;
            }
        }
        for (_, shown) in shown.iter().filter(|(node, _)| mine.contains(node)) {
            self.worked += 1;
            self.shown += shown.power;
            self.forfeited += u64::from(shown.forfeited);
        }
    }

    /// Its share, as a multiple of [`worth`].
    pub fn against_one_gpu(&self) -> f64 {
        self.share() / worth()
    }
}

/// The attacker's GPU as a share of all, by speed.
pub fn worth() -> f64 {
    1.0 / (1.0 + HONEST_SPEEDS.iter().sum::<f64>())
}

/// The cases of the page: an honest GPU behind more and more nodes, the cheap model behind them at two rates and where a
/// fifth of the validators colludes, and the attacker that buys from itself, with mining and without.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [1, 2, 5, 10, 20, 100, 500].map(Case::honest).into();
    let normal = AuditSettings::default().sample_rate;
    for (rate, colluding) in [(normal / 10, 0), (normal, 0), (normal, VALIDATORS / 5)] {
        let cheap = |nodes| Case {
            colluding,
            ..Case::cheap(nodes, rate)
        };
        cases.extend([1, 5, 20, 100, 200, 500].map(cheap));
    }
    let buys = Case {
        bought: 500,
        ..Case::honest(1)
    };
    let only_buys = Case {
        mines: false,
        ..buys
    };
    cases.extend([buys, only_buys]);
    cases
}

/// A GPU, the nodes in front of it, and what it works on.
struct Gpu {
    tokens_a_second: f64,
    /// Places of its nodes among the market's workers.
    nodes: Vec<usize>,
    /// Whose turn is next.
    turn: usize,
    /// The probe that it works on: the node's place, the lease, and the tokens of the answer.
    work: Option<(usize, Lease, u32)>,
    /// When it is done with that, or is free.
    at: Timestamp,
}

impl Gpu {
    fn new(speed: f64, nodes: Vec<usize>) -> Self {
        Self {
            tokens_a_second: speed * TOKENS_A_SECOND,
            nodes,
            turn: 0,
            work: None,
            at: Timestamp(0),
        }
    }
}

/// Everybody.
struct World {
    market: Market,
    gpus: Vec<Gpu>,
    probes: u64,
    reserved: u128,
    bought: u64,
}

/// Plays one case.
///
/// # Errors
/// The rules refuse what an honest participant does.
pub fn play(seed: u64, case: Case, days: u64) -> Result<Outcome> {
    let mut world = World::new(seed, &case)?;
    for day in 0..days {
        world.day(FIRST_DAY + day, &case)?;
    }
    world.outcome(case, days)
}

/// Plays these cases, on every processor.
///
/// # Errors
/// As [`play`].
pub fn run(seed: u64, cases: &[Case], days: u64, done: impl Fn() + Sync) -> Result<Vec<Outcome>> {
    let all = each(cases, |number, &case| {
        let outcome = play(seed + number as u64, case, days);
        done();
        outcome
    });
    all.into_iter().collect()
}

impl World {
    fn new(seed: u64, case: &Case) -> Result<Self> {
        let honest = HONEST_SPEEDS.len();
        let attacker = match case.cheap {
            true => WorkerHabit::CHEAT,
            false => WorkerHabit::HONEST,
        };
        let mut workers = vec![WorkerHabit::HONEST; honest];
        workers.extend(vec![attacker; case.nodes]);
        let mut validators = vec![ValidatorHabit::Honest; VALIDATORS];
        validators[..case.colluding].fill(ValidatorHabit::Colludes);
        let first = Node::new(seed, honest as u64, 0);
        let market = Market::new(Setup {
            begin: begins(FIRST_DAY),
            audit: AuditSettings {
                sample_rate: case.rate,
                ..AuditSettings::default()
            },
            workers,
            validators,
            stake: STAKE,
            requesters: vec![first.owner],
            units: Some(UNITS),
            ..Setup::new(seed)
        })?;
        let speeds = HONEST_SPEEDS.iter().enumerate();
        let mut gpus: Vec<Gpu> = speeds
            .map(|(place, &speed)| Gpu::new(speed, vec![place]))
            .collect();
        if case.mines {
            let speed = if case.cheap { CHEAP } else { 1.0 };
            let nodes = (honest..honest + case.nodes).collect();
            gpus.push(Gpu::new(speed, nodes));
        }
        Ok(Self {
            market,
            gpus,
            probes: 0,
            reserved: 0,
            bought: 0,
        })
    }

    /// A day: what the attacker buys, and the rounds at their moments.
    fn day(&mut self, day: u64, case: &Case) -> Result<()> {
        self.market.now = self.market.now.max(begins(day));
        self.market.announce();
        for _ in 0..case.bought / BOUGHT_AT_ONCE {
            self.buy(BOUGHT_AT_ONCE)?;
        }
        for minute in 0..MINUTES_A_DAY {
            let moment = begins(day).after(Seconds(minute * MINUTE.0));
            self.market.now = self.market.now.max(moment);
            let (state, now) = (&mut self.market.state, self.market.now);
            if !mining_round::is_to_be_drawn(state, now) {
                continue;
            }
            mining_round::draw(state, now, &self.market.rng.r#gen());
            if let Some(round) = mining_round::open(state, now) {
                self.round(round.until)?;
            }
        }
        self.market.now = self.market.now.max(begins(day + 1));
        self.market.housekeeping();
        Ok(())
    }

    /// The attacker asks for jobs as a requester and takes them as a node.
    fn buy(&mut self, jobs: usize) -> Result<()> {
        let place = HONEST_SPEEDS.len();
        let order = Order {
            requester: 0,
            assurance: Assurance::Sampled,
            question: 100,
            max_tokens: *ANSWERS.end(),
            tokens: *ANSWERS.end(),
        };
        for _ in 0..jobs {
            self.market.ask(&order, None)?;
        }
        let leases = self.claim(place, jobs as u32)?;
        self.bought += leases.len() as u64;
        self.market.pass(Seconds(5));
        let mut delivered = vec![];
        for lease in &leases {
            delivered.push(self.market.deliver(place, lease, &order)?);
        }
        self.market.until_final(&delivered)?;
        self.market.housekeeping();
        Ok(())
    }

    fn claim(&mut self, place: usize, max: u32) -> Result<Vec<Lease>> {
        let node = self.market.workers[place].0.id;
        let args = ClaimArgs {
            models: vec![model()],
            max,
        };
        let market = &mut self.market;
        Ok(claim::claim(&mut market.state, market.now, node, &args)?)
    }

    /// A round: every GPU works until the window ends; then draws and audits, and the escrow reports.
    fn round(&mut self, until: Timestamp) -> Result<()> {
        let begun = self.market.now;
        self.market.announce();
        for gpu in &mut self.gpus {
            (gpu.at, gpu.work) = (begun, None);
        }
        let mut delivered = vec![];
        loop {
            let busy = (0..self.gpus.len()).filter(|&gpu| self.gpus[gpu].at < until);
            let Some(next) = busy.min_by_key(|&gpu| self.gpus[gpu].at) else {
                break;
            };
            self.market.now = self.gpus[next].at;
            if let Some((place, lease, tokens)) = self.gpus[next].work.take() {
                self.deliver(place, &lease, tokens, &mut delivered)?;
            }
            self.go_on(next, until);
        }
        self.market.now = until;
        self.reserved = self.reserved.max(self.reserved_by_attacker());
        self.market.housekeeping();
        self.market.until_final(&delivered)?;
        self.market.housekeeping();
        Ok(())
    }

    /// A GPU takes a probe for the next of its nodes that gets one.
    fn go_on(&mut self, gpu: usize, until: Timestamp) {
        self.gpus[gpu].at = until;
        for _ in 0..self.gpus[gpu].nodes.len() {
            let nodes = &self.gpus[gpu].nodes;
            let place = nodes[self.gpus[gpu].turn % nodes.len()];
            self.gpus[gpu].turn += 1;
            // One in jail gets none.
            let lease = self
                .claim(place, 1)
                .ok()
                .and_then(|mut leases| leases.pop());
            if let Some(lease) = lease {
                let tokens = self.market.rng.gen_range(ANSWERS);
                let gpu = &mut self.gpus[gpu];
                let nanoseconds = f64::from(tokens) / gpu.tokens_a_second * 1e9;
                gpu.at = Timestamp(self.market.now.0 + nanoseconds as u64);
                gpu.work = Some((place, lease, tokens));
                return;
            }
        }
    }

    fn deliver(
        &mut self,
        place: usize,
        lease: &Lease,
        tokens: u32,
        delivered: &mut Vec<Delivered>,
    ) -> Result<()> {
        let order = Order {
            requester: 0,
            assurance: Assurance::Sampled,
            question: 100,
            max_tokens: *ANSWERS.end(),
            tokens,
        };
        let probe = self.market.deliver(place, lease, &order)?;
        let record = native::job(&self.market.state, probe.id).context("it was delivered")?;
        let twin = record.mining.and_then(|mining| mining.twin);
        // Whoever runs the model finds a twin wrong.
        delivered.extend(twin.map(|id| Delivered {
            id,
            cheat: true,
            looks_wrong: true,
            ..probe
        }));
        delivered.push(probe);
        self.probes += u64::from(place >= HONEST_SPEEDS.len());
        Ok(())
    }

    fn attacker(&self) -> impl Iterator<Item = &Node> {
        let nodes = self.market.workers.iter().skip(HONEST_SPEEDS.len());
        nodes.map(|(node, _)| node)
    }

    fn reserved_by_attacker(&self) -> u128 {
        let reserved = |node: &Node| bond::spoken_for(&self.market.state, node.id).0;
        self.attacker().map(reserved).sum()
    }

    fn outcome(self, case: Case, days: u64) -> Result<Outcome> {
        self.market.check_conservation()?;
        let mine: BTreeSet<Principal> = self.attacker().map(|node| node.id).collect();
        let burned = self.attacker().map(|node| node.burned).sum();
        let buyer = self.attacker().next().context("it has a node")?;
        let funds = native::totals(&self.market.state).deposited.0;
        let mut outcome = Outcome {
            case,
            days,
            probes: self.probes,
            shown: 0,
            counted: 0,
            all: 0,
            paid: 0,
            to_miners: 0,
            for_miners: 0,
            worked: 0,
            forfeited: 0,
            stake: STAKE.0 * mine.len() as u128,
            reserved: self.reserved,
            burned,
            bought: self.bought,
            spent: funds - self.market.earned(buyer),
        };
        for day in FIRST_DAY..FIRST_DAY + days {
            let of_day = self.market.shown.range((day, FIRST)..(day + 1, FIRST));
            let shown = of_day.map(|((_, node), shown)| (*node, *shown)).collect();
            outcome.add(&shown, &mine);
        }
        Ok(outcome)
    }
}
