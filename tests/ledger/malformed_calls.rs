//! 50,000 malformed and extreme calls over all endpoints: what decodes is answered, never trapped; what does not decode
//! is rejected, at a bounded cost, and leaves stable memory as it is to the byte. Whether a message decodes is asked of
//! `candid/ledger.did`, not of the ledger's code. The messages run in the network's process, without HTTP.

use crate::block_log::check_all;
use crate::candid_messages::{Fate, Interface, Method, Setting};
use crate::deployed::Deployed;
use crate::hostile_messages::{bomb, damaged, noise};
use anyhow::{Context, Result, ensure};
use candid::Principal;
use emc_devnet::DevNetwork;
use emc_localnet::in_process::{Call, Called, Mode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::Path;

/// How many messages there are.
const MESSAGES: usize = 50_000;
/// So many run between two looks at stable memory.
const BATCH: usize = 500;
/// One in so many may be as large as a message can be.
const LARGE: u32 = 200;
/// The longest argument that a message can have.
const LONGEST: usize = 2 << 20;
/// The longest argument that `inspect_message` lets through.
const INSPECTED: usize = 4_096;
/// What only who has a name may call; asking for a consent message writes nothing.
const WRITES: [&str; 3] = ["icrc1_transfer", "icrc2_approve", "icrc2_transfer_from"];
/// What a rejection may cost, in instructions, and what an answer may; a query may use 5,000,000,000.
const REJECTION: u64 = 8_000_000;
const ANSWER: u64 = 200_000_000;
/// And so much more for each byte of the argument.
const PER_BYTE: u64 = 400;

/// A message with what must become of it.
struct Trial {
    kind: &'static str,
    method: Method,
    call: Call,
    fate: Fate,
}

impl Trial {
    fn name(&self) -> String {
        let bytes = self.call.argument.len();
        let start = hex::encode(&self.call.argument[..bytes.min(200)]);
        format!(
            "{} to {} ({bytes} bytes, {:?}, by {}): {start}",
            self.kind, self.method.name, self.call.mode, self.call.caller
        )
    }

    /// Checks what came of it.
    fn judge(&self, called: &Called, interface: &Interface, tally: &mut Tally) -> Result<()> {
        let most = match &called.response {
            Ok(reply) => {
                ensure!(self.fate != Fate::Rejected, "answered: {}", self.name());
                let fits = interface.is_reply(&self.method, reply);
                ensure!(fits, "the reply is of other types: {}", self.name());
                tally.answered(self, called.instructions);
                ANSWER
            }
            Err(reject) => {
                let answered = self.fate == Fate::Answered;
                ensure!(!answered, "rejected: {reject}: {}", self.name());
                tally.rejected(self, called.instructions);
                REJECTION
            }
        };
        let instructions = called.instructions;
        let most = most + PER_BYTE * self.call.argument.len() as u64;
        ensure!(
            instructions <= most,
            "{instructions} instructions for {}",
            self.name()
        );
        Ok(())
    }
}

/// What came of all messages.
#[derive(Default)]
struct Tally {
    /// By kind of message: answered, rejected.
    kinds: BTreeMap<&'static str, (u64, u64)>,
    /// By method: answered, rejected.
    methods: BTreeMap<String, (u64, u64)>,
    dearest_answer: (u64, String),
    dearest_rejection: (u64, String),
    /// Among the messages that `inspect_message` lets through.
    dearest_short: (u64, String),
}

impl Tally {
    fn answered(&mut self, trial: &Trial, instructions: u64) {
        self.kinds.entry(trial.kind).or_default().0 += 1;
        let methods = self.methods.entry(trial.method.name.clone());
        methods.or_default().0 += 1;
        note(&mut self.dearest_answer, trial, instructions);
    }

    fn rejected(&mut self, trial: &Trial, instructions: u64) {
        self.kinds.entry(trial.kind).or_default().1 += 1;
        let methods = self.methods.entry(trial.method.name.clone());
        methods.or_default().1 += 1;
        note(&mut self.dearest_rejection, trial, instructions);
        if trial.call.argument.len() <= INSPECTED {
            note(&mut self.dearest_short, trial, instructions);
        }
    }

    fn print(&self) {
        println!("(answered, rejected) by kind: {:?}", self.kinds);
        println!("(answered, rejected) by method: {:?}", self.methods);
        for (what, (instructions, name)) in [
            ("answer", &self.dearest_answer),
            ("rejection", &self.dearest_rejection),
            ("rejection of a short one", &self.dearest_short),
        ] {
            println!("dearest {what}: {instructions} instructions: {name}");
        }
    }
}

fn note(dearest: &mut (u64, String), trial: &Trial, instructions: u64) {
    if instructions > dearest.0 {
        *dearest = (instructions, trial.name());
    }
}

/// Makes one message after the other.
struct Source {
    interface: Interface,
    setting: Setting,
    rng: StdRng,
    ledger: Principal,
    /// The last good message, to damage the next with.
    last: Vec<u8>,
}

impl Source {
    fn next(&mut self) -> Trial {
        let rng = &mut self.rng;
        let methods = &self.interface.methods;
        // Most can go wrong where something is written, and next to nothing where no argument is read.
        let kind = rng.gen_range(0..10);
        let among = methods.iter().filter(|method| match kind {
            0..=5 => !method.is_query,
            6..=8 => method.is_query && method.takes_arguments(),
            _ => method.is_query,
        });
        let among: Vec<_> = among.collect();
        let method = among[rng.gen_range(0..among.len())].clone();
        let large = rng.gen_ratio(1, LARGE);
        let (interface, setting) = (&self.interface, &self.setting);
        let (kind, argument) = match rng.gen_range(0..20) {
            0..=7 => ("good", interface.good(&method, setting, rng)),
            8..=12 => {
                let good = interface.good(&method, setting, rng);
                let damaged = damaged(&good, &self.last, rng);
                self.last = good;
                ("damaged", damaged)
            }
            13..=14 => ("noise", noise(rng)),
            15..=16 => ("bomb", bomb(rng, large)),
            17 => (
                "with baggage",
                interface.with_baggage(&method, setting, rng),
            ),
            _ => {
                let most = if large { LONGEST } else { 6_000 };
                let size = rng.gen_range(100..most);
                ("huge", interface.huge(&method, setting, rng, size))
            }
        };
        let mut argument = argument;
        argument.truncate(LONGEST);
        let known = &setting.known;
        let caller = match rng.gen_range(0..20) {
            0 => Principal::anonymous(),
            n => known[n % known.len()],
        };
        let mode = match rng.gen_range(0..10) {
            0..=2 => Mode::User,
            3..=6 if method.is_query => Mode::Query,
            _ => Mode::Canister,
        };
        let mut fate = interface.fate(&method, &argument);
        let writes_as_nobody =
            WRITES.contains(&method.name.as_str()) && caller == Principal::anonymous();
        if mode == Mode::User && (argument.len() > INSPECTED || writes_as_nobody) {
            fate = Fate::Rejected;
        }
        let call = Call {
            caller,
            canister: self.ledger,
            method: method.name.clone(),
            argument,
            mode,
        };
        Trial {
            kind,
            method,
            call,
            fate,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_is_answered_or_rejected_without_a_trace() -> Result<()> {
    let network = emc_localnet::Network::builder().seed(221).start()?;
    let deployed = Deployed::on(DevNetwork::at(network.url()).await, 221, 1).await?;
    let known = [&deployed.bank, &deployed.bank, &deployed.minter].map(|p| p.principal());
    let others = ["alice", "bob"].map(|name| deployed.person(name).principal());
    let did = Path::new(env!("CARGO_MANIFEST_DIR")).join("../candid/ledger.did");
    let mut source = Source {
        interface: Interface::read(&did),
        setting: Setting {
            known: [&known[..], &others].concat(),
            now: 0,
        },
        rng: StdRng::seed_from_u64(221),
        ledger: deployed.id,
        last: vec![],
    };
    let mut tally = Tally::default();
    for _ in 0..MESSAGES / BATCH {
        source.setting.now = emc_client::ledger::now();
        let trials: Vec<Trial> = (0..BATCH).map(|_| source.next()).collect();
        let (hopeless, others): (Vec<_>, Vec<_>) = trials
            .into_iter()
            .partition(|trial| trial.fate == Fate::Rejected);

        let before = network.stable_memory_hash(deployed.id).await;
        run(&network, &hopeless, &source.interface, &mut tally).await?;
        let after = network.stable_memory_hash(deployed.id).await;
        ensure!(
            before.is_some() && before == after,
            "a rejected message left a trace"
        );
        run(&network, &others, &source.interface, &mut tally).await?;
    }
    tally.print();

    // Every endpoint has been asked in ways that work, and every kind of message has met both fates where it can.
    for method in &source.interface.methods {
        let (answered, rejected) = tally.methods.get(&method.name).copied().unwrap_or_default();
        let asked = answered > 150 && (rejected > 150 || !method.takes_arguments());
        ensure!(
            asked,
            "{}: {answered} answered, {rejected} rejected",
            method.name
        );
    }
    let of = |kind| tally.kinds.get(kind).copied().unwrap_or_default();
    for kind in ["good", "damaged", "noise", "bomb", "with baggage", "huge"] {
        let (answered, rejected) = of(kind);
        ensure!(
            answered + rejected > 1_000,
            "{kind}: {answered} answered, {rejected} rejected"
        );
        ensure!(
            answered > 0 && rejected > 0,
            "{kind}: {answered} answered, {rejected} rejected"
        );
    }
    // What was done is whole, and much was done.
    let reader = deployed.ledger(&deployed.bank);
    let checked = check_all(&reader).await?;
    ensure!(checked.length > 900, "only {} blocks", checked.length);
    println!(
        "{} blocks, {} accounts",
        checked.length,
        checked.books.balances().count()
    );
    Ok(())
}

async fn run(
    network: &emc_localnet::Network,
    trials: &[Trial],
    interface: &Interface,
    tally: &mut Tally,
) -> Result<()> {
    let calls = trials.iter().map(|trial| trial.call.clone()).collect();
    let called = network.run(calls).await;
    ensure!(called.len() == trials.len(), "every message has an outcome");
    for (trial, called) in trials.iter().zip(&called) {
        trial
            .judge(called, interface, tally)
            .context("a message of seed 221")?;
    }
    Ok(())
}
