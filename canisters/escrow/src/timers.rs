//! Timers. They vanish at an upgrade, so everything here is started again by `post_upgrade`; what they work on lies in
//! stable memory, and each tick does a bounded part of it.

use crate::calls::Escrow;
use crate::canister::{change, now, read};
use crate::{callback, draw, due, mining_job, outage, pull, request_key, retention};
use emc_journal::driver;
use emc_rhythm::every;
use ic_cdk_timers::{TimerId, clear_timer, set_timer};
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// How often the feed is pulled.
const PULL: Duration = Duration::from_secs(5);
/// How soon after a draw the next one begins, where something still waits.
const DRAW_AGAIN: Duration = Duration::from_secs(1);
/// How often unfinished ledger calls are looked at.
const RESUME: Duration = Duration::from_secs(5);
/// How often timers are armed anew whatever the marks say; callbacks that wait for their time are then made, too.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How often it is drawn whether a probe round begins.
const MINING: Duration = Duration::from_secs(60);
/// How often old results and keys are deleted.
const CLEAN: Duration = Duration::from_secs(60);
/// Jobs that one tick of the due queue works off.
const DUE_PER_TICK: usize = 100;
/// Results or keys that one tick deletes.
const CLEAN_PER_TICK: usize = 200;

thread_local! {
    /// The armed timer of the due queue, and for when.
    static ARMED: RefCell<Option<(u64, TimerId)>> = const { RefCell::new(None) };
    /// True while the callbacks' timer waits to go off.
    static CALLBACKS_ARMED: Cell<bool> = const { Cell::new(false) };
    /// True while a draw's timer waits to go off.
    static DRAW_ARMED: Cell<bool> = const { Cell::new(false) };
}

/// Starts all timers, at installation and after an upgrade.
pub fn start() {
    set_timer(Duration::ZERO, first_things());
    // One after the other, so that no page of the feed from before a report is applied after it.
    every(PULL, || {
        Box::pin(async {
            change(outage::mark);
            pull::pull_feed().await;
            pull::send_report().await;
        })
    });
    every(RESUME, || {
        Box::pin(async {
            // Without an entry there is nothing to await, and nothing to pay for.
            if read(|state| state.journal.next_due()).is_some_and(|at| at <= now().0) {
                driver::resume_due::<Escrow>().await;
            }
        })
    });
    every(CLEAN, || {
        Box::pin(async {
            change(|state| {
                retention::prune(state, now(), CLEAN_PER_TICK);
                request_key::forget(state, now(), CLEAN_PER_TICK);
                mining_job::forget_rounds(state, now(), CLEAN_PER_TICK);
            });
        })
    });
    every(MINING, || Box::pin(pull::draw_round()));
    every(LOOK_AGAIN, || Box::pin(async { arm_anew() }));
    arm();
    arm_draw();
}

/// Arms what is due or to be drawn, whatever the marks say. A timer whose message traps is gone, but its mark stays,
/// since it is taken back in that very message; and a draw whose callback traps asks for no other one. So nothing may
/// rely on a mark for longer than until the next of these. A timer too many does no harm.
fn arm_anew() {
    if let Some((_, timer)) = ARMED.take() {
        clear_timer(timer);
    }
    DRAW_ARMED.set(false);
    CALLBACKS_ARMED.set(false);
    arm();
    arm_draw();
}

async fn first_things() {
    if !pull::fetch_secret().await {
        set_timer(Duration::from_secs(2), first_things_again());
    }
    pull::pull_feed().await;
}

/// A future that names itself would be infinitely large; a boxed one is not.
fn first_things_again() -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(first_things())
}

/// Makes sure that the due queue's timer goes off in time, and that callbacks are made. To be called after whatever may
/// have put something into a queue, or ended a job.
pub fn arm() {
    arm_callbacks();
    let next = read(|state| state.next_due);
    ARMED.with_borrow_mut(|armed| {
        if armed.is_some_and(|(at, _)| at <= next) || next == u64::MAX {
            return;
        }
        if let Some((_, timer)) = armed.take() {
            clear_timer(timer);
        }
        let wait = Duration::from_nanos(next.saturating_sub(now().0));
        *armed = Some((next, set_timer(wait, tick())));
    });
}

async fn tick() {
    ARMED.with_borrow_mut(|armed| *armed = None);
    change(|state| due::work_off(state, now(), DUE_PER_TICK));
    arm();
    arm_draw();
}

/// Makes sure that a draw is on its way where something waits for one. To be called after whatever may have asked.
pub fn arm_draw() {
    if read(draw::begin).is_some() && !DRAW_ARMED.replace(true) {
        set_timer(Duration::ZERO, draw_tick());
    }
}

async fn draw_tick() {
    DRAW_ARMED.set(false);
    pull::draw().await;
    arm();
    if read(draw::begin).is_some() && !DRAW_ARMED.replace(true) {
        // More than one round's worth, or no bytes came: not at once again.
        set_timer(DRAW_AGAIN, draw_tick_again());
    }
}

/// See [`first_things_again`].
fn draw_tick_again() -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(draw_tick())
}

/// Makes sure that callbacks that are due are made.
fn arm_callbacks() {
    if read(|state| callback::is_due(state, now())) && !CALLBACKS_ARMED.replace(true) {
        set_timer(Duration::ZERO, async {
            CALLBACKS_ARMED.set(false);
            pull::call_back();
        });
    }
}
