//! A receipt as a JSON file that anyone can check offline. `docs/spec/receipt.md` specifies it.
//!
//! The signed part holds hashes only. The holder may add what it knows - salt, input, output, model, parameters - so
//! that others can check the hashes too; whoever gets such a file can read them.

use crate::{Error, JobResult};
use candid::Principal;
use emc_protocol::escrow::ReceiptRecord;
use emc_protocol::{
    FinishReason, ImageParameters, JobInput, ModelRef, Parameters, Receipt, TextOutput, Timestamp,
    Tokens, Usage,
};
use serde::{Deserialize, Serialize};

/// The format's name, so that a reader knows what it has.
pub const FORMAT: &str = "emc-receipt";
/// The format's version.
pub const VERSION: u32 = 1;

/// The file. Integers that may pass 2^53 are decimal texts, bytes are hexadecimal texts.
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use emc_client::{ReceiptFile, verify};
/// let file = ReceiptFile::from_json(&std::fs::read_to_string("receipt.json")?)?;
/// let report = verify::check(&file);
/// print!("{report}");
/// assert!(report.holds());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptFile {
    /// `emc-receipt`.
    pub format: String,
    /// 1.
    pub version: u32,
    /// What was signed.
    pub receipt: SignedPart,
    /// The node that signed.
    pub node: Principal,
    /// Its Ed25519 public key.
    #[serde(with = "hex_bytes")]
    pub public_key: Vec<u8>,
    /// Its signature.
    #[serde(with = "hex_bytes")]
    pub signature: Vec<u8>,
    /// Where the escrow has it in its log, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogEntry>,
    /// The model with its version, for the hash of the parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// The parameters, for their hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// How a picture was to be made, for the same hash; a text has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_parameters: Option<ImageParameters>,
    /// The job's salt, for the hashes of input and output.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "optional_hex"
    )]
    pub salt: Option<Vec<u8>>,
    /// The input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<JobInput>,
    /// The output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<TextOutput>,
}

/// The fields that are signed, in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPart {
    /// The escrow.
    pub escrow: Principal,
    /// The installation's nonce, 16 bytes.
    #[serde(with = "hex_bytes")]
    pub nonce: Vec<u8>,
    /// The job's number.
    #[serde(with = "decimal")]
    pub job_id: u64,
    /// The attempt's number.
    pub attempt: u32,
    /// Root of the model's files, 32 bytes.
    #[serde(with = "hex_bytes")]
    pub model_root: Vec<u8>,
    /// Hash of model and parameters, 32 bytes.
    #[serde(with = "hex_bytes")]
    pub parameters_hash: Vec<u8>,
    /// Salted hash of the input, 32 bytes.
    #[serde(with = "hex_bytes")]
    pub input_hash: Vec<u8>,
    /// Salted hash of the output, 32 bytes.
    #[serde(with = "hex_bytes")]
    pub output_hash: Vec<u8>,
    /// The seed of sampling.
    #[serde(with = "decimal")]
    pub seed: u64,
    /// Tokens of the prompt.
    #[serde(with = "decimal")]
    pub prompt_tokens: u64,
    /// Tokens of the output.
    #[serde(with = "decimal")]
    pub output_tokens: u64,
    /// Width x height x steps of pictures.
    #[serde(with = "decimal")]
    pub pixel_steps: u64,
    /// Why the output ended.
    pub finish_reason: FinishReason,
    /// What was charged, in e8s.
    #[serde(with = "decimal")]
    pub charge: u128,
    /// Reserved: zeros.
    #[serde(with = "hex_bytes")]
    pub evidence_root: Vec<u8>,
}

/// A receipt's place in its escrow's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEntry {
    /// Its number.
    #[serde(with = "decimal")]
    pub index: u64,
    /// When it was accepted, in nanoseconds since 1970.
    #[serde(with = "decimal")]
    pub time: u64,
}

