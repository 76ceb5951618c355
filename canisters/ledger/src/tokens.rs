//! An amount of EMC in its smallest unit (10^-8 EMC).
//!
//! Amounts on the wire are unbounded (`nat`); inside they are 128-bit. Arithmetic is always checked.

use candid::{CandidType, Deserialize, Nat};

/// An amount in e8s (10^-8 EMC).
#[derive(
    CandidType, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct Tokens(pub u128);

impl Tokens {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that can be represented; far above any supply.
    pub const MAX: Self = Self(u128::MAX);

    /// The amount, or `None` where it does not fit: no account can ever hold so much.
    pub fn from_nat(nat: &Nat) -> Option<Self> {
        u128::try_from(&nat.0).ok().map(Self)
    }

    /// The sum, or `None` on overflow.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` where `other` is larger.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Whether this is nothing.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<Tokens> for Nat {
    fn from(tokens: Tokens) -> Self {
        Nat::from(tokens.0)
    }
}

impl std::fmt::Display for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
