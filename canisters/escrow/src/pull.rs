//! The other awaits: pulling the registry's feed, and the secret from `raw_rand` after installation.
//!
//! Nothing is committed before an await. After it, a page is applied only if the escrow still is where the page begins
//! (`feed::apply`), and a secret only if there is none: so answers that come twice or late do nothing.

use crate::canister::{change, now, read};
use crate::feed::{self, Applied};
use crate::records::Secret;
use candid::Principal;
use emc_protocol::ApiError;
use emc_protocol::feed::{Changes, ChangesArgs};
use emc_protocol::limits;
use ic_cdk::call::Call;

/// Pages of one pull; the next one goes on.
const PAGES: usize = 5;

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
        match change(|state| feed::apply(state, now(), args.after, &page)) {
            Applied::More | Applied::Restarted => {}
            Applied::UpToDate | Applied::Stale => return,
        }
    }
}

/// Fetches the secret, once; true when there is one.
pub async fn fetch_secret() -> bool {
    if read(|state| state.config().secret.is_some()) {
        return true;
    }
    let reply = Call::bounded_wait(Principal::management_canister(), "raw_rand").await;
    let Ok(bytes) = reply
        .map_err(drop)
        .and_then(|r| r.candid::<Vec<u8>>().map_err(drop))
    else {
        return false;
    };
    let Ok(secret) = <[u8; 32]>::try_from(bytes.as_slice()) else {
        return false;
    };
    change(|state| {
        if state.config().secret.is_none() {
            state.configure(|config| config.secret = Some(Secret(secret)));
        }
    });
    true
}
