//! The commitments in `docs/spec/audit-vectors.json` against this crate. The file was made from the specification by a
//! program in another language (`docs/spec/audit_vectors.py`).

use candid::Principal;
use emc_protocol::audit::Vote;
use emc_protocol::model::ModelTerms;
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Vectors {
    version: u32,
    commitments: Vec<Commitment>,
}

#[derive(Deserialize)]
struct Commitment {
    name: String,
    escrow: String,
    validator: String,
    job: String,
    round: u32,
    salt: String,
    vote: VoteVector,
    bytes: String,
    commitment: String,
}

#[derive(Deserialize)]
struct VoteVector {
    positions: u32,
    matches: u32,
    largest_gap_milli: u32,
    mean_gap_milli: u32,
    above: Vec<u32>,
    prompt_tokens: String,
    ends_right: bool,
    text_right: bool,
    differences: Vec<i32>,
}

fn vectors() -> Vec<Commitment> {
    let file = include_str!("../../../docs/spec/audit-vectors.json");
    let vectors: Vectors = serde_json::from_str(file).expect("the vectors are JSON");
    assert_eq!(vectors.version, 1);
    assert!(vectors.commitments.len() >= 4, "vectors were lost");
    vectors.commitments
}

fn principal(hexadecimal: &str) -> Principal {
    Principal::from_slice(&hex::decode(hexadecimal).expect("hexadecimal"))
}

fn vote(vector: &VoteVector) -> Vote {
    Vote {
        positions: vector.positions,
        matches: vector.matches,
        largest_gap_milli: vector.largest_gap_milli,
        mean_gap_milli: vector.mean_gap_milli,
        above: vector.above.clone(),
        prompt_tokens: vector.prompt_tokens.parse().expect("a u64"),
        ends_right: vector.ends_right,
        text_right: vector.text_right,
        differences: vector.differences.clone(),
    }
}

fn commitment(vector: &Commitment, vote: &Vote) -> String {
    let job = vector.job.parse().expect("a u64");
    let salt = hex::decode(&vector.salt).expect("hexadecimal");
    let salt = salt.try_into().expect("32 bytes");
    let (escrow, validator) = (principal(&vector.escrow), principal(&vector.validator));
    hex::encode(vote.commitment(escrow, job, vector.round, validator, &salt))
}

#[test]
fn a_commitment_is_the_hash_of_the_bytes_of_the_specification() {
    for vector in vectors() {
        let bytes = hex::decode(&vector.bytes).expect("hexadecimal");
        assert_eq!(hex::encode(Sha256::digest(bytes)), vector.commitment);
        let made = commitment(&vector, &vote(&vector.vote));
        assert_eq!(made, vector.commitment, "{}", vector.name);
    }
}

#[test]
fn every_field_of_a_vote_changes_its_commitment() {
    let vector = &vectors()[0];
    let vote = vote(&vector.vote);
    let changes: [fn(&mut Vote); 9] = [
        |vote| vote.positions += 1,
        |vote| vote.matches += 1,
        |vote| vote.largest_gap_milli += 1,
        |vote| vote.mean_gap_milli += 1,
        |vote| vote.above.push(0),
        |vote| vote.prompt_tokens += 1,
        |vote| vote.ends_right = false,
        |vote| vote.text_right = false,
        |vote| vote.differences[15] = -vote.differences[15],
    ];
    for change in changes {
        let mut changed = vote.clone();
        change(&mut changed);
        assert_ne!(commitment(vector, &changed), vector.commitment);
    }
}

#[test]
fn the_terms_that_are_proposed_for_the_model_of_set_up_can_be_published() {
    let file = include_str!("../../../models/smollm2-135m-instruct/terms.json");
    let terms: ModelTerms = serde_json::from_str(file).expect("the terms of a model");
    assert!(terms.audit.expect("they are what it is for").is_valid());
    assert_eq!(terms.royalty, 0);
    // Two operations for each of 134,515,008 parameters and each token, in units of 10^9.
    assert_eq!(terms.compute_units, 2 * 134_515_008 / 1_000);
}
