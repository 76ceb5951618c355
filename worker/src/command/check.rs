//! `emc-worker check`: one line for each thing that a worker needs, and what to do where it is missing.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use candid::Principal;
use ed25519_dalek::SigningKey;
use emc_client::{Client, Error, Identity, Registry, RetryPolicy};
use emc_protocol::node::RegistryInfo;
use emc_protocol::{Node, NodeStatus, Tokens};

use crate::config::{Config, Endpoints, Kind, Model};
use crate::data_dir::{DataDir, DataDirError};
use crate::{catalogue, identity, registration};

/// How long the network may take for each answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The journal and logs want at least this much room.
const DISK_LEAST: u64 = 256 << 20;

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Ok,
    /// Not needed to begin with, but worth knowing.
    Note,
    Missing,
}

/// The list, printed as it grows.
#[derive(Debug, Default)]
struct List(Vec<(Mark, String)>);

impl List {
    fn add(&mut self, mark: Mark, what: &str, text: impl std::fmt::Display) {
        let sign = match mark {
            Mark::Ok => "ok     ",
            Mark::Note => "note   ",
            Mark::Missing => "MISSING",
        };
        println!("{sign}  {what:<13} {text}");
        self.0.push((mark, what.to_owned()));
    }

    fn ok(&mut self, what: &str, text: impl std::fmt::Display) {
        self.add(Mark::Ok, what, text);
    }

    fn note(&mut self, what: &str, text: impl std::fmt::Display) {
        self.add(Mark::Note, what, text);
    }

    fn missing(&mut self, what: &str, text: impl std::fmt::Display) {
        self.add(Mark::Missing, what, text);
    }

    /// Fails if anything is missing.
    fn result(&self) -> ExitCode {
        let missing = self.0.iter().filter(|(mark, _)| *mark == Mark::Missing);
        match missing.count() {
            0 => {
                println!("\nNothing is missing.");
                ExitCode::SUCCESS
            }
            count => {
                println!("\n{count} missing.");
                ExitCode::FAILURE
            }
        }
    }
}

/// Checks everything that can be checked.
///
/// # Errors
/// None: what goes wrong is in the list.
pub async fn execute(path: &Path) -> anyhow::Result<ExitCode> {
    let mut list = List::default();
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => {
            list.missing("settings", error);
            return Ok(list.result());
        }
    };
    list.ok("settings", path.display());
    list.ok("roles", config.node.roles_shown());
    let key = check_machine(&mut list, &config);
    let endpoints = match config.endpoints() {
        Ok(endpoints) => Some(endpoints),
        Err(error) => {
            list.missing("network", error);
            None
        }
    };
    if config.models.is_empty() {
        list.missing(
            "models",
            format!(
                "{} has no [[model]]: say which models you serve",
                path.display()
            ),
        );
    }
    let Some(endpoints) = endpoints else {
        return Ok(list.result());
    };
    if let Some(client) = connect(&mut list, &endpoints, key.as_ref()).await {
        check_network(&mut list, &config, &endpoints, &client, key.is_some()).await;
    }
    Ok(list.result())
}

/// What needs no network: key, data folder, disk.
fn check_machine(list: &mut List, config: &Config) -> Option<SigningKey> {
    let key = match identity::read(&config.identity()) {
        Ok(key) => {
            list.ok("identity", format!("node {}", identity::principal(&key)));
            Some(key)
        }
        Err(error) => {
            list.missing("identity", format!("{error}; `emc-worker init` makes one"));
            None
        }
    };
    let folder = config.data_dir();
    match DataDir::lock(&folder) {
        Ok(_) => list.ok("data folder", folder.display()),
        Err(DataDirError::InUse(..)) => {
            list.ok(
                "data folder",
                format!("{}; a worker is running", folder.display()),
            );
        }
        Err(error) => list.missing("data folder", error),
    }
    if let Ok(disk) = rustix::fs::statvfs(folder.as_path()) {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let text = format!("{:.1} GB free", free as f64 / 1e9);
        if free >= DISK_LEAST {
            list.ok("disk", text);
        } else {
            list.missing("disk", format!("{text}: the journal needs room, free some"));
        }
    }
    key
}

async fn connect(
    list: &mut List,
    endpoints: &Endpoints,
    key: Option<&SigningKey>,
) -> Option<Client> {
    let identity = key.map_or_else(Identity::anonymous, Identity::from_signing_key);
    let client = Client::builder()
        .network(endpoints.url.0.clone())
        .identity(identity)
        .retry(RetryPolicy::default().give_up_after(PATIENCE))
        .build()
        .await;
    match client {
        Ok(client) => {
            list.ok("network", client.url());
            Some(client)
        }
        Err(error) => {
            list.missing("network", format!("{error}; is it running, and url right?"));
            None
        }
    }
}

