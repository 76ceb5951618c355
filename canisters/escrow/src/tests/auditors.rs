//! The world of audits: validators with honest and other habits, draws, and a registry that takes reports.

use super::world::*;
use crate::records::*;
use crate::{audit, draw, report};
use emc_protocol::audit::*;
use emc_protocol::report::Report;
use emc_protocol::*;

/// How a validator votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Runs the model and says what it finds.
    Honest,
    /// Says yes without running anything.
    AlwaysYes,
    /// Runs the model and says the contrary of what it finds.
    Liar,
    /// Does not commit.
    Silent,
    /// Commits and does not reveal.
    NeverReveals,
}

/// What becomes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFate {
    Arrives,
    Lost,
    AnswerLost,
}

/// What any run of the model gives at a probe, but for rounding.
fn logit_difference(job: JobId, probe: &Probe) -> i32 {
    let mixed = job
        .wrapping_mul(0x9e37_79b9)
        .wrapping_add(probe.decoy)
        .wrapping_add(u64::from(probe.position) * 77);
    (mixed % 30_000) as i32 - 10_000
}

impl World {
    /// So many validators, each of an owner of its own (10 and on), and models that can be audited.
    pub fn with_validators(count: u8) -> Self {
        let mut world = Self::new();
        world.terms = Some(AuditTerms {
            levels: vec![GapLevel {
                above_milli: 300,
                share: 200,
                besides: 1,
            }],
            tolerance_milli: 500,
        });
        for n in 0..count {
            let mut node = Self::node(20 + n, 4 + n);
            (node.compute, node.validator) = (false, true);
            world.nodes.push(node);
        }
        let audit = AuditSettings {
            least_owners: u32::from(count.min(3)),
            ..AuditSettings::default()
        };
        world
            .state
            .configure(|config| config.settings.audit = Some((&audit).into()));
        world.pull();
        world
    }

    pub fn change_audit_settings(&mut self, change: impl FnOnce(&mut AuditSettings)) {
        let mut audit = self.state.config().settings.audit();
        change(&mut audit);
        self.state
            .configure(|config| config.settings.audit = Some((&audit).into()));
    }

    /// A delivered job of node 0 that waits for the draw; wrong, if the result is not the model's.
    pub fn delivered_job(&mut self, assurance: Assurance, wrong: bool) -> JobId {
        self.fund(requester(0), Tokens::emc(10).0);
        let job = SubmitJob {
            assurance: Some(assurance),
            max_price: Tokens(2_000_000),
            ..ask("What is the time?", 64)
        };
        let id = self.submit(requester(0), job).expect("accepted").job_id;
        let lease = self
            .claim(0, 1)
            .expect("accepted")
            .pop()
            .expect("a job waits");
        assert_eq!(lease.job_id, id);
        let reply = self
            .deliver(0, &self.delivery(0, &lease, &answer(40)))
            .expect("accepted");
        assert_eq!(
            (reply.state, reply.paid),
            (Some(JobState::Delivered), Tokens(0))
        );
        if wrong {
            self.wrong.insert(id);
        }
        id
    }

    /// Draws with these bytes for what waits now.
    pub fn draw(&mut self, seed: [u8; 32]) {
        if let Some(upto) = draw::begin(&self.state) {
            draw::draw(&mut self.state, self.now, upto, &seed);
        }
    }

    pub fn vote(&self, node: usize, task: &AuditTask, habit: Habit) -> Vote {
        let job = task.job_id;
        let noise = |index: usize| ((node * 37 + index * 11) % 140) as i32 - 70;
        let computed = task
            .probes
            .iter()
            .enumerate()
            .map(|(index, probe)| logit_difference(job, probe) + noise(index));
        let canary = self.state.jobs.get(&job).is_some_and(|job| job.is_canary());
        let wrong = (canary || self.wrong.contains(&job)) != (habit == Habit::Liar);
        let tokens = task.output.ids.len();
        let positions = task
            .image
            .as_ref()
            .map_or(tokens, |image| image.latent.len()) as u32;
        Vote {
            positions,
            matches: positions.min(30),
            largest_gap_milli: 200,
            mean_gap_milli: 3,
            above: vec![if wrong && habit != Habit::AlwaysYes {
                positions.min(20)
            } else {
                0
            }],
            prompt_tokens: task.usage.prompt_tokens,
            ends_right: !self.ends_wrong,
            text_right: true,
            differences: match habit {
                Habit::AlwaysYes => vec![0; task.probes.len()],
                _ => computed.collect(),
            },
        }
    }

