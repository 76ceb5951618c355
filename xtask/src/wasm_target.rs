//! The wasm32-unknown-unknown target of the Rust toolchain, which canisters are built for.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::prerequisites::first_line;

/// The target's name.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Whether the toolchain of this clone can build for it.
pub fn present(root: &Path) -> bool {
    let folder = first_line(
        Command::new("rustc")
            .args(["--print", "target-libdir", "--target", TARGET])
            .current_dir(root),
    );
    folder.map(PathBuf::from).is_some_and(|folder| {
        let files = folder.read_dir().into_iter().flatten().flatten();
        files
            .into_iter()
            .any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

/// Adds it with rustup.
pub fn add(root: &Path) -> Result<()> {
    let status = Command::new("rustup").args(["target", "add", TARGET]).current_dir(root).status().with_context(|| {
        format!(
            "the Rust toolchain lacks {TARGET} and there is no rustup to add it; install Rust with rustup \
             (https://rustup.rs), or install your distribution's package of that target"
        )
    })?;
    ensure!(
        status.success(),
        "`rustup target add {TARGET}` failed; see its message above"
    );
    Ok(())
}
