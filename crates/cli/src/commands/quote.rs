//! `emc quote`: what a job would cost.

use crate::question::{Sampling, prompt};
use crate::{cli::Globals, output, session::Session, words};
use anyhow::Result;
use clap::Args;
use emc_client::protocol::JobInput;
use emc_client::protocol::escrow::QuoteArgs;
use emc_client::protocol::job::{ChatMessage, ChatRole};
use serde_json::json;

/// What a job would cost, and who could do it. Free, and nothing is submitted (but the escrow sees the prompt).
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  emc quote --max-tokens 500 Why is the sky blue?")]
pub struct Quote {
    #[command(flatten)]
    sampling: Sampling,
    /// The prompt; standard input where there is none
    prompt: Vec<String>,
}

impl Quote {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let content = prompt(&self.prompt)?;
        let session = Session::open(globals).await?;
        let model = self.sampling.model(&session.registry()).await?;
        let quote = session
            .escrow()
            .quote(QuoteArgs {
                model,
                input: JobInput::Chat {
                    messages: vec![ChatMessage {
                        role: ChatRole::User,
                        content,
                    }],
                },
                parameters: self.sampling.parameters(),
                assurance: Some(self.sampling.assurance.into()),
            })
            .await?;
        if globals.json {
            return output::json(&json!({
                "model": words::model(&quote.model),
                "nodes": quote.nodes,
                "owners": quote.owners,
                "cheapest": quote.cheapest.as_ref().map(words::price_json),
                "dearest": quote.dearest.as_ref().map(words::price_json),
                "prompt_tokens": quote.prompt_tokens,
                "lowest_max_price": quote.lowest_max_price.map(words::emc),
                "highest_max_price": quote.highest_max_price.map(words::emc),
                "waiting": quote.waiting,
                "begins_in_seconds": quote.begins_in.map(|time| time.0),
                "takes_seconds": quote.takes.map(|time| time.0),
                "check": quote.check.as_ref().map(|check| json!({
                    "audit_fee": words::emc(check.audit_fee),
                    "vote_fee": words::emc(check.vote_fee),
                    "chance_basis_points": check.chance,
                    "bond": check.bond.map(words::emc),
                    "validator_owners": check.validator_owners,
                    "least_owners": check.least_owners,
                    "weak": check.weak,
                })),
            }));
        }
        let none = || "-".to_owned();
        let price = |price: Option<_>| price.as_ref().map_or_else(none, words::price);
        let amount = |amount: Option<_>| {
            amount.map_or_else(none, |amount: emc_client::protocol::Tokens| {
                format!("{amount} EMC")
            })
        };
        let time =
            |time: Option<_>| time.map_or_else(|| "not known yet".to_owned(), words::duration);
        let mut fields = vec![
            ("model", words::model(&quote.model)),
            (
                "live nodes",
                format!("{} of {} owners", quote.nodes, quote.owners),
            ),
            ("waiting jobs", quote.waiting.to_string()),
            ("would begin in", time(quote.begins_in)),
            ("would then take at most", time(quote.takes)),
            ("prompt", format!("about {} tokens", quote.prompt_tokens)),
            (
                "cheapest, EMC per million prompt / output tokens",
                price(quote.cheapest),
            ),
            ("dearest", price(quote.dearest)),
            (
                "least --max-price for one node",
                amount(quote.lowest_max_price),
            ),
            (
                "least --max-price for every node",
                amount(quote.highest_max_price),
            ),
        ];
        if let Some(check) = &quote.check {
            let chance = f64::from(check.chance) / 100.0;
            fields.extend([
                ("of it for auditors", format!("{} EMC", check.audit_fee)),
                ("chance of an audit", format!("{chance} %")),
                ("the node's bond", amount(check.bond)),
                (
                    "validators",
                    format!(
                        "of {} owners; {} are needed",
                        check.validator_owners, check.least_owners
                    ),
                ),
            ]);
            if check.weak {
                fields.push((
                    "note",
                    "so short an answer can hardly be told from a cheat's: ask for 16 tokens or more".to_owned(),
                ));
            }
        }
        output::fields(&fields)
    }
}
