//! Audits of the fake escrow: tasks of the echo engine, and the rules of commit and reveal.

use emc_protocol::audit::{
    Audit, AuditPhase, AuditRound, AuditSummary, AuditTask, AuditTerms, CommitArgs, GapLevel,
    PROBES, Probe, RevealArgs, Seat, Verdict, Vote,
};
use emc_protocol::error::code;
use emc_protocol::{
    ApiError, FinishReason, JobId, JobInput, Parameters, TextOutput, Timestamp, Tokens, Usage,
};

use super::{ESCROW, FakeEscrow, OWNER, State, model, node, refuse};
use crate::engine::echo::END;

/// An audit in which the node has a seat.
#[derive(Debug, Clone)]
pub struct FakeAudit {
    /// What is to be checked.
    pub task: AuditTask,
    /// True once commitments are over.
    pub revealing: bool,
    /// True once it waits for nobody.
    pub over: bool,
    /// What was committed to.
    pub commitment: Option<Vec<u8>>,
    /// What was revealed.
    pub vote: Option<Vote>,
    /// True once the audit is decided.
    pub decided: bool,
}

/// The task of checking the echo engine's honest answer to a text.
pub fn task(text: &str) -> AuditTask {
    let mut ids: Vec<u32> = text.bytes().map(u32::from).collect();
    ids.push(END);
    let probes = (0..PROBES as u64).map(|n| Probe {
        position: n as u32 % ids.len() as u32,
        decoy: n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
    });
    AuditTask {
        job_id: 0,
        round: 1,
        model: model(),
        model_root: crate::engine::echo::root().to_vec(),
        input: Some(JobInput::Completion {
            prompt: text.into(),
        }),
        parameters: Parameters::greedy(200),
        seed: 4,
        usage: Usage {
            prompt_tokens: 1 + text.len().div_ceil(4) as u64,
            output_tokens: ids.len() as u64,
            pixel_steps: 0,
        },
        context: 300,
        probes: probes.collect(),
        terms: AuditTerms {
            levels: vec![GapLevel {
                above_milli: 300,
                share: 0,
                besides: 0,
            }],
            tolerance_milli: 100,
        },
        output: TextOutput {
            ids,
            finish_reason: FinishReason::Stop,
            text: text.into(),
        },
        image: None,
    }
}

impl FakeEscrow {
    /// Draws the node for an audit of an answer to a text.
    pub fn draw_for(&self, text: &str) -> JobId {
        self.draw_for_task(task(text))
    }

    /// Draws the node for an audit.
    pub fn draw_for_task(&self, task: AuditTask) -> JobId {
        let mut state = self.state();
        let job_id = 1_000 + state.audits.len() as u64;
        let audit = FakeAudit {
            task: AuditTask { job_id, ..task },
            revealing: false,
            over: false,
            commitment: None,
            vote: None,
            decided: false,
        };
        state.audits.insert(job_id, audit);
        job_id
    }

    /// Changes an audit.
    pub fn change_audit(&self, id: JobId, change: impl FnOnce(&mut FakeAudit)) {
        change(self.state().audits.get_mut(&id).expect("there is one"));
    }

    /// Ends an audit, whatever the node has done.
    pub fn end_without_us(&self, id: JobId) {
        self.change_audit(id, |audit| (audit.over, audit.decided) = (true, true));
    }

    /// An audit.
    pub fn audit_now(&self, id: JobId) -> FakeAudit {
        self.state().audits[&id].clone()
    }
}

pub(super) fn list(state: &State) -> Vec<AuditSummary> {
    let audits = state.audits.iter().filter(|(_, audit)| !audit.over);
    let waiting = audits.filter_map(|(id, audit)| {
        let phase = match (audit.revealing, &audit.commitment, &audit.vote) {
            (false, None, _) => AuditPhase::Commit,
            (true, Some(_), None) => AuditPhase::Reveal,
            _ => return None,
        };
        Some(AuditSummary {
            job_id: *id,
            round: audit.task.round,
            model: audit.task.model.clone(),
            phase: Some(phase),
            until: Timestamp(u64::MAX / 2),
            fee: Tokens(5),
        })
    });
    waiting.collect()
}

fn running(state: &mut State, id: JobId, round: u32) -> Result<&mut FakeAudit, ApiError> {
    match state.audits.get_mut(&id) {
        Some(audit) if !audit.over && audit.task.round == round => Ok(audit),
        _ => refuse(code::NOT_YOUR_AUDIT),
    }
}

pub(super) fn task_of(state: &State, id: JobId) -> Result<AuditTask, ApiError> {
    match state.audits.get(&id) {
        Some(audit) if !audit.over => Ok(audit.task.clone()),
        _ => refuse(code::NOT_YOUR_AUDIT),
    }
}

pub(super) fn commit(state: &mut State, args: &CommitArgs) -> Result<(), ApiError> {
    let audit = running(state, args.job_id, args.round)?;
    match &audit.commitment {
        Some(before) if *before == args.commitment => Ok(()),
        Some(_) => refuse(code::BAD_VOTE),
        None if audit.revealing => refuse(code::NOT_YOUR_AUDIT),
        None => {
            audit.commitment = Some(args.commitment.clone());
            Ok(())
        }
    }
}

pub(super) fn reveal(state: &mut State, args: RevealArgs) -> Result<(), ApiError> {
    let audit = running(state, args.job_id, args.round)?;
    if !audit.revealing {
        return refuse(code::NOT_YOUR_AUDIT);
    }
    let Ok(salt) = <[u8; 32]>::try_from(args.salt.as_slice()) else {
        return refuse(code::INVALID);
    };
    let hash = args
        .vote
        .commitment(ESCROW, args.job_id, args.round, node(), &salt);
    if audit.commitment.as_deref() != Some(hash.as_slice()) {
        return refuse(code::BAD_VOTE);
    }
    audit.vote = Some(args.vote);
    Ok(())
}

pub(super) fn show(state: &State, id: JobId) -> Result<Audit, ApiError> {
    let Some(audit) = state.audits.get(&id) else {
        return refuse(code::NOT_FOUND);
    };
    let seat = Seat {
        node: node(),
        owner: OWNER,
        committed: audit.commitment.is_some(),
        vote: audit.vote.clone().filter(|_| audit.over),
        accepted: audit.over.then_some(audit.vote.is_some()),
        paid: Tokens::ZERO,
        lost: Tokens::ZERO,
    };
    Ok(Audit {
        job_id: id,
        assurance: None,
        chance: 10_000,
        seed: None,
        drawn: true,
        bond: Tokens::ZERO,
        fee: Tokens(5),
        rounds: vec![AuditRound {
            number: 1,
            seed: vec![],
            drawn: Timestamp(0),
            candidates: vec![],
            seats: vec![seat],
            probes: vec![],
            verdict: None,
        }],
        verdict: audit.decided.then_some(Verdict::Undecided),
    })
}
