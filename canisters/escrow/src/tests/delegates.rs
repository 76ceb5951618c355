//! Delegates: who may spend whose balance, for how much, and what comes back.

use super::errand_actions::dapp;
use super::invariants::check;
use super::world::*;
use crate::{delegate, guard, request_key, view};
use emc_protocol::account::SetDelegate;
use emc_protocol::error::code;
use emc_protocol::*;

fn permit(world: &mut World, limit: u128, expires: Option<Timestamp>) -> Result<(), ApiError> {
    let args = SetDelegate {
        delegate: dapp(0),
        limit: Tokens(limit),
        expires,
    };
    delegate::set(&mut world.state, world.now, requester(0), &args)
}

fn for_requester_0() -> SubmitJob {
    SubmitJob {
        payer: Some(requester(0)),
        ..ask("What is the time?", 64)
    }
}

fn left(world: &World) -> u128 {
    delegate::list(&world.state, requester(0))[0].left.0
}

fn funded() -> World {
    let mut world = World::new();
    world.fund(requester(0), Tokens::emc(10).0);
    world
}

#[test]
fn a_delegates_job_is_the_payers_and_what_it_did_not_cost_comes_back_to_the_limit() {
    let mut world = funded();
    permit(&mut world, 3_000_000, None).unwrap();
    let id = world.submit(dapp(0), for_requester_0()).unwrap().job_id;
    assert_eq!(left(&world), 2_000_000);
    assert_eq!(world.available(requester(0)), Tokens::emc(10).0 - 1_000_000);
    let job = world.job(id);
    assert_eq!((job.requester, job.submitter()), (requester(0), dapp(0)));
    let lease = world.claim(0, 1).unwrap().pop().unwrap();
    let args = world.delivery(0, &lease, &answer(40));
    world.deliver(0, &args).unwrap();
    assert_eq!(left(&world), 3_000_000 - args.charge.0);
    check(&world);
    for reader in [requester(0), dapp(0)] {
        let job = view::get_job(&world.state, reader, id, None).unwrap();
        assert_eq!(job.delegate, Some(dapp(0)));
        assert!(job.private.unwrap().output.is_some());
    }
    let job = view::get_job(&world.state, dapp(1), id, None).unwrap();
    assert_eq!(job.private, None);
}

#[test]
fn without_permission_beyond_the_limit_or_after_its_end_nothing_is_spent() {
    let mut world = funded();
    let refused = |world: &mut World| {
        let result = world.submit(dapp(0), for_requester_0());
        assert_eq!(code_of(result), code::NOT_DELEGATED);
        assert_eq!(world.available(requester(0)), Tokens::emc(10).0);
    };
    refused(&mut world);
    permit(&mut world, 999_999, None).unwrap();
    refused(&mut world);
    let end = world.now.after(Seconds(60));
    permit(&mut world, 1_000_000, Some(end)).unwrap();
    world.pass(60);
    refused(&mut world);
    permit(&mut world, 1_000_000, None).unwrap();
    permit(&mut world, 0, None).unwrap();
    refused(&mut world);
    assert!(delegate::list(&world.state, requester(0)).is_empty());
    check(&world);
}

#[test]
fn the_limit_does_not_help_where_the_balance_is_too_small() {
    let mut world = World::new();
    world.fund(requester(0), 500_000);
    permit(&mut world, 5_000_000, None).unwrap();
    let result = world.submit(dapp(0), for_requester_0());
    assert_eq!(code_of(result), code::INSUFFICIENT_FUNDS);
    assert_eq!(left(&world), 5_000_000);
    check(&world);
}

#[test]
fn what_comes_back_from_a_job_of_an_older_permission_does_not_raise_the_new_one() {
    let mut world = funded();
    permit(&mut world, 2_000_000, None).unwrap();
    let id = world.submit(dapp(0), for_requester_0()).unwrap().job_id;
    permit(&mut world, 1_500_000, None).unwrap();
    world.cancel(dapp(0), id).unwrap();
    assert_eq!(left(&world), 1_500_000);
    assert_eq!(world.available(requester(0)), Tokens::emc(10).0);
    check(&world);
}

