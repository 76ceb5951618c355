//! The real escrow, over `emc-client`.

use std::time::Duration;

use emc_client::{Error, RetryPolicy};
use emc_protocol::audit::{Audit, AuditSummary, AuditTask, CommitArgs, RevealArgs};
use emc_protocol::work::{
    ChunkArgs, ClaimArgs, DeclineArgs, DeliverArgs, DeliverReply, ExtendArgs, ExtendReply,
    ResultPart, ResultPartArgs, WorkSummary,
};
use emc_protocol::{Job, JobId, Lease, ModelRef};

use crate::escrow::{CallError, Escrow};

/// How long one call is tried by the client; beyond that the worker's own loops decide.
const CALL: Duration = Duration::from_secs(20);
/// A claim is tried as long as the network may still execute it: its leases must not be missed.
const CLAIM: Duration = Duration::from_secs(330);

/// The escrow of a client, with a patience for each kind of call.
pub struct EscrowClient {
    query: emc_client::Escrow,
    update: emc_client::Escrow,
    claim: emc_client::Escrow,
}

impl EscrowClient {
    /// The escrow behind a client, whatever the client's own patience.
    pub fn new(client: &emc_client::Client, escrow: candid::Principal) -> Self {
        let patient = |policy| client.with_retry(policy).escrow(escrow);
        let quick = RetryPolicy::default();
        Self {
            query: patient(RetryPolicy::never()),
            update: patient(quick.clone().give_up_after(CALL)),
            claim: patient(quick.give_up_after(CLAIM)),
        }
    }
}

fn call_error(error: Error) -> CallError {
    match error {
        Error::Api(refusal) => CallError::Refused(*refusal),
        other => CallError::Unanswered(other.to_string()),
    }
}

impl Escrow for EscrowClient {
    async fn work_available(&self, models: Vec<ModelRef>) -> Result<Vec<WorkSummary>, CallError> {
        let work = self.query.work_available(models).await;
        work.map_err(call_error)
    }

    async fn claim(&self, args: ClaimArgs) -> Result<Vec<Lease>, CallError> {
        self.claim.claim(args).await.map_err(call_error)
    }

    async fn extend(&self, args: ExtendArgs) -> Result<ExtendReply, CallError> {
        self.update.extend(args).await.map_err(call_error)
    }

    async fn decline(&self, args: DeclineArgs) -> Result<(), CallError> {
        self.update.decline(args).await.map_err(call_error)
    }

    async fn upload_chunk(&self, args: ChunkArgs) -> Result<(), CallError> {
        self.update.upload_chunk(args).await.map_err(call_error)
    }

    async fn deliver(&self, args: DeliverArgs) -> Result<DeliverReply, CallError> {
        self.update.deliver(args).await.map_err(call_error)
    }

    async fn job(&self, id: JobId) -> Result<Job, CallError> {
        self.query.get_job(id, None).await.map_err(call_error)
    }

    async fn audits(&self) -> Result<Vec<AuditSummary>, CallError> {
        self.query.audits().await.map_err(call_error)
    }

    async fn result_part(&self, args: ResultPartArgs) -> Result<ResultPart, CallError> {
        self.query.result_part(args).await.map_err(call_error)
    }

    async fn audit_task(&self, id: JobId) -> Result<AuditTask, CallError> {
        self.query.audit_task(id).await.map_err(call_error)
    }

    async fn commit_vote(&self, args: CommitArgs) -> Result<(), CallError> {
        self.update.commit_vote(args).await.map_err(call_error)
    }

    async fn reveal_vote(&self, args: RevealArgs) -> Result<(), CallError> {
        self.update.reveal_vote(args).await.map_err(call_error)
    }

    async fn audit(&self, id: JobId) -> Result<Audit, CallError> {
        self.query.audit(id).await.map_err(call_error)
    }
}
