//! Decimals on the command line, read exactly: thousandths for probabilities, EMC for amounts. No floats.

use emc_client::protocol::{Seconds, Tokens, limits};

/// Reads a decimal as thousandths: `0.7` is 700.
pub fn milli(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is not a number with at most 3 decimals, like 0.7");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) || part.len() > 3 {
        return Err(wrong());
    }
    let whole: u32 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| wrong())?
    };
    let part: u32 = format!("{part:0<3}").parse().map_err(|_| wrong())?;
    whole
        .checked_mul(1000)
        .and_then(|whole| whole.checked_add(part))
        .ok_or_else(wrong)
}

/// A temperature, in thousandths.
pub fn temperature(text: &str) -> Result<u32, String> {
    at_most(milli(text)?, limits::TEMPERATURE_MILLI)
}

/// A probability, in thousandths.
pub fn probability(text: &str) -> Result<u32, String> {
    at_most(milli(text)?, 1000)
}

fn at_most(value: u32, max: u32) -> Result<u32, String> {
    if value > max {
        return Err(format!("it must be at most {}", thousandths(max)));
    }
    Ok(value)
}

/// Thousandths as a decimal.
pub fn thousandths(milli: u32) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A time: a whole number with its unit (90s, 15m, 24h, 7d), or of seconds without.
pub fn seconds(text: &str) -> Result<Seconds, String> {
    let wrong = || format!("{text:?} is not a time like 90s, 15m, 24h or 7d");
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).map(Seconds).ok_or_else(wrong)
}

/// An amount of EMC that is more than nothing.
pub fn amount(text: &str) -> Result<Tokens, String> {
    let amount: Tokens = text.parse().map_err(|e| format!("{e}"))?;
    if amount.is_zero() {
        return Err("it must be more than nothing".into());
    }
    Ok(amount)
}

/// Bytes in hexadecimal, sixteen of them: a job's capability.
pub fn capability(text: &str) -> Result<Capability, String> {
    match hex::decode(text) {
        Ok(bytes) if bytes.len() == 16 => Ok(Capability(bytes)),
        _ => Err("a capability is 32 hexadecimal digits, as `emc chat --json` shows it".into()),
    }
}

/// A job's capability: whoever has it may read the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability(pub Vec<u8>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        assert_eq!(milli("0.7"), Ok(700));
        assert_eq!(milli("1"), Ok(1000));
        assert_eq!(milli(".05"), Ok(50));
        assert_eq!(milli("2."), Ok(2000));
        for wrong in ["", ".", "-1", "0.1234", "1e1", "4294968", "a"] {
            assert!(milli(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            [0, 700, 1000, 1050].map(thousandths),
            ["0", "0.7", "1", "1.05"]
        );
    }

    #[test]
    fn times_have_units() {
        let read = |text| seconds(text).map(|time| time.0);
        assert_eq!(
            ["90s", "15m", "24h", "7d", "5", "0"].map(read),
            [90, 900, 86_400, 604_800, 5, 0].map(Ok)
        );
        for wrong in ["", "s", "1w", "-1s", "1.5h", "soon", "999999999999999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_are_kept() {
        assert!(temperature("5").is_ok() && temperature("5.001").is_err());
        assert!(probability("1").is_ok() && probability("1.001").is_err());
        assert!(amount("0.00000001").is_ok() && amount("0").is_err());
        assert!(capability(&"ab".repeat(16)).is_ok() && capability(&"ab".repeat(15)).is_err());
    }
}
