//! `emc-localnet`: an embedded Internet Computer network for development and tests.

fn main() {}
