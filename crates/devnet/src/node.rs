//! A node whose every call is made by hand: for tests of what a worker would never send.

use crate::{Market, Person};
use anyhow::{Context, Result};
use emc_client::Escrow;
use emc_protocol::node::{Hardware, Offer, RegisterNode, Role};
use emc_protocol::work::{ClaimArgs, DeliverArgs, DeliverReply};
use emc_protocol::{
    ByteBuf, FinishReason, Lease, ModelRef, Price, Receipt, TextOutput, Tokens, Usage, canonical,
};

/// What hand nodes ask: one EMC per million prompt tokens, two per million output tokens.
pub const PRICE: Price = Price {
    prompt: Tokens::emc(1),
    output: Tokens::emc(2),
    pixel_steps: Tokens::ZERO,
};

/// A registered node with its owner, who is somebody else.
pub struct HandNode {
    /// The node's key.
    pub node: Person,
    /// Who is paid.
    pub owner: Person,
    /// The escrow, called as the node.
    pub escrow: Escrow,
    /// The model it offers.
    pub model: ModelRef,
    escrow_id: candid::Principal,
}

impl HandNode {
    /// Registers a node with a role that offers a model, and stakes for it.
    ///
    /// # Errors
    /// If registry or ledger refuse.
    pub async fn register(
        market: &Market,
        name: &str,
        model: &ModelRef,
        role: Role,
    ) -> Result<Self> {
        let node = market.person(name);
        let owner = market
            .person_with(&format!("owner of {name}"), crate::market::MINIMUM_STAKE)
            .await?;
        let client = market.client(&node);
        let offer = Offer {
            model: model.clone(),
            price: PRICE,
            concurrency: 64,
            context: 8192,
        };
        let registration = RegisterNode {
            public_key: node.public_key().to_vec(),
            owner: Some(owner.principal()),
            roles: vec![role],
            hardware: Hardware {
                device: "hand".into(),
                count: 1,
                ..Hardware::default()
            },
            offers: vec![offer],
        };
        client
            .registry(market.ids.registry)
            .register_node(registration)
            .await
            .context("registering the node")?;
        market
            .stake(&owner, node.principal(), crate::market::MINIMUM_STAKE)
            .await
            .context("staking for the node")?;
        let escrow = client.escrow(market.ids.escrow);
        Ok(Self {
            node,
            owner,
            escrow,
            model: model.clone(),
            escrow_id: market.ids.escrow,
        })
    }

    /// The same node in another escrow of the same registry.
    pub fn in_escrow(&self, market: &Market, escrow: candid::Principal) -> Self {
        Self {
            node: self.node.clone(),
            owner: self.owner.clone(),
            escrow: market.client(&self.node).escrow(escrow),
            model: self.model.clone(),
            escrow_id: escrow,
        }
    }

    /// Says to the registry that it is there: after a quarter of an hour of silence a node counts as gone.
    ///
    /// # Errors
    /// The registry's refusals.
    pub async fn heartbeat(&self, market: &Market) -> Result<(), emc_client::Error> {
        let client = market.client(&self.node);
        client.registry(market.ids.registry).heartbeat().await
    }

    /// Claims up to `max` jobs.
    ///
    /// # Errors
    /// The escrow's refusals.
    pub async fn claim(&self, max: u32) -> Result<Vec<Lease>, emc_client::Error> {
        self.escrow
            .claim(ClaimArgs {
                models: vec![self.model.clone()],
                max,
            })
            .await
    }

    /// Claims one job, waiting for it.
    ///
    /// # Errors
    /// The escrow's refusals, or that there is none within half a minute.
    pub async fn claim_one(&self) -> Result<Lease> {
        crate::market::until(
            std::time::Duration::from_secs(30),
            "a job to claim",
            async || Ok(self.claim(1).await?.pop()),
        )
        .await
    }

    /// A correct delivery of an output of these tokens.
    pub fn delivery(&self, lease: &Lease, ids: &[u32], text: &str) -> DeliverArgs {
        let finish_reason = FinishReason::Stop;
        let output = TextOutput {
            ids: ids.to_vec(),
            finish_reason,
            text: text.to_owned(),
        };
        let usage = Usage {
            prompt_tokens: 5,
            output_tokens: ids.len() as u64,
            pixel_steps: 0,
        };
        self.sign(lease, output, usage)
    }

    /// A delivery of any output with any usage, signed as it stands.
    pub fn sign(&self, lease: &Lease, output: TextOutput, usage: Usage) -> DeliverArgs {
        let output_hash = canonical::output_hash(&lease.salt, &canonical::output_bytes(&output));
        let full = lease.price.charge(&usage).unwrap_or(lease.max_charge);
        let charge = full.min(lease.max_charge);
        let mut args = DeliverArgs {
            job_id: lease.job_id,
            attempt: lease.attempt,
            output: Some(output),
            output_hash: output_hash.to_vec(),
            usage,
            charge,
            signature: vec![],
            image: None,
        };
        args.signature = self.signature(lease, &args);
        args
    }

    /// The node's signature over the receipt that fits a delivery.
    pub fn signature(&self, lease: &Lease, args: &DeliverArgs) -> Vec<u8> {
        let input = lease
            .input
            .as_ref()
            .expect("hand nodes know every kind of input");
        let finish_reason = args
            .output
            .as_ref()
            .map_or(FinishReason::Stop, |output| output.finish_reason);
        let receipt = Receipt {
            escrow: self.escrow_id,
            nonce: lease.nonce.clone(),
            job_id: args.job_id,
            attempt: args.attempt,
            model_root: lease.model_root.clone(),
            parameters_hash: canonical::job_parameters_hash(&lease.model, input, &lease.parameters)
                .to_vec(),
            input_hash: canonical::input_hash(&lease.salt, input).to_vec(),
            output_hash: args.output_hash.clone(),
            seed: lease.seed,
            usage: args.usage,
            finish_reason,
            charge: args.charge,
            evidence_root: vec![0; 32],
        };
        receipt
            .sign(&self.node.key)
            .expect("the escrow's fields have their lengths")
            .to_vec()
    }

    /// Delivers.
    ///
    /// # Errors
    /// The escrow's refusals.
    pub async fn deliver(&self, args: DeliverArgs) -> Result<DeliverReply, emc_client::Error> {
        self.escrow.deliver(args).await
    }

    /// Bytes for a request key or a salt that a test chooses.
    pub fn bytes(byte: u8) -> ByteBuf {
        ByteBuf::from(vec![byte; 32])
    }
}
