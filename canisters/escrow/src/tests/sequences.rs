//! Random sequences of everything that can happen to an escrow, with the named invariants checked after every action.
//! A failure names the seed and the actions that led to it; `EMC_SEQUENCE=<seed>` runs that one alone.

use super::invariants::{check, everything_has_an_exit, explained};
use super::reached::REACHED;
use super::world::*;
use crate::movement::Source;
use crate::records::*;
use crate::{request_key, retention, view};
use candid::Principal;
use emc_journal::{Account, Outcome};
use emc_protocol::account::deposit_subaccount;
use emc_protocol::job::{IfUnserved, RefundReason, Visibility};
use emc_protocol::*;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const SEQUENCES: u64 = 10_000;
const ACTIONS: u64 = 40;

/// SplitMix64: small, seeded, the same everywhere.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        match of.len() as u64 {
            0 => None,
            n => of.get(self.below(n) as usize),
        }
    }

    fn fate(&mut self) -> Fate {
        match self.below(10) {
            0 => Fate::AnswerLost,
            1 => Fate::MessageLost,
            2 => Fate::NotDelivered,
            3 => Fate::Silent,
            _ => Fate::Answered,
        }
    }
}

type Counts = BTreeMap<String, u64>;

pub(super) struct Run {
    pub(super) world: World,
    pub(super) chance: Chance,
    counts: Counts,
    log: Vec<String>,
    /// Leases that were given, with the index of the node.
    pub(super) leases: Vec<(usize, Lease)>,
    /// The same, of pictures.
    pub(super) pictures: Vec<(usize, Lease)>,
    keys: Vec<(Principal, SubmitJob)>,
    settled: BTreeMap<JobId, u64>,
}

pub(super) fn label<T>(result: &Result<T, ApiError>) -> String {
    result
        .as_ref()
        .map_or_else(|error| error.code.clone(), |_| "ok".into())
}

