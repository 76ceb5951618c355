//! A world for tests: a state, the model of the ledger, nodes with real keys, requesters, and short ways to act.

pub use super::ledger::{Fate, ModelLedger};
use crate::deposit::Purpose;
use crate::movement::Source;
use crate::records::*;
use crate::state::State;
use crate::{claim, deliver, deposit, due, feed, install, submit, withdraw};
use candid::Principal;
use ed25519_dalek::SigningKey;
use emc_journal::{Account, Action, Answer, Entry, Outcome, Progress as Step};
use emc_protocol::canonical;
use emc_protocol::escrow::{EscrowArgs, EscrowInit, Settings};
use emc_protocol::feed::{Change, Changes, ModelChange, NodeChange, NumberedChange};
use emc_protocol::job::{ChatMessage, ChatRole, IfUnserved};
use emc_protocol::model::{Royalty, Task};
use emc_protocol::receipt::node_principal;
use emc_protocol::work::*;
use emc_protocol::*;
use ic_stable_structures::DefaultMemoryImpl;
use std::collections::{BTreeMap, BTreeSet};

pub const SECOND: u64 = 1_000_000_000;
pub const MODEL: &str = "smol";

/// A node as the registry would tell of it.
pub struct Node {
    pub key: SigningKey,
    pub id: Principal,
    pub owner: Principal,
    pub status: NodeStatus,
    pub eligible: bool,
    pub price: Price,
    pub concurrency: u32,
    pub context: u32,
    pub compute: bool,
    pub validator: bool,
    /// What the registry says is allotted.
    pub stake: u128,
    /// Taken out, and not acknowledged yet.
    pub leaving: u128,
    /// The feed's number that told of it.
    pub announced: Option<u64>,
}

impl Node {
    /// What stands behind the node's bonds.
    pub fn backing(&self) -> u128 {
        self.stake + self.leaving
    }
}

pub struct World {
    pub memory: DefaultMemoryImpl,
    pub state: State,
    pub now: Timestamp,
    pub ledger: ModelLedger,
    pub nodes: Vec<Node>,
    pub sequence: u64,
    pub retired: bool,
    /// The models' terms of audits.
    pub terms: Option<AuditTerms>,
    /// What the models' author gets, in basis points.
    pub royalty: u16,
    /// What a million tokens of the models count in mining.
    pub units: Option<u64>,
    /// What the registry was told of power, by epoch and node.
    pub powers: BTreeMap<(u64, Principal), PowerRecord>,
    /// Up to which epoch it was told everything.
    pub complete: Option<u64>,
    /// Jobs whose delivered result is not the model's.
    pub wrong: BTreeSet<JobId>,
    /// True where honest validators find that outputs do not end as they say.
    pub ends_wrong: bool,
    /// The newest report that the registry has applied.
    pub reported: u64,
    /// Stake that the registry has burned.
    pub burned: BTreeMap<Principal, u128>,
    /// What came in and went out of available balances, as this world saw it.
    pub outside: BTreeMap<Principal, i128>,
}

pub fn principal(n: u8) -> Principal {
    Principal::self_authenticating([n; 32])
}

pub fn requester(n: u8) -> Principal {
    principal(100 + n)
}

pub fn owner(n: u8) -> Principal {
    principal(50 + n)
}

/// Who published the models.
pub fn author() -> Principal {
    owner(13)
}

pub fn escrow() -> Principal {
    Principal::from_slice(&[0, 0, 0, 0, 0, 16, 0, 1, 1, 1])
}

pub fn treasury() -> Principal {
    principal(3)
}

pub fn init_args(settings: Option<Settings>) -> EscrowArgs {
    EscrowArgs::Init(EscrowInit {
        ledger: Some(principal(1)),
        registry: None,
        governor: None,
        treasury: Some(treasury()),
        settings,
        delay: None,
    })
}

/// The environment names the registry, and nothing else.
pub fn configure(args: EscrowArgs, now: Timestamp) -> Result<Config, install::ArgumentError> {
    let find = |name: &str| (name == "registry").then(|| principal(2));
    install::configure(args, find, principal(4), escrow(), now)
}

