//! Movements: every kind of change of balances, as postings that sum to zero. They are built here and nowhere else; the
//! books check and apply them.

use crate::stored;
use candid::Principal;
use emc_protocol::{JobId, Posting, PostingAccount, Timestamp, Tokens, price::share};
use minicbor::{Decode, Encode};

/// What a posting books to or from.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// The world outside.
    #[n(0)]
    Outside,
    /// What a principal has available.
    #[n(1)]
    Available(#[cbor(n(0), with = "stored::principal")] Principal),
    /// What a job has locked.
    #[n(2)]
    Locked(#[n(0)] JobId),
    /// What a withdrawal has set aside, by its journal entry.
    #[n(3)]
    Leaving(#[n(0)] u64),
    /// The treasury.
    #[n(4)]
    Treasury,
    /// What sampled jobs have paid for audits, until auditors are paid from it.
    #[n(5)]
    Audits,
}

/// Why a posting was made.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
#[cbor(index_only)]
pub enum Reason {
    /// Tokens came in.
    #[n(0)]
    Deposit,
    /// A job's most was set aside.
    #[n(1)]
    Lock,
    /// A job's lock ended.
    #[n(2)]
    Unlock,
    /// The node's owner was paid.
    #[n(3)]
    Price,
    /// The treasury's share.
    #[n(4)]
    TreasuryShare,
    /// What was not used went back.
    #[n(5)]
    Refund,
    /// A lease lapsed.
    #[n(6)]
    LapseFee,
    /// Tokens are on their way out, went out, or came back.
    #[n(7)]
    Withdrawal,
    /// A sampled job's share of what audits cost.
    #[n(8)]
    AuditFee,
    /// An auditor was paid for a vote.
    #[n(9)]
    Vote,
    /// The model's author was paid.
    #[n(10)]
    Royalty,
    /// Half of the price, where an audit decided nothing.
    #[n(11)]
    Split,
}

impl Reason {
    /// In a word or two.
    pub fn text(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Price => "price",
            Self::TreasuryShare => "treasury share",
            Self::Refund => "refund",
            Self::LapseFee => "lapse fee",
            Self::Withdrawal => "withdrawal",
            Self::AuditFee => "audit fee",
            Self::Vote => "vote",
            Self::Royalty => "royalty",
            Self::Split => "half of the price",
        }
    }
}

/// One posting.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Where.
    #[n(0)]
    pub account: Account,
    /// What is added, negative where it is taken away.
    #[cbor(n(1), with = "stored::signed")]
    pub amount: i128,
    /// Why.
    #[n(2)]
    pub reason: Reason,
}

/// Postings that sum to zero.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct Movement {
    /// When.
    #[cbor(n(0), with = "stored::time")]
    time: Timestamp,
    /// The postings.
    #[n(1)]
    lines: Vec<Line>,
}

/// From what a withdrawal takes, and to what it goes back if it was not done.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A principal's available balance.
    #[n(0)]
    Available(#[cbor(n(0), with = "stored::principal")] Principal),
    /// The treasury.
    #[n(1)]
    Treasury,
}

impl Source {
    fn account(self) -> Account {
        match self {
            Self::Available(principal) => Account::Available(principal),
            Self::Treasury => Account::Treasury,
        }
    }
}

/// From what auditors are paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteSource {
    /// The job's lock.
    Lock(JobId),
    /// What sampled jobs have paid in, and so much of the treasury.
    Pool {
        /// What the treasury adds.
        treasury: Tokens,
    },
}

/// How a charge is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Who did the work.
    pub owner: Principal,
    /// What the requester pays.
    pub charge: Tokens,
    /// The treasury's share of it, in basis points.
    pub treasury_share: u16,
    /// The model's author and his share of it, in basis points.
    pub royalty: Option<(Principal, u16)>,
}

impl Charge {
    /// A charge on the terms of an attempt.
    pub fn of(attempt: &crate::records::AttemptRecord, charge: Tokens) -> Self {
        Self {
            owner: attempt.owner,
            charge,
            treasury_share: attempt.treasury_share,
            royalty: attempt
                .royalty
                .map(|royalty| (royalty.author, royalty.share)),
        }
    }