async fn check_network(
    list: &mut List,
    config: &Config,
    endpoints: &Endpoints,
    client: &Client,
    has_key: bool,
) {
    let escrow = client.escrow(endpoints.escrow);
    match escrow.info().await {
        Err(error) => list.missing("escrow", format!("{}: {error}", endpoints.escrow)),
        Ok(info) if info.registry != endpoints.registry => list.missing(
            "escrow",
            format!(
                "{} reads the registry {}, the settings name {}: set registry to the escrow's",
                endpoints.escrow, info.registry, endpoints.registry
            ),
        ),
        Ok(info) => list.ok(
            "escrow",
            format!(
                "{}: {} open, {} leased",
                endpoints.escrow, info.open, info.leased
            ),
        ),
    }
    let registry = client.registry(endpoints.registry);
    let info = match registry.info().await {
        Ok(info) => {
            list.ok(
                "registry",
                format!(
                    "{}: {} nodes, {} models",
                    endpoints.registry, info.nodes, info.models
                ),
            );
            info
        }
        Err(error) => {
            list.missing("registry", format!("{}: {error}", endpoints.registry));
            return;
        }
    };
    for model in &config.models {
        check_model(list, &registry, model, config.node.validates()).await;
    }
    if has_key {
        let me = client.principal();
        match registry.node(me).await {
            Ok(node) => check_node(list, config, endpoints, &info, &node),
            Err(error) if registration::is_not_registered(&error) => {
                list.missing(
                    "registration",
                    "not yet: `emc-worker run` registers the node",
                );
                list.missing("stake", how_to_stake(me, info.minimum_stake, Tokens::ZERO));
            }
            Err(error) => list.missing("registration", error),
        }
        let owner = config.node.owner.unwrap_or(me);
        if let Ok(view) = escrow.account(owner).await {
            list.note(
                "earnings",
                format!(
                    "the owner has {} EMC available in the escrow",
                    view.available
                ),
            );
        }
    }
}

async fn check_model(list: &mut List, registry: &Registry, model: &Model, validates: bool) {
    let what = "model";
    let entry = match catalogue::look_up(registry, model).await {
        Ok(entry) => entry,
        Err(error) => {
            let hint = match error.downcast_ref::<Error>() {
                Some(Error::Api(_)) => "; `emc model list` shows the catalogue",
                _ => "",
            };
            list.missing(what, format!("{}: {error}{hint}", model.id));
            return;
        }
    };
    let named = format!("{} version {}", entry.id, entry.version);
    let terms = entry.terms.as_ref().and_then(|terms| terms.audit.as_ref());
    if validates && (!entry.listed || terms.is_none()) {
        list.note(
            what,
            format!("{named} is not listed with audit terms: its results are not audited"),
        );
    }
    let hashing = model.clone();
    let checked =
        tokio::task::spawn_blocking(move || catalogue::check_files(&hashing, &entry)).await;
    match checked {
        Ok(Ok(device)) => list.ok(
            what,
            format!("{named}: the files are the catalogue's; {device}"),
        ),
        Ok(Err(error)) => list.missing(what, format!("{named}: {error:#}")),
        Err(error) => list.missing(what, format!("{named}: checking failed: {error}")),
    }
    if model.kind == Kind::Echo {
        list.note(
            what,
            format!("{named} is for trying out a network, not for selling"),
        );
    }
}

fn check_node(
    list: &mut List,
    config: &Config,
    endpoints: &Endpoints,
    info: &RegistryInfo,
    node: &Node,
) {
    let owner = config.node.owner.unwrap_or(node.id);
    if node.owner != owner {
        list.missing(
            "registration",
            format!(
                "the registered owner is {}, the settings say {owner}: an owner is fixed at registration, so \
                 change the settings, or make a new identity",
                node.owner
            ),
        );
    } else {
        match node.status {
            Some(NodeStatus::Active | NodeStatus::Draining) => {
                list.ok("registration", format!("owner {}", node.owner));
                let registered = node.roles.iter().flatten().copied();
                let registered: std::collections::BTreeSet<_> = registered.collect();
                if registered != config.node.roles.iter().copied().collect() {
                    list.note(
                        "registration",
                        "the registered roles are not those of the settings: `emc-worker run` updates them",
                    );
                }
            }
            status => list.missing(
                "registration",
                format!("the node gets no work: its status is {status:?}"),
            ),
        }
    }
    let allotted = node.allotments.iter();
    let stake = allotted
        .filter(|allotment| allotment.escrow == endpoints.escrow)
        .fold(Tokens::ZERO, |sum, a| {
            Tokens(sum.0.saturating_add(a.amount.0))
        });
    if stake >= info.minimum_stake {
        list.ok(
            "stake",
            format!("{stake} EMC, the least is {}", info.minimum_stake),
        );
    } else {
        list.missing("stake", how_to_stake(node.id, info.minimum_stake, stake));
    }
}

fn how_to_stake(node: Principal, least: Tokens, has: Tokens) -> String {
    let lacking = least.checked_sub(has).unwrap_or(Tokens::ZERO);
    format!(
        "{has} EMC of {least}: once it is registered, the owner runs `emc node stake {node} {lacking}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_settings_file_is_said_and_fails() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let code = execute(&folder.path().join("worker.toml"))
            .await
            .expect("lists");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
    }

    #[test]
    fn what_is_lacking_of_the_stake_is_said() {
        let text = how_to_stake(
            Principal::management_canister(),
            Tokens::emc(100),
            Tokens::emc(30),
        );
        assert!(text.contains("emc node stake aaaaa-aa 70`"), "{text}");
    }
}
