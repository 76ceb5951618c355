//! Audits: validators commit to votes, reveal them, and the last round decides. What a vote means is in `judge`, who may
//! vote in `draw`, what becomes of money and stake in `verdict`; here is the course of it.
//!
//! A round has two phases, each with an end that the due queue watches: `commit`, until all seats have committed or the
//! time is up; `reveal`, until all that committed have revealed or the time is up.

use crate::draw;
use crate::due;
use crate::image;
use crate::judge;
use crate::records::*;
use crate::state::State;
use crate::verdict;
use crate::view;
use candid::Principal;
use emc_protocol::audit::{
    Audit, AuditPhase, AuditRound, AuditSummary, AuditTask, AuditTerms, Candidate, CommitArgs,
    PROBES, Probe, RevealArgs, Seat, Verdict, Vote,
};
use emc_protocol::canonical;
use emc_protocol::image::ImageTask;
use emc_protocol::{
    ApiError, ByteBuf, FinishReason, JobId, TextOutput, Timestamp, Tokens, error::code,
};

/// Audits of one validator that a list shows.
const LISTED: usize = 50;
/// Seats of one validator that are looked at for them: most wait for the other validators.
const SEATS_LOOKED_AT: usize = 500;

// --- what validators see ---

/// The caller's audits that wait for it.
pub fn list(state: &State, caller: Principal) -> Vec<AuditSummary> {
    let mine = state.assigned.range((caller, 0)..=(caller, u64::MAX));
    mine.take(SEATS_LOOKED_AT)
        .filter_map(|entry| {
            let id = entry.key().1;
            let (job, audit) = (state.jobs.get(&id)?, state.audits.get(&id)?);
            let round = audit.rounds.last()?;
            let seat = round.seats.iter().find(|seat| seat.node == caller)?;
            let phase = match (round.revealing, &seat.commitment, &seat.vote) {
                (false, None, _) => AuditPhase::Commit,
                (true, Some(_), None) => AuditPhase::Reveal,
                _ => return None,
            };
            (!round.over).then(|| AuditSummary {
                job_id: id,
                round: audit.rounds.len() as u32,
                model: job.model_ref(),
                phase: Some(phase),
                until: round.until,
                fee: job
                    .checking
                    .map_or(Tokens::ZERO, |checking| checking.vote_fee),
            })
        })
        .take(LISTED)
        .collect()
}

/// What a member of the running round's committee needs to compute its vote.
///
/// # Errors
/// The caller has no seat in it.
pub fn task(state: &State, caller: Principal, id: JobId) -> Result<AuditTask, ApiError> {
    let (job, audit) = (
        state.job(id)?,
        state.audits.get(&id).ok_or_else(|| not_yours(id))?,
    );
    let round = audit
        .rounds
        .last()
        .filter(|round| !round.over)
        .ok_or_else(|| not_yours(id))?;
    if round.seats.iter().all(|seat| seat.node != caller) {
        return Err(not_yours(id));
    }
    let (attempt, usage) = (job.attempts.last(), job.usage);
    let delivered = delivered(state, &job, id);
    let (Some(attempt), Some(usage), Some((output, picture))) = (attempt, usage, delivered) else {
        return Err(not_yours(id));
    };
    Ok(AuditTask {
        job_id: id,
        round: audit.rounds.len() as u32,
        model: job.model_ref(),
        model_root: job.model_root.to_vec(),
        input: state
            .inputs
            .get(&id)
            .and_then(|bytes| canonical::read_input(&bytes)),
        parameters: (&job.parameters).into(),
        seed: job.seed,
        output,
        usage: usage.0,
        context: attempt.context.unwrap_or_default(),
        probes: probes(&audit, id),
        terms: terms(&job),
        image: picture,
    })
}

