//! Metrics in Prometheus' text format.

use crate::canister;
use crate::state::State;
use emc_protocol::Timestamp;
use ic_metrics_encoder::MetricsEncoder;

/// All metrics.
///
/// # Errors
/// Those of the writer, which for memory there are none of.
pub fn encode(state: &State, now: Timestamp) -> std::io::Result<Vec<u8>> {
    let mut out = MetricsEncoder::new(Vec::new(), (now.0 / 1_000_000) as i64);
    let counts = *state.counts.get();
    let journal = state.journal.figures();
    let totals = state.books.totals(journal.open);
    let emc = |tokens: emc_protocol::Tokens| tokens.0 as f64 / 1e8;

    out.encode_counter(
        "emc_escrow_jobs_total",
        counts.jobs as f64,
        "Jobs ever submitted.",
    )?;
    out.encode_gauge(
        "emc_escrow_jobs_open",
        counts.open as f64,
        "Jobs that wait for a node.",
    )?;
    out.encode_gauge(
        "emc_escrow_jobs_leased",
        counts.leased as f64,
        "Jobs that a node works on.",
    )?;
    out.encode_counter(
        "emc_escrow_jobs_settled_total",
        counts.settled as f64,
        "Jobs ever settled.",
    )?;
    out.encode_counter(
        "emc_escrow_jobs_refunded_total",
        counts.refunded as f64,
        "Jobs ever refunded.",
    )?;
    out.encode_counter(
        "emc_escrow_leases_lapsed_total",
        counts.lapsed as f64,
        "Leases that ever lapsed.",
    )?;
    out.encode_gauge(
        "emc_escrow_callbacks",
        state.callbacks.len() as f64,
        "Jobs whose end a canister is still to be told of.",
    )?;
    out.encode_counter(
        "emc_escrow_callbacks_answered_total",
        counts.told as f64,
        "Callbacks ever answered.",
    )?;
    out.encode_counter(
        "emc_escrow_callbacks_given_up_total",
        counts.untold as f64,
        "Callbacks ever given up.",
    )?;
    let clock = state.clock.get();
    out.encode_counter(
        "emc_escrow_outages_total",
        clock.outages as f64,
        "Gaps of more than five minutes in the escrow's clock.",
    )?;
    out.encode_counter(
        "emc_escrow_away_seconds_total",
        clock.away as f64 / 1e9,
        "How long all of those were.",
    )?;
    out.encode_gauge(
        "emc_escrow_delegations",
        state.delegations.len() as f64,
        "Permissions to submit jobs that somebody else pays.",
    )?;
    out.encode_gauge(
        "emc_escrow_due",
        state.due.len() as f64,
        "Entries of the due queue.",
    )?;
    out.encode_gauge(
        "emc_escrow_results",
        state.retention.len() as f64,
        "Results kept.",
    )?;
    out.encode_gauge(
        "emc_escrow_request_keys",
        state.request_keys.len() as f64,
        "Request keys remembered.",
    )?;
    out.encode_gauge(
        "emc_escrow_receipts",
        state.receipts.len() as f64,
        "Receipts in the log.",
    )?;
    out.encode_gauge(
        "emc_escrow_nodes",
        state.nodes.len() as f64,
        "Nodes of the feed.",
    )?;
    out.encode_gauge(
        "emc_escrow_models",
        state.models.len() as f64,
        "Model versions of the feed.",
    )?;
    out.encode_gauge(
        "emc_escrow_accounts",
        state.books.accounts() as f64,
        "Accounts.",
    )?;

    out.encode_counter(
        "emc_escrow_deposited_emc_total",
        emc(totals.deposited),
        "All that ever came in.",
    )?;
    out.encode_counter(
        "emc_escrow_withdrawn_emc_total",
        emc(totals.withdrawn),
        "All that ever went out.",
    )?;
    out.encode_gauge(
        "emc_escrow_available_emc",
        emc(totals.available),
        "Sum of available balances.",
    )?;
    out.encode_gauge(
        "emc_escrow_locked_emc",
        emc(totals.locked),
        "Locked by jobs.",
    )?;
    out.encode_gauge(
        "emc_escrow_leaving_emc",
        emc(totals.leaving),
        "Set aside for withdrawals under way.",
    )?;
    out.encode_gauge(
        "emc_escrow_treasury_emc",
        emc(totals.treasury),
        "The treasury.",
    )?;

    out.encode_gauge(
        "emc_escrow_journal_open",
        journal.open as f64,
        "Ledger calls whose outcome is not known yet.",
    )?;
    out.encode_counter(
        "emc_escrow_journal_done_total",
        journal.done as f64,
        "Ledger calls that moved tokens.",
    )?;
    out.encode_counter(
        "emc_escrow_journal_not_done_total",
        journal.not_done as f64,
        "Ledger calls without effect.",
    )?;
    out.encode_counter(
        "emc_escrow_journal_sends_total",
        journal.sends as f64,
        "Ledger calls sent, repeated ones included.",
    )?;

    let feed = state.feed.get();
    let age = feed
        .time
        .map_or(f64::INFINITY, |time| now.since(time).0 as f64);
    out.encode_gauge(
        "emc_escrow_feed_age_seconds",
        age,
        "Since the feed was last known to be complete.",
    )?;
    out.encode_gauge(
        "emc_escrow_feed_sequence",
        feed.sequence as f64,
        "The newest change known.",
    )?;
    let late = match state.due.first_key_value() {
        Some(((at, _), ())) => now.since(Timestamp(at)).0,
        None => 0,
    };
    out.encode_gauge(
        "emc_escrow_due_late_seconds",
        late as f64,
        "How late the due queue's first entry is.",
    )?;
    let refused = canister::limits(|limits| limits.refused);
    out.encode_counter(
        "emc_escrow_calls_refused_total",
        refused as f64,
        "Calls over the rate limits since the last upgrade.",
    )?;
    Ok(out.into_inner())
}
