//! Privacy: who sees what of a job; lists, quotes, work summaries, HTTP, rate limits, settings.

use super::world::*;
use crate::guard::{self, Limits};
use crate::{http, install, quote, view};
use candid::Principal;
use emc_protocol::error::code;
use emc_protocol::escrow::*;
use emc_protocol::job::*;
use emc_protocol::*;
use ic_http_types::HttpRequest;

fn settled(visibility: Option<Visibility>) -> (World, SubmitReply) {
    let mut world = World::new();
    world.fund(requester(0), Tokens::emc(1).0);
    let mut job = ask("a secret question", 64);
    job.visibility = visibility;
    let reply = world.submit(requester(0), job).unwrap();
    let lease = world.claim(0, 1).unwrap().pop().unwrap();
    let args = world.delivery(0, &lease, &answer(4));
    world.deliver(0, &args).unwrap();
    (world, reply)
}

#[test]
fn a_stranger_sees_terms_and_hashes_but_no_text() {
    let (world, reply) = settled(None);
    for caller in [requester(1), Principal::anonymous(), world.nodes[0].id] {
        let job = view::get_job(&world.state, caller, reply.job_id, None).unwrap();
        assert_eq!(job.private, None);
        assert_eq!(job.state, Some(JobState::Settled));
    }
    let wrong = view::get_job(&world.state, requester(1), reply.job_id, Some(&[0; 16])).unwrap();
    assert_eq!(wrong.private, None);
}

#[test]
fn the_bearer_of_the_capability_sees_what_the_requester_sees() {
    let (world, reply) = settled(None);
    let mine = view::get_job(&world.state, requester(0), reply.job_id, None).unwrap();
    let bearers = view::get_job(
        &world.state,
        Principal::anonymous(),
        reply.job_id,
        Some(&reply.capability),
    );
    assert_eq!(mine, bearers.unwrap());
    assert_eq!(mine.private.unwrap().output, Some(answer(4)));
}

#[test]
fn of_a_public_job_everybody_sees_the_result_but_not_the_prompt() {
    let (world, reply) = settled(Some(Visibility::Public));
    let job = view::get_job(&world.state, requester(1), reply.job_id, None).unwrap();
    let private = job.private.unwrap();
    assert_eq!(private.output, Some(answer(4)));
    assert_eq!((private.input, private.salt), (None, vec![]));
}

#[test]
fn only_the_requester_reads_why_a_node_declined() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    world.decline(0, &lease).unwrap();
    let seen = |caller| {
        let job = view::get_job(&world.state, caller, lease.job_id, None).unwrap();
        job.attempts[0].end.clone()
    };
    assert_eq!(
        seen(requester(0)),
        Some(AttemptEnd::Declined("out of memory".into()))
    );
    assert_eq!(
        seen(requester(1)),
        Some(AttemptEnd::Declined(String::new()))
    );
}

#[test]
fn a_list_holds_a_requesters_jobs_newest_first_in_pages() {
    let mut world = World::new();
    for _ in 0..5 {
        world.open_job();
    }
    world.cancel(requester(0), 3).unwrap();
    let list = |filter: JobFilter| view::list_jobs(&world.state, requester(0), &filter).unwrap();
    let ids = |page: &JobPage| page.jobs.iter().map(|j| j.id).collect::<Vec<_>>();
    let first = list(JobFilter {
        limit: Some(2),
        ..JobFilter::default()
    });
    assert_eq!((ids(&first), first.more), (vec![5, 4], true));
    let second = list(JobFilter {
        before: Some(4),
        limit: Some(3),
        ..JobFilter::default()
    });
    assert_eq!((ids(&second), second.more), (vec![3, 2, 1], false));
    let refunded = list(JobFilter {
        state: Some(JobState::Refunded),
        ..JobFilter::default()
    });
    assert_eq!(ids(&refunded), [3]);
    let others = JobFilter {
        requester: Some(requester(0)),
        ..JobFilter::default()
    };
    let page = view::list_jobs(&world.state, requester(1), &others).unwrap();
    assert!(page.jobs.iter().all(|job| job.private.is_none()) && page.jobs.len() == 5);
}

