//! Typed, safely retried calls to the EMC canisters, for everything that runs off chain.
//!
//! ```no_run
//! use emc_client::{CanisterIds, Client, Identity, Network};
//! # async fn example() -> Result<(), emc_client::Error> {
//! let client = Client::builder()
//!     .network(Network::Local)
//!     .identity(Identity::from_pem_file("alice.pem")?)
//!     .build()
//!     .await?;
//! let ids = CanisterIds::find(client.network(), ".".as_ref())?;
//! let balance = client.ledger(ids.ledger).balance(client.principal()).await?;
//! println!("{} has {balance} EMC", client.principal());
//! # Ok(()) }
//! ```
//!
//! What "safely" means: an update is signed once and the same bytes are sent until its outcome is known. The network
//! runs one request id at most once, so sending again can never pay twice. See [`retry`].

mod agent_wire;
pub mod block_log;
pub mod books;
pub mod canister_ids;
mod client;
pub mod error;
pub mod escrow;
pub mod funding;
pub mod identity;
pub mod ledger;
pub mod network;
mod outcome;
pub mod proof;
pub mod receipt_file;
pub mod registry;
mod reply;
pub mod retry;
pub mod run_job;
pub mod verify;

pub use block_log::BlockLog;
pub use books::Books;
pub use candid::Principal;
pub use canister_ids::CanisterIds;
pub use client::{Client, ClientBuilder};
pub use emc_protocol as protocol;
pub use error::{Error, LedgerError};
pub use escrow::Escrow;
pub use icrc_ledger_types::icrc1::account::Account;
pub use identity::Identity;
pub use ledger::Ledger;
pub use network::Network;
pub use receipt_file::ReceiptFile;
pub use registry::Registry;
pub use retry::RetryPolicy;
pub use run_job::{JobEvent, JobResult};
