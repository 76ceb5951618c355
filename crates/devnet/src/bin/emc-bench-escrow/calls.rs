//! Every call of a job's life, counted from the network's log of messages.

use anyhow::{Context, Result, ensure};
use emc_client::Escrow;
use emc_devnet::control::{Control, LogLine};
use emc_devnet::market::until;
use emc_devnet::votes::{Ballots, Opinion};
use emc_devnet::worker::ModelSource;
use emc_devnet::{DevNetwork, HandNode, Market, Person};
use emc_protocol::audit::{AuditTerms, GapLevel};
use emc_protocol::escrow::{QuoteArgs, Settings};
use emc_protocol::job::{ChatMessage, ChatRole, JobFilter, JobState};
use emc_protocol::model::ModelTerms;
use emc_protocol::work::ExtendArgs;
use emc_protocol::{
    Assurance, DepositArgs, JobId, JobInput, Lease, ModelRef, Parameters, SubmitJob, Tokens,
    WithdrawArgs,
};
use emc_simulate::image::Image;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Validators that serve the model; eight owners are the least.
const VALIDATORS: usize = 10;
/// Tokens of every answer.
const ANSWER: u32 = 48;

/// A market whose escrow has a past, and the people whose calls are counted.
pub struct Scene {
    /// The market.
    pub market: Market,
    /// Serves the model.
    pub worker: HandNode,
    /// Recompute it.
    pub validators: Vec<HandNode>,
    /// Asks.
    pub requester: Person,
    /// As the requester.
    pub escrow: Escrow,
    /// The model, which is not the one of the past.
    pub model: ModelRef,
}

/// Instructions by call, one entry a round.
#[derive(Default)]
pub struct Counts(BTreeMap<String, Vec<u64>>);

impl Counts {
    fn add(&mut self, name: &str, instructions: u64) {
        self.0
            .entry(name.to_owned())
            .or_default()
            .push(instructions);
    }

    /// The median of each.
    pub fn medians(&mut self) -> BTreeMap<String, f64> {
        let median = |(name, list): (&String, &mut Vec<u64>)| {
            list.sort_unstable();
            (name.clone(), list[list.len() / 2] as f64)
        };
        self.0.iter_mut().map(median).collect()
    }
}

/// The instructions of a method's messages, in their order.
fn of(log: &[LogLine], method: &str) -> Vec<u64> {
    let mine = log.iter().filter(|line| line.method == method);
    mine.map(|line| line.instructions).collect()
}

fn one(log: &[LogLine], method: &str) -> Result<u64> {
    let mut all = of(log, method);
    let last = all
        .pop()
        .with_context(|| format!("{method} is in the log"))?;
    Ok(last)
}

/// The dearest answer to a call that the escrow made itself: the draw, among those to timers and to the registry.
fn dearest_reply(log: &[LogLine]) -> Result<u64> {
    let replies = log.iter().filter(|line| line.kind == "reply");
    replies
        .map(|line| line.instructions)
        .max()
        .context("a reply is in the log")
}

impl Scene {
    /// A market with a past of so many jobs.
    ///
    /// # Errors
    /// If anything refuses.
    pub async fn with_past(
        jobs: usize,
        folder: &Path,
        done: impl Fn(u64) + Send + 'static,
    ) -> Result<(Self, Image)> {
        let network = DevNetwork::embedded(1, "127.0.0.1:0").await?;
        let market = Market::on(network, 1, Settings::default()).await?;
        let mut paper = ModelSource::smollm2()?.publication();
        paper.id = "bench/paper".into();
        let level = |(above_milli, share, besides)| GapLevel {
            above_milli,
            share,
            besides,
        };
        let levels = [(50, 660, 4), (300, 150, 3), (750, 30, 2), (1_500, 0, 0)];
        paper.terms = Some(ModelTerms {
            audit: Some(AuditTerms {
                levels: levels.map(level).to_vec(),
                tolerance_milli: 2_450,
            }),
            royalty: 500,
            compute_units: 0,
        });
        let entry = market.publish(paper).await?;
        let model = ModelRef {
            id: entry.id,
            version: Some(entry.version),
        };
        market.list(&model).await?;
        let requester = market.person_with("counter", Tokens::emc(1_000)).await?;
        let image = market.give_past(jobs, &requester, folder, done).await?;
        // Only now: nodes that are silent for a while count as gone.
        let worker = market.hand_node("counted", &model).await?;
        let validators = market.hand_validators(VALIDATORS, &model).await?;
        let escrow = market.client(&requester).escrow(market.ids.escrow);
        let info = escrow.info().await?;
        ensure!(
            info.jobs >= jobs as u64 && info.receipts == jobs as u64,
            "the escrow does not have its past: {info:?}"
        );
        let scene = Self {
            market,
            worker,
            validators,
            requester,
            escrow,
            model,
        };
        Ok((scene, image))
    }

