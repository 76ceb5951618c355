//! Schedulers: from the model's output at a step to the latent of the next one.
//!
//! Each is one file, written after its paper and equal to the diffusers class of the same configuration
//! (`tests/diffusion_parity.rs`). Coefficients are f64, latents stay f32. Noise comes from the caller, since it must be
//! the same on every machine (`docs/spec/sampling.md`).

mod alphas;
mod ddim;
mod ddpm;
mod dpm_solver;
mod euler;
mod half_log_snr;
mod lcm;
mod pndm;
mod unipc;

use std::str::FromStr;

use serde::Deserialize;
use tch::Tensor;

use super::schedule::{BetaSchedule, Betas, FinalSigma, Prediction, Sigmas, Spacing};
use crate::error::{Error, Result};

/// Draws the noise of the running step, of the latent's shape.
pub(crate) type Noise<'a> = dyn FnMut() -> Result<Tensor> + 'a;

/// The most steps that a run may have.
pub const MAX_STEPS: usize = 1_000;

/// A run over a number of steps. Steps are counted from 0 in [`timesteps`](Self::timesteps), and must be taken in order;
/// the first one may be any.
pub(crate) trait Scheduler {
    /// The training step that the model is told, by step.
    fn timesteps(&self) -> &[f64];

    /// What standard normal noise is multiplied with to begin a run.
    fn initial_scale(&self) -> f64 {
        1.0
    }

    /// The latent as the model wants to see it.
    fn scale_input(&self, latent: &Tensor, _step: usize) -> Result<Tensor> {
        Ok(latent.shallow_clone())
    }

    /// An image's latent with as much noise as belongs to a step.
    fn noisy(&self, image: &Tensor, noise: &Tensor, step: usize) -> Result<Tensor>;

    /// The latent after a step.
    fn step(
        &mut self,
        step: usize,
        output: &Tensor,
        latent: &Tensor,
        noise: &mut Noise<'_>,
    ) -> Result<Tensor>;
}

/// The schedulers by the names that people know them by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampler {
    /// Pseudo numerical methods, Liu et al. 2022: Stable Diffusion's own.
    Pndm,
    /// Song et al. 2021, without noise.
    Ddim,
    /// Ho et al. 2020.
    Ddpm,
    /// Euler's method on the equation of Karras et al. 2022.
    Euler,
    /// The same with noise at every step.
    EulerAncestral,
    /// DPM-Solver++ of second order, Lu et al. 2022.
    DpmPp2m,
    /// The same, with Karras' sigmas.
    DpmPp2mKarras,
    /// The same, with exponential sigmas.
    DpmPp2mExponential,
    /// DPM-Solver++ of second order with noise at every step.
    DpmPp2mSde,
    /// Zhao et al. 2023.
    UniPc,
    /// Latent consistency models, Luo et al. 2023.
    Lcm,
}

impl Sampler {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Pndm,
        Self::Ddim,
        Self::Ddpm,
        Self::Euler,
        Self::EulerAncestral,
        Self::DpmPp2m,
        Self::DpmPp2mKarras,
        Self::DpmPp2mExponential,
        Self::DpmPp2mSde,
        Self::UniPc,
        Self::Lcm,
    ];

    /// Its name in requests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pndm => "pndm",
            Self::Ddim => "ddim",
            Self::Ddpm => "ddpm",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler_a",
            Self::DpmPp2m => "dpmpp_2m",
            Self::DpmPp2mKarras => "dpmpp_2m_karras",
            Self::DpmPp2mExponential => "dpmpp_2m_exponential",
            Self::DpmPp2mSde => "dpmpp_2m_sde",
            Self::UniPc => "unipc",
            Self::Lcm => "lcm",
        }
    }
}

impl FromStr for Sampler {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|sampler| sampler.name() == name);
        known.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|sampler| sampler.name()).collect();
            Error::BadParameter(format!(
                "there is no sampler {name:?}: use one of {}",
                names.join(", ")
            ))
        })
    }
}

