//! The `emc-worker` command.

use std::process::ExitCode;

use clap::Parser;
use emc_worker::command::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    emc_worker::logs::begin(cli.log_json);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(cli.execute());
    // Engines and blocked writes do not hold up the end.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
