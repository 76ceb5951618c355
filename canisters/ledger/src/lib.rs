//! The EMC token: a ledger of the standards ICRC-1, 2, 3, 10, 21, 103 and 106.
//!
//! This file holds the endpoints: decode, call the rule, certify, reply. Every rule is a plain function over
//! [`state::Ledger`] that takes the caller and the time, and is tested without any network. No endpoint awaits anything.
//! The public contract is `candid/ledger.did`.

pub mod account;
pub mod admission;
pub mod allowance;
pub mod allowance_list;
pub mod approve;
pub mod arguments;
pub mod block_codec;
pub mod block_hash;
pub mod block_value;
pub mod blocks;
pub mod certification;
mod commit;
pub mod config;
pub mod consent;
pub mod dedup;
pub mod events;
pub mod exact;
pub mod http;
pub mod lifecycle;
mod memo;
pub mod metadata;
pub mod metrics;
pub mod postings;
pub mod rate_limit;
pub mod refusal;
pub mod replies;
pub mod state;
mod supply;
pub mod tokens;
pub mod transaction;
pub mod transfer;

use allowance_list::GetAllowancesError;
use candid::{Nat, Principal, candid_method};
use config::{ConfigError, LedgerArgs};
use ic_cdk::{
    api::{certified_data_set, data_certificate, msg_caller, time, trap},
    init, inspect_message, post_upgrade, query, update,
};
use ic_http_types::{HttpRequest, HttpResponse};
use ic_stable_structures::DefaultMemoryImpl;
use icrc_ledger_types::{
    icrc::generic_metadata_value::MetadataValue,
    icrc1::{
        account::Account,
        transfer::{TransferArg, TransferError},
    },
    icrc2::{
        allowance::{Allowance, AllowanceArgs},
        approve::{ApproveArgs, ApproveError},
        transfer_from::{TransferFromArgs, TransferFromError},
    },
    icrc3::{
        archive::{GetArchivesArgs, ICRC3ArchiveInfo},
        blocks::{GetBlocksRequest, GetBlocksResult, ICRC3DataCertificate, SupportedBlockType},
    },
    icrc21::{errors::Icrc21Error, requests::ConsentMessageRequest, responses::ConsentInfo},
    icrc103::get_allowances::{Allowances, GetAllowancesArgs},
    icrc106::errors::Icrc106Error,
};
use metadata::Standard;
use serde_bytes::ByteBuf;
use state::Ledger;
use std::cell::RefCell;

thread_local! {
    static LEDGER: RefCell<Option<Ledger>> = const { RefCell::new(None) };
}

fn read<T>(f: impl FnOnce(&Ledger) -> T) -> T {
    LEDGER.with_borrow(|ledger| f(ledger.as_ref().expect("init or post_upgrade ran before")))
}

/// Runs a rule and certifies the tip that it leaves.
fn write<T, E>(f: impl FnOnce(&mut Ledger) -> Result<T, E>) -> Result<T, E> {
    LEDGER.with_borrow_mut(|ledger| {
        let ledger = ledger.as_mut().expect("init or post_upgrade ran before");
        let result = f(ledger);
        if result.is_ok() {
            certify(ledger);
        }
        result
    })
}

fn certify(ledger: &Ledger) {
    if let Some(root) = certification::root_hash(ledger) {
        certified_data_set(root);
    }
}

/// Takes the ledger into service, or undoes the installation or upgrade.
fn start(ledger: Result<Ledger, ConfigError>) {
    match ledger {
        Ok(ledger) => {
            certify(&ledger);
            LEDGER.set(Some(ledger));
        }
        Err(error) => trap(error.to_string()),
    }
}

#[init]
fn init(args: LedgerArgs) {
    let mut args = args;
    let resolved = match &mut args {
        LedgerArgs::Init(args) => args.resolve(find_canister),
        LedgerArgs::Upgrade(_) => Ok(()),
    };
    let memory = DefaultMemoryImpl::default();
    start(resolved.and_then(|()| lifecycle::install(memory, args, msg_caller(), time())));
}

/// The id of another canister of this deployment, where the deploying tool has put it in the environment.
fn find_canister(name: &str) -> Option<Principal> {
    let variable = format!("PUBLIC_CANISTER_ID:{name}");
    let set = ic_cdk::api::env_var_name_exists(&variable);
    Principal::from_text(set.then(|| ic_cdk::api::env_var_value(&variable))?).ok()
}

#[post_upgrade]
fn post_upgrade(args: Option<LedgerArgs>) {
    start(lifecycle::upgrade(
        DefaultMemoryImpl::default(),
        args,
        time(),
    ));
}

#[inspect_message]
fn inspect_message() {
    let method = ic_cdk::api::msg_method_name();
    let length = ic_cdk::api::msg_arg_data().len();
    if admission::can_succeed(msg_caller(), &method, length) {
        ic_cdk::api::accept_message();
    }
}

#[update(
    decode_with = "arguments::transfer",
    encode_with = "emc_reply::encode",
    hidden = true
)]
#[candid_method(update)]
fn icrc1_transfer(arg: TransferArg) -> Result<Nat, TransferError> {
    write(|ledger| transfer::transfer(ledger, msg_caller(), arg, time())).map(Nat::from)
}

