//! Which audits are worked on, which are to be tried again and when, and which have gone without a vote.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use emc_protocol::audit::AuditSummary;
use tokio::time::Instant;

use super::Outcome;
use crate::backoff::Backoff;
use crate::journal::{SealedVote, SeatKey};

/// How long an audit that is over is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The audits at hand.
pub(super) struct Docket {
    /// Being worked on.
    busy: BTreeSet<SeatKey>,
    /// Tried in vain, to be tried again.
    later: BTreeMap<SeatKey, (Instant, Backoff)>,
    /// Revealed or lost, and when. A machine of the network that lags behind may list them still.
    over: BTreeMap<SeatKey, Instant>,
    first_wait: Duration,
    longest_wait: Duration,
}

impl Docket {
    pub(super) fn new(first_wait: Duration, longest_wait: Duration) -> Self {
        Self {
            busy: BTreeSet::new(),
            later: BTreeMap::new(),
            over: BTreeMap::new(),
            first_wait,
            longest_wait,
        }
    }

    /// The audits to be begun now, the most urgent first; they are busy until they have ended.
    pub(super) fn due(&mut self, listed: &[AuditSummary]) -> Vec<AuditSummary> {
        let now = Instant::now();
        let waits = |key: &SeatKey| self.later.get(key).is_some_and(|(time, _)| *time > now);
        let mut due: Vec<AuditSummary> = listed
            .iter()
            .filter(|audit| {
                let key = SeatKey::of(audit);
                !self.busy.contains(&key) && !self.over.contains_key(&key) && !waits(&key)
            })
            .cloned()
            .collect();
        due.sort_by_key(|audit| audit.until);
        self.busy.extend(due.iter().map(SeatKey::of));
        due
    }

    /// The work on an audit has come to an end, for now.
    pub(super) fn ended(&mut self, key: SeatKey, outcome: Outcome) {
        self.busy.remove(&key);
        match outcome {
            Outcome::Done => {
                self.later.remove(&key);
            }
            Outcome::Over => {
                self.later.remove(&key);
                self.over.insert(key, Instant::now());
            }
            Outcome::Later => {
                let new = || {
                    (
                        Instant::now(),
                        Backoff::new(self.first_wait, self.longest_wait),
                    )
                };
                let (time, backoff) = self.later.entry(key).or_insert_with(new);
                *time = Instant::now() + backoff.next_wait();
            }
        }
    }

    /// A task has ended without saying which it was: all that are listed are begun anew.
    pub(super) fn lost_a_task(&mut self) {
        self.busy.clear();
    }

    /// The audits that were tried, are not listed any more, and have no vote: their time is up. They are forgotten.
    pub(super) fn gone(&mut self, listed: &[AuditSummary], sealed: &[SealedVote]) -> Vec<SeatKey> {
        let listed: BTreeSet<SeatKey> = listed.iter().map(SeatKey::of).collect();
        self.over.retain(|_, since| since.elapsed() < REMEMBERED);
        let sealed: BTreeSet<SeatKey> = sealed.iter().map(SealedVote::key).collect();
        let (mut gone, busy) = (vec![], &self.busy);
        self.later.retain(|key, _| {
            let stays = listed.contains(key) || busy.contains(key);
            if !stays && !sealed.contains(key) {
                gone.push(*key);
            }
            stays
        });
        gone
    }
}
