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
