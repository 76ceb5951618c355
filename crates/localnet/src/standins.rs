//! Canisters that are built in: the management canister, and stand-ins for the two system canisters that `icp deploy`
//! talks to. The cycles ledger lets every principal spend a large endowment on creating canisters; what else the real
//! one does is refused by name.

use crate::canister::Settings;
use crate::ingress::UserCall;
use crate::message::{Origin, Request};
use crate::query::Query;
use crate::reject::{Reject, Response};
use crate::subnet::Subnet;
use candid::{CandidType, Deserialize, Nat, Principal};
use ic_management_canister_types::CanisterSettings;
use std::collections::BTreeMap;

/// The cycles ledger's id, `um5iw-rqaaa-aaaaq-qaaba-cai`.
pub const CYCLES_LEDGER: Principal = Principal::from_slice(&[0, 0, 0, 0, 2, 16, 0, 2, 1, 1]);
/// The cycles minting canister's id, `rkp4c-7iaaa-aaaaa-aaaca-cai`.
pub const CYCLES_MINTING: Principal = Principal::from_slice(&[0, 0, 0, 0, 0, 0, 0, 4, 1, 1]);
/// What every principal may spend.
const ENDOWMENT: u128 = 1_000_000_000_000_000_000;

/// What principals have spent of their endowment.
#[derive(Debug, Default)]
pub struct CyclesLedger {
    spent: BTreeMap<Principal, u128>,
    blocks: u64,
}

#[derive(CandidType, Deserialize)]
struct Account {
    owner: Principal,
    subaccount: Option<Vec<u8>>,
}

#[derive(CandidType, Deserialize)]
struct CreateCanister {
    amount: Nat,
    creation_args: Option<CreationArgs>,
}

#[derive(CandidType, Deserialize)]
struct CreationArgs {
    settings: Option<CanisterSettings>,
}

#[derive(CandidType)]
enum CreateCanisterResult {
    Ok {
        block_id: Nat,
        canister_id: Principal,
    },
    Err(CreateCanisterError),
}

#[derive(CandidType)]
enum CreateCanisterError {
    InsufficientFunds { balance: Nat },
}

impl CyclesLedger {
    fn balance(&self, account: &Account) -> u128 {
        match &account.subaccount {
            Some(s) if s.iter().any(|b| *b != 0) => 0,
            _ => ENDOWMENT - self.spent.get(&account.owner).copied().unwrap_or(0),
        }
    }
}

fn decode<'a, T: Deserialize<'a> + CandidType>(bytes: &'a [u8]) -> Result<T, Reject> {
    candid::decode_one(bytes).map_err(|e| {
        Reject::from_canister(
            503,
            CYCLES_LEDGER,
            format!("failed to decode call arguments: {e}"),
        )
    })
}

fn encode<T: CandidType>(value: T) -> Vec<u8> {
    candid::encode_one(value).expect("our own types encode")
}

impl Subnet {
    /// Whether an id belongs to something that is built in.
    pub fn is_built_in(&self, id: Principal) -> bool {
        id == Principal::management_canister()
            || (id == CYCLES_LEDGER || id == CYCLES_MINTING) && !self.canisters.contains_key(&id)
    }

    /// Refuses at the door what cannot succeed.
    pub fn admit_built_in(&mut self, call: &UserCall) -> Result<(), Reject> {
        if call.canister == Principal::management_canister() {
            self.admit_management(call)
        } else {
            Ok(())
        }
    }

    /// Answers a call.
    pub fn call_built_in(&mut self, to: Principal, request: Request) {
        if to == Principal::management_canister() {
            return self.manage(request);
        }
        let response = if to == CYCLES_LEDGER && request.method == "create_canister" {
            self.ledger_create_canister(request.caller, request.origin, &request.argument)
        } else {
            self.read_stand_in(to, &request.method, &request.argument)
        };
        self.respond(to, request.origin, response, request.cycles);
    }

    /// Answers a query.
    pub fn query_built_in(&mut self, query: Query) -> Response {
        if query.canister == Principal::management_canister() {
            return self.manage_query(query.caller, &query.method, &query.argument);
        }
        self.read_stand_in(query.canister, &query.method, &query.argument)
    }

    fn read_stand_in(&mut self, id: Principal, method: &str, argument: &[u8]) -> Response {
        let ledger = id == CYCLES_LEDGER;
        match method {
            "icrc1_balance_of" if ledger => {
                Ok(encode(Nat::from(self.ledger.balance(&decode(argument)?))))
            }
            "icrc1_fee" if ledger => Ok(encode(Nat::from(0u8))),
            "icrc1_decimals" if ledger => Ok(encode(12u8)),
            "icrc1_symbol" if ledger => Ok(encode("TCYCLES")),
            "icrc1_name" if ledger => Ok(encode("Cycles Ledger (stand-in)")),
            "icrc1_total_supply" if ledger => Ok(encode(Nat::from(ENDOWMENT))),
            "get_default_subnets" if !ledger => Ok(encode(vec![self.keys.subnet])),
            "get_subnet_types_to_subnets" if !ledger => {
                Ok(encode(SubnetTypes { data: Vec::new() }))
            }
            "get_icp_xdr_conversion_rate" if !ledger => {
                Err(Reject::unsupported("converting ICP: there is no ICP here"))
            }
            other => {
                let name = if ledger {
                    "cycles ledger"
                } else {
                    "cycles minting canister"
                };
                Err(Reject::unsupported(format!(
                    "the method {other} of the {name}, which is only a stand-in here"
                )))
            }
        }
    }

    fn ledger_create_canister(
        &mut self,
        caller: Principal,
        origin: Origin,
        argument: &[u8],
    ) -> Response {
        let args: CreateCanister = decode(argument)?;
        let balance = self.ledger.balance(&Account {
            owner: caller,
            subaccount: None,
        });
        let amount = u128::try_from(args.amount.0).unwrap_or(u128::MAX);
        if amount > balance {
            let balance = Nat::from(balance);
            return Ok(encode(CreateCanisterResult::Err(
                CreateCanisterError::InsufficientFunds { balance },
            )));
        }
        let settings = args
            .creation_args
            .and_then(|c| c.settings)
            .unwrap_or_default();
        Settings::new(caller).apply(settings.clone())?;
        let canister_id = self.create(caller, origin, settings, amount, None)?;
        *self.ledger.spent.entry(caller).or_default() += amount;
        self.ledger.blocks += 1;
        Ok(encode(CreateCanisterResult::Ok {
            block_id: Nat::from(self.ledger.blocks - 1),
            canister_id,
        }))
    }
}

#[derive(CandidType)]
struct SubnetTypes {
    data: Vec<(String, Vec<Principal>)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_ins_have_the_ids_of_the_real_ones() {
        assert_eq!(CYCLES_LEDGER.to_text(), "um5iw-rqaaa-aaaaq-qaaba-cai");
        assert_eq!(CYCLES_MINTING.to_text(), "rkp4c-7iaaa-aaaaa-aaaca-cai");
    }
}
