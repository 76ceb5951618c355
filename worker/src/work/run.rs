//! One job: from its lease to an owed result, or to its end without one.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use emc_protocol::error::code;
use emc_protocol::limits::TEXT_BYTES;
use emc_protocol::work::{DeclineArgs, ExtendReply};
use emc_protocol::{JobInput, Lease, TextOutput, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Served, Slot, Worker, paint};
use crate::answer::Answer;
use crate::assess;
use crate::backoff::Backoff;
use crate::delivery::{self, Finished};
use crate::drain::{Stage, reached};
use crate::engine::thread::{EngineHandle, Generation};
use crate::engine::{EngineError, Server, Start};
use crate::escrow::{CallError, Escrow};
use crate::journal::{JobKey, LeaseEnd};
use crate::preview::Preview;

/// Tries of `decline` before the lease is left to lapse.
const DECLINE_TRIES: u32 = 5;
/// All of these together take no longer than this.
const DECLINE_TIME: Duration = Duration::from_secs(15);
/// The lease is renewed at least this often, whatever the clocks say.
const RENEW_MOST: Duration = Duration::from_secs(20);
const RENEW_LEAST: Duration = Duration::from_secs(3);

/// After a restart an answer is made anew; on some machines it may come out differently.
const CHANGED: &str = "the answer could not be made again as it was begun";

/// Why a job ends without a result.
pub(super) enum NoResult {
    /// It is given back, and why.
    Declined(String),
    /// It is no longer this node's.
    Gone(String),
}

/// Does a leased job and hands its result over, or ends the lease.
pub(super) async fn run_job<E: Escrow>(
    slot: &Slot<E>,
    lease: Lease,
    preview: Preview,
    mut stages: watch::Receiver<Stage>,
) {
    let worker = &slot.worker;
    let result = tokio::select! {
        result = answer(slot, &lease, preview) => result,
        () = reached(&mut stages, Stage::Stopping) => {
            Err(NoResult::Declined("the node is shutting down".into()))
        }
    };
    match result {
        Ok(result) => {
            match delivery::sign(worker.escrow_id, &worker.key, &lease, result) {
                Ok(owed) => {
                    let stored = owed.clone();
                    if let Err(error) = worker.store(move |journal| journal.finished(&stored)).await
                    {
                        tracing::error!(%error, "the result is delivered without being in the journal");
                    }
                    tracing::debug!(usage = ?owed.args.usage, "finished");
                    // Where nobody receives any more, the journal has it for the next start.
                    let _ = worker.deliveries.send(owed);
                }
                Err(error) => decline(worker, &lease, error.to_string()).await,
            }
        }
        Err(NoResult::Declined(reason)) => decline(worker, &lease, reason).await,
        Err(NoResult::Gone(reason)) => {
            tracing::warn!(%reason, "the job is no longer this node's");
            end(worker, &lease, LeaseEnd::Lost).await;
        }
    }
}

async fn answer<E: Escrow>(
    slot: &Slot<E>,
    lease: &Lease,
    preview: Preview,
) -> Result<Finished, NoResult> {
    let declined = |reason: &str| NoResult::Declined(reason.to_owned());
    let Some(served) = &slot.served else {
        return Err(declined("this node does not serve the model any more"));
    };
    if lease.model_root != served.root {
        return Err(declined("this node has other files for the model"));
    }
    let Some(input) = lease.input.clone() else {
        return Err(declined(
            "this kind of job is not known here; the node's software is older",
        ));
    };
    match (&served.server, input) {
        (Server::Pictures(painter), JobInput::Image(input)) => {
            let output = paint::picture(&slot.worker, lease, painter, input).await?;
            Ok(Finished::Picture(output))
        }
        (Server::Text(engine), input @ (JobInput::Chat { .. } | JobInput::Completion { .. })) => {
            text(slot, lease, preview, (served, engine), input).await
        }
        _ => Err(declined("the model is for another task")),
    }
}

/// Does a job of text.
async fn text<E: Escrow>(
    slot: &Slot<E>,
    lease: &Lease,
    mut preview: Preview,
    (served, engine): (&Served, &EngineHandle),
    input: JobInput,
) -> Result<Finished, NoResult> {
    let prompt = engine.prompt(input.clone()).await;
    let prompt = prompt.map_err(|error| NoResult::Declined(error.to_string()))?;
    let prompt_tokens = prompt.len() as u64;
    if let Some(reason) = assess::why_not(lease, prompt_tokens, served.terms) {
        return Err(NoResult::Declined(reason));
    }
    let mut generation = engine.start(Start {
        input,
        prompt,
        parameters: lease.parameters.clone(),
        seed: lease.seed,
    });
    let output = generate(
        &slot.worker,
        lease,
        prompt_tokens,
        &mut preview,
        &mut generation,
    )
    .await?;
    if preview.ids.len() > output.ids.len()
        || preview.text.len() > output.text.len()
        || !preview.agrees_with(&output.ids, &output.text)
    {
        return Err(NoResult::Declined(CHANGED.into()));
    }
    Ok(Finished::Text {
        prompt_tokens,
        output,
    })
}

