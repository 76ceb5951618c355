//! Callbacks: whom, when, how often.

use super::errand_actions::dapp;
use super::invariants::check;
use super::world::*;
use crate::callback::{self, Callback};
use candid::Principal;
use emc_protocol::error::code;
use emc_protocol::job::JobDone;
use emc_protocol::*;

fn told(n: u8) -> SubmitJob {
    SubmitJob {
        notify: Some(true),
        deadline: Some(Seconds(10 + u64::from(n))),
        ..ask("What is the time?", 64)
    }
}

/// A canister with money here, and this many jobs that nobody takes.
fn with_refunded(jobs: u8) -> World {
    let mut world = World::new();
    world.ledger.credit(&account_of(dapp(0)), Tokens::emc(10).0);
    world.fund(dapp(0), Tokens::emc(10).0);
    for n in 0..jobs {
        world.submit(dapp(0), told(n)).unwrap();
    }
    assert_eq!(
        callback::next(&mut world.state, world.now),
        None,
        "nothing is final"
    );
    world.pass(100);
    world.tick();
    world
}

fn next(world: &mut World) -> Option<Callback> {
    callback::next(&mut world.state, world.now)
}

#[test]
fn a_canister_is_told_of_its_jobs_one_after_the_other() {
    let mut world = with_refunded(2);
    for job_id in [1, 2] {
        let call = next(&mut world).expect("a job has ended");
        let done = JobDone {
            job_id,
            state: Some(JobState::Refunded),
            charged: Tokens(0),
        };
        assert_eq!((call.callee, call.done), (dapp(0), done));
        assert_eq!(next(&mut world), None, "while it has not answered");
        check(&world);
        callback::answered(&mut world.state, world.now, dapp(0), job_id);
    }
    assert_eq!(next(&mut world), None);
    assert_eq!(world.state.counts.get().told, 2);
    check(&world);
}

#[test]
fn a_canister_that_never_answers_is_called_five_times_with_growing_waits() {
    let mut world = with_refunded(1);
    let mut waited = vec![];
    for try_number in 1..=5 {
        let call = next(&mut world).expect("a try");
        // Every second one is refused, the others' answers are lost.
        if try_number % 2 == 0 {
            callback::failed(&mut world.state, dapp(0), call.done.job_id);
        }
        let since = world.now;
        while try_number < 5 && !callback::is_due(&world.state, world.now) {
            world.pass(10);
        }
        waited.push(world.now.since(since).0);
    }
    assert_eq!(waited, [30, 60, 600, 3_600, 0]);
    world.pass(24 * 3_600);
    assert_eq!(next(&mut world), None);
    assert_eq!(world.state.counts.get().untold, 1);
    assert!(world.state.callbacks.is_empty());
    check(&world);
}

#[test]
fn tries_survive_an_upgrade() {
    let mut world = with_refunded(1);
    next(&mut world).expect("a try");
    world.upgrade();
    assert_eq!(next(&mut world), None, "not before its time");
    world.pass(30);
    assert!(next(&mut world).is_some());
    assert_eq!(world.state.callbacks.get(&(dapp(0), 1)), Some(2));
    check(&world);
}

#[test]
fn only_canisters_can_be_called_and_only_who_submitted() {
    let mut world = World::new();
    world.fund(requester(0), Tokens::emc(10).0);
    assert_eq!(code_of(world.submit(requester(0), told(0))), code::INVALID);
    for who in [Principal::anonymous(), Principal::management_canister()] {
        assert_eq!(code_of(callback::check(who)), code::INVALID);
    }
    // The submitter is told, whoever pays: nobody can have a call aimed at somebody else.
    let args = account::SetDelegate {
        delegate: dapp(1),
        limit: Tokens::emc(1),
        expires: None,
    };
    crate::delegate::set(&mut world.state, world.now, requester(0), &args).unwrap();
    let job = SubmitJob {
        payer: Some(requester(0)),
        ..told(0)
    };
    world.submit(dapp(1), job).unwrap();
    world.pass(100);
    world.tick();
    assert_eq!(next(&mut world).unwrap().callee, dapp(1));
}

#[test]
fn a_canister_that_does_not_answer_holds_up_nobody_else() {
    let mut world = with_refunded(3);
    world.ledger.credit(&account_of(dapp(1)), Tokens::emc(10).0);
    world.fund(dapp(1), Tokens::emc(10).0);
    world.submit(dapp(1), told(0)).unwrap();
    world.pass(100);
    world.tick();
    let mut called = vec![
        next(&mut world).unwrap().callee,
        next(&mut world).unwrap().callee,
    ];
    called.sort();
    assert_eq!(called, [dapp(0), dapp(1)]);
    assert_eq!(next(&mut world), None);
}

#[test]
fn what_a_canister_is_still_to_be_told_is_bounded() {
    let mut world = with_refunded(1);
    let record = crate::records::CalleeRecord {
        jobs: limits::CALLBACKS,
        ..world.state.callees.get(&dapp(0)).unwrap()
    };
    world.state.callees.insert(dapp(0), record);
    let job = world.job(1);
    callback::queue(&mut world.state, world.now, 77, &job);
    assert!(!world.state.callbacks.contains_key(&(dapp(0), 77)));
    assert_eq!(world.state.counts.get().untold, 1);
}
