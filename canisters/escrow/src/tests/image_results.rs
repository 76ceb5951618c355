//! Results that are pictures: what is refused, chunks, who reads them and how, what is kept.

use super::invariants::check;
use super::pictures::*;
use super::world::*;
use crate::{http, retention, view};
use candid::Principal;
use emc_protocol::error::code;
use emc_protocol::image::*;
use emc_protocol::job::Visibility;
use emc_protocol::*;
use ic_http_types::{HttpRequest, HttpResponse};

/// Refuses a delivery and shows that nothing has moved.
fn refused(world: &mut World, node: usize, args: &work::DeliverArgs) -> ApiError {
    let (before, balances) = (
        world.state.jobs.get(&args.job_id),
        world.state.books.totals(0),
    );
    let error = world.deliver(node, args).expect_err("a wrong delivery");
    assert_eq!(world.state.jobs.get(&args.job_id), before);
    assert_eq!(world.state.books.totals(0), balances);
    check(world);
    error
}

#[test]
fn a_result_that_is_not_the_picture_that_was_asked_for_is_refused() {
    let mut world = World::of_pictures();
    let lease = world.leased_picture(0, lighthouse());
    type Change = fn(&mut ImageOutput);
    let wrong: [(&str, &str, Change); 10] = [
        ("png", code::INVALID, |o| o.png = png(256, 512, 900)),
        ("png", code::INVALID, |o| o.png = b"GIF89a".to_vec()),
        ("png", code::INVALID, |o| o.png.truncate(500)),
        ("png", code::LIMIT, |o| {
            o.png = png(512, 256, 4 * 512 * 256 + 65_536)
        }),
        ("thumbnail", code::LIMIT, |o| {
            o.thumbnail = Some(png(128, 64, 32_768).into())
        }),
        ("thumbnail", code::INVALID, |o| {
            o.thumbnail = Some(png(512, 256, 9).into())
        }),
        ("thumbnail", code::INVALID, |o| {
            o.thumbnail = Some(vec![1, 2, 3].into())
        }),
        ("latent", code::INVALID, |o| o.latent.clear()),
        ("latent", code::INVALID, |o| o.latent.truncate(255)),
        ("latent", code::INVALID, |o| o.latent.push(0)),
    ];
    for (n, (field, code, change)) in wrong.into_iter().enumerate() {
        let mut output = painted(&lease, 900);
        change(&mut output);
        let args = world.image_delivery(0, &lease, &output);
        let error = refused(&mut world, 0, &args);
        assert_eq!(error.code, code, "case {n}: {error}");
        assert!(error.message.starts_with(field), "case {n}: {error}");
    }
    let mut output = painted(&lease, 900);
    output.thumbnail = None;
    let args = world.image_delivery(0, &lease, &output);
    world.deliver(0, &args).unwrap();
}

#[test]
fn the_usage_of_a_picture_is_exactly_its_pixel_steps() {
    let mut world = World::of_pictures();
    let lease = world.leased_picture(0, lighthouse());
    let wrong: [fn(&mut Usage); 5] = [
        |usage| usage.pixel_steps -= 1,
        |usage| usage.pixel_steps += 1,
        |usage| usage.pixel_steps = 0,
        |usage| usage.prompt_tokens = 1,
        |usage| usage.output_tokens = 1,
    ];
    for change in wrong {
        let mut args = world.image_delivery(0, &lease, &painted(&lease, 9));
        change(&mut args.usage);
        world.price_and_sign(0, &lease, &mut args);
        assert_eq!(refused(&mut world, 0, &args).code, code::BAD_USAGE);
    }
    let mut args = world.image_delivery(0, &lease, &painted(&lease, 9));
    args.charge = Tokens(args.charge.0 - 1);
    world.sign(0, &lease, &answer(0), &mut args);
    assert_eq!(refused(&mut world, 0, &args).code, code::INVALID);
}

#[test]
fn hash_and_signature_of_a_picture_are_checked() {
    let mut world = World::of_pictures();
    let lease = world.leased_picture(0, lighthouse());
    let right = world.image_delivery(0, &lease, &painted(&lease, 9));
    type Change = fn(&mut ImageOutput);
    let changes: [Change; 3] = [
        |o| o.png[40] ^= 1,
        |o| o.thumbnail = None,
        |o| o.latent[255] += 1,
    ];
    for change in changes {
        let mut args = right.clone();
        change(args.image.as_mut().unwrap());
        assert_eq!(refused(&mut world, 0, &args).code, code::BAD_OUTPUT_HASH);
    }
    let mut args = right.clone();
    args.signature[3] ^= 1;
    assert_eq!(refused(&mut world, 0, &args).code, code::BAD_SIGNATURE);
    // Signed for another way of making it.
    let mut other = lease.clone();
    if let Some(JobInput::Image(input)) = &mut other.input {
        input.parameters.guidance_milli += 1;
    }
    let mut args = right;
    world.sign(0, &other, &answer(0), &mut args);
    assert_eq!(refused(&mut world, 0, &args).code, code::BAD_SIGNATURE);
}

