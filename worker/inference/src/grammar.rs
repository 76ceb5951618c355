//! Answers that have to be JSON: of all tokens only those are in the race with which the text so far can become it.
//!
//! The grammar is the crate llguidance's; a JSON schema is read as its documentation says. What is allowed depends on the
//! tokens so far alone, so that a validator allows the same.

use std::sync::{Arc, OnceLock};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};

use crate::detokenise::TokenBytes;
use crate::error::{Error, Result};

/// Bytes of a schema, at most.
pub const MAX_SCHEMA: usize = 64 << 10;
/// The logit of a token that is not allowed: far below any real one, and finite.
const NOT_ALLOWED: f32 = -1e30;

/// What an answer has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grammar {
    /// A JSON object.
    JsonObject,
    /// JSON that fits this schema (json-schema.org, as far as llguidance knows it).
    JsonSchema(String),
}

impl Grammar {
    /// Checks that it is one.
    pub(crate) fn validate(&self) -> Result<()> {
        self.parsed().map(|_| ())
    }

    fn parsed(&self) -> Result<TopLevelGrammar> {
        let bad = |what: String| Error::BadParameter(format!("the JSON schema {what}"));
        let mut schema: serde_json::Value = match self {
            Self::JsonObject => serde_json::json!({ "type": "object" }),
            Self::JsonSchema(text) if text.len() > MAX_SCHEMA => {
                return Err(bad(format!("has more than {MAX_SCHEMA} bytes")));
            }
            Self::JsonSchema(text) => {
                serde_json::from_str(text).map_err(|error| bad(format!("is no JSON: {error}")))?
            }
        };
        // One space where people put one: free white space is where small models lose themselves.
        if let Some(schema) = schema.as_object_mut() {
            let spaces = serde_json::json!({
                "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": ",
            });
            schema.entry("x-guidance").or_insert(spaces);
        }
        Ok(TopLevelGrammar::from_json_schema(schema))
    }
}

/// What grammars need to know of a tokenizer; made when the first answer needs it.
#[derive(Default)]
pub(crate) struct Vocabulary {
    factory: OnceLock<Result<ParserFactory, String>>,
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vocabulary")
    }
}

impl Vocabulary {
    /// Begins an answer of this form. `bytes` are those of the tokens, and `end` is the one that ends an answer.
    pub(crate) fn begin(
        &self,
        grammar: &Grammar,
        bytes: &TokenBytes,
        end: u32,
    ) -> Result<Constraint> {
        let factory = self.factory.get_or_init(|| {
            let factory = ParserFactory::new_simple(&environment(bytes, end));
            let mut factory = factory.map_err(|error| error.to_string())?;
            *factory.limits_mut() = ParserLimits::default();
            let _ = factory.quiet();
            Ok(factory)
        });
        let bad = |error: String| Error::BadParameter(format!("the JSON schema: {error}"));
        let factory = factory.as_ref().map_err(|error| bad(error.clone()))?;
        let parser = factory.create_parser(grammar.parsed()?);
        let matcher = Matcher::new(parser);
        match matcher.get_error() {
            Some(error) => Err(bad(error)),
            None => Ok(Constraint { matcher, end }),
        }
    }
}

fn environment(bytes: &TokenBytes, end: u32) -> TokEnv {
    let marked = |id: u32| {
        [
            &[TokTrie::SPECIAL_TOKEN_MARKER],
            format!("[{id}]").as_bytes(),
        ]
        .concat()
    };
    let words = (0..bytes.count() as u32).map(|id| match bytes.of(id) {
        // What has no text is never part of it; llguidance knows such tokens by their first byte.
        [] => marked(id),
        text => text.to_vec(),
    });
    let words: Vec<Vec<u8>> = words.collect();
    let info = TokRxInfo::new(words.len() as u32, end);
    Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words)))
}

/// Where an answer stands in its grammar.
pub(crate) struct Constraint {
    matcher: Matcher,
    end: u32,
}

