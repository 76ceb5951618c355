//! How a day of mining is divided among nodes, by the registry's formula.

use candid::Principal;
use emc_protocol::mining::{parts, share};
use std::collections::BTreeMap;

/// What a day of the test phase gives, e8s.
pub const DAY: u128 = 50_000 * 100_000_000;

/// What a node showed on a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Compute units.
    pub power: u128,
    /// Accepted votes.
    pub votes: u32,
    /// It gets nothing.
    pub forfeited: bool,
}

/// What each node gets for its power and for its votes. A node that has forfeited the day gets nothing and counts in no
/// sum.
pub fn divide(
    available: u128,
    shown: &BTreeMap<Principal, Shown>,
) -> BTreeMap<Principal, (u128, u128)> {
    let counted = || shown.iter().filter(|(_, shown)| !shown.forfeited);
    let power: u128 = counted().map(|(_, shown)| shown.power).sum();
    let votes: u128 = counted().map(|(_, shown)| u128::from(shown.votes)).sum();
    let (to_power, to_votes) = parts(available);
    let of = |shown: &Shown| {
        let for_power = share(to_power, shown.power, power);
        (for_power, share(to_votes, shown.votes.into(), votes))
    };
    counted().map(|(node, shown)| (*node, of(shown))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> Principal {
        Principal::from_slice(&[n, 1])
    }

    fn shown(power: u128, votes: u32) -> Shown {
        Shown {
            power,
            votes,
            forfeited: false,
        }
    }

    #[test]
    fn nine_tenths_go_to_power_and_one_to_votes_as_the_registry_gives_them() {
        let day = [
            (node(0), shown(300, 0)),
            (node(1), shown(100, 3)),
            (node(2), shown(0, 1)),
        ];
        let given = divide(DAY, &day.into());
        assert_eq!(given[&node(0)], (DAY / 10 * 9 / 4 * 3, 0));
        assert_eq!(given[&node(1)], (DAY / 10 * 9 / 4, DAY / 10 / 4 * 3));
        assert_eq!(given[&node(2)], (0, DAY / 10 / 4));
    }

    #[test]
    fn who_has_forfeited_the_day_gets_nothing_and_the_others_its_part() {
        let mut day: BTreeMap<_, _> = [(node(0), shown(300, 0)), (node(1), shown(100, 0))].into();
        day.get_mut(&node(0)).expect("it is there").forfeited = true;
        let given = divide(DAY, &day);
        assert_eq!(given.get(&node(0)), None);
        assert_eq!(given[&node(1)], (DAY / 10 * 9, 0));
    }
}
