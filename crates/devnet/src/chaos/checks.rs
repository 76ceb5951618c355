//! What must hold: after every step, conservation ([`crate::Market::check_conservation`]) and that no message trapped by
//! itself; at the end, that everything has ended, that nothing is missing, and that no honest node lost by it.

use super::stage::{Part, Stage};
use super::tally::Tally;
use crate::market::{MINIMUM_STAKE, SUPPLY};
use anyhow::{Result, ensure};
use candid::Principal;
use emc_protocol::account::deposit_subaccount;
use emc_protocol::audit::Verdict;
use emc_protocol::job::RefundReason;
use emc_protocol::{Job, JobState, NodeStatus, Tokens};
use icrc_ledger_types::icrc1::account::Account;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// Looks at the messages since the last look: none may have trapped but by a fault that was asked for.
///
/// # Errors
/// A message that did.
pub async fn log(stage: &mut Stage, tally: &mut Tally) -> Result<()> {
    let lines = stage.held.control().log(stage.logged).await?;
    let mut digest = Sha256::new().chain_update(tally.digest);
    for line in &lines {
        stage.logged = line.n;
        tally.messages += 1;
        let words = [&line.canister, &line.kind, &line.method, &line.outcome];
        for word in words {
            digest.update([0]);
            digest.update(word);
        }
        ensure!(
            line.outcome == "ok" || line.outcome.contains("injected fault"),
            "{} trapped in {} {}: {}",
            line.canister,
            line.kind,
            line.method,
            line.outcome
        );
    }
    tally.digest = digest.finalize().into();
    Ok(())
}

/// True once every job is final, every ledger call's outcome is known, and what was slashed is burned.
///
/// # Errors
/// If a canister does not answer.
pub async fn all_ended(stage: &Stage) -> Result<bool> {
    let info = stage.escrow().info().await?;
    let market = &stage.market;
    let registry = market.anonymous().registry(market.ids.registry);
    let registry = registry.info().await?;
    let open = info.open
        + info.leased
        + info.delivered.unwrap_or_default()
        + info.auditing.unwrap_or_default()
        + stage.escrow().totals().await?.journal_open
        + registry.journal_open;
    let burning = registry.burning.unwrap_or_default();
    Ok(open == 0 && burning.is_zero())
}

/// What is still open, in words.
///
/// # Errors
/// If a canister does not answer.
pub async fn what_is_open(stage: &Stage) -> Result<String> {
    let info = stage.escrow().info().await?;
    let mut words = vec![format!("{:?}", stage.escrow().totals().await?)];
    for job in 1..=info.jobs {
        let job = stage.escrow().get_job(job, None).await?;
        if !is_final(&job) {
            words.push(format!(
                "job {} is {:?}, leased until {:?}, attempts {:?}",
                job.id, job.state, job.lease_until, job.attempts
            ));
        }
    }
    let market = &stage.market;
    let registry = market.anonymous().registry(market.ids.registry);
    words.push(format!("{:?}", registry.info().await?));
    Ok(words.join("\n"))
}

fn is_final(job: &Job) -> bool {
    let last = [JobState::Settled, JobState::Refunded, JobState::Undecided];
    job.state.is_some_and(|state| last.contains(&state))
}

/// Everything that must hold once all has ended.
///
/// # Errors
/// What does not.
pub async fn at_the_end(stage: &Stage, tally: &mut Tally) -> Result<()> {
    stage.market.check_conservation().await?;
    jobs(stage, tally).await?;
    accounts(stage).await?;
    nodes(stage).await
}

