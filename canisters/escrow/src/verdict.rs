//! The end of an audit: who voted as the model does, who loses its bond, who is paid, and how the job ends.

use crate::audit::terms;
use crate::bond;
use crate::judge::{self, Finding};
use crate::movement::{Movement, VoteSource};
use crate::power;
use crate::records::*;
use crate::report;
use crate::settle;
use crate::state::State;
use candid::Principal;
use emc_protocol::audit::AuditTerms;
use emc_protocol::{JobId, Timestamp, Tokens};

/// Ends an audit: every seat is judged, accepted votes are paid, the job ends as the verdict says. A second look that
/// decided nothing leaves what the first round had upheld.
pub(crate) fn finish(
    state: &mut State,
    now: Timestamp,
    id: JobId,
    job: &mut JobRecord,
    verdict: VerdictRecord,
) {
    let mut audit = state.audits.get(&id).unwrap_or_default();
    let upheld_before =
        audit.rounds.first().and_then(|round| round.verdict) == Some(VerdictRecord::Upheld);
    let verdict = match verdict {
        VerdictRecord::Undecided if upheld_before => VerdictRecord::Upheld,
        verdict => verdict,
    };
    audit.verdict = Some(verdict);
    let (terms, usage) = (
        terms(job),
        job.usage.map(|usage| usage.0).unwrap_or_default(),
    );
    match job.is_canary() {
        true => judge_canary(&mut audit, &terms, &usage),
        false => judge_seats(&mut audit, &terms, &usage, verdict),
    }
    if verdict != VerdictRecord::Undecided {
        pay_votes(state, now, id, job, &mut audit);
    }
    for seat in audit.rounds.iter_mut().flat_map(|round| &mut round.seats) {
        // A vote that was not accepted without being contradicted (nothing was decided) keeps its bond.
        if seat.lost.is_zero() {
            bond::release(state, seat.node, seat.bond);
        } else {
            bond::burn(state, seat.node, seat.bond);
        }
        let (accepted, lost) = (seat.accepted == Some(true), !seat.lost.is_zero());
        if let (Some(mining), true) = (&job.mining, accepted) {
            power::voted(state, mining, seat.node);
        }
        report::note(state, seat.node, |outcome| {
            outcome.votes += u32::from(accepted);
            outcome.votes_lost += u32::from(lost);
        });
    }
    state.audits.insert(id, audit);
    match verdict {
        _ if job.is_canary() => settle::end_canary(state, now, id, job),
        VerdictRecord::Upheld => settle::settle_delivered(state, now, id, job),
        VerdictRecord::Overturned => settle::overturn(state, now, id, job),
        VerdictRecord::Undecided => settle::split(state, now, id, job),
    }
}

/// Who is accepted, and who loses its bond: by silence, by not revealing, by differences that the last round
/// contradicts, or by saying the contrary of what four of five found.
fn judge_seats(
    audit: &mut AuditRecord,
    terms: &AuditTerms,
    usage: &emc_protocol::Usage,
    verdict: VerdictRecord,
) {
    let Some(last) = audit.rounds.last() else {
        return;
    };
    let revealed: Vec<&VoteRecord> = last
        .seats
        .iter()
        .filter_map(|seat| seat.vote.as_ref())
        .collect();
    let medians = judge::medians(&revealed);
    let in_last = findings(last, terms, usage);
    let decisive = judge::decisive(last.seats.len());
    let found = |wanted| in_last.iter().filter(|finding| **finding == wanted).count();
    let contrary = match verdict {
        VerdictRecord::Overturned => Some(Finding::Within),
        VerdictRecord::Upheld if found(Finding::Within) >= decisive => Some(Finding::Outside),
        _ => None,
    };
    let wanted = match verdict {
        VerdictRecord::Overturned => Some(Finding::Outside),
        VerdictRecord::Upheld => Some(Finding::Within),
        VerdictRecord::Undecided => None,
    };
    for seat in audit.rounds.iter_mut().flat_map(|round| &mut round.seats) {
        let (finding, computed) = match &seat.vote {
            None => (Finding::Nothing, false),
            Some(vote) => {
                let computed = medians
                    .as_ref()
                    .is_none_or(|medians| judge::agrees(vote, medians, terms.tolerance_milli));
                let finding = match judge::is_within(vote, terms, usage) {
                    true => Finding::Within,
                    false => Finding::Outside,
                };
                (finding, computed)
            }
        };
        let lost = !computed || Some(finding) == contrary;
        seat.accepted = Some(!lost && Some(finding) == wanted);
        seat.lost = if lost { seat.bond } else { Tokens::ZERO };
    }
}

/// Of a twin it is known that it is wrong: who says so is accepted, who says nothing or finds it right loses its bond.
/// The differences decide nothing here, so that a committee in which others make them up costs no honest validator.
fn judge_canary(audit: &mut AuditRecord, terms: &AuditTerms, usage: &emc_protocol::Usage) {
    for seat in audit.rounds.iter_mut().flat_map(|round| &mut round.seats) {
        let vote = seat.vote.as_ref();
        let found = vote.is_some_and(|vote| !judge::is_within(vote, terms, usage));
        seat.accepted = Some(found);
        seat.lost = if found { Tokens::ZERO } else { seat.bond };
    }
}

/// Pays every accepted vote: from the lock of an `always` job; for a sampled one from what sampled jobs have paid in,
/// then from the treasury, and less where both are empty.
fn pay_votes(
    state: &mut State,
    now: Timestamp,
    id: JobId,
    job: &mut JobRecord,
    audit: &mut AuditRecord,
) {
    let Some(checking) = job.checking else { return };
    let accepted = |seat: &&mut SeatRecord| seat.accepted == Some(true);
    let owners: Vec<Principal> = audit
        .rounds
        .iter_mut()
        .flat_map(|round| &mut round.seats)
        .filter(accepted)
        .map(|seat| seat.owner)
        .collect();
    if owners.is_empty() {
        return;
    }
    let count = owners.len() as u128;
    let needed = checking.vote_fee.0.saturating_mul(count);
    let (source, each) = if checking.always {
        let there = needed.min(checking.audit_fee.0).min(job.lock.amount().0);
        (VoteSource::Lock(id), Tokens(there / count))
    } else {
        let pool = state.books.audits().0;
        let there = needed.min(pool.saturating_add(state.books.treasury().0));
        let each = there / count;
        let treasury = Tokens((each * count).saturating_sub(pool));
        (VoteSource::Pool { treasury }, Tokens(each))
    };
    let booked = state
        .books
        .apply_for(Movement::votes(now, source, &owners, each), id, job);
    booked.expect("no more is paid than the lock, or pool and treasury, have");
    for seat in audit
        .rounds
        .iter_mut()
        .flat_map(|round| &mut round.seats)
        .filter(accepted)
    {
        seat.paid = each;
    }
}

/// What each seat of a round has found.
pub(crate) fn findings(
    round: &RoundRecord,
    terms: &AuditTerms,
    usage: &emc_protocol::Usage,
) -> Vec<Finding> {
    let votes: Vec<Option<&VoteRecord>> =
        round.seats.iter().map(|seat| seat.vote.as_ref()).collect();
    judge::findings(&votes, terms, usage)
}
