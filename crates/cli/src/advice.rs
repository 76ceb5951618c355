//! What to type next after an error.

use emc_client::protocol::error::code;
use emc_client::{Error, LedgerError};

/// The advice for an error, where there is some that its own text does not give.
pub fn of(error: &anyhow::Error) -> Option<String> {
    let error = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Error>())?;
    let advice = match error {
        Error::Api(api) => match api.code.as_str() {
            code::ANONYMOUS => {
                "Make a key with `emc identity new NAME`, or choose one with `--identity NAME`."
            }
            code::INSUFFICIENT_FUNDS => {
                "`emc account` shows what you have for jobs, `emc deposit AMOUNT` adds to it, `emc balance` shows what you have in the ledger."
            }
            code::UNSERVED => {
                "`emc quote` shows what nodes ask; give more with `--max-price`, or wait for a node with `--queue`."
            }
            code::UNKNOWN_MODEL | code::WRONG_TASK => {
                "`emc model list` shows the models that can be asked, and what each does."
            }
            code::PENDING | code::IN_FLIGHT => {
                "Nothing is lost and nothing needs to be repeated: look again with `emc account` in a minute."
            }
            code::STARTING | code::BUSY | code::UNAVAILABLE | code::STALE_FEED => {
                "Try again in a moment; `emc status` shows how the canisters are."
            }
            code::NOT_FOUND => {
                "`emc job list`, `emc node list` and `emc model list` show what there is."
            }
            _ => return None,
        },
        Error::Ledger(ledger) if ledger.insufficient_balance().is_some() => {
            "`emc balance` shows what you have."
        }
        Error::Ledger(
            LedgerError::Transfer(_) | LedgerError::Approve(_) | LedgerError::TransferFrom(_),
        ) => {
            return None;
        }
        Error::Transport {
            retryable: true, ..
        } => {
            "Is the network running? `--network` names another one (local, ic, or a URL); `cargo xtask demo --keep` starts one here."
        }
        Error::Rejected { .. } => {
            // A canister drops what a stranger may not call before it answers, without saying why.
            "Is it yours to do? `--identity` chooses who calls; `emc status` shows whether the canister ids belong to this network."
        }
        Error::Decode { .. } => "`emc status` shows the canisters' versions.",
        _ => return None,
    };
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use emc_client::protocol::ApiError;

    #[test]
    fn a_refusal_comes_with_what_to_type_next() {
        let refused = Error::from(ApiError::new(code::INSUFFICIENT_FUNDS, "Too little."));
        let error = Err::<(), _>(refused)
            .context("cannot submit the job")
            .unwrap_err();
        assert!(of(&error).unwrap().contains("emc deposit"));
        assert_eq!(of(&anyhow::anyhow!("other")), None);
    }
}
