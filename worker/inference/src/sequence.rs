//! One answer being made: prompt in, tokens out, until a stop token, a stop string or the limit.

use std::time::{Duration, Instant};

use crate::detokenise::Detokeniser;
use crate::error::{Error, Result};
use crate::llama::Cache;
use crate::model::Model;
use crate::sampler::Choice;

/// Stop strings that a request may give.
pub const MAX_STOP_STRINGS: usize = 16;
/// Bytes of one stop string, at most.
pub const MAX_STOP_BYTES: usize = 256;

/// How an answer is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy. See [`Choice`] for this and the next four.
    pub temperature: f64,
    /// Only the likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Only the likeliest tokens up to this share; 1 keeps all.
    pub top_p: f64,
    /// Only tokens at least this many times as likely as the likeliest; 0 keeps all.
    pub min_p: f64,
    /// What the random numbers follow from.
    pub seed: u64,
    /// Tokens of the answer, at most; the end token counts.
    pub max_tokens: u32,
    /// The answer ends with the token that completes one of these. It stays in ids and text: whoever shows the text may
    /// cut it, but what is signed is what was computed.
    pub stop: Vec<String>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        let Choice {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
        } = Choice::GREEDY;
        Self {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
            max_tokens: 256,
            stop: Vec::new(),
        }
    }
}

impl SamplingParams {
    /// The part that chooses tokens.
    pub fn choice(&self) -> Choice {
        let &Self {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
            ..
        } = self;
        Choice {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
        }
    }

    /// Checks that every parameter is inside its range.
    pub fn validate(&self) -> Result<()> {
        self.choice().validate()?;
        let bad = |what: String| Err(Error::BadParameter(what));
        if self.max_tokens == 0 {
            return bad("max_tokens must be at least 1".into());
        }
        if self.stop.len() > MAX_STOP_STRINGS {
            return bad(format!(
                "at most {MAX_STOP_STRINGS} stop strings may be given"
            ));
        }
        if self
            .stop
            .iter()
            .any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES)
        {
            return bad(format!(
                "a stop string must have 1 to {MAX_STOP_BYTES} bytes"
            ));
        }
        Ok(())
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it with one of its stop tokens, which is the last id.
    Stop,
    /// `max_tokens` or the context is used up.
    Length,
    /// One of the request's stop strings is in the text.
    StopString,
}

/// What an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer, its end token included.
    pub output_tokens: u32,
}

/// How long an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// Computing the prompt, up to the first token.
    pub prefill: Duration,
    /// Computing the tokens after the first.
    pub decode: Duration,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Why it ended.
    pub reason: FinishReason,
    /// All its ids, the end token included.
    pub ids: Vec<u32>,
    /// Their text.
    pub text: String,
    /// What it took, in tokens.
    pub usage: Usage,
    /// What it took, in time.
    pub timings: Timings,
}

/// One more token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewToken {
    pub id: u32,
    pub text: String,
    pub finished: Option<FinishReason>,
}

/// An answer in the making.
pub(crate) struct Sequence {
    prompt: Vec<u32>,
    params: SamplingParams,
    limit: usize,
    cache: Cache,
    detokeniser: Detokeniser,
    ids: Vec<u32>,
    text: String,
    timings: Timings,
}

impl Sequence {
    /// Checks a request. Returns the most positions that it can come to use.
    pub(crate) fn check(model: &Model, prompt: &[u32], params: &SamplingParams) -> Result<usize> {
        params.validate()?;
        let info = model.info();
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if prompt.len() >= info.context {
            return Err(Error::PromptTooLong {
                prompt: prompt.len(),
                context: info.context,
            });
        }
        if let Some(id) = prompt.iter().find(|&&id| id as usize >= info.vocabulary) {
            return Err(Error::BadParameter(format!(
                "the prompt's id {id} is outside the model's vocabulary"
            )));
        }
        Ok(prompt
            .len()
            .saturating_add(params.max_tokens as usize)
            .min(info.context))
    }

    /// Prepares a request that [`check`](Self::check) has passed with this capacity.
    pub(crate) fn new(
        model: &Model,
        prompt: Vec<u32>,
        params: SamplingParams,
        capacity: usize,
    ) -> Result<Self> {
        Ok(Self {
            limit: capacity - prompt.len(),
            cache: model.llama.cache(capacity)?,
            detokeniser: model.text().detokeniser(),
            ids: Vec::new(),
            text: String::new(),
            timings: Timings {
                prefill: Duration::ZERO,
                decode: Duration::ZERO,
            },
            prompt,
            params,
        })
    }

    /// Computes one block of the prompt, or one token. `None` while the prompt is not done.
    pub(crate) fn advance(&mut self, model: &Model, block: usize) -> Result<Option<NewToken>> {
        let begin = Instant::now();
        let decoding = !self.ids.is_empty();
        let logits = if let Some(last) = self.ids.last() {
            model.llama.forward(&[*last], &mut self.cache)?
        } else {
            let rest = &self.prompt[self.cache.used()..];
            let block = &rest[..rest.len().min(block)];
            let done = block.len() == rest.len();
            let logits = model.llama.forward(block, &mut self.cache)?;
            if !done {
                self.timings.prefill += begin.elapsed();
                return Ok(None);
            }
            logits
        };
        let position = u32::try_from(self.ids.len()).expect("max_tokens is a u32");
        let id = self.params.choice().choose(&logits, position)?;
        let token = self.take(model, id);
        let spent = if decoding {
            &mut self.timings.decode
        } else {
            &mut self.timings.prefill
        };
        *spent += begin.elapsed();
        Ok(Some(token))
    }

    /// Adds a token and sees whether it is the last.
    fn take(&mut self, model: &Model, id: u32) -> NewToken {
        self.ids.push(id);
        let mut text = self.detokeniser.push(id);
        let mut finished = None;
        if model.text().stop_tokens().contains(&id) {
            finished = Some(FinishReason::Stop);
        } else if self.stop_string_in(&text) {
            finished = Some(FinishReason::StopString);
        } else if self.ids.len() >= self.limit {
            finished = Some(FinishReason::Length);
        }
        if finished.is_some() {
            text += &self.detokeniser.finish();
        }
        self.text += &text;
        NewToken { id, text, finished }
    }

    /// Whether the text, longer by `new`, holds a stop string that it did not hold before.
    fn stop_string_in(&self, new: &str) -> bool {
        self.params.stop.iter().any(|stop| {
            let mut from = self.text.len().saturating_sub(stop.len() - 1);
            while !self.text.is_char_boundary(from) {
                from -= 1;
            }
            format!("{}{new}", &self.text[from..]).contains(stop)
        })
    }

    /// The whole answer, once it is finished.
    pub(crate) fn into_answer(self, reason: FinishReason) -> Answer {
        let count = |ids: &[u32]| u32::try_from(ids.len()).expect("the context is far below 2^32");
        let usage = Usage {
            prompt_tokens: count(&self.prompt),
            output_tokens: count(&self.ids),
        };
        Answer {
            reason,
            ids: self.ids,
            text: self.text,
            usage,
            timings: self.timings,
        }
    }
}