#[update(
    decode_with = "arguments::approve",
    encode_with = "emc_reply::encode",
    hidden = true
)]
#[candid_method(update)]
fn icrc2_approve(arg: ApproveArgs) -> Result<Nat, ApproveError> {
    write(|ledger| approve::approve(ledger, msg_caller(), arg, time())).map(Nat::from)
}

#[update(
    decode_with = "arguments::transfer_from",
    encode_with = "emc_reply::encode",
    hidden = true
)]
#[candid_method(update)]
fn icrc2_transfer_from(arg: TransferFromArgs) -> Result<Nat, TransferFromError> {
    write(|ledger| transfer::transfer_from(ledger, msg_caller(), arg, time())).map(Nat::from)
}

#[query(
    decode_with = "arguments::account",
    encode_with = "replies::nat",
    hidden = true
)]
#[candid_method(query)]
fn icrc1_balance_of(account: Account) -> Nat {
    read(|ledger| ledger.balance(&account)).into()
}

#[query(decode_with = "exact::argument", hidden = true)]
#[candid_method(query)]
fn icrc2_allowance(arg: AllowanceArgs) -> Allowance {
    let allowance = read(|ledger| allowance::current(ledger, &arg.account, &arg.spender, time()));
    Allowance {
        allowance: allowance.amount.into(),
        expires_at: allowance.expires_at,
    }
}

#[query]
fn icrc1_total_supply() -> Nat {
    read(Ledger::supply).into()
}

#[query]
fn icrc1_minting_account() -> Option<Account> {
    Some(read(|ledger| ledger.config().minting_account))
}

#[query]
fn icrc1_name() -> String {
    read(|ledger| ledger.config().token_name.clone())
}

#[query]
fn icrc1_symbol() -> String {
    read(|ledger| ledger.config().token_symbol.clone())
}

#[query]
fn icrc1_decimals() -> u8 {
    config::DECIMALS
}

#[query]
fn icrc1_fee() -> Nat {
    read(|ledger| ledger.config().transfer_fee).into()
}

#[query]
fn icrc1_metadata() -> Vec<(String, MetadataValue)> {
    read(|ledger| metadata::entries(ledger.config()))
}

#[query]
fn icrc1_supported_standards() -> Vec<Standard> {
    metadata::standards()
}

#[query]
fn icrc10_supported_standards() -> Vec<Standard> {
    metadata::standards()
}

/// The type of the answer, for the interface; its bytes come from the endpoint below.
#[candid_method(query)]
pub fn icrc3_get_blocks(ranges: Vec<GetBlocksRequest>) -> GetBlocksResult {
    read(|ledger| blocks::get_blocks(ledger, &ranges))
}

#[query(
    name = "icrc3_get_blocks",
    decode_with = "arguments::ranges",
    encode_with = "std::convert::identity",
    hidden = true
)]
fn reply_with_blocks(ranges: Vec<GetBlocksRequest>) -> Vec<u8> {
    read(|ledger| blocks::reply_with_blocks(ledger, &ranges))
}

/// All blocks stay in this canister, so there are no archives.
#[query]
fn icrc3_get_archives(_: GetArchivesArgs) -> Vec<ICRC3ArchiveInfo> {
    vec![]
}

/// Null in an update call, where the Internet Computer gives no certificate, and before the first block.
#[query]
fn icrc3_get_tip_certificate() -> Option<ICRC3DataCertificate> {
    Some(ICRC3DataCertificate {
        certificate: ByteBuf::from(data_certificate()?),
        hash_tree: ByteBuf::from(read(certification::hash_tree)?),
    })
}

#[query]
fn icrc3_supported_block_types() -> Vec<SupportedBlockType> {
    metadata::block_types()
}

/// What an owner allows, page by page.
#[query(decode_with = "exact::argument", hidden = true)]
#[candid_method(query)]
fn icrc103_get_allowances(args: GetAllowancesArgs) -> Result<Allowances, GetAllowancesError> {
    read(|ledger| allowance_list::page(ledger, msg_caller(), &args, time()))
}

#[query]
fn icrc106_get_index_principal() -> Result<Principal, Icrc106Error> {
    read(|ledger| ledger.config().index_principal).ok_or(Icrc106Error::IndexPrincipalNotSet)
}

/// An update, as ICRC-21 has it: what a single machine answers to a query is not to be signed.
#[update]
fn icrc21_canister_call_consent_message(
    request: ConsentMessageRequest,
) -> Result<ConsentInfo, Icrc21Error> {
    read(|ledger| consent::message(ledger, msg_caller(), &request, time()))
}

#[query]
fn http_request(request: HttpRequest) -> HttpResponse {
    let platform = metrics::Platform {
        cycles: ic_cdk::api::canister_cycle_balance(),
        stable_bytes: ic_cdk::api::stable_size() * 65_536,
        heap_bytes: heap_bytes(),
    };
    read(|ledger| http::answer(ledger, &request, platform, time()))
}

#[cfg(target_arch = "wasm32")]
fn heap_bytes() -> u64 {
    core::arch::wasm32::memory_size(0) as u64 * 65_536
}

#[cfg(not(target_arch = "wasm32"))]
fn heap_bytes() -> u64 {
    0
}

/// The Candid interface of the code, which a test holds against `candid/ledger.did`.
pub fn candid_interface() -> String {
    candid::export_service!();
    __export_service()
}
