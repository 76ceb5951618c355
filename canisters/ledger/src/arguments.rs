//! Reads the arguments of the calls that are made all the time, straight from their bytes.
//!
//! Comparing types would take `candid` a large part of such a call (`docs/benchmarks.md`). Here only what nearly every
//! client sends is read: a table of exactly the types that the interface has, in whatever order, and then
//! the values. Everything else, right or wrong (a field more or less, another type, a number beyond 128 bits), is left to
//! `candid` (`exact.rs`). Property tests hold the two against each other.
//!
//! ```text
//! | "DIDL" | number of types: 1 | types | 1 argument | its type | value |
//!
//! type  | -18 opt, type | -19 vec, type | -20 record, number of fields, (id of the field, type)* |
//! ```

mod table;

use candid::{Nat, Principal};
use icrc_ledger_types::{
    icrc1::{
        account::{Account, Subaccount},
        transfer::{Memo, TransferArg},
    },
    icrc2::{approve::ApproveArgs, transfer_from::TransferFromArgs},
    icrc3::blocks::GetBlocksRequest,
};
use table::{Kind, Table};

use crate::exact;

/// The longest argument that is read here, in bytes.
const LONGEST: usize = 4_096;

/// The argument of `icrc1_transfer`.
pub fn transfer(bytes: Vec<u8>) -> TransferArg {
    quick_transfer(&bytes).unwrap_or_else(|| exact::argument(bytes))
}

/// The argument of `icrc2_approve`.
pub fn approve(bytes: Vec<u8>) -> ApproveArgs {
    quick_approve(&bytes).unwrap_or_else(|| exact::argument(bytes))
}

/// The argument of `icrc2_transfer_from`.
pub fn transfer_from(bytes: Vec<u8>) -> TransferFromArgs {
    quick_transfer_from(&bytes).unwrap_or_else(|| exact::argument(bytes))
}

/// The argument of `icrc1_balance_of`.
pub fn account(bytes: Vec<u8>) -> Account {
    quick_account(&bytes).unwrap_or_else(|| exact::argument(bytes))
}

/// The argument of `icrc3_get_blocks`.
pub fn ranges(bytes: Vec<u8>) -> Vec<GetBlocksRequest> {
    quick_ranges(&bytes).unwrap_or_else(|| exact::argument(bytes))
}

fn quick_transfer(bytes: &[u8]) -> Option<TransferArg> {
    let mut input = Input::after_types(bytes, Kind::Transfer)?;
    // A record's fields are evaluated as they stand here: in the order of their ids.
    let argument = TransferArg {
        to: input.account()?,
        fee: input.opt(Input::nat)?,
        memo: input.memo()?,
        from_subaccount: input.opt(Input::subaccount)?,
        created_at_time: input.opt(Input::nat64)?,
        amount: input.nat()?,
    };
    input.ends_with(argument)
}

fn quick_approve(bytes: &[u8]) -> Option<ApproveArgs> {
    let mut input = Input::after_types(bytes, Kind::Approve)?;
    let argument = ApproveArgs {
        fee: input.opt(Input::nat)?,
        memo: input.memo()?,
        from_subaccount: input.opt(Input::subaccount)?,
        created_at_time: input.opt(Input::nat64)?,
        amount: input.nat()?,
        expected_allowance: input.opt(Input::nat)?,
        expires_at: input.opt(Input::nat64)?,
        spender: input.account()?,
    };
    input.ends_with(argument)
}

fn quick_transfer_from(bytes: &[u8]) -> Option<TransferFromArgs> {
    let mut input = Input::after_types(bytes, Kind::TransferFrom)?;
    let argument = TransferFromArgs {
        to: input.account()?,
        fee: input.opt(Input::nat)?,
        spender_subaccount: input.opt(Input::subaccount)?,
        from: input.account()?,
        memo: input.memo()?,
        created_at_time: input.opt(Input::nat64)?,
        amount: input.nat()?,
    };
    input.ends_with(argument)
}

fn quick_account(bytes: &[u8]) -> Option<Account> {
    let mut input = Input::after_types(bytes, Kind::Account)?;
    let account = input.account()?;
    input.ends_with(account)
}

fn quick_ranges(bytes: &[u8]) -> Option<Vec<GetBlocksRequest>> {
    let mut input = Input::after_types(bytes, Kind::Ranges)?;
    let mut ranges = vec![];
    for _ in 0..input.leb128()? {
        ranges.push(GetBlocksRequest {
            start: input.nat()?,
            length: input.nat()?,
        });
    }
    input.ends_with(ranges)
}

/// The bytes that are still to be read. Every part says nothing where the bytes are anything but the ordinary.
#[derive(Clone, Copy)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// The values behind a table of known types and one argument of this type; nothing of what is too long to be usual,
    /// which would be read twice where its end is not what it should be.
    fn after_types(bytes: &'a [u8], wanted: Kind) -> Option<Self> {
        if bytes.len() > LONGEST {
            return None;
        }
        let mut input = Self(bytes.strip_prefix(b"DIDL")?);
        let table = Table::read(&mut input)?;
        let [1, argument, ..] = *input.0 else {
            return None;
        };
        input.0 = &input.0[2..];
        (table.kind(argument)? == wanted).then_some(input)
    }

    fn ends_with<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// A number of at most 128 bits in its shortest form.
    fn leb128(&mut self) -> Option<u128> {
        // Most are short; arithmetic in 64 bits is cheaper.
        let mut low = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            low |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return (byte != 0 || shift == 0).then_some(low.into());
            }
        }
        let mut number = u128::from(low);
        for shift in (63..128).step_by(7) {
            let byte = self.byte()?;
            // The last of them has room for two bits.
            if shift == 126 && byte > 3 {
                return None;
            }
            number |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return (byte != 0).then_some(number);
            }
        }
        None
    }

    fn nat(&mut self) -> Option<Nat> {
        let number = self.leb128()?;
        Some(match u64::try_from(number) {
            Ok(number) => Nat::from(number),
            Err(_) => Nat::from(number),
        })
    }

    fn nat64(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn blob(&mut self) -> Option<&'a [u8]> {
        let length = self.leb128()?.try_into().ok()?;
        self.bytes(length)
    }

    fn subaccount(&mut self) -> Option<Subaccount> {
        self.blob()?.try_into().ok()
    }

    fn memo(&mut self) -> Option<Option<Memo>> {
        self.opt(|input| Some(Memo::from(input.blob()?.to_vec())))
    }

    fn opt<T>(&mut self, part: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => part(self).map(Some),
            _ => None,
        }
    }

    fn account(&mut self) -> Option<Account> {
        // A principal that is not opaque is marked so; then its bytes.
        if self.byte()? != 1 {
            return None;
        }
        Some(Account {
            owner: Principal::try_from_slice(self.blob()?).ok()?,
            subaccount: self.opt(Self::subaccount)?,
        })
    }
}

#[cfg(test)]
mod tests;
