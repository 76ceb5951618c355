//! A market that runs natively, without a network: requesters, workers and validators of any habit over the very rules
//! that the escrow canister runs (`emc_escrow` as a library), with the time moved by hand and every choice seeded.
//!
//! Two programs are built on it. `cargo xtask simulate` (`emc-simulate`) asks what cheating pays and what the state
//! grows by. `cargo xtask bench escrow` (in `emc-devnet`) takes the memory of such a market, with a million jobs in it,
//! as the stable memory of a canister.

pub mod base;
pub mod chart;
pub mod collusion;
pub mod frontier;
pub mod image;
pub mod market;
pub mod mining;
mod mining_page;
pub mod page;
pub mod people;
pub mod reward;
pub mod round;
pub mod tally;
