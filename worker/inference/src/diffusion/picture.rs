//! Pictures: eight bits a colour, read from PNG and written to it with the parameters that made them.

use std::io::Cursor;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};

/// The longest side of a picture that is read.
pub const MAX_SIDE: u32 = 8_192;

/// A picture: rows from the top, red, green, blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Three bytes a pixel.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// Reads a PNG file. Transparent parts are put on white.
    ///
    /// # Errors
    /// Bytes that are no PNG, or one of more than 8192 pixels a side.
    pub fn from_png(bytes: &[u8]) -> Result<Self> {
        let damaged = |error: png::DecodingError| {
            Error::BadParameter(format!(
                "the picture is not a PNG that can be read: {error}"
            ))
        };
        let limits = png::Limits { bytes: 512 << 20 };
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(damaged)?;
        let (width, height) = reader.info().size();
        if width > MAX_SIDE || height > MAX_SIDE {
            let message =
                format!("the picture has {width}x{height} pixels: {MAX_SIDE} a side are the most");
            return Err(Error::BadParameter(message));
        }
        let size = reader.output_buffer_size().unwrap_or(0);
        let mut pixels = vec![0; size];
        let frame = reader.next_frame(&mut pixels).map_err(damaged)?;
        let pixels = &pixels[..frame.buffer_size()];
        let over_white = |value: u8, alpha: u8| {
            let (value, alpha) = (u32::from(value), u32::from(alpha));
            ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        let rgb = match frame.color_type {
            png::ColorType::Rgb => pixels.to_vec(),
            png::ColorType::Rgba => pixels
                .chunks_exact(4)
                .flat_map(|p| [p[0], p[1], p[2]].map(|value| over_white(value, p[3])))
                .collect(),
            png::ColorType::Grayscale => pixels.iter().flat_map(|&value| [value; 3]).collect(),
            png::ColorType::GrayscaleAlpha => pixels
                .chunks_exact(2)
                .flat_map(|p| [over_white(p[0], p[1]); 3])
                .collect(),
            png::ColorType::Indexed => {
                return Err(Error::BadParameter(
                    "the PNG's palette was not resolved".into(),
                ));
            }
        };
        Ok(Self { width, height, rgb })
    }

    /// The PNG file, with a text under the keyword `parameters`, where people's tools look for it.
    ///
    /// # Errors
    /// A picture without pixels.
    pub fn to_png(&self, parameters: Option<&str>) -> Result<Vec<u8>> {
        let failed = |error: png::EncodingError| Error::BadParameter(format!("PNG: {error}"));
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        if let Some(text) = parameters {
            encoder
                .add_itxt_chunk("parameters".into(), text.to_owned())
                .map_err(failed)?;
        }
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(&self.rgb).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(bytes)
    }

    /// The picture as 1, 3, height, width between -1 and 1.
    pub(crate) fn to_tensor(&self) -> Result<Tensor> {
        let (width, height) = (i64::from(self.width), i64::from(self.height));
        let bytes = Tensor::f_from_slice(&self.rgb)?.f_reshape([1, height, width, 3])?;
        let unit = bytes
            .f_to_kind(Kind::Float)?
            .f_div_scalar(127.5)?
            .f_sub_scalar(1.0)?;
        Ok(unit.f_permute([0, 3, 1, 2])?.f_contiguous()?)
    }

    /// How much of each pixel is to be painted anew, 0 or 1, as 1, 1, height, width: white is painted, black kept.
    pub(crate) fn to_mask(&self) -> Result<Tensor> {
        let grey = self
            .to_tensor()?
            .f_mean_dim([1i64].as_slice(), true, Kind::Float)?;
        Ok(grey.f_ge(0.0)?.f_to_kind(Kind::Float)?)
    }

    /// A smaller picture, whose longer side has at most so many pixels: each of its pixels is the mean of those that it
    /// stands for.
    pub fn thumbnail(&self, side: u32) -> Self {
        let longer = self.width.max(self.height).max(1);
        let factor = longer.div_ceil(side.max(1));
        if factor <= 1 {
            return self.clone();
        }
        let (width, height) = (self.width.div_ceil(factor), self.height.div_ceil(factor));
        let part = |n: u32, of: u32, all: u32| {
            (n as usize * all as usize / of as usize)
                ..((n + 1) as usize * all as usize / of as usize)
        };
        let mut rgb = Vec::with_capacity((width * height * 3) as usize);
        for y in 0..height {
            for x in 0..width {
                let (rows, columns) = (part(y, height, self.height), part(x, width, self.width));
                let count = (rows.len() * columns.len()) as u32;
                for colour in 0..3 {
                    let at = |row: usize, column: usize| {
                        (row * self.width as usize + column) * 3 + colour
                    };
                    let sum: u32 = rows
                        .clone()
                        .flat_map(|row| columns.clone().map(move |column| (row, column)))
                        .map(|(row, column)| u32::from(self.rgb[at(row, column)]))
                        .sum();
                    rgb.push(((sum + count / 2) / count) as u8);
                }
            }
        }
        Self { width, height, rgb }
    }
}

