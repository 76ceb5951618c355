//! Deposits and withdrawals: whatever the ledger's answers do, nothing is lost and nothing doubled.

use super::invariants::check;
use super::world::*;
use crate::books::Refused;
use crate::movement::{Charge, Movement, Source};
use crate::{deposit, withdraw};
use emc_journal::{Account, Outcome};
use emc_protocol::account::deposit_subaccount;
use emc_protocol::error::code;
use emc_protocol::*;

const AMOUNT: u128 = 5_000_000;

fn is_done(outcome: &Option<Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Done { .. }))
}

#[test]
fn a_deposit_is_credited_once_the_ledger_has_it() {
    let mut world = World::new();
    assert!(is_done(
        &world.deposit(requester(0), AMOUNT, Fate::Answered).unwrap()
    ));
    assert_eq!(world.available(requester(0)), AMOUNT);
    check(&world);
}

#[test]
fn a_deposit_with_a_lost_answer_is_found_in_the_log_and_credited_once() {
    let mut world = World::new();
    assert_eq!(
        world
            .deposit(requester(0), AMOUNT, Fate::AnswerLost)
            .unwrap(),
        None
    );
    assert_eq!(world.available(requester(0)), 0);
    check(&world);
    assert_eq!(
        code_of(world.deposit(requester(0), AMOUNT, Fate::Answered)),
        code::IN_FLIGHT
    );
    world.pass(30);
    world.resume(Fate::Answered);
    assert_eq!(world.available(requester(0)), AMOUNT);
    check(&world);
    world.pass(3_600);
    world.resume(Fate::Answered);
    assert_eq!(world.available(requester(0)), AMOUNT);
    assert!(is_done(
        &world.deposit(requester(0), AMOUNT, Fate::Answered).unwrap()
    ));
}

#[test]
fn a_deposit_whose_message_was_lost_is_sent_again() {
    let mut world = World::new();
    assert_eq!(
        world
            .deposit(requester(0), AMOUNT, Fate::MessageLost)
            .unwrap(),
        None
    );
    world.pass(30);
    world.resume(Fate::Answered);
    assert_eq!(world.available(requester(0)), AMOUNT);
    assert_eq!(world.ledger.blocks.len(), 1);
    check(&world);
}

#[test]
fn a_refused_deposit_credits_nothing_and_frees_the_lane() {
    let mut world = World::new();
    let outcome = world
        .deposit(requester(0), Tokens::emc(2_000).0, Fate::Answered)
        .unwrap();
    assert!(
        matches!(outcome, Some(Outcome::NotDone { .. })),
        "{outcome:?}"
    );
    assert_eq!(world.available(requester(0)), 0);
    assert!(is_done(
        &world.deposit(requester(0), AMOUNT, Fate::Answered).unwrap()
    ));
    check(&world);
}

#[test]
fn amounts_accounts_and_beneficiaries_are_checked() {
    let mut world = World::new();
    let now = world.now;
    let good = DepositArgs {
        amount: Tokens(AMOUNT),
        beneficiary: None,
        from_subaccount: None,
    };
    let wrong: [fn(&mut DepositArgs); 5] = [
        |args| args.amount = Tokens(9_999),
        |args| args.amount = Tokens(u128::MAX),
        |args| args.from_subaccount = Some(vec![1; 31].into()),
        |args| args.beneficiary = Some(candid::Principal::anonymous()),
        |args| args.beneficiary = Some(candid::Principal::management_canister()),
    ];
    for change in wrong {
        let mut args = good.clone();
        change(&mut args);
        let begun = deposit::begin(&mut world.state, now, requester(0), &args, Tokens(0));
        assert_eq!(code_of(begun), code::INVALID);
    }
    world.fund(requester(0), AMOUNT);
    for args in [
        WithdrawArgs {
            amount: Tokens(1),
            to: None,
        },
        WithdrawArgs {
            amount: Tokens(AMOUNT),
            to: Some(Ledgered {
                owner: escrow(),
                subaccount: None,
            }),
        },
        WithdrawArgs {
            amount: Tokens(AMOUNT),
            to: Some(Ledgered {
                owner: owner(0),
                subaccount: Some(vec![].into()),
            }),
        },
    ] {
        let source = Source::Available(requester(0));
        let begun = withdraw::begin(
            &mut world.state,
            now,
            requester(0),
            source,
            &args,
            Tokens(0),
        );
        assert_eq!(code_of(begun), code::INVALID);
    }
    check(&world);
}

