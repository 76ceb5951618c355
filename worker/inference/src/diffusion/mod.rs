//! Stable Diffusion: from a prompt to a picture.
//!
//! | file | what |
//! |---|---|
//! | `clip_tokenizer`, `prompt`, `text_encoder` | the prompt, weighted and in chunks, as what the UNet attends to |
//! | `unet`, `blocks` | the noise in a latent |
//! | `schedule`, `scheduler` | the steps from noise to a latent picture |
//! | `vae`, `tiny_vae` | between latents and pictures |
//! | `checkpoint`, `single_file`, `lora` | where weights come from, and what is added to them |
//! | `layers` | what all of them are made of |

mod blocks;
mod checkpoint;
mod clip_tokenizer;
mod folder;
mod layers;
mod ldm;
mod lora;
#[cfg(test)]
mod parity;
mod picture;
mod pipeline;
mod prompt;
mod request;
mod schedule;
mod scheduler;
mod single_file;
mod text_encoder;
mod tiny_vae;
mod unet;
mod vae;

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

pub use lora::Lora;
pub use picture::{MAX_SIDE, Picture};
pub use pipeline::{ImageModel, ImageOptions, Images, Progress};
pub use request::{ImageRequest, MAX_IMAGE_SIDE, MAX_IMAGES, MAX_PROMPT};
pub use scheduler::{MAX_STEPS, Sampler, SchedulerConfig};

use crate::error::{Error, Result};

/// A configuration longer than this is none.
const MAX_JSON: u64 = 64 << 20;

/// Reads a JSON file of a model.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let length = fs::metadata(path).map_err(Error::io(path))?.len();
    if length > MAX_JSON {
        let path = path.display();
        return Err(Error::Damaged(format!("{path} has {length} bytes")));
    }
    let bytes = fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::Damaged(format!("{}: {error}", path.display())))
}
