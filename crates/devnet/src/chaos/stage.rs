//! The market of a run and everybody in it. In a step some of them make a call each, one after the other; then messages
//! run, time moves on, and who has an answer learns it.

use super::calls::{self, Answer, Call};
use super::checks;
use super::held::Held;
use super::owner::Owner;
use super::plan::{Conduct, Dice, Plan};
use super::requester::Requester;
use super::tally::Tally;
use super::validator::Validator;
use super::worker::Worker;
use crate::market::Which;
use crate::votes::Opinion;
use crate::{DevNetwork, HandNode, Market, Person};
use anyhow::{Context, Result, ensure};
use candid::Principal;
use emc_client::{CanisterIds, Client, Error, Escrow, RetryPolicy};
use emc_protocol::audit::{AuditSettings, AuditTerms, GapLevel};
use emc_protocol::escrow::Settings;
use emc_protocol::model::{ModelFile, ModelTerms, PublishModel, Task};
use emc_protocol::{ModelRef, Role, Seconds, Timestamp, Tokens};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::debug;

/// What each requester has in the escrow at the start, and the same in the ledger.
const PURSE: Tokens = Tokens::emc(2);
/// How far network time is ahead of the wall clock at the start. Clients stamp their transfers by the wall clock, which
/// runs on while the network is held: a ledger takes what is an hour old, and refuses what is in its future.
const AHEAD: Duration = Duration::from_secs(3600);
/// What an owner has in the ledger beside the stake.
const OWNERS_PURSE: Tokens = Tokens::emc(10);

/// What somebody knows when it is his turn.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Network time.
    pub now: Timestamp,
    /// True when nothing new is begun.
    pub closing: bool,
    /// True while the escrow answers no queries.
    pub escrow_is_stopped: bool,
    /// The canisters.
    pub ids: CanisterIds,
}

/// What somebody does in the market.
pub enum Part {
    /// Asks.
    Requester(Box<Requester>),
    /// Computes.
    Worker(Box<Worker>),
    /// Checks.
    Validator(Box<Validator>),
    /// Owns a worker.
    Owner(Box<Owner>),
}

/// A call that was sent, and where its answer will be.
type UnderWay = (Call, JoinHandle<Result<Answer, Error>>);

/// Somebody in the market.
pub struct Actor {
    /// Its name.
    pub name: String,
    /// Who it is to the canisters.
    pub principal: Principal,
    /// What it does.
    pub part: Part,
    /// Whether it plays by the rules.
    pub honest: bool,
    client: Client,
    under_way: Option<UnderWay>,
}

/// The market and everybody in it.
pub struct Stage {
    /// The market.
    pub market: Market,
    /// Its network.
    pub held: Held,
    /// Everybody who makes calls.
    pub actors: Vec<Actor>,
    /// Everybody who may have EMC, the canisters apart.
    pub people: Vec<Principal>,
    /// Canisters that are stopped now.
    pub stopped: Vec<Which>,
    /// The last line of the network's log that was looked at.
    pub logged: u64,
    /// How often somebody who plays by the rules was told what he should not have been: the first time's words.
    wrong: Option<String>,
}

/// A model on paper: its answers are recorded.
fn model() -> PublishModel {
    PublishModel {
        id: "chaos/paper".into(),
        task: Task::Chat,
        name: "Paper".into(),
        description: "A model whose answers are recorded.".into(),
        files: vec![ModelFile {
            path: "paper.gguf".into(),
            length: 1,
            sha256: vec![7; 32],
        }],
        licence: "CC0-1.0".into(),
        sources: vec![],
        context: 65_536,
        memory: 1,
        terms: Some(ModelTerms {
            audit: Some(AuditTerms {
                levels: vec![GapLevel {
                    above_milli: 300,
                    share: 200,
                    besides: 1,
                }],
                tolerance_milli: 500,
            }),
            royalty: 500,
            compute_units: 0,
        }),
    }
}

/// More audits than by default, and time enough for validators to outlast a canister that is stopped for a minute.
fn settings() -> Settings {
    Settings {
        audit: Some(AuditSettings {
            sample_rate: 4_000,
            second_look: 1_500,
            least_owners: 5,
            commit_window: Seconds(300),
            reveal_window: Seconds(240),
            ..AuditSettings::default()
        }),
        ..Settings::default()
    }
}

