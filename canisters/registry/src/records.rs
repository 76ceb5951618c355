//! What lies in stable memory, with numbered fields so that later versions can add some; and how it reads on the wire.

use crate::keys::ModelKey;
use candid::Principal;
use emc_journal::cbor;
use emc_protocol::model::{ModelFile, PublishModel, Task};
use emc_protocol::node::{Hardware, RegistryInit};
use emc_protocol::{ModelEntry, NodeStatus, Offer, Price, Role, Seconds, Timestamp, Tokens};
use minicbor::{Decode, Encode};

/// The version of the layout of stable memory.
pub const LAYOUT: u32 = 1;

/// Settings, and the layout's version.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// [`LAYOUT`] when it was written.
    #[n(0)]
    pub layout: u32,
    /// The token's ledger.
    #[cbor(n(1), with = "cbor::principal")]
    pub ledger: Principal,
    /// Who lists models.
    #[cbor(n(2), with = "cbor::principal")]
    pub governor: Principal,
    /// Least stake with which a node gets work, e8s.
    #[cbor(n(3), with = "cbor::amount")]
    pub minimum_stake: u128,
    /// How long unstaked tokens wait, seconds.
    #[n(4)]
    pub unbonding: u64,
    /// When the canister was installed, nanoseconds; salts the journal's memos.
    #[n(5)]
    pub installed: u64,
}

impl Config {
    /// The settings of a new installation.
    pub fn new(init: &RegistryInit, ledger: Principal, installer: Principal, now: u64) -> Self {
        Self {
            layout: LAYOUT,
            ledger,
            governor: init.governor.unwrap_or(installer),
            minimum_stake: init.minimum_stake.0,
            unbonding: init.unbonding.0,
            installed: now,
        }
    }
}

/// Sums and counters.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Newest number of the feed.
    #[n(0)]
    pub sequence: u64,
    /// Newest number of an unbonding.
    #[n(1)]
    pub unbondings: u64,
    /// All that ever came in, e8s.
    #[cbor(n(2), with = "cbor::amount")]
    pub deposited: u128,
    /// All that ever went out, e8s.
    #[cbor(n(3), with = "cbor::amount")]
    pub paid_out: u128,
    /// The sum of allotments, e8s.
    #[cbor(n(4), with = "cbor::amount")]
    pub allotted: u128,
    /// The sum of what unbonds, e8s.
    #[cbor(n(5), with = "cbor::amount")]
    pub unbonding: u128,
    /// The sum of what is on its way out through the ledger, e8s.
    #[cbor(n(6), with = "cbor::amount")]
    pub leaving: u128,
    /// Nodes up to this one have been announced anew after the least stake changed; `None` when there is nothing to do.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub announce_after: Option<Vec<u8>>,
}

/// A node, without what changes often or is money.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its Ed25519 key.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub public_key: [u8; 32],
    /// Who is paid and stakes.
    #[cbor(n(1), with = "cbor::principal")]
    pub owner: Principal,
    /// Codes of its roles.
    #[n(2)]
    pub roles: Vec<u8>,
    /// Where it stands.
    #[n(3)]
    pub standing: Standing,
    /// Name of its device.
    #[n(4)]
    pub device: String,
    /// How many of them.
    #[n(5)]
    pub count: u32,
    /// Memory of one, bytes.
    #[n(6)]
    pub memory: u64,
    /// Driver.
    #[n(7)]
    pub driver: String,
    /// What it serves.
    #[n(8)]
    pub offers: Vec<OfferRecord>,
    /// When it registered, nanoseconds.
    #[n(9)]
    pub registered: u64,
}

/// Where a node stands.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
#[cbor(index_only)]
pub enum Standing {
    /// Takes work.
    #[n(0)]
    Active,
    /// Takes no more.
    #[n(1)]
    Draining,
    /// Barred.
    #[n(2)]
    Jailed,
    /// All its stake was taken out.
    #[n(3)]
    Exited,
}

impl From<Standing> for NodeStatus {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Active => Self::Active,
            Standing::Draining => Self::Draining,
            Standing::Jailed => Self::Jailed,
            Standing::Exited => Self::Exited,
        }
    }
}

impl NodeRecord {
    /// Its roles, null for a code that this version does not know.
    pub fn roles(&self) -> Vec<Option<Role>> {
        let role = |code: &u8| match code {
            0 => Some(Role::Compute),
            1 => Some(Role::Validator),
            _ => None,
        };
        self.roles.iter().map(role).collect()
    }

    /// Takes other roles.
    pub fn set_roles(&mut self, roles: &[Role]) {
        let code = |role: &Role| match role {
            Role::Compute => 0,
            Role::Validator => 1,
        };
        self.roles = roles.iter().map(code).collect();
        self.roles.sort_unstable();
        self.roles.dedup();
    }

    /// The machine.
    pub fn hardware(&self) -> Hardware {
        Hardware {
            device: self.device.clone(),
            count: self.count,
            memory: self.memory,
            driver: self.driver.clone(),
        }
    }

    /// Takes another machine.
    pub fn set_hardware(&mut self, hardware: Hardware) {
        self.device = hardware.device;
        self.count = hardware.count;
        self.memory = hardware.memory;
        self.driver = hardware.driver;
    }

    /// What it serves.
    pub fn offers(&self) -> Vec<Offer> {
        self.offers.iter().map(OfferRecord::to_offer).collect()
    }

    /// About how many bytes it takes on the wire.
    pub fn weight(&self) -> usize {
        400 + self.offers.len() * 160
    }
}

