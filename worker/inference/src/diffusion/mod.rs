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

pub use lora::Lora;
pub use picture::{MAX_SIDE, Picture};
pub use pipeline::{ImageModel, ImageOptions, Images, Progress};
pub use request::{ImageRequest, MAX_IMAGE_SIDE, MAX_IMAGES, MAX_PROMPT};
pub use scheduler::{MAX_STEPS, Sampler, SchedulerConfig};
