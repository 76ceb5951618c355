//! The governor's parameters: public for the delay, then in effect, and logged for ever.

use super::invariants::check;
use super::world::*;
use crate::parameters::{DELAY, LONGEST, cancel, log, set, settle};
use crate::{install, view};
use emc_protocol::error::code;
use emc_protocol::escrow::{EscrowArgs, EscrowUpgrade, Settings};
use emc_protocol::parameters::{EscrowParameterChange, EscrowParameters};
use emc_protocol::*;

fn share(points: u16) -> EscrowParameters {
    EscrowParameters {
        settings: Some(Settings {
            treasury_share: points,
            ..Settings::default()
        }),
        delay: None,
    }
}

fn governor() -> candid::Principal {
    principal(4)
}

fn announce(world: &mut World, change: &EscrowParameters) -> Result<(), ApiError> {
    set(&mut world.state, world.now, governor(), change)
}

fn treasury_share(world: &World) -> u16 {
    view::info(&world.state).settings.treasury_share
}

fn events(world: &World) -> Vec<EscrowParameterChange> {
    let events = log(&world.state, 0, 100).events.into_iter();
    events
        .map(|event| event.what.expect("all are known"))
        .collect()
}

#[test]
fn a_change_is_public_for_the_delay_and_then_holds() {
    let mut world = World::new();
    announce(&mut world, &share(700)).unwrap();
    let effective = world.now.after(DELAY);
    let pending = view::info(&world.state).pending.expect("it is public");
    assert_eq!((pending.change, pending.effective), (share(700), effective));
    world.pass(DELAY.0 - 1);
    settle(&mut world.state, world.now);
    assert_eq!(treasury_share(&world), 200);
    world.pass(1);
    world.upgrade();
    settle(&mut world.state, world.now);
    assert_eq!(
        (treasury_share(&world), view::info(&world.state).pending),
        (700, None)
    );
    settle(&mut world.state, world.now);
    let announced = EscrowParameterChange::Announced {
        change: share(700),
        effective,
    };
    let applied = EscrowParameterChange::Applied { change: share(700) };
    assert_eq!(events(&world), [announced, applied]);
    check(&world);
}

#[test]
fn a_lease_keeps_the_terms_under_which_it_was_claimed() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    let none = EscrowParameters {
        delay: Some(Seconds(0)),
        ..EscrowParameters::default()
    };
    announce(&mut world, &none).unwrap();
    world.pass(1);
    world.state.configure(|config| config.delay = Some(0));
    announce(&mut world, &share(9_000)).unwrap();
    assert_eq!(treasury_share(&world), 9_000, "at once");
    let args = world.delivery(0, &lease, &answer(40));
    let paid = world.deliver(0, &args).unwrap().paid.0;
    assert_eq!(paid, args.charge.0 - args.charge.0 * 200 / 10_000);
    check(&world);
}

#[test]
fn a_cancelled_change_never_holds_and_a_new_one_begins_its_delay_anew() {
    let mut world = World::new();
    let refused = cancel(&mut world.state, world.now, governor());
    assert_eq!(code_of(refused), code::WRONG_STATE);
    announce(&mut world, &share(700)).unwrap();
    announce(&mut world, &share(700)).unwrap();
    assert_eq!(events(&world).len(), 1, "the same again changes nothing");
    cancel(&mut world.state, world.now, governor()).unwrap();
    announce(&mut world, &share(800)).unwrap();
    world.pass(10);
    announce(&mut world, &share(900)).unwrap();
    world.pass(DELAY.0 - 10);
    settle(&mut world.state, world.now);
    assert_eq!(treasury_share(&world), 200);
    world.pass(10);
    settle(&mut world.state, world.now);
    assert_eq!(treasury_share(&world), 900);
}

#[test]
fn only_the_governor_sets_them_and_only_within_bounds() {
    let mut world = World::new();
    let by_others = set(&mut world.state, world.now, requester(0), &share(700));
    assert_eq!(code_of(by_others), code::FORBIDDEN);
    let by_others = cancel(&mut world.state, world.now, requester(0));
    assert_eq!(code_of(by_others), code::FORBIDDEN);
    for wrong in [
        EscrowParameters::default(),
        share(10_001),
        EscrowParameters {
            delay: Some(Seconds(LONGEST.0 + 1)),
            ..EscrowParameters::default()
        },
    ] {
        assert_eq!(code_of(announce(&mut world, &wrong)), code::INVALID);
    }
    assert!(events(&world).is_empty());
}

#[test]
fn an_upgrade_changes_them_at_once_and_the_log_says_so() {
    let mut world = World::new();
    let args = EscrowArgs::Upgrade(EscrowUpgrade {
        settings: share(700).settings,
        delay: Some(Seconds(5)),
        ..EscrowUpgrade::default()
    });
    install::upgrade(&mut world.state, world.now, principal(9), Some(args)).unwrap();
    assert_eq!(treasury_share(&world), 700);
    assert_eq!(view::info(&world.state).delay, Some(Seconds(5)));
    let logged = log(&world.state, 0, 10);
    assert_eq!((logged.length, logged.events[0].by), (1, principal(9)));
    assert!(matches!(
        events(&world)[0],
        EscrowParameterChange::Upgraded { .. }
    ));
    let nothing = EscrowArgs::Upgrade(EscrowUpgrade::default());
    install::upgrade(&mut world.state, world.now, principal(9), Some(nothing)).unwrap();
    assert_eq!(log(&world.state, 0, 10).length, 1);
}
