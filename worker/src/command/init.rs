//! `emc-worker init`: writes the settings and a new key, and says what comes next.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use candid::Principal;
use clap::{Args, ValueEnum};
use emc_protocol::{Role, Tokens};

use crate::config::Config;
use crate::config_template::{Given, GivenModel, GivenNetwork, render};
use crate::identity;

/// Where the key lies, beside the settings.
const IDENTITY: &str = "identity.pem";

/// What to write into the settings; all of it can be changed there later.
#[derive(Debug, Args)]
pub struct Init {
    /// A JSON file with url, registry and escrow, as deploying the canisters writes it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "registry", "escrow"])]
    network_file: Option<PathBuf>,
    /// The network: local, ic, or a URL.
    #[arg(long, requires = "registry", requires = "escrow")]
    url: Option<emc_client::Network>,
    /// The registry's principal.
    #[arg(long, requires = "url")]
    registry: Option<Principal>,
    /// The escrow's principal.
    #[arg(long, requires = "url")]
    escrow: Option<Principal>,
    /// Who is paid and stakes: the principal that `emc identity show` prints.
    #[arg(long)]
    owner: Option<Principal>,
    /// What the node does: take jobs, or check other nodes' results, or (given twice) both.
    #[arg(long = "role", value_enum, value_name = "ROLE", default_values_t = [GivenRole::Compute])]
    roles: Vec<GivenRole>,
    /// A model to serve: its id in the catalogue.
    #[arg(long, value_name = "ID", requires = "path")]
    model: Option<String>,
    /// The model's file or folder.
    #[arg(long, value_name = "PATH", requires = "model")]
    path: Option<PathBuf>,
    /// Serve the echo engine, which needs no model: to try out a network.
    #[arg(long)]
    echo: bool,
    /// EMC per million prompt tokens.
    #[arg(long, value_name = "EMC", default_value = "1")]
    price_prompt: Tokens,
    /// EMC per million output tokens.
    #[arg(long, value_name = "EMC", default_value = "4")]
    price_output: Tokens,
    /// Jobs at a time, for each model.
    #[arg(long, value_name = "JOBS", default_value_t = 4)]
    concurrency: u32,
}

/// A role on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GivenRole {
    /// Takes jobs.
    Compute,
    /// Checks other nodes' results and votes.
    Validator,
}

impl From<GivenRole> for Role {
    fn from(role: GivenRole) -> Self {
        match role {
            GivenRole::Compute => Self::Compute,
            GivenRole::Validator => Self::Validator,
        }
    }
}

impl Init {
    /// Writes both files.
    ///
    /// # Errors
    /// Where one of them exists already or cannot be written.
    pub fn execute(self, config: &Path) -> anyhow::Result<ExitCode> {
        let folder = config.parent().unwrap_or(Path::new(""));
        if !folder.as_os_str().is_empty() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        if config.exists() {
            bail!("{} exists already and is not overwritten", config.display());
        }
        let text = render(&self.given(folder)?);
        let key_file = folder.join(IDENTITY);
        let (key, kept) = match identity::create(&key_file) {
            Ok(key) => (key, false),
            // A node keeps its key when its settings are written anew.
            Err(identity::IdentityError::Exists(_)) => (identity::read(&key_file)?, true),
            Err(error) => return Err(error.into()),
        };
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(config)
            .map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => {
                    anyhow::anyhow!("{} exists already and is not overwritten", config.display())
                }
                _ => anyhow::anyhow!("{}: {error}", config.display()),
            })?;
        file.write_all(text.as_bytes())
            .with_context(|| config.display().to_string())?;
        // What was written must be right; only strange paths could make it wrong.
        Config::read(config)?;
        self.say_what_comes_next(config, &key_file, kept, identity::principal(&key));
        Ok(ExitCode::SUCCESS)
    }

    fn given(&self, folder: &Path) -> anyhow::Result<Given> {
        let network = match (&self.network_file, &self.url, self.registry, self.escrow) {
            (Some(file), ..) => GivenNetwork::File(beside(folder, file)?),
            (None, Some(url), Some(registry), Some(escrow)) => GivenNetwork::Ids {
                url: url.to_string(),
                registry,
                escrow,
            },
            _ => GivenNetwork::File("network.json".into()),
        };
        let priced = |model: GivenModel| GivenModel {
            price_prompt: self.price_prompt.to_string(),
            price_output: self.price_output.to_string(),
            concurrency: Some(self.concurrency),
            ..model
        };
        let mut models = vec![];
        if let (Some(id), Some(path)) = (&self.model, &self.path) {
            models.push(priced(GivenModel::llm(id, beside(folder, path)?)));
        }
        if self.echo {
            models.push(priced(GivenModel::echo()));
        }
        let mut roles: Vec<Role> = vec![];
        for role in self.roles.iter().copied().map(Role::from) {
            if !roles.contains(&role) {
                roles.push(role);
            }
        }
        Ok(Given {
            network,
            owner: self.owner,
            roles,
            models,
        })
    }

    fn say_what_comes_next(&self, config: &Path, key: &Path, kept: bool, node: Principal) {
        let config = config.display();
        println!("Wrote {config}.");
        match kept {
            false => println!(
                "Wrote {}: the node's private key. Keep a copy in a safe place.",
                key.display()
            ),
            true => println!("Kept {}: the node's private key.", key.display()),
        }
        println!("\nThe node's principal: {node}\n\nWhat comes next:");
        let mut number = 0;
        let mut step = |text: &str| {
            number += 1;
            println!("  {number}. {text}");
        };
        if self.owner.is_none() {
            step(&format!(
                "In {config}, set owner to the principal that `emc identity show` prints: it is paid, and it stakes.\n     \
                 It is fixed when the node registers."
            ));
        }
        if self.model.is_none() && !self.echo {
            step(&format!(
                "In {config}, say which models you serve, and your prices."
            ));
        }
        step("emc-worker check              # what is still missing");
        step("emc-worker run                # registers the node, then serves");
        step(&format!(
            "As the owner: emc balance, then emc node stake {node} AMOUNT\n     \
             (it approves the registry and stakes; `emc-worker check` shows the least amount). A node without stake gets no work."
        ));
    }
}

