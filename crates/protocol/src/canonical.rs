//! Canonical bytes of what is hashed and signed, as `docs/spec/receipt.md` specifies them: fixed field order,
//! little-endian integers, length-prefixed strings, a version byte; never Candid, whose encodings are not unique.

mod image;

pub use image::{image_output_bytes, image_parameters_hash, read_image_output};

use crate::job::{ChatMessage, ChatRole};
use crate::{FinishReason, JobInput, ModelRef, Parameters, TextOutput};
use sha2::{Digest, Sha256};

/// The domain of the hash of an input.
pub const INPUT_DOMAIN: &str = "emc-input-v1";

/// The version of the encodings in this file.
pub const VERSION: u8 = 1;

/// Builds canonical bytes. They begin with the domain's name, so that bytes of one kind never hash like another's.
pub struct Writer(Vec<u8>);

impl Writer {
    /// Starts with a domain: one length byte and the ASCII name.
    pub fn new(domain: &str) -> Self {
        let mut writer = Self(Vec::with_capacity(256));
        writer.u8(domain.len() as u8);
        writer.raw(domain.as_bytes());
        writer
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    /// Sixteen bytes, little-endian.
    pub fn u128(&mut self, value: u128) {
        self.raw(&value.to_le_bytes());
    }

    /// Bytes as they are, where the length is fixed.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A length in four bytes, then the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.raw(bytes);
    }

    /// A length in four bytes, then the UTF-8.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// Their SHA-256.
    pub fn sha256(self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

fn role_byte(role: ChatRole) -> u8 {
    match role {
        ChatRole::System => 0,
        ChatRole::User => 1,
        ChatRole::Assistant => 2,
    }
}

/// The bytes of an input: kind (0 chat, 1 completion, 2 image), then its fields.
pub fn input_bytes(input: &JobInput) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(64));
    out.u8(VERSION);
    match input {
        JobInput::Chat { messages } => {
            out.u8(0);
            out.u32(messages.len() as u32);
            for ChatMessage { role, content } in messages {
                out.u8(role_byte(*role));
                out.text(content);
            }
        }
        JobInput::Completion { prompt } => {
            out.u8(1);
            out.text(prompt);
        }
        JobInput::Image(input) => {
            out.u8(image::INPUT_KIND);
            image::write_input(&mut out, input);
        }
    }
    out.finish()
}

/// Reads back the bytes of an input; `None` where they are not exactly one.
pub fn read_input(bytes: &[u8]) -> Option<JobInput> {
    let take = |at: usize, n: usize| bytes.get(at..at.checked_add(n)?);
    let word = |at: usize| Some(u32::from_le_bytes(take(at, 4)?.try_into().ok()?));
    let text = |at: usize| {
        let text = take(at + 4, word(at)? as usize)?;
        Some((String::from_utf8(text.to_vec()).ok()?, at + 4 + text.len()))
    };
    let (input, end) = match take(0, 2)? {
        [VERSION, 0] => {
            let mut at = 6;
            let mut messages = Vec::new();
            for _ in 0..word(2)? {
                let role = match bytes.get(at)? {
                    0 => ChatRole::System,
                    1 => ChatRole::User,
                    2 => ChatRole::Assistant,
                    _ => return None,
                };
                let (content, next) = text(at + 1)?;
                messages.push(ChatMessage { role, content });
                at = next;
            }
            (JobInput::Chat { messages }, at)
        }
        [VERSION, 1] => {
            let (prompt, next) = text(2)?;
            (JobInput::Completion { prompt }, next)
        }
        [VERSION, image::INPUT_KIND] => {
            return image::read_input(&bytes[2..]).map(JobInput::Image);
        }
        _ => return None,
    };
    (end == bytes.len()).then_some(input)
}

/// SHA-256 of the input, salted with the job's 32 bytes.
pub fn input_hash(salt: &[u8], input: &JobInput) -> [u8; 32] {
    let mut out = Writer::new(INPUT_DOMAIN);
    out.raw(salt);
    out.raw(&input_bytes(input));
    out.sha256()
}

/// SHA-256 of the model (id and version) and the parameters.
pub fn parameters_hash(model: &ModelRef, parameters: &Parameters) -> [u8; 32] {
    let mut out = Writer::new("emc-parameters-v1");
    out.u8(VERSION);
    out.text(&model.id);
    out.u32(model.version.unwrap_or(0));
    out.u32(parameters.max_tokens);
    out.u32(parameters.temperature_milli);
    out.u32(parameters.top_k);
    out.u32(parameters.top_p_milli);
    out.u32(parameters.min_p_milli);
    out.u32(parameters.stop.len() as u32);
    for stop in &parameters.stop {
        out.text(stop);
    }
    out.sha256()
}

/// What a receipt says of how a job is done: SHA-256 of the model and the parameters that its kind has.
pub fn job_parameters_hash(
    model: &ModelRef,
    input: &JobInput,
    parameters: &Parameters,
) -> [u8; 32] {
    match input {
        JobInput::Chat { .. } | JobInput::Completion { .. } => parameters_hash(model, parameters),
        JobInput::Image(input) => image_parameters_hash(model, &input.parameters),
    }
}

