//! Installation, upgrade, timers, and the filter before consensus.

use crate::config::{Config, ParametersRecord};
use crate::parameter_log::{self, Event};
use crate::parameters;
use crate::state::{self, State};
use crate::{feed, guard, ledger_calls, mining, unbonding};
use candid::Principal;
use emc_protocol::ApiError;
use emc_protocol::node::{RegistryArgs, RegistryUpgrade};
use emc_protocol::parameters::RegistryParameters;
use ic_cdk::api::{accept_message, msg_arg_data, msg_caller, msg_method_name, time, trap};
use ic_stable_structures::DefaultMemoryImpl;
use std::time::Duration;

/// How often the timer runs. It does nothing where nothing is due.
const TICK: Duration = Duration::from_secs(5);

/// For `init`. Traps, and so refuses the installation, on the wrong argument.
pub fn install(args: RegistryArgs) {
    let RegistryArgs::Init(mut init) = args else {
        trap(
            "This is an installation: the argument must be variant { Init = record { minimum_stake; unbonding } }.",
        );
    };
    let Some(ledger) = init.ledger.or_else(|| find_canister("ledger")) else {
        trap(
            "ledger is missing: name it in the argument, or set the environment variable PUBLIC_CANISTER_ID:ledger.",
        );
    };
    let escrow = || find_canister("escrow").map(|escrow| vec![escrow]);
    init.mining_escrows = init.mining_escrows.or_else(escrow);
    let named = parameters::mining_escrows(init.mining_escrows.as_deref());
    named.unwrap_or_else(|refusal| trap(refusal.to_string()));
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
    let changed = change_settings(&mut state, time(), msg_caller(), changes);
    changed.unwrap_or_else(|refusal| trap(refusal.to_string()));
    state::set(state);
    start_timers();
}

/// Takes in what an upgrade changes: at once, and written down.
///
/// # Errors
/// `invalid` where a value is out of its bounds.
pub fn change_settings(
    state: &mut State,
    now: u64,
    caller: Principal,
    changes: RegistryUpgrade,
) -> Result<(), ApiError> {
    let change = parameters::checked(&RegistryParameters {
        minimum_stake: changes.minimum_stake,
        unbonding: changes.unbonding,
        jail: changes.jail,
        silence: changes.silence,
        delay: changes.delay,
        mining_escrows: changes.mining_escrows,
    })?;
    if let Some(governor) = changes.governor {
        let mut config = state.config.get().clone();
        config.governor = governor;
        state.config.set(config);
    }
    if change != ParametersRecord::default() {
        parameters::apply(state, &change);
        parameter_log::note(state, now, caller, Event::Upgraded { change });
    }
    Ok(())
}

/// Timers vanish with every upgrade.
fn start_timers() {
    emc_rhythm::every(TICK, || {
        Box::pin(async {
            state::with(|state| {
                parameters::settle(state, time());
                unbonding::sweep(state, time());
                feed::go_on_announcing(state);
                mining::closing::step(state);
            });
            ledger_calls::resume().await;
            ledger_calls::burn().await;
            ledger_calls::look_at_pool().await;
        })
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
