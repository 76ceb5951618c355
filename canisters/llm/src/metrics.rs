//! `/metrics` for Prometheus, and nothing else over HTTP. Not certified: figures for operators.

use crate::state::{Counts, State};
use ic_http_types::{HttpRequest, HttpResponse, HttpResponseBuilder};
use ic_metrics_encoder::MetricsEncoder;

/// Answers an HTTP request.
pub fn http_request(state: &State, now: u64, request: &HttpRequest) -> HttpResponse {
    if request.path() != "/metrics" {
        return HttpResponseBuilder::not_found().build();
    }
    let mut encoder = MetricsEncoder::new(vec![], (now / 1_000_000) as i64);
    match encode(state, &mut encoder) {
        Ok(()) => HttpResponseBuilder::ok()
            .header("Content-Type", "text/plain; version=0.0.4")
            .header("Cache-Control", "no-store")
            .with_body_and_content_length(encoder.into_inner())
            .build(),
        Err(error) => HttpResponseBuilder::server_error(format!("metrics: {error}")).build(),
    }
}

fn encode(state: &State, out: &mut MetricsEncoder<Vec<u8>>) -> std::io::Result<()> {
    // Taken apart in full: whoever adds a part of the state decides here whether it is a figure.
    let State {
        config,
        places,
        counts,
    } = state;
    let Counts {
        requests,
        jobs,
        answered,
        refused,
    } = *counts;
    let gauges = [
        (
            "emc_llm_open",
            f64::from(places.open()),
            "Requests that wait for their answers.",
        ),
        (
            "emc_llm_models",
            config.get().models.len() as f64,
            "Names of models.",
        ),
    ];
    for (name, value, help) in gauges {
        out.encode_gauge(name, value, help)?;
    }
    let counters = [
        ("emc_llm_requests_total", requests, "Requests that came."),
        (
            "emc_llm_jobs_total",
            jobs,
            "Jobs that were to be submitted.",
        ),
        (
            "emc_llm_answered_total",
            answered,
            "Requests that were answered.",
        ),
        (
            "emc_llm_refused_total",
            refused,
            "Requests that were refused.",
        ),
    ];
    for (name, value, help) in counters {
        out.encode_counter(name, value as f64, help)?;
    }
    Ok(())
}
