//! The last things that happened to the ledger as a whole (installed, upgraded, settings changed), shown at `/logs`.
//!
//! What users do is in the block log; this is for whoever runs the canister. Bounded, on the heap, lost on upgrade.

use std::collections::VecDeque;

const KEPT: usize = 100;

/// The events, oldest first.
#[derive(Debug, Default)]
pub struct Events(VecDeque<(u64, String)>);

impl Events {
    /// Notes an event at a time in nanoseconds since 1970.
    pub fn note(&mut self, now: u64, event: impl Into<String>) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((now, event.into()));
    }

    /// One line for each event: its time in nanoseconds, and what it was.
    pub fn to_text(&self) -> String {
        self.0
            .iter()
            .map(|(time, event)| format!("{time} {event}\n"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_events_are_kept() {
        let mut events = Events::default();
        for n in 0..=KEPT {
            events.note(n as u64, "something");
        }
        let text = events.to_text();
        assert_eq!(text.lines().count(), KEPT);
        assert!(text.starts_with("1 something\n"));
    }
}