impl Constraint {
    /// Takes all tokens out of the race that cannot follow.
    ///
    /// # Errors
    /// Where the grammar is too large to be followed further.
    pub(crate) fn restrict(&mut self, logits: &mut [f32]) -> Result<()> {
        let failed = |error: String| Error::BadParameter(format!("the JSON schema: {error}"));
        if self.matcher.is_stopped() {
            // The text is whole: only the end can follow. Also where what was said does not fit, which only answers that
            // are checked can do.
            let end = self.end as usize;
            let all = logits.iter_mut().enumerate();
            all.filter(|(id, _)| *id != end)
                .for_each(|(_, logit)| *logit = NOT_ALLOWED);
            return Ok(());
        }
        let mask = self
            .matcher
            .compute_mask()
            .map_err(|error| failed(error.to_string()))?;
        for (id, logit) in logits.iter_mut().enumerate() {
            if id >= mask.len() || !mask.is_allowed(id as u32) {
                *logit = NOT_ALLOWED;
            }
        }
        Ok(())
    }

    /// Adds a token of the answer.
    pub(crate) fn accept(&mut self, id: u32) {
        if !self.matcher.is_stopped() {
            // What does not fit leaves the matcher stopped with an error.
            let _ = self.matcher.consume_token(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, EngineOptions};
    use crate::model::tests::load;
    use crate::sequence::{FinishReason, SamplingParams};
    use crate::test_model;
    use crate::verify::Claim;

    fn answer(grammar: Option<Grammar>, seed: u64) -> crate::sequence::Answer {
        let model = load(test_model::gguf()).expect("loads");
        let params = SamplingParams {
            temperature: 1.0,
            seed,
            max_tokens: 60,
            grammar,
            ..SamplingParams::default()
        };
        let answer = model
            .generate(vec![9, 4], params.clone(), |_, _| {})
            .expect("runs");
        let claim = Claim {
            prompt: &[9, 4],
            ids: &answer.ids,
            reason: answer.reason,
            text: &answer.text,
            params: &params,
            context: model.info().context,
        };
        let found = model.verify(&claim, &[], &[]).expect("checks");
        assert_eq!(
            (found.largest_gap_milli, found.matches),
            (0, found.positions)
        );
        answer
    }

    #[test]
    fn a_random_model_writes_what_the_schema_asks_for() {
        let schema = r#"{"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"enum": ["x", "yy"]}},
            "required": ["a", "b"], "additionalProperties": false}"#;
        for seed in 0..8 {
            let answer = answer(Some(Grammar::JsonSchema(schema.into())), seed);
            assert_eq!(answer.reason, FinishReason::Stop, "{:?}", answer.text);
            let value: serde_json::Value = serde_json::from_str(&answer.text).expect("JSON");
            assert!(
                value["a"].is_boolean()
                    && ["x", "yy"].contains(&value["b"].as_str().expect("a text"))
            );
        }
        // Without it, it does not.
        assert!(serde_json::from_str::<serde_json::Value>(&answer(None, 0).text).is_err());
    }

    #[test]
    fn an_object_begins_as_one_and_other_answers_are_found_out() {
        for seed in 0..4 {
            assert!(
                answer(Some(Grammar::JsonObject), seed)
                    .text
                    .trim_start()
                    .starts_with('{')
            );
        }
        let model = load(test_model::gguf()).expect("loads");
        let plain = answer(None, 1);
        let params = SamplingParams {
            temperature: 1.0,
            seed: 1,
            max_tokens: 60,
            grammar: Some(Grammar::JsonObject),
            ..SamplingParams::default()
        };
        let claim = Claim {
            prompt: &[9, 4],
            ids: &plain.ids,
            reason: plain.reason,
            text: &plain.text,
            params: &params,
            context: model.info().context,
        };
        let found = model.verify(&claim, &[], &[1_000_000]).expect("checks");
        assert_eq!(found.largest_gap_milli, u32::MAX);
    }

    #[test]
    fn schemas_that_are_none_are_refused_with_the_reason() {
        let model = load(test_model::gguf()).expect("loads");
        let mut engine = Engine::new(model, EngineOptions::default()).expect("memory");
        for schema in [
            "nonsense",
            "{\"type\": \"nothing\"}",
            &" ".repeat(MAX_SCHEMA + 1),
        ] {
            let params = SamplingParams {
                grammar: Some(Grammar::JsonSchema(schema.to_owned())),
                ..SamplingParams::default()
            };
            let error = engine
                .start(vec![1], params)
                .expect_err("refused")
                .to_string();
            assert!(error.contains("JSON schema"), "{error}");
        }
        assert_eq!(engine.in_flight(), 0);
    }
}
