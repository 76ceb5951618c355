//! The feed that escrows pull: each node and each model version stands in it once, at the number of its newest change.
//! A puller that remembers the last number it saw misses nothing, and a new one reads everything once.

use crate::keys::{ModelKey, Subject};
use crate::model_records::ModelRecord;
use crate::state::State;
use crate::unbonding;
use candid::Principal;
use emc_protocol::feed::{Change, Changes, ChangesArgs, ModelChange, NodeChange, NumberedChange};
use emc_protocol::model::Royalty;
use emc_protocol::{Timestamp, Tokens, limits};

/// Largest page, in bytes about.
const PAGE_BYTES: usize = 1_000_000;
/// Nodes announced anew in one go.
const ANNOUNCED_PER_TICK: usize = 200;

/// Gives a subject the newest place.
pub fn announce(state: &mut State, subject: Subject) {
    let sequence = state.totals.get().sequence + 1;
    state.change_totals(|totals| totals.sequence = sequence);
    if let Some(before) = state.places.insert(subject.clone(), sequence) {
        state.feed.remove(&before);
    }
    state.feed.insert(sequence, subject);
}

/// A page of what has changed after a number.
pub fn changes_since(state: &State, now: u64, args: &ChangesArgs) -> Changes {
    let limit = args.limit.clamp(1, limits::PAGE) as usize;
    let mut changes = vec![];
    let mut weight = 0;
    let mut more = false;
    for entry in state.feed.range(args.after.saturating_add(1)..) {
        if changes.len() >= limit || weight > PAGE_BYTES {
            more = true;
            break;
        }
        let (change, its_weight) = match entry.value() {
            Subject::Node(node) => node_change(state, node, args.escrow),
            Subject::Model(model) => {
                let record = state.models.get(&model);
                let change = record.map(|record| Change::Model(model_change(&model, &record)));
                (change, 300)
            }
        };
        weight += its_weight;
        changes.push(NumberedChange {
            sequence: *entry.key(),
            change,
        });
    }
    Changes {
        changes,
        more,
        sequence: state.totals.get().sequence,
        time: Timestamp(now),
    }
}

fn model_change(model: &ModelKey, record: &ModelRecord) -> ModelChange {
    // What nobody has listed may claim what it likes: it has no effect.
    let terms = record.terms().filter(|_| record.listed);
    let share = terms.as_ref().map_or(0, |terms| terms.royalty);
    ModelChange {
        model: model.to_ref(),
        root: record.root.to_vec(),
        task: record.task(),
        context: record.context,
        listed: record.listed,
        retired: record.retired,
        royalty: (share > 0).then_some(Royalty {
            author: record.author,
            share,
        }),
        compute_units: terms.as_ref().map(|terms| terms.compute_units),
        audit: terms.and_then(|terms| terms.audit),
    }
}

fn node_change(state: &State, id: Principal, escrow: Principal) -> (Option<Change>, usize) {
    let Some(record) = state.nodes.get(&id) else {
        return (None, 0);
    };
    let stake = state.allotments.get(&(id, escrow)).unwrap_or_default();
    let change = Change::Node(NodeChange {
        id,
        public_key: record.public_key.to_vec(),
        owner: record.owner,
        roles: record.roles(),
        status: Some(record.standing.into()),
        offers: record.offers(),
        stake: Tokens(stake),
        eligible: stake >= state.config.get().minimum_stake,
        last_seen: Timestamp(state.seen.get(&id).unwrap_or_default()),
        unstaking: Some(!unbonding::waiting(state, id, escrow).is_empty()),
    });
    (Some(change), record.weight())
}

/// Makes every node be announced anew: what they are eligible for has changed without them.
pub fn announce_all(state: &mut State) {
    state.change_totals(|totals| totals.announce_after = Some(vec![]));
}

/// Goes on with it, a bounded step; called by the timer.
pub fn go_on_announcing(state: &mut State) {
    let Some(after) = state.totals.get().announce_after.clone() else {
        return;
    };
    let after = Principal::from_slice(&after);
    let above = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
    let from_first = state.nodes.keys_range(above);
    let next: Vec<Principal> = from_first.take(ANNOUNCED_PER_TICK).collect();
    for node in &next {
        announce(state, Subject::Node(*node));
    }
    let last = next.last().filter(|_| next.len() == ANNOUNCED_PER_TICK);
    let last = last.map(|node| node.as_slice().to_vec());
    state.change_totals(|totals| totals.announce_after = last);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_principal_stands_before_every_node() {
        // `stake`, `guard` and others begin their ranges with it, and so does `announce_all`.
        let first = Principal::from_slice(&[]);
        assert!(first < Principal::from_slice(&[0]) && first < Principal::anonymous());
    }
}
