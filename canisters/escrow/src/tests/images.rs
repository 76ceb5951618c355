//! Pictures: what may be asked for, what they cost, leases, progress, cancelling.

use super::invariants::check;
use super::pictures::*;
use super::world::*;
use crate::records::*;
use crate::{mining_round, quote, view};
use emc_protocol::error::code;
use emc_protocol::escrow::QuoteArgs;
use emc_protocol::image::*;
use emc_protocol::job::IfUnserved;
use emc_protocol::*;
use proptest::prelude::*;

/// 512 x 256 pixels in ten steps.
const PIXEL_STEPS: u64 = 1_310_720;

#[test]
fn every_field_of_a_picture_is_limited() {
    let mut world = World::of_pictures();
    type Change = fn(&mut ImageInput);
    let wrong: [(&str, &str, Change); 27] = [
        ("prompt", code::INVALID, |i| i.prompt.clear()),
        ("prompt", code::LIMIT, |i| i.prompt = "x".repeat(8_193)),
        ("negative", code::LIMIT, |i| {
            i.negative = Some("x".repeat(8_193))
        }),
        ("width", code::INVALID, |i| i.parameters.width = 56),
        ("width", code::INVALID, |i| i.parameters.width = 513),
        ("width", code::LIMIT, |i| i.parameters.width = 2_056),
        ("height", code::INVALID, |i| i.parameters.height = 0),
        ("height", code::LIMIT, |i| i.parameters.height = u32::MAX),
        ("width x height", code::LIMIT, |i| {
            (i.parameters.width, i.parameters.height) = (2_048, 1_032)
        }),
        ("steps", code::INVALID, |i| i.parameters.steps = 0),
        ("steps", code::LIMIT, |i| i.parameters.steps = 151),
        ("guidance_milli", code::LIMIT, |i| {
            i.parameters.guidance_milli = 50_001
        }),
        ("sampler", code::INVALID, |i| {
            i.parameters.sampler = Some(String::new())
        }),
        ("sampler", code::INVALID, |i| {
            i.parameters.sampler = Some("Euler a".into())
        }),
        ("sampler", code::LIMIT, |i| {
            i.parameters.sampler = Some("e".repeat(33))
        }),
        ("clip_skip", code::LIMIT, |i| {
            i.parameters.clip_skip = Some(13)
        }),
        ("strength_milli", code::INVALID, |i| {
            i.parameters.strength_milli = Some(0)
        }),
        ("strength_milli", code::LIMIT, |i| {
            i.parameters.strength_milli = Some(1_001)
        }),
        ("strength_milli", code::INVALID, |i| {
            i.parameters.strength_milli = Some(600)
        }),
        ("strength_milli", code::INVALID, |i| {
            i.init = Some(png(512, 256, 9).into())
        }),
        ("mask", code::INVALID, |i| {
            i.mask = Some(png(512, 256, 9).into())
        }),
        ("init", code::INVALID, |i| begin_with(i, b"GIF89a".to_vec())),
        ("init", code::INVALID, |i| begin_with(i, png(256, 512, 9))),
        ("init", code::LIMIT, |i| {
            begin_with(i, png(512, 256, 1 << 20))
        }),
        ("mask", code::INVALID, |i| {
            begin_with(i, png(512, 256, 9));
            i.mask = Some(png(512, 264, 9).into());
        }),
        ("mask", code::LIMIT, |i| {
            begin_with(i, png(512, 256, 9));
            i.mask = Some(png(512, 256, 1 << 18).into());
        }),
        ("mask", code::INVALID, |i| {
            begin_with(i, png(512, 256, 9));
            i.mask = Some(vec![].into());
        }),
    ];
    for (n, (field, code, change)) in wrong.into_iter().enumerate() {
        let mut input = lighthouse();
        change(&mut input);
        let error = world.submit(requester(0), paint(input)).unwrap_err();
        assert_eq!(error.code, code, "case {n}: {error}");
        assert!(error.message.starts_with(field), "case {n}: {error}");
    }
    assert_eq!(world.state.jobs.len(), 0);
    let mut most = lighthouse();
    (most.prompt, most.negative) = ("x".repeat(8_192), Some("x".repeat(8_192)));
    begin_with(&mut most, png(512, 256, 1_048_576 - 54));
    most.mask = Some(png(512, 256, 262_144 - 54).into());
    most.parameters.strength_milli = Some(1_000);
    most.parameters.sampler = Some("dpmpp_2m_sde".into());
    most.parameters.clip_skip = Some(12);
    world.submit(requester(0), paint(most)).unwrap();
    check(&world);
}

