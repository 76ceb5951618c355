//! All that the ledger keeps, and the only place that names stable memory.
//!
//! ```text
//! id  structure                what
//!  0  cell    Header           layout version, hash of the tip, tokens ever minted and burned
//!  1  cell    Config           settings
//!  2  B-tree  account          -> balance, in 8 bytes: the cap on supply fits them
//!  3  B-tree  account, spender -> allowance and when it ends
//!  4  B-tree  end, account, spender -> ()              allowances by when they end, for pruning
//!  5  B-tree  created_at_time, transaction hash -> block   the deduplication window, oldest first
//!  6  log     where each block begins
//!  7  log     the blocks
//! ```
//!
//! Keys have fixed widths. Everything is written through at once, so an upgrade has nothing to save. Lost on upgrade,
//! by intent: the callers' buckets, the hints below and the events shown at `/logs`.

use crate::{
    account::AccountKey,
    allowance::StoredAllowance,
    block_hash::Hash,
    blocks::{Block, BlockIndex},
    config::{Config, ConfigError, UpgradeArgs},
    events::Events,
    rate_limit::RateLimiter,
    tokens::Tokens,
};
use candid::Principal;
use ic_stable_structures::{
    BTreeMap, Cell, DefaultMemoryImpl, Log, Memory as _, Storable,
    memory_manager::{MemoryId, MemoryManager, VirtualMemory},
    storable::Bound,
};
use icrc_ledger_types::icrc1::account::Account;
use std::borrow::Cow;

/// The layout that this code writes. A change of layout takes the next number and a migration in [`Ledger::open`].
pub const LAYOUT: u16 = 1;

const HEADER: MemoryId = MemoryId::new(0);
const CONFIG: MemoryId = MemoryId::new(1);
const BALANCES: MemoryId = MemoryId::new(2);
const ALLOWANCES: MemoryId = MemoryId::new(3);
const EXPIRATIONS: MemoryId = MemoryId::new(4);
const RECENT: MemoryId = MemoryId::new(5);
const BLOCK_INDEX: MemoryId = MemoryId::new(6);
const BLOCK_DATA: MemoryId = MemoryId::new(7);

/// What grows with use.
const GROWING: [(&str, MemoryId); 6] = [
    ("balances", BALANCES),
    ("allowances", ALLOWANCES),
    ("expirations", EXPIRATIONS),
    ("recent", RECENT),
    ("block_index", BLOCK_INDEX),
    ("block_data", BLOCK_DATA),
];

/// The bytes that each growing structure of a ledger in this memory takes, in whole pages of 64 KiB.
pub fn sizes(memory: DefaultMemoryImpl) -> Vec<(&'static str, u64)> {
    let memory = MemoryManager::init(memory);
    let size = |(name, id)| (name, memory.get(id).size() * 65_536);
    GROWING.map(size).to_vec()
}

type Memory = VirtualMemory<DefaultMemoryImpl>;

/// The key of an allowance: the account and the spender.
pub type PairKey = [u8; 2 * AccountKey::WIDTH];
/// The key of an allowance's end: the time (big-endian, so that the earliest comes first) and the pair.
pub type ExpirationKey = [u8; 8 + 2 * AccountKey::WIDTH];
/// The key of a recent transaction: its `created_at_time` (big-endian) and its hash.
pub type RecentKey = [u8; 8 + 32];

/// The ledger.
pub struct Ledger {
    pub(crate) header: Cell<Header, Memory>,
    pub(crate) config: Cell<Config, Memory>,
    pub(crate) balances: BTreeMap<AccountKey, u64, Memory>,
    pub(crate) allowances: BTreeMap<PairKey, StoredAllowance, Memory>,
    pub(crate) expirations: BTreeMap<ExpirationKey, (), Memory>,
    pub(crate) recent: BTreeMap<RecentKey, BlockIndex, Memory>,
    pub(crate) blocks: Log<Block, Memory, Memory>,
    pub(crate) limiter: RateLimiter,
    pub(crate) hints: Hints,
    pub(crate) events: Events,
}

/// Where pruning would begin, so that most calls need not look. A hint is never later than the truth.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints {
    /// No remembered transaction was created before this.
    pub oldest_recent: u64,
    /// No allowance ends before this.
    pub next_expiration: u64,
}

/// The few numbers that change with every block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version of everything in stable memory.
    pub layout: u16,
    /// The hash of the last block; zeros before the first.
    pub tip: Hash,
    /// All tokens ever minted.
    pub minted: Tokens,
    /// All tokens ever burned, fees included.
    pub burned: Tokens,
}

impl Header {
    const EMPTY: Self = Self {
        layout: LAYOUT,
        tip: [0; 32],
        minted: Tokens::ZERO,
        burned: Tokens::ZERO,
    };

    /// The tokens that exist.
    pub fn supply(&self) -> Tokens {
        self.minted
            .checked_sub(self.burned)
            .expect("only what was minted can be burned")
    }
}

