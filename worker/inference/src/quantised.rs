//! The packed number formats of GGML that this crate reads, and their expansion to f32.
//!
//! Follows `ggml-common.h` and `ggml-quants.c` of llama.cpp. Blocks hold 32 elements: Q8_0 is `d:f16, 32 x i8`, Q4_0 is
//! `d:f16, 16 bytes`, Q4_1 is `d:f16, m:f16, 16 bytes`; in the last two the low nibbles are elements 0 to 15, the high
//! nibbles 16 to 31.

use std::fmt;

use half::{bf16, f16};

/// How a tensor's elements are packed.
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
}

impl BlockType {
    /// The type for GGML's number of it, if this crate reads it.
    pub fn from_ggml(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
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
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 => 32,
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
