//! HTTP: `/metrics`, and `/jobs/<id>/result` for public jobs or with `?capability=<hex>`: JSON, or the bare text with
//! `?format=text`; of a picture the PNG, or a small one with `?format=thumbnail`. And `/receipts/<id>`, which proves itself. The other answers are not certified: whoever must be sure
//! makes an update call or checks the receipt.

use crate::state::State;
use crate::view::Shown;
use crate::{metrics, view};
use emc_protocol::escrow::ReceiptProof;
use emc_protocol::{
    ApiError, ByteBuf, FinishReason, ImageOutput, JobId, TextOutput, Timestamp, error::code, limits,
};
use ic_http_types::{HttpRequest, HttpResponse, HttpResponseBuilder};

/// Answers a request.
pub fn answer(
    state: &State,
    now: Timestamp,
    request: &HttpRequest,
    certificate: Option<Vec<u8>>,
) -> HttpResponse {
    if request.method != "GET" && request.method != "HEAD" {
        return plain(405, "Only GET is answered here.");
    }
    let path: Vec<&str> = request.path().trim_matches('/').split('/').collect();
    match path.as_slice() {
        ["metrics"] => match metrics::encode(state, now) {
            Ok(body) => HttpResponseBuilder::ok()
                .header("Content-Type", "text/plain; version=0.0.4")
                .header("Cache-Control", "no-store")
                .with_body_and_content_length(body)
                .build(),
            Err(error) => plain(500, &error.to_string()),
        },
        ["jobs", id, "result"] => match id.parse() {
            Ok(id) => result(state, request, id),
            Err(_) => plain(
                400,
                "A job's number is a decimal number: /jobs/<number>/result.",
            ),
        },
        ["receipts", id] => match id.parse() {
            Ok(id) => receipt(state, id, certificate),
            Err(_) => plain(
                400,
                "A job's number is a decimal number: /receipts/<number>.",
            ),
        },
        _ => plain(
            404,
            "There is /metrics, /jobs/<number>/result and /receipts/<number>.",
        ),
    }
}

fn result(state: &State, request: &HttpRequest, id: JobId) -> HttpResponse {
    let capability = request.raw_query_param("capability").map(decode_hex);
    if capability == Some(None) {
        return plain(400, "The capability is not hexadecimal.");
    }
    match view::result(state, id, capability.flatten().as_deref()) {
        Ok(Shown::Text(output)) => text(request, id, output),
        Ok(Shown::Image(output)) => picture(request, id, output),
        Err(ApiError { code, message, .. }) => {
            let body = serde_json::json!({ "code": code, "message": message });
            respond(404, "application/json", body.to_string().into_bytes())
        }
    }
}

fn text(request: &HttpRequest, id: JobId, output: TextOutput) -> HttpResponse {
    if request.raw_query_param("format") == Some("text") {
        return respond(200, "text/plain; charset=utf-8", output.text.into_bytes());
    }
    let reason = match output.finish_reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::StopString => "stop_string",
    };
    let body = serde_json::json!({
        "job_id": id,
        "finish_reason": reason,
        "tokens": output.ids.len(),
        "text": output.text,
    });
    respond(200, "application/json", body.to_string().into_bytes())
}

/// One answer holds most pictures; of a larger one it says how to get it.
fn picture(request: &HttpRequest, id: JobId, output: ImageOutput) -> HttpResponse {
    let small = request.raw_query_param("format") == Some("thumbnail");
    match (small, output.thumbnail) {
        (true, Some(thumbnail)) => respond(200, "image/png", thumbnail.into_vec()),
        (true, None) => plain(404, "This picture has no thumbnail: leave out the format."),
        (false, _) if output.png.len() > limits::HTTP_IMAGE_BYTES => {
            let message = format!(
                "The picture of job {id} has {} bytes, one answer holds {}: get it with `emc job result {id} --output picture.png`, or in parts with `result_part`.",
                output.png.len(),
                limits::HTTP_IMAGE_BYTES
            );
            let body = serde_json::json!({ "code": code::LIMIT, "message": message });
            respond(413, "application/json", body.to_string().into_bytes())
        }
        (false, _) => respond(200, "image/png", output.png),
    }
}

/// A receipt with its proof. It proves itself by its certificate, so that the answer needs none of its own; what exactly
/// was signed is in `receipt` of the Candid interface, here is its digest.
fn receipt(state: &State, id: JobId, certificate: Option<Vec<u8>>) -> HttpResponse {
    match view::receipt_proof(state, id, certificate) {
        Ok(ReceiptProof {
            record,
            proof,
            certificate,
            tree,
        }) => {
            let hashes =
                |hashes: &[ByteBuf]| hashes.iter().map(|hash| hex(hash)).collect::<Vec<_>>();
            let body = serde_json::json!({
                "job_id": id,
                "index": record.index,
                "node": record.node.to_text(),
                "public_key": hex(&record.public_key),
                "digest": record.receipt.digest().ok().map(|digest| hex(&digest)),
                "signature": hex(&record.signature),
                "time": record.time.0,
                "leaves": proof.leaves,
                "path": hashes(&proof.path),
                "peaks": hashes(&proof.peaks),
                "tree": hex(&tree),
                "certificate": certificate.map(|certificate| hex(&certificate)),
            });
            respond(200, "application/json", body.to_string().into_bytes())
        }
        Err(ApiError { code, message, .. }) => {
            let body = serde_json::json!({ "code": code, "message": message });
            respond(404, "application/json", body.to_string().into_bytes())
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn plain(status: u16, text: &str) -> HttpResponse {
    respond(
        status,
        "text/plain; charset=utf-8",
        text.as_bytes().to_vec(),
    )
}

fn respond(status: u16, kind: &str, body: Vec<u8>) -> HttpResponse {
    let mut response = HttpResponseBuilder::ok()
        .header("Content-Type", kind)
        .header("Cache-Control", "no-store")
        .header("X-Content-Type-Options", "nosniff")
        .with_body_and_content_length(body)
        .build();
    response.status_code = status;
    response
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |c: u8| char::from(c).to_digit(16);
    digits
        .chunks(2)
        .map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8))
        .collect()
}