pub fn account_of(owner: Principal) -> Account {
    Account {
        owner,
        subaccount: None,
    }
}

pub fn own() -> Account {
    account_of(escrow())
}

impl World {
    /// Three requesters with tokens in the ledger; node 0 and 1 of owner 0, node 2 of owner 1, node 3 of owner 2.
    pub fn new() -> Self {
        let now = Timestamp(1_800_000_000 * SECOND);
        let memory = DefaultMemoryImpl::default();
        let mut config = configure(init_args(None), now).expect("valid");
        config.secret = Some(Secret([7; 32]));
        let state = State::create(memory.clone(), 1, config, now);
        let mut world = Self {
            memory,
            state,
            now,
            ledger: ModelLedger::default(),
            nodes: (0..4)
                .map(|n| Self::node(n, [0, 0, 1, 2][n as usize]))
                .collect(),
            sequence: 0,
            retired: false,
            terms: None,
            royalty: 0,
            units: None,
            powers: BTreeMap::new(),
            complete: None,
            wrong: BTreeSet::new(),
            ends_wrong: false,
            reported: 0,
            burned: BTreeMap::new(),
            outside: BTreeMap::new(),
        };
        world.state.journal.fee_is(0);
        for n in 0..3 {
            world
                .ledger
                .credit(&account_of(requester(n)), Tokens::emc(1_000).0);
        }
        world.pull();
        world
    }

    pub fn node(n: u8, owned_by: u8) -> Node {
        let key = SigningKey::from_bytes(&[n + 1; 32]);
        Node {
            id: node_principal(&key.verifying_key().to_bytes()),
            key,
            owner: owner(owned_by),
            status: NodeStatus::Active,
            eligible: true,
            price: Price {
                prompt: Tokens(1_000_000_000 + 1_000 * u128::from(n)),
                output: Tokens(5_000_000_000),
                pixel_steps: Tokens(200_000 + u128::from(n)),
            },
            concurrency: 3,
            context: 4_096,
            compute: true,
            validator: false,
            stake: Tokens::emc(100).0,
            leaving: 0,
            announced: None,
        }
    }

    /// The registry's feed, all of it, applied now.
    pub fn pull(&mut self) {
        let after = self.state.feed.get().sequence;
        let page = self.page();
        assert_ne!(
            feed::apply(&mut self.state, self.now, after, &page),
            feed::Applied::Stale
        );
    }

    pub fn page(&mut self) -> Changes {
        self.sequence = self.sequence.max(self.state.feed.get().sequence);
        let first = self.sequence + 1;
        let mut changes = vec![];
        let mut next = |change| {
            self.sequence += 1;
            changes.push(NumberedChange {
                sequence: self.sequence,
                change: Some(change),
            });
        };
        for version in [1, 2] {
            next(Change::Model(ModelChange {
                model: model(version),
                root: vec![version as u8; 32],
                task: Some(Task::Chat),
                context: 4_096,
                listed: true,
                retired: version == 2 && self.retired,
                audit: self.terms.clone(),
                royalty: (self.royalty > 0).then(|| Royalty {
                    author: author(),
                    share: self.royalty,
                }),
                compute_units: self.units,
            }));
        }
        next(Change::Model(ModelChange {
            model: painter(),
            root: vec![9; 32],
            task: Some(Task::Image),
            context: 0,
            listed: true,
            retired: false,
            audit: self.terms.clone(),
            royalty: None,
            compute_units: self.units,
        }));
        for node in &self.nodes {
            next(Change::Node(NodeChange {
                id: node.id,
                public_key: node.key.verifying_key().to_bytes().to_vec(),
                owner: node.owner,
                roles: vec![
                    node.compute.then_some(Role::Compute),
                    node.validator.then_some(Role::Validator),
                ],
                status: Some(node.status),
                offers: [model(1), model(2), painter()]
                    .map(|model| Offer {
                        model,
                        price: node.price,
                        concurrency: node.concurrency,
                        context: node.context,
                    })
                    .to_vec(),
                stake: Tokens(node.stake),
                eligible: node.eligible,
                last_seen: self.now,
                unstaking: Some(node.leaving > 0),
            }));
        }
        for node in self.nodes.iter_mut().filter(|node| node.leaving > 0) {
            node.announced = node.announced.or(Some(first));
        }
        Changes {
            changes,
            more: false,
            sequence: self.sequence,
            time: self.now,
        }
    }

