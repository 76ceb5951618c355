//! `fetch_canister_logs`: what a canister printed, for whom its settings let see it.

use super::{Result, encode};
use crate::reject::Reject;
use crate::subnet::Subnet;
use candid::Principal;
use ic_management_canister_types::{
    CanisterLogRecord, FetchCanisterLogsArgs, FetchCanisterLogsResult, LogVisibility,
};

impl Subnet {
    pub(super) fn fetch_canister_logs(
        &mut self,
        caller: Principal,
        (args,): (FetchCanisterLogsArgs,),
    ) -> Result<Vec<u8>> {
        let id = args.canister_id;
        let canister = self.existing(id)?;
        let allowed = canister.is_controller(caller)
            || match &canister.settings.log_visibility {
                LogVisibility::Public => true,
                LogVisibility::Controllers => false,
                LogVisibility::AllowedViewers(viewers) => viewers.contains(&caller),
            };
        if !allowed {
            return Err(Reject::error(
                406,
                format!("Caller {caller} is not allowed to access canister logs"),
            ));
        }
        let canister_log_records = canister
            .logs
            .iter()
            .map(|l| CanisterLogRecord {
                idx: l.index,
                timestamp_nanos: l.time,
                content: l.content.clone(),
            })
            .collect();
        Ok(encode((FetchCanisterLogsResult {
            canister_log_records,
        },)))
    }
}
