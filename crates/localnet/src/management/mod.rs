//! The management canister (`aaaaa-aa`): decodes arguments, checks who may, and says plainly what is not offered.

mod chunks;
mod create;
mod install;
mod lifecycle;
mod logs;
mod settings;
mod status;

use crate::canister::Canister;
use crate::ingress::UserCall;
use crate::message::{Origin, Request};
use crate::reject::{Reject, Response};
use crate::subnet::Subnet;
use candid::utils::{ArgumentDecoder, ArgumentEncoder};
use candid::{Nat, Principal};
use ic_management_canister_types::{
    CanisterIdRecord, Change, ChangeDetails, ChangeOrigin, FromCanisterRecord, FromUserRecord,
};
use rand::RngCore;

type Result<T> = std::result::Result<T, Reject>;

/// What became of a management call.
enum Done {
    /// Answered; cycles that were not used go back.
    Now(Vec<u8>, u128),
    /// The answer comes later.
    Later,
}

/// Methods that only canisters may call.
const ONLY_CANISTERS: [&str; 5] = [
    "raw_rand",
    "create_canister",
    "deposit_cycles",
    "http_request",
    "canister_info",
];

/// Methods of the specification that this network does not offer.
const NOT_OFFERED: [&str; 21] = [
    "http_request",
    "flexible_http_request",
    "ecdsa_public_key",
    "sign_with_ecdsa",
    "schnorr_public_key",
    "sign_with_schnorr",
    "vetkd_public_key",
    "vetkd_derive_key",
    "node_metrics_history",
    "subnet_info",
    "take_canister_snapshot",
    "load_canister_snapshot",
    "list_canister_snapshots",
    "delete_canister_snapshot",
    "read_canister_snapshot_metadata",
    "read_canister_snapshot_data",
    "upload_canister_snapshot_metadata",
    "upload_canister_snapshot_data",
    "bitcoin_get_balance",
    "bitcoin_get_utxos",
    "bitcoin_send_transaction",
];

fn decode<'a, T: ArgumentDecoder<'a>>(method: &str, bytes: &'a [u8]) -> Result<T> {
    candid::decode_args(bytes)
        .map_err(|e| Reject::invalid_payload(format!("Error decoding candid of {method}: {e}")))
}

fn encode<T: ArgumentEncoder>(values: T) -> Vec<u8> {
    candid::encode_args(values).expect("types of the management interface encode")
}

fn amount(n: Nat, what: &str) -> Result<u128> {
    u128::try_from(n.0)
        .map_err(|_| Reject::invalid_payload(format!("{what} does not fit into 128 bits")))
}

impl Subnet {
    /// Answers a call of the management canister.
    pub fn manage(&mut self, request: Request) {
        let origin = request.origin;
        let cycles = request.cycles;
        let me = Principal::management_canister();
        match self.managed(request) {
            Ok(Done::Now(reply, refund)) => self.respond(me, origin, Ok(reply), refund),
            Ok(Done::Later) => {}
            Err(reject) => self.respond(me, origin, Err(reject), cycles),
        }
    }

