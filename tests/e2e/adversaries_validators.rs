//! Validators that do not do their work, or work together against others: each ends as the rules say, with the postings
//! to show it.

use anyhow::{Context, Result, ensure};
use emc_devnet::market::until;
use emc_devnet::votes::{Opinion, vote as vote_on};
use emc_devnet::{HandNode, Market};
use emc_protocol::audit::{AuditPhase, CommitArgs, RevealArgs, Verdict};
use emc_protocol::{JobState, Tokens, error::code};
use emc_tests::Scene;
use emc_tests::auditing::{delivered, vote, with_validators};
use std::time::Duration;

async fn scene(seed: u64, validators: usize) -> Result<(Scene, HandNode, Vec<HandNode>)> {
    with_validators(Market::start(seed).await?, validators, 0).await
}

/// What the registry holds for a node in the escrow.
async fn stake(scene: &Scene, node: &HandNode) -> Result<Tokens> {
    let registry = scene.market.anonymous().registry(scene.market.ids.registry);
    let node = registry.node(node.node.principal()).await?;
    let amounts = node.allotments.iter().map(|allotment| allotment.amount.0);
    Ok(Tokens(amounts.sum()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_that_always_says_yes_loses_though_no_worker_cheats() -> Result<()> {
    let (scene, worker, validators) = scene(201, 8).await?;
    let before = stake(&scene, &validators[0]).await?;
    let mut lost = Tokens::ZERO;
    // Until it was drawn once; three of eight, then five of eight, are drawn for each job.
    for _ in 0..12 {
        let job = delivered(&scene, &worker).await?;
        vote(&scene, &validators, job, |number| match number {
            0 => Opinion::Unread,
            _ => Opinion::Within,
        })
        .await?;
        scene.expect_state(job, JobState::Settled).await?;
        let audit = scene.escrow(&scene.alice).audit(job).await?;
        let seats = || audit.rounds.iter().flat_map(|round| &round.seats);
        let unread = validators[0].node.principal();
        for seat in seats() {
            ensure!((seat.node == unread) != seat.lost.is_zero(), "{audit:?}");
            ensure!((seat.node == unread) == seat.paid.is_zero(), "{audit:?}");
            lost.0 += seat.lost.0;
        }
        if !lost.is_zero() {
            break;
        }
    }
    ensure!(!lost.is_zero(), "it was never drawn in twelve audits");
    until(
        Duration::from_secs(60),
        "the bond to be burned",
        async || {
            scene.market.feed_arrived().await?;
            Ok((stake(&scene, &validators[0]).await?.0 + lost.0 == before.0).then_some(()))
        },
    )
    .await?;
    ensure!(scene.available(&validators[0].owner).await?.is_zero());
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_copies_a_commitment_cannot_reveal_it_and_loses_its_bond() -> Result<()> {
    let (scene, worker, validators) = scene(202, 8).await?;
    let control = emc_tests::control!(scene.market);
    let job = delivered(&scene, &worker).await?;
    let escrow = scene.escrow(&scene.alice);
    let seats = until(Duration::from_secs(30), "the draw", async || {
        let audit = escrow.audit(job).await?;
        let seats = audit.rounds.first().map(|round| round.seats.clone());
        Ok(seats.filter(|seats| seats.len() == 3))
    })
    .await?;
    let node = |at: usize| {
        let seat = validators
            .iter()
            .find(|v| v.node.principal() == seats[at].node);
        seat.context("a validator of this market")
    };
    let (honest, other, copier) = (node(0)?, node(1)?, node(2)?);
    let me = honest.node.principal();
    let task = honest.escrow.audit_task(job).await?;
    let ballot = vote_on(&task, Opinion::Within, 3);
    let commitment = ballot.commitment(honest.escrow.id(), job, 1, me, &[1; 32]);
    let commit = CommitArgs {
        job_id: job,
        round: 1,
        commitment: commitment.to_vec(),
    };
    honest.escrow.commit_vote(commit.clone()).await?;
    // Commitments of others can be seen; copying one is possible, revealing it is not: it names who made it.
    copier.escrow.commit_vote(commit).await?;
    let theirs = vote_on(&task, Opinion::Within, 9);
    let commitment = theirs.commitment(other.escrow.id(), job, 1, other.node.principal(), &[2; 32]);
    let commit = CommitArgs {
        job_id: job,
        round: 1,
        commitment: commitment.to_vec(),
    };
    other.escrow.commit_vote(commit).await?;
    let reveal = |vote: &emc_protocol::audit::Vote, salt: u8| RevealArgs {
        job_id: job,
        round: 1,
        salt: vec![salt; 32],
        vote: vote.clone(),
    };
    honest.escrow.reveal_vote(reveal(&ballot, 1)).await?;
    // Before the round is over nobody sees what was revealed.
    let audit = escrow.audit(job).await?;
    ensure!(audit.rounds[0].seats.iter().all(|seat| seat.vote.is_none()));
    let copied = copier.escrow.reveal_vote(reveal(&ballot, 1));
    scene.refused(code::BAD_VOTE, copied).await?;
    other.escrow.reveal_vote(reveal(&theirs, 2)).await?;
    control.advance(Duration::from_secs(100)).await?;
    scene.check().await?;
    // The second round finds the answer right; the copier has lost in the first.
    let waiting = honest.escrow.audits().await?;
    ensure!(
        waiting
            .iter()
            .all(|audit| audit.phase == Some(AuditPhase::Commit))
    );
    vote(&scene, &validators, job, |_| Opinion::Within).await?;
    scene.expect_state(job, JobState::Settled).await?;
    let audit = escrow.audit(job).await?;
    let seat = &audit.rounds[0].seats[2];
    ensure!(
        seat.lost == seat.lost.max(Tokens(1)) && seat.paid.is_zero(),
        "{seat:?}"
    );
    ensure!(
        audit.rounds[0].seats[..2]
            .iter()
            .all(|seat| seat.lost.is_zero())
    );
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_that_never_answers_loses_and_the_honest_answer_stands() -> Result<()> {
    let (scene, worker, validators) = scene(203, 8).await?;
    let control = emc_tests::control!(scene.market);
    let mut lost = 0;
    for _ in 0..12 {
        let job = delivered(&scene, &worker).await?;
        let mut ballots: Vec<_> = validators.iter().map(|_| Default::default()).collect();
        until(Duration::from_secs(60), "the audit to end", async || {
            for (number, (validator, ballots)) in validators.iter().zip(&mut ballots).enumerate() {
                if number > 0 {
                    validator.cast(ballots, Opinion::Within).await?;
                }
            }
            control.advance(Duration::from_secs(30)).await?;
            scene.check().await?;
            Ok((scene.job(job).await?.state == Some(JobState::Settled)).then_some(()))
        })
        .await?;
        let audit = scene.escrow(&scene.alice).audit(job).await?;
        let silent = validators[0].node.principal();
        for seat in audit.rounds.iter().flat_map(|round| &round.seats) {
            ensure!((seat.node == silent) != seat.lost.is_zero(), "{audit:?}");
            lost += usize::from(seat.node == silent);
        }
        if lost > 0 {
            break;
        }
    }
    ensure!(lost > 0, "it was never drawn in twelve audits");
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_that_colludes_neither_saves_a_cheat_nor_overturns_an_honest_answer() -> Result<()>
{
    // Two of ten, who agree beforehand what they say.
    let (scene, worker, validators) = scene(204, 10).await?;
    for honest in [true, false] {
        let truth = if honest {
            Opinion::Within
        } else {
            Opinion::Outside
        };
        let lie = if honest {
            Opinion::Outside
        } else {
            Opinion::Within
        };
        let job = delivered(&scene, &worker).await?;
        vote(&scene, &validators, job, |number| match number {
            0 | 1 => lie,
            _ => truth,
        })
        .await?;
        let audit = scene.escrow(&scene.alice).audit(job).await?;
        let colluding = [
            validators[0].node.principal(),
            validators[1].node.principal(),
        ];
        let last = audit.rounds.last().context("a round")?;
        let drawn = last
            .seats
            .iter()
            .filter(|seat| colluding.contains(&seat.node))
            .count();
        let expected = match (honest, drawn) {
            (true, _) => vec![Verdict::Upheld],
            (false, 0 | 1) => vec![Verdict::Overturned],
            // Both of two in a committee of five: it does not decide, and nobody gains by it.
            (false, _) => vec![Verdict::Undecided],
        };
        ensure!(
            audit
                .verdict
                .is_some_and(|verdict| expected.contains(&verdict)),
            "{audit:?}"
        );
        for seat in audit.rounds.iter().flat_map(|round| &round.seats) {
            let honest_seat = !colluding.contains(&seat.node);
            ensure!(
                !honest_seat || seat.lost.is_zero(),
                "an honest validator lost: {audit:?}"
            );
            ensure!(
                honest_seat || seat.paid.is_zero() || audit.verdict == Some(Verdict::Undecided)
            );
        }
        scene.check().await?;
    }
    Ok(())
}
