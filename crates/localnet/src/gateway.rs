//! The HTTP gateway: `http://<canister-id>.localhost:<port>/...` or `...?canisterId=<canister-id>` calls the canister's
//! `http_request` query (and `http_request_update` where it asks for that) and passes the answer on. It does not check
//! the answer's certification, and does not stream.

use crate::certify::RequestStatus;
use crate::http::App;
use crate::ingress::UserCall;
use crate::query::Query;
use crate::reject::Response as Answer;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use candid::{CandidType, Deserialize, Principal};
use sha2::{Digest, Sha256};

#[derive(CandidType)]
struct HttpRequest {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    certificate_version: Option<u16>,
}

#[derive(CandidType, Deserialize)]
struct HttpResponse {
    status_code: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    upgrade: Option<bool>,
}

/// The canister that a request is for.
fn addressed(uri: &Uri, headers: &HeaderMap) -> Option<Principal> {
    let host = headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or_default();
    let first = host.split(['.', ':']).next().unwrap_or_default();
    let by_query = uri.query().unwrap_or_default().split('&').find_map(|pair| {
        pair.strip_prefix("canisterId=")
            .or_else(|| pair.strip_prefix("canister_id="))
    });
    Principal::from_text(first)
        .ok()
        .or_else(|| by_query.and_then(|id| Principal::from_text(id).ok()))
}

fn plain(status: StatusCode, message: impl Into<String>) -> Response {
    (status, message.into()).into_response()
}

/// Everything that is not an API route.
pub async fn serve(
    State(app): State<App>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(canister) = addressed(&uri, &headers) else {
        return plain(
            StatusCode::NOT_FOUND,
            "emc-localnet: no canister addressed. Use http://<canister-id>.localhost:<port>/ or add \
             ?canisterId=<canister-id>. The API is under /api/, the control interface under /_/.\n",
        );
    };
    let request = HttpRequest {
        method: method.to_string(),
        url: uri.path_and_query().map_or("/", |p| p.as_str()).to_string(),
        headers: headers
            .iter()
            .filter_map(|(k, v)| Some((k.to_string(), v.to_str().ok()?.to_string())))
            .collect(),
        body: body.to_vec(),
        certificate_version: Some(2),
    };
    let Ok(argument) = candid::encode_one(&request) else {
        return plain(
            StatusCode::BAD_REQUEST,
            "the request cannot be encoded as Candid",
        );
    };
    match app.ask_canister(canister, argument).await {
        Ok(response) => response,
        Err(stopped) => stopped.into_response(),
    }
}

impl App {
    async fn ask_canister(
        &self,
        canister: Principal,
        argument: Vec<u8>,
    ) -> Result<Response, crate::executor::Stopped> {
        let caller = Principal::anonymous();
        let query = Query {
            caller,
            canister,
            method: "http_request".into(),
            argument: argument.clone(),
        };
        let answer = self.executor.ask(move |subnet| subnet.query(query)).await?;
        let response = match decode(answer) {
            Ok(response) => response,
            Err(refused) => return Ok(*refused),
        };
        if response.upgrade != Some(true) {
            return Ok(pass_on(response));
        }
        let mut hash = Sha256::new();
        hash.update(b"emc-localnet gateway");
        hash.update(crate::clock::wall_ns().to_le_bytes());
        hash.update(&argument);
        let call = UserCall {
            id: hash.finalize().into(),
            sender: caller,
            canister,
            method: "http_request_update".into(),
            argument,
        };
        let waiting = match self.executor.ask(move |subnet| subnet.submit(call)).await? {
            Ok(waiting) => waiting,
            Err(reject) => return Ok(plain(StatusCode::BAD_GATEWAY, reject.to_string())),
        };
        match waiting.await {
            Ok(RequestStatus::Done(answer)) => Ok(match decode(answer) {
                Ok(response) => pass_on(response),
                Err(refused) => *refused,
            }),
            _ => Err(crate::executor::Stopped),
        }
    }
}

fn decode(answer: Answer) -> Result<HttpResponse, Box<Response>> {
    let bytes = answer.map_err(|reject| {
        let status = if reject.code == crate::reject::DESTINATION_INVALID {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::BAD_GATEWAY
        };
        Box::new(plain(status, reject.to_string()))
    })?;
    candid::decode_one(&bytes).map_err(|e| {
        Box::new(plain(
            StatusCode::BAD_GATEWAY,
            format!("the canister's http_request answered something else: {e}"),
        ))
    })
}

fn pass_on(answer: HttpResponse) -> Response {
    let status = StatusCode::from_u16(answer.status_code).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = (status, answer.body).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    for (name, value) in answer.headers {
        // The server frames the body itself.
        if name.eq_ignore_ascii_case("content-length")
            || name.eq_ignore_ascii_case("transfer-encoding")
        {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
