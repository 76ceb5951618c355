//! The `emc` command and money: keys, the ledger, the escrow's account, stake.

use anyhow::{Context, Result, ensure};
use emc_protocol::{Tokens, error::code};
use emc_tests::Scene;
use emc_tests::programs::Home;
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_shown_and_imported_and_their_emc_is_seen_and_sent() -> Result<()> {
    let scene = Scene::set(71).await?;
    let home = Home::of(&scene.market)?;
    let advice = ["emc identity new NAME"];
    home.emc(&["balance"]).await?.refuses(&advice)?;
    let to_nobody = ["transfer", "1", "2vxsx-fae"];
    home.emc(&to_nobody).await?.refuses(&advice)?;

    let made = home.emc(&["identity", "new", "carol", "--json"]).await?;
    let made = made.done()?.json()?;
    let carol = made["principal"]
        .as_str()
        .context("a principal")?
        .to_owned();
    ensure!(made["default"] == true, "{made}");
    ensure!(home.emc(&["identity", "show"]).await?.done()?.line() == carol);
    let bob = scene.market.person_with("bob", Tokens::emc(5)).await?;
    home.import(&bob).await?;
    let shown = home.emc(&["identity", "show", "bob"]).await?.done()?;
    ensure!(shown.line() == bob.principal().to_text(), "{shown}");
    let again = home
        .emc(&["identity", "import", "bob", "bob key.pem"])
        .await?;
    again.refuses(&["already"])?;

    let balance = async |who| anyhow::Ok(home.emc(&["-i", who, "balance"]).await?.done()?.line());
    ensure!(balance("bob").await? == "5 EMC" && balance("carol").await? == "0 EMC");
    let send = [
        "-i", "bob", "transfer", "1.5", &carol, "--memo", "for you", "--json",
    ];
    let sent = home.emc(&send).await?.done()?.json()?;
    ensure!(sent["amount"] == "1.5" && sent["block"].is_u64(), "{sent}");
    ensure!(balance("bob").await? == "3.5 EMC" && balance("carol").await? == "1.5 EMC");
    ensure!(scene.in_ledger(&bob).await? == Tokens::e8s(350_000_000));
    let of_bob = home.emc(&["balance", &bob.principal().to_text()]).await?;
    ensure!(of_bob.done()?.line() == "3.5 EMC", "anyone may look");
    scene.check().await?;

    let too_much = home.emc(&["transfer", "1.50000001", &carol]).await?;
    too_much.refuses(&["holds 1.5 EMC", "emc balance"])?;
    ensure!(balance("carol").await? == "1.5 EMC");

    // Anyone can check the whole ledger.
    let ledger = home.emc(&["ledger", "verify", "--json"]).await?;
    let ledger = ledger.done()?.json()?;
    ensure!(
        ledger["ledger"] == scene.market.ids.ledger.to_text(),
        "{ledger}"
    );
    ensure!(
        ledger["supply"] == emc_devnet::market::SUPPLY.to_string(),
        "{ledger}"
    );
    let blocks = ledger["blocks"].as_u64().context("a number")?;
    ensure!(
        Some(blocks - 1) == sent["block"].as_u64(),
        "{ledger} {sent}"
    );
    let said = home.emc(&["ledger", "verify"]).await?.done()?;
    said.says(&["signed by the network", "13000000 EMC"])?;
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_is_there_to_spend_and_a_withdrawal_is_back_in_the_ledger() -> Result<()> {
    let scene = Scene::set(72).await?;
    let bob = scene.market.person_with("bob", Tokens::emc(5)).await?;
    let home = Home::with_key(&scene.market, &bob).await?;
    let have = async |ledger: &str, available: &str| {
        let balance = home.emc(&["balance", "--json"]).await?.done()?.json()?;
        ensure!(balance["balance"] == ledger, "{balance}");
        let account = home.emc(&["account", "--json"]).await?.done()?.json()?;
        ensure!(account["available"] == available, "{account}");
        ensure!(
            account["locked"] == "0" && account["leaving"] == "0",
            "{account}"
        );
        scene.check().await
    };
    let deposit = home.emc(&["deposit", "2"]).await?.done()?;
    deposit.says(&["credited 2 EMC", "2 EMC available"])?;
    have("3", "2").await?;
    let too_much = home.emc(&["deposit", "3.1"]).await?;
    too_much.refuses(&["3 EMC in the ledger", "emc balance"])?;
    have("3", "2").await?;

    // A plain transfer to the account's address is credited when the escrow is told.
    let address = home.emc(&["deposit", "--address"]).await?.done()?.line();
    home.emc(&["transfer", "0.5", &address]).await?.done()?;
    let credited = home.emc(&["deposit", "--credit"]).await?.done()?;
    credited.says(&["credited 0.5 EMC", "2.5 EMC available"])?;
    have("2.5", "2.5").await?;
    home.emc(&["deposit", "--credit"])
        .await?
        .refuses(&["emc deposit --address"])?;
    // So is a deposit for somebody else.
    let alice = scene.alice.principal().to_text();
    let before = scene.available(&scene.alice).await?;
    home.emc(&["deposit", "0.25", "--to", &alice])
        .await?
        .done()?;
    ensure!(scene.available(&scene.alice).await?.0 == before.0 + 25_000_000);
    have("2.25", "2.5").await?;

    let paid = home.emc(&["withdraw", "1"]).await?.done()?;
    paid.says(&["paid 1 EMC", "1.5 EMC still available"])?;
    have("3.25", "1.5").await?;
    let too_much = home.emc(&["withdraw", "1.6"]).await?;
    too_much.refuses(&["1.5 EMC", "emc account"])?;
    let to_alice = home
        .emc(&["withdraw", "0.5", "--to", &alice])
        .await?
        .done()?;
    to_alice.says(&["paid 0.5 EMC"])?;
    ensure!(scene.in_ledger(&scene.alice).await? == Tokens::e8s(50_000_000));
    home.emc(&["withdraw", "all"])
        .await?
        .done()?
        .says(&["paid 1 EMC"])?;
    have("4.25", "0").await?;
    home.emc(&["withdraw", "all"])
        .await?
        .refuses(&["nothing to withdraw"])?;
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn stake_is_put_behind_a_node_and_comes_back_after_its_time() -> Result<()> {
    let scene = Scene::set(73).await?;
    let control = emc_tests::control!(scene.market);
    let node = scene.market.hand_node("node", &scene.model).await?;
    scene
        .market
        .person_with("owner of node", Tokens::emc(50))
        .await?;
    let home = Home::with_key(&scene.market, &node.owner).await?;
    let id = node.node.principal().to_text();
    let staked = home.emc(&["node", "stake", &id, "50"]).await?.done()?;
    staked.says(&["150 EMC stand behind", &id])?;
    scene.check().await?;
    let stranger = Home::with_key(&scene.market, &scene.alice).await?;
    let of_stranger = ["node", "unstake", &id, "1"];
    stranger
        .emc(&of_stranger)
        .await?
        .refuses(&["Is it yours to do?", "--identity"])?;

    for amount in ["30", "20"] {
        let leaving = home.emc(&["node", "unstake", &id, amount]).await?.done()?;
        leaving.says(&[amount, "emc node withdraw"])?;
        scene.check().await?;
    }
    let node_id = node.node.principal();
    scene.market.unstaking_acknowledged(node_id).await?;
    let too_much = home.emc(&["node", "unstake", &id, "100.5"]).await?;
    too_much.refuses(&["Only 100 EMC"])?;
    home.emc(&["node", "withdraw", &id])
        .await?
        .refuses(&["can be withdrawn in"])?;
    let shown = home.emc(&["node", "show", &id]).await?.done()?;
    shown.says(&[
        "100 EMC",
        "allotted",
        "30 EMC",
        "#1 unbonding until",
        "#2 unbonding",
    ])?;
    let shown = home
        .emc(&["node", "show", &id, "--json"])
        .await?
        .done()?
        .json()?;
    let escrow = scene.market.ids.escrow.to_text();
    ensure!(
        shown["stake"] == json!([{ "escrow": escrow, "amount": "100" }]),
        "{shown}"
    );

    control.advance(Duration::from_secs(660)).await?;
    let paid = home.emc(&["node", "withdraw", &id]).await?.done()?;
    ensure!(paid.line() == "paid 50 EMC", "both are ready: {paid}");
    ensure!(scene.in_ledger(&node.owner).await? == Tokens::emc(50));
    scene.check().await?;
    home.emc(&["node", "withdraw", &id])
        .await?
        .refuses(&["unstake"])?;
    ensure!(scene.in_ledger(&node.owner).await? == Tokens::emc(50));
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_the_canisters_and_which_of_them_is_away() -> Result<()> {
    let scene = Scene::set(74).await?;
    let home = Home::with_key(&scene.market, &scene.alice).await?;
    let ids = scene.market.ids;
    let status = home.emc(&["status", "--json"]).await?.done()?.json()?;
    ensure!(status["principal"] == scene.alice.principal().to_text());
    ensure!(status["ledger"]["info"]["supply"] == emc_devnet::market::SUPPLY.to_string());
    ensure!(status["registry"]["info"]["models"] == 1, "{status}");
    ensure!(status["escrow"]["id"] == ids.escrow.to_text());
    ensure!(status["escrow"]["info"]["ready"] == true, "{status}");
    home.emc(&["status"])
        .await?
        .done()?
        .says(&[home.url(), "least stake 100 EMC"])?;

    // What is wrong with one does not hide the others.
    scene.market.deployer().stop(ids.ledger).await?;
    let status = home.emc(&["status", "--json"]).await?;
    let (shown, _) = (status.json()?, status.refuses(&["stopped"])?);
    ensure!(shown["ledger"]["info"]["error"].is_string(), "{shown}");
    ensure!(shown["escrow"]["info"]["ready"] == true, "{shown}");
    scene.market.deployer().start(ids.ledger).await?;

    // Ids of another network, or mixed up.
    let mixed = format!("--escrow={}", ids.ledger);
    home.emc(&["account", &mixed])
        .await?
        .refuses(&["emc status"])?;
    let unknown = home.emc(&["node", "show", "2vxsx-fae"]).await?;
    unknown.refuses(&["no node of that principal", "emc node list"])?;
    let refused = scene.escrow(&scene.alice).get_job(99, None).await;
    ensure!(refused.is_err_and(|error| error.is_code(code::NOT_FOUND)));
    home.emc(&["job", "show", "99"])
        .await?
        .refuses(&["emc job list"])?;
    scene.check().await
}