fn begin_with(input: &mut ImageInput, picture: Vec<u8>) {
    input.init = Some(picture.into());
    input.parameters.strength_milli = Some(600);
}

#[test]
fn a_picture_has_no_parameters_of_a_text() {
    let mut world = World::of_pictures();
    for parameters in [Parameters::greedy(0), Parameters::greedy(64)] {
        let job = SubmitJob {
            parameters,
            ..paint(lighthouse())
        };
        let error = world.submit(requester(0), job).unwrap_err();
        assert_eq!(error.code, code::INVALID);
        assert!(error.message.starts_with("parameters"), "{error}");
    }
}

#[test]
fn a_model_does_only_the_jobs_of_its_task() {
    let mut world = World::of_pictures();
    let text = SubmitJob {
        model: painter(),
        ..ask("What is the time?", 64)
    };
    let picture = SubmitJob {
        model: model(2),
        ..paint(lighthouse())
    };
    for job in [text, picture] {
        let args = QuoteArgs {
            model: job.model.clone(),
            input: job.input.clone(),
            parameters: job.parameters.clone(),
            assurance: None,
        };
        assert_eq!(
            code_of(quote::quote(&world.state, world.now, &args)),
            code::WRONG_TASK
        );
        assert_eq!(code_of(world.submit(requester(0), job)), code::WRONG_TASK);
    }
    assert_eq!(world.state.jobs.len(), 0);
}

#[test]
fn a_picture_is_charged_its_pixel_steps_to_the_e8s() {
    let mut world = World::of_pictures();
    let before = world.available(requester(0));
    let lease = world.leased_picture(0, lighthouse());
    assert_eq!(lease.max_prompt_tokens, 0);
    let args = world.image_delivery(0, &lease, &painted(&lease, 900));
    assert_eq!(args.usage.pixel_steps, PIXEL_STEPS);
    world.deliver(0, &args).unwrap();
    check(&world);
    // 200,000 e8s per million pixel-steps, rounded up once.
    assert_eq!(args.charge, Tokens(262_144));
    let job = world.job(lease.job_id);
    assert_eq!(
        (job.stage, job.charged),
        (Stage::Settled, Some(args.charge))
    );
    assert_eq!(world.available(requester(0)), before - 262_144);
    let share = 262_144 * 200 / 10_000;
    assert_eq!(world.available(owner(0)), 262_144 - share);
    assert_eq!(world.state.books.treasury().0, share);
}

#[test]
fn a_picture_from_another_is_charged_the_steps_that_run() {
    let mut world = World::of_pictures();
    let mut input = lighthouse();
    begin_with(&mut input, png(512, 256, 99));
    let lease = world.leased_picture(0, input);
    let args = world.image_delivery(0, &lease, &painted(&lease, 900));
    assert_eq!(args.usage.pixel_steps, PIXEL_STEPS / 10 * 6);
    world.deliver(0, &args).unwrap();
    let receipt = view::receipt(&world.state, lease.job_id).unwrap().receipt;
    assert_eq!(receipt.usage, args.usage);
    assert_eq!(receipt.charge, Tokens(157_287));
    check(&world);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_charge_for_a_picture_is_exact_and_never_above_the_lock(
        price in 0u64..100_000_000, lock in 1u64..1_000_000_000, columns in 8u32..256, rows in 8u32..256,
        steps in 1u32..=150, strength in proptest::option::of(1u32..=1_000),
    ) {
        let mut input = lighthouse();
        (input.parameters.width, input.parameters.height) = (columns * 8, (rows * 8).min(limits::IMAGE_PIXELS / (columns * 8) / 8 * 8));
        let p = &mut input.parameters;
        (p.steps, p.strength_milli) = (steps, strength);
        let size = (p.width, p.height);
        input.init = strength.map(|_| png(size.0, size.1, 9).into());
        let run = strength.map_or(steps, |strength| (steps * strength / 1_000).max(1));
        let units = u128::from(size.0) * u128::from(size.1) * u128::from(run);
        let exact = (units * u128::from(price)).div_ceil(1_000_000);

        let mut world = World::of_pictures();
        world.nodes[0].price.pixel_steps = Tokens(price.into());
        world.pull();
        let job = SubmitJob { max_price: Tokens(lock.into()), ..paint(input) };
        world.submit(requester(0), job).unwrap();
        let lease = world.claim_picture(0, 1).unwrap().pop();
        prop_assert_eq!(lease.is_some(), exact <= u128::from(lock), "a node gets what covers its price");
        if let Some(lease) = lease {
            let args = world.image_delivery(0, &lease, &painted(&lease, 9));
            world.deliver(0, &args).unwrap();
            prop_assert_eq!(world.job(lease.job_id).charged, Some(Tokens(exact)));
        }
        check(&world);
    }
}

