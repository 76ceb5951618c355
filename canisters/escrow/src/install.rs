//! Installation and upgrade: what the argument may be, and how settings are checked.

use crate::mining_round;
use crate::parameters;
use crate::records::*;
use crate::state::State;
use candid::Principal;
use emc_protocol::audit::AuditSettings;
use emc_protocol::escrow::{EscrowArgs, EscrowInit, Settings};
use emc_protocol::image::ImageSettings;
use emc_protocol::mining::MiningSettings;
use emc_protocol::parameters::EscrowParameters;
use emc_protocol::{Seconds, Timestamp, Tokens};

/// Why an argument is not accepted; the message of the failed installation.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArgumentError {
    /// An upgrade's argument at an installation.
    #[error("an installation needs (variant {{ Init = record {{ }} }})")]
    NeedsInit,
    /// An installation's argument at an upgrade.
    #[error(
        "an upgrade needs (variant {{ Upgrade = record {{ }} }}); Init would be for an installation"
    )]
    NeedsUpgrade,
    /// A canister's id is neither in the argument nor in the environment.
    #[error(
        "{0} is missing: name it in the argument, or set the environment variable PUBLIC_CANISTER_ID:{0}"
    )]
    NoCanister(&'static str),
    /// A setting is out of range.
    #[error("settings.{field} must be {expected}")]
    Setting {
        /// Which.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

/// The configuration of a new installation. `find` looks a canister's id up in the environment, by its name.
///
/// # Errors
/// The argument is not for an installation, a canister is not named anywhere, or a setting is out of range.
pub fn configure(
    args: EscrowArgs,
    find: impl Fn(&str) -> Option<Principal>,
    installer: Principal,
    escrow: Principal,
    now: Timestamp,
) -> Result<Config, ArgumentError> {
    let EscrowArgs::Init(EscrowInit {
        ledger,
        registry,
        governor,
        treasury,
        settings,
        delay,
    }) = args
    else {
        return Err(ArgumentError::NeedsInit);
    };
    let settings = settings.unwrap_or_default();
    check_parameters(&EscrowParameters {
        settings: Some(settings.clone()),
        delay,
    })?;
    let canister = |given: Option<Principal>, name: &'static str| {
        given
            .or_else(|| find(name))
            .ok_or(ArgumentError::NoCanister(name))
    };
    Ok(Config {
        escrow,
        ledger: canister(ledger, "ledger")?,
        registry: canister(registry, "registry")?,
        governor: governor.unwrap_or(installer),
        treasury: treasury.unwrap_or(installer),
        settings: (&settings).into(),
        nonce: crate::secret::nonce(escrow, now),
        secret: None,
        delay: delay.map(|delay| delay.0),
        pending: None,
    })
}

/// Applies an upgrade's argument.
///
/// # Errors
/// The argument is not for an upgrade, or a setting is out of range.
pub fn upgrade(
    state: &mut State,
    now: Timestamp,
    by: Principal,
    args: Option<EscrowArgs>,
) -> Result<(), ArgumentError> {
    let change = match args {
        None => return Ok(()),
        Some(EscrowArgs::Init(_)) => return Err(ArgumentError::NeedsUpgrade),
        Some(EscrowArgs::Upgrade(change)) => change,
    };
    let parameters = EscrowParameters {
        settings: change.settings,
        delay: change.delay,
    };
    parameters::upgrade(state, now, by, &parameters)?;
    state.configure(|config| {
        config.governor = change.governor.unwrap_or(config.governor);
        config.treasury = change.treasury.unwrap_or(config.treasury);
    });
    Ok(())
}

/// Checks parameters against their bounds.
///
/// # Errors
/// Which is out of range.
pub fn check_parameters(change: &EscrowParameters) -> Result<(), ArgumentError> {
    if change
        .delay
        .is_some_and(|delay| delay > parameters::LONGEST)
    {
        return Err(ArgumentError::Setting {
            field: "delay",
            expected: "at most a year",
        });
    }
    change.settings.as_ref().map_or(Ok(()), check)
}

fn check_audit(audit: &AuditSettings, treasury_share: u16) -> Result<(), ArgumentError> {
    let wrong = |field, expected| Err(ArgumentError::Setting { field, expected });
    let most = Tokens(u64::MAX.into());
    let shares = [
        audit.sample_rate,
        audit.second_look,
        audit.detection,
        audit.royalty_cap,
    ];
    if shares.iter().any(|share| *share > 10_000) {
        return wrong("audit", "rates and shares of at most 10000 basis points");
    }
    if u32::from(audit.royalty_cap) + u32::from(treasury_share) > 10_000 {
        return wrong("audit.royalty_cap", "at most what treasury_share leaves");
    }
    if audit.sample_rate == 0 || audit.detection == 0 {
        return wrong(
            "audit.sample_rate and audit.detection",
            "above zero: no bond is large enough otherwise",
        );
    }
    if [audit.commit_window, audit.reveal_window]
        .iter()
        .any(|window| !(Seconds(1)..=Seconds(24 * 3600)).contains(window))
    {
        return wrong(
            "audit.commit_window and audit.reveal_window",
            "between a second and a day",
        );
    }
    if audit.least_owners == 0 {
        return wrong("audit.least_owners", "at least 1");
    }
    let amounts = [
        audit.vote_price,
        audit.vote_minimum,
        audit.validator_bond,
        audit.least_bond,
    ];
    if amounts.iter().any(|amount| *amount > most) {
        return wrong("audit", "amounts that can exist");
    }
    Ok(())
}

fn check_mining(mining: &MiningSettings) -> Result<(), ArgumentError> {
    let wrong = |field, expected| Err(ArgumentError::Setting { field, expected });
    if mining.rounds_per_day > 144 {
        return wrong("mining.rounds_per_day", "at most 144");
    }
    let longest = mining_round::longest_window(mining.rounds_per_day);
    if !(Seconds(10)..=longest).contains(&mining.window) {
        return wrong(
            "mining.window",
            "between 10 seconds and a quarter of a day's part for one round",
        );
    }
    if !(16..=4_096).contains(&mining.probe_tokens) {
        return wrong("mining.probe_tokens", "between 16 and 4096");
    }
    if !(1..=100_000).contains(&mining.probes_per_round) {
        return wrong("mining.probes_per_round", "between 1 and 100000");
    }
    if mining.canary_share > 10_000 {
        return wrong("mining.canary_share", "at most 10000 basis points");
    }
    Ok(())
}

fn check_images(images: &ImageSettings) -> Result<(), ArgumentError> {
    let wrong = |field, expected| Err(ArgumentError::Setting { field, expected });
    if images.lease_per_million > Seconds(3_600) {
        return wrong("images.lease_per_million", "at most an hour");
    }
    if images.vote_price > Tokens(u64::MAX.into()) {
        return wrong("images.vote_price", "an amount that can exist");
    }
    Ok(())
}

fn check(settings: &Settings) -> Result<(), ArgumentError> {
    let day = Seconds(24 * 3600);
    let wrong = |field, expected| Err(ArgumentError::Setting { field, expected });
    if settings.treasury_share > 10_000 {
        return wrong("treasury_share", "at most 10000 basis points");
    }
    if !(Seconds(5)..=day).contains(&settings.lease_base) {
        return wrong("lease_base", "between 5 seconds and a day");
    }
    if settings.lease_per_1000_tokens > day {
        return wrong("lease_per_1000_tokens", "at most a day");
    }
    if !(1..=16).contains(&settings.max_attempts) {
        return wrong("max_attempts", "between 1 and 16");
    }
    if !(Seconds(60)..=Seconds(3_650 * day.0)).contains(&settings.retention) {
        return wrong("retention", "between a minute and ten years");
    }
    if !(1..=100_000).contains(&settings.max_open_jobs) {
        return wrong("max_open_jobs", "between 1 and 100000");
    }
    let most = Tokens(u64::MAX.into());
    if settings.lapse_fee > most || settings.minimum_transfer > most {
        return wrong("lapse_fee and minimum_transfer", "amounts that can exist");
    }
    check_mining(&settings.mining.clone().unwrap_or_default())?;
    check_images(&settings.images.clone().unwrap_or_default())?;
    check_audit(
        &settings.audit.clone().unwrap_or_default(),
        settings.treasury_share,
    )
}
