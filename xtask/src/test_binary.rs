//! Runs one test binary and finds out how long each of its tests took.
//!
//! The stable test harness prints no times. It does start tests in the order of its `--list`, as many at once as it has
//! threads, and a new one whenever one ends. So a test's start is the end of the one whose place it took, and its end is
//! when its line is printed: what is reported is that difference. A test that shares the machine with others is charged
//! for the waiting too; the time of the whole binary is exact.

use std::collections::{HashMap, VecDeque};
use std::env;
use std::io::{BufRead, BufReader, Read};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::progress::seconds;

/// Tests that take longer are shown while the others still run.
const SLOW: Duration = Duration::from_secs(5);

/// A built test binary.
#[derive(Clone, Debug)]
pub struct TestBinary {
    /// The package and target, for people.
    pub name: String,
    /// The package.
    pub package: String,
    /// The program.
    pub program: PathBuf,
    /// The package's folder, which the tests run in.
    pub folder: PathBuf,
}

/// What a run of a test binary gave.
#[derive(Debug, Default)]
pub struct Ran {
    /// Tests that passed.
    pub passed: usize,
    /// Tests marked to be ignored.
    pub ignored: usize,
    /// Tests that failed, by name; also the binary itself where it ended without a verdict.
    pub failed: Vec<String>,
    /// How long each test took.
    pub times: Vec<(String, Duration)>,
}

/// The test binaries among cargo's messages (`--message-format=json`, one a line).
pub fn from_cargo_messages(messages: &str) -> Vec<TestBinary> {
    messages
        .lines()
        .filter_map(|line| test_binary(serde_json::from_str(line).ok()?))
        .collect()
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

fn test_binary(message: Message) -> Option<TestBinary> {
    let program = message
        .executable
        .filter(|_| message.reason == "compiler-artifact" && message.profile.test)?;
    let folder = message.manifest_path.parent()?.to_owned();
    let package = folder.file_name()?.to_string_lossy().into_owned();
    let name = match message.target.kind.first()?.as_str() {
        "lib" | "cdylib" | "rlib" | "proc-macro" => message.target.name,
        kind => format!("{} ({kind} of {package})", message.target.name),
    };
    Some(TestBinary {
        name,
        package,
        program,
        folder,
    })
}

impl TestBinary {
    /// Runs the tests whose name contains `filter` (all of them without one). The output of failed tests is printed.
    pub fn run(&self, filter: Option<&str>) -> Result<Ran> {
        let names = self.list(filter)?;
        if names.is_empty() {
            return Ok(Ran::default());
        }
        let threads = threads();
        let mut child = self
            .command(filter)
            .args(["--test-threads", &threads.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let complaints = thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).map(|_| bytes)
        });
        let begun = Instant::now();
        let mut clock = Clock::new(names, threads);
        let mut ran = Ran::default();
        let mut rest = String::new();
        for line in BufReader::new(child.stdout.take().expect("stdout is piped")).split(b'\n') {
            let line = String::from_utf8_lossy(&line.context("cannot read the tests' output")?)
                .into_owned();
            let Some((name, verdict)) = verdict(&line) else {
                rest.push_str(&line);
                rest.push('\n');
                continue;
            };
            let Some(time) = clock.ended(name, begun.elapsed()) else {
                continue;
            };
            match verdict {
                "ok" => ran.passed += 1,
                "FAILED" => ran.failed.push(format!("{}: {name}", self.name)),
                _ => ran.ignored += 1,
            }
            if time >= SLOW || verdict == "FAILED" {
                println!("      {name} ... {verdict} after {}", seconds(time));
            }
            ran.times.push((format!("{}: {name}", self.name), time));
        }
        let status = child.wait()?;
        if !status.success() {
            let complaints = complaints
                .join()
                .expect("the reading thread does not panic")
                .unwrap_or_default();
            println!(
                "{}\n{}",
                rest.trim(),
                String::from_utf8_lossy(&complaints).trim()
            );
            if ran.failed.is_empty() {
                ran.failed
                    .push(format!("{}: ended with {status}", self.name));
            }
        }
        Ok(ran)
    }

    /// The tests that a run with this filter starts, in the order in which it starts them.
    fn list(&self, filter: Option<&str>) -> Result<Vec<String>> {
        let output = self.command(filter).arg("--list").output();
        let output = output.with_context(|| format!("cannot run {}", self.program.display()))?;
        anyhow::ensure!(
            output.status.success(),
            "{} cannot list its tests: {}\n{}",
            self.program.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .map(str::to_owned)
            .collect())
    }

    fn command(&self, filter: Option<&str>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(filter)
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            // What the tests start has been built with them.
            .env("EMC_BUILT", "1")
            // Set-up has run: a test of the real model that does not find it must fail, not be left out.
            .env("EMC_REQUIRE_MODEL", "1");
        command
    }
}

/// As many as the harness itself would use.
fn threads() -> usize {
    let wanted = env::var("RUST_TEST_THREADS")
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|&n| n > 0);
    wanted.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get))
}

/// Reads `test NAME ... VERDICT`.
fn verdict(line: &str) -> Option<(&str, &str)> {
    let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let verdict = verdict.split(',').next().unwrap_or(verdict).trim_end();
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    ["ok", "FAILED", "ignored"]
        .contains(&verdict)
        .then_some((name, verdict))
}

