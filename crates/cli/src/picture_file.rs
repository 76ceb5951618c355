//! PNG files: what is sent with a job, and what comes back.

use anyhow::{Context, Result, bail};
use emc_client::protocol::png;
use std::path::{Path, PathBuf};

/// A picture as it lies on the disk.
#[derive(Debug)]
pub struct PictureFile {
    /// The file.
    pub png: Vec<u8>,
    /// Width and height.
    pub size: (u32, u32),
}

impl PictureFile {
    /// Reads a PNG.
    pub fn read(path: &PathBuf) -> Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let Some(size) = png::size(&bytes) else {
            bail!("{} is not a PNG file; convert it first", path.display());
        };
        Ok(Self { png: bytes, size })
    }
}

/// Writes a file whole: beside it first, so that a reader never sees a half.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A size as it is given: 512x768.
pub fn size(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("{text:?} is not a size like 512x512");
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let side = |text: &str| text.parse().map_err(|_| wrong());
    Ok((side(width)?, side(height)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_nonsense_is_refused() {
        assert_eq!(size("512x768"), Ok((512, 768)));
        for text in [
            "",
            "512",
            "x",
            "512x",
            "ax5",
            "-8x8",
            "8x8x8",
            "99999999999x8",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_no_png_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("photo.jpg");
        write(&file, b"\xff\xd8 not a png").unwrap();
        let error = PictureFile::read(&file).unwrap_err().to_string();
        assert!(
            error.contains("photo.jpg") && error.contains("PNG"),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
