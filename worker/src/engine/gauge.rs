//! What an engine's thread tells of itself, for whoever looks: its engine's figures, who waits, how fast it is lately.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use emc_inference::EngineFigures;

/// Over how long the tokens a second are taken.
const LATELY: Duration = Duration::from_secs(30);
/// The time between two figures that are remembered.
const EVERY: Duration = Duration::from_millis(500);

/// Written by one thread, read by any.
#[derive(Debug, Default)]
pub struct Gauge(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    is_ready: bool,
    waiting: usize,
    /// Counts of the engines before this one, which failed.
    before: EngineFigures,
    now: EngineFigures,
    /// Sums at earlier times, the oldest first.
    recent: VecDeque<(Instant, EngineFigures)>,
}

/// An engine at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    /// False while it is being started again.
    pub is_ready: bool,
    /// Jobs and checks that wait for room in it.
    pub waiting: usize,
    /// Its figures; counts go on over failures.
    pub figures: EngineFigures,
    /// Tokens of prompts that are read in a second of reading, lately.
    pub prefill_per_second: f64,
    /// Tokens of all answers in a second of making them, lately.
    pub decode_per_second: f64,
}

impl Gauge {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the engine is, and how many wait for it.
    pub fn tell(&self, figures: EngineFigures, waiting: usize) {
        let mut told = self.told();
        told.is_ready = true;
        told.waiting = waiting;
        told.now = figures;
        if figures.in_flight == 0 {
            told.now.batch = 0;
        }
        let now = Instant::now();
        if told
            .recent
            .back()
            .is_none_or(|(time, _)| now.duration_since(*time) >= EVERY)
        {
            let sum = told.sum();
            told.recent.push_back((now, sum));
        }
        // One that is older stays, to count from.
        while told
            .recent
            .get(1)
            .is_some_and(|(time, _)| now.duration_since(*time) > LATELY)
        {
            told.recent.pop_front();
        }
    }

    /// The engine failed: what it had is gone, what it counted stays.
    pub fn failed(&self) {
        let mut told = self.told();
        told.before = told.sum();
        told.now = EngineFigures::default();
        told.is_ready = false;
    }

    /// False while the engine is being started again.
    pub fn is_ready(&self) -> bool {
        self.told().is_ready
    }

    /// All of it.
    pub fn read(&self) -> Reading {
        let told = self.told();
        let figures = told.sum();
        let from = told.recent.front().map(|(_, sum)| *sum);
        let is_recent = |(time, _): &(Instant, _)| time.elapsed() <= LATELY;
        let from = from.filter(|_| told.recent.back().is_some_and(is_recent));
        let from = from.unwrap_or(figures);
        let rate = |tokens: u64, time: Duration| match time.as_secs_f64() {
            0.0 => 0.0,
            seconds => tokens as f64 / seconds,
        };
        Reading {
            is_ready: told.is_ready,
            waiting: told.waiting,
            figures,
            prefill_per_second: rate(
                figures.read_tokens.saturating_sub(from.read_tokens),
                figures.read_time.saturating_sub(from.read_time),
            ),
            decode_per_second: rate(
                figures.decoded_tokens.saturating_sub(from.decoded_tokens),
                figures.decode_time.saturating_sub(from.decode_time),
            ),
        }
    }
}

impl Told {
    /// What is counted, over all engines so far; the rest as it is now.
    fn sum(&self) -> EngineFigures {
        let (before, mut sum) = (&self.before, self.now);
        sum.steps += before.steps;
        sum.read_tokens += before.read_tokens;
        sum.read_time += before.read_time;
        sum.chosen_tokens += before.chosen_tokens;
        sum.decoded_tokens += before.decoded_tokens;
        sum.decode_time += before.decode_time;
        sum.prefix_hits += before.prefix_hits;
        sum.known_tokens += before.known_tokens;
        sum.evictions += before.evictions;
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(read: u64, decoded: u64) -> EngineFigures {
        let mut figures = EngineFigures::default();
        (figures.in_flight, figures.batch) = (2, 2);
        (figures.read_tokens, figures.read_time) = (read, Duration::from_millis(read));
        (figures.decoded_tokens, figures.decode_time) =
            (decoded, Duration::from_millis(10 * decoded));
        figures
    }

    #[test]
    fn rates_are_those_of_the_time_at_work() {
        let gauge = Gauge::default();
        assert!(!gauge.is_ready());
        gauge.tell(figures(0, 0), 0);
        gauge.tell(figures(500, 40), 3);
        let reading = gauge.read();
        assert!(reading.is_ready && reading.waiting == 3);
        assert_eq!(
            (reading.prefill_per_second, reading.decode_per_second),
            (1000.0, 100.0)
        );
        assert_eq!(reading.figures.batch, 2);
        let mut idle = figures(500, 40);
        idle.in_flight = 0;
        gauge.tell(idle, 0);
        assert_eq!(gauge.read().figures.batch, 0);
    }

    #[test]
    fn counts_go_on_over_a_failure() {
        let gauge = Gauge::default();
        gauge.tell(figures(0, 0), 0);
        gauge.tell(figures(500, 40), 0);
        gauge.failed();
        let broken = gauge.read();
        assert!(!broken.is_ready);
        assert_eq!(
            (broken.figures.read_tokens, broken.figures.in_flight),
            (500, 0)
        );
        gauge.tell(figures(100, 10), 0);
        let again = gauge.read();
        assert_eq!(
            (again.figures.read_tokens, again.figures.decoded_tokens),
            (600, 50)
        );
        assert_eq!(again.prefill_per_second, 1000.0);
    }
}
