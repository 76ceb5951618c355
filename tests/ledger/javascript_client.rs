//! A JavaScript client that nobody here wrote, `@icp-sdk/canisters` over `@icp-sdk/core`, uses the ledger over HTTP;
//! what it does is `tests/javascript/ledger.mjs`, which packages it uses the `package-lock.json` beside it.

use crate::block_log::check_all;
use crate::deployed::Deployed;
use anyhow::{Context, Result, ensure};
use emc_protocol::Tokens;
use serde::Deserialize;
use std::path::Path;
use xtask::node::Node;
use xtask::paths::Paths;

/// What the script prints at its end.
#[derive(Deserialize)]
struct Said {
    /// The last block that it saw.
    last: String,
    /// What Alice has by its own count.
    alice: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_javascript_client_transfers_approves_takes_and_reads_blocks() -> Result<()> {
    let paths = Paths::of_this_clone()?;
    let node = Node::find(&paths)?;
    println!("Node.js {}", node.version);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("javascript");
    let folder = node.install_packages(&paths, &source)?;

    let deployed = Deployed::with_fee(231, 10_000).await?;
    let [alice, bob] = ["alice", "bob"].map(|name| deployed.person(name));
    let bank = deployed.ledger(&deployed.bank);
    bank.transfer(alice.principal(), Tokens(10_000_000)).await?;
    let keys = [&alice, &bob].map(|person| hex::encode(person.key.to_bytes()));
    let url = deployed.network.url().to_owned();
    let arguments = [url, deployed.id.to_text(), keys[0].clone(), keys[1].clone()];
    let said = tokio::task::spawn_blocking(move || {
        node.run(
            &folder,
            "ledger.mjs",
            &arguments.each_ref().map(String::as_str),
        )
    });
    let said: Said = serde_json::from_str(&said.await??).context("the script's last words")?;

    let ledger = deployed.ledger(&alice);
    let checked = check_all(&ledger).await?;
    ensure!(
        said.last == (checked.length - 1).to_string(),
        "{} blocks",
        checked.length
    );
    let balance = ledger.balance(alice.principal()).await?;
    ensure!(said.alice == balance.0.to_string(), "{balance:?}");
    Ok(())
}
