//! The main job from end to end, for a newcomer to watch: a network starts, three canisters are deployed, a node
//! registers with stake, a requester asks three questions of a real model and has a picture drawn by another node's, pays
//! for the answers, and checks the receipts. `cargo xtask demo` builds everything and runs this.
//!
//! Exits with an error if anything is not as it should be.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use emc_client::run_job::JobEvent;
use emc_client::{JobResult, ReceiptFile, verify};
use emc_devnet::market::{MINIMUM_STAKE, Market, until};
use emc_devnet::worker::{ModelSource, Worker};
use emc_devnet::{DevNetwork, Person, narrate};
use emc_protocol::image::{ImageInput, ImageParameters};
use emc_protocol::job::{ChatMessage, ChatRole, IfUnserved};
use emc_protocol::{JobInput, JobState, ModelRef, Parameters, SubmitJob, Tokens};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Shows paid chat answers and a paid picture from real models, on an embedded Internet Computer network.
#[derive(Parser)]
#[command(name = "cargo xtask demo", bin_name = "cargo xtask demo")]
struct Arguments {
    /// Leave the network and the worker running afterwards, and say how to use them
    #[arg(long)]
    keep: bool,
    /// The network's port; 0 takes any that is free
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// The network's seed: the order of messages, random numbers, everybody's keys
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const QUESTIONS: [&str; 3] = [
    "What is the capital of France? Answer in one sentence.",
    "What is that city famous for? Answer in one sentence.",
    "Write two sentences about a lighthouse.",
];

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let started = Instant::now();
    let folder = emc_devnet::worker::demo_folder()?;

    narrate::step("An Internet Computer network");
    let network =
        DevNetwork::embedded(arguments.seed, &format!("127.0.0.1:{}", arguments.port)).await?;
    println!("  {}", network.url());

    narrate::step("Three canisters");
    let market = Market::on(
        network,
        arguments.seed,
        emc_protocol::escrow::Settings::default(),
    )
    .await?;
    let ids = market.ids;
    println!(
        "  ledger    {}\n  registry  {}\n  escrow    {}",
        ids.ledger, ids.registry, ids.escrow
    );
    emc_devnet::worker::write_network_file(&market)?;

    narrate::step("A model in the catalogue");
    let source = ModelSource::smollm2()?;
    let entry = market.publish(source.publication()).await?;
    let model = ModelRef {
        id: entry.id.clone(),
        version: Some(entry.version),
    };
    println!(
        "  {} version {}, {}, root {}",
        entry.id,
        entry.version,
        entry.licence,
        hex::encode(&entry.root)
    );

    narrate::step("People");
    let alice = market.requester("alice", Tokens::emc(5)).await?;
    let gabriel = market.person_with("gabriel", MINIMUM_STAKE).await?;
    println!("  alice, who asks        {}", alice.principal());
    let paula = market.person_with("paula", MINIMUM_STAKE).await?;
    println!("  gabriel, who owns GPUs {}", gabriel.principal());
    println!("  paula, who draws       {}", paula.principal());

    narrate::step("A worker, registered and staked");
    let mut worker = Worker::start(&market, &folder.join("worker"), &gabriel, &source, &model)?;
    worker.until_registered(&market).await?;
    market.stake(&gabriel, worker.node(), MINIMUM_STAKE).await?;
    market.feed_arrived().await?;
    println!("  node {} with {MINIMUM_STAKE} EMC of stake", worker.node());
    until(
        Duration::from_secs(120),
        "the worker to be ready",
        async || {
            worker.check_alive()?;
            Ok(worker.is_ready().await.then_some(()))
        },
    )
    .await?;

    let people = [&alice, &gabriel, &paula];
    let before = balances(&market, &people).await?;
    market.check_conservation().await?;

    let mut history = vec![];
    let mut spent = Tokens::ZERO;
    for (index, question) in QUESTIONS.iter().enumerate() {
        // The second follows up on the first; the third is sampled, and begins anew.
        let sampled = index == 2;
        if sampled {
            history.clear();
        }
        history.push(ChatMessage {
            role: ChatRole::User,
            content: (*question).to_owned(),
        });
        let title = [
            "A question",
            "A follow-up, with the history",
            "A sampled answer (temperature 0.8, seed 42)",
        ][index];
        narrate::step(title);
        let parameters = Parameters {
            temperature_milli: if sampled { 800 } else { 0 },
            ..Parameters::greedy(64)
        };
        let job = SubmitJob {
            model: model.clone(),
            input: JobInput::Chat {
                messages: history.clone(),
            },
            parameters,
            max_price: Tokens::e8s(100_000),
            deadline: None,
            if_unserved: None,
            request_key: None,
            seed: sampled.then_some(42),
            salt: None,
            visibility: None,
            assurance: None,
            payer: None,
            notify: None,
        };
        let result = ask(&market, &alice, job.clone()).await?;
        let answer = result
            .output
            .as_ref()
            .context("a settled job has its output")?
            .text
            .clone();
        history.push(ChatMessage {
            role: ChatRole::Assistant,
            content: answer,
        });
        spent.0 += result
            .job
            .charged
            .context("a settled job has its charge")?
            .0;
        check_receipt(&folder, &result, &job)?;
        market.check_conservation().await?;
    }

