//! What a job costs: unit prices, the charge for a usage, and how it is split.

use crate::{Tokens, Usage};
use candid::CandidType;
use serde::{Deserialize, Serialize};

/// Units that a price is for: e8s per this many tokens or pixel-steps.
pub const PRICE_UNIT: u128 = 1_000_000;

/// Prices in e8s per 1,000,000 units.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Price {
    /// e8s per million prompt tokens.
    pub prompt: Tokens,
    /// e8s per million output tokens.
    pub output: Tokens,
    /// e8s per million pixel-steps (width x height x steps).
    pub pixel_steps: Tokens,
}

impl Price {
    /// The charge for `usage`, rounded up once; `None` where it passes 128 bits.
    pub fn charge(&self, usage: &Usage) -> Option<Tokens> {
        let part = |price: Tokens, units: u64| price.0.checked_mul(u128::from(units));
        let sum = part(self.prompt, usage.prompt_tokens)?
            .checked_add(part(self.output, usage.output_tokens)?)?
            .checked_add(part(self.pixel_steps, usage.pixel_steps)?)?;
        Some(Tokens(sum.div_ceil(PRICE_UNIT)))
    }
}

/// A share of an amount in basis points (1/10,000), rounded down; shares over the whole give the whole.
pub fn share(amount: Tokens, basis_points: u16) -> Tokens {
    let points = u128::from(basis_points.min(10_000));
    // Divide first where the product would not fit: amounts that large do not exist, but must not overflow either.
    match amount.0.checked_mul(points) {
        Some(product) => Tokens(product / 10_000),
        None => Tokens(amount.0 / 10_000 * points),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usage(prompt_tokens: u64, output_tokens: u64) -> Usage {
        Usage {
            prompt_tokens,
            output_tokens,
            pixel_steps: 0,
        }
    }

    #[test]
    fn a_charge_rounds_up_once() {
        let price = Price {
            prompt: Tokens(1),
            output: Tokens(1),
            ..Price::default()
        };
        assert_eq!(price.charge(&usage(1, 1)), Some(Tokens(1)));
        assert_eq!(price.charge(&usage(0, 0)), Some(Tokens(0)));
        assert_eq!(price.charge(&usage(1_000_000, 1)), Some(Tokens(2)));
    }

    proptest! {
        #[test]
        fn a_charge_is_the_exact_sum_rounded_up(p in 0u128..1 << 60, o in 0u128..1 << 60, u in 0u64..1 << 40, v in 0u64..1 << 40) {
            let price = Price { prompt: Tokens(p), output: Tokens(o), ..Price::default() };
            let charge = price.charge(&usage(u, v)).unwrap().0;
            let exact = p * u128::from(u) + o * u128::from(v);
            prop_assert!(charge * PRICE_UNIT >= exact && charge * PRICE_UNIT < exact + PRICE_UNIT);
        }

        #[test]
        fn no_price_makes_the_charge_overflow_silently(p: u128, u: u64) {
            let price = Price { prompt: Tokens(p), ..Price::default() };
            prop_assert_eq!(price.charge(&usage(u, 0)).is_none(), p.checked_mul(u128::from(u)).is_none());
        }

        #[test]
        fn a_share_never_exceeds_the_amount(amount: u128, points: u16) {
            let part = share(Tokens(amount), points);
            prop_assert!(part.0 <= amount);
            prop_assert!(points < 10_000 || part.0 >= amount - 9_999.min(amount));
        }
    }
}