#[test]
fn a_quote_for_a_picture_names_what_has_to_be_locked() {
    let mut world = World::of_pictures();
    let job = SubmitJob {
        if_unserved: None,
        ..paint(lighthouse())
    };
    let args = QuoteArgs {
        model: job.model.clone(),
        input: job.input.clone(),
        parameters: job.parameters.clone(),
        assurance: None,
    };
    let ask_price = |world: &World| quote::quote(&world.state, world.now, &args).unwrap();
    let quoted = ask_price(&world);
    assert_eq!((quoted.nodes, quoted.pixel_steps), (4, Some(PIXEL_STEPS)));
    assert_eq!((quoted.prompt_tokens, quoted.takes), (0, None));
    let lowest = quoted.lowest_max_price.unwrap();
    assert_eq!(lowest, Tokens(262_144));
    for (price, accepted) in [(lowest.0, true), (lowest.0 - 1, false)] {
        let job = SubmitJob {
            max_price: Tokens(price),
            ..job.clone()
        };
        assert_eq!(world.submit(requester(0), job).is_ok(), accepted);
    }
    // A millisecond for a thousand pixel-steps.
    let lease = world.claim_picture(0, 1).unwrap().remove(0);
    world.now = Timestamp(world.now.0 + PIXEL_STEPS.div_ceil(1_000) * 1_000_000);
    let args = world.image_delivery(0, &lease, &painted(&lease, 9));
    world.deliver(0, &args).unwrap();
    for _ in 0..8 {
        world.submit(requester(0), job.clone()).unwrap();
    }
    let quoted = ask_price(&world);
    // Eight jobs of 1.3 seconds wait for four nodes.
    assert_eq!(quoted.takes, Some(Seconds(2)));
    assert_eq!(quoted.begins_in, Some(Seconds(3)));
    let work = view::work_available(&world.state, world.now, &[painter()]).unwrap();
    assert_eq!(
        (work[0].open, work[0].output_tokens, work[0].pixel_steps),
        (8, 0, Some(8 * PIXEL_STEPS))
    );
    check(&world);
}

#[test]
fn a_picture_that_nobody_would_make_for_its_price_is_refused() {
    let mut world = World::of_pictures();
    let job = SubmitJob {
        if_unserved: Some(IfUnserved::Refuse),
        max_price: Tokens(1_000),
        ..paint(lighthouse())
    };
    let error = world.submit(requester(0), job).unwrap_err();
    assert_eq!(error.code, code::UNSERVED);
    assert!(error.message.contains("262144 e8s"), "{error}");
}

#[test]
fn a_lease_of_a_picture_is_as_long_as_its_pixel_steps() {
    let mut world = World::of_pictures();
    let lease = world.leased_picture(0, lighthouse());
    // A minute, and ten seconds for each million.
    assert_eq!(lease.until, world.now.after(Seconds(60 + 13)));
    let settings = emc_protocol::image::ImageSettings {
        lease_per_million: Seconds(100),
        ..Default::default()
    };
    world
        .state
        .configure(|config| config.settings.images = Some((&settings).into()));
    world.pass(2);
    let reply = world.show_steps(0, &lease, 1, None).unwrap();
    assert_eq!(reply.until, world.now.after(Seconds(60 + 131)));
    check(&world);
}

