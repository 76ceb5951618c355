//! Runs steps one after the other, stops at the first that fails, and prints what each took.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::progress::seconds;

enum Outcome {
    Passed(String),
    Failed,
}

/// The steps of a command.
#[derive(Default)]
pub struct Steps {
    done: Vec<(String, Outcome, Duration)>,
}

impl Steps {
    /// Runs a step; what it returns is said beside its time.
    ///
    /// # Errors
    /// Those of the step, with the table of all steps so far printed before.
    pub fn run(&mut self, name: &str, step: impl FnOnce() -> Result<String>) -> Result<()> {
        println!("\n=== {name}");
        let begun = Instant::now();
        let result = step();
        let outcome = match &result {
            Ok(said) => Outcome::Passed(said.clone()),
            Err(_) => Outcome::Failed,
        };
        self.done.push((name.to_owned(), outcome, begun.elapsed()));
        if result.is_err() {
            self.print();
        }
        result.map(drop).with_context(|| {
            format!("the step `{name}` failed, and what comes after it was not run")
        })
    }

    /// Prints the table.
    pub fn print(&self) {
        println!("\n{}", self.table());
    }

    fn table(&self) -> String {
        let width = self
            .done
            .iter()
            .map(|(name, ..)| name.len())
            .max()
            .unwrap_or(0);
        let mut lines = Vec::new();
        for (name, outcome, time) in &self.done {
            let (word, said) = match outcome {
                Outcome::Passed(said) => ("ok    ", said.as_str()),
                Outcome::Failed => ("FAILED", ""),
            };
            lines.push(
                format!("{word}  {name:width$}  {:>12}  {said}", seconds(*time))
                    .trim_end()
                    .to_owned(),
            );
        }
        let all = self.done.iter().map(|(.., time)| *time).sum();
        lines.push(format!("        {:width$}  {:>12}", "in all", seconds(all)));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_failed_step_is_named_in_the_table_and_in_the_error() {
        let mut steps = Steps::default();
        steps.run("one", || Ok("3 files".to_owned())).unwrap();
        let error = steps.run("two", || bail!("no disk")).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("`two` failed") && error.contains("no disk"),
            "{error}"
        );
        let table = steps.table();
        assert!(
            table.contains("ok      one")
                && table.contains("3 files")
                && table.contains("FAILED  two"),
            "{table}"
        );
    }
}
