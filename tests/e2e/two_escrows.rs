//! Two escrows on one registry: requesters spread over them by hash, a node works in both, and neither touches what
//! stands for the other.

use anyhow::{Context, Result, ensure};
use emc_client::canister_ids::choose;
use emc_devnet::market::{MINIMUM_STAKE, until};
use emc_protocol::{JobState, Tokens};
use emc_tests::Scene;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn requesters_spread_over_two_escrows_and_one_node_serves_both() -> Result<()> {
    let scene = Scene::set(241).await?;
    let market = &scene.market;
    let first = market.ids.escrow;
    let second = market.another_escrow().await?;
    let both = [first, second];

    // A node with stake allotted to each.
    let node = market.hand_node("node", &scene.model).await?;
    let more = market.person_with(&node.owner.name, MINIMUM_STAKE).await?;
    let id = node.node.principal();
    market
        .client(&more)
        .stake(
            market.ids.ledger,
            market.ids.registry,
            id,
            second,
            MINIMUM_STAKE,
        )
        .await?;
    market.feed_arrived_in(second).await?;
    let twin = node.in_escrow(market, second);
    let registry = market.anonymous().registry(market.ids.registry);
    let shown = registry.node(id).await?;
    ensure!(shown.allotments.len() == 2, "{shown:?}");

    // Requesters choose by hash; with ten of them both escrows have some.
    let mut served = [0; 2];
    for n in 0..10 {
        let person = market
            .person_with(&format!("requester {n}"), Tokens::emc(1))
            .await?;
        let chosen = choose(&both, person.principal()).context("one of two")?;
        let client = market.client(&person);
        client
            .fund(market.ids.ledger, chosen, Tokens::emc(1), None)
            .await?;
        let escrow = client.escrow(chosen);
        let job = escrow
            .submit_job(scene.question("Which of you is mine?"))
            .await?;
        let worker = if chosen == first { &node } else { &twin };
        let lease = until(Duration::from_secs(30), "the job", async || {
            Ok(worker.claim(1).await?.pop())
        })
        .await?;
        worker
            .deliver(worker.delivery(&lease, &[1, 2], "This one."))
            .await?;
        let job = escrow.get_job(job.job_id, None).await?;
        ensure!(job.state == Some(JobState::Settled));
        // A receipt names its escrow: it says nothing in the other one.
        ensure!(escrow.receipt(job.id).await?.receipt.escrow == chosen);
        served[both
            .iter()
            .position(|escrow| *escrow == chosen)
            .context("one of two")?] += 1;
        market.check_escrow(second).await?;
        scene.check().await?;
    }
    ensure!(served.iter().all(|jobs| *jobs > 0), "{served:?}");
    for escrow in both {
        let escrow = market.client(&node.owner).escrow(escrow);
        let earned = escrow.account(node.owner.principal()).await?.available;
        ensure!(!earned.is_zero(), "nothing was earned in one of them");
    }
    Ok(())
}
