//! The chunk store, for modules above the size of a message.

use super::{Result, encode};
use crate::limits::{MAX_CHUNK_BYTES, MAX_CHUNKS};
use crate::message::Origin;
use crate::reject::Reject;
use crate::subnet::Subnet;
use candid::Principal;
use ic_management_canister_types::{
    CanisterIdRecord, ChunkHash, InstallChunkedCodeArgs, UploadChunkArgs,
};
use sha2::{Digest, Sha256};

fn store_error(message: String) -> Reject {
    Reject::error(504, format!("Error from Wasm chunk store: {message}."))
}

impl Subnet {
    pub(super) fn upload_chunk(
        &mut self,
        caller: Principal,
        (args,): (UploadChunkArgs,),
    ) -> Result<Vec<u8>> {
        // A canister may fill its own store too.
        let canister = if caller == args.canister_id {
            self.existing(args.canister_id)?
        } else {
            self.controlled(args.canister_id, caller)?
        };
        if args.chunk.len() > MAX_CHUNK_BYTES {
            return Err(store_error(format!(
                "Wasm chunk size {} exceeds the maximum chunk size of {MAX_CHUNK_BYTES}",
                args.chunk.len()
            )));
        }
        let hash: [u8; 32] = Sha256::digest(&args.chunk).into();
        if canister.chunks.len() >= MAX_CHUNKS && !canister.chunks.contains_key(&hash) {
            return Err(store_error(format!(
                "Wasm chunk store has already reached maximum capacity of {MAX_CHUNKS} chunks"
            )));
        }
        canister.chunks.insert(hash, args.chunk);
        Ok(encode((ChunkHash {
            hash: hash.to_vec(),
        },)))
    }

    pub(super) fn stored_chunks(
        &mut self,
        caller: Principal,
        (of,): (CanisterIdRecord,),
    ) -> Result<Vec<u8>> {
        let canister = self.controlled(of.canister_id, caller)?;
        let hashes: Vec<ChunkHash> = canister
            .chunks
            .keys()
            .map(|h| ChunkHash { hash: h.to_vec() })
            .collect();
        Ok(encode((hashes,)))
    }

    pub(super) fn clear_chunk_store(
        &mut self,
        caller: Principal,
        (of,): (CanisterIdRecord,),
    ) -> Result<Vec<u8>> {
        self.controlled(of.canister_id, caller)?.chunks.clear();
        Ok(encode(()))
    }

    pub(super) fn install_chunked_code(
        &mut self,
        caller: Principal,
        origin: Origin,
        (args,): (InstallChunkedCodeArgs,),
    ) -> Result<Vec<u8>> {
        self.controlled(args.target_canister, caller)?;
        let store = args.store_canister.unwrap_or(args.target_canister);
        let canister = if store == caller {
            self.existing(store)?
        } else {
            self.controlled(store, caller)?
        };
        let mut module = Vec::new();
        for chunk in &args.chunk_hashes_list {
            let found = <[u8; 32]>::try_from(&chunk.hash[..])
                .ok()
                .and_then(|h| canister.chunks.get(&h));
            match found {
                Some(bytes) => module.extend_from_slice(bytes),
                None => {
                    return Err(store_error(format!(
                        "Chunk hash {} was not found",
                        hex::encode(&chunk.hash)
                    )));
                }
            }
        }
        if Sha256::digest(&module)[..] != args.wasm_module_hash[..] {
            return Err(store_error(format!(
                "Wasm module hash {} does not match given hash {}",
                hex::encode(Sha256::digest(&module)),
                hex::encode(&args.wasm_module_hash)
            )));
        }
        self.install(
            caller,
            origin,
            args.target_canister,
            args.mode,
            &module,
            args.arg,
        )
    }
}
