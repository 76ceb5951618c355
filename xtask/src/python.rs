//! Runs the two small Python scripts that download and unpack, and reads their progress.
//!
//! Python is a prerequisite only of set-up. It brings what this crate would otherwise need large dependencies for: TLS,
//! the user's proxy and certificates, pip's configuration, zip and tar.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

/// What a script says while it runs.
pub enum Said {
    /// How many bytes there are in all.
    Total(u64),
    /// How many bytes are done.
    At(u64),
    /// A word for the user.
    Note(String),
}

/// The Python that set-up uses: `$PYTHON`, else `python3`.
pub fn interpreter() -> String {
    env::var("PYTHON")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "python3".to_owned())
}

/// Runs a script with arguments, `input` on its stdin and `variables` added to its environment; hands on what it says.
///
/// # Errors
/// The script's own last words, where it fails.
pub fn run<A: AsRef<OsStr>>(
    script: &str,
    arguments: &[A],
    input: &str,
    variables: &[(String, String)],
    mut heard: impl FnMut(Said),
) -> Result<()> {
    let mut child = Command::new(interpreter())
        .arg("-c")
        .arg(script)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}; install Python 3 with pip", interpreter()))?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin
        .write_all(input.as_bytes())
        .context("cannot talk to Python")?;
    drop(stdin);
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let complaints = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    for line in BufReader::new(child.stdout.take().expect("stdout is piped")).lines() {
        let line = line.context("cannot read what Python says")?;
        match line.split_once(' ') {
            Some(("total", bytes)) => heard(Said::Total(bytes.parse()?)),
            Some(("at", bytes)) => heard(Said::At(bytes.parse()?)),
            Some(("note", text)) => heard(Said::Note(text.to_owned())),
            _ => bail!("Python said {line:?}, which means nothing here"),
        }
    }
    let status = child.wait()?;
    let complaints = complaints
        .join()
        .expect("the reading thread does not panic")
        .unwrap_or_default();
    if !status.success() {
        bail!("{}", last_words(&complaints).unwrap_or(&status.to_string()));
    }
    Ok(())
}

/// The last lines of what a program wrote to stderr, without the noise before them.
fn last_words(text: &str) -> Option<&str> {
    let text = text.trim();
    let from = text.rmatch_indices('\n').nth(4).map_or(0, |(at, _)| at + 1);
    Some(&text[from..]).filter(|text| !text.is_empty())
}
