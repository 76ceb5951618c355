//! What is stored, in the forms in which it lies in stable memory. Field numbers are for ever; a new field is optional or
//! has a default.

mod audit;
mod callback;
mod config;
mod delegation;
mod image;
mod job;
mod mining;
mod network;
mod parameters;

pub use audit::*;
pub use callback::*;
pub use config::*;
pub use delegation::*;
pub use image::*;
pub use job::*;
pub use mining::*;
pub use network::*;
pub use parameters::*;
