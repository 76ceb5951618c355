//! Tests of the ledger's rules, natively, over plain memory and without any network.

mod allowance_list;
mod approvals;
mod block_log;
mod consent;
mod deduplication;
mod interface;
mod layout;
mod lifecycle;
mod limits;
mod oracle;
mod random_calls;
mod random_steps;
mod replay;
mod transfers;
mod world;
