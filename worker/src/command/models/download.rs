//! `emc-worker models download`: a model from a hub, onto this disk, with what to write into the settings.
//!
//! 1. The name, and where a model of the catalogue is asked for, its entry.
//! 2. The hub's listing: which files are needed, whether the disk has room for them.
//! 3. The files, one after the other, each checked against its hash.
//! 4. The root of what is there, and the lines for the settings.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use emc_protocol::{ModelEntry, ModelRef};

use super::offer::{Terms, in_settings};
use super::{catalogue_of, files, models_folder, registry_of, shown, with_root};
use crate::catalogue::wrong_root;
use crate::config::Config;
use crate::config_template::model;
use crate::engine::llm::root_of;
use crate::hub::fetch::present;
use crate::hub::name::{self, Named};
use crate::hub::select::{self, Selection};
use crate::hub::{HUGGING_FACE, Hub, HubError, Pace, Snapshot};
use crate::model_files::describe;
use crate::progress::{Progress, size};

/// Left free on the disk: the journal lies there, perhaps.
const RESERVE: u64 = 512 << 20;
/// Held while a folder is being filled.
const LOCK: &str = ".download.lock";

/// What to download.
#[derive(Debug, Args)]
pub struct Download {
    /// The model on the hub: OWNER/NAME, or the address of its page or file. With --model, it may be left out.
    #[arg(required_unless_present = "model")]
    name: Option<String>,
    /// The branch, tag or commit.
    #[arg(long)]
    revision: Option<String>,
    /// One GGUF file: its name, or what only its name has, such as Q4_K_M.
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    file: Option<String>,
    /// The folder to put it into; models/NAME beside the settings unless given.
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// A model's id in the catalogue: exactly its files are taken, from where its author says unless a name is given.
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// The model's version in the catalogue; the newest unless given.
    #[arg(long, requires = "model")]
    version: Option<u32>,
    /// The hub; HF_TOKEN is sent to it, if set.
    #[arg(long, value_name = "URL", env = "HF_ENDPOINT", default_value = HUGGING_FACE)]
    endpoint: String,
    /// Adds the model to the settings file too.
    #[arg(long)]
    offer: bool,
    /// Prices and more.
    #[command(flatten)]
    terms: Terms,
}

impl Download {
    /// Downloads it.
    ///
    /// # Errors
    /// Where it does not come whole, or nothing can run it.
    pub async fn execute(self, config: &Path) -> anyhow::Result<ExitCode> {
        let token = std::env::var("HF_TOKEN").ok();
        let token = token
            .as_deref()
            .map(str::trim)
            .filter(|token| !token.is_empty());
        let hub = Hub::new(&self.endpoint, token, Pace::default())?;
        let entry = match &self.model {
            Some(id) => Some(self.look_up(id, config).await?),
            None => None,
        };
        self.from(&hub, config, entry.as_ref()).await?;
        Ok(ExitCode::SUCCESS)
    }

    /// Downloads it from a hub, as the catalogue's entry has it where there is one; where it is.
    pub(super) async fn from(
        &self,
        hub: &Hub,
        config: &Path,
        entry: Option<&ModelEntry>,
    ) -> anyhow::Result<PathBuf> {
        let named = self.named(hub, entry)?;
        let revision = self.revision.as_deref().or(named.revision.as_deref());
        let snapshot = hub
            .snapshot(&named.repo, revision.unwrap_or("main"))
            .await?;
        let selection = match entry {
            Some(entry) => select::exactly(&snapshot.files, &entry.files)?,
            None => {
                let file = self.file.as_deref().or(named.file.as_deref());
                select::select(&snapshot.files, file)?
            }
        };
        let beside = || models_folder(config).join(named.repo.name());
        let folder = self.to.clone().unwrap_or_else(beside);
        fetch_all(hub, &snapshot, &selection, &folder).await?;

        let path = match selection.files.as_slice() {
            [file] if selection.is_single => folder.join(selection.place(file)),
            _ => folder,
        };
        self.say(config, &path, &selection, entry).await?;
        Ok(path)
    }

    async fn look_up(&self, id: &str, config: &Path) -> anyhow::Result<ModelEntry> {
        let registry = registry_of(&Config::read(config)?).await;
        let registry = registry.context("the registry that the settings name")?;
        let wanted = ModelRef {
            id: id.to_owned(),
            version: self.version,
        };
        let entry = registry.model(wanted).await;
        entry.with_context(|| format!("the model {id}; `emc model list` shows the catalogue"))
    }

    /// The repository: as it is given, else the first of the catalogue's sources that is on this hub.
    fn named(&self, hub: &Hub, entry: Option<&ModelEntry>) -> anyhow::Result<Named> {
        if let Some(name) = &self.name {
            return Ok(name::parse(name, &hub.host())?);
        }
        let sources = entry.map_or(&[][..], |entry| &entry.sources);
        let found = sources
            .iter()
            .find_map(|source| name::parse(source, &hub.host()).ok());
        found.with_context(|| {
            format!(
                "the catalogue names no source on {}; give the model's name on the hub, or get its files from: {}",
                hub.host(),
                sources.join(" or ")
            )
        })
    }

