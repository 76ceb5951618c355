//! Ways to compute a model, honest and not, made from its file by rewriting weights.
//!
//! A rewritten file goes through the engine like any other: nothing of the engine knows of calibration.

use std::path::Path;

use half::f16;

use super::Kind;
use crate::device::DType;
use crate::error::{Error, Result};
use crate::gguf::{Gguf, Value};
use crate::linear::Activations;
use crate::model::{LoadOptions, Model, gguf_file};
use crate::model_root::model_root;
use crate::quantised::BlockType;

/// A way to compute a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stack {
    /// The engine as workers use it on the CPU: weights as they are in the file, activations rounded to 16 bits where the
    /// processor multiplies integers.
    Usual,
    /// Activations in f32.
    Exact,
    /// Weights, activations and cache in bf16.
    Bf16,
    /// Weights rounded to 8 bits with one scale a row.
    Int8Weights,
    /// Activations rounded to 8 bits, as llama.cpp does on CPUs; as exact as `Exact` where the processor does not multiply
    /// integers.
    Int8Activations,
    /// Weights rounded to so many bits, with a scale and a minimum for every 32.
    FewBits(u32),
    /// Weights packed anew in 4 bits without a minimum.
    Int4Again,
    /// So many layers near the end left out.
    LayersLeftOut(u64),
}

impl Stack {
    /// What a validator may honestly compute with.
    pub(crate) fn honest() -> [(&'static str, Self); 5] {
        [
            ("16-bit activations", Self::Usual),
            ("f32 activations", Self::Exact),
            ("bf16", Self::Bf16),
            ("int8 weights", Self::Int8Weights),
            ("8-bit activations", Self::Int8Activations),
        ]
    }

    /// Those that check answers. The first two differ by less than a hundredth of a logit.
    pub(crate) fn verifiers() -> impl Iterator<Item = (&'static str, Self)> {
        let all = Self::honest().into_iter();
        all.filter(|(_, stack)| *stack != Self::Exact)
    }

    /// Everything that makes answers by another computation.
    pub(crate) fn authors() -> Vec<(&'static str, Self)> {
        let mut all = Self::honest().to_vec();
        all.extend([
            ("int4 again", Self::Int4Again),
            ("3-bit weights", Self::FewBits(3)),
            ("2-bit weights", Self::FewBits(2)),
            ("one layer left out", Self::LayersLeftOut(1)),
            ("two layers left out", Self::LayersLeftOut(2)),
        ]);
        all
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Usual | Self::Exact | Self::Bf16 | Self::Int8Weights | Self::Int8Activations => {
                Kind::Honest
            }
            Self::Int4Again => Kind::Between,
            Self::FewBits(_) | Self::LayersLeftOut(_) => Kind::Cheat,
        }
    }

    /// Whether terms are found from its answers. All others answer only the prompts that are held out: nothing is to be
    /// learnt from cheats, and the first two differ by less than a hundredth of a logit.
    pub(crate) fn is_fitted(self) -> bool {
        self.kind() == Kind::Honest && self != Self::Exact
    }

    /// Loads the model at `path` so that it computes in this way.
    pub(crate) fn load(self, path: &Path) -> Result<Model> {
        let file = gguf_file(path)?;
        self.of_file(&Gguf::open(&file)?, path)
    }

