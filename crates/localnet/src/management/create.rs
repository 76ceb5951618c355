//! Creating canisters and giving them cycles.

use super::{Result, amount, encode};
use crate::canister::{Canister, Settings};
use crate::message::Origin;
use crate::reject::Reject;
use crate::subnet::Subnet;
use candid::Principal;
use ic_management_canister_types::{
    CanisterSettings, ChangeDetails, CreateCanisterArgs, CreationRecord,
    ProvisionalCreateCanisterWithCyclesArgs, ProvisionalTopUpCanisterArgs,
};

/// Cycles of a provisional canister when the creator names none.
const PROVISIONAL_CYCLES: u128 = 100_000_000_000_000;

impl Subnet {
    pub(super) fn create_canister(
        &mut self,
        caller: Principal,
        origin: Origin,
        (args,): (CreateCanisterArgs,),
        cycles: u128,
    ) -> Result<Principal> {
        self.create(
            caller,
            origin,
            args.settings.unwrap_or_default(),
            cycles,
            None,
        )
    }

    pub(super) fn provisional_create(
        &mut self,
        caller: Principal,
        origin: Origin,
        (args,): (ProvisionalCreateCanisterWithCyclesArgs,),
    ) -> Result<Principal> {
        let cycles = args
            .amount
            .map_or(Ok(PROVISIONAL_CYCLES), |n| amount(n, "amount"))?;
        self.create(
            caller,
            origin,
            args.settings.unwrap_or_default(),
            cycles,
            args.specified_id,
        )
    }

    pub(super) fn provisional_top_up(
        &mut self,
        (args,): (ProvisionalTopUpCanisterArgs,),
    ) -> Result<Vec<u8>> {
        let more = amount(args.amount, "amount")?;
        let canister = self.existing(args.canister_id)?;
        canister.cycles = canister.cycles.saturating_add(more);
        Ok(encode(()))
    }

    /// Makes an empty canister.
    pub fn create(
        &mut self,
        caller: Principal,
        origin: Origin,
        settings: CanisterSettings,
        cycles: u128,
        id: Option<Principal>,
    ) -> Result<Principal> {
        let mut made = Settings::new(caller);
        made.apply(settings)?;
        let id = match id {
            None => self.next_canister_id(),
            Some(id) if self.canisters.contains_key(&id) || self.is_built_in(id) => {
                return Err(Reject::error(
                    205,
                    format!("Unsuccessful canister creation: canister id {id} already exists."),
                ));
            }
            Some(id) if id.as_slice().len() == 10 && id.as_slice().ends_with(&[1, 1]) => id,
            Some(id) => {
                return Err(Reject::invalid_payload(format!(
                    "The `specified_id` {id} is not a canister id"
                )));
            }
        };
        let controllers = made.controllers.clone();
        self.canisters.insert(id, Canister::new(id, made, cycles));
        let details = ChangeDetails::Creation(CreationRecord {
            controllers,
            environment_variables_hash: None,
        });
        self.record(id, caller, origin, details);
        Ok(id)
    }
}
