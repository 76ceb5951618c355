//! Tests of the rules, natively: a small world around a state, sentences about each rule, and random sequences that
//! check the named invariants after every action.

mod audit_actions;
mod auditors;
mod audits;
mod bonds;
mod callbacks;
mod delegates;
mod deliveries;
mod errand_actions;
mod image_actions;
mod image_audits;
mod image_records;
mod image_results;
mod images;
mod invariants;
mod jobs;
mod leases;
mod ledger;
mod mining;
mod mining_actions;
mod money;
mod outages;
mod parameters;
mod pictures;
mod reached;
mod sequences;
mod sight;
mod submissions;
pub(crate) mod world;
