//! How long to keep trying, and what makes trying again safe.
//!
//! - A *query* changes nothing: it is sent again after any failure of the network.
//! - An *update* is signed once. After a failure the same bytes are sent again, or its status is asked for: the network
//!   runs a request id at most once, so this can never do a thing twice. It works until the request expires (a few
//!   minutes). After that, an update that is harmless to repeat (a heartbeat, a job with its request key) is signed
//!   anew; any other ends with [`Error::Unknown`](crate::Error::Unknown), which says what to look at.
//! - A *refusal by the canister* is an answer, not a failure: it is never retried here.

use rand::Rng;
use std::time::Duration;

/// Exponential backoff with jitter.
///
/// ```
/// use emc_client::RetryPolicy;
/// use std::time::Duration;
/// // A worker never gives up; a command does after half a minute.
/// let worker = RetryPolicy::for_ever();
/// let command = RetryPolicy::default().give_up_after(Duration::from_secs(30));
/// # assert!(worker.give_up.is_none() && command.give_up.is_some());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The first wait.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// How much longer each wait is than the one before.
    pub factor: f64,
    /// How far a wait may differ from its length, as a fraction of it, so that many clients do not come at once.
    pub jitter: f64,
    /// When to give up; `None` is never.
    pub give_up: Option<Duration>,
}

impl Default for RetryPolicy {
    /// From 0.2 s to 5 s, a quarter of jitter, giving up after 30 s.
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(200),
            max: Duration::from_secs(5),
            factor: 2.0,
            jitter: 0.25,
            give_up: Some(Duration::from_secs(30)),
        }
    }
}

impl RetryPolicy {
    /// Never gives up; waits up to 30 s.
    pub fn for_ever() -> Self {
        Self {
            max: Duration::from_secs(30),
            give_up: None,
            ..Self::default()
        }
    }

    /// One try and no more.
    pub fn never() -> Self {
        Self::default().give_up_after(Duration::ZERO)
    }

    /// The same, giving up after a time.
    #[must_use]
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.give_up = Some(time);
        self
    }

    /// The waits, one after another.
    pub fn backoff(&self) -> Backoff {
        Backoff {
            policy: self.clone(),
            next: self.initial,
            waited: Duration::ZERO,
        }
    }
}

/// The waits of one series of tries; useful for loops of your own too.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: RetryPolicy,
    next: Duration,
    waited: Duration,
}

impl Backoff {
    /// How long to wait before the next try; `None` when it is time to give up. `elapsed` is the time since the first
    /// try, where the tries themselves took long; the waits so far count at least.
    pub fn next_wait(&mut self, elapsed: Duration) -> Option<Duration> {
        let spread = self.policy.jitter.clamp(0.0, 1.0);
        let factor = 1.0 + rand::thread_rng().gen_range(-spread..=spread);
        let wait = self.next.mul_f64(factor);
        if let Some(limit) = self.policy.give_up
            && elapsed.max(self.waited) + wait > limit
        {
            return None;
        }
        self.waited += wait;
        self.next = self
            .next
            .mul_f64(self.policy.factor.max(1.0))
            .min(self.policy.max);
        Some(wait)
    }

    /// Begins anew with the shortest wait, after a success.
    pub fn reset(&mut self) {
        self.next = self.policy.initial;
        self.waited = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_differ_by_the_jitter_at_most() {
        let policy = RetryPolicy::for_ever();
        let mut backoff = policy.backoff();
        let mut expected = policy.initial;
        for _ in 0..50 {
            let wait = backoff
                .next_wait(Duration::ZERO)
                .expect("it never gives up");
            assert!(wait >= expected.mul_f64(0.749) && wait <= expected.mul_f64(1.251));
            expected = (expected * 2).min(policy.max);
        }
        backoff.reset();
        assert!(backoff.next_wait(Duration::ZERO).unwrap() <= policy.initial.mul_f64(1.251));
    }

    #[test]
    fn a_policy_with_a_limit_gives_up_at_it() {
        let policy = RetryPolicy::default().give_up_after(Duration::from_secs(10));
        let mut backoff = policy.backoff();
        let mut total = Duration::ZERO;
        while let Some(wait) = backoff.next_wait(Duration::ZERO) {
            total += wait;
        }
        assert!(total <= Duration::from_secs(10) && total > Duration::from_secs(4));
        assert_eq!(policy.backoff().next_wait(Duration::from_secs(10)), None);
        assert_eq!(
            RetryPolicy::never().backoff().next_wait(Duration::ZERO),
            None
        );
    }
}
