//! Draws, votes and verdicts, and what becomes of the money.

use super::auditors::{Habit, ReportFate};
use super::invariants::check;
use super::world::*;
use crate::movement::Reason;
use crate::records::*;
use crate::{audit, bond};
use emc_protocol::audit::*;
use emc_protocol::error::code;
use emc_protocol::*;

const HONEST: fn(usize) -> Habit = |_| Habit::Honest;

fn world() -> World {
    World::with_validators(9)
}

/// Draws until the job is drawn (or settled, for one that is sampled).
fn draw(world: &mut World) {
    world.draw([9; 32]);
    check(world);
}

fn paid(world: &World, id: JobId, reason: Reason) -> i128 {
    let movements = world.job(id).movements;
    let lines = movements
        .iter()
        .flat_map(|m| m.lines())
        .filter(|line| line.reason == reason && line.amount > 0);
    lines.map(|line| line.amount).sum()
}

fn bond_of(world: &World, node: usize) -> BondRecord {
    world
        .state
        .bonds
        .get(&world.nodes[node].id)
        .unwrap_or_default()
}

fn outcome(world: &World, node: usize) -> OutcomeRecord {
    world
        .state
        .outcomes
        .get(&world.nodes[node].id)
        .unwrap_or_default()
}

#[test]
fn an_upheld_job_pays_worker_and_auditors_and_gives_every_bond_back() {
    let mut world = world();
    world.change_audit_settings(|audit| audit.second_look = 0);
    let before = world.state.books.account(&requester(0)).available().0;
    let id = world.delivered_job(Assurance::Always, false);
    check(&world);
    let job = world.job(id);
    let checking = job.checking.unwrap();
    assert_eq!(bond_of(&world, 0).reserved, checking.bond);
    draw(&mut world);
    assert_eq!(world.job(id).stage, Stage::Auditing);
    world.play_round(id, HONEST);
    check(&world);
    draw(&mut world);
    let job = world.job(id);
    assert_eq!(job.stage, Stage::Settled);
    assert_eq!(
        paid(&world, id, Reason::Vote),
        3 * checking.vote_fee.0 as i128
    );
    let charge = job.charge.unwrap().0 as i128;
    assert_eq!(
        paid(&world, id, Reason::Price) + paid(&world, id, Reason::TreasuryShare),
        charge
    );
    let spent = (before + Tokens::emc(10).0) as i128 - world.available(requester(0)) as i128;
    assert_eq!(spent, charge + 3 * checking.vote_fee.0 as i128);
    assert!(
        world
            .nodes
            .iter()
            .all(|node| world.state.bonds.get(&node.id).is_none())
    );
    assert_eq!(
        (outcome(&world, 0).settled, outcome(&world, 0).upheld),
        (1, 1)
    );
}

#[test]
fn an_overturned_job_is_refunded_and_its_bond_burned() {
    let mut world = world();
    let id = world.delivered_job(Assurance::Always, true);
    let checking = world.job(id).checking.unwrap();
    draw(&mut world);
    world.play_round(id, HONEST);
    draw(&mut world);
    world.play_round(id, HONEST);
    check(&world);
    let job = world.job(id);
    assert_eq!(job.stage, Stage::Refunded(Refund::Overturned));
    assert_eq!(job.charged, Some(Tokens(0)));
    assert_eq!(paid(&world, id, Reason::Price), 0);
    // The auditors are paid all the same, all eight.
    assert_eq!(
        paid(&world, id, Reason::Vote),
        8 * checking.vote_fee.0 as i128
    );
    assert_eq!(
        (bond_of(&world, 0).reserved, bond_of(&world, 0).burning),
        (Tokens(0), checking.bond)
    );
    assert_eq!(outcome(&world, 0).overturned, 1);

    // Until the registry has taken the bond off the stake, it stays spoken for.
    let stake = world.nodes[0].stake;
    let free = bond::free(&world.state, world.nodes[0].id, Tokens(stake));
    assert_eq!(free.0, stake - checking.bond.0);
    assert_eq!(world.report(ReportFate::AnswerLost), "answer lost");
    assert_eq!(bond_of(&world, 0).burning, checking.bond);
    assert_eq!(world.report(ReportFate::Arrives), "repeated");
    assert_eq!(world.report(ReportFate::Arrives), "nothing to say");
    assert_eq!(world.burned[&world.nodes[0].id], checking.bond.0);
    assert_eq!(world.nodes[0].stake, stake - checking.bond.0);
    assert_eq!(world.state.bonds.get(&world.nodes[0].id), None);
    assert_eq!(
        world.state.nodes.get(&world.nodes[0].id).unwrap().stake.0,
        world.nodes[0].stake
    );
    check(&world);
}

