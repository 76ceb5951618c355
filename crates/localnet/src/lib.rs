//! An embedded Internet Computer network for development and tests.
//!
//! It runs canister Wasm under wasmtime with the System API and serves the Internet Computer's HTTP interface, so that
//! unmodified agents work against it, certificates and query signatures verified. It has one subnet with one node, to
//! which all canister ids belong, and keeps its state in memory.
//!
//! ```no_run
//! let network = emc_localnet::Network::builder().seed(7).start()?;
//! println!("agents connect to {}", network.url());
//! // The network ends when it is dropped.
//! # Ok::<(), emc_localnet::StartError>(())
//! ```
//!
//! # What a canister can rely on
//!
//! - A message is atomic: heap, globals, stable memory, certified data, global timer, outgoing calls and cycles change
//!   together or not at all. An await is a commit point. What was printed is kept in any case.
//! - Messages interleave wherever a canister waits. Rounds visit canisters in an order shuffled by the seed, and so are
//!   the queues within a canister; requests from one canister to another keep their order.
//! - An installation or upgrade is one transaction: a failing `canister_post_upgrade` undoes what
//!   `canister_pre_upgrade` wrote. Timers do not survive an upgrade.
//! - A bounded-wait call ends with SYS_UNKNOWN at its deadline in network time, and later answers are dropped; an
//!   unbounded one is always answered. At most 500 calls are open from one canister to another.
//! - Limits: 40 G instructions an update, 5 G a query, 2 MiB a message, 4 GiB heap, 500 GiB stable memory. Instructions
//!   are counted as wasmtime fuel, plus one per byte that the System API copies; they are near, not equal to, a
//!   replica's count.
//! - Rejections carry the replica's reject codes, error codes (`IC0503`) and texts.
//!
//! # Two clocks
//!
//! Certificates, query signatures and the expiry of requests go by the wall clock, because agents compare them with
//! their own. Canisters, timers, heartbeats and deadlines of calls see network time: the wall clock plus what tests
//! have advanced it by. Heartbeats run once a second of network time.
//!
//! # Deliberate differences
//!
//! - Running code costs no cycles. Balances move with calls and top-ups, and `canister_status` therefore reports no
//!   cycles burned; allocations, freezing threshold and query statistics are reported but have no effect.
//! - What is not offered is refused by name: snapshots, threshold signatures, HTTPS outcalls, Bitcoin, 64-bit Wasm
//!   memory, `wasm_memory_persistence = keep`, canister signatures and WebAuthn as identities. `on_low_wasm_memory`
//!   hooks are accepted and never called.
//! - The cycles ledger (`um5iw-rqaaa-aaaaq-qaaba-cai`) and the cycles minting canister (`rkp4c-7iaaa-aaaaa-aaaca-cai`)
//!   are stand-ins that let `icp deploy` create canisters from a large endowment.
//! - The gateway (`http://<canister-id>.localhost:<port>/` or `?canisterId=`) does not check certification.
//!
//! # Control interface
//!
//! JSON over HTTP, for tests that need more than the Internet Computer's interface offers.
//!
//! | request | body or query | answer |
//! |---|---|---|
//! | `GET /_/status` | | `implementation`, `version`, `capabilities`, `root_key` (hex), `time_ns`, `canister_time_ns`, `default_effective_canister_id` |
//! | `POST /_/time` | `{"advance_s": n}` | `{"canister_time_ns": n}` |
//! | `POST /_/hold` | `{"held": bool}` | while held, time stands and messages run in `tick` alone: `held`, `canister_time_ns` |
//! | `GET /_/waiting` | | `arrived` (how many users' requests were ever taken), `waiting` (those not answered: `sender`, `canister`, `method`) |
//! | `POST /_/tick` | | runs what is due and ready, for 10 s at most: `{"messages": n, "idle": bool, "canister_time_ns": n}` |
//! | `POST /_/faults` | `{"kind", "caller", "callee", "method", "skip": 0, "count": 1, "delay_s"}` | `{"id": n}` |
//! | `GET /_/faults` | | the list, each with `fired` |
//! | `DELETE /_/faults` | | forgets all |
//! | `GET /_/log` | `?after=n` | executed messages and queries: `n`, `canister_time_ns`, `canister`, `caller`, `kind`, `method`, `instructions`, `dirty_pages`, `outcome`; the last 100,000 |
//! | `POST /_/stable_memory` | `{"canister": "aaaaa-aa", "file": "/path"}` | gives a stopped canister a file of this machine as its stable memory; upgrade it before it is started: `{"pages": n}` |
//!
//! Faults strike calls between canisters (absent filters match all): `reject` (not delivered, SYS_TRANSIENT),
//! `trap_callee` (runs, then traps and is undone; on users' requests too), `lose_reply` (runs and commits, the caller
//! gets SYS_UNKNOWN, `delay_s` later if given; a real network never does this to unbounded-wait calls), `trap_callback`
//! (the caller's callback runs, traps and is undone, its cleanup runs), `delay` (delivered `delay_s` later), `delay_reply`
//! (answered at once, the answer arrives `delay_s` later), `full_queue` (`call_perform` itself refuses), `overtake` (where
//! several users' requests or answers wait for the callee, one that is not the first is taken).
//!
//! # Runs that can be repeated
//!
//! With a seed, a network that is held from its start, and a driver that sends one request after the other (waiting for
//! each to have `arrived`), the same requests and faults lead to the same sequence of messages: the order, `raw_rand` and
//! keys follow from the seed, network time from the advances. What differs between two runs is the time at which network
//! time begins, the nanoseconds that it moves by where it is read, and how many queries read it meanwhile.

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
pub mod in_process;
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
pub use reject::Reject;
