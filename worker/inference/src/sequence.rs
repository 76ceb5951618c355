//! One answer being made: prompt in, tokens out, until a stop token, a stop string or the limit.

use std::time::Duration;

use crate::adjust::{Adjustments, History};
use crate::decoder::{Cache, PAGE, Part, Pool};
use crate::detokenise::Detokeniser;
use crate::error::{Error, Result};
use crate::grammar::{Constraint, Grammar};
use crate::model::Model;
use crate::sampler::{Choice, likelier};

/// Stop strings that a request may give.
pub const MAX_STOP_STRINGS: usize = 16;
/// Bytes of one stop string, at most.
pub const MAX_STOP_BYTES: usize = 256;

/// Likely tokens that may be asked for with every token.
pub const MAX_LOGPROBS: u8 = 20;

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
    /// Tokens that end the answer beside those that the model's files name.
    pub stop_tokens: Vec<u32>,
    /// What is done to logits before a token is chosen.
    pub adjustments: Adjustments,
    /// What the answer has to be; any text where `None`.
    pub grammar: Option<Grammar>,
    /// How many of the likeliest tokens are told with every token, with their probabilities; the token's own is told too.
    /// None are told where `None`.
    pub logprobs: Option<u8>,
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
            stop_tokens: Vec::new(),
            adjustments: Adjustments::default(),
            grammar: None,
            logprobs: None,
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
        self.adjustments.validate()?;
        if let Some(grammar) = &self.grammar {
            grammar.validate()?;
        }
        let bad = |what: String| Err(Error::BadParameter(what));
        if self.max_tokens == 0 {
            return bad("max_tokens must be at least 1".into());
        }
        if self.stop.len() > MAX_STOP_STRINGS {
            return bad(format!(
                "at most {MAX_STOP_STRINGS} stop strings may be given"
            ));
        }
        if self.stop_tokens.len() > MAX_STOP_STRINGS {
            return bad(format!(
                "at most {MAX_STOP_STRINGS} stop tokens may be given"
            ));
        }
        if self.logprobs.is_some_and(|count| count > MAX_LOGPROBS) {
            return bad(format!("at most {MAX_LOGPROBS} likely tokens can be told"));
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

/// How likely a token was, and which would have been the likeliest: natural logarithms of the probabilities that the model
/// gave them, before adjustments and filters, at temperature 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// The token's own.
    pub chosen: f32,
    /// The likeliest tokens, the likeliest first.
    pub top: Vec<(u32, f32)>,
}

impl Logprobs {
    fn of(logits: &[f32], chosen: u32, count: u8) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let shares = logits.iter().map(|&logit| f64::from(logit - largest).exp());
        let total = shares.sum::<f64>().ln() + f64::from(largest);
        let log = |id: u32| (f64::from(logits[id as usize]) - total) as f32;
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        let count = usize::from(count).min(ids.len());
        if count > 0 {
            ids.select_nth_unstable_by(count - 1, |&a, &b| likelier(logits, a, b));
        }
        ids.truncate(count);
        ids.sort_unstable_by(|&a, &b| likelier(logits, a, b));
        Self {
            chosen: log(chosen),
            top: ids.into_iter().map(|id| (id, log(id))).collect(),
        }
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
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewToken {
    pub id: u32,
    pub text: String,
    pub logprobs: Option<Logprobs>,
    pub finished: Option<FinishReason>,
}

/// An answer in the making.
pub(crate) struct Sequence {
    /// The prompt, then the answer so far.
    tokens: Vec<u32>,
    prompt: usize,
    params: SamplingParams,
    /// Tokens of the answer, at most.
    limit: usize,
    is_long: bool,
    /// What is computed so far; none before the first step, and while others have taken its place.
    cache: Option<Cache>,
    /// Tokens that the cache knew when the sequence took its place there, until they are counted.
    known: usize,
    detokeniser: Detokeniser,
    text: String,
    /// Kept where adjustments look at it.
    history: Option<History>,
    /// Where the answer stands in its grammar.
    constraint: Option<Constraint>,
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
        let constraint = params.grammar.as_ref();
        let constraint = constraint.map(|grammar| model.text().constrain(grammar));
        Ok(Self {
            constraint: constraint.transpose()?,
            history: (!params.adjustments.is_off()).then(|| History::new(&prompt)),
            prompt: prompt.len(),
            limit: capacity - prompt.len(),
            is_long: model.decoder.is_long(capacity),
            cache: None,
            known: 0,
            detokeniser: model.text().detokeniser(),
            text: String::new(),
            timings: Timings {
                prefill: Duration::ZERO,
                decode: Duration::ZERO,
            },
            tokens: prompt,
            params,
        })
    }

