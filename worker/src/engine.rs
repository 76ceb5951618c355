//! What a worker needs of an engine for text: prompts become tokens, sequences join and leave, each step makes some
//! tokens. Pictures are made by a [`painter`].
//!
//! Either lives on one thread of its own ([`thread`]), so it need not be shareable, and may block.

pub mod echo;
pub mod gauge;
pub mod llm;
pub mod painter;
pub mod thread;

use emc_inference::EngineFigures;
use emc_protocol::audit::{AuditTask, Vote};
use emc_protocol::{FinishReason, JobInput, Parameters};

/// What serves a model: tokens or pictures.
#[derive(Clone)]
pub enum Server {
    /// A model that generates text.
    Text(thread::EngineHandle),
    /// A model that makes pictures.
    Pictures(painter::PainterHandle),
}

impl Server {
    /// False while it could not do a job: its engine failed and is being started again.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Text(engine) => engine.gauge().is_ready(),
            Self::Pictures(_) => true,
        }
    }
}

/// Names a sequence; chosen by who starts it.
pub type SequenceKey = u64;

/// A sequence to be generated.
#[derive(Debug, Clone)]
pub struct Start {
    /// What it answers.
    pub input: JobInput,
    /// Its tokens, as [`Engine::prompt`] gave them.
    pub prompt: Vec<u32>,
    /// How tokens are chosen. Stop strings are looked for outside of the engine.
    pub parameters: Parameters,
    /// The seed of sampling.
    pub seed: u64,
}

/// What happened to a sequence in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It grew by a token (the end token included), and this text is certain now.
    Token {
        /// The token.
        id: u32,
        /// The text.
        text: String,
    },
    /// It is complete and gone from the engine. All its text was told.
    Finished(FinishReason),
    /// It cannot go on and is gone from the engine.
    Failed(String),
}

/// Why an engine does not do what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// There is no room now; later there will be.
    #[error("busy: {0}")]
    Busy(String),
    /// This input or these parameters cannot be run here.
    #[error("{0}")]
    Unsuitable(String),
    /// The engine is broken, or is being started again.
    #[error("the engine failed: {0}")]
    Broken(String),
}

/// A model that generates text for several sequences at a time.
pub trait Engine {
    /// The tokens of an input, template included.
    ///
    /// # Errors
    /// [`EngineError::Unsuitable`] where this model cannot take the input.
    fn prompt(&mut self, input: &JobInput) -> Result<Vec<u32>, EngineError>;

    /// Admits a sequence.
    ///
    /// # Errors
    /// [`EngineError::Busy`] if there is no room now; others mean that it can never be run here.
    fn start(&mut self, key: SequenceKey, start: &Start) -> Result<(), EngineError>;

    /// Takes every sequence a step further.
    ///
    /// # Errors
    /// Where the engine as a whole is broken; it will be made anew.
    fn step(&mut self) -> Result<Vec<(SequenceKey, Event)>, EngineError>;

    /// Checks an answer that another machine made, by one prefill (`docs/spec/audit.md`). `prompt` is what
    /// [`Engine::prompt`] makes of the task's input. Sequences that run are not touched.
    ///
    /// # Errors
    /// [`EngineError::Unsuitable`] where this engine can never check it; others may pass. Whatever is wrong with the
    /// answer itself is no error but a finding.
    fn verify(&mut self, task: &AuditTask, prompt: &[u32]) -> Result<Vote, EngineError>;

    /// Drops a sequence, if it is there.
    fn cancel(&mut self, key: SequenceKey);

    /// How it does; asked after every step.
    fn figures(&self) -> EngineFigures;
}
