//! Random calls against the oracle: the same answers, the same balances, the same supply, call by call; and the block
//! log, replayed from nothing, gives the same balances once more.

use crate::{
    oracle::{Oracle, Place, place},
    world::*,
};
use candid::{Nat, Principal};
use emc_ledger::{config::InitArgs, tokens::Tokens};
use icrc_ledger_types::{
    icrc::generic_value::{ICRC3Map, ICRC3Value, Value},
    icrc1::{
        account::Account,
        transfer::{Memo, TransferArg, TransferError},
    },
    icrc2::{
        approve::{ApproveArgs, ApproveError},
        transfer_from::{TransferFromArgs, TransferFromError},
    },
    icrc3::schema,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const CASES: u32 = 100;
const CALLS: usize = 250;
const DAY: u64 = 24 * HOUR;
const DRIFT: u64 = 120 * SECOND;

/// A number whose meaning depends on the ledger's state at the time of the call.
#[derive(Clone, Copy, Debug)]
enum Amount {
    Exactly(u128),
    /// All that the paying account can pay, and so much more or less.
    All(i8),
    BeyondU128,
}

#[derive(Clone, Copy, Debug)]
enum Fee {
    Unnamed,
    Right,
    Zero,
    Wrong,
    BeyondU128,
}

/// A time relative to the ledger's clock.
#[derive(Clone, Copy, Debug)]
enum When {
    Never,
    Ago(u64),
    Ahead(u64),
    EndOfTime,
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    Nothing,
    Current,
    Other(u8),
    BeyondU128,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Transfer,
    TransferFrom,
    Approve,
}

#[derive(Clone, Debug)]
struct Call {
    kind: Kind,
    caller: u8,
    accounts: [(u8, u8); 2],
    own_subaccount: u8,
    amount: Amount,
    fee: Fee,
    memo: Option<usize>,
    created: When,
    expires: When,
    expected: Expected,
}

#[derive(Clone, Debug)]
enum Step {
    Call(Call),
    /// The same call as some steps before, to the byte.
    Repeat(usize),
    Wait(u64),
    Upgrade,
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        8 => (0u128..200).prop_map(Amount::Exactly),
        3 => (-2i8..=2).prop_map(Amount::All),
        1 => prop_oneof![Just(u128::MAX), Just(u128::from(u64::MAX))].prop_map(Amount::Exactly),
        1 => Just(Amount::BeyondU128),
    ]
}

fn fee() -> impl Strategy<Value = Fee> {
    prop_oneof![
        8 => Just(Fee::Unnamed),
        6 => Just(Fee::Right),
        1 => Just(Fee::Zero),
        1 => Just(Fee::Wrong),
        1 => Just(Fee::BeyondU128),
    ]
}

fn created() -> impl Strategy<Value = When> {
    prop_oneof![
        4 => Just(When::Never),
        6 => (0u64..3).prop_map(When::Ago),
        1 => (0u64..3).prop_map(|n| When::Ago(DAY + DRIFT - 1 + n)),
        1 => (0u64..3).prop_map(|n| When::Ahead(DRIFT - 1 + n)),
        1 => Just(When::EndOfTime),
    ]
}

