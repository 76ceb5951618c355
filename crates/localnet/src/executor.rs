//! The one thread that owns the network's state. Others send it closures and wait for what they return; between two
//! messages it runs what they sent, so a long message delays them but never fails them.

use crate::subnet::Subnet;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce(&mut Subnet) + Send>;

/// The executor has ended, by a panic that its log shows or because the network shut down.
#[derive(Debug, thiserror::Error)]
#[error(
    "the network has stopped executing: it was shut down, or its executor panicked (see its log)"
)]
pub struct Stopped;

/// A way to reach the executor.
#[derive(Clone)]
pub struct Executor {
    jobs: mpsc::Sender<Job>,
}

/// How many jobs from outside run before the next message does.
const JOBS_PER_MESSAGE: usize = 64;
/// Wasm recursion needs room.
const STACK_BYTES: usize = 32 << 20;

impl Executor {
    /// Starts the thread; it ends when the last handle is dropped.
    pub fn start(mut subnet: Subnet) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("localnet-execute".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                loop {
                    for job in waiting.try_iter().take(JOBS_PER_MESSAGE) {
                        job(&mut subnet);
                    }
                    if !subnet.held && subnet.step() {
                        continue;
                    }
                    match waiting.recv_timeout(idle_time(&mut subnet)) {
                        Ok(job) => job(&mut subnet),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            })?;
        Ok(Self { jobs })
    }

    /// Runs a closure on the state.
    pub async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Subnet) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |subnet| {
            // Who asked may have gone away.
            let _ = tell.send(job(subnet));
        });
        self.jobs.send(job).map_err(|_| Stopped)?;
        told.await.map_err(|_| Stopped)
    }
}

/// How long nothing will become due by itself.
fn idle_time(subnet: &mut Subnet) -> Duration {
    const LONGEST: Duration = Duration::from_secs(3600);
    if subnet.held {
        return LONGEST;
    }
    match subnet.next_due() {
        Some(at) => Duration::from_nanos(at.saturating_sub(subnet.clock.now())).min(LONGEST),
        None => LONGEST,
    }
}