#[test]
fn a_job_that_is_not_drawn_settles_and_pays_its_share_for_those_that_are() {
    let mut world = world();
    world.change_audit_settings(|audit| audit.sample_rate = 1);
    // The bond for so small a chance is large.
    world.nodes[0].stake = Tokens::emc(1_000_000).0;
    world.pull();
    let id = world.delivered_job(Assurance::Sampled, false);
    let fee = world.job(id).checking.unwrap().audit_fee;
    draw(&mut world);
    let job = world.job(id);
    assert_eq!(
        (job.stage, world.state.books.audits()),
        (Stage::Settled, fee)
    );
    assert!(
        world
            .state
            .audits
            .get(&id)
            .is_some_and(|audit| !audit.drawn && audit.seed.is_some())
    );
}

#[test]
fn auditors_of_sampled_jobs_are_paid_from_the_pool() {
    let mut world = world();
    world.change_audit_settings(|audit| (audit.sample_rate, audit.second_look) = (10_000, 0));
    let id = world.delivered_job(Assurance::Sampled, false);
    draw(&mut world);
    let pool = world.state.books.audits();
    world.play_round(id, HONEST);
    draw(&mut world);
    let fee = world.job(id).checking.unwrap().vote_fee;
    assert_eq!(world.state.books.audits().0, pool.0 - 3 * fee.0);
    assert_eq!(paid(&world, id, Reason::Vote), 3 * fee.0 as i128);
}

#[test]
fn an_empty_pool_pays_what_it_has_and_never_more() {
    let mut world = world();
    world.change_audit_settings(|audit| (audit.sample_rate, audit.second_look) = (1_500, 0));
    world.nodes[0].stake = Tokens::emc(1_000_000).0;
    world.pull();
    let id = world.delivered_job(Assurance::Sampled, false);
    // Bytes by which it is drawn.
    let seed = (0..=255u8)
        .map(|n| [n; 32])
        .find(|seed| draw::is_drawn(seed, id, 1_500))
        .expect("one of 256");
    world.draw(seed);
    assert_eq!(world.job(id).stage, Stage::Auditing);
    let (pool, fee) = (
        world.state.books.audits(),
        world.job(id).checking.unwrap().vote_fee,
    );
    assert!(
        pool.0 < 3 * fee.0,
        "the test needs a pool that is too small"
    );
    world.play_round(id, HONEST);
    world.draw(seed);
    check(&world);
    assert_eq!(world.job(id).stage, Stage::Settled);
    assert_eq!(paid(&world, id, Reason::Vote), (pool.0 / 3 * 3) as i128);
}

