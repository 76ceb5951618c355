//! A consent message as lines, and how they are written: Markdown for displays that can do much, fields for those that
//! cannot.

use crate::config::DECIMALS;
use candid::Nat;
use icrc_ledger_types::{
    icrc1::account::Account,
    icrc21::responses::{FieldsDisplay, Value},
};
use std::fmt::Write;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc2822};

/// Where a line is shown.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Display {
    Everywhere,
    Generic,
    Fields,
}

/// The value of a line.
pub(super) enum Shown {
    Account(Account),
    Amount(Nat),
    /// Nanoseconds since 1970.
    Time(u64),
    Sentence(&'static str),
    Memo(Vec<u8>),
}

/// A value with its label, and what is to be said about it where there is room.
pub(super) struct Line {
    label: &'static str,
    pub(super) value: Shown,
    note: Option<&'static str>,
    on: Display,
}

impl Line {
    pub(super) fn new(label: &'static str, value: Shown) -> Self {
        Self {
            label,
            value,
            note: None,
            on: Display::Everywhere,
        }
    }

    pub(super) fn account(label: &'static str, account: Account) -> Self {
        Self::new(label, Shown::Account(account))
    }

    pub(super) fn amount(label: &'static str, amount: Nat) -> Self {
        Self::new(label, Shown::Amount(amount))
    }

    pub(super) fn sentence(label: &'static str, text: &'static str) -> Self {
        Self::new(label, Shown::Sentence(text))
    }

    pub(super) fn only_on(self, on: Display) -> Self {
        Self { on, ..self }
    }

    pub(super) fn note(self, note: &'static str) -> Self {
        Self {
            note: Some(note),
            ..self
        }
    }
}

/// What is to be shown.
pub(super) struct Message {
    intent: String,
    explanation: &'static str,
    pub(super) lines: Vec<Line>,
}

impl Message {
    pub(super) fn new(intent: String, explanation: &'static str) -> Self {
        Self {
            intent,
            explanation,
            lines: vec![],
        }
    }

    pub(super) fn add(&mut self, line: Line) {
        self.lines.push(line);
    }

    pub(super) fn extend(&mut self, line: Option<Line>) {
        self.lines.extend(line);
    }

    pub(super) fn markdown(&self, symbol: &str, offset: i16) -> String {
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

    pub(super) fn fields(&self, symbol: &str) -> FieldsDisplay {
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
