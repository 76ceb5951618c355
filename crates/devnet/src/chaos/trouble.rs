//! What goes wrong in a run: faults of calls, full queues, changed order; canisters stopped and upgraded; time that jumps.

use super::plan::Dice;
use super::stage::Stage;
use super::tally::Tally;
use crate::control::{Fault, FaultKind};
use crate::market::Which;
use anyhow::{Context, Result};
use candid::Principal;
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::debug;

/// Every kind of trouble there is, as reports name it. A run over many seeds fails if one of them never struck.
pub const KINDS: [&str; 11] = [
    "call refused",
    "callee trapped",
    "answer lost",
    "callback trapped",
    "call late",
    "answer late",
    "queue full",
    "order changed",
    "canister stopped",
    "canister upgraded",
    "time jumped",
];

fn name(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Reject => KINDS[0],
        FaultKind::TrapCallee => KINDS[1],
        FaultKind::LoseReply => KINDS[2],
        FaultKind::TrapCallback => KINDS[3],
        FaultKind::Delay => KINDS[4],
        FaultKind::DelayReply => KINDS[5],
        FaultKind::FullQueue => KINDS[6],
        FaultKind::Overtake => KINDS[7],
    }
}

/// The faults that strike calls between canisters.
const OF_CALLS: [FaultKind; 7] = [
    FaultKind::Reject,
    FaultKind::TrapCallee,
    FaultKind::LoseReply,
    FaultKind::TrapCallback,
    FaultKind::Delay,
    FaultKind::DelayReply,
    FaultKind::FullQueue,
];
/// Those that may strike a timer: its library calls the canister itself, and has callbacks that are not ours.
const OF_TIMERS: [FaultKind; 4] = [
    FaultKind::Reject,
    FaultKind::TrapCallee,
    FaultKind::Delay,
    FaultKind::FullQueue,
];
/// Methods that users call, and that may trap at their end.
const OF_USERS: [&str; 8] = [
    "submit_job",
    "claim",
    "deliver",
    "commit_vote",
    "reveal_vote",
    "cancel_job",
    "deposit",
    "withdraw",
];
/// Longest delay of a call or an answer, seconds.
const LATEST: u64 = 20;
/// Least and greatest jump, seconds: beyond what counts as an outage, and what makes the feed stale.
const JUMP: (u64, u64) = (400, 4_000);

/// What is wrong at the moment.
#[derive(Default)]
pub struct Trouble {
    /// Steps until what is stopped is started again.
    stopped_for: u64,
}

