//! The packed number formats of GGML that this crate reads, and their expansion to f32.
//!
//! Follows `ggml-common.h` and `ggml-quants.c` of llama.cpp. Blocks of 32 elements: Q8_0 is `d:f16, 32 x i8`, Q4_0 is
//! `d:f16, 16 bytes`, Q4_1 is `d:f16, m:f16, 16 bytes`; the low nibbles are elements 0 to 15, the high nibbles 16 to 31.
//! Q5_0 and Q5_1 have the fifth bits of all elements in a u32 before the nibbles.
//!
//! Blocks of 256 elements ("K"), whose parts of 32 or 16 elements have scales of their own, in units of the block's:
//!
//! ```text
//! Q2_K  16 x (scale:u4, minimum:u4), 64 bytes of 2-bit elements, d:f16, dmin:f16
//! Q3_K  32 bytes of third bits, 64 bytes of 2-bit elements, 16 x scale:u6 in 12 bytes, d:f16
//! Q4_K  d:f16, dmin:f16, 8 x (scale:u6, minimum:u6) in 12 bytes, 128 bytes of nibbles
//! Q5_K  d:f16, dmin:f16, 8 x (scale:u6, minimum:u6) in 12 bytes, 32 bytes of fifth bits, 128 bytes of nibbles
//! Q6_K  128 bytes of nibbles, 64 bytes of fifth and sixth bits, 16 x scale:i8, d:f16
//! ```

use std::fmt;

use half::{bf16, f16};

/// How a tensor's elements are packed.
#[expect(non_camel_case_types, reason = "these are GGML's names")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    BF16,
    /// 8-bit integers with one scale per 32.
    Q8_0,
    /// 4-bit integers with one scale per 32, centred on 8.
    Q4_0,
    /// 4-bit integers with one scale and one minimum per 32.
    Q4_1,
    /// 5-bit integers with one scale per 32, centred on 16.
    Q5_0,
    /// 5-bit integers with one scale and one minimum per 32.
    Q5_1,
    /// 2-bit integers with a scale and a minimum per 16.
    Q2_K,
    /// 3-bit integers with a scale per 16, centred on 4.
    Q3_K,
    /// 4-bit integers with a scale and a minimum per 32.
    Q4_K,
    /// 5-bit integers with a scale and a minimum per 32.
    Q5_K,
    /// 6-bit integers with a scale per 16, centred on 32.
    Q6_K,
}

