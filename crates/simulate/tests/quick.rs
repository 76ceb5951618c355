//! The simulation in small: ten thousand jobs and a few points, so that it cannot rot, with what must hold of them.

use emc_simulate::collusion::{self, Case};
use emc_simulate::frontier::{self, Grid};
use emc_simulate::mining::{self, Case as Mining};
use emc_simulate::page::Results;
use emc_simulate::people::Errors;
use emc_simulate::{base, image, market::Names, people};

#[test]
fn a_small_simulation_tells_the_same_story() {
    let base = base::run(1, 10_000, |_| {}).expect("the rules take what the market does");
    let tally = &base.tally;
    assert_eq!(tally.jobs(), 10_000);
    assert_eq!((tally.honest.overturned, tally.honest.undecided), (0, 0));
    assert!(tally.cheats.overturned > 20, "{tally:?}");
    assert_eq!((base.burned_others, tally.cheats.undecided), (0, 0));
    assert!(base.burned_cheats > 0 && base.validators > 0 && base.treasury > 0);
    assert_eq!(base.sizes.last().map(|size| size.jobs), Some(10_000));

    let grid = Grid {
        rates: vec![1_000, 5_000],
        factors: vec![0.25, 1.0],
        gains: vec![0.25, 2.0],
        jobs: 600,
    };
    let points = frontier::run(1, &grid, || {}).expect("played");
    assert_eq!(points.len(), 8);
    let pays = |factor, gain| {
        let mine = points
            .iter()
            .filter(move |p| (p.factor, p.gain) == (factor, gain));
        mine.map(|p| p.profit > 0.0).collect::<Vec<_>>()
    };
    assert_eq!(pays(1.0, 0.25), [false, false], "{points:?}");
    assert_eq!(pays(0.25, 2.0), [true, true], "{points:?}");

    let case = |colluding, vote| Case {
        colluding,
        errors: Errors {
            vote,
            ..Errors::default()
        },
    };
    let cases = [case(0, 0.0), case(4, 0.04), case(16, 0.0)];
    let verdicts = collusion::run(1, &cases, 400, || {}).expect("played");
    assert_eq!(
        verdicts[0].honest.overturned + verdicts[0].cheats.settled,
        0
    );
    // A colluding fifth overturns little, four fifths overturn most.
    assert!(verdicts[1].honest.share(verdicts[1].honest.overturned) < 0.04);
    assert!(verdicts[2].honest.share(verdicts[2].honest.overturned) > 0.4);

    let cases = [Mining::honest(2), Mining::cheap(2, 1_000)];
    let mining = mining::run(1, &cases, 1, || {}).expect("played");
    assert!(mining[0].paid > mining[1].paid, "{mining:?}");

    let folder = tempfile::tempdir().expect("a folder");
    let results = Results {
        command: "test".into(),
        base,
        grid,
        points,
        verdicts,
        mining,
    };
    results.write(folder.path()).expect("written");
    let read = |name| std::fs::read_to_string(folder.path().join(name)).expect("written");
    assert!(read("results.md").contains("| 50 % |"));
    assert!(!results.tables().contains("NaN"));
    for (name, _) in results.charts() {
        assert!(
            read(name).starts_with("<svg ") && !read(name).contains("NaN"),
            "{name}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_market() {
    let run = || base::run(7, 2_000, |_| {}).expect("played");
    assert_eq!(run(), run());
}

#[test]
fn an_image_opens_as_an_upgrade_opens_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memory");
    let wanted = image::Wanted {
        seed: 3,
        jobs: 400,
        end: emc_protocol::Timestamp(1_900_000_000_000_000_000),
        names: Names::simulated(),
        requester: people::person(3, b"regular", 0),
    };
    let image = image::write(&path, &wanted, |_| {}).expect("written");
    let bytes = std::fs::read(&path).expect("written");
    assert_eq!(bytes.len() as u64, image.bytes);
    let memory = ic_stable_structures::DefaultMemoryImpl::default();
    *memory.borrow_mut() = bytes;
    let pages = emc_escrow::state::BUCKET_PAGES;
    let state = emc_escrow::state::State::open(memory, pages, wanted.end).expect("the layout");
    let info = emc_escrow::view::info(&state);
    assert_eq!((info.jobs, info.open), (408, 8));
    let old = emc_escrow::native::job(&state, image.old_job).expect("it is there");
    assert_eq!(old.requester, wanted.requester);
    let totals = emc_escrow::native::totals(&state);
    assert_eq!(totals.deposited, image.owed);
}