impl Stage {
    /// Starts a network, deploys the market, lets everybody in.
    ///
    /// # Errors
    /// If any of it fails; nothing goes wrong on purpose yet.
    pub async fn set(plan: &Plan) -> Result<Self> {
        let network = DevNetwork::embedded(plan.seed, "127.0.0.1:0").await?;
        let control = network.control().context("an embedded network has one")?;
        let held = Held::take(control).await?;
        held.control().advance(AHEAD).await?;
        let ticking = held.clone();
        ticking.during(Self::furnish(plan, network, held)).await
    }

    async fn furnish(plan: &Plan, network: DevNetwork, held: Held) -> Result<Self> {
        let market = Market::on(network, plan.seed, settings()).await?;
        let entry = market.publish(model()).await?;
        let model = ModelRef {
            id: entry.id,
            version: Some(entry.version),
        };
        market.list(&model).await?;
        let people = vec![market.bank.principal(), market.governor.principal()];
        let mut stage = Self {
            market,
            held,
            actors: vec![],
            people,
            stopped: vec![],
            logged: 0,
            wrong: None,
        };
        let now = stage.held.control().time().await?;
        for (number, &opinion) in plan.validators.iter().enumerate() {
            let name = format!("validator {number}");
            let hand = stage.node(&name, &model, Role::Validator).await?;
            let node = hand.node.clone();
            let part = Part::Validator(Box::new(Validator::new(hand, opinion, now)));
            stage.enter(&name, &node, part, opinion == Opinion::Within);
        }
        for (number, &conduct) in plan.workers.iter().enumerate() {
            let name = format!("worker {number}");
            let hand = stage.node(&name, &model, Role::Compute).await?;
            let (node, owner) = (hand.node.clone(), hand.owner.clone());
            let honest = conduct == Conduct::Honest;
            if honest {
                let me = owner.principal();
                stage.fund(me, OWNERS_PURSE).await?;
                let escrow = stage.market.client(&owner).escrow(stage.market.ids.escrow);
                let part = Owner::new(me, node.principal(), escrow);
                let owners = format!("owner of {name}");
                stage.enter(&owners, &owner, Part::Owner(Box::new(part)), true);
            }
            let part = Part::Worker(Box::new(Worker::new(hand, conduct, now)));
            stage.enter(&name, &node, part, honest);
        }
        for (number, &habit) in plan.requesters.iter().enumerate() {
            let name = format!("requester {number}");
            let person = stage.market.requester(&name, PURSE).await?;
            stage.fund(person.principal(), PURSE).await?;
            stage.people.push(person.principal());
            let part = Requester::new(person.principal(), habit, model.clone());
            stage.enter(&name, &person, Part::Requester(Box::new(part)), true);
        }
        stage.market.feed_arrived().await?;
        stage.market.check_conservation().await?;
        Ok(stage)
    }

    async fn node(&mut self, name: &str, model: &ModelRef, role: Role) -> Result<HandNode> {
        let hand = HandNode::register(&self.market, name, model, role).await?;
        self.people.push(hand.node.principal());
        self.people.push(hand.owner.principal());
        Ok(hand)
    }

    async fn fund(&self, who: Principal, amount: Tokens) -> Result<()> {
        let bank = self.market.client(&self.market.bank);
        bank.ledger(self.market.ids.ledger)
            .transfer(who, amount)
            .await?;
        Ok(())
    }

    fn enter(&mut self, name: &str, person: &Person, part: Part, honest: bool) {
        self.actors.push(Actor {
            name: name.to_owned(),
            principal: person.principal(),
            // Once and no more: what goes wrong is what is looked at.
            client: self.market.client(person).with_retry(RetryPolicy::never()),
            part,
            honest,
            under_way: None,
        });
    }

    /// The escrow, asked by nobody in particular.
    pub fn escrow(&self) -> Escrow {
        self.market.anonymous().escrow(self.market.ids.escrow)
    }

    /// True while nothing is begun, or waits, at anybody's.
    pub fn is_quiet(&self) -> bool {
        self.actors.iter().all(|actor| {
            let more = match &actor.part {
                Part::Requester(requester) => requester.is_busy(),
                Part::Owner(owner) => owner.is_busy(),
                Part::Worker(_) | Part::Validator(_) => false,
            };
            actor.under_way.is_none() && !more
        })
    }

