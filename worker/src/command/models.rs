//! `emc-worker models`: which models are offered and on the disk, how others come here, and how they are offered.

pub mod download;
pub mod list;
pub mod offer;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use emc_client::{Client, Identity, Registry, RetryPolicy};
use emc_protocol::ModelEntry;
use emc_protocol::model::ModelFilter;

use crate::config::Config;

/// How long the network may take for each answer: all of this works without it, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to do about models.
#[derive(Debug, Subcommand)]
pub enum Models {
    /// Shows the models that the settings offer and those on the disk: family, size, root, place in the catalogue.
    List(list::List),
    /// Downloads a model from a hub and checks every byte; goes on where an earlier download stopped.
    Download(download::Download),
    /// Adds a model to the settings file.
    Offer(offer::Offer),
}

impl Models {
    /// Does it.
    ///
    /// # Errors
    /// What goes wrong, for the person at the terminal.
    pub async fn execute(self, config: &Path) -> anyhow::Result<ExitCode> {
        match self {
            Self::List(list) => list.execute(config).await,
            Self::Download(download) => download.execute(config).await,
            Self::Offer(offer) => offer.execute(config),
        }
    }
}

/// Where models are kept unless told otherwise: beside the settings.
fn models_folder(config: &Path) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join("models")
}

/// The registry of the settings, if they name one and it can be asked.
async fn registry_of(config: &Config) -> anyhow::Result<Registry> {
    let endpoints = config.endpoints()?;
    let client = Client::builder()
        .network(endpoints.url.0.clone())
        .identity(Identity::anonymous())
        .retry(RetryPolicy::default().give_up_after(PATIENCE))
        .build()
        .await?;
    Ok(client.registry(endpoints.registry))
}

/// All models of the catalogue that are not withdrawn; an error is why it cannot be asked.
async fn catalogue_of(config: &Config) -> Result<Vec<ModelEntry>, String> {
    let asked = async {
        let registry = registry_of(config).await?;
        anyhow::Ok(registry.all_models(ModelFilter::default()).await?)
    };
    // Several pages, each with its own patience.
    let asked = tokio::time::timeout(PATIENCE * 4, asked).await;
    let mut entries = match asked {
        Ok(Ok(entries)) => entries,
        Ok(Err(error)) => return Err(format!("{error:#}")),
        Err(_) => return Err("the registry does not answer".into()),
    };
    entries.retain(|entry| !entry.retired);
    Ok(entries)
}

/// The newest entry with a root, listed ones first.
fn with_root<'a>(catalogue: &'a [ModelEntry], root: &[u8]) -> Option<&'a ModelEntry> {
    let same = catalogue.iter().filter(|entry| entry.root == root);
    same.max_by_key(|entry| (entry.listed, entry.version))
}

/// An entry, in few words.
fn shown(entry: &ModelEntry) -> String {
    let listed = if entry.listed { "listed" } else { "not listed" };
    format!("{} version {}, {listed}", entry.id, entry.version)
}

/// A number of files.
fn files(count: usize) -> String {
    match count {
        1 => "1 file".into(),
        count => format!("{count} files"),
    }
}

#[cfg(test)]
#[path = "models/tests.rs"]
mod tests;