    fn of_file<B: AsRef<[u8]> + Send + Sync + 'static>(
        self,
        gguf: &Gguf<B>,
        path: &Path,
    ) -> Result<Model> {
        let options = LoadOptions {
            dtype: match self {
                Self::Bf16 => DType::Bf16,
                _ => DType::F32,
            },
            activations: match self {
                Self::Exact => Activations::Exact,
                Self::Int8Activations => Activations::Bits8,
                _ => Activations::Bits16,
            },
            ..LoadOptions::default()
        };
        let root = model_root(path)?;
        let device = options.device.open()?;
        match self {
            Self::Usual | Self::Exact | Self::Bf16 | Self::Int8Activations => {
                Model::from_gguf(gguf, root, options, device)
            }
            _ => Model::from_gguf(&self.rewrite(gguf)?, root, options, device),
        }
    }

    /// The file with other weights.
    pub(crate) fn rewrite<B: AsRef<[u8]>>(self, gguf: &Gguf<B>) -> Result<Gguf<Vec<u8>>> {
        let mut metadata = gguf.metadata().clone();
        let architecture = gguf.text("general.architecture").unwrap_or_default();
        let block_count = format!("{architecture}.block_count");
        let layers = gguf.unsigned(&block_count).unwrap_or(0);
        // The last layer is worth most; leaving out those before it hurts least.
        let left_out = match self {
            Self::LayersLeftOut(count) if layers > count + 1 => layers - 1 - count..layers - 1,
            _ => 0..0,
        };
        let kept = layers - (left_out.end - left_out.start);
        metadata.insert(block_count, Value::Unsigned(kept));
        let mut parts = Vec::new();
        for (name, entry) in gguf.tensors() {
            let Some(name) = renumbered(name, &left_out) else {
                continue;
            };
            let data = gguf.data(entry);
            let columns = entry.dimensions[0] as usize;
            let is_matrix = entry.dimensions.len() == 2 && columns.is_multiple_of(32);
            // The embedding is packed more finely in such files, and cheats leave it so: it costs them little.
            let is_inner = is_matrix && name.starts_with("blk.");
            let (block_type, data) = match self {
                Self::Int8Weights if is_matrix => (
                    BlockType::Q8_0,
                    int8_rows(&entry.block_type.expand(data), columns),
                ),
                Self::FewBits(bits) if is_inner => (
                    BlockType::Q4_1,
                    few_bits(&entry.block_type.expand(data), bits),
                ),
                Self::Int4Again if is_inner => {
                    (BlockType::Q4_0, centred(&entry.block_type.expand(data)))
                }
                _ => (entry.block_type, data.to_vec()),
            };
            parts.push((name, entry.dimensions.clone(), block_type, data));
        }
        Gguf::<Vec<u8>>::of_parts(metadata, parts)
            .ok_or_else(|| Error::Checkpoint("a rewritten weight has the wrong length".into()))
    }
}

/// A tensor's name after layers were left out; `None` if it was in one of them.
fn renumbered(name: &str, left_out: &std::ops::Range<u64>) -> Option<String> {
    let layer = name
        .strip_prefix("blk.")
        .and_then(|rest| rest.split_once('.'))
        .and_then(|(layer, part)| Some((layer.parse::<u64>().ok()?, part)));
    match layer {
        Some((layer, _)) if left_out.contains(&layer) => None,
        Some((layer, part)) if layer >= left_out.end => {
            let layer = layer - (left_out.end - left_out.start);
            Some(format!("blk.{layer}.{part}"))
        }
        _ => Some(name.to_owned()),
    }
}

/// Q8_0 whose blocks of one row share one scale.
fn int8_rows(values: &[f32], columns: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for row in values.chunks_exact(columns) {
        let largest = row
            .iter()
            .fold(0f32, |largest, value| largest.max(value.abs()));
        let scale = f16::from_f32(largest / 127.0);
        for block in row.chunks_exact(32) {
            out.extend(scale.to_le_bytes());
            let quants = block
                .iter()
                .map(|value| quant(*value, 0.0, scale, -127, 127) as i8);
            out.extend(quants.map(|quant| quant as u8));
        }
    }
    out
}

/// Q4_1 that uses only 2^bits of its 16 values.
fn few_bits(values: &[f32], bits: u32) -> Vec<u8> {
    let top = (1i32 << bits) - 1;
    let mut out = Vec::new();
    for block in values.as_chunks::<32>().0 {
        let (low, high) = bounds(block);
        let scale = f16::from_f32((high - low) / top as f32);
        let minimum = f16::from_f32(low);
        out.extend(scale.to_le_bytes());
        out.extend(minimum.to_le_bytes());
        out.extend(nibbles(block, |value| {
            quant(value, minimum.to_f32(), scale, 0, top) as u8
        }));
    }
    out
}

/// Q4_0: 4 bits around zero, as llama.cpp packs them.
fn centred(values: &[f32]) -> Vec<u8> {
    let mut out = Vec::new();
    for block in values.as_chunks::<32>().0 {
        let (low, high) = bounds(block);
        let widest = if -low > high { low } else { high };
        let scale = f16::from_f32(widest / -8.0);
        out.extend(scale.to_le_bytes());
        out.extend(nibbles(block, |value| {
            (quant(value, 0.0, scale, -8, 7) + 8) as u8
        }));
    }
    out
}

