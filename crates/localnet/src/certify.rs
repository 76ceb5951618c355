//! The network's keys and what they sign: certificates (BLS, by the root key, so that no delegation is needed) and
//! query replies (Ed25519, by the one node). Certificates carry the wall clock, because agents compare it with theirs.

use crate::clock::wall_ns;
use crate::reject::Response;
use crate::state_tree::{StatusBatch, Tree, leb128};
use candid::Principal;
use ed25519_dalek::Signer;
use ed25519_dalek::pkcs8::EncodePublicKey;
use ic_certification::{Certificate, HashTree};
use rand::{CryptoRng, RngCore};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use tokio::sync::oneshot;

/// DER header of a BLS12-381 public key as the Internet Computer writes it.
const BLS_DER: &[u8] =
    b"\x30\x81\x82\x30\x1d\x06\x0d\x2b\x06\x01\x04\x01\x82\xdc\x7c\x05\x03\x01\x02\x01\x06\x0c\
                         \x2b\x06\x01\x04\x01\x82\xdc\x7c\x05\x03\x02\x01\x03\x61\x00";

/// The keys of the network and the ids that follow from them.
pub struct Keys {
    root: ic_verify_bls_signature::PrivateKey,
    /// DER form of the root key.
    pub root_der: Vec<u8>,
    /// The one subnet.
    pub subnet: Principal,
    node: ed25519_dalek::SigningKey,
    /// The one node.
    pub node_id: Principal,
    /// DER form of its key.
    pub node_der: Vec<u8>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("subnet", &self.subnet.to_text())
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// New keys from a source of randomness; the same source gives the same keys.
    pub fn generate(rng: &mut (impl RngCore + CryptoRng)) -> Self {
        let root = ic_verify_bls_signature::PrivateKey::random(rng);
        let mut root_der = BLS_DER.to_vec();
        root_der.extend(root.public_key().serialize());
        let node = ed25519_dalek::SigningKey::generate(rng);
        let node_der = node
            .verifying_key()
            .to_public_key_der()
            .expect("an Ed25519 key always has a DER form")
            .as_bytes()
            .to_vec();
        Self {
            subnet: Principal::self_authenticating(&root_der),
            node_id: Principal::self_authenticating(&node_der),
            root,
            root_der,
            node,
            node_der,
        }
    }

    /// A certificate for a tree; adds the time.
    pub fn certify(&self, mut tree: Tree) -> Vec<u8> {
        tree.put(&[b"time"], leb128(wall_ns()));
        let tree = tree.hash_tree();
        let signature = self.sign_digest(&tree.digest());
        certificate(tree, signature)
    }

    fn sign_digest(&self, digest: &[u8; 32]) -> Vec<u8> {
        let mut message = b"\x0Dic-state-root".to_vec();
        message.extend(digest);
        self.root.sign(&message).serialize().to_vec()
    }

    /// The node's signature under a query reply.
    pub fn sign_query(&self, message: &[u8]) -> Vec<u8> {
        self.node.sign(message).to_bytes().to_vec()
    }
}

fn certificate(tree: HashTree, signature: Vec<u8>) -> Vec<u8> {
    cbor(&Certificate {
        tree,
        signature,
        delegation: None,
    })
}

/// CBOR with the self-describing tag, as the HTTP interface wants it.
pub fn cbor<T: Serialize>(value: &T) -> Vec<u8> {
    let mut serializer = serde_cbor::Serializer::new(Vec::new());
    serializer
        .self_describe()
        .expect("writing to a vector cannot fail");
    value
        .serialize(&mut serializer)
        .expect("our own types serialise");
    serializer.into_inner()
}

/// How far a request has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestStatus {
    /// Taken, not yet answered.
    Processing,
    /// Answered.
    Done(Response),
    /// Answered so long ago that only this is remembered.
    Forgotten,
}

