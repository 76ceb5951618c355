//! A true receipt passes; a change of any field fails the check that is meant to see it.

use super::*;
use crate::JobResult;
use crate::receipt_file::{LogEntry, SignedPart};
use candid::Principal;
use ed25519_dalek::SigningKey;
use emc_protocol::job::{ChatMessage, ChatRole, Job, JobState, PrivateView};
use emc_protocol::{FinishReason, JobInput, ModelRef, Parameters, Timestamp, Tokens, Usage};

fn file() -> ReceiptFile {
    let key = SigningKey::from_bytes(&[5; 32]);
    let public_key = key.verifying_key().to_bytes();
    let salt = vec![9; 32];
    let input = JobInput::Chat {
        messages: vec![ChatMessage {
            role: ChatRole::User,
            content: "Why?".into(),
        }],
    };
    let output = TextOutput {
        ids: vec![11, 22, 2],
        finish_reason: FinishReason::Stop,
        text: "Because.".into(),
    };
    let model = ModelRef {
        id: "model".into(),
        version: Some(3),
    };
    let parameters = Parameters::greedy(100);
    let receipt = Receipt {
        escrow: Principal::from_slice(&[0, 0, 0, 0, 0, 0, 0, 7, 1, 1]),
        nonce: vec![1; 16],
        job_id: u64::MAX,
        attempt: 2,
        model_root: vec![2; 32],
        parameters_hash: parameters_hash(&model, &parameters).to_vec(),
        input_hash: input_hash(&salt, &input).to_vec(),
        output_hash: output_hash(&salt, &output_bytes(&output)).to_vec(),
        seed: u64::MAX - 1,
        usage: Usage {
            prompt_tokens: 12,
            output_tokens: 3,
            pixel_steps: 0,
        },
        finish_reason: FinishReason::Stop,
        charge: Tokens(123_456_789),
        evidence_root: vec![0; 32],
    };
    ReceiptFile {
        format: crate::receipt_file::FORMAT.into(),
        version: crate::receipt_file::VERSION,
        node: node_principal(&public_key),
        public_key: public_key.to_vec(),
        signature: receipt.sign(&key).expect("every length is right").to_vec(),
        receipt: SignedPart::from(&receipt),
        log: Some(LogEntry { index: 4, time: 5 }),
        model: Some(model),
        parameters: Some(parameters),
        image_parameters: None,
        salt: Some(salt),
        input: Some(input),
        output: Some(output),
    }
}

#[test]
fn a_true_receipt_passes_every_check() {
    let report = check(&file());
    assert!(report.holds());
    assert!(
        report
            .checks
            .iter()
            .all(|check| check.verdict == Verdict::Holds),
        "{report}"
    );
}

#[test]
fn a_receipt_for_another_job_or_escrow_is_not_this_job_s() {
    let file = file();
    let (escrow, job) = (file.receipt.escrow, file.receipt.job_id);
    assert!(check_job(&file, escrow, job).holds());
    assert_eq!(check_job(&file, escrow, job - 1).failures(), ["job"]);
    let other = Principal::anonymous();
    assert_eq!(check_job(&file, other, job).failures(), ["job"]);
}

#[test]
fn a_file_is_read_back_as_it_was_written() {
    let file = file();
    assert_eq!(ReceiptFile::from_json(&file.to_json()).unwrap(), file);
    let bare = file.without_secrets();
    assert_eq!(ReceiptFile::from_json(&bare.to_json()).unwrap(), bare);
    assert!(!bare.to_json().contains("Because"));
}

#[test]
fn without_its_secrets_a_receipt_still_proves_the_signature() {
    let report = check(&file().without_secrets());
    assert!(report.holds());
    let skipped = |c: &&Check| matches!(c.verdict, Verdict::NotChecked(_));
    let names: Vec<_> = report
        .checks
        .iter()
        .filter(skipped)
        .map(|c| c.name)
        .collect();
    assert_eq!(names, ["input", "output", "usage"]);
}

