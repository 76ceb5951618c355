//! The registry's rules, natively: plain functions over a state in ordinary memory, with time and caller as arguments.

mod catalogue;
mod conservation;
mod feed;
mod interface;
mod jail;
mod ledger;
mod limits;
mod mining;
mod mining_shares;
mod nodes;
mod parameters;
mod reports;
mod slashing;
mod terms;
mod unbonding;
mod upgrade;
mod world;
