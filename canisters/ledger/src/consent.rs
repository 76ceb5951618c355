//! ICRC-21: what a wallet shows its user before he signs a call, in words that this ledger answers for.
//!
//! The wording is that of the ICRC-21 working group's examples, in English. A message is a list of lines, written
//! either as Markdown (generic display) or as fields (fields display). Text that strangers choose (a memo) is shown only
//! where it cannot pass for something else. A call that is sure to be refused gets an error instead of a message.

use crate::{
    allowance,
    arguments::decode,
    config::{Config, DECIMALS},
    state::Ledger,
    tokens::Tokens,
};
use candid::{CandidType, Nat, Principal};
use icrc_ledger_types::{
    icrc1::{
        account::Account,
        transfer::{Memo, TransferArg},
    },
    icrc2::{approve::ApproveArgs, transfer_from::TransferFromArgs},
    icrc21::{
        errors::{ErrorInfo, Icrc21Error},
        requests::{ConsentMessageMetadata, ConsentMessageRequest, DisplayMessageType},
        responses::{ConsentInfo, ConsentMessage, FieldsDisplay, Value},
    },
};
use serde::de::DeserializeOwned;
use std::fmt::Write;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc2822};

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

fn read<T: CandidType + DeserializeOwned>(argument: &[u8]) -> Result<T, Icrc21Error> {
    decode(argument).map_err(|error| unsupported(format!("the argument cannot be read: {error}")))
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
        message.add(Line {
            on: Display::Fields,
            ..Line::sentence(
                "Existing allowance",
                "Any existing allowance remains in effect until approval.",
            )
        });
    }
    message.add(match arg.expires_at {
        Some(end) => Line::new("Approval expiration", Shown::Time(end)),
        None => Line::sentence("Approval expiration", NO_EXPIRATION),
    });
    message.add(
        Line::amount("Approval fees", fee.into()).note("Charged for processing the approval."),
    );
    message.extend(from.map(|from| Line {
        on: Display::Generic,
        ..Line::account("Fees paid by", from)
    }));
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

/// Where a line is shown.
#[derive(Clone, Copy, PartialEq)]
enum Display {
    Everywhere,
    Generic,
    Fields,
}

/// The value of a line.
enum Shown {
    Account(Account),
    Amount(Nat),
    /// Nanoseconds since 1970.
    Time(u64),
    Sentence(&'static str),
    Memo(Vec<u8>),
}

/// A value with its label, and what is to be said about it where there is room.
struct Line {
    label: &'static str,
    value: Shown,
    note: Option<&'static str>,
    on: Display,
}

impl Line {
    fn new(label: &'static str, value: Shown) -> Self {
        Self {
            label,
            value,
            note: None,
            on: Display::Everywhere,
        }
    }

    fn account(label: &'static str, account: Account) -> Self {
        Self::new(label, Shown::Account(account))
    }

    fn amount(label: &'static str, amount: Nat) -> Self {
        Self::new(label, Shown::Amount(amount))
    }

    fn sentence(label: &'static str, text: &'static str) -> Self {
        Self::new(label, Shown::Sentence(text))
    }

    fn note(self, note: &'static str) -> Self {
        Self {
            note: Some(note),
            ..self
        }
    }
}

/// What is to be shown.
struct Message {
    intent: String,
    explanation: &'static str,
    lines: Vec<Line>,
}

impl Message {
    fn new(intent: String, explanation: &'static str) -> Self {
        Self {
            intent,
            explanation,
            lines: vec![],
        }
    }

    fn add(&mut self, line: Line) {
        self.lines.push(line);
    }

    fn extend(&mut self, line: Option<Line>) {
        self.lines.extend(line);
    }

    fn markdown(&self, symbol: &str, offset: i16) -> String {
        // Two spaces before the end of a line break it there.
        let mut text = format!("# {}\n\n{}", self.intent, self.explanation);
        let shown = self.lines.iter().filter(|line| line.on != Display::Fields);
        for line in shown {
            let label = line.label;
            let value = match &line.value {
                Shown::Account(account) => format!("  \n`{account}`"),
                Shown::Amount(amount) => format!(" `{}`", decimal(amount, symbol)),
                Shown::Time(time) => format!("  \n{}", date(*time, offset)),
                Shown::Sentence(text) => format!("  \n{text}"),
                Shown::Memo(memo) => format!("  \n`{}`", readable(memo)),
            };
            let note = line
                .note
                .map(|note| format!("  \n{note}"))
                .unwrap_or_default();
            write!(text, "\n\n**{label}:**{value}{note}").expect("text can be added to");
        }
        text
    }

