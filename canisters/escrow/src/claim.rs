//! Claiming: a node asks for work, the escrow chooses: the oldest jobs that fit. A claim looks at a bounded number of
//! open jobs; where it stops at that bound, the node's next claim goes on from there, so that jobs which fit nobody
//! cannot hide those behind them.

use crate::bond;
use crate::feed;
use crate::lease;
use crate::mining_job;
use crate::mining_round;
use crate::outage;
use crate::records::*;
use crate::state::State;
use crate::submit::tokens;
use candid::Principal;
use emc_protocol::canonical;
use emc_protocol::work::ClaimArgs;
use emc_protocol::{ApiError, JobId, Lease, Timestamp, error::code, limits};

/// Open jobs that one claim looks at.
pub const LOOK: usize = 200;
/// Bytes of inputs in one answer, so that it fits into a message; the first job always does.
const ANSWER_BYTES: u64 = 1_400_000;

/// Gives the caller's node the jobs that the escrow chooses for it.
///
/// # Errors
/// The node cannot be given work now.
pub fn claim(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    args: &ClaimArgs,
) -> Result<Vec<Lease>, ApiError> {
    if args.models.len() > limits::OFFERS {
        let (got, max) = (args.models.len() as u64, limits::OFFERS as u64);
        return Err(ApiError::limit("models", got, max));
    }
    if args.max > limits::CLAIM_JOBS {
        return Err(ApiError::limit(
            "max",
            args.max.into(),
            limits::CLAIM_JOBS.into(),
        ));
    }
    if args.models.iter().any(|model| model.version.is_none()) {
        return Err(ApiError::invalid(
            "models",
            "a list of models with their versions",
        ));
    }
    crate::secret::secret(state)?;
    let node = working_node(state, caller)?;
    feed::check_fresh(state, now)?;
    let mining = give_mining_jobs(state, now, caller, &node, args);
    let max = args.max as usize - mining.len();

    // 1. Choose, model by model, then the oldest of all.
    let mut chosen: Vec<(JobId, usize)> = Vec::new();
    let mut asked: Vec<u32> = Vec::new();
    for model in &args.models {
        let offer = node
            .offers
            .iter()
            .position(|offer| offer.id == model.id && Some(offer.version) == model.version);
        let Some(offer) = offer else {
            continue;
        };
        if asked.contains(&node.offers[offer].model) {
            continue;
        }
        asked.push(node.offers[offer].model);
        let look = LOOK / args.models.len();
        let fitting = look_through(
            state,
            now,
            caller,
            &node,
            &node.offers[offer],
            max,
            look.max(1),
        );
        chosen.extend(fitting.into_iter().map(|id| (id, offer)));
    }
    chosen.sort_unstable();

    // 2. Give.
    let mut leases = mining;
    let mut no_bond = None;
    let mut bytes = 0;
    for (id, offer) in chosen.into_iter().take(max) {
        let Some(mut job) = state.jobs.get(&id) else {
            continue;
        };
        bytes += job.input_bytes;
        if bytes > ANSWER_BYTES && !leases.is_empty() {
            break;
        }
        match give(state, now, caller, &node, &node.offers[offer], id, &mut job) {
            Ok(Some(lease)) => {
                leases.push(lease);
                state.jobs.insert(id, job);
            }
            Ok(None) => {}
            Err(error) => no_bond = Some(error),
        }
    }
    // A node that gets nothing for want of stake should know why.
    match no_bond {
        Some(error) if leases.is_empty() => Err(error),
        _ => Ok(leases),
    }
}

/// The caller's node, where it can be given work.
fn working_node(state: &State, caller: Principal) -> Result<NodeRecord, ApiError> {
    let node = state.nodes.get(&caller).ok_or_else(|| {
        ApiError::new(
            code::NOT_REGISTERED,
            "This node is not in the registry's feed: register and stake it, then wait some seconds.",
        )
    })?;
    let problem = if !node.active {
        "is not active: undrain it, or wait until it is out of jail"
    } else if !node.eligible {
        "has too little stake allotted to this escrow: stake more"
    } else if !node.compute {
        "does not have the compute role: add it with `update_node`"
    } else {
        return Ok(node);
    };
    Err(ApiError::new(
        code::NOT_ELIGIBLE,
        format!("This node {problem}."),
    ))
}

/// The oldest open jobs of a model that fit an offer, as many as the node has places.
fn look_through(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    node: &NodeRecord,
    offer: &OfferRecord,
    max: usize,
    look: usize,
) -> Vec<JobId> {
    let max_attempts = state.config().settings.max_attempts;
    let running = state
        .running
        .get(&(caller, offer.model))
        .unwrap_or_default();
    let places = (offer.concurrency.saturating_sub(running.leases) as usize).min(max);
    if places == 0 {
        return vec![];
    }
    let audited = terms(state, offer.model).is_some();
    let from = running.cursor.map_or(0, |cursor| cursor + 1);
    let mut fitting = Vec::new();
    let mut looked = 0;
    let mut last = None;
    for entry in state
        .open
        .range((offer.model, from)..=(offer.model, u64::MAX))
    {
        if fitting.len() == places || looked == look {
            break;
        }
        looked += 1;
        let id = entry.key().1;
        last = Some(id);
        let open = entry.value();
        if !fits(offer, &open) || (open.bond.is_some() && !audited) {
            continue;
        }
        let mut job = match open.tried {
            true => state.jobs.get(&id),
            false => None,
        };
        if let Some(job) = &mut job {
            outage::move_times(state, job);
        }
        if job
            .is_none_or(|job| job.deadline > now && lease::may_try(&job, &node.owner, max_attempts))
        {
            fitting.push(id);
        }
    }
    // Only a claim that stopped at its bound goes on from there; all others begin with the oldest again.
    let cursor = last.filter(|_| looked == look && fitting.len() < places);
    if cursor != running.cursor {
        let running = RunningRecord { cursor, ..running };
        state.running.insert((caller, offer.model), running);
    }
    fitting
}

