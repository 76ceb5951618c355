//! How far a download is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The time between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(10);

/// The progress of some known number of bytes.
pub struct Progress {
    bar: ProgressBar,
    is_shown: bool,
    total: u64,
    done: u64,
    said: Instant,
}

impl Progress {
    /// Begins.
    pub fn begin(total: u64) -> Self {
        let is_shown = std::io::stderr().is_terminal();
        let bar = match is_shown {
            true => ProgressBar::new(total),
            false => ProgressBar::hidden(),
        };
        let style = "{wide_msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            bar,
            is_shown,
            total,
            done: 0,
            said: Instant::now(),
        }
    }

    /// Names what comes now.
    pub fn now(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// So many bytes more are there.
    pub fn add(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        self.show();
    }

    /// So many bytes have to come once more.
    pub fn take_back(&mut self, bytes: u64) {
        self.done = self.done.saturating_sub(bytes);
        self.show();
    }

    fn show(&mut self) {
        self.bar.set_position(self.done);
        if !self.is_shown && self.said.elapsed() >= PAUSE {
            self.said = Instant::now();
            println!("{} of {}", size(self.done), size(self.total));
        }
    }

    /// A word for the person at the terminal.
    pub fn note(&self, text: &str) {
        self.bar.suspend(|| println!("{text}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Bytes for people, in units of 1000.
pub fn size(bytes: u64) -> String {
    let mut rest = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if rest < 999.95 {
            return match unit {
                "B" => format!("{bytes} B"),
                _ => format!("{rest:.1} {unit}"),
            };
        }
        rest /= 1000.0;
    }
    format!("{rest:.2} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (98_362_432, "98.4 MB"),
            (3_700_000_000, "3.7 GB"),
            (2_500_000_000_000, "2.50 TB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn bytes_that_come_once_more_are_not_counted_twice() {
        let mut progress = Progress::begin(10);
        progress.add(7);
        progress.take_back(7);
        progress.add(10);
        assert_eq!(progress.done, 10);
    }
}
