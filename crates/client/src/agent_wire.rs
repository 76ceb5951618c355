//! The network as [`crate::outcome`] needs it, over ic-agent: one exchange each, with what its failure says about the
//! outcome.

use crate::outcome::{Answer, Call, Failure, Wire};
use emc_protocol::Timestamp;
use ic_agent::agent::{CallResponse, RequestStatusResponse};
use ic_agent::agent_error::TransportError;
use ic_agent::{Agent, AgentError};
use ic_certification::{Certificate, LookupResult};
use ic_transport_types::signed::SignedUpdate;
use std::time::{Duration, Instant};

/// How long one exchange may take before it counts as lost. The network answers an update within ten seconds or says
/// that it is still working.
const EXCHANGE: Duration = Duration::from_secs(45);

/// [`Wire`] over ic-agent.
pub(crate) struct AgentWire<'a> {
    agent: &'a Agent,
    url: &'a str,
    start: Instant,
}

impl<'a> AgentWire<'a> {
    pub(crate) fn new(agent: &'a Agent, url: &'a str) -> Self {
        Self {
            agent,
            url,
            start: Instant::now(),
        }
    }
}

impl Wire for AgentWire<'_> {
    type Signed = SignedUpdate;

    fn url(&self) -> &str {
        self.url
    }

    fn sign(&self, call: &Call<'_>) -> Result<SignedUpdate, Failure> {
        self.agent
            .update(&call.canister, call.method)
            .with_arg(call.arg.clone())
            .sign()
            .map_err(classify)
    }

    fn request_id(signed: &SignedUpdate) -> String {
        hex::encode(signed.request_id.as_slice())
    }

    async fn query(&self, call: &Call<'_>) -> Result<Vec<u8>, Failure> {
        let query = self
            .agent
            .query(&call.canister, call.method)
            .with_arg(call.arg.clone());
        within(query.call()).await
    }

    async fn submit(&self, signed: &SignedUpdate) -> Result<Answer, Failure> {
        let bytes = signed.signed_update.clone();
        match within(
            self.agent
                .update_signed(signed.effective_canister_id, bytes),
        )
        .await?
        {
            CallResponse::Response(reply) => Ok(Answer::Replied(reply)),
            CallResponse::Poll(_) => Ok(Answer::Working),
        }
    }

    async fn status(&self, signed: &SignedUpdate) -> Result<Answer, Failure> {
        let status = self
            .agent
            .request_status_raw(&signed.request_id, signed.effective_canister_id);
        let (status, certificate) = within(status).await?;
        Ok(match status {
            RequestStatusResponse::Replied(reply) => Answer::Replied(reply.arg),
            RequestStatusResponse::Rejected(reject) => {
                return Err(Failure::Rejected {
                    code: reject.reject_code,
                    message: reject.reject_message,
                });
            }
            RequestStatusResponse::Received | RequestStatusResponse::Processing => Answer::Working,
            RequestStatusResponse::Done => Answer::Forgotten,
            RequestStatusResponse::Unknown => Answer::Absent {
                expired: certified_time(&certificate)
                    .is_some_and(|time| time.0 > signed.ingress_expiry),
            },
        })
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// One exchange, cut off when it takes too long.
pub(crate) async fn within<T>(
    exchange: impl std::future::Future<Output = Result<T, AgentError>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(EXCHANGE, exchange).await {
        Ok(result) => result.map_err(classify),
        Err(_) => Err(Failure::Lost(format!(
            "no answer within {} s",
            EXCHANGE.as_secs()
        ))),
    }
}

/// What an agent's error says about the outcome.
fn classify(error: AgentError) -> Failure {
    match error {
        AgentError::CertifiedReject { reject, .. } => Failure::Rejected {
            code: reject.reject_code,
            message: reject.reject_message,
        },
        AgentError::UncertifiedReject { reject, .. } => Failure::NotAccepted {
            code: reject.reject_code,
            message: reject.reject_message,
        },
        AgentError::HttpError(http) => {
            let body = String::from_utf8_lossy(&http.content);
            let reason = format!(
                "HTTP {}: {}",
                http.status,
                body.chars().take(300).collect::<String>().trim()
            );
            // Too early, too many, timed out, or the server's own trouble: later may do. The rest is a plain no.
            match http.status {
                408 | 425 | 429 | 500.. => Failure::Lost(reason),
                _ => Failure::Refused(reason),
            }
        }
        AgentError::SigningError(reason) => Failure::Local(format!("cannot sign: {reason}.")),
        AgentError::InvalidReplicaUrl(reason) => Failure::Refused(reason),
        AgentError::TransportError(TransportError::Reqwest(error)) => {
            Failure::Lost(innermost(&error))
        }
        // An answer that cannot be read or verified says nothing about the request.
        other => Failure::Lost(innermost(&other)),
    }
}

/// The message and its innermost cause: "connection refused" is what helps, not the three wrappers around it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        cause = inner.source();
        let inner = inner.to_string();
        if cause.is_none() && !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
    }
    text
}

/// The time in a certificate, which every certificate holds.
pub(crate) fn certified_time(certificate: &Certificate) -> Option<Timestamp> {
    let LookupResult::Found(bytes) = certificate.tree.lookup_path([b"time".as_slice()]) else {
        return None;
    };
    // LEB128, at most ten bytes for 64 bits.
    let mut time = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        time |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some(Timestamp(time));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_answers_are_told_apart_by_what_another_try_could_change() {
        let http = |status| {
            classify(AgentError::HttpError(
                ic_agent::agent_error::HttpErrorPayload {
                    status,
                    content_type: None,
                    content: b"why".to_vec(),
                },
            ))
        };
        for status in [408, 425, 429, 500, 503] {
            assert!(matches!(http(status), Failure::Lost(_)), "{status}");
        }
        for status in [400, 403, 404, 413] {
            assert!(matches!(http(status), Failure::Refused(why) if why.contains("why")));
        }
    }
}