    /// A step: calls, messages, time, answers, checks.
    ///
    /// # Errors
    /// What does not hold, or an answer that nobody who plays by the rules should get.
    pub async fn step(
        &mut self,
        dice: &mut Dice,
        tally: &mut Tally,
        closing: bool,
        advance: Duration,
    ) -> Result<()> {
        let escrow_is_stopped = self.stopped.contains(&Which::Escrow);
        let moment = Moment {
            now: self.held.control().time().await?,
            closing,
            escrow_is_stopped,
            ids: self.market.ids,
        };
        let mut order: Vec<usize> = (0..self.actors.len()).collect();
        dice.shuffle(&mut order);
        for at in order {
            self.turn(at, &moment, dice, tally).await?;
        }
        self.held.control().tick().await?;
        if !advance.is_zero() {
            self.held.control().advance(advance).await?;
        }
        self.listen(tally).await?;
        tally.steps += 1;
        checks::log(self, tally).await?;
        if self.stopped.is_empty() {
            self.market.check_conservation().await?;
        }
        match self.wrong.take() {
            Some(wrong) => anyhow::bail!(wrong),
            None => Ok(()),
        }
    }

    /// Somebody's turn, if he has time and takes it.
    async fn turn(
        &mut self,
        at: usize,
        moment: &Moment,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> Result<()> {
        let actor = &mut self.actors[at];
        if actor.under_way.is_some() {
            return Ok(());
        }
        let eager = match actor.part {
            Part::Requester(_) => 45,
            Part::Worker(_) => 80,
            Part::Validator(_) => 85,
            Part::Owner(_) => 30,
        };
        if !moment.closing && !dice.percent(eager) {
            return Ok(());
        }
        let call = match &mut actor.part {
            Part::Requester(requester) => requester.turn(moment, dice).await,
            Part::Worker(worker) => worker.turn(moment, dice).await,
            Part::Validator(validator) => validator.turn(moment).await,
            Part::Owner(owner) => owner.turn(moment, dice).await,
        };
        let call = call.with_context(|| format!("the turn of {}", actor.name))?;
        let Some(call) = call else { return Ok(()) };
        debug!(who = actor.name, ?call, "calls");
        let made = call.clone().make(actor.client.clone(), moment.ids);
        actor.under_way = Some((call, self.held.send(made).await?));
        tally.calls += 1;
        Ok(())
    }

    /// Whoever has an answer learns it.
    async fn listen(&mut self, tally: &mut Tally) -> Result<()> {
        let requests = self.held.control().requests().await?;
        let waiting: BTreeSet<Principal> = requests
            .waiting
            .iter()
            .map(|request| request.sender)
            .collect();
        let now = self.held.control().time().await?;
        for actor in &mut self.actors {
            if waiting.contains(&actor.principal) {
                continue;
            }
            let Some((call, handle)) = actor.under_way.take() else {
                continue;
            };
            let answer = self.held.answer(handle).await?;
            debug!(who = actor.name, ?answer, "hears");
            if let Err(error) = &answer {
                tally.refused += 1;
                if actor.honest && !calls::may_happen(error) {
                    let wrong = format!("{} was told: {error} (to {call:?})", actor.name);
                    self.wrong.get_or_insert(wrong);
                }
            }
            match &mut actor.part {
                Part::Requester(requester) => requester.heard(call, &answer),
                Part::Worker(worker) => worker.heard(call, &answer, now),
                Part::Validator(validator) => validator.heard(call, &answer, now),
                Part::Owner(owner) => owner.heard(call, &answer),
            }
            if let Part::Requester(requester) = &actor.part
                && let Some(complaint) = requester.complaint()
            {
                self.wrong
                    .get_or_insert(format!("{}: {complaint}", actor.name));
            }
        }
        Ok(())
    }

    /// Jobs that a node has in hand, or that are being drawn or audited.
    ///
    /// # Errors
    /// If the escrow does not answer.
    pub async fn in_hand(&self) -> Result<u64> {
        ensure!(self.stopped.is_empty(), "the escrow may be stopped");
        let info = self.escrow().info().await?;
        let delivered = info.delivered.unwrap_or_default();
        Ok(info.leased + delivered + info.auditing.unwrap_or_default())
    }
}
