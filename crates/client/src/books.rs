//! Who has what, kept from a ledger's blocks and from nothing else: balances, allowances and supply.
//!
//! Written from the texts of ICRC-1, ICRC-2 and ICRC-3. What the standards forbid is an error: to spend more than one
//! has or was allowed, to use an allowance that is over, to expect another one than there is, time that runs back.

use emc_protocol::Tokens;
use icrc_ledger_types::icrc::generic_value::{ICRC3Map, ICRC3Value, Value};
use icrc_ledger_types::icrc1::account::Account;
use std::collections::BTreeMap;

/// What a spender may take from an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// How much, fees included.
    pub amount: Tokens,
    /// The time in nanoseconds since 1970 from which on nothing may be taken.
    pub until: Option<u64>,
}

/// Balances, allowances and supply after some blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    balances: BTreeMap<Account, Tokens>,
    allowances: BTreeMap<(Account, Account), Allowed>,
    supply: Tokens,
    time: u64,
}

/// One block, as far as the books need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    time: u64,
    kind: Kind,
    amount: Tokens,
    fee: Tokens,
    from: Option<Account>,
    to: Option<Account>,
    spender: Option<Account>,
    expected_allowance: Option<Tokens>,
    expires_at: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mint,
    Burn,
    Transfer,
    Approve,
}

type Outcome<T> = Result<T, String>;

impl Entry {
    /// What a block says.
    ///
    /// # Errors
    /// What it lacks, or has in another form than ICRC-3 lays down.
    pub fn of(block: &ICRC3Value) -> Outcome<Self> {
        let block = map(block)?;
        let tx = map(field(block, "tx")?)?;
        let kind = match field(tx, "op")? {
            ICRC3Value::Text(op) => match op.as_str() {
                "mint" => Kind::Mint,
                "burn" => Kind::Burn,
                "xfer" => Kind::Transfer,
                "approve" => Kind::Approve,
                other => return Err(format!("there is no operation {other:?}")),
            },
            _ => return Err("the operation is not a text".into()),
        };
        let fee = match (tokens(block, "fee")?, tokens(tx, "fee")?) {
            (Some(_), Some(_)) => return Err("the fee stands in it twice".into()),
            (top, named) => top.or(named).unwrap_or(Tokens(0)),
        };
        if matches!(kind, Kind::Mint | Kind::Burn) && fee != Tokens(0) {
            return Err("a mint or a burn costs a fee".into());
        }
        Ok(Self {
            time: time(block, "ts")?.ok_or("it has no time")?,
            kind,
            amount: tokens(tx, "amt")?.ok_or("it has no amount")?,
            fee,
            from: account(tx, "from")?,
            to: account(tx, "to")?,
            spender: account(tx, "spender")?,
            expected_allowance: tokens(tx, "expected_allowance")?,
            expires_at: time(tx, "expires_at")?,
        })
    }
}

impl Books {
    /// Enters a block.
    ///
    /// # Errors
    /// Why it cannot be true after the blocks before; the books are worth nothing then.
    pub fn record(&mut self, entry: &Entry) -> Outcome<()> {
        if entry.time < self.time {
            return Err("it is older than the block before".into());
        }
        self.time = entry.time;
        let from = || entry.from.ok_or("it does not say from whom");
        let to = || entry.to.ok_or("it does not say to whom");
        match entry.kind {
            Kind::Mint => {
                self.credit(to()?, entry.amount)?;
                self.supply = sum(self.supply, entry.amount)?;
            }
            Kind::Burn => {
                self.spend(from()?, entry, entry.amount)?;
                self.destroy(entry.amount)?;
            }
            Kind::Transfer => {
                self.spend(from()?, entry, sum(entry.amount, entry.fee)?)?;
                self.credit(to()?, entry.amount)?;
                self.destroy(entry.fee)?;
            }
            Kind::Approve => {
                let spender = entry.spender.ok_or("it does not say to whom")?;
                self.approve(from()?, spender, entry)?;
            }
        }
        Ok(())
    }

    fn credit(&mut self, account: Account, amount: Tokens) -> Outcome<()> {
        let balance = sum(self.balance(&account), amount)?;
        self.set_balance(account, balance);
        Ok(())
    }

    fn set_balance(&mut self, account: Account, balance: Tokens) {
        if balance == Tokens(0) {
            self.balances.remove(&account);
        } else {
            self.balances.insert(account, balance);
        }
    }

    fn debit(&mut self, account: Account, amount: Tokens) -> Outcome<()> {
        let balance = self.balance(&account);
        let left = balance.checked_sub(amount);
        let left = left
            .ok_or_else(|| format!("{amount} EMC are taken from {account}, which has {balance}"))?;
        self.set_balance(account, left);
        Ok(())
    }

