//! What a ledger call is for, written into its journal entry; and who books what it has led to.

use crate::mining::earnings;
use crate::state::State;
use crate::{burning, stake, unbonding};
use candid::Principal;
use emc_journal::{Entry, Outcome, cbor};
use minicbor::{Decode, Encode};

/// What a ledger call is for.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Stake comes in.
    #[n(0)]
    Stake {
        /// Whose node.
        #[cbor(n(0), with = "cbor::principal")]
        owner: Principal,
        /// The node.
        #[cbor(n(1), with = "cbor::principal")]
        node: Principal,
        /// The escrow it is allotted to.
        #[cbor(n(2), with = "cbor::principal")]
        escrow: Principal,
    },
    /// What has unbonded goes out.
    #[n(1)]
    Withdraw {
        /// The node.
        #[cbor(n(0), with = "cbor::principal")]
        node: Principal,
        /// The unbonding's number.
        #[n(1)]
        id: u64,
    },
    /// Slashed stake is burned.
    #[n(2)]
    Burn,
    /// Mining's earnings go out.
    #[n(3)]
    Mining {
        /// Whose.
        #[cbor(n(0), with = "cbor::principal")]
        owner: Principal,
    },
}

impl Purpose {
    /// As the journal keeps it.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to memory cannot fail")
    }
}

/// Books what a ledger call has led to; in the message that ends it.
pub fn ended(state: &mut State, now: u64, entry: &Entry, outcome: &Outcome) {
    let purpose: Purpose =
        minicbor::decode(&entry.purpose).expect("the journal holds what `encode` wrote");
    let done = matches!(outcome, Outcome::Done { .. });
    match purpose {
        Purpose::Stake {
            owner,
            node,
            escrow,
        } => stake::staked(state, entry, done, (owner, node, escrow)),
        Purpose::Withdraw { node, id } => unbonding::paid(state, entry.id, done, (node, id)),
        Purpose::Burn => burning::ended(state, now, entry, done),
        Purpose::Mining { owner } => earnings::paid(state, entry.id, done, owner),
    }
}
