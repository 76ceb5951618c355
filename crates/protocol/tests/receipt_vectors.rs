//! `docs/spec/receipt-vectors.json` against this crate. The file was made from the specification by a program in another
//! language (`docs/spec/receipt_vectors.py`), so that both agreeing means more than this crate agreeing with itself.

use candid::Principal;
use ed25519_dalek::SigningKey;
use emc_protocol::canonical::{
    image_output_bytes, image_parameters_hash, input_bytes, input_hash, output_bytes, output_hash,
    parameters_hash, read_image_output, read_input, read_output,
};
use emc_protocol::receipt::node_principal;
use emc_protocol::{
    FinishReason, ImageOutput, ImageParameters, JobInput, ModelRef, Parameters, Receipt,
    TextOutput, Tokens, Usage,
};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Vectors {
    version: u32,
    inputs: Vec<Hashed>,
    outputs: Vec<Hashed>,
    images: Vec<Hashed>,
    parameters: Vec<ParametersVector<Parameters>>,
    image_parameters: Vec<ParametersVector<ImageParameters>>,
    receipts: Vec<ReceiptVector>,
    refused: Vec<Refused>,
}

/// An input or an output with its bytes and its salted hash.
#[derive(Deserialize)]
struct Hashed {
    name: String,
    input: Option<JobInput>,
    output: Option<TextOutput>,
    image: Option<ImageOutput>,
    bytes: String,
    salt: String,
    hash: String,
}

#[derive(Deserialize)]
struct ParametersVector<P> {
    name: String,
    model: ModelRef,
    parameters: P,
    bytes: String,
    hash: String,
}

#[derive(Deserialize)]
struct ReceiptVector {
    name: String,
    receipt: Value,
    bytes: String,
    digest: String,
    message: String,
    secret_key: String,
    public_key: String,
    node: Principal,
    signature: String,
}

#[derive(Deserialize)]
struct Refused {
    name: String,
    receipt: Value,
    public_key: String,
    signature: String,
}

fn vectors() -> Vectors {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/spec/receipt-vectors.json"
    );
    let text = std::fs::read_to_string(path).expect("the vectors are beside their specification");
    let vectors: Vectors = serde_json::from_str(&text).expect("the vectors have this form");
    assert_eq!(vectors.version, 1);
    vectors
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).expect("bytes are hexadecimal in the vectors")
}

/// A receipt as the JSON file has it.
fn receipt(value: &Value) -> Receipt {
    let text = |name: &str| value[name].as_str().expect("a text").to_owned();
    let bytes = |name: &str| unhex(&text(name));
    let number = |name: &str| text(name).parse::<u64>().expect("a decimal text");
    Receipt {
        escrow: Principal::from_text(text("escrow")).expect("a principal"),
        nonce: bytes("nonce"),
        job_id: number("job_id"),
        attempt: u32::try_from(value["attempt"].as_u64().expect("a number")).expect("32 bits"),
        model_root: bytes("model_root"),
        parameters_hash: bytes("parameters_hash"),
        input_hash: bytes("input_hash"),
        output_hash: bytes("output_hash"),
        seed: number("seed"),
        usage: Usage {
            prompt_tokens: number("prompt_tokens"),
            output_tokens: number("output_tokens"),
            pixel_steps: number("pixel_steps"),
        },
        finish_reason: serde_json::from_value::<FinishReason>(value["finish_reason"].clone())
            .expect("a finish reason"),
        charge: Tokens(text("charge").parse().expect("a decimal text")),
        evidence_root: bytes("evidence_root"),
    }
}

#[test]
fn inputs_have_the_bytes_and_hashes_of_the_vectors() {
    let vectors = vectors().inputs;
    assert_eq!(vectors.len(), 7);
    for vector in vectors {
        let input = vector.input.expect("an input");
        let read = read_input(&unhex(&vector.bytes));
        assert_eq!(read.as_ref(), Some(&input), "{}", vector.name);
        assert_eq!(
            hex::encode(input_bytes(&input)),
            vector.bytes,
            "{}",
            vector.name
        );
        let hash = input_hash(&unhex(&vector.salt), &input);
        assert_eq!(hex::encode(hash), vector.hash, "{}", vector.name);
    }
}

