//! What stands behind a result and what it costs to have it checked: bonds, reports of stake, royalties, quotes, refusals.

use super::auditors::{Habit, ReportFate};
use super::invariants::check;
use super::world::*;
use crate::movement::{Account, Reason};
use crate::records::*;
use crate::{bond, quote};
use emc_protocol::audit::*;
use emc_protocol::error::code;
use emc_protocol::escrow::QuoteArgs;
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

#[test]
fn an_escrow_that_counts_anew_goes_on_where_the_registry_is() {
    let mut world = world();
    world.reported = 41;
    world.delivered_job(Assurance::Always, false);
    draw(&mut world);
    let report = crate::report::next(&mut world.state, world.now).unwrap();
    assert_eq!(report.number, 1);
    crate::report::applied(&mut world.state, 41);
    check(&world);
    assert_eq!(world.report(ReportFate::Arrives), "applied");
    assert_eq!(world.reported, 42);
    check(&world);
}

#[test]
fn a_bond_is_reserved_with_the_lease_and_no_stake_is_promised_twice() {
    let mut world = world();
    world.fund(requester(0), Tokens::emc(100).0);
    let job = || SubmitJob {
        assurance: Some(Assurance::Sampled),
        max_price: Tokens(2_000_000),
        ..ask("What is the time?", 64)
    };
    for _ in 0..5 {
        world.submit(requester(0), job()).unwrap();
    }
    let bond = world.job(1).checking.unwrap().bond.0;
    world.nodes[0].stake = 3 * bond + bond / 2;
    world.nodes[0].concurrency = 10;
    world.pull();
    // Fifty leases on one stake: only as many as it covers.
    let leases = world.claim(0, 5).unwrap();
    assert_eq!(leases.len(), 3);
    check(&world);
    assert_eq!(code_of(world.claim(0, 5)), code::NO_BOND);
    world.decline(0, &leases[0]).unwrap();
    check(&world);
    assert_eq!(world.claim(0, 5).unwrap().len(), 1);

    // A lapsed lease gives its bond free; a late delivery needs it again.
    world.pass(1_000);
    world.tick();
    check(&world);
    assert_eq!(bond_of(&world, 0), BondRecord::default());
}

#[test]
fn a_late_delivery_needs_its_bond_again() {
    let mut world = world();
    world.fund(requester(0), Tokens::emc(10).0);
    let job = SubmitJob {
        assurance: Some(Assurance::Sampled),
        max_price: Tokens(2_000_000),
        deadline: Some(Seconds(3_600)),
        ..ask("What is the time?", 64)
    };
    let id = world.submit(requester(0), job).unwrap().job_id;
    let lease = world.claim(0, 1).unwrap().remove(0);
    let delivery = world.delivery(0, &lease, &answer(40));
    world.pass(200);
    world.tick();
    assert_eq!(world.job(id).stage, Stage::Open);
    let stake = std::mem::replace(&mut world.nodes[0].stake, 5);
    world.pull();
    assert_eq!(code_of(world.deliver(0, &delivery)), code::NO_BOND);
    check(&world);
    world.nodes[0].stake = stake;
    world.pull();
    world.deliver(0, &delivery).unwrap();
    check(&world);
    assert!(bond_of(&world, 0).reserved > Tokens(0));
}

#[test]
fn stake_with_a_lease_open_is_acknowledged_only_once_the_lease_is_over() {
    let mut world = world();
    let id = world.delivered_job(Assurance::Sampled, false);
    let all = world.nodes[0].stake;
    world.unstake(0, all);
    world.pull();
    check(&world);
    world.report(ReportFate::Arrives);
    assert_eq!(
        world.nodes[0].leaving, all,
        "the job's bond still stands on it"
    );
    draw(&mut world);
    while !world.job(id).stage.is_final() {
        world.play_round(id, HONEST);
        draw(&mut world);
    }
    world.report(ReportFate::Lost);
    assert_eq!(world.nodes[0].leaving, all);
    world.report(ReportFate::Arrives);
    world.report(ReportFate::Arrives);
    assert_eq!(world.nodes[0].leaving, 0);
    check(&world);
}

