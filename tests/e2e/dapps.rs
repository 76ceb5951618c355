//! Dapps: one that uses the crate `ic-llm` unmodified through the adapter, one that is called back by the escrow.

use anyhow::{Context, Result, ensure};
use candid::utils::ArgumentEncoder;
use candid::{CandidType, Encode, Principal};
use candid_parser::utils::CandidSource;
use emc_devnet::market::until;
use emc_devnet::{HandNode, Person};
use emc_protocol::account::{Delegate, SetDelegate};
use emc_protocol::job::{ChatRole, JobDone, RefundReason};
use emc_protocol::llm::{LlmChange, LlmInfo, LlmModel, LlmSettings, LlmUpgrade};
use emc_protocol::{
    AccountView, ApiError, Job, JobId, JobInput, JobState, Lease, Seconds, Tokens, error::code,
};
use emc_tests::Scene;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Duration;

/// A request of `v0_chat`.
const QUESTION: &str = r#"(record {
    model = "llama3.1:8b"; messages = vec { record { role = variant { user }; content = "Who is there?" } } })"#;

/// What `v1_chat` answers, as far as these tests look at it.
#[derive(CandidType, Deserialize)]
struct ResponseV1 {
    message: MessageV1,
}

#[derive(CandidType, Deserialize)]
struct MessageV1 {
    content: Option<String>,
}

/// What the callback dapp answers.
#[derive(CandidType, Deserialize, Debug, PartialEq, Eq)]
enum Answer {
    Waiting,
    Done { text: String, charged: Tokens },
    Failed(String),
}

/// A scene with the adapter in it, for which "llama3.1:8b" is the scene's model.
struct Stage {
    scene: Scene,
    llm: Principal,
}

impl Stage {
    async fn set(seed: u64, settings: Option<LlmSettings>) -> Result<Self> {
        let scene = Scene::set(seed).await?;
        let models = vec![LlmModel {
            name: "llama3.1:8b".into(),
            model: scene.model.clone(),
            max_price: None,
        }];
        let llm = scene.market.deploy_llm(models, settings).await?;
        Ok(Self { scene, llm })
    }

    /// Calls any method of any canister; the error has the text of the reject.
    async fn call<T: CandidType + DeserializeOwned>(
        &self,
        person: &Person,
        canister: Principal,
        method: &str,
        arguments: impl ArgumentEncoder,
    ) -> Result<T> {
        let bytes = candid::encode_args(arguments)?;
        self.call_with(person, canister, method, bytes).await
    }

    async fn call_with<T: CandidType + DeserializeOwned>(
        &self,
        person: &Person,
        canister: Principal,
        method: &str,
        bytes: Vec<u8>,
    ) -> Result<T> {
        let client = self.scene.market.client(person);
        let call = client.agent().update(&canister, method).with_arg(bytes);
        Ok(candid::decode_one(&call.call_and_wait().await?)?)
    }

    /// Asks the adapter as DFINITY's interface says, with an argument as text.
    async fn chat<T: CandidType + DeserializeOwned>(
        &self,
        person: &Person,
        method: &str,
        argument: &str,
    ) -> Result<T> {
        let did = concat!(env!("CARGO_MANIFEST_DIR"), "/data/candid/llm.did");
        let (env, service) = CandidSource::File(Path::new(did)).load()?;
        let service = service.context("llm.did has a service")?;
        let types = &env.get_method(&service, method)?.args;
        let bytes = candid_parser::parse_idl_args(argument)?.to_bytes_with_types(&env, types)?;
        self.call_with(person, self.llm, method, bytes).await
    }

    /// The example with `ic-llm`, not yet set up.
    async fn chat_dapp(&self) -> Result<Principal> {
        #[derive(CandidType)]
        struct Canisters {
            escrow: Principal,
            llm: Principal,
        }
        let canisters = Canisters {
            escrow: self.scene.market.ids.escrow,
            llm: self.llm,
        };
        let argument = Encode!(&Some(canisters))?;
        self.scene.market.deploy("chat-dapp", argument).await
    }

    /// The example that is called back.
    async fn callback_dapp(&self) -> Result<Principal> {
        let argument = Encode!(&self.callback_settings())?;
        self.scene.market.deploy("callback-dapp", argument).await
    }

