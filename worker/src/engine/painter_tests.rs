//! The painter with the engine's tiny model: what it makes, and what it finds of what others made.

use std::path::Path;

use emc_inference::diffusion::ImageOptions;
use emc_protocol::audit::{AuditTerms, GapLevel, Probe};
use emc_protocol::image::{ImageParameters, ImageTask};
use emc_protocol::{FinishReason, ModelRef, Parameters, TextOutput, canonical};

use super::*;

async fn painter() -> PainterHandle {
    painter_of(1).await
}

/// One that makes so many pictures at a time.
async fn painter_of(together: usize) -> PainterHandle {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("inference/tests/data/diffusion/sd15");
    let factory: Factory = Box::new(move || {
        ImageModel::load(&path, &ImageOptions::default())
            .map_err(|error| EngineError::Unsuitable(error.to_string()))
    });
    PainterHandle::spawn("tiny", factory, together)
        .await
        .expect("loads")
}

fn input() -> ImageInput {
    ImageInput {
        prompt: "a red fox".into(),
        parameters: ImageParameters {
            width: 64,
            height: 48,
            steps: 4,
            guidance_milli: 7_500,
            sampler: Some("euler_a".into()),
            ..ImageParameters::default()
        },
        ..ImageInput::default()
    }
}

async fn made(painter: &PainterHandle, input: ImageInput, seed: u64) -> ImageOutput {
    painter.paint(input, seed).finished().await.expect("made")
}

/// What a validator finds of an output for `input()` with the seed 7.
async fn vote(painter: &PainterHandle, delivered: ImageOutput) -> Vote {
    let task = AuditTask {
        job_id: 1,
        round: 1,
        model: ModelRef {
            id: "tiny".into(),
            version: Some(1),
        },
        model_root: vec![],
        input: Some(JobInput::Image(input())),
        parameters: Parameters::unused(),
        seed: 7,
        output: TextOutput {
            ids: vec![],
            finish_reason: FinishReason::Stop,
            text: String::new(),
        },
        usage: input().parameters.usage(),
        context: 0,
        probes: vec![Probe {
            position: 0,
            decoy: 5,
        }],
        terms: AuditTerms {
            levels: vec![GapLevel {
                above_milli: 20,
                share: 0,
                besides: 0,
            }],
            tolerance_milli: 20,
        },
        image: Some(ImageTask {
            latent: delivered.latent.clone(),
            result_bytes: canonical::image_output_bytes(&delivered).len() as u64,
        }),
    };
    painter.verify(task, delivered).await.expect("checked").vote
}

#[tokio::test]
async fn a_picture_comes_with_thumbnail_latent_and_what_made_it() {
    let painter = painter().await;
    let mut painting = painter.paint(input(), 7);
    let output = painting.finished().await.expect("made");
    assert_eq!(painting.so_far().steps_done, 4);
    assert_eq!(emc_protocol::png::size(&output.png), Some((64, 48)));
    assert_eq!(output.latent.len(), limits::IMAGE_LATENT);
    assert!(output.thumbnail.is_some() && output.png.len() <= input().parameters.png_bound());
    let text = String::from_utf8_lossy(&output.png);
    assert!(text.contains("a red fox") && text.contains("Seed: 7"));
    assert_eq!(made(&painter, input(), 7).await, output);
}

