//! `emc-infer generate`: one answer, or several, with all that is needed to check them.

use std::io::Write;

use anyhow::{Result, ensure};
use clap::Args;
use emc_inference::{
    Answer, ChatMessage, Engine, EngineOptions, Event, FinishReason, Grammar, Model, SamplingParams,
};
use serde::{Deserialize, Serialize};

use crate::options::{ModelOptions, SamplingOptions, text};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
    /// What to answer or to complete; `-` reads it from standard input.
    prompt: String,
    /// Said to the model before the prompt.
    #[arg(long)]
    system: Option<String>,
    /// Completes the text as it is, without the model's chat template.
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    /// Several answers, with the seed and those after it.
    #[arg(short, default_value_t = 1)]
    n: usize,
    #[command(flatten)]
    sampling: SamplingOptions,
    /// Tells with each token how likely it was, and this many of the likeliest (with --json).
    #[arg(long, requires = "json")]
    logprobs: Option<u8>,
    /// Prints one JSON object an answer, which `emc-infer verify` can check.
    #[arg(long)]
    json: bool,
}

/// An answer with all that is needed to check it.
#[derive(Serialize, Deserialize)]
pub struct Record {
    /// The root of the model's files.
    pub model: String,
    /// The prompt's text, template included.
    pub prompt: String,
    pub prompt_ids: Vec<u32>,
    pub ids: Vec<u32>,
    pub text: String,
    /// `stop`, `length` or `stop_string`.
    pub finish_reason: String,
    pub params: Params,
    /// Tokens that prompt and answer might have together.
    pub context: usize,
    pub prompt_tokens: u32,
    pub output_tokens: u32,
    pub prefill_seconds: f64,
    pub decode_seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub logprobs: Vec<TokenLogprobs>,
}

/// How likely a token was.
#[derive(Serialize, Deserialize)]
pub struct TokenLogprobs {
    pub id: u32,
    pub logprob: f32,
    /// The likeliest ids, with theirs.
    pub top: Vec<(u32, f32)>,
}

/// How the tokens were chosen.
#[derive(Serialize, Deserialize)]
pub struct Params {
    pub temperature: f64,
    pub top_k: u32,
    pub top_p: f64,
    pub min_p: f64,
    pub seed: u64,
    pub max_tokens: u32,
    pub stop: Vec<String>,
    pub repetition_penalty: f64,
    pub frequency_penalty: f64,
    pub presence_penalty: f64,
    /// The schema of an answer that is to be JSON; empty for any object.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub json: Option<String>,
}

impl From<&SamplingParams> for Params {
    fn from(params: &SamplingParams) -> Self {
        Self {
            temperature: params.temperature,
            top_k: params.top_k,
            top_p: params.top_p,
            min_p: params.min_p,
            seed: params.seed,
            max_tokens: params.max_tokens,
            stop: params.stop.clone(),
            repetition_penalty: params.adjustments.repetition_penalty,
            frequency_penalty: params.adjustments.frequency_penalty,
            presence_penalty: params.adjustments.presence_penalty,
            json: params.grammar.as_ref().map(|grammar| match grammar {
                Grammar::JsonObject => String::new(),
                Grammar::JsonSchema(schema) => schema.clone(),
            }),
        }
    }
}

impl Params {
    /// As the library wants them.
    pub fn sampling(&self) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            seed: self.seed,
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            adjustments: emc_inference::Adjustments {
                repetition_penalty: self.repetition_penalty,
                frequency_penalty: self.frequency_penalty,
                presence_penalty: self.presence_penalty,
                logit_bias: Vec::new(),
            },
            grammar: self.json.as_deref().map(|schema| match schema {
                "" => Grammar::JsonObject,
                schema => Grammar::JsonSchema(schema.to_owned()),
            }),
            ..SamplingParams::default()
        }
    }
}

