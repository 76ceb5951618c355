//! An embedded Internet Computer network for development and tests.

mod authenticate;
mod call_context;
mod canister;
mod certify;
mod clock;
mod control;
mod deliver;
mod dirty_pages;
mod execute;
mod executor;
mod faults;
mod gateway;
mod http;
mod ingress;
mod limits;
mod management;
mod memory;
mod message;
mod message_log;
mod network;
mod query;
mod read_state;
mod reject;
mod scheduler;
mod stable;
mod standins;
mod state_tree;
mod subnet;
mod system_api;
mod wasm_module;

pub use network::{Builder, Network, StartError};