/// Every job is final, its postings sum to zero, and no honest node lost a bond by it.
async fn jobs(stage: &Stage, tally: &mut Tally) -> Result<()> {
    let escrow = stage.escrow();
    let honest: BTreeSet<Principal> = honest_nodes(stage).collect();
    let info = escrow.info().await?;
    for id in 1..=info.jobs {
        let job = escrow.get_job(id, None).await?;
        ensure!(is_final(&job), "job {id} is not final: {job:?}");
        let sum: i128 = job.postings.iter().map(|line| line.amount).sum();
        ensure!(
            sum == 0,
            "the postings of job {id} do not sum to zero: {job:?}"
        );
        tally.jobs += 1;
        match (job.state, job.refund_reason) {
            (Some(JobState::Settled), _) => tally.settled += 1,
            (Some(JobState::Undecided), _) => tally.undecided += 1,
            (_, Some(RefundReason::Cancelled)) => tally.cancelled += 1,
            (_, Some(RefundReason::Overturned)) => tally.overturned += 1,
            _ => tally.refunded += 1,
        }
        let lapsed = |attempt: &&emc_protocol::job::Attempt| {
            attempt.end == Some(emc_protocol::job::AttemptEnd::Lapsed)
        };
        tally.lapsed += job.attempts.iter().filter(lapsed).count() as u64;
        let Ok(audit) = escrow.audit(id).await else {
            continue;
        };
        tally.audited += u64::from(audit.drawn);
        let worker = job.attempts.last().map(|attempt| attempt.node);
        ensure!(
            audit.verdict != Some(Verdict::Overturned)
                || worker.is_none_or(|worker| !honest.contains(&worker)),
            "an honest worker was overturned: {job:?}\n{audit:?}"
        );
        for seat in audit.rounds.iter().flat_map(|round| &round.seats) {
            ensure!(
                seat.lost.is_zero() || !honest.contains(&seat.node),
                "honest {} lost {} by its vote: {audit:?}",
                seat.node,
                seat.lost
            );
        }
    }
    Ok(())
}

/// The accounts sum to the totals, and everything in the ledger to its supply: nobody has what nobody knows of.
async fn accounts(stage: &Stage) -> Result<()> {
    let market = &stage.market;
    let (escrow, ledger) = (stage.escrow(), market.anonymous().ledger(market.ids.ledger));
    let (mut available, mut locked, mut in_ledger) = (0, 0, 0);
    for person in &stage.people {
        let account = escrow.account(*person).await?;
        available += account.available.0;
        locked += account.locked.0 + account.leaving.0;
        let waiting = Account {
            owner: market.ids.escrow,
            subaccount: Some(deposit_subaccount(*person)),
        };
        in_ledger += ledger.balance(*person).await?.0 + ledger.balance(waiting).await?.0;
    }
    let totals = escrow.totals().await?;
    ensure!(
        totals.available.0 == available && locked == 0,
        "the accounts sum to {available} and {locked}, the totals are {totals:?}"
    );
    ensure!(
        totals.locked.is_zero() && totals.leaving.is_zero(),
        "all has ended, and something is set aside: {totals:?}"
    );
    for canister in [market.ids.escrow, market.ids.registry] {
        in_ledger += ledger.balance(canister).await?.0;
    }
    let pool = market
        .anonymous()
        .registry(market.ids.registry)
        .mining_pool();
    in_ledger += ledger.balance(pool).await?.0;
    let supply = ledger.icrc1_total_supply().await?;
    ensure!(
        in_ledger == supply.0 && supply <= SUPPLY,
        "{} is in the ledger's accounts, its supply is {supply}, it was {SUPPLY}",
        Tokens(in_ledger)
    );
    Ok(())
}

fn honest_nodes(stage: &Stage) -> impl Iterator<Item = Principal> + '_ {
    let nodes = stage.actors.iter().filter(|actor| {
        let is_node = matches!(actor.part, Part::Worker(_) | Part::Validator(_));
        is_node && actor.honest
    });
    nodes.map(|actor| actor.principal)
}

/// No honest node has lost stake or is barred, and what the others lost is what was burned.
async fn nodes(stage: &Stage) -> Result<()> {
    let market = &stage.market;
    let registry = market.anonymous().registry(market.ids.registry);
    let mut slashed = 0;
    for actor in &stage.actors {
        if !matches!(actor.part, Part::Worker(_) | Part::Validator(_)) {
            continue;
        }
        let node = registry.node(actor.principal).await?;
        let outcomes = node.outcomes.unwrap_or_default();
        slashed += outcomes.slashed.0;
        if !actor.honest {
            continue;
        }
        let allotted: u128 = node.allotments.iter().map(|part| part.amount.0).sum();
        ensure!(
            outcomes.slashed.is_zero()
                && outcomes.overturned == 0
                && outcomes.votes_lost == 0
                && allotted >= MINIMUM_STAKE.0
                && node.status == Some(NodeStatus::Active),
            "{} is honest, and lost by it: {node:?}",
            actor.name
        );
    }
    let burned = registry.info().await?.burned.unwrap_or_default();
    ensure!(
        burned.0 == slashed,
        "{burned} were burned, {} were slashed",
        Tokens(slashed)
    );
    Ok(())
}
