//! `/metrics` for Prometheus, and nothing else over HTTP. Not certified: figures for operators.

use crate::state::State;
use ic_http_types::{HttpRequest, HttpResponse, HttpResponseBuilder};
use ic_metrics_encoder::MetricsEncoder;

/// Answers an HTTP request.
pub fn http_request(state: &State, now: u64, request: &HttpRequest) -> HttpResponse {
    if request.path() != "/metrics" {
        return HttpResponseBuilder::not_found().build();
    }
    let mut encoder = MetricsEncoder::new(vec![], (now / 1_000_000) as i64);
    match encode(state, now, &mut encoder) {
        Ok(()) => HttpResponseBuilder::ok()
            .header("Content-Type", "text/plain; version=0.0.4")
            .header("Cache-Control", "no-store")
            .with_body_and_content_length(encoder.into_inner())
            .build(),
        Err(error) => HttpResponseBuilder::server_error(format!("metrics: {error}")).build(),
    }
}

fn encode(state: &State, now: u64, out: &mut MetricsEncoder<Vec<u8>>) -> std::io::Result<()> {
    // Taken apart in full: whoever adds a part of the state decides here whether it is a figure.
    let State {
        config,
        totals,
        journal,
        nodes,
        seen: _,
        owners: _,
        offers,
        allotments,
        unbonding,
        leaving: _,
        staking,
        models,
        authors,
        feed: _,
        places: _,
        escrows,
        outcomes: _,
        terms_due,
        events,
        mining,
        powers,
        mined,
        epochs,
        earnings,
        drawing: _,
        drawers,
        limits,
        sweep: _,
    } = state;
    let totals = totals.get();
    let mining = mining.get();
    let figures = journal.figures();
    let emc = |e8s: u128| e8s as f64 / 1e8;
    let gauges = [
        (
            "registry_nodes",
            nodes.len() as f64,
            "Nodes in the registry.",
        ),
        ("registry_offers", offers.len() as f64, "Offers of nodes."),
        (
            "registry_models",
            models.len() as f64,
            "Model versions in the catalogue.",
        ),
        (
            "registry_authors",
            authors.len() as f64,
            "Principals that have published models.",
        ),
        (
            "registry_allotments",
            allotments.len() as f64,
            "Allotments of stake to escrows.",
        ),
        (
            "registry_unbondings",
            unbonding.len() as f64,
            "Unbondings that wait or are being paid out.",
        ),
        (
            "registry_stakes_under_way",
            staking.len() as f64,
            "Stakes whose ledger call has not ended.",
        ),
        (
            "registry_minimum_stake_emc",
            emc(config.get().minimum_stake),
            "Least stake with which a node gets work.",
        ),
        (
            "registry_staked_emc",
            emc(totals.allotted),
            "All stake allotted.",
        ),
        (
            "registry_unbonding_emc",
            emc(totals.unbonding),
            "All stake that waits.",
        ),
        (
            "registry_leaving_emc",
            emc(totals.leaving),
            "All stake whose payment has not ended.",
        ),
        (
            "registry_burning_emc",
            emc(totals.burning),
            "Slashed stake whose burning is not confirmed.",
        ),
        (
            "registry_escrows",
            escrows.len() as f64,
            "Escrows in which there ever was stake.",
        ),
        (
            "registry_terms_pending",
            terms_due.len() as f64,
            "Models whose announced terms wait for their time.",
        ),
        (
            "registry_mining_epochs_behind",
            mining.behind(now) as f64,
            "Days that are over and whose mining shares are not computed.",
        ),
        (
            "registry_mining_powers",
            powers.len() as f64,
            "Nodes' lines of days whose mining shares are not computed.",
        ),
        (
            "registry_mining_pool_emc",
            emc(mining.pool),
            "What the mining pool held when it was last looked at.",
        ),
        (
            "registry_mining_rolled_over_emc",
            emc(mining.rolled),
            "What earlier days of mining could not give away.",
        ),
        (
            "registry_mining_owed_emc",
            emc(totals.earned + totals.drawing),
            "Earnings of mining that are not paid out.",
        ),
        (
            "registry_mining_owners_owed",
            earnings.len() as f64,
            "Owners with earnings of mining.",
        ),
        (
            "registry_mining_payments_under_way",
            drawers.len() as f64,
            "Payments of mining whose ledger call has not ended.",
        ),
        (
            "registry_journal_open",
            figures.open as f64,
            "Ledger calls whose outcome is not known.",
        ),
        (
            "registry_stable_memory_bytes",
            stable_bytes(),
            "Stable memory in use.",
        ),
    ];
    for (name, value, help) in gauges {
        out.encode_gauge(name, value, help)?;
    }
    let counters = [
        (
            "registry_feed_sequence",
            totals.sequence as f64,
            "Changes in the feed.",
        ),
        (
            "registry_deposited_emc",
            emc(totals.deposited),
            "All stake that ever came in.",
        ),
        (
            "registry_paid_out_emc",
            emc(totals.paid_out),
            "All stake that ever went out.",
        ),
        (
            "registry_burned_emc",
            emc(totals.burned),
            "All slashed stake that the ledger has burned.",
        ),
        (
            "registry_mining_epochs",
            epochs.len() as f64,
            "Days of mining whose shares were computed.",
        ),
        (
            "registry_mining_lines",
            mined.len() as f64,
            "Lines of the history of mining, one for each node and day.",
        ),
        (
            "registry_mining_distributed_emc",
            emc(totals.mined),
            "All that mining ever gave to nodes' owners.",
        ),
        (
            "registry_mining_paid_emc",
            emc(totals.drawn),
            "Of that, what was paid out.",
        ),
        (
            "registry_parameter_events",
            events.len() as f64,
            "Entries of the log of parameters.",
        ),
        (
            "registry_journal_sends",
            figures.sends as f64,
            "Ledger calls made, repeated ones included.",
        ),
        (
            "registry_journal_done",
            figures.done as f64,
            "Ledger calls that moved tokens.",
        ),
        (
            "registry_journal_not_done",
            figures.not_done as f64,
            "Ledger calls that moved nothing.",
        ),
        (
            "registry_calls_refused",
            limits.refused as f64,
            "Calls refused for being too many, since the last upgrade.",
        ),
    ];
    for (name, value, help) in counters {
        out.encode_counter(name, value, help)?;
    }
    Ok(())
}

#[cfg(target_family = "wasm")]
fn stable_bytes() -> f64 {
    ic_cdk::stable::stable_size() as f64 * 65_536.0
}

#[cfg(not(target_family = "wasm"))]
fn stable_bytes() -> f64 {
    0.0
}
