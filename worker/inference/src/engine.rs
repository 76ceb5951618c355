//! Runs several answers on one model, one step at a time.
//!
//! Whoever owns the engine calls [`Engine::step`] in a loop and hands its events on. Each step takes every sequence one
//! token, or one block of its prompt, further; so a long prompt does not hold up the others for long, and a sequence
//! gets the same tokens whatever runs beside it.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::model::Model;
use crate::sequence::{Answer, SamplingParams, Sequence};

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

/// A model at work.
pub struct Engine {
    model: Model,
    options: EngineOptions,
    running: BTreeMap<SequenceId, Running>,
    next: u64,
}

struct Running {
    sequence: Sequence,
    cache_bytes: u64,
}

impl Engine {
    /// An engine without any sequence.
    pub fn new(model: Model, options: EngineOptions) -> Self {
        Self {
            model,
            options,
            running: BTreeMap::new(),
            next: 0,
        }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Sequences in flight.
    pub fn in_flight(&self) -> usize {
        self.running.len()
    }

    /// Admits a sequence; its memory is set aside now, so that it cannot fail for lack of it later.
    ///
    /// The answer's length is bounded by `max_tokens` and by what the prompt leaves of the context.
    ///
    /// # Errors
    /// [`Error::Busy`] if there is no room now; all others mean that this request can never be run here.
    pub fn start(&mut self, prompt: Vec<u32>, params: SamplingParams) -> Result<SequenceId> {
        let capacity = Sequence::check(&self.model, &prompt, &params)?;
        let needed = (capacity as u64).saturating_mul(self.model.info().cache_bytes_per_token);
        let budget = self.options.cache_bytes;
        if needed > budget {
            return Err(Error::TooLarge { needed, budget });
        }
        if self.running.len() >= self.options.max_sequences {
            return Err(Error::Busy(format!(
                "{} sequences are in flight",
                self.running.len()
            )));
        }
        let used: u64 = self
            .running
            .values()
            .map(|running| running.cache_bytes)
            .sum();
        if needed > budget - used {
            return Err(Error::Busy(format!(
                "{needed} bytes of cache are needed, {} are free",
                budget - used
            )));
        }
        let sequence = Sequence::new(&self.model, prompt, params, capacity)?;
        let id = SequenceId(self.next);
        self.next += 1;
        self.running.insert(
            id,
            Running {
                sequence,
                cache_bytes: needed,
            },
        );
        Ok(id)
    }

    /// Takes every sequence one step further, the oldest first. Without any, returns at once with nothing.
    pub fn step(&mut self) -> Vec<Event> {
        let block = self.options.prompt_block.max(1);
        let mut events = Vec::new();
        let mut ended = Vec::new();
        for (&sequence, running) in &mut self.running {
            match running.sequence.advance(&self.model, block) {
                Ok(None) => {}
                Ok(Some(token)) => {
                    events.push(Event::Token {
                        sequence,
                        id: token.id,
                        text: token.text,
                    });
                    ended.extend(token.finished.map(|reason| (sequence, Ok(reason))));
                }
                Err(error) => ended.push((sequence, Err(error))),
            }
        }
        for (sequence, outcome) in ended {
            let Some(running) = self.running.remove(&sequence) else {
                continue;
            };
            events.push(match outcome {
                Ok(reason) => Event::Finished {
                    sequence,
                    answer: running.sequence.into_answer(reason),
                },
                Err(error) => Event::Failed { sequence, error },
            });
        }
        events
    }

    /// Drops a sequence without an event. False if it is not in flight.
    pub fn cancel(&mut self, sequence: SequenceId) -> bool {
        self.running.remove(&sequence).is_some()
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
        let mut sequence = Sequence::new(self, prompt, params, capacity)?;
        loop {
            let Some(token) = sequence.advance(self, EngineOptions::default().prompt_block)? else {
                continue;
            };
            on_token(token.id, &token.text);
            if let Some(reason) = token.finished {
                return Ok(sequence.into_answer(reason));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::load;
    use crate::sequence::FinishReason;
    use crate::test_model;

    fn model() -> Model {
        load(test_model::gguf()).expect("the test model loads")
    }

    fn sampled(seed: u64, max_tokens: u32) -> SamplingParams {
        SamplingParams {
            temperature: 1.5,
            seed,
            max_tokens,
            ..SamplingParams::default()
        }
    }

    /// Steps until nothing is in flight; the answers by sequence.
    fn run(engine: &mut Engine) -> BTreeMap<SequenceId, Answer> {
        let mut answers = BTreeMap::new();
        let mut texts: BTreeMap<SequenceId, String> = BTreeMap::new();
        while engine.in_flight() > 0 {
            for event in engine.step() {
                match event {
                    Event::Token { sequence, text, .. } => {
                        *texts.entry(sequence).or_default() += &text
                    }
                    Event::Finished { sequence, answer } => {
                        assert_eq!(texts[&sequence], answer.text);
                        assert_eq!(engine.model().decode(&answer.ids), answer.text);
                        answers.insert(sequence, answer);
                    }
                    Event::Failed { error, .. } => panic!("{error}"),
                }
            }
        }
        answers
    }

    #[test]
    fn sequences_get_the_same_tokens_together_as_alone() {
        let model = model();
        let prompts: Vec<Vec<u32>> = vec![vec![5], vec![9, 3, 40, 7], (1..20).collect()];
        let alone: Vec<Vec<u32>> = prompts
            .iter()
            .zip(0..)
            .map(|(prompt, seed)| {
                model
                    .generate(prompt.clone(), sampled(seed, 15), |_, _| {})
                    .expect("runs")
                    .ids
            })
            .collect();
        let mut engine = Engine::new(model, EngineOptions::default());
        let starts = prompts.into_iter().zip(0..);
        let ids: Vec<_> = starts
            .map(|(p, seed)| engine.start(p, sampled(seed, 15)).expect("starts"))
            .collect();
        let answers = run(&mut engine);
        let together: Vec<_> = ids.iter().map(|id| answers[id].ids.clone()).collect();
        assert_eq!(alone, together);
        assert_ne!(alone[0], alone[1]);
    }

    #[test]
    fn a_prompt_in_blocks_gives_the_tokens_of_a_prompt_in_one() {
        let whole = model()
            .generate((1..40).collect(), SamplingParams::default(), |_, _| {})
            .expect("runs");
        for prompt_block in [1, 7, 38] {
            let mut engine = Engine::new(
                model(),
                EngineOptions {
                    prompt_block,
                    ..EngineOptions::default()
                },
            );
            let id = engine
                .start((1..40).collect(), SamplingParams::default())
                .expect("starts");
            assert_eq!(
                run(&mut engine)[&id].ids,
                whole.ids,
                "blocks of {prompt_block}"
            );
        }
    }

    #[test]
    fn an_answer_ends_at_its_limit_or_with_the_context() {
        let answer = model()
            .generate(vec![1, 2], sampled(1, 3), |_, _| {})
            .expect("runs");
        assert_eq!(
            (answer.reason, answer.usage.output_tokens),
            (FinishReason::Length, 3)
        );
        let prompt: Vec<u32> = (1..61).collect();
        let answer = model()
            .generate(prompt, sampled(1, 1000), |_, _| {})
            .expect("runs");
        assert_eq!(
            answer.usage,
            crate::sequence::Usage {
                prompt_tokens: 60,
                output_tokens: 4
            }
        );
    }

    #[test]
    fn an_answer_ends_with_the_stop_token_which_has_no_text() {
        let model = model();
        let ends = (0..400).map(|seed| {
            model
                .generate(vec![9], sampled(seed, 50), |_, _| {})
                .expect("runs")
        });
        let answer = ends
            .into_iter()
            .find(|answer| answer.reason == FinishReason::Stop)
            .expect("one of 400 ends");
        assert_eq!(
            answer.ids.iter().position(|&id| id == 0),
            Some(answer.ids.len() - 1)
        );
        assert!(!answer.text.contains("<end>"));
    }

    #[test]
    fn an_answer_ends_with_the_token_that_completes_a_stop_string() {
        let model = model();
        let whole = model
            .generate(vec![9, 4], sampled(3, 30), |_, _| {})
            .expect("runs");
        let middle: String = whole.text.chars().skip(4).take(3).collect();
        assert_eq!(
            middle.chars().count(),
            3,
            "the answer is too short for this test: {:?}",
            whole.text
        );
        let params = SamplingParams {
            stop: vec!["never there".into(), middle.clone()],
            ..sampled(3, 30)
        };
        let cut = model.generate(vec![9, 4], params, |_, _| {}).expect("runs");
        assert_eq!(cut.reason, FinishReason::StopString);
        assert!(
            cut.text.contains(&middle)
                && whole.text.starts_with(&cut.text)
                && cut.text.len() < whole.text.len()
        );
    }

    #[test]
    fn requests_that_cannot_be_run_are_refused_with_the_reason() {
        let mut engine = Engine::new(
            model(),
            EngineOptions {
                cache_bytes: 128 * 20,
                ..EngineOptions::default()
            },
        );
        let start = |engine: &mut Engine, prompt, params| {
            engine.start(prompt, params).expect_err("refused")
        };
        assert!(matches!(
            start(&mut engine, vec![], sampled(0, 1)),
            Error::EmptyPrompt
        ));
        assert!(matches!(
            start(&mut engine, vec![1; 64], sampled(0, 1)),
            Error::PromptTooLong {
                prompt: 64,
                context: 64
            }
        ));
        assert!(matches!(
            start(&mut engine, vec![259], sampled(0, 1)),
            Error::BadParameter(_)
        ));
        assert!(matches!(
            start(&mut engine, vec![1], sampled(0, 0)),
            Error::BadParameter(_)
        ));
        assert!(matches!(
            start(&mut engine, vec![1], sampled(0, 20)),
            Error::TooLarge { .. }
        ));
        let empty_stop = SamplingParams {
            stop: vec![String::new()],
            ..sampled(0, 5)
        };
        assert!(matches!(
            start(&mut engine, vec![1], empty_stop),
            Error::BadParameter(_)
        ));
        assert_eq!(engine.in_flight(), 0);
    }

    #[test]
    fn a_full_engine_says_so_and_has_room_again_after_a_cancel() {
        let options = EngineOptions {
            max_sequences: 2,
            cache_bytes: 128 * 20,
            prompt_block: 512,
        };
        let mut engine = Engine::new(model(), options);
        let first = engine.start(vec![1], sampled(0, 9)).expect("room for one");
        engine.start(vec![1], sampled(0, 7)).expect("room for two");
        assert!(matches!(
            engine.start(vec![1], sampled(0, 1)),
            Err(Error::Busy(_))
        ));
        assert!(engine.cancel(first) && !engine.cancel(first));
        assert!(matches!(
            engine.start(vec![1], sampled(0, 15)),
            Err(Error::Busy(_))
        ));
        engine.start(vec![1], sampled(0, 9)).expect("room again");
        assert_eq!(run(&mut engine).len(), 2);
    }
}
