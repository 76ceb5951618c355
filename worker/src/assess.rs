//! Whether a leased job can and should be done, once its prompt has been turned into tokens.

use emc_protocol::{Lease, Usage};

/// What the operator accepts.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Longest prompt and output together, in tokens.
    pub context: u32,
    /// The least part of the node's price, in percent, that the job must be able to pay at its full length. The escrow
    /// matches jobs by an estimate of the prompt; the real one may be longer.
    pub least_paid_percent: u32,
}

/// Why the job is declined, for the requester to read; `None` where it is done.
pub fn why_not(lease: &Lease, prompt_tokens: u64, terms: Terms) -> Option<String> {
    let max_tokens = u64::from(lease.parameters.max_tokens);
    if prompt_tokens == 0 {
        return Some("the prompt has no tokens".into());
    }
    if max_tokens == 0 {
        return Some("no output tokens are asked for".into());
    }
    if prompt_tokens > lease.max_prompt_tokens {
        return Some(format!(
            "the prompt has {prompt_tokens} tokens, at most {} can be charged",
            lease.max_prompt_tokens
        ));
    }
    let context = u64::from(terms.context);
    if prompt_tokens.saturating_add(max_tokens) > context {
        return Some(format!(
            "the prompt's {prompt_tokens} tokens and {max_tokens} of output pass the context of {context}"
        ));
    }
    let whole = Usage {
        prompt_tokens,
        output_tokens: max_tokens,
        pixel_steps: 0,
    };
    let Some(price) = lease.price.charge(&whole) else {
        return Some("the price is too large to compute a charge".into());
    };
    let least = price.0.saturating_mul(u128::from(terms.least_paid_percent));
    (lease.max_charge.0.saturating_mul(100) < least).then(|| {
        format!(
            "at full length it would cost {price} EMC with its {prompt_tokens} prompt tokens, at most {} can be charged",
            lease.max_charge
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_escrow::lease;
    use emc_protocol::Tokens;

    const TERMS: Terms = Terms {
        context: 200,
        least_paid_percent: 75,
    };

    fn job() -> Lease {
        let mut lease = lease(1);
        lease.parameters.max_tokens = 100;
        lease.max_prompt_tokens = 90;
        lease.price.prompt = Tokens(1_000_000);
        lease.price.output = Tokens(1_000_000);
        lease.max_charge = Tokens(1_000);
        lease
    }

    #[test]
    fn a_job_that_fits_is_done() {
        assert_eq!(why_not(&job(), 90, TERMS), None);
    }

    #[test]
    fn what_cannot_be_charged_or_does_not_fit_is_declined() {
        let reason = |lease: &Lease, prompt| why_not(lease, prompt, TERMS).expect("declined");
        assert!(reason(&job(), 91).contains("91 tokens, at most 90"));
        assert!(reason(&job(), 0).contains("no tokens"));
        let mut long = job();
        long.parameters.max_tokens = 150;
        assert!(reason(&long, 51).contains("context of 200"));
        long.parameters.max_tokens = 0;
        assert!(reason(&long, 51).contains("no output tokens"));
    }

    #[test]
    fn a_job_that_cannot_pay_three_quarters_of_its_price_is_declined() {
        let mut poor = job();
        // 150 tokens at full length cost 150 e8s, of which three quarters are 112.5.
        poor.max_charge = Tokens(113);
        assert_eq!(why_not(&poor, 50, TERMS), None);
        poor.max_charge = Tokens(112);
        assert!(why_not(&poor, 50, TERMS).is_some());
        poor.price.output = Tokens(u128::MAX);
        assert!(why_not(&poor, 50, TERMS).is_some());
    }
}
