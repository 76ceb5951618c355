//! Runs several answers on one model, one step at a time.
//!
//! Whoever owns the engine calls [`Engine::step`] in a loop and hands its events on. Sequences join and leave at every
//! step: their tokens are the rows of the same products. A step takes every answer one token further and reads a block of
//! the prompts that are not read yet, the oldest first; so a long prompt does not hold up the others for long. Keys and
//! values lie in pages of one pool, prompts that begin alike share them, and where the pool is full the youngest sequence
//! waits and is computed again: which tokens a sequence gets does not depend on what runs beside it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::decoder::{PAGE, Pool};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::sequence::{Answer, Logprobs, SamplingParams, Sequence};

/// The bounds of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// Sequences in flight at once.
    pub max_sequences: usize,
    /// Bytes that all their caches may take together.
    pub cache_bytes: u64,
    /// Tokens of a prompt that are computed in one step.
    pub prompt_block: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            max_sequences: 8,
            cache_bytes: 1 << 30,
            prompt_block: 512,
        }
    }
}

/// Names a sequence of one engine; never used twice by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// What happened in a step.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A sequence grew by a token.
    Token {
        /// The sequence.
        sequence: SequenceId,
        /// The token.
        id: u32,
        /// The text that is now certain; empty while a character is incomplete. All of them join to the answer's text.
        text: String,
        /// How likely it was, where that was asked for.
        logprobs: Option<Logprobs>,
    },
    /// A sequence is done, and gone from the engine. Its last token was told before.
    Finished {
        /// The sequence.
        sequence: SequenceId,
        /// All of its answer.
        answer: Answer,
    },
    /// A sequence could not go on, and is gone from the engine.
    Failed {
        /// The sequence.
        sequence: SequenceId,
        /// Why.
        error: Error,
    },
}

/// How an engine does. What is counted began with it; rates are differences of two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineFigures {
    /// Sequences in flight.
    pub in_flight: usize,
    /// Sequences that the last step took further.
    pub batch: usize,
    /// Steps so far.
    pub steps: u64,
    /// Tokens that were read: of prompts, and of answers that had lost their place in the cache.
    pub read_tokens: u64,
    /// Time of the steps that read some; they may have taken answers further as well.
    pub read_time: Duration,
    /// Tokens that were chosen in any step.
    pub chosen_tokens: u64,
    /// Tokens that were chosen in steps that read nothing.
    pub decoded_tokens: u64,
    /// Time of those steps.
    pub decode_time: Duration,
    /// Pages of the cache.
    pub cache_pages: usize,
    /// Pages that sequences in flight use.
    pub cache_pages_used: usize,
    /// Sequences that began with tokens which the cache knew.
    pub prefix_hits: u64,
    /// Tokens that were not read, because the cache knew them.
    pub known_tokens: u64,
    /// Times that a sequence had to give its place in the cache to an older one.
    pub evictions: u64,
}

/// A model at work.
pub struct Engine {
    model: Model,
    options: EngineOptions,
    pool: Pool,
    /// Those in flight, the oldest first.
    running: BTreeMap<SequenceId, Sequence>,
    next: u64,
    /// What is counted.
    counted: EngineFigures,
}

