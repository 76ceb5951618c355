//! Prompts as people write them: weights in brackets, and more than one chunk of 75 tokens.
//!
//! The syntax and the rules are those of AUTOMATIC1111's web interface, which most prompts are written for: `(word)`
//! weighs 1.1, `(word:1.3)` what is said, `[word]` 1/1.1; inside one another they multiply; a backslash makes a bracket
//! plain; `BREAK` ends a chunk. `docs/images.md` says what happens where that interface's page is silent.

use tch::{Kind, Tensor};

use super::clip_tokenizer::ClipTokenizer;
use crate::error::Result;

/// Tokens of a chunk, without the marks of its ends.
const CHUNK: usize = 75;

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// A text and its weight.
    Text(String, f64),
    /// The end of a chunk.
    Break,
}

/// The tokens of one pass through the text encoder, framed and padded, and a weight for each.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) ids: Vec<u32>,
    pub(crate) weights: Vec<f64>,
}

/// What a prompt says, in order.
pub(crate) fn parse(prompt: &str) -> Vec<Piece> {
    let (texts, spans) = collect(prompt);
    let mut weights = vec![1.0; texts.len()];
    for (from, to, factor) in spans {
        weights[from..to]
            .iter_mut()
            .for_each(|weight| *weight *= factor);
    }
    let mut pieces: Vec<Piece> = Vec::new();
    for (text, weight) in texts.iter().zip(weights) {
        for (n, part) in split_at_break(text).into_iter().enumerate() {
            if n > 0 {
                pieces.push(Piece::Break);
            }
            match pieces.last_mut() {
                Some(Piece::Text(before, same)) if *same == weight => before.push_str(part),
                _ if part.is_empty() => {}
                _ => pieces.push(Piece::Text(part.to_owned(), weight)),
            }
        }
    }
    if pieces.is_empty() {
        pieces.push(Piece::Text(String::new(), 1.0));
    }
    pieces
}

/// A range of texts and its factor.
type Span = (usize, usize, f64);

/// The texts between brackets, and what brackets weigh: inner ones first.
fn collect(prompt: &str) -> (Vec<String>, Vec<Span>) {
    let (mut texts, mut spans) = (Vec::new(), Vec::new());
    let (mut round, mut square): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut rest = prompt;
    while let Some(first) = rest.chars().next() {
        let mut used = first.len_utf8();
        match first {
            '\\' => {
                let next = rest[1..].chars().next();
                if let Some(next) = next.filter(|next| "()[]\\".contains(*next)) {
                    texts.push(next.to_string());
                    used += 1;
                }
            }
            '(' => round.push(texts.len()),
            '[' => square.push(texts.len()),
            ')' | ']' => {
                let (open, factor) = match first {
                    ')' => (&mut round, 1.1),
                    _ => (&mut square, 1.0 / 1.1),
                };
                match open.pop() {
                    Some(from) => spans.push((from, texts.len(), factor)),
                    None => texts.push(first.to_string()),
                }
            }
            ':' => match weight_at_the_end(rest) {
                Some((weight, length)) => {
                    used = length;
                    match round.pop() {
                        Some(from) => spans.push((from, texts.len(), weight)),
                        None => texts.push(rest[..length].to_owned()),
                    }
                }
                None => texts.push(":".into()),
            },
            _ => {
                used = rest
                    .find(['\\', '(', ')', '[', ']', ':'])
                    .unwrap_or(rest.len());
                texts.push(rest[..used].to_owned());
            }
        }
        rest = &rest[used..];
    }
    spans.extend(round.into_iter().map(|from| (from, texts.len(), 1.1)));
    spans.extend(
        square
            .into_iter()
            .map(|from| (from, texts.len(), 1.0 / 1.1)),
    );
    (texts, spans)
}

