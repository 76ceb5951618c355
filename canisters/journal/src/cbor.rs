//! How records lie in stable memory: CBOR with numbered fields, so that later versions can add fields; here the codecs
//! for types that minicbor does not know, and the macro that makes a record storable.

/// Implements `Storable` for a record that derives minicbor's `Encode` and `Decode`.
#[macro_export]
macro_rules! storable_record {
    ($($record:ty),+ $(,)?) => {$(
        impl ::ic_stable_structures::Storable for $record {
            const BOUND: ::ic_stable_structures::storable::Bound =
                ::ic_stable_structures::storable::Bound::Unbounded;

            fn to_bytes(&self) -> ::std::borrow::Cow<'_, [u8]> {
                ::std::borrow::Cow::Owned(
                    ::minicbor::to_vec(self).expect("writing to memory cannot fail"),
                )
            }

            fn into_bytes(self) -> ::std::vec::Vec<u8> {
                ::minicbor::to_vec(&self).expect("writing to memory cannot fail")
            }

            fn from_bytes(bytes: ::std::borrow::Cow<'_, [u8]>) -> Self {
                ::minicbor::decode(&bytes).expect("stable memory holds what this canister wrote")
            }
        }
    )+};
}

/// A principal as its bytes; for `#[cbor(with = "...")]`.
pub mod principal {
    use candid::Principal;
    use minicbor::{
        Decoder, Encoder,
        decode::Error,
        encode::{Error as WriteError, Write},
    };

    /// Writes it.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<C, W: Write>(
        principal: &Principal,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), WriteError<W::Error>> {
        e.bytes(principal.as_slice())?.ok()
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where the bytes are no principal.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Principal, Error> {
        Principal::try_from_slice(d.bytes()?).map_err(|_| Error::message("not a principal"))
    }
}

/// A `u128` as its sixteen big-endian bytes without leading zeros; for `#[cbor(with = "...")]`.
pub mod amount {
    use minicbor::{
        Decoder, Encoder,
        decode::Error,
        encode::{Error as WriteError, Write},
    };

    /// Writes it.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<C, W: Write>(
        amount: &u128,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), WriteError<W::Error>> {
        let bytes = amount.to_be_bytes();
        e.bytes(&bytes[amount.leading_zeros() as usize / 8..])?.ok()
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where there are more than sixteen bytes.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<u128, Error> {
        let bytes = d.bytes()?;
        if bytes.len() > 16 {
            return Err(Error::message("an amount has at most 16 bytes"));
        }
        Ok(bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u128::from(*byte)))
    }
}

/// An account of the ledger as owner and subaccount; for `#[cbor(with = "...")]`.
pub mod account {
    use icrc_ledger_types::icrc1::account::Account;
    use minicbor::{
        Decoder, Encoder,
        decode::Error,
        encode::{Error as WriteError, Write},
    };

    /// Writes it.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<C, W: Write>(
        account: &Account,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), WriteError<W::Error>> {
        e.array(2)?.bytes(account.owner.as_slice())?;
        e.bytes(account.subaccount.as_ref().map_or(&[], |s| s))?
            .ok()
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where it is not an account.
    pub fn decode<C>(d: &mut Decoder<'_>, ctx: &mut C) -> Result<Account, Error> {
        if d.array()? != Some(2) {
            return Err(Error::message("an account has two parts"));
        }
        let owner = super::principal::decode(d, ctx)?;
        let subaccount = match d.bytes()? {
            [] => None,
            bytes => Some(
                bytes
                    .try_into()
                    .map_err(|_| Error::message("a subaccount has 32 bytes"))?,
            ),
        };
        Ok(Account { owner, subaccount })
    }
}
