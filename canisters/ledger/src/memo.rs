//! The limit on memos, as `icrc1:max_memo_length` announces it.

use crate::{config::Config, refusal::Refusal};
use icrc_ledger_types::icrc1::transfer::Memo;

/// The memo's bytes, if they are not too many.
pub(crate) fn check(config: &Config, memo: Option<Memo>) -> Result<Option<Vec<u8>>, Refusal> {
    let limit = config.max_memo_length;
    match memo {
        Some(Memo(bytes)) if bytes.len() > usize::from(limit) => Err(Refusal::MemoTooLong {
            length: bytes.len(),
            limit,
        }),
        memo => Ok(memo.map(|Memo(bytes)| bytes.into_vec())),
    }
}
