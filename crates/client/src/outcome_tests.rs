//! The rules of sending, against a network that answers as it is told.

use super::*;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// A network whose answers are scripted; it counts what is asked of it and never really sleeps.
#[derive(Default)]
struct Scripted {
    submits: RefCell<VecDeque<Result<Answer, Failure>>>,
    statuses: RefCell<VecDeque<Result<Answer, Failure>>>,
    queries: RefCell<VecDeque<Result<Vec<u8>, Failure>>>,
    signed: Cell<u32>,
    sent: RefCell<Vec<u32>>,
    clock: Cell<Duration>,
}

impl Wire for Scripted {
    type Signed = u32;

    fn url(&self) -> &str {
        "http://scripted"
    }

    fn sign(&self, _: &Call<'_>) -> Result<u32, Failure> {
        self.signed.set(self.signed.get() + 1);
        Ok(self.signed.get())
    }

    fn request_id(signed: &u32) -> String {
        format!("request-{signed}")
    }

    async fn query(&self, _: &Call<'_>) -> Result<Vec<u8>, Failure> {
        self.queries.borrow_mut().pop_front().unwrap_or_else(lost)
    }

    async fn submit(&self, signed: &u32) -> Result<Answer, Failure> {
        self.sent.borrow_mut().push(*signed);
        self.submits.borrow_mut().pop_front().unwrap_or_else(lost)
    }

    async fn status(&self, _: &u32) -> Result<Answer, Failure> {
        self.statuses.borrow_mut().pop_front().unwrap_or_else(lost)
    }

    fn elapsed(&self) -> Duration {
        self.clock.get()
    }

    async fn sleep(&self, time: Duration) {
        self.clock.set(self.clock.get() + time);
    }
}

fn lost<T>() -> Result<T, Failure> {
    Err(Failure::Lost("connection refused".into()))
}

fn call(repeat: Repeat<'_>) -> Call<'_> {
    Call {
        canister: Principal::management_canister(),
        method: "method",
        arg: vec![],
        repeat,
    }
}

const NEVER: Repeat<'_> = Repeat::Never("look at the balance");

fn network(
    submits: Vec<Result<Answer, Failure>>,
    statuses: Vec<Result<Answer, Failure>>,
) -> Scripted {
    Scripted {
        submits: RefCell::new(submits.into()),
        statuses: RefCell::new(statuses.into()),
        ..Scripted::default()
    }
}

fn replied(byte: u8) -> Result<Answer, Failure> {
    Ok(Answer::Replied(vec![byte]))
}

fn absent(expired: bool) -> Result<Answer, Failure> {
    Ok(Answer::Absent { expired })
}

fn rejected(code: RejectCode) -> Result<Answer, Failure> {
    Err(Failure::Rejected {
        code,
        message: "no".into(),
    })
}

fn not_accepted(code: RejectCode) -> Result<Answer, Failure> {
    Err(Failure::NotAccepted {
        code,
        message: "no".into(),
    })
}

fn run(network: &Scripted, repeat: Repeat<'_>) -> Result<Vec<u8>, Error> {
    now(update(network, &RetryPolicy::default(), call(repeat)))
}

/// Runs a future that never waits for anything outside.
fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers")
        .block_on(future)
}

#[test]
fn an_update_that_is_answered_is_sent_once() {
    let network = network(vec![replied(7)], vec![]);
    assert_eq!(run(&network, NEVER).unwrap(), [7]);
    assert_eq!(*network.sent.borrow(), [1]);
}

#[test]
fn an_accepted_update_is_waited_for_not_sent_again() {
    let network = network(
        vec![Ok(Answer::Working)],
        vec![absent(false), Ok(Answer::Working), replied(7)],
    );
    assert_eq!(run(&network, NEVER).unwrap(), [7]);
    assert_eq!(*network.sent.borrow(), [1]);
}

#[test]
fn a_lost_update_is_sent_again_as_the_same_request() {
    let network = network(
        vec![lost(), lost(), replied(7)],
        vec![absent(false), absent(false)],
    );
    assert_eq!(run(&network, NEVER).unwrap(), [7]);
    assert_eq!(
        *network.sent.borrow(),
        [1, 1, 1],
        "one signature, three copies"
    );
}

#[test]
fn a_lost_answer_is_read_from_the_status() {
    let network = network(vec![lost()], vec![replied(7)]);
    assert_eq!(run(&network, NEVER).unwrap(), [7]);
    assert_eq!(*network.sent.borrow(), [1]);
}

