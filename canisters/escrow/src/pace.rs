//! How fast nodes answer with a model, as the deliveries of late show; for the waiting times of quotes.

use crate::records::*;
use crate::state::State;
use emc_protocol::{Seconds, Timestamp, Usage};

/// A new delivery counts one part in so many.
const WEIGHT: u64 = 8;

/// What a pace is for: one output token, or a thousand pixel-steps. A model has only the one or the other.
pub(crate) fn units(usage: &Usage) -> u64 {
    let thousands = usage.pixel_steps.div_ceil(1_000);
    usage.output_tokens.saturating_add(thousands)
}

/// The same of all that waits.
pub(crate) fn units_of(waiting: &WaitingRecord) -> u64 {
    units(&Usage {
        prompt_tokens: 0,
        output_tokens: waiting.output_tokens,
        pixel_steps: waiting.pixel_steps,
    })
}

/// Takes in a delivery.
pub(crate) fn note(
    state: &mut State,
    model: u32,
    claimed: Timestamp,
    now: Timestamp,
    usage: &Usage,
) {
    let took = now.0.saturating_sub(claimed.0) / units(usage).max(1);
    let per_token = match state.pace.get(&model) {
        None => took,
        Some(pace) => pace.per_token / WEIGHT * (WEIGHT - 1) + took / WEIGHT,
    };
    state.pace.insert(model, PaceRecord { per_token });
}

/// How long so many units take, shared by so many nodes; `None` while no pace is known, or without nodes.
pub(crate) fn time(state: &State, model: u32, units: u64, nodes: u64) -> Option<Seconds> {
    let pace = state.pace.get(&model)?;
    let all = u128::from(pace.per_token) * u128::from(units);
    let shared = all.checked_div(nodes.into())?;
    u64::try_from(shared.div_ceil(1_000_000_000))
        .ok()
        .map(Seconds)
}

#[cfg(test)]
mod tests {
    use crate::tests::world::*;
    use emc_protocol::escrow::QuoteArgs;
    use emc_protocol::{Seconds, Tokens};

    #[test]
    fn a_quote_says_how_long_it_would_take_once_a_pace_is_known() {
        let mut world = World::new();
        world.fund(requester(0), Tokens::emc(10).0);
        let job = ask("What is the time?", 50);
        let args = QuoteArgs {
            model: job.model.clone(),
            input: job.input.clone(),
            parameters: job.parameters.clone(),
            assurance: None,
        };
        let quote = |world: &World| crate::quote::quote(&world.state, world.now, &args).unwrap();
        assert_eq!((quote(&world).begins_in, quote(&world).takes), (None, None));
        world.submit(requester(0), job.clone()).unwrap();
        let lease = world.claim(0, 1).unwrap().pop().unwrap();
        world.pass(20);
        let args = world.delivery(0, &lease, &answer(40));
        world.deliver(0, &args).unwrap();
        // Half a second for a token.
        assert_eq!(quote(&world).begins_in, Some(Seconds(0)));
        assert_eq!(quote(&world).takes, Some(Seconds(25)));
        for _ in 0..8 {
            world.submit(requester(0), job.clone()).unwrap();
        }
        // Eight jobs of 50 tokens wait for four nodes.
        assert_eq!(quote(&world).begins_in, Some(Seconds(50)));
    }
}
