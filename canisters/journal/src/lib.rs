//! Ledger calls that survive lost answers: the journal that the registry and the escrow share.
//!
//! A call to a token ledger may be executed although its answer never arrives. So every call that moves tokens is
//! written down before it is made ([`Entry`]), with everything that makes it the same call when it is sent again:
//! amount, fee, `created_at_time`, and a memo that no other entry ever has. An entry ends only with certainty: *done*
//! when the ledger says so or its block is found in the log, *not done* when no call of it can have been executed and
//! none can be any more (the rules are in [`verdict`]).
//!
//! A canister keeps a [`Journal`] in its stable memory, implements [`Host`], and then
//! 1. checks everything, changes its own books to "under way", and [`Journal::open`]s an entry, in one message;
//! 2. awaits [`driver::perform`], which sends, and ends the entry where it can;
//! 3. has [`Host::ended`] called in the very message in which the entry ends, to settle its books: the ledger's answer
//!    and what follows from it are committed together, or a trap rolls both back and the entry is looked at again;
//! 4. calls [`driver::resume_due`] from a timer, which brings home whatever `perform` could not.
//!
//! One canister has one journal.

pub mod cbor;
pub mod driver;
pub mod entry;
pub mod journal;
pub mod ledger;
pub mod refusal;
pub mod verdict;

pub use driver::{Host, Verdict};
pub use entry::{Entry, Operation};
pub use icrc_ledger_types::icrc1::account::Account;
pub use journal::{Journal, Memories, Progress};
pub use refusal::Refusal;
pub use verdict::{Action, Answer, Outcome};
