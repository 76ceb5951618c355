//! Which view of libtorch this machine gets, and what is special about that part.
//!
//! The CPU view leaves out the CUDA libraries (2.5 GB to download) where nothing could use them; both come from one
//! wheel. `docs/decisions/0001-libtorch-from-the-pypi-wheel.md` says why.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::pins::{Part, View};

/// The name of the part in the list of pins.
pub const PART: &str = "libtorch";

const CHOICE: &str = "view";

/// The view for this run: what is forced now, else what was forced before (kept in `.emc/view`), else CUDA where there
/// is an NVIDIA driver.
pub fn view(paths: &Paths, forced: Option<View>) -> View {
    forced
        .or_else(|| chosen(paths))
        .unwrap_or(if nvidia_driver() {
            View::Cuda
        } else {
            View::Cpu
        })
}

fn chosen(paths: &Paths) -> Option<View> {
    match fs::read_to_string(paths.emc().join(CHOICE)).ok()?.trim() {
        "cpu" => Some(View::Cpu),
        "cuda" => Some(View::Cuda),
        _ => None,
    }
}

/// Keeps a forced view, so that later runs of set-up do not undo it.
pub fn remember(paths: &Paths, forced: View) -> Result<()> {
    let word = match forced {
        View::Cpu => "cpu\n",
        View::Cuda => "cuda\n",
    };
    fs::write(paths.emc().join(CHOICE), word).context("cannot write .emc/view")
}

/// Whether an NVIDIA driver is present, by its kernel module or by its library.
pub fn nvidia_driver() -> bool {
    const FOLDERS: [&str; 5] = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/lib/wsl/lib",
        "/usr/local/nvidia/lib64",
    ];
    Path::new("/proc/driver/nvidia/version").exists()
        || FOLDERS
            .iter()
            .any(|folder| Path::new(folder).join("libcuda.so.1").exists())
}

/// Writes the version where torch-sys looks for it, so that a wrong pair of tch and libtorch is refused at build time.
pub fn write_version(part: &Part, view: View, folder: &Path) -> Result<()> {
    let torch = part
        .pins
        .iter()
        .find(|pin| pin.name == "torch")
        .context("the part libtorch has no pin of torch")?;
    let build = match view {
        View::Cpu => "cpu",
        View::Cuda => "cu130",
    };
    Ok(fs::write(
        folder.join("build-version"),
        format!("{}+{build}\n", torch.version),
    )?)
}

/// Makes cargo build torch-sys again. Its build script looks once at which libraries there are (with or without CUDA),
/// and cargo cannot see that they changed.
pub fn forget_build(paths: &Paths) {
    for profile in [&[][..], &["--release"]] {
        // Nothing to clean is fine, and so is a clone without a lock file: the next build tells.
        let _ = Command::new("cargo")
            .args(["clean", "--quiet", "--offline", "--package", "torch-sys"])
            .args(profile)
            .current_dir(paths.root())
            .stderr(std::process::Stdio::null())
            .status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forced_view_is_kept_until_another_is_forced() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().to_owned(), folder.path().join("cache"));
        fs::create_dir_all(paths.emc()).unwrap();
        for forced in [View::Cuda, View::Cpu] {
            remember(&paths, forced).unwrap();
            assert_eq!(view(&paths, None), forced);
        }
        assert_eq!(view(&paths, Some(View::Cuda)), View::Cuda);
    }
}