#[test]
fn pictures_have_the_bytes_and_hashes_of_the_vectors_and_are_read_back() {
    let Vectors {
        images,
        image_parameters,
        ..
    } = vectors();
    assert_eq!((images.len(), image_parameters.len()), (2, 2));
    for vector in images {
        let image = vector.image.expect("a picture");
        let bytes = image_output_bytes(&image);
        assert_eq!(hex::encode(&bytes), vector.bytes, "{}", vector.name);
        let hash = output_hash(&unhex(&vector.salt), &bytes);
        assert_eq!(hex::encode(hash), vector.hash, "{}", vector.name);
        assert_eq!(read_image_output(&bytes), Some(image), "{}", vector.name);
    }
    for vector in image_parameters {
        let hash = image_parameters_hash(&vector.model, &vector.parameters);
        assert_eq!(hex::encode(hash), vector.hash, "{}", vector.name);
        let digest = Sha256::digest(unhex(&vector.bytes));
        assert_eq!(hex::encode(digest), vector.hash, "{}", vector.name);
    }
}

#[test]
fn outputs_have_the_bytes_and_hashes_of_the_vectors_and_are_read_back() {
    let vectors = vectors().outputs;
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let output = vector.output.expect("an output");
        let bytes = output_bytes(&output);
        assert_eq!(hex::encode(&bytes), vector.bytes, "{}", vector.name);
        let hash = output_hash(&unhex(&vector.salt), &bytes);
        assert_eq!(hex::encode(hash), vector.hash, "{}", vector.name);
        assert_eq!(read_output(&bytes), Some(output), "{}", vector.name);
    }
}

#[test]
fn parameters_have_the_hashes_of_the_vectors() {
    let vectors = vectors().parameters;
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let hash = parameters_hash(&vector.model, &vector.parameters);
        assert_eq!(hex::encode(hash), vector.hash, "{}", vector.name);
        let digest = Sha256::digest(unhex(&vector.bytes));
        assert_eq!(hex::encode(digest), vector.hash, "{}", vector.name);
    }
}

#[test]
fn receipts_have_the_bytes_and_signatures_of_the_vectors() {
    let vectors = vectors().receipts;
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let name = &vector.name;
        let receipt = receipt(&vector.receipt);
        let bytes = receipt.bytes().expect("every length is right");
        assert_eq!(hex::encode(bytes), vector.bytes, "{name}");
        let digest = receipt.digest().expect("every length is right");
        assert_eq!(hex::encode(digest), vector.digest, "{name}");
        let message = [b"\x0eemc-receipt-v1".as_slice(), &digest].concat();
        assert_eq!(hex::encode(message), vector.message, "{name}");

        let secret = unhex(&vector.secret_key).try_into().expect("32 bytes");
        let key = SigningKey::from_bytes(&secret);
        let public_key = key.verifying_key().to_bytes();
        assert_eq!(hex::encode(public_key), vector.public_key, "{name}");
        assert_eq!(node_principal(&public_key), vector.node, "{name}");
        let signature = receipt.sign(&key).expect("every length is right");
        assert_eq!(hex::encode(signature), vector.signature, "{name}");
        assert_eq!(receipt.verify(&public_key, &signature), Ok(()), "{name}");
    }
}

#[test]
fn what_the_vectors_refuse_is_refused() {
    let vectors = vectors().refused;
    assert_eq!(vectors.len(), 10);
    for vector in vectors {
        let receipt = receipt(&vector.receipt);
        let result = receipt.verify(&unhex(&vector.public_key), &unhex(&vector.signature));
        assert!(result.is_err(), "{}", vector.name);
    }
}

#[test]
fn a_field_of_a_wrong_length_is_named() {
    let good = receipt(&vectors().receipts[0].receipt);
    type Change = fn(&mut Receipt);
    let changes: [(&str, Change); 6] = [
        ("nonce", |r| r.nonce.push(0)),
        ("model_root", |r| r.model_root.truncate(31)),
        ("parameters_hash", |r| r.parameters_hash.clear()),
        ("input_hash", |r| r.input_hash.push(0)),
        ("output_hash", |r| r.output_hash.push(0)),
        ("evidence_root", |r| r.evidence_root.clear()),
    ];
    for (field, change) in changes {
        let mut receipt = good.clone();
        change(&mut receipt);
        let error = receipt.bytes().unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}
