//! Timers. They vanish at an upgrade, so everything here is started again by `post_upgrade`; what they work on lies in
//! stable memory, and each tick does a bounded part of it.

use crate::calls::Escrow;
use crate::canister::{change, now, read};
use crate::{due, pull, request_key, retention};
use emc_journal::driver;
use ic_cdk_timers::{TimerId, clear_timer, set_timer, set_timer_interval_serial};
use std::cell::RefCell;
use std::time::Duration;

/// How often the feed is pulled.
const PULL: Duration = Duration::from_secs(5);
/// How often unfinished ledger calls are looked at.
const RESUME: Duration = Duration::from_secs(5);
/// How often old results and keys are deleted.
const CLEAN: Duration = Duration::from_secs(60);
/// Jobs that one tick of the due queue works off.
const DUE_PER_TICK: usize = 100;
/// Results or keys that one tick deletes.
const CLEAN_PER_TICK: usize = 200;

thread_local! {
    /// The armed timer of the due queue, and for when.
    static ARMED: RefCell<Option<(u64, TimerId)>> = const { RefCell::new(None) };
}

/// Starts all timers, at installation and after an upgrade.
pub fn start() {
    set_timer(Duration::ZERO, first_things());
    set_timer_interval_serial(PULL, async || pull::pull_feed().await);
    set_timer_interval_serial(RESUME, async || {
        // Without an entry there is nothing to await, and nothing to pay for.
        if read(|state| state.journal.next_due()).is_some_and(|at| at <= now().0) {
            driver::resume_due::<Escrow>().await;
        }
    });
    set_timer_interval_serial(CLEAN, async || {
        change(|state| {
            retention::prune(state, now(), CLEAN_PER_TICK);
            request_key::forget(state, now(), CLEAN_PER_TICK);
        });
        arm();
    });
    arm();
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

/// Makes sure that the due queue's timer goes off in time. To be called after whatever may have put something into it.
pub fn arm() {
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
}
