//! Where EMC's canisters are: read from the files that deployments write, or given.
//!
//! [`CanisterIds::find`] looks, from a folder upwards, for what is there first:
//! 1. `.emc/network.json`, written by the demo: `{"url": ..., "ledger": ..., "registry": ..., "escrow": ...}`; only
//!    where its URL is the network's;
//! 2. `.icp/cache/mappings/<network>.ids.json` and `.icp/data/mappings/<network>.ids.json`, written by `icp deploy`:
//!    `{"ledger": "...", ...}`;
//! 3. `.dfx/<network>/canister_ids.json` and `canister_ids.json`, written by `dfx deploy`:
//!    `{"ledger": {"local": "..."}, ...}`.

use crate::{Error, Network};
use candid::Principal;
use emc_protocol::canonical::Writer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The three canisters of one deployment.
///
/// ```
/// use emc_client::CanisterIds;
/// let text = r#"{ "ledger": "rrkah-fqaaa-aaaaa-aaaaq-cai",
///                 "registry": { "local": "ryjl3-tyaaa-aaaaa-aaaba-cai" },
///                 "escrow": "r7inp-6aaaa-aaaaa-aaabq-cai" }"#;
/// let ids = CanisterIds::from_json(text, "local").unwrap();
/// assert_eq!(ids.registry.to_text(), "ryjl3-tyaaa-aaaaa-aaaba-cai");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanisterIds {
    /// The token's ledger.
    pub ledger: Principal,
    /// Nodes and models.
    pub registry: Principal,
    /// Accounts and jobs.
    pub escrow: Principal,
}

/// What is known so far: flags and environment variables give some, files the rest.
///
/// ```
/// # use emc_client::canister_ids::PartialIds;
/// let ids = PartialIds { ledger: "rrkah-fqaaa-aaaaa-aaaaq-cai".parse().ok(), ..PartialIds::default() };
/// assert!(ids.complete().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialIds {
    /// The token's ledger.
    pub ledger: Option<Principal>,
    /// Nodes and models.
    pub registry: Option<Principal>,
    /// Accounts and jobs.
    pub escrow: Option<Principal>,
}

impl PartialIds {
    /// What `self` lacks, from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            ledger: self.ledger.or(other.ledger),
            registry: self.registry.or(other.registry),
            escrow: self.escrow.or(other.escrow),
        }
    }

    /// All three.
    ///
    /// # Errors
    /// [`Error::Config`] names those that are missing and where they could be.
    pub fn complete(self) -> Result<CanisterIds, Error> {
        match (self.ledger, self.registry, self.escrow) {
            (Some(ledger), Some(registry), Some(escrow)) => Ok(CanisterIds {
                ledger,
                registry,
                escrow,
            }),
            _ => {
                let missing = [
                    ("ledger", self.ledger),
                    ("registry", self.registry),
                    ("escrow", self.escrow),
                ]
                .into_iter()
                .filter(|(_, id)| id.is_none())
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
                .join(", ");
                Err(Error::Config(format!(
                    "no canister id for: {missing}. Run this in the folder of a deployment (with .emc/network.json, .icp or canister_ids.json), or give --ledger, --registry and --escrow (EMC_LEDGER, EMC_REGISTRY, EMC_ESCROW)."
                )))
            }
        }
    }
}

impl CanisterIds {
    /// The canisters of a network, from the first file that names all of them (see the module's text), looking in
    /// `folder` and the folders above it.
    ///
    /// # Errors
    /// [`Error::Config`] where there is no such file, or where one cannot be read.
    pub fn find(network: &Network, folder: &Path) -> Result<Self, Error> {
        PartialIds::find(network, folder)?.complete()
    }

    /// Reads a file of any of the formats, for a network's name (`local`, `ic`).
    ///
    /// # Errors
    /// [`Error::Config`] where it cannot be read or lacks one.
    pub fn from_file(path: &Path, network: &str) -> Result<Self, Error> {
        PartialIds::from_file(path, network)?.complete()
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// [`Error::Config`] where it is not such a file or lacks one.
    pub fn from_json(text: &str, network: &str) -> Result<Self, Error> {
        PartialIds::from_json(text, network)?.complete()
    }
}

impl PartialIds {
    /// As [`CanisterIds::find`], without insisting on all three.
    ///
    /// # Errors
    /// [`Error::Config`] where a file is there but cannot be read.
    pub fn find(network: &Network, folder: &Path) -> Result<Self, Error> {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let mut ids = Self::default();
        for folder in folder.ancestors() {
            for path in candidates(network, folder) {
                if !path.is_file() {
                    continue;
                }
                let text = read(&path)?;
                if !is_of_network(&text, network) {
                    continue;
                }
                let found = Self::from_json(&text, network.name())
                    .map_err(|e| Error::Config(format!("{}: {e}", path.display())))?;
                ids = ids.or(found);
                if ids.complete().is_ok() {
                    return Ok(ids);
                }
            }
        }
        Ok(ids)
    }

