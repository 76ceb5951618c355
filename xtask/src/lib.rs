//! Set-up, builds, tests: the commands of this repository, and a library for the end-to-end tests and the demo, which
//! build canisters and find the model through it.

pub mod calibrate;
pub mod canisters;
pub mod chaos;
pub mod demo;
pub mod download;
pub mod example;
pub mod install;
pub mod libtorch;
pub mod mutants;
pub mod node;
pub mod paths;
pub mod pins;
pub mod prerequisites;
pub mod progress;
pub mod python;
pub mod setup;
pub mod simulate;
pub mod steps;
pub mod test;
pub mod test_binary;
pub mod wasm_metadata;
pub mod wasm_target;
