//! The journal in stable memory: entries by number, the order in which the timer looks at them, and what is known of
//! the ledger.

use crate::entry::{Entry, Operation, Stage, memo};
use crate::refusal::Refusal;
use crate::verdict::{Action, Answer, Outcome, Step};
use ic_stable_structures::{Memory, StableBTreeMap, StableCell};
use minicbor::{Decode, Encode};

/// How long a log length that the ledger told us serves as the tip of new entries, nanoseconds: an older one would be
/// as right, but would make a scan long.
const TIP_AGE: u64 = 60_000_000_000;

/// The three stable memories of a journal.
pub struct Memories<M> {
    /// For what the journal knows of itself and the ledger.
    pub header: M,
    /// For the entries.
    pub entries: M,
    /// For the order in which they come up.
    pub due: M,
}

#[derive(Encode, Decode, Clone, Debug)]
struct Header {
    #[cbor(n(0), with = "minicbor::bytes")]
    tag: [u8; 8],
    #[cbor(n(1), with = "minicbor::bytes")]
    salt: [u8; 8],
    #[n(2)]
    next_id: u64,
    #[n(3)]
    fee: Option<u64>,
    #[n(4)]
    log_length: u64,
    #[n(5)]
    log_seen: u64,
    #[n(6)]
    done: u64,
    #[n(7)]
    not_done: u64,
    #[n(8)]
    sends: u64,
}

crate::storable_record!(Header);

/// Figures for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Entries whose outcome is not known yet.
    pub open: u64,
    /// Entries that ended with the tokens moved.
    pub done: u64,
    /// Entries that ended without effect.
    pub not_done: u64,
    /// Calls made, repeated ones included.
    pub sends: u64,
}

/// What the answer to an action led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do at once.
    Going,
    /// Nothing to do for some time.
    Resting,
    /// The entry is over, and out of the journal.
    Ended(Box<Entry>, Outcome),
    /// There is no such entry: it has ended before.
    Gone,
}

/// The journal of a canister's ledger calls.
pub struct Journal<M: Memory> {
    header: StableCell<Header, M>,
    entries: StableBTreeMap<u64, Entry, M>,
    due: StableBTreeMap<(u64, u64), (), M>,
}

impl<M: Memory> Journal<M> {
    /// The journal in these memories; a new one where they are empty.
    ///
    /// `tag` names the canister's kind. `salt` must differ between installations of the same canister (the time of the
    /// installation does): numbers begin anew when a canister is reinstalled, memos must not. Both count only when the
    /// journal is new.
    pub fn init(memories: Memories<M>, tag: [u8; 8], salt: [u8; 8]) -> Self {
        let header = Header {
            tag,
            salt,
            next_id: 1,
            fee: None,
            log_length: 0,
            log_seen: 0,
            done: 0,
            not_done: 0,
            sends: 0,
        };
        Self {
            header: StableCell::init(memories.header, header),
            entries: StableBTreeMap::init(memories.entries),
            due: StableBTreeMap::init(memories.due),
        }
    }

    /// The ledger's fee in e8s, as last told; `None` before it was first asked ([`crate::driver::fee`]).
    pub fn fee(&self) -> Option<u128> {
        self.header.get().fee.map(u128::from)
    }

    /// Notes the ledger's fee in e8s.
    pub fn fee_is(&mut self, fee: u128) {
        // A fee beyond 64 bits is beyond any balance: left unknown, so that it is asked again.
        let fee = u64::try_from(fee).ok();
        self.change_header(|header| header.fee = fee);
    }

