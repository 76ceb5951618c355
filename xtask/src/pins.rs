//! The list of pins, `xtask/pins.toml`: what set-up downloads, from which registry, with which hash, and which members
//! of each archive it takes. The list is checked whole when it is read, so that a slip in it is found by a test.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const PINS: &str = include_str!("../pins.toml");

/// Which libtorch is set up: without or with the CUDA libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// Only what runs on the processor.
    Cpu,
    /// With CUDA, for NVIDIA GPUs.
    Cuda,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            View::Cpu => "CPU",
            View::Cuda => "CUDA",
        })
    }
}

/// A package registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Index {
    /// The Python package index.
    Pypi,
    /// The npm registry.
    Npm,
}

impl Index {
    /// The name that the list of pins and the download script use.
    pub fn name(self) -> &'static str {
        match self {
            Index::Pypi => "pypi",
            Index::Npm => "npm",
        }
    }
}

/// Which members of an archive are wanted, and where they go in the part's folder; `pins.toml` explains the forms.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// A member, a folder (ends in `/`) or a pattern (holds `*`).
    pub from: String,
    /// Where to, relative to the part's folder.
    pub to: String,
    /// A file goes on where the one that is there ends.
    #[serde(default, skip_serializing_if = "is_false")]
    pub append: bool,
    /// Limits this line to one view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<View>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// One file of a registry, pinned by its hash.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The package's name in the registry.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// The file's name, in the registry and in the cache.
    pub file: String,
    /// The registry.
    pub index: Index,
    /// SHA-256 of the file, 64 hex digits.
    pub sha256: String,
    /// Size of the file in bytes.
    pub size: u64,
    /// Licence, as an SPDX expression.
    pub licence: String,
    /// What the file is needed for.
    #[serde(rename = "for")]
    pub purpose: String,
    /// Limits this pin to one view.
    pub only: Option<View>,
    /// What is taken out of it.
    pub take: Vec<Take>,
}

impl Pin {
    /// The lines of `take` that the view wants.
    pub fn takes(&self, view: View) -> Vec<&Take> {
        self.take
            .iter()
            .filter(|take| take.only.is_none_or(|only| only == view))
            .collect()
    }
}

/// About how many bytes a part takes on disk.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unpacked {
    /// In the CPU view.
    pub cpu: u64,
    /// In the CUDA view.
    pub cuda: u64,
}

/// A folder under `.emc/`, made from some archives.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name, as set-up prints it.
    pub name: String,
    /// The folder under `.emc/`.
    pub folder: String,
    /// What it is needed for.
    #[serde(rename = "for")]
    pub purpose: String,
    /// Only for tests.
    #[serde(default)]
    pub tests: bool,
    /// Left out by set-up: whatever needs it brings it, and only where the machine has nothing that would do.
    #[serde(default)]
    pub optional: bool,
    /// About how many bytes it takes on disk.
    pub unpacked: Unpacked,
    /// The archives that it is made from.
    #[serde(rename = "pin")]
    pub pins: Vec<Pin>,
}

impl Part {
    /// The archives that the view wants.
    pub fn pins(&self, view: View) -> impl Iterator<Item = &Pin> {
        self.pins
            .iter()
            .filter(move |pin| pin.only.is_none_or(|only| only == view))
    }

    /// About how many bytes the part takes on disk in the view.
    pub fn unpacked(&self, view: View) -> u64 {
        match view {
            View::Cpu => self.unpacked.cpu,
            View::Cuda => self.unpacked.cuda,
        }
    }

    /// A hash of everything that decides what the part's folder holds. It changes when a pin or a rule does.
    pub fn stamp(&self, view: View) -> String {
        let mut hash = Sha256::new();
        for pin in self.pins(view) {
            let recipe = serde_json::json!([pin.file, pin.sha256, pin.takes(view)]);
            hash.update(recipe.to_string());
            hash.update("\n");
        }
        hex::encode(hash.finalize())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(rename = "part")]
    parts: Vec<Part>,
}

/// The committed list of pins.
pub fn committed() -> Result<Vec<Part>> {
    parse(PINS).context("xtask/pins.toml")
}

/// Reads and checks a list of pins.
pub fn parse(text: &str) -> Result<Vec<Part>> {
    let List { parts } = toml::from_str(text)?;
    for part in &parts {
        check_place(&part.folder)?;
        for pin in &part.pins {
            check(pin).with_context(|| format!("the pin of {}", pin.name))?;
        }
    }
    for (index, part) in parts.iter().enumerate() {
        for other in &parts[..index] {
            ensure!(
                part.folder != other.folder,
                "{} and {} share a folder",
                other.name,
                part.name
            );
        }
    }
    Ok(parts)
}

