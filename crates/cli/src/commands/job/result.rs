//! `emc job result`: a finished job's answer; a picture goes into a file.

use crate::decimals::{Capability, capability};
use crate::picture_file;
use crate::{cli::Globals, output, session::Session, words};
use anyhow::{Context, Result, bail};
use clap::Args;
use emc_client::protocol::job::{JobId, JobState};
use serde_json::json;
use std::path::PathBuf;

/// A finished job's answer, on standard output alone; a picture in a file.
#[derive(Debug, Args)]
pub struct JobOutput {
    /// Its number
    job: JobId,
    /// What lets you read somebody else's job
    #[arg(long, value_name = "HEX", value_parser = capability)]
    capability: Option<Capability>,
    /// Wait until it is there
    #[arg(long)]
    wait: bool,
    /// Where a picture goes
    #[arg(long, short = 'o', value_name = "FILE", default_value = "picture.png")]
    output: PathBuf,
}

impl JobOutput {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let escrow = session.escrow();
        let capability = self.capability.as_ref().map(|c| c.0.as_slice());
        let job = if self.wait {
            escrow.wait_for(self.job, capability, |_| {}).await?.job
        } else {
            escrow.get_job(self.job, capability).await?
        };
        let Some(private) = &job.private else {
            bail!(
                "job {} is not yours to read; its capability would let you (`--capability`)",
                job.id
            );
        };
        if private
            .image
            .as_ref()
            .is_some_and(|image| image.result_bytes.is_some())
        {
            let picture = escrow.picture(self.job, capability).await?;
            let picture = picture.with_context(|| format!("job {} has no picture", job.id))?;
            picture_file::write(&self.output, &picture.png)?;
            return match globals.json {
                true => output::json(&json!({ "job": job.id, "file": self.output })),
                false => output::line(self.output.display()),
            };
        }
        match (&private.output, job.state) {
            (Some(found), _) if globals.json => {
                output::json(&json!({ "job": job.id, "output": words::output_json(found) }))
            }
            (Some(found), _) if output::is_terminal() => {
                output::line(output::harmless(&found.text))
            }
            (Some(found), _) => output::line(&found.text),
            (None, Some(JobState::Refunded)) => {
                bail!(
                    "job {} has no answer: {}",
                    job.id,
                    words::refund(job.refund_reason)
                )
            }
            (None, Some(JobState::Settled)) => {
                bail!(
                    "the answer of job {} is no longer kept; its receipt is (`emc receipt get {}`)",
                    job.id,
                    job.id
                )
            }
            (None, state) => bail!(
                "job {} is not finished, it is {}; wait for it with `emc job result {} --wait`",
                job.id,
                words::state(state),
                job.id
            ),
        }
    }
}