#[test]
fn a_finished_job_s_file_holds_what_its_reader_may_see() {
    let file = file();
    let private = PrivateView {
        salt: file.salt.clone().expect("it is there"),
        input: None,
        parameters: file.parameters.clone().expect("they are there"),
        preview: None,
        output: file.output.clone(),
        image: None,
    };
    let mut result = JobResult {
        job: Job {
            id: file.receipt.job_id,
            requester: Principal::anonymous(),
            model: file.model.clone().expect("it is there"),
            state: Some(JobState::Settled),
            refund_reason: None,
            created: Timestamp(0),
            deadline: Timestamp(0),
            lease_until: None,
            finished: None,
            seed: file.receipt.seed,
            input_hash: vec![],
            parameters_hash: vec![],
            locked: Tokens(1),
            charged: None,
            usage: None,
            attempts: vec![],
            postings: vec![],
            visibility: None,
            assurance: None,
            audit_fee: None,
            bond: None,
            delegate: None,
            mining: None,
            private: Some(private),
        },
        output: file.output.clone(),
        receipt: Some(file.record()),
    };
    let own = ReceiptFile::of_result(&result, file.input.as_ref());
    assert_eq!(own.as_ref(), Some(&file), "its requester has everything");

    // Of a public job a stranger sees the answer without its salt: its hash cannot be checked, and must not fail.
    result
        .job
        .private
        .as_mut()
        .expect("it is there")
        .salt
        .clear();
    let stranger = ReceiptFile::of_result(&result, None).expect("it has a receipt");
    assert!(stranger.salt.is_none() && check(&stranger).holds());

    result.receipt = None;
    assert_eq!(ReceiptFile::of_result(&result, None), None);
}

type Change = fn(&mut ReceiptFile);

#[test]
fn a_change_of_any_signed_field_breaks_the_signature() {
    let changes: [(&str, Change); 15] = [
        ("escrow", |f| f.receipt.escrow = Principal::anonymous()),
        ("nonce", |f| f.receipt.nonce[0] ^= 1),
        ("job_id", |f| f.receipt.job_id -= 1),
        ("attempt", |f| f.receipt.attempt += 1),
        ("model_root", |f| f.receipt.model_root[31] ^= 1),
        ("parameters_hash", |f| f.receipt.parameters_hash[0] ^= 1),
        ("input_hash", |f| f.receipt.input_hash[0] ^= 1),
        ("output_hash", |f| f.receipt.output_hash[0] ^= 1),
        ("seed", |f| f.receipt.seed += 1),
        ("prompt_tokens", |f| f.receipt.prompt_tokens += 1),
        ("output_tokens", |f| f.receipt.output_tokens += 1),
        ("pixel_steps", |f| f.receipt.pixel_steps += 1),
        ("finish_reason", |f| {
            f.receipt.finish_reason = FinishReason::Length
        }),
        ("charge", |f| f.receipt.charge += 1),
        ("evidence_root", |f| f.receipt.evidence_root[0] ^= 1),
    ];
    for (field, change) in changes {
        let mut file = file();
        change(&mut file);
        assert!(check(&file).failures().contains(&"signature"), "{field}");
    }
}

#[test]
fn a_change_of_what_is_hashed_or_named_fails_its_own_check() {
    let changes: [(&str, Change); 12] = [
        ("signature", |f| f.signature[0] ^= 1),
        ("signature", |f| f.signature.truncate(63)),
        ("signature", |f| f.public_key = vec![0; 32]),
        ("signature", |f| f.receipt.nonce.push(0)),
        ("node", |f| f.node = Principal::anonymous()),
        ("input", |f| f.salt = Some(vec![8; 32])),
        ("output", |f| f.salt = Some(vec![8; 32])),
        ("input", |f| {
            f.input = Some(JobInput::Completion {
                prompt: "Why?".into(),
            })
        }),
        ("output", |f| {
            f.output.as_mut().expect("it is there").text.push('!')
        }),
        ("usage", |f| {
            f.output.as_mut().expect("it is there").ids.push(1)
        }),
        ("usage", |f| {
            f.output.as_mut().expect("it is there").finish_reason = FinishReason::Length
        }),
        ("parameters", |f| {
            f.parameters
                .as_mut()
                .expect("they are there")
                .temperature_milli = 1
        }),
    ];
    for (name, change) in changes {
        let mut file = file();
        change(&mut file);
        let report = check(&file);
        assert!(
            !report.holds() && report.failures().contains(&name),
            "{name}: {report}"
        );
    }
}

#[test]
fn what_is_no_receipt_file_is_refused_with_what_is_wrong() {
    let json = file().to_json();
    let wrong = [
        ("not JSON", "{".to_owned()),
        ("hexadecimal", json.replacen("0909", "zz09", 1)),
        ("in range", json.replacen(&u64::MAX.to_string(), "-1", 1)),
        (
            "in range",
            json.replacen(&u64::MAX.to_string(), "18446744073709551616", 1),
        ),
        ("unknown field", json.replacen("\"log\"", "\"lag\"", 1)),
        (
            "newer program",
            json.replacen("\"version\": 1", "\"version\": 2", 1),
        ),
    ];
    for (what, text) in wrong {
        let error = ReceiptFile::from_json(&text).unwrap_err().to_string();
        assert!(
            what == "not JSON" || error.contains(what),
            "{what}: {error}"
        );
    }
}
