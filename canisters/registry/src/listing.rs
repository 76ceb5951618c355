//! What anybody may ask: settings and sums, one node, pages of nodes and models. Every call does a bounded amount of
//! work; a page that ends early says where to go on.

use crate::guard::newest;
use crate::keys::ModelKey;
use crate::model_records::ModelRecord;
use crate::records::{NodeRecord, Standing};
use crate::state::State;
use crate::{stake, unbonding};
use candid::Principal;
use emc_protocol::model::{ModelFilter, ModelPage};
use emc_protocol::node::{Allotment, Node, NodeFilter, NodePage, RegistryInfo, Unbonding};
use emc_protocol::{ApiError, ModelRef, Seconds, Timestamp, Tokens, error::code, limits};
use std::ops::Bound;

/// Records that one call looks at, those that the filter passes over included.
const LOOKED_AT: usize = 1_000;
/// Largest page, in bytes about.
const PAGE_BYTES: usize = 1_000_000;

/// Settings and sums.
pub fn info(state: &State) -> RegistryInfo {
    let (config, totals) = (state.config.get(), state.totals.get());
    RegistryInfo {
        version: env!("CARGO_PKG_VERSION").into(),
        ledger: config.ledger,
        governor: config.governor,
        minimum_stake: Tokens(config.minimum_stake),
        unbonding: Seconds(config.unbonding),
        nodes: state.nodes.len(),
        models: state.models.len(),
        staked: Tokens(totals.allotted),
        unbonding_total: Tokens(totals.unbonding),
        sequence: totals.sequence,
        leaving: Tokens(totals.leaving),
        deposited: Tokens(totals.deposited),
        paid_out: Tokens(totals.paid_out),
        journal_open: state.journal.figures().open,
        burning: Some(Tokens(totals.burning)),
        burned: Some(Tokens(totals.burned)),
        parameters: Some(config.parameters()),
        pending: config.pending(),
    }
}

/// One node.
///
/// # Errors
/// `not_found`.
pub fn node(state: &State, id: Principal) -> Result<Node, ApiError> {
    let record = state.nodes.get(&id);
    let record = record.ok_or_else(|| {
        ApiError::new(
            code::NOT_FOUND,
            "There is no node of that principal in the registry.",
        )
    })?;
    Ok(view(state, id, record))
}

/// A page of nodes, by principal.
pub fn nodes(state: &State, filter: &NodeFilter) -> NodePage {
    let after = filter.after;
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let start_in = |first: Principal| match after {
        Some(after) => Bound::Excluded(after),
        None => Bound::Included(first),
    };
    let nobody = Principal::from_slice(&[]);
    let model = match &filter.model {
        None => None,
        Some(model) => match exact(state, model) {
            None => return page(state, std::iter::empty(), filter),
            found => found,
        },
    };
    // The narrowest index that there is for the filter; both together: the model's, passing over other owners' nodes.
    match (model, filter.owner) {
        (Some(model), _) => {
            let key = |node| (model.clone(), node);
            let range = state
                .offers
                .keys_range((start_in(nobody).map(key), Bound::Unbounded));
            let of_model = range.take_while(|(of, _)| *of == model);
            page(state, of_model.map(|(_, node)| node), filter)
        }
        (None, Some(owner)) => {
            let range = state
                .owners
                .keys_range((start_in(nobody).map(|node| (owner, node)), Bound::Unbounded));
            let of_owner = range.take_while(|(of, _)| *of == owner);
            page(state, of_owner.map(|(_, node)| node), filter)
        }
        (None, None) => page(
            state,
            state.nodes.keys_range((start, Bound::Unbounded)),
            filter,
        ),
    }
}

fn page(state: &State, ids: impl Iterator<Item = Principal>, filter: &NodeFilter) -> NodePage {
    let limit = page_size(filter.limit);
    let (mut nodes, mut weight, mut last, mut looked_at) = (vec![], 0, None, 0);
    for id in ids {
        if nodes.len() >= limit || weight > PAGE_BYTES || looked_at >= LOOKED_AT {
            return NodePage {
                nodes,
                more: true,
                next: last,
            };
        }
        looked_at += 1;
        last = Some(id);
        let others = |owner| !state.owners.contains_key(&(owner, id));
        if filter.owner.is_some_and(others) {
            continue;
        }
        if let Some(record) = state.nodes.get(&id) {
            weight += record.weight();
            nodes.push(view(state, id, record));
        }
    }
    NodePage {
        nodes,
        more: false,
        next: None,
    }
}

