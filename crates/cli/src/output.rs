//! What is printed where: results on stdout, as text or JSON; everything else on stderr.

use crate::advice;
use anyhow::Result;
use serde_json::Value;
use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// Prints a line on stdout. Unlike `println!` it does not panic when nobody reads any more.
pub fn line(text: impl Display) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Prints text on stdout as it is, at once.
pub fn text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints JSON on stdout.
pub fn json(value: &Value) -> Result<()> {
    line(format_args!("{value:#}"))
}

/// Prints rows in columns, with a heading.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let mut widths: Vec<usize> = heading.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: Vec<&str>| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        line(text.trim_end())
    };
    print(heading.to_vec())?;
    for row in rows {
        print(row.iter().map(String::as_str).collect())?;
    }
    Ok(())
}

/// Prints names and values, one a line.
pub fn fields(fields: &[(&str, String)]) -> Result<()> {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields {
        line(format_args!("{name:<width$}  {value}"))?;
    }
    Ok(())
}

/// Says something to the person, on stderr; it is no result and may be lost.
pub fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// An error, its causes, and what to type next.
pub fn error(error: &anyhow::Error) {
    note(format_args!("emc: {error:#}"));
    if let Some(advice) = advice::of(error) {
        note(format_args!("     {advice}"));
    }
}

/// True if a person watches the output.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// True if the error is that nobody reads our output any more.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// Text from a stranger, safe to show on a terminal: control characters other than line breaks and tabs are replaced,
/// so that an answer cannot move the cursor or set the window's title.
pub fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_of_a_stranger_are_disarmed() {
        assert_eq!(harmless("a\u{1b}[2Jb\n\tc\r"), "a\u{fffd}[2Jb\n\tc\u{fffd}");
    }

    #[test]
    fn a_broken_pipe_is_recognised_under_its_context() {
        let pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let error = anyhow::Error::from(pipe).context("cannot print");
        assert!(is_broken_pipe(&error));
        assert!(!is_broken_pipe(&anyhow::anyhow!("other")));
    }
}
