//! Submitting: limits, models, who serves them, request keys.

use super::invariants::check;
use super::world::*;
use crate::request_key;
use emc_protocol::error::code;
use emc_protocol::job::IfUnserved;
use emc_protocol::*;

fn ready() -> World {
    let mut world = World::new();
    world.fund(requester(0), Tokens::emc(10).0);
    world
}

#[test]
fn a_submission_locks_the_most_the_job_may_cost() {
    let mut world = ready();
    let before = world.available(requester(0));
    let reply = world.submit(requester(0), ask("Hello", 10)).unwrap();
    assert_eq!(reply.locked, Tokens(1_000_000));
    assert_eq!(world.available(requester(0)), before - 1_000_000);
    assert_eq!(reply.model.version, Some(2), "the newest version");
    assert_eq!(
        world.state.books.account(&requester(0)).view().locked,
        Tokens(1_000_000)
    );
    check(&world);
}

#[test]
fn without_enough_available_nothing_is_submitted() {
    let mut world = World::new();
    world.fund(requester(0), 999_999);
    let error = world.submit(requester(0), ask("Hello", 10)).unwrap_err();
    assert_eq!(error.code, code::INSUFFICIENT_FUNDS);
    let detail = ErrorDetail::InsufficientFunds {
        available: Tokens(999_999),
        needed: Tokens(1_000_000),
    };
    assert_eq!(error.detail, Some(detail));
    assert_eq!(world.state.jobs.len(), 0);
    check(&world);
}

#[test]
fn every_field_is_limited() {
    let mut world = ready();
    type Change = fn(&mut SubmitJob);
    let wrong: [(&str, Change); 16] = [
        (code::INVALID, |j| {
            j.input = JobInput::Chat { messages: vec![] }
        }),
        (code::INVALID, |j| {
            j.input = JobInput::Completion {
                prompt: String::new(),
            }
        }),
        (code::LIMIT, |j| {
            j.input = JobInput::Completion {
                prompt: "x".repeat(limits::INPUT_BYTES),
            }
        }),
        (code::INVALID, |j| j.parameters.max_tokens = 0),
        (code::LIMIT, |j| {
            j.parameters.max_tokens = limits::OUTPUT_TOKENS + 1
        }),
        (code::LIMIT, |j| {
            j.parameters.temperature_milli = limits::TEMPERATURE_MILLI + 1
        }),
        (code::LIMIT, |j| j.parameters.top_p_milli = 1_001),
        (code::LIMIT, |j| j.parameters.stop = vec!["x".into(); 9]),
        (code::INVALID, |j| j.parameters.stop = vec![String::new()]),
        (code::INVALID, |j| j.max_price = Tokens(0)),
        (code::INVALID, |j| j.deadline = Some(Seconds(9))),
        (code::LIMIT, |j| j.deadline = Some(Seconds(24 * 3600 + 1))),
        (code::INVALID, |j| j.salt = Some(vec![1; 31].into())),
        (code::LIMIT, |j| j.request_key = Some(vec![1; 33].into())),
        (code::UNKNOWN_MODEL, |j| j.model.id = "nothing".into()),
        (code::UNKNOWN_MODEL, |j| j.model.version = Some(9)),
    ];
    for (n, (code, change)) in wrong.into_iter().enumerate() {
        let mut job = ask("Hello", 10);
        change(&mut job);
        assert_eq!(code_of(world.submit(requester(0), job)), code, "case {n}");
    }
    let mut job = ask("Hello", 10);
    job.max_price = Tokens(u128::MAX);
    assert_eq!(
        code_of(world.submit(requester(0), job)),
        code::INSUFFICIENT_FUNDS
    );
    assert_eq!(world.state.jobs.len(), 0);
    check(&world);
}

#[test]
fn prompt_and_output_must_fit_the_models_context() {
    let mut world = ready();
    assert_eq!(
        code_of(world.submit(requester(0), ask("Hello", 4_096))),
        code::LIMIT
    );
}

