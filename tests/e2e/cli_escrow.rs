//! The `emc` command and the escrow: delegates of an account, and the governor's settings.

use anyhow::{Context, Result, ensure};
use emc_protocol::{SubmitJob, error::code};
use emc_tests::Scene;
use emc_tests::programs::Home;

#[tokio::test(flavor = "multi_thread")]
async fn a_delegate_is_named_spends_and_is_taken_away() -> Result<()> {
    let scene = Scene::set(76).await?;
    let home = Home::with_key(&scene.market, &scene.alice).await?;
    let friend = scene.market.person("friend");
    let name = friend.principal().to_text();
    let none = home.emc(&["delegate", "list"]).await?.done()?;
    none.says(&["nobody but"])?;
    let set = ["delegate", "set", &name, "0.01", "--for", "30d"];
    let listed = home.emc(&set).await?.done()?;
    listed.says(&[&name, "0.01 EMC"])?;
    scene.check().await?;

    let job = SubmitJob {
        payer: Some(scene.alice.principal()),
        ..scene.question("Who pays for this?")
    };
    let friend = scene.escrow(&friend);
    let submitted = friend.submit_job(job.clone()).await?;
    let shown = home.emc(&["delegate", "list", "--json"]).await?.done()?;
    let left = &shown.json()?[0]["left"];
    ensure!(left == "0", "the job has locked the whole limit: {left}");
    let again = friend.submit_job(job.clone());
    scene.refused(code::NOT_DELEGATED, again).await?;
    // Hers to cancel as well; what it had locked is back in the limit.
    let id = submitted.job_id.to_string();
    home.emc(&["job", "cancel", &id]).await?.done()?;
    let listed = home.emc(&["delegate", "list"]).await?.done()?;
    listed.says(&[&name, "0.01 EMC"])?;
    home.emc(&["delegate", "remove", &name]).await?.done()?;
    let gone = friend.submit_job(job);
    scene.refused(code::NOT_DELEGATED, gone).await?;

    let oneself = scene.alice.principal().to_text();
    let refused = home.emc(&["delegate", "set", &oneself, "1"]).await?;
    refused.refuses(&["somebody else"])?;
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_governor_sets_the_escrow_from_a_file() -> Result<()> {
    let scene = Scene::set(77).await?;
    let home = Home::with_key(&scene.market, &scene.market.governor).await?;
    let show = ["parameters", "escrow", "show", "--json"];
    let mut shown = home.emc(&show).await?.done()?.json()?;
    ensure!(shown["settings"]["treasury_share"] == 200, "{shown}");
    shown["settings"]["treasury_share"] = 300.into();
    let file = home.path("escrow.json");
    let path = file.to_str().context("a path of plain letters")?.to_owned();
    std::fs::write(&file, shown.to_string())?;
    let set = ["parameters", "escrow", "set", "--settings", &path];
    home.emc(&set)
        .await?
        .done()?
        .says(&["treasury_share", "300"])?;
    let info = scene.escrow(&scene.alice).info().await?;
    ensure!(
        info.settings.treasury_share == 300,
        "at once: the delay is zero here"
    );

    shown["settings"]["treasury_shear"] = 1.into();
    std::fs::write(&file, shown.to_string())?;
    home.emc(&set)
        .await?
        .refuses(&["nobody knows", "treasury_shear"])?;
    shown["settings"]
        .as_object_mut()
        .context("settings")?
        .remove("treasury_shear");
    shown["settings"]["treasury_share"] = 10_001.into();
    std::fs::write(&file, shown.to_string())?;
    home.emc(&set).await?.refuses(&["treasury_share"])?;

    // With a delay a change waits in public, and can be withdrawn.
    home.emc(&["parameters", "escrow", "set", "--delay", "1h"])
        .await?
        .done()?;
    shown["settings"]["treasury_share"] = 400.into();
    std::fs::write(&file, shown.to_string())?;
    let announced = home.emc(&set).await?.done()?;
    announced.says(&["from 20", "treasury_share", "400"])?;
    home.emc(&["parameters", "escrow", "cancel"])
        .await?
        .done()?;
    let log = home.emc(&["parameters", "escrow", "log"]).await?.done()?;
    log.says(&[
        "announced for",
        "in effect",
        "treasury_share 300",
        "cancelled",
    ])?;
    let info = scene.escrow(&scene.alice).info().await?;
    ensure!(info.settings.treasury_share == 300 && info.pending.is_none());

    let stranger = Home::with_key(&scene.market, &scene.alice).await?;
    stranger
        .emc(&["parameters", "escrow", "set", "--delay", "0s"])
        .await?
        .refuses(&["Only the governor"])?;
    scene.check().await
}
