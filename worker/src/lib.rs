//! The worker: sells a machine's inference. It watches an escrow, takes jobs, runs them, and delivers signed results; as a
//! validator it recomputes other nodes' results and votes on them.
//!
//! - [`work`] does that; [`journal`] is what makes it survive crashes; [`drain`] is how it ends.
//! - [`validate`] checks other nodes' results.
//! - [`engine`] is what runs jobs; [`answer`] and [`preview`] are what becomes of the tokens.
//! - [`escrow`] is all that `work` knows of the network; [`escrow_client`] is the real one.
//! - [`hub`] brings models here.
//! - [`config`] and [`identity`] are what an operator gives; [`command`] is the command line.

pub mod answer;
pub mod assess;
pub mod backoff;
pub mod catalogue;
pub mod command;
pub mod config;
pub mod config_template;
pub mod data_dir;
pub mod delivery;
pub mod drain;
pub mod engine;
pub mod escrow;
pub mod escrow_client;
#[cfg(test)]
mod fake_escrow;
pub mod hardware;
pub mod http_get;
pub mod hub;
pub mod identity;
pub mod journal;
pub mod logs;
pub mod metrics;
pub mod metrics_server;
pub mod model_files;
pub mod preview;
pub mod progress;
pub mod registration;
pub mod report;
pub mod validate;
pub mod work;
