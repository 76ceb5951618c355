//! Shows how far a long step is: a bar on a terminal, plain lines elsewhere (in a log, a line every ten seconds and one
//! at the end is enough).

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const PAUSE: Duration = Duration::from_secs(10);

/// The progress of one step that handles a known number of bytes.
pub enum Progress {
    /// Drawn on a terminal.
    Bar(ProgressBar),
    /// Printed as lines.
    Lines {
        /// What is being done.
        label: String,
        /// Bytes in all.
        total: u64,
        /// Bytes done.
        at: u64,
        /// When the step began.
        begun: Instant,
        /// When the last line was printed.
        printed: Instant,
    },
}

impl Progress {
    /// Begins a step on `total` bytes.
    pub fn bytes(label: &str, total: u64) -> Self {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total);
            let style = "      {msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
            bar.set_style(
                ProgressStyle::with_template(style)
                    .expect("the template is well formed")
                    .progress_chars("=> "),
            );
            bar.set_message(label.to_owned());
            return Self::Bar(bar);
        }
        let now = Instant::now();
        Self::Lines {
            label: label.to_owned(),
            total,
            at: 0,
            begun: now,
            printed: now,
        }
    }

    /// So many bytes are done.
    pub fn at(&mut self, bytes: u64) {
        match self {
            Self::Bar(bar) => bar.set_position(bytes),
            Self::Lines {
                label,
                total,
                at,
                printed,
                ..
            } => {
                *at = bytes;
                if printed.elapsed() >= PAUSE {
                    *printed = Instant::now();
                    println!("      {label}: {} of {}", size(bytes), size(*total));
                }
            }
        }
    }

    /// A word for the user, without disturbing the bar.
    pub fn note(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| println!("      {text}")),
            Self::Lines { .. } => println!("      {text}"),
        }
    }

    /// The step is over.
    pub fn finish(self) {
        match self {
            Self::Bar(bar) => bar.finish_and_clear(),
            Self::Lines {
                label, at, begun, ..
            } => {
                println!(
                    "      {label}: {} in {}",
                    size(at),
                    seconds(begun.elapsed())
                );
            }
        }
    }
}

/// Bytes for people, in units of 1000.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// A duration for people.
pub fn seconds(duration: Duration) -> String {
    let all = duration.as_secs_f64();
    if all < 60.0 {
        format!("{all:.1} s")
    } else {
        format!("{} min {:02} s", all as u64 / 60, all as u64 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_well() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(530_711_509), "530.7 MB");
        assert_eq!(size(3_700_000_000), "3.70 GB");
        assert_eq!(seconds(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(605)), "10 min 05 s");
    }
}
