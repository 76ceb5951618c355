//! Every scheduler over a function in place of a model: timesteps, and the latent after each step.

use tch::Tensor;

use super::{Expected, assert_close, json};
use crate::diffusion::scheduler::SchedulerConfig;

/// The function that stands for a model.
fn model_output(scaled: &Tensor, timestep: f64) -> Tensor {
    let factor = (0.3 * (timestep / 1000.0).cos()) as f32;
    scaled * f64::from(factor) + 0.1
}

#[test]
fn every_scheduler_takes_the_steps_that_diffusers_takes() {
    let (cases, expected) = (json("schedulers/cases.json"), Expected::of("schedulers"));
    let cases = cases["cases"].as_array().unwrap();
    assert!(cases.len() >= 250, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let result =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(case, &expected)));
        if result.is_err() {
            wrong.push(name);
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ: {wrong:?}",
        wrong.len(),
        cases.len()
    );
}

fn check(case: &serde_json::Value, expected: &Expected) {
    let name = case["name"].as_str().unwrap();
    let mut config: SchedulerConfig = serde_json::from_value(case["config"].clone()).unwrap();
    config.class = Some(case["class"].as_str().unwrap().into());
    let steps = case["steps"].as_u64().unwrap() as usize;
    let mut run = config
        .start(steps, case["eta"].as_f64().unwrap_or(0.0))
        .unwrap();
    let (initial, noises) = (expected.get("initial"), expected.get("noise"));
    let (first, mut latent) = match case["strength"].as_f64() {
        None => {
            let scale = case["init_noise_sigma"].as_f64().unwrap();
            assert!(
                (run.initial_scale() / scale - 1.0).abs() < 1e-5,
                "{name}: {} and {scale}",
                run.initial_scale()
            );
            (0, &initial * run.initial_scale())
        }
        Some(strength) => {
            let first = steps - ((steps as f64 * strength) as usize).min(steps);
            let noisy = run.noisy(&expected.get("image"), &initial, first).unwrap();
            assert_close(
                &format!("{name} noisy"),
                &noisy,
                &expected.get(&format!("{name}.noisy")),
                1e-5,
            );
            (first, noisy)
        }
    };
    let timesteps = run.timesteps()[first..].to_vec();
    for (found, wanted) in timesteps
        .iter()
        .zip(expected.numbers(&format!("{name}.timesteps")))
    {
        assert!(
            (found - wanted).abs() < 1e-2,
            "{name}: timesteps {timesteps:?}, wanted {wanted}"
        );
    }
    let wanted = expected.get(&format!("{name}.latents"));
    assert_eq!(wanted.size()[0] as usize, timesteps.len(), "{name}");
    let mut drawn = Vec::new();
    for (i, &timestep) in timesteps.iter().enumerate() {
        let scaled = run.scale_input(&latent, first + i).unwrap();
        let mut noise = || {
            drawn.push(i);
            Ok(noises.get(i as i64))
        };
        latent = run
            .step(
                first + i,
                &model_output(&scaled, timestep),
                &latent,
                &mut noise,
            )
            .unwrap();
        assert_close(
            &format!("{name} after step {i}"),
            &latent,
            &wanted.get(i as i64),
            1e-4,
        );
    }
    let at: Vec<usize> = serde_json::from_value(case["noise_at_steps"].clone()).unwrap();
    assert_eq!(drawn, at, "{name}: steps that draw noise");
}