    pub fn commit(&mut self, node: usize, job: JobId, habit: Habit) -> Result<(), ApiError> {
        let id = self.nodes[node].id;
        let task = audit::task(&self.state, id, job)?;
        let vote = self.vote(node, &task, habit);
        let args = CommitArgs {
            job_id: job,
            round: task.round,
            commitment: vote
                .commitment(escrow(), job, task.round, id, &[node as u8; 32])
                .to_vec(),
        };
        audit::commit(&mut self.state, self.now, id, &args)
    }

    pub fn reveal(&mut self, node: usize, job: JobId, habit: Habit) -> Result<(), ApiError> {
        let id = self.nodes[node].id;
        let task = audit::task(&self.state, id, job)?;
        let args = RevealArgs {
            job_id: job,
            round: task.round,
            salt: vec![node as u8; 32],
            vote: self.vote(node, &task, habit),
        };
        audit::reveal(&mut self.state, self.now, id, args)
    }

    /// The places of the running round's committee among the nodes.
    pub fn committee(&self, job: JobId) -> Vec<usize> {
        let audit = self.state.audits.get(&job).expect("it has an audit");
        let round = audit.rounds.last().expect("a round");
        let place = |seat: &SeatRecord| {
            self.nodes
                .iter()
                .position(|node| node.id == seat.node)
                .expect("a known node")
        };
        round.seats.iter().map(place).collect()
    }

    /// Plays the running round: everybody by its habit, then the time passes.
    pub fn play_round(&mut self, job: JobId, habit: impl Fn(usize) -> Habit) {
        let committee = self.committee(job);
        for &node in &committee {
            if habit(node) != Habit::Silent {
                self.commit(node, job, habit(node)).expect("a seat");
            }
        }
        if committee.iter().any(|&node| habit(node) == Habit::Silent) {
            self.pass(181);
            self.tick();
        }
        for &node in &committee {
            if !matches!(habit(node), Habit::Silent | Habit::NeverReveals) {
                self.reveal(node, job, habit(node))
                    .expect("committed before");
            }
        }
        self.pass(61);
        self.tick();
    }

    /// The registry takes the report that is due, or does not.
    pub fn report(&mut self, fate: ReportFate) -> &'static str {
        let Some(report) = report::next(&mut self.state, self.now) else {
            return "nothing to say";
        };
        if fate == ReportFate::Lost {
            return "lost";
        }
        let repeated = report.number <= self.reported;
        if !repeated {
            assert_eq!(report.number, self.reported + 1, "reports have no gaps");
            self.apply_report(&report);
            self.reported = report.number;
        }
        if fate == ReportFate::AnswerLost {
            return "answer lost";
        }
        report::applied(&mut self.state, self.reported);
        if repeated { "repeated" } else { "applied" }
    }

    fn apply_report(&mut self, report: &Report) {
        for outcome in &report.outcomes {
            let node = self
                .nodes
                .iter_mut()
                .find(|node| node.id == outcome.node)
                .expect("a known node");
            let slashed = outcome.slashed.0;
            assert!(
                slashed <= node.backing(),
                "no more is slashed than stands behind the bonds"
            );
            let from_stake = slashed.min(node.stake);
            node.stake -= from_stake;
            node.leaving -= slashed - from_stake;
            *self.burned.entry(outcome.node).or_default() += slashed;
        }
        let mining = report.mining.as_ref().expect("always there");
        for line in &mining.powers {
            assert!(
                Some(line.epoch) > self.complete,
                "nothing comes after `complete`"
            );
            let known = self.powers.insert(
                (line.epoch, line.node),
                PowerRecord {
                    power: line.power,
                    votes: line.votes,
                    forfeited: line.forfeited,
                },
            );
            assert_eq!(known, None, "one line for a node and an epoch");
        }
        assert!(mining.complete >= self.complete);
        self.complete = mining.complete;
        for line in &report.acknowledgements {
            let node = self
                .nodes
                .iter_mut()
                .find(|node| node.id == line.node)
                .expect("a known node");
            if node
                .announced
                .is_some_and(|announced| line.sequence >= announced)
            {
                (node.leaving, node.announced) = (0, None);
            }
        }
    }

    /// The owner takes stake out.
    pub fn unstake(&mut self, node: usize, amount: u128) {
        let node = &mut self.nodes[node];
        let amount = amount.min(node.stake);
        node.stake -= amount;
        node.leaving += amount;
        node.announced = None;
    }
}