    fn fields(&self, symbol: &str) -> FieldsDisplay {
        let shown = self.lines.iter().filter(|line| line.on != Display::Generic);
        let field = |line: &Line| {
            let text = |content: String| Value::Text { content };
            let value = match &line.value {
                Shown::Account(account) => text(account.to_string()),
                Shown::Amount(amount) => match u64::try_from(&amount.0) {
                    Ok(amount) => Value::TokenAmount {
                        decimals: DECIMALS,
                        amount,
                        symbol: symbol.to_string(),
                    },
                    // More than can exist: an approval of everything, as a rule.
                    Err(_) => text(decimal(amount, symbol)),
                },
                Shown::Time(time) => Value::TimestampSeconds {
                    amount: time / 1_000_000_000,
                },
                Shown::Sentence(sentence) => text((*sentence).to_string()),
                Shown::Memo(memo) => text(readable(memo)),
            };
            (line.label.to_string(), value)
        };
        FieldsDisplay {
            intent: self.intent.clone(),
            fields: shown.map(field).collect(),
        }
    }
}

/// An amount in whole tokens with their symbol, without zeros at its end: `1.05 EMC`.
fn decimal(amount: &Nat, symbol: &str) -> String {
    let places = usize::from(DECIMALS);
    let digits = format!("{:0>width$}", amount.0, width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{whole}{point}{fraction} {symbol}")
}

/// Such as `Sun, 22 Nov 2026 11:00:00 +0100`; an offset that no place on Earth has counts as none.
fn date(time: u64, offset_minutes: i16) -> String {
    let offset = UtcOffset::from_whole_seconds(i32::from(offset_minutes) * 60);
    let moment = OffsetDateTime::from_unix_timestamp((time / 1_000_000_000) as i64);
    let moment = moment.expect("64 bits of nanoseconds end in the year 2554");
    moment
        .checked_to_offset(offset.unwrap_or(UtcOffset::UTC))
        .unwrap_or(moment)
        .format(&Rfc2822)
        .expect("the standard's format knows the years 1900 to 9999")
}

/// A memo as its text, if it is one that shows what it is; else in hex.
fn readable(memo: &[u8]) -> String {
    match std::str::from_utf8(memo) {
        Ok(text) if text.chars().all(is_plain) => text.to_string(),
        _ => memo.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// Neither what ends Markdown's code, nor what breaks the line, nor what hides or turns round other text.
fn is_plain(c: char) -> bool {
    let hides = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    );
    c != '`' && !c.is_control() && !hides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_no_zeros_at_their_end() {
        for (amount, text) in [
            (0u128, "0 EMC"),
            (1, "0.00000001 EMC"),
            (100_000_000, "1 EMC"),
            (3_271_600_000, "32.716 EMC"),
            (105_000_000, "1.05 EMC"),
        ] {
            assert_eq!(decimal(&Nat::from(amount), "EMC"), text);
        }
        let beyond = decimal(&(Nat::from(u128::MAX) * Nat::from(10u8)), "EMC");
        assert_eq!(beyond, "34028236692093846346337460743176.8211455 EMC");
    }

    #[test]
    fn dates_are_told_in_the_users_time() {
        let time = 1_795_345_200_000_000_000;
        assert_eq!(date(time, 0), "Sun, 22 Nov 2026 11:00:00 +0000");
        assert_eq!(date(time, 60), "Sun, 22 Nov 2026 12:00:00 +0100");
        assert_eq!(date(time, -210), "Sun, 22 Nov 2026 07:30:00 -0330");
        for offset in [i16::MIN, i16::MAX] {
            assert_eq!(date(time, offset), date(time, 0));
            date(u64::MAX, offset);
            date(0, offset);
        }
        date(0, -1_439);
        date(u64::MAX, 1_439);
    }

    #[test]
    fn a_memo_cannot_pass_for_something_else() {
        assert_eq!(readable(b"Rent, May"), "Rent, May");
        assert_eq!(readable("Grüße \u{1f600}".as_bytes()), "Grüße \u{1f600}");
        assert_eq!(readable(&[0xff, 0]), "ff00");
        assert_eq!(readable(b"`\n\n# Send"), "600a0a232053656e64");
        assert_eq!(readable("a\u{202e}b".as_bytes()), "61e280ae62");
    }
}
