//! A market: a state of the escrow, everybody in it, and the steps from asking to delivering. What follows a delivery,
//! draws and votes, is in [`crate::round`]; what came of it is counted in [`crate::tally`].

use crate::people::{Errors, Node, ValidatorHabit, WorkerHabit, person};
use crate::reward::Shown;
use crate::tally::{Outcome, Tally};
use anyhow::{Context, Result, ensure};
use candid::Principal;
use emc_escrow::records::Stage;
use emc_escrow::state::State;
use emc_escrow::{
    claim, deliver, due, feed, mining_job, native, report, request_key, retention, submit,
};
use emc_protocol::audit::{Assurance, AuditSettings, AuditTerms, GapLevel};
use emc_protocol::canonical;
use emc_protocol::escrow::{EscrowArgs, EscrowInit};
use emc_protocol::feed::{Change, Changes, ModelChange, NodeChange, NumberedChange};
use emc_protocol::job::{ChatMessage, ChatRole, IfUnserved};
use emc_protocol::model::Task;
use emc_protocol::work::{ClaimArgs, DeliverArgs};
use emc_protocol::{
    ByteBuf, FinishReason, JobId, JobInput, Lease, ModelRef, NodeStatus, Offer, Parameters, Price,
    Receipt, Role, Seconds, SubmitJob, TextOutput, Timestamp, Tokens, Usage,
};
use ic_stable_structures::DefaultMemoryImpl;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;

/// What every worker asks: one EMC per million prompt tokens, two per million output tokens.
pub const PRICE: Price = Price {
    prompt: Tokens::emc(1),
    output: Tokens::emc(2),
    pixel_steps: Tokens::ZERO,
};
/// What every requester deposits: hundreds of thousands of jobs.
const FUNDS: Tokens = Tokens::emc(100);
/// The least stake with which a node gets work, as the project deploys it.
pub const MINIMUM_STAKE: Tokens = Tokens::emc(100);
/// How long a node is in jail that was overturned, as the project deploys it.
pub const JAIL: Seconds = Seconds(3 * 24 * 3_600);
/// The model of the market.
pub const MODEL: &str = "simulated";
/// The feed's numbers begin here: a real registry, which is far from it, makes a real escrow pull its feed anew.
pub const FIRST_SEQUENCE: u64 = 1_000_000_000;
/// The feed is heard of again after so long; an hour would be too long for new leases.
const FEED_EVERY: u64 = 1_800 * SECOND;
const SECOND: u64 = 1_000_000_000;

/// The canisters and people that an escrow knows by name.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The escrow itself.
    pub escrow: Principal,
    /// The ledger.
    pub ledger: Principal,
    /// The registry.
    pub registry: Principal,
    /// Governor and treasury.
    pub governor: Principal,
}

impl Names {
    /// Made-up ones.
    pub fn simulated() -> Self {
        let id = |n: u8| Principal::from_slice(&[0, 0, 0, 0, 0, 0x10, 0, n, 1, 1]);
        Self {
            escrow: id(3),
            ledger: id(1),
            registry: id(2),
            governor: person(0, b"governor", 0),
        }
    }
}

/// What a market begins with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Everything random follows from it.
    pub seed: u64,
    /// When it begins.
    pub begin: Timestamp,
    /// Time between two jobs.
    pub between_jobs: Seconds,
    /// Who is who.
    pub names: Names,
    /// The settings of audits.
    pub audit: AuditSettings,
    /// Workers.
    pub workers: Vec<WorkerHabit>,
    /// Validators.
    pub validators: Vec<ValidatorHabit>,
    /// Stake of each node.
    pub stake: Tokens,
    /// Requesters.
    pub requesters: Vec<Principal>,
    /// How often honest validators are wrong.
    pub errors: Errors,
    /// Pages by which a structure's memory grows.
    pub bucket_pages: u16,
    /// What a million output tokens count in mining; `None` for a model that is not mined with.
    pub units: Option<u64>,
}

