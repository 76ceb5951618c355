//! Reads arguments by `candid`, but so that a subaccount has exactly 32 bytes.
//!
//! To `candid` an array of 32 bytes is a vector of which 32 elements are taken, whatever length the message says: of a
//! longer one the rest is read as the fields that follow. Such a message would mean one thing to whoever shows it to
//! the person who signs, and another to the ledger. Here subaccounts are read as the blobs that the interface
//! promises, and their length is checked.

use candid::{
    CandidType, DecoderConfig, Deserialize, Nat, Principal, utils::decode_args_with_config,
};
use icrc_ledger_types::{
    icrc1::{
        account::{Account, Subaccount},
        transfer::{Memo, TransferArg},
    },
    icrc2::{allowance::AllowanceArgs, approve::ApproveArgs, transfer_from::TransferFromArgs},
    icrc3::blocks::GetBlocksRequest,
    icrc103::get_allowances::GetAllowancesArgs,
};
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

/// As much as `ic-cdk` allows by itself for values that nobody asked for.
const SKIPPING_QUOTA: usize = 10_000;

/// Why an argument cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is not of the method's type.
    #[error("{0}")]
    Candid(#[from] candid::Error),
    /// A subaccount of another length.
    #[error("a subaccount must have 32 bytes, this one has {0}")]
    Subaccount(usize),
}

/// The argument of a message; one that cannot be read ends the message.
pub(crate) fn argument<T: Argument>(bytes: Vec<u8>) -> T {
    match decode(&bytes) {
        Ok(argument) => argument,
        Err(why) => ic_cdk::api::trap(format!("the argument cannot be read: {why}")),
    }
}

/// Reads one argument.
///
/// # Errors
/// Where it is not of the method's type, or a subaccount has not 32 bytes.
pub fn decode<T: Argument>(bytes: &[u8]) -> Result<T, Unreadable> {
    let mut config = DecoderConfig::new();
    config.set_skipping_quota(SKIPPING_QUOTA);
    let (blobs,): (T::Blobs,) = decode_args_with_config(bytes, &config)?;
    T::exactly(blobs)
}

/// An argument whose accounts, where there are any, are checked.
pub trait Argument: Sized {
    /// The same with subaccounts as blobs.
    type Blobs: CandidType + DeserializeOwned;

    /// Checks the lengths.
    ///
    /// # Errors
    /// Where a subaccount has not 32 bytes.
    fn exactly(blobs: Self::Blobs) -> Result<Self, Unreadable>;
}

fn subaccount(blob: Option<ByteBuf>) -> Result<Option<Subaccount>, Unreadable> {
    let exact = blob.map(|blob| <Subaccount>::try_from(blob.into_vec()));
    exact
        .transpose()
        .map_err(|blob| Unreadable::Subaccount(blob.len()))
}

/// [`Account`] with its subaccount as a blob.
#[derive(CandidType, Deserialize)]
pub struct AccountBlobs {
    owner: Principal,
    subaccount: Option<ByteBuf>,
}

impl Argument for Account {
    type Blobs = AccountBlobs;

    fn exactly(blobs: AccountBlobs) -> Result<Self, Unreadable> {
        Ok(Self {
            owner: blobs.owner,
            subaccount: subaccount(blobs.subaccount)?,
        })
    }
}

/// [`TransferArg`] with its subaccounts as blobs.
#[derive(CandidType, Deserialize)]
pub struct TransferBlobs {
    from_subaccount: Option<ByteBuf>,
    to: AccountBlobs,
    fee: Option<Nat>,
    created_at_time: Option<u64>,
    memo: Option<Memo>,
    amount: Nat,
}

impl Argument for TransferArg {
    type Blobs = TransferBlobs;

    fn exactly(blobs: TransferBlobs) -> Result<Self, Unreadable> {
        Ok(Self {
            from_subaccount: subaccount(blobs.from_subaccount)?,
            to: Account::exactly(blobs.to)?,
            fee: blobs.fee,
            created_at_time: blobs.created_at_time,
            memo: blobs.memo,
            amount: blobs.amount,
        })
    }
}

