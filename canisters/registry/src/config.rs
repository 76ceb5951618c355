//! The registry's settings in stable memory: what the governor may change with a public delay, and what only an upgrade
//! can.

use candid::Principal;
use emc_journal::cbor;
use emc_protocol::node::RegistryInit;
use emc_protocol::parameters::{PendingParameters, RegistryParameters};
use emc_protocol::{Seconds, Timestamp, Tokens};
use minicbor::{Decode, Encode};

/// The version of the layout of stable memory.
pub const LAYOUT: u32 = 1;

const DAY: u64 = 24 * 3600;
/// How long a node is jailed where nothing else was said, seconds.
pub const JAIL: u64 = 3 * DAY;
/// How long an escrow may be silent where nothing else was said, seconds.
pub const SILENCE: u64 = 14 * DAY;
/// How long a change is public where nothing else was said, seconds.
pub const DELAY: u64 = DAY;

/// Settings, and the layout's version.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// [`LAYOUT`] when it was written.
    #[n(0)]
    pub layout: u32,
    /// The token's ledger.
    #[cbor(n(1), with = "cbor::principal")]
    pub ledger: Principal,
    /// Who lists models.
    #[cbor(n(2), with = "cbor::principal")]
    pub governor: Principal,
    /// Least stake with which a node gets work, e8s.
    #[cbor(n(3), with = "cbor::amount")]
    pub minimum_stake: u128,
    /// How long unstaked tokens wait, seconds.
    #[n(4)]
    pub unbonding: u64,
    /// When the canister was installed, nanoseconds; salts the journal's memos.
    #[n(5)]
    pub installed: u64,
    /// How long a node is jailed, seconds; [`JAIL`] where it was never set, as in the next two.
    #[n(6)]
    pub jail: Option<u64>,
    /// How long an escrow may be silent, seconds.
    #[n(7)]
    pub silence: Option<u64>,
    /// How long a change is public, seconds.
    #[n(8)]
    pub delay: Option<u64>,
    /// A change that waits for its time.
    #[n(9)]
    pub pending: Option<PendingRecord>,
    /// Whose reports of computing power count.
    #[n(10)]
    pub mining_escrows: Option<Vec<EscrowId>>,
}

/// An escrow, in a list.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
pub struct EscrowId(#[cbor(n(0), with = "cbor::principal")] pub Principal);

/// A list of escrows as it is stored.
pub fn ids(escrows: &[Principal]) -> Vec<EscrowId> {
    escrows.iter().copied().map(EscrowId).collect()
}

fn principals(escrows: &[EscrowId]) -> Vec<Principal> {
    escrows.iter().map(|escrow| escrow.0).collect()
}

/// A change of parameters that waits for its time.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct PendingRecord {
    /// What will change.
    #[n(0)]
    pub change: ParametersRecord,
    /// When it was announced, nanoseconds.
    #[n(1)]
    pub announced: u64,
    /// When it takes effect, nanoseconds.
    #[n(2)]
    pub effective: u64,
    /// Who announced it.
    #[cbor(n(3), with = "cbor::principal")]
    pub by: Principal,
}

/// A change of parameters; what is not there stays.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq, Eq)]
pub struct ParametersRecord {
    /// Least stake, e8s: never above the supply, which 64 bits hold.
    #[n(0)]
    pub minimum_stake: Option<u64>,
    /// Unbonding time, seconds.
    #[n(1)]
    pub unbonding: Option<u64>,
    /// Time in jail, seconds.
    #[n(2)]
    pub jail: Option<u64>,
    /// How long an escrow may be silent, seconds.
    #[n(3)]
    pub silence: Option<u64>,
    /// How long a change is public, seconds.
    #[n(4)]
    pub delay: Option<u64>,
    /// Whose reports of computing power count.
    #[n(5)]
    pub mining_escrows: Option<Vec<EscrowId>>,
}

impl ParametersRecord {
    /// As the interface shows it.
    pub fn view(&self) -> RegistryParameters {
        let seconds = |value: Option<u64>| value.map(Seconds);
        RegistryParameters {
            minimum_stake: self.minimum_stake.map(|e8s| Tokens(e8s.into())),
            unbonding: seconds(self.unbonding),
            jail: seconds(self.jail),
            silence: seconds(self.silence),
            delay: seconds(self.delay),
            mining_escrows: self.mining_escrows.as_deref().map(principals),
        }
    }
}

impl Config {
    /// The settings of a new installation.
    pub fn new(init: &RegistryInit, ledger: Principal, installer: Principal, now: u64) -> Self {
        Self {
            layout: LAYOUT,
            ledger,
            governor: init.governor.unwrap_or(installer),
            minimum_stake: init.minimum_stake.0,
            unbonding: init.unbonding.0,
            installed: now,
            jail: init.jail.map(|time| time.0),
            silence: init.silence.map(|time| time.0),
            delay: init.delay.map(|time| time.0),
            pending: None,
            mining_escrows: init.mining_escrows.as_deref().map(ids),
        }
    }

    /// Of no registry: what is read where there is none.
    pub fn nothing() -> Self {
        Self {
            layout: 0,
            ledger: Principal::anonymous(),
            governor: Principal::anonymous(),
            minimum_stake: 0,
            unbonding: 0,
            installed: 0,
            jail: None,
            silence: None,
            delay: None,
            pending: None,
            mining_escrows: None,
        }
    }

    /// How long a node is jailed, seconds.
    pub fn jail(&self) -> u64 {
        self.jail.unwrap_or(JAIL)
    }

    /// How long an escrow may be silent, seconds.
    pub fn silence(&self) -> u64 {
        self.silence.unwrap_or(SILENCE)
    }

    /// How long a change is public, seconds.
    pub fn delay(&self) -> u64 {
        self.delay.unwrap_or(DELAY)
    }

    /// The escrows whose reports of computing power count.
    pub fn mining_escrows(&self) -> Vec<Principal> {
        self.mining_escrows
            .as_deref()
            .map(principals)
            .unwrap_or_default()
    }

    /// The parameters that hold.
    pub fn parameters(&self) -> RegistryParameters {
        RegistryParameters {
            minimum_stake: Some(Tokens(self.minimum_stake)),
            unbonding: Some(Seconds(self.unbonding)),
            jail: Some(Seconds(self.jail())),
            silence: Some(Seconds(self.silence())),
            delay: Some(Seconds(self.delay())),
            mining_escrows: Some(self.mining_escrows()),
        }
    }

    /// The change that waits, as the interface shows it.
    pub fn pending(&self) -> Option<PendingParameters> {
        let pending = self.pending.as_ref()?;
        Some(PendingParameters {
            change: pending.change.view(),
            announced: Timestamp(pending.announced),
            effective: Timestamp(pending.effective),
        })
    }

    /// Takes in a change.
    pub fn change(&mut self, change: &ParametersRecord) {
        if let Some(least) = change.minimum_stake {
            self.minimum_stake = least.into();
        }
        self.unbonding = change.unbonding.unwrap_or(self.unbonding);
        self.jail = change.jail.or(self.jail);
        self.silence = change.silence.or(self.silence);
        self.delay = change.delay.or(self.delay);
        if let Some(escrows) = &change.mining_escrows {
            self.mining_escrows = Some(escrows.clone());
        }
    }
}

emc_journal::storable_record!(Config);
