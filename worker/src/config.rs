//! The worker's settings: one TOML file. Whatever is wrong in it is named with its key and line.
//!
//! Paths are relative to the file's own folder. What a key means is written in the file that `init` makes
//! (`config_template.rs`).

mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use candid::Principal;
use emc_inference::Activations;
use emc_protocol::model::is_model_id;
use emc_protocol::{Price, Role, limits};
use serde::Deserialize;

pub use values::{Emc, Precision, Url, Version};

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{0}: {1}; `emc-worker init` writes one")]
    Read(PathBuf, std::io::Error),
    /// The file is wrong; the message shows the line.
    #[error("{0}: {1}")]
    Wrong(PathBuf, String),
    /// The file with the canisters' ids is missing or wrong.
    #[error("network.file {0}: {1}")]
    NetworkFile(PathBuf, String),
}

/// All settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which network and canisters.
    pub network: Network,
    /// Who this node is.
    pub node: Node,
    /// How it works.
    #[serde(default)]
    pub work: Work,
    /// Where it shows how it does.
    #[serde(default)]
    pub metrics: Metrics,
    /// What it serves.
    #[serde(default, rename = "model")]
    pub models: Vec<Model>,
    /// The folder of the file.
    #[serde(skip)]
    folder: PathBuf,
}

/// `[network]`: a file, or URL and ids.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawNetwork")]
pub enum Network {
    /// A JSON file `{"url", "ledger", "registry", "escrow"}`.
    File(PathBuf),
    /// Given here.
    Given(Endpoints),
}

/// Where the canisters are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Endpoints {
    /// `local`, `ic`, or a URL.
    pub url: Url,
    /// The registry.
    pub registry: Principal,
    /// The escrow.
    pub escrow: Principal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNetwork {
    file: Option<PathBuf>,
    url: Option<Url>,
    registry: Option<Principal>,
    escrow: Option<Principal>,
}

impl TryFrom<RawNetwork> for Network {
    type Error = &'static str;

    fn try_from(raw: RawNetwork) -> Result<Self, Self::Error> {
        match raw {
            RawNetwork {
                file: Some(file),
                url: None,
                registry: None,
                escrow: None,
            } => Ok(Self::File(file)),
            RawNetwork {
                file: None,
                url: Some(url),
                registry: Some(registry),
                escrow: Some(escrow),
            } => Ok(Self::Given(Endpoints {
                url,
                registry,
                escrow,
            })),
            _ => Err("[network] needs either file, or all of url, registry and escrow"),
        }
    }
}

/// `[node]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The key's file.
    pub identity: PathBuf,
    /// Who is paid; the node itself where absent.
    pub owner: Option<Principal>,
    /// The folder for the journal.
    pub data_dir: PathBuf,
    /// What the node does: at least one.
    #[serde(default = "values::only_compute", deserialize_with = "values::roles")]
    pub roles: Vec<Role>,
}

impl Node {
    /// True where the node takes jobs.
    pub fn computes(&self) -> bool {
        self.roles.contains(&Role::Compute)
    }

    /// True where the node checks other nodes' results.
    pub fn validates(&self) -> bool {
        self.roles.contains(&Role::Validator)
    }

    /// The roles, to be read.
    pub fn roles_shown(&self) -> String {
        let names: Vec<&str> = self.roles.iter().map(|role| role_name(*role)).collect();
        names.join(", ")
    }
}

/// A role as it is written in the settings.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Compute => "compute",
        Role::Validator => "validator",
    }
}

/// `[work]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Work {
    /// The longest wait between two looks at what work there is, in milliseconds.
    #[serde(deserialize_with = "values::poll_interval")]
    pub poll_interval_ms: u64,
    /// The time between two looks at what audits there are, in milliseconds.
    #[serde(deserialize_with = "values::poll_interval")]
    pub audit_interval_ms: u64,
    /// The time between two previews of an answer, in milliseconds.
    #[serde(deserialize_with = "values::preview_interval")]
    pub preview_interval_ms: u64,
    /// The time between two heartbeats, in seconds.
    #[serde(deserialize_with = "values::heartbeat")]
    pub heartbeat_seconds: u64,
    /// The least part of the price, in percent, that a job must be able to pay.
    #[serde(deserialize_with = "values::percent")]
    pub least_paid_percent: u32,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            poll_interval_ms: 250,
            audit_interval_ms: 2_000,
            preview_interval_ms: 2_200,
            heartbeat_seconds: 240,
            least_paid_percent: 75,
        }
    }
}

/// `[metrics]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Where `/metrics` and `/healthz` are served; an empty text for nowhere.
    #[serde(deserialize_with = "values::address")]
    pub address: Option<SocketAddr>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            address: Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
        }
    }
}

/// What runs a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A language model.
    #[default]
    Llm,
    /// The echo engine.
    Echo,
    /// Stable Diffusion.
    Image,
}

/// `[[model]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawModel")]
pub struct Model {
    /// The id in the catalogue.
    pub id: String,
    /// The version in the catalogue; the newest where absent.
    pub version: Option<u32>,
    /// What runs it.
    pub kind: Kind,
    /// Its file or folder; absent for the echo engine.
    pub path: Option<PathBuf>,
    /// What this node asks.
    pub price: Price,
    /// Jobs at a time.
    pub concurrency: u32,
    /// Longest prompt and output together; the model's own where absent.
    pub context: Option<u32>,
    /// `cpu`, `cuda`, `cuda:N`; chosen by the machine where absent.
    pub device: Option<String>,
    /// `f32` or `bf16`; chosen by the device where absent.
    pub dtype: Option<String>,
    /// How exactly packed weights are multiplied on the processor; the engine's own choice where absent.
    pub activations: Option<Activations>,
    /// What the echo engine waits for each token.
    pub delay: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    id: String,
    #[serde(default)]
    version: Version,
    #[serde(default)]
    kind: Kind,
    path: Option<PathBuf>,
    price: RawPrice,
    concurrency: Option<u32>,
    context: Option<u32>,
    device: Option<String>,
    dtype: Option<String>,
    activations: Option<Precision>,
    delay_ms: Option<u64>,
}

