//! `emc job cancel`: gives a job up.

use crate::{cli::Globals, output, session::Session, words};
use anyhow::Result;
use clap::Args;
use emc_client::protocol::Tokens;
use emc_client::protocol::job::JobId;

/// Give a job up. Free while it waits; once a node works on it, what was shown so far is paid.
#[derive(Debug, Args)]
pub struct Cancel {
    /// Its number
    job: JobId,
}

impl Cancel {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open_signed(globals).await?;
        let escrow = session.escrow();
        escrow.cancel_job(self.job).await?;
        let job = escrow.get_job(self.job, None).await?;
        if globals.json {
            return output::json(&words::job_json(&job));
        }
        let charged = job.charged.unwrap_or(Tokens::ZERO);
        let back = job.locked.checked_sub(charged).unwrap_or(Tokens::ZERO);
        output::line(format_args!(
            "job {} is cancelled: {charged} EMC paid, {back} EMC back",
            job.id
        ))
    }
}
