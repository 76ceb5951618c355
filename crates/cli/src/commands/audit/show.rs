//! `emc audit show`: the draw and the votes of a job. What follows from the random bytes is recomputed here, so that
//! nobody has to believe the escrow.

use crate::{cli::Globals, output, session::Session, words};
use anyhow::{Result, bail};
use clap::Args;
use emc_client::protocol::audit::{Audit, AuditRound, FIRST_COMMITTEE, SECOND_COMMITTEE, Seat};
use emc_client::protocol::draw;
use emc_client::protocol::job::{Job, JobId};
use serde_json::{Value, json};

/// The draw and the votes of a job, recomputed here. Fails where the escrow's record does not follow from its seeds.
#[derive(Debug, Args)]
pub struct Show {
    /// The job's number
    job: JobId,
}

impl Show {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let escrow = session.escrow();
        let (audit, job) = (
            escrow.audit(self.job).await?,
            escrow.get_job(self.job, None).await?,
        );
        let problems = recompute(&audit, &job);
        if globals.json {
            output::json(&as_json(&audit, &problems))?;
        } else {
            print(&audit, &problems)?;
        }
        if problems.is_empty() {
            return Ok(());
        }
        bail!(
            "the record of job {} does not follow from its seeds",
            self.job
        )
    }
}

/// What in the record does not follow from its seeds.
fn recompute(audit: &Audit, job: &Job) -> Vec<String> {
    let mut problems = vec![];
    let seed = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).ok();
    if let Some(bytes) = &audit.seed {
        match seed(bytes) {
            Some(seed) if draw::is_drawn(&seed, audit.job_id, audit.chance) == audit.drawn => {}
            _ => problems.push("whether it is audited".to_owned()),
        }
    }
    let positions = job.usage.map_or(0, |usage| usage.output_tokens as u32);
    for round in &audit.rounds {
        let size = if round.number == 1 {
            FIRST_COMMITTEE
        } else {
            SECOND_COMMITTEE
        };
        let follows = seed(&round.seed).is_some_and(|seed| {
            let drawn = draw::committee(&seed, audit.job_id, round.number, &round.candidates, size);
            let drawn = drawn.into_iter().map(|at| round.candidates[at].node);
            drawn.eq(round.seats.iter().map(|seat| seat.node))
                && draw::probes(&seed, audit.job_id, round.number, positions) == round.probes
        });
        if !follows {
            problems.push(format!("committee or probes of round {}", round.number));
        }
        let concerned = |seat: &Seat| {
            seat.owner == job.requester
                || job
                    .attempts
                    .last()
                    .is_some_and(|attempt| attempt.owner == seat.owner)
        };
        if round.seats.iter().any(concerned) {
            problems.push(format!(
                "round {}: somebody audits his own work",
                round.number
            ));
        }
    }
    problems
}

fn print(audit: &Audit, problems: &[String]) -> Result<()> {
    let percent = |points: u16| format!("{}.{:02} %", points / 100, points % 100);
    let drawn = match (&audit.seed, audit.drawn) {
        (None, _) => "not drawn yet",
        (_, true) => "drawn",
        (_, false) => "not drawn",
    };
    output::fields(&[
        ("job", audit.job_id.to_string()),
        ("assurance", words::assurance(audit.assurance).to_owned()),
        ("chance", format!("{}: {drawn}", percent(audit.chance))),
        ("bond", format!("{} EMC", audit.bond)),
        ("a vote is paid", format!("{} EMC", audit.fee)),
        ("verdict", words::verdict(audit.verdict).to_owned()),
        (
            "recomputed",
            match problems {
                [] => "everything follows from the seeds".to_owned(),
                problems => format!("WRONG: {}", problems.join("; ")),
            },
        ),
    ])?;
    for round in &audit.rounds {
        output::line(format_args!(
            "\nround {}, drawn {} among {} validators: {}",
            round.number,
            words::time(round.drawn),
            round.candidates.len(),
            words::verdict(round.verdict)
        ))?;
        output::table(
            &[
                "vote",
                "matches",
                "largest gap",
                "paid",
                "lost",
                "validator",
            ],
            &round.seats.iter().map(row).collect::<Vec<_>>(),
        )?;
    }
    Ok(())
}

fn row(seat: &Seat) -> Vec<String> {
    let state = match (seat.accepted, &seat.vote, seat.committed) {
        (Some(true), ..) => "accepted",
        (Some(false), Some(_), _) => "refused",
        (Some(false), None, true) => "not revealed",
        (Some(false), None, false) => "silent",
        (None, _, true) => "committed",
        (None, _, false) => "waits",
    };
    let (matches, gap) = seat.vote.as_ref().map_or_else(
        || ("-".to_owned(), "-".to_owned()),
        |vote| {
            let gap = f64::from(vote.largest_gap_milli) / 1_000.0;
            (
                format!("{}/{}", vote.matches, vote.positions),
                format!("{gap:.3}"),
            )
        },
    );
    vec![
        state.to_owned(),
        matches,
        gap,
        seat.paid.to_string(),
        seat.lost.to_string(),
        seat.node.to_text(),
    ]
}

fn as_json(audit: &Audit, problems: &[String]) -> Value {
    json!({
        "job": audit.job_id,
        "assurance": words::assurance(audit.assurance),
        "chance_basis_points": audit.chance,
        "seed": audit.seed.as_ref().map(hex::encode),
        "drawn": audit.drawn,
        "bond": words::emc(audit.bond),
        "vote_fee": words::emc(audit.fee),
        "verdict": words::verdict(audit.verdict),
        "problems": problems,
        "rounds": audit.rounds.iter().map(round_json).collect::<Vec<_>>(),
    })
}

fn round_json(round: &AuditRound) -> Value {
    let seat = |seat: &Seat| {
        json!({
            "node": seat.node.to_text(),
            "owner": seat.owner.to_text(),
            "committed": seat.committed,
            "accepted": seat.accepted,
            "paid": words::emc(seat.paid),
            "lost": words::emc(seat.lost),
            "vote": seat.vote.as_ref().map(|vote| json!({
                "positions": vote.positions,
                "matches": vote.matches,
                "largest_gap_milli": vote.largest_gap_milli,
                "mean_gap_milli": vote.mean_gap_milli,
                "above": vote.above,
                "prompt_tokens": vote.prompt_tokens,
                "ends_right": vote.ends_right,
                "text_right": vote.text_right,
                "differences": vote.differences,
            })),
        })
    };
    json!({
        "number": round.number,
        "seed": hex::encode(&round.seed),
        "candidates": round.candidates.iter().map(|c| json!({
            "node": c.node.to_text(), "owner": c.owner.to_text(), "weight": words::emc(c.weight),
        })).collect::<Vec<_>>(),
        "seats": round.seats.iter().map(seat).collect::<Vec<_>>(),
        "probes": round.probes.iter().map(|p| json!({ "position": p.position, "decoy": p.decoy })).collect::<Vec<_>>(),
        "verdict": words::verdict(round.verdict),
    })
}
