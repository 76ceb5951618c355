//! Two clocks. The wall clock is real time: agents judge certificates and requests by it. Network time is the wall
//! clock plus an offset that tests can advance: canisters, timers and deadlines of calls see it, and it never stands
//! still or runs backwards.

use std::time::{SystemTime, UNIX_EPOCH};

/// Real time in nanoseconds since 1970.
pub fn wall_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).expect("nanoseconds since 1970 fit into 64 bits until 2554")
}

/// Network time.
#[derive(Debug, Default)]
pub struct Clock {
    offset_ns: u64,
    last_ns: u64,
}

impl Clock {
    /// Network time now, in nanoseconds; each answer is later than the one before.
    pub fn now(&mut self) -> u64 {
        self.last_ns = wall_ns()
            .saturating_add(self.offset_ns)
            .max(self.last_ns + 1);
        self.last_ns
    }

    /// Moves network time forward.
    pub fn advance(&mut self, by_ns: u64) {
        self.offset_ns = self.offset_ns.saturating_add(by_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_time_grows_strictly_and_jumps_when_advanced() {
        let mut clock = Clock::default();
        let a = clock.now();
        let b = clock.now();
        assert!(b > a);
        clock.advance(3_600_000_000_000);
        assert!(clock.now() >= b + 3_600_000_000_000);
    }
}
