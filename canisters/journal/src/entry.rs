//! One journalled ledger call: what it is, and what is known of its fate.

use crate::cbor;
use crate::refusal::Refusal;
use icrc_ledger_types::icrc1::account::{Account, Subaccount};
use minicbor::{Decode, Encode};

/// What the ledger is asked to do. Fixed when the entry is opened, fee included: a different fee is a different call.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `icrc1_transfer` from an account of this canister.
    #[n(0)]
    Transfer {
        /// This canister's subaccount to take it from.
        #[cbor(n(0), with = "minicbor::bytes")]
        from_subaccount: Option<Subaccount>,
        /// Whom it goes to.
        #[cbor(n(1), with = "cbor::account")]
        to: Account,
        /// What arrives, in e8s.
        #[cbor(n(2), with = "cbor::amount")]
        amount: u128,
        /// What the ledger takes on top, in e8s.
        #[cbor(n(3), with = "cbor::amount")]
        fee: u128,
    },
    /// `icrc2_transfer_from` by this canister, out of an account that has approved it.
    #[n(1)]
    TransferFrom {
        /// This canister's subaccount that was approved.
        #[cbor(n(0), with = "minicbor::bytes")]
        spender_subaccount: Option<Subaccount>,
        /// Whose tokens.
        #[cbor(n(1), with = "cbor::account")]
        from: Account,
        /// Whom they go to.
        #[cbor(n(2), with = "cbor::account")]
        to: Account,
        /// What arrives, in e8s.
        #[cbor(n(3), with = "cbor::amount")]
        amount: u128,
        /// What the ledger takes on top, in e8s.
        #[cbor(n(4), with = "cbor::amount")]
        fee: u128,
    },
}

impl Operation {
    /// What arrives, in e8s.
    pub fn amount(&self) -> u128 {
        match self {
            Self::Transfer { amount, .. } | Self::TransferFrom { amount, .. } => *amount,
        }
    }

    /// What the ledger takes on top, in e8s.
    pub fn fee(&self) -> u128 {
        match self {
            Self::Transfer { fee, .. } | Self::TransferFrom { fee, .. } => *fee,
        }
    }
}

/// What an entry waits for.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
#[cbor(index_only)]
pub enum Stage {
    /// The length of the ledger's log is not known: nothing was sent yet.
    #[n(0)]
    Tip,
    /// It may be sent.
    #[n(1)]
    Send,
    /// A send's outcome is unknown: the log must be looked at before anything else.
    #[n(2)]
    Scan,
}

/// A journalled ledger call.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in this canister's journal; never used twice.
    #[n(0)]
    pub id: u64,
    /// What the ledger is asked to do.
    #[n(1)]
    pub operation: Operation,
    /// When it was opened, nanoseconds; part of the call, never renewed.
    #[n(2)]
    pub created_at_time: u64,
    /// Tag of the journal, salt of the installation, number: 24 bytes that no other call of this canister carries.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub memo: [u8; 24],
    /// What the canister wants to know when the entry ends; means nothing to the journal.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub purpose: Vec<u8>,
    /// What it waits for.
    #[n(5)]
    pub stage: Stage,
    /// A length that the ledger's log had before the first send: the call's block, if any, is not before it.
    #[n(6)]
    pub tip: u64,
    /// Blocks before this one are looked at and do not hold the call; at least `tip`.
    #[n(7)]
    pub scanned: u64,
    /// Sends that were begun.
    #[n(8)]
    pub sends: u32,
    /// Of those, the ones that the ledger may have executed or may still execute.
    #[n(9)]
    pub unknown: u32,
    /// The ledger called it too old: no send can be executed any more.
    #[n(10)]
    pub too_old: bool,
    /// Not to be touched by the timer before this, nanoseconds.
    #[n(11)]
    pub next_try: u64,
    /// Rounds of sending and scanning so far.
    #[n(12)]
    pub tries: u32,
    /// The newest reason for which a send was refused.
    #[n(13)]
    pub refusal: Option<Refusal>,
}

crate::storable_record!(Entry);

/// The memo of an entry: what marks its block in the ledger's log.
pub(crate) fn memo(tag: [u8; 8], salt: [u8; 8], id: u64) -> [u8; 24] {
    let mut memo = [0; 24];
    memo[..8].copy_from_slice(&tag);
    memo[8..16].copy_from_slice(&salt);
    memo[16..].copy_from_slice(&id.to_be_bytes());
    memo
}