    narrate::step("A picture, drawn by a node with another model");
    let (painter, drawn) = draw(&market, &folder, &alice, &paula).await?;
    spent.0 += drawn.0;
    market.check_conservation().await?;

    narrate::step("Balances");
    let after = balances(&market, &people).await?;
    for (before, after) in before.iter().zip(&after) {
        println!(
            "  {:<28} {:>16} -> {:>16} EMC",
            before.0,
            before.1.to_string(),
            after.1.to_string()
        );
    }
    let of = |list: &[(String, Tokens)], name: &str| {
        list.iter().find(|(n, _)| n == name).map_or(0, |(_, t)| t.0)
    };
    let gain = |name: &str| of(&after, name) as i128 - of(&before, name) as i128;
    let paid = -gain("alice in the escrow");
    let (earned, for_picture) = (gain("gabriel in the escrow"), gain("paula in the escrow"));
    let share = gain("the treasury");
    ensure!(
        paid == spent.0 as i128,
        "alice paid {paid} e8s, her jobs were charged {}",
        spent.0
    );
    ensure!(
        paid == earned + for_picture + share && earned > 0 && for_picture > 0,
        "{paid} e8s paid, {earned} and {for_picture} earned, {share} to the treasury"
    );
    println!(
        "  alice paid {} EMC: {} to gabriel, {} to paula, {} to the treasury",
        emc(paid),
        emc(earned),
        emc(for_picture),
        emc(share)
    );

    println!(
        "\nEverything settled and verified in {:.0} s.",
        started.elapsed().as_secs_f64()
    );
    if arguments.keep {
        keep(&market, &alice, [worker, painter]).await
    } else {
        painter.stop().await?;
        worker.stop().await
    }
}

fn emc(e8s: i128) -> Tokens {
    Tokens(e8s.unsigned_abs())
}

/// Posts a job, shows its answer as it comes, and what it cost.
async fn ask(market: &Market, alice: &Person, job: SubmitJob) -> Result<JobResult> {
    if let JobInput::Chat { messages } = &job.input {
        for message in messages {
            println!(
                "  {:>9}: {}",
                format!("{:?}", message.role).to_lowercase(),
                message.content
            );
        }
    }
    let started = Instant::now();
    let locked = job.max_price;
    let mut answer = narrate::Answer::new();
    let escrow = market.client(alice).escrow(market.ids.escrow);
    let result = escrow
        .run(job, |event| match event {
            JobEvent::Submitted(reply) => {
                answer.note(&format!("job {}, {locked} EMC locked", reply.job_id))
            }
            JobEvent::Preview(preview) => answer.show(&preview.text),
            _ => {}
        })
        .await?;
    let seconds = started.elapsed().as_secs_f64();
    let finished = &result.job;
    ensure!(
        finished.state == Some(JobState::Settled),
        "job {} ended as {:?} ({:?}), not settled",
        finished.id,
        finished.state,
        finished.refund_reason
    );
    let output = result.output.as_ref().context("the result is there")?;
    ensure!(!output.text.trim().is_empty(), "the answer is empty");
    answer.finish(&output.text);
    let usage = finished.usage.context("a settled job has its usage")?;
    let charged = finished.charged.context("a settled job has its charge")?;
    println!(
        "  {} prompt and {} output tokens in {seconds:.1} s ({:.1} tokens/s from asking to settled); cost {charged} EMC, {} EMC came back",
        usage.prompt_tokens,
        usage.output_tokens,
        usage.output_tokens as f64 / seconds,
        Tokens(locked.0 - charged.0),
    );
    Ok(result)
}

/// What is to be drawn, and in how many steps.
const PICTURE: (&str, u32) = ("woman mechanic", 20);

