//! End-to-end tests over HTTP; each module is a subject. `EMC_NETWORK=http://...` runs them against another network.

mod adversaries_nodes;
mod adversaries_requesters;
mod adversaries_validators;
mod audits;
mod cli_chat;
mod cli_escrow;
mod cli_money;
mod dapps;
mod deliveries;
mod endings;
mod icp_deploy;
mod images;
mod jobs;
mod journal;
mod manifests;
mod mining;
mod mining_rounds;
mod outages;
mod recorded_cheats;
mod stake;
mod stake_at_risk;
mod two_escrows;
mod upgrades;
mod validators;
mod worker_program;
mod workers;
