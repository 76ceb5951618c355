//! Guards against abuse: nobody pays for calls, so everybody's are counted. Callers with an account or a node have a
//! bucket each; all others share one. The same check stands in `inspect_message`, which is only a filter, and in every
//! method.

use crate::state::State;
use candid::Principal;
use emc_protocol::{ApiError, ErrorDetail, Seconds, Timestamp, error::code};
use std::collections::BTreeMap;

/// Calls that a known caller may make at once, and per second after that.
const KNOWN: Rate = Rate {
    burst: 2_000,
    per_second: 200,
};
/// The same for all strangers together.
const STRANGERS: Rate = Rate {
    burst: 100,
    per_second: 10,
};
/// Leases that a node may decline.
const DECLINES: Rate = Rate {
    burst: 60,
    per_second: 1,
};
/// Callers that are remembered; full buckets are forgotten beyond that.
const REMEMBERED: usize = 20_000;
const SECOND: u64 = 1_000_000_000;

#[derive(Clone, Copy)]
struct Rate {
    burst: u64,
    per_second: u64,
}

/// A bucket: it is empty until then; each call moves that time on by its share of a second.
#[derive(Clone, Copy, Default)]
struct Bucket {
    empty_until: u64,
}

impl Bucket {
    fn wait(self, rate: Rate, now: u64) -> Option<Seconds> {
        let share = SECOND / rate.per_second;
        let full = now.saturating_add(rate.burst.saturating_mul(share));
        let over = self.empty_until.saturating_add(share).saturating_sub(full);
        (over > 0).then(|| Seconds(over.div_ceil(SECOND)))
    }

    fn take(&mut self, rate: Rate, now: u64) -> Option<Seconds> {
        let wait = self.wait(rate, now);
        if wait.is_none() {
            self.empty_until = self.empty_until.max(now) + SECOND / rate.per_second;
        }
        wait
    }
}

/// The buckets. They live in the heap: an upgrade empties them.
#[derive(Default)]
pub struct Limits {
    known: BTreeMap<Principal, Bucket>,
    declines: BTreeMap<Principal, Bucket>,
    strangers: Bucket,
    /// Calls refused, for metrics.
    pub refused: u64,
}

/// True for a caller with an account or a node.
fn is_known(state: &State, caller: &Principal) -> bool {
    let config = state.config();
    *caller == config.treasury
        || *caller == config.governor
        || state.books.knows(caller)
        || crate::delegate::is_delegate(state, caller)
        || crate::feed::knows(state, caller)
}

/// Lets an update through, or says why not.
///
/// # Errors
/// The caller is anonymous, or calls too often.
pub fn enter(
    state: &State,
    limits: &mut Limits,
    now: Timestamp,
    caller: Principal,
) -> Result<(), ApiError> {
    // Whoever has a bucket was known when it was made: no need to look again.
    let wait = match check_identity(caller) {
        Err(error) => return Err(error),
        Ok(()) if limits.known.contains_key(&caller) || is_known(state, &caller) => {
            take(&mut limits.known, KNOWN, now, caller)
        }
        Ok(()) => limits.strangers.take(STRANGERS, now.0),
    };
    refuse(limits, wait)
}

/// Lets a decline through, or says why not.
///
/// # Errors
/// The node declines too often.
pub fn enter_decline(limits: &mut Limits, now: Timestamp, node: Principal) -> Result<(), ApiError> {
    let wait = take(&mut limits.declines, DECLINES, now, node);
    refuse(limits, wait)
}

/// What [`enter`] would say, without counting: for `inspect_message`, whose changes are lost.
///
/// # Errors
/// As [`enter`].
pub fn inspect(
    state: &State,
    limits: &Limits,
    now: Timestamp,
    caller: Principal,
) -> Result<(), ApiError> {
    check_identity(caller)?;
    let (bucket, rate) = match is_known(state, &caller) {
        true => (
            limits.known.get(&caller).copied().unwrap_or_default(),
            KNOWN,
        ),
        false => (limits.strangers, STRANGERS),
    };
    bucket
        .wait(rate, now.0)
        .map_or(Ok(()), |wait| Err(too_often(wait)))
}

/// Refuses what begins something new while there are too few cycles to end what was begun.
///
/// # Errors
/// `low_cycles`.
pub fn enough_cycles(state: &State, cycles: u128) -> Result<(), ApiError> {
    let reserve = state.config().settings.cycles_reserve();
    if cycles >= u128::from(reserve) {
        return Ok(());
    }
    Err(ApiError::new(
        code::LOW_CYCLES,
        format!(
            "This escrow has {cycles} cycles left and takes no new jobs below {reserve}; what was begun goes on. Tell its operator, or use another escrow."
        ),
    ))
}

fn check_identity(caller: Principal) -> Result<(), ApiError> {
    if caller == Principal::anonymous() {
        return Err(ApiError::new(
            code::ANONYMOUS,
            "This needs an identity: `emc identity new` makes one.",
        ));
    }
    Ok(())
}

fn take(
    buckets: &mut BTreeMap<Principal, Bucket>,
    rate: Rate,
    now: Timestamp,
    caller: Principal,
) -> Option<Seconds> {
    if buckets.len() >= REMEMBERED && !buckets.contains_key(&caller) {
        buckets.retain(|_, bucket| bucket.empty_until > now.0);
        if buckets.len() >= REMEMBERED {
            return Some(Seconds(1));
        }
    }
    buckets.entry(caller).or_default().take(rate, now.0)
}

fn refuse(limits: &mut Limits, wait: Option<Seconds>) -> Result<(), ApiError> {
    wait.map_or(Ok(()), |wait| {
        limits.refused += 1;
        Err(too_often(wait))
    })
}

fn too_often(wait: Seconds) -> ApiError {
    ApiError::new(
        code::BUSY,
        "Too many calls: wait, and call less often. Callers without an account or a node here share one limit.",
    )
    .with(ErrorDetail::RetryAfter { seconds: wait })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_its_rate() {
        let rate = Rate {
            burst: 5,
            per_second: 2,
        };
        let mut bucket = Bucket::default();
        let start = 1_000 * SECOND;
        for _ in 0..5 {
            assert_eq!(bucket.take(rate, start), None);
        }
        assert_eq!(bucket.take(rate, start), Some(Seconds(1)));
        assert_eq!(bucket.take(rate, start + SECOND / 2), None);
        assert!(bucket.take(rate, start + SECOND / 2).is_some());
        assert_eq!(bucket.take(rate, start + SECOND), None);
    }

    #[test]
    fn a_refused_call_does_not_count() {
        let rate = Rate {
            burst: 1,
            per_second: 1,
        };
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(rate, SECOND), None);
        for _ in 0..100 {
            assert!(bucket.take(rate, SECOND).is_some());
        }
        assert_eq!(bucket.take(rate, 2 * SECOND), None);
    }
}
