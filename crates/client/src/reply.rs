//! Arguments to Candid and replies from it.

use crate::Error;
use candid::CandidType;
use candid::utils::{ArgumentEncoder, decode_one, encode_args};
use serde::de::DeserializeOwned;

/// Encodes the arguments of a call.
pub(crate) fn encode<A: ArgumentEncoder>(method: &str, args: A) -> Result<Vec<u8>, Error> {
    encode_args(args)
        .map_err(|e| Error::Config(format!("the arguments of {method} cannot be encoded: {e}.")))
}

/// Decodes a reply that is a value.
pub(crate) fn plain<T: CandidType + DeserializeOwned>(
    method: &str,
    bytes: &[u8],
) -> Result<T, Error> {
    decode_one(bytes).map_err(|e| Error::Decode {
        method: method.to_owned(),
        reason: first_line(&e),
    })
}

/// Decodes a reply that is `variant { Ok; Err }`.
pub(crate) fn fallible<T, E>(method: &str, bytes: &[u8]) -> Result<Result<T, E>, Error>
where
    T: CandidType + DeserializeOwned,
    E: CandidType + DeserializeOwned,
{
    plain::<Result<T, E>>(method, bytes)
}

fn first_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().into()
}
