//! The settings of the ledger: what `init` sets and an upgrade may change.
//!
//! Both are given as one Candid variant, so that the wrong one is refused instead of being read as something else.
//! Stored as Candid: a field added later must be optional, so that what an older version wrote can be read.

use crate::{
    rate_limit::{DEFAULT_TOTAL, RateLimit},
    tokens::Tokens,
};
use candid::{CandidType, Deserialize, Principal};
use ic_stable_structures::{Storable, storable::Bound};
use icrc_ledger_types::icrc1::account::Account;
use std::borrow::Cow;

/// No cap is larger: a balance is stored in 64 bits, and what was ever minted is counted in 128.
const MAX_CAP: Tokens = Tokens(u64::MAX as u128);
/// One EMC is 10^8 of the smallest unit.
pub const DECIMALS: u8 = 8;
/// The cap on supply where none is given: 1,000,000,000 EMC.
pub const DEFAULT_MAX_SUPPLY: Tokens = Tokens(100_000_000_000_000_000);
/// The shortest limit on memos that ICRC-1 allows.
pub const MIN_MEMO_LIMIT: u16 = 32;
const DEFAULT_MEMO_LIMIT: u16 = 64;
/// Longer memos would make blocks dear for everyone who reads them.
const MAX_MEMO_LIMIT: u16 = 1_024;
const MAX_NAME: usize = 64;
const MAX_LOGO: usize = 64 * 1024;
const MAX_EXEMPT: usize = 100;

/// What `init` and an upgrade take.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub enum LedgerArgs {
    /// For a new ledger.
    Init(Box<InitArgs>),
    /// For an upgrade; null changes nothing.
    Upgrade(Option<Box<UpgradeArgs>>),
}

/// An initial balance of a canister whose id is not known when the arguments are written.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct DeploymentBalance {
    /// Its name: the environment variable `PUBLIC_CANISTER_ID:<name>` holds its id.
    pub canister: String,
    /// Its subaccount, 32 bytes.
    pub subaccount: Option<serde_bytes::ByteBuf>,
    /// How much.
    pub amount: Tokens,
}

impl InitArgs {
    /// Turns the balances of canisters that are given by name into initial balances; `find` looks up a name.
    ///
    /// # Errors
    /// Where a canister is not found or a subaccount has not 32 bytes.
    pub fn resolve(&mut self, find: impl Fn(&str) -> Option<Principal>) -> Result<(), ConfigError> {
        for balance in self.deployment_balances.take().unwrap_or_default() {
            let name = balance.canister;
            let subaccount = balance.subaccount.map(|bytes| bytes.into_vec().try_into());
            let Ok(subaccount) = subaccount.transpose() else {
                return Err(ConfigError::BadSubaccount(name));
            };
            let Some(owner) = find(&name) else {
                return Err(ConfigError::UnknownCanister(name));
            };
            let to = Account { owner, subaccount };
            self.initial_balances.push((to, balance.amount));
        }
        Ok(())
    }
}

/// The settings of a new ledger; what is left out takes its default.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct InitArgs {
    /// Transfers from it mint, transfers to it burn; it never holds a balance. Whoever installs where absent.
    pub minting_account: Option<Account>,
    /// Minted in this order, one block each.
    pub initial_balances: Vec<(Account, Tokens)>,
    /// Minted after those, to other canisters of this deployment.
    pub deployment_balances: Option<Vec<DeploymentBalance>>,
    /// The supply that minting can never pass; 1,000,000,000 EMC by default.
    pub max_supply: Option<Tokens>,
    /// What a transfer or an approval costs; 0 by default. Fees are burned.
    pub transfer_fee: Option<Tokens>,
    /// "EMC" by default.
    pub token_name: Option<String>,
    /// "EMC" by default.
    pub token_symbol: Option<String>,
    /// A data URL with a picture.
    pub logo: Option<String>,
    /// The longest memo in bytes: 64 by default, at least 32.
    pub max_memo_length: Option<u16>,
    /// How often one caller may write.
    pub rate_limit: Option<RateLimit>,
    /// Who is not limited: the escrow and the registry.
    pub exempt_principals: Option<Vec<Principal>>,
    /// The index canister, which lists the transactions of an account.
    pub index_principal: Option<Principal>,
    /// How many blocks all callers together may make; it bounds what storage grows by.
    pub total_rate_limit: Option<RateLimit>,
}

