//! A network that does nothing by itself: the run sends requests one after the other, then lets messages run, then moves
//! time on. That is what makes a run the same each time.

use crate::Control;
use anyhow::{Context, Result, ensure};
use candid::Principal;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often what is under way outside of the network is looked at.
const LOOK: Duration = Duration::from_micros(500);
/// A request that takes longer to arrive, or an answer to be read, does so never.
const LONGEST: Duration = Duration::from_secs(60);

/// A held network.
#[derive(Clone, Debug)]
pub struct Held(Control);

impl Held {
    /// Holds a network from now on.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn take(control: &Control) -> Result<Self> {
        control.hold(true).await?;
        Ok(Self(control.clone()))
    }

    /// The control interface.
    pub fn control(&self) -> &Control {
        &self.0
    }

    /// Does work that makes one request after the other, running messages meanwhile.
    ///
    /// # Errors
    /// Those of the work, or if the network does not answer.
    pub async fn during<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let ticking = async {
            loop {
                if let Err(error) = self.0.tick().await {
                    return error;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            done = work => done,
            error = ticking => Err(error),
        }
    }

    /// The same for work of `who` whose requests may have to wait for others' to end (stopping a canister does): then
    /// time moves on, second by second.
    ///
    /// # Errors
    /// Those of the work, or if the network does not answer.
    pub async fn during_moving_on<T>(
        &self,
        who: Principal,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let waits = async || -> Result<bool> {
            let requests = self.0.requests().await?;
            Ok(requests.waiting.iter().any(|request| request.sender == who))
        };
        let moving = async {
            loop {
                self.0.tick().await?;
                // What had arrived before everything ran, and waits after it, waits for time.
                if waits().await? {
                    self.0.tick().await?;
                    if waits().await? {
                        self.0.advance(Duration::from_secs(1)).await?;
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let moving = async {
            let ended: Result<()> = moving.await;
            ended.err()
        };
        tokio::select! {
            done = work => done,
            error = moving => Err(error.context("the loop ends by an error only")?),
        }
    }

    /// Sends a request and returns once it has arrived, or has ended without arriving.
    ///
    /// # Errors
    /// If it does neither within a minute.
    pub async fn send<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let before = self.0.requests().await?.arrived;
        let handle = tokio::spawn(call);
        let begun = Instant::now();
        while !handle.is_finished() && self.0.requests().await?.arrived == before {
            ensure!(begun.elapsed() < LONGEST, "a request does not arrive");
            tokio::time::sleep(LOOK).await;
        }
        Ok(handle)
    }

    /// What became of a request that the network has answered.
    ///
    /// # Errors
    /// If its answer is not read within a minute.
    pub async fn answer<T>(&self, handle: JoinHandle<T>) -> Result<T> {
        let read = tokio::time::timeout(LONGEST, handle).await;
        let read = read.context("an answer is not read")?;
        read.context("the request's task ended")
    }
}
