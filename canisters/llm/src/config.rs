//! Settings in stable memory: the escrow, the governor, what names stand for, the limits. What may be in them is checked
//! here, for installation, upgrade and the governor alike.

use candid::Principal;
use emc_journal::cbor;
use emc_protocol::llm::{LlmArgs, LlmChange, LlmModel, LlmSettings, LlmUpgrade};
use emc_protocol::{ApiError, ModelRef, Seconds, Tokens, error::code, limits};
use minicbor::{Decode, Encode};

/// The version of the layout of stable memory.
pub const LAYOUT: u32 = 1;
/// Most names.
pub const MODELS: usize = 256;
/// Most requests that may wait, whatever is set: a canister can have 500 calls under way to another.
pub const MAX_OPEN: u32 = 400;
/// The longest wait that can be set.
pub const LONGEST_WAIT: Seconds = Seconds(600);

/// Everything that is set, and the layout's version.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// [`LAYOUT`] when it was written.
    #[n(0)]
    pub layout: u32,
    /// Takes the jobs.
    #[cbor(n(1), with = "cbor::principal")]
    pub escrow: Principal,
    /// Changes the rest.
    #[cbor(n(2), with = "cbor::principal")]
    pub governor: Principal,
    /// What names stand for.
    #[n(3)]
    pub models: Vec<ModelRecord>,
    /// Most requests that wait.
    #[n(4)]
    pub max_open: u32,
    /// Most of one caller.
    #[n(5)]
    pub max_open_per_caller: u32,
    /// Longest wait, seconds.
    #[n(6)]
    pub max_wait: u64,
    /// Most output tokens.
    #[n(7)]
    pub max_tokens: u32,
    /// Temperature, thousandths.
    #[n(8)]
    pub temperature_milli: u32,
}

/// What a name stands for.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct ModelRecord {
    /// The name.
    #[n(0)]
    pub name: String,
    /// The model's id.
    #[n(1)]
    pub id: String,
    /// Its version; the newest where absent.
    #[n(2)]
    pub version: Option<u32>,
    /// The most that a request may lock, e8s.
    #[n(3)]
    pub max_price: Option<u64>,
}

emc_journal::storable_record!(Config);

/// Why an argument is not accepted; the message of the failed installation.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArgumentError {
    /// An upgrade's argument at an installation.
    #[error("an installation needs (variant {{ Init = record {{ models = vec {{ }} }} }})")]
    NeedsInit,
    /// An installation's argument at an upgrade.
    #[error(
        "an upgrade needs (variant {{ Upgrade = record {{ }} }}); Init would be for an installation"
    )]
    NeedsUpgrade,
    /// The escrow is neither in the argument nor in the environment.
    #[error(
        "escrow is missing: name it in the argument, or set the environment variable PUBLIC_CANISTER_ID:escrow"
    )]
    NoEscrow,
    /// A value is out of its bounds.
    #[error("{0}")]
    Invalid(String),
}

impl Config {
    /// Of no adapter: what is read where there is none.
    pub fn nothing() -> Self {
        Self {
            layout: 0,
            escrow: Principal::anonymous(),
            governor: Principal::anonymous(),
            models: vec![],
            max_open: 0,
            max_open_per_caller: 0,
            max_wait: 0,
            max_tokens: 0,
            temperature_milli: 0,
        }
    }

    /// The settings of a new installation. `found` is the escrow that the environment names.
    ///
    /// # Errors
    /// The argument is not for an installation, names no escrow, or has a value out of its bounds.
    pub fn install(
        args: LlmArgs,
        found: Option<Principal>,
        installer: Principal,
    ) -> Result<Self, ArgumentError> {
        let LlmArgs::Init(init) = args else {
            return Err(ArgumentError::NeedsInit);
        };
        let mut config = Self {
            layout: LAYOUT,
            escrow: init.escrow.or(found).ok_or(ArgumentError::NoEscrow)?,
            governor: init.governor.unwrap_or(installer),
            ..Self::nothing()
        };
        let change = LlmChange {
            models: Some(init.models),
            settings: Some(init.settings.unwrap_or_default()),
        };
        config.change(change).map_err(invalid)?;
        Ok(config)
    }

    /// The settings after an upgrade.
    ///
    /// # Errors
    /// The argument is not for an upgrade, or has a value out of its bounds.
    pub fn upgrade(mut self, args: Option<LlmArgs>) -> Result<Self, ArgumentError> {
        let LlmUpgrade {
            governor,
            models,
            settings,
        } = match args {
            None => LlmUpgrade::default(),
            Some(LlmArgs::Upgrade(upgrade)) => upgrade,
            Some(LlmArgs::Init(_)) => return Err(ArgumentError::NeedsUpgrade),
        };
        self.governor = governor.unwrap_or(self.governor);
        self.change(LlmChange { models, settings })
            .map_err(invalid)?;
        Ok(self)
    }

