//! The books: double entry, and the one place where balances change. A movement (`movement`) is checked to sum to zero,
//! checked against every balance it touches, and only then applied, as a whole. Nothing outside this file can change a
//! balance or a lock.
//!
//! A job's lock opens when it is submitted and closes when it is final, so the books also count a requester's open jobs
//! and the bytes of their inputs: one read and one write of an account do for both.

use crate::movement::{Account, Movement, Reason, Source};
use crate::records::JobRecord;
use crate::stored::{self, stored};
use candid::Principal;
use emc_protocol::{
    ApiError, ErrorDetail, JobId, Tokens,
    account::{AccountView, Totals},
    error::code,
};
use ic_stable_structures::{Memory, StableBTreeMap, StableCell};
use minicbor::{Decode, Encode};

/// What a job has locked. Only this file can change it.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
#[cbor(transparent)]
pub struct Lock(#[cbor(n(0), with = "stored::tokens")] Tokens);

impl Lock {
    /// How much.
    pub fn amount(self) -> Tokens {
        self.0
    }
}

/// A principal's account. Only this file can change it.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
pub struct AccountRecord {
    #[cbor(n(0), with = "stored::tokens")]
    available: Tokens,
    #[cbor(n(1), with = "stored::tokens")]
    locked: Tokens,
    #[cbor(n(2), with = "stored::tokens")]
    leaving: Tokens,
    #[n(3)]
    open_jobs: u64,
    #[n(4)]
    open_bytes: u64,
}

impl AccountRecord {
    /// Can be spent or withdrawn.
    pub fn available(&self) -> Tokens {
        self.available
    }

    /// Jobs that are not final.
    pub fn open_jobs(&self) -> u64 {
        self.open_jobs
    }

    /// Bytes of the inputs of those.
    pub fn open_bytes(&self) -> u64 {
        self.open_bytes
    }

    /// As callers see it.
    pub fn view(&self) -> AccountView {
        AccountView {
            available: self.available,
            locked: self.locked,
            leaving: self.leaving,
            open_jobs: self.open_jobs,
        }
    }
}

/// What a withdrawal has set aside.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
struct LeavingRecord {
    #[n(0)]
    source: Source,
    #[cbor(n(1), with = "stored::tokens")]
    amount: Tokens,
}

/// The sums.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
struct TotalsRecord {
    #[cbor(n(0), with = "stored::tokens")]
    deposited: Tokens,
    #[cbor(n(1), with = "stored::tokens")]
    withdrawn: Tokens,
    #[cbor(n(2), with = "stored::tokens")]
    available: Tokens,
    #[cbor(n(3), with = "stored::tokens")]
    locked: Tokens,
    #[cbor(n(4), with = "stored::tokens")]
    leaving: Tokens,
    #[cbor(n(5), with = "stored::tokens")]
    treasury: Tokens,
    #[cbor(n(6), with = "stored::maybe_tokens")]
    audits: Option<Tokens>,
}

stored!(AccountRecord, LeavingRecord, TotalsRecord);

/// Why a movement was not applied; nothing has changed.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Refused {
    /// A balance would fall below zero.
    #[error("the balance is {available}, {needed} are needed")]
    Insufficient {
        /// What is there.
        available: Tokens,
        /// What the movement takes.
        needed: Tokens,
    },
    /// The postings do not sum to zero, pass the range of amounts, or name a job or a withdrawal that is not there.
    #[error("the movement is not valid: {0}")]
    Invalid(&'static str),
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Insufficient { available, needed } => Self::new(
                code::INSUFFICIENT_FUNDS,
                format!(
                    "Your account has {available} EMC available, {needed} EMC are needed: deposit more or ask for less."
                ),
            )
            .with(ErrorDetail::InsufficientFunds { available, needed }),
            Refused::Invalid(what) => Self::invalid("amount", format!("one that can be booked ({what})")),
        }
    }
}

