//! Polls an escrow for jobs, runs them, posts signed results.

fn main() {}
