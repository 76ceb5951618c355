//! Mining in small: a day each, seeded, with what must hold of it.

use emc_simulate::mining::{Case, HONEST_SPEEDS, Outcome, play, worth};

fn day(case: Case) -> Outcome {
    play(5, case, 1).expect("the rules take what honest miners do")
}

/// An honest GPU where every probe is audited, so that a day's reward has little chance in it.
fn audited(nodes: usize) -> Case {
    Case {
        rate: 10_000,
        ..Case::honest(nodes)
    }
}

/// What two days of one GPU may differ by. A round ends within a probe, which is lost: some 100 tokens of 1,800, with a
/// standard deviation of about 60. That is 0.7 % of a day of 24 rounds, 1 % of the ratio of two days, and three times
/// that is allowed.
const TOLERANCE: f64 = 0.03;

#[test]
fn a_gpu_earns_behind_many_nodes_what_it_earns_behind_one() {
    let one = day(audited(1));
    assert!((one.share() / worth() - 1.0).abs() < TOLERANCE, "{one:?}");
    for nodes in [2, 20] {
        let many = day(audited(nodes));
        let ratio = many.share() / one.share();
        assert!((ratio - 1.0).abs() < TOLERANCE, "{nodes} nodes: {ratio}");
        assert_eq!(many.stake, one.stake * nodes as u128);
        assert_eq!((many.burned, many.forfeited), (0, 0));
    }
}

#[test]
fn what_is_audited_stands_for_what_is_not() {
    // A GPU answers some 220 probes a day, of which a tenth is audited: over ten days that has a standard deviation of
    // 6.5 % of the mean, and three times that is allowed.
    let outcome = play(6, Case::honest(20), 10).expect("honest miners");
    let ratio = outcome.share() / worth();
    assert!((ratio - 1.0).abs() < 0.2, "{ratio}");
    assert!(outcome.probes > 2_000, "{outcome:?}");
}

#[test]
fn the_shares_of_all_miners_are_the_whole() {
    let outcome = day(Case::honest(5));
    let miners = HONEST_SPEEDS.len() as u128 + 5;
    let left = outcome.for_miners - outcome.to_miners;
    assert!(
        left < miners,
        "each is rounded down to an e8: {left} are left"
    );
    assert!(outcome.paid < outcome.to_miners && outcome.counted < outcome.all);
}

#[test]
fn a_cheap_model_earns_nothing_behind_however_many_nodes() {
    for nodes in [1, 20, 500] {
        let cheap = day(Case::cheap(nodes, Case::honest(1).rate));
        assert!(cheap.probes > 0 && cheap.burned > 0, "{cheap:?}");
        assert_eq!((cheap.shown, cheap.paid), (0, 0), "{cheap:?}");
    }
}

#[test]
fn a_cheap_model_that_a_fifth_of_the_validators_helps_earns_less_than_honest_work() {
    let helped = Case {
        colluding: 4,
        ..Case::cheap(500, 10_000)
    };
    let outcome = day(helped);
    assert!(outcome.against_one_gpu() < 0.8, "{outcome:?}");
}

#[test]
fn jobs_bought_from_oneself_show_nothing() {
    let buys = Case {
        bought: 100,
        ..audited(1)
    };
    let only = day(Case {
        mines: false,
        ..buys
    });
    assert_eq!((only.bought, only.shown, only.paid), (100, 0, 0));
    assert!(only.spent > 0, "the treasury and the auditors are paid");
    let both = day(buys);
    let ratio = both.share() / day(audited(1)).share();
    assert_eq!(both.bought, 100);
    assert!((ratio - 1.0).abs() < TOLERANCE, "{ratio}");
}
