//! The rules that only pictures have: what may be asked for, what a node may show and deliver. The escrow reads sizes and
//! headers; it never decodes a picture. Everything else (claims, leases, money, audits) is as for texts, measured in
//! pixel-steps.

use crate::lease;
use crate::records::*;
use crate::state::State;
use crate::submit::{Explain, Measured};
use emc_protocol::image::{ImageInput, ImageOutput, ImageParameters, ImageProgress, ImageView};
use emc_protocol::work::{DeliverArgs, ExtendArgs};
use emc_protocol::{
    ApiError, ByteBuf, JobId, JobInput, Parameters, Seconds, Timestamp, canonical, error::code,
    limits, png,
};

/// Checks and measures what a picture is made from.
///
/// # Errors
/// The field that is malformed or over its limit.
pub(crate) fn measure(input: &ImageInput) -> Result<Measured, ApiError> {
    if input.prompt.is_empty() {
        return Err(ApiError::invalid(
            "prompt",
            "a text with at least one character",
        ));
    }
    let texts = [
        ("prompt", Some(&input.prompt)),
        ("negative", input.negative.as_ref()),
    ];
    for (field, text) in texts {
        at_most(
            field,
            text.map_or(0, |text| text.len()),
            limits::IMAGE_PROMPT_BYTES,
        )?;
    }
    check_image_parameters(&input.parameters)?;
    if input.init.is_some() != input.parameters.strength_milli.is_some() {
        return Err(ApiError::invalid(
            "strength_milli",
            "given where there is a first picture (init), and only there",
        ));
    }
    if input.mask.is_some() && input.init.is_none() {
        return Err(ApiError::invalid(
            "mask",
            "absent where there is no first picture (init)",
        ));
    }
    let pictures = [
        ("init", &input.init, limits::IMAGE_INIT_BYTES),
        ("mask", &input.mask, limits::IMAGE_MASK_BYTES),
    ];
    for (field, picture, most) in pictures {
        if let Some(picture) = picture {
            at_most(field, picture.len(), most)?;
            check_size(field, picture, &input.parameters)?;
        }
    }
    Ok(Measured {
        bytes: canonical::input_bytes(&JobInput::Image(input.clone())),
        estimate: 0,
        bound: 0,
        pixel_steps: input.parameters.pixel_steps(),
    })
}

fn check_image_parameters(p: &ImageParameters) -> Result<(), ApiError> {
    for (field, side) in [("width", p.width), ("height", p.height)] {
        at_most(field, side as usize, limits::IMAGE_SIDE_MAX as usize)?;
        if side < limits::IMAGE_SIDE_MIN || !side.is_multiple_of(limits::IMAGE_SIDE_STEP) {
            let expected = format!(
                "a multiple of {} from {} to {} pixels",
                limits::IMAGE_SIDE_STEP,
                limits::IMAGE_SIDE_MIN,
                limits::IMAGE_SIDE_MAX
            );
            return Err(ApiError::invalid(field, expected));
        }
    }
    let pixels = p.width as usize * p.height as usize;
    at_most("width x height", pixels, limits::IMAGE_PIXELS as usize)
        .map_err(|error| error.explain("Ask for fewer pixels."))?;
    if p.steps == 0 {
        return Err(ApiError::invalid("steps", "at least 1"));
    }
    at_most("steps", p.steps as usize, limits::IMAGE_STEPS as usize)?;
    let guidance = p.guidance_milli as usize;
    at_most(
        "guidance_milli",
        guidance,
        limits::IMAGE_GUIDANCE_MILLI as usize,
    )?;
    if let Some(sampler) = &p.sampler {
        at_most("sampler", sampler.len(), limits::IMAGE_SAMPLER_BYTES)?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if sampler.is_empty() || !sampler.bytes().all(plain) {
            return Err(ApiError::invalid(
                "sampler",
                "a name of lower-case letters, digits and underscores",
            ));
        }
    }
    if let Some(layers) = p.clip_skip {
        at_most(
            "clip_skip",
            layers as usize,
            limits::IMAGE_CLIP_SKIP as usize,
        )?;
    }
    match p.strength_milli {
        Some(0) => Err(ApiError::invalid("strength_milli", "at least 1")),
        Some(strength) => at_most("strength_milli", strength as usize, 1_000),
        None => Ok(()),
    }
}

/// A picture chooses no tokens: how it is made stands in its input, and nothing else may seem to say it.
///
/// # Errors
/// The parameters of texts are not all zero.
pub(crate) fn check_unused(parameters: &Parameters) -> Result<(), ApiError> {
    if *parameters == Parameters::unused() {
        return Ok(());
    }
    Err(ApiError::invalid(
        "parameters",
        "all zero, without stop strings, for a picture: its own are in the input",
    ))
}

fn at_most(field: &str, got: usize, most: usize) -> Result<(), ApiError> {
    if got <= most {
        return Ok(());
    }
    Err(ApiError::limit(field, got as u64, most as u64))
}

/// Checks that bytes are a PNG of the size that was asked for.
fn check_size(field: &str, picture: &[u8], p: &ImageParameters) -> Result<(), ApiError> {
    match png::size(picture) {
        Some(size) if size == (p.width, p.height) => Ok(()),
        Some((width, height)) => {
            let expected = format!(
                "a picture of {} x {} pixels, it has {width} x {height}",
                p.width, p.height
            );
            Err(ApiError::invalid(field, expected))
        }
        None => Err(ApiError::invalid(field, "a whole PNG")),
    }
}