#[test]
fn what_must_not_be_done_twice_is_never_signed_anew() {
    let network = network(vec![lost()], vec![absent(true)]);
    let error = run(&network, NEVER).unwrap_err();
    assert!(matches!(&error, Error::Unknown { request_id, .. } if request_id == "request-1"));
    assert!(error.to_string().contains("look at the balance"), "{error}");
    assert!(!error.is_retryable());
    assert_eq!(network.signed.get(), 1);
}

#[test]
fn what_is_harmless_is_signed_anew_once_its_request_has_expired() {
    let network = network(vec![lost(), replied(7)], vec![absent(true)]);
    assert_eq!(run(&network, Repeat::Harmless).unwrap(), [7]);
    assert_eq!(*network.sent.borrow(), [1, 2]);
}

#[test]
fn a_refusal_of_the_only_copy_is_certain_and_a_refusal_of_a_second_is_not() {
    let first = network(vec![not_accepted(RejectCode::CanisterReject)], vec![]);
    assert!(matches!(
        run(&first, NEVER).unwrap_err(),
        Error::Rejected { .. }
    ));
    let second = network(
        vec![lost(), not_accepted(RejectCode::CanisterReject)],
        vec![absent(false), replied(7)],
    );
    assert_eq!(run(&second, NEVER).unwrap(), [7]);
}

#[test]
fn a_canister_that_is_away_for_now_is_asked_again() {
    let away = || not_accepted(RejectCode::SysTransient);
    let network = network(vec![away(), away(), replied(7)], vec![]);
    assert_eq!(run(&network, NEVER).unwrap(), [7]);
    assert_eq!(*network.sent.borrow(), [1, 1, 1]);
}

#[test]
fn a_certified_rejection_ends_a_call_unless_it_is_for_now_and_harmless() {
    let trap = network(vec![rejected(RejectCode::CanisterError)], vec![]);
    assert!(matches!(
        run(&trap, Repeat::Harmless).unwrap_err(),
        Error::Rejected { .. }
    ));
    let busy = network(vec![rejected(RejectCode::SysTransient), replied(7)], vec![]);
    assert_eq!(run(&busy, Repeat::Harmless).unwrap(), [7]);
    let once = network(vec![rejected(RejectCode::SysTransient), replied(7)], vec![]);
    let error = run(&once, NEVER).unwrap_err();
    assert!(
        error.is_retryable(),
        "certainly not done, so the caller may: {error}"
    );
    assert_eq!(once.signed.get(), 1);
}

#[test]
fn a_reply_that_is_no_longer_kept_is_reported_as_unknown() {
    let network = network(vec![lost()], vec![Ok(Answer::Forgotten)]);
    let error = run(&network, NEVER).unwrap_err();
    assert!(error.to_string().contains("carried out"), "{error}");
}

#[test]
fn a_dead_network_ends_with_what_was_tried() {
    let dead = Scripted::default();
    let error = run(&dead, Repeat::Harmless).unwrap_err();
    assert!(matches!(&error, Error::Transport { attempts, retryable: true, .. } if *attempts > 3));
    assert!(error.to_string().contains("http://scripted"), "{error}");
    let error = run(&Scripted::default(), NEVER).unwrap_err();
    assert!(
        matches!(error, Error::Unknown { .. }),
        "it may have arrived: {error}"
    );
}

#[test]
fn a_policy_without_an_end_outlives_a_long_outage() {
    let mut submits: Vec<_> = (0..500).map(|_| lost()).collect();
    submits.push(replied(7));
    let network = network(submits, (0..500).map(|_| absent(false)).collect());
    let policy = RetryPolicy::for_ever();
    let reply = now(update(&network, &policy, call(Repeat::Harmless)));
    assert_eq!(reply.unwrap(), [7]);
    assert!(network.clock.get() > Duration::from_secs(3600));
}

#[test]
fn a_query_is_asked_again_after_a_loss_and_not_after_a_plain_no() {
    let network = Scripted::default();
    *network.queries.borrow_mut() = vec![lost(), lost(), Ok(vec![7])].into();
    let policy = RetryPolicy::default();
    let reply = now(query(&network, &policy, call(Repeat::Harmless)));
    assert_eq!(reply.unwrap(), [7]);
    *network.queries.borrow_mut() =
        vec![Err(Failure::Refused("HTTP 404".into())), Ok(vec![7])].into();
    let error = now(query(&network, &policy, call(Repeat::Harmless))).unwrap_err();
    assert!(
        !error.is_retryable() && error.to_string().contains("404"),
        "{error}"
    );
    assert_eq!(network.queries.borrow().len(), 1);
}
