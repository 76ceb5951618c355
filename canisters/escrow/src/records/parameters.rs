//! Changes of parameters: the one that is announced, and the log of all.

use crate::records::SettingsRecord;
use crate::stored::{self, stored};
use candid::Principal;
use emc_protocol::parameters::{EscrowParameters, PendingEscrowParameters};
use emc_protocol::{Seconds, Timestamp};
use minicbor::{Decode, Encode};

/// Stored form of [`EscrowParameters`].
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq)]
pub struct ParameterChangeRecord {
    /// All settings.
    #[n(0)]
    pub settings: Option<SettingsRecord>,
    /// The delay, in seconds.
    #[n(1)]
    pub delay: Option<u64>,
}

impl From<&EscrowParameters> for ParameterChangeRecord {
    fn from(change: &EscrowParameters) -> Self {
        Self {
            settings: change.settings.as_ref().map(SettingsRecord::from),
            delay: change.delay.map(|delay| delay.0),
        }
    }
}

impl From<&ParameterChangeRecord> for EscrowParameters {
    fn from(change: &ParameterChangeRecord) -> Self {
        Self {
            settings: change.settings.as_ref().map(Into::into),
            delay: change.delay.map(Seconds),
        }
    }
}

/// A change that waits for its time.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct PendingRecord {
    /// What will change.
    #[n(0)]
    pub change: ParameterChangeRecord,
    /// When it was announced.
    #[cbor(n(1), with = "stored::time")]
    pub announced: Timestamp,
    /// When it takes effect.
    #[cbor(n(2), with = "stored::time")]
    pub effective: Timestamp,
    /// Who announced it.
    #[cbor(n(3), with = "stored::principal")]
    pub by: Principal,
}

impl From<&PendingRecord> for PendingEscrowParameters {
    fn from(pending: &PendingRecord) -> Self {
        Self {
            change: (&pending.change).into(),
            announced: pending.announced,
            effective: pending.effective,
        }
    }
}

/// An entry of the log.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct ParameterEventRecord {
    /// When.
    #[cbor(n(0), with = "stored::time")]
    pub time: Timestamp,
    /// Who.
    #[cbor(n(1), with = "stored::principal")]
    pub by: Principal,
    /// What.
    #[n(2)]
    pub what: ParameterEvent,
}

/// What happened; as `EscrowParameterChange`, which explains each.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are those of EscrowParameterChange")]
pub enum ParameterEvent {
    #[n(0)]
    Announced {
        #[n(0)]
        change: ParameterChangeRecord,
        #[cbor(n(1), with = "stored::time")]
        effective: Timestamp,
    },
    #[n(1)]
    Cancelled {
        #[n(0)]
        change: ParameterChangeRecord,
    },
    #[n(2)]
    Applied {
        #[n(0)]
        change: ParameterChangeRecord,
    },
    #[n(3)]
    Upgraded {
        #[n(0)]
        change: ParameterChangeRecord,
    },
}

stored!(ParameterEventRecord);
