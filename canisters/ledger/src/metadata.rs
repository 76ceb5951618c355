//! What the ledger says about itself: name, fee, limits, and the standards that it follows.

use crate::{
    allowance_list::MAX_TAKE,
    config::{Config, DECIMALS},
    tokens::Tokens,
};
use candid::{CandidType, Deserialize, Nat};
use icrc_ledger_types::{
    icrc::generic_metadata_value::MetadataValue, icrc3::blocks::SupportedBlockType,
};

/// A standard, by its name and where it is written down.
#[derive(CandidType, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Standard {
    /// Such as `ICRC-1`.
    pub name: String,
    /// Where its text is.
    pub url: String,
}

/// The standards of `icrc1_supported_standards` and `icrc10_supported_standards`.
pub fn standards() -> Vec<Standard> {
    let icrc1 = "https://github.com/dfinity/ICRC-1/tree/main/standards";
    let icrc = "https://github.com/dfinity/ICRC/blob/main/ICRCs";
    // With the addresses that the standards themselves lay down.
    [
        ("ICRC-1", format!("{icrc1}/ICRC-1")),
        ("ICRC-2", format!("{icrc1}/ICRC-2")),
        ("ICRC-3", format!("{icrc1}/ICRC-3")),
        ("ICRC-10", format!("{icrc}/ICRC-10/ICRC-10.md")),
        ("ICRC-21", format!("{icrc}/ICRC-21/ICRC-21.md")),
        ("ICRC-103", format!("{icrc}/ICRC-103")),
        ("ICRC-106", format!("{icrc}/ICRC-106")),
    ]
    .map(|(name, url)| Standard {
        name: name.to_string(),
        url,
    })
    .into()
}

/// The types of block that the log can hold, under the names by which ICRC-3 announces them.
pub fn block_types() -> Vec<SupportedBlockType> {
    [
        ("1mint", "ICRC-1"),
        ("1burn", "ICRC-1"),
        ("1xfer", "ICRC-1"),
        ("2approve", "ICRC-2"),
        ("2xfer", "ICRC-2"),
        ("2burn", "ICRC-2"),
    ]
    .map(|(block_type, standard)| SupportedBlockType {
        block_type: block_type.to_string(),
        url: format!("https://github.com/dfinity/ICRC-1/tree/main/standards/{standard}"),
    })
    .into()
}

/// The entries of `icrc1_metadata`.
pub fn entries(config: &Config) -> Vec<(String, MetadataValue)> {
    // Taken apart in full: who adds a setting decides whether the world should see it here.
    let Config {
        minting_account: _,
        max_supply: Tokens(max_supply),
        transfer_fee: Tokens(transfer_fee),
        token_name,
        token_symbol,
        logo,
        max_memo_length,
        rate_limit: _,
        exempt_principals: _,
        index_principal,
        total_rate_limit: _,
    } = config;
    let text = |value: &String| MetadataValue::Text(value.clone());
    let nat = |value: Nat| MetadataValue::Nat(value);
    let mut entries = vec![
        ("icrc1:name", text(token_name)),
        ("icrc1:symbol", text(token_symbol)),
        ("icrc1:decimals", nat(DECIMALS.into())),
        ("icrc1:fee", nat((*transfer_fee).into())),
        ("icrc1:max_memo_length", nat((*max_memo_length).into())),
        ("emc:max_supply", nat((*max_supply).into())),
        ("icrc103:public_allowances", text(&"true".to_string())),
        ("icrc103:max_take_value", nat(MAX_TAKE.into())),
    ];
    entries.extend(logo.as_ref().map(|logo| ("icrc1:logo", text(logo))));
    let index = index_principal.map(|index| MetadataValue::Text(index.to_text()));
    entries.extend(index.map(|index| ("icrc106:index_principal", index)));
    entries
        .into_iter()
        .map(|(key, value)| (key.to_string(), value))
        .collect()
}
