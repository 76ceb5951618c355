//! Who is let in, how often, and with how much: calls cost their caller nothing, so this is what keeps the registry free.
//!
//! Anonymous callers are refused. Whoever has a node, owns one, has published a model, or is an escrow with stake in it
//! has a bucket of his own; all others share one, and may only do what makes them known: register a node, publish a
//! model, report as an escrow. Publications have a bucket besides, for all together. `inspect_message` asks the same questions before consensus, as a filter; the methods
//! ask again, as the guard. The governor is not limited.

use crate::keys::ModelKey;
use crate::state::State;
use candid::Principal;
use emc_protocol::{ApiError, ErrorDetail, Seconds, error::code, limits};
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000_000;
/// Largest argument of any method, bytes.
pub const ARGUMENT_BYTES: usize = 256 * 1024;
/// Callers whose buckets are remembered; when there are more, full buckets are forgotten first.
const CALLERS: usize = 20_000;

/// How many calls fit, and how long one takes to come back.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u64,
    refill: u64,
}

const OWN: Rate = Rate {
    burst: 60,
    refill: SECOND,
};
const SHARED: Rate = Rate {
    burst: 100,
    refill: 10 * SECOND,
};
/// For all publications together: a model is never removed, and new identities are free.
const PUBLICATIONS: Rate = Rate {
    burst: 100,
    refill: 30 * SECOND,
};

/// A token bucket, as the time at which it will be full: nothing to do while nobody calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// How long until a call is let in; zero if it is now.
    fn wait(self, rate: Rate, now: u64) -> u64 {
        let capacity = (rate.burst - 1) * rate.refill;
        self.full_at.saturating_sub(now.saturating_add(capacity))
    }

    fn take(&mut self, rate: Rate, now: u64) {
        self.full_at = self.full_at.max(now).saturating_add(rate.refill);
    }
}

/// The buckets; in the heap.
#[derive(Debug, Default)]
pub struct Limits {
    shared: Bucket,
    publications: Bucket,
    own: BTreeMap<Principal, Bucket>,
    /// Calls that were refused for being too many, since the last upgrade.
    pub refused: u64,
}

/// True for those who have a bucket of their own.
pub fn is_known(state: &State, caller: Principal) -> bool {
    caller == state.config.get().governor
        || state.nodes.contains_key(&caller)
        || state.authors.contains_key(&caller)
        || state.escrows.contains_key(&caller)
        || owns_a_node(state, caller)
}

fn owns_a_node(state: &State, caller: Principal) -> bool {
    let first = (caller, Principal::from_slice(&[]));
    let mut range = state.owners.keys_range(first..);
    range.next().is_some_and(|(owner, _)| owner == caller)
}

/// Checks whether a call may come in, without counting it.
///
/// # Errors
/// `anonymous`, `not_registered`, `busy`.
pub fn check(state: &State, caller: Principal, method: &str, now: u64) -> Result<(), ApiError> {
    if caller == Principal::anonymous() {
        return Err(ApiError::new(
            code::ANONYMOUS,
            "Sign the call: anonymous callers can only ask.",
        ));
    }
    let wait = if is_known(state, caller) {
        let bucket = state.limits.own.get(&caller).copied().unwrap_or_default();
        bucket.wait(OWN, now)
    } else if matches!(method, "register_node" | "publish_model" | "report") {
        state.limits.shared.wait(SHARED, now)
    } else {
        return Err(ApiError::new(
            code::NOT_REGISTERED,
            "You have no node and no model here: register a node with its own key (and you as its owner), or publish a model, first.",
        ));
    };
    let publishes = method == "publish_model" && caller != state.config.get().governor;
    let wait = match publishes {
        true => wait.max(state.limits.publications.wait(PUBLICATIONS, now)),
        false => wait,
    };
    if wait == 0 {
        return Ok(());
    }
    let seconds = Seconds(wait.div_ceil(SECOND));
    Err(ApiError::new(
        code::BUSY,
        format!("Too many calls: try again in {} s.", seconds.0),
    )
    .with(ErrorDetail::RetryAfter { seconds }))
}

/// Lets a call in and counts it.
///
/// # Errors
/// As [`check`].
pub fn admit(state: &mut State, caller: Principal, method: &str, now: u64) -> Result<(), ApiError> {
    if let Err(error) = check(state, caller, method, now) {
        state.limits.refused += u64::from(error.code == code::BUSY);
        return Err(error);
    }
    if caller == state.config.get().governor {
        return Ok(());
    }
    if method == "publish_model" {
        state.limits.publications.take(PUBLICATIONS, now);
    }
    if !is_known(state, caller) {
        state.limits.shared.take(SHARED, now);
        return Ok(());
    }
    let own = &mut state.limits.own;
    if own.len() >= CALLERS {
        own.retain(|_, bucket| bucket.full_at > now);
    }
    own.entry(caller).or_default().take(OWN, now);
    Ok(())
}

/// A text within a limit in bytes.
pub fn text(field: &str, text: &str, max: usize) -> Result<(), ApiError> {
    count(field, text.len(), max)
}

/// A length or number within a limit.
pub fn count(field: &str, got: usize, max: usize) -> Result<(), ApiError> {
    if got > max {
        return Err(ApiError::limit(field, got as u64, max as u64));
    }
    Ok(())
}

/// The exact version that a reference names: the newest where it names none.
///
/// # Errors
/// `unknown_model`.
pub fn resolve(state: &State, model: &emc_protocol::ModelRef) -> Result<ModelKey, ApiError> {
    let unknown = |what: String| {
        ApiError::new(
            code::UNKNOWN_MODEL,
            format!(
                "{what} is not in the catalogue: `models` lists what is, `publish_model` adds to it."
            ),
        )
    };
    if model.id.len() > limits::MODEL_ID_BYTES {
        return Err(ApiError::limit(
            "model.id",
            model.id.len() as u64,
            limits::MODEL_ID_BYTES as u64,
        ));
    }
    let key = |version| ModelKey {
        id: model.id.clone(),
        version,
    };
    match model.version {
        Some(version) if state.models.contains_key(&key(version)) => Ok(key(version)),
        Some(version) => Err(unknown(format!("Version {version} of {:?}", model.id))),
        None => newest(state, &model.id).ok_or_else(|| unknown(format!("{:?}", model.id))),
    }
}

/// The newest version of a model.
pub fn newest(state: &State, id: &str) -> Option<ModelKey> {
    let key = |version| ModelKey {
        id: id.to_owned(),
        version,
    };
    let mut versions = state.models.keys_range(key(0)..=key(u32::MAX));
    versions.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_in_and_then_one_call_at_a_time() {
        let rate = Rate {
            burst: 3,
            refill: 10,
        };
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            assert_eq!(bucket.wait(rate, 100), 0);
            bucket.take(rate, 100);
        }
        assert_eq!(bucket.wait(rate, 100), 10);
        assert_eq!(bucket.wait(rate, 110), 0);
        bucket.take(rate, 110);
        assert_eq!(bucket.wait(rate, 110), 10);
        assert_eq!(bucket.wait(rate, 1_000), 0);
    }
}
