//! The draw: which delivered jobs are audited, and by whom. The random bytes are asked for after the results are there,
//! and drawn from in the message that brings them, so that nobody can act between knowing them and the draw. While they
//! are asked for, the feed is not applied: the validators are those of before (`pull`).
//!
//! The same bytes serve all requests of a round; what is drawn for a job follows from them and its number
//! (`emc_protocol::draw`), and is recorded, so that anyone can recompute it.

use crate::bond;
use crate::image;
use crate::movement::Movement;
use crate::outage;
use crate::records::*;
use crate::settle;
use crate::state::State;
use crate::submit;
use crate::verdict;
use candid::Principal;
use emc_protocol::audit::{Candidate, FIRST_COMMITTEE, SECOND_COMMITTEE};
use emc_protocol::{JobId, Timestamp, draw};
use std::collections::BTreeSet;

/// Requests that one round serves, in the one message that brings the random bytes.
pub const PER_ROUND: usize = 50;
/// Validators of a model that can be drawn from at once.
const CANDIDATES: usize = 256;
/// Validators of a model that are looked at to find them.
const LOOK: usize = 1_024;

/// Puts a request into the draw queue.
pub(crate) fn request(state: &mut State, job: JobId, what: Draw) {
    let number = state.counts.get().draws + 1;
    state.count(|counts| counts.draws = number);
    state.draws.insert(number, DrawRequest { job, what });
}

/// The newest request that a round begun now may serve; `None` where there is nothing to draw. A request that comes
/// later waits for the next round: its result was not there when the bytes were asked for.
pub fn begin(state: &State) -> Option<u64> {
    state
        .draws
        .iter()
        .take(PER_ROUND)
        .last()
        .map(|entry| *entry.key())
}

/// Draws with the bytes that were asked for when `upto` was the newest request.
pub fn draw(state: &mut State, now: Timestamp, upto: u64, seed: &[u8; 32]) {
    let requests: Vec<(u64, DrawRequest)> = state
        .draws
        .range(..=upto)
        .take(PER_ROUND)
        .map(|entry| (*entry.key(), entry.value()))
        .collect();
    for (number, request) in requests {
        state.draws.remove(&number);
        let Some(mut job) = state.jobs.get(&request.job) else {
            continue;
        };
        let id = request.job;
        outage::shift(state, id, &mut job);
        match request.what {
            Draw::First => first(state, now, id, &mut job, seed),
            Draw::SecondLook => {
                let chance = state.config().settings.audit().second_look;
                match draw::is_looked_at_again(seed, id, chance) {
                    true => open_round(state, now, id, &mut job, seed),
                    false => verdict::finish(state, now, id, &mut job, VerdictRecord::Upheld),
                }
            }
            Draw::Second => open_round(state, now, id, &mut job, seed),
        }
        state.jobs.insert(id, job);
    }
}

/// Whether a delivered job is audited. A sampled one pays its share either way.
fn first(state: &mut State, now: Timestamp, id: JobId, job: &mut JobRecord, seed: &[u8; 32]) {
    let (Some(checking), Stage::Delivered) = (job.checking, job.stage) else {
        return;
    };
    if !checking.always {
        let booked =
            state
                .books
                .apply_for(Movement::audit_fee(now, id, checking.audit_fee), id, job);
        booked.expect("the fee is part of the lock");
    }
    let drawn = draw::is_drawn(seed, id, checking.chance);
    let mut record = state.audits.get(&id).unwrap_or_default();
    record.seed = Some(*seed);
    record.drawn = drawn;
    state.audits.insert(id, record);
    if !drawn {
        return settle::settle_delivered(state, now, id, job);
    }
    state.count(|counts| {
        counts.delivered = counts.delivered.saturating_sub(1);
        counts.auditing += 1;
        counts.audited += 1;
    });
    job.stage = Stage::Auditing;
    open_round(state, now, id, job, seed);
}

