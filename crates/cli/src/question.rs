//! What chat and quote share: the model, the parameters and the prompt on the command line.

use crate::{decimals, words};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use emc_client::protocol::escrow::QuoteArgs;
use emc_client::protocol::model::{ModelFilter, Task};
use emc_client::protocol::{Assurance, ModelRef, Parameters, Tokens, limits};
use emc_client::{Escrow, Registry};
use std::collections::BTreeSet;
use std::io::{IsTerminal, Read};

/// How the answer is chosen.
#[derive(Clone, Debug, Args)]
pub struct Sampling {
    /// The model, or model@version [default: the only one there is]
    #[arg(long, short = 'm', env = "EMC_MODEL", value_name = "MODEL", value_parser = words::model_ref, help_heading = "Model")]
    pub model: Option<ModelRef>,
    /// Most tokens of the answer
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::OUTPUT_TOKENS)), help_heading = "Model")]
    pub max_tokens: u32,
    /// 0 always takes the likeliest token; 1 follows the model's own probabilities
    #[arg(long, default_value = "0", value_name = "DECIMAL", value_parser = decimals::temperature, help_heading = "Model")]
    pub temperature: u32,
    /// Keep the likeliest tokens up to this probability in all
    #[arg(long, default_value = "1", value_name = "DECIMAL", value_parser = decimals::probability, help_heading = "Model")]
    pub top_p: u32,
    /// Keep this many of the likeliest tokens; 0 keeps all
    #[arg(long, default_value_t = 0, help_heading = "Model")]
    pub top_k: u32,
    /// Keep tokens at least this likely relative to the likeliest
    #[arg(long, default_value = "0", value_name = "DECIMAL", value_parser = decimals::probability, help_heading = "Model")]
    pub min_p: u32,
    /// End the answer before this text (may be repeated)
    #[arg(long, value_name = "TEXT", help_heading = "Model")]
    pub stop: Vec<String>,
    /// How strongly validators are to check the answer; what that costs is inside the price
    #[arg(long, value_enum, default_value = "none", help_heading = "Price")]
    pub assurance: Checked,
}

/// How strongly an answer is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Checked {
    /// Not at all: the receipt alone says who computed it
    None,
    /// At random, with a bond that makes cheating a loss on average
    Sampled,
    /// For certain
    Always,
}

impl From<Checked> for Assurance {
    fn from(checked: Checked) -> Self {
        match checked {
            Checked::None => Self::None,
            Checked::Sampled => Self::Sampled,
            Checked::Always => Self::Always,
        }
    }
}

impl Sampling {
    /// As the protocol has them.
    pub fn parameters(&self) -> Parameters {
        Parameters {
            max_tokens: self.max_tokens,
            temperature_milli: self.temperature,
            top_k: self.top_k,
            top_p_milli: self.top_p,
            min_p_milli: self.min_p,
            stop: self.stop.clone(),
        }
    }

    /// The model that is meant: the one that is named, or the only one for chat.
    pub async fn model(&self, registry: &Registry) -> Result<ModelRef> {
        if let Some(model) = &self.model {
            return Ok(model.clone());
        }
        only_model(registry, Task::Chat).await
    }
}

/// The most that every live node could take a job for, by a quote.
pub async fn quoted_price(escrow: &Escrow, asked: QuoteArgs, queue: bool) -> Result<Tokens> {
    let quote = escrow.quote(asked).await?;
    quote.highest_max_price.with_context(|| {
        let model = words::model(&quote.model);
        if queue {
            format!("no live node serves {model} now, so there is no price to go by; say what you would pay with --max-price")
        } else {
            format!("no live node serves {model} now; wait for one with --queue --max-price EMC, or see `emc node list`")
        }
    })
}

/// The only model for a task.
pub async fn only_model(registry: &Registry, task: Task) -> Result<ModelRef> {
    let filter = ModelFilter {
        task: Some(task),
        ..ModelFilter::default()
    };
    let models = registry.all_models(filter).await?;
    let ids: BTreeSet<_> = models
        .into_iter()
        .filter(|m| !m.retired)
        .map(|m| m.id)
        .collect();
    let mut ids: Vec<_> = ids.into_iter().collect();
    match ids.len() {
        0 => bail!("there is no model for that in the catalogue yet; see `emc model list`"),
        1 => Ok(ModelRef {
            id: ids.remove(0),
            version: None,
        }),
        _ => bail!("which model? Choose with --model: {}", ids.join(", ")),
    }
}

/// The prompt: the arguments, or standard input where there are none or one is `-`.
pub fn prompt(arguments: &[String]) -> Result<String> {
    let text = arguments.join(" ");
    let prompt = if text.is_empty() || text == "-" {
        if std::io::stdin().is_terminal() && text.is_empty() {
            bail!("what is the question? For example: emc chat Why is the sky blue?");
        }
        let mut input = String::new();
        std::io::stdin()
            .read_to_string(&mut input)
            .context("cannot read the prompt from standard input")?;
        input
    } else {
        text
    };
    let prompt = prompt.trim_end_matches(['\n', '\r']).to_owned();
    if prompt.trim().is_empty() {
        bail!("the prompt is empty");
    }
    Ok(prompt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_on_the_command_line_make_one_prompt() {
        let words = ["Why", "is", "the", "sky", "blue?"].map(String::from);
        assert_eq!(prompt(&words).unwrap(), "Why is the sky blue?");
        assert!(prompt(&["  ".to_owned()]).is_err());
    }
}
