//! Delivering finished results, again and again until the escrow has accepted or definitely refused each.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use candid::Principal;
use emc_protocol::job::AttemptEnd;
use emc_protocol::limits::{CHUNK_BYTES, OUTPUT_BYTES, OUTPUT_INLINE_BYTES, UPLOAD_CHUNKS};
use emc_protocol::work::{ChunkArgs, DeliverReply};
use emc_protocol::{Job, Seconds, Tokens, canonical};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::earnings::{e8s, is_final, paid_to_owner};
use crate::backoff::Backoff;
use crate::delivery::Owed;
use crate::drain::{Stage, reached};
use crate::escrow::{CallError, DeliverVerdict, Escrow};
use crate::journal::{Journal, JournalError};
use crate::metrics::Metrics;

/// Outputs above this many bytes are uploaded in pieces, before the escrow's limits ask for it: on a poor line a smaller
/// message is likelier to arrive in time, and one that is lost costs less.
const PIECE: usize = 64 * 1024;
const _: () =
    assert!(PIECE <= OUTPUT_INLINE_BYTES && OUTPUT_BYTES.div_ceil(UPLOAD_CHUNKS) <= CHUNK_BYTES);
/// Deliveries under way at a time.
const AT_A_TIME: usize = 32;
/// A result is dropped this long after its job's deadline. The escrow moves deadlines by its own outages.
const KEPT: Seconds = Seconds(30 * 24 * 3600);

/// The results that are owed.
pub struct Deliveries<E> {
    /// The escrow's calls.
    pub escrow: Arc<E>,
    /// The node.
    pub node: Principal,
    /// The journal.
    pub journal: Arc<Journal>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The longest wait between two tries.
    pub longest_wait: Duration,
}

impl<E: Escrow> Deliveries<E> {
    /// Delivers what the journal holds and what comes, until all senders are gone and nothing is left that may soon
    /// succeed, or the worker stops. The number of results that are still owed.
    ///
    /// # Errors
    /// Where the journal cannot be read at the start.
    pub async fn run(
        self: Arc<Self>,
        mut finished: mpsc::UnboundedReceiver<Owed>,
        mut stages: watch::Receiver<Stage>,
    ) -> Result<usize, JournalError> {
        let owed = self.journal.owed()?;
        let turns = Arc::new(Semaphore::new(AT_A_TIME));
        // How many may soon succeed: all but those whose job another node holds.
        let (hopeful, mut hope) = watch::channel(0usize);
        let hopeful = Arc::new(hopeful);
        let mut tasks = JoinSet::new();
        let deliver = |owed: Owed, tasks: &mut JoinSet<()>| {
            self.metrics.owed.fetch_add(1, Relaxed);
            let one = Delivery {
                all: self.clone(),
                turns: turns.clone(),
                hope: Some(Hope::new(hopeful.clone())),
            };
            let span = tracing::info_span!(
                "delivery",
                id = owed.args.job_id,
                attempt = owed.args.attempt
            );
            tasks.spawn(one.until_settled(owed).instrument(span));
        };
        if !owed.is_empty() {
            tracing::info!(results = owed.len(), "delivering what is owed from before");
        }
        for owed in owed {
            deliver(owed, &mut tasks);
        }
        let mut open = true;
        loop {
            tokio::select! {
                () = reached(&mut stages, Stage::Stopping) => break,
                next = finished.recv(), if open => match next {
                    Some(owed) => deliver(owed, &mut tasks),
                    None => open = false,
                },
                Some(ended) = tasks.join_next() => super::log_panic(ended),
                _ = hope.wait_for(|left| *left == 0), if !open => break,
            }
        }
        while let Ok(late) = finished.try_recv() {
            // In the journal already; counted, not tried.
            self.metrics.owed.fetch_add(1, Relaxed);
            drop(late);
        }
        tasks.shutdown().await;
        Ok(self.metrics.owed.load(Relaxed) as usize)
    }

    async fn send(&self, owed: &Owed) -> Result<DeliverReply, CallError> {
        let mut args = owed.args.clone();
        let text = args.output.as_ref().map(canonical::output_bytes);
        let image = args.image.as_ref().map(canonical::image_output_bytes);
        if let Some(bytes) = text.or(image).filter(|bytes| bytes.len() > PIECE) {
            let piece = piece(bytes.len());
            for (number, chunk) in bytes.chunks(piece).enumerate() {
                let chunk = ChunkArgs {
                    job_id: args.job_id,
                    attempt: args.attempt,
                    offset: (number * piece) as u64,
                    bytes: chunk.to_vec(),
                };
                self.escrow.upload_chunk(chunk).await?;
            }
            (args.output, args.image) = (None, None);
        }
        self.escrow.deliver(args).await
    }

