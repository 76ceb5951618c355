//! Parameters of the registry and of an escrow: what the governor may set, with a public delay, and the log of all that
//! was set.

use crate::escrow::Settings;
use crate::model::ModelTerms;
use crate::{ModelRef, Seconds, Timestamp, Tokens};
use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};

/// The registry's parameters. As an argument: what is to change, absent fields stay. In answers about what holds, every
/// field that the registry has is there.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryParameters {
    /// Least stake, per escrow, with which a node gets work there.
    pub minimum_stake: Option<Tokens>,
    /// How long stake waits once its escrow has acknowledged that it leaves; for what is unstaked from then on.
    pub unbonding: Option<Seconds>,
    /// How long a node whose result was overturned is barred.
    pub jail: Option<Seconds>,
    /// How long an escrow may send no report before what leaves it begins to wait without its acknowledgement.
    pub silence: Option<Seconds>,
    /// How long a change is public before it takes effect.
    pub delay: Option<Seconds>,
    /// The escrows whose reports of computing power count for mining; none stops mining.
    pub mining_escrows: Option<Vec<Principal>>,
}

/// A change that waits for its time.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct PendingParameters {
    /// What will change; absent fields stay.
    pub change: RegistryParameters,
    /// When it was announced.
    pub announced: Timestamp,
    /// When it takes effect.
    pub effective: Timestamp,
}

/// What happened to parameters, or to a model's terms.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum ParameterChange {
    /// The governor announced a change; it replaces one that was pending.
    #[serde(rename = "announced")]
    Announced {
        /// What will change.
        change: RegistryParameters,
        /// When.
        effective: Timestamp,
    },
    /// The governor withdrew a pending change.
    #[serde(rename = "cancelled")]
    Cancelled {
        /// What would have changed.
        change: RegistryParameters,
    },
    /// An announced change took effect.
    #[serde(rename = "applied")]
    Applied {
        /// What changed.
        change: RegistryParameters,
    },
    /// A controller changed them with an upgrade, at once.
    #[serde(rename = "upgraded")]
    Upgraded {
        /// What changed.
        change: RegistryParameters,
    },
    /// The governor announced other terms for a model; they replace those that were pending.
    #[serde(rename = "terms_announced")]
    TermsAnnounced {
        /// The model, with its version.
        model: ModelRef,
        /// Its terms then.
        terms: ModelTerms,
        /// When.
        effective: Timestamp,
    },
    /// Announced terms took effect.
    #[serde(rename = "terms_applied")]
    TermsApplied {
        /// The model, with its version.
        model: ModelRef,
        /// Its terms now.
        terms: ModelTerms,
    },
}

/// An entry of the log.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ParameterEvent {
    /// Its number, from 0.
    pub number: u64,
    /// When it happened.
    pub time: Timestamp,
    /// Who did it; for what took effect by itself, who had announced it.
    pub by: Principal,
    /// What happened; a kind that this client does not know reads as null.
    pub what: Option<ParameterChange>,
}

/// A page of the log, which is kept for ever.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ParameterLog {
    /// The entries, oldest first.
    pub events: Vec<ParameterEvent>,
    /// How many there are in all.
    pub length: u64,
}

/// A change of an escrow's parameters; absent fields stay.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct EscrowParameters {
    /// Its settings, all of them.
    pub settings: Option<Settings>,
    /// How long a change is public before it takes effect.
    pub delay: Option<Seconds>,
}

/// A change of an escrow's parameters that waits for its time.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct PendingEscrowParameters {
    /// What will change.
    pub change: EscrowParameters,
    /// When it was announced.
    pub announced: Timestamp,
    /// When it takes effect.
    pub effective: Timestamp,
}

/// What happened to an escrow's parameters.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum EscrowParameterChange {
    /// The governor announced a change; it replaces one that was pending.
    #[serde(rename = "announced")]
    Announced {
        /// What will change.
        change: EscrowParameters,
        /// When.
        effective: Timestamp,
    },
    /// The governor withdrew a pending change.
    #[serde(rename = "cancelled")]
    Cancelled {
        /// What would have changed.
        change: EscrowParameters,
    },
    /// An announced change took effect.
    #[serde(rename = "applied")]
    Applied {
        /// What changed.
        change: EscrowParameters,
    },
    /// A controller changed them with an upgrade, at once.
    #[serde(rename = "upgraded")]
    Upgraded {
        /// What changed.
        change: EscrowParameters,
    },
}

/// An entry of an escrow's log of parameters.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct EscrowParameterEvent {
    /// Its number, from 0.
    pub number: u64,
    /// When it happened.
    pub time: Timestamp,
    /// Who did it; for what took effect by itself, who had announced it.
    pub by: Principal,
    /// What happened; a kind that this client does not know reads as null.
    pub what: Option<EscrowParameterChange>,
}

/// A page of an escrow's log of parameters, which is kept for ever.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct EscrowParameterLog {
    /// The entries, oldest first.
    pub events: Vec<EscrowParameterEvent>,
    /// How many there are in all.
    pub length: u64,
}
