//! An image model: all parts together, from a request to pictures.

use std::path::Path;

use tch::{Kind, Tensor};

use super::clip_tokenizer::ClipTokenizer;
use super::layers::sinusoid;
use super::lora::{Lora, Loras};
use super::picture::{Picture, from_tensor};
use super::prompt::{Chunk, chunks, weighted};
use super::request::ImageRequest;
use super::scheduler::{Scheduler, SchedulerConfig};
use super::text_encoder::{TextEncoder, hidden};
use super::tiny_vae::TinyVae;
use super::unet::{Conditions, Unet};
use super::vae::Vae;
use super::{folder, single_file};
use crate::device::{DType, Device};
use crate::error::{Error, Result};
use crate::noise::normals;
use crate::philox::Domain;

/// Latents larger than this a side are made smaller before a preview is decoded.
const PREVIEW_SIDE: i64 = 32;

/// How an image model is loaded.
#[derive(Debug, Clone, Default)]
pub struct ImageOptions {
    /// Where to compute.
    pub device: Device,
    /// In which number format; latents are f32 in any.
    pub dtype: DType,
    /// What is added to the weights.
    pub loras: Vec<Lora>,
    /// Draws the weights instead of reading them from the folder's files: for benchmarks, since how long a step takes does
    /// not depend on what they are.
    pub random: bool,
}

/// The parts of a model.
pub(crate) struct Parts {
    /// One encoder, or XL's two.
    pub(crate) encoders: Vec<(ClipTokenizer, TextEncoder)>,
    pub(crate) unet: Unet,
    pub(crate) vae: Vae,
    pub(crate) preview: Option<TinyVae>,
    pub(crate) scheduler: SchedulerConfig,
    /// XL: an absent negative prompt is nothing at all, not the empty prompt.
    pub(crate) nothing_is_zero: bool,
    pub(crate) device: tch::Device,
}

/// A loaded Stable Diffusion.
pub struct ImageModel {
    parts: Parts,
}

/// Where a run stands after a step.
pub struct Progress<'a> {
    model: &'a ImageModel,
    /// The step that is done, from 1.
    pub step: usize,
    /// How many there are.
    pub steps: usize,
    latents: &'a Tensor,
}

impl Progress<'_> {
    /// What the pictures look like so far, small.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn preview(&self) -> Result<Vec<Picture>> {
        let _no_grad = tch::no_grad_guard();
        let parts = &self.model.parts;
        let (_, _, height, width) = self.latents.size4()?;
        let factor = (height.max(width) + PREVIEW_SIDE - 1) / PREVIEW_SIDE;
        let small = match factor {
            1 => self.latents.shallow_clone(),
            _ => {
                let size = [(height / factor).max(1), (width / factor).max(1)];
                self.latents.f_adaptive_avg_pool2d(size)?
            }
        };
        match &parts.preview {
            Some(tiny) => from_tensor(&tiny.decode(&small)?),
            None => from_tensor(&parts.vae.decode(&small)?),
        }
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// In order.
    pub pictures: Vec<Picture>,
    /// The final latents before the VAE, of all pictures, row-major; what audits compare.
    pub latents: Vec<f32>,
    /// Steps that were run, for usage.
    pub steps: usize,
}

/// One side of guidance: what a prompt becomes.
struct Embedded {
    /// 1, tokens, channels.
    context: Tensor,
    pooled: Option<Tensor>,
}

impl ImageModel {
    /// Loads a folder of diffusers' layout, or a single file with the original names.
    ///
    /// # Errors
    /// Files that are missing, damaged, or of a kind that is not built.
    pub fn load(path: &Path, options: &ImageOptions) -> Result<Self> {
        let _no_grad = tch::no_grad_guard();
        let kind = options.dtype.on(options.device)?;
        let device = options.device.open()?;
        let loras = Loras::open(&options.loras)?;
        let parts = match path.is_dir() {
            true => folder::load(path, device, kind, &loras, options.random)?,
            false => single_file::load(path, device, kind, &loras)?,
        };
        Self::of(parts)
    }

    pub(crate) fn of(parts: Parts) -> Result<Self> {
        let context = parts.unet.config.context_size();
        let inside: i64 = parts
            .encoders
            .iter()
            .map(|(_, encoder)| encoder.width())
            .sum();
        if context != Some(inside) {
            return Err(Error::Checkpoint(format!(
                "the text encoders give {inside} channels, the UNet takes {context:?}"
            )));
        }
        Ok(Self { parts })
    }

    /// How many pixels of the picture one of the latent covers, in each direction.
    pub fn scale(&self) -> u32 {
        self.parts.vae.config.scale() as u32
    }

