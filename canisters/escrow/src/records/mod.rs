//! What is stored, in the forms in which it lies in stable memory. Field numbers are for ever; a new field is optional or
//! has a default. Later bonds, audits, royalties and callbacks are fields of a job or an attempt, and structures of their
//! own beside these.

mod config;
mod job;
mod network;

pub use config::*;
pub use job::*;
pub use network::*;
