//! ICRC-1 and ICRC-2 in memory, written from the text of the standards and not from the ledger's code: what the ledger
//! must answer. Amounts are unbounded, history is a list that is searched from the start, nothing is ever pruned.

use candid::{Nat, Principal};
use icrc_ledger_types::{
    icrc1::{
        account::Account,
        transfer::{TransferArg, TransferError},
    },
    icrc2::{
        approve::{ApproveArgs, ApproveError},
        transfer_from::{TransferFromArgs, TransferFromError},
    },
};
use std::collections::BTreeMap;

const DAY: u64 = 86_400_000_000_000;
const DRIFT: u64 = 120_000_000_000;
const LONGEST_MEMO: usize = 64;

pub type Place = (Principal, [u8; 32]);

pub fn place(account: &Account) -> Place {
    (account.owner, account.subaccount.unwrap_or([0; 32]))
}

pub struct Oracle {
    pub fee: Nat,
    pub cap: Nat,
    pub minter: Place,
    pub balances: BTreeMap<Place, Nat>,
    pub allowances: BTreeMap<(Place, Place), (Nat, Option<u64>)>,
    pub supply: Nat,
    /// Every block: the transaction as text, and when its caller made it.
    pub history: Vec<(String, Option<u64>)>,
}

fn zero() -> Nat {
    Nat::from(0u8)
}

fn refused<E>(code: u8, error: impl Fn(Nat, String) -> E) -> E {
    error(Nat::from(code), String::new())
}

impl Oracle {
    pub fn new(fee: u128, cap: u128, minter: Account) -> Self {
        Self {
            fee: fee.into(),
            cap: cap.into(),
            minter: place(&minter),
            balances: BTreeMap::new(),
            allowances: BTreeMap::new(),
            supply: zero(),
            history: vec![],
        }
    }

    pub fn balance(&self, account: &Account) -> Nat {
        self.balances
            .get(&place(account))
            .cloned()
            .unwrap_or_else(zero)
    }

    /// The accounts that hold something.
    pub fn held(&self) -> BTreeMap<Place, Nat> {
        let mut held = self.balances.clone();
        held.retain(|_, balance| *balance > 0u8);
        held
    }

    pub fn allowance(&self, from: &Account, spender: &Account, now: u64) -> (Nat, Option<u64>) {
        match self.allowances.get(&(place(from), place(spender))) {
            Some((_, Some(end))) if *end <= now => (zero(), None),
            Some(allowance) => allowance.clone(),
            None => (zero(), None),
        }
    }

    fn change(&mut self, account: &Account, change: impl FnOnce(Nat) -> Nat) {
        let balance = change(self.balance(account));
        self.balances.insert(place(account), balance);
    }

    fn duplicate_of(&self, transaction: &str, created_at: Option<u64>) -> Option<Nat> {
        created_at?;
        let same = |(text, _): &(String, _)| text == transaction;
        self.history.iter().position(same).map(Nat::from)
    }

    fn record(&mut self, transaction: String, created_at: Option<u64>) -> Nat {
        self.history.push((transaction, created_at));
        Nat::from(self.history.len() - 1)
    }

    pub fn transfer(
        &mut self,
        caller: Principal,
        arg: &TransferArg,
        now: u64,
    ) -> Result<Nat, TransferError> {
        let arg = TransferFromArgs {
            spender_subaccount: None,
            from: Account {
                owner: caller,
                subaccount: arg.from_subaccount,
            },
            to: arg.to,
            amount: arg.amount.clone(),
            fee: arg.fee.clone(),
            memo: arg.memo.clone(),
            created_at_time: arg.created_at_time,
        };
        use TransferFromError as From;
        self.movement(caller, None, &arg, now)
            .map_err(|error| match error {
                From::BadFee { expected_fee } => TransferError::BadFee { expected_fee },
                From::BadBurn { min_burn_amount } => TransferError::BadBurn { min_burn_amount },
                From::InsufficientFunds { balance } => TransferError::InsufficientFunds { balance },
                From::TooOld => TransferError::TooOld,
                From::CreatedInFuture { ledger_time } => {
                    TransferError::CreatedInFuture { ledger_time }
                }
                From::Duplicate { duplicate_of } => TransferError::Duplicate { duplicate_of },
                From::GenericError {
                    error_code,
                    message,
                } => TransferError::GenericError {
                    error_code,
                    message,
                },
                other => panic!("the oracle answered {other:?} to a plain transfer"),
            })
    }

    pub fn transfer_from(
        &mut self,
        caller: Principal,
        arg: &TransferFromArgs,
        now: u64,
    ) -> Result<Nat, TransferFromError> {
        let spender = Account {
            owner: caller,
            subaccount: arg.spender_subaccount,
        };
        self.movement(caller, Some(spender), arg, now)
    }