    fn from_file(path: &Path, network: &str) -> Result<Self, Error> {
        Self::from_json(&read(path)?, network)
            .map_err(|e| Error::Config(format!("{}: {e}", path.display())))
    }

    /// Reads the text of a file of any of the formats: an id is a text, or an object of texts by network.
    ///
    /// # Errors
    /// [`Error::Config`] where it is not JSON, or an id is not a principal.
    pub fn from_json(text: &str, network: &str) -> Result<Self, Error> {
        let file: Value = serde_json::from_str(text)
            .map_err(|e| Error::Config(format!("it is not JSON: {e}.")))?;
        let id = |name: &str| {
            let entry = file.get(name).or_else(|| file.get(format!("emc_{name}")));
            let text = match entry {
                Some(Value::Object(by_network)) => by_network.get(network),
                other => other,
            };
            text.and_then(Value::as_str)
                .map(|text| {
                    Principal::from_text(text).map_err(|_| {
                        Error::Config(format!("{name}: {text:?} is not a canister id."))
                    })
                })
                .transpose()
        };
        Ok(Self {
            ledger: id("ledger")?,
            registry: id("registry")?,
            escrow: id("escrow")?,
        })
    }
}

/// The escrows of a network: `escrow` and, where there are several on one registry, `escrow_2`, `escrow_3` and so on,
/// from the first file that names one, looking in `folder` and the folders above it; sorted.
///
/// # Errors
/// [`Error::Config`] where a file is there but cannot be read.
pub fn escrows(network: &Network, folder: &Path) -> Result<Vec<Principal>, Error> {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let paths = folder
        .ancestors()
        .flat_map(|folder| candidates(network, folder));
    for path in paths.filter(|path| path.is_file()) {
        let text = read(&path)?;
        if !is_of_network(&text, network) {
            continue;
        }
        let found = escrows_in(&text, network.name());
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(vec![])
}

fn escrows_in(text: &str, network: &str) -> Vec<Principal> {
    let file: Option<Value> = serde_json::from_str(text).ok();
    let entries = file
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let mut escrows: Vec<Principal> = entries
        .filter(|(name, _)| {
            let name = name.strip_prefix("emc_").unwrap_or(name);
            name.strip_prefix("escrow").is_some_and(|number| {
                number.is_empty()
                    || number
                        .strip_prefix('_')
                        .is_some_and(|n| n.parse::<u16>().is_ok())
            })
        })
        .filter_map(|(_, entry)| match entry {
            Value::Object(by_network) => by_network.get(network)?.as_str(),
            other => other.as_str(),
        })
        .filter_map(|text| Principal::from_text(text).ok())
        .collect();
    escrows.sort_unstable();
    escrows.dedup();
    escrows
}

/// Which of several escrows on one registry is a requester's: that with the highest hash of both (rendezvous hashing), so
/// that everybody chooses the same without being told, all are chosen equally often, and a new one takes its share from
/// each of the others and moves nobody else.
///
/// The hash is the SHA-256 of the domain `emc-escrow-choice-v1` (`docs/spec/receipt.md` says how domains are written),
/// then of both principals, each as one byte for its length and its bytes.
pub fn choose(escrows: &[Principal], requester: Principal) -> Option<Principal> {
    let hash = |escrow: &Principal| -> [u8; 32] {
        let mut bytes = Writer::new("emc-escrow-choice-v1");
        for principal in [escrow, &requester] {
            bytes.u8(principal.as_slice().len() as u8);
            bytes.raw(principal.as_slice());
        }
        bytes.sha256()
    };
    escrows.iter().copied().max_by_key(|escrow| hash(escrow))
}

/// The URL in `.emc/network.json`, from a folder upwards: the network that the demo keeps running.
pub fn demo_url(folder: &Path) -> Option<String> {
    let folder = std::path::absolute(folder).ok()?;
    let path = folder
        .ancestors()
        .map(|folder| folder.join(DEMO_FILE))
        .find(|path| path.is_file())?;
    let file: Value = serde_json::from_str(&read(&path).ok()?).ok()?;
    Some(file.get("url")?.as_str()?.to_owned())
}

const DEMO_FILE: &str = ".emc/network.json";

fn candidates(network: &Network, folder: &Path) -> Vec<PathBuf> {
    let mut paths = vec![folder.join(DEMO_FILE)];
    if let Network::Local | Network::Ic = network {
        let name = network.name();
        paths.extend([
            folder.join(format!(".icp/cache/mappings/{name}.ids.json")),
            folder.join(format!(".icp/data/mappings/{name}.ids.json")),
            folder.join(format!(".dfx/{name}/canister_ids.json")),
            folder.join("canister_ids.json"),
        ]);
    }
    paths
}

/// A file with a URL in it speaks of that network alone. `local` takes any that is on this machine.
fn is_of_network(text: &str, network: &Network) -> bool {
    let file: Option<Value> = serde_json::from_str(text).ok();
    let url = file
        .as_ref()
        .and_then(|file| file.get("url"))
        .and_then(Value::as_str);
    let Some(url) = url else { return true };
    url.trim_end_matches('/') == network.url().trim_end_matches('/')
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path)
        .map_err(|e| Error::Config(format!("cannot read {}: {e}.", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEDGER: &str = "rrkah-fqaaa-aaaaa-aaaaq-cai";
    const REGISTRY: &str = "ryjl3-tyaaa-aaaaa-aaaba-cai";
    const ESCROW: &str = "r7inp-6aaaa-aaaaa-aaabq-cai";

    fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn flat() -> String {
        format!(r#"{{"ledger":"{LEDGER}","registry":"{REGISTRY}","escrow":"{ESCROW}"}}"#)
    }

    fn by_network(network: &str) -> String {
        format!(
            r#"{{"ledger":{{"{network}":"{LEDGER}"}},"registry":{{"{network}":"{REGISTRY}"}},"escrow":{{"{network}":"{ESCROW}"}}}}"#
        )
    }

    #[test]
    fn the_files_of_every_tool_are_found_from_a_folder_below() {
        for (path, text) in [
            (".icp/cache/mappings/local.ids.json", flat()),
            (".icp/data/mappings/local.ids.json", flat()),
            (".dfx/local/canister_ids.json", by_network("local")),
            ("canister_ids.json", by_network("local")),
        ] {
            let folder = folder(&[(path, text), ("a/b/c", String::new())]);
            let ids = CanisterIds::find(&Network::Local, &folder.path().join("a/b")).unwrap();
            assert_eq!(ids.escrow.to_text(), ESCROW, "{path}");
            let elsewhere = CanisterIds::find(&Network::Ic, folder.path());
            assert!(elsewhere.is_err(), "{path}");
        }
    }

    #[test]
    fn the_demo_s_file_counts_only_for_its_own_network() {
        let text = flat().replacen('{', r#"{"url":"http://127.0.0.1:4321","#, 1);
        let folder = folder(&[(".emc/network.json", text)]);
        let its_own = Network::Url("http://127.0.0.1:4321".into());
        assert!(CanisterIds::find(&its_own, folder.path()).is_ok());
        assert!(CanisterIds::find(&Network::Ic, folder.path()).is_err());
        assert_eq!(
            demo_url(folder.path()).as_deref(),
            Some("http://127.0.0.1:4321")
        );
    }

    #[test]
    fn several_escrows_of_one_registry_are_found() {
        let other = "rno2w-sqaaa-aaaaa-aaacq-cai";
        let text = format!(
            r#"{{"escrow":"{ESCROW}","escrow_2":"{other}","escrows":"{LEDGER}","ledger":"{LEDGER}"}}"#
        );
        let folder = folder(&[(".icp/data/mappings/local.ids.json", text)]);
        let mut expected = [ESCROW, other].map(|text| Principal::from_text(text).unwrap());
        expected.sort_unstable();
        assert_eq!(escrows(&Network::Local, folder.path()).unwrap(), expected);
    }

    #[test]
    fn requesters_spread_over_escrows_and_a_new_one_moves_nobody_else() {
        let escrow = |n: u8| Principal::from_slice(&[n, 1, 1]);
        let three: Vec<Principal> = (0..3).map(escrow).collect();
        let four: Vec<Principal> = (0..4).map(escrow).collect();
        let mut counts = [0; 4];
        for n in 0..4_000u32 {
            let requester = Principal::self_authenticating(n.to_be_bytes());
            let (before, after) = (choose(&three, requester), choose(&four, requester));
            let after = after.unwrap();
            assert!(
                before == Some(after) || after == escrow(3),
                "only the new one takes any"
            );
            counts[four.iter().position(|e| *e == after).unwrap()] += 1;
        }
        // Five standard errors of a quarter of 4,000.
        assert!(
            counts.iter().all(|count: &i32| (count - 1_000).abs() < 140),
            "{counts:?}"
        );
        assert_eq!(choose(&[], escrow(0)), None);
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_give() {
        let error = CanisterIds::from_json(&format!(r#"{{"ledger":"{LEDGER}"}}"#), "local");
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("registry, escrow") && text.contains("--escrow"),
            "{text}"
        );
    }

    #[test]
    fn a_broken_file_is_an_error_that_names_it() {
        for text in ["{", r#"{"ledger":"not-a-principal"}"#] {
            let folder = folder(&[("canister_ids.json", text.to_owned())]);
            let error = CanisterIds::find(&Network::Local, folder.path()).unwrap_err();
            assert!(error.to_string().contains("canister_ids.json"), "{error}");
        }
    }
}
