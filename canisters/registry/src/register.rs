//! Nodes come, and change what they say of themselves.

use crate::feed;
use crate::guard;
use crate::keys::{ModelKey, Subject};
use crate::records::{NodeRecord, OfferRecord, Standing};
use crate::state::State;
use candid::Principal;
use emc_protocol::node::{Hardware, RegisterNode, UpdateNode};
use emc_protocol::receipt::node_principal;
use emc_protocol::{ApiError, Offer, Role, error::code, limits};

/// Highest price of a million units, e8s: the whole supply.
const PRICE: u128 = 100_000_000_000_000_000;
/// Most jobs of a model at a time that a node may claim to run.
const CONCURRENCY: u32 = 4_096;

/// Registers the caller; changes nothing where it is registered.
///
/// # Errors
/// `forbidden` where the caller is not the key's principal, `invalid`, `limit`, `unknown_model`.
pub fn register(
    state: &mut State,
    now: u64,
    caller: Principal,
    args: RegisterNode,
) -> Result<(), ApiError> {
    let public_key: [u8; 32] = args
        .public_key
        .as_slice()
        .try_into()
        .map_err(|_| ApiError::invalid("public_key", "an Ed25519 public key of 32 bytes"))?;
    if node_principal(&public_key) != caller {
        return Err(ApiError::new(
            code::FORBIDDEN,
            format!(
                "A node registers itself: sign this call with the key that you register, whose principal is {}.",
                node_principal(&public_key)
            ),
        ));
    }
    if state.nodes.contains_key(&caller) {
        return Ok(());
    }
    let owner = args.owner.unwrap_or(caller);
    if owner == Principal::anonymous() {
        return Err(ApiError::invalid(
            "owner",
            "somebody's principal: it is paid",
        ));
    }
    check_roles(&args.roles)?;
    check_hardware(&args.hardware)?;
    let mut record = NodeRecord {
        public_key,
        owner,
        roles: vec![],
        standing: Standing::Active,
        device: String::new(),
        count: 0,
        memory: 0,
        driver: String::new(),
        offers: checked_offers(state, args.offers)?,
        registered: now,
        jailed_until: None,
    };
    record.set_roles(&args.roles);
    record.set_hardware(args.hardware);
    index_offers(state, caller, &[], &record.offers);
    state.nodes.insert(caller, record);
    state.owners.insert((owner, caller), ());
    state.seen.insert(caller, now);
    feed::announce(state, Subject::Node(caller));
    Ok(())
}

/// Changes what the calling node says of itself. A jailed node stays jailed.
///
/// # Errors
/// `not_registered`, `invalid`, `limit`, `unknown_model`.
pub fn update(
    state: &mut State,
    now: u64,
    caller: Principal,
    args: UpdateNode,
) -> Result<(), ApiError> {
    let before = state.nodes.get(&caller).ok_or_else(not_registered)?;
    let mut record = before.clone();
    if let Some(roles) = args.roles {
        check_roles(&roles)?;
        record.set_roles(&roles);
    }
    if let Some(hardware) = args.hardware {
        check_hardware(&hardware)?;
        record.set_hardware(hardware);
    }
    if let Some(offers) = args.offers {
        record.offers = checked_offers(state, offers)?;
    }
    record.standing = match (record.standing, args.draining) {
        (Standing::Active, Some(true)) => Standing::Draining,
        (Standing::Draining, Some(false)) => Standing::Active,
        (standing, _) => standing,
    };
    state.seen.insert(caller, now);
    if record != before {
        index_offers(state, caller, &before.offers, &record.offers);
        state.nodes.insert(caller, record);
        feed::announce(state, Subject::Node(caller));
    }
    Ok(())
}

/// The error for callers that are no node.
pub fn not_registered() -> ApiError {
    ApiError::new(
        code::NOT_REGISTERED,
        "The caller is not a registered node: call register_node with its key first.",
    )
}

fn check_roles(roles: &[Role]) -> Result<(), ApiError> {
    if roles.is_empty() {
        return Err(ApiError::invalid(
            "roles",
            "at least one of compute, validator",
        ));
    }
    guard::count("roles", roles.len(), 8)
}

fn check_hardware(hardware: &Hardware) -> Result<(), ApiError> {
    guard::text("hardware.device", &hardware.device, limits::TEXT_BYTES)?;
    guard::text("hardware.driver", &hardware.driver, limits::TEXT_BYTES)
}

fn checked_offers(state: &State, offers: Vec<Offer>) -> Result<Vec<OfferRecord>, ApiError> {
    guard::count("offers", offers.len(), limits::OFFERS)?;
    let mut checked: Vec<OfferRecord> = Vec::with_capacity(offers.len());
    for offer in offers {
        let Some(version) = offer.model.version else {
            return Err(ApiError::invalid(
                "offers.model.version",
                "given: an offer is for one version",
            ));
        };
        guard::resolve(state, &offer.model)?;
        let price = offer.price;
        if [price.prompt, price.output, price.pixel_steps]
            .iter()
            .any(|p| p.0 > PRICE)
        {
            return Err(ApiError::invalid(
                "offers.price",
                "at most the supply of EMC",
            ));
        }
        if offer.concurrency == 0 || offer.concurrency > CONCURRENCY {
            return Err(ApiError::invalid(
                "offers.concurrency",
                format!("from 1 to {CONCURRENCY}"),
            ));
        }
        let offer = OfferRecord::new(offer, version);
        if checked.iter().any(|other| other.model() == offer.model()) {
            return Err(ApiError::invalid(
                "offers",
                format!("one for each model version: {} is there twice", offer.id),
            ));
        }
        checked.push(offer);
    }
    Ok(checked)
}

fn index_offers(state: &mut State, node: Principal, before: &[OfferRecord], after: &[OfferRecord]) {
    let key = |offer: &OfferRecord| -> (ModelKey, Principal) { (offer.model(), node) };
    for offer in before {
        state.offers.remove(&key(offer));
    }
    for offer in after {
        state.offers.insert(key(offer), ());
    }
}