    /// A job as people ask for one.
    pub fn question(&self, assurance: Assurance) -> SubmitJob {
        SubmitJob {
            model: self.model.clone(),
            input: input(),
            parameters: Parameters::greedy(64),
            max_price: Tokens::e8s(1_000_000),
            deadline: None,
            if_unserved: None,
            request_key: None,
            seed: None,
            salt: None,
            visibility: None,
            assurance: Some(assurance),
            payer: None,
            notify: None,
        }
    }

    async fn mark(&self) -> Result<u64> {
        Ok(self
            .control()?
            .log(0)
            .await?
            .last()
            .map_or(0, |line| line.n))
    }

    fn control(&self) -> Result<&Control> {
        self.market.control()
    }

    /// The escrow's messages since a mark.
    async fn since(&self, mark: u64) -> Result<Vec<LogLine>> {
        let escrow = self.market.ids.escrow.to_text();
        let mut log = self.control()?.log(mark).await?;
        log.retain(|line| line.canister == escrow);
        Ok(log)
    }

    /// Makes every call once; counts them if asked to.
    ///
    /// # Errors
    /// If the escrow refuses one.
    pub async fn round(&self, counts: &mut Counts, old_job: JobId, count: bool) -> Result<()> {
        let mut nothing = Counts::default();
        let counts = if count { counts } else { &mut nothing };
        self.plain(counts).await?;
        self.audited(counts).await?;
        self.cancelled(counts).await?;
        self.queries(counts, old_job).await?;
        self.money(counts).await
    }

    fn answer() -> Vec<u32> {
        (0..ANSWER).map(|n| n * 7 + 1).collect()
    }

    /// A job without assurance; the signature check by what it adds to a delivery that is refused just before it.
    async fn plain(&self, counts: &mut Counts) -> Result<()> {
        let mark = self.mark().await?;
        self.escrow
            .submit_job(self.question(Assurance::None))
            .await?;
        let lease = self.worker.claim_one().await?;
        self.extend(&lease).await?;
        let good = self
            .worker
            .delivery(&lease, &Self::answer(), "The capital of France is Paris.");
        let mut charge = good.clone();
        charge.charge.0 += 1;
        ensure!(self.worker.deliver(charge).await.is_err());
        let (mut signature, mut other) = (good.clone(), good.clone());
        other.charge.0 += 1;
        signature.signature = self.worker.signature(&lease, &other);
        ensure!(self.worker.deliver(signature).await.is_err());
        self.worker.deliver(good).await?;
        let log = self.since(mark).await?;
        counts.add("submit_job", one(&log, "submit_job")?);
        counts.add("claim", one(&log, "claim")?);
        counts.add("extend", one(&log, "extend")?);
        let delivers = of(&log, "deliver");
        ensure!(
            delivers.len() == 3,
            "three deliveries were made: {delivers:?}"
        );
        counts.add("deliver", delivers[2]);
        counts.add("signature_check", delivers[1].saturating_sub(delivers[0]));
        Ok(())
    }

    async fn extend(&self, lease: &Lease) -> Result<()> {
        let args = ExtendArgs {
            job_id: lease.job_id,
            attempt: lease.attempt,
            prompt_tokens: 5,
            from: 0,
            ids: Self::answer()[..8].to_vec(),
            text: "The capital".into(),
            image: None,
        };
        self.worker.escrow.extend(args).await?;
        Ok(())
    }

