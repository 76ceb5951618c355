//! How values lie in stable memory: CBOR with numbered fields (minicbor), so that a record can gain fields and an older
//! one still reads. Here are the codecs for types that minicbor does not know, and the bridge to `Storable`.

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};

/// Makes records with minicbor's `Encode` and `Decode` storable, without a bound on their size.
macro_rules! stored {
    ($($record:ty),+ $(,)?) => {$(
        impl ic_stable_structures::Storable for $record {
            const BOUND: ic_stable_structures::storable::Bound =
                ic_stable_structures::storable::Bound::Unbounded;

            fn to_bytes(&self) -> std::borrow::Cow<'_, [u8]> {
                std::borrow::Cow::Owned($crate::stored::encode(self))
            }

            fn into_bytes(self) -> Vec<u8> {
                $crate::stored::encode(&self)
            }

            fn from_bytes(bytes: std::borrow::Cow<'_, [u8]>) -> Self {
                minicbor::decode(&bytes).expect("stable memory holds what this canister wrote")
            }
        }
    )+};
}
pub(crate) use stored;

/// The bytes of a record.
pub fn encode<T: minicbor::Encode<()>>(record: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    minicbor::encode(record, &mut bytes).expect("writing to memory does not fail");
    bytes
}

fn write_u128<W: Write>(value: u128, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>> {
    match u64::try_from(value) {
        Ok(small) => e.u64(small)?.ok(),
        Err(_) => e.bytes(&value.to_be_bytes())?.ok(),
    }
}

fn read_u128(d: &mut Decoder<'_>) -> Result<u128, DecodeError> {
    if d.datatype()? == minicbor::data::Type::Bytes {
        let bytes = d.bytes()?.try_into();
        return bytes
            .map(u128::from_be_bytes)
            .map_err(|_| DecodeError::message("an amount of 16 bytes"));
    }
    d.u64().map(u128::from)
}

/// Codec for [`emc_protocol::Tokens`]: a CBOR integer where it fits, else 16 bytes, big-endian.
pub mod tokens {
    use super::*;
    use emc_protocol::Tokens;

    /// Writes it.
    pub fn encode<C, W: Write>(
        value: &Tokens,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        write_u128(value.0, e)
    }

    /// Reads it.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Tokens, DecodeError> {
        read_u128(d).map(Tokens)
    }
}

/// Codec for `Option<Tokens>`.
pub mod maybe_tokens {
    use super::*;
    use emc_protocol::Tokens;

    /// Writes it.
    pub fn encode<C, W: Write>(
        value: &Option<Tokens>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match value {
            Some(value) => write_u128(value.0, e),
            None => e.null()?.ok(),
        }
    }

    /// Reads it.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Option<Tokens>, DecodeError> {
        if d.datatype()? == minicbor::data::Type::Null {
            return d.null().map(|()| None);
        }
        read_u128(d).map(|value| Some(Tokens(value)))
    }

    /// What a missing field reads as.
    pub fn nil() -> Option<Option<Tokens>> {
        Some(None)
    }

    /// Whether a trailing field may be left out.
    pub fn is_nil(value: &Option<Tokens>) -> bool {
        value.is_none()
    }
}

/// Codec for a natural number of up to 128 bits, as [`tokens`].
pub mod natural {
    use super::*;

    /// Writes it.
    pub fn encode<C, W: Write>(
        value: &u128,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        write_u128(*value, e)
    }

    /// Reads it.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<u128, DecodeError> {
        read_u128(d)
    }
}

/// Codec for a signed amount: a CBOR integer where it fits, else 16 bytes, big-endian.
pub mod signed {
    use super::*;

    /// Writes it.
    pub fn encode<C, W: Write>(
        value: &i128,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match i64::try_from(*value) {
            Ok(small) => e.i64(small)?.ok(),
            Err(_) => e.bytes(&value.to_be_bytes())?.ok(),
        }
    }

    /// Reads it.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<i128, DecodeError> {
        if d.datatype()? == minicbor::data::Type::Bytes {
            let bytes = d.bytes()?.try_into();
            return bytes
                .map(i128::from_be_bytes)
                .map_err(|_| DecodeError::message("a signed amount of 16 bytes"));
        }
        d.i64().map(i128::from)
    }
}

/// Codec for [`emc_protocol::Timestamp`]: nanoseconds.
pub mod time {
    use super::*;
    use emc_protocol::Timestamp;

    /// Writes it.
    pub fn encode<C, W: Write>(
        value: &Timestamp,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.u64(value.0)?.ok()
    }

    /// Reads it.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Timestamp, DecodeError> {
        d.u64().map(Timestamp)
    }
}

