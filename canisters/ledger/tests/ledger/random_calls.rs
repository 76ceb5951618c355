//! Random calls against the oracle: the same answers, the same balances, the same supply, call by call; and the block
//! log, replayed from nothing, gives the same balances once more.

use crate::{
    oracle::{Oracle, Place},
    random_steps::*,
    replay::replay,
    world::*,
};
use candid::{Nat, Principal};
use emc_ledger::{config::InitArgs, tokens::Tokens};
use icrc_ledger_types::{
    icrc1::{
        account::Account,
        transfer::{Memo, TransferArg, TransferError},
    },
    icrc2::{
        approve::{ApproveArgs, ApproveError},
        transfer_from::{TransferFromArgs, TransferFromError},
    },
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;

const CASES: u32 = 100;
const CALLS: usize = 300;

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

#[test]
fn the_ledger_answers_as_the_standards_say() {
    let cases = (
        prop_oneof![Just(0u128), Just(3), Just(10)],
        prop_oneof![Just(2_000u128), Just(100_000_000_000_000_000)],
        prop::collection::vec(step(), CALLS..=CALLS),
    );
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    // Counted over all cases: in a single one everything may be burned at the start.
    let done = Cell::new(0);
    let result = TestRunner::new(config).run(&cases, |(fee, cap, steps)| {
        done.set(done.get() + play(fee, cap, steps)?);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    // About one call in five is done, the others are refused for one reason or another.
    let (done, all) = (done.get(), CASES as usize * CALLS);
    assert!(done > all / 20, "only {done} of {all} calls were done");
}

/// Plays one case; the number of calls that were done.
fn play(fee: u128, cap: u128, steps: Vec<Step>) -> Result<usize, TestCaseError> {
    let mut game = Match::new(fee, cap);
    let mut played = Vec::new();
    let mut done = 0;
    for step in steps {
        match step {
            Step::Call(call) => {
                let request = game.fill_in(&call);
                done += usize::from(game.play(&request));
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
    prop_assert_eq!(
        game.world.ledger.log_length(),
        game.oracle.history.len() as u64
    );
    prop_assert_eq!(replay(game.world.blocks()), held);
    Ok(done)
}
