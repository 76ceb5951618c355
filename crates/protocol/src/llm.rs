//! The LLM adapter's own part of its interface: how it is installed and set. Its chat methods have the interface of
//! DFINITY's LLM canister.

use crate::{ModelRef, Seconds, Tokens};
use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};

/// What a model's name in a chat request stands for.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct LlmModel {
    /// The name that dapps send, `llama3.1:8b` for example.
    pub name: String,
    /// The model of the catalogue that answers.
    pub model: ModelRef,
    /// The most that one request may lock; twice the cheapest node's price where absent.
    pub max_price: Option<Tokens>,
}

/// What holds for every request.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct LlmSettings {
    /// Most requests that may wait for their answers at once.
    pub max_open: u32,
    /// Most of them from one caller.
    pub max_open_per_caller: u32,
    /// How long a request may wait for its answer; its job is cancelled then.
    pub max_wait: Seconds,
    /// Most output tokens of an answer.
    pub max_tokens: u32,
    /// Temperature in thousandths; 0 is greedy.
    pub temperature_milli: u32,
}

impl Default for LlmSettings {
    fn default() -> Self {
        Self {
            max_open: 100,
            max_open_per_caller: 20,
            // The crate `ic-llm` gives up after 300 seconds.
            max_wait: Seconds(240),
            max_tokens: 1_000,
            temperature_milli: 700,
        }
    }
}

/// How the adapter is installed.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct LlmInit {
    /// The escrow that takes the jobs; the environment variable `PUBLIC_CANISTER_ID:escrow` where absent.
    pub escrow: Option<Principal>,
    /// Who may change models and settings; whoever installs where absent.
    pub governor: Option<Principal>,
    /// What names stand for.
    pub models: Vec<LlmModel>,
    /// Settings; the defaults where absent.
    pub settings: Option<LlmSettings>,
}

/// What is to change; absent fields stay.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct LlmChange {
    /// All names, and what they stand for from now on.
    pub models: Option<Vec<LlmModel>>,
    /// New settings.
    pub settings: Option<LlmSettings>,
}

/// What an upgrade of the adapter may change; absent fields stay.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct LlmUpgrade {
    /// A new governor.
    pub governor: Option<Principal>,
    /// All names, and what they stand for from now on.
    pub models: Option<Vec<LlmModel>>,
    /// New settings.
    pub settings: Option<LlmSettings>,
}

/// The adapter's install and upgrade argument.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum LlmArgs {
    /// For install and reinstall.
    Init(LlmInit),
    /// For upgrade.
    Upgrade(LlmUpgrade),
}

/// The adapter's settings and state, for anyone.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct LlmInfo {
    /// Its version.
    pub version: String,
    /// The escrow whose accounts pay.
    pub escrow: Principal,
    /// Who may change models and settings.
    pub governor: Principal,
    /// What names stand for.
    pub models: Vec<LlmModel>,
    /// The settings.
    pub settings: LlmSettings,
    /// Requests that wait for their answers now.
    pub open: u32,
}
