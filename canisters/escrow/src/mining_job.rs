//! The jobs of probe rounds. They go through claim, delivery, draw and audit as any job does, but nobody pays for them
//! and nobody but their node sees them before they are final.
//!
//! Some have a twin: the same answer, given to another prompt and seed, of which it is known that it is wrong. Only
//! validators see it. Who finds it right has not looked.

use crate::audit;
use crate::bond;
use crate::draw;
use crate::lease;
use crate::mining_round;
use crate::records::*;
use crate::secret;
use crate::settle;
use crate::state::State;
use crate::submit;
use candid::Principal;
use emc_protocol::canonical::{self, Writer};
use emc_protocol::job::{ChatMessage, ChatRole};
use emc_protocol::mining::epoch;
use emc_protocol::{JobId, JobInput, Parameters, Price, Timestamp, Tokens};

/// Words of a prompt.
const WORDS: usize = 12;
/// An answer shorter than this is too short to be known to be wrong for another prompt.
const LEAST_FOR_A_TWIN: usize = 16;

/// Gives a node one more job of the open round; `None` where it gets none.
pub(crate) fn give(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    node: &NodeRecord,
    offer: &OfferRecord,
) -> Option<JobId> {
    let round = mining_round::open(state, now)?;
    let settings = state.config().settings.mining();
    let secret = secret::secret(state).ok()?;
    let got = state
        .probes
        .get(&(round.number, caller))
        .unwrap_or_default();
    if got >= settings.probes_per_round {
        return None;
    }
    let entry = state.models.get(&offer.model)?.entry?;
    let hash = hash(&round, caller, got);
    let prompt = prompt(&hash, 0);
    let measured = submit::measure(&prompt).ok()?;
    let tokens = measured.estimate + u64::from(settings.probe_tokens);
    let context = match entry.context {
        0 => offer.context,
        context => context.min(offer.context),
    };
    if tokens > u64::from(context) {
        return None;
    }
    let units = mining_round::units(state, offer.model, tokens)?;
    let audit = state.config().settings.audit();
    let bond = audit.least_bond;
    bond::reserve(state, caller, node.stake, bond).ok()?;

    let id = state.counts.get().jobs + 1;
    let twin = has_twin(&hash, settings.canary_share).then_some(id + 1);
    let parameters = Parameters {
        temperature_milli: 1_000,
        ..Parameters::greedy(settings.probe_tokens)
    };
    let (input_hash, salt) = hashes(&secret, id, &measured.bytes);
    let mut job = JobRecord {
        requester: state.config().escrow,
        model: offer.model,
        model_id: offer.id.clone(),
        model_version: offer.version,
        model_root: entry.root,
        stage: Stage::Leased,
        created: now,
        deadline: round.until,
        lease_until: Some(round.until),
        finished: None,
        seed: secret::seed(state, id),
        salt,
        input_hash,
        parameters_hash: [0; 32],
        max_price: Tokens::ZERO,
        lock: Default::default(),
        charged: None,
        usage: None,
        parameters: (&parameters).into(),
        estimate: measured.estimate,
        prompt_bound: measured.bound,
        input_bytes: measured.bytes.len() as u64,
        attempts: vec![AttemptRecord {
            node: caller,
            owner: node.owner,
            public_key: node.public_key,
            // So that whoever looks whether a job pays finds that this one asks nothing and owes nothing.
            price: Price::default(),
            claimed: now,
            end: None,
            treasury_share: 0,
            lapse_fee: Tokens::ZERO,
            bond: Some(bond),
            royalty: None,
            terms: entry.audit,
            context: Some(offer.context),
        }],
        movements: vec![],
        public: false,
        receipt: None,
        progress: None,
        upload: None,
        checking: Some(Checking {
            always: false,
            chance: audit.sample_rate,
            vote_fee: Tokens::ZERO,
            audit_fee: Tokens::ZERO,
            bond,
        }),
        charge: None,
        delegation: None,
        notify: false,
        allowed: round.until.since(now).0,
        away: state.clock.get().away,
        mining: Some(MiningJob {
            round: round.number,
            epoch: epoch(round.begun),
            units,
            twin,
            canary: false,
            index: got,
        }),
        // Rounds ask for texts only: what a picture takes is not known from its size alone.
        image: None,
    };
    job.parameters_hash = canonical::parameters_hash(&job.model_ref(), &parameters);
    state.count(|counts| {
        // A twin's number is taken now, so that nobody can tell by it when the twin was made.
        counts.jobs = twin.unwrap_or(id);
        counts.reserved += u64::from(twin.is_some());
        counts.leased += 1;
        counts.probes += 1;
    });
    state.probes.insert((round.number, caller), got + 1);
    state.inputs.insert(id, measured.bytes);
    state.queue_due(id, round.until);
    lease::take_place(state, caller, offer.model);
    crate::power::begun(state, epoch(round.begun));
    state.jobs.insert(id, job);
    Some(id)
}