#[test]
fn a_strangers_delegate_is_known_to_the_guard_and_no_longer_once_the_permission_is_gone() {
    let mut world = funded();
    permit(&mut world, 2_000_000, None).unwrap();
    assert!(delegate::is_delegate(&world.state, &dapp(0)));
    permit(&mut world, 0, None).unwrap();
    assert!(!delegate::is_delegate(&world.state, &dapp(0)));
}

#[test]
fn permissions_are_bounded_and_need_an_account() {
    let mut world = funded();
    let set = |world: &mut World, n: u8, expires| {
        let args = SetDelegate {
            delegate: principal(200 + n),
            limit: Tokens(5),
            expires,
        };
        delegate::set(&mut world.state, world.now, requester(0), &args)
    };
    let soon = Some(world.now.after(Seconds(10)));
    set(&mut world, 0, soon).unwrap();
    for n in 1..limits::DELEGATES as u8 {
        set(&mut world, n, None).unwrap();
    }
    assert_eq!(code_of(set(&mut world, 40, None)), code::LIMIT);
    set(&mut world, 3, None).unwrap();
    world.pass(10);
    set(&mut world, 40, None).unwrap();
    assert_eq!(
        delegate::list(&world.state, requester(0)).len(),
        limits::DELEGATES
    );
    let mine = SetDelegate {
        delegate: requester(0),
        limit: Tokens(5),
        expires: None,
    };
    let result = delegate::set(&mut world.state, world.now, requester(0), &mine);
    assert_eq!(code_of(result), code::INVALID);
    let result = delegate::set(&mut world.state, world.now, requester(1), &mine);
    assert_eq!(code_of(result), code::INSUFFICIENT_FUNDS);
    check(&world);
}

#[test]
fn a_repeated_submission_names_the_same_payer() {
    let mut world = funded();
    world.fund(requester(1), Tokens::emc(1).0);
    permit(&mut world, 5_000_000, None).unwrap();
    let job = SubmitJob {
        request_key: Some(vec![1].into()),
        ..for_requester_0()
    };
    let first = world.submit(dapp(0), job.clone()).unwrap();
    let again = world.submit(dapp(0), job.clone()).unwrap();
    assert!(again.repeated && again.job_id == first.job_id);
    assert_eq!(left(&world), 4_000_000);
    let other = SubmitJob {
        payer: Some(requester(1)),
        ..job
    };
    assert_eq!(code_of(world.submit(dapp(0), other)), code::KEY_REUSED);
    check(&world);
}

#[test]
fn a_key_is_known_once_its_job_is_there_and_to_its_own_caller_only() {
    let mut world = funded();
    let job = SubmitJob {
        request_key: Some(vec![1].into()),
        ..ask("What is the time?", 64)
    };
    let known = |world: &World, caller| request_key::is_known(&world.state, caller, &job);
    assert!(!known(&world, requester(0)));
    world.submit(requester(0), job.clone()).unwrap();
    assert!(known(&world, requester(0)) && !known(&world, requester(1)));
    let without = SubmitJob {
        request_key: None,
        ..job.clone()
    };
    assert!(!request_key::is_known(&world.state, requester(0), &without));
}

#[test]
fn with_too_few_cycles_nothing_new_begins() {
    let mut world = World::new();
    let reserve = u128::from(emc_protocol::escrow::Settings::CYCLES_RESERVE);
    assert!(guard::enough_cycles(&world.state, reserve).is_ok());
    let result = guard::enough_cycles(&world.state, reserve - 1);
    assert_eq!(code_of(result), code::LOW_CYCLES);
    world
        .state
        .configure(|config| config.settings.cycles_reserve = Some(7));
    assert!(guard::enough_cycles(&world.state, 7).is_ok());
}