impl Setup {
    /// 20 requesters, 10 honest workers, 20 honest validators, default settings, a job every 9 seconds.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            begin: Timestamp(1_800_000_000 * SECOND),
            between_jobs: Seconds(9),
            names: Names::simulated(),
            audit: AuditSettings::default(),
            workers: vec![WorkerHabit::HONEST; 10],
            validators: vec![ValidatorHabit::Honest; 20],
            stake: Tokens::emc(1_000_000),
            requesters: (0..20).map(|n| person(seed, b"requester", n)).collect(),
            errors: Errors::default(),
            bucket_pages: 16,
            units: None,
        }
    }
}

/// A job that is to be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The requester's place.
    pub requester: usize,
    /// How it is checked.
    pub assurance: Assurance,
    /// Bytes of the question.
    pub question: usize,
    /// The most tokens of the answer.
    pub max_tokens: u32,
    /// How many there will be.
    pub tokens: u32,
}

/// What is known of a delivered job that is not final yet.
pub(crate) struct Delivered {
    pub id: JobId,
    pub worker: usize,
    pub cheat: bool,
    /// True where all honest validators will find it wrong.
    pub looks_wrong: bool,
    pub locked: Tokens,
}

/// A market.
pub struct Market {
    /// The escrow's state.
    pub state: State,
    /// The memory that it lies in.
    pub memory: DefaultMemoryImpl,
    /// The time.
    pub now: Timestamp,
    /// What came of the jobs so far.
    pub tally: Tally,
    /// Workers with their habits.
    pub workers: Vec<(Node, WorkerHabit)>,
    /// Validators with theirs.
    pub validators: Vec<(Node, ValidatorHabit)>,
    pub(crate) validator_places: BTreeMap<Principal, usize>,
    /// What the escrow has reported of mining, by day and node.
    pub shown: BTreeMap<(u64, Principal), Shown>,
    pub(crate) errors: Errors,
    pub(crate) rng: StdRng,
    pub(crate) escrow: Principal,
    requesters: Vec<Principal>,
    between_jobs: Seconds,
    bucket_pages: u16,
    units: Option<u64>,
    sequence: u64,
    heard: Timestamp,
    asked: u64,
}

impl Market {
    /// A market that is ready for its first job: everybody staked and funded.
    ///
    /// # Errors
    /// The rules refuse the settings or a deposit.
    pub fn new(setup: Setup) -> Result<Self> {
        let names = setup.names;
        let args = EscrowArgs::Init(EscrowInit {
            ledger: Some(names.ledger),
            registry: Some(names.registry),
            governor: Some(names.governor),
            treasury: Some(names.governor),
            settings: None,
            delay: None,
        });
        let mut rng = StdRng::seed_from_u64(setup.seed);
        let memory = DefaultMemoryImpl::default();
        let mut state = native::install(
            memory.clone(),
            setup.bucket_pages,
            args,
            names.escrow,
            names.governor,
            rng.r#gen(),
            setup.begin,
        )?;
        // Not by way of the installation's argument: a simulation may also ask what a governor could not set.
        state.configure(|config| config.settings.audit = Some((&setup.audit).into()));
        let node = |n: usize| Node::new(setup.seed, n as u64, setup.stake.0);
        let workers = setup.workers.iter().enumerate();
        let validators = setup.validators.iter().enumerate();
        let first = setup.workers.len();
        let mut market = Self {
            state,
            memory,
            now: setup.begin,
            tally: Tally::new(setup.workers.len()),
            workers: workers.map(|(n, &habit)| (node(n), habit)).collect(),
            validators: validators
                .map(|(n, &habit)| (node(first + n), habit))
                .collect(),
            validator_places: BTreeMap::new(),
            shown: BTreeMap::new(),
            errors: setup.errors,
            rng,
            escrow: names.escrow,
            requesters: setup.requesters,
            between_jobs: setup.between_jobs,
            bucket_pages: setup.bucket_pages,
            units: setup.units,
            sequence: FIRST_SEQUENCE,
            heard: setup.begin,
            asked: 0,
        };
        let places = market.validators.iter().zip(0..);
        market.validator_places = places.map(|((node, _), place)| (node.id, place)).collect();
        market.announce();
        for requester in market.requesters.clone() {
            native::deposit(&mut market.state, market.now, requester, FUNDS)
                .context("funding a requester")?;
        }
        Ok(market)
    }

