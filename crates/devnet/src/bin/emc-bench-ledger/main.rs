//! The figures of the ledger, on an embedded network: `cargo xtask bench ledger` builds everything and runs this.
//! Instructions of its calls and of an upgrade with few and with many accounts, bytes kept, the size of its code. Prints
//! a line a figure, `name value unit`.

mod calls;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use emc_devnet::figures::Figures;
use emc_devnet::ledger_past::{LedgerWithPast, Past};
use std::collections::BTreeMap;

/// Measures the ledger's calls on an embedded network, with few accounts and blocks and with many.
#[derive(Parser)]
#[command(
    name = "cargo xtask bench ledger",
    bin_name = "cargo xtask bench ledger"
)]
struct Arguments {
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
    /// Accounts, and as many transfers: the small state, then the large one
    #[arg(long, value_delimiter = ',', default_value = "1000,1000000")]
    accounts: Vec<u64>,
    /// Rounds of every call; the median counts
    #[arg(long, default_value_t = 20)]
    rounds: usize,
}

/// What was found in one state.
struct Found {
    past: Past,
    medians: BTreeMap<String, f64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.accounts.iter().all(|&accounts| accounts >= 200),
        "--accounts needs numbers of at least 200: a hundred blocks are read at once"
    );
    let mut figures = Figures::new(arguments.json);
    let mut all = vec![];
    for &accounts in &arguments.accounts {
        all.push(measure(accounts, arguments.rounds, &mut figures).await?);
    }
    if let [small, .., large] = all.as_slice() {
        compare(small, large, &mut figures);
    }
    let wasm = LedgerWithPast::wasm()?;
    let size = std::fs::metadata(&wasm).with_context(|| format!("reading {}", wasm.display()))?;
    figures.add("wasm.gzipped", size.len() as f64, "B");
    figures.finish();
    Ok(())
}

async fn measure(accounts: u64, rounds: usize, figures: &mut Figures) -> Result<Found> {
    let folder = tempfile::tempdir()?;
    let scene = LedgerWithPast::new(accounts, folder.path()).await?;
    let medians = calls::count(&scene, rounds).await?;
    for (name, value) in &medians {
        figures.add(
            &format!("instructions.{name}.at_{accounts}"),
            *value,
            "instructions",
        );
    }
    Ok(Found {
        past: scene.past,
        medians,
    })
}

/// How much more every call takes in the large state, and what an account and a block take of stable memory.
fn compare(small: &Found, large: &Found, figures: &mut Figures) {
    for (name, value) in &large.medians {
        if let Some(before) = small.medians.get(name) {
            figures.add(&format!("ratio.{name}"), value / before, "times");
        }
    }
    let growth = |names: &[&str], count: fn(&Past) -> u64| {
        let bytes =
            |past: &Past| -> u64 { names.iter().filter_map(|name| past.parts.get(*name)).sum() };
        let more = (count(&large.past) - count(&small.past)).max(1);
        (bytes(&large.past) - bytes(&small.past)) as f64 / more as f64
    };
    for (name, parts, count) in [
        (
            "account",
            &["balances"][..],
            (|past| past.accounts) as fn(&Past) -> u64,
        ),
        ("block", &["block_index", "block_data"], |past| past.blocks),
        ("remembered_transaction", &["recent"], |past| {
            past.blocks - 1
        }),
        ("allowance", &["allowances", "expirations"], |past| {
            past.allowances
        }),
    ] {
        figures.add(&format!("bytes.per_{name}"), growth(parts, count), "B");
    }
}