/// [`ApproveArgs`] with its subaccounts as blobs.
#[derive(CandidType, Deserialize)]
pub struct ApproveBlobs {
    from_subaccount: Option<ByteBuf>,
    spender: AccountBlobs,
    amount: Nat,
    expected_allowance: Option<Nat>,
    expires_at: Option<u64>,
    fee: Option<Nat>,
    memo: Option<Memo>,
    created_at_time: Option<u64>,
}

impl Argument for ApproveArgs {
    type Blobs = ApproveBlobs;

    fn exactly(blobs: ApproveBlobs) -> Result<Self, Unreadable> {
        Ok(Self {
            from_subaccount: subaccount(blobs.from_subaccount)?,
            spender: Account::exactly(blobs.spender)?,
            amount: blobs.amount,
            expected_allowance: blobs.expected_allowance,
            expires_at: blobs.expires_at,
            fee: blobs.fee,
            memo: blobs.memo,
            created_at_time: blobs.created_at_time,
        })
    }
}

/// [`TransferFromArgs`] with its subaccounts as blobs.
#[derive(CandidType, Deserialize)]
pub struct TransferFromBlobs {
    spender_subaccount: Option<ByteBuf>,
    from: AccountBlobs,
    to: AccountBlobs,
    amount: Nat,
    fee: Option<Nat>,
    memo: Option<Memo>,
    created_at_time: Option<u64>,
}

impl Argument for TransferFromArgs {
    type Blobs = TransferFromBlobs;

    fn exactly(blobs: TransferFromBlobs) -> Result<Self, Unreadable> {
        Ok(Self {
            spender_subaccount: subaccount(blobs.spender_subaccount)?,
            from: Account::exactly(blobs.from)?,
            to: Account::exactly(blobs.to)?,
            amount: blobs.amount,
            fee: blobs.fee,
            memo: blobs.memo,
            created_at_time: blobs.created_at_time,
        })
    }
}

/// [`AllowanceArgs`] with its subaccounts as blobs.
#[derive(CandidType, Deserialize)]
pub struct AllowanceBlobs {
    account: AccountBlobs,
    spender: AccountBlobs,
}

impl Argument for AllowanceArgs {
    type Blobs = AllowanceBlobs;

    fn exactly(blobs: AllowanceBlobs) -> Result<Self, Unreadable> {
        Ok(Self {
            account: Account::exactly(blobs.account)?,
            spender: Account::exactly(blobs.spender)?,
        })
    }
}

/// [`GetAllowancesArgs`] with its subaccounts as blobs.
#[derive(CandidType, Deserialize)]
pub struct GetAllowancesBlobs {
    from_account: Option<AccountBlobs>,
    prev_spender: Option<AccountBlobs>,
    take: Option<Nat>,
}

impl Argument for GetAllowancesArgs {
    type Blobs = GetAllowancesBlobs;

    fn exactly(blobs: GetAllowancesBlobs) -> Result<Self, Unreadable> {
        Ok(Self {
            from_account: blobs.from_account.map(Account::exactly).transpose()?,
            prev_spender: blobs.prev_spender.map(Account::exactly).transpose()?,
            take: blobs.take,
        })
    }
}

impl Argument for Vec<GetBlocksRequest> {
    type Blobs = Self;

