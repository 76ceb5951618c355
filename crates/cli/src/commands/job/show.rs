//! `emc job show`: everything about a job.

use crate::decimals::{Capability, capability};
use crate::{cli::Globals, output, session::Session, words};
use anyhow::Result;
use clap::Args;
use emc_client::protocol::job::{Job, JobId};

/// Everything about a job: its attempts, its money (every posting), its answer.
#[derive(Debug, Args)]
pub struct Show {
    /// Its number
    job: JobId,
    /// What lets you read somebody else's job
    #[arg(long, value_name = "HEX", value_parser = capability)]
    capability: Option<Capability>,
}

impl Show {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let capability = self.capability.as_ref().map(|c| c.0.as_slice());
        let job = session.escrow().get_job(self.job, capability).await?;
        if globals.json {
            return output::json(&words::job_json(&job));
        }
        print(&job)
    }
}

fn print(job: &Job) -> Result<()> {
    let mut state = words::state(job.state).to_owned();
    if job.refund_reason.is_some() {
        state.push_str(&format!(": {}", words::refund(job.refund_reason)));
    }
    let mut fields = vec![
        ("job", job.id.to_string()),
        ("state", state),
        ("model", words::model(&job.model)),
        ("requester", job.requester.to_text()),
        ("created", words::time(job.created)),
        ("deadline", words::time(job.deadline)),
    ];
    if let Some(finished) = job.finished {
        fields.push(("finished", words::time(finished)));
    }
    fields.push(("locked", format!("{} EMC", job.locked)));
    if let Some(charged) = job.charged {
        fields.push(("charged", format!("{charged} EMC")));
    }
    if let Some(usage) = job.usage {
        let text = match usage.pixel_steps {
            0 => format!(
                "{} prompt and {} output tokens",
                usage.prompt_tokens, usage.output_tokens
            ),
            pixel_steps => format!("{pixel_steps} pixels times steps"),
        };
        fields.push(("usage", text));
    }
    output::fields(&fields)?;
    if !job.attempts.is_empty() {
        output::line("\nattempts")?;
        let rows: Vec<_> = job
            .attempts
            .iter()
            .map(|a| {
                vec![
                    a.number.to_string(),
                    words::attempt_end(a.end.as_ref()),
                    words::time(a.claimed),
                    words::price(&a.price),
                    a.node.to_text(),
                ]
            })
            .collect();
        output::table(
            &["#", "end", "claimed", "EMC/M prompt / output", "node"],
            &rows,
        )?;
    }
    if !job.postings.is_empty() {
        output::line("\npostings (EMC; those of one movement sum to zero)")?;
        let rows: Vec<_> = job
            .postings
            .iter()
            .map(|p| {
                vec![
                    words::time(p.time),
                    words::signed(p.amount),
                    p.reason.clone(),
                    words::account(p.account.as_ref()),
                ]
            })
            .collect();
        output::table(&["time", "amount", "why", "account"], &rows)?;
    }
    match &job.private {
        None => output::note("\nIts prompt and answer are its requester's to see."),
        Some(private) => {
            if let Some(output) = &private.output {
                output::line(format_args!("\n{}", output::harmless(&output.text)))?;
            } else if let Some(preview) = &private.preview {
                output::line(format_args!("\n{} ...", output::harmless(&preview.text)))?;
            }
        }
    }
    Ok(())
}