    pub fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Seconds(seconds));
    }

    pub fn tick(&mut self) {
        while due::work_off(&mut self.state, self.now, 10) == 10 {}
    }

    /// As an upgrade does: what is in the heap is lost, what is in the memory stays.
    pub fn upgrade(&mut self) {
        self.state = State::open(self.memory.clone(), 1, self.now).expect("the same layout");
    }

    pub fn fee(&self) -> Tokens {
        Tokens(self.state.journal.fee().expect("known from the beginning"))
    }

    /// Works on a journal entry as the driver would, with this fate for the send.
    pub fn drive(&mut self, entry: u64, fate: Fate) -> Option<Outcome> {
        for _ in 0..12 {
            let (action, record) = self.state.journal.prepare(entry, self.now.0)?;
            let log_length = self.ledger.blocks.len() as u64;
            let answer = match action {
                Action::Wait { .. } => return None,
                _ if fate == Fate::Silent => Answer::Lost {
                    text: "timeout".into(),
                },
                Action::LookAtTip => Answer::Tip { log_length },
                Action::Scan { .. } => Answer::Looked {
                    up_to: log_length,
                    log_length,
                    found: self.ledger.block_of(&record.memo),
                },
                Action::Send => match fate {
                    Fate::NotDelivered => Answer::NotDelivered {
                        text: "queue full".into(),
                    },
                    Fate::MessageLost => Answer::Lost {
                        text: "timeout".into(),
                    },
                    Fate::AnswerLost => {
                        let operation = &record.operation;
                        self.ledger.execute(escrow(), operation, record.memo);
                        Answer::Lost {
                            text: "timeout".into(),
                        }
                    }
                    Fate::Answered | Fate::Silent => {
                        self.ledger
                            .execute(escrow(), &record.operation, record.memo)
                    }
                },
            };
            match self.state.journal.apply(entry, action, answer, self.now.0) {
                Step::Going => {}
                Step::Resting | Step::Gone => return None,
                Step::Ended(record, outcome) => {
                    deposit::ended(&mut self.state, self.now, &record, &outcome);
                    self.note_end(&record, &outcome);
                    return Some(outcome);
                }
            }
        }
        None
    }

    fn note_end(&mut self, entry: &Entry, outcome: &Outcome) {
        let purpose: Purpose = minicbor::decode(&entry.purpose).expect("a purpose");
        let done = matches!(outcome, Outcome::Done { .. });
        let (principal, amount) = match purpose {
            Purpose::Deposit { beneficiary, .. } | Purpose::Sweep { beneficiary } if done => {
                (beneficiary, entry.operation.amount())
            }
            Purpose::Withdrawal {
                source: Source::Available(principal),
            } if !done => (principal, entry.operation.amount() + entry.operation.fee()),
            _ => return,
        };
        *self.outside.entry(principal).or_default() += amount as i128;
    }

    /// Works on all journal entries that are due.
    pub fn resume(&mut self, fate: Fate) {
        for entry in self.state.journal.due(self.now.0, 100) {
            self.drive(entry, fate);
        }
    }

    pub fn deposit(
        &mut self,
        caller: Principal,
        amount: u128,
        fate: Fate,
    ) -> Result<Option<Outcome>, ApiError> {
        let args = DepositArgs {
            amount: Tokens(amount),
            beneficiary: None,
            from_subaccount: None,
        };
        let fee = self.fee();
        let entry = deposit::begin(&mut self.state, self.now, caller, &args, fee)?;
        Ok(self.drive(entry, fate))
    }

    /// A requester with this much available.
    pub fn fund(&mut self, caller: Principal, amount: u128) {
        let outcome = self
            .deposit(caller, amount, Fate::Answered)
            .expect("accepted");
        assert!(matches!(outcome, Some(Outcome::Done { .. })), "{outcome:?}");
    }

    pub fn sweep(
        &mut self,
        beneficiary: Principal,
        fate: Fate,
    ) -> Result<Option<Outcome>, ApiError> {
        let account = Account {
            owner: escrow(),
            subaccount: Some(account::deposit_subaccount(beneficiary)),
        };
        let balance = Tokens(self.ledger.balance(&account));
        let fee = self.fee();
        let entry = deposit::begin_sweep(&mut self.state, self.now, beneficiary, balance, fee)?;
        Ok(self.drive(entry, fate))
    }

    pub fn withdraw(
        &mut self,
        caller: Principal,
        amount: u128,
        fate: Fate,
    ) -> Result<Option<Outcome>, ApiError> {
        self.withdraw_from(caller, Source::Available(caller), amount, fate)
    }

    pub fn withdraw_from(
        &mut self,
        caller: Principal,
        source: Source,
        amount: u128,
        fate: Fate,
    ) -> Result<Option<Outcome>, ApiError> {
        let args = WithdrawArgs {
            amount: Tokens(amount),
            to: None,
        };
        let fee = self.fee();
        let entry = withdraw::begin(&mut self.state, self.now, caller, source, &args, fee)?;
        if let Source::Available(principal) = source {
            *self.outside.entry(principal).or_default() -= amount as i128;
        }
        Ok(self.drive(entry, fate))
    }

    pub fn available(&self, principal: Principal) -> u128 {
        self.state.books.account(&principal).available().0
    }

    pub fn submit(&mut self, caller: Principal, job: SubmitJob) -> Result<SubmitReply, ApiError> {
        submit::submit(&mut self.state, self.now, caller, job)
    }

    /// An open job of a funded requester.
    pub fn open_job(&mut self) -> JobId {
        if self.available(requester(0)) < 100_000_000 {
            self.fund(requester(0), Tokens::emc(10).0);
        }
        self.submit(requester(0), ask("What is the time?", 64))
            .expect("accepted")
            .job_id
    }

    pub fn claim(&mut self, node: usize, max: u32) -> Result<Vec<Lease>, ApiError> {
        let args = ClaimArgs {
            models: vec![model(2), model(1)],
            max,
        };
        claim::claim(&mut self.state, self.now, self.nodes[node].id, &args)
    }

    /// A job that a node has.
    pub fn leased_job(&mut self, node: usize) -> Lease {
        self.open_job();
        self.claim(node, 1)
            .expect("accepted")
            .pop()
            .expect("a job waits")
    }

    pub fn extend(
        &mut self,
        node: usize,
        lease: &Lease,
        from: u32,
        ids: &[u32],
        text: &str,
    ) -> Result<ExtendReply, ApiError> {
        let args = ExtendArgs {
            job_id: lease.job_id,
            attempt: lease.attempt,
            prompt_tokens: 9,
            from,
            ids: ids.to_vec(),
            text: text.into(),
            image: None,
        };
        crate::lease::extend(&mut self.state, self.now, self.nodes[node].id, args)
    }

    pub fn decline(&mut self, node: usize, lease: &Lease) -> Result<(), ApiError> {
        let args = DeclineArgs {
            job_id: lease.job_id,
            attempt: lease.attempt,
            reason: "out of memory".into(),
        };
        crate::lease::decline(&mut self.state, self.now, self.nodes[node].id, args)
    }

    /// A delivery that is right in every respect, signed by the node.
    pub fn delivery(&self, node: usize, lease: &Lease, output: &TextOutput) -> DeliverArgs {
        let bytes = canonical::output_bytes(output);
        let usage = Usage {
            prompt_tokens: 9,
            output_tokens: output.ids.len() as u64,
            pixel_steps: 0,
        };
        let charge = lease
            .price
            .charge(&usage)
            .map_or(lease.max_charge, |c| c.min(lease.max_charge));
        let mut args = DeliverArgs {
            job_id: lease.job_id,
            attempt: lease.attempt,
            output: Some(output.clone()),
            output_hash: canonical::output_hash(&lease.salt, &bytes).to_vec(),
            usage,
            charge,
            signature: vec![],
            image: None,
        };
        self.sign(node, lease, output, &mut args);
        args
    }

    /// Signs a delivery anew.
    pub fn sign(&self, node: usize, lease: &Lease, output: &TextOutput, args: &mut DeliverArgs) {
        let input = lease.input.as_ref().expect("a known kind");
        let receipt = Receipt {
            escrow: escrow(),
            nonce: lease.nonce.clone(),
            job_id: args.job_id,
            attempt: args.attempt,
            model_root: lease.model_root.clone(),
            parameters_hash: canonical::job_parameters_hash(&lease.model, input, &lease.parameters)
                .to_vec(),
            input_hash: canonical::input_hash(&lease.salt, input).to_vec(),
            output_hash: args.output_hash.clone(),
            seed: lease.seed,
            usage: args.usage,
            finish_reason: output.finish_reason,
            charge: args.charge,
            evidence_root: vec![0; 32],
        };
        if let Ok(signature) = receipt.sign(&self.nodes[node].key) {
            args.signature = signature.to_vec();
        }
    }

    pub fn deliver(&mut self, node: usize, args: &DeliverArgs) -> Result<DeliverReply, ApiError> {
        deliver::deliver(&mut self.state, self.now, self.nodes[node].id, args)
    }

    /// Uploads an output in two parts.
    pub fn upload(
        &mut self,
        node: usize,
        lease: &Lease,
        output: &TextOutput,
    ) -> Result<(), ApiError> {
        let bytes = canonical::output_bytes(output);
        let (first, second) = bytes.split_at(bytes.len() / 2);
        for (offset, part) in [(0, first), (first.len(), second)] {
            self.chunk(node, lease, offset as u64, part)?;
        }
        Ok(())
    }

    pub fn chunk(
        &mut self,
        node: usize,
        lease: &Lease,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, ApiError> {
        let args = ChunkArgs {
            job_id: lease.job_id,
            attempt: lease.attempt,
            offset,
            bytes: bytes.to_vec(),
        };
        deliver::upload_chunk(&mut self.state, self.now, self.nodes[node].id, args)
    }

    pub fn cancel(&mut self, caller: Principal, job: JobId) -> Result<JobRecord, ApiError> {
        crate::cancel::cancel(&mut self.state, self.now, caller, job)
    }

    pub fn job(&self, id: JobId) -> JobRecord {
        self.state.jobs.get(&id).expect("the job exists")
    }
}

