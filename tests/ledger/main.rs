//! Proofs that the ledger is right, from outside and over HTTP, each by means that share nothing with its code.

mod block_log;
mod candid_messages;
mod deployed;
mod hostile_messages;
mod javascript_client;
mod malformed_calls;
mod reference_suite;
mod upgrades_in_traffic;