    /// Opens an entry and gives its number. To be called in the message that checks and sets aside what it moves;
    /// [`crate::driver::perform`] then makes the call.
    pub fn open(&mut self, operation: Operation, purpose: Vec<u8>, now: u64) -> u64 {
        let header = self.header.get().clone();
        let id = header.next_id;
        self.change_header(|header| header.next_id += 1);
        let mut entry = Entry {
            id,
            operation,
            created_at_time: now,
            memo: memo(header.tag, header.salt, id),
            purpose,
            stage: Stage::Tip,
            tip: 0,
            scanned: 0,
            sends: 0,
            unknown: 0,
            too_old: false,
            next_try: now.saturating_add(crate::verdict::FIRST_REST),
            tries: 0,
            refusal: None,
        };
        if header.log_seen > 0 && now.saturating_sub(header.log_seen) < TIP_AGE {
            entry.tip_is(header.log_length);
        }
        self.due.insert((entry.next_try, id), ());
        self.entries.insert(id, entry);
        id
    }

    /// An entry that has not ended.
    pub fn get(&self, id: u64) -> Option<Entry> {
        self.entries.get(&id)
    }

    /// Entries that have not ended, from a number on, at most `limit`.
    pub fn open_entries(&self, from: u64, limit: usize) -> Vec<Entry> {
        self.entries
            .range(from..)
            .take(limit)
            .map(|entry| entry.value())
            .collect()
    }

    /// The numbers of the entries that the timer should look at, longest due first, at most `limit`.
    pub fn due(&self, now: u64, limit: usize) -> Vec<u64> {
        let up_to_now = self.due.range(..=(now, u64::MAX));
        up_to_now.take(limit).map(|due| due.key().1).collect()
    }

    /// When the next entry comes up, nanoseconds; `None` if there is none.
    pub fn next_due(&self) -> Option<u64> {
        self.due.first_key_value().map(|((at, _), ())| at)
    }

    /// Figures for metrics.
    pub fn figures(&self) -> Figures {
        let header = self.header.get();
        Figures {
            open: self.entries.len(),
            done: header.done,
            not_done: header.not_done,
            sends: header.sends,
        }
    }

    /// Chooses the next action of an entry and notes that it is begun; the entry as it is then. `None` if it has ended.
    pub fn prepare(&mut self, id: u64, now: u64) -> Option<(Action, Entry)> {
        let mut entry = self.entries.get(&id)?;
        let action = entry.next(now);
        let was_due = entry.next_try;
        entry.begin(action, now);
        self.save(&entry, was_due);
        if action == Action::Send {
            self.change_header(|header| header.sends += 1);
        }
        Some((action, entry))
    }

    /// Takes in the answer to an action. Where it ends the entry, the caller settles its books in the same message.
    pub fn apply(&mut self, id: u64, action: Action, answer: Answer, now: u64) -> Progress {
        self.learn(&answer, now);
        let Some(mut entry) = self.entries.get(&id) else {
            return Progress::Gone;
        };
        let was_due = entry.next_try;
        match entry.answered(action, answer, now) {
            Step::Ended(outcome) => {
                self.due.remove(&(was_due, id));
                self.entries.remove(&id);
                self.change_header(|header| match outcome {
                    Outcome::Done { .. } => header.done += 1,
                    Outcome::NotDone { .. } => header.not_done += 1,
                });
                Progress::Ended(Box::new(entry), outcome)
            }
            step => {
                self.save(&entry, was_due);
                match step {
                    Step::Going => Progress::Going,
                    _ => Progress::Resting,
                }
            }
        }
    }

    fn save(&mut self, entry: &Entry, was_due: u64) {
        if was_due != entry.next_try {
            self.due.remove(&(was_due, entry.id));
            self.due.insert((entry.next_try, entry.id), ());
        }
        self.entries.insert(entry.id, entry.clone());
    }

    /// Keeps what an answer tells of the ledger itself.
    fn learn(&mut self, answer: &Answer, now: u64) {
        match answer {
            Answer::Tip { log_length } | Answer::Looked { log_length, .. } => {
                let log_length = *log_length;
                self.change_header(|header| {
                    header.log_length = log_length;
                    header.log_seen = now;
                });
            }
            Answer::Refused(Refusal::BadFee { expected }) => self.fee_is(*expected),
            _ => {}
        }
    }

    fn change_header(&mut self, change: impl FnOnce(&mut Header)) {
        let mut header = self.header.get().clone();
        change(&mut header);
        self.header.set(header);
    }
}
