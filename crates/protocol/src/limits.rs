//! Every bound on what callers may send, in one place; canisters check them, clients show them.

use crate::Seconds;

/// Longest model id, in bytes.
pub const MODEL_ID_BYTES: usize = 96;
/// Longest text or conversation, in bytes of its canonical encoding.
pub const INPUT_BYTES: usize = 512 * 1024;
/// Most messages in a conversation.
pub const MESSAGES: usize = 512;
/// Most output tokens a job may ask for.
pub const OUTPUT_TOKENS: u32 = 32_768;
/// Most stop strings.
pub const STOP_STRINGS: usize = 8;
/// Longest stop string, in bytes.
pub const STOP_STRING_BYTES: usize = 64;
/// Highest temperature, in thousandths.
pub const TEMPERATURE_MILLI: u32 = 5_000;
/// Longest request key, in bytes.
pub const REQUEST_KEY_BYTES: usize = 32;
/// How long a request key is remembered.
pub const REQUEST_KEY_WINDOW: Seconds = Seconds(24 * 3600);
/// Shortest time a requester may give a job.
pub const DEADLINE_MIN: Seconds = Seconds(10);
/// Longest time a requester may give a job.
pub const DEADLINE_MAX: Seconds = Seconds(24 * 3600);
/// The time a job has where the requester names none.
pub const DEADLINE_DEFAULT: Seconds = Seconds(600);
/// Largest output, in bytes of its canonical encoding, that `deliver` takes inline.
pub const OUTPUT_INLINE_BYTES: usize = 1_000_000;
/// Largest output in all, uploaded in chunks.
pub const OUTPUT_BYTES: usize = 16 * 1024 * 1024;
/// Largest chunk of an upload.
pub const CHUNK_BYTES: usize = 1_000_000;
/// Most chunks of one upload.
pub const UPLOAD_CHUNKS: usize = 64;
/// Longest prompt of a picture, and longest negative prompt, in bytes.
pub const IMAGE_PROMPT_BYTES: usize = 8 * 1024;
/// Shortest side of a picture, in pixels; sides are multiples of [`IMAGE_SIDE_STEP`].
pub const IMAGE_SIDE_MIN: u32 = 64;
/// Longest side of a picture, in pixels.
pub const IMAGE_SIDE_MAX: u32 = 2_048;
/// What the sides of a picture are multiples of.
pub const IMAGE_SIDE_STEP: u32 = 8;
/// Most pixels of a picture.
pub const IMAGE_PIXELS: u32 = 2 * 1024 * 1024;
/// Most steps of a picture.
pub const IMAGE_STEPS: u32 = 150;
/// Strongest guidance, in thousandths.
pub const IMAGE_GUIDANCE_MILLI: u32 = 50_000;
/// Most layers of the text encoder that may be left out.
pub const IMAGE_CLIP_SKIP: u32 = 12;
/// Longest name of a sampler, in bytes.
pub const IMAGE_SAMPLER_BYTES: usize = 32;
/// Largest picture to begin with (PNG), in bytes: with all else it fits into a message.
pub const IMAGE_INIT_BYTES: usize = 1024 * 1024;
/// Largest mask (PNG), in bytes.
pub const IMAGE_MASK_BYTES: usize = 256 * 1024;
/// Largest result (PNG), in bytes: any picture of [`IMAGE_PIXELS`] in eight bits a colour.
pub const IMAGE_PNG_BYTES: usize = 8 * 1024 * 1024;
/// Largest thumbnail (PNG), in bytes.
pub const IMAGE_THUMBNAIL_BYTES: usize = 32 * 1024;
/// Longest side of a thumbnail, in pixels.
pub const IMAGE_THUMBNAIL_SIDE: u32 = 256;
/// Largest preview of an unfinished picture (PNG), in bytes.
pub const IMAGE_PREVIEW_BYTES: usize = 64 * 1024;
/// Samples of the final latent that a result has.
pub const IMAGE_LATENT: usize = 256;
/// Bytes of one answer of `result_part`.
pub const RESULT_PART_BYTES: usize = 1_900_000;
/// Largest picture that is served over HTTP in one answer, in bytes.
pub const HTTP_IMAGE_BYTES: usize = 2_900_000;
/// Most delegates of one account.
pub const DELEGATES: usize = 16;
/// Most jobs whose end one canister is still to be told of.
pub const CALLBACKS: u64 = 1_000;
/// Most jobs one `claim` may return.
pub const CLAIM_JOBS: u32 = 32;
/// Most models one node offers, or one `work_available` asks for.
pub const OFFERS: usize = 64;
/// Largest page of any list.
pub const PAGE: u32 = 200;
/// Shortest time between two previews of one lease.
pub const PREVIEW_INTERVAL: Seconds = Seconds(2);
/// Longest free text from a caller: a reason, a name, a licence.
pub const TEXT_BYTES: usize = 512;
/// Most files in a model.
pub const MODEL_FILES: usize = 512;
/// Most sources of a model.
pub const MODEL_SOURCES: usize = 16;
/// Tokens that a chat template may add around each message, for the bound on prompt tokens.
pub const TEMPLATE_TOKENS_PER_MESSAGE: u64 = 16;
/// Tokens that a chat template may add in all (its default system prompt, say).
pub const TEMPLATE_TOKENS: u64 = 1_024;
