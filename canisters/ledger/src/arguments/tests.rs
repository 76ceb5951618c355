//! The quick way and `candid` give the same, whatever the bytes are.

use super::table::{Entry, OPT, RECORD, VEC};
use super::*;
use candid::{CandidType, Encode, encode_one};
use icrc_ledger_types::icrc1::transfer::TransferArg;
use proptest::prelude::*;
use std::fmt::Debug;

fn principal() -> impl Strategy<Value = Principal> {
    prop::collection::vec(any::<u8>(), 0..=29).prop_map(|bytes| Principal::from_slice(&bytes))
}

fn an_account() -> impl Strategy<Value = Account> {
    (principal(), any::<Option<Subaccount>>())
        .prop_map(|(owner, subaccount)| Account { owner, subaccount })
}

/// Numbers of every length, some beyond 128 bits.
fn a_nat() -> impl Strategy<Value = Nat> {
    prop_oneof![
        4 => (any::<u128>(), 0u32..128).prop_map(|(number, bits)| Nat::from(number >> bits)),
        1 => any::<u128>().prop_map(|number| Nat::from(number) * Nat::from(number)),
    ]
}

fn opt<T: Debug>(part: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::of(part)
}

fn a_memo() -> impl Strategy<Value = Option<Memo>> {
    opt(prop::collection::vec(any::<u8>(), 0..200).prop_map(Memo::from))
}

fn a_transfer() -> impl Strategy<Value = TransferArg> {
    (
        any::<Option<Subaccount>>(),
        an_account(),
        opt(a_nat()),
        any::<Option<u64>>(),
        a_memo(),
        a_nat(),
    )
        .prop_map(
            |(from_subaccount, to, fee, created_at_time, memo, amount)| TransferArg {
                from_subaccount,
                to,
                fee,
                created_at_time,
                memo,
                amount,
            },
        )
}

fn an_approval() -> impl Strategy<Value = ApproveArgs> {
    (
        any::<Option<Subaccount>>(),
        an_account(),
        a_nat(),
        (opt(a_nat()), any::<Option<u64>>()),
        opt(a_nat()),
        a_memo(),
        any::<Option<u64>>(),
    )
        .prop_map(
            |(
                from_subaccount,
                spender,
                amount,
                (expected_allowance, expires_at),
                fee,
                memo,
                at,
            )| {
                ApproveArgs {
                    from_subaccount,
                    spender,
                    amount,
                    expected_allowance,
                    expires_at,
                    fee,
                    memo,
                    created_at_time: at,
                }
            },
        )
}

fn a_spending() -> impl Strategy<Value = TransferFromArgs> {
    (
        any::<Option<Subaccount>>(),
        an_account(),
        an_account(),
        a_nat(),
        opt(a_nat()),
        a_memo(),
        any::<Option<u64>>(),
    )
        .prop_map(
            |(spender_subaccount, from, to, amount, fee, memo, created_at_time)| TransferFromArgs {
                spender_subaccount,
                from,
                to,
                amount,
                fee,
                memo,
                created_at_time,
            },
        )
}

fn some_ranges() -> impl Strategy<Value = Vec<GetBlocksRequest>> {
    let range = (a_nat(), a_nat()).prop_map(|(start, length)| GetBlocksRequest { start, length });
    prop::collection::vec(range, 0..5)
}

