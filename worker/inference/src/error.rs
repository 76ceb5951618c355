//! What can go wrong between a model's files and its answer. Each message says what to do, where anything can be done.

use std::path::PathBuf;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model could not be loaded, or a sequence not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A model file breaks its own format: truncated, corrupt, or made to harm.
    #[error("the model file is damaged: {0}; download it again")]
    Damaged(String),
    /// A model file is sound but uses something that is not built yet.
    #[error("{0} is not supported yet")]
    Unsupported(String),
    /// Weights are missing, left over, or of the wrong shape.
    #[error("the model's weights do not fit its description: {0}")]
    Checkpoint(String),
    /// The tokenizer in the model's files is unusable, or failed on a text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The model's chat template is missing, broken, or went over its limits.
    #[error("chat template: {0}")]
    ChatTemplate(String),
    /// A sampling parameter is outside its range.
    #[error("{0}")]
    BadParameter(String),
    /// The prompt holds no token.
    #[error("the prompt is empty: give at least one token")]
    EmptyPrompt,
    /// The prompt leaves no room for an answer in the model's context.
    #[error(
        "the prompt has {prompt} tokens, but the context holds {context} with the answer: shorten the prompt"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that prompt and answer may have together.
        context: usize,
    },
    /// The engine has no free place for a sequence now, but will have one later.
    #[error("the engine is full ({0}): try again when a sequence has finished")]
    Busy(String),
    /// The sequence is larger than the engine's whole budget: it can never be run here.
    #[error(
        "the sequence needs {needed} bytes of KV cache, but the budget is {budget}: ask for fewer tokens"
    )]
    TooLarge {
        /// Bytes that prompt and longest answer need.
        needed: u64,
        /// Bytes that the engine may use in all.
        budget: u64,
    },
    /// Whoever asked ended the run.
    #[error("the run was cancelled")]
    Cancelled,
    /// The device asked for cannot be used.
    #[error("device: {0}")]
    Device(String),
    /// The model computed a logit that is not a finite number.
    #[error(
        "the model computed a value that is not finite: its weights or the chosen dtype are unusable"
    )]
    NotFinite,
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Libtorch(#[from] tch::TchError),
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