    fn callback_settings(&self) -> CallbackSettings {
        CallbackSettings {
            escrow: Some(self.scene.market.ids.escrow),
            model: self.scene.model.id.clone(),
            max_price: emc_tests::MAX_PRICE,
        }
    }

    /// Deposits for somebody, by a plain transfer from somebody else.
    async fn deposit_for(&self, beneficiary: Principal, amount: Tokens) -> Result<()> {
        let market = &self.scene.market;
        let friend = market.person_with("a friend", amount).await?;
        let client = market.client(&friend);
        let escrow = client.escrow(market.ids.escrow);
        let to = escrow.deposit_account(beneficiary).await?;
        let subaccount = to.subaccount.context("a subaccount")?;
        let to = icrc_ledger_types::icrc1::account::Account {
            owner: to.owner,
            subaccount: Some(subaccount.as_slice().try_into()?),
        };
        let transfer = icrc_ledger_types::icrc1::transfer::TransferArg {
            from_subaccount: None,
            to,
            fee: None,
            created_at_time: None,
            memo: None,
            amount: emc_client::ledger::nat(amount),
        };
        client
            .ledger(market.ids.ledger)
            .icrc1_transfer(transfer)
            .await?;
        escrow.notify_deposit(beneficiary).await?;
        self.scene.check().await
    }

    /// Lets the adapter spend somebody's balance.
    async fn delegate(&self, person: &Person, limit: Tokens) -> Result<()> {
        let permission = SetDelegate {
            delegate: self.llm,
            limit,
            expires: None,
        };
        let set: Result<(), ApiError> = self
            .call(
                person,
                self.scene.market.ids.escrow,
                "set_delegate",
                (permission,),
            )
            .await?;
        Ok(set?)
    }

    /// What the adapter may still spend of somebody's balance.
    async fn left(&self, owner: Principal) -> Result<Tokens> {
        let delegates: Vec<Delegate> = self
            .scene
            .market
            .anonymous()
            .query(self.scene.market.ids.escrow, "delegates", (owner,))
            .await?;
        let ours = delegates.iter().find(|one| one.delegate == self.llm);
        Ok(ours.context("the adapter is a delegate")?.left)
    }

    async fn account(&self, owner: Principal) -> Result<AccountView> {
        let escrow = self
            .scene
            .market
            .anonymous()
            .escrow(self.scene.market.ids.escrow);
        Ok(escrow.account(owner).await?)
    }

    /// A job as anyone sees it.
    async fn job(&self, id: JobId) -> Result<Job> {
        let escrow = self
            .scene
            .market
            .anonymous()
            .escrow(self.scene.market.ids.escrow);
        Ok(escrow.get_job(id, None).await?)
    }

    async fn info(&self) -> Result<LlmInfo> {
        let anonymous = self.scene.market.anonymous();
        Ok(anonymous.query(self.llm, "info", ()).await?)
    }

    /// Answers the next job with two tokens.
    async fn serve(&self, node: &HandNode, text: &str) -> Result<(Lease, Tokens)> {
        let lease = node.claim_one().await?;
        self.scene.check().await?;
        let delivery = node.delivery(&lease, &[4, 2], text);
        let charge = delivery.charge;
        node.deliver(delivery).await?;
        self.scene.check().await?;
        Ok((lease, charge))
    }

    /// Something that must fail with these words, and move nothing.
    async fn refused<T>(
        &self,
        words: &[&str],
        call: impl Future<Output = Result<T>>,
    ) -> Result<()> {
        let escrow = self.scene.escrow(&self.scene.alice);
        let before = escrow.totals().await?;
        let Err(error) = call.await else {
            anyhow::bail!("this should have been refused with {words:?}");
        };
        let said = format!("{error:#}");
        for word in words {
            ensure!(said.contains(word), "{word:?} is not in: {said}");
        }
        ensure!(
            escrow.totals().await? == before,
            "a refused request moved money"
        );
        self.scene.check().await
    }

    /// Waits until the adapter has submitted a job that is open.
    async fn until_submitted(&self) -> Result<JobId> {
        let escrow = self.scene.escrow(&self.scene.alice);
        until(
            Duration::from_secs(30),
            "the adapter to submit a job",
            async || {
                let info = escrow.info().await?;
                Ok((info.open == 1).then_some(info.jobs))
            },
        )
        .await
    }
}