    /// Says what is there, and what to do with it.
    async fn say(
        &self,
        config: &Path,
        path: &Path,
        selection: &Selection,
        entry: Option<&ModelEntry>,
    ) -> anyhow::Result<()> {
        let hashing = path.to_owned();
        let hashed = tokio::task::spawn_blocking(move || emc_inference::model_root(&hashing));
        let hashed_files = hashed.await.context("hashing was interrupted")??;
        let root = root_of(&hashed_files);
        let found = describe(path);
        println!("path    {}", path.display());
        if let Some(found) = &found {
            println!("family  {} ({})", found.family, found.format);
        }
        println!("root    {}", hex::encode(root));
        let ours = |path: &str| {
            selection
                .files
                .iter()
                .any(|file| selection.place(file) == path)
        };
        let others = hashed_files.files.iter().filter(|file| !ours(&file.path));
        let others: Vec<&str> = others.map(|file| file.path.as_str()).collect();
        if !others.is_empty() {
            println!(
                "The root covers other files in the folder too: {}. Move them away, and `emc-worker models list` shows the \
                 root of what was downloaded.",
                others.join(", ")
            );
        }
        if let Some(why) = entry.and_then(|entry| wrong_root(entry, &root)) {
            bail!(why);
        }
        if found.is_some_and(|found| found.is_encoder()) {
            println!("It makes embeddings: `emc-infer embed` runs it. They cannot be sold yet.");
            return Ok(());
        }
        let catalogue = match (entry, Config::read(config)) {
            (Some(entry), _) => vec![entry.clone()],
            (None, Ok(config)) => catalogue_of(&config).await.unwrap_or_default(),
            (None, Err(_)) => vec![],
        };
        let known = with_root(&catalogue, &root);
        let id = known.map_or_else(|| id_of(path), |entry| entry.id.clone());
        let offer = self
            .terms
            .offer(&id, in_settings(config, path)?, selection.kind);
        match known {
            Some(entry) => println!("The catalogue has it: {}.", shown(entry)),
            None => println!(
                "No model of the catalogue is known to have these files: `emc model list` shows those that it has, \
                 `emc model publish` adds one."
            ),
        }
        if self.offer {
            super::offer::add(config, &offer)?;
            println!("{} offers {id} now.", config.display());
        } else {
            println!(
                "\nTo offer it, add to {}:\n{}",
                config.display(),
                model(&offer)
            );
        }
        Ok(())
    }
}

async fn fetch_all(
    hub: &Hub,
    snapshot: &Snapshot,
    selection: &Selection,
    folder: &Path,
) -> anyhow::Result<()> {
    println!(
        "{} at {}: {} in {}, to {}",
        snapshot.repo,
        &snapshot.commit[..12],
        size(selection.length()),
        files(selection.files.len()),
        folder.display()
    );
    fs::create_dir_all(folder).map_err(HubError::disk(folder))?;
    let _lock = lock(folder)?;
    let places = selection
        .files
        .iter()
        .map(|file| folder.join(selection.place(file)));
    let places: Vec<PathBuf> = places.collect();
    let here = selection.files.iter().zip(&places);
    let here = here.map(|(file, place)| present(file, place)).sum::<u64>();
    has_room(folder, selection.length().saturating_sub(here))?;
    let mut progress = Progress::begin(selection.length());
    for (file, place) in selection.files.iter().zip(&places) {
        progress.now(&file.path);
        hub.fetch(snapshot, file, place, &mut progress).await?;
    }
    Ok(())
}

/// Errs where the disk has no room for so many bytes. One that does not say how full it is has.
pub(super) fn has_room(folder: &Path, bytes: u64) -> Result<(), HubError> {
    if bytes == 0 {
        return Ok(());
    }
    let Ok(disk) = rustix::fs::statvfs(folder) else {
        return Ok(());
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let needed = bytes.saturating_add(RESERVE);
    match free >= needed {
        true => Ok(()),
        false => Err(HubError::NoRoom {
            folder: folder.to_owned(),
            needed,
            free,
        }),
    }
}

/// Two downloads into one folder would write over one another.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another download into {} is running: wait for it, or choose another folder with --to",
            folder.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// An id that the catalogue would take, made of a file's or folder's name.
fn id_of(path: &Path) -> String {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let name = name
        .strip_suffix(".gguf")
        .or_else(|| name.strip_suffix(".safetensors"))
        .unwrap_or(&name);
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '-'
        }
    };
    let id: String = name
        .chars()
        .map(allowed)
        .take(emc_protocol::limits::MODEL_ID_BYTES)
        .collect();
    if id.is_empty() { "model".into() } else { id }
}