#[test]
fn a_plain_transfer_is_swept_to_its_beneficiary() {
    let mut world = World::new();
    let account = Account {
        owner: escrow(),
        subaccount: Some(deposit_subaccount(requester(3))),
    };
    assert_eq!(
        code_of(world.sweep(requester(3), Fate::Answered)),
        code::INSUFFICIENT_FUNDS
    );
    world.ledger.credit(&account, AMOUNT);
    assert!(is_done(&world.sweep(requester(3), Fate::Answered).unwrap()));
    assert_eq!(world.available(requester(3)), AMOUNT);
    assert_eq!(world.ledger.balance(&account), 0);
    assert_eq!(
        code_of(world.sweep(requester(3), Fate::Answered)),
        code::INSUFFICIENT_FUNDS
    );
    check(&world);
}

#[test]
fn one_sweep_of_an_account_is_in_flight_at_a_time() {
    let mut world = World::new();
    let account = Account {
        owner: escrow(),
        subaccount: Some(deposit_subaccount(requester(3))),
    };
    world.ledger.credit(&account, AMOUNT);
    assert_eq!(world.sweep(requester(3), Fate::AnswerLost).unwrap(), None);
    world.ledger.credit(&account, AMOUNT);
    assert_eq!(
        code_of(world.sweep(requester(3), Fate::Answered)),
        code::IN_FLIGHT
    );
    world.pass(30);
    world.resume(Fate::Answered);
    assert_eq!(
        world.available(requester(3)),
        AMOUNT,
        "exactly what was swept"
    );
    assert!(is_done(&world.sweep(requester(3), Fate::Answered).unwrap()));
    assert_eq!(world.available(requester(3)), 2 * AMOUNT);
    check(&world);
}

#[test]
fn a_withdrawal_is_set_aside_before_the_call_and_comes_back_if_it_was_not_done() {
    let mut world = World::new();
    world.fund(requester(0), AMOUNT);
    assert_eq!(
        world
            .withdraw(requester(0), AMOUNT, Fate::MessageLost)
            .unwrap(),
        None
    );
    let account = world.state.books.account(&requester(0)).view();
    assert_eq!((account.available.0, account.leaving.0), (0, AMOUNT));
    check(&world);
    assert_eq!(
        code_of(world.submit(requester(0), ask("spend it twice", 4))),
        code::INSUFFICIENT_FUNDS
    );
    assert_eq!(
        code_of(world.withdraw(requester(0), AMOUNT, Fate::Answered)),
        code::IN_FLIGHT
    );
    // A day later the ledger would not execute it any more, and its log does not hold it.
    world.pass(25 * 3_600);
    world.resume(Fate::Answered);
    check(&world);
    let account = world.state.books.account(&requester(0)).view();
    assert_eq!((account.available.0, account.leaving.0), (AMOUNT, 0));
    assert!(is_done(
        &world
            .withdraw(requester(0), AMOUNT, Fate::Answered)
            .unwrap()
    ));
    assert_eq!(
        world.ledger.balance(&account_of(requester(0))),
        Tokens::emc(1_000).0
    );
    check(&world);
}

#[test]
fn a_withdrawal_with_a_lost_answer_is_paid_once() {
    let mut world = World::new();
    world.fund(requester(0), AMOUNT);
    assert_eq!(
        world
            .withdraw(requester(0), AMOUNT, Fate::AnswerLost)
            .unwrap(),
        None
    );
    check(&world);
    world.upgrade();
    for _ in 0..3 {
        world.pass(3_600);
        world.resume(Fate::Answered);
        check(&world);
    }
    assert_eq!(world.available(requester(0)), 0);
    assert_eq!(world.state.books.totals(0).leaving, Tokens(0));
    assert_eq!(
        world.ledger.balance(&account_of(requester(0))),
        Tokens::emc(1_000).0
    );
}

#[test]
fn a_withdrawal_that_never_left_comes_back_at_once() {
    let mut world = World::new();
    world.fund(requester(0), AMOUNT);
    let outcome = world
        .withdraw(requester(0), AMOUNT, Fate::NotDelivered)
        .unwrap();
    assert!(matches!(outcome, Some(Outcome::NotDone { .. })));
    assert_eq!(world.available(requester(0)), AMOUNT);
    check(&world);
}

