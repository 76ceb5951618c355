//! What is stored, in the forms in which it lies in stable memory. Field numbers are for ever; a new field is optional or
//! has a default.

mod audit;
mod config;
mod job;
mod network;

pub use audit::*;
pub use config::*;
pub use job::*;
pub use network::*;
