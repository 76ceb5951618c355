//! Canonical bytes of pictures: their inputs, parameters and outputs.

use super::{VERSION, Writer};
use crate::image::{ImageInput, ImageOutput, ImageParameters};
use crate::{ModelRef, limits};
use serde_bytes::ByteBuf;

/// The kind of an image input; 0 is a chat, 1 a completion.
pub(super) const INPUT_KIND: u8 = 2;
/// The kind of an image output; 0 is a text.
const OUTPUT_KIND: u8 = 1;

impl Writer {
    /// A zero byte where there is nothing, else a one and the value.
    fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.u8(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Reads what [`Writer`] has written.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.u8()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

fn write_parameters(out: &mut Writer, p: &ImageParameters) {
    out.u32(p.width);
    out.u32(p.height);
    out.u32(p.steps);
    out.u32(p.guidance_milli);
    out.maybe(p.sampler.as_deref(), Writer::text);
    out.maybe(p.clip_skip, Writer::u32);
    out.maybe(p.strength_milli, Writer::u32);
}

fn read_parameters(from: &mut Reader<'_>) -> Option<ImageParameters> {
    Some(ImageParameters {
        width: from.u32()?,
        height: from.u32()?,
        steps: from.u32()?,
        guidance_milli: from.u32()?,
        sampler: from.maybe(Reader::text)?,
        clip_skip: from.maybe(Reader::u32)?,
        strength_milli: from.maybe(Reader::u32)?,
    })
}

/// What follows version and kind in the bytes of an image input.
pub(super) fn write_input(out: &mut Writer, input: &ImageInput) {
    out.text(&input.prompt);
    out.maybe(input.negative.as_deref(), Writer::text);
    write_parameters(out, &input.parameters);
    out.maybe(input.init.as_deref(), |out, png| out.bytes(png));
    out.maybe(input.mask.as_deref(), |out, png| out.bytes(png));
}

/// Reads back what [`write_input`] has written, and nothing else.
pub(super) fn read_input(bytes: &[u8]) -> Option<ImageInput> {
    let mut from = Reader(bytes);
    let input = ImageInput {
        prompt: from.text()?,
        negative: from.maybe(Reader::text)?,
        parameters: read_parameters(&mut from)?,
        init: from.maybe(|from| from.bytes().map(ByteBuf::from))?,
        mask: from.maybe(|from| from.bytes().map(ByteBuf::from))?,
    };
    from.end().map(|()| input)
}

/// SHA-256 of the model (id and version) and the parameters of a picture.
pub fn image_parameters_hash(model: &ModelRef, parameters: &ImageParameters) -> [u8; 32] {
    let mut out = Writer::new("emc-image-parameters-v1");
    out.u8(VERSION);
    out.text(&model.id);
    out.u32(model.version.unwrap_or(0));
    write_parameters(&mut out, parameters);
    out.sha256()
}

/// The bytes of an image output: kind 1, the PNG, the thumbnail, the latent. This is also what is uploaded in chunks,
/// and what `result_part` gives.
pub fn image_output_bytes(output: &ImageOutput) -> Vec<u8> {
    let small = output.thumbnail.as_ref().map_or(0, |png| png.len());
    let length = 32 + output.png.len() + small + 4 * output.latent.len();
    let mut out = Writer(Vec::with_capacity(length));
    out.u8(VERSION);
    out.u8(OUTPUT_KIND);
    out.bytes(&output.png);
    out.maybe(output.thumbnail.as_deref(), |out, png| out.bytes(png));
    out.u32(output.latent.len() as u32);
    for value in &output.latent {
        out.raw(&value.to_le_bytes());
    }
    out.finish()
}

/// Reads back the bytes of an image output; `None` where they are not exactly one.
pub fn read_image_output(bytes: &[u8]) -> Option<ImageOutput> {
    let mut from = Reader(bytes);
    if from.take(2)? != [VERSION, OUTPUT_KIND] {
        return None;
    }
    let png = from.bytes()?.to_vec();
    let thumbnail = from.maybe(|from| from.bytes().map(ByteBuf::from))?;
    let count = from.u32()? as usize;
    if count > limits::IMAGE_LATENT {
        return None;
    }
    let latent = (0..count)
        .map(|_| from.u32().map(|value| value as i32))
        .collect::<Option<_>>()?;
    from.end().map(|()| ImageOutput {
        png,
        thumbnail,
        latent,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{
        input_bytes, job_parameters_hash, output_bytes, parameters_hash, read_output,
    };
    use super::*;
    use crate::{FinishReason, JobInput, Parameters, TextOutput};
    use proptest::prelude::*;

    fn blob() -> impl Strategy<Value = Option<ByteBuf>> {
        proptest::option::of(any::<Vec<u8>>().prop_map(ByteBuf::from))
    }

    fn parameters() -> impl Strategy<Value = ImageParameters> {
        let numbers = any::<(u32, u32, u32, u32)>();
        let maybe = any::<(Option<String>, Option<u32>, Option<u32>)>();
        (numbers, maybe).prop_map(|((width, height, steps, guidance_milli), maybe)| {
            let (sampler, clip_skip, strength_milli) = maybe;
            ImageParameters {
                width,
                height,
                steps,
                guidance_milli,
                sampler,
                clip_skip,
                strength_milli,
            }
        })
    }

    fn input() -> impl Strategy<Value = ImageInput> {
        let texts = any::<(String, Option<String>)>();
        (texts, parameters(), blob(), blob()).prop_map(
            |((prompt, negative), parameters, init, mask)| ImageInput {
                prompt,
                negative,
                parameters,
                init,
                mask,
            },
        )
    }

    fn output() -> impl Strategy<Value = ImageOutput> {
        let latent = proptest::collection::vec(any::<i32>(), 0..=limits::IMAGE_LATENT);
        (any::<Vec<u8>>(), blob(), latent).prop_map(|(png, thumbnail, latent)| ImageOutput {
            png,
            thumbnail,
            latent,
        })
    }

    proptest! {
        #[test]
        fn an_image_input_is_read_back_from_its_bytes(input in input(), cut in 1usize..4, extra: u8) {
            let input = JobInput::Image(input);
            let bytes = input_bytes(&input);
            prop_assert_eq!(super::super::read_input(&bytes), Some(input));
            prop_assert_eq!(super::super::read_input(&bytes[..bytes.len() - cut]), None);
            prop_assert_eq!(super::super::read_input(&[bytes, vec![extra]].concat()), None);
        }

        #[test]
        fn an_image_output_is_read_back_from_its_bytes(output in output(), cut in 1usize..4, extra: u8) {
            let bytes = image_output_bytes(&output);
            prop_assert_eq!(read_output(&bytes), None, "it is no text");
            prop_assert_eq!(read_image_output(&bytes), Some(output));
            prop_assert_eq!(read_image_output(&bytes[..bytes.len() - cut]), None);
            prop_assert_eq!(read_image_output(&[bytes, vec![extra]].concat()), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_are_read_only_where_they_are_canonical(bytes: Vec<u8>) {
            let bytes = [vec![VERSION, OUTPUT_KIND], bytes].concat();
            if let Some(output) = read_image_output(&bytes) {
                prop_assert_eq!(image_output_bytes(&output), bytes.clone());
            }
            let bytes = [vec![VERSION, INPUT_KIND], bytes].concat();
            if let Some(input) = super::super::read_input(&bytes) {
                prop_assert_eq!(input_bytes(&input), bytes);
            }
        }
    }

    #[test]
    fn text_is_never_read_as_a_picture() {
        let text = TextOutput {
            ids: vec![1],
            finish_reason: FinishReason::Length,
            text: "a".into(),
        };
        assert_eq!(read_image_output(&output_bytes(&text)), None);
    }

    #[test]
    fn every_parameter_of_a_picture_changes_its_hash() {
        let model = ModelRef {
            id: "sd".into(),
            version: Some(1),
        };
        type Change = fn(&mut ImageParameters);
        let changes: [Change; 9] = [
            |_| {},
            |p| p.width = 8,
            |p| p.height = 8,
            |p| p.steps = 1,
            |p| p.guidance_milli = 1,
            |p| p.sampler = Some(String::new()),
            |p| p.sampler = Some("lcm".into()),
            |p| p.clip_skip = Some(0),
            |p| p.strength_milli = Some(0),
        ];
        let hash = |change: Change| {
            let mut image = ImageInput::default();
            change(&mut image.parameters);
            let input = JobInput::Image(image);
            job_parameters_hash(&model, &input, &Parameters::unused())
        };
        let hashes = changes.map(hash);
        for (i, a) in hashes.iter().enumerate() {
            assert!(hashes[..i].iter().all(|b| a != b), "{i}");
        }
        assert!(!hashes.contains(&parameters_hash(&model, &Parameters::unused())));
    }
}
