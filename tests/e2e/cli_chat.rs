//! The `emc` command and jobs: asked, answered, shown, verified, refused, given up.

use anyhow::{Context, Result, ensure};
use emc_devnet::market::until;
use emc_devnet::node::HandNode;
use emc_protocol::job::ChatRole;
use emc_protocol::{JobInput, JobState, Tokens};
use emc_tests::Scene;
use emc_tests::programs::{Home, Ran};
use serde_json::Value;
use std::io::Write;
use std::time::Duration;

/// What the node says to a question.
fn answer(question: &str) -> String {
    format!("You said: {question}")
}

/// A node that answers every job at once, until the test ends.
async fn answering_node(scene: &Scene) -> Result<(candid::Principal, tokio::task::JoinSet<()>)> {
    let node = scene.market.hand_node("node", &scene.model).await?;
    let id = node.node.principal();
    let mut working = tokio::task::JoinSet::new();
    working.spawn(async move {
        loop {
            // A failure shows as a job that is not answered.
            if let Err(error) = answer_all(&node).await {
                println!("the node failed: {error}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    Ok((id, working))
}

async fn answer_all(node: &HandNode) -> Result<(), emc_client::Error> {
    for lease in node.claim(8).await? {
        let question = match &lease.input {
            Some(JobInput::Chat { messages }) => messages
                .iter()
                .rfind(|message| message.role == ChatRole::User)
                .map_or("", |message| &message.content),
            _ => "",
        };
        let args = node.delivery(&lease, &[1, 2, 3], &answer(question));
        node.deliver(args).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_asked_is_listed_quoted_asked_and_shown() -> Result<()> {
    let scene = Scene::set(75).await?;
    let (node, _working) = answering_node(&scene).await?;
    let node = node.to_text();
    let home = Home::with_key(&scene.market, &scene.alice).await?;

    let models = home.emc(&["model", "list"]).await?.done()?;
    models.says(&["test/paper@1", "chat", "CC0-1.0"])?;
    let model = home.emc(&["model", "show", "test/paper", "--json"]).await?;
    let model = model.done()?.json()?;
    ensure!(model["context"] == 65_536 && model["files"][0]["path"] == "paper.gguf");
    let nodes = home
        .emc(&["node", "list", "--model", "test/paper@1"])
        .await?;
    nodes
        .done()?
        .says(&[&node, "active", "100", "test/paper@1"])?;
    let nodes = home
        .emc(&["node", "list", "--model", "other", "--json"])
        .await?;
    ensure!(nodes.done()?.json()? == serde_json::json!([]));
    let shown = home.emc(&["node", "show", &node]).await?.done()?;
    shown.says(&[&node, "hand", "1 / 2", "8192", "100 EMC", "allotted"])?;

    let quote = home
        .emc(&["quote", "--json", "What is two and two?"])
        .await?;
    let quote = quote.done()?.json()?;
    ensure!(quote["nodes"] == 1 && quote["owners"] == 1, "{quote}");
    let price: Tokens = text(&quote["highest_max_price"])?.parse()?;
    home.emc(&["quote", "hi"])
        .await?
        .done()?
        .says(&["1 of 1 owners", "1 / 2"])?;

    // Plain: the answer alone on standard output, everything else beside it.
    let before = scene.available(&scene.alice).await?;
    let said = home
        .emc(&["chat", "What is", "two and two?"])
        .await?
        .done()?;
    ensure!(
        said.stdout() == "You said: What is two and two?\n",
        "{said}"
    );
    let said = said.says(&[
        "can be read by every node",
        "5 + 3 tokens",
        "receipt verified",
    ])?;
    ensure!(said.stderr().contains("[job 1 · test/paper@1"), "{said}");
    scene.check().await?;
    let quiet = home.emc(&["chat", "-q", "Hush."]).await?.done()?;
    ensure!(
        quiet.stdout() == "You said: Hush.\n" && quiet.stderr().is_empty(),
        "{quiet}"
    );

    // JSON: everything that a program may want to know.
    let asked = [
        "chat",
        "--json",
        "--seed",
        "7",
        "--system",
        "Be kind.",
        "And three?",
    ];
    let job = home.emc(&asked).await?.done()?.json()?;
    ensure!(
        job["id"] == 3 && job["state"] == "settled" && job["seed"] == "7",
        "{job}"
    );
    ensure!(job["output"]["text"] == "You said: And three?", "{job}");
    ensure!(
        job["verified"]["holds"] == true && job["attempts"][0]["node"] == node,
        "{job}"
    );
    let charged: Tokens = text(&job["charged"])?.parse()?;
    let unspent: Tokens = text(&job["unspent"])?.parse()?;
    ensure!(
        charged == Tokens::e8s(1_100),
        "5 prompt and 3 output tokens: {charged}"
    );
    ensure!(unspent.0 + charged.0 == text(&job["locked"])?.parse::<Tokens>()?.0);
    ensure!(price.0 > charged.0, "the quote is an upper bound: {price}");
    let after = scene.available(&scene.alice).await?;
    ensure!(before.0 - after.0 == 3 * charged.0, "three equal answers");
    scene.check().await?;

    let list = home.emc(&["job", "list", "--json"]).await?.done()?.json()?;
    let ids: Vec<_> = list["jobs"].as_array().context("jobs")?.iter().collect();
    ensure!(
        ids.len() == 3 && ids[0]["id"] == 3 && ids[2]["id"] == 1,
        "newest first: {list}"
    );
    let one = home.emc(&["job", "list", "--limit", "1"]).await?.done()?;
    one.says(&["settled", "emc job list --before 3"])?;
    let none = home
        .emc(&["job", "list", "--state", "open", "--json"])
        .await?;
    ensure!(none.done()?.json()?["jobs"] == serde_json::json!([]));
    let shown = home.emc(&["job", "show", "3"]).await?.done()?;
    shown.says(&[
        "settled",
        "delivered",
        &node,
        "treasury",
        "You said: And three?",
    ])?;
    let result = home.emc(&["job", "result", "3"]).await?.done()?;
    ensure!(result.stdout() == "You said: And three?\n");

    // A stranger sees that it happened and what it cost, and the bearer of the capability what was said.
    let stranger = Home::of(&scene.market)?;
    let shown = stranger.emc(&["job", "show", "3"]).await?.done()?;
    ensure!(!shown.stdout().contains("You said"), "{shown}");
    let result = ["job", "result", "3"];
    stranger
        .emc(&result)
        .await?
        .refuses(&["not yours to read", "--capability"])?;
    let bearer = [
        "job",
        "result",
        "3",
        "--capability",
        text(&job["capability"])?,
    ];
    ensure!(stranger.emc(&bearer).await?.done()?.stdout() == "You said: And three?\n");
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_holds_offline_and_a_changed_one_does_not() -> Result<()> {
    let scene = Scene::set(76).await?;
    let (_, _working) = answering_node(&scene).await?;
    let home = Home::with_key(&scene.market, &scene.alice).await?;
    // The prompt through standard input, the conversation in a file.
    let asked = ["--history", "talk.json", "--receipt", "r.json"];
    let begun = [&["chat", "--network", home.url()][..], &asked].concat();
    let mut command = home.command("emc", &begun)?;
    let (reader, mut writer) = std::io::pipe()?;
    command.stdin(reader);
    let running = emc_tests::programs::Running::start(command)?;
    writer.write_all(b"Remember the number four.\n")?;
    drop(writer);
    let said = running.end(Duration::from_secs(60)).await?.done()?;
    ensure!(
        said.stdout() == "You said: Remember the number four.\n",
        "{said}"
    );
    let follow_up = ["chat", "--history", "talk.json", "--json", "Which number?"];
    let job = home.emc(&follow_up).await?.done()?.json()?;
    let talk: Value = serde_json::from_slice(&std::fs::read(home.path("talk.json"))?)?;
    let roles: Vec<_> = talk["messages"]
        .as_array()
        .context("messages")?
        .iter()
        .collect();
    ensure!(
        roles.len() == 4 && roles[3]["content"] == "You said: Which number?",
        "{talk}"
    );
    ensure!(talk["model"] == "test/paper" && job["id"] == 2, "{talk}");
    scene.check().await?;

    // Offline: no network is asked, nor is there a key.
    let verify = async |file: &str, more: &[&str]| -> Result<Ran> {
        let arguments = [&["verify", file][..], more].concat();
        let command = home.command("emc", &arguments)?;
        emc_tests::programs::Running::start(command)?
            .end(Duration::from_secs(60))
            .await
    };
    let holds = verify("r.json", &[]).await?.done()?;
    let holds = holds.says(&[
        "The receipt of job 1",
        "holds",
        "signature",
        "input",
        "output",
    ])?;
    ensure!(
        !holds.stdout().contains("skipped"),
        "it has all that can be checked: {holds}"
    );
    home.emc(&["verify", "r.json", "--online"])
        .await?
        .done()?
        .says(&["this very receipt"])?;
    let by_number = home.emc(&["verify", "2", "--json"]).await?.done()?.json()?;
    ensure!(
        by_number["holds"] == true && by_number["job"] == 2,
        "{by_number}"
    );
    let open = scene.ask("Not settled").await?;
    drop(open);

    let whole = std::fs::read_to_string(home.path("r.json"))?;
    let changes: [(&str, &[&str], Value, &[&str]); 5] = [
        (
            "the answer",
            &["output", "text"],
            "Five.".into(),
            &["does not hold: output"],
        ),
        (
            "the charge",
            &["receipt", "charge"],
            "1".into(),
            &["does not hold: signature"],
        ),
        (
            "the job",
            &["receipt", "job_id"],
            "2".into(),
            &["signature"],
        ),
        ("the seed", &["receipt", "seed"], "1".into(), &["signature"]),
        (
            "the salt",
            &["salt"],
            "00".repeat(32).into(),
            &["input", "output"],
        ),
    ];
    for (what, path, value, failing) in changes {
        let mut receipt: Value = serde_json::from_str(&whole)?;
        let mut place = &mut receipt;
        for key in path {
            place = place
                .get_mut(*key)
                .with_context(|| format!("no {key}: {whole}"))?;
        }
        ensure!(*place != value, "{what} has this value already");
        *place = value;
        std::fs::write(home.path("changed.json"), receipt.to_string())?;
        let failed = verify("changed.json", &[])
            .await?
            .refuses(failing)
            .context(what)?;
        ensure!(failed.stdout().contains("FAILS"), "{failed}");
    }
    std::fs::write(home.path("changed.json"), &whole[..whole.len() / 2])?;
    verify("changed.json", &[])
        .await?
        .refuses(&["not a receipt file"])?;

    // What is given to others holds no secrets, unless that is said.
    let got = ["receipt", "get", "2", "-o", "got.json"];
    home.emc(&got).await?.done()?;
    let holds = verify("got.json", &[]).await?.done()?;
    ensure!(holds.stdout().contains("skipped"), "{holds}");
    ensure!(!std::fs::read_to_string(home.path("got.json"))?.contains("Which number"));
    let shown = home.emc(&["receipt", "show", "got.json"]).await?.done()?;
    shown.says(&["5 prompt and 3 output tokens", "0.000011 EMC"])?;
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_is_refused_with_advice_and_costs_nothing() -> Result<()> {
    let scene = Scene::set(77).await?;
    let home = Home::with_key(&scene.market, &scene.alice).await?;
    let before = scene.escrow(&scene.alice).totals().await?;
    let refused = async |arguments: &[&str], parts: &[&str]| -> Result<()> {
        let ran = home.emc(arguments).await?.refuses(parts)?;
        ensure!(ran.stdout().is_empty(), "{ran}");
        let now = scene.escrow(&scene.alice).totals().await?;
        ensure!(now == before, "a refused command moved money: {ran}");
        scene.check().await
    };
    // Nobody serves the model.
    let unserved = ["no live node serves test/paper", "--queue"];
    refused(&["chat", "hello"], &unserved).await?;
    refused(&["chat", "--json", "hello"], &unserved).await?;
    refused(&["chat", "--queue", "hello"], &["--max-price"]).await?;
    let priced = ["chat", "--max-price", "1", "hello"];
    refused(&priced, &["No live node serves this model", "--queue"]).await?;
    let node = scene.market.hand_node("node", &scene.model).await?;
    let stake = scene.escrow(&scene.alice).totals().await?;
    ensure!(stake == before, "stake is the registry's");

    // Somebody does, for more.
    let low = ["chat", "--max-price", "0.00000001", "hello"];
    refused(&low, &["cheapest would take it for", "--max-price"]).await?;
    let long = ["chat", "--max-tokens", "9000", "--max-price", "1", "hello"];
    refused(&long, &["so long a prompt and output"]).await?;
    let unknown = ["chat", "--model", "nobody/knows", "hello"];
    refused(&unknown, &["nobody/knows", "emc model list"]).await?;
    let unknown = ["quote", "--model", "test/paper@2", "hello"];
    refused(&unknown, &["emc model list"]).await?;
    refused(
        &["chat", "--max-price", "11", "hello"],
        &["10 EMC", "emc deposit"],
    )
    .await?;
    refused(&["-i", "anonymous", "chat", "hello"], &["needs a key"]).await?;
    refused(&["verify", "1"], &["emc job list"]).await?;
    ensure!(node.claim(1).await?.is_empty(), "nothing was submitted");
    ensure!(scene.escrow(&scene.alice).info().await?.jobs == 0);

    // What is no command line at all has another status, as is the custom.
    let wrong = home.emc(&["chat", "--max-price", "0", "hello"]).await?;
    ensure!(wrong.code() == Some(2), "{wrong}");
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_chat_is_cancelled_interrupted_or_runs_out_of_time_and_is_refunded() -> Result<()>
{
    let scene = Scene::set(78).await?;
    let control = emc_tests::control!(scene.market);
    let home = Home::with_key(&scene.market, &scene.alice).await?;
    let before = scene.available(&scene.alice).await?;
    let asking = [
        "chat",
        "--queue",
        "--max-price",
        "0.01",
        "--deadline",
        "60",
        "Anybody?",
    ];
    let open = async |id: u64| -> Result<()> {
        let open = async || Ok(scene.job(id).await.ok().map(|job| job.state));
        let state = until(Duration::from_secs(30), "the job to be submitted", open).await?;
        ensure!(state == Some(JobState::Open), "{state:?}");
        let shown = home
            .emc(&["job", "list", "--state", "open"])
            .await?
            .done()?;
        shown.says(&["test/paper@1", "0.01"])?;
        ensure!(scene.available(&scene.alice).await?.0 == before.0 - 1_000_000);
        scene.check().await
    };
    let refunded = async |ran: Ran, parts: &[&str]| -> Result<()> {
        let ran = ran.refuses(parts)?;
        ensure!(ran.stdout().is_empty(), "{ran}");
        ensure!(scene.available(&scene.alice).await? == before);
        scene.check().await
    };
    let limit = Duration::from_secs(30);

    // 1. Cancelled from another terminal. A stranger could not have.
    let chat = home.begin_emc(&asking)?;
    open(1).await?;
    let shown = home.emc(&["job", "show", "1"]).await?.done()?;
    shown.says(&["open", "0.01 EMC"])?;
    home.emc(&["job", "result", "1"])
        .await?
        .refuses(&["not finished", "--wait"])?;
    let stranger = Home::of(&scene.market)?;
    stranger
        .emc(&["identity", "new", "mallory"])
        .await?
        .done()?;
    stranger
        .emc(&["job", "cancel", "1"])
        .await?
        .refuses(&["emc: "])?;
    let cancelled = home.emc(&["job", "cancel", "1"]).await?.done()?;
    cancelled.says(&["job 1 is cancelled", "0 EMC paid", "0.01 EMC back"])?;
    let parts = [
        "job 1 was refunded",
        "it was cancelled",
        "0.01 EMC came back",
    ];
    refunded(chat.end(limit).await?, &parts).await?;
    home.emc(&["job", "show", "1"])
        .await?
        .done()?
        .says(&["refunded: it was cancelled"])?;
    home.emc(&["job", "cancel", "1"])
        .await?
        .refuses(&["emc: "])?;

    // 2. Interrupted.
    let chat = home.begin_emc(&asking)?;
    open(2).await?;
    chat.signal(libc::SIGINT)?;
    refunded(
        chat.end(limit).await?,
        &["job 2 is cancelled", "0 EMC were charged"],
    )
    .await?;

    // 3. Out of time. JSON says it in its own way.
    let asking = [&asking[..], &["--json"]].concat();
    let chat = home.begin_emc(&asking)?;
    open(3).await?;
    control.advance(Duration::from_secs(70)).await?;
    let ran = chat.end(limit).await?.refuses(&["its time was up"])?;
    let shown = ran.json()?;
    ensure!(
        shown["state"] == "refunded" && shown["unspent"] == "0.01",
        "{shown}"
    );
    ensure!(
        shown["verified"].is_null() && shown["receipt"].is_null(),
        "{shown}"
    );
    ensure!(scene.available(&scene.alice).await? == before);
    home.emc(&["verify", "3"])
        .await?
        .refuses(&["has no receipt"])?;
    scene.check().await
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("no text: {value}"))
}