/// The settings that an upgrade changes; what is left out stays as it is.
#[derive(CandidType, Deserialize, Clone, Debug, Default)]
pub struct UpgradeArgs {
    /// The new minting account; refused while it holds a balance.
    pub minting_account: Option<Account>,
    /// A lower cap, not under the present supply. The cap never rises.
    pub max_supply: Option<Tokens>,
    /// The new fee.
    pub transfer_fee: Option<Tokens>,
    /// The new name.
    pub token_name: Option<String>,
    /// The new symbol.
    pub token_symbol: Option<String>,
    /// The new logo; an empty text takes it away.
    pub logo: Option<String>,
    /// The new limit on memos.
    pub max_memo_length: Option<u16>,
    /// The new limit per caller.
    pub rate_limit: Option<RateLimit>,
    /// The new list of those who are not limited, in place of the old one.
    pub exempt_principals: Option<Vec<Principal>>,
    /// The new index canister; the management canister, which is none, takes it away.
    pub index_principal: Option<Principal>,
    /// The new limit on the blocks of all callers.
    pub total_rate_limit: Option<RateLimit>,
}

/// The settings as they are stored.
#[derive(CandidType, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// See [`InitArgs::minting_account`].
    pub minting_account: Account,
    /// See [`InitArgs::max_supply`].
    pub max_supply: Tokens,
    /// See [`InitArgs::transfer_fee`].
    pub transfer_fee: Tokens,
    /// See [`InitArgs::token_name`].
    pub token_name: String,
    /// See [`InitArgs::token_symbol`].
    pub token_symbol: String,
    /// See [`InitArgs::logo`].
    pub logo: Option<String>,
    /// See [`InitArgs::max_memo_length`].
    pub max_memo_length: u16,
    /// See [`InitArgs::rate_limit`].
    pub rate_limit: RateLimit,
    /// See [`InitArgs::exempt_principals`].
    pub exempt_principals: Vec<Principal>,
    /// See [`InitArgs::index_principal`].
    pub index_principal: Option<Principal>,
    /// See [`InitArgs::total_rate_limit`] and [`Config::total_rate_limit`].
    pub total_rate_limit: Option<RateLimit>,
}

/// Why settings are refused.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// `Upgrade` was given to a new ledger.
    #[error("a new ledger takes `variant {{ Init = record {{ ... }} }}`, not `Upgrade`")]
    InitExpected,
    /// `Init` was given to an upgrade.
    #[error(
        "an upgrade takes `variant {{ Upgrade = opt record {{ ... }} }}` or nothing, not `Init`: the ledger has balances already"
    )]
    UpgradeExpected,
    /// The name or the symbol is empty or too long.
    #[error("the token's {0} must have 1 to {MAX_NAME} bytes")]
    BadText(&'static str),
    /// The logo is too large or no data URL.
    #[error("the logo must be a data URL (`data:image/...`) of at most {MAX_LOGO} bytes")]
    BadLogo,
    /// The limit on memos is out of bounds.
    #[error("max_memo_length must be {MIN_MEMO_LIMIT} to {MAX_MEMO_LIMIT}")]
    BadMemoLimit,
    /// More exempt principals than are looked through at every call.
    #[error("at most {MAX_EXEMPT} principals can be exempt from the limit per caller")]
    TooManyExempt,
    /// The cap is larger than can be counted.
    #[error("max_supply can be at most {MAX_CAP}")]
    CapTooLarge,
    /// The cap would rise.
    #[error("max_supply is {now} and can only be lowered")]
    CapRaised {
        /// The present cap.
        now: Tokens,
    },
    /// The cap would lie under the supply.
    #[error("max_supply cannot be under the present supply of {supply}")]
    CapBelowSupply {
        /// The present supply.
        supply: Tokens,
    },
    /// The initial balances pass the cap.
    #[error("the initial balances pass max_supply, which is {0}")]
    InitialBalancesPassCap(Tokens),
    /// The minting account cannot hold a balance.
    #[error("the minting account cannot hold a balance: it has {0}; choose an account without one")]
    MinterHasBalance(Tokens),
    /// A balance for a canister of this deployment that the environment does not name.
    #[error(
        "deployment_balances: the environment variable PUBLIC_CANISTER_ID:{0} is missing; set it, or put the account into initial_balances"
    )]
    UnknownCanister(String),
    /// A subaccount of another length.
    #[error("deployment_balances: the subaccount of {0} must have 32 bytes")]
    BadSubaccount(String),
    /// An initial balance for the minting account.
    #[error("the minting account cannot have an initial balance")]
    InitialBalanceOfMinter,
    /// The stored layout is none that this code knows.
    #[error(
        "stable memory has layout {found}, this code knows up to {known}; install a newer version of the ledger"
    )]
    UnknownLayout {
        /// What was found.
        found: u16,
        /// The newest that is known.
        known: u16,
    },
}

