//! Who calls: nobody, an Ed25519 key, or a PEM file as `icp`, `dfx` and `openssl` write them.

use crate::Error;
use candid::Principal;
use ed25519_dalek::SigningKey;
use ic_agent::identity::{AnonymousIdentity, BasicIdentity, Prime256v1Identity, Secp256k1Identity};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A key that signs calls. Cheap to clone; never prints its secret.
///
/// ```
/// use emc_client::Identity;
/// let identity = Identity::from_seed(&[7; 32]);
/// assert!(!identity.is_anonymous());
/// assert!(Identity::anonymous().is_anonymous());
/// ```
#[derive(Clone)]
pub struct Identity {
    signer: Arc<dyn ic_agent::Identity>,
    principal: Principal,
}

impl Identity {
    /// No key at all. The canisters answer its queries; most updates need a key.
    pub fn anonymous() -> Self {
        Self {
            signer: Arc::new(AnonymousIdentity),
            principal: Principal::anonymous(),
        }
    }

    /// An Ed25519 key from its 32 secret bytes (RFC 8032).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let signer = BasicIdentity::from_raw_key(seed);
        Self::of(signer).expect("an Ed25519 key always has a principal")
    }

    /// An Ed25519 key; the one that a node signs its receipts with is also the one it calls with.
    pub fn from_signing_key(key: &SigningKey) -> Self {
        Self::from_seed(&key.to_bytes())
    }

    /// A private key in PEM: PKCS#8 with Ed25519, secp256k1 or P-256, or SEC1 with secp256k1 or P-256.
    ///
    /// # Errors
    /// [`Error::Identity`] where it is none of these.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self, Error> {
        let pem = pem.as_ref();
        let text = String::from_utf8_lossy(pem);
        if text.contains("ENCRYPTED") {
            return Err(Error::Identity(
                "the PEM file is encrypted; decrypt it first, for example with `openssl pkey -in FILE -out PLAIN`."
                    .into(),
            ));
        }
        if let Ok(signer) = BasicIdentity::from_pem(pem) {
            return Self::of(signer);
        }
        if let Ok(signer) = Secp256k1Identity::from_pem(pem) {
            return Self::of(signer);
        }
        if let Ok(signer) = Prime256v1Identity::from_pem(pem) {
            return Self::of(signer);
        }
        Err(Error::Identity(
            "this is not a private key in PEM: it must be PKCS#8 (`BEGIN PRIVATE KEY`: Ed25519, secp256k1, P-256) or SEC1 (`BEGIN EC PRIVATE KEY`)."
                .into(),
        ))
    }

    /// Reads a PEM file, as [`Identity::from_pem`].
    ///
    /// # Errors
    /// [`Error::Identity`] where it cannot be read or is not a key.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let pem = std::fs::read(path)
            .map_err(|e| Error::Identity(format!("cannot read {}: {e}.", path.display())))?;
        Self::from_pem(pem).map_err(|e| match e {
            Error::Identity(why) => Error::Identity(format!("{}: {why}", path.display())),
            other => other,
        })
    }

    /// Any identity of ic-agent: a hardware key, a delegation.
    ///
    /// # Errors
    /// [`Error::Identity`] where it cannot say who it is.
    pub fn of(signer: impl ic_agent::Identity + 'static) -> Result<Self, Error> {
        let principal = signer.sender().map_err(Error::Identity)?;
        Ok(Self {
            signer: Arc::new(signer),
            principal,
        })
    }

    /// Its principal.
    pub fn principal(&self) -> Principal {
        self.principal
    }

    /// True for the anonymous one.
    pub fn is_anonymous(&self) -> bool {
        self.principal == Principal::anonymous()
    }

    pub(crate) fn signer(&self) -> Arc<dyn ic_agent::Identity> {
        self.signer.clone()
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::anonymous()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.principal)
    }
}

/// Writes an Ed25519 key as PEM (PKCS#8 version 1, RFC 8410), which `icp`, `dfx` and `openssl` read.
pub fn ed25519_pem(seed: &[u8; 32]) -> String {
    // PrivateKeyInfo { version 0, algorithm 1.3.101.112, privateKey OCTET STRING { OCTET STRING { seed } } }.
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    der.extend_from_slice(seed);
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        base64(&der)
    )
}

/// Base64 with padding (RFC 4648); 48 bytes make one line of 64 characters, so no line breaks are needed here.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (i, byte)| {
            word | u32::from(*byte) << (16 - 8 * i)
        });
        for i in 0..4 {
            if i <= chunk.len() {
                text.push(ALPHABET[(word >> (18 - 6 * i) & 63) as usize] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with `openssl ecparam -name secp256k1 -genkey` for this test alone.
    const SECP256K1_SEC1: &str = "-----BEGIN EC PARAMETERS-----\nBgUrgQQACg==\n-----END EC PARAMETERS-----\n\
        -----BEGIN EC PRIVATE KEY-----\nMHQCAQEEIIXo3/TOa+dI+rIHPXe/5r4Y7jrPsOkQWiX4l/ZZMzWLoAcGBSuBBAAK\noUQDQgAEeoNjPEtMD1uAs8uOBgb+i6FRK949fXxo55D89mOsxFBUxxVvwJRA4FF8\n3Lfm5y7QA3uKwykv8qOdXWSEXZZbNQ==\n-----END EC PRIVATE KEY-----\n";
    // Made with `openssl genpkey -algorithm ed25519` for this test alone.
    const ED25519_PKCS8: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIFZrGDvphH2HbfsIcDHMafZoTDeYJ8asFTFcUjuP+eNv\n-----END PRIVATE KEY-----\n";

    #[test]
    fn pem_keys_of_common_tools_are_read() {
        let ed25519 = Identity::from_pem(ED25519_PKCS8).unwrap();
        assert_eq!(
            ed25519.principal().to_text(),
            "binm4-s4jif-6fvmm-i6zgx-5pwzm-7nsf6-kpsl7-52sjy-x76sr-aj5q3-6qe"
        );
        let secp256k1 = Identity::from_pem(SECP256K1_SEC1).unwrap();
        assert_eq!(
            secp256k1.principal().to_text(),
            "7jgqb-paq2q-aot64-bsk6b-lbaan-7clyr-2eab2-yswtm-l27ja-bk7je-4ae"
        );
    }

    #[test]
    fn a_key_that_is_written_as_pem_is_read_back() {
        for byte in [0, 1, 0x7f, 0xff] {
            let seed = [byte; 32];
            let read = Identity::from_pem(ed25519_pem(&seed)).unwrap();
            assert_eq!(read.principal(), Identity::from_seed(&seed).principal());
        }
    }

    #[test]
    fn a_node_s_principal_is_that_of_its_key() {
        let key = SigningKey::from_bytes(&[3; 32]);
        assert_eq!(
            Identity::from_signing_key(&key).principal(),
            emc_protocol::receipt::node_principal(&key.verifying_key().to_bytes())
        );
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_it_must_be() {
        for wrong in [
            "",
            "hello",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            let error = Identity::from_pem(wrong).unwrap_err().to_string();
            assert!(error.contains("PKCS#8"), "{error}");
        }
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(
            Identity::from_pem(encrypted)
                .unwrap_err()
                .to_string()
                .contains("decrypt")
        );
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(
            format!("{:?}", Identity::anonymous()),
            "Identity(2vxsx-fae)"
        );
    }
}
