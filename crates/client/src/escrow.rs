//! The escrow's endpoints, one method each.

use crate::{Client, Error};
use candid::{Principal, Reserved};
use emc_protocol::account::{
    AccountView, Delegate, DepositArgs, DepositReply, Ledgered, SetDelegate, Totals, WithdrawArgs,
    WithdrawReply,
};
use emc_protocol::audit::{Audit, AuditSummary, AuditTask, CommitArgs, RevealArgs};
use emc_protocol::escrow::{EscrowInfo, Quote, QuoteArgs, ReceiptProof, ReceiptRecord, Settings};
use emc_protocol::image::ImageOutput;
use emc_protocol::job::{Job, JobFilter, JobId, JobPage, SubmitJob, SubmitReply};
use emc_protocol::parameters::{EscrowParameterLog, EscrowParameters};
use emc_protocol::work::{
    ChunkArgs, ClaimArgs, DeclineArgs, DeliverArgs, DeliverReply, ExtendArgs, ExtendReply, Lease,
    ResultPart, ResultPartArgs, WorkSummary,
};
use emc_protocol::{ByteBuf, ModelRef, Seconds, canonical};
use rand::RngCore;

/// An escrow: accounts, jobs, receipts.
///
/// ```no_run
/// # async fn example(client: emc_client::Client, id: emc_client::Principal) -> Result<(), emc_client::Error> {
/// let escrow = client.escrow(id);
/// let account = escrow.account(client.principal()).await?;
/// println!("{} EMC available, {} locked", account.available, account.locked);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Escrow {
    client: Client,
    id: Principal,
}

/// What to look at after a deposit or a withdrawal whose outcome is not known.
const LOOK_AT_BALANCES: &str =
    "`emc account` shows your balance in the escrow, `emc balance` the one in the ledger.";

impl Escrow {
    pub(crate) fn new(client: Client, id: Principal) -> Self {
        Self { client, id }
    }

    /// The canister.
    pub fn id(&self) -> Principal {
        self.id
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    // --- for anyone ---

    /// Settings and state.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn info(&self) -> Result<EscrowInfo, Error> {
        self.client.query(self.id, "info", ()).await
    }

