//! The journal: every lease and every result that is owed, on disk before anything is done about it.
//!
//! A key-value file (redb) whose every change is one transaction, synced before the call returns, so that a crash at
//! any point leaves either the state before or the state after. Records are Candid, which lets fields be added.
//!
//! A lease is stored when it is claimed, its preview before each `extend`. When the answer is finished, one transaction
//! turns both into an owed result, which stays until the escrow has accepted or definitely refused it. What is accepted
//! but not paid yet is remembered until it is. Votes on other nodes' results are in `votes`.

mod votes;

use std::path::Path;

use candid::utils::{ArgumentDecoder, ArgumentEncoder};
use candid::{CandidType, Principal};
use emc_protocol::{JobId, Lease, Tokens};
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::delivery::Owed;
use crate::preview::Preview;

pub use votes::{SealedVote, SeatKey, VoteEnd, VoteTotals};

type Records = TableDefinition<'static, (u64, u32), &'static [u8]>;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const LEASES: Records = TableDefinition::new("leases");
const PREVIEWS: Records = TableDefinition::new("previews");
const OWED: Records = TableDefinition::new("owed");
const AWAITED: Records = TableDefinition::new("awaited");
const VOTES: Records = TableDefinition::new("votes");

/// The version of this layout.
const LAYOUT: u32 = 1;

/// A job and the attempt at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt: u32,
}

impl JobKey {
    /// The key of a lease.
    pub fn of(lease: &Lease) -> Self {
        Self {
            job_id: lease.job_id,
            attempt: lease.attempt,
        }
    }

    fn tuple(self) -> (u64, u32) {
        (self.job_id, self.attempt)
    }
}

/// What the node has done since its journal began.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Leases taken.
    pub claimed: u64,
    /// Results accepted.
    pub delivered: u64,
    /// Leases given back.
    pub declined: u64,
    /// Leases that ended without a result: lapsed, cancelled, or the result came too late.
    pub lost: u64,
    /// Prompt tokens of accepted results.
    pub prompt_tokens: u64,
    /// Output tokens of accepted results.
    pub output_tokens: u64,
    /// What the owner was paid for jobs that are final.
    pub earned: Tokens,
}

/// A result that was accepted, and is paid or not once its job has been drawn or audited.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt: u32,
}

impl Awaited {
    /// The job and attempt.
    pub fn key(self) -> JobKey {
        JobKey {
            job_id: self.job_id,
            attempt: self.attempt,
        }
    }
}

/// How a lease ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEnd {
    /// Given back.
    Declined,
    /// Lapsed or cancelled.
    Lost,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened, read or written.
    #[error("the journal: {0}")]
    Storage(#[from] redb::Error),
    /// Another process has it open.
    #[error("the journal is in use by another process")]
    InUse,
    /// It belongs to another node or escrow.
    #[error(
        "the journal is of {what} {found}, not {wanted}: name another data_dir, or the {what} that it is of"
    )]
    Foreign {
        /// `node` or `escrow`.
        what: &'static str,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// A newer worker wrote it.
    #[error("the journal has layout {0}, this worker knows {LAYOUT}: use a newer worker")]
    Layout(u32),
    /// A record that this worker cannot read.
    #[error("the journal's record of {0} is damaged: {1}")]
    Damaged(String, String),
    /// The write did not come to its end.
    #[error("writing the journal was interrupted: {0}")]
    Interrupted(String),
}

type Result<T, E = JournalError> = std::result::Result<T, E>;

fn storage(error: impl Into<redb::Error>) -> JournalError {
    JournalError::Storage(error.into())
}

/// The open journal of one node in one escrow.
pub struct Journal {
    database: Database,
}

impl Journal {
    /// Opens the journal, or begins one.
    ///
    /// # Errors
    /// Where the file cannot be used, or is another node's or escrow's.
    pub fn open(path: &Path, node: Principal, escrow: Principal) -> Result<Self> {
        let journal = Self::open_any(path)?;
        let write = journal.database.begin_write().map_err(storage)?;
        {
            let mut meta = write.open_table(META).map_err(storage)?;
            for (what, wanted) in [("node", node), ("escrow", escrow)] {
                let found = meta
                    .get(what)
                    .map_err(storage)?
                    .map(|found| found.value().to_vec());
                match found {
                    None => {
                        meta.insert(what, wanted.as_slice()).map_err(storage)?;
                    }
                    Some(found) if found == wanted.as_slice() => {}
                    Some(found) => {
                        return Err(JournalError::Foreign {
                            what,
                            found: Principal::try_from_slice(&found)
                                .map_or_else(|_| hex::encode(&found), |p| p.to_text()),
                            wanted: wanted.to_text(),
                        });
                    }
                }
            }
        }
        write.commit().map_err(storage)?;
        Ok(journal)
    }

