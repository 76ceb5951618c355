//! Applying the registry's feed: nodes and models as this escrow needs them, and the index of who serves what.

use crate::records::*;
use crate::state::State;
use crate::submit::model_key;
use candid::Principal;
use emc_protocol::feed::{Change, Changes, ModelChange, NodeChange};
use emc_protocol::model::Task;
use emc_protocol::{
    ApiError, ErrorDetail, NodeStatus, Role, Seconds, Timestamp, error::code, limits,
};

/// How old the feed may be for new leases.
pub const FRESH: Seconds = Seconds(3_600);

/// What applying a page led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Applied {
    /// There are more changes to pull at once.
    More,
    /// All is known now.
    UpToDate,
    /// The page is not for where the escrow is now: nothing was done.
    Stale,
    /// The registry counts from the beginning again: so does the escrow.
    Restarted,
}

/// Applies a page that was asked for with `after`.
pub fn apply(state: &mut State, now: Timestamp, after: u64, page: &Changes) -> Applied {
    let mut feed = *state.feed.get();
    if after != feed.sequence {
        return Applied::Stale;
    }
    if page.sequence < feed.sequence {
        feed.sequence = 0;
        state.feed.set(feed);
        return Applied::Restarted;
    }
    for numbered in &page.changes {
        match &numbered.change {
            Some(Change::Node(node)) => apply_node(state, numbered.sequence, node),
            Some(Change::Model(model)) => apply_model(state, model),
            None => {}
        }
        feed.sequence = feed.sequence.max(numbered.sequence);
    }
    // A page that says there is more but holds nothing would be asked for again and again.
    let more = page.more && !page.changes.is_empty();
    if !more {
        feed.time = Some(now);
    }
    state.feed.set(feed);
    if more {
        Applied::More
    } else {
        Applied::UpToDate
    }
}

/// Checks that the feed is fresh enough for new leases.
///
/// # Errors
/// It is older than an hour, or was never pulled.
pub(crate) fn check_fresh(state: &State, now: Timestamp) -> Result<(), ApiError> {
    match state.feed.get().time {
        Some(time) if time.after(FRESH) > now => Ok(()),
        _ => Err(ApiError::new(
            code::STALE_FEED,
            "The registry was not heard of for an hour: there are no new leases until it is back. Go on with those you have.",
        )
        .with(ErrorDetail::RetryAfter {
            seconds: Seconds(60),
        })),
    }
}

fn apply_node(state: &mut State, sequence: u64, change: &NodeChange) {
    let Ok(public_key) = change.public_key.as_slice().try_into() else {
        return;
    };
    if let Some(before) = state.nodes.get(&change.id) {
        for offer in &before.offers {
            state.servers.remove(&(offer.model, change.id));
            state.validators.remove(&(offer.model, change.id));
        }
    }
    let mut offers: Vec<OfferRecord> = Vec::new();
    for offer in change.offers.iter().take(limits::OFFERS) {
        let Some(version) = offer.model.version else {
            continue;
        };
        let model = model_number(state, &offer.model.id, version);
        if offers.iter().any(|known| known.model == model) {
            continue;
        }
        offers.push(OfferRecord {
            model,
            id: offer.model.id.clone(),
            version,
            price: offer.price,
            concurrency: offer.concurrency,
            context: offer.context,
        });
    }
    let node = NodeRecord {
        public_key,
        owner: change.owner,
        compute: change.roles.contains(&Some(Role::Compute)),
        validator: change.roles.contains(&Some(Role::Validator)),
        active: change.status == Some(NodeStatus::Active),
        eligible: change.eligible,
        stake: change.stake,
        last_seen: change.last_seen,
        offers,
        unstaking: (change.unstaking == Some(true)).then_some(sequence),
    };
    match node.unstaking {
        Some(sequence) => state.unstaking.insert(change.id, sequence),
        None => state.unstaking.remove(&change.id),
    };
    if node.takes_work() {
        for offer in &node.offers {
            let server = ServerRecord {
                owner: node.owner,
                price: offer.price,
                context: offer.context,
                last_seen: node.last_seen,
                stake: Some(node.stake),
            };
            state.servers.insert((offer.model, change.id), server);
        }
    }
    if node.votes() {
        for offer in &node.offers {
            let validator = ValidatorRecord {
                owner: node.owner,
                stake: node.stake,
                context: offer.context,
            };
            state.validators.insert((offer.model, change.id), validator);
        }
    }
    state.nodes.insert(change.id, node);
}

fn apply_model(state: &mut State, change: &ModelChange) {
    let (Ok(root), Some(version)) = (change.root.as_slice().try_into(), change.model.version)
    else {
        return;
    };
    let number = model_number(state, &change.model.id, version);
    let record = ModelRecord {
        id: change.model.id.clone(),
        version,
        entry: Some(CatalogueRecord {
            root,
            chat: change.task == Some(Task::Chat),
            context: change.context,
            listed: change.listed,
            retired: change.retired,
            audit: change
                .audit
                .as_ref()
                .filter(|terms| terms.is_valid())
                .map(TermsRecord::from),
            royalty: change.royalty.as_ref().map(|royalty| RoyaltyRecord {
                author: royalty.author,
                share: royalty.share,
            }),
            compute_units: change.compute_units,
            image: Some(change.task == Some(Task::Image)),
        }),
    };
    state.models.insert(number, record);
}

/// The number of a model version here; a new one where it is seen for the first time.
fn model_number(state: &mut State, id: &str, version: u32) -> u32 {
    let key = model_key(id, version);
    if let Some(number) = state.model_numbers.get(&key) {
        return number;
    }
    let number = state.counts.get().models + 1;
    state.count(|counts| counts.models = number);
    state.model_numbers.insert(key, number);
    let record = ModelRecord {
        id: id.to_owned(),
        version,
        entry: None,
    };
    state.models.insert(number, record);
    number
}

/// True if a principal is a node of the feed.
pub(crate) fn knows(state: &State, principal: &Principal) -> bool {
    state.nodes.contains_key(principal)
}
