//! Requests that are run together give what they give alone.

use std::path::Path;

use super::*;
use crate::diffusion::Sampler;

fn model(name: &str) -> ImageModel {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/diffusion");
    ImageModel::load(&data.join(name), &ImageOptions::default()).expect("loads")
}

fn request(prompt: &str, seed: u64) -> ImageRequest {
    ImageRequest {
        seed,
        steps: 4,
        // One that draws noise at each step.
        sampler: Some(Sampler::EulerAncestral),
        ..ImageRequest::new(prompt, 32, 48)
    }
}

#[test]
fn requests_run_together_give_what_they_give_alone() {
    for name in ["sd15", "sdxl"] {
        let model = model(name);
        let mut others = [request("a blue bird", 8), request("a house", 9)];
        others[0].guidance = 3.0;
        others[0].negative = Some("rain".into());
        others[1].images = 2;
        let requests = [&[request("a red fox", 7)], &others[..]].concat();
        let mut steps = 0;
        let together = model
            .generate_together(&requests, |progress| {
                steps = progress.step;
                true
            })
            .expect("alike");
        assert_eq!((together.len(), steps), (3, 4));
        for (request, together) in requests.iter().zip(&together) {
            let alone = model.generate(request, |_| true).expect("made");
            assert_eq!(together.pictures.len(), request.images);
            assert_eq!(together.latents.len(), alone.latents.len());
            let largest = alone.latents.iter().fold(0f32, |most, v| most.max(v.abs()));
            for (a, b) in together.latents.iter().zip(&alone.latents) {
                assert!((a - b).abs() < 1e-3 * largest, "{name}: {a} and {b}");
            }
        }
        // Not the same picture three times.
        assert_ne!(together[0].latents, together[1].latents);
    }
}

#[test]
fn what_is_not_alike_is_refused() {
    let model = model("sd15");
    let plain = request("a red fox", 1);
    let long = "a red fox and ".repeat(40);
    let changes: [fn(&mut ImageRequest); 5] = [
        |request| request.width = 40,
        |request| request.steps = 5,
        |request| request.sampler = None,
        |request| request.guidance = 1.0,
        |request| {
            request.init = Some(crate::diffusion::Picture {
                width: 32,
                height: 48,
                rgb: vec![9; 32 * 48 * 3],
            })
        },
    ];
    let mut others: Vec<ImageRequest> = changes
        .iter()
        .map(|change| {
            let mut other = plain.clone();
            change(&mut other);
            other
        })
        .collect();
    others.push(request(&long, 1));
    for other in others {
        let refused = model.generate_together(&[plain.clone(), other.clone()], |_| true);
        assert!(matches!(refused, Err(Error::BadParameter(_))), "{other:?}");
        model.generate(&other, |_| true).expect("alone it is made");
    }
    assert!(
        model
            .generate_together(&[], |_| true)
            .expect("nothing")
            .is_empty()
    );
}
