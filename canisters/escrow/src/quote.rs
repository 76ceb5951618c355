//! Quotes: who serves a model, at what price, and what a job would have to lock.

use crate::records::*;
use crate::state::State;
use crate::submit::{self, Measured, needed};
use candid::Principal;
use emc_protocol::escrow::{Quote, QuoteArgs};
use emc_protocol::node::LIVENESS;
use emc_protocol::{ApiError, ModelRef, SubmitJob, Timestamp, Tokens, error::code};
use std::collections::BTreeSet;

/// Nodes that a quote looks at.
const LOOK: usize = 2_000;
/// Nodes that a submission looks at to find one that would take the job.
const LOOK_AT_SUBMIT: usize = 300;

/// Nodes that can be given work of a model now and were heard of lately.
fn live(
    state: &State,
    now: Timestamp,
    model: u32,
    look: usize,
) -> impl Iterator<Item = ServerRecord> + '_ {
    let first = (model, Principal::from_slice(&[]));
    state
        .servers
        .range(first..)
        .take_while(move |entry| entry.key().0 == model)
        .take(look)
        .map(|entry| entry.value())
        .filter(move |server| server.last_seen.after(LIVENESS) > now)
}

/// What a job would cost and who could do it.
///
/// # Errors
/// The input is not acceptable, or the model is not there.
pub fn quote(state: &State, now: Timestamp, args: &QuoteArgs) -> Result<Quote, ApiError> {
    let measured = submit::measure(&args.input)?;
    submit::check_parameters(&args.parameters)?;
    let (number, version, _) = submit::find_model(state, &args.model)?;
    let max_tokens = args.parameters.max_tokens;
    let mut owners = BTreeSet::new();
    let mut nodes = 0;
    let mut cheapest: Option<(Tokens, emc_protocol::Price)> = None;
    let mut dearest: Option<(Tokens, emc_protocol::Price)> = None;
    let (mut lowest, mut highest): (Option<Tokens>, Option<Tokens>) = (None, None);
    for server in live(state, now, number, LOOK) {
        nodes += 1;
        owners.insert(server.owner);
        let Some(need) = needed(&server.price, measured.estimate, max_tokens) else {
            continue;
        };
        if cheapest.is_none_or(|(least, _)| need < least) {
            cheapest = Some((need, server.price));
        }
        if dearest.is_none_or(|(most, _)| need > most) {
            dearest = Some((need, server.price));
        }
        if measured.estimate + u64::from(max_tokens) <= u64::from(server.context) {
            lowest = Some(lowest.map_or(need, |least| least.min(need)));
            highest = Some(highest.map_or(need, |most| most.max(need)));
        }
    }
    Ok(Quote {
        model: ModelRef {
            id: args.model.id.clone(),
            version: Some(version),
        },
        nodes,
        owners: owners.len() as u64,
        cheapest: cheapest.map(|(_, price)| price),
        dearest: dearest.map(|(_, price)| price),
        prompt_tokens: measured.estimate,
        lowest_max_price: lowest,
        highest_max_price: highest,
        waiting: state.waiting.get(&number).unwrap_or_default().jobs,
    })
}

/// Checks that a live node would take a job.
///
/// # Errors
/// Why none would: nobody serves the model, or none with enough context, or none at this price.
pub(crate) fn check_served(
    state: &State,
    now: Timestamp,
    model: u32,
    measured: &Measured,
    job: &SubmitJob,
) -> Result<(), ApiError> {
    let max_tokens = job.parameters.max_tokens;
    let (mut looked, mut nodes) = (0, 0);
    let mut lowest: Option<Tokens> = None;
    for server in live(state, now, model, LOOK_AT_SUBMIT) {
        nodes += 1;
        if measured.estimate + u64::from(max_tokens) > u64::from(server.context) {
            continue;
        }
        let Some(need) = needed(&server.price, measured.estimate, max_tokens) else {
            continue;
        };
        looked += 1;
        if need <= job.max_price {
            return Ok(());
        }
        lowest = Some(lowest.map_or(need, |least| least.min(need)));
    }
    if looked == LOOK_AT_SUBMIT {
        // There are more than were looked at: one of them may take it, and the deadline gives it back if none does.
        return Ok(());
    }
    let message = match lowest {
        Some(lowest) => format!(
            "Every live node asks more than max_price: the cheapest would take it for {lowest} EMC ({} e8s).",
            lowest.0
        ),
        None if nodes > 0 => "No live node of this model takes so long a prompt and output: ask for less.".to_owned(),
        None => "No live node serves this model now: choose another, try later, or queue the job with if_unserved = opt variant { queue }.".to_owned(),
    };
    Err(ApiError::new(code::UNSERVED, message))
}