    /// Opens the journal of whatever node and escrow, to look at it.
    ///
    /// # Errors
    /// Where the file cannot be used.
    pub fn open_any(path: &Path) -> Result<Self> {
        let database = Database::create(path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => JournalError::InUse,
            other => storage(other),
        })?;
        let write = database.begin_write().map_err(storage)?;
        {
            for table in [LEASES, PREVIEWS, OWED, AWAITED, VOTES] {
                write.open_table(table).map_err(storage)?;
            }
            let mut meta = write.open_table(META).map_err(storage)?;
            let layout = meta
                .get("layout")
                .map_err(storage)?
                .map(|layout| layout.value().to_vec());
            match layout {
                None => {
                    meta.insert("layout", LAYOUT.to_le_bytes().as_slice())
                        .map_err(storage)?;
                }
                Some(layout) => {
                    let layout = <[u8; 4]>::try_from(layout.as_slice())
                        .map(u32::from_le_bytes)
                        .unwrap_or(u32::MAX);
                    if layout != LAYOUT {
                        return Err(JournalError::Layout(layout));
                    }
                }
            }
        }
        write.commit().map_err(storage)?;
        Ok(Self { database })
    }

    /// Stores leases that were claimed. A record of the same job and attempt is one of an earlier installation of the
    /// escrow, which no longer counts.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    pub fn claimed(&self, leases: &[Lease]) -> Result<()> {
        self.change(|tables| {
            for lease in leases {
                let key = JobKey::of(lease).tuple();
                tables
                    .leases
                    .insert(key, encode((lease,)).as_slice())
                    .map_err(storage)?;
                tables.previews.remove(key).map_err(storage)?;
                tables.owed.remove(key).map_err(storage)?;
            }
            tables.totals.claimed += leases.len() as u64;
            Ok(())
        })
    }

    /// Stores what of an unfinished answer the escrow may be shown next. Nothing where the lease is not stored.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    pub fn previewed(&self, key: JobKey, preview: &Preview) -> Result<()> {
        self.change(|tables| {
            let leased = tables.leases.get(key.tuple()).map_err(storage)?.is_some();
            if leased {
                tables
                    .previews
                    .insert(key.tuple(), encode((preview,)).as_slice())
                    .map_err(storage)?;
            }
            Ok(())
        })
    }

    /// Turns a lease into an owed result.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    pub fn finished(&self, owed: &Owed) -> Result<()> {
        let key = owed.key().tuple();
        self.change(|tables| {
            tables.leases.remove(key).map_err(storage)?;
            tables.previews.remove(key).map_err(storage)?;
            tables
                .owed
                .insert(key, encode((owed,)).as_slice())
                .map_err(storage)?;
            Ok(())
        })
    }

    /// Ends a lease that has no result.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    pub fn ended(&self, key: JobKey, end: LeaseEnd) -> Result<()> {
        self.change(|tables| {
            let was_there = tables
                .leases
                .remove(key.tuple())
                .map_err(storage)?
                .is_some();
            tables.previews.remove(key.tuple()).map_err(storage)?;
            if was_there {
                match end {
                    LeaseEnd::Declined => tables.totals.declined += 1,
                    LeaseEnd::Lost => tables.totals.lost += 1,
                }
            }
            Ok(())
        })
    }

    /// Ends an owed result that the escrow has accepted. `paid` is what the owner got; `None` where that is decided
    /// later, by [`Journal::settled`].
    ///
    /// # Errors
    /// Where the journal cannot be written.
    pub fn delivered(&self, owed: &Owed, paid: Option<Tokens>) -> Result<()> {
        self.change(|tables| {
            let was_there = tables
                .owed
                .remove(owed.key().tuple())
                .map_err(storage)?
                .is_some();
            if was_there {
                let usage = owed.args.usage;
                let totals = &mut tables.totals;
                totals.delivered += 1;
                totals.prompt_tokens = totals.prompt_tokens.saturating_add(usage.prompt_tokens);
                totals.output_tokens = totals.output_tokens.saturating_add(usage.output_tokens);
                let paid_now = paid.unwrap_or(Tokens::ZERO);
                totals.earned = Tokens(totals.earned.0.saturating_add(paid_now.0));
                if paid.is_none() {
                    let JobKey { job_id, attempt } = owed.key();
                    let awaited = encode((Awaited { job_id, attempt },));
                    let key = owed.key().tuple();
                    tables
                        .awaited
                        .insert(key, awaited.as_slice())
                        .map_err(storage)?;
                }
            }
            Ok(())
        })
    }

    /// The job of an accepted result is final, and its owner was paid this.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    pub fn settled(&self, key: JobKey, paid: Tokens) -> Result<()> {
        self.change(|tables| {
            let was_there = tables
                .awaited
                .remove(key.tuple())
                .map_err(storage)?
                .is_some();
            if was_there {
                let totals = &mut tables.totals;
                totals.earned = Tokens(totals.earned.0.saturating_add(paid.0));
            }
            Ok(())
        })
    }

    /// The accepted results whose jobs are not final yet.
    ///
    /// # Errors
    /// Where the journal cannot be read. A record that is damaged is left out and logged.
    pub fn awaited(&self) -> Result<Vec<Awaited>> {
        let read = self.database.begin_read().map_err(storage)?;
        let awaited = records::<(Awaited,)>(&read, AWAITED, "an awaited payment")?;
        Ok(awaited.into_iter().map(|(_, (awaited,))| awaited).collect())
    }

    /// Ends an owed result that nobody wants any more.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    pub fn refused(&self, key: JobKey) -> Result<()> {
        self.change(|tables| {
            let was_there = tables.owed.remove(key.tuple()).map_err(storage)?.is_some();
            tables.totals.lost += u64::from(was_there);
            Ok(())
        })
    }

    /// All leases without a result, each with its preview.
    ///
    /// # Errors
    /// Where the journal cannot be read. A record that is damaged is left out and logged.
    pub fn leases(&self) -> Result<Vec<(Lease, Preview)>> {
        let read = self.database.begin_read().map_err(storage)?;
        let previews = read.open_table(PREVIEWS).map_err(storage)?;
        let mut all = vec![];
        for (key, (lease,)) in records::<(Lease,)>(&read, LEASES, "a lease")? {
            let preview = match previews.get(key).map_err(storage)? {
                Some(bytes) => decode::<(Preview,)>(bytes.value(), "a preview").map(|(p,)| p),
                None => Ok(Preview::default()),
            };
            match preview {
                Ok(preview) => all.push((lease, preview)),
                Err(error) => tracing::error!(job_id = key.0, %error, "left out"),
            }
        }
        Ok(all)
    }

    /// All results that are owed.
    ///
    /// # Errors
    /// Where the journal cannot be read. A record that is damaged is left out and logged.
    pub fn owed(&self) -> Result<Vec<Owed>> {
        let read = self.database.begin_read().map_err(storage)?;
        let owed = records::<(Owed,)>(&read, OWED, "an owed result")?;
        Ok(owed.into_iter().map(|(_, (owed,))| owed).collect())
    }

    /// What was done since the journal began.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub fn totals(&self) -> Result<Totals> {
        let read = self.database.begin_read().map_err(storage)?;
        let meta = read.open_table(META).map_err(storage)?;
        stored_totals(&meta)
    }

    /// One transaction. Nothing of it remains where `work` fails.
    fn change(&self, work: impl FnOnce(&mut Tables<'_>) -> Result<()>) -> Result<()> {
        let write = self.database.begin_write().map_err(storage)?;
        {
            let mut meta = write.open_table(META).map_err(storage)?;
            let before = stored_totals(&meta)?;
            let votes_before = votes::stored_totals(&meta)?;
            let mut tables = Tables {
                leases: write.open_table(LEASES).map_err(storage)?,
                previews: write.open_table(PREVIEWS).map_err(storage)?,
                owed: write.open_table(OWED).map_err(storage)?,
                awaited: write.open_table(AWAITED).map_err(storage)?,
                votes: write.open_table(VOTES).map_err(storage)?,
                totals: before,
                vote_totals: votes_before,
            };
            work(&mut tables)?;
            if tables.totals != before {
                meta.insert("totals", encode((tables.totals,)).as_slice())
                    .map_err(storage)?;
            }
            if tables.vote_totals != votes_before {
                votes::store_totals(&mut meta, tables.vote_totals)?;
            }
        }
        write.commit().map_err(storage)
    }
}