impl RequestStatus {
    /// Its part of the tree, below the request's id.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        match self {
            Self::Processing => tree.put(&[b"status"], *b"processing"),
            Self::Forgotten => tree.put(&[b"status"], *b"done"),
            Self::Done(Ok(reply)) => {
                tree.put(&[b"status"], *b"replied");
                tree.put(&[b"reply"], reply.clone());
            }
            Self::Done(Err(reject)) => {
                tree.put(&[b"status"], *b"rejected");
                tree.put(&[b"reject_code"], leb128(u64::from(reject.code)));
                tree.put(&[b"reject_message"], reject.message.as_bytes());
                if let Some(code) = reject.error_code() {
                    tree.put(&[b"error_code"], code);
                }
            }
        }
        tree
    }

    /// Puts it where it belongs.
    pub fn put_into(&self, tree: &mut Tree, id: &[u8; 32]) {
        tree.graft(&[b"request_status", id], self.tree());
    }
}

struct Job {
    id: [u8; 32],
    status: RequestStatus,
    done: oneshot::Sender<Vec<u8>>,
}

/// Certifies statuses on its own thread. What arrives while one signature is made shares the next one.
#[derive(Clone, Debug)]
pub struct Certifier {
    jobs: mpsc::Sender<Job>,
}

impl Certifier {
    /// Starts the thread; it ends when the last handle is dropped.
    pub fn start(keys: Arc<Keys>) -> std::io::Result<Self> {
        const BATCH: usize = 64;
        let (jobs, waiting) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("localnet-certify".into())
            .spawn(move || {
                while let Ok(first) = waiting.recv() {
                    let mut batch = vec![first];
                    batch.extend(waiting.try_iter().take(BATCH - 1));
                    certify_batch(&keys, batch);
                }
            })?;
        Ok(Self { jobs })
    }

    /// The certificate that shows a request's status; none once the thread is gone.
    pub async fn certify(&self, id: [u8; 32], status: RequestStatus) -> Option<Vec<u8>> {
        let (done, certificate) = oneshot::channel();
        self.jobs.send(Job { id, status, done }).ok()?;
        certificate.await.ok()
    }
}

fn certify_batch(keys: &Keys, jobs: Vec<Job>) {
    let statuses: BTreeMap<_, _> = jobs.iter().map(|j| (j.id, j.status.tree())).collect();
    let batch = StatusBatch::new(statuses, wall_ns());
    let signature = keys.sign_digest(&batch.digest());
    for job in jobs {
        let tree = batch
            .witness(&job.id)
            .expect("each job's id was put into the batch");
        // The client may have gone away.
        let _ = job.done.send(certificate(tree, signature.clone()));
    }
}

/// The certificate of a canister's certified data, made when a query first asks for it and renewed every second.
pub struct DataCertificate {
    keys: Arc<Keys>,
    canister: Principal,
    data: Vec<u8>,
    made: Mutex<Option<(u64, Arc<[u8]>)>>,
}

impl std::fmt::Debug for DataCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataCertificate")
            .field("canister", &self.canister.to_text())
            .finish_non_exhaustive()
    }
}

impl DataCertificate {
    /// For the data that the canister has set.
    pub fn new(keys: Arc<Keys>, canister: Principal, data: Vec<u8>) -> Self {
        Self {
            keys,
            canister,
            data,
            made: Mutex::new(None),
        }
    }

    /// The certificate.
    pub fn bytes(&self) -> Arc<[u8]> {
        const RENEW_NS: u64 = 1_000_000_000;
        let mut made = self.made.lock().expect("no holder panics");
        let now = wall_ns();
        if let Some((at, bytes)) = made.as_ref()
            && now < at + RENEW_NS
        {
            return bytes.clone();
        }
        let mut tree = Tree::default();
        tree.put(
            &[b"canister", self.canister.as_slice(), b"certified_data"],
            self.data.clone(),
        );
        let bytes: Arc<[u8]> = self.keys.certify(tree).into();
        *made = Some((now, bytes.clone()));
        bytes
    }
}
