//! The answers that are checked: of honest machines, of cheats that compute something else, and of cheats that alter
//! what an honest machine made.

use super::stacks::Stack;
use super::{Kind, Options, is_held_out};
use crate::chat_template::ChatMessage;
use crate::ending::Ending;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::philox::{Domain, block};
use crate::sequence::{Answer, FinishReason, SamplingParams};
use crate::verify::{Claim, Probe};

/// Probes of an answer, as an audit has them.
pub(crate) const PROBES: u32 = 16;

/// An answer and what it claims to be.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub author: String,
    pub kind: Kind,
    /// The prompt's number.
    pub prompt: usize,
    pub is_sampled: bool,
    prompt_ids: Vec<u32>,
    params: SamplingParams,
    pub ids: Vec<u32>,
    reason: FinishReason,
    text: String,
}

/// What a validator found.
#[derive(Debug, Clone)]
pub(crate) struct Vote {
    /// The number of the answer.
    pub answer: usize,
    pub verifier: &'static str,
    /// Of every position, in thousandths of a logit.
    pub gaps: Vec<u32>,
    pub matches: u32,
    pub differences: Vec<i32>,
    /// Ends and text are as the rules say.
    pub is_formed: bool,
}

/// An answer with what it was asked for, as a file keeps it. Thousandths where a job has thousandths.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Recorded {
    /// Who made it.
    pub author: String,
    /// What that is.
    pub kind: Kind,
    /// The question.
    pub prompt: String,
    /// The length of its prompt in tokens.
    pub prompt_tokens: usize,
    /// What the parameters of the job say.
    pub max_tokens: u32,
    /// Temperature, in thousandths.
    pub temperature_milli: u32,
    /// Tokens kept; 0 for all.
    pub top_k: u32,
    /// In thousandths.
    pub top_p_milli: u32,
    /// In thousandths.
    pub min_p_milli: u32,
    /// The seed of sampling.
    pub seed: u64,
    /// The answer's tokens.
    pub ids: Vec<u32>,
    /// True if it claims to have ended by itself.
    pub stopped: bool,
    /// Its text.
    pub text: String,
}

impl Answered {
    /// As a file keeps it.
    pub(super) fn recorded(&self, prompts: &[String]) -> Recorded {
        let milli = |value: f64| (value * 1_000.0).round() as u32;
        Recorded {
            author: self.author.clone(),
            kind: self.kind,
            prompt: prompts[self.prompt].clone(),
            prompt_tokens: self.prompt_ids.len(),
            max_tokens: self.params.max_tokens,
            temperature_milli: milli(self.params.temperature),
            top_k: self.params.top_k,
            top_p_milli: milli(self.params.top_p),
            min_p_milli: milli(self.params.min_p),
            seed: self.params.seed,
            ids: self.ids.clone(),
            stopped: self.reason == FinishReason::Stop,
            text: self.text.clone(),
        }
    }

    /// The positions that are probed, the same for every validator.
    fn probes(&self, answer: usize) -> Vec<Probe> {
        let draw = |index: u32| block(answer as u64, Domain::Token, index, 0);
        let probe = |index| {
            let [a, b, c, _] = draw(index);
            let position = a % self.ids.len() as u32;
            let decoy = u64::from(b) << 32 | u64::from(c);
            Probe { position, decoy }
        };
        (0..PROBES).map(probe).collect()
    }

    /// Checks it.
    pub(crate) fn check(
        &self,
        model: &Model,
        answer: usize,
        verifier: &'static str,
    ) -> Result<Vote> {
        let claim = Claim {
            prompt: &self.prompt_ids,
            ids: &self.ids,
            reason: self.reason,
            text: &self.text,
            params: &self.params,
            context: model.info().context,
        };
        let found = model.compare(&claim, &self.probes(answer), 512, 128)?;
        let ending = model.ending(&claim);
        Ok(Vote {
            answer,
            verifier,
            gaps: found.gaps,
            matches: found.matches,
            differences: found.differences,
            is_formed: ending.is_right(&claim) && ending.text == self.text,
        })
    }
}

