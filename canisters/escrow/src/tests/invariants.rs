//! The named invariants of `docs/protocol.md`, and that every index says what the jobs say.

use super::world::*;
use crate::deposit::Purpose;
use crate::movement::{Account, Reason, Source};
use crate::records::*;
use candid::Principal;
use emc_journal::Operation;
use emc_protocol::Tokens;
use std::collections::BTreeMap;

#[derive(Default)]
struct Sums {
    locked: u128,
    open: u64,
    leased: u64,
    delivered: u64,
    auditing: u64,
    due: u64,
    to_draw: u64,
    receipts: u64,
    bonds: BTreeMap<Principal, u128>,
    seats: Vec<(Principal, u64)>,
    outputs: u64,
    pictures: u64,
    of: BTreeMap<Principal, (u128, u64, u64)>,
    waiting: BTreeMap<u32, (u64, u64, u64)>,
    running: BTreeMap<(Principal, u32), u32>,
}

/// Checks everything; the message names the invariant.
pub fn check(world: &World) {
    let sums = jobs(world);
    conservation(world);
    backing(world);
    locks(world, &sums);
    indices(world, &sums);
    stakes(world, &sums);
    super::errand_actions::check(world);
    super::mining_actions::check(world);
}

fn jobs(world: &World) -> Sums {
    let mut sums = Sums::default();
    let state = &world.state;
    for entry in state.jobs.iter() {
        let (id, job) = entry.into_pair();
        let unfinished = !job.stage.is_final();
        let lock = job.lock.amount();
        // Locks.
        let audit = state.audits.get(&id);
        let paid_in = audit.as_ref().is_some_and(|audit| audit.seed.is_some());
        let fee = job
            .checking
            .filter(|c| !c.always && paid_in)
            .map_or(0, |c| c.audit_fee.0);
        let locked = if unfinished { job.max_price.0 - fee } else { 0 };
        assert_eq!(lock.0, locked, "locks: job {id}");
        // A job of the pool's own locks nothing, so that it is in nobody's account.
        let own = Principal::anonymous();
        let requester = job.mining.map_or(job.requester, |_| own);
        let of = sums.of.entry(requester).or_default();
        *of = (
            of.0 + lock.0,
            of.1 + u64::from(unfinished),
            of.2 + if unfinished { job.input_bytes } else { 0 },
        );
        sums.locked += lock.0;
        // Exit.
        match job.due() {
            Some(at) => {
                assert!(
                    state.due.contains_key(&(at.0, id)),
                    "exit: job {id} is not in the due queue"
                );
                sums.due += 1;
                assert!(
                    at <= job.deadline || job.stage == Stage::Auditing,
                    "exit: job {id} is due after its deadline"
                );
            }
            None if unfinished => {
                sums.to_draw += 1;
                assert!(
                    state.draws.iter().any(|entry| entry.value().job == id),
                    "exit: job {id} has no time at which it goes on, and waits for no draw"
                );
            }
            None => {}
        }
        bonds(&mut sums, id, &job, audit.as_ref());
        // Cap.
        assert!(
            job.charged.unwrap_or_default() <= job.max_price,
            "cap: job {id}"
        );
        assert_eq!(
            job.charged.is_some(),
            !unfinished,
            "cap: job {id} has a charge exactly when it is final"
        );
        single_payment(id, &job);
        assert_eq!(
            state.inputs.contains_key(&id),
            unfinished,
            "job {id}: its input is kept until it is final"
        );
        match job.stage {
            Stage::Open => {
                sums.open += 1;
                assert!(
                    state.open.contains_key(&(job.model, id)),
                    "job {id} is not among the open ones"
                );
                let waiting = sums.waiting.entry(job.model).or_default();
                *waiting = (
                    waiting.0 + 1,
                    waiting.1 + u64::from(job.parameters.max_tokens),
                    waiting.2 + job.pixel_steps(),
                );
            }
            Stage::Leased => {
                sums.leased += 1;
                let attempt = job.attempts.last().expect("a leased job has an attempt");
                assert_eq!(
                    attempt.end, None,
                    "job {id}: the running attempt has not ended"
                );
                *sums.running.entry((attempt.node, job.model)).or_default() += 1;
            }
            Stage::Delivered => sums.delivered += 1,
            Stage::Auditing => sums.auditing += 1,
            Stage::Settled | Stage::Refunded(_) | Stage::Undecided => {}
        }
        sums.receipts += u64::from(job.receipt.is_some());
        sums.outputs += u64::from(state.outputs.contains_key(&id));
        sums.pictures += u64::from(state.pictures.length(id).is_some());
        assert!(job.image.is_some() || state.pictures.length(id).is_none());
    }
    sums
}

