//! `fetch_canister_logs`: what a canister printed, for whom its settings let see it.

use super::{Result, encode};
use crate::reject::Reject;
use crate::subnet::Subnet;
use candid::Principal;
use ic_management_canister_types::{
    CanisterLogFilter, CanisterLogRecord, FetchCanisterLogsArgs, FetchCanisterLogsResult,
    LogVisibility,
};

/// True if a filter lets a record of this number and time through; both of its ranges leave out their end.
fn passes(filter: Option<&CanisterLogFilter>, index: u64, time: u64) -> bool {
    match filter {
        None => true,
        Some(CanisterLogFilter::ByIdx { start, end }) => (*start..*end).contains(&index),
        Some(CanisterLogFilter::ByTimestampNanos { start, end }) => (*start..*end).contains(&time),
    }
}

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
            .filter(|l| passes(args.filter.as_ref(), l.index, l.time))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_keeps_its_range_without_its_end() {
        let by_index = CanisterLogFilter::ByIdx { start: 2, end: 4 };
        let kept: Vec<u64> = (0..6).filter(|i| passes(Some(&by_index), *i, 0)).collect();
        assert_eq!(kept, [2, 3]);
        let by_time = CanisterLogFilter::ByTimestampNanos { start: 5, end: 5 };
        assert!(!passes(Some(&by_time), 0, 5));
        assert!(passes(None, 0, 5));
    }
}
