//! Starting, stopping, uninstalling and deleting canisters.

use super::{Done, Result, encode};
use crate::canister::RunStatus;
use crate::message::Origin;
use crate::reject::Reject;
use crate::stable::StableMemory;
use crate::subnet::Subnet;
use candid::Principal;
use ic_management_canister_types::{CanisterIdRecord, ChangeDetails, UninstallCodeArgs};

impl Subnet {
    pub(super) fn start_canister(
        &mut self,
        caller: Principal,
        (of,): (CanisterIdRecord,),
    ) -> Result<Vec<u8>> {
        let id = of.canister_id;
        let canister = self.controlled(id, caller)?;
        let before = std::mem::replace(&mut canister.status, RunStatus::Running);
        canister.version += 1;
        if let RunStatus::Stopping(waiting) = before {
            for origin in waiting {
                let reject =
                    Reject::error(511, format!("Canister {id}'s stop request was cancelled"));
                self.respond(Principal::management_canister(), origin, Err(reject), 0);
            }
        }
        Ok(encode(()))
    }

    pub(super) fn stop_canister(
        &mut self,
        caller: Principal,
        origin: Origin,
        id: Principal,
    ) -> Result<Done> {
        let canister = self.controlled(id, caller)?;
        match &mut canister.status {
            RunStatus::Stopped => return Ok(Done::Now(encode(()), 0)),
            RunStatus::Stopping(waiting) => waiting.push(origin),
            RunStatus::Running => canister.status = RunStatus::Stopping(vec![origin]),
        }
        self.finish_stopping(id);
        Ok(Done::Later)
    }

    pub(super) fn delete_canister(
        &mut self,
        caller: Principal,
        (of,): (CanisterIdRecord,),
    ) -> Result<Vec<u8>> {
        let id = of.canister_id;
        let canister = self.controlled(id, caller)?;
        if !matches!(canister.status, RunStatus::Stopped) {
            return Err(Reject::error(
                510,
                format!("Canister {id} must be stopped before it is deleted."),
            ));
        }
        self.canisters.remove(&id);
        Ok(encode(()))
    }

    pub(super) fn uninstall_code(
        &mut self,
        caller: Principal,
        origin: Origin,
        (args,): (UninstallCodeArgs,),
    ) -> Result<Vec<u8>> {
        let id = args.canister_id;
        let canister = self.controlled(id, caller)?;
        canister.code = None;
        canister.stable = StableMemory::default();
        canister.set_certified_data(Vec::new());
        canister.timer = 0;
        canister.chunks.clear();
        canister.version += 1;
        // Whoever waits for this canister is told; what it waits for itself finds nothing to run.
        let mut told = Vec::new();
        for context in canister.contexts.values_mut().filter(|c| !c.answered) {
            context.answered = true;
            told.push((context.origin, std::mem::take(&mut context.available)));
        }
        for (waiting, refund) in told {
            let reject = Reject::new(
                crate::reject::CANISTER_REJECT,
                "Canister has been uninstalled.",
            );
            self.respond(id, waiting, Err(reject), refund);
        }
        self.record(id, caller, origin, ChangeDetails::CodeUninstall);
        Ok(encode(()))
    }
}