#[derive(CandidType)]
struct CallbackSettings {
    escrow: Option<Principal>,
    model: String,
    max_price: Tokens,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dapp_with_the_unmodified_crate_is_answered_and_pays_from_its_own_account() -> Result<()>
{
    let stage = Stage::set(81, None).await?;
    let governor = &stage.scene.market.governor;
    let node = stage
        .scene
        .market
        .hand_node("node", &stage.scene.model)
        .await?;
    let dapp = stage.chat_dapp().await?;
    let ask =
        |question: &'static str| stage.call::<String>(&stage.scene.alice, dapp, "ask", (question,));
    let setup = |person, limit: Tokens| {
        let set = stage.call::<Result<(), String>>(person, dapp, "setup", (limit,));
        async move { set.await?.map_err(|why| anyhow::anyhow!(why)) }
    };

    // 1. Without an account there is nothing to be set up, and nothing to pay with.
    let limit = Tokens::e8s(300_000);
    stage.refused(&["deposit"], setup(governor, limit)).await?;
    let (adapter, payer) = (stage.llm.to_text(), dapp.to_text());
    stage
        .refused(&["set_delegate", &adapter, &payer], ask("Who pays?"))
        .await?;

    // 2. A friend deposits, the controller sets it up: nobody else can.
    stage.deposit_for(dapp, Tokens::emc(1)).await?;
    stage
        .refused(&["controllers"], setup(&stage.scene.alice, limit))
        .await?;
    setup(governor, limit).await?;
    stage.scene.check().await?;
    ensure!(stage.left(dapp).await? == limit);

    // 3. A question is answered by a node.
    let (answer, served) = tokio::join!(
        ask("What is the capital of France?"),
        stage.serve(&node, "Paris.")
    );
    let (lease, charge) = served?;
    ensure!(answer? == "Paris.");
    let Some(JobInput::Chat { messages }) = &lease.input else {
        anyhow::bail!("a chat was expected, not {:?}", lease.input);
    };
    let roles: Vec<_> = messages.iter().map(|message| message.role).collect();
    ensure!(roles == [ChatRole::System, ChatRole::User]);
    ensure!(messages[1].content == "What is the capital of France?");
    ensure!(lease.parameters.max_tokens == 1_000 && lease.parameters.temperature_milli == 700);

    // 4. The dapp has paid what was used, and not a bit more.
    let job = stage.job(lease.job_id).await?;
    ensure!(job.state == Some(JobState::Settled) && job.charged == Some(charge));
    ensure!(job.requester == dapp && job.delegate == Some(stage.llm));
    ensure!(job.private.is_none(), "others see hashes only");
    let account = stage.account(dapp).await?;
    ensure!(account.available.0 == Tokens::emc(1).0 - charge.0);
    ensure!(account.locked == Tokens::ZERO);
    ensure!(
        stage.left(dapp).await?.0 == limit.0 - charge.0,
        "what was locked and not used comes back to the limit"
    );
    ensure!(stage.account(stage.llm).await?.available == Tokens::ZERO);
    ensure!(stage.info().await?.open == 0);

    // 5. With the limit used up, it is refused; raised, it goes on.
    setup(governor, Tokens::e8s(100)).await?;
    stage
        .refused(
            &[code::NOT_DELEGATED, "raise the limit"],
            ask("Still there?"),
        )
        .await?;
    setup(governor, limit).await?;
    let (answer, served) = tokio::join!(ask("Still there?"), stage.serve(&node, "Yes."));
    served?;
    ensure!(answer? == "Yes.");
    stage.scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_served_is_refused_with_what_to_do() -> Result<()> {
    let stage = Stage::set(82, None).await?;
    let alice = &stage.scene.alice;
    stage.delegate(alice, Tokens::emc(1)).await?;
    let ask = |person, argument: &'static str| stage.chat::<String>(person, "v0_chat", argument);

    stage
        .refused(&["No node serves test/paper"], ask(alice, QUESTION))
        .await?;
    let node = stage
        .scene
        .market
        .hand_node("node", &stage.scene.model)
        .await?;
    let (answer, served) = tokio::join!(ask(alice, QUESTION), stage.serve(&node, "Me."));
    served?;
    ensure!(answer? == "Me.");

    let unknown = r#"(record { model = "qwen3:32b"; messages = vec { record { role = variant { user }; content = "Hi" } } })"#;
    stage
        .refused(
            &["no model \"qwen3:32b\"", "llama3.1:8b"],
            ask(alice, unknown),
        )
        .await?;
    let nowhere = r#"(record { model = "nowhere"; messages = vec { record { role = variant { user }; content = "Hi" } } })"#;
    stage
        .refused(&["no model \"nowhere\""], ask(alice, nowhere))
        .await?;
    let silent = r#"(record { model = "llama3.1:8b"; messages = vec {} })"#;
    stage.refused(&["at least one"], ask(alice, silent)).await?;

    // By the catalogue's own id, with the newer messages.
    let by_id = r#"(record { model = "test/paper"; tools = opt vec {}; messages = vec {
        variant { system = record { content = "Be short." } };
        variant { assistant = record { content = opt "Yes?"; tool_calls = vec {} } };
        variant { user = record { content = "Hi" } } } })"#;
    let (answer, served) = tokio::join!(
        stage.chat::<ResponseV1>(alice, "v1_chat", by_id),
        stage.serve(&node, "Hello.")
    );
    served?;
    ensure!(answer?.message.content.as_deref() == Some("Hello."));
    let tools = r#"(record { model = "llama3.1:8b";
        tools = opt vec { variant { function = record { name = "balance" } } };
        messages = vec { variant { user = record { content = "Hi" } } } })"#;
    stage
        .refused(
            &["without `tools`"],
            stage.chat::<ResponseV1>(alice, "v1_chat", tools),
        )
        .await?;

    // Somebody who has not named the adapter, and somebody who has but has nothing left.
    let bob = stage.scene.market.requester("bob", Tokens::emc(1)).await?;
    stage
        .refused(&[code::NOT_DELEGATED, "set_delegate"], ask(&bob, QUESTION))
        .await?;
    stage.delegate(&bob, Tokens::emc(1)).await?;
    let all = emc_protocol::WithdrawArgs {
        to: None,
        amount: Tokens::emc(1),
    };
    stage.scene.escrow(&bob).withdraw(all).await?;
    stage
        .refused(
            &[code::INSUFFICIENT_FUNDS, "deposit_account"],
            ask(&bob, QUESTION),
        )
        .await?;

    // The most that a name may cost.
    let entry = LlmModel {
        name: "llama3.1:8b".into(),
        model: stage.scene.model.clone(),
        max_price: Some(Tokens::e8s(1_000)),
    };
    let change = LlmChange {
        models: Some(vec![entry]),
        settings: None,
    };
    let configure = |person| {
        let change = change.clone();
        stage.call::<Result<LlmInfo, ApiError>>(person, stage.llm, "configure", (change,))
    };
    ensure!(
        configure(alice).await.is_err(),
        "only the governor configures: the filter before consensus refuses others"
    );
    configure(&stage.scene.market.governor).await??;
    stage
        .refused(&["may lock 0.00001 EMC"], ask(alice, QUESTION))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_a_bounded_time_and_its_job_is_cancelled_then() -> Result<()> {
    let settings = LlmSettings {
        max_wait: Seconds(60),
        ..LlmSettings::default()
    };
    let stage = Stage::set(83, Some(settings)).await?;
    let control = emc_tests::control!(stage.scene.market);
    let node = stage
        .scene
        .market
        .hand_node("node", &stage.scene.model)
        .await?;
    let governor = &stage.scene.market.governor;
    let dapp = stage.chat_dapp().await?;
    stage.deposit_for(dapp, Tokens::emc(1)).await?;
    let limit = Tokens::e8s(300_000);
    stage
        .call::<Result<(), String>>(governor, dapp, "setup", (limit,))
        .await?
        .map_err(|why| anyhow::anyhow!(why))?;
    let ask = || stage.call::<String>(governor, dapp, "ask", ("Anybody?",));

    // Nobody takes the job.
    let (answer, submitted) = tokio::join!(ask(), async {
        let id = stage.until_submitted().await?;
        stage.scene.check().await?;
        ensure!(stage.left(dapp).await? < limit, "what is locked counts");
        control.advance(Duration::from_secs(61)).await?;
        Ok(id)
    });
    let id = submitted?;
    let said = format!("{:#}", answer.err().context("there is no answer")?);
    ensure!(
        said.contains("within 60 s") && said.contains("cancelled"),
        "{said}"
    );
    let job = stage.job(id).await?;
    ensure!(
        job.refund_reason == Some(RefundReason::Cancelled) && job.charged == Some(Tokens::ZERO)
    );
    ensure!(stage.left(dapp).await? == limit);
    ensure!(stage.account(dapp).await?.available == Tokens::emc(1));
    stage.scene.check().await?;

    // The next one is answered.
    let (answer, served) = tokio::join!(ask(), stage.serve(&node, "Here."));
    served?;
    ensure!(answer? == "Here.");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_open_requests_the_answer_is_a_clear_refusal() -> Result<()> {
    let settings = LlmSettings {
        max_open: 1,
        ..LlmSettings::default()
    };
    let stage = Stage::set(84, Some(settings)).await?;
    let node = stage
        .scene
        .market
        .hand_node("node", &stage.scene.model)
        .await?;
    let alice = &stage.scene.alice;
    let bob = stage.scene.market.requester("bob", Tokens::emc(1)).await?;
    stage.delegate(alice, Tokens::emc(1)).await?;
    stage.delegate(&bob, Tokens::emc(1)).await?;
    let (first, second) = tokio::join!(stage.chat::<String>(alice, "v0_chat", QUESTION), async {
        stage.until_submitted().await?;
        ensure!(stage.info().await?.open == 1);
        stage
            .refused(
                &["1 requests wait", "try again later"],
                stage.chat::<String>(&bob, "v0_chat", QUESTION),
            )
            .await?;
        stage.serve(&node, "First.").await
    });
    second?;
    ensure!(first? == "First.");
    let (answer, served) = tokio::join!(
        stage.chat::<String>(&bob, "v0_chat", QUESTION),
        stage.serve(&node, "Second.")
    );
    served?;
    ensure!(answer? == "Second.");
    stage.scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_of_the_adapter_need_not_wait_for_open_requests() -> Result<()> {
    let stage = Stage::set(85, None).await?;
    let node = stage
        .scene
        .market
        .hand_node("node", &stage.scene.model)
        .await?;
    let alice = &stage.scene.alice;
    stage.delegate(alice, Tokens::emc(1)).await?;
    let before = stage.info().await?;
    let started = std::time::Instant::now();
    let (answer, upgraded) =
        tokio::join!(stage.chat::<String>(alice, "v0_chat", QUESTION), async {
            let id = stage.until_submitted().await?;
            let nothing = emc_protocol::llm::LlmArgs::Upgrade(LlmUpgrade::default());
            let argument = Encode!(&nothing)?;
            stage
                .scene
                .market
                .upgrade(stage.llm, "llm", argument)
                .await?;
            Ok::<_, anyhow::Error>(id)
        });
    let id = upgraded?;
    let said = format!("{:#}", answer.err().context("there is no answer")?);
    ensure!(said.contains("being upgraded"), "{said}");
    ensure!(started.elapsed() < Duration::from_secs(60));
    ensure!(stage.job(id).await?.refund_reason == Some(RefundReason::Cancelled));
    stage.scene.check().await?;
    ensure!(stage.info().await? == before, "an upgrade keeps everything");
    let (answer, served) = tokio::join!(
        stage.chat::<String>(alice, "v0_chat", QUESTION),
        stage.serve(&node, "Still here.")
    );
    served?;
    ensure!(answer? == "Still here.");
    stage.scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dapp_is_called_back_and_keeps_the_answer() -> Result<()> {
    let stage = Stage::set(86, None).await?;
    let control = emc_tests::control!(stage.scene.market);
    let alice = &stage.scene.alice;
    let dapp = stage.callback_dapp().await?;
    let ask = |question: &'static str| {
        let asked = stage.call::<Result<JobId, String>>(alice, dapp, "ask", (question,));
        async move { asked.await?.map_err(|why| anyhow::anyhow!(why)) }
    };
    let answer = async |job: JobId| -> Result<Option<Answer>> {
        let anonymous = stage.scene.market.anonymous();
        Ok(anonymous.query(dapp, "answer", (job,)).await?)
    };
    let until_answered = async |job: JobId| {
        until(
            Duration::from_secs(60),
            "the callback's answer",
            async || {
                Ok(answer(job)
                    .await?
                    .filter(|answer| *answer != Answer::Waiting))
            },
        )
        .await
    };

    // 1. No node, and then no balance.
    stage.refused(&[code::UNSERVED], ask("Anybody?")).await?;
    let node = stage
        .scene
        .market
        .hand_node("node", &stage.scene.model)
        .await?;
    stage
        .refused(&[code::INSUFFICIENT_FUNDS], ask("Who pays?"))
        .await?;
    stage.deposit_for(dapp, Tokens::emc(1)).await?;

    // 2. Asked, answered, called back.
    let job = ask("What is the capital of France?").await?;
    stage.scene.check().await?;
    ensure!(answer(job).await? == Some(Answer::Waiting));
    ensure!(answer(job + 1).await?.is_none(), "no such question");
    let (lease, charged) = stage.serve(&node, "Paris.").await?;
    ensure!(lease.job_id == job);
    let done = Answer::Done {
        text: "Paris.".into(),
        charged,
    };
    ensure!(until_answered(job).await? == done);
    ensure!(stage.account(dapp).await?.available.0 == Tokens::emc(1).0 - charged.0);

    // 3. Nobody but the escrow is believed.
    let second = ask("And of Spain?").await?;
    let forged = JobDone {
        job_id: second,
        state: Some(JobState::Settled),
        charged: Tokens::ZERO,
    };
    stage
        .refused(
            &["Only the escrow"],
            stage.call::<()>(alice, dapp, "emc_job_done", (forged,)),
        )
        .await?;
    ensure!(answer(second).await? == Some(Answer::Waiting));

    // 4. A callback that finds the dapp stopped is lost for now: the dapp can ask by itself.
    let deployer = stage.scene.market.deployer();
    deployer.stop(dapp).await?;
    let (_, charged) = stage.serve(&node, "Madrid.").await?;
    deployer.start(dapp).await?;
    let fetch = |job: JobId| stage.call::<Result<Answer, String>>(alice, dapp, "fetch", (job,));
    let done = Answer::Done {
        text: "Madrid.".into(),
        charged,
    };
    ensure!(fetch(second).await? == Ok(done));
    ensure!(fetch(999).await?.is_err(), "not this dapp's");
    stage.scene.check().await?;

    // 5. A job that nobody takes ends, and the dapp hears of it. Short steps: a long one would count as an outage.
    let third = ask("And of Portugal?").await?;
    for _ in 0..4 {
        control.advance(Duration::from_secs(200)).await?;
        stage.scene.check().await?;
    }
    let Answer::Failed(why) = until_answered(third).await? else {
        anyhow::bail!("nobody has answered");
    };
    ensure!(why.contains("Deadline"), "{why}");
    ensure!(stage.account(dapp).await?.locked == Tokens::ZERO);

    // 6. An upgrade keeps the answers.
    let argument = Encode!(&stage.callback_settings())?;
    stage
        .scene
        .market
        .upgrade(dapp, "callback-dapp", argument)
        .await?;
    ensure!(matches!(answer(job).await?, Some(Answer::Done { .. })));
    stage.scene.check().await
}

#[test]
fn the_code_that_the_documentation_shows_is_the_examples() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| {
        std::fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"))
    };
    let lines = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let examples = [
        lines(&read("examples/chat-dapp/src/lib.rs")?),
        lines(&read("examples/callback-dapp/src/lib.rs")?),
    ];
    let page = read("docs/dapps.md")?;
    let (_, ours) = page.split_once("## With `ic-llm`").context("the section")?;
    let (ours, _) = ours
        .split_once("## A job, from anywhere")
        .context("the next section")?;
    let readme = read("README.md")?;
    let mut found = 0;
    for text in [ours, &readme] {
        for block in text.split("```rust").skip(1) {
            let (_, code) = block.split_once('\n').context("a block of code")?;
            let (code, _) = code.split_once("```").context("its end")?;
            found += 1;
            ensure!(
                examples
                    .iter()
                    .any(|example| example.contains(&lines(code))),
                "no example has this code:\n{code}"
            );
        }
    }
    ensure!(found >= 5, "{found} blocks of code");
    Ok(())
}
