//! The programs themselves, `emc` and `emc-worker`, as people run them: each in an empty home of its own, without the
//! environment of whoever runs the tests.

use anyhow::{Context, Result, bail, ensure};
use emc_devnet::market::until;
use emc_devnet::{Market, Person};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// Longest time that a program may take for one command of a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// A person's home: keys, settings, and the canisters' ids of one market.
pub struct Home {
    folder: tempfile::TempDir,
    url: String,
}

impl Home {
    /// An empty home in which the market's canisters are known.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn of(market: &Market) -> Result<Self> {
        let folder = tempfile::tempdir().context("making a home")?;
        let url = market.network.url().to_owned();
        let ids = market.ids;
        let known = serde_json::json!({
            "url": url, "ledger": ids.ledger, "registry": ids.registry, "escrow": ids.escrow,
        });
        std::fs::create_dir(folder.path().join(".emc"))?;
        std::fs::write(folder.path().join(".emc/network.json"), known.to_string())?;
        Ok(Self { folder, url })
    }

    /// A home in which somebody's key is stored, under its name; the first one is used by default.
    ///
    /// # Errors
    /// If `emc` does not take it.
    pub async fn with_key(market: &Market, person: &Person) -> Result<Self> {
        let home = Self::of(market)?;
        home.import(person).await?;
        Ok(home)
    }

    /// Stores somebody's key with `emc identity import`.
    ///
    /// # Errors
    /// If `emc` does not take it.
    pub async fn import(&self, person: &Person) -> Result<()> {
        let name = person.name.replace(' ', "-");
        let file = format!("{name} key.pem");
        emc_devnet::worker::write_key(&self.path(&file), person)?;
        let done = self
            .emc(&["identity", "import", &name, &file])
            .await?
            .done()?;
        ensure!(done.line() == person.principal().to_text(), "{done}");
        Ok(())
    }

    /// A file in it.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// The URL of the market's network.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A program, ready to be run here.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn command(&self, program: &'static str, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(built(program)?);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command)
    }

    /// Runs `emc` on the market's network.
    ///
    /// # Errors
    /// If it does not start or does not end.
    pub async fn emc(&self, arguments: &[&str]) -> Result<Ran> {
        self.begin_emc(arguments)?.end(PATIENCE).await
    }

    /// Starts `emc` on the market's network and goes on while it runs.
    ///
    /// # Errors
    /// If it does not start.
    pub fn begin_emc(&self, arguments: &[&str]) -> Result<Running> {
        let arguments = [&["--network", self.url.as_str()], arguments].concat();
        Running::start(self.command("emc", &arguments)?)
    }

    /// Runs `emc-worker` here.
    ///
    /// # Errors
    /// If it does not start or does not end.
    pub async fn worker(&self, arguments: &[&str]) -> Result<Ran> {
        let running = Running::start(self.command("emc-worker", arguments)?)?;
        running.end(PATIENCE).await
    }
}

/// A program that runs; killed where the test forgets it.
pub struct Running {
    line: String,
    /// Taken when it is waited for.
    child: Option<Child>,
}

impl Running {
    /// Starts a command.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(mut command: Command) -> Result<Self> {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let line = words.join(" ");
        let child = command
            .spawn()
            .with_context(|| format!("starting {line}"))?;
        Ok(Self {
            line,
            child: Some(child),
        })
    }

    /// Sends it a signal: `libc::SIGINT`, say.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn signal(&self, signal: libc::c_int) -> Result<()> {
        let child = self.child.as_ref().context("it was waited for")?;
        // SAFETY: kill only sends a signal; the process is our child and has not been waited for.
        let sent = unsafe { libc::kill(child.id() as libc::pid_t, signal) };
        let error = std::io::Error::last_os_error();
        ensure!(sent == 0, "signal {signal} cannot be sent: {error}");
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it does not end within `limit`: it is killed then, and the error holds what it said.
    pub async fn end(mut self, limit: Duration) -> Result<Ran> {
        let child = self.child.take().context("it was waited for")?;
        let (pid, line) = (child.id() as libc::pid_t, self.line.clone());
        let mut waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
        let (output, late) = match tokio::time::timeout(limit, &mut waiting).await {
            Ok(output) => (output, false),
            Err(_) => {
                // SAFETY: as in `signal`; the child is still being waited for.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                (waiting.await, true)
            }
        };
        let output = output.context("waiting")?.context("reading its output")?;
        let ran = Ran { line, output };
        ensure!(!late, "this does not end: {ran}");
        Ok(ran)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A program that has ended, with what it said.
#[derive(Debug)]
pub struct Ran {
    line: String,
    output: Output,
}

impl Ran {
    /// The exit status, where it ended by itself.
    pub fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// Its result.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// What it said beside.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Its result, where that is a line.
    pub fn line(&self) -> String {
        self.stdout().trim_end().to_owned()
    }

    /// Its result as JSON.
    ///
    /// # Errors
    /// If it is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.output.stdout).with_context(|| format!("no JSON: {self}"))
    }

    /// Checks that it has done what it was asked for.
    ///
    /// # Errors
    /// What it said.
    pub fn done(self) -> Result<Self> {
        ensure!(self.code() == Some(0), "this has failed: {self}");
        Ok(self)
    }

    /// Checks that it says all of these, on either stream.
    ///
    /// # Errors
    /// What it said.
    pub fn says(self, parts: &[&str]) -> Result<Self> {
        let said = self.stdout() + &self.stderr();
        for part in parts {
            ensure!(said.contains(part), "{part:?} is missing: {self}");
        }
        Ok(self)
    }

    /// Checks that it has failed (exit status 1, no panic) and says all of these on standard error.
    ///
    /// # Errors
    /// What it said.
    pub fn refuses(self, parts: &[&str]) -> Result<Self> {
        ensure!(self.code() == Some(1), "this should have failed: {self}");
        let said = self.stderr();
        ensure!(!said.contains("panicked"), "{self}");
        for part in parts {
            ensure!(said.contains(part), "{part:?} is missing: {self}");
        }
        Ok(self)
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (out, err) = (self.stdout(), self.stderr());
        write!(
            f,
            "{} ({})\n--- output\n{out}--- errors\n{err}",
            self.line, self.output.status
        )
    }
}

/// Waits until a program's home holds something.
///
/// # Errors
/// If it does not in time.
pub async fn until_said(file: &Path, part: &str) -> Result<()> {
    until(PATIENCE, part, async || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        Ok(text.contains(part).then_some(()))
    })
    .await
}

/// Builds a program, once, and says where it is.
fn built(program: &'static str) -> Result<PathBuf> {
    static BUILT: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    let Ok(mut built) = BUILT.lock() else {
        bail!("building a program has panicked before");
    };
    if let Some(path) = built.get(program) {
        return Ok(path.clone());
    }
    let path = emc_devnet::build::binary(program)?;
    built.insert(program, path.clone());
    Ok(path)
}