    /// The settings after a change by the governor.
    ///
    /// # Errors
    /// `forbidden`, `invalid`, `limit`.
    pub fn configure(mut self, caller: Principal, change: LlmChange) -> Result<Self, ApiError> {
        if caller != self.governor {
            return Err(ApiError::new(
                code::FORBIDDEN,
                "Only the governor changes models and settings.",
            ));
        }
        self.change(change)?;
        Ok(self)
    }

    /// Takes in what was checked, all or nothing.
    fn change(&mut self, change: LlmChange) -> Result<(), ApiError> {
        let models = change.models.as_deref().map(records).transpose()?;
        if let Some(settings) = &change.settings {
            check(settings)?;
        }
        if let Some(models) = models {
            self.models = models;
        }
        if let Some(settings) = change.settings {
            self.max_open = settings.max_open;
            self.max_open_per_caller = settings.max_open_per_caller;
            self.max_wait = settings.max_wait.0;
            self.max_tokens = settings.max_tokens;
            self.temperature_milli = settings.temperature_milli;
        }
        Ok(())
    }

    /// The settings, as the interface shows them.
    pub fn settings(&self) -> LlmSettings {
        LlmSettings {
            max_open: self.max_open,
            max_open_per_caller: self.max_open_per_caller,
            max_wait: Seconds(self.max_wait),
            max_tokens: self.max_tokens,
            temperature_milli: self.temperature_milli,
        }
    }

    /// What names stand for, as the interface shows it.
    pub fn models(&self) -> Vec<LlmModel> {
        let view = |record: &ModelRecord| LlmModel {
            name: record.name.clone(),
            model: ModelRef {
                id: record.id.clone(),
                version: record.version,
            },
            max_price: record.max_price.map(|e8s| Tokens(e8s.into())),
        };
        self.models.iter().map(view).collect()
    }
}

fn invalid(error: ApiError) -> ArgumentError {
    ArgumentError::Invalid(error.message)
}

fn records(models: &[LlmModel]) -> Result<Vec<ModelRecord>, ApiError> {
    if models.len() > MODELS {
        return Err(ApiError::limit(
            "models",
            models.len() as u64,
            MODELS as u64,
        ));
    }
    let mut records: Vec<ModelRecord> = vec![];
    for model in models {
        let short = |text: &str| !text.is_empty() && text.len() <= limits::MODEL_ID_BYTES;
        if !short(&model.name) || !short(&model.model.id) {
            return Err(ApiError::invalid(
                "models",
                format!(
                    "a list in which names and ids have 1 to {} bytes",
                    limits::MODEL_ID_BYTES
                ),
            ));
        }
        if records.iter().any(|record| record.name == model.name) {
            return Err(ApiError::invalid(
                "models",
                format!("a list that has each name once, not {:?} twice", model.name),
            ));
        }
        let max_price = match model.max_price.map(|most| u64::try_from(most.0)) {
            None => None,
            Some(Ok(most)) if most > 0 => Some(most),
            Some(_) => {
                return Err(ApiError::invalid(
                    "max_price",
                    "absent, or from one e8s up to what can exist",
                ));
            }
        };
        records.push(ModelRecord {
            name: model.name.clone(),
            id: model.model.id.clone(),
            version: model.model.version,
            max_price,
        });
    }
    Ok(records)
}

fn check(settings: &LlmSettings) -> Result<(), ApiError> {
    let within = |field: &str, value: u64, least: u64, most: u64| match value {
        v if v < least || v > most => {
            Err(ApiError::invalid(field, format!("from {least} to {most}")))
        }
        _ => Ok(()),
    };
    within("max_open", settings.max_open.into(), 1, MAX_OPEN.into())?;
    within(
        "max_open_per_caller",
        settings.max_open_per_caller.into(),
        1,
        MAX_OPEN.into(),
    )?;
    within(
        "max_wait",
        settings.max_wait.0,
        crate::progress::LEAST_WAIT.0,
        LONGEST_WAIT.0,
    )?;
    within(
        "max_tokens",
        settings.max_tokens.into(),
        1,
        limits::OUTPUT_TOKENS.into(),
    )?;
    within(
        "temperature_milli",
        settings.temperature_milli.into(),
        0,
        limits::TEMPERATURE_MILLI.into(),
    )
}
