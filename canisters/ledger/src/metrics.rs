//! The ledger's numbers in Prometheus text format.

use crate::state::Ledger;
use ic_metrics_encoder::MetricsEncoder;

/// What only the canister knows, not the state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Platform {
    /// The cycles that the canister has.
    pub cycles: u128,
    /// The size of stable memory in bytes.
    pub stable_bytes: u64,
    /// The size of the heap in bytes.
    pub heap_bytes: u64,
}

/// Writes all metrics; `now` in nanoseconds since 1970 stamps them.
pub fn encode(ledger: &Ledger, platform: Platform, now: u64) -> String {
    let mut encoder = MetricsEncoder::new(Vec::new(), (now / 1_000_000) as i64);
    write(ledger, platform, &mut encoder).expect("writing to memory cannot fail");
    String::from_utf8(encoder.into_inner()).expect("metrics are ASCII")
}

fn write(
    ledger: &Ledger,
    platform: Platform,
    out: &mut MetricsEncoder<Vec<u8>>,
) -> std::io::Result<()> {
    // Taken apart in full: who adds a field decides whether it is a metric.
    let Ledger {
        header,
        config,
        balances,
        allowances,
        expirations,
        recent,
        blocks,
        limiter,
        hints: _,
        events: _,
    } = ledger;
    let Platform {
        cycles,
        stable_bytes,
        heap_bytes,
    } = platform;
    let header = header.get();
    let config = config.get();
    for (name, value, help) in [
        ("ledger_blocks", blocks.len() as f64, "Blocks in the log."),
        (
            "ledger_accounts",
            balances.len() as f64,
            "Accounts that hold something.",
        ),
        (
            "ledger_allowances",
            allowances.len() as f64,
            "Allowances, some of which may be over.",
        ),
        (
            "ledger_allowances_with_end",
            expirations.len() as f64,
            "Allowances that end by themselves.",
        ),
        (
            "ledger_recent_transactions",
            recent.len() as f64,
            "Transactions remembered for deduplication.",
        ),
        (
            "ledger_supply_e8s",
            header.supply().0 as f64,
            "Tokens that exist, in e8s.",
        ),
        (
            "ledger_minted_e8s",
            header.minted.0 as f64,
            "Tokens ever minted, in e8s.",
        ),
        (
            "ledger_burned_e8s",
            header.burned.0 as f64,
            "Tokens ever burned, in e8s.",
        ),
        (
            "ledger_max_supply_e8s",
            config.max_supply.0 as f64,
            "The cap on supply, in e8s.",
        ),
        (
            "ledger_transfer_fee_e8s",
            config.transfer_fee.0 as f64,
            "The fee of a transfer, in e8s.",
        ),
        (
            "ledger_limited_callers",
            limiter.callers() as f64,
            "Callers whose rate is being watched.",
        ),
        (
            "ledger_throttled_calls",
            limiter.throttled() as f64,
            "Calls turned away since the last upgrade.",
        ),
        (
            "ledger_layout_version",
            f64::from(header.layout),
            "The version of stable memory.",
        ),
        (
            "ledger_cycles",
            cycles as f64,
            "Cycles that the canister has.",
        ),
        (
            "ledger_stable_memory_bytes",
            stable_bytes as f64,
            "Size of stable memory.",
        ),
        ("ledger_heap_bytes", heap_bytes as f64, "Size of the heap."),
        (
            "ledger_log_bytes",
            blocks.log_size_bytes() as f64,
            "Size of the block log.",
        ),
    ] {
        out.encode_gauge(name, value, help)?;
    }
    Ok(())
}
