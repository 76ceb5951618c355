//! Two clocks. The wall clock is real time: agents judge certificates and requests by it. Network time is the wall
//! clock plus an offset that tests can advance: canisters, timers and deadlines of calls see it, and it never stands
//! still or runs backwards. A test may hold it: then it moves only as far as it is advanced (and by a nanosecond where it
//! is read, so that it still never stands).

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
    held: bool,
}

impl Clock {
    /// Network time now, in nanoseconds; each answer is later than the one before.
    pub fn now(&mut self) -> u64 {
        let running = match self.held {
            true => 0,
            false => wall_ns().saturating_add(self.offset_ns),
        };
        self.last_ns = running.max(self.last_ns + 1);
        self.last_ns
    }

    /// Moves network time forward.
    pub fn advance(&mut self, by_ns: u64) {
        self.offset_ns = self.offset_ns.saturating_add(by_ns);
        if self.held {
            self.last_ns = self.last_ns.saturating_add(by_ns);
        }
    }

    /// Holds network time, or lets it run again: from the wall clock's time plus all advances, or from where it stands
    /// where that is later.
    pub fn hold(&mut self, held: bool) {
        self.now();
        self.held = held;
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

    #[test]
    fn a_held_clock_moves_by_what_it_is_advanced_and_by_a_nanosecond_a_reading() {
        let mut clock = Clock::default();
        clock.hold(true);
        let a = clock.now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(clock.now(), a + 1);
        clock.advance(5_000_000_000);
        assert_eq!(clock.now(), a + 5_000_000_002);
        clock.hold(false);
        assert!(clock.now() > a + 5_000_000_002);
    }
}