#[test]
fn a_text_is_no_picture_and_a_picture_is_no_text() {
    let mut world = World::of_pictures();
    let picture = world.leased_picture(0, lighthouse());
    let text = world.leased_job(0);
    let mut args = world.delivery(0, &picture, &answer(4));
    assert_eq!(refused(&mut world, 0, &args).code, code::INVALID);
    args.image = Some(painted(&picture, 9));
    assert_eq!(refused(&mut world, 0, &args).code, code::INVALID);
    let mut args = world.delivery(0, &text, &answer(4));
    args.image = Some(painted(&picture, 9));
    args.output = None;
    assert_eq!(refused(&mut world, 0, &args).code, code::INVALID);
    // Uploaded bytes are read as what was asked for.
    world.upload(0, &picture, &answer(40)).unwrap();
    let mut args = world.image_delivery(0, &picture, &painted(&picture, 9));
    args.image = None;
    assert_eq!(refused(&mut world, 0, &args).code, code::INVALID);
}

#[test]
fn a_large_picture_is_uploaded_in_chunks_and_read_in_parts() {
    let mut world = World::of_pictures();
    let mut input = lighthouse();
    (input.parameters.width, input.parameters.height) = (1_024, 1_024);
    let job = SubmitJob {
        max_price: Tokens(10_000_000),
        ..paint(input)
    };
    let reply = world.submit(requester(0), job).unwrap();
    let lease = world.claim_picture(0, 1).unwrap().remove(0);
    let output = painted(&lease, 4_000_000);
    let mut args = world.image_delivery(0, &lease, &output);
    assert_eq!(refused(&mut world, 0, &args).code, code::LIMIT, "inline");
    args.image = None;
    assert_eq!(refused(&mut world, 0, &args).code, code::INVALID, "nothing");
    world.upload_picture(0, &lease, &output, 1_000_000).unwrap();
    let end = world.job(lease.job_id).upload.unwrap().bytes;
    let bound = asked(&lease).output_bound();
    let more = vec![0; (bound - end + 1) as usize];
    assert_eq!(code_of(world.chunk(0, &lease, end, &more)), code::LIMIT);
    world.deliver(0, &args).unwrap();
    assert_eq!(world.state.uploads.len(), 0);
    check(&world);

    let bytes = canonical::image_output_bytes(&output);
    let job = view::get_job(&world.state, requester(0), reply.job_id, None).unwrap();
    let private = job.private.unwrap();
    let image = private.image.unwrap();
    assert_eq!(
        (private.output, image.result_bytes),
        (None, Some(bytes.len() as u64))
    );
    let mut read = vec![];
    loop {
        let part = world
            .part(requester(0), reply.job_id, read.len() as u64, None)
            .unwrap();
        assert_eq!(part.length, bytes.len() as u64);
        assert!(part.bytes.len() <= limits::RESULT_PART_BYTES);
        if part.bytes.is_empty() {
            break;
        }
        read.extend(part.bytes);
    }
    assert_eq!(canonical::read_image_output(&read), Some(output));
    let after = world.part(requester(0), reply.job_id, u64::MAX, None);
    assert!(after.unwrap().bytes.is_empty());
}

/// A delivered picture; visible as asked.
fn delivered(visibility: Option<Visibility>, filling: usize) -> (World, SubmitReply, ImageOutput) {
    let mut world = World::of_pictures();
    let mut input = lighthouse();
    (input.parameters.width, input.parameters.height) = (1_024, 1_024);
    let job = SubmitJob {
        visibility,
        max_price: Tokens(10_000_000),
        ..paint(input)
    };
    let reply = world.submit(requester(0), job).unwrap();
    let lease = world.claim_picture(0, 1).unwrap().remove(0);
    let output = painted(&lease, filling);
    let mut args = world.image_delivery(0, &lease, &output);
    args.image = None;
    world.upload_picture(0, &lease, &output, 1_000_000).unwrap();
    world.deliver(0, &args).unwrap();
    (world, reply, output)
}

