//! `emc receipt show`: what a receipt says.

use crate::commands::verify::read;
use crate::{cli::Globals, output, session::Session, words};
use anyhow::{Result, bail};
use clap::Args;
use emc_client::protocol::{Timestamp, Tokens};
use std::path::Path;

/// Show what a receipt says. Whether it is true: `emc verify`.
#[derive(Debug, Args)]
pub struct Show {
    /// A receipt file (- is standard input), or a job's number
    #[arg(value_name = "FILE|JOB")]
    receipt: String,
}

impl Show {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let is_file = self.receipt == "-" || Path::new(&self.receipt).exists();
        let file = if is_file {
            read(&self.receipt)?
        } else if let Ok(job) = self.receipt.parse() {
            let session = Session::open(globals).await?;
            super::get::fetch(&session.escrow(), job, None).await?
        } else {
            bail!("{:?} is neither a file nor a job's number", self.receipt);
        };
        if globals.json {
            return output::text(&file.to_json());
        }
        let receipt = &file.receipt;
        let mut fields = vec![
            ("escrow", receipt.escrow.to_text()),
            ("nonce", hex::encode(&receipt.nonce)),
            ("job", receipt.job_id.to_string()),
            ("attempt", receipt.attempt.to_string()),
            ("node", file.node.to_text()),
            ("public key", hex::encode(&file.public_key)),
            ("model root", hex::encode(&receipt.model_root)),
            ("parameters", hex::encode(&receipt.parameters_hash)),
            ("input", hex::encode(&receipt.input_hash)),
            ("output", hex::encode(&receipt.output_hash)),
            ("seed", receipt.seed.to_string()),
            (
                "usage",
                format!(
                    "{} prompt and {} output tokens",
                    receipt.prompt_tokens, receipt.output_tokens
                ),
            ),
            ("finish", words::finish(receipt.finish_reason).to_owned()),
            ("charge", format!("{} EMC", Tokens(receipt.charge))),
            ("signature", hex::encode(&file.signature)),
        ];
        if let Some(log) = file.log {
            fields.push((
                "log",
                format!("#{}, {}", log.index, words::time(Timestamp(log.time))),
            ));
        }
        output::fields(&fields)
    }
}
