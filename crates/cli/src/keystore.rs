//! Stored identities: one PEM file each in a folder of the user's, readable by nobody else, and the name of the one
//! that is used by default.

use anyhow::{Context, Result, anyhow, bail};
use emc_client::Identity;
use emc_client::identity::ed25519_pem;
use rand::RngCore;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The name that stands for no key.
pub const ANONYMOUS: &str = "anonymous";

/// The folder of identities.
#[derive(Clone, Debug)]
pub struct Keystore {
    folder: PathBuf,
}

impl Keystore {
    /// The folder given, or `emc/identity` in the user's config folder.
    pub fn open(folder: Option<&Path>) -> Result<Self> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => config_folder()?.join("identity"),
        };
        Ok(Self { folder })
    }

    /// Where an identity's file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    /// Makes a new Ed25519 key.
    pub fn create(&self, name: &str) -> Result<Identity> {
        let mut seed = [0; 32];
        rand::rngs::OsRng
            .try_fill_bytes(&mut seed)
            .context("the system has no random bytes")?;
        self.store(name, &ed25519_pem(&seed))
    }

    /// Stores a key given as PEM.
    pub fn store(&self, name: &str, pem: &str) -> Result<Identity> {
        check_name(name)?;
        let identity = Identity::from_pem(pem)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .with_context(|| format!("cannot make the folder {}", self.folder.display()))?;
        let path = self.path(name);
        let mut file = match fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
        {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => bail!(
                "there is an identity {name:?} already ({}); choose another name",
                path.display()
            ),
            Err(e) => return Err(anyhow!(e).context(format!("cannot write {}", path.display()))),
        };
        file.write_all(pem.as_bytes())
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write {}", path.display()))?;
        if self.default_name()?.is_none() {
            self.set_default(name)?;
        }
        Ok(identity)
    }

    /// An identity's PEM.
    pub fn pem(&self, name: &str) -> Result<String> {
        check_name(name)?;
        let path = self.path(name);
        fs::read_to_string(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => anyhow!(
                "there is no identity {name:?}; `emc identity list` shows them, `emc identity new {name}` makes one"
            ),
            _ => anyhow!(e).context(format!("cannot read {}", path.display())),
        })
    }

    /// An identity by its name.
    pub fn load(&self, name: &str) -> Result<Identity> {
        let pem = self.pem(name)?;
        let path = self.path(name);
        if let Ok(metadata) = fs::metadata(&path)
            && metadata.permissions().mode() & 0o077 != 0
        {
            crate::output::note(format_args!(
                "warning: others can read {}; type `chmod 600 {}`",
                path.display(),
                path.display()
            ));
        }
        Identity::from_pem(pem).with_context(|| format!("cannot use {}", path.display()))
    }

    /// The names, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => {
                return Err(anyhow!(e).context(format!("cannot read {}", self.folder.display())));
            }
        };
        let mut names = vec![];
        for entry in entries {
            let name = entry?.file_name();
            if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".pem")) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The name of the default identity, where there is one.
    pub fn default_name(&self) -> Result<Option<String>> {
        match fs::read_to_string(self.folder.join("default")) {
            Ok(name) => Ok(Some(name.trim().to_owned()).filter(|name| !name.is_empty())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(anyhow!(e).context("cannot read the name of the default identity")),
        }
    }

    /// Uses an identity by default from now on.
    pub fn set_default(&self, name: &str) -> Result<()> {
        if name != ANONYMOUS {
            self.pem(name)?;
        }
        fs::write(self.folder.join("default"), format!("{name}\n"))
            .context("cannot write the name of the default identity")
    }

    /// The identity that a person means: a stored one's name, a PEM file, `anonymous`; the default where nothing is
    /// said; `None` where there is no default.
    pub fn choose(&self, wanted: Option<&str>) -> Result<Option<Identity>> {
        let name = match wanted {
            Some(name) => name.to_owned(),
            None => match self.default_name()? {
                Some(name) => name,
                None => return Ok(None),
            },
        };
        if name == ANONYMOUS {
            return Ok(Some(Identity::anonymous()));
        }
        let is_path = name.contains('/') || name.ends_with(".pem");
        if is_path {
            return Ok(Some(Identity::from_pem_file(&name)?));
        }
        self.load(&name).map(Some)
    }
}

/// `$XDG_CONFIG_HOME/emc`, or `~/.config/emc`.
pub fn config_folder() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = set("XDG_CONFIG_HOME") {
        return Ok(PathBuf::from(folder).join("emc"));
    }
    let home = set("HOME").context("HOME is not set; name a folder with --identity-dir")?;
    Ok(PathBuf::from(home).join(".config/emc"))
}

fn check_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(allowed) {
        bail!("{name:?} is no name for an identity: use letters, digits, '-', '_' and '.'");
    }
    if name == ANONYMOUS {
        bail!("{ANONYMOUS:?} stands for no key; choose another name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keystore() -> (tempfile::TempDir, Keystore) {
        let folder = tempfile::tempdir().unwrap();
        let keystore = Keystore::open(Some(&folder.path().join("identity"))).unwrap();
        (folder, keystore)
    }

    #[test]
    fn a_new_key_is_readable_by_its_owner_alone() {
        let (_folder, keystore) = keystore();
        let made = keystore.create("alice").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&keystore.path("alice")), 0o600);
        assert_eq!(mode(&keystore.folder), 0o700);
        assert_eq!(
            keystore.load("alice").unwrap().principal(),
            made.principal()
        );
    }

    #[test]
    fn the_first_key_becomes_the_default_and_another_can_be_chosen() {
        let (_folder, keystore) = keystore();
        assert!(keystore.choose(None).unwrap().is_none());
        let alice = keystore.create("alice").unwrap();
        let bob = keystore.create("bob").unwrap();
        let principal = |wanted| keystore.choose(wanted).unwrap().unwrap().principal();
        assert_eq!(principal(None), alice.principal());
        assert_eq!(principal(Some("bob")), bob.principal());
        let path = keystore.path("bob");
        assert_eq!(principal(path.to_str()), bob.principal());
        keystore.set_default("bob").unwrap();
        assert_eq!(principal(None), bob.principal());
        assert_eq!(keystore.names().unwrap(), ["alice", "bob"]);
        assert_eq!(
            principal(Some(ANONYMOUS)),
            Identity::anonymous().principal()
        );
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let (_folder, keystore) = keystore();
        let alice = keystore.create("alice").unwrap();
        assert!(
            keystore
                .create("alice")
                .unwrap_err()
                .to_string()
                .contains("already")
        );
        assert_eq!(
            keystore.load("alice").unwrap().principal(),
            alice.principal()
        );
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let (_folder, keystore) = keystore();
        for name in ["", "../x", ".x", "a/b", "anonymous", "ä", "a b"] {
            assert!(keystore.create(name).is_err(), "{name}");
        }
        let missing = keystore.choose(Some("nobody")).unwrap_err().to_string();
        assert!(missing.contains("emc identity new nobody"), "{missing}");
    }
}
