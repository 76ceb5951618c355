//! Who takes part in a simulated market, and how they behave.

use candid::Principal;
use ed25519_dalek::SigningKey;
use emc_protocol::Timestamp;
use emc_protocol::receipt::node_principal;

/// What a worker does with its jobs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerHabit {
    /// Of how many of its jobs the result is not the model's, from 0 to 1.
    pub cheats: f64,
}

impl WorkerHabit {
    /// Runs the model.
    pub const HONEST: Self = Self { cheats: 0.0 };
    /// Never does.
    pub const CHEAT: Self = Self { cheats: 1.0 };
}

/// How a validator votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValidatorHabit {
    /// Runs the model and says what it finds.
    Honest,
    /// Runs the model, so that its numbers at the probes are right, and says the contrary: that honest results are
    /// wrong, and that wrong ones are right.
    Colludes,
}

/// How often honest validators are wrong, each from 0 to 1 (`docs/calibration.md` has what was measured).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Errors {
    /// An honest answer that every honest validator finds wrong, because the answer itself lies outside the terms.
    pub answer: f64,
    /// A vote that finds an honest answer wrong on its own.
    pub vote: f64,
    /// A vote that finds a cheat's answer right on its own.
    pub miss: f64,
}

/// A worker or a validator.
pub struct Node {
    /// Signs receipts.
    pub key: SigningKey,
    /// Its principal.
    pub id: Principal,
    /// Who is paid; nobody owns two nodes.
    pub owner: Principal,
    /// What the registry holds for it, e8s.
    pub stake: u128,
    /// What was burned of its stake, e8s.
    pub burned: u128,
    /// Until when it is in jail, if it was ever overturned.
    pub jailed_until: Timestamp,
}

impl Node {
    /// A node that follows from its market's seed and its number.
    pub fn new(seed: u64, number: u64, stake: u128) -> Self {
        let mut secret = [0x5e; 32];
        secret[..8].copy_from_slice(&seed.to_le_bytes());
        secret[8..16].copy_from_slice(&number.to_le_bytes());
        let key = SigningKey::from_bytes(&secret);
        Self {
            id: node_principal(&key.verifying_key().to_bytes()),
            key,
            owner: person(seed, b"owner", number),
            stake,
            burned: 0,
            jailed_until: Timestamp(0),
        }
    }
}

/// Somebody's principal; nobody has its key.
pub fn person(seed: u64, role: &[u8], number: u64) -> Principal {
    let mut bytes = role.to_vec();
    bytes.extend(seed.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    Principal::self_authenticating(bytes)
}