/// Codec for `Option<Timestamp>`.
pub mod maybe_time {
    use super::*;
    use emc_protocol::Timestamp;

    /// Writes it.
    pub fn encode<C, W: Write>(
        value: &Option<Timestamp>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match value {
            Some(value) => e.u64(value.0)?.ok(),
            None => e.null()?.ok(),
        }
    }

    /// Reads it.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Option<Timestamp>, DecodeError> {
        if d.datatype()? == minicbor::data::Type::Null {
            return d.null().map(|()| None);
        }
        d.u64().map(|value| Some(Timestamp(value)))
    }

    /// What a missing field reads as.
    pub fn nil() -> Option<Option<Timestamp>> {
        Some(None)
    }

    /// Whether a trailing field may be left out.
    pub fn is_nil(value: &Option<Timestamp>) -> bool {
        value.is_none()
    }
}

/// Codec for [`emc_protocol::Seconds`].
pub mod seconds {
    use super::*;
    use emc_protocol::Seconds;

    /// Writes it.
    pub fn encode<C, W: Write>(
        value: &Seconds,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.u64(value.0)?.ok()
    }

    /// Reads it.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Seconds, DecodeError> {
        d.u64().map(Seconds)
    }
}

/// Codec for principals: their bytes.
pub mod principal {
    use super::*;
    use candid::Principal;

    /// Writes it.
    pub fn encode<C, W: Write>(
        value: &Principal,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bytes(value.as_slice())?.ok()
    }

    /// Reads it.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Principal, DecodeError> {
        Principal::try_from_slice(d.bytes()?).map_err(|_| DecodeError::message("a principal"))
    }
}

/// Codec for [`emc_protocol::Usage`]: three integers.
pub mod usage {
    use super::*;
    use emc_protocol::Usage;

    /// Writes it.
    pub fn encode<C, W: Write>(
        value: &Usage,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(3)?.u64(value.prompt_tokens)?;
        e.u64(value.output_tokens)?.u64(value.pixel_steps)?.ok()
    }

    /// Reads it.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Usage, DecodeError> {
        if d.array()? != Some(3) {
            return Err(DecodeError::message("a usage of three numbers"));
        }
        Ok(Usage {
            prompt_tokens: d.u64()?,
            output_tokens: d.u64()?,
            pixel_steps: d.u64()?,
        })
    }
}

/// Codec for [`emc_protocol::Price`]: three amounts.
pub mod price {
    use super::*;
    use emc_protocol::{Price, Tokens};

    /// Writes it.
    pub fn encode<C, W: Write>(
        value: &Price,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(3)?;
        write_u128(value.prompt.0, e)?;
        write_u128(value.output.0, e)?;
        write_u128(value.pixel_steps.0, e)
    }

    /// Reads it.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Price, DecodeError> {
        if d.array()? != Some(3) {
            return Err(DecodeError::message("a price of three amounts"));
        }
        Ok(Price {
            prompt: Tokens(read_u128(d)?),
            output: Tokens(read_u128(d)?),
            pixel_steps: Tokens(read_u128(d)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use emc_protocol::{Timestamp, Tokens};
    use minicbor::{Decode, Encode};
    use proptest::prelude::*;

    #[derive(Encode, Decode, Debug, PartialEq)]
    struct Before {
        #[cbor(n(0), with = "super::tokens")]
        amount: Tokens,
        #[cbor(n(1), with = "super::signed")]
        change: i128,
    }

    #[derive(Encode, Decode, Debug, PartialEq)]
    struct After {
        #[cbor(n(0), with = "super::tokens")]
        amount: Tokens,
        #[cbor(n(1), with = "super::signed")]
        change: i128,
        #[cbor(n(2), with = "super::maybe_time")]
        time: Option<Timestamp>,
        #[cbor(n(3), with = "super::maybe_tokens")]
        more: Option<Tokens>,
        #[n(4)]
        #[cbor(default)]
        count: u32,
    }

    proptest! {
        #[test]
        fn a_record_reads_back_and_an_older_one_still_reads(amount: u128, change: i128, time: Option<u64>, more: Option<u128>) {
            let before = Before { amount: Tokens(amount), change };
            let bytes = super::encode(&before);
            let after: After = minicbor::decode(&bytes).unwrap();
            prop_assert_eq!(&after, &After { amount: before.amount, change, time: None, more: None, count: 0 });
            let full = After { time: time.map(Timestamp), more: more.map(Tokens), count: 7, ..after };
            prop_assert_eq!(minicbor::decode::<After>(&super::encode(&full)).unwrap(), full);
        }
    }
}
