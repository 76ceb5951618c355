//! The types, limits, canonical bytes and receipt that EMC's canisters and their clients share.
//!
//! This crate knows nobody: no canister SDK, no agent, no runtime. What is here is a promise to every client in every
//! language: the Candid types are the public contract (`candid/*.did`), and the byte encodings in [`canonical`] and
//! [`receipt`] are specified in `docs/spec/receipt.md` with test vectors.
//!
//! Units: amounts are e8s (10^-8 EMC) in a Candid `nat`, times are nanoseconds since 1970 in a `nat64`, durations are
//! seconds in a `nat64`. Variants that may grow are `opt` in every reply, so that an old client reads a new case as null.

pub mod account;
pub mod amount;
pub mod audit;
pub mod canonical;
pub mod draw;
pub mod error;
pub mod escrow;
pub mod feed;
pub mod image;
pub mod image_audit;
pub mod job;
pub mod limits;
pub mod llm;
pub mod mining;
pub mod model;
pub mod mountain_range;
pub mod node;
pub mod parameters;
pub mod png;
pub mod price;
pub mod receipt;
pub mod report;
pub mod time;
pub mod work;

pub use account::{
    AccountView, DepositArgs, DepositReply, Ledgered, Posting, PostingAccount, Totals, WithdrawArgs,
};
pub use amount::Tokens;
pub use audit::{Assurance, AuditTerms};
pub use error::{ApiError, ErrorDetail};
pub use image::{ImageInput, ImageOutput, ImageParameters, ImageProgress};
pub use job::{Job, JobId, JobInput, JobState, Parameters, SubmitJob, SubmitReply};
pub use model::{ModelEntry, ModelRef};
pub use node::{Node, NodeStatus, Offer, Role};
pub use price::Price;
pub use receipt::Receipt;
pub use serde_bytes::ByteBuf;
pub use time::{Seconds, Timestamp};
pub use work::{FinishReason, Lease, TextOutput, Usage};
