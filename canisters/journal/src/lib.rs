//! Ledger calls that survive lost answers: the journal that registry and escrow share.
