//! Quotes: who serves a model, at what price, and what a job would have to lock.

use crate::bond;
use crate::draw;
use crate::pace;
use crate::records::*;
use crate::state::State;
use crate::submit::{self, tokens};
use candid::Principal;
use emc_protocol::audit::Assurance;
use emc_protocol::escrow::{CheckQuote, Quote, QuoteArgs};
use emc_protocol::node::LIVENESS;
use emc_protocol::{ApiError, ModelRef, SubmitJob, Timestamp, Tokens, Usage, error::code};
use std::collections::BTreeSet;

/// Nodes that a quote looks at.
const LOOK: usize = 2_000;
/// Answers shorter than this are hard to tell from a cheat's.
const WEAK: u64 = 16;
/// Nodes that a submission looks at to find one that would take the job.
const LOOK_AT_SUBMIT: usize = 300;

/// Nodes that can be given work of a model now and were heard of lately.
fn live(
    state: &State,
    now: Timestamp,
    model: u32,
    look: usize,
) -> impl Iterator<Item = (Principal, ServerRecord)> + '_ {
    let first = (model, Principal::from_slice(&[]));
    state
        .servers
        .range(first..)
        .take_while(move |entry| entry.key().0 == model)
        .take(look)
        .map(|entry| (entry.key().1, entry.value()))
        .filter(move |(_, server)| server.last_seen.after(LIVENESS) > now)
}

/// What a job would cost and who could do it.
///
/// # Errors
/// The input is not acceptable, or the model is not there.
pub fn quote(state: &State, now: Timestamp, args: &QuoteArgs) -> Result<Quote, ApiError> {
    let measured = submit::measure(&args.input)?;
    submit::check_parameters(&args.input, &args.parameters)?;
    let (number, version, _) = submit::find_model(state, &args.model, args.input.task())?;
    let demand = measured.demand(&args.parameters);
    let picture = args.input.image().is_some();
    let mut owners = BTreeSet::new();
    let mut nodes = 0;
    let mut cheapest: Option<(Tokens, emc_protocol::Price)> = None;
    let mut dearest: Option<(Tokens, emc_protocol::Price)> = None;
    let (mut lowest, mut highest): (Option<Tokens>, Option<Tokens>) = (None, None);
    let assurance = args.assurance.unwrap_or_default();
    let settings = state.config().settings.audit();
    let images = state.config().settings.images();
    let (vote_fee, audit_fee) = submit::fees(&settings, &images, assurance, &demand);
    for (_, server) in live(state, now, number, LOOK) {
        nodes += 1;
        owners.insert(server.owner);
        let Some(need) = server.price.charge(&demand) else {
            continue;
        };
        if cheapest.is_none_or(|(least, _)| need < least) {
            cheapest = Some((need, server.price));
        }
        if dearest.is_none_or(|(most, _)| need > most) {
            dearest = Some((need, server.price));
        }
        if tokens(&demand) <= u64::from(server.context) {
            lowest = Some(lowest.map_or(need, |least| least.min(need)));
            highest = Some(highest.map_or(need, |most| most.max(need)));
        }
    }
    let waiting = state.waiting.get(&number).unwrap_or_default();
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
        lowest_max_price: lowest.map(|lowest| Tokens(lowest.0.saturating_add(audit_fee.0))),
        highest_max_price: highest.map(|highest| Tokens(highest.0.saturating_add(audit_fee.0))),
        waiting: waiting.jobs,
        begins_in: pace::time(state, number, pace::units_of(&waiting), nodes),
        // One node does a job; without any there is nothing to say.
        takes: pace::time(state, number, pace::units(&demand), nodes.min(1)),
        pixel_steps: picture.then_some(demand.pixel_steps),
        check: (assurance != Assurance::None).then(|| {
            let chance = submit::chance(&settings, assurance);
            CheckQuote {
                audit_fee,
                vote_fee,
                chance,
                bond: lowest.map(|lowest| bond::size(&settings, chance, lowest)),
                validator_owners: draw::validator_owners(state, number, tokens(&demand), None)
                    as u64,
                least_owners: settings.least_owners,
                weak: !picture && demand.output_tokens < WEAK,
            }
        }),
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
    demand: &Usage,
    job: &SubmitJob,
    checking: Option<&Checking>,
) -> Result<(), ApiError> {
    let fee = checking.map_or(0, |checking| checking.audit_fee.0);
    let (mut looked, mut nodes) = (0, 0);
    let mut unbonded = None;
    let mut lowest: Option<Tokens> = None;
    for (node, server) in live(state, now, model, LOOK_AT_SUBMIT) {
        nodes += 1;
        if tokens(demand) > u64::from(server.context) {
            continue;
        }
        let Some(need) = server.price.charge(demand) else {
            continue;
        };
        looked += 1;
        let need = Tokens(need.0.saturating_add(fee));
        if need <= job.max_price {
            match checking {
                Some(checking)
                    if checking.bond
                        > bond::free(state, node, server.stake.unwrap_or_default()) =>
                {
                    unbonded = Some(checking.bond);
                    continue;
                }
                _ => return Ok(()),
            }
        }
        lowest = Some(lowest.map_or(need, |least| least.min(need)));
    }
    if looked == LOOK_AT_SUBMIT {
        // There are more than were looked at: one of them may take it, and the deadline gives it back if none does.
        return Ok(());
    }
    if let Some(bond) = unbonded {
        let message = format!(
            "No live node within the price has {bond} EMC of free stake, the bond that this job needs: ask for less, or without assurance, or later."
        );
        return Err(ApiError::new(code::UNSERVED, message));
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
