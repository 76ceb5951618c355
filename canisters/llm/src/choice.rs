//! Which model answers, and how much a request may lock for it.

use crate::refusal::Refusal;
use emc_protocol::escrow::Quote;
use emc_protocol::llm::LlmModel;
use emc_protocol::{ModelRef, Tokens, limits};

/// A model, and the most that a request may lock for it, where that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The model of the catalogue.
    pub model: ModelRef,
    /// The most that a request may lock.
    pub max_price: Option<Tokens>,
}

/// What a name stands for: what the table says, or else the model of the catalogue that has it for its id.
///
/// # Errors
/// Nothing can have this name.
pub fn choose(table: &[LlmModel], name: &str) -> Result<Choice, Refusal> {
    if let Some(entry) = table.iter().find(|entry| entry.name == name) {
        return Ok(Choice {
            model: entry.model.clone(),
            max_price: entry.max_price,
        });
    }
    if !could_be_an_id(name) {
        return Err(unknown(table, name));
    }
    let model = ModelRef {
        id: name.to_owned(),
        version: None,
    };
    Ok(Choice {
        model,
        max_price: None,
    })
}

/// The refusal of a name that nothing has.
pub fn unknown(table: &[LlmModel], name: &str) -> Refusal {
    let known: Vec<_> = table
        .iter()
        .map(|entry| format!("{:?}", entry.name))
        .collect();
    let known = match known.is_empty() {
        true => "none".to_owned(),
        false => known.join(", "),
    };
    let name = name.chars().take(limits::MODEL_ID_BYTES).collect();
    Refusal::UnknownModel { name, known }
}

fn could_be_an_id(name: &str) -> bool {
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_/".contains(&c);
    !name.is_empty() && name.len() <= limits::MODEL_ID_BYTES && name.bytes().all(letter)
}

/// What a request locks: room for nodes up to twice as dear as the cheapest, but never more than is set, nor more than
/// the dearest node asks. What is not used goes back.
///
/// # Errors
/// Nobody serves the model, or not for what is set.
pub fn max_price(quote: &Quote, set: Option<Tokens>) -> Result<Tokens, Refusal> {
    let model = || quote.model.id.clone();
    let Some(least) = quote.lowest_max_price else {
        return Err(Refusal::Unserved { model: model() });
    };
    let dearest = quote.highest_max_price.unwrap_or(least).max(least);
    let room = Tokens(least.0.saturating_mul(2)).min(dearest);
    match set {
        Some(most) if most < least => Err(Refusal::TooDear {
            model: model(),
            least,
            most,
        }),
        Some(most) => Ok(most.min(room)),
        None => Ok(room),
    }
}