    /// The registry tells of the model and of every node. Those in jail get nothing until their time is over and this is
    /// told again.
    pub fn announce(&mut self) {
        let mut changes = vec![Change::Model(ModelChange {
            model: model(),
            root: vec![7; 32],
            task: Some(Task::Chat),
            context: 8_192,
            listed: true,
            retired: false,
            audit: Some(terms()),
            royalty: None,
            compute_units: self.units,
        })];
        let workers = self.workers.iter().map(|(node, _)| (node, Role::Compute));
        let validators = self
            .validators
            .iter()
            .map(|(node, _)| (node, Role::Validator));
        for (node, role) in workers.chain(validators) {
            changes.push(Change::Node(NodeChange {
                id: node.id,
                public_key: node.key.verifying_key().to_bytes().to_vec(),
                owner: node.owner,
                roles: vec![Some(role)],
                status: Some(match node.jailed_until > self.now {
                    true => NodeStatus::Jailed,
                    false => NodeStatus::Active,
                }),
                offers: vec![Offer {
                    model: model(),
                    price: PRICE,
                    concurrency: 64,
                    context: 8_192,
                }],
                stake: Tokens(node.stake),
                eligible: node.stake >= MINIMUM_STAKE.0,
                last_seen: self.now,
                unstaking: None,
            }));
        }
        self.hear(changes);
    }

    fn hear(&mut self, changes: Vec<Change>) {
        let after = emc_escrow::view::info(&self.state).feed_sequence;
        let mut sequence = self.sequence;
        let numbered = changes.into_iter().map(|change| {
            sequence += 1;
            NumberedChange {
                sequence,
                change: Some(change),
            }
        });
        let changes = numbered.collect();
        let page = Changes {
            changes,
            more: false,
            sequence,
            time: self.now,
        };
        let applied = feed::apply(&mut self.state, self.now, after, &page);
        debug_assert_eq!(applied, feed::Applied::UpToDate);
        (self.sequence, self.heard) = (sequence, self.now);
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Seconds) {
        self.now = self.now.after(time);
    }

    /// An order as an ordinary user gives it: questions of 20 to 400 bytes, answers of at most 64 to 512 tokens of which
    /// a quarter to all are used.
    pub fn order(&mut self, assurance: Assurance) -> Order {
        let max_tokens = 64 << self.rng.gen_range(0..4);
        Order {
            requester: self.rng.gen_range(0..self.requesters.len()),
            assurance,
            question: self.rng.gen_range(20..400),
            max_tokens,
            tokens: self.rng.gen_range(max_tokens / 4..=max_tokens),
        }
    }

    /// Asks for a job, locking what it needs at the market's price and no more.
    ///
    /// # Errors
    /// The rules refuse it.
    pub fn ask(&mut self, order: &Order, deadline: Option<Seconds>) -> Result<JobId> {
        let messages = vec![ChatMessage {
            role: ChatRole::User,
            content: "What is it about? ".repeat(order.question / 18 + 1)[..order.question].into(),
        }];
        let input = JobInput::Chat { messages };
        let parameters = Parameters::greedy(order.max_tokens);
        let most = submit::measure(&input)?.demand(&parameters);
        let settings = &self.state.config().settings;
        let (audit, images) = (settings.audit(), settings.images());
        let (_, fee) = submit::fees(&audit, &images, order.assurance, &most);
        let price = PRICE.charge(&most).context("a price of this size")?;
        self.asked += 1;
        let job = SubmitJob {
            model: model(),
            input,
            parameters,
            max_price: Tokens(price.0 + fee.0),
            deadline,
            if_unserved: Some(IfUnserved::Queue),
            request_key: Some(ByteBuf::from(self.asked.to_be_bytes().to_vec())),
            seed: None,
            salt: None,
            visibility: None,
            assurance: Some(order.assurance),
            payer: None,
            notify: None,
        };
        let requester = self.requesters[order.requester];
        Ok(submit::submit(&mut self.state, self.now, requester, job)?.job_id)
    }