/// Balances of principals, withdrawals under way, and the sums of everything.
pub struct Books<M: Memory> {
    accounts: StableBTreeMap<Principal, AccountRecord, M>,
    leaving: StableBTreeMap<u64, LeavingRecord, M>,
    totals: StableCell<TotalsRecord, M>,
}

impl<M: Memory> Books<M> {
    /// Opens the books in their memories.
    pub fn init(accounts: M, leaving: M, totals: M) -> Self {
        Self {
            accounts: StableBTreeMap::init(accounts),
            leaving: StableBTreeMap::init(leaving),
            totals: StableCell::init(totals, TotalsRecord::default()),
        }
    }

    /// A principal's account; empty where there is none.
    pub fn account(&self, principal: &Principal) -> AccountRecord {
        self.accounts.get(principal).unwrap_or_default()
    }

    /// True if the principal has an account.
    pub fn knows(&self, principal: &Principal) -> bool {
        self.accounts.contains_key(principal)
    }

    /// How many accounts there are.
    pub fn accounts(&self) -> u64 {
        self.accounts.len()
    }

    /// The treasury's balance.
    pub fn treasury(&self) -> Tokens {
        self.totals.get().treasury
    }

    /// What sampled jobs have paid for audits and auditors were not paid yet.
    pub fn audits(&self) -> Tokens {
        self.totals.get().audits.unwrap_or_default()
    }

    /// What a withdrawal has set aside, and whose it is.
    pub fn leaving(&self, entry: u64) -> Option<(Source, Tokens)> {
        self.leaving.get(&entry).map(|l| (l.source, l.amount))
    }

    /// The sums.
    pub fn totals(&self, journal_open: u64) -> Totals {
        let totals = self.totals.get();
        Totals {
            deposited: totals.deposited,
            withdrawn: totals.withdrawn,
            available: totals.available,
            locked: totals.locked,
            leaving: totals.leaving,
            treasury: totals.treasury,
            audits: Some(totals.audits.unwrap_or_default()),
            journal_open,
        }
    }

    /// The sums of all accounts and withdrawals, added up anew: for tests, which compare them with the stored ones.
    #[cfg(test)]
    pub(crate) fn sums(&self) -> (Tokens, Tokens, Tokens) {
        let mut sums = (0, 0, 0);
        for account in self.accounts.iter().map(|entry| entry.value()) {
            sums.0 += account.available.0;
            sums.1 += account.locked.0;
        }
        for entry in self.leaving.iter() {
            sums.2 += entry.value().amount.0;
        }
        (Tokens(sums.0), Tokens(sums.1), Tokens(sums.2))
    }

    /// Applies a movement that touches no job.
    pub fn apply(&mut self, movement: &Movement) -> Result<(), Refused> {
        self.apply_lines(movement, None)
    }

    /// Applies a movement for a job: its lock changes with it, and the movement is added to its history. The caller
    /// stores the record.
    pub fn apply_for(
        &mut self,
        movement: Movement,
        id: JobId,
        job: &mut JobRecord,
    ) -> Result<(), Refused> {
        self.apply_lines(&movement, Some((id, job)))?;
        if !movement.is_empty() {
            job.movements.push(movement);
        }
        Ok(())
    }