    /// The side of the pictures that the model was trained for, in pixels.
    pub fn trained_side(&self) -> Option<u32> {
        let side = self.parts.unet.config.trained_size()?;
        u32::try_from(side.checked_mul(self.parts.vae.config.scale())?).ok()
    }

    /// True for an XL: two text encoders, and sizes as conditions.
    pub fn is_xl(&self) -> bool {
        self.parts.encoders.len() > 1
    }

    /// Makes a request's pictures; `watch` is told after every step, and ends the run by answering false.
    ///
    /// # Errors
    /// A request that this model cannot serve, or a run that was ended ([`Error::Cancelled`]).
    pub fn generate(
        &self,
        request: &ImageRequest,
        watch: impl FnMut(&Progress<'_>) -> bool,
    ) -> Result<Images> {
        let mut images = self.generate_together(std::slice::from_ref(request), watch)?;
        images.pop().ok_or(Error::NotFinite)
    }

    /// Makes the pictures of several requests in one run, which a GPU does faster than one after the other; `watch` is told
    /// after every step, of all of them, and ends the run by answering false. What each request gives is what it gives
    /// alone, but for rounding.
    ///
    /// # Errors
    /// As [`generate`](Self::generate); of requests that are not [alike](Self::are_alike).
    pub fn generate_together(
        &self,
        requests: &[ImageRequest],
        mut watch: impl FnMut(&Progress<'_>) -> bool,
    ) -> Result<Vec<Images>> {
        let _no_grad = tch::no_grad_guard();
        for request in requests {
            request.check(self.scale())?;
        }
        let [first, others @ ..] = requests else {
            return Ok(vec![]);
        };
        for other in others {
            if !self.are_alike(first, other)? {
                let text = "these requests cannot be run together: sizes, steps or prompts differ too much";
                return Err(Error::BadParameter(text.into()));
            }
        }
        let latents = self.denoise(requests, &mut watch)?;
        if !bool::try_from(latents.f_isfinite()?.f_all()?)? {
            return Err(Error::NotFinite);
        }
        let (mut images, mut from) = (Vec::with_capacity(requests.len()), 0);
        for request in requests {
            let own = latents.f_narrow(0, from, request.images as i64)?;
            from += request.images as i64;
            let pictures = from_tensor(&self.parts.vae.decode(&own)?)?;
            let flat = own.f_to_device(tch::Device::Cpu)?.f_reshape([-1])?;
            images.push(Images {
                pictures,
                latents: Vec::try_from(flat)?,
                steps: request.steps_run(),
            });
        }
        Ok(images)
    }

    /// Whether two requests can be run together: they want the same size, steps and kind of guidance, begin with noise
    /// alone, and their prompts are about equally long.
    ///
    /// # Errors
    /// A prompt that the tokenizer refuses.
    pub fn are_alike(&self, one: &ImageRequest, other: &ImageRequest) -> Result<bool> {
        let from_noise = |request: &ImageRequest| request.init.is_none() && request.mask.is_none();
        let steps = |request: &ImageRequest| {
            let shares = (request.eta.to_bits(), request.guidance_rescale.to_bits());
            let guided = self.is_guided(request);
            (request.steps, request.sampler, shares, guided)
        };
        Ok(from_noise(one)
            && from_noise(other)
            && (one.width, one.height) == (other.width, other.height)
            && steps(one) == steps(other)
            && self.chunk_count(one)? == self.chunk_count(other)?)
    }

    /// Chunks of the longer of a request's prompts, by the tokenizer that cuts it into most.
    fn chunk_count(&self, request: &ImageRequest) -> Result<usize> {
        let mut most = 1;
        let negative = request
            .negative
            .as_deref()
            .filter(|_| self.is_guided(request));
        for (tokenizer, _) in &self.parts.encoders {
            for prompt in [Some(request.prompt.as_str()), negative]
                .into_iter()
                .flatten()
            {
                most = most.max(chunks(prompt, tokenizer)?.len());
            }
        }
        Ok(most)
    }

    /// The final latents of requests that are alike, one after the other.
    fn denoise(
        &self,
        requests: &[ImageRequest],
        watch: &mut dyn FnMut(&Progress<'_>) -> bool,
    ) -> Result<Tensor> {
        let parts = &self.parts;
        let request = &requests[0];
        let config = match request.sampler {
            Some(sampler) => parts.scheduler.with(sampler),
            None => parts.scheduler.clone(),
        };
        let mut scheduler = config.start(request.steps, request.eta)?;
        let first = request.steps - request.steps_run();
        let conditions = self.conditions(requests)?;
        // On the device before the first step: nothing in a step waits for it.
        let strength = per_picture(requests, |request| request.guidance)?
            .f_to_device(parts.device)?
            .f_reshape([-1, 1, 1, 1])?;

        let scale = self.scale();
        let shape = [
            -1,
            parts.vae.config.latent_channels,
            i64::from(request.height / scale),
            i64::from(request.width / scale),
        ];
        let picture = shape[1..].iter().product::<i64>() as usize;
        let draw = |domain, position: u32| -> Result<Tensor> {
            // Each request's noise follows from its own seed, as if it were alone.
            let values: Vec<f32> = requests
                .iter()
                .flat_map(|own| normals(own.seed, domain, position, own.images * picture))
                .collect();
            // Without waiting for what the device has still to do.
            let noise = Tensor::f_from_slice(&values)?.f_reshape(shape)?;
            Ok(noise.f_to_device_(parts.device, Kind::Float, true, false)?)
        };
        let initial = draw(Domain::ImageLatent, 0)?;
        let painting = Painting::new(self, request, &initial)?;
        let mut latents = match &painting {
            // All noise: nothing of the picture is left, as diffusers' inpainting has it at full strength.
            Some(painting) if !(painting.mask.is_some() && first == 0) => {
                scheduler.noisy(&painting.image, &initial, first)?
            }
            _ => initial.f_mul_scalar(scheduler.initial_scale())?,
        };

        let timesteps = scheduler.timesteps().to_vec();
        let count = timesteps.len() - first;
        for (done, &timestep) in timesteps[first..].iter().enumerate() {
            let step = first + done;
            let input = scheduler.scale_input(&latents, step)?;
            let input = match painting
                .as_ref()
                .and_then(|painting| painting.extra.as_ref())
            {
                Some(extra) => Tensor::f_cat(&[&input, extra], 1)?,
                None => input,
            };
            let output = self.predict(&input, timestep, &conditions, &strength, requests)?;
            let mut noise = || draw(Domain::ImageStep, done as u32);
            latents = scheduler.step(step, &output, &latents, &mut noise)?;
            if let Some(painting) = &painting {
                latents = painting.keep(&latents, scheduler.as_ref(), step)?;
            }
            let progress = Progress {
                model: self,
                step: done + 1,
                steps: count,
                latents: &latents,
            };
            if !watch(&progress) {
                return Err(Error::Cancelled);
            }
        }
        Ok(latents)
    }

    /// The UNet's output under guidance.
    fn predict(
        &self,
        input: &Tensor,
        timestep: f64,
        conditions: &Conditions,
        strength: &Tensor,
        requests: &[ImageRequest],
    ) -> Result<Tensor> {
        let unet = &self.parts.unet;
        let guided = self.is_guided(&requests[0]);
        let input = match guided {
            true => Tensor::f_cat(&[input, input], 0)?,
            false => input.shallow_clone(),
        };
        let batch = input.size4()?.0;
        let times = Tensor::f_full([batch], timestep, (Kind::Float, input.device()))?;
        let output = unet.forward(&input, &times, conditions)?;
        if !guided {
            return Ok(output);
        }
        let halves = output.f_chunk(2, 0)?;
        let (without, with) = (&halves[0], &halves[1]);
        let guided = with.f_sub(without)?.f_mul(strength)?.f_add(without)?;
        let share = requests[0].guidance_rescale;
        if share == 0.0 {
            return Ok(guided);
        }
        let spread = |tensor: &Tensor| tensor.f_std_dim([1i64, 2, 3].as_slice(), true, true);
        let rescaled = guided.f_mul(&spread(with)?.f_div(&spread(&guided)?)?)?;
        Ok(rescaled
            .f_mul_scalar(share)?
            .f_add(&guided.f_mul_scalar(1.0 - share)?)?)
    }

    /// Whether the negative prompt is looked at: not by models that were told the guidance in training.
    fn is_guided(&self, request: &ImageRequest) -> bool {
        request.guidance > 1.0 && self.parts.unet.config.time_cond_proj_dim.is_none()
    }

    /// What the UNet is told besides the time: for all negative prompts first, where there is guidance.
    fn conditions(&self, requests: &[ImageRequest]) -> Result<Conditions> {
        let (mut sides, mut positive) = (Vec::new(), Vec::new());
        for request in requests {
            let (negative, wanted) = self.embed_pair(request)?;
            sides.extend(negative.map(|negative| (request, negative, true)));
            positive.push((request, wanted, false));
        }
        sides.extend(positive);
        let repeat = |tensor: &Tensor, request: &ImageRequest| {
            let mut shape = tensor.size();
            shape[0] = request.images as i64;
            tensor.f_expand(shape, false)
        };
        let context: Vec<Tensor> = sides
            .iter()
            .map(|(request, side, _)| repeat(&side.context, request))
            .collect::<Result<_, _>>()?;
        let sizes = match self.is_xl() {
            false => None,
            true => {
                let (mut pooled, mut sizes) = (Vec::new(), Vec::new());
                for (request, side, negative) in &sides {
                    let missing = || Error::Damaged("an XL without a pooled prompt".into());
                    let own = side.pooled.as_ref().ok_or_else(missing)?;
                    pooled.push(repeat(own, request)?);
                    let told = Tensor::f_from_slice(&request.told_sizes(*negative))?
                        .f_to_kind(Kind::Float)?
                        .f_to_device(self.parts.device)?
                        .f_unsqueeze(0)?;
                    sizes.push(repeat(&told, request)?);
                }
                Some((Tensor::f_cat(&pooled, 0)?, Tensor::f_cat(&sizes, 0)?))
            }
        };
        let guidance = match self.parts.unet.config.time_cond_proj_dim {
            None => None,
            Some(size) => {
                let scale = per_picture(requests, |request| (request.guidance - 1.0) * 1_000.0)?
                    .f_to_device(self.parts.device)?;
                Some(sinusoid(&scale, size, false, 1.0)?)
            }
        };
        Ok(Conditions {
            context: Tensor::f_cat(&context, 0)?,
            sizes,
            guidance,
        })
    }

    /// The negative prompt, where it counts, and the prompt, with equally many chunks.
    fn embed_pair(&self, request: &ImageRequest) -> Result<(Option<Embedded>, Embedded)> {
        let guided = self.is_guided(request);
        let negative = request.negative.as_deref().unwrap_or("");
        let (mut before, mut pair) = (None, Vec::new());
        for (tokenizer, encoder) in &self.parts.encoders {
            let mut wanted = chunks(&request.prompt, tokenizer)?;
            let mut unwanted = match guided {
                true => chunks(negative, tokenizer)?,
                false => Vec::new(),
            };
            let longest = wanted.len().max(unwanted.len()).max(before.unwrap_or(0));
            before = Some(longest);
            let empty = chunks("", tokenizer)?.remove(0);
            wanted.resize(longest, empty.clone());
            if guided {
                unwanted.resize(longest, empty);
            }
            // As diffusers has it, layers are skipped for the prompt alone.
            let unwanted = self.embed(encoder, &unwanted, 0)?;
            pair.push((unwanted, self.embed(encoder, &wanted, request.clip_skip)?));
        }
        let join = |part: Vec<Option<Embedded>>| -> Result<Option<Embedded>> {
            let Some(part) = part.into_iter().collect::<Option<Vec<_>>>() else {
                return Ok(None);
            };
            let contexts: Vec<&Tensor> = part.iter().map(|embedded| &embedded.context).collect();
            Ok(Some(Embedded {
                context: Tensor::f_cat(&contexts, -1)?,
                pooled: part
                    .last()
                    .and_then(|last| last.pooled.as_ref().map(Tensor::shallow_clone)),
            }))
        };
        let (unwanted, wanted): (Vec<_>, Vec<_>) = pair.into_iter().unzip();
        let mut unwanted = join(unwanted)?;
        if let Some(side) = &mut unwanted
            && self.parts.nothing_is_zero
            && request.negative.is_none()
        {
            side.context = side.context.f_zeros_like()?;
            side.pooled = match &side.pooled {
                Some(pooled) => Some(pooled.f_zeros_like()?),
                None => None,
            };
        }
        let wanted = join(wanted)?;
        let wanted =
            wanted.ok_or_else(|| Error::Damaged("a model without a text encoder".into()))?;
        Ok((unwanted, wanted))
    }

    /// Chunks through one encoder, in a row; `None` for no chunks.
    fn embed(
        &self,
        encoder: &TextEncoder,
        chunks: &[Chunk],
        skip: usize,
    ) -> Result<Option<Embedded>> {
        let (mut contexts, mut pooled) = (Vec::new(), None);
        for chunk in chunks {
            let encoded = encoder.encode(std::slice::from_ref(&chunk.ids))?;
            let state = match self.is_xl() {
                // XL was trained on the layer before the last, as it is.
                true => hidden(&encoded, skip + 1)?.shallow_clone(),
                false => encoder.skipping(&encoded, skip)?,
            };
            contexts.push(weighted(&state, chunk)?.f_to_kind(Kind::Float)?);
            pooled.get_or_insert(encoded.pooled);
        }
        match contexts.is_empty() {
            true => Ok(None),
            false => Ok(Some(Embedded {
                context: Tensor::f_cat(&contexts, 1)?,
                pooled,
            })),
        }
    }
}

impl ImageRequest {
    /// The six numbers that an XL is told.
    fn told_sizes(&self, negative: bool) -> [f64; 6] {
        let (height, width) = (f64::from(self.height), f64::from(self.width));
        let own = self
            .sizes
            .unwrap_or([height, width, 0.0, 0.0, height, width]);
        match negative {
            true => self.negative_sizes.unwrap_or(own),
            false => own,
        }
    }
}

/// A number of each request, once for each of its pictures, in f32.
fn per_picture(requests: &[ImageRequest], value: impl Fn(&ImageRequest) -> f64) -> Result<Tensor> {
    let values: Vec<f32> = requests
        .iter()
        .flat_map(|request| std::iter::repeat_n(value(request) as f32, request.images))
        .collect();
    Ok(Tensor::f_from_slice(&values)?)
}

/// The picture that a run begins with.
struct Painting {
    /// Its latents.
    image: Tensor,
    noise: Tensor,
    /// Where it is painted anew, in the latent's pixels.
    mask: Option<Tensor>,
    /// What an inpainting UNet sees besides: the mask, and the picture with the masked part grey.
    extra: Option<Tensor>,
}

impl Painting {
    fn new(model: &ImageModel, request: &ImageRequest, noise: &Tensor) -> Result<Option<Self>> {
        let parts = &model.parts;
        let latent = parts.vae.config.latent_channels;
        let for_painting = parts.unet.config.in_channels == 2 * latent + 1;
        if parts.unet.config.in_channels != latent && !for_painting {
            let channels = parts.unet.config.in_channels;
            return Err(Error::Unsupported(format!(
                "a UNet with {channels} input channels"
            )));
        }
        let Some(init) = &request.init else {
            return match for_painting {
                true => Err(Error::BadParameter(
                    "this model only paints in pictures: give one with init, and a mask".into(),
                )),
                false => Ok(None),
            };
        };
        let (batch, _, height, width) = noise.size4()?;
        let repeat = |tensor: Tensor| {
            let mut shape = tensor.size();
            shape[0] = batch;
            tensor.f_expand(shape, false)
        };
        let picture = init.to_tensor()?.f_to_device(parts.device)?;
        let image = repeat(parts.vae.encode(&picture, None)?)?;
        let full = match &request.mask {
            Some(mask) => Some(mask.to_mask()?.f_to_device(parts.device)?),
            // An inpainting model without a mask paints everything.
            None if for_painting => Some(picture.f_narrow(1, 0, 1)?.f_ones_like()?),
            None => None,
        };
        let mask = match &full {
            Some(full) => Some(full.f_upsample_nearest2d([height, width], None, None)?),
            None => None,
        };
        let extra = match (&full, &mask) {
            (Some(full), Some(mask)) if for_painting => {
                let kept = full.f_mul_scalar(-1.0)?.f_add_scalar(1.0)?;
                let masked = parts.vae.encode(&picture.f_mul(&kept)?, None)?;
                let both = Tensor::f_cat(&[mask, &masked], 1)?;
                Some(repeat(both)?)
            }
            _ => None,
        };
        Ok(Some(Self {
            image,
            noise: noise.shallow_clone(),
            mask,
            extra,
        }))
    }

    /// Puts what is not to be painted back, with the noise of the next step. A UNet made for painting does so itself.
    fn keep(&self, latents: &Tensor, scheduler: &dyn Scheduler, step: usize) -> Result<Tensor> {
        let Some(mask) = self.mask.as_ref().filter(|_| self.extra.is_none()) else {
            return Ok(latents.shallow_clone());
        };
        let original = match step + 1 < scheduler.timesteps().len() {
            true => scheduler.noisy(&self.image, &self.noise, step + 1)?,
            false => self.image.shallow_clone(),
        };
        let kept = mask.f_mul_scalar(-1.0)?.f_add_scalar(1.0)?;
        Ok(latents.f_mul(mask)?.f_add(&original.f_mul(&kept)?)?)
    }
}

#[cfg(test)]
impl ImageModel {
    /// For comparing models of different files.
    pub(crate) fn take_scheduler_of(&mut self, other: &Self) {
        self.parts.scheduler = other.parts.scheduler.clone();
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
