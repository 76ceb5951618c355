//! Accounts, jobs, settlement: the escrow canister.
