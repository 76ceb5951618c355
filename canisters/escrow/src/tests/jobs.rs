//! A job's life: the happy path, cancelling, deadlines, retention, upgrades.

use super::invariants::check;
use super::world::*;
use crate::records::*;
use crate::{retention, view};
use emc_protocol::error::code;
use emc_protocol::*;

#[test]
fn a_delivered_job_pays_the_owner_and_the_treasury_and_refunds_the_rest() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    let args = world.delivery(0, &lease, &answer(40));
    let charge = args.charge.0;
    assert!(charge > 0 && charge < 1_000_000);
    let before = world.available(requester(0));
    let reply = world.deliver(0, &args).unwrap();
    assert_eq!(reply.state, Some(JobState::Settled));
    let share = charge * 200 / 10_000;
    assert_eq!(reply.paid.0, charge - share);
    assert_eq!(world.available(owner(0)), charge - share);
    assert_eq!(world.state.books.treasury().0, share);
    assert_eq!(world.available(requester(0)), before + 1_000_000 - charge);
    let job = view::get_job(&world.state, requester(0), lease.job_id, None).unwrap();
    assert_eq!(job.private.unwrap().output, Some(answer(40)));
    let reasons: Vec<_> = job.postings.iter().map(|p| p.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "lock",
            "lock",
            "unlock",
            "price",
            "treasury share",
            "refund"
        ]
    );
    assert_eq!(job.postings.iter().map(|p| p.amount).sum::<i128>(), 0);
    check(&world);
}

#[test]
fn cancelling_an_open_job_is_free() {
    let mut world = World::new();
    let id = world.open_job();
    world.cancel(requester(0), id).unwrap();
    assert_eq!(world.available(requester(0)), Tokens::emc(10).0);
    assert_eq!(world.job(id).stage, Stage::Refunded(Refund::Cancelled));
    assert_eq!(code_of(world.cancel(requester(0), id)), code::WRONG_STATE);
    check(&world);
}

#[test]
fn cancelling_a_leased_job_pays_the_progress_shown() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    world.extend(0, &lease, 0, &[1; 30], "thirty").unwrap();
    let job = world.cancel(requester(0), lease.job_id).unwrap();
    let usage = Usage {
        prompt_tokens: 9,
        output_tokens: 30,
        pixel_steps: 0,
    };
    let charge = lease.price.charge(&usage).unwrap();
    assert_eq!(job.charged, Some(charge));
    assert_eq!(
        world.available(owner(0)) + world.state.books.treasury().0,
        charge.0
    );
    let args = world.delivery(0, &lease, &answer(40));
    assert_eq!(code_of(world.deliver(0, &args)), code::WRONG_STATE);
    let shown = view::get_job(&world.state, requester(0), lease.job_id, None).unwrap();
    assert_eq!(
        shown.private.unwrap().preview.unwrap().text,
        "thirty",
        "it was paid for, so it is kept"
    );
    check(&world);
}

#[test]
fn cancelling_before_any_progress_costs_nothing_although_it_is_leased() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    world.cancel(requester(0), lease.job_id).unwrap();
    assert_eq!(world.available(requester(0)), Tokens::emc(10).0);
    check(&world);
}

#[test]
fn only_the_requester_cancels() {
    let mut world = World::new();
    let id = world.open_job();
    assert_eq!(code_of(world.cancel(requester(1), id)), code::FORBIDDEN);
    assert_eq!(code_of(world.cancel(requester(0), 99)), code::NOT_FOUND);
}

#[test]
fn an_open_job_is_refunded_at_its_deadline() {
    let mut world = World::new();
    let id = world.open_job();
    world.pass(599);
    world.tick();
    assert_eq!(world.job(id).stage, Stage::Open);
    world.pass(1);
    world.tick();
    assert_eq!(world.job(id).stage, Stage::Refunded(Refund::Deadline));
    assert_eq!(world.available(requester(0)), Tokens::emc(10).0);
    check(&world);
}

#[test]
fn a_leased_job_lapses_and_is_refunded_at_its_deadline() {
    let mut world = World::new();
    let id = world.open_job();
    world.pass(590);
    let lease = world.claim(0, 1).unwrap().pop().unwrap();
    assert_eq!(lease.until, lease.deadline, "no lease passes the deadline");
    world.pass(10);
    world.tick();
    let job = world.job(id);
    assert_eq!(job.stage, Stage::Refunded(Refund::Deadline));
    assert_eq!(job.attempts[0].end, Some(End::Lapsed));
    check(&world);
}

#[test]
fn a_late_timer_changes_nothing_of_the_rules() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    world.pass(3_600);
    let args = world.delivery(0, &lease, &answer(4));
    assert_eq!(
        code_of(world.deliver(0, &args)),
        code::WRONG_STATE,
        "the deadline has passed, timer or not"
    );
    assert_eq!(
        world.job(lease.job_id).stage,
        Stage::Refunded(Refund::Deadline)
    );
    check(&world);
}

#[test]
fn a_deadline_that_has_passed_is_not_claimed() {
    let mut world = World::new();
    world.open_job();
    world.pass(600);
    world.pull();
    assert!(world.claim(0, 1).unwrap().is_empty());
}

#[test]
fn results_go_after_their_retention_and_records_stay() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    let args = world.delivery(0, &lease, &answer(4));
    world.deliver(0, &args).unwrap();
    world.pass(7 * 24 * 3600 - 1);
    assert_eq!(retention::prune(&mut world.state, world.now, 10), 0);
    world.pass(1);
    assert_eq!(retention::prune(&mut world.state, world.now, 10), 1);
    let job = view::get_job(&world.state, requester(0), lease.job_id, None).unwrap();
    assert_eq!(job.private.unwrap().output, None);
    assert_eq!(job.state, Some(JobState::Settled));
    assert!(
        view::receipt(&world.state, lease.job_id).is_ok(),
        "receipts are for ever"
    );
    check(&world);
}

#[test]
fn an_upgrade_loses_nothing() {
    let mut world = World::new();
    let open = world.open_job();
    let leased = world.claim(0, 1).unwrap().pop().unwrap();
    world.extend(0, &leased, 0, &answer(2).ids, "a a ").unwrap();
    let second = world.open_job();
    world.upgrade();
    check(&world);
    assert_eq!(open, leased.job_id);
    let args = world.delivery(0, &leased, &answer(4));
    world.deliver(0, &args).unwrap();
    let tip = world.state.receipts.root();
    world.upgrade();
    assert_eq!(world.state.receipts.root(), tip);
    assert_eq!(world.job(second).stage, Stage::Open);
    world.pass(600);
    world.tick();
    assert_eq!(world.job(second).stage, Stage::Refunded(Refund::Deadline));
    check(&world);
}

#[test]
fn the_due_queue_is_worked_off_in_bounded_parts() {
    let mut world = World::new();
    for _ in 0..5 {
        world.open_job();
    }
    world.pass(600);
    let now = world.now;
    assert_eq!(crate::due::work_off(&mut world.state, now, 3), 3);
    assert_eq!(world.state.due.len(), 2);
    assert_eq!(crate::due::work_off(&mut world.state, now, 3), 2);
    check(&world);
}
