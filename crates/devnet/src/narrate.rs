//! What the demo prints: numbered steps, and an answer that grows on a terminal and is one line elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU32, Ordering};

/// Announces a step.
pub fn step(title: &str) {
    static STEP: AtomicU32 = AtomicU32::new(1);
    println!("\n{}. {title}", STEP.fetch_add(1, Ordering::Relaxed));
}

/// An answer that arrives in parts.
pub struct Answer {
    live: bool,
    shown: usize,
}

impl Default for Answer {
    fn default() -> Self {
        Self::new()
    }
}

impl Answer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            live: std::io::stdout().is_terminal(),
            shown: 0,
        }
    }

    /// A line before the answer.
    pub fn note(&self, text: &str) {
        println!("  ({text})");
    }

    /// The answer so far; on a terminal what is new is shown at once.
    pub fn show(&mut self, text: &str) {
        if !self.live {
            return;
        }
        if self.shown == 0 {
            print!("  assistant: ");
        }
        // A later attempt may begin anew; what was printed stays, the rest is shown at the end.
        if let Some(new) = text.get(self.shown..) {
            print!("{new}");
            let _ = std::io::stdout().flush();
            self.shown = text.len();
        }
    }

    /// The whole answer.
    pub fn finish(mut self, text: &str) {
        if self.live {
            self.show(text);
            println!();
        } else {
            println!("  assistant: {text}");
        }
    }
}
