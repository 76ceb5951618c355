//! How tokens spell bytes.

use std::collections::HashMap;

/// GPT-2's printable character for every byte (`bytes_to_unicode` in its encoder.py), from character to byte.
pub(crate) fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=255u8)
        .filter(|byte| !printable(byte))
        .zip('\u{100}'..)
        .map(|(byte, shown)| (shown, byte));
    (0..=255u8)
        .filter(printable)
        .map(|byte| (char::from(byte), byte))
        .chain(others)
        .collect()
}

/// A character outside the byte alphabet stands for itself; only damaged vocabularies have such tokens.
pub(crate) fn token_bytes(token: &str, alphabet: &HashMap<char, u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    for shown in token.chars() {
        match alphabet.get(&shown) {
            Some(&byte) => bytes.push(byte),
            None => bytes.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// The byte that a token such as `<0x0A>` is.
pub(crate) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_covers_every_byte_once() {
        let alphabet = byte_alphabet();
        let bytes: std::collections::BTreeSet<u8> = alphabet.values().copied().collect();
        assert_eq!((alphabet.len(), bytes.len()), (256, 256));
        assert_eq!((alphabet[&'Ġ'], alphabet[&'Ċ']), (b' ', b'\n'));
    }

    #[test]
    fn only_whole_byte_tokens_are_bytes() {
        assert_eq!(
            (byte_token("<0x0A>"), byte_token("<0xff>")),
            (Some(10), Some(255))
        );
        for other in ["<0x+A>", "<0xA>", "<0x0A", "0x0A", "<0x00A>", "<0xGG>", ""] {
            assert_eq!(byte_token(other), None, "{other}");
        }
    }
}
