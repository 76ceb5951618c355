//! A permission to submit jobs that somebody else pays.

use crate::stored::{self, stored};
use emc_protocol::{Timestamp, Tokens};
use minicbor::{Decode, Encode};

/// What a delegate may still spend.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelegationRecord {
    /// Its number; one that replaces it has another.
    #[n(0)]
    pub number: u64,
    /// For how much in all.
    #[cbor(n(1), with = "stored::tokens")]
    pub limit: Tokens,
    /// What is left of that.
    #[cbor(n(2), with = "stored::tokens")]
    pub left: Tokens,
    /// Until when.
    #[cbor(n(3), with = "stored::maybe_time")]
    pub expires: Option<Timestamp>,
}

stored!(DelegationRecord);