/// What was delivered, as a validator gets it: a text, or an empty one and what is to be known of a picture.
fn delivered(state: &State, job: &JobRecord, id: JobId) -> Option<(TextOutput, Option<ImageTask>)> {
    if job.image.is_none() {
        let text = canonical::read_output(&state.outputs.get(&id)?)?;
        return Some((text, None));
    }
    let nothing = TextOutput {
        ids: vec![],
        finish_reason: FinishReason::Stop,
        text: String::new(),
    };
    let task = ImageTask {
        latent: image::latent(state, id)?,
        result_bytes: state.pictures.length(id)?,
    };
    Some((nothing, Some(task)))
}

/// True for a member of the running round's committee.
pub(crate) fn has_seat(state: &State, caller: Principal, id: JobId) -> bool {
    let running = state
        .audits
        .get(&id)
        .and_then(|mut audit| audit.rounds.pop());
    running.is_some_and(|round| !round.over && round.seats.iter().any(|seat| seat.node == caller))
}

/// Everything about a job's draw and audit.
///
/// # Errors
/// There is no such job.
pub fn show(state: &State, id: JobId) -> Result<Audit, ApiError> {
    let job = view::shown(state, id)?;
    let audit = state.audits.get(&id).unwrap_or_default();
    let rounds = audit.rounds.iter().zip(1..);
    Ok(Audit {
        job_id: id,
        assurance: Some(job.assurance()),
        chance: job.checking.map_or(0, |checking| checking.chance),
        seed: audit.seed.map(|seed| ByteBuf::from(seed.to_vec())),
        drawn: audit.drawn,
        bond: job.checking.map_or(Tokens::ZERO, |checking| checking.bond),
        fee: job
            .checking
            .map_or(Tokens::ZERO, |checking| checking.vote_fee),
        rounds: rounds
            .map(|(round, number)| AuditRound {
                number,
                seed: round.seed.to_vec(),
                drawn: round.drawn,
                candidates: candidates(state, id, number),
                seats: round
                    .seats
                    .iter()
                    .map(|seat| shown(seat, round.over))
                    .collect(),
                probes: probes_of(round, number, id, audit.positions),
                verdict: round.verdict.map(Verdict::from),
            })
            .collect(),
        verdict: audit.verdict.map(Verdict::from),
    })
}

fn candidates(state: &State, id: JobId, round: u32) -> Vec<Candidate> {
    let listed = state.candidates.get(&(id, round)).unwrap_or_default();
    listed.0.iter().map(Candidate::from).collect()
}

/// Votes are shown once nobody can copy them any more.
fn shown(seat: &SeatRecord, over: bool) -> Seat {
    let mut seat = Seat::from(seat);
    if !over {
        seat.vote = None;
    }
    seat
}

/// The probes that the running round asks for: those of all rounds so far, so that the last one can judge the first.
fn probes(audit: &AuditRecord, id: JobId) -> Vec<Probe> {
    let rounds = audit.rounds.iter().zip(1..);
    rounds
        .flat_map(|(round, number)| probes_of(round, number, id, audit.positions))
        .collect()
}

/// How many those are. Computing them takes two hashes each, which every reveal would pay for.
fn probe_count(audit: &AuditRecord) -> usize {
    match audit.positions {
        0 => 0,
        _ => audit.rounds.len() * PROBES,
    }
}

pub(crate) fn terms(job: &JobRecord) -> AuditTerms {
    let terms = job
        .attempts
        .last()
        .and_then(|attempt| attempt.terms.as_ref());
    terms.map_or(
        AuditTerms {
            levels: vec![],
            tolerance_milli: 0,
        },
        AuditTerms::from,
    )
}

/// The record of a delivered result that waits for its draw.
pub(crate) fn begun(job: &JobRecord, positions: u32) -> AuditRecord {
    AuditRecord {
        positions,
        levels: terms(job).levels.len() as u32,
        ..AuditRecord::default()
    }
}

