//! Installing, reinstalling and upgrading code, each as one transaction: if any step fails, the canister is as before,
//! including what `pre_upgrade` wrote to stable memory.

use super::{Result, encode};
use crate::canister::{Canister, Code};
use crate::execute::{Entry, Ran};
use crate::limits::INSTALL_INSTRUCTIONS;
use crate::message::Origin;
use crate::message_log::Executed;
use crate::reject::Reject;
use crate::stable::StableMemory;
use crate::subnet::Subnet;
use crate::system_api::{Execution, Mode, Trap};
use crate::wasm_module::{self, CanisterModule, START};
use candid::Principal;
use ic_management_canister_types::{
    CanisterInstallMode, ChangeDetails, CodeDeploymentMode, CodeDeploymentRecord, InstallCodeArgs,
    UpgradeFlags, WasmMemoryPersistence,
};
use std::sync::Arc;

impl Subnet {
    pub(super) fn install_code(
        &mut self,
        caller: Principal,
        origin: Origin,
        (args,): (InstallCodeArgs,),
    ) -> Result<Vec<u8>> {
        self.install(
            caller,
            origin,
            args.canister_id,
            args.mode,
            &args.wasm_module,
            args.arg,
        )
    }

    pub(super) fn install(
        &mut self,
        caller: Principal,
        origin: Origin,
        id: Principal,
        mode: CanisterInstallMode,
        module: &[u8],
        argument: Vec<u8>,
    ) -> Result<Vec<u8>> {
        let canister = self.controlled(id, caller)?;
        match mode {
            CanisterInstallMode::Install if canister.code.is_some() => {
                return Err(Reject::error(
                    514,
                    format!(
                        "Canister {id} cannot be installed because the canister is not empty. Try installing with \
                         mode='reinstall' instead."
                    ),
                ));
            }
            CanisterInstallMode::Upgrade(_) if canister.code.is_none() => {
                return Err(Reject::no_wasm_module(id));
            }
            _ => {}
        }
        let module = wasm_module::load(module).map_err(|e| {
            Reject::from_canister(505, id, format!("Canister's Wasm module is not valid: {e}"))
        })?;
        let hash = module.hash.to_vec();
        let mut logged = Vec::new();
        let installed = self.transaction(caller, id, mode, module, argument, &mut logged);
        for entry in logged {
            self.log.push(entry);
        }
        installed.map_err(|trap| trap.reject(id))?;
        let mode = match mode {
            CanisterInstallMode::Install => CodeDeploymentMode::Install,
            CanisterInstallMode::Reinstall => CodeDeploymentMode::Reinstall,
            CanisterInstallMode::Upgrade(_) => CodeDeploymentMode::Upgrade,
        };
        let details = ChangeDetails::CodeDeployment(CodeDeploymentRecord {
            mode,
            module_hash: hash,
        });
        self.record(id, caller, origin, details);
        Ok(encode(()))
    }

    fn transaction(
        &mut self,
        caller: Principal,
        id: Principal,
        mode: CanisterInstallMode,
        module: Arc<CanisterModule>,
        argument: Vec<u8>,
        logged: &mut Vec<Executed>,
    ) -> std::result::Result<(), Trap> {
        let (now, facts, tracking) = (self.clock.now(), self.facts.clone(), self.tracking);
        let canister = self.canisters.get_mut(&id).expect("checked by the caller");
        let view = |canister: &Canister, mode: Mode| {
            let mut execution = canister.execution(&facts, mode, now, INSTALL_INSTRUCTIONS);
            execution.caller = caller;
            execution.argument.clone_from(&argument);
            execution
        };
        // 1. The old code's last word, left open.
        let upgrade = matches!(mode, CanisterInstallMode::Upgrade(_));
        let mut certified_data = None;
        if let CanisterInstallMode::Upgrade(flags) = mode {
            let UpgradeFlags {
                skip_pre_upgrade,
                wasm_memory_persistence,
            } = flags.unwrap_or_default();
            if wasm_memory_persistence == Some(WasmMemoryPersistence::Keep) {
                return Err(Trap::contract(
                    "emc-localnet does not support wasm_memory_persistence = keep",
                ));
            }
            if skip_pre_upgrade != Some(true) && canister.exports("canister_pre_upgrade") {
                let mut execution = view(canister, Mode::PreUpgrade);
                execution.argument.clear();
                let ran = step(
                    canister,
                    "canister_pre_upgrade",
                    "pre_upgrade",
                    execution,
                    logged,
                );
                if let Err(trap) = ran.outcome {
                    canister.undo();
                    return Err(trap);
                }
                certified_data = ran.execution.certified_data;
            }
        }
        // 2. The new code takes its place; what it replaces is kept aside. Timers do not survive.
        let code = match Code::new(module, tracking) {
            Ok(code) => code,
            Err(trap) => {
                canister.undo();
                return Err(trap);
            }
        };
        let old = Replaced {
            code: canister.code.replace(code),
            stable: (!upgrade).then(|| std::mem::take(&mut canister.stable)),
            timer: std::mem::take(&mut canister.timer),
        };
        // 3. Its start function and its init or post_upgrade.
        let hook = if upgrade {
            ("canister_post_upgrade", "post_upgrade")
        } else {
            ("canister_init", "init")
        };
        let mut last = view(canister, Mode::Init);
        for (export, kind, mode) in [(START, "start", Mode::Start), (hook.0, hook.1, Mode::Init)] {
            if !canister.exports(export) {
                continue;
            }
            let ran = step(canister, export, kind, view(canister, mode), logged);
            if let Err(trap) = ran.outcome {
                old.restore(canister);
                return Err(trap);
            }
            last = ran.execution;
        }
        // 4. All of it becomes true at once.
        if last.certified_data.is_none() {
            // An upgrade keeps what was certified before; other modes start empty.
            last.certified_data = if upgrade {
                certified_data
            } else {
                Some(Vec::new())
            };
        }
        canister.keep(&mut last);
        Ok(())
    }
}

/// What an installation replaces, until it is certain.
struct Replaced {
    code: Option<Code>,
    /// None in an upgrade, whose stable memory undoes itself.
    stable: Option<StableMemory>,
    timer: u64,
}

impl Replaced {
    fn restore(self, canister: &mut Canister) {
        canister.undo();
        canister.code = self.code;
        canister.timer = self.timer;
        if let Some(stable) = self.stable {
            canister.stable = stable;
        }
        // The old heap still has what pre_upgrade did.
        if let Some(code) = &mut canister.code {
            code.undo();
        }
    }
}

fn step(
    canister: &mut Canister,
    export: &str,
    kind: &'static str,
    execution: Execution,
    logged: &mut Vec<Executed>,
) -> Ran {
    let mut ran = canister.run(&Entry::Export(export.into()), execution);
    canister.log(ran.execution.time, std::mem::take(&mut ran.execution.logs));
    logged.push(Executed {
        n: 0,
        canister_time_ns: ran.execution.time,
        canister: canister.id.to_text(),
        caller: ran.execution.caller.to_text(),
        kind,
        method: String::new(),
        instructions: ran.instructions,
        dirty_pages: 0,
        outcome: ran
            .outcome
            .as_ref()
            .map_or_else(ToString::to_string, |()| "ok".to_string()),
    });
    ran
}