    fn destroy(&mut self, amount: Tokens) -> Outcome<()> {
        let supply = self.supply.checked_sub(amount);
        self.supply = supply.ok_or("more is destroyed than there is")?;
        Ok(())
    }

    /// Takes from an account, and from the spender's allowance where somebody else spends.
    fn spend(&mut self, from: Account, entry: &Entry, total: Tokens) -> Outcome<()> {
        if let Some(spender) = entry.spender.filter(|spender| *spender != from) {
            let allowed = self.allowance(&from, &spender, entry.time);
            let left = allowed.amount.checked_sub(total).ok_or_else(|| {
                format!(
                    "{spender} takes {total} EMC from {from} and may take {}",
                    allowed.amount
                )
            })?;
            let left = Allowed {
                amount: left,
                ..allowed
            };
            self.set_allowance(from, spender, left);
        }
        self.debit(from, total)
    }

    fn approve(&mut self, from: Account, spender: Account, entry: &Entry) -> Outcome<()> {
        let before = self.allowance(&from, &spender, entry.time).amount;
        if entry
            .expected_allowance
            .is_some_and(|expected| expected != before)
        {
            return Err(format!("it expects another allowance than {before} EMC"));
        }
        if entry.expires_at.is_some_and(|end| end <= entry.time) {
            return Err("the approval was over when it was made".into());
        }
        self.debit(from, entry.fee)?;
        self.destroy(entry.fee)?;
        let allowed = Allowed {
            amount: entry.amount,
            until: entry.expires_at,
        };
        self.set_allowance(from, spender, allowed);
        Ok(())
    }

    fn set_allowance(&mut self, from: Account, spender: Account, allowed: Allowed) {
        if allowed.amount == Tokens(0) {
            self.allowances.remove(&(from, spender));
        } else {
            self.allowances.insert((from, spender), allowed);
        }
    }

    /// What an account has.
    pub fn balance(&self, account: &Account) -> Tokens {
        self.balances.get(account).copied().unwrap_or(Tokens(0))
    }

    /// What a spender may take from an account at a time.
    pub fn allowance(&self, from: &Account, spender: &Account, now: u64) -> Allowed {
        let allowed = self.allowances.get(&(*from, *spender)).copied();
        let valid = allowed.filter(|allowed| allowed.until.is_none_or(|end| end > now));
        valid.unwrap_or(Allowed {
            amount: Tokens(0),
            until: None,
        })
    }

    /// All accounts that have something.
    pub fn balances(&self) -> impl Iterator<Item = (&Account, Tokens)> {
        self.balances
            .iter()
            .map(|(account, balance)| (account, *balance))
    }

    /// All allowances that were not used up, over or not: from whom, by whom.
    pub fn allowances(&self) -> impl Iterator<Item = (&Account, &Account, Allowed)> {
        let all = self.allowances.iter();
        all.map(|((from, spender), allowed)| (from, spender, *allowed))
    }

    /// All tokens that exist: what was minted less what was burned, fees among it.
    pub fn supply(&self) -> Tokens {
        self.supply
    }

    /// The time of the last block, in nanoseconds since 1970.
    pub fn time(&self) -> u64 {
        self.time
    }
}

fn sum(a: Tokens, b: Tokens) -> Outcome<Tokens> {
    a.checked_add(b)
        .ok_or_else(|| "the sum is too large".to_owned())
}

fn map(value: &ICRC3Value) -> Outcome<&ICRC3Map> {
    match value {
        ICRC3Value::Map(map) => Ok(map),
        _ => Err("there is no map where one should be".into()),
    }
}

fn field<'a>(map: &'a ICRC3Map, key: &str) -> Outcome<&'a ICRC3Value> {
    map.get(key).ok_or_else(|| format!("{key} is missing"))
}

fn tokens(map: &ICRC3Map, key: &str) -> Outcome<Option<Tokens>> {
    match map.get(key) {
        None => Ok(None),
        Some(ICRC3Value::Nat(nat)) => match u128::try_from(&nat.0) {
            Ok(amount) => Ok(Some(Tokens(amount))),
            Err(_) => Err(format!("{key} is larger than any amount can be")),
        },
        Some(_) => Err(format!("{key} is not a number")),
    }
}

fn time(map: &ICRC3Map, key: &str) -> Outcome<Option<u64>> {
    match tokens(map, key)? {
        None => Ok(None),
        Some(Tokens(time)) => match u64::try_from(time) {
            Ok(time) => Ok(Some(time)),
            Err(_) => Err(format!("{key} is no time")),
        },
    }
}

fn account(map: &ICRC3Map, key: &str) -> Outcome<Option<Account>> {
    let Some(value) = map.get(key) else {
        return Ok(None);
    };
    let account = Account::try_from(Value::from(value.clone()));
    account
        .map(Some)
        .map_err(|why| format!("{key} is no account: {why}"))
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
