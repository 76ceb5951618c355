//! Nodes, stake, models: the registry canister.
