//! `emc-worker models list`: what is offered, what is on the disk, and whether the catalogue knows it.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use emc_protocol::ModelEntry;

use super::{catalogue_of, files, models_folder, shown, with_root};
use crate::config::{Config, Kind, Model};
use crate::engine::echo;
use crate::engine::llm::root_of;
use crate::model_files::{describe, extent, models_in};
use crate::progress::size;

/// How to list.
#[derive(Debug, Args)]
pub struct List {
    /// Does not read the files: no roots, and no look into the catalogue.
    #[arg(long)]
    quick: bool,
}

impl List {
    /// Prints the list.
    ///
    /// # Errors
    /// Where the settings cannot be read.
    pub async fn execute(self, path: &Path) -> anyhow::Result<ExitCode> {
        let config = Config::read(path)?;
        for line in self.lines(&config, path).await {
            println!("{line}");
        }
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn lines(&self, config: &Config, path: &Path) -> Vec<String> {
        let catalogue = match self.quick {
            true => Err("not asked".to_owned()),
            false => catalogue_of(config).await,
        };
        let mut lines = vec![];
        if config.models.is_empty() {
            lines.push(format!("{} offers no model.", path.display()));
        }
        for model in &config.models {
            lines.push(format!("{} ({})", model.id, kind_name(model.kind)));
            lines.extend(
                self.about(model.path.as_deref(), Some(model), &catalogue)
                    .await,
            );
        }
        let folder = models_folder(path);
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let offered = config
            .models
            .iter()
            .filter_map(|model| model.path.as_deref());
        let offered: Vec<_> = offered.map(real).collect();
        for model in models_in(&folder) {
            let here = real(&model);
            // A model may be offered by the folder that its only file is in.
            if offered
                .iter()
                .any(|path| *path == here || here.parent() == Some(path))
            {
                continue;
            }
            lines.push(format!("{} (not offered)", model.display()));
            lines.extend(self.about(Some(&model), None, &catalogue).await);
        }
        if let (Err(why), false) = (&catalogue, self.quick) {
            lines.push(format!("The catalogue could not be asked: {why}"));
        }
        lines
    }

    async fn about(
        &self,
        path: Option<&Path>,
        offer: Option<&Model>,
        catalogue: &Result<Vec<ModelEntry>, String>,
    ) -> Vec<String> {
        let mut lines = vec![];
        let mut say = |what: &str, text: String| lines.push(format!("  {what:<10} {text}"));
        let root = match path {
            None => Some(echo::root()),
            Some(path) => {
                if offer.is_some() {
                    say("path", path.display().to_string());
                }
                match extent(path) {
                    Ok((count, bytes)) => {
                        say("size", format!("{} in {}", size(bytes), files(count)));
                    }
                    Err(_) => {
                        let how = "`emc-worker models download` brings it";
                        say("MISSING", format!("there is nothing at this path; {how}"));
                        return lines;
                    }
                }
                match describe(path) {
                    Some(found) => say("family", format!("{} ({})", found.family, found.format)),
                    None => say(
                        "family",
                        "not known: neither its GGUF file nor its JSON says".into(),
                    ),
                }
                match self.quick {
                    true => None,
                    false => match hashed(path).await {
                        Ok(root) => Some(root),
                        Err(why) => {
                            say("root", why);
                            None
                        }
                    },
                }
            }
        };
        let Some(root) = root else { return lines };
        say("root", hex::encode(root));
        if let Ok(catalogue) = catalogue {
            say("catalogue", place(&root, offer, catalogue));
        }
        lines
    }
}

/// What the catalogue says of a root, and of the model's name.
fn place(root: &[u8], offer: Option<&Model>, catalogue: &[ModelEntry]) -> String {
    let mut named: Vec<&ModelEntry> = catalogue
        .iter()
        .filter(|entry| offer.is_some_and(|offer| offer.id == entry.id))
        .filter(|entry| {
            offer
                .and_then(|offer| offer.version)
                .is_none_or(|v| v == entry.version)
        })
        .collect();
    named.sort_by_key(|entry| entry.version);
    // What is served is the newest version, or the one that the settings name.
    let served = named.pop();
    let other = with_root(catalogue, root);
    match (served, other) {
        (Some(entry), _) if entry.root == root => shown(entry),
        (Some(entry), Some(other)) => format!(
            "{} has other files; these are {}",
            shown(entry),
            shown(other)
        ),
        (Some(entry), None) => format!("{} has other files, and no model has these", shown(entry)),
        (None, Some(other)) => shown(other),
        (None, None) => "no model has these files; `emc model publish` adds them".into(),
    }
}

async fn hashed(path: &Path) -> Result<[u8; 32], String> {
    let path = path.to_owned();
    let hashed = tokio::task::spawn_blocking(move || emc_inference::model_root(&path)).await;
    match hashed {
        Ok(Ok(root)) => Ok(root_of(&root)),
        Ok(Err(error)) => Err(format!("cannot be read: {error}")),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Llm => "llm",
        Kind::Echo => "echo",
        Kind::Image => "image",
    }
}
