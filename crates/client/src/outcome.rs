//! Sends one call until its outcome is known. The rules of [`crate::retry`] live here, over a small trait, so that they
//! are tested without a network.

use crate::{Error, RetryPolicy};
use candid::Principal;
use ic_agent::agent::RejectCode;
use std::time::Duration;
use tracing::debug;

/// What a call is: where to, what, with which bytes, and whether doing it twice is harmless.
pub(crate) struct Call<'a> {
    pub canister: Principal,
    pub method: &'a str,
    pub arg: Vec<u8>,
    pub repeat: Repeat<'a>,
}

/// Whether an update may be signed anew once its first request has expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Repeat<'a> {
    /// Doing it twice is the same as once.
    Harmless,
    /// It must not be done twice; the text says what tells whether it was done.
    Never(&'a str),
}

/// What is known after one exchange with the network.
pub(crate) enum Answer {
    /// Carried out; these bytes are the reply.
    Replied(Vec<u8>),
    /// The network has the request and works on it.
    Working,
    /// The network does not have the request. `expired` is true where, by the network's own clock, it cannot be
    /// accepted any more.
    Absent { expired: bool },
    /// The network had carried it out and has forgotten the reply.
    Forgotten,
}

/// Why one exchange brought no answer.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// Nothing is known: no connection, no answer in time, an answer that cannot be verified.
    Lost(String),
    /// This copy of the request was not accepted (nothing certifies it, and an earlier copy may have been).
    NotAccepted { code: RejectCode, message: String },
    /// Certified: the request was rejected. `code` says by whom.
    Rejected { code: RejectCode, message: String },
    /// A plain no to this copy, which sending it again would not change.
    Refused(String),
    /// Nothing was sent: the key or the program is at fault.
    Local(String),
}