#[test]
fn nobody_withdraws_more_than_is_available() {
    let mut world = World::new();
    world.fund(requester(0), AMOUNT);
    assert_eq!(
        code_of(world.withdraw(requester(0), AMOUNT + 1, Fate::Answered)),
        code::INSUFFICIENT_FUNDS
    );
    world.submit(requester(0), ask("locked", 4)).unwrap();
    assert_eq!(
        code_of(world.withdraw(requester(0), AMOUNT, Fate::Answered)),
        code::INSUFFICIENT_FUNDS
    );
    assert_eq!(world.state.in_flight.len(), 0);
    check(&world);
}

#[test]
fn the_ledgers_fee_is_on_top_of_a_deposit_and_taken_from_a_withdrawal() {
    let mut world = World::new();
    world.ledger.fee = 1_000;
    let outcome = world.deposit(requester(0), AMOUNT, Fate::Answered).unwrap();
    assert!(
        matches!(outcome, Some(Outcome::NotDone { .. })),
        "the fee was not known: {outcome:?}"
    );
    assert_eq!(world.fee(), Tokens(1_000), "now it is");
    world.fund(requester(0), AMOUNT);
    let before = world.ledger.balance(&account_of(requester(0)));
    assert_eq!(before, Tokens::emc(1_000).0 - AMOUNT - 1_000);
    assert!(is_done(
        &world
            .withdraw(requester(0), AMOUNT, Fate::Answered)
            .unwrap()
    ));
    assert_eq!(
        world.ledger.balance(&account_of(requester(0))),
        before + AMOUNT - 1_000
    );
    check(&world);
}

#[test]
fn only_the_treasurys_principal_withdraws_the_treasury() {
    let mut world = World::new();
    assert_eq!(
        code_of(withdraw::treasury(&world.state, requester(0))),
        code::FORBIDDEN
    );
    world
        .state
        .configure(|config| config.settings.minimum_transfer = Tokens(1));
    let lease = world.leased_job(0);
    let args = world.delivery(0, &lease, &answer(64));
    world.deliver(0, &args).unwrap();
    let share = world.state.books.treasury().0;
    assert!(share > 0);
    let source = withdraw::treasury(&world.state, treasury()).unwrap();
    assert!(
        world
            .withdraw_from(treasury(), source, share + 1, Fate::Answered)
            .is_err()
    );
    let outcome = world
        .withdraw_from(treasury(), source, share, Fate::NotDelivered)
        .unwrap();
    assert!(!is_done(&outcome));
    assert_eq!(world.state.books.treasury().0, share);
    assert!(is_done(
        &world
            .withdraw_from(treasury(), source, share, Fate::Answered)
            .unwrap()
    ));
    assert_eq!(world.ledger.balance(&account_of(treasury())), share);
    check(&world);
}

#[test]
fn a_movement_that_does_not_balance_or_passes_the_lock_is_refused_as_a_whole() {
    let mut world = World::new();
    let id = world.open_job();
    let mut job = world.job(id);
    let charge = Charge {
        owner: owner(0),
        charge: Tokens(1_000_001),
        treasury_share: 200,
        royalty: Some((author(), 300)),
    };
    let over = Movement::settle(world.now, job.requester, id, job.lock.amount(), &charge);
    let refused = world.state.books.apply_for(over, id, &mut job);
    assert!(matches!(refused, Err(Refused::Invalid(_))), "{refused:?}");
    let other = Movement::refund(world.now, job.requester, id + 1, job.lock.amount());
    assert!(world.state.books.apply_for(other, id, &mut job).is_err());
    let too_much = Movement::refund(world.now, job.requester, id, Tokens(1_000_001));
    assert!(world.state.books.apply_for(too_much, id, &mut job).is_err());
    let nobody = Movement::withdraw_done(world.now, 77, Tokens(5));
    assert!(world.state.books.apply(&nobody).is_err());
    let lopsided = Movement::deposit(world.now, owner(0), Tokens(5)).without_its_last_line();
    assert_eq!(
        world.state.books.apply(&lopsided),
        Err(Refused::Invalid("its postings do not sum to zero"))
    );
    assert_eq!(job, world.job(id));
    check(&world);
}