/// A path given on the command line as the settings will have it: relative to the settings' folder where they lie in
/// the current one, absolute otherwise.
fn beside(folder: &Path, path: &Path) -> anyhow::Result<PathBuf> {
    if folder.as_os_str().is_empty() || path.is_absolute() {
        return Ok(path.to_owned());
    }
    std::path::absolute(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn init(folder: &Path, args: &[&str]) -> anyhow::Result<ExitCode> {
        let config = folder.join("worker.toml");
        let config = config.to_str().expect("UTF-8");
        let args = [&["emc-worker", "--config", config, "init"], args].concat();
        let cli = crate::command::Cli::try_parse_from(args)?;
        match cli.command {
            crate::command::Command::Init(init) => init.execute(&cli.config),
            _ => bail!("another command"),
        }
    }

    #[test]
    fn it_writes_settings_and_key_and_never_overwrites() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let args = ["--echo", "--owner", "aaaaa-aa", "--price-output", "2.5"];
        init(folder.path(), &args).expect("writes");
        let config = Config::read(&folder.path().join("worker.toml")).expect("reads");
        assert_eq!(config.node.owner, Some(Principal::management_canister()));
        assert_eq!(config.models[0].price.output, Tokens(250_000_000));
        let key = identity::read(&config.identity())
            .expect("reads")
            .to_bytes();

        let error = init(folder.path(), &args).expect_err("refused").to_string();
        assert!(error.contains("not overwritten"), "{error}");
        std::fs::remove_file(folder.path().join("worker.toml")).expect("removes");
        init(folder.path(), &args).expect("writes anew");
        let again = identity::read(&config.identity())
            .expect("reads")
            .to_bytes();
        assert_eq!(again, key, "the key is kept");
    }

    #[test]
    fn roles_are_given_once_or_twice() {
        for (args, roles) in [
            (&[][..], &[Role::Compute][..]),
            (&["--role", "validator"], &[Role::Validator]),
            (
                &["--role", "validator", "--role", "compute"],
                &[Role::Validator, Role::Compute],
            ),
        ] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            init(folder.path(), args).expect("writes");
            let config = Config::read(&folder.path().join("worker.toml")).expect("reads");
            assert_eq!(config.node.roles, roles);
        }
    }

    #[test]
    fn a_network_is_given_by_a_file_or_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(init(folder.path(), &["--url", "ic"]).is_err());
        assert!(init(folder.path(), &["--network-file", "x", "--url", "ic"]).is_err());
        let ids = ["--registry", "aaaaa-aa", "--escrow", "aaaaa-aa"];
        init(folder.path(), &[["--url", "ic"].as_slice(), &ids].concat()).expect("writes");
        let config = Config::read(&folder.path().join("worker.toml")).expect("reads");
        let endpoints = config.endpoints().expect("given");
        assert!(endpoints.url.0.is_ic());
    }
}