fn transfer_label(result: &Result<Option<Outcome>, ApiError>) -> String {
    match result {
        Ok(Some(Outcome::Done { .. })) => "done".into(),
        Ok(Some(Outcome::NotDone { .. })) => "not done".into(),
        Ok(None) => "pending".into(),
        Err(error) => error.code.clone(),
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        // A third of the sequences have validators, and jobs that are checked.
        let world = match seed % 3 {
            0 => World::with_validators(3 + (seed / 3 % 7) as u8),
            _ => World::new(),
        };
        let mut run = Self {
            world,
            chance: Chance(seed),
            counts: Counts::new(),
            log: vec![],
            leases: vec![],
            pictures: vec![],
            keys: vec![],
            settled: BTreeMap::new(),
        };
        if seed.is_multiple_of(6) {
            run.world.units = Some(1_000);
        }
        // One node belongs to a requester who serves itself; another is as poor as its owner.
        run.world.nodes[3].owner = requester(2);
        if seed.is_multiple_of(4) {
            run.world.ledger.fee = 10;
        }
        run.world.pull();
        run.world.fund_for_tests();
        run
    }

    fn act(&mut self) {
        let state = &self.world.state;
        let audits = if state.assigned.is_empty() && state.draws.is_empty() {
            8
        } else {
            70
        };
        if self.world.terms.is_some() && self.chance.below(100) < audits {
            let (name, outcome) = self.act_on_audits();
            return self.count(format!("{name}: {outcome}"));
        }
        let chosen = match self.chance.below(122) {
            // Without a lease there is nothing to extend, decline or deliver: rather get one.
            51..82 if self.leases.is_empty() => 15 + self.chance.below(36),
            chosen => chosen,
        };
        let (name, outcome) = match chosen {
            0..4 => self.deposit(),
            4..7 => self.sweep(),
            7..11 => self.withdraw(),
            11 => self.withdraw_treasury(),
            12..15 => self.resume(),
            15..29 => self.submit(),
            29..32 => self.repeat_submission(),
            32 => self.submit_nonsense(),
            33..51 => self.claim(),
            51..57 => self.extend(),
            57..59 => self.extend_wrongly(),
            59..62 => self.decline(),
            62..72 => self.deliver(),
            72..75 => self.deliver_uploaded(),
            75..82 => self.deliver_wrongly(),
            82..84 => self.cancel(),
            84..87 => self.pass_some_seconds(),
            87..89 => self.pass_a_lease(),
            89 => self.pass_a_deadline(),
            90 => self.pass_days(),
            91..93 => self.tick(),
            93..95 => self.change_a_node(),
            95 => self.change_settings(),
            96 => self.change_models(),
            97 => self.upgrade(),
            98 => self.look(),
            100..103 => self.set_delegate(),
            103..107 => self.call_back(),
            107 => self.outage(),
            108 => self.mining_round(),
            110.. => self.act_on_pictures(),
            _ => self.pull(),
        };
        self.count(format!("{name}: {outcome}"));
    }

    pub(super) fn count(&mut self, what: String) {
        self.log.push(what.clone());
        *self.counts.entry(what).or_default() += 1;
    }

    fn deposit(&mut self) -> (&'static str, String) {
        let (who, fate) = (self.chance.below(3) as u8, self.chance.fate());
        let amount = match self.chance.below(8) {
            0 => Tokens::emc(5_000).0,
            1 => 1,
            _ => 10_000 + u128::from(self.chance.below(3_000_000)),
        };
        let result = self.world.deposit(requester(who), amount, fate);
        ("deposit", transfer_label(&result))
    }

    fn sweep(&mut self) -> (&'static str, String) {
        let (who, fate) = (self.chance.below(5) as u8, self.chance.fate());
        if !self.chance.one_in(3) {
            let account = Account {
                owner: escrow(),
                subaccount: Some(deposit_subaccount(requester(who))),
            };
            let amount = self.chance.below(1_000_000).into();
            self.world.ledger.credit(&account, amount);
        }
        let result = self.world.sweep(requester(who), fate);
        ("sweep", transfer_label(&result))
    }

    fn withdraw(&mut self) -> (&'static str, String) {
        let who = match self.chance.below(2) {
            0 => requester(self.chance.below(5) as u8),
            _ => owner(self.chance.below(3) as u8),
        };
        let available = self.world.available(who);
        let amount = match self.chance.below(4) {
            0 => available,
            1 => available + 1,
            _ => u128::from(self.chance.below(available as u64 + 20_000)),
        };
        let fate = self.chance.fate();
        (
            "withdraw",
            transfer_label(&self.world.withdraw(who, amount, fate)),
        )
    }

    fn withdraw_treasury(&mut self) -> (&'static str, String) {
        let amount = self.world.state.books.treasury().0;
        let fate = self.chance.fate();
        let result = self
            .world
            .withdraw_from(treasury(), Source::Treasury, amount, fate);
        ("withdraw treasury", transfer_label(&result))
    }

    fn resume(&mut self) -> (&'static str, String) {
        let before = self.world.state.journal.figures().open;
        if self.chance.one_in(2) {
            self.world.pass(3_600);
        }
        let fate = self.chance.fate();
        self.world.resume(fate);
        let after = self.world.state.journal.figures().open;
        let outcome = match (before, after) {
            (0, _) => "nothing to do",
            (_, 0) => "all ended",
            _ => "some are left",
        };
        ("resume", outcome.into())
    }

    fn new_job(&mut self) -> SubmitJob {
        let max_tokens = 1 + self.chance.below(90) as u32;
        let mut job = ask("How are you today?", max_tokens);
        job.max_price = match self.chance.below(6) {
            0 => Tokens(100 + u128::from(self.chance.below(400_000))),
            1 => Tokens(60_000 + 5_000 * u128::from(max_tokens)),
            2 => Tokens(Tokens::emc(20_000).0),
            _ => Tokens(700_000 + u128::from(self.chance.below(300_000))),
        };
        job.if_unserved = match self.chance.below(3) {
            0 => Some(IfUnserved::Queue),
            _ => None,
        };
        job.model.version = match self.chance.below(4) {
            0 => Some(1),
            _ => None,
        };
        job.visibility = self.chance.one_in(4).then_some(Visibility::Public);
        job.deadline = (!self.chance.one_in(3)).then(|| Seconds(10 + self.chance.below(2_000)));
        job.seed = self.chance.one_in(3).then_some(5);
        if self.world.terms.is_some() && !self.chance.one_in(3) {
            job.assurance = Some(match self.chance.below(2) {
                0 => Assurance::Sampled,
                _ => Assurance::Always,
            });
            job.max_price.0 += 200_000;
        }
        job
    }

    fn submit(&mut self) -> (&'static str, String) {
        let payer = requester(self.chance.below(3) as u8);
        let mut job = self.new_job();
        let who = self.submitter(payer, &mut job);
        if self.chance.one_in(3) {
            job.request_key = Some(self.chance.next().to_le_bytes().to_vec().into());
        }
        let result = self.world.submit(who, job.clone());
        if job.request_key.is_some() && result.is_ok() {
            self.keys.push((who, job));
        }
        let name = if who == payer {
            "submit"
        } else {
            "submit for another"
        };
        (name, label(&result))
    }

    fn repeat_submission(&mut self) -> (&'static str, String) {
        let Some((who, mut job)) = self.chance.pick(&self.keys).cloned() else {
            return ("submit again", "nothing to repeat".into());
        };
        if self.chance.one_in(3) {
            job.max_price = Tokens(job.max_price.0 + 1);
        }
        let before = self.world.state.counts.get().jobs;
        let result = self.world.submit(who, job);
        let outcome = match &result {
            Ok(reply) if reply.repeated => {
                assert_eq!(
                    before,
                    self.world.state.counts.get().jobs,
                    "a repetition makes no job"
                );
                "repeated".into()
            }
            other => label(other),
        };
        ("submit again", outcome)
    }

    fn submit_nonsense(&mut self) -> (&'static str, String) {
        let mut job = self.new_job();
        match self.chance.below(5) {
            0 => job.parameters.max_tokens = 0,
            1 => job.max_price = Tokens(0),
            2 => job.model.id = "unheard-of".into(),
            3 => job.salt = Some(vec![1].into()),
            _ => {
                job.input = JobInput::Completion {
                    prompt: "x".repeat(600_000),
                }
            }
        }
        let result = self.world.submit(requester(0), job);
        assert!(result.is_err());
        ("submit nonsense", label(&result))
    }

    fn claim(&mut self) -> (&'static str, String) {
        let (node, max) = (self.chance.below(4) as usize, self.chance.below(4) as u32);
        let result = self.world.claim(node, max);
        let outcome = match &result {
            Ok(leases) if leases.is_empty() => "nothing fits".into(),
            other => label(other),
        };
        if let Ok(leases) = result {
            self.leases
                .extend(leases.into_iter().map(|lease| (node, lease)));
        }
        ("claim", outcome)
    }

    /// A lease, mostly one of the newest.
    fn some_lease(&mut self) -> Option<(usize, Lease)> {
        // Jobs of probe rounds are deleted in the end.
        let jobs = &self.world.state.jobs;
        self.leases
            .retain(|(_, lease)| jobs.contains_key(&lease.job_id));
        let from = match self.chance.below(4) {
            0 => 0,
            _ => self.leases.len().saturating_sub(3),
        };
        self.chance.pick(&self.leases[from..]).cloned()
    }

    /// What the attempt has shown so far.
    fn shown(&self, lease: &Lease) -> u32 {
        let job = self.world.job(lease.job_id);
        job.progress
            .filter(|_| job.attempts.len() == lease.attempt as usize)
            .map_or(0, |progress| progress.ids)
    }

    fn extend(&mut self) -> (&'static str, String) {
        let Some((node, lease)) = self.some_lease() else {
            return ("extend", "no lease".into());
        };
        let shown = self.shown(&lease);
        let room = u64::from(lease.parameters.max_tokens.saturating_sub(shown));
        let more = self.chance.below(room + 1) as u32;
        let ids = &answer(shown + more).ids[shown as usize..];
        let result = self
            .world
            .extend(node, &lease, shown, ids, &"a ".repeat(more as usize));
        ("extend", label(&result))
    }

    fn extend_wrongly(&mut self) -> (&'static str, String) {
        let Some((node, lease)) = self.some_lease() else {
            return ("extend wrongly", "no lease".into());
        };
        let (before, shown) = (self.world.job(lease.job_id), self.shown(&lease));
        let result = match self.chance.below(3) {
            0 => self.world.extend((node + 1) % 4, &lease, shown, &[1], "a"),
            1 => self.world.extend(node, &lease, shown + 1, &[1], "a"),
            _ => self.world.extend(node, &lease, shown, &[1; 100], "a"),
        };
        assert!(result.is_err(), "{before:?}");
        ("extend wrongly", label(&result))
    }

    fn decline(&mut self) -> (&'static str, String) {
        let Some((node, lease)) = self.some_lease() else {
            return ("decline", "no lease".into());
        };
        ("decline", label(&self.world.decline(node, &lease)))
    }

    fn output_for(&mut self, lease: &Lease) -> TextOutput {
        let shown = self.shown(lease);
        let room = u64::from(lease.parameters.max_tokens - shown.min(lease.parameters.max_tokens));
        answer(shown + self.chance.below(room + 1) as u32)
    }

    pub(super) fn delivered(
        &mut self,
        job: JobId,
        result: &Result<work::DeliverReply, ApiError>,
    ) -> String {
        if result.is_ok() {
            let times = self.settled.entry(job).or_default();
            *times += 1;
            if self.world.terms.is_some() && self.chance.one_in(4) {
                self.world.wrong.insert(job);
            }
            let times = self.settled.entry(job).or_default();
            assert_eq!(*times, 1, "single payment: job {job} was accepted twice");
            let job = self.world.job(job);
            if job.mining.is_some() {
                self.count("delivered for mining".into());
            }
            let late = job.movements.iter().flat_map(|m| m.lines());
            let fees = late
                .filter(|line| line.reason == crate::movement::Reason::LapseFee)
                .count();
            if job.attempts.len() > 1 {
                self.count("delivered by a later attempt".into());
            }
            if fees > 0 {
                self.count("delivered after a lapse with a fee".into());
            }
            if job.charged == Some(job.max_price) && job.mining.is_none() {
                self.count("charge capped at the lock".into());
            }
        }
        label(result)
    }

    fn deliver(&mut self) -> (&'static str, String) {
        let Some((node, lease)) = self.some_lease() else {
            return ("deliver", "no lease".into());
        };
        let was_open = self.world.job(lease.job_id).stage == Stage::Open;
        let output = self.output_for(&lease);
        let mut args = self.world.delivery(node, &lease, &output);
        if self.chance.one_in(4) {
            // A long rendering of the prompt: up to the bound, so that the charge meets its cap.
            args.usage.prompt_tokens = 1 + self.chance.below(lease.max_prompt_tokens);
            let charge = lease.price.charge(&args.usage).expect("small numbers");
            args.charge = charge.min(lease.max_charge);
            self.world.sign(node, &lease, &output, &mut args);
        }
        let result = self.world.deliver(node, &args);
        if result.is_ok() && was_open {
            self.count("delivered late".into());
        }
        let outcome = self.delivered(lease.job_id, &result);
        if result.is_ok() && self.chance.one_in(2) {
            let again = self.world.deliver(node, &args);
            let outcome = self.delivered(lease.job_id, &again);
            self.count(format!("deliver again: {outcome}"));
        }
        ("deliver", outcome)
    }

    fn deliver_uploaded(&mut self) -> (&'static str, String) {
        let Some((node, lease)) = self.some_lease() else {
            return ("deliver uploaded", "no lease".into());
        };
        let output = self.output_for(&lease);
        if let Err(error) = self.world.upload(node, &lease, &output) {
            return ("upload", error.code);
        }
        if self.chance.one_in(4) {
            return ("upload", "ok".into());
        }
        let mut args = self.world.delivery(node, &lease, &output);
        args.output = None;
        let result = self.world.deliver(node, &args);
        let outcome = self.delivered(lease.job_id, &result);
        ("deliver uploaded", outcome)
    }

    fn deliver_wrongly(&mut self) -> (&'static str, String) {
        let Some((mut node, lease)) = self.some_lease() else {
            return ("deliver wrongly", "no lease".into());
        };
        let mut output = self.output_for(&lease);
        let mut args = self.world.delivery(node, &lease, &output);
        match self.chance.below(10) {
            9 if self.shown(&lease) > 0 => {
                output.ids[0] ^= 1;
                args = self.world.delivery(node, &lease, &output);
            }
            0 => args.output_hash[3] ^= 1,
            1 => args.signature[5] ^= 1,
            2 => args.usage.output_tokens += 1,
            3 => args.charge = Tokens(args.charge.0 + 1),
            4 => {
                node = (node + 1) % 4;
                args = self.world.delivery(node, &lease, &output);
            }
            5 => args.attempt += 1,
            6 => args.usage.prompt_tokens = lease.max_prompt_tokens + 1,
            7 => {
                output = answer(lease.parameters.max_tokens + 1);
                args = self.world.delivery(node, &lease, &output);
            }
            _ => {
                let key = self.world.nodes[(node + 1) % 4].key.clone();
                let mine = std::mem::replace(&mut self.world.nodes[node].key, key);
                args = self.world.delivery(node, &lease, &output);
                self.world.nodes[node].key = mine;
            }
        }
        let result = self.world.deliver(node, &args);
        assert!(result.is_err(), "a wrong delivery was accepted");
        ("deliver wrongly", label(&result))
    }

    fn cancel(&mut self) -> (&'static str, String) {
        let jobs = self.world.state.counts.get().jobs;
        let id = match self.chance.below(2) {
            0 => self.leases.last().map_or(1, |(_, lease)| lease.job_id),
            _ => 1 + self.chance.below(jobs + 1),
        };
        let who = match self.world.state.jobs.get(&id) {
            Some(job) if !self.chance.one_in(4) => job.requester,
            _ => requester(self.chance.below(3) as u8),
        };
        let result = self.world.cancel(who, id);
        let outcome = match &result {
            Ok(job) if job.charged > Some(Tokens(0)) => "ok, progress paid".into(),
            other => label(other),
        };
        ("cancel", outcome)
    }

    fn pass_some_seconds(&mut self) -> (&'static str, String) {
        let seconds = 1 + self.chance.below(20);
        self.world.pass(seconds);
        ("seconds pass", "ok".into())
    }

    fn pass_a_lease(&mut self) -> (&'static str, String) {
        self.world.pass(65);
        let before = self.world.state.counts.get().lapsed;
        if self.chance.one_in(2) {
            self.world.tick();
        }
        let lapsed = self.world.state.counts.get().lapsed > before;
        (
            "a lease's time passes",
            if lapsed { "lapsed" } else { "nothing lapsed" }.into(),
        )
    }

    fn pass_a_deadline(&mut self) -> (&'static str, String) {
        self.world.pass(2_100);
        ("a deadline's time passes", "ok".into())
    }

    fn pass_days(&mut self) -> (&'static str, String) {
        let days = 1 + self.chance.below(8);
        self.world.pass(days * 24 * 3_600);
        self.world.tick();
        let now = self.world.now;
        let results = retention::prune(&mut self.world.state, now, 3);
        let keys = request_key::forget(&mut self.world.state, now, 3);
        if results > 0 {
            self.count("results pruned".into());
        }
        if keys > 0 {
            self.count("request keys forgotten".into());
        }
        ("days pass", "ok".into())
    }

    fn tick(&mut self) -> (&'static str, String) {
        let refunded = self.world.state.counts.get().refunded;
        self.world.tick();
        let now = self.world.now;
        assert!(
            self.world.state.due.keys().all(|(at, _)| at > now.0),
            "nothing due is left"
        );
        let outcome = match self.world.state.counts.get().refunded > refunded {
            true => "refunded",
            false => "nothing refunded",
        };
        ("tick", outcome.into())
    }

    fn change_a_node(&mut self) -> (&'static str, String) {
        let (node, price) = (
            self.chance.below(4) as usize,
            self.chance.below(9_000_000_000),
        );
        let what = self.chance.below(5);
        let node = &mut self.world.nodes[node];
        let outcome = match what {
            0 => {
                node.status = match node.status {
                    NodeStatus::Active => NodeStatus::Draining,
                    _ => NodeStatus::Active,
                };
                "drained or back"
            }
            1 => {
                node.eligible = !node.eligible;
                "stake lost or regained"
            }
            2 => {
                node.price.output = Tokens(price.into());
                "price"
            }
            3 => {
                node.context = if node.context > 100 { 60 } else { 4_096 };
                "context"
            }
            _ => {
                node.owner = owner((price % 3) as u8);
                "owner"
            }
        };
        self.world.pull();
        ("a node changes", outcome.into())
    }

    fn change_settings(&mut self) -> (&'static str, String) {
        let (share, fee, attempts) = (
            self.chance.below(10_001),
            self.chance.below(300_000),
            1 + self.chance.below(3),
        );
        self.world.state.configure(|config| {
            config.settings.treasury_share = share as u16;
            config.settings.lapse_fee = Tokens(fee.into());
            config.settings.max_attempts = attempts as u32;
        });
        ("settings change", "ok".into())
    }

    fn change_models(&mut self) -> (&'static str, String) {
        self.world.retired = !self.world.retired;
        self.world.pull();
        ("a model changes", "ok".into())
    }

    fn upgrade(&mut self) -> (&'static str, String) {
        self.world.upgrade();
        ("upgrade", "ok".into())
    }

    fn pull(&mut self) -> (&'static str, String) {
        self.world.pull();
        ("pull", "ok".into())
    }

    fn look(&mut self) -> (&'static str, String) {
        let id = 1 + self.chance.below(self.world.state.counts.get().jobs + 1);
        let state = &self.world.state;
        let Ok(job) = view::get_job(state, principal(9), id, None) else {
            return ("look", "not found".into());
        };
        let public = job.visibility == Some(Visibility::Public);
        assert_eq!(
            job.private.is_some(),
            public,
            "a stranger reads what is not public"
        );
        assert!(
            job.private.is_none_or(|private| private.input.is_none()),
            "a stranger reads a prompt"
        );
        if job.mining.is_some() {
            assert!(view::receipt(state, id).is_err());
            return ("look", "mining".into());
        }
        let has_receipt = match job.state {
            Some(JobState::Refunded) => job.refund_reason == Some(RefundReason::Overturned),
            other => !matches!(other, Some(JobState::Open | JobState::Leased)),
        };
        assert_eq!(view::receipt(state, id).is_ok(), has_receipt);
        ("look", if public { "public" } else { "private" }.into())
    }
}