/// The pictures of a batch (batch, 3, height, width) between -1 and 1; what lies outside is cut.
pub(crate) fn from_tensor(batch: &Tensor) -> Result<Vec<Picture>> {
    let (count, _, height, width) = batch.size4()?;
    let bytes = batch
        .f_div_scalar(2.0)?
        .f_add_scalar(0.5)?
        .f_clamp(0.0, 1.0)?
        .f_mul_scalar(255.0)?
        .f_round()?
        .f_to_kind(Kind::Uint8)?
        .f_permute([0, 2, 3, 1])?
        .f_contiguous()?
        .f_to_device(tch::Device::Cpu)?;
    (0..count)
        .map(|n| {
            Ok(Picture {
                width: width as u32,
                height: height as u32,
                rgb: Vec::try_from(bytes.f_get(n)?.f_reshape([-1])?)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picture(width: u32, height: u32) -> Picture {
        let rgb = (0..width * height * 3)
            .map(|n| (n * 37 % 251) as u8)
            .collect();
        Picture { width, height, rgb }
    }

    #[test]
    fn a_picture_survives_its_file_with_what_made_it() {
        let picture = picture(17, 5);
        let text = "a détaillé 🦊\nSteps: 20";
        let file = picture.to_png(Some(text)).unwrap();
        assert_eq!(Picture::from_png(&file).unwrap(), picture);
        let reader = png::Decoder::new(Cursor::new(&file)).read_info().unwrap();
        let chunk = &reader.info().utf8_text[0];
        assert_eq!(
            (chunk.keyword.as_str(), chunk.get_text().unwrap().as_str()),
            ("parameters", text)
        );
    }

    #[test]
    fn a_picture_survives_the_way_through_a_tensor() {
        let picture = picture(9, 4);
        let back = from_tensor(&picture.to_tensor().unwrap()).unwrap();
        assert_eq!(back, [picture]);
    }

    #[test]
    fn a_thumbnail_is_the_mean_of_blocks_and_keeps_the_shape() {
        let small = picture(100, 50).thumbnail(25);
        assert_eq!((small.width, small.height), (25, 13));
        let white = Picture {
            width: 7,
            height: 9,
            rgb: vec![255; 7 * 9 * 3],
        };
        assert!(white.thumbnail(3).rgb.iter().all(|value| *value == 255));
        assert_eq!(white.thumbnail(9), white);
    }

    proptest! {
        #[test]
        fn bytes_that_are_no_picture_are_refused(bytes: Vec<u8>, cut in 0usize..200, flip in 0usize..200) {
            prop_assert!(Picture::from_png(&bytes).is_err());
            let mut file = picture(8, 8).to_png(None).unwrap();
            let at = flip % file.len();
            file[at] ^= 0x55;
            file.truncate(file.len() - cut % file.len());
            let _ = Picture::from_png(&file);
        }
    }
}