/// How an answer is asked for: greedily, or with one of four mixtures of filters.
fn params(prompt: usize, is_sampled: bool, tokens: u32) -> SamplingParams {
    let greedy = SamplingParams {
        max_tokens: tokens,
        seed: 1000 + prompt as u64,
        ..SamplingParams::default()
    };
    if !is_sampled {
        return greedy;
    }
    // Held out and not take turns, so each of the four is on both sides.
    match prompt / 2 % 4 {
        0 => SamplingParams {
            temperature: 0.8,
            ..greedy
        },
        1 => SamplingParams {
            temperature: 0.7,
            top_p: 0.95,
            ..greedy
        },
        2 => SamplingParams {
            temperature: 1.0,
            top_k: 40,
            ..greedy
        },
        _ => SamplingParams {
            temperature: 1.0,
            min_p: 0.05,
            ..greedy
        },
    }
}

/// A question's prompt; models without a chat template complete it.
fn prompt_ids(model: &Model, text: &str) -> Result<Vec<u32>> {
    match model.text().has_template() {
        true => model.encode(&model.render_chat(&[ChatMessage::new("user", text)])?),
        false => model.encode(text),
    }
}

/// Answers to the prompts that are `asked`, each greedy and sampled. `make` is told the prompt's number, its ids and the
/// parameters; where it makes nothing, there is nothing to cheat about.
fn ask(
    model: &Model,
    options: &Options,
    author: &str,
    kind: Kind,
    asked: impl Fn(usize) -> bool,
    mut make: impl FnMut(usize, &[u32], &SamplingParams) -> Result<Option<Answer>>,
) -> Result<Vec<Answered>> {
    let mut all = Vec::new();
    let prompts = options.prompts.iter().enumerate();
    for (prompt, text) in prompts.filter(|(prompt, _)| asked(*prompt)) {
        for is_sampled in [false, true] {
            let (prompt_ids, params) = (
                prompt_ids(model, text)?,
                params(prompt, is_sampled, options.tokens),
            );
            let Some(answer) = make(prompt, &prompt_ids, &params)? else {
                continue;
            };
            let Answer {
                reason, ids, text, ..
            } = answer;
            all.push(Answered {
                author: author.to_owned(),
                kind,
                prompt,
                is_sampled,
                prompt_ids,
                params,
                ids,
                reason,
                text,
            });
        }
    }
    Ok(all)
}

/// What a stack answers, doing exactly as it is asked.
pub(crate) fn of_stack(
    model: &Model,
    author: &str,
    stack: Stack,
    options: &Options,
) -> Result<Vec<Answered>> {
    let asked = |prompt| stack.is_fitted() || is_held_out(prompt);
    ask(
        model,
        options,
        author,
        stack.kind(),
        asked,
        |_, ids, params| {
            Ok(Some(model.generate(
                ids.to_vec(),
                params.clone(),
                |_, _| {},
            )?))
        },
    )
}

/// What other programs answered to prompts that are held out.
pub(crate) fn of_others(model: &Model, options: &Options) -> Result<Vec<Answered>> {
    let text = model.text();
    let mut all = Vec::new();
    for other in &options.others {
        let mut prompts = options.prompts.iter();
        let Some(prompt) = prompts.position(|prompt| *prompt == other.prompt) else {
            continue;
        };
        if !is_held_out(prompt) {
            continue;
        }
        let prompt_ids = prompt_ids(model, &other.prompt)?;
        if prompt_ids != other.prompt_ids {
            let (author, prompt) = (&other.author, &other.prompt);
            return Err(Error::BadParameter(format!(
                "{author} saw other tokens than this model has for the prompt \"{prompt}\""
            )));
        }
        let params = params(prompt, false, options.tokens);
        let ending = Ending::of(&text, &other.ids, &params, params.max_tokens as usize);
        all.push(Answered {
            author: other.author.clone(),
            kind: Kind::Honest,
            prompt,
            is_sampled: false,
            prompt_ids,
            params,
            ids: other.ids.clone(),
            reason: ending.reason.unwrap_or(FinishReason::Length),
            text: ending.text,
        });
    }
    Ok(all)
}

