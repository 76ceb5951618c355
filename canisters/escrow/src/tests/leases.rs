//! Leases: who gets a job, in which order, for how long, and what becomes of it without a delivery.

use super::invariants::check;
use super::world::*;
use crate::records::*;
use emc_protocol::error::code;
use emc_protocol::*;

#[test]
fn a_node_must_be_known_active_eligible_and_compute() {
    let mut world = World::new();
    world.open_job();
    let stranger = principal(9);
    let args = work::ClaimArgs {
        models: vec![model(2)],
        max: 1,
    };
    let now = world.now;
    let claimed = crate::claim::claim(&mut world.state, now, stranger, &args);
    assert_eq!(code_of(claimed), code::NOT_REGISTERED);
    let spoil: [fn(&mut super::world::Node); 3] = [
        |node| node.status = NodeStatus::Draining,
        |node| node.eligible = false,
        |node| node.compute = false,
    ];
    for change in spoil {
        let mut world = World::new();
        world.open_job();
        change(&mut world.nodes[0]);
        world.pull();
        assert_eq!(code_of(world.claim(0, 1)), code::NOT_ELIGIBLE);
        assert_eq!(world.claim(2, 1).unwrap().len(), 1);
    }
}

#[test]
fn an_old_feed_means_no_new_leases() {
    let mut world = World::new();
    let mut job = ask("Hello", 10);
    job.deadline = Some(Seconds(7_200));
    world.fund(requester(0), 1_000_000);
    world.submit(requester(0), job).unwrap();
    world.pass(3_600);
    assert_eq!(code_of(world.claim(0, 1)), code::STALE_FEED);
    world.pull();
    assert_eq!(world.claim(0, 1).unwrap().len(), 1);
}

#[test]
fn the_oldest_jobs_that_fit_come_first_up_to_the_nodes_places() {
    let mut world = World::new();
    world.fund(requester(0), Tokens::emc(10).0);
    let mut dear = ask("too cheap for anyone", 64);
    dear.max_price = Tokens(1);
    world.submit(requester(0), dear).unwrap();
    for _ in 0..5 {
        world.open_job();
    }
    let ids: Vec<_> = world
        .claim(0, 10)
        .unwrap()
        .iter()
        .map(|l| l.job_id)
        .collect();
    assert_eq!(ids, [2, 3, 4], "three places, the oldest that fit");
    assert!(
        world.claim(0, 10).unwrap().is_empty(),
        "all places are taken"
    );
    assert_eq!(world.claim(2, 1).unwrap()[0].job_id, 5);
    check(&world);
}

#[test]
fn a_price_or_a_context_that_does_not_cover_the_job_does_not_get_it() {
    let mut world = World::new();
    world.open_job();
    world.nodes[0].price.output = Tokens(1 << 100);
    world.nodes[2].context = 80;
    world.pull();
    assert!(world.claim(0, 1).unwrap().is_empty());
    assert!(world.claim(2, 1).unwrap().is_empty());
    assert_eq!(world.claim(3, 1).unwrap().len(), 1);
}

#[test]
fn jobs_that_fit_nobody_cannot_hide_those_behind_them() {
    let mut world = World::new();
    world.fund(requester(0), Tokens::emc(10).0);
    for _ in 0..250 {
        let mut job = ask("Hi", 10);
        job.max_price = Tokens(1);
        world.submit(requester(0), job).unwrap();
    }
    let last = world.open_job();
    let mut got = vec![];
    for _ in 0..5 {
        got.extend(world.claim(0, 1).unwrap());
    }
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].job_id, last);
    check(&world);
}

#[test]
fn a_lease_grows_with_the_tokens_asked_for_and_extend_renews_it() {
    let mut world = World::new();
    world.fund(requester(0), 1_000_000_000);
    let mut job = ask("Hello", 2_000);
    job.max_price = Tokens(100_000_000);
    world.submit(requester(0), job).unwrap();
    let lease = world.claim(0, 1).unwrap().pop().unwrap();
    assert_eq!(lease.until, world.now.after(Seconds(60 + 120)));
    world.pass(100);
    let reply = world.extend(0, &lease, 0, &[], "").unwrap();
    assert_eq!(reply.until, world.now.after(Seconds(180)));
    check(&world);
}

#[test]
fn a_preview_goes_on_from_what_was_sent_at_least_two_seconds_apart() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    assert_eq!(
        code_of(world.extend(0, &lease, 1, &[1], "x")),
        code::NOT_A_CONTINUATION
    );
    world.extend(0, &lease, 0, &[1, 2], "one two").unwrap();
    world.pass(1);
    let error = world.extend(0, &lease, 2, &[3], " three").unwrap_err();
    let wait = ErrorDetail::RetryAfter {
        seconds: Seconds(1),
    };
    assert_eq!(
        (error.code.as_str(), error.detail),
        (code::BUSY, Some(wait))
    );
    world.pass(1);
    assert_eq!(
        code_of(world.extend(0, &lease, 0, &[3], "x")),
        code::NOT_A_CONTINUATION
    );
    assert_eq!(
        code_of(world.extend(0, &lease, 2, &[3; 63], "x")),
        code::LIMIT,
        "never over max_tokens"
    );
    assert_eq!(
        code_of(world.extend(0, &lease, 2, &[3], &"x".repeat(2_000))),
        code::LIMIT
    );
    world.extend(0, &lease, 2, &[3], " three").unwrap();
    let preview = world.state.previews.get(&lease.job_id).unwrap();
    assert_eq!(preview.text, "one two three");
    check(&world);
}

