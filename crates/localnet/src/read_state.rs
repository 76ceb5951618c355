//! What `read_state` shows, and to whom: a request's status to its sender, private metadata to controllers, the rest
//! to everybody.

use crate::certify::cbor;
use crate::state_tree::Tree;
use crate::subnet::Subnet;
use candid::Principal;

/// A path into the state tree.
pub type Path = Vec<Vec<u8>>;

/// Why nothing is shown: HTTP status and text.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal(pub u16, pub String);

impl Subnet {
    /// The part of the state that the paths name.
    pub fn read_state(&self, sender: Principal, paths: &[Path]) -> Result<Tree, Refusal> {
        const MAX_PATHS: usize = 1000;
        if paths.len() > MAX_PATHS {
            return Err(Refusal(
                400,
                format!("Too many paths: {} (max: {MAX_PATHS})", paths.len()),
            ));
        }
        let mut tree = Tree::default();
        let mut request: Option<&[u8]> = None;
        for path in paths {
            let labels: Vec<&[u8]> = path.iter().map(|l| &l[..]).collect();
            match labels[..] {
                [] | [b"time"] => {}
                [b"subnet", ..] => self.show_subnet(&mut tree),
                [b"canister_ranges", ..] => {
                    tree.put(
                        &[b"canister_ranges", self.keys.subnet.as_slice(), &FIRST_ID],
                        ranges(),
                    );
                }
                [b"canister", id, ref rest @ ..] => {
                    self.show_canister(&mut tree, sender, id, rest)?
                }
                [b"request_status", id]
                | [
                    b"request_status",
                    id,
                    b"status" | b"reply" | b"reject_code" | b"reject_message" | b"error_code",
                ] => {
                    if request.is_some_and(|r| r != id) {
                        return Err(Refusal(
                            403,
                            "Can only request a single request ID in request_status paths.".into(),
                        ));
                    }
                    request = Some(id);
                    self.show_request(&mut tree, sender, id)?;
                }
                _ => return Err(Refusal(400, "Invalid path requested.".into())),
            }
        }
        Ok(tree)
    }

    fn show_subnet(&self, tree: &mut Tree) {
        let keys = &self.keys;
        let subnet = keys.subnet.as_slice();
        tree.put(&[b"subnet", subnet, b"public_key"], &keys.root_der[..]);
        tree.put(&[b"subnet", subnet, b"type"], *b"application");
        tree.put(&[b"subnet", subnet, b"canister_ranges"], ranges());
        tree.put(
            &[
                b"subnet",
                subnet,
                b"node",
                keys.node_id.as_slice(),
                b"public_key",
            ],
            &keys.node_der[..],
        );
    }

    fn show_canister(
        &self,
        tree: &mut Tree,
        sender: Principal,
        id: &[u8],
        rest: &[&[u8]],
    ) -> Result<(), Refusal> {
        let bad_path = || Refusal(400, "Invalid path requested.".into());
        let id = Principal::try_from_slice(id).map_err(|_| bad_path())?;
        let canister = self.canisters.get(&id);
        let code = canister.and_then(|c| c.code.as_ref());
        match rest {
            [b"controllers"] => {
                if let Some(c) = canister {
                    let controllers = cbor(&c.settings.controllers);
                    tree.put(&[b"canister", id.as_slice(), b"controllers"], controllers);
                }
            }
            [b"module_hash"] => {
                if let Some(code) = code {
                    tree.put(
                        &[b"canister", id.as_slice(), b"module_hash"],
                        code.module.hash,
                    );
                }
            }
            [b"metadata", name] => {
                let name = std::str::from_utf8(name).map_err(|e| {
                    Refusal(400, format!("Could not parse the metadata's name: {e}"))
                })?;
                if let Some(section) = code.and_then(|c| c.module.metadata.get(name)) {
                    if !section.public && !canister.is_some_and(|c| c.is_controller(sender)) {
                        return Err(Refusal(
                            403,
                            format!(
                                "Custom section {name:.100} can only be requested by the controllers of the canister."
                            ),
                        ));
                    }
                    tree.put(
                        &[b"canister", id.as_slice(), b"metadata", name.as_bytes()],
                        &section.content[..],
                    );
                }
            }
            _ => return Err(bad_path()),
        }
        Ok(())
    }

    fn show_request(&self, tree: &mut Tree, sender: Principal, id: &[u8]) -> Result<(), Refusal> {
        let id = <[u8; 32]>::try_from(id).map_err(|_| {
            Refusal(
                400,
                format!("Invalid request id: it has {} bytes, not 32", id.len()),
            )
        })?;
        let Some((owner, status)) = self.ingress.get(&id) else {
            return Ok(());
        };
        if owner != sender {
            return Err(Refusal(
                403,
                "The user tries to access Request ID not signed by the caller.".into(),
            ));
        }
        status.put_into(tree, &id);
        Ok(())
    }
}

const FIRST_ID: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
const LAST_ID: [u8; 10] = [255, 255, 255, 255, 255, 255, 255, 255, 1, 1];

/// All canister ids belong to the one subnet.
fn ranges() -> Vec<u8> {
    cbor(&[(
        Principal::from_slice(&FIRST_ID),
        Principal::from_slice(&LAST_ID),
    )])
}
