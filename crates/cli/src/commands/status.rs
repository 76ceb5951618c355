//! `emc status`: the network and its canisters.

use crate::{cli::Globals, output, session::Session, words};
use anyhow::Result;
use clap::Args;
use serde_json::json;

/// The network and its canisters: ids, versions, how fresh the escrow's view of the nodes is.
#[derive(Debug, Args)]
pub struct Status {}

impl Status {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let ids = session.ids;
        let (ledger, registry, escrow) = (session.ledger(), session.registry(), session.escrow());
        // One canister that is away must not hide the others.
        let (supply, registry, escrow) =
            tokio::join!(ledger.icrc1_total_supply(), registry.info(), escrow.info());
        let now = session.now().await;
        let feed_age = |info: &emc_client::protocol::escrow::EscrowInfo| {
            info.feed_time.map(|time| now.since(time))
        };
        if globals.json {
            let problem = |error: &emc_client::Error| json!({ "error": error.to_string() });
            output::json(&json!({
                "network": session.client.network().name(),
                "url": session.client.url(),
                "principal": session.client.principal().to_text(),
                "time": words::time(now),
                "ledger": { "id": ids.ledger.to_text(), "info": supply.as_ref().map_or_else(problem, |supply| json!({ "supply": words::emc(*supply) })) },
                "registry": { "id": ids.registry.to_text(), "info": registry.as_ref().map_or_else(problem, |info| json!({
                    "version": info.version, "nodes": info.nodes, "models": info.models,
                    "minimum_stake": words::emc(info.minimum_stake), "unbonding_seconds": info.unbonding.0,
                    "staked": words::emc(info.staked), "sequence": info.sequence,
                })) },
                "escrow": { "id": ids.escrow.to_text(), "info": escrow.as_ref().map_or_else(problem, |info| json!({
                    "version": info.version, "ready": info.nonce.is_some(), "jobs": info.jobs, "open": info.open,
                    "leased": info.leased, "receipts": info.receipts, "feed_sequence": info.feed_sequence,
                    "feed_age_seconds": feed_age(info).map(|age| age.0),
                    "treasury_share_basis_points": info.settings.treasury_share,
                })) },
            }))?;
        } else {
            let problem = |error: &emc_client::Error| format!("no answer: {error}");
            output::fields(&[
                ("network", session.client.url().to_owned()),
                ("you", session.client.principal().to_text()),
                ("time", words::time(now)),
                ("ledger", ids.ledger.to_text()),
                (
                    "",
                    supply
                        .as_ref()
                        .map_or_else(problem, |supply| format!("{supply} EMC exist")),
                ),
                ("registry", ids.registry.to_text()),
                (
                    "",
                    registry.as_ref().map_or_else(problem, |info| {
                        format!(
                            "version {}, {} nodes, {} models, least stake {} EMC",
                            info.version, info.nodes, info.models, info.minimum_stake
                        )
                    }),
                ),
                ("escrow", ids.escrow.to_text()),
                (
                    "",
                    escrow.as_ref().map_or_else(problem, |info| {
                        let feed = feed_age(info).map_or_else(
                            || "no feed yet".to_owned(),
                            |age| format!("feed {} old", words::duration(age)),
                        );
                        let ready = if info.nonce.is_some() {
                            ""
                        } else {
                            ", not ready yet"
                        };
                        format!(
                            "version {}{ready}, {} jobs ({} open, {} leased), {feed}",
                            info.version, info.jobs, info.open, info.leased
                        )
                    }),
                ),
            ])?;
        }
        for result in [supply.map(|_| ()), registry.map(|_| ()), escrow.map(|_| ())] {
            result?;
        }
        Ok(())
    }
}
