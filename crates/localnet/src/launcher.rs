//! What the `icp` command expects of a network launcher: flags, a status file written at once and whole, and an end on
//! SIGTERM.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Refuses launcher interfaces that this program was not written for.
pub fn check_interface_version(version: &str) -> Result<()> {
    ensure!(
        version.split('.').next() == Some("1"),
        "launcher interface version {version} is asked for, but this emc-localnet speaks version 1"
    );
    Ok(())
}

/// `status.json`, which goes away with the network.
pub struct StatusFile(PathBuf);

impl StatusFile {
    /// Writes the file under another name first, so that nobody reads half of it.
    pub fn write(
        folder: &Path,
        port: u16,
        root_key: &str,
        effective_canister_id: &str,
    ) -> Result<Self> {
        let status = json!({
            "v": "1",
            "instance_id": null,
            "config_port": null,
            "gateway_port": port,
            "root_key": root_key,
            "default_effective_canister_id": effective_canister_id,
        });
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
        let (part, whole) = (folder.join("status.json.part"), folder.join("status.json"));
        // `icp` takes the file for whole once it ends a line.
        std::fs::write(&part, format!("{status}\n"))
            .with_context(|| format!("writing {}", part.display()))?;
        std::fs::rename(&part, &whole).with_context(|| format!("writing {}", whole.display()))?;
        Ok(Self(whole))
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        // Whoever removed it first is right.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// SIGTERM or SIGINT.
pub struct EndSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignal {
    /// From now on the signals no longer kill the process.
    pub fn watch() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when one arrives.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_file_is_whole_and_goes_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = StatusFile::write(folder.path(), 8123, "abcd", "bkyz2-fmaaa-aaaaa-qaaaq-cai")
            .expect("written");
        let path = folder.path().join("status.json");
        let read: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).expect("there")).expect("JSON");
        assert_eq!(
            (&read["v"], &read["gateway_port"], &read["root_key"]),
            (&json!("1"), &json!(8123), &json!("abcd"))
        );
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn another_launcher_interface_is_refused() {
        assert!(check_interface_version("1.0.0").is_ok());
        assert!(
            check_interface_version("2.0.0")
                .unwrap_err()
                .to_string()
                .contains("speaks version 1")
        );
    }
}
