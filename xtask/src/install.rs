//! Makes a part's folder under `.emc/` from its pinned archives: unpacked beside it and moved into place in one step,
//! with a stamp that says which pins it was made from. A folder is thus always whole, and a rerun is instant.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::download::Downloads;
use crate::libtorch;
use crate::paths::Paths;
use crate::pins::{Part, Pin, View};
use crate::progress::Progress;
use crate::python::{self, Said};

const UNPACK: &str = include_str!("unpack.py");
const STAMP: &str = ".stamp";

/// How a part's folder stands against its pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made from exactly these pins.
    Ready,
    /// Made from other pins, or for the other view.
    Outdated,
    /// Not there.
    Missing,
}

/// Looks at a part's folder without touching it.
pub fn state(paths: &Paths, part: &Part, view: View) -> State {
    match fs::read_to_string(paths.emc().join(&part.folder).join(STAMP)) {
        Ok(stamp) if stamp.trim() == part.stamp(view) => State::Ready,
        Ok(_) => State::Outdated,
        Err(_) if paths.emc().join(&part.folder).exists() => State::Outdated,
        Err(_) => State::Missing,
    }
}

/// Downloads what is needed, unpacks it and puts it in place of what was there.
pub fn install(paths: &Paths, downloads: &Downloads, part: &Part, view: View) -> Result<()> {
    let archives = part
        .pins(view)
        .map(|pin| Ok((pin, downloads.get(pin)?)))
        .collect::<Result<Vec<_>>>()?;
    let fresh = paths.emc().join("tmp").join(&part.name);
    remove(&fresh)?;
    fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
    for (pin, archive) in archives {
        unpack(pin, view, &archive, &fresh)?;
    }
    if part.name == libtorch::PART {
        libtorch::write_version(part, view, &fresh)?;
    }
    fs::write(fresh.join(STAMP), part.stamp(view) + "\n")?;
    swap(&fresh, &paths.emc().join(&part.folder))?;
    // Empty by now, unless another part left something there.
    let _ = fs::remove_dir(paths.emc().join("tmp"));
    Ok(())
}

fn unpack(pin: &Pin, view: View, archive: &Path, folder: &Path) -> Result<()> {
    let rules = serde_json::to_string(&pin.takes(view))?;
    let mut progress = None;
    let done = python::run(UNPACK, &[archive, folder], &rules, &[], |said| match said {
        Said::Total(bytes) => {
            progress = Some(Progress::bytes(
                &format!("unpack {} {}", pin.name, pin.version),
                bytes,
            ))
        }
        Said::At(bytes) => progress.iter_mut().for_each(|progress| progress.at(bytes)),
        Said::Note(_) => {}
    });
    if done.is_ok() {
        progress.into_iter().for_each(Progress::finish);
    }
    done.with_context(|| format!("cannot unpack {}", archive.display()))
}

/// Moves `fresh` to `place`. What was there goes away only after the new folder is complete.
fn swap(fresh: &Path, place: &Path) -> Result<()> {
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    let old = fresh.with_extension("old");
    remove(&old)?;
    if place.symlink_metadata().is_ok() {
        fs::rename(place, &old).with_context(|| format!("cannot move {} away", place.display()))?;
    }
    fs::rename(fresh, place).with_context(|| format!("cannot put {} in place", place.display()))?;
    remove(&old)
}

fn remove(path: &Path) -> Result<()> {
    let gone = match path.symlink_metadata() {
        Ok(kind) if kind.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    gone.with_context(|| format!("cannot remove {}", path.display()))
}

/// The place of a part's folder, for messages.
pub fn place(paths: &Paths, part: &Part) -> PathBuf {
    let folder = paths.emc().join(&part.folder);
    folder
        .strip_prefix(paths.root())
        .map(Path::to_owned)
        .unwrap_or(folder)
}
