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
            let until = format!("#{} unbonding until {}", u.id, words::time(u.ready));
            vec![format!("{} EMC", u.amount), until, u.escrow.to_text()]
        });
        let rows: Vec<_> = allotted.chain(unbonding).collect();
        output::table(&["amount", "state", "escrow"], &rows)
    }
}
