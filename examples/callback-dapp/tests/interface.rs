//! The documented interface is the code's.

use candid_parser::utils::{CandidSource, service_equal};

#[test]
fn the_documented_interface_is_the_codes() {
    let documented = include_str!("../callback-dapp.did");
    let of_the_code = callback_dapp::interface();
    let equal = service_equal(
        CandidSource::Text(&of_the_code),
        CandidSource::Text(documented),
    );
    equal.unwrap_or_else(|difference| panic!("{difference}\n\nthe code's:\n{of_the_code}"));
}
