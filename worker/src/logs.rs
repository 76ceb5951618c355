//! Where logs go: to standard error, for people on a terminal, as JSON lines for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Begins to log. `RUST_LOG` decides what, if set.
pub fn begin(json: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,ic_agent=warn,hyper=warn"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // The second of two subscribers in one process is refused, which only tests could run into.
    let _ = if json {
        logs.json()
            .with_current_span(true)
            .with_span_list(false)
            .try_init()
    } else {
        let colours = std::io::stderr().is_terminal();
        logs.with_ansi(colours).try_init()
    };
}
