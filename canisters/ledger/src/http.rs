//! `/metrics` and `/logs` for whoever runs the ledger. They are not certified: what is certified is the log's tip.

use crate::{
    metrics::{self, Platform},
    state::Ledger,
};
use ic_http_types::{HttpRequest, HttpResponse, HttpResponseBuilder};

/// Answers a GET.
pub fn answer(
    ledger: &Ledger,
    request: &HttpRequest,
    platform: Platform,
    now: u64,
) -> HttpResponse {
    let (content_type, body) = match request.path() {
        "/metrics" => (
            "text/plain; version=0.0.4",
            metrics::encode(ledger, platform, now),
        ),
        "/logs" => ("text/plain; charset=utf-8", ledger.events.to_text()),
        _ => return HttpResponseBuilder::not_found().build(),
    };
    HttpResponseBuilder::ok()
        .header("Content-Type", content_type)
        .header("Cache-Control", "no-store")
        .with_body_and_content_length(body)
        .build()
}
