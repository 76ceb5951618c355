//! ICRC-21: what a wallet shows its user before he signs a call, in words that this ledger answers for.
//!
//! The wording is that of the ICRC-21 working group's examples, in English. A message is a list of lines, written
//! either as Markdown (generic display) or as fields (fields display). Text that strangers choose (a memo) is shown only
//! where it cannot pass for something else. A call that is sure to be refused gets an error instead of a message.

mod display;

use crate::{allowance, config::Config, exact, state::Ledger, tokens::Tokens};
use candid::{Nat, Principal};
use display::{Display, Line, Message, Shown};
use icrc_ledger_types::{
    icrc1::{
        account::Account,
        transfer::{Memo, TransferArg},
    },
    icrc2::{approve::ApproveArgs, transfer_from::TransferFromArgs},
    icrc21::{
        errors::{ErrorInfo, Icrc21Error},
        requests::{ConsentMessageMetadata, ConsentMessageRequest, DisplayMessageType},
        responses::{ConsentInfo, ConsentMessage},
    },
};

const NO_EXPIRATION: &str = "This approval does not have an expiration.";

/// `icrc21_canister_call_consent_message`: what the call would do if `caller` made it now.
///
/// The anonymous principal asks on behalf of somebody whom it does not name; nothing is said of him then.
///
/// # Errors
/// Where the call is none of the three that move tokens, its argument cannot be read, or it is sure to be refused.
pub fn message(
    ledger: &Ledger,
    caller: Principal,
    request: &ConsentMessageRequest,
    now: u64,
) -> Result<ConsentInfo, Icrc21Error> {
    let signer = (caller != Principal::anonymous()).then_some(caller);
    let message = match request.method.as_str() {
        "icrc1_transfer" => transfer(ledger, signer, read(&request.arg)?)?,
        "icrc2_approve" => approve(ledger, signer, read(&request.arg)?, now)?,
        "icrc2_transfer_from" => transfer_from(ledger, read(&request.arg)?)?,
        other => {
            return Err(unsupported(format!(
                "there are messages for icrc1_transfer, icrc2_approve and icrc2_transfer_from, not for {other:?}"
            )));
        }
    };
    let preferences = &request.user_preferences;
    let offset = preferences.metadata.utc_offset_minutes.unwrap_or(0);
    let fields = preferences.device_spec == Some(DisplayMessageType::FieldsDisplay);
    let symbol = &ledger.config().token_symbol;
    // Fields hold seconds since 1970, which are the same everywhere.
    let local = !fields
        && message
            .lines
            .iter()
            .any(|line| matches!(line.value, Shown::Time(_)));
    Ok(ConsentInfo {
        consent_message: if fields {
            ConsentMessage::FieldsDisplayMessage(message.fields(symbol))
        } else {
            ConsentMessage::GenericDisplayMessage(message.markdown(symbol, offset))
        },
        metadata: ConsentMessageMetadata {
            language: "en".to_string(),
            utc_offset_minutes: local.then_some(offset),
        },
    })
}

fn read<T: exact::Argument>(argument: &[u8]) -> Result<T, Icrc21Error> {
    exact::decode(argument)
        .map_err(|error| unsupported(format!("the argument cannot be read: {error}")))
}

fn unsupported(description: String) -> Icrc21Error {
    Icrc21Error::UnsupportedCanisterCall(ErrorInfo { description })
}

fn transfer(
    ledger: &Ledger,
    signer: Option<Principal>,
    arg: TransferArg,
) -> Result<Message, Icrc21Error> {
    let config = ledger.config();
    let from = signer.map(|owner| Account {
        owner,
        subaccount: arg.from_subaccount,
    });
    let minting = config.minting_account;
    let free = arg.to == minting || from == Some(minting);
    let fee = checked_fee(config, arg.fee.as_ref(), free)?;
    let mut message = Message::new(
        format!("Send {}", config.token_name),
        "You are approving a transfer of funds from your account.",
    );
    message.extend(from.map(|from| Line::account("From", from)));
    message.add(Line::amount("Amount", arg.amount));
    message.add(Line::account("To", arg.to));
    message.add(Line::amount("Fees", fee.into()).note("Charged for processing the transfer."));
    message.extend(memo_line(config, arg.memo)?);
    Ok(message)
}

