//! Checks a receipt offline: the node's signature, and the hashes against what the holder knows of the job.

use crate::ReceiptFile;
use emc_protocol::canonical::{
    image_parameters_hash, input_hash, output_bytes, output_hash, parameters_hash,
};
use emc_protocol::receipt::node_principal;
use emc_protocol::{JobId, Receipt, TextOutput};
use serde::Serialize;
use std::fmt;

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "why")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not, and why.
    Fails(String),
    /// The file does not hold what it needs.
    NotChecked(String),
}

/// One check with its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name: `signature`, `node`, `output`, ...
    pub name: &'static str,
    /// What is checked, in a few words.
    pub what: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Every check, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// True if nothing fails. The signature is always among what holds then: without it nothing is worth anything.
    pub fn holds(&self) -> bool {
        !self
            .checks
            .iter()
            .any(|check| matches!(check.verdict, Verdict::Fails(_)))
    }

    /// The names of the checks that fail.
    pub fn failures(&self) -> Vec<&'static str> {
        let fails = |check: &&Check| matches!(check.verdict, Verdict::Fails(_));
        self.checks.iter().filter(fails).map(|c| c.name).collect()
    }

    fn add(&mut self, name: &'static str, what: &'static str, verdict: Verdict) {
        self.checks.push(Check {
            name,
            what,
            verdict,
        });
    }
}

/// One line a check.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            match &check.verdict {
                Verdict::Holds => writeln!(f, "ok       {:<10} {}", check.name, check.what)?,
                Verdict::Fails(why) => writeln!(f, "FAILS    {:<10} {why}", check.name)?,
                Verdict::NotChecked(why) => writeln!(f, "skipped  {:<10} {why}", check.name)?,
            }
        }
        Ok(())
    }
}

fn verdict(holds: bool, otherwise: impl Into<String>) -> Verdict {
    if holds {
        Verdict::Holds
    } else {
        Verdict::Fails(otherwise.into())
    }
}

/// Checks everything that the file allows. What it does not prove: that the escrow accepted the receipt (ask it, or see
/// its certified log), and that the node really ran the model (that is what stake and audits are for).
pub fn check(file: &ReceiptFile) -> Report {
    let receipt = Receipt::from(&file.receipt);
    let mut report = Report { checks: vec![] };
    report.add(
        "signature",
        "the node's key signed these values",
        match receipt.verify(&file.public_key, &file.signature) {
            Ok(()) => Verdict::Holds,
            Err(why) => Verdict::Fails(format!("{why}.")),
        },
    );
    let own = <&[u8; 32]>::try_from(file.public_key.as_slice())
        .is_ok_and(|key| node_principal(key) == file.node);
    report.add(
        "node",
        "the node is the one of that key",
        verdict(
            own,
            format!("{} is not the principal of the public key.", file.node),
        ),
    );
    report.add(
        "input",
        "the input is the one that was hashed",
        input(file, &receipt),
    );
    report.add(
        "output",
        "the output is the one that was hashed",
        output(file, &receipt),
    );
    report.add(
        "usage",
        "as many tokens as the output has",
        match &file.output {
            None => Verdict::NotChecked("the file holds no output.".into()),
            Some(output) => usage(output, &receipt),
        },
    );
    report.add(
        "parameters",
        "model and parameters are the ones that were hashed",
        parameters(file, &receipt),
    );
    report
}

/// As [`check`], and that the receipt is for this job of this escrow.
pub fn check_job(file: &ReceiptFile, escrow: candid::Principal, job: JobId) -> Report {
    let mut report = check(file);
    report.add(
        "job",
        "it is for this job of this escrow",
        verdict(
            file.receipt.escrow == escrow && file.receipt.job_id == job,
            format!(
                "it is for job {} of {}.",
                file.receipt.job_id, file.receipt.escrow
            ),
        ),
    );
    report
}

fn input(file: &ReceiptFile, receipt: &Receipt) -> Verdict {
    match (&file.salt, &file.input) {
        (Some(salt), Some(input)) => verdict(
            input_hash(salt, input).as_slice() == receipt.input_hash,
            "salt and input do not have the hash that was signed.",
        ),
        (None, _) => Verdict::NotChecked("the file holds no salt.".into()),
        (_, None) => Verdict::NotChecked("the file holds no input.".into()),
    }
}

fn output(file: &ReceiptFile, receipt: &Receipt) -> Verdict {
    match (&file.salt, &file.output) {
        (Some(salt), Some(output)) => verdict(
            output_hash(salt, &output_bytes(output)).as_slice() == receipt.output_hash,
            "salt and output do not have the hash that was signed.",
        ),
        (None, _) => Verdict::NotChecked("the file holds no salt.".into()),
        (_, None) => Verdict::NotChecked("the file holds no output.".into()),
    }
}

fn usage(output: &TextOutput, receipt: &Receipt) -> Verdict {
    let tokens = output.ids.len() as u64;
    if tokens != receipt.usage.output_tokens {
        return Verdict::Fails(format!(
            "{} tokens were signed, the output has {tokens}.",
            receipt.usage.output_tokens
        ));
    }
    verdict(
        output.finish_reason == receipt.finish_reason,
        "the output ended for another reason than was signed.",
    )
}

fn parameters(file: &ReceiptFile, receipt: &Receipt) -> Verdict {
    let hash = match (&file.model, &file.parameters, &file.image_parameters) {
        (Some(model), _, Some(image)) => Some(image_parameters_hash(model, image)),
        (Some(model), Some(parameters), None) => Some(parameters_hash(model, parameters)),
        _ => None,
    };
    match hash {
        Some(hash) => verdict(
            hash.as_slice() == receipt.parameters_hash,
            "model and parameters do not have the hash that was signed.",
        ),
        None => Verdict::NotChecked("the file holds no model and parameters.".into()),
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