impl Trouble {
    /// Makes trouble before a step, or none.
    ///
    /// # Errors
    /// If the network does not do what it is asked.
    pub async fn make(
        &mut self,
        stage: &mut Stage,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> Result<()> {
        if !stage.stopped.is_empty() {
            self.stopped_for = self.stopped_for.saturating_sub(1);
            if self.stopped_for == 0 {
                start(stage).await?;
            }
        }
        for _ in 0..2 {
            if dice.percent(50) {
                let fault = self::fault(stage, dice);
                debug!(?fault, "goes wrong");
                stage.held.control().fault(&fault).await?;
            }
        }
        if !stage.stopped.is_empty() {
            return Ok(());
        }
        let which = *dice.pick(&[Which::Ledger, Which::Registry, Which::Escrow]);
        match dice.between(0, 99) {
            0..=4 => {
                stop(stage, which).await?;
                self.stopped_for = dice.between(1, 3);
                tally.strike(KINDS[8], 1);
            }
            5..=9 => {
                upgrade(stage, which).await?;
                tally.strike(KINDS[9], 1);
            }
            10..=12 => jump(stage, dice, tally).await?,
            _ => {}
        }
        Ok(())
    }

    /// Ends all trouble; counts what has struck.
    ///
    /// # Errors
    /// If the network does not do what it is asked.
    pub async fn end(&mut self, stage: &mut Stage, tally: &mut Tally) -> Result<()> {
        let mut struck: BTreeMap<&'static str, u64> = BTreeMap::new();
        for fault in stage.held.control().faults().await? {
            *struck.entry(name(fault.kind)).or_default() += fault.fired;
        }
        for (kind, times) in struck {
            tally.strike(kind, times);
        }
        stage.held.control().clear_faults().await?;
        start(stage).await
    }
}

/// The network stands still for a while: an outage, by which nobody may lose what he has in hand.
async fn jump(stage: &mut Stage, dice: &mut Dice, tally: &mut Tally) -> Result<()> {
    let by = Duration::from_secs(dice.between(JUMP.0, JUMP.1));
    debug!(?by, "time jumps");
    stage.held.control().advance(by).await?;
    tally.strike(KINDS[10], 1);
    Ok(())
}

/// A fault of a kind, at a place, that strikes soon or a little later.
fn fault(stage: &Stage, dice: &mut Dice) -> Fault {
    let ids = stage.market.ids;
    let management = Principal::management_canister();
    let (kind, caller, callee, method) = match dice.between(0, 9) {
        // 1. Order.
        0 => {
            let callee = *dice.pick(&[ids.ledger, ids.registry, ids.escrow]);
            (FaultKind::Overtake, None, Some(callee), None)
        }
        // 2. A user's call.
        1 => {
            let method = *dice.pick(&OF_USERS);
            (FaultKind::TrapCallee, None, Some(ids.escrow), Some(method))
        }
        // 3. A timer.
        2 => {
            let canister = *dice.pick(&[ids.registry, ids.escrow]);
            let kind = *dice.pick(&OF_TIMERS);
            (kind, Some(canister), Some(canister), None)
        }
        // 4. A call between canisters.
        _ => {
            let ledgers = [
                None,
                Some("icrc2_transfer_from"),
                Some("icrc1_transfer"),
                Some("icrc3_get_blocks"),
            ];
            let (caller, callee, method) = match dice.between(0, 9) {
                0..=3 => (ids.escrow, ids.ledger, *dice.pick(&ledgers)),
                4 | 5 => (ids.registry, ids.ledger, *dice.pick(&ledgers)),
                6 => (ids.escrow, ids.registry, Some("changes_since")),
                7 => (ids.escrow, ids.registry, Some("report")),
                _ => (ids.escrow, management, Some("raw_rand")),
            };
            let kind = *dice.pick(&OF_CALLS);
            // The management canister does not trap.
            let kind = match kind {
                FaultKind::TrapCallee if callee == management => FaultKind::Reject,
                other => other,
            };
            (kind, Some(caller), Some(callee), method)
        }
    };
    let count = match kind {
        FaultKind::Overtake => dice.between(3, 12),
        _ => dice.between(1, 3),
    };
    let delays = matches!(
        kind,
        FaultKind::Delay | FaultKind::DelayReply | FaultKind::LoseReply
    );
    Fault {
        kind,
        caller,
        callee,
        method: method.map(str::to_owned),
        skip: dice.between(0, 2),
        count,
        delay_s: delays.then(|| dice.between(1, LATEST) as f64),
    }
}

async fn stop(stage: &mut Stage, which: Which) -> Result<()> {
    debug!(?which, "is stopped");
    let (market, governor) = (&stage.market, stage.market.governor.principal());
    let stopping = async { market.deployer().stop(market.id(which)).await };
    stage.held.during_moving_on(governor, stopping).await?;
    stage.stopped.push(which);
    Ok(())
}

async fn start(stage: &mut Stage) -> Result<()> {
    while let Some(which) = stage.stopped.pop() {
        debug!(?which, "is started");
        let market = &stage.market;
        let starting = async { market.deployer().start(market.id(which)).await };
        stage.held.during(starting).await?;
    }
    Ok(())
}

async fn upgrade(stage: &mut Stage, which: Which) -> Result<()> {
    debug!(?which, "is upgraded");
    let (market, governor) = (&stage.market, stage.market.governor.principal());
    let upgrading = market.upgrade_one(which);
    let done = stage.held.during_moving_on(governor, upgrading).await;
    done.with_context(|| format!("upgrading {which:?}"))
}