struct Tables<'a> {
    leases: Table<'a, (u64, u32), &'static [u8]>,
    previews: Table<'a, (u64, u32), &'static [u8]>,
    owed: Table<'a, (u64, u32), &'static [u8]>,
    awaited: Table<'a, (u64, u32), &'static [u8]>,
    votes: Table<'a, (u64, u32), &'static [u8]>,
    totals: Totals,
    vote_totals: VoteTotals,
}

fn stored_totals(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Totals> {
    match meta.get("totals").map_err(storage)? {
        Some(bytes) => decode::<(Totals,)>(bytes.value(), "the totals").map(|(totals,)| totals),
        None => Ok(Totals::default()),
    }
}

fn encode(record: impl ArgumentEncoder) -> Vec<u8> {
    candid::encode_args(record).expect("our own types have a Candid form")
}

fn decode<T: for<'a> ArgumentDecoder<'a>>(bytes: &[u8], what: &str) -> Result<T> {
    candid::decode_args(bytes)
        .map_err(|error| JournalError::Damaged(what.to_owned(), error.to_string()))
}

fn records<T: for<'a> ArgumentDecoder<'a>>(
    read: &redb::ReadTransaction,
    table: Records,
    what: &str,
) -> Result<Vec<((u64, u32), T)>> {
    let table = read.open_table(table).map_err(storage)?;
    let mut all = vec![];
    for entry in table.iter().map_err(storage)? {
        let (key, bytes) = entry.map_err(storage)?;
        match decode(bytes.value(), what) {
            Ok(record) => all.push((key.value(), record)),
            Err(error) => tracing::error!(job_id = key.value().0, %error, "left out"),
        }
    }
    Ok(all)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
