//! `emc-worker status`: how the running worker does, by its metrics; without one, what its journal says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use emc_protocol::Tokens;

use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError, journal_in};
use crate::engine::gauge::Reading;
use crate::http_get;
use crate::journal::Journal;
use crate::report::in_words;

/// Shows it.
///
/// # Errors
/// Where the settings or the journal cannot be read.
pub async fn execute(path: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::read(path)?;
    // Held while the journal is read, so that no worker starts in between.
    let _lock = match DataDir::lock(&config.data_dir()) {
        Ok(lock) => lock,
        Err(DataDirError::InUse(..)) => return Ok(of_running(&config).await),
        Err(error) => return Err(error.into()),
    };
    println!("No worker is running.");
    let roles = ("roles", config.node.roles_shown());
    let file = journal_in(&config.data_dir());
    if !file.exists() {
        println!(
            "It has never run: there is no journal in {}.",
            config.data_dir().display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let journal = Journal::open_any(&file)?;
    let (totals, leases, owed) = (journal.totals()?, journal.leases()?, journal.owed()?);
    let (votes, sealed) = (journal.vote_totals()?, journal.sealed_votes()?);
    show(&[
        roles,
        ("unfinished", format!("{} leases", leases.len())),
        (
            "owed",
            format!("{} results; the next start delivers them", owed.len()),
        ),
        (
            "sealed",
            format!("{} votes; the next start reveals them", sealed.len()),
        ),
        (
            "delivered",
            format!(
                "{}, {} not final yet",
                totals.delivered,
                journal.awaited()?.len()
            ),
        ),
        ("declined", totals.declined.to_string()),
        ("lapsed", totals.lost.to_string()),
        (
            "tokens",
            format!("{} in, {} out", totals.prompt_tokens, totals.output_tokens),
        ),
        ("earned", format!("{} EMC for final jobs", totals.earned)),
        (
            "votes",
            format!(
                "{} committed, {} revealed, {} missed",
                votes.committed, votes.revealed, votes.missed
            ),
        ),
    ]);
    Ok(ExitCode::SUCCESS)
}

async fn of_running(config: &Config) -> ExitCode {
    let Some(address) = config.metrics.address else {
        println!("A worker is running; it serves no metrics (metrics.address is empty).");
        return ExitCode::SUCCESS;
    };
    let health = http_get::get(address, "/healthz").await;
    let metrics = http_get::get(address, "/metrics").await;
    let (Ok((_, health)), Ok((200, metrics))) = (health, metrics) else {
        println!("A worker is running, but nobody answers at {address} (metrics.address).");
        return ExitCode::FAILURE;
    };
    let values = parse(&metrics);
    let number = |name: &str| values.get(name).copied().unwrap_or("?");
    let emc = |name: &str| {
        let e8s = values.get(name).and_then(|value| value.parse().ok());
        e8s.map_or("?".to_owned(), |e8s| Tokens(e8s).to_string())
    };
    println!("A worker is running: {}", health.trim());
    show_engines(&values);
    show(&[
        ("roles", config.node.roles_shown()),
        (
            "in flight",
            format!("{} of {} slots", number("jobs_in_flight"), number("slots")),
        ),
        ("waiting", format!("{} jobs in the escrow", number("queue"))),
        ("owed", format!("{} results", number("owed_deliveries"))),
        (
            "since start",
            format!(
                "{} claimed, {} delivered, {} declined, {} lapsed",
                number("jobs_claimed_total"),
                number("jobs_delivered_total"),
                number("jobs_declined_total"),
                number("jobs_lapsed_total")
            ),
        ),
        (
            "tokens",
            format!(
                "{} in, {} out, {}/s lately",
                number("prompt_tokens_total"),
                number("output_tokens_total"),
                number("tokens_per_second")
            ),
        ),
        (
            "earned",
            format!(
                "{} EMC for {} results, ever; {} are not final yet",
                emc("earned_e8s_total"),
                number("ever_delivered_total"),
                number("awaited_results")
            ),
        ),
        (
            "audits",
            format!(
                "{} checked, {} s each, {} not possible here",
                number("audits_computed_total"),
                seconds_each(&values),
                number("audits_failed_total")
            ),
        ),
        (
            "votes",
            format!(
                "{} committed, {} revealed, {} missed, {} wait to be revealed",
                number("votes_committed_total"),
                number("votes_revealed_total"),
                number("votes_missed_total"),
                number("sealed_votes")
            ),
        ),
        (
            "balance",
            format!(
                "the owner has {} EMC available in the escrow",
                emc("escrow_balance_e8s")
            ),
        ),
    ]);
    ExitCode::SUCCESS
}

/// A line for each engine.
fn show_engines(values: &BTreeMap<&str, &str>) {
    for model in models(values) {
        let reading = engine(values, model);
        show(&[("engine", format!("{model}: {}", in_words(&reading)))]);
    }
}

/// The models whose engines are shown.
fn models<'a>(values: &BTreeMap<&'a str, &str>) -> Vec<&'a str> {
    let names = values.keys();
    let label = |name: &'a str| {
        name.strip_prefix("engine_ready{model=\"")?
            .strip_suffix("\"}")
    };
    names.filter_map(|name| label(name)).collect()
}

