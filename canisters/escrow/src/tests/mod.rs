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
mod invariants;
mod jobs;
mod leases;
mod ledger;
mod money;
mod outages;
mod parameters;
mod reached;
mod sequences;
mod sight;
mod submissions;
mod world;
