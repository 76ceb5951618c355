//! `emc-worker models offer`: one more `[[model]]` in the settings file. What is there stays as it is, comments too.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use emc_protocol::Tokens;

use crate::config::{Config, Kind};
use crate::config_template::{GivenModel, model};
use crate::model_files::describe;

/// What to offer.
#[derive(Debug, Args)]
pub struct Offer {
    /// The model's id in the catalogue.
    id: String,
    /// Its file or folder.
    path: PathBuf,
    /// Prices and more.
    #[command(flatten)]
    terms: Terms,
}

/// What the settings say of an offer beside id and path.
#[derive(Debug, Clone, Args)]
pub struct Terms {
    /// EMC per million prompt tokens.
    #[arg(long, value_name = "EMC", default_value = "1")]
    price_prompt: Tokens,
    /// EMC per million output tokens.
    #[arg(long, value_name = "EMC", default_value = "4")]
    price_output: Tokens,
    /// For pictures: EMC per million pixels times steps.
    #[arg(long, value_name = "EMC", default_value = "1")]
    price_pixel_steps: Tokens,
    /// Jobs at a time.
    #[arg(long, value_name = "JOBS", default_value_t = 4)]
    concurrency: u32,
}

impl Terms {
    /// The offer of a model.
    pub fn offer(&self, id: &str, path: PathBuf, kind: Kind) -> GivenModel {
        GivenModel {
            kind,
            price_prompt: self.price_prompt.to_string(),
            price_output: self.price_output.to_string(),
            price_pixel_steps: self.price_pixel_steps.to_string(),
            concurrency: Some(self.concurrency),
            ..GivenModel::llm(id, path)
        }
    }
}

impl Offer {
    /// Writes it.
    ///
    /// # Errors
    /// Where the settings cannot be read or written, offer the model already, or there is no model at the path.
    pub fn execute(self, config: &Path) -> anyhow::Result<ExitCode> {
        let Some(found) = describe(&self.path) else {
            bail!(
                "{} is no model: a GGUF file, or a folder with config.json or model_index.json",
                self.path.display()
            );
        };
        if found.is_encoder() {
            bail!(
                "{} makes embeddings, which cannot be sold yet",
                self.path.display()
            );
        }
        add(
            config,
            &self
                .terms
                .offer(&self.id, in_settings(config, &self.path)?, found.kind),
        )?;
        println!(
            "{} offers {} now; `emc-worker check` says whether the catalogue has it. A running worker has to be restarted.",
            config.display(),
            self.id
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Adds an offer to the end of the settings, in one go: a crash leaves the old file or the new one.
///
/// # Errors
/// Where the settings cannot be read or written, or would be wrong with it.
pub fn add(config: &Path, offer: &GivenModel) -> anyhow::Result<()> {
    let before = Config::read(config)?;
    if before.models.iter().any(|model| model.id == offer.id) {
        bail!(
            "{} offers {} already: change its [[model]] there",
            config.display(),
            offer.id
        );
    }
    let shown = || config.display().to_string();
    let mut text = fs::read_to_string(config).with_context(shown)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text += &model(offer);
    Config::parse(&text).map_err(|why| anyhow::anyhow!("this cannot be offered: {why}"))?;
    // A link stays one: what it names is replaced.
    let config = fs::canonicalize(config).with_context(shown)?;
    let folder = config.parent().unwrap_or(Path::new("."));
    let name = config.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.new"));
    let written = || -> std::io::Result<()> {
        let mut file = fs::File::create(&new)?;
        file.set_permissions(fs::metadata(&config)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &config)
    };
    written().with_context(|| new.display().to_string())
}

/// A path as the settings have it: relative to their folder where it lies there, absolute otherwise.
///
/// # Errors
/// Where there is no current folder.
pub fn in_settings(config: &Path, path: &Path) -> anyhow::Result<PathBuf> {
    let absolute =
        |path: &Path| std::path::absolute(path).with_context(|| path.display().to_string());
    let folder = match config.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => absolute(folder)?,
        _ => std::env::current_dir().context("the current folder")?,
    };
    let path = absolute(path)?;
    Ok(path
        .strip_prefix(&folder)
        .map(Path::to_owned)
        .unwrap_or(path))
}