    /// Tokens that are to be computed before the next one can be chosen.
    pub(crate) fn behind(&self) -> usize {
        self.tokens.len() - self.cache.as_ref().map_or(0, Cache::used)
    }

    /// Pages of cache that it takes to read what is there and to begin the answer, beside those that it has.
    pub(crate) fn pages_ahead(&self) -> usize {
        let have = self.cache.as_ref().map_or(0, Cache::pages);
        (self.tokens.len().div_ceil(PAGE) + 1).saturating_sub(have)
    }

    /// Makes room in the pool for the next `count` tokens; false if there is none.
    pub(crate) fn reserve(&mut self, pool: &mut Pool, count: usize) -> bool {
        let (tokens, is_long) = (&self.tokens, self.is_long);
        let known = &mut self.known;
        let cache = self.cache.get_or_insert_with(|| {
            let cache = pool.begin(tokens, is_long);
            *known += cache.used();
            cache
        });
        let count = count.min(tokens.len() - cache.used());
        pool.reserve(cache, count)
    }

    /// The next `count` tokens to be computed, for which there is room.
    pub(crate) fn part(&mut self, count: usize) -> Option<Part<'_>> {
        let cache = self.cache.as_mut()?;
        let rest = &self.tokens[cache.used()..];
        let ids = &rest[..rest.len().min(count)];
        (!ids.is_empty()).then_some(Part { ids, cache })
    }

    /// Gives its place to others, if it has one; what was computed is computed again later.
    pub(crate) fn leave(&mut self, pool: &mut Pool) -> bool {
        let cache = self.cache.take();
        let had_place = cache.is_some();
        if let Some(cache) = cache {
            pool.end(cache);
        }
        had_place
    }

    /// True while there is more to compute than the answer's last token.
    pub(crate) fn is_reading(&self) -> bool {
        self.tokens.len() == self.prompt || self.behind() > 1
    }

    /// Tokens that the cache knew, since this was last asked.
    pub(crate) fn take_known(&mut self) -> usize {
        std::mem::take(&mut self.known)
    }

    /// Counts the time of a step that this sequence had part in.
    pub(crate) fn spend(&mut self, time: Duration) {
        if self.tokens.len() == self.prompt {
            self.timings.prefill += time;
        } else {
            self.timings.decode += time;
        }
    }

    /// Chooses the next token, once nothing is [`behind`](Self::behind).
    pub(crate) fn choose(&mut self, model: &Model, logits: &[f32]) -> Result<NewToken> {
        let position = u32::try_from(self.tokens.len() - self.prompt).unwrap_or(u32::MAX);
        let choice = self.params.choice();
        let id = match (&self.history, &mut self.constraint) {
            (None, None) => choice.choose(logits, position)?,
            (history, constraint) => {
                let mut changed = logits.to_vec();
                if let Some(history) = history {
                    self.params.adjustments.apply(&mut changed, history);
                }
                if let Some(constraint) = constraint {
                    constraint.restrict(&mut changed)?;
                }
                choice.choose(&changed, position)?
            }
        };
        if let Some(history) = &mut self.history {
            history.push(id);
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(id);
        }
        let logprobs = self.params.logprobs;
        let logprobs = logprobs.map(|count| Logprobs::of(logits, id, count));
        Ok(self.take(model, id, logprobs))
    }

    /// Adds a token and sees whether it is the last.
    fn take(&mut self, model: &Model, id: u32, logprobs: Option<Logprobs>) -> NewToken {
        self.tokens.push(id);
        let mut text = self.detokeniser.push(id);
        let mut finished = None;
        if model.text().stop_tokens().contains(&id) || self.params.stop_tokens.contains(&id) {
            finished = Some(FinishReason::Stop);
        } else if self.stop_string_in(&text) {
            finished = Some(FinishReason::StopString);
        } else if self.tokens.len() - self.prompt >= self.limit {
            finished = Some(FinishReason::Length);
        }
        if finished.is_some() {
            text += &self.detokeniser.finish();
        }
        self.text += &text;
        NewToken {
            id,
            text,
            logprobs,
            finished,
        }
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
        let count = |ids: usize| u32::try_from(ids).unwrap_or(u32::MAX);
        let ids = self.tokens[self.prompt..].to_vec();
        let usage = Usage {
            prompt_tokens: count(self.prompt),
            output_tokens: count(ids.len()),
        };
        Answer {
            reason,
            ids,
            text: self.text,
            usage,
            timings: self.timings,
        }
    }
}
