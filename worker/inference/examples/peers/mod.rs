//! What benchmarks beside other programs share: starting them, asking them in turn, printing figures.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Answers with a line.
pub fn say(answer: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    Ok(out.flush()?)
}

/// A program that has a model loaded and answers a line with a line.
pub struct Program<R> {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// What it said first.
    pub ready: R,
}

impl<R: DeserializeOwned> Program<R> {
    /// Starts it and waits until it is ready.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let input = child.stdin.take().context("it has an input")?;
        let mut output = BufReader::new(child.stdout.take().context("it has an output")?);
        let ready = answer(&mut output).with_context(|| format!("{command:?}"))?;
        Ok(Self {
            child,
            input,
            output,
            ready,
        })
    }

    /// Asks for something and waits for the answer.
    pub fn ask<T: DeserializeOwned>(&mut self, asked: &impl Serialize) -> Result<T> {
        writeln!(self.input, "{}", serde_json::to_string(asked)?)?;
        self.input.flush()?;
        answer(&mut self.output)
    }
}

impl<R> Drop for Program<R> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer<T: DeserializeOwned>(output: &mut impl BufRead) -> Result<T> {
    let mut line = String::new();
    ensure!(output.read_line(&mut line)? > 0, "the program has ended");
    serde_json::from_str(&line).with_context(|| line.clone())
}

/// Collects and prints figures.
pub struct Figures {
    /// Prints one JSON object at the end instead of lines.
    pub json: bool,
    list: serde_json::Map<String, serde_json::Value>,
}

impl Figures {
    /// None yet.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            list: serde_json::Map::new(),
        }
    }

    /// One more.
    pub fn add(&mut self, name: &str, value: f64, unit: &str) {
        if !self.json {
            println!("{name} {value:.3} {unit}");
        }
        let figure = serde_json::json!({ "value": value, "unit": unit });
        self.list.insert(name.to_owned(), figure);
    }

    /// Ends the printing.
    pub fn finish(self) {
        if self.json {
            println!("{:#}", serde_json::Value::Object(self.list));
        }
    }
}

/// The one in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