/// What is shown of an engine, read back.
fn engine(values: &BTreeMap<&str, &str>, model: &str) -> Reading {
    let number = |name: &str| {
        let value = values.get(format!("engine_{name}{{model=\"{model}\"}}").as_str());
        value
            .and_then(|value| value.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    let mut reading = Reading {
        is_ready: number("ready") > 0.0,
        waiting: number("queue_length") as usize,
        prefill_per_second: number("prefill_tokens_per_second"),
        decode_per_second: number("decode_tokens_per_second"),
        ..Reading::default()
    };
    let figures = &mut reading.figures;
    figures.batch = number("batch_size") as usize;
    figures.cache_pages = number("cache_pages") as usize;
    figures.cache_pages_used = number("cache_pages_used") as usize;
    figures.prefix_hits = number("prefix_hits_total") as u64;
    reading
}

/// The mean time of a check.
fn seconds_each(values: &BTreeMap<&str, &str>) -> String {
    let value = |name: &str| values.get(name)?.parse::<f64>().ok();
    match (value("audit_seconds_total"), value("audits_computed_total")) {
        (Some(seconds), Some(count)) if count > 0.0 => format!("{:.2}", seconds / count),
        _ => "?".to_owned(),
    }
}

fn show(lines: &[(&str, String)]) {
    for (what, text) in lines {
        println!("  {what:<12} {text}");
    }
}

/// Our metrics by their names without the prefix.
fn parse(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("emc_worker_")?.split_once(' '))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn what_engines_show_is_read_back() {
        let metrics = Metrics::default();
        let gauge = std::sync::Arc::new(crate::engine::gauge::Gauge::default());
        metrics.show_engine("smollm2/135m:1", gauge.clone());
        let mut figures = emc_inference::EngineFigures::default();
        gauge.tell(figures, 0);
        (figures.in_flight, figures.batch, figures.steps) = (2, 2, 3);
        (figures.decoded_tokens, figures.decode_time) = (30, std::time::Duration::from_millis(250));
        (
            figures.cache_pages,
            figures.cache_pages_used,
            figures.prefix_hits,
        ) = (9, 4, 1);
        gauge.tell(figures, 5);
        let text = metrics.render();
        let values = parse(&text);
        assert_eq!(models(&values), ["smollm2/135m:1"]);
        let shown = in_words(&engine(&values, "smollm2/135m:1"));
        assert_eq!(shown, in_words(&gauge.read()));
        assert!(shown.contains("makes 120.0 tokens/s"), "{shown}");
    }

    #[test]
    fn what_metrics_show_is_read_back() {
        let metrics = Metrics::default();
        metrics.generated(3);
        metrics.audited(std::time::Duration::from_millis(500));
        metrics.audited(std::time::Duration::from_millis(1_000));
        let text = metrics.render();
        let values = parse(&text);
        assert_eq!(values["generated_tokens_total"], "3");
        assert_eq!(seconds_each(&values), "0.75");
        for name in [
            "jobs_in_flight",
            "slots",
            "queue",
            "owed_deliveries",
            "jobs_claimed_total",
            "jobs_delivered_total",
            "jobs_declined_total",
            "jobs_lapsed_total",
            "prompt_tokens_total",
            "output_tokens_total",
            "tokens_per_second",
            "earned_e8s_total",
            "ever_delivered_total",
            "escrow_balance_e8s",
            "awaited_results",
            "audits_computed_total",
            "audits_failed_total",
            "audit_seconds_total",
            "votes_committed_total",
            "votes_revealed_total",
            "votes_missed_total",
            "sealed_votes",
        ] {
            assert!(values.contains_key(name), "{name}");
        }
    }
}