    fn movement(
        &mut self,
        caller: Principal,
        spender: Option<Account>,
        arg: &TransferFromArgs,
        now: u64,
    ) -> Result<Nat, TransferFromError> {
        use TransferFromError as E;
        let generic = |code| {
            refused(code, |error_code, message| E::GenericError {
                error_code,
                message,
            })
        };
        if caller == Principal::anonymous() {
            return Err(generic(1));
        }
        if arg
            .memo
            .as_ref()
            .is_some_and(|memo| memo.0.len() > LONGEST_MEMO)
        {
            return Err(generic(2));
        }
        let burn = place(&arg.to) == self.minter;
        let mint = !burn && place(&arg.from) == self.minter;
        if mint && spender.is_some() {
            return Err(generic(4));
        }
        let fee = if burn || mint {
            zero()
        } else {
            self.fee.clone()
        };
        if arg.fee.as_ref().is_some_and(|named| *named != fee) {
            return Err(E::BadFee { expected_fee: fee });
        }
        let balance = self.balance(&arg.from);
        if burn {
            let least = self.fee.clone().min(balance.clone()).max(Nat::from(1u8));
            if arg.amount < least {
                return Err(E::BadBurn {
                    min_burn_amount: least,
                });
            }
        }
        if let Some(created_at) = arg.created_at_time {
            if u128::from(created_at) + u128::from(DAY + DRIFT) < u128::from(now) {
                return Err(E::TooOld);
            }
            if u128::from(created_at) > u128::from(now) + u128::from(DRIFT) {
                return Err(E::CreatedInFuture { ledger_time: now });
            }
        }
        let transaction = if mint {
            format!(
                "mint {:?} {} {:?} {:?}",
                arg.to, arg.amount, arg.memo, arg.created_at_time
            )
        } else if burn {
            format!(
                "burn {:?} {spender:?} {} {:?} {:?}",
                arg.from, arg.amount, arg.memo, arg.created_at_time
            )
        } else {
            format!(
                "xfer {:?} {:?} {spender:?} {} {:?} {:?} {:?}",
                arg.from, arg.to, arg.amount, arg.fee, arg.memo, arg.created_at_time
            )
        };
        if let Some(duplicate_of) = self.duplicate_of(&transaction, arg.created_at_time) {
            return Err(E::Duplicate { duplicate_of });
        }
        let total = arg.amount.clone() + fee.clone();
        let stranger = spender.filter(|spender| place(spender) != place(&arg.from));
        if let Some(spender) = &stranger {
            let (allowance, _) = self.allowance(&arg.from, spender, now);
            if allowance < total {
                return Err(E::InsufficientAllowance { allowance });
            }
        }
        if mint && self.supply.clone() + arg.amount.clone() > self.cap {
            return Err(generic(3));
        }
        if !mint && balance < total {
            return Err(E::InsufficientFunds { balance });
        }
        if let Some(spender) = &stranger {
            let (allowance, end) = self.allowance(&arg.from, spender, now);
            let pair = (place(&arg.from), place(spender));
            self.allowances
                .insert(pair, (allowance - total.clone(), end));
        }
        if mint {
            self.supply += arg.amount.clone();
        } else {
            self.change(&arg.from, |balance| balance - total);
            self.supply -= fee;
        }
        if burn {
            self.supply -= arg.amount.clone();
        } else {
            self.change(&arg.to, |balance| balance + arg.amount.clone());
        }
        Ok(self.record(transaction, arg.created_at_time))
    }

    pub fn approve(
        &mut self,
        caller: Principal,
        arg: &ApproveArgs,
        now: u64,
    ) -> Result<Nat, ApproveError> {
        use ApproveError as E;
        let generic = |code| {
            refused(code, |error_code, message| E::GenericError {
                error_code,
                message,
            })
        };
        let from = Account {
            owner: caller,
            subaccount: arg.from_subaccount,
        };
        if caller == Principal::anonymous() {
            return Err(generic(1));
        }
        if arg.spender.owner == caller {
            return Err(generic(6));
        }
        if place(&from) == self.minter {
            return Err(generic(5));
        }
        if arg
            .memo
            .as_ref()
            .is_some_and(|memo| memo.0.len() > LONGEST_MEMO)
        {
            return Err(generic(2));
        }
        if arg.fee.as_ref().is_some_and(|named| *named != self.fee) {
            return Err(E::BadFee {
                expected_fee: self.fee.clone(),
            });
        }
        if let Some(created_at) = arg.created_at_time {
            if u128::from(created_at) + u128::from(DAY + DRIFT) < u128::from(now) {
                return Err(E::TooOld);
            }
            if u128::from(created_at) > u128::from(now) + u128::from(DRIFT) {
                return Err(E::CreatedInFuture { ledger_time: now });
            }
        }
        let amount = arg.amount.clone().min(Nat::from(u128::MAX));
        let arg = ApproveArgs {
            amount,
            ..arg.clone()
        };
        let transaction = format!("approve {from:?} {arg:?}");
        if let Some(duplicate_of) = self.duplicate_of(&transaction, arg.created_at_time) {
            return Err(E::Duplicate { duplicate_of });
        }
        let balance = self.balance(&from);
        if balance < self.fee {
            return Err(E::InsufficientFunds { balance });
        }
        if arg.expires_at.is_some_and(|end| end <= now) {
            return Err(E::Expired { ledger_time: now });
        }
        let (current_allowance, _) = self.allowance(&from, &arg.spender, now);
        if arg
            .expected_allowance
            .as_ref()
            .is_some_and(|expected| *expected != current_allowance)
        {
            return Err(E::AllowanceChanged { current_allowance });
        }
        let fee = self.fee.clone();
        self.change(&from, |balance| balance - fee.clone());
        self.supply -= fee;
        let pair = (place(&from), place(&arg.spender));
        self.allowances
            .insert(pair, (arg.amount.clone(), arg.expires_at));
        Ok(self.record(transaction, arg.created_at_time))
    }
}
