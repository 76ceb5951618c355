//! The registry's endpoints, one method each.

use crate::{Client, Error};
use candid::{Principal, Reserved};
use emc_protocol::feed::{Changes, ChangesArgs};
use emc_protocol::mining::{EpochSummary, MiningStatus, NodeEpoch, POOL_SUBACCOUNT};
use emc_protocol::model::{ModelEntry, ModelFilter, ModelPage, ModelTerms, PublishModel};
use emc_protocol::node::{
    Node, NodeFilter, NodePage, RegisterNode, RegistryInfo, StakeArgs, UnstakeArgs, UpdateNode,
};
use emc_protocol::parameters::{ParameterEvent, ParameterLog, RegistryParameters};
use emc_protocol::report::{Report, ReportReply};
use emc_protocol::{ModelRef, Tokens};
use icrc_ledger_types::icrc1::account::Account;

/// The registry of nodes, stake and models.
///
/// ```no_run
/// # async fn example(client: emc_client::Client, id: emc_client::Principal) -> Result<(), emc_client::Error> {
/// use emc_client::protocol::node::NodeFilter;
/// let registry = client.registry(id);
/// for node in registry.nodes(NodeFilter::default()).await?.nodes {
///     println!("{} serves {} models", node.id, node.offers.len());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Registry {
    client: Client,
    id: Principal,
}

/// What to look at after a call that moves stake and whose outcome is not known.
const LOOK_AT_STAKE: &str = "`emc node show NODE` shows its stake, `emc balance` your EMC.";

impl Registry {
    pub(crate) fn new(client: Client, id: Principal) -> Self {
        Self { client, id }
    }

    /// The canister.
    pub fn id(&self) -> Principal {
        self.id
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Settings and state.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn info(&self) -> Result<RegistryInfo, Error> {
        self.client.query(self.id, "info", ()).await
    }

    /// One node.
    ///
    /// # Errors
    /// `not_found` where there is none; else those of a query.
    pub async fn node(&self, node: Principal) -> Result<Node, Error> {
        self.client.ask(self.id, "node", (node,)).await
    }

    /// A page of nodes.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn nodes(&self, filter: NodeFilter) -> Result<NodePage, Error> {
        self.client.ask(self.id, "nodes", (filter,)).await
    }