/// Draws a committee and gives it its task; without enough validators nothing can be decided.
fn open_round(state: &mut State, now: Timestamp, id: JobId, job: &mut JobRecord, seed: &[u8; 32]) {
    let mut audit = state.audits.get(&id).unwrap_or_default();
    let number = audit.rounds.len() as u32 + 1;
    let size = if number == 1 {
        FIRST_COMMITTEE
    } else {
        SECOND_COMMITTEE
    };
    let mut candidates = candidates(state, job);
    if let Some(before) = audit.rounds.first() {
        // A fresh committee, where there are enough others for one.
        let others = |c: &&CandidateRecord| before.seats.iter().all(|seat| seat.owner != c.owner);
        let fresh: Vec<CandidateRecord> = candidates.iter().filter(others).copied().collect();
        if owners(fresh.iter().map(|candidate| candidate.owner)) >= SECOND_COMMITTEE {
            candidates = fresh;
        }
    }
    let listed: Vec<Candidate> = candidates.iter().map(Candidate::from).collect();
    let committee = draw::committee(seed, id, number, &listed, size);
    let settings = state.config().settings.audit();
    let mut seats = Vec::with_capacity(committee.len());
    for at in committee {
        let CandidateRecord {
            node,
            owner,
            weight,
        } = candidates[at];
        let bond = settings.validator_bond.min(bond::free(state, node, weight));
        let reserved = bond::reserve(state, node, weight, bond);
        reserved.expect("no more than what is free");
        state.assigned.insert((node, id), number);
        seats.push(SeatRecord {
            node,
            owner,
            bond,
            commitment: None,
            vote: None,
            accepted: None,
            paid: Default::default(),
            lost: Default::default(),
        });
    }
    // Whoever votes on a picture makes it again.
    let more = image::more_time(&state.config().settings, job.pixel_steps());
    let until = now.after(settings.commit_window).after(more);
    let empty = seats.is_empty();
    audit.rounds.push(RoundRecord {
        seed: *seed,
        drawn: now,
        seats,
        revealing: false,
        until,
        verdict: None,
        over: empty,
    });
    state.audits.insert(id, audit);
    state
        .candidates
        .insert((id, number), CandidatesRecord(candidates));
    if empty {
        return verdict::finish(state, now, id, job, VerdictRecord::Undecided);
    }
    job.lease_until = Some(until);
    state.queue_due(id, until);
}

/// Validators of a model whose offered context covers so many tokens of prompt and output, as an offer must for a claim;
/// looks at a bounded number.
fn validators(
    state: &State,
    model: u32,
    tokens: u64,
) -> impl Iterator<Item = CandidateRecord> + '_ {
    let first = (model, Principal::from_slice(&[]));
    state
        .validators
        .range(first..)
        .take_while(move |entry| entry.key().0 == model)
        .take(LOOK)
        .map(|entry| (entry.key().1, entry.value()))
        .filter(move |(_, record)| tokens <= u64::from(record.context))
        .map(|(node, record)| CandidateRecord {
            node,
            owner: record.owner,
            weight: record.stake,
        })
}

/// Who may audit a job: validators that can recompute it, but neither the worker's owner's nor the requester's.
fn candidates(state: &State, job: &JobRecord) -> Vec<CandidateRecord> {
    let worker = job.attempts.last().map(|attempt| attempt.owner);
    let concerned =
        |c: &CandidateRecord| Some(c.owner) == worker || [c.node, c.owner].contains(&job.requester);
    let tokens = submit::tokens(&job.demand());
    validators(state, job.model, tokens)
        .filter(|candidate| !concerned(candidate))
        .take(CANDIDATES)
        .collect()
}

/// Distinct owners among candidates.
fn owners(candidates: impl IntoIterator<Item = Principal>) -> usize {
    candidates.into_iter().collect::<BTreeSet<_>>().len()
}

/// True if validators of so many distinct owners can recompute so many tokens of a model; looks no further than it must.
pub fn has_validators(state: &State, model: u32, tokens: u64, least: usize) -> bool {
    let mut owners = BTreeSet::new();
    validators(state, model, tokens)
        .any(|candidate| owners.insert(candidate.owner) && owners.len() >= least)
        || least == 0
}

/// Distinct owners whose validators can recompute so many tokens of a model, a requester's own not counted.
pub fn validator_owners(
    state: &State,
    model: u32,
    tokens: u64,
    requester: Option<Principal>,
) -> usize {
    let others = validators(state, model, tokens).map(|candidate| candidate.owner);
    owners(others.filter(|owner| Some(*owner) != requester))
}
