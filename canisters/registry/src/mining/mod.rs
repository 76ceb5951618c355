//! Computing-power mining: what named escrows report of nodes is turned into shares of each day's reward, and the pool
//! pays them. `docs/mining.md` has the rules.
//!
//! A day's way: [`power`] adds up the reports; when the day is over and everything of it is reported, [`closing`] computes
//! the shares of what [`schedule`] gives it, in bounded steps; [`earnings`] pays owners out; [`history`] shows it all.

pub mod closing;
pub mod earnings;
pub mod history;
pub mod power;
pub mod records;
pub mod schedule;