#[tokio::test]
async fn the_honest_agree_and_every_cheat_is_seen() {
    let painter = painter().await;
    let honest = made(&painter, input(), 7).await;
    let found = vote(&painter, honest.clone()).await;
    assert!(found.ends_right && found.text_right, "{found:?}");
    assert_eq!(
        (found.positions, found.above[0], found.largest_gap_milli),
        (256, 0, 0)
    );
    assert_eq!(found.differences.len(), 1);

    let mut fewer = input();
    fewer.parameters.steps = 3;
    let mut other_prompt = input();
    other_prompt.prompt = "a blue bird".into();
    let mut other_sampler = input();
    other_sampler.parameters.sampler = Some("euler".into());
    for (name, input, seed) in [
        ("fewer steps", fewer, 7),
        ("another prompt", other_prompt, 7),
        ("another sampler", other_sampler, 7),
        ("another seed", input(), 8),
    ] {
        let found = vote(&painter, made(&painter, input, seed).await).await;
        assert!(found.above[0] > 100, "{name}: {found:?}");
    }

    // The right latent under another picture, another thumbnail, or no picture at all.
    let other = made(&painter, input(), 8).await;
    let swapped = ImageOutput {
        png: other.png,
        ..honest.clone()
    };
    let found = vote(&painter, swapped).await;
    assert!(found.ends_right && !found.text_right, "{found:?}");
    let white = Picture {
        width: 64,
        height: 48,
        rgb: vec![255; 64 * 48 * 3],
    };
    let thumbnail = white.to_png(None).expect("a file");
    let swapped = ImageOutput {
        thumbnail: Some(ByteBuf::from(thumbnail)),
        ..honest.clone()
    };
    assert!(!vote(&painter, swapped).await.text_right);
    let cut = ImageOutput {
        png: honest.png[..100].to_vec(),
        ..honest
    };
    let found = vote(&painter, cut).await;
    assert!(!found.ends_right && !found.text_right, "{found:?}");
}

#[tokio::test]
async fn what_cannot_be_made_is_said_and_the_next_picture_is_made() {
    let painter = painter().await;
    let mut strange = input();
    strange.parameters.sampler = Some("no_such".into());
    let error = painter.paint(strange, 1).finished().await;
    assert!(
        matches!(&error, Err(EngineError::Unsuitable(why)) if why.contains("no_such")),
        "{error:?}"
    );
    let mut no_picture = input();
    no_picture.init = Some(ByteBuf::from(vec![1, 2, 3]));
    let error = painter.paint(no_picture, 1).finished().await;
    assert!(
        matches!(error, Err(EngineError::Unsuitable(_))),
        "{error:?}"
    );
    // Cancelled in line: never made, and in nobody's way.
    drop(painter.paint(input(), 1));
    made(&painter, input(), 1).await;
}

#[tokio::test]
async fn pictures_in_line_are_made_together_and_each_is_its_own() {
    let (alone, together) = (painter().await, painter_of(3).await);
    let mut wide = input();
    wide.parameters.width = 72;
    let mut strange = input();
    strange.parameters.sampler = Some("no_such".into());
    let mut blue = input();
    blue.prompt = "a blue bird".into();
    // While the first is made, the others come into line: alike, of another size, impossible, and cancelled.
    let mut first = together.paint(input(), 1);
    let asked = [
        (input(), 2),
        (wide, 3),
        (blue, 4),
        (input(), 5),
        (input(), 6),
    ];
    let mut others: Vec<Painting> = asked
        .iter()
        .map(|(input, seed)| together.paint(input.clone(), *seed))
        .collect();
    let mut impossible = together.paint(strange, 7);
    drop(together.paint(input(), 8));
    first.finished().await.expect("made");
    for (painting, (input, seed)) in others.iter_mut().zip(asked) {
        let output = painting.finished().await.expect("made");
        assert_eq!(painting.so_far().steps_done, 4);
        let wanted = made(&alone, input.clone(), seed).await;
        let agrees = |other: &ImageOutput| {
            let (a, b) = (output.latent.iter(), other.latent.iter());
            output.latent.len() == other.latent.len() && a.zip(b).all(|(a, b)| a.abs_diff(*b) < 50)
        };
        assert!(agrees(&wanted), "seed {seed}");
        assert!(!agrees(&made(&alone, input, seed + 100).await));
    }
    assert!(matches!(
        impossible.finished().await,
        Err(EngineError::Unsuitable(_))
    ));
}
