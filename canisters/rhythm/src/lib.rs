//! What a canister does again and again: each task some time after it has ended the last time.
//!
//! `ic-cdk-timers` has intervals, but they make up for every tick that was missed: after a day's outage a task of every
//! five seconds would run 17,000 times. Here a missed tick is missed. And a timer whose message traps is gone; so a
//! keeper, which does nothing that could trap, looks every minute whether each task still has one.
//!
//! All of it lives in the heap: `start` the tasks at installation and after every upgrade.

use ic_cdk_timers::{TimerId, clear_timer, set_timer, set_timer_interval};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// How often the keeper looks, and how late a task may be before it is armed anew.
const KEEPER: Duration = Duration::from_secs(60);
/// How long a task may wait for answers before it is taken for lost: longer than any bounded wait.
const LOST: Duration = Duration::from_secs(900);

/// Something that a task does.
pub type Work = Pin<Box<dyn Future<Output = ()>>>;

/// When a task runs, in nanoseconds of the canister's time; apart from timers, so that it can be tested.
#[derive(Debug, Default)]
struct Times {
    /// When its timer goes off.
    due: Cell<u64>,
    /// When the run under way began.
    began: Cell<Option<u64>>,
}

impl Times {
    /// True if the task should have run and did not: its timer is gone, or what it waits for never came.
    fn is_lost(&self, now: u64) -> bool {
        let late = |since: u64, limit: Duration| now.saturating_sub(since) > nanos(limit);
        match self.began.get() {
            Some(began) => late(began, LOST),
            None => late(self.due.get(), KEEPER),
        }
    }
}

struct Task {
    period: Duration,
    work: fn() -> Work,
    times: Times,
    timer: Cell<Option<TimerId>>,
}

thread_local! {
    static TASKS: RefCell<Vec<Rc<Task>>> = const { RefCell::new(vec![]) };
}

/// Does `work` after `period`, and again `period` after it has ended, for ever; never twice at the same time.
pub fn every(period: Duration, work: fn() -> Work) {
    let task = Rc::new(Task {
        period,
        work,
        times: Times::default(),
        timer: Cell::new(None),
    });
    arm(&task);
    let first = TASKS.with_borrow_mut(|tasks| {
        tasks.push(task);
        tasks.len() == 1
    });
    if first {
        set_timer_interval(KEEPER, async || keep());
    }
}

fn keep() {
    let now = ic_cdk::api::time();
    let tasks = TASKS.with_borrow(Clone::clone);
    for task in tasks.iter().filter(|task| task.times.is_lost(now)) {
        if let Some(timer) = task.timer.take() {
            clear_timer(timer);
        }
        task.times.began.set(None);
        arm(task);
    }
}

fn arm(task: &Rc<Task>) {
    let due = ic_cdk::api::time().saturating_add(nanos(task.period));
    task.times.due.set(due);
    let armed = Rc::clone(task);
    task.timer.set(Some(set_timer(
        task.period,
        async move { run(armed).await },
    )));
}

/// Ends a run. Where the code after an await has trapped, the keeper arms the task anew.
struct Run(Rc<Task>);

impl Drop for Run {
    fn drop(&mut self) {
        self.0.times.began.set(None);
        if !ic_cdk::futures::is_recovering_from_trap() {
            arm(&self.0);
        }
    }
}

async fn run(task: Rc<Task>) {
    task.times.began.set(Some(ic_cdk::api::time()));
    let run = Run(Rc::clone(&task));
    (task.work)().await;
    drop(run);
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_task_that_should_have_run_is_lost_a_minute_later() {
        let times = Times::default();
        times.due.set(100 * SECOND);
        assert!(!times.is_lost(50 * SECOND));
        assert!(!times.is_lost(160 * SECOND));
        assert!(times.is_lost(161 * SECOND));
    }

    #[test]
    fn a_task_that_waits_is_not_lost_until_no_answer_can_come_any_more() {
        let times = Times::default();
        times.due.set(100 * SECOND);
        times.began.set(Some(100 * SECOND));
        assert!(!times.is_lost(1_000 * SECOND));
        assert!(times.is_lost(1_001 * SECOND));
    }
}
