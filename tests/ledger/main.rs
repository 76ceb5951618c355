//! Proofs that the ledger is right, from outside and over HTTP, each by means that share nothing with its code.

mod block_log;
mod deployed;
mod javascript_client;
mod reference_suite;
mod upgrades_in_traffic;
