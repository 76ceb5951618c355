//! Builds a program of this workspace and finds it.
//!
//! `cargo xtask` builds everything beforehand and says so by `EMC_BUILT=1`: building one package alone would compile
//! what it depends on a second time, with the features that this package asks for by itself.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the package's program of the same name, optimised if this program is; its path.
///
/// # Errors
/// If the build fails.
pub fn binary(package: &str) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    if std::env::var_os("EMC_BUILT").is_some() {
        let beside = std::env::current_exe().context("finding this program")?;
        let folders = beside.ancestors().skip(1).take(2);
        return folders
            .map(|folder| folder.join(package))
            .find(|path| path.is_file())
            .with_context(|| {
                format!(
                    "EMC_BUILT is set, but there is no {package} beside {}",
                    beside.display()
                )
            });
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--quiet", "--package", package, "--bin", package])
        .args(["--message-format", "json-render-diagnostics"])
        .args((!cfg!(debug_assertions)).then_some("--release"))
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("running cargo")?;
    ensure!(output.status.success(), "building {package} failed");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable)
        .next_back()
        .with_context(|| format!("cargo built no program {package}"))
}