/// An offer.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct OfferRecord {
    /// The model.
    #[n(0)]
    pub id: String,
    /// Its version.
    #[n(1)]
    pub version: u32,
    /// e8s per million prompt tokens.
    #[cbor(n(2), with = "cbor::amount")]
    pub prompt: u128,
    /// e8s per million output tokens.
    #[cbor(n(3), with = "cbor::amount")]
    pub output: u128,
    /// e8s per million pixel-steps.
    #[cbor(n(4), with = "cbor::amount")]
    pub pixel_steps: u128,
    /// Jobs at a time.
    #[n(5)]
    pub concurrency: u32,
    /// Longest prompt and output together, tokens.
    #[n(6)]
    pub context: u32,
}

impl OfferRecord {
    /// As it is stored.
    pub fn new(offer: Offer, version: u32) -> Self {
        Self {
            id: offer.model.id,
            version,
            prompt: offer.price.prompt.0,
            output: offer.price.output.0,
            pixel_steps: offer.price.pixel_steps.0,
            concurrency: offer.concurrency,
            context: offer.context,
        }
    }

    /// The model it is for.
    pub fn model(&self) -> ModelKey {
        ModelKey {
            id: self.id.clone(),
            version: self.version,
        }
    }

    fn to_offer(&self) -> Offer {
        Offer {
            model: self.model().to_ref(),
            price: Price {
                prompt: Tokens(self.prompt),
                output: Tokens(self.output),
                pixel_steps: Tokens(self.pixel_steps),
            },
            concurrency: self.concurrency,
            context: self.context,
        }
    }
}

/// Stake on its way out.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct UnbondingRecord {
    /// The escrow it was allotted to.
    #[cbor(n(0), with = "cbor::principal")]
    pub escrow: Principal,
    /// How much waits here, e8s; nothing while the ledger is asked to pay it out.
    #[cbor(n(1), with = "cbor::amount")]
    pub amount: u128,
    /// When it can be withdrawn, nanoseconds.
    #[n(2)]
    pub ready: u64,
    /// The journal's entry that pays it out.
    #[n(3)]
    pub entry: Option<u64>,
}

/// A model version.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct ModelRecord {
    /// Code of its task.
    #[n(0)]
    pub task: u8,
    /// For people.
    #[n(1)]
    pub name: String,
    /// For people.
    #[n(2)]
    pub description: String,
    /// Root of its files.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub root: [u8; 32],
    /// Its files.
    #[n(4)]
    pub files: Vec<FileRecord>,
    /// Licence.
    #[n(5)]
    pub licence: String,
    /// Where the files can be had.
    #[n(6)]
    pub sources: Vec<String>,
    /// Longest context, tokens.
    #[n(7)]
    pub context: u32,
    /// Memory a node needs, bytes.
    #[n(8)]
    pub memory: u64,
    /// Who published it.
    #[cbor(n(9), with = "cbor::principal")]
    pub author: Principal,
    /// When, nanoseconds.
    #[n(10)]
    pub published: u64,
    /// Listed by the governor.
    #[n(11)]
    pub listed: bool,
    /// Withdrawn.
    #[n(12)]
    pub retired: bool,
}

/// A file of a model.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Path.
    #[n(0)]
    pub path: String,
    /// Length, bytes.
    #[n(1)]
    pub length: u64,
    /// SHA-256.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub sha256: Vec<u8>,
}

impl ModelRecord {
    /// A new version, as published.
    pub fn new(model: PublishModel, author: Principal, now: u64) -> Self {
        let root = emc_protocol::model::model_root(&model.files);
        let file = |file: ModelFile| FileRecord {
            path: file.path,
            length: file.length,
            sha256: file.sha256,
        };
        Self {
            task: match model.task {
                Task::Chat => 0,
                Task::Image => 1,
                Task::Embedding => 2,
            },
            name: model.name,
            description: model.description,
            root,
            files: model.files.into_iter().map(file).collect(),
            licence: model.licence,
            sources: model.sources,
            context: model.context,
            memory: model.memory,
            author,
            published: now,
            listed: false,
            retired: false,
        }
    }

    /// What it does.
    pub fn task(&self) -> Option<Task> {
        match self.task {
            0 => Some(Task::Chat),
            1 => Some(Task::Image),
            2 => Some(Task::Embedding),
            _ => None,
        }
    }

    /// As the interface shows it.
    pub fn entry(self, key: ModelKey) -> ModelEntry {
        let task = self.task();
        let file = |file: FileRecord| ModelFile {
            path: file.path,
            length: file.length,
            sha256: file.sha256,
        };
        ModelEntry {
            id: key.id,
            version: key.version,
            task,
            name: self.name,
            description: self.description,
            root: self.root.to_vec(),
            files: self.files.into_iter().map(file).collect(),
            licence: self.licence,
            sources: self.sources,
            context: self.context,
            memory: self.memory,
            author: self.author,
            published: Timestamp(self.published),
            listed: self.listed,
            retired: self.retired,
            terms: None,
        }
    }

    /// About how many bytes it takes on the wire.
    pub fn weight(&self) -> usize {
        let files: usize = self.files.iter().map(|f| f.path.len() + 48).sum();
        let sources: usize = self.sources.iter().map(|s| s.len() + 4).sum();
        400 + self.name.len() + self.description.len() + self.licence.len() + files + sources
    }
}

/// How much an author has published.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorRecord {
    /// Versions in all.
    #[n(0)]
    pub versions: u64,
    /// The day of the newest, since 1970.
    #[n(1)]
    pub day: u64,
    /// Versions on that day.
    #[n(2)]
    pub today: u64,
}

emc_journal::storable_record!(
    Config,
    Totals,
    NodeRecord,
    UnbondingRecord,
    ModelRecord,
    AuthorRecord
);

/// The unbonding time as the interface has it.
pub fn seconds(config: &Config) -> Seconds {
    Seconds(config.unbonding)
}
