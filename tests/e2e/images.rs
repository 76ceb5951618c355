//! Pictures as paid jobs, with a tiny Stable Diffusion that real workers run: asked, made, paid, fetched; and what goes
//! wrong.

use crate::validators::{ended as ended_audited, market_of, nodes};
use crate::workers::{market_with, worker};
use anyhow::{Context, Result, ensure};
use emc_devnet::market::until;
use emc_devnet::worker::ModelSource;
use emc_protocol::audit::{AuditTerms, GapLevel, Verdict};
use emc_protocol::escrow::Settings;
use emc_protocol::image::{ImageInput, ImageParameters};
use emc_protocol::job::{AttemptEnd, SubmitJob, Visibility};
use emc_protocol::model::ModelTerms;
use emc_protocol::{
    Assurance, Job, JobId, JobInput, JobState, Parameters, Role, Seconds, Tokens, limits, png,
};
use emc_tests::Scene;
use emc_tests::programs::Home;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a million pixel-steps cost at the workers of these tests.
const PRICE: u128 = 2 * 100_000_000;

/// The tiny model of the engine's own tests: it makes pictures of noise, but real ones.
fn tiny_model() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join("worker/inference/tests/data/diffusion/sd15")
}

fn source() -> Result<ModelSource> {
    ModelSource::pictures(&tiny_model(), "test/pictures", "CC0-1.0")
}

/// A market whose model makes pictures.
async fn market_of_pictures(seed: u64) -> Result<(Scene, ModelSource)> {
    let settings = Settings {
        lease_base: Seconds(10),
        ..Settings::default()
    };
    market_with(seed, source()?, settings, Tokens::emc(1_000)).await
}

fn picture(scene: &Scene, parameters: ImageParameters) -> SubmitJob {
    SubmitJob {
        model: scene.model.clone(),
        input: JobInput::Image(ImageInput {
            prompt: "a (red:1.2) fox in the snow".into(),
            negative: Some("blurry".into()),
            parameters,
            ..ImageInput::default()
        }),
        parameters: Parameters::unused(),
        max_price: Tokens::emc(100),
        deadline: None,
        if_unserved: None,
        request_key: None,
        seed: Some(7),
        salt: None,
        visibility: None,
        assurance: None,
        payer: None,
        notify: None,
    }
}

fn parameters(width: u32, height: u32, steps: u32) -> ImageParameters {
    ImageParameters {
        width,
        height,
        steps,
        guidance_milli: 7_500,
        ..ImageParameters::default()
    }
}