fn transfer_from(ledger: &Ledger, arg: TransferFromArgs) -> Result<Message, Icrc21Error> {
    let config = ledger.config();
    let free = arg.to == config.minting_account;
    let fee = checked_fee(config, arg.fee.as_ref(), free)?;
    let mut message = Message::new(
        format!("Spend {}", config.token_name),
        "You are approving a transfer of funds from a withdrawal account.",
    );
    message.add(Line::account("From", arg.from));
    message.add(Line::amount("Amount", arg.amount));
    message.add(Line::account("To", arg.to));
    message.add(Line::amount("Fees", fee.into()).note("Charged for processing the transfer."));
    message.extend(memo_line(config, arg.memo)?);
    Ok(message)
}

fn approve(
    ledger: &Ledger,
    signer: Option<Principal>,
    arg: ApproveArgs,
    now: u64,
) -> Result<Message, Icrc21Error> {
    let config = ledger.config();
    let fee = checked_fee(config, arg.fee.as_ref(), false)?;
    if allowance::is_expired(arg.expires_at, now) {
        return Err(unsupported("expires_at is in the past".to_string()));
    }
    let from = signer.map(|owner| Account {
        owner,
        subaccount: arg.from_subaccount,
    });
    let mut message = Message::new(
        "Approve spending".to_string(),
        "You are authorizing another address to withdraw funds from your account.",
    );
    message.extend(from.map(|from| Line::account("From", from)));
    message.add(Line::account("Approve to spender", arg.spender));
    let requested = Line::amount("Requested allowance", arg.amount);
    if let Some(from) = from {
        message.add(requested.note("This is the withdrawal limit that will apply upon approval."));
        let existing = allowance::current(ledger, &from, &arg.spender, now).amount;
        message.extend((!existing.is_zero()).then(|| {
            Line::amount("Existing allowance", existing.into())
                .note("Until approval, this allowance remains in effect.")
        }));
    } else {
        message.add(requested.note(
            "This is the withdrawal limit that will apply upon approval. \
             Until then, any existing allowance remains in effect.",
        ));
        let existing = "Any existing allowance remains in effect until approval.";
        message.add(Line::sentence("Existing allowance", existing).only_on(Display::Fields));
    }
    message.add(match arg.expires_at {
        Some(end) => Line::new("Approval expiration", Shown::Time(end)),
        None => Line::sentence("Approval expiration", NO_EXPIRATION),
    });
    message.add(
        Line::amount("Approval fees", fee.into()).note("Charged for processing the approval."),
    );
    let payer = |from| Line::account("Fees paid by", from).only_on(Display::Generic);
    message.extend(from.map(payer));
    message.extend(memo_line(config, arg.memo)?);
    Ok(message)
}

/// What the call costs; a fee that the caller names must be that.
fn checked_fee(config: &Config, named: Option<&Nat>, free: bool) -> Result<Tokens, Icrc21Error> {
    let fee = if free {
        Tokens::ZERO
    } else {
        config.transfer_fee
    };
    match named {
        Some(named) if Tokens::from_nat(named) != Some(fee) => Err(unsupported(format!(
            "the fee is {fee}, not {named}, and the call would be refused"
        ))),
        _ => Ok(fee),
    }
}

fn memo_line(config: &Config, memo: Option<Memo>) -> Result<Option<Line>, Icrc21Error> {
    let memo =
        crate::memo::check(config, memo).map_err(|refusal| unsupported(refusal.to_string()))?;
    Ok(memo.map(|memo| Line::new("Memo", Shown::Memo(memo))))
}