    /// What goes to the treasury.
    pub fn treasury(&self) -> Tokens {
        share(self.charge, self.treasury_share)
    }

    /// What goes to the model's author; never more than is left after the treasury.
    pub fn royalty(&self) -> Tokens {
        let asked = self
            .royalty
            .map_or(Tokens::ZERO, |(_, points)| share(self.charge, points));
        Tokens(asked.0.min(self.charge.0 - self.treasury().0))
    }

    /// What goes to the owner.
    pub fn paid(&self) -> Tokens {
        Tokens(self.charge.0 - self.treasury().0 - self.royalty().0)
    }
}

impl Movement {
    fn of(time: Timestamp, lines: &[(Account, i128, Reason)]) -> Self {
        let lines = lines
            .iter()
            .filter(|(_, amount, _)| *amount != 0)
            .map(|&(account, amount, reason)| Line {
                account,
                amount,
                reason,
            })
            .collect();
        Self { time, lines }
    }

    /// Tokens came in for `beneficiary`.
    pub fn deposit(time: Timestamp, beneficiary: Principal, amount: Tokens) -> Self {
        let amount = signed(amount);
        Self::of(
            time,
            &[
                (Account::Outside, -amount, Reason::Deposit),
                (Account::Available(beneficiary), amount, Reason::Deposit),
            ],
        )
    }

    /// A job locks the most it may cost.
    pub fn submit(time: Timestamp, requester: Principal, job: JobId, max_price: Tokens) -> Self {
        let most = signed(max_price);
        Self::of(
            time,
            &[
                (Account::Available(requester), -most, Reason::Lock),
                (Account::Locked(job), most, Reason::Lock),
            ],
        )
    }

    /// A job's lock is divided: owner, treasury, the rest back to the requester. A charge over the lock does not sum to
    /// a valid movement: the requester's line would have to be negative, which [`crate::books::Books::apply`] refuses.
    pub fn settle(
        time: Timestamp,
        requester: Principal,
        job: JobId,
        locked: Tokens,
        charge: &Charge,
    ) -> Self {
        let (locked, paid, treasury, royalty) = (
            signed(locked),
            signed(charge.paid()),
            signed(charge.treasury()),
            signed(charge.royalty()),
        );
        let author = charge.royalty.map_or(charge.owner, |(author, _)| author);
        Self::of(
            time,
            &[
                (Account::Locked(job), -locked, Reason::Unlock),
                (Account::Available(charge.owner), paid, Reason::Price),
                (Account::Treasury, treasury, Reason::TreasuryShare),
                (Account::Available(author), royalty, Reason::Royalty),
                (
                    Account::Available(requester),
                    locked - paid - treasury - royalty,
                    Reason::Refund,
                ),
            ],
        )
    }

    /// A sampled job pays its share of what audits cost, whether or not it is drawn.
    pub fn audit_fee(time: Timestamp, job: JobId, fee: Tokens) -> Self {
        let fee = signed(fee);
        Self::of(
            time,
            &[
                (Account::Locked(job), -fee, Reason::AuditFee),
                (Account::Audits, fee, Reason::AuditFee),
            ],
        )
    }

    /// Auditors are paid for their votes: from the job's lock (`always`), or from what sampled jobs have paid in, where
    /// the treasury adds what is missing.
    pub fn votes(time: Timestamp, from: VoteSource, owners: &[Principal], each: Tokens) -> Self {
        let all = signed(Tokens(each.0.saturating_mul(owners.len() as u128)));
        let mut lines = match from {
            VoteSource::Lock(job) => vec![(Account::Locked(job), -all, Reason::Vote)],
            VoteSource::Pool { treasury } => {
                let added = signed(treasury);
                vec![
                    (Account::Treasury, -added, Reason::Vote),
                    (Account::Audits, added - all, Reason::Vote),
                ]
            }
        };
        lines.extend(
            owners
                .iter()
                .map(|&owner| (Account::Available(owner), signed(each), Reason::Vote)),
        );
        Self::of(time, &lines)
    }