    /// A whole audited job.
    async fn audited(&self, counts: &mut Counts) -> Result<()> {
        let mark = self.mark().await?;
        let job = self
            .escrow
            .submit_job(self.question(Assurance::Always))
            .await?
            .job_id;
        let lease = self.worker.claim_one().await?;
        let good = self
            .worker
            .delivery(&lease, &Self::answer(), "The capital of France is Paris.");
        self.worker.deliver(good).await?;
        self.until(job, |state| state != JobState::Delivered)
            .await?;
        let drawn = self.since(mark).await?;
        let mark = self.mark().await?;
        let mut ballots: Vec<Ballots> =
            self.validators.iter().map(|_| Ballots::default()).collect();
        until(Duration::from_secs(60), "the audit to end", async || {
            for (validator, ballots) in self.validators.iter().zip(&mut ballots) {
                validator.cast(ballots, Opinion::Within).await?;
            }
            let state = self.escrow.get_job(job, None).await?.state;
            Ok((state == Some(JobState::Settled)).then_some(()))
        })
        .await?;
        let log = self.since(mark).await?;
        let (commits, reveals) = (of(&log, "commit_vote"), of(&log, "reveal_vote"));
        // One in twenty is looked at again: then more are in the log, and the median is still of one kind.
        if commits.len() != 3 || reveals.len() != 3 {
            return Ok(());
        }
        counts.add("submit_job.audited", one(&drawn, "submit_job")?);
        counts.add("deliver.audited", one(&drawn, "deliver")?);
        counts.add("draw", dearest_reply(&drawn)?);
        counts.add("commit_vote", commits.iter().sum::<u64>() / 3);
        counts.add("reveal_vote", reveals.iter().sum::<u64>() / 3);
        counts.add("settle", dearest_reply(&log)?);
        counts.add("audits", one(&log, "audits")?);
        counts.add("audit_task", one(&log, "audit_task")?);
        Ok(())
    }

    async fn until(&self, job: JobId, is: impl Fn(JobState) -> bool) -> Result<()> {
        until(Duration::from_secs(60), "the job to go on", async || {
            let state = self.escrow.get_job(job, None).await?.state;
            Ok(state.is_some_and(&is).then_some(()))
        })
        .await
    }

    async fn cancelled(&self, counts: &mut Counts) -> Result<()> {
        let mark = self.mark().await?;
        let job = self
            .escrow
            .submit_job(self.question(Assurance::Sampled))
            .await?;
        self.escrow.cancel_job(job.job_id).await?;
        let log = self.since(mark).await?;
        counts.add("cancel_job", one(&log, "cancel_job")?);
        Ok(())
    }

    async fn queries(&self, counts: &mut Counts, old_job: JobId) -> Result<()> {
        let mark = self.mark().await?;
        let escrow = &self.escrow;
        // Something to see for `work_available`.
        let open = escrow.submit_job(self.question(Assurance::None)).await?;
        let quote = QuoteArgs {
            model: self.model.clone(),
            input: input(),
            parameters: Parameters::greedy(64),
            assurance: Some(Assurance::Sampled),
        };
        escrow.quote(quote).await?;
        escrow.work_available(vec![self.model.clone()]).await?;
        escrow.get_job(old_job, None).await?;
        escrow.receipt_proof(old_job).await?;
        let filter = JobFilter {
            requester: None,
            state: None,
            before: Some(old_job),
            limit: Some(10),
        };
        escrow.list_jobs(filter).await?;
        escrow.account(self.requester.principal()).await?;
        escrow.cancel_job(open.job_id).await?;
        let log = self.since(mark).await?;
        let names = [
            "quote",
            "work_available",
            "get_job",
            "receipt_proof",
            "list_jobs",
            "account",
        ];
        for name in names {
            counts.add(name, one(&log, name)?);
        }
        Ok(())
    }

    /// Deposits and withdrawals: the call itself, and all of its answers from the ledger.
    async fn money(&self, counts: &mut Counts) -> Result<()> {
        let market = &self.market;
        let amount = Tokens::emc(1);
        let client = market.client(&self.requester);
        client
            .ledger(market.ids.ledger)
            .approve(market.ids.escrow, amount)
            .await?;
        let mark = self.mark().await?;
        self.escrow
            .deposit(DepositArgs {
                amount,
                beneficiary: None,
                from_subaccount: None,
            })
            .await?;
        let log = self.since(mark).await?;
        counts.add("deposit.all_messages", of(&log, "deposit").iter().sum());
        let mark = self.mark().await?;
        let args = WithdrawArgs { amount, to: None };
        self.escrow.withdraw(args).await?;
        let log = self.since(mark).await?;
        counts.add("withdraw.all_messages", of(&log, "withdraw").iter().sum());
        Ok(())
    }

    /// What opening the state takes.
    ///
    /// # Errors
    /// If the log does not have it.
    pub async fn upgrade_instructions(&self) -> Result<u64> {
        let log = self.since(0).await?;
        let upgrade = log.iter().rfind(|line| line.kind == "post_upgrade");
        Ok(upgrade.context("an upgrade is in the log")?.instructions)
    }
}

fn input() -> JobInput {
    JobInput::Chat {
        messages: vec![ChatMessage {
            role: ChatRole::User,
            content: "What is the capital of France?".into(),
        }],
    }
}
