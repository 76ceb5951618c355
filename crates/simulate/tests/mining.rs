//! Mining in small: a day each, seeded, with what must hold of it.

use emc_simulate::mining::{Case, HONEST_SPEEDS, Outcome, play, worth};

fn day(case: Case) -> Outcome {
    play(5, case, 1).expect("the rules take what honest miners do")
}

/// What two days of one GPU may differ by. A round ends within a probe, which is lost: some 100 tokens of 1,800, with a
/// standard deviation of about 60. That is 0.7 % of a day of 24 rounds, 1 % of the ratio of two days, and three times
/// that is allowed.
const TOLERANCE: f64 = 0.03;

#[test]
fn a_gpu_earns_behind_many_nodes_what_it_earns_behind_one() {
    let one = day(Case::honest(1));
    assert!((one.share() / worth() - 1.0).abs() < TOLERANCE, "{one:?}");
    for nodes in [2, 20] {
        let many = day(Case::honest(nodes));
        let ratio = many.share() / one.share();
        assert!((ratio - 1.0).abs() < TOLERANCE, "{nodes} nodes: {ratio}");
        assert_eq!(many.stake, one.stake * nodes as u128);
        assert_eq!((many.burned, many.forfeited), (0, 0));
    }
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
fn with_a_cheap_model_few_nodes_earn_less_than_with_honest_work() {
    let honest = day(Case::honest(1));
    for nodes in [1, 20] {
        let cheap = day(Case::cheap(nodes, honest.case.rate));
        assert!(
            cheap.probes > 0 && cheap.paid * 2 < honest.paid,
            "{cheap:?}"
        );
        assert!(cheap.burned > 0 && cheap.forfeited > 0, "{cheap:?}");
    }
}

#[test]
fn jobs_bought_from_oneself_show_nothing() {
    let buys = Case {
        bought: 100,
        ..Case::honest(1)
    };
    let only = day(Case {
        mines: false,
        ..buys
    });
    assert_eq!((only.bought, only.shown, only.paid), (100, 0, 0));
    assert!(only.spent > 0, "the treasury and the auditors are paid");
    let both = day(buys);
    let ratio = both.share() / day(Case::honest(1)).share();
    assert_eq!(both.bought, 100);
    assert!((ratio - 1.0).abs() < TOLERANCE, "{ratio}");
}
