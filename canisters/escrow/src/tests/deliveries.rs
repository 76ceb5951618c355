//! Deliveries: what is refused, each with its own error and nothing moved; late ones, repeated ones, uploaded ones.

use super::invariants::check;
use super::world::*;
use crate::records::*;
use crate::view;
use emc_protocol::error::code;
use emc_protocol::*;

/// Refuses a delivery and shows that nothing has moved.
fn refused(world: &mut World, node: usize, args: &work::DeliverArgs) -> String {
    let (before, balances) = (
        world.state.jobs.get(&args.job_id),
        world.state.books.totals(0),
    );
    let code = code_of(world.deliver(node, args));
    assert_eq!(world.state.jobs.get(&args.job_id), before);
    assert_eq!(world.state.books.totals(0), balances);
    check(world);
    code
}

#[test]
fn a_wrong_signature_is_refused() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    let mut args = world.delivery(0, &lease, &answer(4));
    args.signature[10] ^= 1;
    assert_eq!(refused(&mut world, 0, &args), code::BAD_SIGNATURE);
    args.signature = vec![0; 64];
    assert_eq!(refused(&mut world, 0, &args), code::BAD_SIGNATURE);
    args.signature = vec![];
    assert_eq!(refused(&mut world, 0, &args), code::BAD_SIGNATURE);
    let other = world.nodes[1].key.clone();
    let mine = std::mem::replace(&mut world.nodes[0].key, other);
    let forged = world.delivery(0, &lease, &answer(4));
    world.nodes[0].key = mine;
    assert_eq!(
        refused(&mut world, 0, &forged),
        code::BAD_SIGNATURE,
        "another node's key"
    );
    let replayed = Lease {
        seed: lease.seed + 1,
        ..lease.clone()
    };
    let args = world.delivery(0, &replayed, &answer(4));
    assert_eq!(
        refused(&mut world, 0, &args),
        code::BAD_SIGNATURE,
        "another seed"
    );
}

#[test]
fn an_output_that_does_not_match_its_hash_is_refused() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    let mut args = world.delivery(0, &lease, &answer(4));
    args.output = Some(TextOutput {
        text: "something else".into(),
        ..answer(4)
    });
    assert_eq!(refused(&mut world, 0, &args), code::BAD_OUTPUT_HASH);
    args.output_hash = vec![];
    assert_eq!(refused(&mut world, 0, &args), code::BAD_OUTPUT_HASH);
}

#[test]
fn usage_must_be_the_outputs_and_within_the_inputs_bound() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    let wrong: [fn(&mut Usage); 4] = [
        |usage| usage.output_tokens += 1,
        |usage| usage.pixel_steps = 1,
        |usage| usage.prompt_tokens = 0,
        |usage| usage.prompt_tokens = 1 << 40,
    ];
    for change in wrong {
        let mut args = world.delivery(0, &lease, &answer(4));
        change(&mut args.usage);
        args.charge = lease
            .price
            .charge(&args.usage)
            .unwrap()
            .min(lease.max_charge);
        world.sign(0, &lease, &answer(4), &mut args);
        assert_eq!(refused(&mut world, 0, &args), code::BAD_USAGE);
    }
}

#[test]
fn too_many_tokens_or_too_long_a_text_is_refused() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    let args = world.delivery(0, &lease, &answer(65));
    assert_eq!(refused(&mut world, 0, &args), code::LIMIT);
    let long = TextOutput {
        text: "x".repeat(4 * 64 + 1_025),
        ..answer(4)
    };
    let args = world.delivery(0, &lease, &long);
    assert_eq!(refused(&mut world, 0, &args), code::LIMIT);
}

#[test]
fn the_charge_is_the_leases_price_for_the_usage() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    for wrong in [1, 1_000_000, 0] {
        let mut args = world.delivery(0, &lease, &answer(4));
        args.charge = Tokens(wrong);
        world.sign(0, &lease, &answer(4), &mut args);
        assert_eq!(refused(&mut world, 0, &args), code::INVALID);
    }
}

#[test]
fn the_charge_is_capped_at_what_was_locked() {
    let mut world = World::new();
    world.fund(requester(0), 1_000_000_000);
    let mut job = ask("a short question with a far longer rendering", 4);
    let measured = crate::submit::measure(&job.input).unwrap();
    let estimate = measured.estimate;
    let price = world.nodes[0].price;
    job.max_price = price.charge(&measured.demand(&job.parameters)).unwrap();
    world.submit(requester(0), job).unwrap();
    let lease = world.claim(0, 1).unwrap().pop().unwrap();
    let mut args = world.delivery(0, &lease, &answer(4));
    args.usage.prompt_tokens = estimate + 100;
    assert!(price.charge(&args.usage).unwrap() > lease.max_charge);
    args.charge = price.charge(&args.usage).unwrap();
    world.sign(0, &lease, &answer(4), &mut args);
    assert_eq!(refused(&mut world, 0, &args), code::INVALID);
    args.charge = lease.max_charge;
    world.sign(0, &lease, &answer(4), &mut args);
    world.deliver(0, &args).unwrap();
    assert_eq!(world.job(lease.job_id).charged, Some(lease.max_charge));
    check(&world);
}

#[test]
fn the_output_begins_with_what_was_shown() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    world.extend(0, &lease, 0, &answer(2).ids, "a a ").unwrap();
    let other_ids = TextOutput {
        ids: vec![9; 4],
        ..answer(4)
    };
    let other_text = TextOutput {
        text: "b a a a ".into(),
        ..answer(4)
    };
    for output in [other_ids, other_text, answer(1)] {
        let args = world.delivery(0, &lease, &output);
        assert_eq!(refused(&mut world, 0, &args), code::NOT_A_CONTINUATION);
    }
    let args = world.delivery(0, &lease, &answer(4));
    world.deliver(0, &args).unwrap();
}

