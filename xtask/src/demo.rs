//! `cargo xtask demo` and `cargo xtask bench`: set-up, builds, then the program of `crates/devnet` that does it.

use crate::canisters::{self, cargo};
use crate::paths::Paths;
use crate::setup;
use anyhow::{Context, Result, ensure};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// How a program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// As tests are; nothing is compiled twice.
    Dev,
    /// Optimised all through.
    Release,
}

/// Sets up, builds canisters, worker and the program, and becomes the program.
///
/// # Errors
/// If set-up or a build fails; otherwise it does not return.
pub fn run(paths: &Paths, program: &str, build: Build, arguments: &[String]) -> Result<()> {
    println!("Set-up");
    setup::run(paths, &setup::Options::default())?;
    println!("\nCanisters");
    canisters::print(&canisters::build(&canisters::Options::default())?)?;
    println!("\nWorker and tools (the first time takes some minutes)");
    let mut cargo_build = Command::new(cargo());
    cargo_build.current_dir(paths.root()).args([
        "build",
        "-p",
        "emc-worker",
        "-p",
        "emc",
        "-p",
        "emc-devnet",
        "-p",
        "emc-ledger-past",
    ]);
    if build == Build::Release {
        cargo_build.arg("--release");
    }
    let status = cargo_build.status().context("running cargo")?;
    ensure!(status.success(), "the build failed ({status})");
    let profile = if build == Build::Release {
        "release"
    } else {
        "debug"
    };
    let target = canisters::target_directory(paths.root())?;
    let path = target.join(profile).join(program);
    let error = Command::new(&path)
        .env("EMC_BUILT", "1")
        .args(arguments)
        .current_dir(paths.root())
        .exec();
    Err(error).with_context(|| format!("running {}", path.display()))
}