/// The number in `:1.3)` at the start of a text, and how long that is.
fn weight_at_the_end(text: &str) -> Option<(f64, usize)> {
    let close = text.find(')')?;
    let number = text[1..close].trim();
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    let plain = digits.chars().all(|c| c.is_ascii_digit() || c == '.')
        && digits.chars().filter(|c| *c == '.').count() <= 1
        && digits.chars().any(|c| c.is_ascii_digit());
    let weight: f64 = number.parse().ok().filter(|_| plain)?;
    weight.is_finite().then_some((weight, close + 1))
}

/// The parts of a text between the word BREAK, without the space around it.
fn split_at_break(text: &str) -> Vec<&str> {
    const BREAK: &str = "BREAK";
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut parts, mut from, mut look) = (Vec::new(), 0, 0);
    while let Some(found) = text[look..].find(BREAK) {
        let at = look + found;
        let end = at + BREAK.len();
        look = end;
        let alone = !text[..at].ends_with(is_word) && !text[end..].starts_with(is_word);
        if alone && at >= from {
            parts.push(text[from..at].trim_end());
            let after = &text[end..];
            from = end + (after.len() - after.trim_start().len());
            look = from;
        }
    }
    parts.push(&text[from..]);
    parts
}

/// A prompt's chunks; one at least.
pub(crate) fn chunks(prompt: &str, tokenizer: &ClipTokenizer) -> Result<Vec<Chunk>> {
    let mut filled: Vec<Vec<(u32, f64)>> = Vec::new();
    let mut current = Vec::new();
    for piece in parse(prompt) {
        match piece {
            Piece::Break => filled.push(std::mem::take(&mut current)),
            Piece::Text(text, weight) => {
                for id in tokenizer.ids(&text)? {
                    if current.len() == CHUNK {
                        filled.push(std::mem::take(&mut current));
                    }
                    current.push((id, weight));
                }
            }
        }
    }
    if !current.is_empty() || filled.is_empty() {
        filled.push(current);
    }
    let framed = filled.into_iter().map(|tokens| {
        let ids: Vec<u32> = tokens.iter().map(|(id, _)| *id).collect();
        let mut weights = vec![1.0];
        weights.extend(tokens.iter().map(|(_, weight)| *weight));
        weights.resize(CHUNK + 2, 1.0);
        Chunk {
            ids: tokenizer.framed(&ids, CHUNK + 2),
            weights,
        }
    });
    Ok(framed.collect())
}

/// A chunk's embedding (1, tokens, channels), each token multiplied with its weight, then all scaled to the mean that
/// they had before.
pub(crate) fn weighted(embedding: &Tensor, chunk: &Chunk) -> Result<Tensor> {
    if chunk.weights.iter().all(|weight| *weight == 1.0) {
        return Ok(embedding.shallow_clone());
    }
    let weights: Vec<f32> = chunk.weights.iter().map(|weight| *weight as f32).collect();
    let weights = Tensor::f_from_slice(&weights)?
        .f_to_device(embedding.device())?
        .f_reshape([1, -1, 1])?;
    let before = embedding.f_to_kind(Kind::Float)?;
    let after = before.f_mul(&weights)?;
    let scale = before
        .f_mean(Kind::Float)?
        .f_div(&after.f_mean(Kind::Float)?)?;
    Ok(after.f_mul(&scale)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_written_is_parsed_and_no_plain_text_is_lost(prompt in "[a-c ()\\[\\]:.1\\\\BREAK]{0,40}") {
            let pieces = parse(&prompt);
            prop_assert!(!pieces.is_empty());
            let letters = |text: &str| text.replace("BREAK", "").chars().filter(|c| "abc".contains(*c)).count();
            let found: usize = pieces.iter().map(|piece| match piece {
                Piece::Text(text, weight) => {
                    assert!(weight.is_finite());
                    letters(text)
                }
                Piece::Break => 0,
            }).sum();
            prop_assert_eq!(found, letters(&prompt));
        }

        #[test]
        fn nothing_panics(prompt: String) {
            let _ = parse(&prompt);
        }
    }
}
