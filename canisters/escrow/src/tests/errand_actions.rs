//! Actions of the random sequences around a job: delegates, callbacks, outages; and what must hold of them.

use super::sequences::{Run, label};
use super::world::*;
use crate::records::*;
use crate::{callback, delegate, outage};
use candid::Principal;
use emc_protocol::account::SetDelegate;
use emc_protocol::*;
use std::collections::BTreeMap;

/// A canister that submits jobs.
pub fn dapp(n: u8) -> Principal {
    Principal::from_slice(&[0, 0, 0, 0, 0, 32, n, 1, 1, 1])
}

impl Run {
    /// Who submits a job that `payer` pays: mostly he himself, else a canister that may or may not be his delegate.
    pub(super) fn submitter(&mut self, payer: Principal, job: &mut SubmitJob) -> Principal {
        if !self.chance.one_in(4) {
            return payer;
        }
        let delegates = delegate::list(&self.world.state, payer);
        let who = match self.chance.pick(&delegates) {
            Some(known) => known.delegate,
            None => {
                let args = SetDelegate {
                    delegate: dapp(0),
                    limit: job.max_price,
                    expires: None,
                };
                let now = self.world.now;
                if !self.chance.one_in(5) {
                    let set = delegate::set(&mut self.world.state, now, payer, &args);
                    self.count(format!("set a delegate: {}", label(&set)));
                }
                dapp(0)
            }
        };
        job.payer = Some(payer);
        job.notify = (!self.chance.one_in(3)).then_some(true);
        who
    }

    pub(super) fn set_delegate(&mut self) -> (&'static str, String) {
        let args = SetDelegate {
            delegate: dapp(self.chance.below(2) as u8),
            limit: Tokens(u128::from(self.chance.below(4) * 2_600_000)),
            expires: match self.chance.below(3) {
                0 => Some(self.world.now.after(Seconds(self.chance.below(3_000)))),
                _ => None,
            },
        };
        let (payer, now) = (requester(self.chance.below(3) as u8), self.world.now);
        let result = delegate::set(&mut self.world.state, now, payer, &args);
        let name = match args.limit.is_zero() {
            true => "take a delegate's permission",
            false => "set a delegate",
        };
        (name, label(&result))
    }

    /// The callbacks that are due are made, and answered, refused, or their answers lost.
    pub(super) fn call_back(&mut self) -> (&'static str, String) {
        let now = self.world.now;
        let state = &mut self.world.state;
        let Some(call) = callback::next(state, now) else {
            return ("call back", "nothing to tell".into());
        };
        let id = call.done.job_id;
        let job = state.jobs.get(&id).expect("it exists");
        assert!(job.stage.is_final() && job.notify && job.submitter() == call.callee);
        let again = callback::next(state, now).is_some_and(|other| other.callee == call.callee);
        assert!(!again, "one call of a canister at a time");
        let outcome = match self.chance.below(3) {
            0 => {
                callback::answered(state, now, call.callee, id);
                assert!(!state.callbacks.contains_key(&(call.callee, id)));
                "answered"
            }
            1 => {
                callback::failed(state, call.callee, id);
                "refused"
            }
            _ => "answer lost",
        };
        ("call back", outcome.into())
    }

    pub(super) fn outage(&mut self) -> (&'static str, String) {
        outage::wake(&mut self.world.state, self.world.now);
        let before = *self.world.state.clock.get();
        self.world.pass(1 + self.chance.below(1_000));
        outage::wake(&mut self.world.state, self.world.now);
        let after = *self.world.state.clock.get();
        let outcome = match after.outages > before.outages {
            true => "times move",
            false => "too short",
        };
        ("outage", outcome.into())
    }
}

/// What is left of every permission is its limit less what its jobs have locked or cost; and every queue of callbacks
/// says what the others say.
pub fn check(world: &World) {
    let state = &world.state;
    let mut spent: BTreeMap<u64, u128> = BTreeMap::new();
    for entry in state.jobs.iter() {
        let job = entry.value();
        let Some(used) = job.delegation else { continue };
        // What the requester paid: all that left his balance for the job, but for what a lapse brought him.
        let lines = job.movements.iter().flat_map(|movement| movement.lines());
        let paid: i128 = lines
            .filter(|line| line.account == crate::movement::Account::Available(job.requester))
            .filter(|line| {
                use crate::movement::Reason::*;
                matches!(line.reason, Lock | Refund | AuditFee)
            })
            .map(|line| -line.amount)
            .sum();
        *spent.entry(used.number).or_default() += paid.max(0) as u128;
    }
    let mut permissions: BTreeMap<Principal, u32> = BTreeMap::new();
    for entry in state.delegations.iter() {
        let ((_, delegate), record) = entry.into_pair();
        let used = spent.get(&record.number).copied().unwrap_or_default();
        assert_eq!(
            record.left.0 + used,
            record.limit.0,
            "delegation {}",
            record.number
        );
        *permissions.entry(delegate).or_default() += 1;
    }
    let counted: BTreeMap<_, _> = state.delegates.iter().map(|e| e.into_pair()).collect();
    assert_eq!(counted, permissions, "delegates are counted");

    let mut jobs: BTreeMap<Principal, u64> = BTreeMap::new();
    for entry in state.callbacks.iter() {
        let ((callee, id), tries) = entry.into_pair();
        let job = state.jobs.get(&id).expect("it exists");
        assert!(job.stage.is_final(), "job {id} is told of before its end");
        assert!(tries <= 5, "job {id}: five tries");
        *jobs.entry(callee).or_default() += 1;
    }
    let callees: BTreeMap<_, _> = state.callees.iter().map(|e| e.into_pair()).collect();
    let counted: BTreeMap<_, _> = callees
        .iter()
        .map(|(c, record)| (*c, record.jobs))
        .collect();
    assert_eq!(counted, jobs, "callbacks are counted");
    let due: BTreeMap<_, _> = state
        .callees_due
        .iter()
        .map(|e| (e.key().1, e.key().0))
        .collect();
    let next: BTreeMap<_, _> = callees
        .iter()
        .map(|(c, record)| (*c, record.next))
        .collect();
    assert_eq!(due, next, "every canister that waits is in the queue, once");
    assert_eq!(state.callees_due.len(), due.len() as u64);
}

/// All callbacks end, answered or not.
pub fn exit(world: &mut World) {
    for _ in 0..200 {
        while callback::next(&mut world.state, world.now).is_some() {}
        world.pass(3_600);
        if world.state.callbacks.is_empty() {
            return;
        }
    }
    panic!("exit: {} callbacks never end", world.state.callbacks.len());
}

impl JobRecord {
    /// For tests: its times.
    pub fn times(&self) -> (Timestamp, Option<Timestamp>) {
        (self.deadline, self.lease_until)
    }
}
