//! Waiting longer after each failure, up to a limit, with some chance in it so that nodes do not come back in step.

use std::time::Duration;

/// How long to wait before the next try. Doubles from the first wait to the longest; a success starts it anew.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits about `first` after the first failure and never longer than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// The wait after one more failure: between half and all of the doubled time.
    pub fn next_wait(&mut self) -> Duration {
        self.next_with(rand::random())
    }

    /// Forgets the failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn next_with(&mut self, chance: f64) -> Duration {
        // 2^20 times any first wait is beyond every longest one.
        let factor = 1u32 << self.failures.min(20);
        let full = self.first.saturating_mul(factor).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<u128> = (0..6).map(|_| backoff.next_with(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.failures(), 6);
        backoff.reset();
        assert_eq!(backoff.next_with(0.0), Duration::from_millis(50));
    }

    #[test]
    fn no_number_of_failures_overflows() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        backoff.failures = u32::MAX;
        assert_eq!(backoff.next_with(1.0), Duration::from_secs(60));
        assert!(backoff.next_wait() >= Duration::from_secs(30));
    }
}
