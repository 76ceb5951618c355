//! The other awaits: pulling the registry's feed, reporting to the registry, the draws of audits and of probe rounds,
//! callbacks, and the secret from `raw_rand` after installation.
//!
//! Nothing is committed before an await. After it, a page is applied only if the escrow still is where the page begins
//! (`feed::apply`), and a secret only if there is none: so answers that come twice or late do nothing.

use crate::callback;
use crate::canister::{change, now, read};
use crate::draw;
use crate::feed::{self, Applied};
use crate::mining_round;
use crate::records::Secret;
use crate::report;
use candid::Principal;
use emc_protocol::ApiError;
use emc_protocol::feed::{Changes, ChangesArgs};
use emc_protocol::limits;
use emc_protocol::report::ReportReply;
use ic_cdk::call::Call;
use std::cell::Cell;

/// Pages of one pull; the next one goes on.
const PAGES: usize = 5;
/// Callbacks that may wait for their answers at the same time.
const CALLBACKS: usize = 100;
/// Seconds that a callback may take.
const CALLBACK_TIMEOUT: u32 = 10;

/// Pulls what has changed, a bounded number of pages.
pub async fn pull_feed() {
    for _ in 0..PAGES {
        let (registry, args) = read(|state| {
            let args = ChangesArgs {
                after: state.feed.get().sequence,
                escrow: state.config().escrow,
                limit: limits::PAGE,
            };
            (state.config().registry, args)
        });
        let reply = Call::bounded_wait(registry, "changes_since")
            .with_arg(&args)
            .change_timeout(30)
            .await;
        // No answer: the feed grows old, which the rules and the metrics see; the next pull tries again.
        let Ok(reply) = reply else { return };
        let Ok(Ok(page)) = reply.candid::<Result<Changes, ApiError>>() else {
            return;
        };
        // Those who could be drawn when the random bytes were asked for are those who can be drawn.
        if DRAWING.get() {
            return;
        }
        match change(|state| feed::apply(state, now(), args.after, &page)) {
            Applied::More | Applied::Restarted => {}
            Applied::UpToDate | Applied::Stale => return,
        }
    }
}

/// Sends the report that is due. It is kept, and sent again, until the registry says that it has applied it; what it
/// has applied twice, or says twice, changes nothing.
pub async fn send_report() {
    let Some(report) = change(|state| report::next(state, now())) else {
        return;
    };
    let registry = read(|state| state.config().registry);
    let reply = Call::bounded_wait(registry, "report")
        .with_arg(&report)
        .change_timeout(30)
        .await;
    let Ok(reply) = reply else { return };
    if let Ok(Ok(reply)) = reply.candid::<Result<ReportReply, ApiError>>() {
        change(|state| report::applied(state, reply.applied));
    }
}

thread_local! {
    /// True while random bytes for a draw are on their way.
    static DRAWING: Cell<bool> = const { Cell::new(false) };
    /// Callbacks that wait for their answer.
    static CALLING_BACK: Cell<usize> = const { Cell::new(0) };
}

/// Ends the pause of the feed, also where the callback traps.
struct Pause;

impl Drop for Pause {
    fn drop(&mut self) {
        DRAWING.set(false);
    }
}

/// Asks for random bytes and draws with them. Nothing is committed before: where the bytes do not come, or the callback
/// traps, the requests are still there, and the next round serves them.
pub async fn draw() {
    let Some(upto) = read(draw::begin) else {
        return;
    };
    if DRAWING.replace(true) {
        return;
    }
    let _pause = Pause;
    let Some(seed) = raw_rand().await else {
        return;
    };
    change(|state| draw::draw(state, now(), upto, &seed));
}

/// Draws whether a probe round begins, where one is to begin. Nothing is committed before; without bytes the next try
/// has the greater chance.
pub async fn draw_round() {
    if !read(|state| mining_round::is_to_be_drawn(state, now())) {
        return;
    }
    if let Some(random) = raw_rand().await {
        change(|state| mining_round::draw(state, now(), &random));
    }
}

async fn raw_rand() -> Option<[u8; 32]> {
    let reply = Call::bounded_wait(Principal::management_canister(), "raw_rand").await;
    let bytes = reply.ok()?.candid::<Vec<u8>>().ok()?;
    bytes.as_slice().try_into().ok()
}

/// Fetches the secret, once; true when there is one.
pub async fn fetch_secret() -> bool {
    if read(|state| state.config().secret.is_some()) {
        return true;
    }
    let Some(secret) = raw_rand().await else {
        return false;
    };
    change(|state| {
        if state.config().secret.is_none() {
            state.configure(|config| config.secret = Some(Secret(secret)));
        }
    });
    true
}

/// Counts a callback, also where the code after it traps.
struct CallingBack;

impl CallingBack {
    fn begin() -> Self {
        CALLING_BACK.set(CALLING_BACK.get() + 1);
        Self
    }
}

impl Drop for CallingBack {
    fn drop(&mut self) {
        CALLING_BACK.set(CALLING_BACK.get().saturating_sub(1));
    }
}

/// Makes the callbacks that are due, a bounded number at a time. Each try is counted, and committed, before its call.
pub fn call_back() {
    while CALLING_BACK.get() < CALLBACKS {
        let Some(callback) = change(|state| callback::next(state, now())) else {
            return;
        };
        let counted = CallingBack::begin();
        ic_cdk::futures::spawn(async move {
            let (callee, id) = (callback.callee, callback.done.job_id);
            let reply = Call::bounded_wait(callee, "emc_job_done")
                .with_arg(&callback.done)
                .change_timeout(CALLBACK_TIMEOUT)
                .await;
            drop(counted);
            change(|state| match reply {
                Ok(_) => callback::answered(state, now(), callee, id),
                Err(_) => callback::failed(state, callee, id),
            });
            // The canister's next one, or others that had to wait.
            call_back();
        });
    }
}