/// Waits for the answer, renewing the lease and showing what there is.
async fn generate<E: Escrow>(
    worker: &Worker<E>,
    lease: &Lease,
    prompt_tokens: u64,
    preview: &mut Preview,
    generation: &mut Generation,
) -> Result<TextOutput, NoResult> {
    let mut renewals = Renewals::new(worker, lease);
    loop {
        tokio::select! {
            biased;
            finished = generation.finished() => return finished.map_err(engine_failure),
            () = tokio::time::sleep_until(renewals.next) => {}
        }
        let answer = generation.so_far();
        if !preview.agrees_with(answer.ids(), answer.certain_text()) {
            return Err(NoResult::Declined(CHANGED.into()));
        }
        if !renewals.is_due(preview, &answer) {
            renewals.next = Instant::now() + worker.pace.preview / 4;
            continue;
        }
        let was_uncertain = preview.is_uncertain();
        let args = preview.next_call(lease, prompt_tokens, Some(&answer));
        let (key, stored) = (JobKey::of(lease), preview.clone());
        let written = worker
            .store(move |journal| journal.previewed(key, &stored))
            .await;
        if let Err(error) = written {
            tracing::error!(%error, "a preview is sent without being in the journal");
        }
        let reply = tokio::select! {
            biased;
            // Leaving a call under way is harmless: whatever the escrow takes of it, the result begins with.
            finished = generation.finished() => return finished.map_err(engine_failure),
            reply = worker.escrow.extend(args) => reply,
        };
        renewals.learn(worker, preview, was_uncertain, reply)?;
    }
}

pub(super) fn engine_failure(error: EngineError) -> NoResult {
    NoResult::Declined(error.to_string())
}

/// When a lease is renewed next.
struct Renewals {
    next: Instant,
    last: Instant,
    /// The longest time between two renewals.
    renew: Duration,
    failures: Backoff,
}

impl Renewals {
    fn new<E: Escrow>(worker: &Worker<E>, lease: &Lease) -> Self {
        let now = Instant::now();
        Self {
            next: now + worker.pace.first_preview,
            last: now,
            renew: renew_within(lease.until),
            failures: Backoff::new(worker.pace.preview, worker.pace.preview * 3),
        }
    }

    fn is_due(&self, preview: &Preview, answer: &Answer) -> bool {
        preview.is_uncertain() || preview.is_behind(answer) || self.last.elapsed() >= self.renew
    }

    /// Takes what `extend` has answered.
    fn learn<E: Escrow>(
        &mut self,
        worker: &Worker<E>,
        preview: &mut Preview,
        was_uncertain: bool,
        reply: Result<ExtendReply, CallError>,
    ) -> Result<(), NoResult> {
        let now = Instant::now();
        let error = match reply {
            Ok(reply) => {
                preview.accepted();
                self.failures.reset();
                self.last = now;
                self.renew = renew_within(reply.until);
                self.next = now + worker.pace.preview;
                return Ok(());
            }
            Err(error) => error,
        };
        if error.means_job_is_gone() {
            return Err(NoResult::Gone(error.to_string()));
        }
        worker.metrics.call_failures.fetch_add(1, Relaxed);
        let wait = error
            .retry_after()
            .unwrap_or_else(|| self.failures.next_wait());
        self.next = now + wait;
        match error.code() {
            // Whether the escrow has it is found out by the next call.
            None => tracing::warn!(%error, "the lease could not be renewed; trying on"),
            Some(code::NOT_A_CONTINUATION) if was_uncertain => {
                preview.refused();
                self.next = now;
            }
            Some(code::NOT_A_CONTINUATION) => {
                return Err(NoResult::Declined(
                    "the answer shown so far is not the one that this node has".into(),
                ));
            }
            Some(_) => {
                if !was_uncertain {
                    preview.refused();
                }
                tracing::debug!(%error, "the lease was not renewed; trying on");
            }
        }
        Ok(())
    }
}

/// A third of the lease, but never trusting the two clocks to agree.
pub(super) fn renew_within(until: Timestamp) -> Duration {
    let left = Duration::from_secs(until.since(super::now()).0);
    (left / 3).clamp(RENEW_LEAST, RENEW_MOST)
}

/// Gives a lease back. Where the escrow cannot be told it lapses.
async fn decline<E: Escrow>(worker: &Worker<E>, lease: &Lease, mut reason: String) {
    tracing::info!(%reason, "declined");
    while reason.len() > TEXT_BYTES {
        reason.pop();
    }
    let args = DeclineArgs {
        job_id: lease.job_id,
        attempt: lease.attempt,
        reason,
    };
    let told = async {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(4));
        loop {
            match worker.escrow.decline(args.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) if error.means_job_is_gone() => return Ok(()),
                Err(error) if backoff.failures() + 1 >= DECLINE_TRIES => return Err(error),
                Err(error) => {
                    let wait = backoff.next_wait();
                    tokio::time::sleep(error.retry_after().unwrap_or(wait)).await;
                }
            }
        }
    };
    match tokio::time::timeout(DECLINE_TIME, told).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "could not be given back: it will lapse"),
        Err(_) => tracing::warn!("could not be given back in time: it will lapse"),
    }
    end(worker, lease, LeaseEnd::Declined).await;
}

async fn end<E: Escrow>(worker: &Worker<E>, lease: &Lease, how: LeaseEnd) {
    let counter = match how {
        LeaseEnd::Declined => &worker.metrics.declined,
        LeaseEnd::Lost => &worker.metrics.lost,
    };
    let key = JobKey::of(lease);
    if let Err(error) = worker.store(move |journal| journal.ended(key, how)).await {
        tracing::error!(%error, "the ended lease stays in the journal");
    }
    counter.fetch_add(1, Relaxed);
}
