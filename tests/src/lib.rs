//! What every end-to-end test begins with: a market with a model, a requester, and one way to ask for an answer.
//!
//! A test that needs more than the Internet Computer's interface (time travel, faults) begins with [`control!`]; on a
//! network that has none it says that it is skipped. On the embedded network none may be.

pub mod programs;

use anyhow::{Result, ensure};
use emc_client::{Client, Escrow};
use emc_devnet::{Market, Person};
use emc_protocol::job::{ChatMessage, ChatRole, IfUnserved};
use emc_protocol::model::{ModelFile, PublishModel, Task};
use emc_protocol::{
    Job, JobId, JobInput, JobState, ModelRef, Parameters, SubmitJob, SubmitReply, Tokens,
};
use std::future::Future;

/// The market's control interface, or the end of the test where the network has none.
#[macro_export]
macro_rules! control {
    ($market:expr) => {
        match $market.network.control() {
            Some(control) => control.clone(),
            None => {
                println!("skipped: this network has no time travel and no faults");
                return Ok(());
            }
        }
    };
}

/// The least a test's jobs may cost; more than enough for what they ask.
pub const MAX_PRICE: Tokens = Tokens::e8s(1_000_000);

/// A market with one model in its catalogue and one requester with EMC in the escrow.
pub struct Scene {
    /// The market.
    pub market: Market,
    /// The model.
    pub model: ModelRef,
    /// The requester.
    pub alice: Person,
}

impl Scene {
    /// Sets the scene; `seed` makes its network's order of messages.
    ///
    /// # Errors
    /// If the market cannot be deployed.
    pub async fn set(seed: u64) -> Result<Self> {
        Self::on(Market::start(seed).await?).await
    }

    /// Sets the scene on a market with other settings.
    ///
    /// # Errors
    /// If the model is refused or the deposit fails.
    pub async fn on(market: Market) -> Result<Self> {
        Self::with_model(market, paper_model()).await
    }

    /// Sets the scene on a market with a model of the test's own.
    ///
    /// # Errors
    /// As [`Scene::on`].
    pub async fn with_model(market: Market, model: PublishModel) -> Result<Self> {
        let entry = market.publish(model).await?;
        let alice = market.requester("alice", Tokens::emc(10)).await?;
        let model = ModelRef {
            id: entry.id,
            version: Some(entry.version),
        };
        let scene = Self {
            market,
            model,
            alice,
        };
        scene.check().await?;
        Ok(scene)
    }

    /// The escrow, called as somebody.
    pub fn escrow(&self, person: &Person) -> Escrow {
        self.market.client(person).escrow(self.market.ids.escrow)
    }

    /// The requester's connection.
    pub fn alice(&self) -> Client {
        self.market.client(&self.alice)
    }

    /// A question as a job.
    pub fn question(&self, text: &str) -> SubmitJob {
        let messages = vec![ChatMessage {
            role: ChatRole::User,
            content: text.to_owned(),
        }];
        SubmitJob {
            model: self.model.clone(),
            input: JobInput::Chat { messages },
            parameters: Parameters::greedy(16),
            max_price: MAX_PRICE,
            deadline: None,
            if_unserved: Some(IfUnserved::Queue),
            request_key: None,
            seed: None,
            salt: None,
            visibility: None,
            assurance: None,
            payer: None,
            notify: None,
        }
    }

    /// Submits a question as the requester.
    ///
    /// # Errors
    /// The escrow's refusals.
    pub async fn ask(&self, text: &str) -> Result<SubmitReply> {
        Ok(self
            .escrow(&self.alice)
            .submit_job(self.question(text))
            .await?)
    }

    /// A job as its requester sees it.
    ///
    /// # Errors
    /// The escrow's refusals.
    pub async fn job(&self, id: JobId) -> Result<Job> {
        Ok(self.escrow(&self.alice).get_job(id, None).await?)
    }

    /// What somebody has available in the escrow.
    ///
    /// # Errors
    /// If the query fails.
    pub async fn available(&self, person: &Person) -> Result<Tokens> {
        Ok(self
            .escrow(person)
            .account(person.principal())
            .await?
            .available)
    }

    /// What somebody has in the ledger.
    ///
    /// # Errors
    /// If the query fails.
    pub async fn in_ledger(&self, person: &Person) -> Result<Tokens> {
        Ok(self
            .market
            .client(person)
            .ledger(self.market.ids.ledger)
            .balance(person.principal())
            .await?)
    }

    /// Checks conservation.
    ///
    /// # Errors
    /// What does not add up.
    pub async fn check(&self) -> Result<()> {
        self.market.check_conservation().await
    }

    /// Checks that a job is in a state.
    ///
    /// # Errors
    /// The state it is in.
    pub async fn expect_state(&self, id: JobId, state: JobState) -> Result<Job> {
        let job = self.job(id).await?;
        ensure!(
            job.state == Some(state),
            "job {id} is {:?}, it should be {state:?}",
            job.state
        );
        Ok(job)
    }

    /// Does something that must be refused with `code`, and checks that no balance has moved by it.
    ///
    /// # Errors
    /// If it is not refused, or with another code, or something moved.
    pub async fn refused<T>(
        &self,
        code: &str,
        call: impl Future<Output = Result<T, emc_client::Error>>,
    ) -> Result<()> {
        let escrow = self.escrow(&self.alice);
        let before = escrow.totals().await?;
        match call.await {
            Ok(_) => anyhow::bail!("this should have been refused with {code}"),
            Err(error) => ensure!(
                error.is_code(code),
                "this should have been refused with {code}, not: {error}"
            ),
        }
        ensure!(
            escrow.totals().await? == before,
            "a refused call moved money"
        );
        self.check().await
    }
}

/// A model that exists on paper only: for tests whose node is played by hand.
pub fn paper_model() -> PublishModel {
    PublishModel {
        id: "test/paper".into(),
        task: Task::Chat,
        name: "Paper".into(),
        description: "A model for tests whose node is played by hand.".into(),
        files: vec![ModelFile {
            path: "paper.gguf".into(),
            length: 1,
            sha256: vec![7; 32],
        }],
        licence: "CC0-1.0".into(),
        sources: vec![],
        context: 65_536,
        memory: 1,
        terms: None,
    }
}
