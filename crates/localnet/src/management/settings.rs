//! `update_settings`: checked first, then applied.

use super::{Result, amount, encode};
use crate::canister::Settings;
use crate::limits::MAX_CONTROLLERS;
use crate::message::Origin;
use crate::reject::Reject;
use crate::subnet::Subnet;
use candid::{Nat, Principal};
use ic_management_canister_types::{
    CanisterSettings, ChangeDetails, ControllersChangeRecord, UpdateSettingsArgs,
};

const MAX_VARIABLES: usize = 20;
const MAX_VARIABLE_BYTES: usize = 128;

impl Subnet {
    pub(super) fn update_settings(
        &mut self,
        caller: Principal,
        origin: Origin,
        (args,): (UpdateSettingsArgs,),
    ) -> Result<Vec<u8>> {
        let canister = self.controlled(args.canister_id, caller)?;
        let mut settings = canister.settings.clone();
        settings.apply(args.settings)?;
        let changed = settings.controllers != canister.settings.controllers;
        let controllers = settings.controllers.clone();
        canister.settings = settings;
        canister.version += 1;
        if changed {
            let details = ChangeDetails::ControllersChange(ControllersChangeRecord { controllers });
            self.record(args.canister_id, caller, origin, details);
        }
        Ok(encode(()))
    }
}

fn invalid(message: String) -> Reject {
    Reject::error(504, format!("Could not validate the settings: {message} "))
}

fn set(to: &mut u128, value: Option<Nat>, what: &str, max: u128) -> Result<()> {
    if let Some(n) = value {
        let n = amount(n, what)?;
        if n > max {
            return Err(invalid(format!(
                "{what} expected to be in the range [0..{max}], got {n}"
            )));
        }
        *to = n;
    }
    Ok(())
}

impl Settings {
    /// Takes over what is given, or refuses all of it.
    pub fn apply(&mut self, new: CanisterSettings) -> Result<()> {
        let mut s = self.clone();
        if let Some(mut controllers) = new.controllers {
            if controllers.len() > MAX_CONTROLLERS {
                return Err(Reject::invalid_payload(format!(
                    "Invalid number of controllers: {} (max: {MAX_CONTROLLERS})",
                    controllers.len()
                )));
            }
            controllers.sort();
            controllers.dedup();
            s.controllers = controllers;
        }
        set(
            &mut s.compute_allocation,
            new.compute_allocation,
            "ComputeAllocation",
            100,
        )?;
        set(
            &mut s.memory_allocation,
            new.memory_allocation,
            "MemoryAllocation",
            1 << 48,
        )?;
        set(
            &mut s.freezing_threshold,
            new.freezing_threshold,
            "freezing_threshold",
            u128::from(u64::MAX),
        )?;
        set(
            &mut s.reserved_cycles_limit,
            new.reserved_cycles_limit,
            "reserved_cycles_limit",
            u128::MAX,
        )?;
        set(
            &mut s.minimum_incoming_canister_call_cycles,
            new.minimum_incoming_canister_call_cycles,
            "minimum_incoming_canister_call_cycles",
            u128::MAX,
        )?;
        set(
            &mut s.log_memory_limit,
            new.log_memory_limit,
            "log_memory_limit",
            2 << 20,
        )?;
        set(
            &mut s.wasm_memory_limit,
            new.wasm_memory_limit,
            "wasm_memory_limit",
            1 << 48,
        )?;
        set(
            &mut s.wasm_memory_threshold,
            new.wasm_memory_threshold,
            "wasm_memory_threshold",
            1 << 48,
        )?;
        if let Some(v) = new.log_visibility {
            s.log_visibility = v;
        }
        if let Some(v) = new.snapshot_visibility {
            s.snapshot_visibility = v;
        }
        if let Some(v) = new.status_visibility {
            s.status_visibility = v;
        }
        if let Some(variables) = new.environment_variables {
            if variables.len() > MAX_VARIABLES {
                return Err(Reject::invalid_payload(format!(
                    "Too many environment variables: {} (max: {MAX_VARIABLES})",
                    variables.len()
                )));
            }
            for v in &variables {
                if v.name.len() > MAX_VARIABLE_BYTES || v.value.len() > MAX_VARIABLE_BYTES {
                    return Err(Reject::invalid_payload(format!(
                        "Environment variable \"{}\" exceeds the maximum allowed length of {MAX_VARIABLE_BYTES}.",
                        v.name
                    )));
                }
            }
            s.environment = variables.into_iter().map(|v| (v.name, v.value)).collect();
            s.environment.sort();
            if s.environment.windows(2).any(|w| w[0].0 == w[1].0) {
                return Err(Reject::invalid_payload(
                    "Duplicate environment variables are not allowed",
                ));
            }
        }
        *self = s;
        Ok(())
    }
}