/// Makes the twin of a delivered job, where it is to have one: the same output, to another prompt and seed.
pub(crate) fn make_twin(state: &mut State, id: JobId, job: &JobRecord, positions: u32) {
    let Some(mining) = job.mining else { return };
    let (Some(twin), Some(attempt), Ok(secret)) =
        (mining.twin, job.attempts.last(), secret::secret(state))
    else {
        return;
    };
    let (round, output) = (*state.round.get(), state.outputs.get(&id));
    let (Some(output), true) = (output, positions as usize >= LEAST_FOR_A_TWIN) else {
        return;
    };
    if round.number != mining.round {
        return;
    }
    let prompt = prompt(&hash(&round, attempt.node, mining.index), 1);
    let bytes = canonical::input_bytes(&prompt);
    let (input_hash, salt) = hashes(&secret, twin, &bytes);
    let mut record = job.clone();
    record.seed = secret::seed(state, twin);
    (record.input_hash, record.salt) = (input_hash, salt);
    record.input_bytes = bytes.len() as u64;
    record.stage = Stage::Delivered;
    record.lease_until = None;
    (record.progress, record.upload, record.receipt) = (None, None, None);
    record.mining = Some(MiningJob {
        twin: None,
        canary: true,
        ..mining
    });
    if let Some(checking) = &mut record.checking {
        checking.chance = 10_000;
    }
    for attempt in &mut record.attempts {
        // Nobody's stake stands behind it.
        attempt.bond = None;
    }
    state.inputs.insert(twin, bytes);
    state.outputs.insert(twin, output);
    state.audits.insert(twin, audit::begun(&record, positions));
    draw::request(state, twin, Draw::First);
    state.count(|counts| {
        counts.reserved = counts.reserved.saturating_sub(1);
        counts.canaries += 1;
        counts.delivered += 1;
    });
    crate::power::begun(state, mining.epoch);
    state.jobs.insert(twin, record);
}

/// A round's window has ended without this job's delivery, or its node gave it back: that costs nothing but the power
/// that it did not show.
pub(crate) fn lapse(state: &mut State, now: Timestamp, id: JobId, job: &mut JobRecord) {
    if job
        .attempts
        .last()
        .is_some_and(|attempt| attempt.end.is_none())
    {
        lease::end_attempt(state, job, End::Lapsed);
    }
    settle::refund(state, now, id, job, Refund::Deadline);
    settle::keep_for_a_while(state, now, id);
}

/// Deletes a job of a round for good: nobody paid for it, and what it showed is in the sums.
pub(crate) fn delete(state: &mut State, id: JobId) {
    state.jobs.remove(&id);
    audit::delete(state, id);
}

/// The numbers of rounds that are over, forgotten, at most `limit`; how many.
pub fn forget_rounds(state: &mut State, now: Timestamp, limit: usize) -> usize {
    let running = match mining_round::open(state, now) {
        Some(round) => round.number,
        None => u64::MAX,
    };
    let over: Vec<_> = state
        .probes
        .iter()
        .take(limit)
        .map(|entry| *entry.key())
        .filter(|(round, _)| *round < running)
        .collect();
    for key in &over {
        state.probes.remove(key);
    }
    over.len()
}

fn hashes(secret: &Secret, id: JobId, input: &[u8]) -> ([u8; 32], [u8; 32]) {
    let salt = secret::salt(secret, id);
    let mut hash = Writer::new(canonical::INPUT_DOMAIN);
    hash.raw(&salt);
    hash.raw(input);
    (hash.sha256(), salt)
}

/// What a job of a round is made from.
fn hash(round: &RoundOfMining, node: Principal, index: u32) -> [u8; 32] {
    let mut bytes = Writer::new("emc-mining-job-v1");
    bytes.raw(&round.seed);
    bytes.u8(node.as_slice().len() as u8);
    bytes.raw(node.as_slice());
    bytes.u64(index.into());
    bytes.sha256()
}

/// Whether a job has a twin, with this chance in basis points.
fn has_twin(hash: &[u8; 32], share: u16) -> bool {
    u16::from_le_bytes([hash[30], hash[31]]) % 10_000 < share
}

/// A prompt of words that the hash chooses, in an order that `turn` rotates: twins have the same words, so that their
/// lengths in tokens do not tell them apart.
fn prompt(hash: &[u8; 32], turn: usize) -> JobInput {
    let mut words: Vec<&str> = hash[..WORDS]
        .iter()
        .map(|byte| VOCABULARY[usize::from(*byte) % VOCABULARY.len()])
        .collect();
    words.rotate_left(turn * WORDS / 2);
    let content = format!(
        "Write a long story in which these words appear in this order: {}.",
        words.join(", ")
    );
    JobInput::Chat {
        messages: vec![ChatMessage {
            role: ChatRole::User,
            content,
        }],
    }
}

const VOCABULARY: [&str; 64] = [
    "river", "lantern", "garden", "copper", "winter", "bridge", "music", "shadow", "island",
    "letter", "silver", "forest", "window", "market", "summer", "castle", "engine", "thunder",
    "orange", "teacher", "mountain", "paper", "horse", "mirror", "kitchen", "sailor", "desert",
    "clock", "feather", "harbor", "pepper", "tower", "village", "candle", "rabbit", "ocean",
    "doctor", "ladder", "meadow", "button", "captain", "blanket", "stone", "dragon", "basket",
    "violin", "train", "honey", "statue", "tunnel", "painter", "valley", "cotton", "needle",
    "planet", "farmer", "marble", "ticket", "puzzle", "walnut", "anchor", "helmet", "saddle",
    "ribbon",
];