/// Derives when each test began from when the others ended.
struct Clock {
    waiting: VecDeque<String>,
    running: HashMap<String, Duration>,
}

impl Clock {
    fn new(names: Vec<String>, threads: usize) -> Self {
        let mut clock = Self {
            waiting: names.into(),
            running: HashMap::new(),
        };
        for _ in 0..threads {
            clock.start_next(Duration::ZERO);
        }
        clock
    }

    fn start_next(&mut self, now: Duration) {
        if let Some(name) = self.waiting.pop_front() {
            self.running.insert(name, now);
        }
    }

    /// How long the test took that ended `now`; nothing for a name that was not running.
    fn ended(&mut self, name: &str, now: Duration) -> Option<Duration> {
        let began = self.running.remove(name)?;
        self.start_next(now);
        Some(now.saturating_sub(began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tests_time_runs_from_the_end_of_the_one_whose_place_it_took() {
        let at = Duration::from_secs;
        let mut clock = Clock::new(["a", "b", "c", "d"].map(str::to_owned).into(), 2);
        assert_eq!(
            clock.ended("b", at(3)),
            Some(at(3)),
            "a and b begin at once"
        );
        assert_eq!(
            clock.ended("c", at(5)),
            Some(at(2)),
            "c takes the place of b"
        );
        assert_eq!(
            clock.ended("d", at(6)),
            Some(at(1)),
            "d takes the place of c"
        );
        assert_eq!(clock.ended("a", at(9)), Some(at(9)));
        assert_eq!(clock.ended("a", at(9)), None, "a has ended already");
    }

    #[test]
    fn the_lines_of_the_harness_are_read_and_others_are_left_alone() {
        assert_eq!(verdict("test a::b ... ok"), Some(("a::b", "ok")));
        assert_eq!(
            verdict("test a::b - should panic ... FAILED"),
            Some(("a::b", "FAILED"))
        );
        assert_eq!(
            verdict("test a::b ... ignored, needs a GPU"),
            Some(("a::b", "ignored"))
        );
        assert_eq!(verdict("test result: ok. 3 passed; 0 failed"), None);
        assert_eq!(verdict("running 3 tests"), None);
    }

    #[test]
    fn test_binaries_are_found_among_cargos_messages() {
        let artifact = |kind: &str, test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"x","manifest_path":"/c/crates/cli/Cargo.toml",
                "target":{{"kind":["{kind}"],"name":"emc"}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
            .replace('\n', " ")
        };
        let messages = [
            r#"{"reason":"build-script-executed","package_id":"x"}"#.to_owned(),
            artifact("lib", false, "null"),
            artifact("bin", false, r#""/t/emc""#),
            artifact("bin", true, r#""/t/emc-1""#),
            "not json".to_owned(),
        ];
        let found = from_cargo_messages(&messages.join("\n"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "emc (bin of cli)");
        assert_eq!(found[0].folder, PathBuf::from("/c/crates/cli"));
        assert_eq!(found[0].program, PathBuf::from("/t/emc-1"));
    }

    /// A stand-in for a test binary: a shell script that speaks as the harness does.
    fn speaking(lines: &str, status: i32) -> (tempfile::TempDir, TestBinary) {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tests.sh");
        let script = format!(
            "#!/bin/sh\nfor a; do [ \"$a\" = --list ] && {{ echo 'a: test'; echo 'b: test'; exit 0; }}; done\n\
             {lines}\nexit {status}\n"
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let binary = TestBinary {
            name: "x".into(),
            package: "x".into(),
            program,
            folder: folder.path().to_owned(),
        };
        (folder, binary)
    }

    #[test]
    fn the_real_harness_is_understood() {
        let program = env::current_exe().unwrap();
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let binary = TestBinary {
            name: "xtask".into(),
            package: "xtask".into(),
            program,
            folder,
        };
        let ran = binary
            .run(Some("test_binary::tests::a_tests_time"))
            .unwrap();
        assert_eq!((ran.passed, ran.ignored, ran.failed.len()), (1, 0, 0));
        assert!(
            ran.times[0]
                .0
                .ends_with("from_the_end_of_the_one_whose_place_it_took")
        );
        let none = binary.run(Some("no test has this name")).unwrap();
        assert!(none.times.is_empty() && none.failed.is_empty());
    }

    #[test]
    fn passes_failures_and_ignored_tests_are_counted() {
        let (_folder, binary) = speaking("echo 'test a ... ok'; echo 'test b ... FAILED'", 101);
        let ran = binary.run(None).unwrap();
        assert_eq!(
            (ran.passed, ran.ignored, ran.failed.as_slice()),
            (1, 0, &["x: b".to_owned()][..])
        );
        assert_eq!(ran.times.len(), 2);
    }

    #[test]
    fn a_binary_that_dies_without_a_verdict_has_failed() {
        let (_folder, binary) = speaking("echo 'test a ... ok'; kill -SEGV $$", 0);
        let ran = binary.run(None).unwrap();
        assert_eq!(ran.passed, 1);
        assert!(ran.failed[0].contains("signal"), "{:?}", ran.failed);
    }
}