    /// Asks for these jobs, has them worked on, drawn and audited to the end; what came of each goes to the tally.
    ///
    /// # Errors
    /// The rules refuse what an honest participant does.
    pub fn play(&mut self, orders: &[Order]) -> Result<()> {
        let begun = self.now;
        if self.now.0 - self.heard.0 > FEED_EVERY {
            self.hear(vec![]);
        }
        let mut sizes = BTreeMap::new();
        for order in orders {
            let id = self.ask(order, None)?;
            sizes.insert(id, *order);
        }
        self.pass(Seconds(1));
        let leases = self.claim_all(orders.len())?;
        ensure!(
            leases.len() == orders.len(),
            "{} of {} jobs were claimed: the workers have too little stake or too few places",
            leases.len(),
            orders.len()
        );
        self.pass(Seconds(5));
        let mut delivered = Vec::with_capacity(leases.len());
        for (worker, lease) in leases {
            delivered.push(self.deliver(worker, &lease, &sizes[&lease.job_id])?);
        }
        self.until_final(&delivered)?;
        for job in &delivered {
            self.count(job)?;
        }
        self.housekeeping();
        let end = begun.after(Seconds(self.between_jobs.0 * orders.len() as u64));
        self.now = self.now.max(end);
        Ok(())
    }

    /// The workers take what is open, in equal shares, in an order of chance.
    fn claim_all(&mut self, jobs: usize) -> Result<Vec<(usize, Lease)>> {
        let share = jobs.div_ceil(self.workers.len()).clamp(1, 32) as u32;
        let mut order: Vec<usize> = (0..self.workers.len()).collect();
        let mut leases = Vec::with_capacity(jobs);
        while leases.len() < jobs {
            let before = leases.len();
            order.shuffle(&mut self.rng);
            for &worker in &order {
                let args = ClaimArgs {
                    models: vec![model()],
                    max: share.min((jobs - leases.len()) as u32),
                };
                let id = self.workers[worker].0.id;
                // Too little stake: the others take it.
                let Ok(taken) = claim::claim(&mut self.state, self.now, id, &args) else {
                    continue;
                };
                leases.extend(taken.into_iter().map(|lease| (worker, lease)));
            }
            if leases.len() == before {
                break;
            }
        }
        Ok(leases)
    }

    pub(crate) fn deliver(
        &mut self,
        worker: usize,
        lease: &Lease,
        order: &Order,
    ) -> Result<Delivered> {
        let (node, habit) = &self.workers[worker];
        let cheat = self.rng.r#gen::<f64>() < habit.cheats;
        let looks_wrong = cheat || self.rng.r#gen::<f64>() < self.errors.answer;
        let output = TextOutput {
            ids: (0..order.tokens)
                .map(|_| self.rng.gen_range(0..49_152))
                .collect(),
            finish_reason: FinishReason::Stop,
            text: "the ".repeat(order.tokens as usize),
        };
        let usage = Usage {
            prompt_tokens: order.question as u64 / 4 + 20,
            output_tokens: order.tokens.into(),
            pixel_steps: 0,
        };
        let charge = lease.price.charge(&usage).unwrap_or(lease.max_charge);
        let args = signed(
            self.escrow,
            node,
            lease,
            output,
            usage,
            charge.min(lease.max_charge),
        )?;
        deliver::deliver(&mut self.state, self.now, node.id, &args)?;
        Ok(Delivered {
            id: lease.job_id,
            worker,
            cheat,
            looks_wrong,
            locked: lease.max_charge,
        })
    }

    fn count(&mut self, job: &Delivered) -> Result<()> {
        let record = native::job(&self.state, job.id).context("the job was delivered")?;
        ensure!(
            matches!(
                record.stage,
                Stage::Settled | Stage::Refunded(_) | Stage::Undecided
            ),
            "job {} is not final: {:?}",
            job.id,
            record.stage
        );
        let audit = native::audit(&self.state, job.id).unwrap_or_default();
        self.tally.add(&Outcome {
            worker: job.worker,
            cheat: job.cheat,
            stage: record.stage,
            drawn: audit.drawn,
            rounds: audit.rounds.len(),
            charge: record.charged.unwrap_or_default(),
            delivered_charge: record.charge.or(record.charged).unwrap_or_default(),
            locked: job.locked,
            bond: record.checking.map(|checking| checking.bond),
            audit_fee: record.checking.map_or(Tokens::ZERO, |c| c.audit_fee),
        });
        Ok(())
    }