    /// Every node that the filter holds, page by page.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn all_nodes(&self, mut filter: NodeFilter) -> Result<Vec<Node>, Error> {
        let mut all = vec![];
        loop {
            let page = self.nodes(filter.clone()).await?;
            all.extend(page.nodes);
            match page.next {
                // A page that does not move on would be asked for again for ever.
                Some(next) if page.more && filter.after < Some(next) => filter.after = Some(next),
                _ => return Ok(all),
            }
        }
    }

    /// One model; without a version, the newest.
    ///
    /// # Errors
    /// `not_found` or `unknown_model` where there is none; else those of a query.
    pub async fn model(&self, model: ModelRef) -> Result<ModelEntry, Error> {
        self.client.ask(self.id, "model", (model,)).await
    }

    /// A page of models.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn models(&self, filter: ModelFilter) -> Result<ModelPage, Error> {
        self.client.ask(self.id, "models", (filter,)).await
    }

    /// Every model that the filter holds, page by page.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn all_models(&self, mut filter: ModelFilter) -> Result<Vec<ModelEntry>, Error> {
        let mut all = vec![];
        loop {
            let page = self.models(filter.clone()).await?;
            all.extend(page.models);
            match page.next {
                // A page that does not move on would be asked for again for ever.
                Some(next) if page.more && filter.after.as_ref() < Some(&next) => {
                    filter.after = Some(next);
                }
                _ => return Ok(all),
            }
        }
    }

    /// What has changed since a number of the feed.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn changes_since(&self, args: ChangesArgs) -> Result<Changes, Error> {
        self.client.ask(self.id, "changes_since", (args,)).await
    }

    /// Registers the caller as a node; repeating it changes nothing.
    ///
    /// # Errors
    /// The registry's refusals; else as [`Error`] says.
    pub async fn register_node(&self, args: RegisterNode) -> Result<Node, Error> {
        self.client
            .repeatable(self.id, "register_node", (args,))
            .await
    }

    /// Changes what the calling node says of itself.
    ///
    /// # Errors
    /// `not_registered` and other refusals; else as [`Error`] says.
    pub async fn update_node(&self, args: UpdateNode) -> Result<Node, Error> {
        self.client
            .repeatable(self.id, "update_node", (args,))
            .await
    }

    /// Says that the calling node is there.
    ///
    /// # Errors
    /// `not_registered`; else as [`Error`] says.
    pub async fn heartbeat(&self) -> Result<(), Error> {
        let _: Reserved = self.client.repeatable(self.id, "heartbeat", ()).await?;
        Ok(())
    }

    /// Puts stake behind a node; the caller must have approved the registry for it (see [`crate::funding`]).
    ///
    /// # Errors
    /// The registry's refusals; [`Error::Unknown`] where the outcome cannot be learned.
    pub async fn stake(&self, args: StakeArgs) -> Result<Node, Error> {
        self.client
            .once(self.id, "stake", (args,), LOOK_AT_STAKE)
            .await
    }

    /// Takes stake out; it can be withdrawn after the unbonding time, which begins when the escrow has acknowledged.
    ///
    /// # Errors
    /// The registry's refusals; [`Error::Unknown`] where the outcome cannot be learned.
    pub async fn unstake(&self, args: UnstakeArgs) -> Result<Node, Error> {
        self.client
            .once(self.id, "unstake", (args,), LOOK_AT_STAKE)
            .await
    }

    /// Pays out what has unbonded: one entry by its number, or the oldest that is ready.
    ///
    /// # Errors
    /// The registry's refusals; [`Error::Unknown`] where the outcome cannot be learned.
    pub async fn withdraw_unbonded(
        &self,
        node: Principal,
        id: Option<u64>,
    ) -> Result<Tokens, Error> {
        self.client
            .once(self.id, "withdraw_unbonded", (node, id), LOOK_AT_STAKE)
            .await
    }

    /// Publishes a model or a new version of it.
    ///
    /// # Errors
    /// The registry's refusals; [`Error::Unknown`] where the outcome cannot be learned (`model` shows the versions).
    pub async fn publish_model(&self, args: PublishModel) -> Result<ModelEntry, Error> {
        let look_at = "`emc model list` shows the versions that exist.";
        self.client
            .once(self.id, "publish_model", (args,), look_at)
            .await
    }

    /// Lists a model; the governor's.
    ///
    /// # Errors
    /// `forbidden` for anybody else; else as [`Error`] says.
    pub async fn list_model(&self, model: ModelRef) -> Result<ModelEntry, Error> {
        self.client
            .repeatable(self.id, "list_model", (model,))
            .await
    }

    /// Withdraws a model: no new jobs. Its author's and the governor's.
    ///
    /// # Errors
    /// `forbidden` for anybody else; else as [`Error`] says.
    pub async fn retire_model(&self, model: ModelRef) -> Result<ModelEntry, Error> {
        self.client
            .repeatable(self.id, "retire_model", (model,))
            .await
    }

    /// Announces other terms for a model, which take effect after the public delay; the governor's.
    ///
    /// # Errors
    /// `forbidden` for anybody else, `invalid`; else as [`Error`] says.
    pub async fn set_model_terms(
        &self,
        model: ModelRef,
        terms: ModelTerms,
    ) -> Result<ModelEntry, Error> {
        self.client
            .repeatable(self.id, "set_model_terms", (model, terms))
            .await
    }

    /// Frees a jailed node after its time; its owner's.
    ///
    /// # Errors
    /// `wrong_state` before its time, `insufficient_funds` without the least stake; else as [`Error`] says.
    pub async fn unjail(&self, node: Principal) -> Result<Node, Error> {
        self.client.repeatable(self.id, "unjail", (node,)).await
    }

    /// Sends a report as the calling escrow; repeating it changes nothing.
    ///
    /// # Errors
    /// `gap` where an earlier one is missing, `not_registered` where the caller is no escrow with stake in it; else as
    /// [`Error`] says.
    pub async fn report(&self, report: Report) -> Result<ReportReply, Error> {
        self.client.repeatable(self.id, "report", (report,)).await
    }

    /// Announces a change of parameters, which takes effect after the public delay; the governor's.
    ///
    /// # Errors
    /// `forbidden` for anybody else, `invalid`; else as [`Error`] says.
    pub async fn set_parameters(&self, change: RegistryParameters) -> Result<RegistryInfo, Error> {
        self.client
            .repeatable(self.id, "set_parameters", (change,))
            .await
    }

    /// Withdraws the pending change of parameters; the governor's.
    ///
    /// # Errors
    /// `forbidden` for anybody else, `wrong_state` where nothing is pending; [`Error::Unknown`] where the outcome cannot
    /// be learned.
    pub async fn cancel_parameters(&self) -> Result<RegistryInfo, Error> {
        let look_at = "`emc parameters show` shows what is pending.";
        self.client
            .once(self.id, "cancel_parameters", (), look_at)
            .await
    }

    /// A page of the log of parameters, from a number on.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn parameter_log(&self, start: u64, limit: u32) -> Result<ParameterLog, Error> {
        self.client
            .query(self.id, "parameter_log", (start, limit))
            .await
    }

    /// The whole log of parameters, page by page.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn whole_parameter_log(&self) -> Result<Vec<ParameterEvent>, Error> {
        let mut all: Vec<ParameterEvent> = vec![];
        loop {
            let page = self
                .parameter_log(all.len() as u64, emc_protocol::limits::PAGE)
                .await?;
            let (empty, length) = (page.events.is_empty(), page.length);
            all.extend(page.events);
            if empty || all.len() as u64 >= length {
                return Ok(all);
            }
        }
    }

    /// Where mining stands.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn mining_status(&self) -> Result<MiningStatus, Error> {
        self.client.query(self.id, "mining_status", ()).await
    }

    /// A page of epochs whose shares were computed, from one on, oldest first.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn mining_history(&self, start: u64, limit: u32) -> Result<Vec<EpochSummary>, Error> {
        self.client
            .query(self.id, "mining_history", (start, limit))
            .await
    }

    /// A page of what a node got, newest first, before an epoch where one is given.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn mining_of(
        &self,
        node: Principal,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<NodeEpoch>, Error> {
        self.client
            .query(self.id, "mining_of", (node, before, limit))
            .await
    }

    /// What an owner's nodes have earned by mining and can be withdrawn.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn mining_earnings(&self, owner: Principal) -> Result<Tokens, Error> {
        self.client
            .query(self.id, "mining_earnings", (owner,))
            .await
    }

    /// Pays the caller so much of what its nodes have earned by mining, or everything; what has arrived.
    ///
    /// # Errors
    /// The registry's refusals; [`Error::Unknown`] where the outcome cannot be learned.
    pub async fn withdraw_mining(&self, amount: Option<Tokens>) -> Result<Tokens, Error> {
        let look_at = "`emc mining status` shows what you can withdraw, `emc balance` your EMC.";
        self.client
            .once(self.id, "withdraw_mining", (amount,), look_at)
            .await
    }

    /// The account in the ledger that is the mining pool.
    pub fn mining_pool(&self) -> Account {
        Account {
            owner: self.id,
            subaccount: Some(POOL_SUBACCOUNT),
        }
    }
}