#[test]
fn progress_is_steps_that_never_go_back_and_the_newest_preview() {
    let mut world = World::of_pictures();
    let lease = world.leased_picture(0, lighthouse());
    let small = png(64, 32, 100);
    world.show_steps(0, &lease, 3, Some(small.clone())).unwrap();
    assert_eq!(code_of(world.show_steps(0, &lease, 4, None)), code::BUSY);
    world.pass(2);
    let shown = |world: &World| {
        let job = view::get_job(&world.state, requester(0), lease.job_id, None).unwrap();
        job.private.unwrap().preview.unwrap().image.unwrap()
    };
    assert_eq!(
        shown(&world),
        ImageProgress {
            steps_done: 3,
            preview: Some(small.clone().into())
        }
    );
    let large = png(64, 32, limits::IMAGE_PREVIEW_BYTES);
    let refused = [
        (
            world.show_steps(0, &lease, 2, None),
            code::NOT_A_CONTINUATION,
        ),
        (world.show_steps(0, &lease, 11, None), code::LIMIT),
        (world.show_steps(0, &lease, 4, Some(large)), code::LIMIT),
        (
            world.show_steps(0, &lease, 4, Some(b"no".to_vec())),
            code::INVALID,
        ),
        (
            world.show_steps(0, &lease, 4, Some(png(520, 8, 9))),
            code::INVALID,
        ),
        (world.extend(0, &lease, 0, &[1], "a"), code::INVALID),
        (world.show_steps(1, &lease, 4, None), code::NOT_YOUR_LEASE),
    ];
    for (n, (result, code)) in refused.into_iter().enumerate() {
        assert_eq!(code_of(result), code, "case {n}");
    }
    assert_eq!(shown(&world).steps_done, 3);
    world.show_steps(0, &lease, 10, None).unwrap();
    assert_eq!(
        shown(&world),
        ImageProgress {
            steps_done: 10,
            preview: Some(small.into())
        }
    );
    world.pass(2);
    world.extend_picture(0, &lease, None).unwrap();
    assert_eq!(shown(&world).steps_done, 10);
    check(&world);
    let text = world.leased_job(1);
    let progress = emc_protocol::work::ExtendArgs {
        job_id: text.job_id,
        attempt: 1,
        prompt_tokens: 9,
        from: 0,
        ids: vec![],
        text: String::new(),
        image: Some(ImageProgress::default()),
    };
    let id = world.nodes[1].id;
    let refused = crate::lease::extend(&mut world.state, world.now, id, progress);
    assert_eq!(code_of(refused), code::INVALID);
}

#[test]
fn who_cancels_a_picture_pays_the_steps_that_were_done() {
    let mut world = World::of_pictures();
    let before = world.available(requester(0));
    let lease = world.leased_picture(0, lighthouse());
    world
        .show_steps(0, &lease, 4, Some(png(64, 32, 9)))
        .unwrap();
    let job = world.cancel(requester(0), lease.job_id).unwrap();
    check(&world);
    // Four tenths of 262,144.
    assert_eq!(job.charged, Some(Tokens(104_858)));
    assert_eq!(world.available(requester(0)), before - 104_858);
    let args = world.image_delivery(0, &lease, &painted(&lease, 9));
    assert_eq!(code_of(world.deliver(0, &args)), code::WRONG_STATE);
    // What was shown was paid for and is kept like a result.
    let seen = view::get_job(&world.state, requester(0), lease.job_id, None).unwrap();
    let preview = seen.private.unwrap().preview.unwrap().image.unwrap();
    assert!(preview.preview.is_some());
    world.pass(8 * 24 * 3_600);
    crate::retention::prune(&mut world.state, world.now, 10);
    assert_eq!(world.state.previews.len(), 0);
    let open = world.submit(requester(0), paint(lighthouse())).unwrap();
    let job = world.cancel(requester(0), open.job_id).unwrap();
    assert_eq!(job.charged, Some(Tokens(0)), "free while nobody has it");
    check(&world);
}

#[test]
fn progress_never_costs_more_than_the_lock() {
    let mut world = World::of_pictures();
    let job = SubmitJob {
        max_price: Tokens(262_144),
        ..paint(lighthouse())
    };
    world.submit(requester(0), job).unwrap();
    let lease = world.claim_picture(0, 1).unwrap().remove(0);
    world.show_steps(0, &lease, 10, None).unwrap();
    let job = world.cancel(requester(0), lease.job_id).unwrap();
    assert_eq!(job.charged, Some(Tokens(262_144)));
    check(&world);
}