    /// What the canister does on timers.
    pub(crate) fn housekeeping(&mut self) {
        while due::work_off(&mut self.state, self.now, 100) == 100 {}
        while retention::prune(&mut self.state, self.now, 200) == 200 {}
        while request_key::forget(&mut self.state, self.now, 200) == 200 {}
        while mining_job::forget_rounds(&mut self.state, self.now, 200) == 200 {}
        // The registry takes every report at once, burns and jails as it says, and adds up what was shown.
        while let Some(report) = report::next(&mut self.state, self.now) {
            for outcome in &report.outcomes {
                let workers = self.workers.iter_mut().map(|(node, _)| node);
                let mut nodes = workers.chain(self.validators.iter_mut().map(|(node, _)| node));
                if let Some(node) = nodes.find(|node| node.id == outcome.node) {
                    node.burned += outcome.slashed.0;
                    node.stake = node.stake.saturating_sub(outcome.slashed.0);
                    if outcome.overturned > 0 {
                        node.jailed_until = self.now.after(JAIL);
                    }
                }
            }
            for line in report.mining.iter().flat_map(|mining| &mining.powers) {
                let shown = self.shown.entry((line.epoch, line.node)).or_default();
                shown.power += line.power;
                shown.votes += line.votes;
                shown.forfeited |= line.forfeited;
            }
            report::applied(&mut self.state, report.number);
        }
    }

    /// What a node's owner has been paid, e8s.
    pub fn earned(&self, node: &Node) -> u128 {
        native::account(&self.state, &node.owner).available.0
    }

    /// Checks that nothing was lost or made.
    ///
    /// # Errors
    /// What does not add up.
    pub fn check_conservation(&self) -> Result<()> {
        let totals = native::totals(&self.state);
        let parts = [
            totals.available,
            totals.locked,
            totals.leaving,
            totals.treasury,
            totals.audits.unwrap_or_default(),
        ];
        let owed: u128 = parts.iter().map(|part| part.0).sum();
        ensure!(
            totals.deposited.0.checked_sub(totals.withdrawn.0) == Some(owed),
            "the escrow owes {owed} e8s, but its flows do not explain it: {totals:?}"
        );
        Ok(())
    }

    /// The bytes of each structure that grows.
    pub fn sizes(&self) -> Vec<(&'static str, u64)> {
        emc_escrow::state::sizes(self.memory.clone(), self.bucket_pages)
    }
}

/// The market's model.
pub fn model() -> ModelRef {
    ModelRef {
        id: MODEL.into(),
        version: Some(1),
    }
}

/// Its terms: those of SmolLM2 in `models/`.
pub fn terms() -> AuditTerms {
    let level = |(above_milli, share, besides)| GapLevel {
        above_milli,
        share,
        besides,
    };
    let levels = [(50, 660, 4), (300, 150, 3), (750, 30, 2), (1_500, 0, 0)];
    AuditTerms {
        levels: levels.map(level).to_vec(),
        tolerance_milli: 2_450,
    }
}

fn signed(
    escrow: Principal,
    node: &Node,
    lease: &Lease,
    output: TextOutput,
    usage: Usage,
    charge: Tokens,
) -> Result<DeliverArgs> {
    let output_hash = canonical::output_hash(&lease.salt, &canonical::output_bytes(&output));
    let input = lease.input.as_ref().context("a known kind of input")?;
    let receipt = Receipt {
        escrow,
        nonce: lease.nonce.clone(),
        job_id: lease.job_id,
        attempt: lease.attempt,
        model_root: lease.model_root.clone(),
        parameters_hash: canonical::parameters_hash(&lease.model, &lease.parameters).to_vec(),
        input_hash: canonical::input_hash(&lease.salt, input).to_vec(),
        output_hash: output_hash.to_vec(),
        seed: lease.seed,
        usage,
        finish_reason: output.finish_reason,
        charge,
        evidence_root: vec![0; 32],
    };
    let signature = receipt
        .sign(&node.key)
        .context("the fields have their lengths")?;
    Ok(DeliverArgs {
        job_id: lease.job_id,
        attempt: lease.attempt,
        output: Some(output),
        output_hash: output_hash.to_vec(),
        usage,
        charge,
        signature: signature.to_vec(),
        image: None,
    })
}
