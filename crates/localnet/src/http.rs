//! The Internet Computer's HTTP interface: status, call, query, read_state, for unmodified agents.

use crate::authenticate;
use crate::certify::{Certifier, Keys, RequestStatus, cbor};
use crate::clock::wall_ns;
use crate::executor::{Executor, Stopped};
use crate::ingress::UserCall;
use crate::query::Query;
use crate::reject::{Reject, Response as Answer};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use candid::Principal;
use ic_transport_types::{
    Envelope, EnvelopeContent, NodeSignature, QueryResponse, ReadStateResponse, RejectCode,
    RejectResponse, ReplyResponse, TransportCallResponse,
};
use std::sync::Arc;
use std::time::Duration;

/// What the handlers need.
#[derive(Clone)]
pub struct App {
    /// The state's owner.
    pub executor: Executor,
    /// Signs answers to calls.
    pub certifier: Certifier,
    /// Signs everything else.
    pub keys: Arc<Keys>,
}

/// How long a call waits for its answer before the client has to poll.
const CALL_WAIT: Duration = Duration::from_secs(10);
const MAX_BODY_BYTES: usize = 5 << 20;

/// All routes of the network.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/api/v2/status", get(status))
        .route("/api/{version}/canister/{id}/{operation}", post(canister))
        .route("/api/{version}/subnet/{id}/{operation}", post(subnet))
        .merge(crate::control::routes())
        .fallback(crate::gateway::serve)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(cross_origin))
        .with_state(app)
}

/// Lets web pages of any origin talk to the network.
async fn cross_origin(request: Request, next: Next) -> Response {
    let preflight = request.method() == Method::OPTIONS;
    let mut response = if preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    if preflight {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, DELETE, OPTIONS"),
        );
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("*"),
        );
    }
    response
}

impl IntoResponse for Stopped {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

fn cbor_response(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/cbor")], body).into_response()
}

fn bad(message: impl Into<String>) -> Response {
    (StatusCode::BAD_REQUEST, message.into()).into_response()
}

async fn status(State(app): State<App>) -> Response {
    use serde_cbor::Value::{Bytes, Map, Text};
    let entries = [
        (Text("ic_api_version".into()), Text("0.18.0".into())),
        (
            Text("impl_version".into()),
            Text(concat!("emc-localnet ", env!("CARGO_PKG_VERSION")).into()),
        ),
        (Text("replica_health_status".into()), Text("healthy".into())),
        (Text("root_key".into()), Bytes(app.keys.root_der.clone())),
    ];
    cbor_response(cbor(&Map(entries.into())))
}

/// Parses and authenticates a request.
fn open(body: &[u8]) -> Result<Envelope<'static>, Box<Response>> {
    let envelope: Envelope<'static> = serde_cbor::from_slice(body)
        .map_err(|e| Box::new(bad(format!("Unable to parse CBOR request: {e}"))))?;
    authenticate::check(&envelope, wall_ns()).map_err(|e| Box::new(bad(e)))?;
    Ok(envelope)
}

