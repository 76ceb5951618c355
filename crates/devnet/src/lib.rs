//! A whole EMC market for development and tests: a network, the three canisters deployed on it, people with EMC.
//!
//! The demo, the benchmarks and the end-to-end tests all stand on this crate. It speaks HTTP only, so that the same
//! code runs against the embedded network (the default) and against any other (`EMC_NETWORK=http://...`); what only
//! the embedded one can do (advance time, inject faults) is asked for through [`control::Control`].

pub mod build;
pub mod chaos;
pub mod control;
pub mod deploy;
pub mod figures;
pub mod large_state;
pub mod ledger_past;
pub mod market;
pub mod narrate;
pub mod network;
pub mod node;
pub mod people;
mod pool;
pub mod votes;
pub mod worker;

pub use control::Control;
pub use market::Market;
pub use network::DevNetwork;
pub use node::HandNode;
pub use people::Person;
