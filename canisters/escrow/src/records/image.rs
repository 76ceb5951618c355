//! What is stored of pictures with their jobs; the pictures themselves lie in `pictures`.

use crate::stored;
use emc_protocol::image::{ImageParameters, ImageSettings};
use emc_protocol::{Seconds, Tokens};
use minicbor::{Decode, Encode};

/// How a picture is made.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct ImageRecord {
    /// In pixels.
    #[n(0)]
    pub width: u32,
    /// In pixels.
    #[n(1)]
    pub height: u32,
    /// Of a whole run.
    #[n(2)]
    pub steps: u32,
    /// In thousandths.
    #[n(3)]
    pub guidance_milli: u32,
    /// The model's own where absent.
    #[n(4)]
    pub sampler: Option<String>,
    /// Layers of the text encoder that are left out.
    #[n(5)]
    pub clip_skip: Option<u32>,
    /// In thousandths; exactly where there is a first picture.
    #[n(6)]
    pub strength_milli: Option<u32>,
}

impl From<&ImageParameters> for ImageRecord {
    fn from(p: &ImageParameters) -> Self {
        Self {
            width: p.width,
            height: p.height,
            steps: p.steps,
            guidance_milli: p.guidance_milli,
            sampler: p.sampler.clone(),
            clip_skip: p.clip_skip,
            strength_milli: p.strength_milli,
        }
    }
}

impl From<&ImageRecord> for ImageParameters {
    fn from(p: &ImageRecord) -> Self {
        Self {
            width: p.width,
            height: p.height,
            steps: p.steps,
            guidance_milli: p.guidance_milli,
            sampler: p.sampler.clone(),
            clip_skip: p.clip_skip,
            strength_milli: p.strength_milli,
        }
    }
}

/// Stored form of [`ImageSettings`].
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct ImageSettingsRecord {
    /// Of a lease, and of the time for a vote.
    #[cbor(n(0), with = "stored::seconds")]
    pub lease_per_million: Seconds,
    /// Per million pixel-steps.
    #[cbor(n(1), with = "stored::tokens")]
    pub vote_price: Tokens,
}

impl From<&ImageSettings> for ImageSettingsRecord {
    fn from(s: &ImageSettings) -> Self {
        Self {
            lease_per_million: s.lease_per_million,
            vote_price: s.vote_price,
        }
    }
}

impl From<&ImageSettingsRecord> for ImageSettings {
    fn from(s: &ImageSettingsRecord) -> Self {
        Self {
            lease_per_million: s.lease_per_million,
            vote_price: s.vote_price,
        }
    }
}
