//! Typed, safely retried calls to the EMC canisters.