/// Deletes everything of a job's audit.
pub(crate) fn delete(state: &mut State, id: JobId) {
    let audit = state.audits.remove(&id).unwrap_or_default();
    for round in 1..=audit.rounds.len() as u32 {
        state.candidates.remove(&(id, round));
    }
}

// --- what validators do ---

/// Commits to a vote. Repeating the same commitment changes nothing.
///
/// # Errors
/// The caller has no seat, commitments are over, or it has committed to something else.
pub fn commit(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    args: &CommitArgs,
) -> Result<(), ApiError> {
    let commitment: [u8; 32] =
        args.commitment.as_slice().try_into().map_err(|_| {
            ApiError::invalid("commitment", "32 bytes, the hash of docs/spec/audit.md")
        })?;
    let id = args.job_id;
    let (mut audit, at) = seat(state, now, id, args.round, caller)?;
    let round = audit.rounds.last_mut().ok_or_else(|| not_yours(id))?;
    match round.seats[at].commitment {
        Some(before) if before == commitment => return Ok(()),
        Some(_) => {
            let message =
                format!("You have committed to another vote on job {id}: reveal that one.");
            return Err(ApiError::new(code::BAD_VOTE, message));
        }
        None if round.revealing => {
            let message = format!("The time for commitments to votes on job {id} is over.");
            return Err(ApiError::new(code::NOT_YOUR_AUDIT, message));
        }
        None => round.seats[at].commitment = Some(commitment),
    }
    if round.seats.iter().all(|seat| seat.commitment.is_some()) {
        let mut job = due::catch_up(state, now, id)?;
        begin_reveal(state, now, id, &mut job, round);
        state.jobs.insert(id, job);
    }
    state.audits.insert(id, audit);
    Ok(())
}

/// Reveals a vote. Repeating the same one changes nothing.
///
/// # Errors
/// The caller has no seat, the round does not wait for votes, or the vote is not what was committed to.
pub fn reveal(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    args: RevealArgs,
) -> Result<(), ApiError> {
    let id = args.job_id;
    let salt: [u8; 32] = args
        .salt
        .as_slice()
        .try_into()
        .map_err(|_| ApiError::invalid("salt", "the 32 bytes of the commitment"))?;
    let (mut audit, at) = seat(state, now, id, args.round, caller)?;
    check_shape(&args.vote, &audit, id)?;
    let escrow = state.config().escrow;
    let round = audit.rounds.last_mut().ok_or_else(|| not_yours(id))?;
    if !round.revealing {
        let message = format!(
            "The other validators of job {id} have not all committed: reveal when they have."
        );
        return Err(ApiError::new(code::NOT_YOUR_AUDIT, message));
    }
    let hash = args.vote.commitment(escrow, id, args.round, caller, &salt);
    if round.seats[at].commitment != Some(hash) {
        let message = format!("This vote on job {id} is not the one that you have committed to.");
        return Err(ApiError::new(code::BAD_VOTE, message));
    }
    round.seats[at].vote = Some(args.vote.into());
    let complete = round
        .seats
        .iter()
        .all(|seat| seat.commitment.is_none() || seat.vote.is_some());
    if !complete {
        state.audits.insert(id, audit);
        return Ok(());
    }
    let mut job = due::catch_up(state, now, id)?;
    end_round(state, now, id, &mut job, audit);
    state.jobs.insert(id, job);
    Ok(())
}

/// The running round of a job and the caller's place in it. What is due for the job is done first; while its phase has
/// time left, nothing is, and the job's record need not be read.
fn seat(
    state: &mut State,
    now: Timestamp,
    id: JobId,
    round: u32,
    caller: Principal,
) -> Result<(AuditRecord, usize), ApiError> {
    let mut audit = state.audits.get(&id).ok_or_else(|| not_yours(id))?;
    if audit.rounds.last().is_none_or(|last| last.until <= now) {
        due::catch_up(state, now, id)?;
        audit = state.audits.get(&id).ok_or_else(|| not_yours(id))?;
    }
    let running = audit
        .rounds
        .last()
        .filter(|running| !running.over && audit.rounds.len() == round as usize);
    let at = running.and_then(|running| running.seats.iter().position(|seat| seat.node == caller));
    at.map(|at| (audit, at)).ok_or_else(|| not_yours(id))
}

