//! Votes in the journal: written with their salt before they are committed to, kept until they are revealed. A vote that
//! was lost in between would cost its bond.

use candid::CandidType;
use emc_protocol::audit::{AuditSummary, Vote};
use emc_protocol::{ByteBuf, JobId};
use redb::{ReadableDatabase, ReadableTable, Table};
use serde::{Deserialize, Serialize};

use super::{Journal, Result, VOTES, decode, encode, records, storage};

/// A seat in a round of an audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatKey {
    /// The job.
    pub job_id: JobId,
    /// The round.
    pub round: u32,
}

impl SeatKey {
    /// The key of an audit that waits for this node.
    pub fn of(audit: &AuditSummary) -> Self {
        Self {
            job_id: audit.job_id,
            round: audit.round,
        }
    }

    fn tuple(self) -> (u64, u32) {
        (self.job_id, self.round)
    }
}

/// A vote that is committed to, or about to be.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SealedVote {
    /// The job.
    pub job_id: JobId,
    /// The round.
    pub round: u32,
    /// SHA-256 of the task that it was computed from.
    pub task: ByteBuf,
    /// 32 bytes that nobody else knows.
    pub salt: ByteBuf,
    /// The vote.
    pub vote: Vote,
    /// True once the escrow has confirmed the commitment.
    pub committed: bool,
}

impl SealedVote {
    /// The seat that it is for.
    pub fn key(&self) -> SeatKey {
        SeatKey {
            job_id: self.job_id,
            round: self.round,
        }
    }
}

/// How a seat ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteEnd {
    /// The vote was revealed in time.
    Revealed,
    /// There was none, or it was not revealed in time.
    Missed,
}

/// Votes since the journal began.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoteTotals {
    /// Committed to.
    pub committed: u64,
    /// Revealed.
    pub revealed: u64,
    /// Seats that ended without a revealed vote.
    pub missed: u64,
}

impl Journal {
    /// Stores a vote that will be committed to.
    ///
    /// # Errors
    /// Where the journal cannot be written: then it must not be committed to.
    pub fn sealed(&self, vote: &SealedVote) -> Result<()> {
        self.change(|tables| put(&mut tables.votes, vote))
    }

    /// The escrow has a vote's commitment.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    pub fn committed(&self, key: SeatKey) -> Result<()> {
        self.change(|tables| {
            let stored = tables.votes.get(key.tuple()).map_err(storage)?;
            let stored = stored.map(|bytes| decode::<(SealedVote,)>(bytes.value(), "a vote"));
            if let Some((mut vote,)) = stored.transpose()?
                && !vote.committed
            {
                vote.committed = true;
                tables.vote_totals.committed += 1;
                put(&mut tables.votes, &vote)?;
            }
            Ok(())
        })
    }

    /// A seat ended; its vote, where there is one, is not kept any longer.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    pub fn seat_ended(&self, key: SeatKey, end: VoteEnd) -> Result<()> {
        self.change(|tables| {
            let stored = tables.votes.remove(key.tuple()).map_err(storage)?;
            match end {
                VoteEnd::Revealed => tables.vote_totals.revealed += u64::from(stored.is_some()),
                VoteEnd::Missed => tables.vote_totals.missed += 1,
            }
            Ok(())
        })
    }

    /// The vote of a seat.
    ///
    /// # Errors
    /// Where the journal cannot be read, or the record is damaged.
    pub fn sealed_vote(&self, key: SeatKey) -> Result<Option<SealedVote>> {
        let read = self.database.begin_read().map_err(storage)?;
        let table = read.open_table(VOTES).map_err(storage)?;
        let stored = table.get(key.tuple()).map_err(storage)?;
        let vote = stored.map(|bytes| decode::<(SealedVote,)>(bytes.value(), "a vote"));
        Ok(vote.transpose()?.map(|(vote,)| vote))
    }

    /// All votes that are not revealed.
    ///
    /// # Errors
    /// Where the journal cannot be read. A record that is damaged is left out and logged.
    pub fn sealed_votes(&self) -> Result<Vec<SealedVote>> {
        let read = self.database.begin_read().map_err(storage)?;
        let votes = records::<(SealedVote,)>(&read, VOTES, "a vote")?;
        Ok(votes.into_iter().map(|(_, (vote,))| vote).collect())
    }

    /// Votes since the journal began.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub fn vote_totals(&self) -> Result<VoteTotals> {
        let read = self.database.begin_read().map_err(storage)?;
        stored_totals(&read.open_table(super::META).map_err(storage)?)
    }
}

fn put(votes: &mut Table<'_, (u64, u32), &'static [u8]>, vote: &SealedVote) -> Result<()> {
    let bytes = encode((vote,));
    votes
        .insert(vote.key().tuple(), bytes.as_slice())
        .map_err(storage)?;
    Ok(())
}

pub(super) fn stored_totals(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<VoteTotals> {
    match meta.get("votes").map_err(storage)? {
        Some(bytes) => decode::<(VoteTotals,)>(bytes.value(), "the votes").map(|(totals,)| totals),
        None => Ok(VoteTotals::default()),
    }
}

pub(super) fn store_totals(
    meta: &mut Table<'_, &'static str, &'static [u8]>,
    totals: VoteTotals,
) -> Result<()> {
    meta.insert("votes", encode((totals,)).as_slice())
        .map_err(storage)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_escrow::{ESCROW, node};

    fn vote(job_id: JobId) -> SealedVote {
        let vote = Vote {
            positions: 20,
            matches: 19,
            largest_gap_milli: 7,
            mean_gap_milli: 1,
            above: vec![0, 0],
            prompt_tokens: 9,
            ends_right: true,
            text_right: true,
            differences: vec![-5, i32::MIN, i32::MAX],
        };
        SealedVote {
            job_id,
            round: 2,
            task: ByteBuf::from(vec![1; 32]),
            salt: ByteBuf::from(vec![2; 32]),
            vote,
            committed: false,
        }
    }

    #[test]
    fn a_sealed_vote_is_kept_whole_until_its_seat_ends() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal");
        let open = || Journal::open(&path, node(), ESCROW).expect("opens");
        open().sealed(&vote(3)).expect("stores");
        open().sealed(&vote(4)).expect("stores");
        let journal = open();
        assert_eq!(journal.sealed_votes().expect("reads"), [vote(3), vote(4)]);
        journal.committed(vote(3).key()).expect("stores");
        journal.committed(vote(3).key()).expect("stores");
        let kept = journal.sealed_vote(vote(3).key()).expect("reads");
        assert_eq!(kept.map(|vote| vote.committed), Some(true));
        for _ in 0..2 {
            journal
                .seat_ended(vote(3).key(), VoteEnd::Revealed)
                .expect("stores");
        }
        journal
            .seat_ended(vote(4).key(), VoteEnd::Missed)
            .expect("stores");
        drop(journal);
        let totals = VoteTotals {
            committed: 1,
            revealed: 1,
            missed: 1,
        };
        assert_eq!(open().vote_totals().expect("reads"), totals);
        assert!(open().sealed_votes().expect("reads").is_empty());
    }
}
