//! End-to-end tests over HTTP; each module is a subject. `EMC_NETWORK=http://...` runs them against another network.

mod deliveries;
mod endings;
mod icp_deploy;
mod jobs;
mod journal;
mod manifests;
mod upgrades;
mod workers;