/// The fields of a `scheduler_config.json` that matter; what is absent has its class's default.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct SchedulerConfig {
    #[serde(rename = "_class_name")]
    pub(crate) class: Option<String>,
    pub(crate) num_train_timesteps: Option<usize>,
    pub(crate) beta_start: Option<f64>,
    pub(crate) beta_end: Option<f64>,
    pub(crate) beta_schedule: Option<BetaSchedule>,
    pub(crate) trained_betas: Option<Vec<f64>>,
    pub(crate) prediction_type: Option<Prediction>,
    pub(crate) timestep_spacing: Option<Spacing>,
    pub(crate) steps_offset: Option<f64>,
    pub(crate) rescale_betas_zero_snr: Option<bool>,
    pub(crate) set_alpha_to_one: Option<bool>,
    pub(crate) clip_sample: Option<bool>,
    pub(crate) clip_sample_range: Option<f64>,
    pub(crate) thresholding: Option<bool>,
    pub(crate) variance_type: Option<String>,
    pub(crate) skip_prk_steps: Option<bool>,
    pub(crate) interpolation_type: Option<String>,
    pub(crate) timestep_type: Option<String>,
    pub(crate) use_karras_sigmas: Option<bool>,
    pub(crate) use_exponential_sigmas: Option<bool>,
    pub(crate) use_beta_sigmas: Option<bool>,
    pub(crate) use_lu_lambdas: Option<bool>,
    pub(crate) use_flow_sigmas: Option<bool>,
    pub(crate) sigma_min: Option<f64>,
    pub(crate) sigma_max: Option<f64>,
    pub(crate) final_sigmas_type: Option<FinalSigma>,
    pub(crate) solver_order: Option<usize>,
    pub(crate) algorithm_type: Option<String>,
    pub(crate) solver_type: Option<String>,
    pub(crate) lower_order_final: Option<bool>,
    pub(crate) euler_at_final: Option<bool>,
    pub(crate) predict_x0: Option<bool>,
    pub(crate) original_inference_steps: Option<usize>,
    pub(crate) timestep_scaling: Option<f64>,
}

impl SchedulerConfig {
    /// How all Stable Diffusions were trained.
    pub(crate) fn stable_diffusion(class: &str, prediction: Prediction, zero_snr: bool) -> Self {
        Self {
            class: Some(class.into()),
            beta_start: Some(0.00085),
            beta_end: Some(0.012),
            beta_schedule: Some(BetaSchedule::ScaledLinear),
            prediction_type: Some(prediction),
            timestep_spacing: Some(match zero_snr {
                true => Spacing::Trailing,
                false => Spacing::Leading,
            }),
            steps_offset: Some(1.0),
            rescale_betas_zero_snr: Some(zero_snr),
            set_alpha_to_one: Some(false),
            skip_prk_steps: Some(true),
            clip_sample: Some(false),
            ..Self::default()
        }
    }

    /// The class that diffusers would make.
    pub(crate) fn class(&self) -> &str {
        self.class.as_deref().unwrap_or("PNDMScheduler")
    }

    /// As Stable Diffusion's pipelines take it, whatever the file says: latents are not images and never cut, and steps
    /// begin at 1, since the models were trained so. Without this, old configurations give worse pictures than people
    /// know from diffusers, which does the same.
    pub(crate) fn for_latents(self) -> Self {
        Self {
            clip_sample: Some(false),
            steps_offset: Some(
                self.steps_offset
                    .filter(|offset| *offset != 0.0)
                    .unwrap_or(1.0),
            ),
            ..self
        }
    }