    /// An audit decided nothing: half of the price to the worker's owner, the rest of the lock back. What a sampled job
    /// had paid for audits comes back too, as far as it is there.
    pub fn split(
        time: Timestamp,
        requester: Principal,
        job: JobId,
        locked: Tokens,
        owner: Principal,
        half: Tokens,
        returned: Tokens,
    ) -> Self {
        let (locked, half, returned) = (signed(locked), signed(half), signed(returned));
        Self::of(
            time,
            &[
                (Account::Locked(job), -locked, Reason::Unlock),
                (Account::Audits, -returned, Reason::AuditFee),
                (Account::Available(owner), half, Reason::Split),
                (Account::Available(requester), locked - half, Reason::Refund),
                (Account::Available(requester), returned, Reason::AuditFee),
            ],
        )
    }

    /// A job's lock goes back.
    pub fn refund(time: Timestamp, requester: Principal, job: JobId, locked: Tokens) -> Self {
        let locked = signed(locked);
        Self::of(
            time,
            &[
                (Account::Locked(job), -locked, Reason::Unlock),
                (Account::Available(requester), locked, Reason::Refund),
            ],
        )
    }

    /// A lapsed lease costs the owner a fee, paid to the requester.
    pub fn lapse_fee(time: Timestamp, owner: Principal, requester: Principal, fee: Tokens) -> Self {
        let fee = signed(fee);
        Self::of(
            time,
            &[
                (Account::Available(owner), -fee, Reason::LapseFee),
                (Account::Available(requester), fee, Reason::LapseFee),
            ],
        )
    }

    /// A withdrawal begins.
    pub fn withdraw_begun(time: Timestamp, from: Source, entry: u64, amount: Tokens) -> Self {
        let amount = signed(amount);
        Self::of(
            time,
            &[
                (from.account(), -amount, Reason::Withdrawal),
                (Account::Leaving(entry), amount, Reason::Withdrawal),
            ],
        )
    }

    /// A withdrawal was done.
    pub fn withdraw_done(time: Timestamp, entry: u64, amount: Tokens) -> Self {
        let amount = signed(amount);
        Self::of(
            time,
            &[
                (Account::Leaving(entry), -amount, Reason::Withdrawal),
                (Account::Outside, amount, Reason::Withdrawal),
            ],
        )
    }

    /// A withdrawal was not done.
    pub fn withdraw_not_done(time: Timestamp, to: Source, entry: u64, amount: Tokens) -> Self {
        let amount = signed(amount);
        Self::of(
            time,
            &[
                (Account::Leaving(entry), -amount, Reason::Withdrawal),
                (to.account(), amount, Reason::Withdrawal),
            ],
        )
    }

    /// For the test that a movement which does not sum to zero is refused.
    #[cfg(test)]
    pub(crate) fn without_its_last_line(mut self) -> Self {
        self.lines.pop();
        self
    }

    /// The account that a withdrawal's beginning takes from.
    pub(crate) fn source(&self) -> Option<Source> {
        self.lines.iter().find_map(|line| match line.account {
            Account::Available(principal) => Some(Source::Available(principal)),
            Account::Treasury => Some(Source::Treasury),
            _ => None,
        })
    }

    /// True if nothing moves.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Its lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Its lines as callers see them.
    pub fn postings(&self) -> impl Iterator<Item = Posting> + '_ {
        self.lines.iter().map(|line| Posting {
            account: Some(match line.account {
                Account::Outside => PostingAccount::Outside,
                Account::Available(principal) => PostingAccount::Available(principal),
                Account::Locked(job) => PostingAccount::Locked(job),
                Account::Leaving(entry) => PostingAccount::Leaving(entry),
                Account::Treasury => PostingAccount::Treasury,
                Account::Audits => PostingAccount::Audits,
            }),
            amount: line.amount,
            reason: line.reason.text().to_owned(),
            time: self.time,
        })
    }
}

/// Amounts beyond the type cannot be held by anybody; they become the largest one, which no balance covers.
fn signed(amount: Tokens) -> i128 {
    i128::try_from(amount.0).unwrap_or(i128::MAX)
}
