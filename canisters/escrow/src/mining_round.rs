//! Probe rounds: at moments that nobody knows before, every miner gets jobs of the pool's own, all for the same short
//! window. So what one GPU can do is shared by all nodes that stand in front of it.
//!
//! The day is cut into as many parts as there are rounds, with one round in each. A timer draws with fresh random bytes
//! whether it begins now; the chance is the time since the last draw over the time that is left, so that each moment of
//! a part is equally likely, and the last one is certain.

use crate::draw;
use crate::records::*;
use crate::state::State;
use emc_protocol::canonical::Writer;
use emc_protocol::mining::{self, MiningSettings};
use emc_protocol::{Seconds, Timestamp};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 24 * 3_600 * SECOND;
/// Models that are looked at to find some that can be mined with.
const LOOK: usize = 500;

/// The round that is open, if one is.
pub fn open(state: &State, now: Timestamp) -> Option<RoundOfMining> {
    let round = *state.round.get();
    (round.number > 0 && now < round.until).then_some(round)
}

/// What a million tokens of a model count, where it can be mined with: it is listed with units and with terms of
/// audits, and enough owners' validators could recompute a job.
pub fn units(state: &State, model: u32, tokens: u64) -> Option<u64> {
    let entry = state.models.get(&model)?.entry?;
    let units = entry.compute_units.filter(|units| *units > 0)?;
    let minable = entry.listed && !entry.retired && entry.chat && entry.audit.is_some();
    let audit = state.config().settings.audit();
    let least = audit.least_owners as usize;
    // Power is shown by audited jobs alone.
    (minable && audit.sample_rate > 0 && draw::has_validators(state, model, tokens, least))
        .then_some(units)
}

/// True if random bytes are to be asked for, to draw whether a round begins.
pub fn is_to_be_drawn(state: &State, now: Timestamp) -> bool {
    let settings = state.config().settings.mining();
    let Some(part) = part(&settings, now) else {
        return false;
    };
    let round = state.round.get();
    let served = round.begun >= part.begins && round.number > 0;
    let models = state.models.iter().take(LOOK);
    !served
        && models
            .filter(|entry| entry.value().entry.is_some())
            .any(|entry| units(state, *entry.key(), settings.probe_tokens.into()).is_some())
}

/// Draws whether a round begins, with random bytes that were asked for before.
pub fn draw(state: &mut State, now: Timestamp, random: &[u8; 32]) {
    if !is_to_be_drawn(state, now) {
        return;
    }
    let settings = state.config().settings.mining();
    let Some(part) = part(&settings, now) else {
        return;
    };
    let mut round = *state.round.get();
    // Before the first draw of all there was nobody who could have drawn.
    let drawn = match round.drawn {
        Timestamp(0) => now,
        drawn => drawn,
    };
    let since = drawn.max(part.begins);
    let (elapsed, left) = (
        now.0.saturating_sub(since.0),
        part.last.0.saturating_sub(since.0),
    );
    round.drawn = now;
    let hash = |what: &str| {
        let mut bytes = Writer::new(what);
        bytes.raw(random);
        bytes.sha256()
    };
    if now >= part.last || happens(&hash("emc-mining-moment-v1"), elapsed, left) {
        round.number += 1;
        round.seed = hash("emc-mining-round-v1");
        round.begun = now;
        round.until = now.after(settings.window);
    }
    state.round.set(round);
}

/// Something that happens `elapsed` times in `left`.
fn happens(hash: &[u8; 32], elapsed: u64, left: u64) -> bool {
    let first = hash
        .first_chunk()
        .expect("a hash of 32 bytes begins with 8");
    let at = u128::from(u64::from_le_bytes(*first)) * u128::from(left);
    at >> 64 < u128::from(elapsed)
}

/// A part of the day in which one round begins.
struct Part {
    begins: Timestamp,
    /// The last moment at which a round still ends within it.
    last: Timestamp,
}

/// The part that a time lies in; `None` without rounds, or where a round would not end within it any more.
fn part(settings: &MiningSettings, now: Timestamp) -> Option<Part> {
    let rounds = u64::from(settings.rounds_per_day);
    let length = DAY.checked_div(rounds)?;
    let today = mining::begins(mining::epoch(now)).0;
    let number = ((now.0 - today) / length).min(rounds - 1);
    let begins = today + number * length;
    let ends = begins + length;
    let part = Part {
        begins: Timestamp(begins),
        last: Timestamp(ends.saturating_sub(settings.window.0.saturating_mul(SECOND))),
    };
    (now.after(settings.window).0 <= ends).then_some(part)
}

/// The longest window that settings may have: a quarter of a part, so that there is something to draw.
pub fn longest_window(rounds_per_day: u32) -> Seconds {
    Seconds(24 * 3_600 / u64::from(rounds_per_day.max(1)) / 4)
}