    /// The same training under another sampler: what the model was trained with stays, the old class's own choices go.
    pub fn with(&self, sampler: Sampler) -> Self {
        let class = match sampler {
            Sampler::Pndm => "PNDMScheduler",
            Sampler::Ddim => "DDIMScheduler",
            Sampler::Ddpm => "DDPMScheduler",
            Sampler::Euler => "EulerDiscreteScheduler",
            Sampler::EulerAncestral => "EulerAncestralDiscreteScheduler",
            Sampler::DpmPp2m
            | Sampler::DpmPp2mKarras
            | Sampler::DpmPp2mExponential
            | Sampler::DpmPp2mSde => "DPMSolverMultistepScheduler",
            Sampler::UniPc => "UniPCMultistepScheduler",
            Sampler::Lcm => "LCMScheduler",
        };
        Self {
            class: Some(class.into()),
            num_train_timesteps: self.num_train_timesteps,
            beta_start: self.beta_start,
            beta_end: self.beta_end,
            beta_schedule: self.beta_schedule,
            trained_betas: self.trained_betas.clone(),
            prediction_type: self.prediction_type,
            timestep_spacing: self.timestep_spacing,
            steps_offset: self.steps_offset,
            rescale_betas_zero_snr: self.rescale_betas_zero_snr,
            original_inference_steps: self.original_inference_steps,
            // Latents are not images: they are never cut to -1..1.
            clip_sample: Some(false),
            set_alpha_to_one: Some(false),
            skip_prk_steps: Some(true),
            use_karras_sigmas: Some(sampler == Sampler::DpmPp2mKarras),
            use_exponential_sigmas: Some(sampler == Sampler::DpmPp2mExponential),
            algorithm_type: (sampler == Sampler::DpmPp2mSde).then(|| "sde-dpmsolver++".into()),
            ..Self::default()
        }
    }

    /// A run of `count` steps. `eta` is DDIM's share of noise, between 0 and 1.
    ///
    /// # Errors
    /// A count that cannot be, or a configuration that is not built.
    pub(crate) fn start(&self, count: usize, eta: f64) -> Result<Box<dyn Scheduler>> {
        if !(1..=MAX_STEPS).contains(&count) {
            let message = format!("{count} steps are not between 1 and {MAX_STEPS}");
            return Err(Error::BadParameter(message));
        }
        self.refuse_what_is_not_built()?;
        Ok(match self.class() {
            "PNDMScheduler" => Box::new(pndm::Pndm::new(self, count)?),
            "DDIMScheduler" => Box::new(ddim::Ddim::new(self, count, eta)?),
            "DDPMScheduler" => Box::new(ddpm::Ddpm::new(self, count)?),
            "EulerDiscreteScheduler" => Box::new(euler::Euler::new(self, count, false)?),
            "EulerAncestralDiscreteScheduler" => Box::new(euler::Euler::new(self, count, true)?),
            "DPMSolverMultistepScheduler" => Box::new(dpm_solver::DpmSolver::new(self, count)?),
            "UniPCMultistepScheduler" => Box::new(unipc::UniPc::new(self, count)?),
            "LCMScheduler" => Box::new(lcm::Lcm::new(self, count)?),
            other => return Err(Error::Unsupported(format!("the scheduler {other}"))),
        })
    }

    fn refuse_what_is_not_built(&self) -> Result<()> {
        let switched_on = [
            ("thresholding", self.thresholding),
            ("use_beta_sigmas", self.use_beta_sigmas),
            ("use_lu_lambdas", self.use_lu_lambdas),
            ("use_flow_sigmas", self.use_flow_sigmas),
        ];
        if let Some((name, _)) = switched_on.iter().find(|(_, on)| *on == Some(true)) {
            return Err(Error::Unsupported(format!("the scheduler's {name}")));
        }
        if self.predict_x0 == Some(false) {
            return Err(Error::Unsupported("UniPC without predict_x0".into()));
        }
        if self
            .timestep_type
            .as_deref()
            .is_some_and(|kind| kind != "discrete")
        {
            return Err(Error::Unsupported("continuous timesteps".into()));
        }
        let interpolation = self.interpolation_type.as_deref();
        if interpolation.is_some_and(|kind| kind != "linear") {
            return Err(Error::Unsupported(
                "sigmas that are not interpolated linearly".into(),
            ));
        }
        Ok(())
    }

