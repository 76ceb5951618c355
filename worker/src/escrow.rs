//! The escrow as the worker needs it: its calls, and what their refusals mean.
//!
//! A trait, so that everything that decides about jobs is tested against an escrow that fails on command.

use std::future::Future;
use std::time::Duration;

use emc_protocol::audit::{Audit, AuditSummary, AuditTask, CommitArgs, RevealArgs};
use emc_protocol::error::code;
use emc_protocol::work::{
    ChunkArgs, ClaimArgs, DeclineArgs, DeliverArgs, DeliverReply, ExtendArgs, ExtendReply,
    ResultPart, ResultPartArgs, WorkSummary,
};
use emc_protocol::{ApiError, ErrorDetail, Job, JobId, Lease, ModelRef};

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The escrow has answered no, and has changed nothing.
    #[error("{0}")]
    Refused(ApiError),
    /// No answer: the call may or may not have been executed.
    #[error("no answer: {0}")]
    Unanswered(String),
}

/// The calls of a node to its escrow.
pub trait Escrow: Send + Sync + 'static {
    /// How much work there is; a free query.
    fn work_available(
        &self,
        models: Vec<ModelRef>,
    ) -> impl Future<Output = Result<Vec<WorkSummary>, CallError>> + Send;
    /// Leases jobs of the escrow's choice.
    fn claim(&self, args: ClaimArgs) -> impl Future<Output = Result<Vec<Lease>, CallError>> + Send;
    /// Renews a lease and shows a part of the answer.
    fn extend(
        &self,
        args: ExtendArgs,
    ) -> impl Future<Output = Result<ExtendReply, CallError>> + Send;
    /// Gives a lease back.
    fn decline(&self, args: DeclineArgs) -> impl Future<Output = Result<(), CallError>> + Send;
    /// Uploads a part of a large output.
    fn upload_chunk(&self, args: ChunkArgs) -> impl Future<Output = Result<(), CallError>> + Send;
    /// Delivers a result.
    fn deliver(
        &self,
        args: DeliverArgs,
    ) -> impl Future<Output = Result<DeliverReply, CallError>> + Send;
    /// A job as everyone may see it.
    fn job(&self, id: JobId) -> impl Future<Output = Result<Job, CallError>> + Send;

    /// The audits that wait for this node; a free query.
    fn audits(&self) -> impl Future<Output = Result<Vec<AuditSummary>, CallError>> + Send;
    /// A part of a result; a free query.
    fn result_part(
        &self,
        args: ResultPartArgs,
    ) -> impl Future<Output = Result<ResultPart, CallError>> + Send;
    /// What the vote on a job is computed from; a free query.
    fn audit_task(&self, id: JobId) -> impl Future<Output = Result<AuditTask, CallError>> + Send;
    /// Commits to a vote.
    fn commit_vote(&self, args: CommitArgs) -> impl Future<Output = Result<(), CallError>> + Send;
    /// Reveals a vote.
    fn reveal_vote(&self, args: RevealArgs) -> impl Future<Output = Result<(), CallError>> + Send;
    /// A job's audit as everyone may see it; a free query.
    fn audit(&self, id: JobId) -> impl Future<Output = Result<Audit, CallError>> + Send;
}

/// What a failed `deliver` means for a finished result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliverVerdict {
    /// Try again: the network, or a state that passes.
    Retry,
    /// Another node holds the job now. Should its lease end without a result, this one is still welcome.
    Contested,
    /// The job has a result already: this one, if an earlier try arrived, or another node's.
    AlreadyDelivered,
    /// It will never be accepted.
    Refused,
}

impl CallError {
    /// The code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(error) => Some(&error.code),
            Self::Unanswered(_) => None,
        }
    }

    /// What this means for a delivery. A code that this version does not know may pass, so it is tried again.
    pub fn deliver_verdict(&self) -> DeliverVerdict {
        match self.code() {
            Some(code::ALREADY_DELIVERED) => DeliverVerdict::AlreadyDelivered,
            Some(code::LEASE_LOST) => DeliverVerdict::Contested,
            Some(
                code::NOT_FOUND
                | code::WRONG_STATE
                | code::NOT_YOUR_LEASE
                | code::BAD_SIGNATURE
                | code::BAD_OUTPUT_HASH
                | code::BAD_USAGE
                | code::NOT_A_CONTINUATION
                | code::INVALID
                | code::LIMIT
                | code::FORBIDDEN
                | code::ANONYMOUS,
            ) => DeliverVerdict::Refused,
            _ => DeliverVerdict::Retry,
        }
    }

    /// True where a refused `extend` or `decline` means that the job is no longer this node's.
    pub fn means_job_is_gone(&self) -> bool {
        matches!(
            self.code(),
            Some(
                code::NOT_FOUND
                    | code::WRONG_STATE
                    | code::NOT_YOUR_LEASE
                    | code::LEASE_LOST
                    | code::ALREADY_DELIVERED
            )
        )
    }

    /// How long the escrow asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(ApiError {
                detail: Some(ErrorDetail::RetryAfter { seconds }),
                ..
            }) => Some(Duration::from_secs(seconds.0.min(3600))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> CallError {
        CallError::Refused(ApiError::new(code, "No."))
    }

    #[test]
    fn only_final_refusals_give_a_result_up() {
        let verdict = |code| refused(code).deliver_verdict();
        assert_eq!(verdict(code::WRONG_STATE), DeliverVerdict::Refused);
        assert_eq!(
            verdict(code::ALREADY_DELIVERED),
            DeliverVerdict::AlreadyDelivered
        );
        assert_eq!(verdict(code::LEASE_LOST), DeliverVerdict::Contested);
        for passing in [
            code::BUSY,
            code::STARTING,
            code::UNAVAILABLE,
            "a_code_of_tomorrow",
        ] {
            assert_eq!(verdict(passing), DeliverVerdict::Retry, "{passing}");
        }
        let lost = CallError::Unanswered("connection refused".into());
        assert_eq!(lost.deliver_verdict(), DeliverVerdict::Retry);
        assert!(!lost.means_job_is_gone() && refused(code::LEASE_LOST).means_job_is_gone());
    }
}
