//! The running canister's one state, and the few things that live in its heap only: rate limits and flags. Losing them
//! at an upgrade costs nothing.

use crate::guard::Limits;
use crate::outage;
use crate::parameters;
use crate::state::State;
use emc_protocol::Timestamp;
use std::cell::RefCell;

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
    static LIMITS: RefCell<Limits> = RefCell::new(Limits::default());
}

/// Sets the state, at installation and after an upgrade.
pub fn set(state: State) {
    STATE.with_borrow_mut(|cell| *cell = Some(state));
}

/// Reads the state.
pub fn read<R>(use_it: impl FnOnce(&State) -> R) -> R {
    STATE.with_borrow(|cell| use_it(cell.as_ref().expect("init and post_upgrade set the state")))
}

/// Changes the state, which learns the time first.
pub fn change<R>(use_it: impl FnOnce(&mut State) -> R) -> R {
    STATE.with_borrow_mut(|cell| {
        let state = cell.as_mut().expect("init and post_upgrade set the state");
        outage::wake(state, now());
        parameters::settle(state, now());
        use_it(state)
    })
}

/// The rate limits.
pub fn limits<R>(use_it: impl FnOnce(&mut Limits) -> R) -> R {
    LIMITS.with_borrow_mut(use_it)
}

/// The time.
pub fn now() -> Timestamp {
    Timestamp(ic_cdk::api::time())
}
