//! Outages: a gap of more than five minutes costs nobody a lease, a deadline or a vote.

use super::invariants::check;
use super::world::*;
use crate::records::*;
use crate::{outage, view};
use emc_protocol::*;

/// Nothing happens for so long, and then the escrow wakes.
fn away(world: &mut World, seconds: u64) {
    outage::wake(&mut world.state, world.now);
    world.pass(seconds);
    outage::wake(&mut world.state, world.now);
}

fn shifted(time: Timestamp, seconds: u64) -> Timestamp {
    time.after(Seconds(seconds))
}

#[test]
fn a_lease_and_a_deadline_move_by_the_gap() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    let (deadline, until) = world.job(lease.job_id).times();
    away(&mut world, 3_600);
    let seen = view::get_job(&world.state, requester(0), lease.job_id, None).unwrap();
    assert_eq!(seen.deadline, shifted(deadline, 3_600));
    assert_eq!(seen.lease_until, until.map(|until| shifted(until, 3_600)));
    world.tick();
    let job = world.job(lease.job_id);
    assert_eq!(job.stage, Stage::Leased, "nothing lapsed");
    assert_eq!(job.times().0, shifted(deadline, 3_600));
    check(&world);
    let args = world.delivery(0, &lease, &answer(40));
    world.deliver(0, &args).unwrap();
    check(&world);
}

#[test]
fn after_the_gap_the_lease_ends_as_it_would_have() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    let left = world
        .job(lease.job_id)
        .lease_until
        .unwrap()
        .since(world.now);
    away(&mut world, 3_600);
    world.pass(left.0 - 1);
    world.tick();
    assert_eq!(world.job(lease.job_id).stage, Stage::Leased);
    world.pass(1);
    world.tick();
    assert_eq!(world.job(lease.job_id).stage, Stage::Open);
    check(&world);
}

#[test]
fn several_outages_add_up_and_later_jobs_are_not_moved_by_earlier_ones() {
    let mut world = World::new();
    let first = world.open_job();
    let deadline = world.job(first).deadline;
    away(&mut world, 1_000);
    let second = world.open_job();
    let later = world.job(second).deadline;
    away(&mut world, 2_000);
    world.tick();
    let seen = |world: &World, id| view::get_job(&world.state, requester(0), id, None).unwrap();
    assert_eq!(seen(&world, first).deadline, shifted(deadline, 3_000));
    assert_eq!(seen(&world, second).deadline, shifted(later, 2_000));
    assert_eq!(world.state.clock.get().outages, 2);
    check(&world);
}

#[test]
fn five_minutes_are_no_outage() {
    let mut world = World::new();
    let id = world.open_job();
    let deadline = world.job(id).deadline;
    away(&mut world, 300);
    assert_eq!(world.state.clock.get().outages, 0);
    let seen = view::get_job(&world.state, requester(0), id, None).unwrap();
    assert_eq!(seen.deadline, deadline);
}

#[test]
fn a_final_jobs_times_stay() {
    let mut world = World::new();
    let id = world.open_job();
    world.cancel(requester(0), id).unwrap();
    let before = view::get_job(&world.state, requester(0), id, None).unwrap();
    away(&mut world, 3_600);
    let after = view::get_job(&world.state, requester(0), id, None).unwrap();
    assert_eq!(before, after);
}

#[test]
fn an_upgrade_during_the_gap_does_not_hide_it() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    outage::wake(&mut world.state, world.now);
    outage::mark(&mut world.state);
    world.pass(3_600);
    world.upgrade();
    outage::wake(&mut world.state, world.now);
    world.tick();
    assert_eq!(world.job(lease.job_id).stage, Stage::Leased);
    check(&world);
}

#[test]
fn a_validators_window_moves_too() {
    let mut world = World::with_validators(8);
    world.fund(requester(0), Tokens::emc(10).0);
    let job = SubmitJob {
        assurance: Some(Assurance::Always),
        max_price: Tokens(10_000_000),
        ..ask("What is the time?", 64)
    };
    let id = world.submit(requester(0), job).unwrap().job_id;
    let lease = world.claim(0, 1).unwrap().pop().unwrap();
    let args = world.delivery(0, &lease, &answer(40));
    world.deliver(0, &args).unwrap();
    world.draw([1; 32]);
    let until = world.job(id).lease_until.expect("a round runs");
    away(&mut world, 7_200);
    world.tick();
    let audit = world.state.audits.get(&id).unwrap();
    let round = audit.rounds.last().unwrap();
    assert!(!round.over && round.seats.iter().all(|seat| seat.lost.is_zero()));
    assert_eq!(round.until, shifted(until, 7_200));
    check(&world);
}