/// What a job has reserved of nodes' stake: the running or delivering node's bond, and those of its auditors.
fn bonds(sums: &mut Sums, id: u64, job: &JobRecord, audit: Option<&AuditRecord>) {
    let unfinished = !job.stage.is_final();
    for (number, attempt) in job.attempts.iter().enumerate() {
        let newest = number + 1 == job.attempts.len();
        let held = newest
            && unfinished
            && job.stage != Stage::Open
            && job.checking.is_some()
            && !job.is_canary();
        assert_eq!(
            attempt.bond.is_some(),
            held,
            "bonds: job {id}, attempt {}",
            number + 1
        );
        *sums.bonds.entry(attempt.node).or_default() += attempt.bond.unwrap_or_default().0;
    }
    let Some(audit) = audit else { return };
    assert_eq!(
        audit.drawn && unfinished,
        job.stage == Stage::Auditing,
        "job {id} is audited exactly when it was drawn"
    );
    assert_eq!(
        audit.verdict.is_some(),
        audit.drawn && !unfinished,
        "job {id} has a verdict exactly when its audit ended"
    );
    for (number, round) in audit.rounds.iter().enumerate() {
        for seat in &round.seats {
            if unfinished {
                *sums.bonds.entry(seat.node).or_default() += seat.bond.0;
            }
            if !round.over {
                assert_eq!(
                    number + 1,
                    audit.rounds.len(),
                    "only the last round of job {id} runs"
                );
                sums.seats.push((seat.node, id));
            }
            assert_ne!(
                Some(seat.owner),
                job.attempts.last().map(|a| a.owner),
                "nobody audits his own work"
            );
            assert_ne!(seat.owner, job.requester, "nobody audits his own job");
        }
    }
}

/// What is reserved is what the jobs say, what burns is what the registry was not told yet, and no stake is promised
/// twice.
fn stakes(world: &World, sums: &Sums) {
    let state = &world.state;
    let mut burning: BTreeMap<Principal, u128> = BTreeMap::new();
    for entry in state.outcomes.iter() {
        *burning.entry(*entry.key()).or_default() += entry.value().slashed.0;
    }
    let report = state.report.get();
    for line in report.outcomes.iter().filter(|_| report.open) {
        *burning.entry(line.node).or_default() += line.outcome.slashed.0;
    }
    for node in &world.nodes {
        let record = state.bonds.get(&node.id).unwrap_or_default();
        assert_eq!(
            record.reserved.0,
            sums.bonds.get(&node.id).copied().unwrap_or_default(),
            "bonds of {}",
            node.id
        );
        assert_eq!(
            record.burning.0,
            burning.get(&node.id).copied().unwrap_or_default(),
            "burned stake of {}",
            node.id
        );
        assert!(
            record.reserved.0 + record.burning.0 <= node.backing(),
            "the stake of {} is promised twice",
            node.id
        );
    }
    let mut seats: Vec<_> = state.assigned.iter().map(|entry| *entry.key()).collect();
    let mut expected = sums.seats.clone();
    seats.sort();
    expected.sort();
    assert_eq!(seats, expected, "seats of running rounds");
}

