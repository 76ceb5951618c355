//! How a worker ends: the first signal drains it, the second ends it at once.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How far the end has come. Stages only go forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stage {
    /// Jobs are taken and done.
    #[default]
    Working,
    /// No new jobs; what runs is finished and delivered.
    Draining,
    /// Time is up: what runs is given back, what is owed stays in the journal.
    Stopping,
}

/// Waits until a stage is reached. For ever, where nobody is left who could set it.
pub async fn reached(stages: &mut watch::Receiver<Stage>, stage: Stage) {
    if stages.wait_for(|now| *now >= stage).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Turns SIGTERM and SIGINT into stages: the first begins to drain, and `timeout` later the worker stops. A second
/// signal ends the process at once; the journal is written before every step, so nothing in it is lost.
///
/// # Errors
/// Where the signals cannot be listened to.
pub fn on_signals(timeout: Duration) -> std::io::Result<watch::Receiver<Stage>> {
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    let (stages, watched) = watch::channel(Stage::Working);
    tokio::spawn(async move {
        let name = signals.next().await;
        tracing::info!(
            signal = name,
            timeout_seconds = timeout.as_secs(),
            "draining: no new jobs, what runs is finished; a second signal ends at once"
        );
        stages.send_replace(Stage::Draining);
        let second = match tokio::time::timeout(timeout, signals.next()).await {
            Ok(name) => name,
            Err(_) => {
                tracing::warn!("the drain's time is up: what runs is given back");
                stages.send_replace(Stage::Stopping);
                signals.next().await
            }
        };
        tracing::warn!(signal = second, "ending at once; the journal is intact");
        std::process::exit(ENDED_AT_ONCE.into());
    });
    Ok(watched)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The exit status after a second signal.
const ENDED_AT_ONCE: u8 = 130;
/// The exit status where a drain left results or votes owed.
const STILL_OWED: u8 = 3;

/// The exit status of a drained worker: not zero where results or votes are still owed, which the next start sends.
pub fn exit_code(owed: usize) -> ExitCode {
    if owed == 0 {
        ExitCode::SUCCESS
    } else {
        tracing::warn!(
            owed,
            "results or votes are still owed; the next start sends them"
        );
        ExitCode::from(STILL_OWED)
    }
}
