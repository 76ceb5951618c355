//! The calls that somebody in a run can make: one at a time, written down before they are made.

use candid::Principal;
use emc_client::{CanisterIds, Client, Error};
use emc_protocol::account::{DepositArgs, WithdrawArgs};
use emc_protocol::audit::{CommitArgs, RevealArgs};
use emc_protocol::error::code;
use emc_protocol::job::{JobId, SubmitJob, SubmitReply};
use emc_protocol::node::{StakeArgs, UnstakeArgs};
use emc_protocol::work::{ClaimArgs, DeclineArgs, DeliverArgs, ExtendArgs, Lease};
use ic_agent::agent::RejectCode;
use icrc_ledger_types::icrc1::transfer::TransferArg;
use icrc_ledger_types::icrc2::approve::ApproveArgs;

/// A call.
#[derive(Clone, Debug)]
pub enum Call {
    /// Of the ledger.
    Transfer(TransferArg),
    /// Of the ledger.
    Approve(ApproveArgs),
    /// Of the escrow.
    Deposit(DepositArgs),
    /// Of the escrow.
    Notify(Principal),
    /// Of the escrow.
    Withdraw(WithdrawArgs),
    /// Of the escrow.
    Submit(Box<SubmitJob>),
    /// Of the escrow.
    Cancel(JobId),
    /// Of the escrow.
    Claim(ClaimArgs),
    /// Of the escrow.
    Extend(ExtendArgs),
    /// Of the escrow.
    Decline(DeclineArgs),
    /// Of the escrow.
    Deliver(Box<DeliverArgs>),
    /// Of the escrow.
    Commit(CommitArgs),
    /// Of the escrow.
    Reveal(RevealArgs),
    /// Of the registry.
    Heartbeat,
    /// Of the registry.
    Stake(StakeArgs),
    /// Of the registry.
    Unstake(UnstakeArgs),
    /// Of the registry.
    WithdrawUnbonded(Principal),
}

/// What a call answered, as far as anybody acts on it.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It was done.
    Done,
    /// A job, new or repeated.
    Job(Box<SubmitReply>),
    /// Leases.
    Leases(Vec<Lease>),
}

impl Call {
    /// Makes it.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn make(self, client: Client, ids: CanisterIds) -> Result<Answer, Error> {
        let (ledger, registry, escrow) = (
            client.ledger(ids.ledger),
            client.registry(ids.registry),
            client.escrow(ids.escrow),
        );
        match self {
            Self::Transfer(arg) => ledger.icrc1_transfer(arg).await.map(|_| Answer::Done),
            Self::Approve(args) => ledger.icrc2_approve(args).await.map(|_| Answer::Done),
            Self::Deposit(args) => escrow.deposit(args).await.map(|_| Answer::Done),
            Self::Notify(who) => escrow.notify_deposit(who).await.map(|_| Answer::Done),
            Self::Withdraw(args) => escrow.withdraw(args).await.map(|_| Answer::Done),
            Self::Submit(job) => {
                let reply = escrow.submit_job(*job).await?;
                Ok(Answer::Job(Box::new(reply)))
            }
            Self::Cancel(job) => escrow.cancel_job(job).await.map(|()| Answer::Done),
            Self::Claim(args) => escrow.claim(args).await.map(Answer::Leases),
            Self::Extend(args) => escrow.extend(args).await.map(|_| Answer::Done),
            Self::Decline(args) => escrow.decline(args).await.map(|()| Answer::Done),
            Self::Deliver(args) => escrow.deliver(*args).await.map(|_| Answer::Done),
            Self::Commit(args) => escrow.commit_vote(args).await.map(|()| Answer::Done),
            Self::Reveal(args) => escrow.reveal_vote(args).await.map(|()| Answer::Done),
            Self::Heartbeat => registry.heartbeat().await.map(|()| Answer::Done),
            Self::Stake(args) => registry.stake(args).await.map(|_| Answer::Done),
            Self::Unstake(args) => registry.unstake(args).await.map(|_| Answer::Done),
            Self::WithdrawUnbonded(node) => {
                let paid = registry.withdraw_unbonded(node, None).await;
                paid.map(|_| Answer::Done)
            }
        }
    }
}

/// True if the canister itself has refused: trying the same again is of no use.
pub fn is_refusal(error: &Error) -> bool {
    error.api().is_some() && !error.is_retryable()
}

/// True if somebody who plays by the rules may be told this while things go wrong around him. Anything else is a mistake,
/// of a canister's or of the run's own.
pub fn may_happen(error: &Error) -> bool {
    const FOR_A_WHILE: [&str; 9] = [
        code::BUSY,
        code::IN_FLIGHT,
        code::PENDING,
        code::UNAVAILABLE,
        code::LEDGER,
        code::STALE_FEED,
        code::UNSERVED,
        code::NOT_AUDITABLE,
        code::NO_BOND,
    ];
    const TOO_LATE: [&str; 9] = [
        code::NOT_FOUND,
        code::INSUFFICIENT_FUNDS,
        code::WRONG_STATE,
        code::LEASE_LOST,
        code::NOT_YOUR_LEASE,
        code::ALREADY_DELIVERED,
        code::NOT_YOUR_AUDIT,
        code::NOT_ELIGIBLE,
        code::NOT_A_CONTINUATION,
    ];
    match error {
        Error::Api(error) => {
            let code = error.code.as_str();
            FOR_A_WHILE.contains(&code) || TOO_LATE.contains(&code)
        }
        Error::Ledger(_) => true,
        // Stopped, or made to trap; what traps by itself shows in the network's log.
        Error::Rejected { code, .. } => matches!(
            code,
            RejectCode::SysTransient | RejectCode::CanisterReject | RejectCode::CanisterError
        ),
        Error::Transport { .. }
        | Error::Unknown { .. }
        | Error::Decode { .. }
        | Error::Config(_)
        | Error::Identity(_) => false,
    }
}
