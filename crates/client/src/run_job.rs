//! A job from submission to its end, with partial text on the way.

use crate::{Error, Escrow};
use emc_protocol::TextOutput;
use emc_protocol::escrow::ReceiptRecord;
use emc_protocol::job::{Job, JobId, JobState, Preview, RefundReason, SubmitJob, SubmitReply};
use std::time::Duration;

/// What happens to a job while one waits for it.
#[derive(Debug)]
#[non_exhaustive]
pub enum JobEvent<'a> {
    /// It is submitted; keep the reply's capability and salt.
    Submitted(&'a SubmitReply),
    /// Its state or its attempt is another than before.
    Changed(&'a Job),
    /// More of the answer is there. The whole text so far; a new attempt begins anew.
    Preview(&'a Preview),
}

/// A job that is final.
#[derive(Clone, Debug)]
pub struct JobResult {
    /// The job, its private part included.
    pub job: Job,
    /// The answer; `None` where the job was refunded.
    pub output: Option<TextOutput>,
    /// The receipt; `None` where the job was refunded.
    pub receipt: Option<ReceiptRecord>,
}

/// The waits between two looks at a job: short at first, so that a fast answer is seen at once.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

impl Escrow {
    /// Submits a job and waits for its end, telling `on_event` what happens.
    ///
    /// A job always ends: at its deadline at the latest, with its money back.
    ///
    /// # Errors
    /// Those of [`Escrow::submit_job`] and [`Escrow::get_job`]. A refund is no error: look at `output`.
    ///
    /// ```no_run
    /// # async fn example(escrow: emc_client::Escrow) -> Result<(), emc_client::Error> {
    /// use emc_client::{JobEvent, protocol::*, protocol::job::ChatMessage, protocol::job::ChatRole};
    /// let job = SubmitJob {
    ///     model: ModelRef { id: "smollm2-135m-instruct".into(), version: None },
    ///     input: JobInput::Chat {
    ///         messages: vec![ChatMessage { role: ChatRole::User, content: "Why is the sky blue?".into() }],
    ///     },
    ///     parameters: Parameters::greedy(200),
    ///     max_price: Tokens::emc(1),
    ///     deadline: None,
    ///     if_unserved: None,
    ///     request_key: None,
    ///     seed: None,
    ///     salt: None,
    ///     visibility: None,
    ///     assurance: None,
    ///     payer: None,
    ///     notify: None,
    /// };
    /// let result = escrow
    ///     .run(job, |event| {
    ///         if let JobEvent::Preview(preview) = event {
    ///             eprintln!("{} tokens so far", preview.tokens);
    ///         }
    ///     })
    ///     .await?;
    /// match result.output {
    ///     Some(output) => println!("{}", output.text),
    ///     None => println!("refunded: {:?}", result.job.refund_reason),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn run(
        &self,
        job: SubmitJob,
        mut on_event: impl FnMut(JobEvent<'_>),
    ) -> Result<JobResult, Error> {
        let reply = self.submit_job(job).await?;
        on_event(JobEvent::Submitted(&reply));
        self.wait_for(reply.job_id, Some(&reply.capability), on_event)
            .await
    }

    /// Waits for a job's end, as [`Escrow::run`] does.
    ///
    /// # Errors
    /// Those of [`Escrow::get_job`].
    pub async fn wait_for(
        &self,
        id: JobId,
        capability: Option<&[u8]>,
        mut on_event: impl FnMut(JobEvent<'_>),
    ) -> Result<JobResult, Error> {
        let mut seen = Seen::default();
        let mut look = LOOK.0;
        loop {
            let job = self.get_job(id, capability).await?;
            if seen.changed(&job) {
                on_event(JobEvent::Changed(&job));
                look = LOOK.0;
            }
            if let Some(preview) = seen.new_preview(&job) {
                on_event(JobEvent::Preview(preview));
            }
            if is_final(&job) {
                return self.result_of(job).await;
            }
            tokio::time::sleep(look).await;
            look = look.mul_f64(1.3).min(LOOK.1);
        }
    }

    /// A final job with its receipt.
    ///
    /// # Errors
    /// Those of [`Escrow::receipt`].
    pub async fn result_of(&self, job: Job) -> Result<JobResult, Error> {
        let overturned = job.refund_reason == Some(RefundReason::Overturned);
        let receipt = match job.state {
            Some(JobState::Settled | JobState::Undecided) => Some(self.receipt(job.id).await?),
            Some(JobState::Refunded) if overturned => Some(self.receipt(job.id).await?),
            _ => None,
        };
        Ok(JobResult {
            output: job.private.as_ref().and_then(|p| p.output.clone()),
            receipt,
            job,
        })
    }
}

/// True once a job cannot change any more.
pub fn is_final(job: &Job) -> bool {
    matches!(
        job.state,
        Some(JobState::Settled | JobState::Refunded | JobState::Undecided)
    )
}

/// What was told already.
#[derive(Default)]
struct Seen {
    state: Option<(Option<JobState>, usize)>,
    preview: Option<(u32, u32, u32)>,
}

impl Seen {
    /// True if the state, or the number of attempts, is not what was seen last.
    fn changed(&mut self, job: &Job) -> bool {
        let now = Some((job.state, job.attempts.len()));
        std::mem::replace(&mut self.state, now) != now
    }

    /// The preview, if it is not the one that was seen last.
    fn new_preview<'a>(&mut self, job: &'a Job) -> Option<&'a Preview> {
        let preview = job.private.as_ref()?.preview.as_ref()?;
        let attempt = job.attempts.last().map_or(0, |attempt| attempt.number);
        let steps = preview.image.as_ref().map_or(0, |image| image.steps_done);
        let now = Some((attempt, preview.tokens, steps));
        (std::mem::replace(&mut self.preview, now) != now).then_some(preview)
    }
}
