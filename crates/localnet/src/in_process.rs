//! Messages run in this process, past HTTP: no signature, no certificate of the answer. For tests of so many messages
//! that HTTP would be most of the work.

use crate::certify::RequestStatus;
use crate::ingress::UserCall;
use crate::network::Network;
use crate::query::Query;
use crate::reject::{Reject, Response, SYS_UNKNOWN};
use crate::subnet::Subnet;
use candid::Principal;
use sha2::{Digest, Sha256};

/// How a message is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As a user's call, which passes `inspect_message` first.
    User,
    /// As a canister's call, which nothing inspects.
    Canister,
    /// As a query; nothing is kept.
    Query,
}

/// A message that needs no signature.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who calls.
    pub caller: Principal,
    /// Whom.
    pub canister: Principal,
    /// Which method.
    pub method: String,
    /// Its argument.
    pub argument: Vec<u8>,
    /// How it is run.
    pub mode: Mode,
}

/// What came of a message.
#[derive(Clone, Debug)]
pub struct Called {
    /// The reply, or why there is none.
    pub response: Result<Vec<u8>, Reject>,
    /// The instructions of everything that ran for it.
    pub instructions: u64,
}

impl Network {
    /// Runs messages one after the other, each until it is answered, and says what came of each.
    ///
    /// # Panics
    /// Where the network's executor has panicked.
    pub async fn run(&self, calls: Vec<Call>) -> Vec<Called> {
        let run = self.executor.ask(move |subnet| {
            calls
                .into_iter()
                .map(|call| subnet.run_call(call))
                .collect()
        });
        run.await.expect("the executor runs while the network does")
    }

    /// SHA-256 over a canister's stable memory, so that a test can tell whether it has changed.
    ///
    /// # Panics
    /// Where the network's executor has panicked.
    pub async fn stable_memory_hash(&self, canister: Principal) -> Option<[u8; 32]> {
        let hash = self.executor.ask(move |subnet| {
            let canister = subnet.canisters.get(&canister)?;
            Some(canister.stable.hash())
        });
        hash.await
            .expect("the executor runs while the network does")
    }
}

impl Subnet {
    fn run_call(&mut self, call: Call) -> Called {
        let before = self.log.last();
        let response = match call.mode {
            Mode::Query => self.query(Query {
                caller: call.caller,
                canister: call.canister,
                method: call.method,
                argument: call.argument,
            }),
            Mode::User | Mode::Canister => self.run_update(call),
        };
        let ran = self.log.after(before);
        Called {
            response,
            instructions: ran.iter().map(|executed| executed.instructions).sum(),
        }
    }

    fn run_update(&mut self, call: Call) -> Response {
        let user_call = UserCall {
            id: Sha256::digest(self.next_number().to_be_bytes()).into(),
            sender: call.caller,
            canister: call.canister,
            method: call.method,
            argument: call.argument,
        };
        let mut answer = match call.mode {
            Mode::User => self.submit(user_call)?,
            Mode::Canister | Mode::Query => self.accept(user_call),
        };
        loop {
            match answer.try_recv() {
                Ok(RequestStatus::Done(response)) => return response,
                _ if self.step() => {}
                _ => {
                    return Err(Reject::new(
                        SYS_UNKNOWN,
                        "nothing runs and there is no answer",
                    ));
                }
            }
        }
    }
}
