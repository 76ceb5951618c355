//! The registry's rules, natively: plain functions over a state in ordinary memory, with time and caller as arguments.

mod catalogue;
mod conservation;
mod feed;
mod interface;
mod limits;
mod nodes;
mod upgrade;
mod world;