impl Ledger {
    /// A new ledger in empty memory, with nothing in it.
    pub fn create(memory: DefaultMemoryImpl, config: Config) -> Self {
        let memory = MemoryManager::init(memory);
        Self {
            header: Cell::new(memory.get(HEADER), Header::EMPTY),
            config: Cell::new(memory.get(CONFIG), config),
            balances: BTreeMap::new(memory.get(BALANCES)),
            allowances: BTreeMap::new(memory.get(ALLOWANCES)),
            expirations: BTreeMap::new(memory.get(EXPIRATIONS)),
            recent: BTreeMap::new(memory.get(RECENT)),
            blocks: Log::new(memory.get(BLOCK_INDEX), memory.get(BLOCK_DATA)),
            limiter: RateLimiter::default(),
            hints: Hints::default(),
            events: Events::default(),
        }
    }

    /// The ledger that memory holds. Nothing is scanned, so the cost does not grow with what is stored.
    ///
    /// # Errors
    /// Where memory was written by a layout that this code does not know.
    ///
    /// # Panics
    /// Where memory holds no ledger at all.
    pub fn open(memory: DefaultMemoryImpl) -> Result<Self, ConfigError> {
        let memory = MemoryManager::init(memory);
        // The header comes first: nothing else is looked at before its layout is known.
        let header: Cell<Header, Memory> = Cell::init(
            memory.get(HEADER),
            Header {
                layout: 0,
                ..Header::EMPTY
            },
        );
        let found = header.get().layout;
        if found != LAYOUT {
            return Err(ConfigError::UnknownLayout {
                found,
                known: LAYOUT,
            });
        }
        Ok(Self {
            header,
            config: Cell::init(
                memory.get(CONFIG),
                Config::with_defaults(Principal::management_canister().into()),
            ),
            balances: BTreeMap::init(memory.get(BALANCES)),
            allowances: BTreeMap::init(memory.get(ALLOWANCES)),
            expirations: BTreeMap::init(memory.get(EXPIRATIONS)),
            recent: BTreeMap::init(memory.get(RECENT)),
            blocks: Log::init(memory.get(BLOCK_INDEX), memory.get(BLOCK_DATA)),
            limiter: RateLimiter::default(),
            hints: Hints::default(),
            events: Events::default(),
        })
    }

    /// Changes settings, as an upgrade asks.
    ///
    /// # Errors
    /// Where a setting is out of its bounds, or contradicts what the ledger holds; nothing is changed then.
    pub fn reconfigure(&mut self, args: UpgradeArgs) -> Result<(), ConfigError> {
        let config = self.config.get().changed(args)?;
        let supply = self.supply();
        if config.max_supply < supply {
            return Err(ConfigError::CapBelowSupply { supply });
        }
        let held = self.balance(&config.minting_account);
        if !held.is_zero() {
            return Err(ConfigError::MinterHasBalance(held));
        }
        self.config.set(config);
        Ok(())
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        self.config.get()
    }

    /// What an account holds.
    pub fn balance(&self, account: &Account) -> Tokens {
        let held = self.balances.get(&account.into());
        held.map_or(Tokens::ZERO, |held| Tokens(held.into()))
    }

    /// The tokens that exist.
    pub fn supply(&self) -> Tokens {
        self.header.get().supply()
    }

    /// How many blocks there are.
    pub fn log_length(&self) -> u64 {
        self.blocks.len()
    }

    /// The index and the hash of the last block.
    pub fn tip(&self) -> Option<(BlockIndex, Hash)> {
        let last = self.blocks.len().checked_sub(1)?;
        Some((last, self.header.get().tip))
    }

    /// What happened of late, for whoever runs the ledger.
    pub fn events(&mut self) -> &mut Events {
        &mut self.events
    }
}

impl Storable for Header {
    const BOUND: Bound = Bound::Unbounded;

    fn to_bytes(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(66);
        bytes.extend_from_slice(&self.layout.to_le_bytes());
        bytes.extend_from_slice(&self.tip);
        bytes.extend_from_slice(&self.minted.0.to_le_bytes());
        bytes.extend_from_slice(&self.burned.0.to_le_bytes());
        Cow::Owned(bytes)
    }

    fn into_bytes(self) -> Vec<u8> {
        self.to_bytes().into_owned()
    }

    /// Reads the layout of any version, the rest only of this one, so that a newer header can be recognised.
    fn from_bytes(bytes: Cow<[u8]>) -> Self {
        fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
            bytes
                .get(at..at + N)
                .and_then(|part| part.try_into().ok())
                .unwrap_or([0; N])
        }
        Self {
            layout: u16::from_le_bytes(part(&bytes, 0)),
            tip: part(&bytes, 2),
            minted: Tokens(u128::from_le_bytes(part(&bytes, 34))),
            burned: Tokens(u128::from_le_bytes(part(&bytes, 50))),
        }
    }
}
