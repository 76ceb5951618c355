//! The node in the registry: registering, keeping its offers right, saying that it is there.

use std::collections::BTreeSet;

use candid::Principal;
use emc_client::{Error, Registry};
use emc_protocol::error::code;
use emc_protocol::node::{Hardware, RegisterNode, UpdateNode};
use emc_protocol::receipt::node_principal;
use emc_protocol::{Node, NodeStatus, Offer, Role};

/// What the registry should hold of this node.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The node's Ed25519 public key.
    pub public_key: [u8; 32],
    /// Who is paid; the node itself where absent. Only a new registration can set it.
    pub owner: Option<Principal>,
    /// What it does.
    pub roles: Vec<Role>,
    /// The machine.
    pub hardware: Hardware,
    /// What is served.
    pub offers: Vec<Offer>,
}

/// What has to be changed in the registry; `None` where all is right.
pub fn difference(node: &Node, wanted: &Wanted) -> Option<UpdateNode> {
    let mut update = UpdateNode::default();
    if sorted(&node.offers) != sorted(&wanted.offers) {
        update.offers = Some(wanted.offers.clone());
    }
    if node.hardware != wanted.hardware {
        update.hardware = Some(wanted.hardware.clone());
    }
    let registered: BTreeSet<Role> = node.roles.iter().flatten().copied().collect();
    if registered != wanted.roles.iter().copied().collect() {
        update.roles = Some(wanted.roles.clone());
    }
    if node.status == Some(NodeStatus::Draining) {
        update.draining = Some(false);
    }
    (update != UpdateNode::default()).then_some(update)
}

fn sorted(offers: &[Offer]) -> Vec<Offer> {
    let mut offers = offers.to_vec();
    offers.sort_by(|a, b| a.model.cmp(&b.model));
    offers
}

/// Makes the registry hold what is wanted.
///
/// # Errors
/// Refusals of the registry, and failures of the network as the client's policy has it.
pub async fn register(registry: &Registry, wanted: &Wanted) -> Result<Node, Error> {
    let me = node_principal(&wanted.public_key);
    let node = match registry.node(me).await {
        Ok(node) => node,
        Err(error) if is_not_registered(&error) => {
            tracing::info!(node = %me, "registering");
            let args = RegisterNode {
                public_key: wanted.public_key.to_vec(),
                owner: wanted.owner,
                roles: wanted.roles.clone(),
                hardware: wanted.hardware.clone(),
                offers: wanted.offers.clone(),
            };
            registry.register_node(args).await?
        }
        Err(error) => return Err(error),
    };
    let owner = wanted.owner.unwrap_or(me);
    if node.owner != owner {
        tracing::warn!(
            registered = %node.owner,
            configured = %owner,
            "the registered owner is paid; an owner is fixed at registration"
        );
    }
    match difference(&node, wanted) {
        None => Ok(node),
        Some(update) => {
            tracing::info!(node = %me, "updating what is registered");
            registry.update_node(update).await
        }
    }
}

/// True where the registry does not know the node.
pub fn is_not_registered(error: &Error) -> bool {
    error.is_code(code::NOT_FOUND) || error.is_code(code::NOT_REGISTERED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use emc_protocol::{ModelRef, Price, Timestamp};

    fn offer(id: &str, concurrency: u32) -> Offer {
        Offer {
            model: ModelRef {
                id: id.into(),
                version: Some(1),
            },
            price: Price::default(),
            concurrency,
            context: 100,
        }
    }

    fn wanted(offers: &[Offer]) -> Wanted {
        Wanted {
            public_key: [1; 32],
            owner: None,
            roles: vec![Role::Compute],
            hardware: Hardware::default(),
            offers: offers.to_vec(),
        }
    }

    fn node(offers: &[Offer]) -> Node {
        Node {
            id: Principal::anonymous(),
            public_key: vec![1; 32],
            owner: Principal::anonymous(),
            roles: vec![Some(Role::Compute)],
            status: Some(NodeStatus::Active),
            hardware: Hardware::default(),
            offers: offers.to_vec(),
            allotments: vec![],
            unbonding: vec![],
            registered: Timestamp(0),
            last_seen: Timestamp(0),
            outcomes: None,
            jailed_until: None,
        }
    }

    #[test]
    fn offers_in_another_order_are_the_same() {
        let (a, b) = (offer("a", 1), offer("b", 1));
        assert_eq!(
            difference(&node(&[a.clone(), b.clone()]), &wanted(&[b, a])),
            None
        );
    }

    #[test]
    fn only_what_differs_is_sent() {
        let update =
            difference(&node(&[offer("a", 1)]), &wanted(&[offer("a", 2)])).expect("differs");
        assert_eq!(update.offers, Some(vec![offer("a", 2)]));
        assert!(update.hardware.is_none() && update.roles.is_none() && update.draining.is_none());
    }

    #[test]
    fn a_node_that_was_drained_or_had_other_roles_is_set_right() {
        let mut drained = node(&[]);
        drained.status = Some(NodeStatus::Draining);
        drained.roles = vec![Some(Role::Validator), None];
        let update = difference(&drained, &wanted(&[])).expect("differs");
        assert_eq!(update.draining, Some(false));
        assert_eq!(update.roles, Some(vec![Role::Compute]));
        let mut both = wanted(&[]);
        both.roles = vec![Role::Validator, Role::Compute];
        let mut registered = node(&[]);
        registered.roles.push(Some(Role::Validator));
        assert_eq!(difference(&registered, &both), None, "in whatever order");
    }
}