    fn exactly(ranges: Self) -> Result<Self, Unreadable> {
        Ok(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(length: usize) -> AccountBlobs {
        AccountBlobs {
            owner: Principal::anonymous(),
            subaccount: Some(ByteBuf::from(vec![3; length])),
        }
    }

    fn transfer(from: usize, to: usize) -> TransferBlobs {
        TransferBlobs {
            from_subaccount: Some(ByteBuf::from(vec![3; from])),
            to: account(to),
            fee: Some(1u8.into()),
            created_at_time: Some(2),
            memo: Some(Memo::from(vec![4])),
            amount: 5u8.into(),
        }
    }

    /// Whether `candid` by itself and this file read the same bytes, and that they agree where both do.
    fn read<T: Argument + DeserializeOwned + CandidType>(blobs: T::Blobs) -> (bool, bool) {
        let bytes = candid::encode_one(blobs).expect("it encodes");
        let ours = decode::<T>(&bytes).ok();
        let theirs = candid::decode_one::<T>(&bytes).ok();
        if let (Some(ours), Some(theirs)) = (&ours, &theirs) {
            let [ours, theirs] =
                [ours, theirs].map(|arg| candid::encode_one(arg).expect("it encodes"));
            assert_eq!(ours, theirs);
        }
        (theirs.is_some(), ours.is_some())
    }

    #[test]
    fn what_is_right_is_read_as_candid_reads_it() {
        assert_eq!(read::<Account>(account(32)), (true, true));
        assert_eq!(read::<TransferArg>(transfer(32, 32)), (true, true));
        let pair = AllowanceBlobs {
            account: account(32),
            spender: account(32),
        };
        assert_eq!(read::<AllowanceArgs>(pair), (true, true));
        let approval = ApproveBlobs {
            from_subaccount: None,
            spender: account(32),
            amount: 1u8.into(),
            expected_allowance: Some(2u8.into()),
            expires_at: Some(3),
            fee: Some(4u8.into()),
            memo: Some(Memo::from(vec![5])),
            created_at_time: Some(6),
        };
        assert_eq!(read::<ApproveArgs>(approval), (true, true));
        let taking = TransferFromBlobs {
            spender_subaccount: Some(ByteBuf::from(vec![3; 32])),
            from: account(32),
            to: account(32),
            amount: 1u8.into(),
            fee: Some(4u8.into()),
            memo: Some(Memo::from(vec![5])),
            created_at_time: Some(6),
        };
        assert_eq!(read::<TransferFromArgs>(taking), (true, true));
    }

    #[test]
    fn a_subaccount_of_another_length_is_refused() {
        for length in [0, 1, 31, 33, 64] {
            assert!(!read::<Account>(account(length)).1, "{length}");
            assert!(!read::<TransferArg>(transfer(length, 32)).1, "{length}");
            assert!(!read::<TransferArg>(transfer(32, length)).1, "{length}");
        }
    }

    /// An approval with a field more, as clients may send it; the field stands last and is skipped.
    #[derive(CandidType, Deserialize)]
    struct Approval {
        from_subaccount: Option<ByteBuf>,
        amount: Nat,
        spender: AccountBlobs,
        reason: ByteBuf,
    }

    fn approval(from_subaccount: Vec<u8>, amount: u32, owner: u8, more: Vec<u8>) -> Vec<u8> {
        let spender = AccountBlobs {
            owner: Principal::from_slice(&[owner; 29]),
            subaccount: None,
        };
        let approval = Approval {
            from_subaccount: Some(ByteBuf::from(from_subaccount)),
            amount: amount.into(),
            spender,
            reason: ByteBuf::from(more),
        };
        candid::encode_one(approval).expect("it encodes")
    }

    /// By Candid this message lets spender 1 take 7, and nothing of it is odd but the length of a subaccount. Read as
    /// an array of 32 bytes, the same message lets spender 2 take 1,000,000.
    #[test]
    fn a_message_cannot_mean_one_thing_to_its_signer_and_another_to_the_ledger() {
        // What follows an empty subaccount: all after the types and the subaccount's length.
        let header = approval(vec![], 0, 1, vec![]);
        let header = header.len() - (1 + (1 + 1 + 29 + 1) + 1);
        let said = approval(vec![], 7, 1, vec![])[header..].to_vec();
        let meant = approval(vec![], 1_000_000, 2, said.clone())[header..].to_vec();
        // The other meaning is hidden in the subaccount, up to where the message's own end becomes its last field.
        let hidden = [&[3; 32], &meant[..meant.len() - said.len()]].concat();
        let message = approval(hidden, 7, 1, vec![]);

        let by_candid: Approval = candid::decode_one(&message).expect("it is an approval");
        assert_eq!(by_candid.amount, 7u8);
        let as_array: ApproveArgs = candid::decode_one(&message).expect("it is another one");
        assert_eq!(as_array.amount, 1_000_000u32);
        assert_eq!(as_array.spender.owner, Principal::from_slice(&[2; 29]));

        let why = decode::<ApproveArgs>(&message).expect_err("it must be refused");
        assert!(matches!(why, Unreadable::Subaccount(_)), "{why}");
    }
}