#[test]
fn extending_needs_the_lease() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    assert_eq!(
        code_of(world.extend(2, &lease, 0, &[], "")),
        code::NOT_YOUR_LEASE
    );
    let wrong = Lease {
        attempt: 2,
        ..lease.clone()
    };
    assert_eq!(
        code_of(world.extend(0, &wrong, 0, &[], "")),
        code::NOT_YOUR_LEASE
    );
    world.pass(64);
    assert_eq!(
        code_of(world.extend(0, &lease, 0, &[], "")),
        code::LEASE_LOST,
        "it has lapsed, timer or not"
    );
    let second = world.claim(2, 1).unwrap().pop().unwrap();
    assert_eq!(second.attempt, 2);
    assert_eq!(
        code_of(world.extend(0, &lease, 0, &[], "")),
        code::LEASE_LOST
    );
    world.cancel(requester(0), lease.job_id).unwrap();
    assert_eq!(
        code_of(world.extend(2, &second, 0, &[], "")),
        code::WRONG_STATE
    );
    check(&world);
}

#[test]
fn a_lapsed_lease_costs_the_owner_a_fee_and_reopens_the_job() {
    let mut world = World::new();
    world.fund(requester(0), 10_000_000);
    let first = world.leased_job(0);
    let args = world.delivery(0, &first, &answer(64));
    world.deliver(0, &args).unwrap();
    let earned = world.available(owner(0));
    assert!(earned > 100_000, "{earned}");
    let lease = world.leased_job(0);
    let before = world.available(requester(0));
    world.pass(64);
    world.tick();
    assert_eq!(world.job(lease.job_id).stage, Stage::Open);
    assert_eq!(world.available(owner(0)), earned - 100_000);
    assert_eq!(world.available(requester(0)), before + 100_000);
    check(&world);
}

#[test]
fn an_owner_without_a_balance_pays_no_fee() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    world.pass(64);
    world.tick();
    assert_eq!(
        world.job(lease.job_id).movements.len(),
        1,
        "no movement of nothing"
    );
    check(&world);
}

#[test]
fn a_declined_job_is_open_again_at_no_cost() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    assert_eq!(code_of(world.decline(2, &lease)), code::NOT_YOUR_LEASE);
    world.decline(0, &lease).unwrap();
    assert_eq!(world.job(lease.job_id).stage, Stage::Open);
    check(&world);
    assert_eq!(code_of(world.decline(0, &lease)), code::NOT_YOUR_LEASE);
    assert_eq!(world.claim(2, 1).unwrap()[0].attempt, 2);
    check(&world);
}

#[test]
fn an_owner_holds_two_leases_of_a_job_at_most_whatever_its_nodes() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    world.decline(0, &lease).unwrap();
    let second = world.claim(1, 1).unwrap().pop().unwrap();
    world.decline(1, &second).unwrap();
    assert!(world.claim(0, 1).unwrap().is_empty());
    assert!(world.claim(1, 1).unwrap().is_empty());
    assert_eq!(world.claim(2, 1).unwrap().len(), 1);
    check(&world);
}

#[test]
fn when_nobody_may_try_any_more_the_job_is_refunded() {
    let mut world = World::new();
    world
        .state
        .configure(|config| config.settings.max_attempts = 2);
    let id = world.leased_job(0).job_id;
    let lease = |attempt| Lease {
        job_id: id,
        attempt,
        ..sample_lease()
    };
    world.decline(0, &lease(1)).unwrap();
    world.claim(2, 1).unwrap();
    world.decline(2, &lease(2)).unwrap();
    assert!(
        world.claim(3, 1).unwrap().is_empty(),
        "a third owner is one too many"
    );
    world.claim(0, 1).unwrap();
    world.decline(0, &lease(3)).unwrap();
    world.claim(2, 1).unwrap();
    world.decline(2, &lease(4)).unwrap();
    assert_eq!(world.job(id).stage, Stage::Refunded(Refund::Attempts));
    assert_eq!(world.available(requester(0)), Tokens::emc(10).0);
    check(&world);
}

fn sample_lease() -> Lease {
    let mut world = World::new();
    world.leased_job(0)
}

#[test]
fn the_terms_are_those_of_the_claim() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    world.nodes[0].price.output = Tokens(1);
    world.pull();
    world
        .state
        .configure(|config| config.settings.treasury_share = 10_000);
    let args = world.delivery(0, &lease, &answer(40));
    let reply = world.deliver(0, &args).unwrap();
    assert_eq!(reply.paid.0, args.charge.0 - args.charge.0 * 200 / 10_000);
    check(&world);
}
