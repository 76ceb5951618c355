//! `canister_status`, `canister_info` and `canister_metadata`. Running code costs no cycles on this network, so
//! `idle_cycles_burned_per_day` is 0 and the query statistics stay 0.

use super::{Result, encode};
use crate::canister::{Canister, RunStatus};
use crate::reject::Reject;
use crate::stable::WASM_PAGE;
use crate::subnet::Subnet;
use candid::{Nat, Principal};
use ic_management_canister_types::{
    CanisterIdRecord, CanisterInfoArgs, CanisterInfoResult, CanisterMetadataArgs,
    CanisterMetadataResult, CanisterStatusResult, CanisterStatusType, DefiniteCanisterSettings,
    EnvironmentVariable, MemoryMetrics, QueryStats, StatusVisibility,
};

impl Subnet {
    pub(super) fn canister_status(
        &mut self,
        caller: Principal,
        (of,): (CanisterIdRecord,),
    ) -> Result<Vec<u8>> {
        let id = of.canister_id;
        let canister = self.existing(id)?;
        let visible = match &canister.settings.status_visibility {
            StatusVisibility::Public => true,
            StatusVisibility::AllowedViewers(viewers) => viewers.contains(&caller),
            StatusVisibility::Controllers => false,
        };
        if !visible && caller != id && !canister.is_controller(caller) {
            return Err(Reject::not_controller(
                id,
                &canister.settings.controllers,
                caller,
            ));
        }
        Ok(encode((status(canister),)))
    }

    pub(super) fn canister_info(&mut self, (args,): (CanisterInfoArgs,)) -> Result<Vec<u8>> {
        let canister = self.existing(args.canister_id)?;
        let wanted = usize::try_from(args.num_requested_changes.unwrap_or(0)).unwrap_or(usize::MAX);
        let from = canister.history.len().saturating_sub(wanted);
        Ok(encode((CanisterInfoResult {
            total_num_changes: canister.changes,
            recent_changes: canister.history[from..].to_vec(),
            module_hash: canister.code.as_ref().map(|c| c.module.hash.to_vec()),
            controllers: canister.settings.controllers.clone(),
        },)))
    }

    pub(super) fn canister_metadata(
        &mut self,
        caller: Principal,
        (args,): (CanisterMetadataArgs,),
    ) -> Result<Vec<u8>> {
        let id = args.canister_id;
        let canister = self.existing(id)?;
        let found = canister
            .code
            .as_ref()
            .and_then(|c| c.module.metadata.get(&args.name));
        match found {
            Some(section) if section.public || canister.is_controller(caller) => {
                Ok(encode((CanisterMetadataResult {
                    value: section.content.clone(),
                },)))
            }
            _ => Err(Reject::from_canister(
                536,
                id,
                format!("Canister has no metadata section '{}'", args.name),
            )),
        }
    }
}

fn status(canister: &Canister) -> CanisterStatusResult {
    let s = &canister.settings;
    let zero = || Nat::from(0u8);
    let heap = canister.code.as_ref().map_or(0, |c| c.heap.size());
    let stable = canister.stable.pages() * WASM_PAGE;
    let binary = canister.code.as_ref().map_or(0, |c| c.module.size);
    let globals = canister.code.as_ref().map_or(0, |c| c.globals.len() * 8);
    let custom: usize = canister
        .code
        .iter()
        .flat_map(|c| c.module.metadata.values())
        .map(|m| m.content.len())
        .sum();
    let chunks: usize = canister.chunks.values().map(Vec::len).sum();
    let logs: usize = canister.logs.iter().map(|l| l.content.len()).sum();
    let total = heap as u64 + stable + (binary + globals + custom + chunks + logs) as u64;
    CanisterStatusResult {
        status: match canister.status {
            RunStatus::Running => CanisterStatusType::Running,
            RunStatus::Stopping(_) => CanisterStatusType::Stopping,
            RunStatus::Stopped => CanisterStatusType::Stopped,
        },
        ready_for_migration: false,
        version: canister.version,
        settings: DefiniteCanisterSettings {
            controllers: s.controllers.clone(),
            compute_allocation: Nat::from(s.compute_allocation),
            memory_allocation: Nat::from(s.memory_allocation),
            freezing_threshold: Nat::from(s.freezing_threshold),
            reserved_cycles_limit: Nat::from(s.reserved_cycles_limit),
            minimum_incoming_canister_call_cycles: Nat::from(
                s.minimum_incoming_canister_call_cycles,
            ),
            log_visibility: s.log_visibility.clone(),
            log_memory_limit: Nat::from(s.log_memory_limit),
            snapshot_visibility: s.snapshot_visibility.clone(),
            status_visibility: s.status_visibility.clone(),
            wasm_memory_limit: Nat::from(s.wasm_memory_limit),
            wasm_memory_threshold: Nat::from(s.wasm_memory_threshold),
            environment_variables: s
                .environment
                .iter()
                .map(|(name, value)| EnvironmentVariable {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
        },
        module_hash: canister.code.as_ref().map(|c| c.module.hash.to_vec()),
        memory_size: Nat::from(total),
        memory_metrics: MemoryMetrics {
            wasm_memory_size: Nat::from(heap),
            stable_memory_size: Nat::from(stable),
            global_memory_size: Nat::from(globals),
            wasm_binary_size: Nat::from(binary),
            custom_sections_size: Nat::from(custom),
            canister_history_size: zero(),
            wasm_chunk_store_size: Nat::from(chunks),
            snapshots_size: zero(),
            log_memory_store_size: Nat::from(logs),
        },
        cycles: Nat::from(canister.cycles),
        reserved_cycles: zero(),
        idle_cycles_burned_per_day: zero(),
        query_stats: QueryStats {
            num_calls_total: zero(),
            num_instructions_total: zero(),
            request_payload_bytes_total: zero(),
            response_payload_bytes_total: zero(),
        },
    }
}
