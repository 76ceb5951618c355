//! Accounts in the escrow: deposits, withdrawals, balances, and the double-entry postings that explain every change.

use crate::{JobId, Timestamp, Tokens};
use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// An account of the ledger (ICRC-1), as this interface writes it.
#[derive(
    CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct Ledgered {
    /// Whose account.
    pub owner: Principal,
    /// Which of them, 32 bytes; absent is the default one.
    pub subaccount: Option<ByteBuf>,
}

/// Deposits by ICRC-2: the escrow pulls `amount` from the caller, who has approved it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct DepositArgs {
    /// How much to credit; the ledger's fee, if any, is taken on top.
    pub amount: Tokens,
    /// Whose account to credit; the caller's where absent.
    pub beneficiary: Option<Principal>,
    /// The caller's subaccount to take it from.
    pub from_subaccount: Option<ByteBuf>,
}

/// What a deposit did.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct DepositReply {
    /// What was credited.
    pub credited: Tokens,
    /// The ledger's block.
    pub block_index: u64,
    /// The account's available balance after it.
    pub available: Tokens,
}

/// Lets somebody submit jobs that the caller pays.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SetDelegate {
    /// Who may.
    pub delegate: Principal,
    /// For how much in all, from now on; a job counts with what it locks, and once it is final with what it cost. Zero
    /// takes the permission away.
    pub limit: Tokens,
    /// Until when; without an end where absent.
    pub expires: Option<Timestamp>,
}

/// A permission to submit jobs that somebody else pays.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Delegate {
    /// Who may.
    pub delegate: Principal,
    /// For how much in all.
    pub limit: Tokens,
    /// What is left of that.
    pub left: Tokens,
    /// Until when; without an end where absent.
    pub expires: Option<Timestamp>,
}

/// Pays out from the caller's available balance.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct WithdrawArgs {
    /// How much leaves the account; the ledger's fee, if any, is taken from it.
    pub amount: Tokens,
    /// Where to; the caller's default account where absent.
    pub to: Option<Ledgered>,
}

/// What a withdrawal did.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct WithdrawReply {
    /// What arrived.
    pub paid: Tokens,
    /// The ledger's block.
    pub block_index: u64,
    /// The account's available balance after it.
    pub available: Tokens,
}

/// An account's balances.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountView {
    /// Can be spent on jobs or withdrawn.
    pub available: Tokens,
    /// Locked by jobs that are not final.
    pub locked: Tokens,
    /// On its way out: withdrawals whose outcome is not known yet.
    pub leaving: Tokens,
    /// Jobs of this requester that are not final.
    pub open_jobs: u64,
}

/// What a posting books to or from.
#[derive(
    CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum PostingAccount {
    /// The world outside: deposits come from it, withdrawals go to it.
    #[serde(rename = "outside")]
    Outside,
    /// What a principal has available.
    #[serde(rename = "available")]
    Available(Principal),
    /// What a job has locked.
    #[serde(rename = "locked")]
    Locked(JobId),
    /// What a withdrawal has set aside, by its journal entry.
    #[serde(rename = "leaving")]
    Leaving(u64),
    /// The treasury.
    #[serde(rename = "treasury")]
    Treasury,
    /// What sampled jobs have paid for audits, until auditors are paid from it.
    #[serde(rename = "audits")]
    Audits,
}

/// One line of a movement; the lines of a movement sum to zero.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The account; a kind this client does not know reads as null.
    pub account: Option<PostingAccount>,
    /// What is added to it, in e8s; negative where it is taken away.
    pub amount: i128,
    /// Why, in a word or two: `price`, `treasury share`, `refund`.
    pub reason: String,
    /// When.
    pub time: Timestamp,
}

/// Everything the escrow holds; `deposited - withdrawn` equals the sum of the others, always.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All that ever came in.
    pub deposited: Tokens,
    /// All that ever went out.
    pub withdrawn: Tokens,
    /// The sum of available balances, the treasury's apart.
    pub available: Tokens,
    /// The sum of what jobs have locked.
    pub locked: Tokens,
    /// Set aside for withdrawals whose outcome is not known yet.
    pub leaving: Tokens,
    /// The treasury.
    pub treasury: Tokens,
    /// What sampled jobs have paid for audits, until auditors are paid from it.
    pub audits: Option<Tokens>,
    /// Ledger calls whose outcome is not known yet.
    pub journal_open: u64,
}

/// A principal's own deposit subaccount: one length byte, the principal's bytes, zeros. A plain transfer to it is
/// credited by `notify_deposit`.
pub fn deposit_subaccount(beneficiary: Principal) -> [u8; 32] {
    let bytes = beneficiary.as_slice();
    let mut subaccount = [0; 32];
    subaccount[0] = bytes.len() as u8;
    subaccount[1..=bytes.len()].copy_from_slice(bytes);
    subaccount
}
