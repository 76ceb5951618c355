//! Programs of `worker/inference/examples`, which need libtorch but neither network nor canisters.

use crate::canisters::cargo;
use crate::demo::Build;
use crate::paths::Paths;
use crate::setup;
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Sets up what the build needs, where that is missing, and becomes the program.
///
/// # Errors
/// If set-up fails or cargo cannot be started; otherwise it does not return.
pub fn run(paths: &Paths, name: &str, build: Build, arguments: &[String]) -> Result<()> {
    // Standard output belongs to the program, which may be asked for JSON: set-up only where it has something to do.
    if !paths.libtorch().exists() {
        setup::run(paths, &setup::Options::default())?;
    }
    let mut command = command(paths, name, build);
    Err(command.args(arguments).exec()).context("running cargo")
}

/// Cargo's command that builds and starts the program; what is added to it are the program's arguments.
pub fn command(paths: &Paths, name: &str, build: Build) -> Command {
    let mut command = Command::new(cargo());
    command
        .current_dir(paths.root())
        .args(["run", "--quiet", "--package", "emc-inference"])
        .args((build == Build::Release).then_some("--release"))
        .args(["--example", name, "--"]);
    command
}
