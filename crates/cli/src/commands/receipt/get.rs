//! `emc receipt get`: a job's receipt as a file.

use crate::decimals::{Capability, capability};
use crate::{cli::Globals, output, session::Session};
use anyhow::{Context, Result, bail};
use clap::Args;
use emc_client::protocol::job::JobId;
use emc_client::{Escrow, ReceiptFile};
use std::path::PathBuf;

/// Save a job's receipt as a file that anyone can check with `emc verify`.
#[derive(Debug, Args)]
pub struct Get {
    /// The job's number
    job: JobId,
    /// Add salt and answer, so that their hash can be checked too: whoever gets the file can read them
    #[arg(long)]
    full: bool,
    /// What lets you read somebody else's job
    #[arg(long, value_name = "HEX", value_parser = capability)]
    capability: Option<Capability>,
    /// Where to [default: standard output]
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Get {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let capability = self.capability.as_ref().map(|c| c.0.as_slice());
        let file = fetch(&session.escrow(), self.job, capability).await?;
        if self.full && file.salt.is_none() && file.output.is_none() {
            bail!(
                "job {} is not yours to read; without --full its receipt is for everyone",
                self.job
            );
        }
        let file = if self.full {
            file
        } else {
            file.without_secrets()
        };
        match self.output {
            Some(path) => std::fs::write(&path, file.to_json())
                .with_context(|| format!("cannot write {}", path.display())),
            None => output::text(&file.to_json()),
        }
    }
}

/// A job's receipt with all that the caller may see.
pub async fn fetch(escrow: &Escrow, job: JobId, capability: Option<&[u8]>) -> Result<ReceiptFile> {
    let job = escrow.get_job(job, capability).await?;
    let id = job.id;
    let result = escrow.result_of(job).await?;
    ReceiptFile::of_result(&result, None)
        .with_context(|| format!("job {id} has no receipt: it was not settled"))
}
