//! The control interface under `/_/`: what tests need beyond the Internet Computer's own interface. JSON over HTTP, so
//! that a test works against any network and learns from `GET /_/status` what this one can do. See the crate's
//! documentation for the endpoints.

use crate::canister::RunStatus;
use crate::faults::FaultRequest;
use crate::http::{App, json_error};
use crate::stable::StableMemory;
use crate::subnet::{FIRST_CANISTER, canister_id};
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use candid::Principal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The routes.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/_/status", get(status))
        .route("/_/time", post(advance_time))
        .route(
            "/_/faults",
            post(add_fault).get(list_faults).delete(clear_faults),
        )
        .route("/_/log", get(log))
        .route("/_/tick", post(tick))
        .route("/_/hold", post(hold))
        .route("/_/waiting", get(waiting))
        .route("/_/stable_memory", post(load_stable_memory))
}

fn answer<T: serde::Serialize>(asked: Result<T, crate::executor::Stopped>) -> Response {
    match asked {
        Ok(value) => Json(value).into_response(),
        Err(stopped) => json_error(StatusCode::INTERNAL_SERVER_ERROR, stopped.to_string()),
    }
}

/// A body as JSON, whatever its content type says.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Response>> {
    serde_json::from_slice(body).map_err(|e| {
        Box::new(json_error(
            StatusCode::BAD_REQUEST,
            format!("bad JSON: {e}"),
        ))
    })
}

async fn status(State(app): State<App>) -> Response {
    let root_key = hex::encode(&app.keys.root_der);
    answer(
        app.executor
            .ask(move |subnet| {
                json!({
                    "implementation": "emc-localnet",
                    "version": env!("CARGO_PKG_VERSION"),
                    "capabilities": ["time", "faults", "log", "hold", "stable_memory"],
                    "root_key": root_key,
                    "time_ns": crate::clock::wall_ns(),
                    "canister_time_ns": subnet.clock.now(),
                    "default_effective_canister_id": canister_id(FIRST_CANISTER).to_text(),
                })
            })
            .await,
    )
}

#[derive(Deserialize)]
struct Advance {
    advance_s: f64,
}

async fn advance_time(State(app): State<App>, body: Bytes) -> Response {
    const LONGEST_S: f64 = 100.0 * 365.25 * 86400.0;
    let Advance { advance_s } = match parse(&body) {
        Ok(parsed) => parsed,
        Err(refused) => return *refused,
    };
    if !(0.0..=LONGEST_S).contains(&advance_s) {
        return json_error(
            StatusCode::BAD_REQUEST,
            "advance_s must be a number of seconds from 0 to 100 years",
        );
    }
    answer(
        app.executor
            .ask(move |subnet| {
                subnet.clock.advance((advance_s * 1e9) as u64);
                json!({ "canister_time_ns": subnet.clock.now() })
            })
            .await,
    )
}

async fn add_fault(State(app): State<App>, body: Bytes) -> Response {
    let request: FaultRequest = match parse(&body) {
        Ok(parsed) => parsed,
        Err(refused) => return *refused,
    };
    match app
        .executor
        .ask(move |subnet| subnet.faults.add(request))
        .await
    {
        Ok(Err(wrong)) => json_error(StatusCode::BAD_REQUEST, wrong),
        Ok(Ok(id)) => Json(json!({ "id": id })).into_response(),
        Err(stopped) => json_error(StatusCode::INTERNAL_SERVER_ERROR, stopped.to_string()),
    }
}

async fn list_faults(State(app): State<App>) -> Response {
    answer(
        app.executor
            .ask(|subnet| subnet.faults.list().to_vec())
            .await,
    )
}

async fn clear_faults(State(app): State<App>) -> Response {
    answer(
        app.executor
            .ask(|subnet| {
                subnet.faults.clear();
                json!({})
            })
            .await,
    )
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn log(State(app): State<App>, Query(After { after }): Query<After>) -> Response {
    answer(
        app.executor
            .ask(move |subnet| subnet.log.after(after))
            .await,
    )
}

#[derive(Deserialize)]
struct Hold {
    held: bool,
}

/// Holds the network, or lets it go.
async fn hold(State(app): State<App>, body: Bytes) -> Response {
    let Hold { held } = match parse(&body) {
        Ok(parsed) => parsed,
        Err(refused) => return *refused,
    };
    answer(
        app.executor
            .ask(move |subnet| {
                subnet.held = held;
                subnet.clock.hold(held);
                json!({ "held": held, "canister_time_ns": subnet.clock.now() })
            })
            .await,
    )
}

async fn waiting(State(app): State<App>) -> Response {
    answer(
        app.executor
            .ask(|subnet| {
                let (arrived, waiting) = (subnet.ingress.arrived(), subnet.ingress.waiting());
                json!({ "arrived": arrived, "waiting": waiting })
            })
            .await,
    )
}

#[derive(Deserialize)]
struct Load {
    canister: Principal,
    file: PathBuf,
}

/// Gives a stopped canister the content of a file as its stable memory. Its heap stays as it is, so that an upgrade has
/// to follow before it is started again.
async fn load_stable_memory(State(app): State<App>, body: Bytes) -> Response {
    let Load { canister, file } = match parse(&body) {
        Ok(parsed) => parsed,
        Err(refused) => return *refused,
    };
    let name = file.display().to_string();
    let read = tokio::task::spawn_blocking(move || StableMemory::from_file(&file)).await;
    let memory = match read {
        Ok(Ok(memory)) => memory,
        Ok(Err(error)) => {
            return json_error(StatusCode::BAD_REQUEST, format!("{name}: {error}"));
        }
        Err(error) => return json_error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let loaded = app.executor.ask(move |subnet| {
        let found = subnet.canisters.get_mut(&canister);
        let Some(found) = found.filter(|c| matches!(c.status, RunStatus::Stopped)) else {
            return Err(format!(
                "{canister} is not a canister that is stopped: stop it first"
            ));
        };
        let pages = memory.pages();
        found.stable = memory;
        Ok(pages)
    });
    match loaded.await {
        Ok(Ok(pages)) => Json(json!({ "pages": pages })).into_response(),
        Ok(Err(wrong)) => json_error(StatusCode::BAD_REQUEST, wrong),
        Err(stopped) => json_error(StatusCode::INTERNAL_SERVER_ERROR, stopped.to_string()),
    }
}

/// Runs what is due and ready until nothing is left, or for ten seconds.
async fn tick(State(app): State<App>) -> Response {
    const LONGEST: Duration = Duration::from_secs(10);
    answer(
        app.executor
            .ask(|subnet| -> Value {
                let start = Instant::now();
                let mut messages = 0u64;
                let mut idle = false;
                while start.elapsed() < LONGEST {
                    if !subnet.step() {
                        idle = true;
                        break;
                    }
                    messages += 1;
                }
                json!({ "messages": messages, "idle": idle, "canister_time_ns": subnet.clock.now() })
            })
            .await,
    )
}