impl BlockType {
    /// The type for GGML's number of it, if this crate reads it.
    pub fn from_ggml(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2_K,
            11 => Self::Q3_K,
            12 => Self::Q4_K,
            13 => Self::Q5_K,
            14 => Self::Q6_K,
            30 => Self::BF16,
            _ => return None,
        })
    }

    /// GGML's name for a type number, also for types that this crate does not read.
    pub fn ggml_name(id: u32) -> String {
        let name = match id {
            0 => "F32",
            1 => "F16",
            2 => "Q4_0",
            3 => "Q4_1",
            6 => "Q5_0",
            7 => "Q5_1",
            8 => "Q8_0",
            9 => "Q8_1",
            10 => "Q2_K",
            11 => "Q3_K",
            12 => "Q4_K",
            13 => "Q5_K",
            14 => "Q6_K",
            15 => "Q8_K",
            16 => "IQ2_XXS",
            17 => "IQ2_XS",
            18 => "IQ3_XXS",
            19 => "IQ1_S",
            20 => "IQ4_NL",
            21 => "IQ3_S",
            22 => "IQ2_S",
            23 => "IQ4_XS",
            28 => "F64",
            29 => "IQ1_M",
            30 => "BF16",
            34 => "TQ1_0",
            35 => "TQ2_0",
            39 => "MXFP4",
            other => return format!("number {other}"),
        };
        name.to_owned()
    }

    /// Elements that share one block.
    pub fn elements_per_block(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => 32,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// Bytes of one block.
    pub fn bytes_per_block(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// Expands whole blocks to f32.
    pub fn expand(self, packed: &[u8]) -> Vec<f32> {
        let blocks = packed.len() / self.bytes_per_block();
        let mut out = vec![0f32; blocks * self.elements_per_block()];
        self.expand_into(packed, &mut out);
        out
    }

    /// Expands whole blocks to f32, as many as both have room for.
    pub fn expand_into(self, packed: &[u8], out: &mut [f32]) {
        let blocks = packed.chunks_exact(self.bytes_per_block());
        let places = out.chunks_exact_mut(self.elements_per_block());
        match self {
            Self::F32 => places
                .zip(blocks)
                .for_each(|(out, b)| out[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            Self::F16 => places.zip(blocks).for_each(|(out, b)| out[0] = half(b)),
            Self::BF16 => places
                .zip(blocks)
                .for_each(|(out, b)| out[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32()),
            Self::Q8_0 => places.zip(blocks).for_each(|(out, b)| {
                let scale = half(b);
                out.iter_mut()
                    .zip(&b[2..])
                    .for_each(|(out, &q)| *out = scale * f32::from(q as i8));
            }),
            Self::Q4_0 => places.zip(blocks).for_each(|(out, b)| {
                let scale = half(b);
                nibbles(out, &b[2..], |q| (f32::from(q) - 8.0) * scale);
            }),
            Self::Q4_1 => places.zip(blocks).for_each(|(out, b)| {
                let (scale, minimum) = (half(b), half(&b[2..]));
                nibbles(out, &b[4..], |q| f32::from(q) * scale + minimum);
            }),
            Self::Q5_0 => places.zip(blocks).for_each(|(out, b)| {
                let scale = half(b);
                five_bits(out, &b[2..6], &b[6..], |q| (f32::from(q) - 16.0) * scale);
            }),
            Self::Q5_1 => places.zip(blocks).for_each(|(out, b)| {
                let (scale, minimum) = (half(b), half(&b[2..]));
                five_bits(out, &b[4..8], &b[8..], |q| f32::from(q) * scale + minimum);
            }),
            Self::Q2_K => places.zip(blocks).for_each(|(out, b)| q2_k(out, b)),
            Self::Q3_K => places.zip(blocks).for_each(|(out, b)| q3_k(out, b)),
            Self::Q4_K => places.zip(blocks).for_each(|(out, b)| {
                k_with_minimum(out, b, |index| {
                    let (pair, shift) = (index / 64, index % 64 / 32 * 4);
                    b[16 + pair * 32 + index % 32] >> shift & 15
                });
            }),
            Self::Q5_K => places.zip(blocks).for_each(|(out, b)| {
                k_with_minimum(out, b, |index| {
                    let (pair, shift) = (index / 64, index % 64 / 32 * 4);
                    let low = b[48 + pair * 32 + index % 32] >> shift & 15;
                    low | (b[16 + index % 32] >> (index / 32) & 1) << 4
                });
            }),
            Self::Q6_K => places.zip(blocks).for_each(|(out, b)| q6_k(out, b)),
        }
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

fn nibbles(out: &mut [f32], packed: &[u8], value: impl Fn(u8) -> f32) {
    let (low, high) = out.split_at_mut(16);
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(packed) {
        *low = value(byte & 15);
        *high = value(byte >> 4);
    }
}

fn five_bits(out: &mut [f32], fifth: &[u8], packed: &[u8], value: impl Fn(u8) -> f32) {
    let fifth = |index: usize| (fifth[index / 8] >> (index % 8) & 1) << 4;
    for (index, &byte) in packed.iter().enumerate().take(16) {
        out[index] = value(byte & 15 | fifth(index));
        out[index + 16] = value(byte >> 4 | fifth(index + 16));
    }
}

/// The scale and the minimum of a part of 32 elements: 6 bits each, the first four parts' in a byte of their own, the
/// others' upper bits above them.
pub(crate) fn scale_and_minimum(packed: &[u8], part: usize) -> (u8, u8) {
    if part < 4 {
        return (packed[part] & 63, packed[part + 4] & 63);
    }
    let low = packed[part + 4];
    (
        low & 15 | packed[part - 4] >> 6 << 4,
        low >> 4 | packed[part] >> 6 << 4,
    )
}

/// Q4_K and Q5_K, whose elements lie differently.
fn k_with_minimum(out: &mut [f32], block: &[u8], element: impl Fn(usize) -> u8) {
    let (d, dmin) = (half(block), half(&block[2..]));
    for (part, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], part);
        let (scale, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
        for (index, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(element(part * 32 + index)) - minimum;
        }
    }
}

fn q2_k(out: &mut [f32], block: &[u8]) {
    let (d, dmin) = (half(&block[80..]), half(&block[82..]));
    for (part, out) in out.chunks_exact_mut(16).enumerate() {
        let packed = block[part];
        let (scale, minimum) = (d * f32::from(packed & 15), dmin * f32::from(packed >> 4));
        let (bytes, shift) = (16 + part / 8 * 32 + part % 2 * 16, part / 2 % 4 * 2);
        for (index, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(block[bytes + index] >> shift & 3) - minimum;
        }
    }
}

fn q3_k(out: &mut [f32], block: &[u8]) {
    let (third, quants, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half(&block[108..]);
    for (part, out) in out.chunks_exact_mut(16).enumerate() {
        let low = scales[part % 8] >> (part / 8 * 4) & 15;
        let high = scales[8 + part % 4] >> (part / 4 * 2) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        let (bytes, shift) = (part / 8 * 32 + part % 2 * 16, part / 2 % 4 * 2);
        for (index, out) in out.iter_mut().enumerate() {
            let low = quants[bytes + index] >> shift & 3;
            let is_set = third[part % 2 * 16 + index] >> (part / 2) & 1;
            *out = scale * (f32::from(low | is_set << 2) - 4.0);
        }
    }
}

/// The element `index` of a Q6_K block, from 0 to 63.
pub(crate) fn q6_k_element(block: &[u8], index: usize) -> u8 {
    let (half, at) = (index / 128, index % 128);
    let low = block[half * 64 + at % 64] >> (at / 64 * 4) & 15;
    let high = block[128 + half * 32 + at % 32] >> (at / 32 * 2) & 3;
    low | high << 4
}

fn q6_k(out: &mut [f32], block: &[u8]) {
    let d = half(&block[208..]);
    for (part, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(block[192 + part] as i8);
        for (index, out) in out.iter_mut().enumerate() {
            *out = scale * (f32::from(q6_k_element(block, part * 16 + index)) - 32.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(scale: f32, minimum: Option<f32>, quants: impl IntoIterator<Item = u8>) -> Vec<u8> {
        let mut bytes = f16::from_f32(scale).to_le_bytes().to_vec();
        bytes.extend(
            minimum
                .into_iter()
                .flat_map(|minimum| f16::from_f32(minimum).to_le_bytes()),
        );
        bytes.extend(quants);
        bytes
    }

    /// `tools/parity/text/quants.py` made these with the Python package `gguf`.
    #[test]
    fn every_type_expands_as_ggml_s_own_package_does_bit_for_bit() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/text/quants.safetensors"
        );
        let mut found = std::collections::BTreeMap::new();
        for (name, place) in crate::safetensors_files::places(path.as_ref()).expect("reads") {
            found.insert(name, place.file[place.from..place.to].to_vec());
        }
        let mut types = 0;
        for id in 0..32 {
            let Some(block_type) = BlockType::from_ggml(id) else {
                continue;
            };
            types += 1;
            assert_eq!(block_type.to_string(), BlockType::ggml_name(id));
            let expected = found[&format!("{block_type}.values")].chunks_exact(4);
            let expected = expected.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            let values = block_type.expand(&found[&format!("{block_type}.packed")]);
            assert!(
                values.len() >= 8 * block_type.elements_per_block(),
                "{block_type}"
            );
            let bits = values.iter().map(|value| value.to_bits());
            assert!(bits.eq(expected), "{block_type}");
        }
        assert_eq!((types, found.len()), (13, 26));
    }

    #[test]
    fn plain_floats_keep_their_value() {
        assert_eq!(BlockType::F32.expand(&1.5f32.to_le_bytes()), [1.5]);
        assert_eq!(
            BlockType::F16.expand(&f16::from_f32(-2.25).to_le_bytes()),
            [-2.25]
        );
        assert_eq!(
            BlockType::BF16.expand(&bf16::from_f32(0.5).to_le_bytes()),
            [0.5]
        );
    }

    #[test]
    fn q8_0_is_scale_times_signed_byte() {
        let out = BlockType::Q8_0.expand(&block(0.5, None, (0..32).map(|i| (i as i8 - 16) as u8)));
        assert_eq!(out.len(), 32);
        assert_eq!((out[0], out[16], out[31]), (-8.0, 0.0, 7.5));
    }

    #[test]
    fn q4_0_is_centred_on_eight_and_low_nibbles_come_first() {
        let out = BlockType::Q4_0.expand(&block(2.0, None, (0..16).map(|i| i | (15 - i) << 4)));
        assert_eq!((out[0], out[8], out[15]), (-16.0, 0.0, 14.0));
        assert_eq!((out[16], out[31]), (14.0, -16.0));
    }

    #[test]
    fn q4_1_adds_the_minimum() {
        let out = BlockType::Q4_1.expand(&block(0.25, Some(-1.0), (0..16).map(|i| i | (i << 4))));
        assert_eq!((out[0], out[4], out[15]), (-1.0, 0.0, 2.75));
        assert_eq!(out[..16], out[16..]);
    }
}
