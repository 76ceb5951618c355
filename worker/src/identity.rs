//! The node's key: an Ed25519 key in a PEM file that only its owner may read. It signs calls and receipts.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use candid::Principal;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use emc_client::identity::ed25519_pem;
use emc_protocol::receipt::node_principal;
use rand::RngCore;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("the identity file {0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// There is one already.
    #[error(
        "the identity file {0} exists already, and is never overwritten: the node's earnings hang on it"
    )]
    Exists(PathBuf),
    /// Others may read it.
    #[error("the identity file {0} can be read by others (mode {1:03o}): run `chmod 600 {path}`", path = .0.display())]
    Open(PathBuf, u32),
    /// It holds no Ed25519 key.
    #[error("the identity file {0} holds no Ed25519 key in PEM (PKCS#8): {1}")]
    NotAKey(PathBuf, String),
}

/// Makes a new key in a new file with mode 0600.
///
/// # Errors
/// Where the file exists or cannot be written.
pub fn create(path: &Path) -> Result<SigningKey, IdentityError> {
    let io = |error| IdentityError::Io(path.to_owned(), error);
    let mut seed = [0; 32];
    rand::rngs::OsRng.fill_bytes(&mut seed);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => IdentityError::Exists(path.to_owned()),
            _ => io(error),
        })?;
    file.write_all(ed25519_pem(&seed).as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Reads the key.
///
/// # Errors
/// Where there is none, or others than its owner may read it.
pub fn read(path: &Path) -> Result<SigningKey, IdentityError> {
    let io = |error| IdentityError::Io(path.to_owned(), error);
    let file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Open(path.to_owned(), mode));
    }
    let pem = std::io::read_to_string(file).map_err(io)?;
    SigningKey::from_pkcs8_pem(&pem)
        .map_err(|error| IdentityError::NotAKey(path.to_owned(), error.to_string()))
}

/// The node's principal.
pub fn principal(key: &SigningKey) -> Principal {
    node_principal(key.verifying_key().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_private_and_read_back_and_never_overwritten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("identity.pem");
        let key = create(&path).expect("creates");
        let mode = std::fs::metadata(&path)
            .expect("is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read(&path).expect("reads").to_bytes(), key.to_bytes());
        assert!(matches!(create(&path), Err(IdentityError::Exists(_))));
        let client = emc_client::Identity::from_signing_key(&key);
        assert_eq!(client.principal(), principal(&key));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("identity.pem");
        create(&path).expect("creates");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changes");
        let error = read(&path).expect_err("refused").to_string();
        assert!(
            error.contains("mode 644") && error.contains("chmod 600"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_key_is_an_error() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("identity.pem");
        assert!(matches!(read(&path), Err(IdentityError::Io(..))));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .expect("opens");
        file.write_all(b"-----BEGIN NOTHING-----").expect("writes");
        assert!(matches!(read(&path), Err(IdentityError::NotAKey(..))));
    }
}