/// A change to bytes that often leaves them nearly right.
#[derive(Clone, Debug)]
enum Damage {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Cut(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    // Bytes that mean something in a message are likelier than others.
    let byte = || {
        prop_oneof![
            any::<u8>(),
            prop::sample::select(vec![
                0, 1, 2, 3, 4, 5, 6, 7, 0x68, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x78, 0x7b,
                0x7c, 0x7d, 0x7e, 0x7f, 0x80, 0x81, 0xff,
            ]),
        ]
    };
    let at = any::<prop::sample::Index>;
    prop_oneof![
        6 => (at(), byte()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        2 => (at(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        2 => at().prop_map(Damage::Remove),
        1 => at().prop_map(Damage::Cut),
        1 => (at(), at()).prop_map(|(a, b)| Damage::Swap(a, b)),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match *damage {
            Damage::Replace(at, byte) => bytes[at.index(length)] = byte,
            Damage::Insert(at, byte) => bytes.insert(at.index(length), byte),
            Damage::Remove(at) => drop(bytes.remove(at.index(length))),
            Damage::Cut(at) => bytes.truncate(at.index(length)),
            Damage::Swap(a, b) => bytes.swap(a.index(length), b.index(length)),
        }
    }
    bytes
}

/// Where the quick way reads something, `candid` reads the same. (Values are compared by their encodings: accounts
/// compare without regard to how the subaccount was given.)
fn agree<T>(quick: fn(&[u8]) -> Option<T>, bytes: &[u8]) -> Result<bool, TestCaseError>
where
    T: exact::Argument + CandidType + Debug,
{
    let Some(quick) = quick(bytes) else {
        return Ok(false);
    };
    let slow: T = match exact::decode(bytes) {
        Ok(slow) => slow,
        Err(error) => {
            let read = format!("candid refuses what was read as {quick:?}: {error}");
            return Err(TestCaseError::fail(read));
        }
    };
    prop_assert_eq!(encode_one(&quick).unwrap(), encode_one(&slow).unwrap());
    Ok(true)
}

/// Undamaged it is read the quick way unless a number is too large; damaged it is read as `candid` does or not at all.
fn holds<T>(
    quick: fn(&[u8]) -> Option<T>,
    value: &T,
    large: bool,
    damages: &[Damage],
) -> Result<(), TestCaseError>
where
    T: exact::Argument + CandidType + Debug,
{
    let bytes = encode_one(value).unwrap();
    prop_assert_eq!(agree(quick, &bytes)?, !large);
    agree(quick, &damaged(bytes, damages))?;
    Ok(())
}

fn is_large(nat: &Nat) -> bool {
    u128::try_from(&nat.0).is_err()
}

fn any_large<'a>(nats: impl IntoIterator<Item = Option<&'a Nat>>) -> bool {
    nats.into_iter().flatten().any(is_large)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn transfers_are_read_as_candid_reads_them(
        value in a_transfer(), damages in prop::collection::vec(damage(), 0..4)
    ) {
        let large = any_large([Some(&value.amount), value.fee.as_ref()]);
        holds(quick_transfer, &value, large, &damages)?;
    }

    #[test]
    fn approvals_are_read_as_candid_reads_them(
        value in an_approval(), damages in prop::collection::vec(damage(), 0..4)
    ) {
        let large = any_large([
            Some(&value.amount), value.fee.as_ref(), value.expected_allowance.as_ref()
        ]);
        holds(quick_approve, &value, large, &damages)?;
    }

    #[test]
    fn spendings_are_read_as_candid_reads_them(
        value in a_spending(), damages in prop::collection::vec(damage(), 0..4)
    ) {
        let large = any_large([Some(&value.amount), value.fee.as_ref()]);
        holds(quick_transfer_from, &value, large, &damages)?;
    }

    #[test]
    fn accounts_are_read_as_candid_reads_them(
        value in an_account(), damages in prop::collection::vec(damage(), 0..4)
    ) {
        holds(quick_account, &value, false, &damages)?;
    }

    #[test]
    fn ranges_are_read_as_candid_reads_them(
        value in some_ranges(), damages in prop::collection::vec(damage(), 0..4)
    ) {
        let large = any_large(value.iter().flat_map(|range| [Some(&range.start), Some(&range.length)]));
        holds(quick_ranges, &value, large, &damages)?;
    }

    #[test]
    fn the_order_of_the_types_does_not_matter(
        value in a_spending(), order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle()
    ) {
        let bytes = encode_one(&value).unwrap();
        let moved = with_types_in(&bytes, &order);
        let large = any_large([Some(&value.amount), value.fee.as_ref()]);
        prop_assert_eq!(agree(quick_transfer_from, &moved)?, !large);
    }
}

/// The same message with its types in another order, as other clients write them.
fn with_types_in(bytes: &[u8], order: &[usize]) -> Vec<u8> {
    let mut input = Input(&bytes[4..]);
    let count = usize::from(input.byte().unwrap());
    assert_eq!(count, order.len(), "the order names every type");
    let moved = |byte: u8| match usize::from(byte) {
        index if index < count => order.iter().position(|&old| old == index).unwrap() as u8,
        _ => byte,
    };
    let mut entries = vec![];
    for _ in 0..count {
        let before = input.0;
        let mut entry = vec![];
        match Entry::read(&mut input).unwrap() {
            Entry::Opt(of) => entry.extend([OPT, moved(of)]),
            Entry::Vec(of) => entry.extend([VEC, moved(of)]),
            Entry::Record(mut fields) => {
                let length = fields.byte().unwrap();
                entry.extend([RECORD, length]);
                for _ in 0..length {
                    let start = fields.0;
                    fields.leb128().unwrap();
                    entry.extend(&start[..start.len() - fields.0.len()]);
                    entry.push(moved(fields.byte().unwrap()));
                }
                assert_eq!(entry.len(), before.len() - input.0.len());
            }
        }
        entries.push(entry);
    }
    let mut message = [b"DIDL".as_slice(), &[count as u8]].concat();
    order.iter().for_each(|&old| message.extend(&entries[old]));
    message.extend([1, moved(input.0[1])]);
    message.extend(&input.0[2..]);
    message
}

#[test]
fn what_is_unusual_is_left_to_candid() {
    #[derive(CandidType)]
    struct Short {
        owner: Principal,
    }
    #[derive(CandidType)]
    struct Long {
        owner: Principal,
        subaccount: Option<Vec<u8>>,
        more: u8,
    }
    let owner = Principal::from_slice(&[7; 29]);
    let long = Long {
        owner,
        subaccount: None,
        more: 1,
    };
    for bytes in [Encode!(&Short { owner }).unwrap(), Encode!(&long).unwrap()] {
        assert!(quick_account(&bytes).is_none());
        assert_eq!(account(bytes), Account::from(owner));
    }
    let two = Encode!(&Account::from(owner), &5u8).unwrap();
    assert!(quick_account(&two).is_none());
    assert_eq!(account(two), Account::from(owner));
    let beyond = Account {
        owner,
        subaccount: None,
    };
    let mut bytes = Encode!(&beyond).unwrap();
    bytes.push(0);
    assert!(quick_account(&bytes).is_none());
    assert!(exact::decode::<Account>(&bytes).is_err());
}