fn expires() -> impl Strategy<Value = When> {
    prop_oneof![
        3 => Just(When::Never),
        2 => (0u64..3).prop_map(When::Ahead),
        2 => (0u64..90 * SECOND).prop_map(When::Ahead),
        1 => Just(When::Ago(1)),
        1 => Just(When::EndOfTime),
    ]
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![
        4 => Just(Expected::Nothing),
        2 => Just(Expected::Current),
        1 => any::<u8>().prop_map(Expected::Other),
        1 => Just(Expected::BeyondU128),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let kind = prop_oneof![
        Just(Kind::Transfer),
        Just(Kind::TransferFrom),
        Just(Kind::Approve)
    ];
    // Few callers and accounts, so that they meet: 0 mints, 4 is anonymous.
    let caller = prop_oneof![1 => Just(0u8), 8 => 1u8..4, 1 => Just(4u8)];
    let account = || {
        (
            prop_oneof![1 => Just(0u8), 8 => 1u8..4, 1 => Just(4u8)],
            0u8..3,
        )
    };
    let memo = prop::option::of(prop_oneof![4 => 0usize..2, 1 => 63usize..66]);
    (
        (kind, caller, [account(), account()], 0u8..3),
        (amount(), fee(), memo, created(), expires(), expected()),
    )
        .prop_map(
            |(
                (kind, caller, accounts, own_subaccount),
                (amount, fee, memo, created, expires, expected),
            )| Call {
                kind,
                caller,
                accounts,
                own_subaccount,
                amount,
                fee,
                memo,
                created,
                expires,
                expected,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => call().prop_map(Step::Call),
        5 => (0usize..6).prop_map(Step::Repeat),
        1 => prop_oneof![Just(1), Just(SECOND), Just(60 * SECOND), Just(12 * HOUR), Just(25 * HOUR)].prop_map(Step::Wait),
        1 => Just(Step::Upgrade),
    ]
}

fn owner(number: u8) -> Principal {
    if number == 4 {
        Principal::anonymous()
    } else {
        Caller(number).principal()
    }
}

fn subaccount(number: u8) -> Option<[u8; 32]> {
    [None, Some([0; 32]), Some([1; 32])][usize::from(number)]
}

fn account((number, sub): (u8, u8)) -> Account {
    Account {
        owner: owner(number),
        subaccount: subaccount(sub),
    }
}

/// A call with everything filled in.
#[derive(Clone, Debug)]
enum Request {
    Transfer(Principal, TransferArg),
    TransferFrom(Principal, TransferFromArgs),
    Approve(Principal, ApproveArgs),
}

/// An answer with the messages for people left out.
#[derive(Debug, PartialEq)]
enum Answer {
    Transfer(Result<Nat, TransferError>),
    TransferFrom(Result<Nat, TransferFromError>),
    Approve(Result<Nat, ApproveError>),
}

impl Answer {
    fn without_message(mut self) -> Self {
        match &mut self {
            Self::Transfer(Err(TransferError::GenericError { message, .. }))
            | Self::TransferFrom(Err(TransferFromError::GenericError { message, .. }))
            | Self::Approve(Err(ApproveError::GenericError { message, .. })) => message.clear(),
            _ => {}
        }
        self
    }

    fn is_ok(&self) -> bool {
        matches!(
            self,
            Self::Transfer(Ok(_)) | Self::TransferFrom(Ok(_)) | Self::Approve(Ok(_))
        )
    }
}

struct Match {
    world: World,
    oracle: Oracle,
}

impl Match {
    fn new(fee: u128, cap: u128) -> Self {
        let world = World::with(InitArgs {
            transfer_fee: Some(Tokens(fee)),
            max_supply: Some(Tokens(cap)),
            ..settings()
        });
        let mut game = Self {
            world,
            oracle: Oracle::new(fee, cap, MINTER.account()),
        };
        for caller in [ALICE, BOB, CAROL] {
            game.play(&Request::Transfer(
                MINTER.principal(),
                send(caller, cap / 4),
            ));
        }
        game
    }

    fn fill_in(&self, call: &Call) -> Request {
        let now = self.world.now;
        let caller = owner(call.caller);
        let own = Account {
            owner: caller,
            subaccount: subaccount(call.own_subaccount),
        };
        let [first, second] = call.accounts.map(account);
        let payer = match call.kind {
            Kind::Transfer | Kind::Approve => own,
            Kind::TransferFrom => first,
        };
        let time = |when| match when {
            When::Never => None,
            When::Ago(nanoseconds) => Some(now - nanoseconds),
            When::Ahead(nanoseconds) => Some(now + nanoseconds),
            When::EndOfTime => Some(u64::MAX),
        };
        let amount = match call.amount {
            Amount::Exactly(amount) => Nat::from(amount),
            Amount::BeyondU128 => beyond_u128(),
            Amount::All(off) => {
                let balance = self.world.ledger.balance(&payer).0;
                let fee = self.world.ledger.config().transfer_fee.0;
                Nat::from(
                    balance
                        .saturating_sub(fee)
                        .saturating_add_signed(off.into()),
                )
            }
        };
        let fee = match call.fee {
            Fee::Unnamed => None,
            Fee::Right => Some(self.oracle.fee.clone()),
            Fee::Zero => Some(Nat::from(0u8)),
            Fee::Wrong => Some(self.oracle.fee.clone() + Nat::from(1u8)),
            Fee::BeyondU128 => Some(beyond_u128()),
        };
        let memo = call.memo.map(|length| Memo::from(vec![7; length]));
        let created_at_time = time(call.created);
        match call.kind {
            Kind::Transfer => Request::Transfer(
                caller,
                TransferArg {
                    from_subaccount: own.subaccount,
                    to: second,
                    fee,
                    created_at_time,
                    memo,
                    amount,
                },
            ),
            Kind::TransferFrom => Request::TransferFrom(
                caller,
                TransferFromArgs {
                    spender_subaccount: own.subaccount,
                    from: first,
                    to: second,
                    amount,
                    fee,
                    memo,
                    created_at_time,
                },
            ),
            Kind::Approve => Request::Approve(
                caller,
                ApproveArgs {
                    from_subaccount: own.subaccount,
                    spender: second,
                    amount,
                    expected_allowance: match call.expected {
                        Expected::Nothing => None,
                        Expected::Current => Some(self.oracle.allowance(&own, &second, now).0),
                        Expected::Other(other) => Some(other.into()),
                        Expected::BeyondU128 => Some(beyond_u128()),
                    },
                    expires_at: time(call.expires),
                    fee,
                    memo,
                    created_at_time,
                },
            ),
        }
    }

    /// Plays a request on both sides and compares; true where it was done.
    fn play(&mut self, request: &Request) -> bool {
        let Self { world, oracle } = self;
        let (ledger, now) = (&mut world.ledger, world.now);
        let (ours, theirs) = match request.clone() {
            Request::Transfer(caller, arg) => (
                Answer::Transfer(
                    emc_ledger::transfer::transfer(ledger, caller, arg.clone(), now).map(Nat::from),
                ),
                Answer::Transfer(oracle.transfer(caller, &arg, now)),
            ),
            Request::TransferFrom(caller, arg) => (
                Answer::TransferFrom(
                    emc_ledger::transfer::transfer_from(ledger, caller, arg.clone(), now)
                        .map(Nat::from),
                ),
                Answer::TransferFrom(oracle.transfer_from(caller, &arg, now)),
            ),
            Request::Approve(caller, arg) => (
                Answer::Approve(
                    emc_ledger::approve::approve(ledger, caller, arg.clone(), now).map(Nat::from),
                ),
                Answer::Approve(oracle.approve(caller, &arg, now)),
            ),
        };
        let ours = ours.without_message();
        assert_eq!(ours, theirs, "answers to {request:?}");
        self.compare();
        ours.is_ok()
    }

    fn compare(&self) {
        let Self { world, oracle } = self;
        assert_eq!(Nat::from(world.ledger.supply()), oracle.supply);
        for (place, balance) in &oracle.balances {
            assert_eq!(Nat::from(world.balance(at(place))), *balance);
        }
        for (from, spender) in oracle.allowances.keys() {
            let (from, spender) = (at(from), at(spender));
            let ours = world.allowance(from, spender);
            let (amount, end) = oracle.allowance(&from, &spender, world.now);
            assert_eq!(Nat::from(ours.amount), amount);
            if ours.amount.0 > 0 {
                assert_eq!(ours.expires_at, end);
            }
        }
    }
}

fn at(&(owner, subaccount): &Place) -> Account {
    Account {
        owner,
        subaccount: Some(subaccount),
    }
}

fn map(value: ICRC3Value) -> ICRC3Map {
    match value {
        ICRC3Value::Map(map) => map,
        other => panic!("expected a map, got {other}"),
    }
}

fn nat(map: &ICRC3Map, key: &str) -> Option<Nat> {
    match map.get(key)? {
        ICRC3Value::Nat(nat) => Some(nat.clone()),
        other => panic!("expected a number for {key}, got {other}"),
    }
}

fn party(map: &ICRC3Map, key: &str) -> Option<Place> {
    let value = map.get(key)?.clone();
    let account = Account::try_from(Value::from(value)).expect("an account");
    Some(place(&account))
}

/// The balances that a client gets who reads the log and nothing else, verifying the chain as he goes.
fn replay(blocks: Vec<ICRC3Value>) -> BTreeMap<Place, Nat> {
    let mut balances = BTreeMap::<Place, Nat>::new();
    let mut parent = None;
    for block in blocks {
        schema::validate(&Value::from(block.clone())).expect("the block has the standard's fields");
        let hash = block.clone().hash();
        let block = map(block);
        let named = block.get("phash").map(|value| match value {
            ICRC3Value::Blob(hash) => hash.to_vec(),
            other => panic!("expected a hash, got {other}"),
        });
        assert_eq!(named, parent.map(|hash: [u8; 32]| hash.to_vec()));
        parent = Some(hash);
        let tx = map(block["tx"].clone());
        let amount = nat(&tx, "amt").expect("every block has an amount");
        let fee = nat(&block, "fee")
            .or_else(|| nat(&tx, "fee"))
            .unwrap_or(Nat::from(0u8));
        let ICRC3Value::Text(op) = &tx["op"] else {
            panic!("the operation is a text");
        };
        let moved = if op == "approve" {
            Nat::from(0u8)
        } else {
            amount
        };
        if let Some(from) = party(&tx, "from") {
            let balance = balances.entry(from).or_insert(Nat::from(0u8));
            assert!(
                *balance >= moved.clone() + fee.clone(),
                "the log never overdraws"
            );
            *balance -= moved.clone() + fee;
        }
        if let Some(to) = party(&tx, "to") {
            *balances.entry(to).or_insert(Nat::from(0u8)) += moved;
        }
    }
    balances.retain(|_, balance| *balance > 0u8);
    balances
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_answers_as_the_standards_say(
        fee in prop_oneof![Just(0u128), Just(3), Just(10)],
        cap in prop_oneof![Just(2_000u128), Just(100_000_000_000_000_000)],
        steps in prop::collection::vec(step(), CALLS..=CALLS),
    ) {
        let mut game = Match::new(fee, cap);
        let mut played = Vec::new();
        for step in steps {
            match step {
                Step::Call(call) => {
                    let request = game.fill_in(&call);
                    game.play(&request);
                    played.push(request);
                }
                Step::Repeat(ago) => {
                    if let Some(request) = played.iter().rev().nth(ago).cloned() {
                        game.play(&request);
                    }
                }
                Step::Wait(nanoseconds) => game.world.now += nanoseconds,
                Step::Upgrade => game.world.upgrade(),
            }
        }
        let mut held = game.oracle.balances.clone();
        held.retain(|_, balance| *balance > 0u8);
        prop_assert_eq!(game.world.ledger.log_length(), game.oracle.history.len() as u64);
        prop_assert_eq!(replay(game.world.blocks()), held);
    }
}