/// The model that makes pictures.
pub fn painter() -> ModelRef {
    ModelRef {
        id: "painter".into(),
        version: Some(1),
    }
}

pub fn model(version: u32) -> ModelRef {
    ModelRef {
        id: MODEL.into(),
        version: Some(version),
    }
}

/// A question for the newest version, that may cost 0.01 EMC.
pub fn ask(question: &str, max_tokens: u32) -> SubmitJob {
    SubmitJob {
        model: ModelRef {
            id: MODEL.into(),
            version: None,
        },
        input: JobInput::Chat {
            messages: vec![ChatMessage {
                role: ChatRole::User,
                content: question.into(),
            }],
        },
        parameters: Parameters::greedy(max_tokens),
        max_price: Tokens(1_000_000),
        deadline: None,
        if_unserved: Some(IfUnserved::Queue),
        request_key: None,
        seed: None,
        salt: None,
        visibility: None,
        assurance: None,
        payer: None,
        notify: None,
    }
}

/// An output of so many tokens.
pub fn answer(tokens: u32) -> TextOutput {
    TextOutput {
        ids: (0..tokens).map(|n| n * 7 + 1).collect(),
        finish_reason: FinishReason::Stop,
        text: "a ".repeat(tokens as usize),
    }
}

pub fn code_of<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
    result.expect_err("an error").code
}