#[test]
fn the_treasury_adds_what_the_pool_lacks() {
    let mut world = world();
    world.change_audit_settings(|audit| (audit.sample_rate, audit.second_look) = (1_500, 0));
    world.nodes[0].stake = Tokens::emc(1_000_000).0;
    world.pull();
    world
        .state
        .configure(|config| config.settings.treasury_share = 1_000);
    let lease = world.leased_job(0);
    world
        .deliver(0, &world.delivery(0, &lease, &answer(40)))
        .unwrap();
    let id = world.delivered_job(Assurance::Sampled, false);
    let seed = (0..=255u8)
        .map(|n| [n; 32])
        .find(|seed| draw::is_drawn(seed, id, 1_500))
        .expect("one of 256");
    world.draw(seed);
    let (pool, treasury) = (world.state.books.audits(), world.state.books.treasury());
    let fee = world.job(id).checking.unwrap().vote_fee;
    let missing = 3 * fee.0 - pool.0;
    assert!(missing > 0 && missing <= treasury.0, "the test needs both");
    world.play_round(id, HONEST);
    world.draw(seed);
    check(&world);
    assert_eq!(paid(&world, id, Reason::Vote), 3 * fee.0 as i128);
    let share = paid(&world, id, Reason::TreasuryShare) as u128;
    assert_eq!(world.state.books.audits(), Tokens(0));
    assert_eq!(world.state.books.treasury().0, treasury.0 - missing + share);
}

#[test]
fn an_empty_output_is_overturned_and_costs_no_honest_validator_its_bond() {
    let mut world = world();
    world.fund(requester(0), Tokens::emc(10).0);
    let job = SubmitJob {
        assurance: Some(Assurance::Always),
        max_price: Tokens(2_000_000),
        ..ask("What is the time?", 64)
    };
    let id = world.submit(requester(0), job).unwrap().job_id;
    let lease = world.claim(0, 1).unwrap().remove(0);
    world
        .deliver(0, &world.delivery(0, &lease, &answer(0)))
        .unwrap();
    draw(&mut world);
    // It has no end token: no honest validator finds that it ends as it says.
    world.ends_wrong = true;
    world.play_round(id, HONEST);
    draw(&mut world);
    world.play_round(id, HONEST);
    check(&world);
    assert_eq!(world.job(id).stage, Stage::Refunded(Refund::Overturned));
    assert!((4..13).all(|node| bond_of(&world, node) == BondRecord::default()));
}

#[test]
fn who_cannot_recompute_so_long_a_job_is_not_drawn() {
    let mut world = world();
    for node in &mut world.nodes[4..8] {
        node.context = 64;
    }
    world.pull();
    for _ in 0..4 {
        let id = world.delivered_job(Assurance::Always, false);
        world.draw([id as u8; 32]);
        assert!(world.committee(id).iter().all(|&node| node >= 8));
    }
    world.change_audit_settings(|audit| audit.least_owners = 6);
    let job = SubmitJob {
        assurance: Some(Assurance::Always),
        max_price: Tokens(2_000_000),
        ..ask("What is the time?", 64)
    };
    assert_eq!(
        code_of(world.submit(requester(0), job)),
        code::NOT_AUDITABLE
    );
}

#[test]
fn validators_that_do_not_agree_split_the_price() {
    let mut world = world();
    let id = world.delivered_job(Assurance::Always, false);
    draw(&mut world);
    world.play_round(id, |_| Habit::Silent);
    draw(&mut world);
    let committee = world.committee(id);
    // Two liars, one silent: neither four of five nor more than half.
    let (liars, silent) = (committee[..2].to_vec(), committee[2]);
    world.play_round(id, |node| match node {
        node if liars.contains(&node) => Habit::Liar,
        node if node == silent => Habit::Silent,
        _ => Habit::Honest,
    });
    check(&world);
    let job = world.job(id);
    assert_eq!(job.stage, Stage::Undecided);
    let half = job.charge.unwrap().0 / 2;
    assert_eq!(
        (job.charged, paid(&world, id, Reason::Split)),
        (Some(Tokens(half)), half as i128)
    );
    assert_eq!(paid(&world, id, Reason::Vote), 0);
    assert_eq!(
        bond_of(&world, 0),
        BondRecord::default(),
        "nothing is slashed"
    );
    // Silence costs its bond all the same; a liar that nobody could refute keeps it.
    assert!(bond_of(&world, silent).burning > Tokens(0));
    assert_eq!(bond_of(&world, liars[0]).burning, Tokens(0));
}

