//! A picture, from its lease to the finished output: the lease is renewed, and what there is of the picture shown,
//! while it is being made.

use std::sync::atomic::Ordering::Relaxed;

use emc_protocol::Lease;
use emc_protocol::image::{ImageInput, ImageOutput, ImageProgress};
use emc_protocol::work::ExtendArgs;
use tokio::time::Instant;

use super::Worker;
use super::run::{NoResult, engine_failure, renew_within};
use crate::backoff::Backoff;
use crate::engine::painter::PainterHandle;
use crate::escrow::Escrow;

/// Makes a picture.
pub(super) async fn picture<E: Escrow>(
    worker: &Worker<E>,
    lease: &Lease,
    painter: &PainterHandle,
    input: ImageInput,
) -> Result<ImageOutput, NoResult> {
    let mut painting = painter.paint(input, lease.seed);
    let mut shown = ImageProgress::default();
    let mut failures = Backoff::new(worker.pace.preview, worker.pace.preview * 3);
    let (mut last, mut renew) = (Instant::now(), renew_within(lease.until));
    let mut next = last + worker.pace.first_preview;
    loop {
        tokio::select! {
            biased;
            finished = painting.finished() => return finished.map_err(engine_failure),
            () = tokio::time::sleep_until(next) => {}
        }
        let so_far = painting.so_far();
        if so_far == shown && last.elapsed() < renew {
            next = Instant::now() + worker.pace.preview / 4;
            continue;
        }
        let reply = tokio::select! {
            biased;
            // Leaving a call under way is harmless: progress is only shown.
            finished = painting.finished() => return finished.map_err(engine_failure),
            reply = worker.escrow.extend(args(lease, &so_far, &shown)) => reply,
        };
        let now = Instant::now();
        match reply {
            Ok(reply) => {
                shown = so_far;
                failures.reset();
                (last, renew) = (now, renew_within(reply.until));
                next = now + worker.pace.preview;
            }
            Err(error) if error.means_job_is_gone() => {
                return Err(NoResult::Gone(error.to_string()));
            }
            Err(error) => {
                worker.metrics.call_failures.fetch_add(1, Relaxed);
                tracing::debug!(%error, "the lease was not renewed; trying on");
                next = now + error.retry_after().unwrap_or_else(|| failures.next_wait());
            }
        }
    }
}

/// The call that shows how far it is; a preview that the escrow has is not sent again.
fn args(lease: &Lease, so_far: &ImageProgress, shown: &ImageProgress) -> ExtendArgs {
    let preview = so_far.preview.clone();
    ExtendArgs {
        job_id: lease.job_id,
        attempt: lease.attempt,
        prompt_tokens: 0,
        from: 0,
        ids: vec![],
        text: String::new(),
        image: Some(ImageProgress {
            steps_done: so_far.steps_done,
            preview: preview.filter(|_| so_far.preview != shown.preview),
        }),
    }
}