/// The bytes of a text output: kind 0, finish reason, ids, text. This is also what is uploaded in chunks.
pub fn output_bytes(output: &TextOutput) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(
        16 + 4 * output.ids.len() + output.text.len(),
    ));
    out.u8(VERSION);
    out.u8(0);
    out.u8(output.finish_reason.byte());
    out.u32(output.ids.len() as u32);
    for id in &output.ids {
        out.u32(*id);
    }
    out.text(&output.text);
    out.finish()
}

/// Reads back the bytes of a text output; `None` where they are not exactly one.
pub fn read_output(bytes: &[u8]) -> Option<TextOutput> {
    let take = |at: usize, n: usize| bytes.get(at..at.checked_add(n)?);
    let word = |at: usize| Some(u32::from_le_bytes(take(at, 4)?.try_into().ok()?));
    if take(0, 2)? != [VERSION, 0] {
        return None;
    }
    let finish_reason = FinishReason::from_byte(*bytes.get(2)?)?;
    let count = word(3)? as usize;
    let ids = take(7, count.checked_mul(4)?)?;
    let ids: Vec<u32> = ids
        .as_chunks()
        .0
        .iter()
        .map(|id| u32::from_le_bytes(*id))
        .collect();
    let at = 7 + 4 * count;
    let text = take(at + 4, word(at)? as usize)?;
    if at + 4 + text.len() != bytes.len() {
        return None;
    }
    Some(TextOutput {
        ids,
        finish_reason,
        text: String::from_utf8(text.to_vec()).ok()?,
    })
}

/// SHA-256 of an output's canonical bytes, salted with the job's 32 bytes.
pub fn output_hash(salt: &[u8], output_bytes: &[u8]) -> [u8; 32] {
    let mut out = Writer::new("emc-output-v1");
    out.raw(salt);
    out.raw(output_bytes);
    out.sha256()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn output() -> impl Strategy<Value = TextOutput> {
        (
            proptest::collection::vec(any::<u32>(), 0..40),
            any::<String>(),
            0u8..3,
        )
            .prop_map(|(ids, text, reason)| {
                let finish_reason =
                    FinishReason::from_byte(reason).expect("0, 1 and 2 are reasons");
                TextOutput {
                    ids,
                    finish_reason,
                    text,
                }
            })
    }

    fn input() -> impl Strategy<Value = JobInput> {
        let role = prop_oneof![
            Just(ChatRole::System),
            Just(ChatRole::User),
            Just(ChatRole::Assistant)
        ];
        let message =
            (role, any::<String>()).prop_map(|(role, content)| ChatMessage { role, content });
        prop_oneof![
            proptest::collection::vec(message, 0..5)
                .prop_map(|messages| JobInput::Chat { messages }),
            any::<String>().prop_map(|prompt| JobInput::Completion { prompt }),
        ]
    }

    proptest! {
        #[test]
        fn an_input_is_read_back_from_its_bytes(input in input(), cut in 1usize..4, extra: u8) {
            let bytes = input_bytes(&input);
            prop_assert_eq!(read_input(&bytes), Some(input));
            prop_assert_eq!(read_input(&bytes[..bytes.len() - cut]), None);
            prop_assert_eq!(read_input(&[bytes, vec![extra]].concat()), None);
        }

        #[test]
        fn an_output_is_read_back_from_its_bytes(output in output()) {
            prop_assert_eq!(read_output(&output_bytes(&output)), Some(output));
        }

        #[test]
        fn bytes_that_are_not_one_output_are_refused(output in output(), cut in 1usize..4, extra: u8) {
            let bytes = output_bytes(&output);
            prop_assert_eq!(read_output(&bytes[..bytes.len() - cut]), None);
            prop_assert_eq!(read_output(&[bytes, vec![extra]].concat()), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Some(output) = read_output(&bytes) {
                prop_assert_eq!(output_bytes(&output), bytes.clone());
            }
            if let Some(input) = read_input(&bytes) {
                prop_assert_eq!(input_bytes(&input), bytes);
            }
        }
    }

    #[test]
    fn a_role_or_a_boundary_changes_the_hash() {
        let chat = |messages: &[(ChatRole, &str)]| {
            let messages = messages.iter().map(|(role, text)| ChatMessage {
                role: *role,
                content: (*text).into(),
            });
            input_hash(
                &[0; 32],
                &JobInput::Chat {
                    messages: messages.collect(),
                },
            )
        };
        let hashes = [
            chat(&[(ChatRole::User, "ab")]),
            chat(&[(ChatRole::System, "ab")]),
            chat(&[(ChatRole::User, "a"), (ChatRole::User, "b")]),
            input_hash(
                &[0; 32],
                &JobInput::Completion {
                    prompt: "ab".into(),
                },
            ),
            input_hash(
                &[1; 32],
                &JobInput::Completion {
                    prompt: "ab".into(),
                },
            ),
        ];
        for (i, a) in hashes.iter().enumerate() {
            assert!(hashes[..i].iter().all(|b| a != b));
        }
    }
}