impl Engine {
    /// An engine without any sequence.
    ///
    /// # Errors
    /// If the memory for keys and values cannot be had.
    pub fn new(model: Model, options: EngineOptions) -> Result<Self> {
        let info = model.info();
        let most = options.max_sequences.saturating_mul(info.context + PAGE);
        let budget = options.cache_bytes / info.cache_bytes_per_token.max(1);
        let budget = usize::try_from(budget).unwrap_or(usize::MAX);
        // Whole pages: the last may pass the budget, so that a sequence as long as it fits.
        let pool = model.decoder.pool(budget.min(most))?;
        Ok(Self {
            model,
            options,
            pool,
            running: BTreeMap::new(),
            next: 0,
            counted: EngineFigures::default(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Sequences in flight.
    pub fn in_flight(&self) -> usize {
        self.running.len()
    }

    /// How it does; cheap enough for every step.
    pub fn figures(&self) -> EngineFigures {
        EngineFigures {
            in_flight: self.running.len(),
            cache_pages: self.pool.pages(),
            cache_pages_used: self.pool.pages() - self.pool.free(),
            ..self.counted
        }
    }

    /// Admits a sequence.
    ///
    /// The answer's length is bounded by `max_tokens` and by what the prompt leaves of the context.
    ///
    /// # Errors
    /// [`Error::Busy`] if there is no room now; all others mean that this request can never be run here.
    pub fn start(&mut self, prompt: Vec<u32>, params: SamplingParams) -> Result<SequenceId> {
        let capacity = Sequence::check(&self.model, &prompt, &params)?;
        let per_token = self.model.info().cache_bytes_per_token;
        if capacity > self.pool.pages() * PAGE {
            return Err(Error::TooLarge {
                needed: (capacity as u64).saturating_mul(per_token),
                budget: self.options.cache_bytes,
            });
        }
        if self.running.len() >= self.options.max_sequences {
            return Err(Error::Busy(format!(
                "{} sequences are in flight",
                self.running.len()
            )));
        }
        // Room for what the prompts need, and a page for each answer to begin with, so that nobody waits at once.
        let promised: usize = self.running.values().map(Sequence::pages_ahead).sum();
        let needed = prompt.len().div_ceil(PAGE) + 1;
        let free = self.pool.free().saturating_sub(promised);
        if !self.running.is_empty() && needed > free {
            return Err(Error::Busy(format!(
                "the prompt needs {needed} pages of cache, {free} are free"
            )));
        }
        let sequence = Sequence::new(&self.model, prompt, params, capacity)?;
        let id = SequenceId(self.next);
        self.next += 1;
        self.running.insert(id, sequence);
        Ok(id)
    }

    /// Admits several answers to one prompt: the seeds are the request's and the numbers after it. The prompt is computed
    /// once, but for its last tokens.
    ///
    /// # Errors
    /// As [`start`](Self::start); none is admitted then.
    pub fn start_several(
        &mut self,
        prompt: &[u32],
        params: &SamplingParams,
        count: usize,
    ) -> Result<Vec<SequenceId>> {
        let mut started = Vec::new();
        for index in 0..count as u64 {
            let params = SamplingParams {
                seed: params.seed.wrapping_add(index),
                ..params.clone()
            };
            match self.start(prompt.to_vec(), params) {
                Ok(id) => started.push(id),
                Err(error) => {
                    for id in started {
                        self.cancel(id);
                    }
                    return Err(error);
                }
            }
        }
        Ok(started)
    }

    /// Takes all sequences further. Without any, returns at once with nothing.
    pub fn step(&mut self) -> Vec<Event> {
        let begin = Instant::now();
        let planned = self.plan();
        let mut parts = Vec::new();
        let mut ids = Vec::new();
        let mut read = 0;
        for (&id, sequence) in &mut self.running {
            let Some(&count) = planned.get(&id) else {
                continue;
            };
            let (is_last, is_reading) = (sequence.behind() <= count, sequence.is_reading());
            if let Some(part) = sequence.part(count) {
                ids.push((id, is_last));
                read += if is_reading { part.ids.len() as u64 } else { 0 };
                parts.push(part);
            }
        }
        if parts.is_empty() {
            self.counted.batch = 0;
            return Vec::new();
        }
        let batch = parts.len();
        let ready: Vec<bool> = ids.iter().map(|(_, is_last)| *is_last).collect();
        let logits = self.model.logits_of(&mut parts, &ready, &mut self.pool);
        let spent = begin.elapsed();
        let mut events = Vec::new();
        let mut rows = match &logits {
            Ok(logits) => logits.chunks_exact(self.model.info().vocabulary),
            Err(_) => [].chunks_exact(1),
        };
        for (id, is_ready) in ids {
            let Some(sequence) = self.running.get_mut(&id) else {
                continue;
            };
            sequence.spend(spent);
            let token = match &logits {
                Ok(_) if !is_ready => continue,
                Ok(_) => sequence.choose(&self.model, rows.next().unwrap_or_default()),
                Err(error) => Err(Error::BadParameter(error.to_string())),
            };
            let outcome = match token {
                Ok(token) => {
                    events.push(Event::Token {
                        sequence: id,
                        id: token.id,
                        text: token.text,
                        logprobs: token.logprobs,
                    });
                    match token.finished {
                        Some(reason) => Ok(reason),
                        None => continue,
                    }
                }
                Err(error) => Err(error),
            };
            let Some(mut sequence) = self.running.remove(&id) else {
                continue;
            };
            sequence.leave(&mut self.pool);
            events.push(match outcome {
                Ok(reason) => Event::Finished {
                    sequence: id,
                    answer: sequence.into_answer(reason),
                },
                Err(error) => Event::Failed {
                    sequence: id,
                    error,
                },
            });
        }
        self.count(batch, read, &events, begin.elapsed());
        events
    }

    fn count(&mut self, batch: usize, read: u64, events: &[Event], time: Duration) {
        let is_token = |event: &&Event| matches!(event, Event::Token { .. });
        let chosen = events.iter().filter(is_token).count() as u64;
        let counted = &mut self.counted;
        counted.batch = batch;
        counted.steps += 1;
        counted.chosen_tokens += chosen;
        counted.read_tokens += read;
        if read > 0 {
            counted.read_time += time;
        } else {
            counted.decoded_tokens += chosen;
            counted.decode_time += time;
        }
    }

    /// How many tokens of which sequences the next step computes; there is room for all of them.
    fn plan(&mut self) -> BTreeMap<SequenceId, usize> {
        let answering = self
            .running
            .values()
            .filter(|sequence| sequence.behind() == 1);
        // While others wait for their next token, prompts are read in smaller blocks.
        let mut block = match answering.count() {
            0 => self.options.prompt_block,
            _ => self.options.prompt_block / 4,
        }
        .max(1);
        let mut planned = BTreeMap::new();
        let mut waiting: VecDeque<SequenceId> = self.running.keys().copied().collect();
        while let Some(id) = waiting.pop_front() {
            let Some(mut sequence) = self.running.remove(&id) else {
                continue;
            };
            let behind = sequence.behind();
            let count = if behind == 1 { 1 } else { behind.min(block) };
            let mut has_room = count > 0;
            while has_room && !sequence.reserve(&mut self.pool, count) {
                // The youngest gives way, and is planned no more.
                match waiting.pop_back() {
                    Some(youngest) => {
                        if let Some(youngest) = self.running.get_mut(&youngest) {
                            let had_place = youngest.leave(&mut self.pool);
                            self.counted.evictions += u64::from(had_place);
                        }
                    }
                    None => has_room = false,
                }
            }
            let known = sequence.take_known();
            self.counted.known_tokens += known as u64;
            self.counted.prefix_hits += u64::from(known > 0);
            if has_room {
                // Part of the prompt may have been known.
                let count = count.min(sequence.behind());
                if count > 1 {
                    block -= count.min(block);
                }
                planned.insert(id, count);
            }
            self.running.insert(id, sequence);
        }
        planned
    }

    /// Drops a sequence without an event. False if it is not in flight.
    pub fn cancel(&mut self, sequence: SequenceId) -> bool {
        let Some(mut sequence) = self.running.remove(&sequence) else {
            return false;
        };
        sequence.leave(&mut self.pool);
        true
    }
}

impl Model {
    /// Makes one answer and returns when it is done. `on_token` is told of each token and the text that it adds.
    pub fn generate(
        &self,
        prompt: Vec<u32>,
        params: SamplingParams,
        mut on_token: impl FnMut(u32, &str),
    ) -> Result<Answer> {
        let capacity = Sequence::check(self, &prompt, &params)?;
        let mut pool = self.decoder.pool(capacity)?;
        let mut sequence = Sequence::new(self, prompt, params, capacity)?;
        let block = EngineOptions::default().prompt_block;
        loop {
            let begin = Instant::now();
            let is_ready = sequence.behind() <= block;
            if !sequence.reserve(&mut pool, block) {
                return Err(Error::Busy("its own cache is full".into()));
            }
            let Some(part) = sequence.part(block) else {
                return Err(Error::EmptyPrompt);
            };
            let logits = self.logits_of(&mut [part], &[is_ready], &mut pool)?;
            sequence.spend(begin.elapsed());
            if !is_ready {
                continue;
            }
            let token = sequence.choose(self, &logits)?;
            on_token(token.id, &token.text);
            if let Some(reason) = token.finished {
                return Ok(sequence.into_answer(reason));
            }
        }
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