impl World {
    /// Everybody has something, so that most sequences come to jobs at once.
    fn fund_for_tests(&mut self) {
        let fee = self.ledger.fee;
        self.state.journal.fee_is(fee);
        for n in 0..3 {
            self.fund(requester(n), 4_000_000);
        }
    }
}

fn sequence(seed: u64) -> Counts {
    let mut run = Run::new(seed);
    let played = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..ACTIONS {
            run.act();
            check(&run.world);
        }
        let outside = run.world.outside.clone();
        explained(&run.world, outside);
        everything_has_an_exit(&mut run.world);
    }));
    if let Err(panic) = played {
        eprintln!(
            "EMC_SEQUENCE={seed} fails after:\n  {}",
            run.log.join("\n  ")
        );
        resume_unwind(panic);
    }
    run.counts
}

#[test]
fn no_sequence_of_actions_breaks_an_invariant() {
    if let Ok(seed) = std::env::var("EMC_SEQUENCE") {
        sequence(seed.parse().expect("EMC_SEQUENCE is a number"));
        return;
    }
    let half = |first: u64| {
        let mut counts = Counts::new();
        for seed in (first..SEQUENCES).step_by(2) {
            for (what, times) in sequence(seed) {
                *counts.entry(what).or_default() += times;
            }
        }
        counts
    };
    let counts = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let mut counts = half(0);
        let other = other.join().unwrap_or_else(|panic| resume_unwind(panic));
        for (what, times) in other {
            *counts.entry(what).or_default() += times;
        }
        counts
    });
    for (what, times) in &counts {
        println!("{times:>8}  {what}");
    }
    let kinds: std::collections::BTreeSet<_> = counts
        .keys()
        .filter_map(|what| what.split_once(": "))
        .map(|(kind, _)| kind)
        .collect();
    assert!(kinds.len() >= 20, "{} kinds of action", kinds.len());
    let missing: Vec<_> = REACHED
        .iter()
        .map(|(what, least)| (what, least, counts.get(*what).copied().unwrap_or(0)))
        .filter(|(_, least, times)| times < *least)
        .collect();
    assert!(
        missing.is_empty(),
        "too seldom reached (what, least, times): {missing:#?}"
    );
}