/// At most one payment, only to the owner of the attempt that delivered or was cancelled.
fn single_payment(id: u64, job: &JobRecord) {
    let paid: Vec<_> = job
        .movements
        .iter()
        .flat_map(|movement| movement.lines())
        .filter(|line| line.reason == Reason::Price)
        .collect();
    assert!(
        paid.len() <= 1,
        "single payment: job {id} was paid {} times",
        paid.len()
    );
    let worked = |end: &Option<End>| matches!(end, Some(End::Delivered | End::Cancelled));
    let workers: Vec<_> = job.attempts.iter().filter(|a| worked(&a.end)).collect();
    assert!(
        workers.len() <= 1,
        "single payment: job {id} has {} finishers",
        workers.len()
    );
    if let Some(line) = paid.first() {
        let owner = workers.first().expect("somebody did the work").owner;
        assert_eq!(
            line.account,
            Account::Available(owner),
            "single payment: job {id} paid somebody else"
        );
    }
    let after_delivery = !matches!(
        job.stage,
        Stage::Open
            | Stage::Leased
            | Stage::Refunded(Refund::Deadline | Refund::Cancelled | Refund::Attempts)
    );
    let delivered = workers
        .first()
        .is_some_and(|a| a.end == Some(End::Delivered));
    assert_eq!(
        after_delivery, delivered,
        "single payment: job {id} is past its delivery exactly when it was delivered"
    );
    assert_eq!(
        after_delivery && job.mining.is_none(),
        job.receipt.is_some(),
        "job {id} has a receipt exactly when it was delivered for somebody who pays"
    );
    assert!(
        paid.is_empty()
            || matches!(
                job.stage,
                Stage::Settled | Stage::Refunded(Refund::Cancelled)
            ),
        "single payment: job {id} was paid for a result that was not accepted"
    );
}

/// Everything that the escrow owes.
fn held(totals: &emc_protocol::Totals) -> u128 {
    let audits = totals.audits.unwrap_or_default();
    totals.available.0 + totals.locked.0 + totals.leaving.0 + totals.treasury.0 + audits.0
}

fn conservation(world: &World) {
    let totals = world.state.books.totals(0);
    let held = held(&totals);
    assert_eq!(
        totals.deposited.0 - totals.withdrawn.0,
        held,
        "conservation"
    );
    let (available, locked, leaving) = world.state.books.sums();
    assert_eq!(
        totals.available, available,
        "conservation: the sum of available balances"
    );
    assert_eq!(
        totals.locked, locked,
        "conservation: the sum of locks by account"
    );
    assert_eq!(
        totals.leaving, leaving,
        "conservation: the sum of what leaves"
    );
}

/// What the ledger holds for the escrow is what the books say, but for entries whose outcome is not known here yet.
fn backing(world: &World) {
    let totals = world.state.books.totals(0);
    let held = held(&totals);
    let (mut came, mut went) = (0, 0);
    let mut lanes = 0;
    for entry in world.state.journal.open_entries(0, 1_000) {
        lanes += 1;
        let purpose: Purpose = minicbor::decode(&entry.purpose).expect("a purpose");
        assert_eq!(
            world.state.in_flight.get(&purpose.lane()),
            Some(entry.id),
            "one call per lane"
        );
        if let Purpose::Withdrawal { source } = purpose {
            let (from, _) = world
                .state
                .books
                .leaving(entry.id)
                .expect("set aside before the call");
            assert_eq!(from, source);
        }
        if world.ledger.blocks.contains(&entry.memo) {
            match (&entry.operation, purpose) {
                (Operation::Transfer { amount, fee, .. }, Purpose::Withdrawal { .. }) => {
                    went += amount + fee
                }
                (operation, _) => came += operation.amount(),
            }
        }
    }
    assert_eq!(
        world.state.in_flight.len(),
        lanes,
        "no lane is held without an entry"
    );
    let balance = world.ledger.balance(&own());
    assert_eq!(balance + went, held + came, "backing");
}

fn locks(world: &World, sums: &Sums) {
    assert_eq!(world.state.books.totals(0).locked.0, sums.locked, "locks");
    for (requester, (locked, jobs, bytes)) in &sums.of {
        if *requester == Principal::anonymous() {
            assert_eq!(*locked, 0);
            continue;
        }
        let account = world.state.books.account(requester);
        assert_eq!(account.view().locked.0, *locked, "locks of {requester}");
        assert_eq!(account.open_jobs(), *jobs, "open jobs of {requester}");
        assert_eq!(account.open_bytes(), *bytes, "open bytes of {requester}");
    }
}