pub fn reason_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::StopString => "stop_string",
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        (1..=256).contains(&arguments.n),
        "-n must be between 1 and 256"
    );
    let model = arguments.model.load()?;
    let given = text(&arguments.prompt)?;
    let prompt = match arguments.raw || !model.text().has_template() {
        true => given,
        false => {
            let system = arguments.system.iter();
            let system = system.map(|system| ChatMessage::new("system", system));
            let messages: Vec<_> = system.chain([ChatMessage::new("user", given)]).collect();
            model.render_chat(&messages)?
        }
    };
    let prompt_ids = model.encode(&prompt)?;
    let params = SamplingParams {
        logprobs: arguments.logprobs,
        ..arguments.sampling.params(model.defaults())?
    };
    let streams = arguments.n == 1 && !arguments.json;
    let (root, context) = (hex::encode(model.info().root.root), model.info().context);
    let (model, answers) = answers(model, &prompt_ids, &params, arguments.n, streams)?;
    for (index, (answer, logprobs)) in answers.into_iter().enumerate() {
        let seed = params.seed.wrapping_add(index as u64);
        if arguments.json {
            let record = Record {
                model: root.clone(),
                prompt: prompt.clone(),
                prompt_ids: prompt_ids.clone(),
                text: cut(&answer, &params.stop),
                ids: answer.ids,
                finish_reason: reason_name(answer.reason).to_owned(),
                params: Params {
                    seed,
                    ..Params::from(&params)
                },
                context,
                prompt_tokens: answer.usage.prompt_tokens,
                output_tokens: answer.usage.output_tokens,
                prefill_seconds: answer.timings.prefill.as_secs_f64(),
                decode_seconds: answer.timings.decode.as_secs_f64(),
                logprobs,
            };
            println!("{}", serde_json::to_string(&record)?);
        } else if !streams {
            println!("--- seed {seed}\n{}", cut(&answer, &params.stop));
        }
    }
    drop(model);
    Ok(())
}

/// The text without the stop string that ended it, and what follows.
fn cut(answer: &Answer, stops: &[String]) -> String {
    let ends = stops.iter().filter_map(|stop| answer.text.find(stop));
    match ends.min() {
        Some(end) if answer.reason == FinishReason::StopString => answer.text[..end].to_owned(),
        _ => answer.text.clone(),
    }
}

type Told = (Answer, Vec<TokenLogprobs>);

/// Makes the answers side by side. Where there is one, its text is shown as it comes.
fn answers(
    model: Model,
    prompt: &[u32],
    params: &SamplingParams,
    count: usize,
    streams: bool,
) -> Result<(Engine, Vec<Told>)> {
    let info = model.info();
    let longest = (prompt.len() + params.max_tokens as usize).min(info.context) + 64;
    let options = EngineOptions {
        max_sequences: count,
        cache_bytes: info.cache_bytes_per_token * (longest * count) as u64,
        ..EngineOptions::default()
    };
    let mut engine = Engine::new(model, options)?;
    let started = engine.start_several(prompt, params, count)?;
    let mut logprobs: Vec<Vec<TokenLogprobs>> = started.iter().map(|_| Vec::new()).collect();
    let mut done: Vec<Option<Answer>> = started.iter().map(|_| None).collect();
    let index_of = |sequence| started.iter().position(|&id| id == sequence);
    let mut shown = std::io::stdout().lock();
    while engine.in_flight() > 0 {
        for event in engine.step() {
            match event {
                Event::Token {
                    sequence,
                    id,
                    text,
                    logprobs: told,
                } => {
                    if streams {
                        write!(shown, "{text}")?;
                        shown.flush()?;
                    }
                    if let (Some(index), Some(told)) = (index_of(sequence), told) {
                        logprobs[index].push(TokenLogprobs {
                            id,
                            logprob: told.chosen,
                            top: told.top,
                        });
                    }
                }
                Event::Finished { sequence, answer } => {
                    if let Some(index) = index_of(sequence) {
                        done[index] = Some(answer);
                    }
                }
                Event::Failed { error, .. } => return Err(error.into()),
                _ => {}
            }
        }
    }
    if streams {
        writeln!(shown)?;
    }
    let told = done.into_iter().flatten().zip(logprobs).collect();
    Ok((engine, told))
}
