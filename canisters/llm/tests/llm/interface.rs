//! The documented interface is the code's, and whoever knows DFINITY's LLM canister can call this one.

use candid_parser::utils::{CandidSource, service_compatible, service_equal};

const DOCUMENTED: &str = include_str!("../../../../candid/llm.did");
const DFINITYS: &str = include_str!("../../../../tests/data/candid/llm.did");

#[test]
fn the_documented_interface_is_the_codes() {
    let of_the_code = emc_llm::interface();
    let equal = service_equal(
        CandidSource::Text(&of_the_code),
        CandidSource::Text(DOCUMENTED),
    );
    equal.unwrap_or_else(|difference| panic!("{difference}\n\nthe code's:\n{of_the_code}"));
}

#[test]
fn a_caller_of_dfinitys_canister_can_call_this_one() {
    let compatible =
        service_compatible(CandidSource::Text(DOCUMENTED), CandidSource::Text(DFINITYS));
    compatible.unwrap_or_else(|difference| panic!("{difference}"));
}

#[test]
fn the_comparison_would_see_a_difference() {
    let other = DOCUMENTED.replace(
        "v0_chat : (ChatRequestV0) -> (text)",
        "v0_chat : (ChatRequestV0) -> (nat)",
    );
    assert_ne!(other, DOCUMENTED, "the method stands there as expected");
    let compatible = service_compatible(CandidSource::Text(&other), CandidSource::Text(DFINITYS));
    assert!(compatible.is_err());
}
