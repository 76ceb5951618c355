//! `emc-worker` from nothing to its first earnings, as a GPU owner meets it; how it ends; how it sends a long answer.

use crate::workers::{market_of_echoes, settled, worker};
use anyhow::{Context, Result, ensure};
use emc_devnet::market::{MINIMUM_STAKE, until};
use emc_devnet::worker::ModelSource;
use emc_devnet::{Market, control::Fault, control::FaultKind};
use emc_protocol::{JobState, Tokens};
use emc_tests::programs::{Home, Ran, Running};
use std::time::Duration;

/// A worker's settings file in a home.
const CONFIG: &str = "node/worker.toml";

/// `emc-worker check` in a home: fails as long as something is missing.
async fn check(home: &Home) -> Result<Ran> {
    home.worker(&["--config", CONFIG, "check"]).await
}

/// The line of a check's list that names a thing.
fn line(ran: &Ran, mark: &str, what: &str) -> Result<String> {
    let text = ran.stdout();
    let wanted = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next() == Some(mark) && words.collect::<Vec<_>>().join(" ").starts_with(what)
    };
    let found = text.lines().find(wanted);
    Ok(found
        .with_context(|| format!("no {mark} {what}: {ran}"))?
        .to_owned())
}

/// Changes a home's settings.
fn set(home: &Home, from: &str, to: &str) -> Result<()> {
    let text = std::fs::read_to_string(home.path(CONFIG))?;
    ensure!(
        text.contains(from),
        "{from} is not in the settings:\n{text}"
    );
    std::fs::write(home.path(CONFIG), text.replace(from, to))?;
    Ok(())
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_is_told_what_is_missing_until_it_earns() -> Result<()> {
    let market = Market::start(91).await?;
    let owner = market.person_with("owner", MINIMUM_STAKE).await?;
    let home = Home::with_key(&market, &owner).await?;
    let source = ModelSource::echo(Duration::ZERO)?;

    // 1. Nothing is there.
    let nothing = check(&home).await?;
    ensure!(nothing.code() == Some(1), "{nothing}");
    ensure!(line(&nothing, "MISSING", "settings")?.contains("emc-worker init"));
    home.worker(&["--config", CONFIG, "run"])
        .await?
        .refuses(&["emc-worker init"])?;

    // 2. Settings and key. Neither is ever overwritten.
    let (registry, escrow) = (market.ids.registry.to_text(), market.ids.escrow.to_text());
    let owner_text = owner.principal().to_text();
    let init = [
        &["--config", CONFIG, "init", "--echo", "--url", home.url()][..],
        &["--registry", &registry, "--escrow", &escrow],
        &["--owner", &owner_text],
    ]
    .concat();
    let made = home.worker(&init).await?.done()?;
    let node = made
        .stdout()
        .lines()
        .find_map(|line| line.strip_prefix("The node's principal: "))
        .with_context(|| format!("no principal: {made}"))?
        .to_owned();
    made.says(&[
        "Keep a copy",
        "emc-worker check",
        &format!("emc node stake {node}"),
    ])?;
    let key = std::fs::read(home.path("node/identity.pem"))?;
    home.worker(&init).await?.refuses(&["not overwritten"])?;
    ensure!(std::fs::read(home.path("node/identity.pem"))? == key);
    set(
        &home,
        "127.0.0.1:9464",
        &format!("127.0.0.1:{}", free_port()?),
    )?;
    let never = home.worker(&["--config", CONFIG, "status"]).await?;
    never.done()?.says(&["No worker is running", "never run"])?;

    // 3. A network that is not there; looked at while the rest goes on.
    let text = std::fs::read_to_string(home.path(CONFIG))?;
    let dead = text.replace(home.url(), "http://127.0.0.1:9");
    std::fs::write(home.path("node/dead.toml"), dead)?;
    let dead = ["--config", "node/dead.toml", "check"];
    let dead = Running::start(home.command("emc-worker", &dead)?)?;

    // 4. A model that the catalogue does not have, then one with other files.
    let unknown = check(&home).await?;
    ensure!(unknown.code() == Some(1), "{unknown}");
    ensure!(line(&unknown, "MISSING", "model")?.contains("emc model list"));
    let mut other = source.publication();
    other.files[0].sha256 = vec![9; 32];
    market.publish(other).await?;
    let wrong = check(&home).await?;
    let root = line(&wrong, "MISSING", "model")?;
    ensure!(
        root.contains("echo version 1") && root.contains("root"),
        "{wrong}"
    );
    let run = ["--config", CONFIG, "run"];
    home.worker(&run).await?.refuses(&["emc-worker check"])?;
    market.publish(source.publication()).await?;

    // 5. No registration, no stake; then no stake.
    let new = check(&home).await?;
    ensure!(new.code() == Some(1), "{new}");
    ensure!(line(&new, "ok", "model")?.contains("echo version 2"));
    ensure!(line(&new, "MISSING", "registration")?.contains("emc-worker run"));
    let stake = format!("emc node stake {node} 100");
    ensure!(line(&new, "MISSING", "stake")?.contains(&stake), "{new}");
    new.says(&["2 missing"])?;
    let running = Running::start(home.command("emc-worker", &run)?)?;
    let id = node.parse()?;
    let of_node = market.anonymous().registry(market.ids.registry);
    let limit = Duration::from_secs(30);
    until(limit, "the node to register", async || {
        Ok(of_node.node(id).await.ok().map(|_| ()))
    })
    .await?;
    let registered = check(&home).await?;
    ensure!(registered.code() == Some(1), "{registered}");
    ensure!(line(&registered, "ok", "registration")?.contains(&owner_text));
    ensure!(line(&registered, "ok", "data folder")?.contains("a worker is running"));
    ensure!(line(&registered, "MISSING", "stake")?.contains(&stake));
    home.worker(&run).await?.refuses(&["another worker"])?;
    market.check_conservation().await?;

    // 6. The owner does as told, and nothing is missing.
    let words: Vec<_> = stake.split(' ').skip(1).collect();
    home.emc(&words).await?.done()?;
    market.check_conservation().await?;
    market.feed_arrived().await?;
    let complete = check(&home).await?.done()?;
    complete.says(&["Nothing is missing", "100 EMC, the least is 100"])?;

    // 7. It works, and says so.
    let alice = market.requester("alice", Tokens::emc(1)).await?;
    let requester = Home::with_key(&market, &alice).await?;
    let chat = ["chat", "--model", "echo", "Hello,", "worker!"];
    let answer = requester.emc(&chat).await?.done()?;
    ensure!(answer.stdout() == "Hello, worker!\n", "{answer}");
    market.check_conservation().await?;
    let status = ["--config", CONFIG, "status"];
    let limit = Duration::from_secs(10);
    let shown = until(limit, "the delivery to be counted", async || {
        let shown = home.worker(&status).await?.done()?;
        Ok(shown
            .stdout()
            .contains("1 claimed, 1 delivered")
            .then_some(shown))
    })
    .await?;
    // 5 prompt tokens at 1 EMC and 15 output tokens at 4 EMC a million, less the treasury's fiftieth.
    let earned = "0.0000637 EMC";
    shown.says(&[
        "taking work",
        "0 of 4 slots",
        "0 declined, 0 lapsed",
        earned,
    ])?;
    let account = home.emc(&["account"]).await?.done()?;
    account.says(&[earned])?;

    // 8. It drains, and its journal tells.
    running.signal(libc::SIGTERM)?;
    let ended = running.end(Duration::from_secs(30)).await?.done()?;
    ended.says(&["draining"])?;
    let shown = home.worker(&status).await?.done()?;
    shown.says(&["No worker is running", "0 leases", "0 results", earned])?;

    let dead = dead.end(Duration::from_secs(30)).await?;
    ensure!(dead.code() == Some(1), "{dead}");
    ensure!(
        line(&dead, "MISSING", "network")?.contains("is it running"),
        "{dead}"
    );
    market.check_conservation().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_worker_at_once_and_the_next_start_finishes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (scene, source) = market_of_echoes(92, Duration::from_millis(50)).await?;
    let (mut worker, owner) = worker(&scene, &source, "owner", folder.path()).await?;
    let mut question = scene.question("an answer that takes longer than anybody's patience");
    question.parameters.max_tokens = 100;
    let job = scene.escrow(&scene.alice).submit_job(question).await?;
    let limit = Duration::from_secs(20);
    for signals in [
        [libc::SIGTERM, libc::SIGTERM],
        [libc::SIGINT, libc::SIGTERM],
    ] {
        until(limit, "the worker to be at work", async || {
            let at_work = worker.metric("emc_worker_jobs_in_flight").await.ok();
            Ok(at_work.filter(|jobs| *jobs == 1.0).map(|_| ()))
        })
        .await?;
        let drained = worker.log().matches("draining").count();
        worker.signal(signals[0])?;
        until(limit, "the drain to begin", async || {
            Ok((worker.log().matches("draining").count() > drained).then_some(()))
        })
        .await?;
        ensure!(worker.signal(signals[1]).is_ok(), "the job keeps it alive");
        let begun = std::time::Instant::now();
        let status = worker.ended(Duration::from_secs(10)).await?;
        ensure!(status.code() == Some(130), "{status}");
        ensure!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        scene.expect_state(job.job_id, JobState::Leased).await?;
        scene.check().await?;
        worker.run()?;
    }
    let done = settled(&scene, job.job_id, 30).await?;
    ensure!(done.attempts.len() == 1, "{:?}", done.attempts);
    ensure!(worker.log().contains("taken up again after a restart"));
    ensure!(!scene.available(&owner).await?.is_zero());
    worker.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_is_uploaded_in_pieces_and_a_piece_that_fails_is_sent_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (scene, source) = market_of_echoes(93, Duration::ZERO).await?;
    let control = emc_tests::control!(scene.market);
    let (worker, owner) = worker(&scene, &source, "owner", folder.path()).await?;
    let escrow = scene.market.ids.escrow;
    let mut fault = Fault::next(FaultKind::TrapCallee, escrow, "upload_chunk");
    (fault.caller, fault.callee, fault.skip) = (None, Some(escrow), 1);
    let fault = control.fault(&fault).await?;

    let long = "twelve bytes".repeat(2_000);
    let mut question = scene.question(&long);
    question.parameters.max_tokens = 25_000;
    question.max_price = Tokens::emc(1);
    let job = scene.escrow(&scene.alice).submit_job(question).await?;
    let done = settled(&scene, job.job_id, 60).await?;
    let output = done.private.and_then(|private| private.output);
    let output = output.context("output")?;
    ensure!(output.text == long && output.ids.len() == long.len() + 1);
    ensure!(done.attempts.len() == 1, "{:?}", done.attempts);
    ensure!(control.fired(fault).await? == 1, "the fault never applied");

    // 24,001 ids of four bytes and 24,000 bytes of text: two pieces, the second of them twice, the first again.
    let log = control.log(0).await?;
    let pieces = log
        .iter()
        .filter(|line| line.method.contains("upload_chunk"));
    let pieces: Vec<_> = pieces.map(|line| line.outcome.as_str()).collect();
    ensure!(pieces.len() == 4, "{pieces:?}");
    ensure!(!scene.available(&owner).await?.is_zero());
    scene.check().await?;
    worker.stop().await
}
