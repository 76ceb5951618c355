//! Keys of stable maps that are more than a number or a principal.

use candid::Principal;
use emc_protocol::ModelRef;
use ic_stable_structures::{Storable, storable::Bound};
use std::borrow::Cow;

/// A model version's key: by id, then version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelKey {
    /// The id.
    pub id: String,
    /// The version.
    pub version: u32,
}

impl ModelKey {
    /// The reference that names exactly this version.
    pub fn to_ref(&self) -> ModelRef {
        ModelRef {
            id: self.id.clone(),
            version: Some(self.version),
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(self.id.as_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        let (version, id) = bytes.split_at(4);
        Self {
            id: String::from_utf8_lossy(id).into_owned(),
            version: u32::from_be_bytes(version.try_into().expect("four bytes were split off")),
        }
    }
}

impl Storable for ModelKey {
    const BOUND: Bound = Bound::Bounded {
        max_size: 4 + emc_protocol::limits::MODEL_ID_BYTES as u32,
        is_fixed_size: false,
    };

    fn to_bytes(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(4 + self.id.len());
        self.write(&mut bytes);
        Cow::Owned(bytes)
    }

    fn into_bytes(self) -> Vec<u8> {
        self.to_bytes().into_owned()
    }

    fn from_bytes(bytes: Cow<'_, [u8]>) -> Self {
        Self::read(&bytes)
    }
}

/// What has a place in the feed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A node.
    Node(Principal),
    /// A model version.
    Model(ModelKey),
}

impl Storable for Subject {
    const BOUND: Bound = Bound::Bounded {
        max_size: 5 + emc_protocol::limits::MODEL_ID_BYTES as u32,
        is_fixed_size: false,
    };

    fn to_bytes(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(32);
        match self {
            Self::Node(node) => {
                bytes.push(0);
                bytes.extend_from_slice(node.as_slice());
            }
            Self::Model(model) => {
                bytes.push(1);
                model.write(&mut bytes);
            }
        }
        Cow::Owned(bytes)
    }

    fn into_bytes(self) -> Vec<u8> {
        self.to_bytes().into_owned()
    }

    fn from_bytes(bytes: Cow<'_, [u8]>) -> Self {
        match bytes[0] {
            0 => Self::Node(Principal::from_slice(&bytes[1..])),
            _ => Self::Model(ModelKey::read(&bytes[1..])),
        }
    }
}