async fn ended(scene: &Scene, id: JobId, state: JobState, limit: u64) -> Result<Job> {
    until(Duration::from_secs(limit), "the job to end", async || {
        let job = scene.job(id).await?;
        scene.check().await?;
        Ok((job.state == Some(state)).then_some(job))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_made_paid_by_its_pixels_and_the_same_for_everybody() -> Result<()> {
    let (scene, source) = market_of_pictures(301).await?;
    let folder = tempfile::tempdir()?;
    let (worker, owner) = worker(&scene, &source, "first", folder.path()).await?;
    let escrow = scene.alice().escrow(scene.market.ids.escrow);

    let mut public = picture(&scene, parameters(128, 64, 5));
    public.visibility = Some(Visibility::Public);
    let reply = escrow.submit_job(public.clone()).await?;
    let job = ended(&scene, reply.job_id, JobState::Settled, 60).await?;
    let pixel_steps = 128 * 64 * 5;
    ensure!(job.usage.context("usage")?.pixel_steps == pixel_steps);
    let charge = (u128::from(pixel_steps) * PRICE).div_ceil(1_000_000);
    ensure!(job.charged == Some(Tokens(charge)), "{:?}", job.charged);
    let earned = escrow.account(owner.principal()).await?.available;
    ensure!(earned > Tokens::ZERO && earned <= Tokens(charge));

    let made = escrow
        .picture(reply.job_id, Some(&reply.capability))
        .await?;
    let made = made.context("a picture")?;
    ensure!(png::size(&made.png) == Some((128, 64)));
    ensure!(made.latent.len() == limits::IMAGE_LATENT && made.thumbnail.is_some());

    // The same seed gives the same picture; another one does not.
    let again = escrow.submit_job(public.clone()).await?;
    public.seed = Some(8);
    let other = escrow.submit_job(public).await?;
    ended(&scene, again.job_id, JobState::Settled, 60).await?;
    ended(&scene, other.job_id, JobState::Settled, 60).await?;
    let again = escrow
        .picture(again.job_id, Some(&again.capability))
        .await?;
    let other = escrow
        .picture(other.job_id, Some(&other.capability))
        .await?;
    ensure!(again.as_ref() == Some(&made) && other.as_ref() != Some(&made));

    // Public, so anybody sees it over HTTP.
    let url = format!(
        "{}/jobs/{}/result",
        scene.market.network.url(),
        reply.job_id
    );
    let url = format!("{url}?canisterId={}", scene.market.ids.escrow);
    let answer = reqwest::Client::new().get(url).send().await?;
    let kind = answer.headers().get("content-type").cloned();
    let (status, body) = (answer.status(), answer.bytes().await?);
    ensure!(status.is_success(), "{status}: {body:?}");
    ensure!(kind.is_some_and(|kind| kind == "image/png") && body == made.png);
    drop(worker);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_draws_a_picture_and_says_what_is_wrong() -> Result<()> {
    let (scene, source) = market_of_pictures(302).await?;
    let folder = tempfile::tempdir()?;
    let _worker = worker(&scene, &source, "first", folder.path()).await?;
    let home = Home::with_key(&scene.market, &scene.alice).await?;
    let file = folder.path().join("fox.png");
    let file_text = file.to_string_lossy().into_owned();
    let drawn = home
        .emc(&[
            "image",
            "a red fox",
            "-o",
            &file_text,
            "--size",
            "64x64",
            "--steps",
            "4",
            "--seed",
            "3",
            "--sampler",
            "euler_a",
        ])
        .await?
        .done()?;
    drawn.says(&["fox.png", "4 steps", "receipt verified"])?;
    let fetched = folder.path().join("fetched.png");
    let job = scene
        .alice()
        .escrow(scene.market.ids.escrow)
        .info()
        .await?
        .jobs
        .to_string();
    let fetched_text = fetched.to_string_lossy().into_owned();
    let again = home
        .emc(&["job", "result", &job, "-o", &fetched_text])
        .await?;
    again.done()?.says(&["fetched.png"])?;
    ensure!(std::fs::read(&fetched)? == std::fs::read(&file)?);
    let first = std::fs::read(&file)?;
    ensure!(png::size(&first) == Some((64, 64)));
    scene.check().await?;

    // From that picture to another one: half of the steps run, and are paid.
    let other = folder
        .path()
        .join("other.png")
        .to_string_lossy()
        .into_owned();
    let drawn = home
        .emc(&[
            "image",
            "a blue fox",
            "-o",
            &other,
            "--init",
            &file_text,
            "--strength",
            "0.5",
            "--steps",
            "4",
            "--mask",
            &file_text,
            "--json",
        ])
        .await?
        .done()?;
    drawn.says(&["\"verified\": true"])?;
    ensure!(std::fs::read(&other)? != first);

    for (arguments, says) in [
        (vec!["image", "a fox", "--size", "65x64"], "multiple"),
        (vec!["image", "a fox", "--size", "64x1000000"], "limit"),
        (
            vec!["image", "a fox", "--size", "64x64", "--steps", "1000"],
            "steps",
        ),
        (
            vec!["image", "a fox", "--init", "/nowhere.png"],
            "nowhere.png",
        ),
        (
            vec!["image", "a fox", "--init", &file_text, "--size", "128x64"],
            "make them equal",
        ),
        (vec!["chat", "--model", "test/pictures", "Hello"], "picture"),
    ] {
        let refused = home.emc(&arguments).await?;
        ensure!(
            refused.code() != Some(0),
            "{arguments:?} was done: {refused}"
        );
        refused
            .says(&[says])
            .with_context(|| format!("{arguments:?}"))?;
    }
    scene.check().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_makes_its_picture_after_the_restart() -> Result<()> {
    let (scene, source) = market_of_pictures(303).await?;
    let folder = tempfile::tempdir()?;
    let (mut worker, _) = worker(&scene, &source, "first", folder.path()).await?;
    let escrow = scene.alice().escrow(scene.market.ids.escrow);
    let reply = escrow
        .submit_job(picture(&scene, parameters(256, 256, 40)))
        .await?;
    ended(&scene, reply.job_id, JobState::Leased, 60).await?;
    worker.kill()?;
    scene.check().await?;
    worker.run()?;
    let job = ended(&scene, reply.job_id, JobState::Settled, 120).await?;
    ensure!(
        job.attempts
            .iter()
            .all(|attempt| !matches!(attempt.end, Some(AttemptEnd::Declined(_))))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_node_can_make_comes_back_and_costs_nothing() -> Result<()> {
    let (scene, source) = market_of_pictures(304).await?;
    let folder = tempfile::tempdir()?;
    let _worker = worker(&scene, &source, "first", folder.path()).await?;
    let escrow = scene.alice().escrow(scene.market.ids.escrow);
    let before = escrow.account(scene.alice.principal()).await?.available;
    let mut strange = picture(&scene, parameters(64, 64, 4));
    if let JobInput::Image(input) = &mut strange.input {
        input.parameters.sampler = Some("no_such_sampler".into());
    }
    strange.deadline = Some(Seconds(60));
    let reply = escrow.submit_job(strange).await?;
    let job = until(Duration::from_secs(60), "the node to decline", async || {
        let job = scene.job(reply.job_id).await?;
        let declined = job
            .attempts
            .iter()
            .any(|a| matches!(a.end, Some(AttemptEnd::Declined(_))));
        Ok(declined.then_some(job))
    })
    .await?;
    ensure!(job.charged.is_none());
    escrow.cancel_job(reply.job_id).await?;
    let job = ended(&scene, reply.job_id, JobState::Refunded, 30).await?;
    ensure!(job.charged.unwrap_or_default().is_zero());
    ensure!(escrow.account(scene.alice.principal()).await?.available == before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_make_a_picture_again_and_uphold_it() -> Result<()> {
    let source = source()?;
    let terms = ModelTerms {
        audit: Some(AuditTerms {
            levels: vec![GapLevel {
                above_milli: 20,
                share: 100,
                besides: 1,
            }],
            tolerance_milli: 50,
        }),
        ..ModelTerms::default()
    };
    let scene = market_of(305, &source, terms).await?;
    let folder = tempfile::tempdir()?;
    let roles = [
        ("worker", Role::Compute),
        ("first", Role::Validator),
        ("second", Role::Validator),
        ("third", Role::Validator),
    ];
    let _nodes = nodes(&scene, &source, folder.path(), &roles).await?;
    let mut job = picture(&scene, parameters(128, 128, 6));
    (job.assurance, job.max_price) = (Some(Assurance::Always), Tokens::emc(5));
    let reply = scene.escrow(&scene.alice).submit_job(job).await?;
    let (job, audit) = ended_audited(&scene, reply.job_id).await?;
    ensure!(job.state == Some(JobState::Settled), "{job:?}");
    ensure!(audit.verdict == Some(Verdict::Upheld), "{audit:?}");
    let votes: Vec<_> = audit.rounds[0]
        .seats
        .iter()
        .filter_map(|seat| seat.vote.as_ref())
        .collect();
    ensure!(votes.len() == 3, "{audit:?}");
    for vote in votes {
        ensure!(
            vote.positions == 256 && vote.ends_right && vote.text_right,
            "{vote:?}"
        );
    }
    Ok(())
}