/// Checks that bytes are a small PNG.
fn check_small(field: &str, picture: &[u8], most: usize, side: u32) -> Result<(), ApiError> {
    at_most(field, picture.len(), most)?;
    match png::size(picture) {
        Some((width, height)) if width.max(height) <= side => Ok(()),
        _ => {
            let expected = format!("a whole PNG of at most {side} pixels a side");
            Err(ApiError::invalid(field, expected))
        }
    }
}

/// Checks a result and its usage against what was asked for.
///
/// # Errors
/// The part of it that is malformed, of another size, or too large.
pub(crate) fn check_output(
    record: &ImageRecord,
    output: &ImageOutput,
    args: &DeliverArgs,
) -> Result<(), ApiError> {
    let asked = ImageParameters::from(record);
    at_most("png", output.png.len(), asked.png_bound())?;
    check_size("png", &output.png, &asked)?;
    if let Some(thumbnail) = &output.thumbnail {
        let (most, side) = (limits::IMAGE_THUMBNAIL_BYTES, limits::IMAGE_THUMBNAIL_SIDE);
        check_small("thumbnail", thumbnail, most, side)?;
    }
    if output.latent.len() != limits::IMAGE_LATENT {
        let expected = format!(
            "{} samples of the final latent, as docs/spec/audit.md says",
            limits::IMAGE_LATENT
        );
        return Err(ApiError::invalid("latent", expected));
    }
    if args.usage != asked.usage() {
        let message = format!(
            "This picture has {} pixel-steps: usage.pixel_steps must say so, and the tokens must be 0.",
            asked.pixel_steps()
        );
        return Err(ApiError::new(code::BAD_USAGE, message));
    }
    Ok(())
}

/// Keeps a checked result.
pub(crate) fn keep(state: &mut State, id: JobId, output: ImageOutput, bytes: &[u8]) {
    state.pictures.put(id, bytes);
    if let Some(thumbnail) = output.thumbnail {
        state.thumbnails.insert(id, thumbnail.into_vec());
    }
}

/// Deletes a result whose time is over.
pub(crate) fn forget(state: &mut State, id: JobId) {
    state.pictures.remove(id);
    state.thumbnails.remove(&id);
}

/// The samples of a delivered picture's latent: they are the last of its canonical bytes.
pub(crate) fn latent(state: &State, id: JobId) -> Option<Vec<i32>> {
    let length = 4 * limits::IMAGE_LATENT;
    let from = state.pictures.length(id)?.checked_sub(length as u64)?;
    let bytes = state.pictures.read(id, from, length)?;
    let samples = bytes.as_chunks().0.iter();
    Some(samples.map(|sample| i32::from_le_bytes(*sample)).collect())
}

/// Takes in how far a picture has come: steps never go back, and the newest preview replaces the one before.
///
/// # Errors
/// What does not fit a picture, or comes too early.
pub(crate) fn take_progress(
    state: &mut State,
    now: Timestamp,
    job: &JobRecord,
    record: &ImageRecord,
    args: ExtendArgs,
) -> Result<Progress, ApiError> {
    let of_text = args.prompt_tokens != 0 || args.from != 0;
    if of_text || !args.ids.is_empty() || !args.text.is_empty() {
        return Err(ApiError::invalid(
            "prompt_tokens, from, ids and text",
            "zero and empty for a picture: its progress goes into `image`",
        ));
    }
    let before = job.progress.map_or(0, |progress| progress.steps);
    // With nothing new to say the lease is renewed all the same.
    let shown = args.image.unwrap_or(ImageProgress {
        steps_done: before,
        preview: None,
    });
    let steps = shown.steps_done;
    if steps < before {
        let message = format!("The escrow has {before} steps of this attempt: go on from there.");
        return Err(ApiError::new(code::NOT_A_CONTINUATION, message));
    }
    let asked = ImageParameters::from(record);
    at_most("steps_done", steps as usize, asked.steps_run() as usize)?;
    if let Some(preview) = &shown.preview {
        let side = asked.width.max(asked.height);
        check_small("preview", preview, limits::IMAGE_PREVIEW_BYTES, side)?;
    }
    lease::check_interval(job, now)?;
    if let Some(preview) = shown.preview {
        let preview = PreviewRecord {
            png: Some(preview.into_vec()),
            ..PreviewRecord::default()
        };
        state.previews.insert(args.job_id, preview);
    }
    Ok(Progress {
        prompt_tokens: 0,
        ids: 0,
        time: now,
        steps,
    })
}

/// What `get_job` shows of a picture beside its input.
pub(crate) fn view(state: &State, id: JobId, record: &ImageRecord) -> ImageView {
    ImageView {
        parameters: record.into(),
        thumbnail: state.thumbnails.get(&id).map(ByteBuf::from),
        result_bytes: state.pictures.length(id),
    }
}

/// How much longer than a text's a picture's lease is, and the time in which a validator makes it again.
pub(crate) fn more_time(settings: &SettingsRecord, pixel_steps: u64) -> Seconds {
    let per_million = u128::from(settings.images().lease_per_million.0);
    let seconds = per_million * u128::from(pixel_steps) / 1_000_000;
    Seconds(u64::try_from(seconds).unwrap_or(u64::MAX))
}
