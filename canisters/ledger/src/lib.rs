//! The EMC token: an ICRC-1/2/3 ledger canister.
