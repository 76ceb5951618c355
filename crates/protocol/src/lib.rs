//! Types, limits and the receipt that canisters and clients share.
