//! The answers, in stable memory: an upgrade keeps them.

use crate::Answer;
use emc_protocol::JobId;
use ic_stable_structures::{DefaultMemoryImpl, StableBTreeMap};
use std::cell::RefCell;

thread_local! {
    /// Each answer, encoded as Candid.
    static ANSWERS: RefCell<StableBTreeMap<JobId, Vec<u8>, DefaultMemoryImpl>> =
        RefCell::new(StableBTreeMap::init(DefaultMemoryImpl::default()));
}

/// Remembers that an answer is to come, unless it is there already.
pub fn expect(job: JobId) {
    if of(job).is_none() {
        keep(job, &Answer::Waiting);
    }
}

/// Keeps an answer.
pub fn keep(job: JobId, answer: &Answer) {
    let bytes = candid::encode_one(answer).expect("answers encode");
    ANSWERS.with_borrow_mut(|answers| answers.insert(job, bytes));
}

/// What there is of a job.
pub fn of(job: JobId) -> Option<Answer> {
    let bytes = ANSWERS.with_borrow(|answers| answers.get(&job))?;
    Some(candid::decode_one(&bytes).expect("stable memory holds what this dapp wrote"))
}
