//! Jobs a second from asking to paid, everything but inference: several clients, a node that answers at once, and
//! validators that vote at once.

use crate::calls::Scene;
use anyhow::{Result, ensure};
use emc_devnet::market::until;
use emc_devnet::votes::{Ballots, Opinion};
use emc_protocol::Assurance;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Clients that ask at once, and as many loops that work.
const CLIENTS: usize = 4;

/// Puts so many jobs through; how many a second.
///
/// # Errors
/// If the escrow refuses something.
pub async fn run(scene: &Scene, jobs: usize, assurance: Assurance) -> Result<f64> {
    let over = AtomicBool::new(false);
    let before = open(scene).await?;
    let begun = Instant::now();
    let asking = async {
        let ask = |share: usize| async move {
            for _ in 0..share {
                scene.escrow.submit_job(scene.question(assurance)).await?;
            }
            anyhow::Ok(())
        };
        let clients = (0..CLIENTS).map(|n| ask((jobs + n) / CLIENTS));
        all(clients.collect()).await?;
        let settled = async || Ok((open(scene).await? <= before).then_some(()));
        let waited = until(Duration::from_secs(300), "all jobs to be final", settled).await;
        over.store(true, SeqCst);
        waited
    };
    let work = || async {
        while !over.load(SeqCst) {
            let leases = scene.worker.claim(8).await?;
            if leases.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            for lease in leases {
                let delivery = scene.worker.delivery(&lease, &[7; 48], "Paris, it seems.");
                scene.worker.deliver(delivery).await?;
            }
        }
        anyhow::Ok(())
    };
    let vote = |number: usize| {
        let (validator, over) = (&scene.validators[number], &over);
        async move {
            let mut ballots = Ballots::default();
            while assurance != Assurance::None && !over.load(SeqCst) {
                if validator.cast(&mut ballots, Opinion::Within).await? == 0 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            anyhow::Ok(())
        }
    };
    let working = all((0..CLIENTS).map(|_| work()).collect());
    let voting = all((0..scene.validators.len()).map(vote).collect());
    let (asked, worked, voted) = tokio::join!(asking, working, voting);
    asked?;
    worked?;
    voted?;
    let rate = jobs as f64 / begun.elapsed().as_secs_f64();
    ensure!(rate.is_finite(), "no time passed");
    Ok(rate)
}

/// The requester's jobs that are not final; those of its past stay open.
async fn open(scene: &Scene) -> Result<u64> {
    let account = scene.escrow.account(scene.requester.principal()).await?;
    Ok(account.open_jobs)
}

/// Runs futures side by side on this task.
async fn all<F: Future<Output = Result<()>>>(futures: Vec<F>) -> Result<()> {
    let mut running: Vec<_> = futures.into_iter().map(|one| Some(Box::pin(one))).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for slot in &mut running {
            if let Some(future) = slot {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(Ok(())) => *slot = None,
                    std::task::Poll::Ready(Err(error)) => {
                        return std::task::Poll::Ready(Err(error));
                    }
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        match waiting {
            true => std::task::Poll::Pending,
            false => std::task::Poll::Ready(Ok(())),
        }
    })
    .await
}