#[test]
fn who_says_yes_unread_never_reveals_or_keeps_silent_loses_though_no_worker_cheats() {
    for habit in [
        Habit::AlwaysYes,
        Habit::NeverReveals,
        Habit::Silent,
        Habit::Liar,
    ] {
        let mut world = world();
        let id = world.delivered_job(Assurance::Always, false);
        draw(&mut world);
        let bad = world.committee(id)[1];
        world.play_round(id, |node| if node == bad { habit } else { Habit::Honest });
        check(&world);
        draw(&mut world);
        assert_eq!(
            world.job(id).stage,
            Stage::Auditing,
            "{habit:?}: one is not unanimous"
        );
        world.play_round(id, HONEST);
        check(&world);
        assert_eq!(world.job(id).stage, Stage::Settled, "{habit:?}");
        let bond = world.state.config().settings.audit().validator_bond;
        assert_eq!(
            bond_of(&world, bad).burning,
            bond,
            "{habit:?} loses its bond"
        );
        assert_eq!(
            (outcome(&world, bad).votes, outcome(&world, bad).votes_lost),
            (0, 1),
            "{habit:?}"
        );
        let audit = audit::show(&world.state, id).unwrap();
        let others = audit
            .rounds
            .iter()
            .flat_map(|round| &round.seats)
            .filter(|seat| seat.node != world.nodes[bad].id);
        assert!(
            others.clone().count() == 7
                && others
                    .clone()
                    .all(|seat| seat.accepted == Some(true) && !seat.paid.is_zero())
        );
    }
}

#[test]
fn a_colluding_fifth_neither_saves_a_cheat_nor_hurts_an_honest_worker() {
    for wrong in [true, false] {
        let mut world = world();
        let id = world.delivered_job(Assurance::Always, wrong);
        draw(&mut world);
        let first = world.committee(id)[0];
        world.play_round(id, |node| {
            if node == first {
                Habit::Liar
            } else {
                Habit::Honest
            }
        });
        draw(&mut world);
        let second = world.committee(id)[4];
        world.play_round(id, |node| {
            if node == second {
                Habit::Liar
            } else {
                Habit::Honest
            }
        });
        check(&world);
        let expected = if wrong {
            Stage::Refunded(Refund::Overturned)
        } else {
            Stage::Settled
        };
        assert_eq!(world.job(id).stage, expected);
        assert!(
            bond_of(&world, first).burning > Tokens(0)
                && bond_of(&world, second).burning > Tokens(0)
        );
    }
}

#[test]
fn a_second_look_that_decides_nothing_leaves_the_first_verdict() {
    let mut world = world();
    world.change_audit_settings(|audit| audit.second_look = 10_000);
    let id = world.delivered_job(Assurance::Always, false);
    draw(&mut world);
    world.play_round(id, HONEST);
    draw(&mut world);
    assert_eq!(world.state.audits.get(&id).unwrap().rounds.len(), 2);
    world.play_round(id, |_| Habit::Silent);
    check(&world);
    assert_eq!(world.job(id).stage, Stage::Settled);
}

#[test]
fn nobody_audits_his_own_work_nor_his_own_job() {
    let mut world = world();
    // Four of nine validators are the worker's owner's, or the requester's.
    for node in 4..6 {
        world.nodes[node].owner = world.nodes[0].owner;
    }
    for node in 6..8 {
        world.nodes[node].owner = requester(0);
    }
    world.pull();
    for _ in 0..8 {
        let id = world.delivered_job(Assurance::Always, false);
        let seed = [id as u8; 32];
        world.draw(seed);
        check(&world);
        assert!(world.committee(id).iter().all(|&node| node >= 8));
    }
}

#[test]
fn nothing_is_drawn_for_a_result_that_came_after_the_bytes_were_asked_for() {
    let mut world = world();
    let first = world.delivered_job(Assurance::Always, false);
    let upto = crate::draw::begin(&world.state).unwrap();
    let second = world.delivered_job(Assurance::Always, false);
    crate::draw::draw(&mut world.state, world.now, upto, &[1; 32]);
    check(&world);
    assert_eq!(world.job(first).stage, Stage::Auditing);
    assert_eq!(world.job(second).stage, Stage::Delivered);
}