fn not_yours(id: JobId) -> ApiError {
    let message = format!(
        "You have no seat in an audit of job {id} that is running: see `audits` for those that you have."
    );
    ApiError::new(code::NOT_YOUR_AUDIT, message)
}

fn check_shape(vote: &Vote, audit: &AuditRecord, id: JobId) -> Result<(), ApiError> {
    let (probes, levels) = (probe_count(audit), audit.levels as usize);
    let counts_fit = vote
        .above
        .iter()
        .chain([&vote.matches])
        .all(|&count| count <= vote.positions);
    let fits = vote.positions == audit.positions
        && vote.differences.len() == probes
        && vote.above.len() == levels;
    if fits && counts_fit {
        return Ok(());
    }
    let message = format!(
        "A vote on job {id} has {} positions, {levels} counts and {probes} differences, and no count above the positions.",
        audit.positions
    );
    Err(ApiError::new(code::BAD_VOTE, message))
}

// --- the course of a round ---

/// A phase's time is up.
pub(crate) fn phase_over(state: &mut State, now: Timestamp, id: JobId, job: &mut JobRecord) {
    let mut audit = state.audits.get(&id).unwrap_or_default();
    match audit.rounds.last_mut() {
        Some(round)
            if !round.revealing && round.seats.iter().any(|seat| seat.commitment.is_some()) =>
        {
            begin_reveal(state, now, id, job, round);
            state.audits.insert(id, audit);
        }
        _ => end_round(state, now, id, job, audit),
    }
}

fn begin_reveal(
    state: &mut State,
    now: Timestamp,
    id: JobId,
    job: &mut JobRecord,
    round: &mut RoundRecord,
) {
    round.revealing = true;
    round.until = now.after(state.config().settings.audit().reveal_window);
    wait_until(state, id, job, Some(round.until));
}

/// Moves a job in the due queue.
fn wait_until(state: &mut State, id: JobId, job: &mut JobRecord, until: Option<Timestamp>) {
    if let Some(before) = job.lease_until {
        state.unqueue_due(id, before);
    }
    job.lease_until = until;
    if let Some(until) = until {
        state.queue_due(id, until);
    }
}

/// A round waits for nobody any more.
fn end_round(
    state: &mut State,
    now: Timestamp,
    id: JobId,
    job: &mut JobRecord,
    mut audit: AuditRecord,
) {
    let (terms, usage) = (
        terms(job),
        job.usage.map(|usage| usage.0).unwrap_or_default(),
    );
    let first = audit.rounds.len() == 1;
    if let Some(round) = audit.rounds.last_mut() {
        let findings = verdict::findings(round, &terms, &usage);
        round.over = true;
        round.verdict = match first {
            true => judge::first_round(&findings).then_some(VerdictRecord::Upheld),
            false => Some(judge::second_round(&findings)),
        };
        for seat in &round.seats {
            state.assigned.remove(&(seat.node, id));
        }
    }
    let verdict = audit.rounds.last().and_then(|round| round.verdict);
    state.audits.insert(id, audit);
    wait_until(state, id, job, None);
    if job.is_canary() {
        return verdict::finish(state, now, id, job, VerdictRecord::Overturned);
    }
    match (first, verdict) {
        (true, Some(_)) => draw::request(state, id, Draw::SecondLook),
        (true, None) => draw::request(state, id, Draw::Second),
        (false, verdict) => verdict::finish(
            state,
            now,
            id,
            job,
            verdict.unwrap_or(VerdictRecord::Undecided),
        ),
    }
}
