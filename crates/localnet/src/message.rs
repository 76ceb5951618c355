//! What travels between canisters, and the pool of what is ready to run. Messages from one sender to one receiver stay
//! in order, unless an injected fault lets one overtake; between different senders, and between canisters, a seeded shuffle
//! decides.

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

/// A message out of the pool.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The message.
    pub message: Message,
    /// True if it was not the first of its queue.
    pub overtook: bool,
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

    /// Takes a message of a randomly chosen queue of a receiver: the first, or, where overtaking is allowed, a randomly
    /// chosen one of those that no order is promised to: users' requests, and answers.
    pub fn take(&mut self, to: Principal, rng: &mut StdRng, may_overtake: bool) -> Option<Taken> {
        let inbox = self.inboxes.get_mut(&to)?;
        let chosen = *inbox.keys().nth(rng.gen_range(0..inbox.len()))?;
        let queue = inbox.get_mut(&chosen)?;
        let at = match may_overtake {
            true => {
                let free = |message: &Message| {
                    chosen == Source::Ingress || matches!(message, Message::Answer(_))
                };
                let places = queue.iter().enumerate();
                let places: Vec<usize> = places
                    .filter(|(at, message)| *at == 0 || free(message))
                    .map(|(at, _)| at)
                    .collect();
                places[rng.gen_range(0..places.len())]
            }
            false => 0,
        };
        let taken = queue.remove(at).map(|message| Taken {
            message,
            overtook: at > 0,
        });
        if queue.is_empty() {
            inbox.remove(&chosen);
        }
        if inbox.is_empty() {
            self.inboxes.remove(&to);
        }
        taken
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
        while let Some(taken) = pool.take(to, &mut rng, false) {
            assert!(!taken.overtook);
            order.extend(callback(&taken));
        }
        assert!(pool.is_empty());
        let (from_a, from_b): (Vec<u64>, Vec<u64>) = order.iter().partition(|n| **n < 100);
        assert_eq!(from_a, (0..20).collect::<Vec<_>>());
        assert_eq!(from_b, (100..120).collect::<Vec<_>>());
        assert_ne!(order[..20], from_a[..]);
    }

    fn callback(taken: &Taken) -> Option<u64> {
        match &taken.message {
            Message::Answer(answer) => Some(answer.callback),
            _ => None,
        }
    }

    fn request() -> Message {
        Message::Request(Box::new(Request {
            caller: Principal::anonymous(),
            method: String::new(),
            argument: vec![],
            cycles: 0,
            deadline: None,
            origin: Origin::System,
            trap: None,
        }))
    }

    #[test]
    fn answers_and_users_requests_may_overtake_and_canisters_requests_never() {
        let (a, to) = (Principal::from_slice(&[1]), Principal::from_slice(&[3]));
        let mut pool = Pool::default();
        for n in 0..20 {
            pool.push(to, Source::Canister(a), answer(n));
        }
        let mut rng = StdRng::seed_from_u64(7);
        let mut order = Vec::new();
        let mut overtaken = 0;
        while let Some(taken) = pool.take(to, &mut rng, true) {
            overtaken += usize::from(taken.overtook);
            order.extend(callback(&taken));
        }
        assert!(overtaken > 5 && order[0] != 0);
        order.sort_unstable();
        assert_eq!(order, (0..20).collect::<Vec<_>>());

        // Behind the first one, a canister's requests wait for their turn.
        for _ in 0..20 {
            pool.push(to, Source::Canister(a), request());
            pool.push(to, Source::Canister(a), request());
            while let Some(taken) = pool.take(to, &mut rng, true) {
                assert!(!taken.overtook);
            }
        }
    }
}