/// A page of models, by id and version.
pub fn models(state: &State, filter: &ModelFilter) -> ModelPage {
    let limit = page_size(filter.limit);
    let start = match &filter.after {
        None => Bound::Unbounded,
        Some(after) => Bound::Excluded(ModelKey {
            id: after.id.chars().take(limits::MODEL_ID_BYTES).collect(),
            version: after.version.unwrap_or(u32::MAX),
        }),
    };
    let text = filter.text.as_ref().map(|text| text.to_lowercase());
    let (mut models, mut weight) = (vec![], 0);
    let mut last: Option<ModelKey> = None;
    let mut seen_bytes = 0;
    for entry in state.models.range((start, Bound::Unbounded)) {
        let full = models.len() >= limit || weight > PAGE_BYTES;
        if full || seen_bytes > 8 * PAGE_BYTES {
            return ModelPage {
                models,
                more: true,
                next: last.map(|key| key.to_ref()),
            };
        }
        let (key, record) = entry.into_pair();
        last = Some(key.clone());
        seen_bytes += record.weight();
        if passes(&key, &record, filter, text.as_deref()) {
            weight += record.weight();
            models.push(record.entry(key));
        }
    }
    ModelPage {
        models,
        more: false,
        next: None,
    }
}

fn passes(key: &ModelKey, record: &ModelRecord, filter: &ModelFilter, text: Option<&str>) -> bool {
    let holds = |text: &str| {
        [&key.id, &record.name, &record.description]
            .iter()
            .any(|field| field.to_lowercase().contains(text))
    };
    filter.task.is_none_or(|task| record.task() == Some(task))
        && (record.listed || filter.listed_only != Some(true))
        && text.is_none_or(holds)
}

fn page_size(asked: Option<u32>) -> usize {
    asked.unwrap_or(limits::PAGE).clamp(1, limits::PAGE) as usize
}

fn exact(state: &State, model: &ModelRef) -> Option<ModelKey> {
    if model.id.len() > limits::MODEL_ID_BYTES {
        return None;
    }
    match model.version {
        None => newest(state, &model.id),
        Some(version) => Some(ModelKey {
            id: model.id.clone(),
            version,
        }),
    }
}

fn view(state: &State, id: Principal, record: NodeRecord) -> Node {
    let allotments = stake::allotments(state, id).into_iter();
    let unbonding = unbonding::unbondings(state, id).into_iter();
    let jailed = record.standing == Standing::Jailed;
    let leaving = |entry: Option<u64>| entry.and_then(|entry| state.leaving.get(&entry));
    Node {
        id,
        public_key: record.public_key.to_vec(),
        owner: record.owner,
        roles: record.roles(),
        status: Some(record.standing.into()),
        hardware: record.hardware(),
        offers: record.offers(),
        allotments: allotments
            .map(|(escrow, amount)| Allotment {
                escrow,
                amount: Tokens(amount),
            })
            .collect(),
        unbonding: unbonding
            .map(|(id, waiting)| Unbonding {
                id,
                escrow: waiting.escrow,
                amount: Tokens(leaving(waiting.entry).unwrap_or(waiting.amount)),
                ready: Timestamp(waiting.ready),
                waiting: Some(waiting.waiting.is_some()),
                starts_by: waiting
                    .waiting
                    .map(|it| Timestamp(unbonding::starts_by(state, waiting.escrow, it))),
            })
            .collect(),
        registered: Timestamp(record.registered),
        last_seen: Timestamp(state.seen.get(&id).unwrap_or_default()),
        outcomes: Some(state.outcomes.get(&id).unwrap_or_default().into()),
        jailed_until: jailed.then(|| Timestamp(record.jailed_until.unwrap_or_default())),
    }
}
