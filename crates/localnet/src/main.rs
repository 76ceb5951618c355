//! `emc-localnet`: an embedded Internet Computer network for development and tests, from the command line or as the
//! network launcher of the `icp` command.

mod launcher;

use anyhow::{Context, Result};
use clap::Parser;
use emc_localnet::Network;
use launcher::StatusFile;
use std::net::IpAddr;
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

/// An embedded Internet Computer network for development and tests.
///
/// Serves the Internet Computer's HTTP interface for unmodified agents, a gateway for canisters' web pages
/// (http://<canister-id>.localhost:<port>/), and a control interface for tests under /_/. State lives in memory and
/// ends with the process.
///
/// The `icp` command starts it by itself with ICP_CLI_NETWORK_LAUNCHER_PATH=<path of emc-localnet>.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind: IpAddr,

    /// Port to listen on; 0 picks a free one, which is printed.
    #[arg(
        long = "gateway-port",
        visible_alias = "port",
        value_name = "PORT",
        default_value_t = 8000
    )]
    port: u16,

    /// Repeats a run's keys, message order and random numbers. Printed at the start.
    #[arg(long)]
    seed: Option<u64>,

    /// Accepted for the `icp` command. The gateway answers at any name whose first part is a canister id.
    #[arg(long, value_name = "NAME")]
    domain: Vec<String>,

    /// Writes status.json into this folder once the network answers, as the `icp` command's launchers do.
    #[arg(long, value_name = "FOLDER")]
    status_dir: Option<PathBuf>,

    /// Accepted for the `icp` command. State is not kept: the network starts empty.
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,

    /// Version of the launcher interface that the caller speaks.
    #[arg(long, value_name = "VERSION")]
    interface_version: Option<String>,

    /// What to log to standard error, such as `info` or `emc_localnet=debug`, which shows each executed message.
    #[arg(
        long,
        env = "EMC_LOCALNET_LOG",
        value_name = "FILTER",
        default_value = "warn"
    )]
    log: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_new(&arguments.log).with_context(|| {
        format!(
            "--log {:?} is not a filter; try \"info\" or \"emc_localnet=debug\"",
            arguments.log
        )
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    if let Some(version) = &arguments.interface_version {
        launcher::check_interface_version(version)?;
    }

    let mut builder = Network::builder()
        .bind(std::net::SocketAddr::new(arguments.bind, arguments.port).to_string());
    if let Some(seed) = arguments.seed {
        builder = builder.seed(seed);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Signals are watched before anything is announced, so that none is missed.
    let mut end = runtime.block_on(async { launcher::EndSignal::watch() })?;
    let network = builder.start()?;
    let key = hex::encode(network.root_key());
    println!("emc-localnet: {}", network.url());
    println!("root key: {key}");
    println!("seed: {}", network.seed());
    if let Some(folder) = &arguments.state_dir {
        eprintln!(
            "warning: state is not kept in {}: the network starts empty and ends with this process",
            folder.display()
        );
    }
    for domain in &arguments.domain {
        tracing::info!("canisters are served at <canister-id>.{domain} too");
    }
    let status = arguments
        .status_dir
        .map(|folder| {
            StatusFile::write(
                &folder,
                network.address().port(),
                &key,
                &network.default_effective_canister_id(),
            )
        })
        .transpose()?;
    runtime.block_on(end.wait());
    println!("emc-localnet: ending");
    drop(status);
    drop(network);
    Ok(())
}
