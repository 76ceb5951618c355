//! Amounts of EMC in e8s, with checked arithmetic only.

use candid::CandidType;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An amount of EMC in e8s (1 EMC = 100,000,000 e8s); a Candid `nat`.
///
/// The supply is capped at 10^17 e8s, so sums of real amounts never come near the bounds of the type; amounts from
/// outside may, which is why only checked operations exist.
#[derive(
    CandidType,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
pub struct Tokens(pub u128);

impl Tokens {
    /// Decimal places of the token.
    pub const DECIMALS: u32 = 8;
    /// e8s in one EMC.
    pub const UNIT: u128 = 100_000_000;
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// A whole number of EMC.
    pub const fn emc(whole: u64) -> Self {
        Self(whole as u128 * Self::UNIT)
    }

    /// An amount given in e8s.
    pub const fn e8s(e8s: u128) -> Self {
        Self(e8s)
    }

    /// The sum, or `None` beyond the type's range.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` where it would be negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// True for zero.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// Decimal EMC, without trailing zeros: `1.5`, `0.00000001`, `12`.
impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / Self::UNIT, self.0 % Self::UNIT);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{part:08}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// Why a text is not an amount of EMC.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an amount of EMC: write a number with at most 8 decimals, like 12 or 0.5")]
pub struct ParseTokensError(String);

impl FromStr for Tokens {
    type Err = ParseTokensError;

    /// Reads decimal EMC, underscores allowed: `12`, `0.5`, `1_000.25`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseTokensError(text.to_owned());
        let plain = text.replace('_', "");
        let (whole, part) = plain.split_once('.').unwrap_or((&plain, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && part.is_empty())
            || !digits(whole)
            || !digits(part)
            || part.len() > 8
        {
            return Err(wrong());
        }
        let number = |s: &str| {
            if s.is_empty() {
                Ok(0)
            } else {
                s.parse::<u128>().map_err(|_| wrong())
            }
        };
        let part = number(&format!("{part:0<8}"))?;
        number(whole)?
            .checked_mul(Self::UNIT)
            .and_then(|w| w.checked_add(part))
            .map(Self)
            .ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_read_and_print_as_decimal_emc() {
        assert_eq!("1.5".parse(), Ok(Tokens(150_000_000)));
        assert_eq!("1_000".parse(), Ok(Tokens::emc(1000)));
        assert_eq!(".00000001".parse(), Ok(Tokens(1)));
        assert_eq!(Tokens(1).to_string(), "0.00000001");
        assert_eq!(Tokens::emc(7).to_string(), "7");
        for wrong in [
            "",
            ".",
            "-1",
            "1.123456789",
            "1e3",
            "emc",
            "340282366920938463463374607431768211456",
        ] {
            assert!(wrong.parse::<Tokens>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(e8s in 0u128..u128::MAX) {
            let tokens = Tokens(e8s);
            prop_assert_eq!(tokens.to_string().parse(), Ok(tokens));
        }
    }
}
