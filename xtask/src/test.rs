//! `cargo xtask test`: everything that must hold before a change lands, in one command that needs nothing set up by
//! hand. All building is done in one configuration (the dev profile, all targets of the workspace at once), so that
//! lints, docs and tests share what they compile.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::canisters::{self, cargo};
use crate::chaos;
use crate::paths::Paths;
use crate::progress::seconds;
use crate::setup;
use crate::steps::Steps;
use crate::test_binary::{self, Ran, TestBinary};

/// The folder, and package, of the end-to-end tests.
const END_TO_END: &str = "tests";
const SLOWEST: usize = 15;
/// Seeds of the market under faults.
const SEEDS: u64 = 50;

/// Which tests to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Leave out the end-to-end tests.
    pub quick: bool,
    /// Run only tests whose name contains this, and none of the checks before them.
    pub filter: Option<String>,
}

/// Runs the steps, stops at the first that fails; prints the times of the steps and the slowest tests.
pub fn run(paths: &Paths, options: &Options) -> Result<()> {
    let mut steps = Steps::default();
    let filter = options.filter.as_deref();
    let mut times = Vec::new();
    let result = all(paths, options, &mut steps, &mut times);
    print_slowest(&mut times);
    result?;
    steps.print();
    match (filter, options.quick) {
        (Some(filter), _) => {
            println!("\nAll tests named like {filter:?} passed; nothing else was checked.")
        }
        (None, true) => println!("\nAll passed; the end-to-end tests were left out."),
        (None, false) => println!("\nAll passed."),
    }
    Ok(())
}

fn all(
    paths: &Paths,
    options: &Options,
    steps: &mut Steps,
    times: &mut Vec<(String, Duration)>,
) -> Result<()> {
    let filter = options.filter.as_deref();
    steps.run("set-up", || {
        setup::run(paths, &setup::Options::with_tests()).map(|()| String::new())
    })?;
    if filter.is_none() {
        steps.run("format", || {
            cargo_step(paths, &["fmt", "--all", "--", "--check"], &[])
        })?;
        let lints = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        steps.run("lints", || cargo_step(paths, &lints, &[]))?;
        let docs = ["doc", "--workspace", "--no-deps"];
        steps.run("docs", || {
            cargo_step(paths, &docs, &[("RUSTDOCFLAGS", "-D warnings")])
        })?;
    }
    steps.run("canisters", || {
        let built = canisters::build(&canisters::Options::default())?;
        canisters::print(&built)?;
        Ok(format!("{} built", built.len()))
    })?;
    let mut binaries = Vec::new();
    steps.run("build the tests", || {
        binaries = build_tests(paths)?;
        Ok(format!("{} test binaries", binaries.len()))
    })?;
    let (end_to_end, native): (Vec<_>, Vec<_>) = binaries
        .into_iter()
        .partition(|binary| binary.package == END_TO_END);
    let mut found = 0;
    steps.run("unit and property tests", || {
        run_binaries(&native, filter, times, &mut found)
    })?;
    if filter.is_none() {
        steps.run("examples in the docs", || {
            cargo_step(paths, &["test", "--workspace", "--doc", "--quiet"], &[])
        })?;
    }
    if !options.quick {
        steps.run("end-to-end tests", || {
            run_binaries(&end_to_end, filter, times, &mut found)
        })?;
        if filter.is_none() {
            steps.run("the market under faults", || under_faults(paths))?;
        }
    }
    ensure!(
        found > 0,
        "no test was run{}",
        filter
            .map(|f| format!(": none is named like {f:?}"))
            .unwrap_or_default()
    );
    Ok(())
}

/// Runs the market under faults: the seeds that once failed, and some more. The program was built with the tests.
fn under_faults(paths: &Paths) -> Result<String> {
    let target = canisters::target_directory(paths.root())?;
    let program = target.join("debug").join(chaos::PROGRAM);
    let status = Command::new(&program)
        .args(["--kept", &format!("--seeds={SEEDS}")])
        .env("EMC_BUILT", "1")
        .current_dir(paths.root())
        .status()
        .with_context(|| format!("running {}", program.display()))?;
    ensure!(
        status.success(),
        "a seed failed; see above for how to run it again"
    );
    Ok(format!("{SEEDS} seeds, and those that once failed"))
}

/// One cargo command of the root, its output shown as it comes.
fn cargo_step(paths: &Paths, arguments: &[&str], variables: &[(&str, &str)]) -> Result<String> {
    let mut command = Command::new(cargo());
    command
        .args(arguments)
        .current_dir(paths.root())
        .envs(variables.iter().copied());
    let status = command.status().context("cannot run cargo")?;
    ensure!(
        status.success(),
        "`cargo {}` failed ({status})",
        arguments.join(" ")
    );
    Ok(String::new())
}

/// Builds all test binaries, and with them the programs that the end-to-end tests start.
fn build_tests(paths: &Paths) -> Result<Vec<TestBinary>> {
    let arguments = [
        "build",
        "--workspace",
        "--all-targets",
        "--message-format=json-render-diagnostics",
    ];
    let mut command = Command::new(cargo());
    command
        .args(arguments)
        .current_dir(paths.root())
        .stderr(Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "the tests do not build; see cargo's message above"
    );
    let binaries = test_binary::from_cargo_messages(&String::from_utf8_lossy(&output.stdout));
    ensure!(!binaries.is_empty(), "cargo built no test binaries");
    Ok(binaries)
}

/// Runs all of them, also after a failure, so that one run shows everything that is wrong.
fn run_binaries(
    binaries: &[TestBinary],
    filter: Option<&str>,
    times: &mut Vec<(String, Duration)>,
    found: &mut usize,
) -> Result<String> {
    let (mut passed, mut ignored, mut failed) = (0, 0, BTreeSet::new());
    for binary in binaries {
        let begun = Instant::now();
        let ran = binary.run(filter)?;
        *found += ran.times.len();
        if !ran.times.is_empty() || !ran.failed.is_empty() {
            println!("  {:40} {}", binary.name, summary(&ran, begun.elapsed()));
        }
        passed += ran.passed;
        ignored += ran.ignored;
        failed.extend(ran.failed);
        times.extend(ran.times);
    }
    if !failed.is_empty() {
        let list: Vec<_> = failed.iter().map(|name| format!("\n  {name}")).collect();
        bail!("{} failed, {passed} passed:{}", failed.len(), list.concat());
    }
    Ok(match ignored {
        0 => format!("{passed} passed"),
        _ => format!("{passed} passed, {ignored} ignored"),
    })
}

fn summary(ran: &Ran, time: Duration) -> String {
    let mut words = vec![format!("{:4} passed", ran.passed)];
    if ran.ignored > 0 {
        words.push(format!("{} ignored", ran.ignored));
    }
    if !ran.failed.is_empty() {
        words.push(format!("{} FAILED", ran.failed.len()));
    }
    format!("{} in {}", words.join(", "), seconds(time))
}

fn print_slowest(times: &mut [(String, Duration)]) {
    if times.is_empty() {
        return;
    }
    times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    println!(
        "\nThe slowest tests (from the end of the test whose thread they took over to their own end):"
    );
    for (name, time) in times.iter().take(SLOWEST) {
        println!("  {:>12}  {name}", seconds(*time));
    }
}