    pub(crate) fn betas(&self) -> Betas {
        // Of all classes, LCM's alone has other defaults.
        let (start, end, schedule) = match self.class() {
            "LCMScheduler" => (0.00085, 0.012, BetaSchedule::ScaledLinear),
            _ => (0.0001, 0.02, BetaSchedule::Linear),
        };
        Betas {
            steps: self.num_train_timesteps.unwrap_or(1_000),
            start: self.beta_start.unwrap_or(start),
            end: self.beta_end.unwrap_or(end),
            schedule: self.beta_schedule.unwrap_or(schedule),
            trained: self.trained_betas.clone(),
            zero_snr: self.rescale_betas_zero_snr.unwrap_or(false),
        }
    }

    pub(crate) fn prediction(&self) -> Prediction {
        self.prediction_type.unwrap_or(Prediction::Epsilon)
    }

    fn sigmas(&self) -> Sigmas {
        match (self.use_karras_sigmas, self.use_exponential_sigmas) {
            (Some(true), _) => Sigmas::Karras,
            (_, Some(true)) => Sigmas::Exponential,
            _ => Sigmas::Plain,
        }
    }

    fn final_sigma(&self) -> FinalSigma {
        self.final_sigmas_type.unwrap_or(FinalSigma::Zero)
    }

    /// The range to which predicted images are cut, where they are.
    fn clip(&self, default: bool) -> Option<f64> {
        let range = self.clip_sample_range.unwrap_or(1.0);
        self.clip_sample.unwrap_or(default).then_some(range)
    }
}

/// A sum of tensors with factors, in f32.
fn mix(terms: &[(f64, &Tensor)]) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (factor, tensor) in terms {
        let term = tensor.f_mul_scalar(*factor)?;
        sum = Some(match sum {
            None => term,
            Some(before) => before.f_add(&term)?,
        });
    }
    sum.ok_or_else(|| Error::BadParameter("a sum of nothing".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_are_known_by_their_names() {
        for sampler in Sampler::ALL {
            assert_eq!(sampler.name().parse::<Sampler>().unwrap(), sampler);
            let config = SchedulerConfig::default().with(sampler);
            assert!(config.start(4, 0.0).is_ok(), "{sampler:?}");
        }
        let refused = "plms".parse::<Sampler>().unwrap_err().to_string();
        assert!(refused.contains("dpmpp_2m_karras"), "{refused}");
    }

    #[test]
    fn numbers_of_steps_that_cannot_be_are_refused() {
        for sampler in Sampler::ALL {
            let config = SchedulerConfig::default().with(sampler);
            for count in [0, MAX_STEPS + 1, usize::MAX] {
                assert!(config.start(count, 0.0).is_err(), "{sampler:?} {count}");
            }
            for count in 1..=60 {
                match config.start(count, 0.0) {
                    Ok(run) => assert!(run.timesteps().len() >= count, "{sampler:?} {count}"),
                    Err(error) => assert!(sampler == Sampler::Lcm && count > 50, "{error}"),
                }
            }
            let _ = config.start(MAX_STEPS, 0.0);
        }
    }

    #[test]
    fn what_is_not_built_is_said() {
        for json in [
            r#"{"_class_name": "HeunDiscreteScheduler"}"#,
            r#"{"_class_name": "DDIMScheduler", "thresholding": true}"#,
            r#"{"_class_name": "PNDMScheduler"}"#,
            r#"{"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}"#,
            r#"{"_class_name": "UniPCMultistepScheduler", "solver_order": 9}"#,
            r#"{"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}"#,
        ] {
            let config: SchedulerConfig = serde_json::from_str(json).unwrap();
            let error = config.start(10, 0.0).err().expect(json);
            assert!(matches!(error, Error::Unsupported(_)), "{error}");
        }
    }
}