#[test]
fn anyone_can_recompute_who_was_drawn_and_what_was_asked() {
    let mut world = world();
    let id = world.delivered_job(Assurance::Always, true);
    draw(&mut world);
    world.play_round(id, HONEST);
    draw(&mut world);
    let audit = audit::show(&world.state, id).unwrap();
    assert!(audit.drawn && audit.rounds.len() == 2);
    for (round, size) in audit.rounds.iter().zip([FIRST_COMMITTEE, SECOND_COMMITTEE]) {
        let seed: [u8; 32] = round.seed.as_slice().try_into().unwrap();
        let drawn = draw::committee(&seed, id, round.number, &round.candidates, size);
        let drawn: Vec<_> = drawn
            .into_iter()
            .map(|at| round.candidates[at].node)
            .collect();
        let seats: Vec<_> = round.seats.iter().map(|seat| seat.node).collect();
        assert_eq!(drawn, seats);
        assert_eq!(round.probes, draw::probes(&seed, id, round.number, 40));
    }
    // Votes of the running round are nobody's to copy.
    assert!(audit.rounds[0].seats.iter().all(|seat| seat.vote.is_some()));
    assert!(audit.rounds[1].seats.iter().all(|seat| seat.vote.is_none()));
}

#[test]
fn a_vote_needs_a_seat_its_own_commitment_and_the_right_shape() {
    let mut world = world();
    let id = world.delivered_job(Assurance::Always, false);
    draw(&mut world);
    let committee = world.committee(id);
    let outsider = (4..13).find(|node| !committee.contains(node)).unwrap();
    assert_eq!(
        code_of(world.commit(outsider, id, Habit::Honest)),
        code::NOT_YOUR_AUDIT
    );
    assert_eq!(
        code_of(world.commit(0, id, Habit::Honest)),
        code::NOT_YOUR_AUDIT
    );
    let member = committee[0];
    world.commit(member, id, Habit::Honest).unwrap();
    world.commit(member, id, Habit::Honest).unwrap();
    assert_eq!(
        code_of(world.commit(member, id, Habit::AlwaysYes)),
        code::BAD_VOTE
    );
    assert_eq!(
        code_of(world.reveal(member, id, Habit::Honest)),
        code::NOT_YOUR_AUDIT,
        "the others have not committed"
    );
    // A copied commitment cannot be opened: it holds the validator.
    let copied = world.state.audits.get(&id).unwrap().rounds[0].seats[0]
        .commitment
        .unwrap();
    let args = CommitArgs {
        job_id: id,
        round: 1,
        commitment: copied.to_vec(),
    };
    audit::commit(
        &mut world.state,
        world.now,
        world.nodes[committee[1]].id,
        &args,
    )
    .unwrap();
    world.commit(committee[2], id, Habit::Honest).unwrap();
    assert_eq!(
        code_of(world.reveal(committee[1], id, Habit::Honest)),
        code::BAD_VOTE
    );
    assert_eq!(
        code_of(world.reveal(member, id, Habit::AlwaysYes)),
        code::BAD_VOTE
    );
    world.reveal(member, id, Habit::Honest).unwrap();
    world.reveal(member, id, Habit::Honest).unwrap();
    check(&world);

    let task = audit::task(&world.state, world.nodes[committee[2]].id, id).unwrap();
    let mut vote = world.vote(committee[2], &task, Habit::Honest);
    vote.differences.pop();
    let args = RevealArgs {
        job_id: id,
        round: 1,
        salt: vec![committee[2] as u8; 32],
        vote,
    };
    let refused = audit::reveal(
        &mut world.state,
        world.now,
        world.nodes[committee[2]].id,
        args,
    );
    assert_eq!(code_of(refused), code::BAD_VOTE);
    check(&world);
}