    /// Who may submit jobs that an account pays.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn delegates(&self, owner: Principal) -> Result<Vec<Delegate>, Error> {
        self.client.query(self.id, "delegates", (owner,)).await
    }

    /// Everything the escrow holds.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn totals(&self) -> Result<Totals, Error> {
        self.client.query(self.id, "totals", ()).await
    }

    /// The ledger account whose plain transfers are credited to `beneficiary` by [`Escrow::notify_deposit`].
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn deposit_account(&self, beneficiary: Principal) -> Result<Ledgered, Error> {
        self.client
            .query(self.id, "deposit_account", (beneficiary,))
            .await
    }

    /// A settled job's receipt.
    ///
    /// # Errors
    /// `not_found` where there is none; else those of a query.
    pub async fn receipt(&self, job: JobId) -> Result<ReceiptRecord, Error> {
        self.client.ask(self.id, "receipt", (job,)).await
    }

    /// A job's receipt with the proof that it is in the certified log; [`crate::proof::check_proof`] checks it.
    ///
    /// # Errors
    /// `not_found` where there is none; else those of a query.
    pub async fn receipt_proof(&self, job: JobId) -> Result<ReceiptProof, Error> {
        self.client.ask(self.id, "receipt_proof", (job,)).await
    }

    /// Receipts from a number on, at most `limit`.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn receipts(&self, start: u64, limit: u32) -> Result<Vec<ReceiptRecord>, Error> {
        self.client.ask(self.id, "receipts", (start, limit)).await
    }

    // --- accounts ---

    /// An account's balances.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn account(&self, owner: Principal) -> Result<AccountView, Error> {
        self.client.query(self.id, "account", (owner,)).await
    }

    /// Deposits what the caller has approved; [`crate::funding`] does both.
    ///
    /// # Errors
    /// The escrow's refusals (`pending` names a journal entry that resolves by itself); [`Error::Unknown`] where the
    /// outcome cannot be learned.
    pub async fn deposit(&self, args: DepositArgs) -> Result<DepositReply, Error> {
        self.client
            .once(self.id, "deposit", (args,), LOOK_AT_BALANCES)
            .await
    }

    /// Credits what lies in a beneficiary's deposit account. Repeating it credits only what has come since.
    ///
    /// # Errors
    /// The escrow's refusals; else as [`Error`] says.
    pub async fn notify_deposit(&self, beneficiary: Principal) -> Result<DepositReply, Error> {
        self.client
            .once(self.id, "notify_deposit", (beneficiary,), LOOK_AT_BALANCES)
            .await
    }

    /// Pays out.
    ///
    /// # Errors
    /// The escrow's refusals (`pending` names a journal entry that resolves by itself); [`Error::Unknown`] where the
    /// outcome cannot be learned.
    pub async fn withdraw(&self, args: WithdrawArgs) -> Result<WithdrawReply, Error> {
        self.client
            .once(self.id, "withdraw", (args,), LOOK_AT_BALANCES)
            .await
    }

    /// Pays out of the treasury; the treasury's principal's.
    ///
    /// # Errors
    /// As [`Escrow::withdraw`], and `forbidden` for anybody else.
    pub async fn withdraw_treasury(&self, args: WithdrawArgs) -> Result<WithdrawReply, Error> {
        self.client
            .once(self.id, "withdraw_treasury", (args,), LOOK_AT_BALANCES)
            .await
    }

    // --- requesters ---

    /// What a job would cost, and who could do it.
    ///
    /// # Errors
    /// `unknown_model` and other refusals; else those of a query.
    pub async fn quote(&self, args: QuoteArgs) -> Result<Quote, Error> {
        self.client.ask(self.id, "quote", (args,)).await
    }

    /// Submits a job. Where it has no request key it gets a random one, so that it can be sent again safely: for ever
    /// with [`crate::RetryPolicy::for_ever`], and never twice.
    ///
    /// # Errors
    /// The escrow's refusals; else as [`Error`] says.
    pub async fn submit_job(&self, mut job: SubmitJob) -> Result<SubmitReply, Error> {
        job.request_key.get_or_insert_with(random_key);
        self.client.repeatable(self.id, "submit_job", (job,)).await
    }

    /// Cancels a job of the caller's.
    ///
    /// # Errors
    /// `not_found`, `wrong_state` where it is final already; else as [`Error`] says.
    pub async fn cancel_job(&self, job: JobId) -> Result<(), Error> {
        let _: Reserved = self
            .client
            .repeatable(self.id, "cancel_job", (job,))
            .await?;
        Ok(())
    }

    /// Lets somebody submit jobs that the caller pays, up to a limit; a limit of zero takes the permission away.
    ///
    /// # Errors
    /// `insufficient_funds` where the account is empty, `limit` where it has too many delegates; else as [`Error`] says.
    pub async fn set_delegate(&self, args: SetDelegate) -> Result<(), Error> {
        let _: Reserved = self
            .client
            .repeatable(self.id, "set_delegate", (args,))
            .await?;
        Ok(())
    }

    /// Announces a change of parameters, which takes effect after the public delay; the governor's.
    ///
    /// # Errors
    /// `forbidden`, `invalid`; else as [`Error`] says.
    pub async fn set_parameters(
        &self,
        settings: Option<Settings>,
        delay: Option<Seconds>,
    ) -> Result<EscrowInfo, Error> {
        let change = EscrowParameters { settings, delay };
        self.client
            .repeatable(self.id, "set_parameters", (change,))
            .await
    }

    /// Withdraws the change of parameters that is pending; the governor's.
    ///
    /// # Errors
    /// `forbidden`, `wrong_state` where there is none; else as [`Error`] says.
    pub async fn cancel_parameters(&self) -> Result<EscrowInfo, Error> {
        let look_at = "`emc parameters show --escrow` shows what is pending.";
        self.client
            .once(self.id, "cancel_parameters", (), look_at)
            .await
    }

    /// A page of the log of parameters, from a number on.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn parameter_log(&self, start: u64, limit: u32) -> Result<EscrowParameterLog, Error> {
        self.client
            .query(self.id, "parameter_log", (start, limit))
            .await
    }

    /// A job. With its capability anyone sees what its requester sees.
    ///
    /// # Errors
    /// `not_found`; else those of a query.
    pub async fn get_job(&self, job: JobId, capability: Option<&[u8]>) -> Result<Job, Error> {
        let capability = capability.map(|bytes| ByteBuf::from(bytes.to_vec()));
        self.client.ask(self.id, "get_job", (job, capability)).await
    }

    /// A part of a result's canonical bytes.
    ///
    /// # Errors
    /// `not_found` where there is none, or none to be shown; else those of a query.
    pub async fn result_part(&self, args: ResultPartArgs) -> Result<ResultPart, Error> {
        self.client.ask(self.id, "result_part", (args,)).await
    }

    /// All of a result's canonical bytes, read in parts: a picture's are read by
    /// [`emc_protocol::canonical::read_image_output`]. Their hash is in the receipt.
    ///
    /// # Errors
    /// As [`Escrow::result_part`].
    pub async fn result_bytes(
        &self,
        job: JobId,
        capability: Option<&[u8]>,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![];
        loop {
            let args = ResultPartArgs {
                job_id: job,
                offset: bytes.len() as u64,
                capability: capability.map(|bytes| ByteBuf::from(bytes.to_vec())),
            };
            let part = self.result_part(args).await?;
            bytes.extend_from_slice(&part.bytes);
            if part.bytes.is_empty() || bytes.len() as u64 >= part.length {
                return Ok(bytes);
            }
        }
    }

    /// A job's picture; `None` where there is none (any more), or the job is for a text.
    ///
    /// # Errors
    /// As [`Escrow::result_part`].
    pub async fn picture(
        &self,
        job: JobId,
        capability: Option<&[u8]>,
    ) -> Result<Option<ImageOutput>, Error> {
        let bytes = self.result_bytes(job, capability).await?;
        Ok(canonical::read_image_output(&bytes))
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn list_jobs(&self, filter: JobFilter) -> Result<JobPage, Error> {
        self.client.ask(self.id, "list_jobs", (filter,)).await
    }

    // --- nodes ---

    /// How much work of these models waits.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn work_available(&self, models: Vec<ModelRef>) -> Result<Vec<WorkSummary>, Error> {
        self.client.ask(self.id, "work_available", (models,)).await
    }

    /// Takes jobs. Not signed anew: a claim that was carried out without its answer being learned leaves leases that
    /// lapse, so two of them would cost two lapse fees.
    ///
    /// # Errors
    /// `not_registered`, `not_eligible`, `stale_feed`, `busy`; [`Error::Unknown`] where the outcome cannot be learned.
    pub async fn claim(&self, args: ClaimArgs) -> Result<Vec<Lease>, Error> {
        let look_at = "leases that were taken without our knowing lapse by themselves.";
        self.client.once(self.id, "claim", (args,), look_at).await
    }

    /// Renews a lease and shows a partial answer. `not_a_continuation` after a lost reply means that the escrow has it.
    ///
    /// # Errors
    /// `lease_lost`, `not_your_lease`, `wrong_state`, `busy`, `not_a_continuation`; else as [`Error`] says.
    pub async fn extend(&self, args: ExtendArgs) -> Result<ExtendReply, Error> {
        self.client.repeatable(self.id, "extend", (args,)).await
    }

    // --- audits ---

    /// Everything about a job's draw and audit.
    ///
    /// # Errors
    /// `not_found`; else those of a query, see [`Error`].
    pub async fn audit(&self, job: JobId) -> Result<Audit, Error> {
        self.client.ask(self.id, "audit", (job,)).await
    }

    /// The caller's audits that wait for it.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn audits(&self) -> Result<Vec<AuditSummary>, Error> {
        self.client.ask(self.id, "audits", ()).await
    }

    /// What the caller needs to compute its vote on a job.
    ///
    /// # Errors
    /// `not_your_audit`; else those of a query, see [`Error`].
    pub async fn audit_task(&self, job: JobId) -> Result<AuditTask, Error> {
        self.client.ask(self.id, "audit_task", (job,)).await
    }

    /// Commits to a vote; repeating it is harmless.
    ///
    /// # Errors
    /// `not_your_audit`, `bad_vote`; else as [`Error`] says.
    pub async fn commit_vote(&self, args: CommitArgs) -> Result<(), Error> {
        let _: Reserved = self
            .client
            .repeatable(self.id, "commit_vote", (args,))
            .await?;
        Ok(())
    }

    /// Reveals a vote that was committed to; repeating it is harmless.
    ///
    /// # Errors
    /// `not_your_audit`, `bad_vote`; else as [`Error`] says.
    pub async fn reveal_vote(&self, args: RevealArgs) -> Result<(), Error> {
        let _: Reserved = self
            .client
            .repeatable(self.id, "reveal_vote", (args,))
            .await?;
        Ok(())
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// `not_your_lease`, `wrong_state`; else as [`Error`] says.
    pub async fn decline(&self, args: DeclineArgs) -> Result<(), Error> {
        let _: Reserved = self.client.repeatable(self.id, "decline", (args,)).await?;
        Ok(())
    }

    /// Uploads a part of a large output; repeating a part is harmless.
    ///
    /// # Errors
    /// The escrow's refusals; else as [`Error`] says.
    pub async fn upload_chunk(&self, args: ChunkArgs) -> Result<(), Error> {
        let _: Reserved = self
            .client
            .repeatable(self.id, "upload_chunk", (args,))
            .await?;
        Ok(())
    }

    /// Delivers a result. `already_delivered` after a lost reply means that it has arrived.
    ///
    /// # Errors
    /// `lease_lost`, `already_delivered`, `bad_signature`, `bad_output_hash`, `bad_usage` and others; else as [`Error`]
    /// says.
    pub async fn deliver(&self, args: DeliverArgs) -> Result<DeliverReply, Error> {
        self.client.repeatable(self.id, "deliver", (args,)).await
    }
}

/// A random request key.
pub fn random_key() -> ByteBuf {
    let mut key = vec![0; 16];
    rand::thread_rng().fill_bytes(&mut key);
    ByteBuf::from(key)
}

/// A random salt: chosen by the requester, nobody else can have known it.
pub fn random_salt() -> ByteBuf {
    let mut salt = vec![0; 32];
    rand::thread_rng().fill_bytes(&mut salt);
    ByteBuf::from(salt)
}
