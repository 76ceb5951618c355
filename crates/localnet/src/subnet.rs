//! The whole replicated state of the network, owned by the executor thread: canisters, messages, time, requests.

use crate::call_context::{ContextId, Deadline};
use crate::canister::Canister;
use crate::certify::Keys;
use crate::clock::Clock;
use crate::dirty_pages::DirtyTracking;
use crate::faults::Faults;
use crate::ingress::IngressHistory;
use crate::message::{Answer, CallbackId, Message, Origin, Pool, Request, Source};
use crate::message_log::MessageLog;
use crate::reject::{Reject, Response, SYS_UNKNOWN};
use crate::system_api::NetworkFacts;
use candid::Principal;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// First id that is given to a canister; the local networks of other tools start at the same.
pub const FIRST_CANISTER: u64 = 0x8000_0000_0010_0000;

/// The id number `n` of a canister.
pub fn canister_id(n: u64) -> Principal {
    let mut bytes = n.to_be_bytes().to_vec();
    bytes.extend([1, 1]);
    Principal::from_slice(&bytes)
}

/// The state of the network.
pub struct Subnet {
    /// Keys and ids.
    pub keys: Arc<Keys>,
    /// What canisters may know of the network.
    pub facts: Arc<NetworkFacts>,
    /// How heaps find their written pages.
    pub tracking: DirtyTracking,
    /// All canisters.
    pub canisters: BTreeMap<Principal, Canister>,
    /// Messages that are ready.
    pub pool: Pool,
    /// Who still has a turn in the running round.
    pub round: VecDeque<Principal>,
    /// Messages that an injected fault holds back, by the time they become ready.
    pub delayed: BTreeMap<(u64, u64), (Principal, Source, Message)>,
    /// When bounded-wait calls end.
    pub deadlines: BTreeSet<Deadline>,
    /// Calls whose wait has ended, until the canister has been told: later answers are dropped.
    pub expired: BTreeSet<CallbackId>,
    /// Network time.
    pub clock: Clock,
    /// Decides orders; seeded.
    pub order: StdRng,
    /// Feeds `raw_rand`; seeded.
    pub randomness: StdRng,
    /// What users asked.
    pub ingress: IngressHistory,
    /// Failures that tests asked for.
    pub faults: Faults,
    /// What ran.
    pub log: MessageLog,
    /// True while messages run only when a test says so.
    pub held: bool,
    /// Balances of the cycles ledger's stand-in.
    pub ledger: crate::standins::CyclesLedger,
    /// How many canisters were ever given an id.
    pub created: u64,
    numbers: u64,
}

impl Subnet {
    /// An empty network.
    pub fn new(keys: Arc<Keys>, seed: u64, tracking: DirtyTracking) -> Self {
        Self {
            facts: Arc::new(NetworkFacts {
                subnet: keys.subnet,
                root_key: keys.root_der.clone(),
            }),
            keys,
            tracking,
            canisters: BTreeMap::new(),
            pool: Pool::default(),
            round: VecDeque::new(),
            delayed: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            expired: BTreeSet::new(),
            clock: Clock::default(),
            order: StdRng::seed_from_u64(seed ^ 0x0bde_0bde),
            randomness: StdRng::seed_from_u64(seed ^ 0x7a2d_7a2d),
            ingress: IngressHistory::default(),
            faults: Faults::default(),
            log: MessageLog::default(),
            held: false,
            ledger: crate::standins::CyclesLedger::default(),
            created: 0,
            numbers: 0,
        }
    }

    /// A number never given before: contexts, callbacks, delayed messages.
    pub fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A fresh canister id.
    pub fn next_canister_id(&mut self) -> Principal {
        loop {
            let id = canister_id(FIRST_CANISTER + self.created);
            self.created += 1;
            if !self.canisters.contains_key(&id) {
                return id;
            }
        }
    }

    /// Sends an answer on its way to whoever asked.
    pub fn respond(&mut self, from: Principal, origin: Origin, response: Response, refund: u128) {
        match origin {
            Origin::System => {}
            Origin::Ingress(id) => self.ingress.complete(id, response),
            Origin::Call { canister, callback } => {
                let known = self
                    .canisters
                    .get(&canister)
                    .is_some_and(|c| c.callbacks.contains_key(&callback));
                if !known || self.expired.contains(&callback) {
                    // Too late: the answer is dropped, its cycles are not.
                    if let Some(c) = self.canisters.get_mut(&canister) {
                        c.cycles += refund;
                    }
                    return;
                }
                let open = self
                    .canisters
                    .get_mut(&canister)
                    .and_then(|c| c.callbacks.get_mut(&callback));
                let (lose, late_ns) =
                    open.map_or((None, 0), |open| (open.lose.take(), open.late_ns));
                let (response, delay_ns) = match lose {
                    None => (response, late_ns),
                    Some((fault, delay_ns)) => (
                        Err(Reject::new(
                            SYS_UNKNOWN,
                            format!("The reply was lost: injected fault {fault}"),
                        )),
                        delay_ns.unwrap_or(0),
                    ),
                };
                let answer = Message::Answer(Answer {
                    callback,
                    response,
                    refund,
                });
                self.send(canister, Source::Canister(from), answer, delay_ns);
            }
        }
    }

    /// Makes a message ready, now or later in network time.
    pub fn send(&mut self, to: Principal, from: Source, message: Message, delay_ns: u64) {
        if delay_ns == 0 {
            self.pool.push(to, from, message);
        } else {
            let at = self.clock.now().saturating_add(delay_ns);
            let number = self.next_number();
            self.delayed.insert((at, number), (to, from, message));
        }
    }

    /// Answers a request that cannot be executed; all its cycles go back.
    pub fn refuse(&mut self, at: Principal, request: Request, reject: Reject) {
        self.respond(at, request.origin, Err(reject), request.cycles);
    }

    /// Opens a call context.
    pub fn open_context(
        &mut self,
        canister: Principal,
        context: crate::call_context::CallContext,
    ) -> ContextId {
        let id = self.next_number();
        if let Some(c) = self.canisters.get_mut(&canister) {
            c.contexts.insert(id, context);
        }
        id
    }

    /// A fresh callback number.
    pub fn next_callback(&mut self) -> CallbackId {
        self.next_number()
    }
}