#[test]
fn a_private_picture_is_its_requesters_and_the_bearers_of_its_capability() {
    let (world, reply, output) = delivered(None, 900);
    let stranger = Principal::anonymous();
    let see = |caller, capability: Option<&[u8]>| {
        let job = view::get_job(&world.state, caller, reply.job_id, capability).unwrap();
        job.private
    };
    let mine = see(requester(0), None).unwrap();
    assert_eq!(mine.image.as_ref().unwrap().thumbnail, output.thumbnail);
    assert_eq!(mine.image.as_ref().unwrap().parameters.steps, 10);
    assert_eq!(see(stranger, Some(&reply.capability)), Some(mine));
    assert_eq!(see(requester(1), None), None);
    assert_eq!(see(world.nodes[0].id, None), None);
    let id = reply.job_id;
    for caller in [stranger, requester(1), world.nodes[0].id] {
        let part = world.part(caller, id, 0, None);
        assert_eq!(code_of(part), code::NOT_FOUND);
    }
    let wrong = world.part(stranger, id, 0, Some(vec![0; 16]));
    assert_eq!(code_of(wrong), code::NOT_FOUND);
    assert!(world.part(stranger, id, 0, Some(reply.capability)).is_ok());
    assert_eq!(
        code_of(world.part(requester(0), 99, 0, None)),
        code::NOT_FOUND
    );
}

#[test]
fn of_a_public_picture_everybody_sees_the_result_but_not_the_prompt() {
    let (world, reply, output) = delivered(Some(Visibility::Public), 900);
    let job = view::get_job(&world.state, requester(1), reply.job_id, None).unwrap();
    let private = job.private.unwrap();
    assert_eq!(private.image.unwrap().thumbnail, output.thumbnail);
    assert_eq!(
        (private.input, private.salt, private.preview),
        (None, vec![], None)
    );
    assert!(
        world
            .part(Principal::anonymous(), reply.job_id, 0, None)
            .is_ok()
    );
}

fn get(world: &World, url: &str) -> HttpResponse {
    let request = HttpRequest {
        method: "GET".into(),
        url: url.into(),
        headers: vec![],
        body: Default::default(),
    };
    http::answer(&world.state, world.now, &request, None)
}

fn kind(response: &HttpResponse) -> &str {
    let header = response
        .headers
        .iter()
        .find(|(name, _)| name == "Content-Type");
    header.map_or("", |(_, value)| value)
}

#[test]
fn a_picture_is_served_with_its_type_to_whom_it_may_be_shown() {
    let (world, reply, output) = delivered(None, 900);
    assert_eq!(get(&world, "/jobs/1/result").status_code, 404);
    let capability = hex::encode(&reply.capability);
    let response = get(&world, &format!("/jobs/1/result?capability={capability}"));
    assert_eq!((response.status_code, kind(&response)), (200, "image/png"));
    assert_eq!(response.body.to_vec(), output.png);
    let (public, _, output) = delivered(Some(Visibility::Public), 900);
    let response = get(&public, "/jobs/1/result?format=thumbnail");
    assert_eq!((response.status_code, kind(&response)), (200, "image/png"));
    assert_eq!(Some(response.body), output.thumbnail);
}

#[test]
fn of_a_picture_too_large_for_one_answer_it_is_said_how_to_get_it() {
    let (world, _, _) = delivered(Some(Visibility::Public), limits::HTTP_IMAGE_BYTES);
    let response = get(&world, "/jobs/1/result");
    assert_eq!(
        (response.status_code, kind(&response)),
        (413, "application/json")
    );
    let body = String::from_utf8(response.body.to_vec()).unwrap();
    assert!(body.contains("emc job result 1 --output"), "{body}");
    let small = get(&world, "/jobs/1/result?format=thumbnail");
    assert_eq!(small.status_code, 200);
}

#[test]
fn a_picture_is_kept_for_its_time_and_its_terms_for_ever() {
    let (mut world, reply, _) = delivered(None, 900);
    world.pass(7 * 24 * 3_600);
    assert_eq!(retention::prune(&mut world.state, world.now, 10), 1);
    check(&world);
    let (pictures, thumbnails) = (&world.state.pictures, &world.state.thumbnails);
    assert_eq!((pictures.len(), thumbnails.len()), (0, 0));
    let job = view::get_job(&world.state, requester(0), reply.job_id, None).unwrap();
    let image = job.private.unwrap().image.unwrap();
    assert_eq!((image.result_bytes, image.thumbnail), (None, None));
    assert_eq!(image.parameters.width, 1_024);
    assert_eq!(
        code_of(world.part(requester(0), reply.job_id, 0, None)),
        code::NOT_FOUND
    );
}

#[test]
fn a_list_of_pictures_shows_thumbnails_and_fits_into_an_answer() {
    let mut world = World::of_pictures();
    for _ in 0..20 {
        let lease = world.leased_picture(0, lighthouse());
        let args = world.image_delivery(0, &lease, &painted(&lease, 300_000));
        world.deliver(0, &args).unwrap();
    }
    let page = view::list_jobs(&world.state, requester(0), &Default::default()).unwrap();
    // Each counts with the largest thumbnail and preview that it might have.
    assert!(page.jobs.len() >= 9 && page.more, "{}", page.jobs.len());
    let shown = |job: &Job| {
        let private = job.private.as_ref().unwrap();
        private.output.is_none() && private.image.as_ref().unwrap().thumbnail.is_some()
    };
    assert!(page.jobs.iter().all(shown));
}
