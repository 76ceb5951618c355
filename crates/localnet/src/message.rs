//! What travels between canisters, and the pool of what is ready to run. Messages from one sender to one receiver stay
//! in order; between different senders, and between canisters, a seeded shuffle decides.

use crate::reject::Response;
use candid::Principal;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, VecDeque};

/// A request of a user, by the hash of its content.
pub type RequestId = [u8; 32];
/// A call that waits for its answer.
pub type CallbackId = u64;

/// Who gets the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A user.
    Ingress(RequestId),
    /// A canister.
    Call {
        /// The caller.
        canister: Principal,
        /// What it left to be called back.
        callback: CallbackId,
    },
    /// Nobody: timers and heartbeats.
    System,
}

/// A call of a method.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who calls.
    pub caller: Principal,
    /// Which method.
    pub method: String,
    /// Candid argument.
    pub argument: Vec<u8>,
    /// Cycles that come with it.
    pub cycles: u128,
    /// Network time at which the caller stops waiting.
    pub deadline: Option<u64>,
    /// Who gets the answer.
    pub origin: Origin,
    /// The injected fault (by number) that traps it at its end.
    pub trap: Option<u64>,
}

/// An answer on its way to a canister.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the caller left.
    pub callback: CallbackId,
    /// Reply or rejection.
    pub response: Response,
    /// Cycles that come back.
    pub refund: u128,
}

/// Work that the network itself asks of a canister.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// `canister_global_timer`.
    Timer,
    /// `canister_heartbeat`.
    Heartbeat,
}

impl Task {
    /// The exported function.
    pub fn export(self) -> &'static str {
        match self {
            Self::Timer => "canister_global_timer",
            Self::Heartbeat => "canister_heartbeat",
        }
    }
}

/// Something for a canister to run.
#[derive(Clone, Debug)]
pub enum Message {
    /// A call.
    Request(Box<Request>),
    /// An answer.
    Answer(Answer),
    /// A timer or heartbeat.
    Task(Task),
}

/// Where a message comes from; each source has its own queue at the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Users.
    Ingress,
    /// A canister (or the management canister).
    Canister(Principal),
    /// The network.
    System,
}

/// All messages that are ready.
#[derive(Debug, Default)]
pub struct Pool {
    inboxes: BTreeMap<Principal, BTreeMap<Source, VecDeque<Message>>>,
}

impl Pool {
    /// Adds a message at the end of its queue.
    pub fn push(&mut self, to: Principal, from: Source, message: Message) {
        self.inboxes
            .entry(to)
            .or_default()
            .entry(from)
            .or_default()
            .push_back(message);
    }

    /// Whether nothing is ready.
    pub fn is_empty(&self) -> bool {
        self.inboxes.is_empty()
    }

    /// Who has something to run.
    pub fn receivers(&self) -> Vec<Principal> {
        self.inboxes.keys().copied().collect()
    }

    /// Takes the first message of a randomly chosen queue of a receiver.
    pub fn take(&mut self, to: Principal, rng: &mut StdRng) -> Option<Message> {
        let inbox = self.inboxes.get_mut(&to)?;
        let chosen = *inbox.keys().nth(rng.gen_range(0..inbox.len()))?;
        let queue = inbox.get_mut(&chosen)?;
        let message = queue.pop_front();
        if queue.is_empty() {
            inbox.remove(&chosen);
        }
        if inbox.is_empty() {
            self.inboxes.remove(&to);
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn answer(n: u64) -> Message {
        Message::Answer(Answer {
            callback: n,
            response: Ok(vec![]),
            refund: 0,
        })
    }

    #[test]
    fn messages_of_one_pair_keep_their_order_while_senders_mix() {
        let (a, b, to) = (
            Principal::from_slice(&[1]),
            Principal::from_slice(&[2]),
            Principal::from_slice(&[3]),
        );
        let mut pool = Pool::default();
        for n in 0..20 {
            pool.push(to, Source::Canister(a), answer(n));
            pool.push(to, Source::Canister(b), answer(100 + n));
        }
        let mut rng = StdRng::seed_from_u64(7);
        let mut order = Vec::new();
        while let Some(Message::Answer(x)) = pool.take(to, &mut rng) {
            order.push(x.callback);
        }
        assert!(pool.is_empty());
        let (from_a, from_b): (Vec<u64>, Vec<u64>) = order.iter().partition(|n| **n < 100);
        assert_eq!(from_a, (0..20).collect::<Vec<_>>());
        assert_eq!(from_b, (100..120).collect::<Vec<_>>());
        assert_ne!(order[..20], from_a[..]);
    }
}
