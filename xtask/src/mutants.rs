//! `cargo xtask mutants`: breaks the rules of a canister one by one and checks that each break makes its named test fail.
//! A test that cannot fail proves nothing; this is how we know that ours can.
//!
//! The breaks are listed in `canisters/<name>/mutants.toml`. They are applied to a copy of the sources under
//! `.emc/mutants`, so that neither the working tree nor its builds are touched.

use crate::canisters::cargo;
use crate::paths::Paths;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Which mutants to try.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only those whose name contains this.
    pub filter: Option<String>,
    /// Only list them.
    pub list: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutant: Vec<Mutant>,
}

/// One break.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    /// What it does, in a few words.
    name: String,
    /// The file, from the root of the repository.
    file: String,
    /// The text that is replaced; it must be there exactly once.
    find: String,
    /// What it becomes.
    replace: String,
    /// The test that must fail.
    test: String,
}

/// Tries every mutant.
///
/// # Errors
/// If one survives, does not compile, or does not fit the sources.
pub fn run(paths: &Paths, options: &Options) -> Result<()> {
    let lists = lists(paths.root())?;
    let chosen = |mutant: &Mutant| {
        options
            .filter
            .as_ref()
            .is_none_or(|filter| mutant.name.contains(filter))
    };
    let count: usize = lists
        .iter()
        .map(|(_, list)| list.iter().filter(|m| chosen(m)).count())
        .sum();
    ensure!(count > 0, "there is no such mutant");
    if options.list {
        for (folder, list) in &lists {
            for mutant in list.iter().filter(|m| chosen(m)) {
                println!("{}: {} -> {}", folder.display(), mutant.name, mutant.test);
            }
        }
        return Ok(());
    }
    let tree = copy(paths)?;
    let mut survivors = vec![];
    let mut number = 0;
    for (folder, list) in &lists {
        let package = format!(
            "emc-{}",
            folder.file_name().unwrap_or_default().to_string_lossy()
        );
        for mutant in list.iter().filter(|m| chosen(m)) {
            number += 1;
            let begun = Instant::now();
            let killed = try_one(&tree, &package, mutant)?;
            let verdict = if killed { "killed  " } else { "SURVIVED" };
            let seconds = begun.elapsed().as_secs();
            println!(
                "{number:3}/{count} {verdict} {} ({}, {seconds} s)",
                mutant.name, mutant.test
            );
            if !killed {
                survivors.push(mutant.name.clone());
            }
        }
    }
    ensure!(
        survivors.is_empty(),
        "these breaks make no test fail: {}",
        survivors.join(", ")
    );
    println!("\nAll {count} breaks make their test fail.");
    Ok(())
}

/// The lists, with the folders they lie in, from the root.
fn lists(root: &Path) -> Result<Vec<(PathBuf, Vec<Mutant>)>> {
    let mut lists = vec![];
    for entry in fs::read_dir(root.join("canisters")).context("reading canisters/")? {
        let entry = entry?;
        let path = entry.path().join("mutants.toml");
        if path.exists() {
            let text =
                fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let list: List =
                toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
            lists.push((Path::new("canisters").join(entry.file_name()), list.mutant));
        }
    }
    lists.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(lists)
}

/// Copies what git knows of the working tree, and gives the copy this clone's `.emc`.
fn copy(paths: &Paths) -> Result<PathBuf> {
    let tree = paths.emc().join("mutants/tree");
    let listed = Command::new("git")
        .current_dir(paths.root())
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .context("running git")?;
    ensure!(
        listed.status.success(),
        "git does not list the files of the working tree"
    );
    for file in String::from_utf8_lossy(&listed.stdout)
        .split('\0')
        .filter(|file| !file.is_empty())
    {
        let (from, to) = (paths.root().join(file), tree.join(file));
        let Ok(content) = fs::read(&from) else {
            continue;
        };
        // Files that are the same keep their time, so that cargo builds only what has changed.
        if fs::read(&to).is_ok_and(|there| there == content) {
            continue;
        }
        fs::create_dir_all(to.parent().context("a file has a folder")?)?;
        fs::write(&to, content).with_context(|| format!("writing {}", to.display()))?;
    }
    Ok(tree)
}

/// Applies a mutant, runs its test, takes the mutant back. True if the test failed.
fn try_one(tree: &Path, package: &str, mutant: &Mutant) -> Result<bool> {
    let path = tree.join(&mutant.file);
    let original =
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let found = original.matches(&mutant.find).count();
    ensure!(
        found == 1,
        "{}: its text is in {} {found} times, not once",
        mutant.name,
        mutant.file
    );
    let test = || {
        Command::new(cargo())
            .current_dir(tree)
            .env("CARGO_TARGET_DIR", tree.join("target"))
            .args([
                "test",
                "--package",
                package,
                "--lib",
                "--",
                "--exact",
                &mutant.test,
            ])
            .output()
            .context("running cargo test")
    };
    fs::write(&path, original.replace(&mutant.find, &mutant.replace))?;
    let output = test();
    fs::write(&path, &original)?;
    let output = output?;
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains("test result: FAILED") {
        return Ok(true);
    }
    if output.status.success() {
        ensure!(
            !said.contains(" 0 passed"),
            "{}: there is no test {}",
            mutant.name,
            mutant.test
        );
        return Ok(false);
    }
    bail!(
        "{} does not compile:\n{}",
        mutant.name,
        String::from_utf8_lossy(&output.stderr)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_break_still_fits_the_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask lies in the root");
        let lists = lists(root).expect("the lists are readable");
        assert!(!lists.is_empty());
        for mutant in lists.iter().flat_map(|(_, list)| list) {
            let source = fs::read_to_string(root.join(&mutant.file)).expect("the file exists");
            let found = source.matches(&mutant.find).count();
            assert_eq!(found, 1, "{}", mutant.name);
        }
    }
}