impl Config {
    /// The settings of a new ledger, checked.
    pub fn new(args: &InitArgs, installer: Principal) -> Result<Self, ConfigError> {
        let minting_account = args.minting_account.unwrap_or(installer.into());
        let default = Self::with_defaults(minting_account);
        let max_supply = args.max_supply.unwrap_or(default.max_supply);
        // Everything but the cap, which an upgrade can only lower, is set as an upgrade would set it.
        Self {
            max_supply,
            ..default
        }
        .changed(UpgradeArgs {
            minting_account: None,
            max_supply: None,
            transfer_fee: args.transfer_fee,
            token_name: args.token_name.clone(),
            token_symbol: args.token_symbol.clone(),
            logo: args.logo.clone(),
            max_memo_length: args.max_memo_length,
            rate_limit: args.rate_limit,
            exempt_principals: args.exempt_principals.clone(),
            index_principal: args.index_principal,
            total_rate_limit: args.total_rate_limit,
        })
    }

    /// The settings where nothing but the minting account is given.
    pub fn with_defaults(minting_account: Account) -> Self {
        Self {
            minting_account,
            max_supply: DEFAULT_MAX_SUPPLY,
            transfer_fee: Tokens::ZERO,
            token_name: "EMC".to_string(),
            token_symbol: "EMC".to_string(),
            logo: None,
            max_memo_length: DEFAULT_MEMO_LIMIT,
            rate_limit: RateLimit::default(),
            exempt_principals: vec![],
            index_principal: None,
            total_rate_limit: None,
        }
    }

    /// How many blocks all callers together may make.
    pub fn total_rate_limit(&self) -> RateLimit {
        self.total_rate_limit.unwrap_or(DEFAULT_TOTAL)
    }

    /// The settings after an upgrade, checked; whether supply and balances allow them is the caller's to check.
    pub fn changed(&self, args: UpgradeArgs) -> Result<Self, ConfigError> {
        if args.max_supply.is_some_and(|cap| cap > self.max_supply) {
            return Err(ConfigError::CapRaised {
                now: self.max_supply,
            });
        }
        // Taken apart in full, so that a new setting cannot be forgotten here.
        let UpgradeArgs {
            minting_account,
            max_supply,
            transfer_fee,
            token_name,
            token_symbol,
            logo,
            max_memo_length,
            rate_limit,
            exempt_principals,
            index_principal,
            total_rate_limit,
        } = args;
        let old = self.clone();
        Self {
            minting_account: minting_account.unwrap_or(old.minting_account),
            max_supply: max_supply.unwrap_or(old.max_supply),
            transfer_fee: transfer_fee.unwrap_or(old.transfer_fee),
            token_name: token_name.unwrap_or(old.token_name),
            token_symbol: token_symbol.unwrap_or(old.token_symbol),
            logo: logo.or(old.logo).filter(|logo| !logo.is_empty()),
            max_memo_length: max_memo_length.unwrap_or(old.max_memo_length),
            rate_limit: rate_limit.unwrap_or(old.rate_limit),
            exempt_principals: exempt_principals.unwrap_or(old.exempt_principals),
            index_principal: index_principal
                .or(old.index_principal)
                .filter(|index| *index != Principal::management_canister()),
            total_rate_limit: total_rate_limit.or(old.total_rate_limit),
        }
        .checked()
    }

    fn checked(self) -> Result<Self, ConfigError> {
        if self.max_supply > MAX_CAP {
            return Err(ConfigError::CapTooLarge);
        }
        for (what, text) in [("name", &self.token_name), ("symbol", &self.token_symbol)] {
            if text.is_empty() || text.len() > MAX_NAME {
                return Err(ConfigError::BadText(what));
            }
        }
        let bad_logo = |logo: &String| logo.len() > MAX_LOGO || !logo.starts_with("data:image/");
        if self.logo.as_ref().is_some_and(bad_logo) {
            return Err(ConfigError::BadLogo);
        }
        if !(MIN_MEMO_LIMIT..=MAX_MEMO_LIMIT).contains(&self.max_memo_length) {
            return Err(ConfigError::BadMemoLimit);
        }
        if self.exempt_principals.len() > MAX_EXEMPT {
            return Err(ConfigError::TooManyExempt);
        }
        Ok(self)
    }
}

impl Storable for Config {
    const BOUND: Bound = Bound::Unbounded;

    fn to_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Owned(candid::encode_one(self).expect("settings are plain data, which always encodes"))
    }

    fn into_bytes(self) -> Vec<u8> {
        self.to_bytes().into_owned()
    }

    fn from_bytes(bytes: Cow<[u8]>) -> Self {
        candid::decode_one(&bytes)
            .expect("the stored settings were written by this code or an older version")
    }
}