impl ReceiptFile {
    /// A file of the escrow's record alone: it shows that the node signed, and hides input and output.
    pub fn new(record: &ReceiptRecord) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            receipt: SignedPart::from(&record.receipt),
            node: record.node,
            public_key: record.public_key.clone(),
            signature: record.signature.clone(),
            log: Some(LogEntry {
                index: record.index,
                time: record.time.0,
            }),
            model: None,
            parameters: None,
            image_parameters: None,
            salt: None,
            input: None,
            output: None,
        }
    }

    /// A file of all that is known of a finished job; `None` where it has no receipt. The escrow forgets the input once
    /// the job is final: `input` is the requester's own copy.
    pub fn of_result(result: &JobResult, input: Option<&JobInput>) -> Option<Self> {
        let mut file = Self::new(result.receipt.as_ref()?);
        file.model = Some(result.job.model.clone());
        if let Some(private) = &result.job.private {
            file.image_parameters = private.image.as_ref().map(|image| image.parameters.clone());
            file.parameters = match private.image {
                Some(_) => None,
                None => Some(private.parameters.clone()),
            };
            // Of a public job everybody sees the answer, and only its requester the salt.
            file.salt = Some(private.salt.clone()).filter(|salt| !salt.is_empty());
            file.output = private.output.clone();
            file.input = input.cloned().or_else(|| private.input.clone());
        }
        Some(file)
    }

    /// The same without what only the requester should know.
    #[must_use]
    pub fn without_secrets(self) -> Self {
        Self {
            salt: None,
            input: None,
            output: None,
            ..self
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Config`] where it is no receipt of a version that this program knows.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let file: Self = serde_json::from_str(text)
            .map_err(|e| Error::Config(format!("this is not a receipt file: {e}.")))?;
        if file.format != FORMAT || file.version != VERSION {
            return Err(Error::Config(format!(
                "this is a file {:?} of version {}, not {FORMAT:?} of version {VERSION}; a newer program may know it.",
                file.format, file.version
            )));
        }
        Ok(file)
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("the fields are texts, numbers and lists");
        text.push('\n');
        text
    }

    /// The escrow's record, as far as the file has it.
    pub fn record(&self) -> ReceiptRecord {
        ReceiptRecord {
            index: self.log.map_or(0, |log| log.index),
            receipt: Receipt::from(&self.receipt),
            node: self.node,
            public_key: self.public_key.clone(),
            signature: self.signature.clone(),
            time: Timestamp(self.log.map_or(0, |log| log.time)),
        }
    }
}

impl From<&Receipt> for SignedPart {
    fn from(receipt: &Receipt) -> Self {
        Self {
            escrow: receipt.escrow,
            nonce: receipt.nonce.clone(),
            job_id: receipt.job_id,
            attempt: receipt.attempt,
            model_root: receipt.model_root.clone(),
            parameters_hash: receipt.parameters_hash.clone(),
            input_hash: receipt.input_hash.clone(),
            output_hash: receipt.output_hash.clone(),
            seed: receipt.seed,
            prompt_tokens: receipt.usage.prompt_tokens,
            output_tokens: receipt.usage.output_tokens,
            pixel_steps: receipt.usage.pixel_steps,
            finish_reason: receipt.finish_reason,
            charge: receipt.charge.0,
            evidence_root: receipt.evidence_root.clone(),
        }
    }
}

impl From<&SignedPart> for Receipt {
    fn from(part: &SignedPart) -> Self {
        Self {
            escrow: part.escrow,
            nonce: part.nonce.clone(),
            job_id: part.job_id,
            attempt: part.attempt,
            model_root: part.model_root.clone(),
            parameters_hash: part.parameters_hash.clone(),
            input_hash: part.input_hash.clone(),
            output_hash: part.output_hash.clone(),
            seed: part.seed,
            usage: Usage {
                prompt_tokens: part.prompt_tokens,
                output_tokens: part.output_tokens,
                pixel_steps: part.pixel_steps,
            },
            finish_reason: part.finish_reason,
            charge: Tokens(part.charge),
            evidence_root: part.evidence_root.clone(),
        }
    }
}

/// Integers as decimal texts: JSON numbers are doubles in many languages.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        plain
            .then(|| text.parse().ok())
            .flatten()
            .ok_or_else(|| D::Error::custom(format!("{text:?} is not a whole number in range")))
    }
}

/// Bytes as hexadecimal texts.
mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        hex::decode(&text).map_err(|_| D::Error::custom(format!("{text:?} is not hexadecimal")))
    }
}

/// Bytes that may be absent.
mod optional_hex {
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::hex_bytes::serialize(bytes, to),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        super::hex_bytes::deserialize(from).map(Some)
    }
}
