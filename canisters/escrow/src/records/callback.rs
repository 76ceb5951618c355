//! Canisters that are to be told of their jobs' ends.

use crate::stored::stored;
use minicbor::{Decode, Encode};

/// How many jobs' ends a canister is still to be told of, and when it is called next.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CalleeRecord {
    /// Jobs that wait.
    #[n(0)]
    pub jobs: u64,
    /// When it is called next, in nanoseconds.
    #[n(1)]
    pub next: u64,
}

stored!(CalleeRecord);