/// A second owner's node starts with the repository's own small Stable Diffusion, and draws for alice. The worker, and what
/// the picture cost.
async fn draw(
    market: &Market,
    folder: &std::path::Path,
    alice: &Person,
    paula: &Person,
) -> Result<(Worker, Tokens)> {
    let files = std::path::absolute("models/emoji-sd")?;
    let source = ModelSource::pictures(&files, "emoji-sd", "CC-BY-4.0")?;
    let entry = market.publish(source.publication()).await?;
    let model = ModelRef {
        id: entry.id.clone(),
        version: Some(entry.version),
    };
    let mut worker = Worker::start(market, &folder.join("painter"), paula, &source, &model)?;
    worker.until_registered(market).await?;
    market.stake(paula, worker.node(), MINIMUM_STAKE).await?;
    market.feed_arrived().await?;
    let (prompt, steps) = PICTURE;
    let job = SubmitJob {
        model,
        input: JobInput::Image(ImageInput {
            prompt: prompt.into(),
            parameters: ImageParameters {
                width: 64,
                height: 64,
                steps,
                guidance_milli: 3_000,
                ..ImageParameters::default()
            },
            ..ImageInput::default()
        }),
        parameters: Parameters::unused(),
        max_price: Tokens::emc(1),
        deadline: None,
        if_unserved: Some(IfUnserved::Queue),
        request_key: None,
        seed: Some(1),
        salt: None,
        visibility: None,
        assurance: None,
        payer: None,
        notify: None,
    };
    let started = Instant::now();
    let escrow = market.client(alice).escrow(market.ids.escrow);
    let reply = escrow.submit_job(job).await?;
    let capability = Some(reply.capability.as_slice());
    let settled = until(Duration::from_secs(120), "the picture", async || {
        worker.check_alive()?;
        let job = escrow.get_job(reply.job_id, capability).await?;
        let open = [JobState::Open, JobState::Leased, JobState::Delivered].map(Some);
        Ok((!open.contains(&job.state)).then_some(job))
    })
    .await?;
    ensure!(
        settled.state == Some(JobState::Settled),
        "job {} ended as {:?}, not settled",
        settled.id,
        settled.state
    );
    let charged = settled.charged.context("a settled job has its charge")?;
    let picture = escrow.picture(reply.job_id, capability).await?;
    let picture = picture.context("a settled job has its picture")?;
    let path = std::path::absolute(folder.join("picture.png"))?;
    std::fs::write(&path, &picture.png).with_context(|| format!("writing {}", path.display()))?;
    println!(
        "  \"{prompt}\", 64x64 in {steps} steps, {:.1} s from asking to settled; cost {charged} EMC\n  {}",
        started.elapsed().as_secs_f64(),
        path.display()
    );
    Ok((worker, charged))
}

/// Writes the receipt to a file and checks it offline, against input and output.
fn check_receipt(folder: &std::path::Path, result: &JobResult, job: &SubmitJob) -> Result<()> {
    let path = folder.join(format!("receipt-{}.json", result.job.id));
    let file =
        ReceiptFile::of_result(result, Some(&job.input)).context("a settled job has a receipt")?;
    std::fs::write(&path, file.to_json()).with_context(|| format!("writing {}", path.display()))?;
    let report = verify::check(&file);
    ensure!(report.holds(), "the receipt does not hold:\n{report}");
    println!(
        "  receipt verified: {} checks hold ({})",
        report.checks.len(),
        path.display()
    );
    Ok(())
}

/// What everybody has, by name.
async fn balances(market: &Market, people: &[&Person]) -> Result<Vec<(String, Tokens)>> {
    let mut list = vec![];
    for person in people {
        let client = market.client(person);
        let held = client
            .ledger(market.ids.ledger)
            .balance(person.principal())
            .await?;
        let account = client
            .escrow(market.ids.escrow)
            .account(person.principal())
            .await?;
        list.push((format!("{} in the ledger", person.name), held));
        list.push((format!("{} in the escrow", person.name), account.available));
    }
    let totals = market
        .anonymous()
        .escrow(market.ids.escrow)
        .totals()
        .await?;
    list.push(("the treasury".to_owned(), totals.treasury));
    Ok(list)
}

/// Says how to use what runs, and waits for Ctrl-C.
async fn keep(market: &Market, alice: &Person, workers: [Worker; 2]) -> Result<()> {
    let pem = PathBuf::from(".emc/demo/alice.pem");
    emc_devnet::worker::write_key(&pem, alice)?;
    let url = market.network.url();
    println!(
        "\nThe network at {url} and the workers keep running; Ctrl-C stops them. In another terminal:\n"
    );
    println!(
        "  cargo run -q -p emc -- identity import alice {}",
        pem.display()
    );
    println!("  cargo run -q -p emc -- --identity alice chat \"What is the capital of Italy?\"");
    println!(
        "  cargo run -q -p emc -- --identity alice image \"a red heart\" --size 64x64 --guidance 3 -o heart.png"
    );
    tokio::signal::ctrl_c()
        .await
        .context("waiting for Ctrl-C")?;
    for worker in workers {
        worker.stop().await?;
    }
    Ok(())
}