/// True if an offer's context and price cover a job.
fn fits(offer: &OfferRecord, open: &OpenRecord) -> bool {
    let demand = open.demand();
    let price = offer.price.charge(&demand);
    tokens(&demand) <= u64::from(offer.context) && price.is_some_and(|n| n <= open.locked)
}

/// A model's catalogue entry where its results can be audited: listed, with terms.
pub(crate) fn terms(state: &State, model: u32) -> Option<CatalogueRecord> {
    let entry = state.models.get(&model)?.entry?;
    (entry.listed && entry.audit.is_some()).then_some(entry)
}

/// Gives a job, unless it has reached its deadline meanwhile.
///
/// # Errors
/// The node has too little free stake for its bond.
fn give(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    node: &NodeRecord,
    offer: &OfferRecord,
    id: JobId,
    job: &mut JobRecord,
) -> Result<Option<Lease>, ApiError> {
    if job.stage != Stage::Open {
        return Ok(None);
    }
    if outage::shift(state, id, job) {
        state.jobs.insert(id, job.clone());
    }
    if job.deadline <= now {
        return Ok(None);
    }
    let Some(bytes) = state.inputs.get(&id) else {
        return Ok(None);
    };
    let input = canonical::read_input(&bytes);
    let entry = state.models.get(&job.model).and_then(|model| model.entry);
    let bond = job.checking.map(|checking| checking.bond);
    if let Some(bond) = bond {
        bond::reserve(state, caller, node.stake, bond)?;
    }
    let settings = &state.config().settings;
    let cap = settings.audit().royalty_cap;
    let listed = entry.filter(|entry| entry.listed);
    let royalty = listed.as_ref().and_then(|entry| entry.royalty);
    let attempt = AttemptRecord {
        node: caller,
        owner: node.owner,
        public_key: node.public_key,
        price: offer.price,
        claimed: now,
        end: None,
        treasury_share: settings.treasury_share,
        lapse_fee: settings.lapse_fee,
        bond,
        royalty: royalty.map(|royalty| RoyaltyRecord {
            share: royalty.share.min(cap),
            ..royalty
        }),
        terms: listed.and_then(|entry| entry.audit),
        context: Some(offer.context),
    };
    lease::begin(state, now, id, job, attempt);
    state.count(|counts| {
        counts.open = counts.open.saturating_sub(1);
        counts.leased += 1;
    });
    lease::take_place(state, caller, job.model);
    Ok(Some(lease(state, id, job, input)))
}

/// Gives the caller's node jobs of the probe round that is open, as many as it has places for.
fn give_mining_jobs(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    node: &NodeRecord,
    args: &ClaimArgs,
) -> Vec<Lease> {
    let mut leases = Vec::new();
    if mining_round::open(state, now).is_none() {
        return leases;
    }
    for offer in &node.offers {
        let asked = |model: &emc_protocol::ModelRef| {
            model.id == offer.id && model.version == Some(offer.version)
        };
        if !args.models.iter().any(asked) {
            continue;
        }
        let running = state
            .running
            .get(&(caller, offer.model))
            .unwrap_or_default();
        for _ in running.leases..offer.concurrency {
            if leases.len() >= args.max as usize {
                return leases;
            }
            let Some(id) = mining_job::give(state, now, caller, node, offer) else {
                break;
            };
            let (job, bytes) = (state.jobs.get(&id), state.inputs.get(&id));
            if let (Some(job), Some(bytes)) = (job, bytes) {
                leases.push(lease(state, id, &job, canonical::read_input(&bytes)));
            }
        }
    }
    leases
}

/// What a node learns of a job that it has got.
fn lease(
    state: &State,
    id: JobId,
    job: &JobRecord,
    input: Option<emc_protocol::JobInput>,
) -> Lease {
    Lease {
        job_id: id,
        attempt: job.attempts.len() as u32,
        nonce: state.config().nonce.to_vec(),
        model: job.model_ref(),
        model_root: job.model_root.to_vec(),
        input,
        parameters: (&job.parameters).into(),
        seed: job.seed,
        salt: job.salt.to_vec(),
        price: job
            .attempts
            .last()
            .map(|attempt| attempt.price)
            .unwrap_or_default(),
        max_charge: job.chargeable(),
        max_prompt_tokens: job.prompt_bound,
        until: job.lease_until.unwrap_or(job.deadline),
        deadline: job.deadline,
    }
}