fn indices(world: &World, sums: &Sums) {
    let state = &world.state;
    let counts = *state.counts.get();
    assert_eq!(
        (
            counts.open,
            counts.leased,
            counts.delivered,
            counts.auditing
        ),
        (sums.open, sums.leased, sums.delivered, sums.auditing),
        "counts"
    );
    let final_ones = counts.settled + counts.refunded + counts.undecided;
    assert_eq!(
        counts.open
            + counts.leased
            + counts.delivered
            + counts.auditing
            + final_ones
            + counts.reserved,
        counts.jobs
    );
    assert_eq!(
        state.due.len(),
        sums.due,
        "exit: nothing else is in the due queue"
    );
    assert_eq!(
        state.draws.len(),
        sums.to_draw,
        "exit: nothing else waits for a draw"
    );
    let first = state
        .due
        .first_key_value()
        .map_or(u64::MAX, |((at, _), ())| at);
    assert!(
        state.next_due <= first,
        "exit: the timer would come too late"
    );
    assert_eq!(
        state.open.len(),
        sums.open,
        "nothing else is among the open ones"
    );
    let waiting: BTreeMap<_, _> = state
        .waiting
        .iter()
        .map(|e| (*e.key(), e.value()))
        .map(|(model, w)| (model, (w.jobs, w.output_tokens, w.pixel_steps)))
        .collect();
    assert_eq!(waiting, sums.waiting, "what waits is counted");
    let running = state.running.iter().map(|e| (*e.key(), e.value().leases));
    let running: BTreeMap<_, _> = running.filter(|(_, leases)| *leases > 0).collect();
    assert_eq!(running, sums.running, "running leases are counted");
    for ((node, _), leases) in &running {
        let limit = world
            .nodes
            .iter()
            .find(|n| n.id == *node)
            .expect("a known node")
            .concurrency;
        assert!(*leases <= limit, "no node has more leases than places");
    }
    assert_eq!(state.outputs.len(), sums.outputs);
    assert_eq!(state.pictures.len(), sums.pictures);
    let kept = |id: u64| state.pictures.length(id).is_some();
    assert!(
        state.thumbnails.keys().all(kept),
        "a thumbnail is kept with its picture"
    );
    assert_eq!(
        state.receipts.len(),
        sums.receipts,
        "a receipt for each delivered job"
    );
}

/// The balances that the postings of all jobs explain, from what was deposited and withdrawn.
pub fn explained(world: &World, mut balances: BTreeMap<Principal, i128>) {
    for entry in world.state.jobs.iter() {
        for line in entry.value().movements.iter().flat_map(|m| m.lines()) {
            if let Account::Available(principal) = line.account {
                *balances.entry(principal).or_default() += line.amount;
            }
        }
    }
    for (principal, balance) in balances {
        assert_eq!(
            world.available(principal) as i128,
            balance,
            "the postings explain the balance of {principal}"
        );
    }
}

/// All jobs run out, all entries end, all balances leave: nothing stays behind.
pub fn everything_has_an_exit(world: &mut World) {
    // The longest deadline, and all that outages may have added to it.
    world.pass(26 * 3600 + world.state.clock.get().away / SECOND);
    world.tick();
    // What was delivered: two draws and two rounds with two phases each, in which nobody votes.
    for round in 0..6 {
        world.draw([round; 32]);
        world.pass(3_600);
        world.tick();
    }
    world.resume(Fate::Answered);
    super::errand_actions::exit(world);
    check(world);
    let totals = world.state.books.totals(world.state.journal.figures().open);
    assert_eq!(
        totals.locked,
        Tokens(0),
        "exit: every job is final in the end"
    );
    assert_eq!(totals.leaving, Tokens(0), "exit: every withdrawal ends");
    assert_eq!(totals.journal_open, 0, "exit: every entry ends");
    world
        .state
        .configure(|config| config.settings.minimum_transfer = Tokens(1));
    let fee = world.ledger.fee;
    world.state.journal.fee_is(fee);
    let mut left = 0;
    for principal in (0..14).flat_map(|n| [requester(n), owner(n)]) {
        let amount = world.available(principal);
        if amount <= fee {
            left += amount;
            continue;
        }
        let outcome = world.withdraw(principal, amount, Fate::Answered);
        assert!(
            matches!(outcome, Ok(Some(emc_journal::Outcome::Done { .. }))),
            "{outcome:?}"
        );
    }
    let amount = world.state.books.treasury().0;
    if amount > fee {
        let outcome = world.withdraw_from(treasury(), Source::Treasury, amount, Fate::Answered);
        assert!(
            matches!(outcome, Ok(Some(emc_journal::Outcome::Done { .. }))),
            "{outcome:?}"
        );
    } else {
        left += amount;
    }
    check(world);
    // What sampled jobs have paid in waits for auditors.
    left += world.state.books.audits().0;
    assert_eq!(world.ledger.balance(&own()), left, "everything could leave");
}