#[test]
fn a_picture_whose_node_falls_silent_is_made_by_another() {
    let mut world = World::of_pictures();
    let lease = world.leased_picture(0, lighthouse());
    world
        .show_steps(0, &lease, 4, Some(png(64, 32, 9)))
        .unwrap();
    world
        .upload_picture(0, &lease, &painted(&lease, 900), 2_000)
        .unwrap();
    world.pass(74);
    world.tick();
    assert_eq!(world.job(lease.job_id).stage, Stage::Open);
    check(&world);
    let second = world.claim_picture(2, 1).unwrap().remove(0);
    assert_eq!((second.attempt, &second.input), (2, &lease.input));
    assert_eq!(
        (world.state.uploads.len(), world.state.previews.len()),
        (0, 0)
    );
    world.show_steps(2, &second, 1, None).unwrap();
    let late = world.image_delivery(0, &lease, &painted(&lease, 9));
    assert_eq!(code_of(world.deliver(0, &late)), code::LEASE_LOST);
    let args = world.image_delivery(2, &second, &painted(&second, 9));
    world.deliver(2, &args).unwrap();
    assert_eq!(world.available(owner(0)), 0);
    assert!(world.available(owner(1)) > 0);
    check(&world);
}

#[test]
fn a_picture_that_came_late_is_taken_while_nobody_else_has_it() {
    let mut world = World::of_pictures();
    let lease = world.leased_picture(0, lighthouse());
    world.pass(74);
    world.tick();
    let args = world.image_delivery(0, &lease, &painted(&lease, 9));
    world.deliver(0, &args).unwrap();
    assert_eq!(world.job(lease.job_id).stage, Stage::Settled);
    check(&world);
}

#[test]
fn a_picture_that_nobody_makes_is_refunded_at_its_deadline() {
    let mut world = World::of_pictures();
    let before = world.available(requester(0));
    let id = world
        .submit(requester(0), paint(lighthouse()))
        .unwrap()
        .job_id;
    let second = world.leased_picture(0, lighthouse()).job_id;
    world.pass(600);
    world.tick();
    check(&world);
    for id in [id, second] {
        assert_eq!(world.job(id).stage, Stage::Refunded(Refund::Deadline));
    }
    assert_eq!(world.available(requester(0)), before);
    assert_eq!(world.state.inputs.len(), 0);
}

#[test]
fn a_node_that_cannot_make_a_picture_declines_it() {
    let mut world = World::of_pictures();
    let mut input = lighthouse();
    input.parameters.sampler = Some("a_sampler_of_tomorrow".into());
    let lease = world.leased_picture(0, input);
    world.decline(0, &lease).unwrap();
    assert_eq!(world.job(lease.job_id).stage, Stage::Open);
    assert_eq!(world.claim_picture(2, 1).unwrap().len(), 1);
    check(&world);
}

#[test]
fn a_request_key_names_one_picture() {
    let mut world = World::of_pictures();
    let job = SubmitJob {
        request_key: Some(vec![1].into()),
        ..paint(lighthouse())
    };
    let first = world.submit(requester(0), job.clone()).unwrap();
    let again = world.submit(requester(0), job.clone()).unwrap();
    assert!(again.repeated && again.job_id == first.job_id);
    let mut other = lighthouse();
    other.parameters.steps = 11;
    let other = SubmitJob {
        input: JobInput::Image(other),
        ..job
    };
    assert_eq!(code_of(world.submit(requester(0), other)), code::KEY_REUSED);
}

#[test]
fn pictures_are_never_mined_with() {
    let mut world = World::with_validators(9);
    world.units = Some(1_000);
    world.pull();
    let number = |world: &World, model: &ModelRef| {
        let key = crate::submit::model_key(&model.id, 1);
        world.state.model_numbers.get(&key).unwrap()
    };
    let units = |model| mining_round::units(&world.state, number(&world, &model), 100);
    assert_eq!(units(model(1)), Some(1_000));
    assert_eq!(units(painter()), None);
}