#[test]
fn a_job_that_nobody_serves_is_refused_with_the_reason_or_queued() {
    let mut world = ready();
    let refuse = |max_price, max_tokens| {
        let mut job = ask("Hello", max_tokens);
        job.if_unserved = None;
        job.max_price = Tokens(max_price);
        job
    };
    assert!(world.submit(requester(0), refuse(1_000_000, 100)).is_ok());
    let error = world.submit(requester(0), refuse(1_000, 100)).unwrap_err();
    assert_eq!(error.code, code::UNSERVED);
    assert!(
        error.message.contains("the cheapest would take it for"),
        "{}",
        error.message
    );
    for node in &mut world.nodes {
        node.context = 200;
    }
    world.pull();
    let error = world
        .submit(requester(0), refuse(1_000_000, 190))
        .unwrap_err();
    assert!(error.message.contains("so long"), "{}", error.message);
    world.pass(15 * 60);
    let error = world
        .submit(requester(0), refuse(1_000_000, 100))
        .unwrap_err();
    assert!(
        error.message.contains("No live node serves"),
        "{}",
        error.message
    );
    let mut job = refuse(1_000_000, 100);
    job.if_unserved = Some(IfUnserved::Queue);
    assert!(world.submit(requester(0), job).is_ok());
}

#[test]
fn a_retired_version_takes_no_new_jobs() {
    let mut world = ready();
    world.retired = true;
    world.pull();
    let reply = world.submit(requester(0), ask("Hello", 10)).unwrap();
    assert_eq!(
        reply.model.version,
        Some(1),
        "the newest that is not retired"
    );
    let mut job = ask("Hello", 10);
    job.model.version = Some(2);
    assert_eq!(
        code_of(world.submit(requester(0), job)),
        code::UNKNOWN_MODEL
    );
}

#[test]
fn a_requester_has_a_bounded_number_of_unfinished_jobs() {
    let mut world = ready();
    world
        .state
        .configure(|config| config.settings.max_open_jobs = 2);
    for _ in 0..2 {
        world.submit(requester(0), ask("Hello", 10)).unwrap();
    }
    assert_eq!(
        code_of(world.submit(requester(0), ask("Hello", 10))),
        code::BUSY
    );
    world.cancel(requester(0), 1).unwrap();
    assert!(world.submit(requester(0), ask("Hello", 10)).is_ok());
}

#[test]
fn nothing_is_submitted_before_the_secret_is_there() {
    let mut world = ready();
    world.state.configure(|config| config.secret = None);
    assert_eq!(
        code_of(world.submit(requester(0), ask("Hello", 10))),
        code::STARTING
    );
}

#[test]
fn the_same_request_key_names_the_same_job_for_a_day() {
    let mut world = ready();
    let mut job = ask("Hello", 10);
    job.request_key = Some(vec![1, 2, 3].into());
    let first = world.submit(requester(0), job.clone()).unwrap();
    let mut second = world.submit(requester(0), job.clone()).unwrap();
    assert!(second.repeated && !first.repeated);
    second.repeated = false;
    assert_eq!(first, second);
    let mut other = job.clone();
    other.max_price = Tokens(2_000_000);
    let error = world.submit(requester(0), other).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.detail),
        (code::KEY_REUSED, Some(ErrorDetail::Job { job_id: 1 }))
    );
    world.fund(requester(1), 1_000_000);
    assert!(
        !world.submit(requester(1), job.clone()).unwrap().repeated,
        "a key is its caller's own"
    );

    world.pass(24 * 3600);
    world.tick();
    let again = world.submit(requester(0), job.clone()).unwrap();
    assert!(!again.repeated);
    assert_eq!(request_key::forget(&mut world.state, world.now, 10), 2);
    assert!(
        world.submit(requester(0), job).unwrap().repeated,
        "the newer use is remembered"
    );
    check(&world);
}

#[test]
fn seed_salt_and_nonce_are_derived_as_the_page_says() {
    use sha2::{Digest, Sha256};
    let mut world = ready();
    let reply = world.submit(requester(0), ask("Hello", 10)).unwrap();
    let digest = |parts: &[&[u8]]| -> [u8; 32] { Sha256::digest(parts.concat()).into() };
    let id = 1u64.to_le_bytes();
    let secret = [7; 32];
    assert_eq!(reply.salt, digest(&[b"\x0bemc-salt-v1", &secret, &id]));
    assert_eq!(
        reply.capability,
        digest(&[b"\x11emc-capability-v1", &secret, &id])[..16]
    );
    let own = escrow();
    let length = [own.as_slice().len() as u8];
    let installed = world.now.0.to_le_bytes();
    let nonce = digest(&[b"\x0cemc-nonce-v1", &length, own.as_slice(), &installed]);
    assert_eq!(world.state.config().nonce, nonce[..16]);
    let seed = digest(&[
        b"\x0bemc-seed-v1",
        &length,
        own.as_slice(),
        &nonce[..16],
        &id,
    ]);
    assert_eq!(reply.seed.to_le_bytes(), seed[..8]);
}
