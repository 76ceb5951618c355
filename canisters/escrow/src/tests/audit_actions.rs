//! What random sequences do with audits: draws, votes of every habit, reports to the registry, stake taken out.

use super::auditors::{Habit, ReportFate};
use super::sequences::{Run, label};
use crate::records::*;
use emc_protocol::*;

impl Run {
    /// Something that only a world with validators knows.
    pub(super) fn act_on_audits(&mut self) -> (&'static str, String) {
        let chosen = match self.world.state.assigned.is_empty() {
            true => self.chance.below(6),
            false => self.chance.below(20),
        };
        match chosen {
            0..4 => self.draw(),
            4 if self.chance.one_in(2) => self.report(),
            4 => self.unstake(),
            5 => self.validators_change(),
            6..11 => self.play_a_round(),
            11..14 => self.cast_one_vote(),
            14..19 => self.report(),
            _ => self.pass_a_phase(),
        }
    }

    fn draw(&mut self) -> (&'static str, String) {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.chance.next().to_le_bytes());
        let before = *self.world.state.counts.get();
        self.world.draw(seed);
        let after = *self.world.state.counts.get();
        let outcome = match (
            before.audited < after.audited,
            before.settled < after.settled,
        ) {
            (true, _) => "drawn",
            (_, true) => "not drawn, or upheld",
            _ if before.undecided < after.undecided => "nobody to draw",
            _ => "nothing else",
        };
        ("draw", outcome.into())
    }

    fn audited(&mut self) -> Option<JobId> {
        let state = &self.world.state;
        let running: Vec<JobId> = state.assigned.iter().map(|entry| entry.key().1).collect();
        self.chance.pick(&running).copied()
    }

    fn habit(&mut self) -> Habit {
        match self.chance.below(12) {
            0 => Habit::AlwaysYes,
            1 => Habit::Liar,
            2 => Habit::Silent,
            3 => Habit::NeverReveals,
            _ => Habit::Honest,
        }
    }

    fn play_a_round(&mut self) -> (&'static str, String) {
        let Some(job) = self.audited() else {
            return ("play a round", "none runs".into());
        };
        let committee = self.world.committee(job);
        let clean = self.chance.one_in(2);
        let habits: Vec<(usize, Habit)> = committee
            .into_iter()
            .map(|node| (node, if clean { Habit::Honest } else { self.habit() }))
            .collect();
        for &(node, habit) in habits.iter().filter(|(_, habit)| *habit != Habit::Silent) {
            // Some may have committed before, to something else, or too late.
            let result = self.world.commit(node, job, habit);
            self.count(format!("commit: {}", label(&result)));
        }
        if habits.iter().any(|(_, habit)| *habit == Habit::Silent) {
            self.world.pass(181);
            self.world.tick();
        }
        for &(node, habit) in &habits {
            if !matches!(habit, Habit::Silent | Habit::NeverReveals) {
                let result = self.world.reveal(node, job, habit);
                self.count(format!("reveal: {}", label(&result)));
            }
        }
        self.world.pass(61);
        self.world.tick();
        let outcome = match self.world.job(job).stage {
            Stage::Auditing => "goes on",
            Stage::Settled => "upheld",
            Stage::Undecided => "undecided",
            _ => "overturned",
        };
        ("play a round", outcome.into())
    }

    fn cast_one_vote(&mut self) -> (&'static str, String) {
        let Some(job) = self.audited() else {
            return ("vote", "none runs".into());
        };
        let committee = self.world.committee(job);
        let habit = self.habit();
        let node = match self.chance.pick(&committee) {
            Some(&node) if !self.chance.one_in(8) => node,
            _ => self.chance.below(self.world.nodes.len() as u64) as usize,
        };
        let result = match self.chance.below(2) {
            0 => self.world.commit(node, job, habit),
            _ => self.world.reveal(node, job, habit),
        };
        ("vote", label(&result))
    }

    fn report(&mut self) -> (&'static str, String) {
        let fate = match self.chance.below(4) {
            0 => ReportFate::Lost,
            1 => ReportFate::AnswerLost,
            _ => ReportFate::Arrives,
        };
        ("report", self.world.report(fate).into())
    }

    fn pass_a_phase(&mut self) -> (&'static str, String) {
        self.world.pass(200);
        self.world.tick();
        ("a phase passes", "ok".into())
    }

    fn unstake(&mut self) -> (&'static str, String) {
        let node = self.chance.below(self.world.nodes.len() as u64) as usize;
        let part = 1 + self.chance.below(4) as u128;
        let amount = self.world.nodes[node].stake / part;
        self.world.unstake(node, amount);
        if self.chance.one_in(2) {
            // And puts some in again, so that there is something to go on with.
            self.world.nodes[node].stake += Tokens::emc(50).0;
        }
        self.world.pull();
        ("unstake", "ok".into())
    }

    fn validators_change(&mut self) -> (&'static str, String) {
        let at = 4 + self.chance.below(self.world.nodes.len() as u64 - 4) as usize;
        let node = &mut self.world.nodes[at];
        node.status = match node.status {
            NodeStatus::Active => NodeStatus::Jailed,
            _ => NodeStatus::Active,
        };
        self.world.pull();
        ("a validator changes", "ok".into())
    }
}
