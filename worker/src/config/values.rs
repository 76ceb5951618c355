//! Single values of the settings, each with a message that says what it must be.

use std::fmt;
use std::net::SocketAddr;

use emc_inference::Activations;
use emc_protocol::{Role, Tokens};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// An amount of EMC, as a text or a number: `"0.25"`, `0.25`, `3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emc(pub Tokens);

impl<'de> Deserialize<'de> for Emc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Amount;
        impl Visitor<'_> for Amount {
            type Value = Emc;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of EMC with at most 8 decimals, like 0.25")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Emc, E> {
                text.parse().map(Emc).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, whole: i64) -> Result<Emc, E> {
                let whole = u64::try_from(whole)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(whole), &self))?;
                Ok(Emc(Tokens::emc(whole)))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Emc, E> {
                // The shortest decimal that reads back as this number is what the file said.
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Amount)
    }
}

/// A version of a model: a number, or `"latest"` for the newest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Version(pub Option<u32>);

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Which;
        impl Visitor<'_> for Which {
            type Value = Version;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version: a number from 1, or \"latest\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Version, E> {
                match text {
                    "latest" => Ok(Version(None)),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Version, E> {
                match u32::try_from(number) {
                    Ok(version) if version > 0 => Ok(Version(Some(version))),
                    _ => Err(E::invalid_value(Unexpected::Signed(number), &self)),
                }
            }
        }
        deserializer.deserialize_any(Which)
    }
}

/// A precision of activations: `"exact"`, `16` or `8`, these as numbers or texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precision(pub Activations);

impl<'de> Deserialize<'de> for Precision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Which;
        impl Visitor<'_> for Which {
            type Value = Precision;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a precision of activations: \"exact\", 16 or 8")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Precision, E> {
                let wrong = |_| E::invalid_value(Unexpected::Str(text), &self);
                text.parse().map(Precision).map_err(wrong)
            }

            fn visit_i64<E: Error>(self, bits: i64) -> Result<Precision, E> {
                let wrong = |_| E::invalid_value(Unexpected::Signed(bits), &self);
                bits.to_string().parse().map(Precision).map_err(wrong)
            }
        }
        deserializer.deserialize_any(Which)
    }
}

/// A network: `local`, `ic`, or a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(pub emc_client::Network);

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// An address to listen on; nothing for an empty text.
pub fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is no address and port, like 127.0.0.1:9464 (empty for none)"
        ))
    })
}

fn within<'de, D: Deserializer<'de>>(
    deserializer: D,
    (least, most): (u64, u64),
    unit: &str,
) -> Result<u64, D::Error> {
    let value = u64::deserialize(deserializer)?;
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(D::Error::custom(format!(
            "{value} must be from {least} to {most} {unit}"
        )))
    }
}

/// From 10 ms to a minute.
pub fn poll_interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    within(deserializer, (10, 60_000), "milliseconds")
}

/// From the escrow's two seconds to a minute.
pub fn preview_interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    within(deserializer, (2_000, 60_000), "milliseconds")
}

/// From ten seconds to ten minutes: a node that is silent for fifteen counts as gone.
pub fn heartbeat<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    within(deserializer, (10, 600), "seconds")
}

/// From 0 to 100.
pub fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, (0, 100), "percent").map(|percent| percent as u32)
}

/// Where the settings do not say.
pub fn only_compute() -> Vec<Role> {
    vec![Role::Compute]
}

/// At least one of `"compute"` and `"validator"`, each once.
pub fn roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Role>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let wrong =
        |what: String| D::Error::custom(format!("{what}: give \"compute\", \"validator\" or both"));
    let mut roles = vec![];
    for name in names {
        let role = match name.as_str() {
            "compute" => Role::Compute,
            "validator" => Role::Validator,
            _ => return Err(wrong(format!("there is no role {name:?}"))),
        };
        if roles.contains(&role) {
            return Err(wrong(format!("the role {name:?} is there twice")));
        }
        roles.push(role);
    }
    if roles.is_empty() {
        return Err(wrong("no role".into()));
    }
    Ok(roles)
}
