//! Audits of pictures: fees, probes, verdicts. The numbers of votes are the validators' business; here is what the escrow
//! makes of them.

use super::auditors::Habit;
use super::invariants::check;
use super::pictures::*;
use super::world::*;
use crate::records::*;
use crate::{audit, quote};
use emc_protocol::audit::*;
use emc_protocol::canonical;
use emc_protocol::error::code;
use emc_protocol::escrow::QuoteArgs;
use emc_protocol::image_audit;
use emc_protocol::*;

const HONEST: fn(usize) -> Habit = |_| Habit::Honest;

/// A picture of node 0 that waits for the draw; wrong, if it is not the model's.
fn delivered_picture(world: &mut World, assurance: Assurance, wrong: bool) -> JobId {
    world.fund(requester(0), Tokens::emc(10).0);
    let job = SubmitJob {
        assurance: Some(assurance),
        max_price: Tokens(2_000_000),
        ..paint(lighthouse())
    };
    let id = world.submit(requester(0), job).expect("accepted").job_id;
    let lease = world.claim_picture(0, 1).expect("accepted").remove(0);
    let args = world.image_delivery(0, &lease, &painted(&lease, 900));
    let reply = world.deliver(0, &args).expect("accepted");
    assert_eq!(reply.state, Some(JobState::Delivered));
    if wrong {
        world.wrong.insert(id);
    }
    check(world);
    id
}

#[test]
fn an_upheld_picture_pays_its_worker_and_its_auditors() {
    let mut world = World::with_validators(9);
    world.change_audit_settings(|audit| audit.second_look = 0);
    let id = delivered_picture(&mut world, Assurance::Always, false);
    world.draw([9; 32]);
    check(&world);
    assert_eq!(world.job(id).stage, Stage::Auditing);
    world.play_round(id, HONEST);
    check(&world);
    world.draw([9; 32]);
    check(&world);
    let job = world.job(id);
    assert_eq!(
        (job.stage, job.charged),
        (Stage::Settled, Some(Tokens(262_144)))
    );
    // 40,000 e8s per million pixel-steps, for each of three.
    let fee = job.checking.unwrap().vote_fee;
    assert_eq!(fee, Tokens(52_429));
    let seats = &audit::show(&world.state, id).unwrap().rounds[0].seats;
    assert!(seats.iter().all(|seat| seat.paid == fee));
    assert_eq!(world.state.bonds.len(), 0);
}

#[test]
fn an_overturned_picture_is_refunded_and_its_bond_burned() {
    let mut world = World::with_validators(9);
    let id = delivered_picture(&mut world, Assurance::Always, true);
    let bond = world.job(id).checking.unwrap().bond;
    for _ in 0..2 {
        world.draw([9; 32]);
        world.play_round(id, HONEST);
        check(&world);
    }
    assert_eq!(world.job(id).stage, Stage::Refunded(Refund::Overturned));
    let burning = world.state.bonds.get(&world.nodes[0].id).unwrap().burning;
    assert_eq!(burning, bond);
}

#[test]
fn who_says_yes_to_a_picture_without_making_it_loses_its_bond() {
    let mut world = World::with_validators(9);
    let id = delivered_picture(&mut world, Assurance::Always, false);
    world.draw([9; 32]);
    let lazy = world.committee(id)[1];
    world.play_round(id, |node| match node == lazy {
        true => Habit::AlwaysYes,
        false => Habit::Honest,
    });
    world.draw([9; 32]);
    world.play_round(id, HONEST);
    check(&world);
    assert_eq!(world.job(id).stage, Stage::Settled);
    let lost = world.state.bonds.get(&world.nodes[lazy].id).unwrap();
    assert!(lost.burning > Tokens(0));
}

#[test]
fn a_validator_gets_the_latent_and_reads_the_picture_in_parts() {
    let mut world = World::with_validators(9);
    let id = delivered_picture(&mut world, Assurance::Always, false);
    world.draw([9; 32]);
    let committee = world.committee(id);
    let member = world.nodes[committee[0]].id;
    let task = audit::task(&world.state, member, id).unwrap();
    let image = task.image.clone().unwrap();
    assert_eq!(image.latent.len(), limits::IMAGE_LATENT);
    assert_eq!((task.output.ids.len(), task.usage.prompt_tokens), (0, 0));
    assert!(matches!(task.input, Some(JobInput::Image(_))));
    assert_eq!(task.probes.len(), PROBES);
    let part = world.part(member, id, 0, None).unwrap();
    assert_eq!(part.bytes.len() as u64, image.result_bytes);
    let output = canonical::read_image_output(&part.bytes).unwrap();
    assert_eq!(output.latent, image.latent);
    let outsider = (4..13).find(|node| !committee.contains(node)).unwrap();
    for stranger in [world.nodes[outsider].id, world.nodes[0].id, requester(1)] {
        assert_eq!(code_of(world.part(stranger, id, 0, None)), code::NOT_FOUND);
    }
    // A vote as the protocol's own function makes it has the shape that is asked for.
    let own: Vec<f32> = (0..4 * 64 * 32).map(|n| n as f32 / 1_000.0).collect();
    let vote = image_audit::vote(&image.latent, &own, &task.terms, &task.probes, true, true);
    assert_eq!(vote.positions, 256);
    let salt = [5; 32];
    let args = CommitArgs {
        job_id: id,
        round: 1,
        commitment: vote.commitment(escrow(), id, 1, member, &salt).to_vec(),
    };
    audit::commit(&mut world.state, world.now, member, &args).unwrap();
    for &node in &committee[1..] {
        world.commit(node, id, Habit::Honest).unwrap();
    }
    let args = RevealArgs {
        job_id: id,
        round: 1,
        salt: salt.to_vec(),
        vote,
    };
    audit::reveal(&mut world.state, world.now, member, args).unwrap();
    check(&world);
    // After the round the picture is the requester's alone again.
    world.pass(3_600);
    world.tick();
    assert_eq!(code_of(world.part(member, id, 0, None)), code::NOT_FOUND);
}

#[test]
fn validators_have_the_time_to_make_a_picture_again() {
    let mut world = World::with_validators(9);
    let id = delivered_picture(&mut world, Assurance::Always, false);
    world.draw([9; 32]);
    let until = world.job(id).lease_until.unwrap();
    assert_eq!(until, world.now.after(Seconds(180 + 13)));
}

#[test]
fn an_audit_of_a_picture_is_never_called_weak() {
    let world = World::with_validators(9);
    let job = paint(lighthouse());
    let args = QuoteArgs {
        model: job.model,
        input: job.input,
        parameters: job.parameters,
        assurance: Some(Assurance::Sampled),
    };
    let check = quote::quote(&world.state, world.now, &args)
        .unwrap()
        .check
        .unwrap();
    assert!(!check.weak);
    assert_eq!(
        (check.vote_fee, check.validator_owners),
        (Tokens(52_429), 9)
    );
}
