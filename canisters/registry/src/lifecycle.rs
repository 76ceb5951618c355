//! Installation, upgrade, timers, and the filter before consensus.

use crate::guard;
use crate::records::Config;
use crate::state::{self, State};
use crate::{feed, ledger_calls};
use candid::Principal;
use emc_protocol::node::{RegistryArgs, RegistryUpgrade};
use ic_cdk::api::{accept_message, msg_arg_data, msg_caller, msg_method_name, time, trap};
use ic_stable_structures::DefaultMemoryImpl;
use std::time::Duration;

/// How often the timer runs. It does nothing where nothing is due.
const TICK: Duration = Duration::from_secs(5);

/// For `init`. Traps, and so refuses the installation, on the wrong argument.
pub fn install(args: RegistryArgs) {
    let RegistryArgs::Init(init) = args else {
        trap(
            "This is an installation: the argument must be variant { Init = record { minimum_stake; unbonding } }.",
        );
    };
    let Some(ledger) = init.ledger.or_else(|| find_canister("ledger")) else {
        trap(
            "ledger is missing: name it in the argument, or set the environment variable PUBLIC_CANISTER_ID:ledger.",
        );
    };
    let config = Config::new(&init, ledger, msg_caller(), time());
    state::set(State::create(DefaultMemoryImpl::default(), config));
    start_timers();
}

/// The id of another canister of this deployment, where the deploying tool has put it in the environment.
fn find_canister(name: &str) -> Option<Principal> {
    let variable = format!("PUBLIC_CANISTER_ID:{name}");
    let set = ic_cdk::api::env_var_name_exists(&variable);
    Principal::from_text(set.then(|| ic_cdk::api::env_var_value(&variable))?).ok()
}

/// For `post_upgrade`. Traps, and so leaves the canister as it was, on the wrong argument or a foreign state.
pub fn upgrade(args: Option<RegistryArgs>) {
    let changes = match args {
        None => RegistryUpgrade::default(),
        Some(RegistryArgs::Upgrade(changes)) => changes,
        Some(RegistryArgs::Init(_)) => trap(
            "This is an upgrade: the argument must be variant { Upgrade = record {} }, with what is to change.",
        ),
    };
    let mut state = State::load(DefaultMemoryImpl::default()).unwrap_or_else(|why| trap(why));
    change_settings(&mut state, changes);
    state::set(state);
    start_timers();
}

/// Takes in what an upgrade changes.
pub fn change_settings(state: &mut State, changes: RegistryUpgrade) {
    let mut config = state.config.get().clone();
    config.governor = changes.governor.unwrap_or(config.governor);
    config.unbonding = changes.unbonding.map_or(config.unbonding, |wait| wait.0);
    let minimum = changes
        .minimum_stake
        .map_or(config.minimum_stake, |least| least.0);
    if minimum != config.minimum_stake {
        config.minimum_stake = minimum;
        feed::announce_all(state);
    }
    state.config.set(config);
}

/// Timers vanish with every upgrade.
fn start_timers() {
    ic_cdk_timers::set_timer_interval_serial(TICK, async || {
        state::with(feed::go_on_announcing);
        ledger_calls::resume().await;
    });
}

/// For `inspect_message`: what the methods would refuse anyway does not cost consensus anything.
pub fn inspect() {
    let admitted =
        state::with(|state| guard::check(state, msg_caller(), &msg_method_name(), time()));
    if admitted.is_ok() && msg_arg_data().len() <= guard::ARGUMENT_BYTES {
        accept_message();
    }
}
