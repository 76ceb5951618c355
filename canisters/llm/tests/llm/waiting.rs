//! How long and how often a request waits, and what a job's state means for it.

use candid::Principal;
use emc_llm::progress::{self, LEAST_TIMEOUT, Progress, next_poll, wait};
use emc_llm::refusal::Refusal;
use emc_protocol::job::{PrivateView, RefundReason};
use emc_protocol::{
    FinishReason, Job, JobState, ModelRef, Parameters, Seconds, TextOutput, Timestamp, Tokens,
};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn job(state: Option<JobState>, text: Option<&str>) -> Job {
    let output = text.map(|text| TextOutput {
        ids: vec![1],
        text: text.into(),
        finish_reason: FinishReason::Stop,
    });
    Job {
        id: 7,
        requester: Principal::anonymous(),
        model: ModelRef {
            id: "test/paper".into(),
            version: Some(1),
        },
        state,
        refund_reason: None,
        created: Timestamp(0),
        deadline: Timestamp(0),
        lease_until: None,
        finished: None,
        seed: 0,
        input_hash: vec![],
        parameters_hash: vec![],
        locked: Tokens(1),
        charged: None,
        usage: None,
        attempts: vec![],
        postings: vec![],
        visibility: None,
        assurance: None,
        audit_fee: None,
        bond: None,
        delegate: None,
        mining: None,
        private: Some(PrivateView {
            salt: vec![],
            input: None,
            parameters: Parameters::greedy(1),
            preview: None,
            output,
            image: None,
        }),
    }
}

#[test]
fn a_job_is_waited_for_until_it_has_an_answer() {
    for state in [JobState::Open, JobState::Leased, JobState::Delivered] {
        assert_eq!(progress::of(&job(Some(state), None)), Progress::Waiting);
    }
    // A state that a later escrow knows and this code does not.
    assert_eq!(progress::of(&job(None, None)), Progress::Waiting);
    for state in [
        JobState::Delivered,
        JobState::Auditing,
        JobState::Settled,
        JobState::Undecided,
    ] {
        let answered = progress::of(&job(Some(state), Some("Four.")));
        assert_eq!(answered, Progress::Answer("Four.".into()));
    }
    let silent = progress::of(&job(Some(JobState::Settled), Some("")));
    assert_eq!(silent, Progress::Answer(String::new()));
}

#[test]
fn a_job_that_ended_without_an_answer_says_why() {
    for (reason, word) in [
        (RefundReason::Deadline, "in time"),
        (RefundReason::Cancelled, "cancelled"),
        (RefundReason::Attempts, "failed"),
        (RefundReason::Overturned, "audit"),
    ] {
        let mut job = job(Some(JobState::Refunded), Some("not the model's"));
        job.refund_reason = Some(reason);
        let Progress::Failed(refusal) = progress::of(&job) else {
            panic!("a refunded job has no answer");
        };
        assert!(refusal.to_string().contains(word), "{refusal}");
    }
    assert_eq!(
        progress::of(&job(Some(JobState::Settled), None)),
        Progress::Failed(Refusal::Gone(7))
    );
}

#[test]
fn a_request_never_waits_past_its_callers_own_call() {
    let set = Seconds(240);
    assert_eq!(wait(set, 0, None), Ok(set));
    assert_eq!(wait(set, 0, Some(300 * SECOND)), Ok(set));
    assert_eq!(wait(set, 0, Some(100 * SECOND)), Ok(Seconds(70)));
    let least = LEAST_TIMEOUT.0;
    assert_eq!(wait(set, 0, Some(least * SECOND)), Ok(progress::LEAST_WAIT));
    let refusal = wait(set, 0, Some((least - 1) * SECOND)).unwrap_err();
    assert!(
        refusal.to_string().contains(&format!("at least {least} s")),
        "{refusal}"
    );
}

proptest! {
    #[test]
    fn questions_come_ever_more_slowly_and_never_in_a_row(
        started in 0u64..1 << 60, elapsed in 0u64..1 << 50, later in 0u64..1 << 50,
    ) {
        let pause = |elapsed| next_poll(started, started + elapsed) - started - elapsed;
        prop_assert!((SECOND..=10 * SECOND).contains(&pause(elapsed)));
        prop_assert!(pause(elapsed + later) >= pause(elapsed));
    }

    #[test]
    fn a_waits_questions_are_few(wait in 10u64..=600) {
        let (started, mut now, mut questions) = (0, 0, 0);
        while now < wait * SECOND {
            now = next_poll(started, now);
            questions += 1;
        }
        prop_assert!(questions <= 12 + wait / 10, "{} questions in {} s", questions, wait);
    }
}