fn check(pin: &Pin) -> Result<()> {
    let hex_digits = pin
        .sha256
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    ensure!(
        pin.sha256.len() == 64 && hex_digits,
        "sha256 must be 64 lower-case hex digits"
    );
    ensure!(pin.size > 0, "size must be the file's size in bytes");
    ensure!(!pin.licence.is_empty(), "the licence is missing");
    ensure!(!pin.take.is_empty(), "nothing is taken out of it");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    ensure!(
        pin.file.chars().all(plain) && !pin.file.starts_with('.'),
        "the file name {:?} is not plain",
        pin.file
    );
    for take in &pin.take {
        check_place(take.to.trim_end_matches('/'))?;
        let folder_wanted = take.from.ends_with('/') || take.from.contains('*');
        ensure!(
            !(folder_wanted && take.append),
            "only a file can be appended to, not {:?}",
            take.to
        );
        if folder_wanted != take.to.ends_with('/') {
            bail!(
                "from {:?} cannot go to {:?}: a folder or a pattern goes to a folder",
                take.from,
                take.to
            );
        }
    }
    Ok(())
}

/// A place inside the part: relative, without `..`.
fn check_place(place: &str) -> Result<()> {
    let inside = place
        .split('/')
        .all(|name| !name.is_empty() && name != "." && name != "..");
    ensure!(inside, "{place:?} is not a place inside .emc");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"
        [[part]]
        name = "a"
        folder = "a"
        for = "tests"
        unpacked = { cpu = 1, cuda = 2 }
        [[part.pin]]
        name = "both"
        version = "1"
        file = "both-1.whl"
        index = "pypi"
        sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
        size = 1
        licence = "MIT"
        for = "tests"
        take = [{ from = "x", to = "y" }, { from = "c/*", to = "c/", only = "cuda" }]
        [[part.pin]]
        name = "gpu"
        version = "1"
        file = "gpu-1.whl"
        index = "npm"
        sha256 = "1111111111111111111111111111111111111111111111111111111111111111"
        size = 1
        licence = "MIT"
        for = "tests"
        only = "cuda"
        take = [{ from = "d/", to = "d/" }]
    "#;

    #[test]
    fn the_committed_list_is_well_formed_and_holds_what_set_up_promises() {
        let parts = committed().unwrap();
        let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["libtorch", "model", "icp", "gemma", "node"]);
        let named = |chosen: fn(&Part) -> bool| -> Vec<&str> {
            let chosen = parts.iter().filter(|part| chosen(part));
            chosen.map(|part| part.name.as_str()).collect()
        };
        assert_eq!(named(|part| part.tests), ["gemma"]);
        assert_eq!(named(|part| part.optional), ["node"]);
        let torch = &parts[0];
        assert_eq!(torch.pins(View::Cpu).count(), 3);
        assert_eq!(torch.pins(View::Cuda).count(), 16);
        let cpu_download: u64 = torch.pins(View::Cpu).map(|pin| pin.size).sum();
        assert!(
            cpu_download < 600_000_000,
            "the CPU view must not pull in CUDA's libraries"
        );
    }

    #[test]
    fn a_view_selects_pins_and_members() {
        let part = &parse(ONE).unwrap()[0];
        let names = |view| {
            part.pins(view)
                .map(|pin| pin.name.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(View::Cpu), ["both"]);
        assert_eq!(names(View::Cuda), ["both", "gpu"]);
        assert_eq!(part.pins[0].takes(View::Cpu).len(), 1);
        assert_eq!(part.pins[0].takes(View::Cuda).len(), 2);
    }

    #[test]
    fn the_stamp_changes_with_the_view_the_hash_and_the_rules() {
        let stamp = |text: &str, view| parse(text).unwrap()[0].stamp(view);
        let first = stamp(ONE, View::Cpu);
        assert_eq!(first, stamp(ONE, View::Cpu));
        assert_ne!(first, stamp(ONE, View::Cuda));
        assert_ne!(
            first,
            stamp(&ONE.replace("0000000000", "2222222222"), View::Cpu)
        );
        assert_ne!(
            first,
            stamp(&ONE.replace(r#"to = "y""#, r#"to = "z""#), View::Cpu)
        );
    }

    #[test]
    fn a_slip_in_the_list_is_an_error_that_names_the_pin() {
        for (right, wrong) in [
            (
                "0000000000000000000000000000000000000000000000000000000000000000",
                "abc",
            ),
            ("size = 1", "size = 0"),
            (r#"licence = "MIT""#, r#"licence = """#),
            (r#"file = "both-1.whl""#, r#"file = "../both.whl""#),
            (r#"to = "y""#, r#"to = "../y""#),
            (r#"to = "c/""#, r#"to = "c""#),
            (r#"to = "c/""#, r#"to = "c/", append = true"#),
        ] {
            let error = format!("{:#}", parse(&ONE.replacen(right, wrong, 1)).unwrap_err());
            assert!(error.contains("the pin of both"), "{wrong}: {error}");
        }
        assert!(parse(&ONE.replace("index = \"npm\"", "index = \"ftp\"")).is_err());
        assert!(parse(&ONE.replace("folder = \"a\"", "folder = \"/a\"")).is_err());
    }
}
