//! `cargo xtask setup`: makes a fresh clone ready, so that plain `cargo build`, `cargo test` and `cargo run` work after
//! it with no variable set by hand. Does only what is still to do, and says what it does.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::download::{self, Downloads};
use crate::install::{self, State};
use crate::libtorch;
use crate::paths::Paths;
use crate::pins::{self, Part, View};
use crate::prerequisites::{self, Finding};
use crate::progress::{seconds, size};
use crate::wasm_target;

/// What set-up is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Only report what is there and what is missing.
    pub check: bool,
    /// Also what only tests need.
    pub tests: bool,
    /// Force a view of libtorch; by default CUDA where there is an NVIDIA driver.
    pub view: Option<View>,
}

impl Options {
    /// What tests need as well.
    pub fn with_tests() -> Self {
        Self {
            tests: true,
            ..Self::default()
        }
    }
}

/// Makes the clone ready, or with `check` only reports.
///
/// # Errors
/// A prerequisite or a download that is missing (with `check`: anything that is missing), with what to do about it.
pub fn run(paths: &Paths, options: &Options) -> Result<()> {
    let begun = Instant::now();
    let mut parts = pins::committed()?;
    parts.retain(|part| !part.optional && (options.tests || !part.tests));
    let view = libtorch::view(paths, options.view);
    println!(
        "EMC set-up: {view} view of libtorch, into {}",
        paths.emc().display()
    );
    if options.check {
        return check(paths, &parts, view);
    }
    fs::create_dir_all(paths.emc())
        .with_context(|| format!("cannot make {}", paths.emc().display()))?;
    let _lock = download::lock(&paths.emc(), "setup")?;
    if let Some(forced) = options.view {
        libtorch::remember(paths, forced)?;
    }
    let missing: Vec<&Part> = parts
        .iter()
        .filter(|part| install::state(paths, part, view) != State::Ready)
        .collect();
    let downloads = Downloads::new(paths);

    let mut needed = vec![
        ("platform", prerequisites::platform()),
        ("C++ compiler", prerequisites::cxx_compiler()),
    ];
    if !missing.is_empty() {
        needed.push(("Python", prerequisites::python_with_pip()));
        needed.push(("disk", disk_space(paths, &downloads, &missing, view)));
    }
    report(needed)?;

    if !wasm_target::present(paths.root()) {
        println!("  +   {}: adding it with rustup", wasm_target::TARGET);
        wasm_target::add(paths.root())?;
    }
    println!("  ok  Rust target {}", wasm_target::TARGET);
    for part in &parts {
        if missing.iter().any(|other| other.name == part.name) {
            println!("  +   {}, {}", part.name, part.purpose);
            let replaces = install::state(paths, part, view) == State::Outdated;
            install::install(paths, &downloads, part, view)
                .with_context(|| format!("cannot set up {}", part.name))?;
            if part.name == libtorch::PART && replaces {
                libtorch::forget_build(paths);
            }
        }
        println!("  ok  {}", described(paths, part, view));
    }
    println!("Ready after {}.", seconds(begun.elapsed()));
    Ok(())
}

/// Reports everything, changes nothing.
fn check(paths: &Paths, parts: &[Part], view: View) -> Result<()> {
    let downloads = Downloads::new(paths);
    let missing: Vec<&Part> = parts
        .iter()
        .filter(|part| install::state(paths, part, view) != State::Ready)
        .collect();
    let mut findings = vec![
        ("platform", prerequisites::platform()),
        ("C++ compiler", prerequisites::cxx_compiler()),
        ("Python", prerequisites::python_with_pip()),
        ("disk", disk_space(paths, &downloads, &missing, view)),
        (
            "Rust target",
            if wasm_target::present(paths.root()) {
                Ok(wasm_target::TARGET.to_owned())
            } else {
                Err(format!(
                    "{} is missing; `cargo xtask setup` adds it with rustup",
                    wasm_target::TARGET
                ))
            },
        ),
    ];
    for part in parts {
        let to_download: u64 = part
            .pins(view)
            .filter(|pin| !downloads.seem_to_have(pin))
            .map(|pin| pin.size)
            .sum();
        let how = match to_download {
            0 => "everything it needs is in the cache of downloads".to_owned(),
            bytes => format!("{} to download", size(bytes)),
        };
        findings.push((
            &part.name,
            match install::state(paths, part, view) {
                State::Ready => Ok(described(paths, part, view)),
                State::Outdated => Err(format!(
                    "{} is not what the pins say; {how}",
                    install::place(paths, part).display()
                )),
                State::Missing => Err(format!(
                    "{} is missing; {how}",
                    install::place(paths, part).display()
                )),
            },
        ));
    }
    report(findings).context("not ready; run `cargo xtask setup`")
}

/// What a part holds, in one line.
fn described(paths: &Paths, part: &Part, view: View) -> String {
    let first = part
        .pins(view)
        .next()
        .map(|pin| format!("{} {}", pin.name, pin.version))
        .unwrap_or_default();
    format!(
        "{} ({first}, {}) in {}",
        part.name,
        part.purpose,
        install::place(paths, part).display()
    )
}

fn disk_space(paths: &Paths, downloads: &Downloads, missing: &[&Part], view: View) -> Finding {
    let pins = missing.iter().flat_map(|part| part.pins(view));
    let to_download: u64 = pins
        .filter(|pin| !downloads.seem_to_have(pin))
        .map(|pin| pin.size)
        .sum();
    let to_unpack: u64 = missing.iter().map(|part| part.unpacked(view)).sum();
    prerequisites::disk_space(&paths.downloads(), to_download)?;
    prerequisites::disk_space(&paths.emc(), to_download + to_unpack)
}

/// Prints each finding; errs if any prerequisite is missing.
fn report(findings: Vec<(&str, Finding)>) -> Result<()> {
    let mut missing = 0;
    for (what, finding) in findings {
        match finding {
            Ok(found) if found.starts_with(what) => println!("  ok  {found}"),
            Ok(found) => println!("  ok  {what}: {found}"),
            Err(why) => {
                missing += 1;
                println!("  --  {what}: {why}");
            }
        }
    }
    if missing > 0 {
        bail!("{missing} missing; see the lines marked -- above");
    }
    Ok(())
}
