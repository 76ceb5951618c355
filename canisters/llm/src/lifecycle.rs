//! Installation, upgrade, and the filter before consensus.

use crate::config::Config;
use crate::state::{self, State};
use candid::Principal;
use emc_protocol::limits;
use emc_protocol::llm::LlmArgs;
use ic_cdk::api::{accept_message, msg_arg_data, msg_caller, msg_method_name, trap};
use ic_stable_structures::DefaultMemoryImpl;

/// Largest argument of any method, bytes: a conversation, and room for what is around each message.
const ARGUMENT_BYTES: usize = 2 * limits::INPUT_BYTES;

/// For `init`. Traps, and so refuses the installation, on the wrong argument.
pub fn install(args: LlmArgs) {
    let config = Config::install(args, escrow_of_this_deployment(), msg_caller());
    let config = config.unwrap_or_else(|refusal| trap(refusal.to_string()));
    state::set(State::create(DefaultMemoryImpl::default(), config));
}

/// For `post_upgrade`. Traps, and so leaves the canister as it was, on the wrong argument or a foreign state.
pub fn upgrade(args: Option<LlmArgs>) {
    let mut state = State::load(DefaultMemoryImpl::default()).unwrap_or_else(|why| trap(why));
    let config = state.config.get().clone().upgrade(args);
    state
        .config
        .set(config.unwrap_or_else(|refusal| trap(refusal.to_string())));
    state::set(state);
}

/// Where the deploying tool has put it in the environment.
fn escrow_of_this_deployment() -> Option<Principal> {
    const VARIABLE: &str = "PUBLIC_CANISTER_ID:escrow";
    let set = ic_cdk::api::env_var_name_exists(VARIABLE);
    Principal::from_text(set.then(|| ic_cdk::api::env_var_value(VARIABLE))?).ok()
}

/// For `inspect_message`: what the methods would refuse anyway does not cost consensus anything.
pub fn inspect() {
    let caller = msg_caller();
    let may = match msg_method_name().as_str() {
        "configure" => state::with(|state| state.config.get().governor == caller),
        _ => caller != Principal::anonymous(),
    };
    if may && msg_arg_data().len() <= ARGUMENT_BYTES {
        accept_message();
    }
}