#[test]
fn work_available_counts_what_waits_and_shows_no_prompt() {
    let mut world = World::new();
    world.open_job();
    world.pass(1);
    world.open_job();
    let work = view::work_available(&world.state, &[model(1), model(2)]).unwrap();
    assert_eq!(work.len(), 1);
    assert_eq!((work[0].open, work[0].output_tokens), (2, 128));
    assert_eq!(work[0].oldest, Timestamp(world.now.0 - SECOND));
    assert_eq!(view::work_available(&world.state, &[]).unwrap(), work);
    world.claim(0, 2).unwrap();
    assert!(
        view::work_available(&world.state, &[model(2)])
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_quote_names_what_would_have_to_be_locked() {
    let mut world = World::new();
    world.nodes[3].price.output = Tokens(10_000_000_000);
    world.pull();
    let job = ask("What is the time?", 64);
    let args = QuoteArgs {
        model: job.model.clone(),
        input: job.input.clone(),
        parameters: job.parameters.clone(),
        assurance: None,
    };
    let quote = quote::quote(&world.state, world.now, &args).unwrap();
    assert_eq!(
        (quote.nodes, quote.owners, quote.model.version),
        (4, 3, Some(2))
    );
    let (lowest, highest) = (
        quote.lowest_max_price.unwrap(),
        quote.highest_max_price.unwrap(),
    );
    assert!(lowest < highest);
    world.fund(requester(0), 10_000_000);
    for (price, accepted) in [(lowest.0, true), (lowest.0 - 1, false)] {
        let mut job = job.clone();
        job.if_unserved = None;
        job.max_price = Tokens(price);
        assert_eq!(world.submit(requester(0), job).is_ok(), accepted);
    }
    assert_eq!(quote.cheapest, Some(world.nodes[0].price));
    assert_eq!(quote.dearest, Some(world.nodes[3].price));
}

fn get(world: &World, url: &str) -> (u16, String) {
    let request = HttpRequest {
        method: "GET".into(),
        url: url.into(),
        headers: vec![],
        body: Default::default(),
    };
    let response = http::answer(&world.state, world.now, &request, None);
    (
        response.status_code,
        String::from_utf8(response.body.to_vec()).unwrap(),
    )
}

#[test]
fn a_result_is_served_with_its_capability_only() {
    let (world, reply) = settled(None);
    let capability = hex::encode(&reply.capability);
    assert_eq!(get(&world, "/jobs/1/result").0, 404);
    assert_eq!(get(&world, "/jobs/1/result?capability=zz").0, 400);
    assert_eq!(get(&world, "/jobs/1/result?capability=00").0, 404);
    let (status, body) = get(&world, &format!("/jobs/1/result?capability={capability}"));
    assert_eq!(status, 200);
    assert!(body.contains(r#""text":"a a a a ""#), "{body}");
    let (_, text) = get(
        &world,
        &format!("/jobs/1/result?format=text&capability={capability}"),
    );
    assert_eq!(text, "a a a a ");
    let (public, _) = settled(Some(Visibility::Public));
    assert_eq!(get(&public, "/jobs/1/result").0, 200);
    assert_eq!(get(&public, "/jobs/2/result").0, 404);
    assert_eq!(get(&public, "/nothing").0, 404);
}

#[test]
fn metrics_say_what_is_there() {
    let (world, _) = settled(None);
    let (status, body) = get(&world, "/metrics");
    assert_eq!(status, 200);
    for line in [
        "emc_escrow_jobs_settled_total 1",
        "emc_escrow_receipts 1",
        "emc_escrow_deposited_emc_total 1 ",
    ] {
        assert!(body.contains(line), "{line} in {body}");
    }
}

#[test]
fn strangers_share_one_limit_and_the_known_have_their_own() {
    let mut world = World::new();
    world.fund(requester(0), 1_000_000);
    let mut limits = Limits::default();
    let now = world.now;
    let mut let_in = 0;
    for n in 0..200 {
        let_in += u32::from(
            guard::enter(
                &world.state,
                &mut limits,
                now,
                principal(150 + (n % 20) as u8),
            )
            .is_ok(),
        );
    }
    assert_eq!(let_in, 100);
    let stranger = principal(30);
    assert_eq!(
        code_of(guard::inspect(&world.state, &limits, now, stranger)),
        code::BUSY
    );
    assert!(guard::inspect(&world.state, &limits, now, requester(0)).is_ok());
    assert!(guard::enter(&world.state, &mut limits, now, requester(0)).is_ok());
    assert!(guard::enter(&world.state, &mut limits, now, world.nodes[0].id).is_ok());
    let anonymous = guard::enter(&world.state, &mut limits, now, Principal::anonymous());
    assert_eq!(code_of(anonymous), code::ANONYMOUS);
    assert!(guard::enter(&world.state, &mut limits, now.after(Seconds(1)), stranger).is_ok());
    let declined = (0..61).filter(|_| guard::enter_decline(&mut limits, now, stranger).is_ok());
    assert_eq!(declined.count(), 60);
}

#[test]
fn an_argument_of_the_wrong_kind_is_refused_with_a_message() {
    let upgrade = EscrowArgs::Upgrade(EscrowUpgrade::default());
    let now = Timestamp(1);
    let error = configure(upgrade, now).unwrap_err();
    assert!(error.to_string().contains("variant { Init"), "{error}");
    let mut world = World::new();
    let error = install::upgrade(
        &mut world.state,
        world.now,
        principal(4),
        Some(init_args(None)),
    )
    .unwrap_err();
    assert!(error.to_string().contains("variant { Upgrade"), "{error}");
    let wrong = Settings {
        treasury_share: 10_001,
        ..Settings::default()
    };
    let error = configure(init_args(Some(wrong)), now).unwrap_err();
    assert!(error.to_string().contains("treasury_share"), "{error}");
}

#[test]
fn an_upgrade_changes_only_what_it_names_and_it_lasts() {
    let mut world = World::new();
    let change = EscrowUpgrade {
        governor: Some(principal(9)),
        ..EscrowUpgrade::default()
    };
    let before = world.state.config().clone();
    install::upgrade(&mut world.state, world.now, principal(4), None).unwrap();
    install::upgrade(
        &mut world.state,
        world.now,
        principal(4),
        Some(EscrowArgs::Upgrade(change)),
    )
    .unwrap();
    world.upgrade();
    let after = world.state.config();
    assert_eq!(after.governor, principal(9));
    assert_eq!(
        (after.treasury, &after.settings),
        (before.treasury, &before.settings)
    );
    assert_eq!((after.nonce, after.secret), (before.nonce, before.secret));
}

#[test]
fn a_page_of_the_feed_that_comes_twice_or_late_does_nothing() {
    use crate::feed::{Applied, apply};
    let mut world = World::new();
    let after = world.state.feed.get().sequence;
    let page = world.page();
    let now = world.now;
    assert_eq!(
        apply(&mut world.state, now, after, &page),
        Applied::UpToDate
    );
    world.nodes[0].status = NodeStatus::Draining;
    assert_eq!(apply(&mut world.state, now, after, &page), Applied::Stale);
    let mut restarted = page.clone();
    restarted.sequence = 1;
    let at = world.state.feed.get().sequence;
    assert_eq!(
        apply(&mut world.state, now, at, &restarted),
        Applied::Restarted
    );
    assert_eq!(world.state.feed.get().sequence, 0);
}