    /// `paid` is `None` where the draw, and perhaps an audit, is still to come.
    async fn accepted(&self, owed: &Owed, paid: Option<Tokens>) {
        let tokens = owed.args.usage.output_tokens;
        match paid {
            Some(paid) => tracing::info!(%paid, tokens, "delivered"),
            None => tracing::info!(tokens, "delivered; paid once it was drawn or audited"),
        }
        let stored = owed.clone();
        self.note(move |journal| journal.delivered(&stored, paid))
            .await;
        let usage = owed.args.usage;
        let counts = [
            (&self.metrics.delivered, 1),
            (&self.metrics.prompt_tokens, usage.prompt_tokens),
            (&self.metrics.output_tokens, usage.output_tokens),
            (&self.metrics.earned_e8s, paid.map_or(0, e8s)),
            (&self.metrics.awaited, u64::from(paid.is_none())),
            (&self.metrics.ever_delivered, 1),
        ];
        for (counter, more) in counts {
            counter.fetch_add(more, Relaxed);
        }
    }

    async fn given_up(&self, owed: &Owed, why: &str) {
        tracing::warn!(%why, "the result is not wanted any more");
        let key = owed.key();
        self.note(move |journal| journal.refused(key)).await;
        self.metrics.lost.fetch_add(1, Relaxed);
    }

    async fn note(
        &self,
        write: impl FnOnce(&Journal) -> Result<(), JournalError> + Send + 'static,
    ) {
        if let Err(error) = super::store(&self.journal, write).await {
            tracing::error!(%error, "a settled result stays in the journal; the next start offers it again");
        }
    }
}

/// The size of the pieces in which an output of this length is uploaded: by the length alone, so that an upload that a
/// restart has interrupted goes on with the same pieces.
fn piece(length: usize) -> usize {
    PIECE.max(length.div_ceil(UPLOAD_CHUNKS))
}

/// Counts among those that may soon succeed until dropped.
struct Hope(Arc<watch::Sender<usize>>);

impl Hope {
    fn new(count: Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Hope {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

struct Delivery<E> {
    all: Arc<Deliveries<E>>,
    turns: Arc<Semaphore>,
    hope: Option<Hope>,
}

impl<E: Escrow> Delivery<E> {
    async fn until_settled(mut self, owed: Owed) {
        let mut backoff = Backoff::new(Duration::from_millis(250), self.all.longest_wait);
        loop {
            let sent = {
                // The semaphore is never closed.
                let _turn = self.turns.acquire().await;
                self.all.send(&owed).await
            };
            let error = match sent {
                Ok(reply) => {
                    // A state that this version does not know is not the last one.
                    let is_final = reply.state.is_some_and(is_final);
                    self.all
                        .accepted(&owed, is_final.then_some(reply.paid))
                        .await;
                    break;
                }
                Err(error) => error,
            };
            match error.deliver_verdict() {
                DeliverVerdict::Refused => {
                    self.all.given_up(&owed, &error.to_string()).await;
                    break;
                }
                DeliverVerdict::AlreadyDelivered => {
                    if self.settle_by_looking(&owed).await {
                        break;
                    }
                }
                DeliverVerdict::Contested => {
                    if self.hope.take().is_some() {
                        tracing::warn!(
                            "another node holds the job now; offered again in case its lease ends"
                        );
                    }
                }
                DeliverVerdict::Retry => {
                    if backoff.failures() == 0 {
                        tracing::warn!(%error, "not delivered yet; trying on");
                    }
                }
            }
            if super::now() > owed.deadline.after(KEPT) {
                self.all.given_up(&owed, "its deadline is long past").await;
                break;
            }
            self.all.metrics.call_failures.fetch_add(1, Relaxed);
            let wait = backoff.next_wait();
            tokio::time::sleep(error.retry_after().unwrap_or(wait)).await;
        }
        self.all.metrics.owed.fetch_sub(1, Relaxed);
    }

    /// The job has a result. Looks whose; false where that cannot be learned now.
    async fn settle_by_looking(&self, owed: &Owed) -> bool {
        match self.all.escrow.job(owed.args.job_id).await {
            Ok(job) if is_ours(&job, owed, self.all.node) => {
                let is_final = job.state.is_some_and(is_final);
                let paid = is_final.then(|| paid_to_owner(&job, owed.key()));
                self.all.accepted(owed, paid).await;
                true
            }
            Ok(_) => {
                self.all
                    .given_up(owed, "another node has delivered it")
                    .await;
                true
            }
            Err(error) if error.deliver_verdict() == DeliverVerdict::Refused => {
                self.all.given_up(owed, &error.to_string()).await;
                true
            }
            Err(_) => false,
        }
    }
}

fn is_ours(job: &Job, owed: &Owed, node: Principal) -> bool {
    job.attempts.iter().any(|attempt| {
        attempt.number == owed.args.attempt
            && attempt.node == node
            && attempt.end == Some(AttemptEnd::Delivered)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_fits_into_the_chunks_that_the_escrow_takes() {
        for length in [PIECE + 1, 100_000, UPLOAD_CHUNKS * PIECE + 1, OUTPUT_BYTES] {
            let piece = piece(length);
            assert!(piece <= CHUNK_BYTES, "{length}");
            assert!(length.div_ceil(piece) <= UPLOAD_CHUNKS, "{length}");
        }
    }
}