/// The network, as this file needs it.
pub(crate) trait Wire {
    /// A signed request.
    type Signed;
    fn url(&self) -> &str;
    fn sign(&self, call: &Call<'_>) -> Result<Self::Signed, Failure>;
    fn request_id(signed: &Self::Signed) -> String;
    async fn query(&self, call: &Call<'_>) -> Result<Vec<u8>, Failure>;
    async fn submit(&self, signed: &Self::Signed) -> Result<Answer, Failure>;
    async fn status(&self, signed: &Self::Signed) -> Result<Answer, Failure>;
    /// Time since some fixed moment.
    fn elapsed(&self) -> Duration;
    async fn sleep(&self, time: Duration);
}

/// Shortest and longest wait between two looks at a request that the network works on.
const LOOK: (Duration, Duration) = (Duration::from_millis(150), Duration::from_secs(1));
/// How long a request may stay in the network's hands before this client stops looking, whatever the policy.
const WORKING: Duration = Duration::from_secs(5 * 60);

/// Asks until there is an answer.
pub(crate) async fn query<W: Wire>(
    wire: &W,
    policy: &RetryPolicy,
    call: Call<'_>,
) -> Result<Vec<u8>, Error> {
    let start = wire.elapsed();
    let mut backoff = policy.backoff();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let failure = match wire.query(&call).await {
            Ok(reply) => return Ok(reply),
            Err(failure) => failure,
        };
        let transient = match &failure {
            Failure::Lost(_) => true,
            Failure::NotAccepted { code, .. } | Failure::Rejected { code, .. } => {
                *code == RejectCode::SysTransient
            }
            Failure::Refused(_) | Failure::Local(_) => false,
        };
        let wait = transient.then(|| backoff.next_wait(wire.elapsed().saturating_sub(start)));
        match wait.flatten() {
            Some(wait) => {
                debug!(
                    method = call.method,
                    ?failure,
                    ?wait,
                    "the query is asked again"
                );
                wire.sleep(wait).await;
            }
            None => return Err(give_up(wire, &call, failure, attempts)),
        }
    }
}

/// Sends an update until its outcome is known.
pub(crate) async fn update<W: Wire>(
    wire: &W,
    policy: &RetryPolicy,
    call: Call<'_>,
) -> Result<Vec<u8>, Error> {
    let start = wire.elapsed();
    let mut backoff = policy.backoff();
    let mut attempts = 0;
    loop {
        let signed = match wire.sign(&call) {
            Ok(signed) => signed,
            Err(failure) => return Err(give_up(wire, &call, failure, attempts)),
        };
        let end = one_request(wire, &call, &signed, &mut backoff, &mut attempts, start).await;
        let (failure, known) = match end {
            End::Replied(reply) => return Ok(reply),
            End::NotDone(failure) => (failure, true),
            End::Unknown(failure) => (failure, false),
        };
        // 1. What must not be done twice ends here, whatever is known: a certified "not now" is left to the caller.
        if let Repeat::Never(look_at) = call.repeat {
            return Err(if known {
                give_up(wire, &call, failure, attempts)
            } else {
                unknown(&call, W::request_id(&signed), failure, look_at)
            });
        }
        // 2. The rest is signed anew, as long as it makes sense and the policy allows.
        let again = match &failure {
            Failure::Lost(_) => true,
            Failure::NotAccepted { code, .. } | Failure::Rejected { code, .. } => {
                *code == RejectCode::SysTransient
            }
            Failure::Refused(_) | Failure::Local(_) => false,
        };
        let wait = again.then(|| backoff.next_wait(wire.elapsed().saturating_sub(start)));
        match wait.flatten() {
            Some(wait) => {
                debug!(
                    method = call.method,
                    ?failure,
                    ?wait,
                    "the update is signed anew"
                );
                wire.sleep(wait).await;
            }
            None => return Err(give_up(wire, &call, failure, attempts)),
        }
    }
}

/// How one signed request ended.
enum End {
    Replied(Vec<u8>),
    /// Certainly not carried out, or carried out and rejected for certain.
    NotDone(Failure),
    /// May have been carried out.
    Unknown(Failure),
}

/// Sends the same bytes, and asks for their status, until the outcome is known, the request has expired, or the policy
/// gives up.
async fn one_request<W: Wire>(
    wire: &W,
    call: &Call<'_>,
    signed: &W::Signed,
    backoff: &mut crate::retry::Backoff,
    attempts: &mut u32,
    start: Duration,
) -> End {
    // True once a copy may have arrived: from then on a "no" to another copy proves nothing.
    let mut may_have_arrived = false;
    loop {
        // 1. Send. A copy of what the network already has is recognised by its request id.
        *attempts += 1;
        let failure = match wire.submit(signed).await {
            Ok(Answer::Replied(reply)) => return End::Replied(reply),
            Ok(Answer::Working | Answer::Absent { .. } | Answer::Forgotten) => {
                may_have_arrived = true;
                None
            }
            Err(rejected @ Failure::Rejected { .. }) => return End::NotDone(rejected),
            Err(local @ Failure::Local(_)) => return End::NotDone(local),
            Err(lost @ Failure::Lost(_)) => {
                may_have_arrived = true;
                Some(lost)
            }
            Err(no) if !may_have_arrived => {
                let later = matches!(&no, Failure::NotAccepted { code, .. } if *code == RejectCode::SysTransient);
                if !later {
                    return End::NotDone(no);
                }
                match backoff.next_wait(wire.elapsed().saturating_sub(start)) {
                    Some(wait) => wire.sleep(wait).await,
                    None => return End::NotDone(no),
                }
                continue;
            }
            Err(no) => Some(no),
        };
        // 2. After a failure, wait; then look what became of it.
        let mut last = failure;
        if let Some(failure) = &last {
            debug!(method = call.method, ?failure, "the same request goes on");
            match backoff.next_wait(wire.elapsed().saturating_sub(start)) {
                Some(wait) => wire.sleep(wait).await,
                None => return End::Unknown(failure.clone()),
            }
        }
        let looking = wire.elapsed();
        let mut look = LOOK.0;
        loop {
            match wire.status(signed).await {
                Ok(Answer::Replied(reply)) => return End::Replied(reply),
                Err(rejected @ Failure::Rejected { .. }) => return End::NotDone(rejected),
                Ok(Answer::Forgotten) => {
                    return End::Unknown(Failure::Lost(
                        "it was carried out, but its reply is no longer kept".into(),
                    ));
                }
                Ok(Answer::Absent { expired: true }) => {
                    let why = "the request expired before its outcome could be read";
                    return End::Unknown(last.unwrap_or_else(|| Failure::Lost(why.into())));
                }
                // Not there (yet): after a failed try it is sent again; after an accepted one it will appear.
                Ok(Answer::Absent { expired: false }) if last.is_some() => break,
                Ok(Answer::Absent { .. } | Answer::Working) => {
                    last = None;
                    if wire.elapsed().saturating_sub(looking) > WORKING {
                        return End::Unknown(Failure::Lost(
                            "the network has not finished it within five minutes".into(),
                        ));
                    }
                    wire.sleep(look).await;
                    look = look.mul_f64(1.4).min(LOOK.1);
                }
                Err(failure) => match backoff.next_wait(wire.elapsed().saturating_sub(start)) {
                    Some(wait) => {
                        *attempts += 1;
                        wire.sleep(wait).await;
                        // Its copy may have been lost with the network: once that answers "absent", send again.
                        last = Some(failure);
                    }
                    None => return End::Unknown(failure),
                },
            }
        }
    }
}

/// The error for a failure after which no more is tried, when nothing has happened or repeating is harmless.
fn give_up<W: Wire>(wire: &W, call: &Call<'_>, failure: Failure, attempts: u32) -> Error {
    let tried = || format!("{} of {} at {}", call.method, call.canister, wire.url());
    match failure {
        Failure::Lost(reason) => Error::Transport {
            tried: tried(),
            attempts,
            reason,
            retryable: true,
        },
        Failure::Refused(reason) => Error::Transport {
            tried: tried(),
            attempts,
            reason,
            retryable: false,
        },
        Failure::NotAccepted { code, message } | Failure::Rejected { code, message } => {
            Error::Rejected {
                canister: call.canister,
                method: call.method.to_owned(),
                code,
                message,
            }
        }
        Failure::Local(reason) => Error::Identity(reason),
    }
}

fn unknown(call: &Call<'_>, request_id: String, failure: Failure, look_at: &str) -> Error {
    let reason = match failure {
        Failure::Lost(reason) | Failure::Refused(reason) | Failure::Local(reason) => reason,
        Failure::NotAccepted { message, .. } | Failure::Rejected { message, .. } => message,
    };
    Error::Unknown {
        canister: call.canister,
        method: call.method.to_owned(),
        request_id,
        reason,
        look_at: look_at.to_owned(),
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
