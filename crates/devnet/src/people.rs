//! People of a development market: identities made from their names, so that runs can be repeated.

use candid::Principal;
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

/// Somebody with a key.
#[derive(Clone)]
pub struct Person {
    /// The name the key was made from.
    pub name: String,
    /// The Ed25519 key. Worth nothing outside development: anyone can make it.
    pub key: SigningKey,
}

impl Person {
    /// The person of that name on the network of that seed.
    pub fn named(name: &str, seed: u64) -> Self {
        let secret: [u8; 32] = Sha256::digest(format!("emc development key: {name} {seed}")).into();
        Self {
            name: name.to_owned(),
            key: SigningKey::from_bytes(&secret),
        }
    }

    /// Its principal.
    pub fn principal(&self) -> Principal {
        emc_protocol::receipt::node_principal(&self.public_key())
    }

    /// Its public key, 32 bytes.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }
}