    /// 1. The sum must be zero. 2. New balances are computed and checked. 3. They are written; nothing fails any more.
    fn apply_lines(
        &mut self,
        movement: &Movement,
        job: Option<(JobId, &mut JobRecord)>,
    ) -> Result<(), Refused> {
        if movement.is_empty() {
            return Ok(());
        }
        let sum = movement
            .lines()
            .iter()
            .try_fold(0i128, |sum, line| sum.checked_add(line.amount));
        if sum != Some(0) {
            return Err(Refused::Invalid("its postings do not sum to zero"));
        }
        if movement
            .lines()
            .iter()
            .any(|line| line.reason == Reason::Refund && line.amount < 0)
        {
            return Err(Refused::Invalid("a charge is over what was locked"));
        }

        let mut totals = *self.totals.get();
        let mut changed: Vec<(Principal, AccountRecord)> = Vec::with_capacity(2);
        let mut lock = job.as_ref().map(|(_, job)| job.lock.0);
        let mut set_aside: Option<(u64, Tokens)> = None;
        for line in movement.lines() {
            match line.account {
                Account::Outside => match line.amount < 0 {
                    true => totals.deposited = add(totals.deposited, -line.amount)?,
                    false => totals.withdrawn = add(totals.withdrawn, line.amount)?,
                },
                Account::Available(principal) => {
                    let account = self.touch(&mut changed, principal);
                    account.available = add(account.available, line.amount)?;
                    totals.available = add(totals.available, line.amount)?;
                }
                Account::Locked(id) => match (&job, lock) {
                    (Some((job_id, _)), Some(before)) if *job_id == id => {
                        lock = Some(add(before, line.amount)?);
                        totals.locked = add(totals.locked, line.amount)?;
                    }
                    _ => return Err(Refused::Invalid("it names another job")),
                },
                Account::Leaving(entry) => {
                    let before = self.leaving.get(&entry).map_or(Tokens::ZERO, |l| l.amount);
                    set_aside = Some((entry, add(before, line.amount)?));
                    totals.leaving = add(totals.leaving, line.amount)?;
                }
                Account::Treasury => totals.treasury = add(totals.treasury, line.amount)?,
                Account::Audits => {
                    let before = totals.audits.unwrap_or_default();
                    totals.audits = Some(add(before, line.amount)?);
                }
            }
        }
        if let (Some((_, job)), Some(after)) = (&job, lock) {
            let account = self.touch(&mut changed, job.requester);
            account.locked = Tokens(account.locked.0 - job.lock.0.0 + after.0);
            if job.lock.0.is_zero() && !after.is_zero() {
                account.open_jobs += 1;
                account.open_bytes += job.input_bytes;
            } else if !job.lock.0.is_zero() && after.is_zero() {
                account.open_jobs -= 1;
                account.open_bytes -= job.input_bytes;
            }
        }
        let source = match set_aside {
            Some((entry, after)) => {
                let source = match self.leaving.get(&entry) {
                    Some(record) => record.source,
                    None => movement
                        .source()
                        .ok_or(Refused::Invalid("a withdrawal without a source"))?,
                };
                if let Source::Available(principal) = source {
                    let before = self.leaving.get(&entry).map_or(Tokens::ZERO, |l| l.amount);
                    let account = self.touch(&mut changed, principal);
                    account.leaving = Tokens(account.leaving.0 - before.0 + after.0);
                }
                Some(source)
            }
            None => None,
        };

        for (principal, account) in changed {
            if account == AccountRecord::default() {
                self.accounts.remove(&principal);
            } else {
                self.accounts.insert(principal, account);
            }
        }
        if let (Some((_, job)), Some(after)) = (job, lock) {
            job.lock = Lock(after);
        }
        if let (Some((entry, amount)), Some(source)) = (set_aside, source) {
            if amount.is_zero() {
                self.leaving.remove(&entry);
            } else {
                self.leaving.insert(entry, LeavingRecord { source, amount });
            }
        }
        self.totals.set(totals);
        Ok(())
    }

    fn touch<'a>(
        &self,
        changed: &'a mut Vec<(Principal, AccountRecord)>,
        principal: Principal,
    ) -> &'a mut AccountRecord {
        let at = match changed.iter().position(|(known, _)| *known == principal) {
            Some(at) => at,
            None => {
                changed.push((principal, self.account(&principal)));
                changed.len() - 1
            }
        };
        &mut changed[at].1
    }
}

/// A balance after a change; the postings of one account come in an order in which what is taken is taken first.
fn add(balance: Tokens, change: i128) -> Result<Tokens, Refused> {
    balance
        .0
        .checked_add_signed(change)
        .map(Tokens)
        .ok_or(Refused::Insufficient {
            available: balance,
            needed: Tokens(change.unsigned_abs()),
        })
}
