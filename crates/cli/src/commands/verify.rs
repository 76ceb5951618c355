//! `emc verify`: checks a receipt, offline where it is a file.

use crate::{cli::Globals, output, session::Session};
use anyhow::{Context, Result, bail};
use clap::Args;
use emc_client::proof::check_proof;
use emc_client::verify::{self, Report, Verdict};
use emc_client::{Escrow, ReceiptFile};
use serde_json::json;
use std::io::Read;
use std::path::Path;

/// Check a receipt: the node's signature, and the hashes of whatever the receipt holds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    emc verify receipt.json            offline: no network, no key\n  \
    emc verify receipt.json --online   and that the escrow's certified log holds this very receipt\n  \
    emc verify 12                      job 12's receipt, as the escrow has it")]
pub struct Verify {
    /// A receipt file (- is standard input), or a job's number
    #[arg(value_name = "FILE|JOB")]
    receipt: String,
    /// Prove too that the escrow's certified log holds this very receipt
    #[arg(long)]
    online: bool,
}

impl Verify {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let is_file = self.receipt == "-" || Path::new(&self.receipt).exists();
        let (file, report) = if is_file {
            let file = read(&self.receipt)?;
            let mut report = verify::check(&file);
            if self.online {
                let session = Session::open(globals).await?;
                report.checks.push(in_log(&session.escrow(), &file).await?);
            }
            (file, report)
        } else if let Ok(job) = self.receipt.parse() {
            let session = Session::open(globals).await?;
            let escrow = session.escrow();
            let job = escrow.get_job(job, None).await?;
            let id = job.id;
            let result = escrow.result_of(job).await?;
            let file = ReceiptFile::of_result(&result, None)
                .with_context(|| format!("job {id} has no receipt: it was not settled"))?;
            let mut report = verify::check_job(&file, escrow.id(), id);
            report.checks.push(in_log(&escrow, &file).await?);
            (file, report)
        } else {
            bail!("{:?} is neither a file nor a job's number", self.receipt);
        };
        print(globals, &file, &report)?;
        if !report.holds() {
            bail!(
                "the receipt does not hold: {}",
                report.failures().join(", ")
            );
        }
        Ok(())
    }
}

fn print(globals: &Globals, file: &ReceiptFile, report: &Report) -> Result<()> {
    if globals.json {
        return output::json(&json!({
            "holds": report.holds(),
            "checks": report.checks,
            "escrow": file.receipt.escrow.to_text(),
            "job": file.receipt.job_id,
            "node": file.node.to_text(),
        }));
    }
    output::text(&report.to_string())?;
    if report.holds() {
        output::line(format_args!(
            "The receipt of job {} of {} holds: node {} signed it.",
            file.receipt.job_id, file.receipt.escrow, file.node
        ))?;
    }
    Ok(())
}

/// Reads a receipt file; `-` is standard input.
pub fn read(path: &str) -> Result<ReceiptFile> {
    let mut text = String::new();
    if path == "-" {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read the receipt from standard input")?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    }
    ReceiptFile::from_json(&text).with_context(|| format!("cannot use {path}"))
}

/// Whether the certified log of the escrow that the receipt names holds this very receipt.
async fn in_log(escrow: &Escrow, file: &ReceiptFile) -> Result<verify::Check> {
    let named = escrow.client().escrow(file.receipt.escrow);
    let proof = named.receipt_proof(file.receipt.job_id).await?;
    Ok(verify::Check {
        name: "log",
        what: "the escrow's certified log holds this very receipt",
        verdict: match check_proof(&named, &file.record(), &proof) {
            Ok(()) => Verdict::Holds,
            Err(why) => Verdict::Fails(format!("{why}.")),
        },
    })
}
