//! `emc node show`: everything about a node.

use crate::{cli::Globals, output, session::Session, words};
use anyhow::Result;
use candid::Principal;
use clap::Args;

/// Everything about a node: owner, hardware as it states it, offers, stake.
#[derive(Debug, Args)]
pub struct Show {
    /// The node
    node: Principal,
}

impl Show {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let node = session.registry().node(self.node).await?;
        if globals.json {
            return output::json(&words::node_json(&node));
        }
        let hardware = &node.hardware;
        output::fields(&[
            ("node", node.id.to_text()),
            ("owner", node.owner.to_text()),
            ("status", words::status(node.status).to_owned()),
            (
                "hardware",
                output::harmless(&format!(
                    "{} x {}, {} each, {}",
                    hardware.count,
                    hardware.device,
                    words::bytes(hardware.memory),
                    hardware.driver
                )),
            ),
            ("registered", words::time(node.registered)),
            ("last seen", words::time(node.last_seen)),
        ])?;
        if let Some(until) = node.jailed_until {
            output::line(format_args!(
                "\njailed until {}; then `emc node unjail {}` frees it",
                words::time(until),
                node.id
            ))?;
        }
        if let Some(outcomes) = &node.outcomes {
            output::line("\noutcomes")?;
            output::fields(&[
                (
                    "jobs",
                    format!(
                        "{} settled, {} lapsed, {} declined",
                        outcomes.settled, outcomes.lapsed, outcomes.declined
                    ),
                ),
                (
                    "audits",
                    format!(
                        "{} upheld, {} overturned",
                        outcomes.upheld, outcomes.overturned
                    ),
                ),
                (
                    "votes",
                    format!("{} accepted, {} lost", outcomes.votes, outcomes.votes_lost),
                ),
                ("slashed", format!("{} EMC", outcomes.slashed)),
            ])?;
        }
        if !node.offers.is_empty() {
            output::line("\noffers")?;
            let rows: Vec<_> = node
                .offers
                .iter()
                .map(|offer| {
                    vec![
                        words::model(&offer.model),
                        words::price(&offer.price),
                        offer.concurrency.to_string(),
                        offer.context.to_string(),
                    ]
                })
                .collect();
            output::table(
                &["model", "EMC/M prompt / output", "at a time", "context"],
                &rows,
            )?;
        }
        output::line("\nstake")?;
        let allotted = node.allotments.iter().map(|a| {
            vec![
                format!("{} EMC", a.amount),
                "allotted".to_owned(),
                a.escrow.to_text(),
            ]
        });
        let unbonding = node.unbonding.iter().map(|u| {
            let until = format!("#{} unbonding {}", u.id, words::unbonding(u));
            vec![format!("{} EMC", u.amount), until, u.escrow.to_text()]
        });
        let rows: Vec<_> = allotted.chain(unbonding).collect();
        output::table(&["amount", "state", "escrow"], &rows)
    }
}