#[test]
fn a_node_that_never_had_the_job_cannot_deliver_it() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    let args = world.delivery(1, &lease, &answer(4));
    assert_eq!(refused(&mut world, 1, &args), code::NOT_YOUR_LEASE);
    let right = world.delivery(0, &lease, &answer(4));
    world.deliver(0, &right).unwrap();
    assert_eq!(refused(&mut world, 1, &args), code::NOT_YOUR_LEASE);
}

#[test]
fn a_job_is_delivered_once() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    let args = world.delivery(0, &lease, &answer(4));
    world.deliver(0, &args).unwrap();
    assert_eq!(refused(&mut world, 0, &args), code::ALREADY_DELIVERED);
}

#[test]
fn a_late_delivery_is_accepted_while_nobody_else_holds_the_job() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    world.extend(0, &lease, 0, &answer(2).ids, "a a ").unwrap();
    world.pass(64);
    world.tick();
    assert_eq!(world.job(lease.job_id).stage, Stage::Open);
    let wrong = world.delivery(
        0,
        &lease,
        &TextOutput {
            ids: vec![9; 4],
            ..answer(4)
        },
    );
    assert_eq!(
        refused(&mut world, 0, &wrong),
        code::NOT_A_CONTINUATION,
        "the preview still binds"
    );
    let args = world.delivery(0, &lease, &answer(4));
    world.deliver(0, &args).unwrap();
    let job = world.job(lease.job_id);
    assert_eq!(
        (job.stage, &job.attempts[0].end),
        (Stage::Settled, &Some(End::Delivered))
    );
    check(&world);
}

#[test]
fn a_delivery_after_somebody_else_has_the_job_is_lost() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    world.extend(0, &lease, 0, &answer(2).ids, "a a ").unwrap();
    world.pass(64);
    world.tick();
    let second = world.claim(2, 1).unwrap().pop().unwrap();
    let late = world.delivery(0, &lease, &answer(4));
    assert_eq!(refused(&mut world, 0, &late), code::LEASE_LOST);
    let other = TextOutput {
        ids: vec![5; 3],
        ..answer(3)
    };
    let args = world.delivery(2, &second, &other);
    world.deliver(2, &args).unwrap();
    assert_eq!(
        world.available(owner(0)),
        0,
        "only the one who delivered is paid"
    );
    assert_eq!(refused(&mut world, 0, &late), code::ALREADY_DELIVERED);
}

#[test]
fn a_declined_lease_cannot_deliver_any_more() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    world.decline(0, &lease).unwrap();
    let args = world.delivery(0, &lease, &answer(4));
    assert_eq!(refused(&mut world, 0, &args), code::LEASE_LOST);
}

#[test]
fn a_large_output_is_uploaded_in_chunks() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    let output = answer(60);
    assert_eq!(
        code_of(world.chunk(0, &lease, 5, b"x")),
        code::NOT_A_CONTINUATION
    );
    assert_eq!(code_of(world.chunk(0, &lease, 0, b"")), code::INVALID);
    assert_eq!(
        code_of(world.chunk(1, &lease, 0, b"x")),
        code::NOT_YOUR_LEASE
    );
    world.upload(0, &lease, &output).unwrap();
    world
        .upload(0, &lease, &output)
        .expect("the same chunks again change nothing");
    assert_eq!(
        code_of(world.chunk(0, &lease, 0, b"other")),
        code::NOT_A_CONTINUATION
    );
    let end = world.job(lease.job_id).upload.unwrap().bytes;
    assert_eq!(
        code_of(world.chunk(0, &lease, end, &[0; 9_000])),
        code::LIMIT
    );
    let mut args = world.delivery(0, &lease, &output);
    args.output = None;
    world.deliver(0, &args).unwrap();
    assert_eq!(world.state.uploads.len(), 0);
    let job = view::get_job(&world.state, requester(0), lease.job_id, None).unwrap();
    assert_eq!(job.private.unwrap().output, Some(output));
    check(&world);
}

#[test]
fn a_delivery_without_an_output_is_refused() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    let mut args = world.delivery(0, &lease, &answer(4));
    args.output = None;
    assert_eq!(refused(&mut world, 0, &args), code::INVALID);
    world.chunk(0, &lease, 0, b"not an output").unwrap();
    assert_eq!(refused(&mut world, 0, &args), code::INVALID);
}

#[test]
fn what_one_attempt_uploaded_is_gone_for_the_next() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    world.upload(0, &lease, &answer(30)).unwrap();
    world.pass(64);
    world.tick();
    world.claim(2, 1).unwrap();
    assert_eq!(world.state.uploads.len(), 0);
    check(&world);
}

#[test]
fn a_receipt_can_be_checked_by_anyone_and_the_log_is_chained() {
    let mut world = World::new();
    let mut tips = vec![world.state.receipts.root()];
    for _ in 0..3 {
        let lease = world.leased_job(0);
        let args = world.delivery(0, &lease, &answer(4));
        let reply = world.deliver(0, &args).unwrap();
        let record = view::receipt(&world.state, lease.job_id).unwrap();
        assert_eq!(record.index, reply.receipt);
        record
            .receipt
            .verify(&record.public_key, &record.signature)
            .unwrap();
        let key = record.public_key.as_slice().try_into().unwrap();
        assert_eq!(receipt::node_principal(key), record.node);
        assert!(!tips.contains(&world.state.receipts.root()));
        tips.push(world.state.receipts.root());
    }
    let page = view::receipts(&world.state, 1, 200).unwrap();
    assert_eq!(page.iter().map(|r| r.index).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(code_of(view::receipts(&world.state, 0, 201)), code::LIMIT);
}