#[test]
fn an_audit_is_refused_without_terms_validators_or_a_price_that_covers_it() {
    let mut world = world();
    world.fund(requester(0), Tokens::emc(10).0);
    let job = |assurance, price| SubmitJob {
        assurance: Some(assurance),
        max_price: Tokens(price),
        ..ask("What is the time?", 64)
    };
    assert_eq!(
        code_of(world.submit(requester(0), job(Assurance::Always, 10))),
        code::INVALID
    );
    world.change_audit_settings(|audit| audit.least_owners = 10);
    assert_eq!(
        code_of(world.submit(requester(0), job(Assurance::Sampled, 2_000_000))),
        code::NOT_AUDITABLE
    );
    world.change_audit_settings(|audit| audit.least_owners = 9);
    world
        .submit(requester(0), job(Assurance::Sampled, 2_000_000))
        .unwrap();
    // A validator's own jobs are not audited by himself, nor counted upon.
    let owner = world.nodes[4].owner;
    world.ledger.credit(&account_of(owner), Tokens::emc(10).0);
    world.fund(owner, Tokens::emc(10).0);
    assert_eq!(
        code_of(world.submit(owner, job(Assurance::Sampled, 2_000_000))),
        code::NOT_AUDITABLE
    );
    world.terms = None;
    world.pull();
    assert_eq!(
        code_of(world.submit(requester(0), job(Assurance::Sampled, 2_000_000))),
        code::NOT_AUDITABLE
    );
    world
        .submit(requester(0), job(Assurance::None, 2_000_000))
        .unwrap();
    check(&world);
}

#[test]
fn a_royalty_is_paid_from_the_charge_and_capped() {
    let mut world = world();
    world.royalty = 9_000;
    world.pull();
    let lease = world.leased_job(0);
    world
        .deliver(0, &world.delivery(0, &lease, &answer(40)))
        .unwrap();
    check(&world);
    let charged = world.job(lease.job_id).charged.unwrap();
    let cap = world.state.config().settings.audit().royalty_cap;
    assert_eq!(
        paid(&world, lease.job_id, Reason::Royalty) as u128,
        price::share(charged, cap).0
    );
    assert_eq!(world.available(author()), price::share(charged, cap).0);
    let lines = world.job(lease.job_id).movements;
    let to_author = |line: &&crate::movement::Line| line.account == Account::Available(author());
    assert_eq!(
        lines
            .iter()
            .flat_map(|m| m.lines())
            .filter(to_author)
            .count(),
        1
    );
}

#[test]
fn a_quote_says_what_checking_costs_and_what_it_is_worth() {
    let world = world();
    let args = |assurance| QuoteArgs {
        model: model(2),
        input: ask("What is the time?", 64).input,
        parameters: Parameters::greedy(64),
        assurance: Some(assurance),
    };
    let plain = quote::quote(&world.state, world.now, &args(Assurance::None)).unwrap();
    assert_eq!(plain.check, None);
    let always = quote::quote(&world.state, world.now, &args(Assurance::Always)).unwrap();
    let sampled = quote::quote(&world.state, world.now, &args(Assurance::Sampled)).unwrap();
    let (all, some) = (always.check.unwrap(), sampled.check.unwrap());
    assert_eq!(all.audit_fee.0, 8 * all.vote_fee.0);
    assert_eq!(some.audit_fee.0, all.audit_fee.0.div_ceil(10));
    assert_eq!(
        (all.chance, some.chance, some.validator_owners),
        (10_000, 1_000, 9)
    );
    assert!(
        some.bond > all.bond,
        "what is seldom looked at needs a larger bond"
    );
    assert_eq!(
        always.lowest_max_price.unwrap().0,
        plain.lowest_max_price.unwrap().0 + all.audit_fee.0
    );
    assert!(!all.weak);
}

#[test]
fn a_job_is_refused_at_once_where_no_stake_covers_its_bond() {
    let mut world = world();
    world.fund(requester(0), Tokens::emc(10).0);
    for node in &mut world.nodes[..4] {
        node.stake = 1_000;
    }
    world.pull();
    let job = SubmitJob {
        assurance: Some(Assurance::Sampled),
        max_price: Tokens(2_000_000),
        if_unserved: None,
        ..ask("What is the time?", 64)
    };
    assert_eq!(code_of(world.submit(requester(0), job)), code::UNSERVED);
    assert_eq!(
        bond::free(&world.state, world.nodes[0].id, Tokens(1_000)),
        Tokens(1_000)
    );
}
