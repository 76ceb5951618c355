//! The public contract: the code's interface is the one in `candid/ledger.did`, and it serves clients of the standards.

use candid_parser::utils::{CandidSource, service_compatible, service_equal};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_code_has_the_interface_that_the_did_file_promises() {
    let code = emc_ledger::candid_interface();
    service_equal(
        CandidSource::Text(&code),
        CandidSource::File(&root().join("candid/ledger.did")),
    )
    .unwrap_or_else(|error| panic!("candid/ledger.did differs from the code: {error}\n{code}"));
}

#[test]
fn clients_of_the_standards_are_served() {
    for standard in ["ICRC-1", "ICRC-2", "ICRC-3", "ICRC-10", "ICRC-21"] {
        let theirs = root().join(format!("tests/data/candid/{standard}.did"));
        service_compatible(
            CandidSource::File(&root().join("candid/ledger.did")),
            CandidSource::File(&theirs),
        )
        .unwrap_or_else(|error| panic!("not compatible with {standard}: {error}"));
    }
}

/// `landed.did` is the contract as it first landed; whoever was made for it is served for ever.
#[test]
fn clients_of_the_first_landed_contract_are_served() {
    let landed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ledger/landed.did");
    service_compatible(
        CandidSource::File(&root().join("candid/ledger.did")),
        CandidSource::File(&landed),
    )
    .unwrap_or_else(|error| panic!("not compatible with the first landed contract: {error}"));
}

/// The two drafts, for which there are no files; of ICRC-103 the text and DFINITY's ledger have different errors.
#[test]
fn clients_of_the_drafts_are_served() {
    let types = "
        type Account = record { owner : principal; subaccount : opt blob };
        type Arguments = record { from_account : opt Account; prev_spender : opt Account; take : opt nat };
        type Page = vec record {
            from_account : Account; to_spender : Account; allowance : nat; expires_at : opt nat64
        };";
    let allowances = |denied: &str| {
        let error = "GenericError : record { error_code : nat; message : text }";
        format!(
            "{types} service : {{ icrc103_get_allowances : (Arguments) -> (
                variant {{ Ok : Page; Err : variant {{ AccessDenied : {denied}; {error} }} }}) query }}"
        )
    };
    let index = "service : { icrc106_get_index_principal : () -> (variant {
        Ok : principal;
        Err : variant {
            IndexPrincipalNotSet;
            GenericError : record { error_code : nat; description : text }
        }
    }) query }";
    for draft in [
        allowances("text"),
        allowances("record { reason : text }"),
        index.to_string(),
    ] {
        service_compatible(
            CandidSource::File(&root().join("candid/ledger.did")),
            CandidSource::Text(&draft),
        )
        .unwrap_or_else(|error| panic!("not compatible with {draft}: {error}"));
    }
}
