//! The Internet Computer's limits that canisters can run into.

/// Bytes of a message between canisters, a reply, or an ingress message's argument.
pub const MAX_MESSAGE_BYTES: usize = 2 << 20;
/// Instructions of an update, a callback, a timer or a heartbeat.
pub const UPDATE_INSTRUCTIONS: u64 = 40_000_000_000;
/// Instructions of a query.
pub const QUERY_INSTRUCTIONS: u64 = 5_000_000_000;
/// Instructions of `inspect_message`.
pub const INSPECT_INSTRUCTIONS: u64 = 200_000_000;
/// Instructions of each step of an installation or upgrade.
pub const INSTALL_INSTRUCTIONS: u64 = 300_000_000_000;
/// Open calls from one canister to another.
pub const MAX_OUTSTANDING_CALLS: usize = 500;
/// The longest that a bounded-wait call waits.
pub const MAX_CALL_TIMEOUT_S: u32 = 300;
/// How far ahead a request may expire.
pub const MAX_INGRESS_TTL_NS: u64 = 5 * 60 * 1_000_000_000;
/// How much the clocks of clients may be off.
pub const CLOCK_DRIFT_NS: u64 = 60 * 1_000_000_000;
/// Nested calls of a composite query.
pub const MAX_QUERY_DEPTH: usize = 6;
/// Bytes of a chunk of an uploaded module.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;
/// Chunks in a canister's chunk store.
pub const MAX_CHUNKS: usize = 100;
/// Bytes of logs that a canister keeps.
pub const MAX_LOG_BYTES: usize = 4096;
/// Controllers of a canister.
pub const MAX_CONTROLLERS: usize = 10;