/// What a cheat asks the model for instead of what it was asked; `None` where that would be the same.
type Otherwise = fn(&SamplingParams) -> Option<SamplingParams>;

const OTHERWISE: [(&str, Otherwise); 4] = [
    ("other temperature", |params| {
        let greedy = params.temperature == 0.0;
        let temperature = if greedy {
            0.7
        } else {
            params.temperature * 1.5
        };
        Some(SamplingParams {
            temperature,
            ..params.clone()
        })
    }),
    ("temperature a tenth higher", |params| {
        let temperature = params.temperature * 1.1;
        (temperature > 0.0).then(|| SamplingParams {
            temperature,
            ..params.clone()
        })
    }),
    ("greedy for sampled", |params| {
        let greedy = || SamplingParams {
            temperature: 0.0,
            ..params.clone()
        };
        (params.temperature > 0.0).then(greedy)
    }),
    ("other seed", |params| {
        let other = || SamplingParams {
            seed: params.seed + 1,
            ..params.clone()
        };
        (params.temperature > 0.0).then(other)
    }),
];

/// What cheats make who run the model itself but not what was asked, or alter what came of it.
pub(crate) fn altered(
    model: &Model,
    answers: &[Answered],
    options: &Options,
) -> Result<Vec<Answered>> {
    let generate = |ids: &[u32], params: SamplingParams| {
        model.generate(ids.to_vec(), params, |_, _| {}).map(Some)
    };
    let mut all = Vec::new();
    for (author, otherwise) in OTHERWISE {
        all.extend(ask(
            model,
            options,
            author,
            Kind::Cheat,
            is_held_out,
            |_, ids, params| otherwise(params).map_or(Ok(None), |params| generate(ids, params)),
        )?);
    }
    all.extend(ask(
        model,
        options,
        "other prompt",
        Kind::Cheat,
        is_held_out,
        |prompt, _, params| {
            let other = &options.prompts[(prompt + 1) % options.prompts.len()];
            generate(&prompt_ids(model, other)?, params.clone())
        },
    )?);
    let honest: Vec<&Answered> = answers
        .iter()
        .filter(|answer| answer.author == Stack::honest()[0].0)
        .filter(|answer| is_held_out(answer.prompt) && answer.ids.len() >= 8)
        .collect();
    for (author, edit) in edits() {
        for answer in &honest {
            all.extend(edited(model, answer, author, edit));
        }
    }
    Ok(all)
}

type Edit = fn(&Model, &Answered) -> Vec<u32>;

/// What can be done to an answer without any model. The reason that is claimed afterwards is the best for the cheat.
fn edits() -> [(&'static str, Edit); 4] {
    [
        ("truncated", |_, answer| {
            answer.ids[..answer.ids.len() * 3 / 4].to_vec()
        }),
        ("truncated, with an end token", |model, answer| {
            let mut ids = answer.ids[..answer.ids.len() / 2].to_vec();
            ids.push(model.text().stop_tokens()[0]);
            ids
        }),
        ("padded", |_, answer| {
            let half = &answer.ids[..answer.ids.len() / 2];
            let tail = &half[half.len() - half.len().min(4)..];
            let room = answer.params.max_tokens as usize - half.len();
            half.iter()
                .chain(tail.iter().cycle().take(room))
                .copied()
                .collect()
        }),
        ("one token altered", |model, answer| {
            let mut ids = answer.ids.clone();
            let [word, ..] = block(answer.prompt as u64, Domain::Token, 7, 7);
            let middle = ids.len() / 2;
            ids[middle] = word % model.info().vocabulary as u32;
            ids
        }),
    ]
}

fn edited(model: &Model, answer: &Answered, author: &str, edit: Edit) -> Option<Answered> {
    let ids = edit(model, answer);
    let text = model.text();
    let ending = Ending::of(
        &text,
        &ids,
        &answer.params,
        answer.params.max_tokens as usize,
    );
    if ids == answer.ids || text.stop_tokens().is_empty() {
        return None;
    }
    Some(Answered {
        author: author.to_owned(),
        kind: Kind::Cheat,
        reason: ending.reason.unwrap_or(FinishReason::Length),
        text: ending.text,
        ids,
        ..answer.clone()
    })
}