fn bounds(block: &[f32]) -> (f32, f32) {
    let bounds = (f32::INFINITY, f32::NEG_INFINITY);
    block.iter().fold(bounds, |(low, high), &value| {
        (low.min(value), high.max(value))
    })
}

/// The nearest of the values `minimum + scale x quant`.
fn quant(value: f32, minimum: f32, scale: f16, least: i32, most: i32) -> i32 {
    let scale = scale.to_f32();
    if scale == 0.0 {
        return least.max(0);
    }
    (((value - minimum) / scale).round() as i32).clamp(least, most)
}

/// The low nibbles are elements 0 to 15, the high ones 16 to 31.
fn nibbles(block: &[f32; 32], quant: impl Fn(f32) -> u8) -> [u8; 16] {
    std::array::from_fn(|index| quant(block[index]) | quant(block[index + 16]) << 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::normals;
    use crate::philox::Domain;
    use crate::test_model;

    #[test]
    fn rounding_to_more_bits_is_nearer_to_the_weights() {
        let values = normals(3, Domain::ImageLatent, 0, 64 * 32);
        let error = |block_type: BlockType, data: &[u8]| {
            let rounded = block_type.expand(data);
            let squares = rounded
                .iter()
                .zip(&values)
                .map(|(a, b)| f64::from(a - b).powi(2));
            (squares.sum::<f64>() / values.len() as f64).sqrt()
        };
        let errors = [
            error(BlockType::Q8_0, &int8_rows(&values, 64)),
            error(BlockType::Q4_1, &few_bits(&values, 4)),
            error(BlockType::Q4_0, &centred(&values)),
            error(BlockType::Q4_1, &few_bits(&values, 3)),
            error(BlockType::Q4_1, &few_bits(&values, 2)),
        ];
        assert!(errors.is_sorted(), "{errors:?}");
        assert!(
            errors[0] < 0.02 && errors[4] > 0.2 && errors[4] < 0.6,
            "{errors:?}"
        );
    }

    #[test]
    fn weights_that_fit_stay_as_they_are() {
        let values: Vec<f32> = (0..64)
            .map(|index| (index % 4) as f32 * 0.5 - 1.0)
            .collect();
        assert_eq!(BlockType::Q4_1.expand(&few_bits(&values, 2)), values);
        assert_eq!(BlockType::Q4_0.expand(&centred(&[0.0; 32])), [0.0; 32]);
    }

    #[test]
    fn layers_that_are_left_out_make_room() {
        let names = [
            "blk.0.a.weight",
            "blk.2.b",
            "blk.3.c",
            "blk.4.d",
            "output_norm.weight",
        ];
        let renumbered = names.map(|name| renumbered(name, &(2..4)));
        let expected = [
            Some("blk.0.a.weight"),
            None,
            None,
            Some("blk.2.d"),
            Some("output_norm.weight"),
        ];
        assert_eq!(renumbered, expected.map(|name| name.map(str::to_owned)));
    }

    #[test]
    fn a_rewritten_file_loads_and_computes_nearly_the_same() {
        let gguf = Gguf::parse(test_model::gguf()).expect("sound");
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("model.gguf"), test_model::gguf()).expect("writes");
        let logits = |stack: Stack| {
            let model = stack.of_file(&gguf, folder.path()).expect("loads");
            model.logits(&[5, 9, 40, 41, 7, 8]).expect("computes")
        };
        let exact = logits(Stack::Usual);
        let distance = |stack| {
            let pairs = logits(stack).into_iter().zip(&exact);
            pairs.map(|(a, b)| (a - b).abs()).fold(0f32, f32::max)
        };
        assert!(distance(Stack::Exact) < 1e-3);
        let near = [Stack::Bf16, Stack::Int8Weights].map(distance);
        assert!(near.iter().all(|&d| d > 1e-4 && d < 1.0), "{near:?}");
        assert!(distance(Stack::FewBits(2)) > near.into_iter().fold(0.0, f32::max));
    }
}