    fn managed(&mut self, request: Request) -> Result<Done> {
        let Request {
            caller,
            method,
            argument,
            cycles,
            origin,
            ..
        } = request;
        let arg = &argument[..];
        let done = |reply: Vec<u8>| Ok(Done::Now(reply, cycles));
        if matches!(origin, Origin::Ingress(_)) && ONLY_CANISTERS.contains(&method.as_str()) {
            return Err(Reject::new(
                crate::reject::CANISTER_REJECT,
                format!("ic00 method {method} can be called only by a canister"),
            ));
        }
        match method.as_str() {
            "create_canister" => {
                let id = self.create_canister(caller, origin, decode(&method, arg)?, cycles)?;
                Ok(Done::Now(
                    encode((CanisterIdRecord { canister_id: id },)),
                    0,
                ))
            }
            "provisional_create_canister_with_cycles" => {
                let id = self.provisional_create(caller, origin, decode(&method, arg)?)?;
                done(encode((CanisterIdRecord { canister_id: id },)))
            }
            "provisional_top_up_canister" => done(self.provisional_top_up(decode(&method, arg)?)?),
            "deposit_cycles" => {
                let (to,): (CanisterIdRecord,) = decode(&method, arg)?;
                self.existing(to.canister_id)?.cycles += cycles;
                Ok(Done::Now(encode(()), 0))
            }
            "install_code" => done(self.install_code(caller, origin, decode(&method, arg)?)?),
            "install_chunked_code" => {
                done(self.install_chunked_code(caller, origin, decode(&method, arg)?)?)
            }
            "uninstall_code" => done(self.uninstall_code(caller, origin, decode(&method, arg)?)?),
            "upload_chunk" => done(self.upload_chunk(caller, decode(&method, arg)?)?),
            "stored_chunks" => done(self.stored_chunks(caller, decode(&method, arg)?)?),
            "clear_chunk_store" => done(self.clear_chunk_store(caller, decode(&method, arg)?)?),
            "update_settings" => {
                done(self.update_settings(caller, origin, decode(&method, arg)?)?)
            }
            "start_canister" => done(self.start_canister(caller, decode(&method, arg)?)?),
            "stop_canister" => {
                let (of,): (CanisterIdRecord,) = decode(&method, arg)?;
                self.stop_canister(caller, origin, of.canister_id)
            }
            "delete_canister" => done(self.delete_canister(caller, decode(&method, arg)?)?),
            "canister_status" => done(self.canister_status(caller, decode(&method, arg)?)?),
            "canister_info" => done(self.canister_info(decode(&method, arg)?)?),
            "canister_metadata" => done(self.canister_metadata(caller, decode(&method, arg)?)?),
            "fetch_canister_logs" => done(self.fetch_canister_logs(caller, decode(&method, arg)?)?),
            "raw_rand" => {
                let mut bytes = vec![0u8; 32];
                self.randomness.fill_bytes(&mut bytes);
                done(encode((bytes,)))
            }
            other if NOT_OFFERED.contains(&other) => Err(Reject::unsupported(format!(
                "the management method {other}"
            ))),
            other => Err(Reject::error(
                536,
                format!("Management canister has no method '{other}'"),
            )),
        }
    }

    /// The management methods that are also queries.
    pub fn manage_query(&mut self, caller: Principal, method: &str, arg: &[u8]) -> Response {
        match method {
            "fetch_canister_logs" => self.fetch_canister_logs(caller, decode(method, arg)?),
            "canister_status" => self.canister_status(caller, decode(method, arg)?),
            other => Err(Reject::error(
                536,
                format!("Management canister has no query method '{other}'"),
            )),
        }
    }

    /// Refuses at the door what a user's management call cannot succeed at.
    pub fn admit_management(&self, call: &UserCall) -> Result<()> {
        if ONLY_CANISTERS.contains(&call.method.as_str()) {
            return Err(Reject::new(
                crate::reject::CANISTER_REJECT,
                format!(
                    "ic00 method {} can be called only by a canister",
                    call.method
                ),
            ));
        }
        Ok(())
    }

    fn existing(&mut self, id: Principal) -> Result<&mut Canister> {
        self.canisters
            .get_mut(&id)
            .ok_or_else(|| Reject::canister_not_found(id))
    }

    fn controlled(&mut self, id: Principal, caller: Principal) -> Result<&mut Canister> {
        let canister = self.existing(id)?;
        if !canister.is_controller(caller) {
            return Err(Reject::not_controller(
                id,
                &canister.settings.controllers,
                caller,
            ));
        }
        Ok(canister)
    }

    /// Notes a change in the canister's history.
    fn record(&mut self, id: Principal, caller: Principal, origin: Origin, details: ChangeDetails) {
        const KEPT: usize = 20;
        let timestamp_nanos = self.clock.now();
        let Some(canister) = self.canisters.get_mut(&id) else {
            return;
        };
        let origin = match origin {
            Origin::Call { canister, .. } => ChangeOrigin::FromCanister(FromCanisterRecord {
                canister_id: canister,
                canister_version: None,
            }),
            _ => ChangeOrigin::FromUser(FromUserRecord { user_id: caller }),
        };
        canister.changes += 1;
        canister.history.push(Change {
            timestamp_nanos,
            canister_version: canister.version,
            origin,
            details: Some(details),
        });
        if canister.history.len() > KEPT {
            canister.history.remove(0);
        }
    }
}