async fn canister(
    State(app): State<App>,
    Path((version, id, operation)): Path<(String, String, String)>,
    body: Bytes,
) -> Response {
    let known = match operation.as_str() {
        "call" => matches!(version.as_str(), "v2" | "v3" | "v4"),
        "query" | "read_state" => matches!(version.as_str(), "v2" | "v3"),
        _ => false,
    };
    if !known {
        return (
            StatusCode::NOT_FOUND,
            format!("there is no /api/{version}/canister/.../{operation}"),
        )
            .into_response();
    }
    let Ok(effective) = Principal::from_text(&id) else {
        return bad(format!("Invalid effective canister id: {id}"));
    };
    let envelope = match open(&body) {
        Ok(envelope) => envelope,
        Err(refused) => return *refused,
    };
    let request_id = envelope.content.to_request_id();
    let management = Principal::management_canister();
    let answered = match (envelope.content.into_owned(), operation.as_str()) {
        (
            EnvelopeContent::Call {
                sender,
                canister_id,
                method_name,
                arg,
                ..
            },
            "call",
        ) => {
            if canister_id != management && canister_id != effective {
                return bad(mismatch(canister_id, effective));
            }
            let id = *request_id;
            let call = UserCall {
                id,
                sender,
                canister: canister_id,
                method: method_name,
                argument: arg,
            };
            app.call(call, version != "v2").await
        }
        (
            EnvelopeContent::Query {
                sender,
                canister_id,
                method_name,
                arg,
                ..
            },
            "query",
        ) => {
            if canister_id != management && canister_id != effective {
                return bad(mismatch(canister_id, effective));
            }
            let query = Query {
                caller: sender,
                canister: canister_id,
                method: method_name,
                argument: arg,
            };
            app.query(query, request_id).await
        }
        (EnvelopeContent::ReadState { sender, paths, .. }, "read_state") => {
            app.read_state(sender, paths).await
        }
        (_, operation) => {
            return bad(format!(
                "the request's type does not fit the endpoint {operation}"
            ));
        }
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

fn mismatch(canister: Principal, effective: Principal) -> String {
    format!(
        "Specified CanisterId {canister} does not match effective canister id in URL {effective}"
    )
}

async fn subnet(
    State(app): State<App>,
    Path((version, id, operation)): Path<(String, String, String)>,
    body: Bytes,
) -> Response {
    if operation != "read_state" || !matches!(version.as_str(), "v2" | "v3") {
        return (
            StatusCode::NOT_FOUND,
            format!("there is no /api/{version}/subnet/.../{operation}"),
        )
            .into_response();
    }
    if Principal::from_text(&id).ok() != Some(app.keys.subnet) {
        return bad(format!(
            "the only subnet of this network is {}, not {id}",
            app.keys.subnet
        ));
    }
    let envelope = match open(&body) {
        Ok(envelope) => envelope,
        Err(refused) => return *refused,
    };
    match envelope.content.into_owned() {
        EnvelopeContent::ReadState { sender, paths, .. } => app
            .read_state(sender, paths)
            .await
            .unwrap_or_else(IntoResponse::into_response),
        _ => bad("the request's type does not fit the endpoint read_state"),
    }
}

impl App {
    async fn call(&self, call: UserCall, wait: bool) -> Result<Response, Stopped> {
        let id = call.id;
        let submitted = self.executor.ask(move |subnet| subnet.submit(call)).await?;
        let waiting = match submitted {
            Ok(waiting) => waiting,
            Err(reject) => {
                let body = TransportCallResponse::NonReplicatedRejection(reject_response(&reject));
                return Ok(cbor_response(cbor(&body)));
            }
        };
        let accepted =
            || (StatusCode::ACCEPTED, cbor(&TransportCallResponse::Accepted)).into_response();
        if !wait {
            return Ok(StatusCode::ACCEPTED.into_response());
        }
        match tokio::time::timeout(CALL_WAIT, waiting).await {
            Err(_) => Ok(accepted()),
            Ok(Err(_)) => Err(Stopped),
            Ok(Ok(RequestStatus::Processing)) => Ok(accepted()),
            Ok(Ok(done)) => {
                let certificate = self.certifier.certify(id, done).await.ok_or(Stopped)?;
                Ok(cbor_response(cbor(&TransportCallResponse::Replied {
                    certificate,
                })))
            }
        }
    }

    async fn query(
        &self,
        query: Query,
        id: ic_transport_types::RequestId,
    ) -> Result<Response, Stopped> {
        let answer: Answer = self.executor.ask(move |subnet| subnet.query(query)).await?;
        let mut response = match answer {
            Ok(arg) => QueryResponse::Replied {
                reply: ReplyResponse { arg },
                signatures: Vec::new(),
            },
            Err(reject) => QueryResponse::Rejected {
                reject: reject_response(&reject),
                signatures: Vec::new(),
            },
        };
        let timestamp = wall_ns();
        let signature = self.keys.sign_query(&response.signable(id, timestamp));
        let (QueryResponse::Replied { signatures, .. }
        | QueryResponse::Rejected { signatures, .. }) = &mut response;
        signatures.push(NodeSignature {
            timestamp,
            signature,
            identity: self.keys.node_id,
        });
        Ok(cbor_response(cbor(&response)))
    }

    async fn read_state(
        &self,
        sender: Principal,
        paths: Vec<Vec<ic_certification::Label>>,
    ) -> Result<Response, Stopped> {
        let paths: Vec<Vec<Vec<u8>>> = paths
            .into_iter()
            .map(|p| p.iter().map(|l| l.as_bytes().to_vec()).collect())
            .collect();
        let shown = self
            .executor
            .ask(move |subnet| subnet.read_state(sender, &paths))
            .await?;
        Ok(match shown {
            Ok(tree) => {
                let keys = self.keys.clone();
                let certificate = tokio::task::spawn_blocking(move || keys.certify(tree))
                    .await
                    .map_err(|_| Stopped)?;
                cbor_response(cbor(&ReadStateResponse { certificate }))
            }
            Err(refusal) => {
                let status = StatusCode::from_u16(refusal.0).unwrap_or(StatusCode::BAD_REQUEST);
                (status, refusal.1).into_response()
            }
        })
    }
}

/// A rejection for agents. They know five reject codes; the sixth appears only between canisters.
fn reject_response(reject: &Reject) -> RejectResponse {
    RejectResponse {
        reject_code: RejectCode::try_from(u64::from(reject.code))
            .unwrap_or(RejectCode::SysTransient),
        error_code: reject.error_code(),
        reject_message: reject.message.clone(),
    }
}

/// An error of the control interface.
pub fn json_error(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(serde_json::json!({ "error": message.into() }))).into_response()
}
