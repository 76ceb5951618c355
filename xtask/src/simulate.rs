//! `cargo xtask simulate`: builds the program of `crates/simulate` and becomes it. It needs no set-up: no network, no
//! model, no canister.

use crate::canisters::cargo;
use crate::paths::Paths;
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Becomes the program.
///
/// # Errors
/// If cargo cannot be started; otherwise it does not return.
pub fn run(paths: &Paths, arguments: &[String]) -> Result<()> {
    let mut command = Command::new(cargo());
    command
        .current_dir(paths.root())
        .args(["run", "--quiet", "--package", "emc-simulate", "--"])
        .args(arguments);
    Err(command.exec()).context("running cargo")
}