/// EMC per million tokens, or pixel-steps.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrice {
    #[serde(default)]
    prompt: Option<Emc>,
    #[serde(default)]
    output: Option<Emc>,
    #[serde(default)]
    pixel_steps: Option<Emc>,
}

/// Jobs at a time where the file does not say.
const CONCURRENCY: u32 = 4;
/// The most jobs at a time that make sense.
const MOST_CONCURRENCY: u32 = 1_024;

impl TryFrom<RawModel> for Model {
    type Error = String;

    fn try_from(raw: RawModel) -> Result<Self, String> {
        let id = raw.id;
        if !is_model_id(&id) {
            return Err(format!(
                "id = {id:?} is not a model id: at most {} lower-case letters, digits, '.', '-', '_' and '/'",
                limits::MODEL_ID_BYTES
            ));
        }
        let wrong = |key: &str, must: &str| Err(format!("{key} of the model {id} must {must}"));
        let concurrency = raw.concurrency.unwrap_or(CONCURRENCY);
        if !(1..=MOST_CONCURRENCY).contains(&concurrency) {
            return wrong("concurrency", &format!("be from 1 to {MOST_CONCURRENCY}"));
        }
        if raw.context == Some(0) {
            return wrong("context", "be at least 1, or absent for the model's own");
        }
        let RawPrice {
            prompt,
            output,
            pixel_steps,
        } = raw.price;
        let price = match (raw.kind, prompt, output, pixel_steps) {
            (Kind::Image, None, None, Some(Emc(pixel_steps))) => Price {
                pixel_steps,
                ..Price::default()
            },
            (Kind::Image, ..) => return wrong("price", "be pixel_steps alone: it makes pictures"),
            (_, Some(Emc(prompt)), Some(Emc(output)), None) => Price {
                prompt,
                output,
                ..Price::default()
            },
            _ => return wrong("price", "have prompt and output, and nothing else"),
        };
        match raw.kind {
            Kind::Image if raw.context.is_some() => {
                return wrong("context", "be absent: it makes pictures");
            }
            Kind::Llm | Kind::Image if raw.path.is_none() => {
                return wrong("path", "be given: the model's file or folder");
            }
            Kind::Llm | Kind::Image if raw.delay_ms.is_some() => {
                return wrong("delay_ms", "be absent: it is for kind = \"echo\"");
            }
            Kind::Echo | Kind::Image if raw.activations.is_some() => {
                return wrong("activations", "be absent: it is for kind = \"llm\"");
            }
            Kind::Echo if raw.path.is_some() || raw.device.is_some() || raw.dtype.is_some() => {
                return wrong(
                    "path, device and dtype",
                    "be absent: the echo engine has no files",
                );
            }
            _ => {}
        }
        Ok(Self {
            version: raw.version.0,
            kind: raw.kind,
            path: raw.path,
            price,
            concurrency,
            context: raw.context,
            device: raw.device.filter(|device| device != "auto"),
            dtype: raw.dtype.filter(|dtype| dtype != "auto"),
            activations: raw.activations.map(|Precision(activations)| activations),
            delay: Duration::from_millis(raw.delay_ms.unwrap_or(0)),
            id,
        })
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it cannot be read or is wrong; the message names key and line.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read(path.to_owned(), error))?;
        let mut config =
            Self::parse(&text).map_err(|message| ConfigError::Wrong(path.to_owned(), message))?;
        config.folder = path.parent().unwrap_or(Path::new("")).to_owned();
        for model in &mut config.models {
            model.path = model.path.take().map(|path| config.folder.join(path));
        }
        Ok(config)
    }

    /// Reads the text of a file; its paths stay as they are.
    ///
    /// # Errors
    /// What is wrong with it, with key and line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if config.models.len() > limits::OFFERS {
            return Err(format!(
                "{} [[model]] entries, a node offers at most {}",
                config.models.len(),
                limits::OFFERS
            ));
        }
        for (number, model) in config.models.iter().enumerate() {
            let twice = config.models[..number]
                .iter()
                .any(|other| other.id == model.id && other.version == model.version);
            if twice {
                return Err(format!(
                    "line {}: the [[model]] {} is there twice: give it more concurrency instead",
                    line_of_model(text, number),
                    model.id
                ));
            }
        }
        Ok(config)
    }

    /// Where the canisters are.
    ///
    /// # Errors
    /// Where the file that says so is missing or wrong.
    pub fn endpoints(&self) -> Result<Endpoints, ConfigError> {
        match &self.network {
            Network::Given(endpoints) => Ok(endpoints.clone()),
            Network::File(file) => {
                let path = self.folder.join(file);
                let wrong = |reason: String| ConfigError::NetworkFile(path.clone(), reason);
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    wrong(format!("{error}; deploying the canisters writes one"))
                })?;
                serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
            }
        }
    }

    /// The key's file.
    pub fn identity(&self) -> PathBuf {
        self.folder.join(&self.node.identity)
    }

    /// The folder for the journal.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join(&self.node.data_dir)
    }
}

/// The line on which the model with this number begins.
fn line_of_model(text: &str, number: usize) -> usize {
    let mut headers = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.trim_start().starts_with("[[model]]"));
    headers.nth(number).map_or(0, |(line, _)| line + 1)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
