//! The worker at work against an escrow that fails on command, with the echo engine.

use super::*;
use crate::engine::EngineError;
use crate::engine::echo::{self, Echo};
use crate::engine::thread::{EngineHandle, Factory};
use crate::fake_escrow::{ESCROW, FakeEscrow, Fault, key, model, node};
use emc_protocol::error::code;
use emc_protocol::job::{ChatMessage, ChatRole};
use emc_protocol::{FinishReason, JobInput, JobState, Parameters, Tokens};
use tempfile::TempDir;
use tokio::task::JoinHandle;

const PACE: Pace = Pace {
    poll: Duration::from_millis(5),
    first_preview: Duration::from_millis(10),
    preview: Duration::from_millis(15),
    longest_wait: Duration::from_millis(40),
    most_owed: 100,
};

/// A disk that outlives the workers that use it.
struct Disk(TempDir);

/// A worker in this process. `crash` stops it where it stands.
struct Running {
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    stages: watch::Sender<Stage>,
    work: JoinHandle<()>,
    deliveries: JoinHandle<usize>,
}

impl Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn journal(&self) -> Arc<Journal> {
        let path = self.0.path().join("journal");
        Arc::new(Journal::open(&path, node(), ESCROW).expect("opens"))
    }

    async fn start(&self, escrow: &Arc<FakeEscrow>, token_delay: Duration) -> Running {
        self.start_with(escrow, token_delay, echo::root()).await
    }

    async fn start_with(
        &self,
        escrow: &Arc<FakeEscrow>,
        token_delay: Duration,
        root: [u8; 32],
    ) -> Running {
        let echo = move || Ok(Box::new(Echo::new(token_delay)) as _);
        self.start_engine(escrow, Box::new(echo), root).await
    }

    async fn start_engine(
        &self,
        escrow: &Arc<FakeEscrow>,
        factory: Factory,
        root: [u8; 32],
    ) -> Running {
        let metrics = Arc::new(Metrics::default());
        let engine = EngineHandle::spawn("echo", factory, metrics.clone())
            .await
            .expect("an engine starts");
        let terms = Terms {
            context: 300,
            least_paid_percent: 75,
        };
        let served = Arc::new(Served::new(
            model(),
            root,
            crate::engine::Server::Text(engine),
            3,
            terms,
        ));
        let (sender, receiver) = mpsc::unbounded_channel();
        let journal = self.journal();
        let worker = Arc::new(Worker {
            escrow: escrow.clone(),
            escrow_id: ESCROW,
            key: key(),
            journal: journal.clone(),
            metrics: metrics.clone(),
            served: vec![served],
            pace: PACE,
            deliveries: sender,
            freed: Notify::new(),
            claims: true,
        });
        let deliveries = Arc::new(Deliveries {
            escrow: escrow.clone(),
            node: node(),
            journal: journal.clone(),
            metrics: metrics.clone(),
            longest_wait: PACE.longest_wait,
        });
        let (stages, watched) = watch::channel(Stage::Working);
        let second = watched.clone();
        Running {
            journal,
            metrics,
            stages,
            work: tokio::spawn(async move { worker.run(watched).await.expect("works") }),
            deliveries: tokio::spawn(async move {
                deliveries.run(receiver, second).await.expect("delivers")
            }),
        }
    }
}

impl Running {
    /// Ends it as `kill -9` would: nothing more is done, and only the file remains.
    async fn crash(self) {
        self.work.abort();
        self.deliveries.abort();
        let _ = (self.work.await, self.deliveries.await);
        let journal = self.journal;
        // Writes under way hold it until they are through, as the kernel finishes a system call.
        while Arc::strong_count(&journal) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Drains it and returns how many results it still owes.
    async fn drain(self) -> usize {
        self.stages
            .send_modify(|stage| *stage = (*stage).max(Stage::Draining));
        self.work.await.expect("ends");
        self.deliveries.await.expect("ends")
    }

    fn totals(&self) -> crate::journal::Totals {
        self.journal.totals().expect("reads")
    }
}

fn completion(text: &str) -> JobInput {
    JobInput::Completion {
        prompt: text.into(),
    }
}

#[tokio::test]
async fn jobs_are_claimed_run_and_delivered_with_a_receipt_that_holds() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let jobs: Vec<_> = (0..8)
        .map(|n| escrow.submit(&format!("say number {n}")))
        .collect();
    let worker = disk.start(&escrow, Duration::ZERO).await;
    for (n, job) in jobs.iter().enumerate() {
        let job = escrow.until_settled(*job).await;
        let output = job.output.expect("has one");
        assert_eq!(output.text, format!("say number {n}"));
        assert_eq!((job.settled, output.finish_reason), (1, FinishReason::Stop));
    }
    let journal = worker.journal.clone();
    assert_eq!(worker.drain().await, 0);
    let totals = journal.totals().expect("reads");
    assert_eq!(
        (totals.claimed, totals.delivered, totals.earned),
        (8, 8, Tokens(8 * 98))
    );
    assert!(journal.leases().expect("reads").is_empty());
    assert!(journal.owed().expect("reads").is_empty());
}

#[tokio::test]
async fn a_long_answer_is_shown_in_parts_that_the_result_begins_with() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let text = "a rather long answer é ".repeat(5);
    let parameters = Parameters {
        stop: vec!["answer é a rather LONG".into()],
        ..Parameters::greedy(200)
    };
    let job = escrow.submit_with(completion(&text), parameters);
    escrow.fail("extend", &[Fault::Lost]);
    let worker = disk.start(&escrow, Duration::from_millis(5)).await;
    let job = escrow.until_settled(job).await;
    assert!(job.extended >= 3, "shown {} times", job.extended);
    assert!(!job.text.is_empty() && job.ids.len() > 3);
    assert_eq!(worker.drain().await, 0);
}

#[tokio::test]
async fn lost_answers_to_previews_do_not_confuse_it() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.submit(&"words ".repeat(25));
    let faults = [
        Fault::AnswerLost,
        Fault::Lost,
        Fault::Refused(code::BUSY),
        Fault::AnswerLost,
        Fault::AnswerLost,
    ];
    escrow.fail("extend", &faults);
    let worker = disk.start(&escrow, Duration::from_millis(3)).await;
    let job = escrow.until_settled(job).await;
    assert!(job.extended > 2 && job.declined.is_empty(), "{job:?}");
    worker.drain().await;
}

#[tokio::test]
async fn an_outage_is_waited_for_and_nothing_is_lost() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let jobs: Vec<_> = (0..4).map(|n| escrow.submit(&"x".repeat(n + 20))).collect();
    let worker = disk.start(&escrow, Duration::from_millis(1)).await;
    escrow
        .until("some are leased", |e| {
            e.job_now(jobs[0]).state != JobState::Open
        })
        .await;
    escrow.down_for(Duration::from_millis(300));
    for job in jobs {
        assert_eq!(escrow.until_settled(job).await.settled, 1);
    }
    assert!(worker.metrics.call_failures.load(Relaxed) > 0);
    worker.drain().await;
}

#[tokio::test]
async fn what_was_owed_at_a_crash_is_delivered_by_the_next_start() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.submit("owed");
    escrow.fail("deliver", &[Fault::Lost; 1000]);
    let worker = disk.start(&escrow, Duration::ZERO).await;
    escrow
        .until("it was tried", |e| e.calls("deliver") > 0)
        .await;
    worker.crash().await;
    assert_eq!(escrow.job_now(job).state, JobState::Leased);
    let escrow_again = Arc::new(FakeEscrow::default());
    escrow_again.submit("owed");
    escrow_again.change(job, |now| *now = escrow.job_now(job));
    let worker = disk.start(&escrow_again, Duration::ZERO).await;
    let settled = escrow_again.until_settled(job).await;
    assert_eq!(settled.lease.attempt, 1, "it was not done again");
    assert_eq!(worker.drain().await, 0);
}

#[tokio::test]
async fn a_delivery_whose_answer_was_lost_counts_once() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.submit("once");
    escrow.fail("deliver", &[Fault::AnswerLost]);
    let worker = disk.start(&escrow, Duration::ZERO).await;
    escrow.until_settled(job).await;
    let metrics = worker.metrics.clone();
    escrow
        .until("it is settled", |_| metrics.delivered.load(Relaxed) == 1)
        .await;
    assert_eq!(worker.totals().earned, Tokens(98));
    assert_eq!(worker.drain().await, 0);
    assert_eq!(metrics.lost.load(Relaxed), 0);
}

#[tokio::test]
async fn a_result_that_another_node_was_faster_with_is_dropped() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.submit("too late");
    escrow.fail("deliver", &[Fault::Lost; 1000]);
    let worker = disk.start(&escrow, Duration::ZERO).await;
    escrow
        .until("it was tried", |e| e.calls("deliver") > 0)
        .await;
    escrow.change(job, |job| {
        job.holder = Some(Principal::anonymous());
        job.state = JobState::Settled;
    });
    escrow.heal("deliver");
    let metrics = worker.metrics.clone();
    escrow
        .until("it is given up", |_| metrics.lost.load(Relaxed) == 1)
        .await;
    assert_eq!(worker.drain().await, 0);
    assert_eq!(metrics.delivered.load(Relaxed), 0);
}

#[tokio::test]
async fn a_result_is_offered_again_while_another_node_holds_the_job_and_does_not_hold_up_a_drain() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.submit("contested");
    escrow.fail("deliver", &[Fault::Lost; 1000]);
    let worker = disk.start(&escrow, Duration::ZERO).await;
    escrow
        .until("it was tried", |e| e.calls("deliver") > 0)
        .await;
    escrow.change(job, |job| job.holder = Some(Principal::anonymous()));
    escrow.heal("deliver");
    let before = escrow.calls("deliver");
    escrow
        .until("it was refused", |e| e.calls("deliver") > before + 2)
        .await;
    assert_eq!(worker.drain().await, 1, "still owed, not waited for");
    escrow.change(job, |job| job.state = JobState::Open);
    // With no slots in its claim, only the owed result can settle the job.
    escrow.fail("claim", &[Fault::Lost; 1000]);
    let worker = disk.start(&escrow, Duration::ZERO).await;
    assert_eq!(escrow.until_settled(job).await.lease.attempt, 1);
    assert_eq!(worker.drain().await, 0);
}

#[tokio::test]
async fn a_cancelled_job_is_left_at_once() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.submit(&"slow ".repeat(30));
    let worker = disk.start(&escrow, Duration::from_millis(50)).await;
    escrow
        .until("it was shown", |e| e.job_now(job).extended > 0)
        .await;
    escrow.change(job, |job| job.state = JobState::Refunded);
    let metrics = worker.metrics.clone();
    escrow
        .until("it is left", |_| metrics.in_flight.load(Relaxed) == 0)
        .await;
    assert_eq!(metrics.lost.load(Relaxed), 1);
    assert_eq!(worker.drain().await, 0);
    assert_eq!(escrow.calls("deliver"), 0);
}

#[tokio::test]
async fn what_cannot_be_done_is_declined_with_a_reason_and_the_worker_goes_on() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let unknown = escrow.submit("of a kind of tomorrow");
    escrow.change(unknown, |job| job.lease.input = None);
    let long = escrow.submit(&"long ".repeat(500));
    let poor = escrow.submit("poor");
    escrow.change(poor, |job| job.lease.max_charge = Tokens(1));
    let other_files = escrow.submit("other files");
    escrow.change(other_files, |job| job.lease.model_root[0] ^= 1);
    let malformed = escrow.submit("malformed");
    escrow.change(malformed, |job| job.lease.nonce = vec![]);
    let chat = JobInput::Chat {
        messages: vec![ChatMessage {
            role: ChatRole::User,
            content: "fine".into(),
        }],
    };
    let fine = escrow.submit_with(chat, Parameters::greedy(50));
    let worker = disk.start(&escrow, Duration::ZERO).await;
    escrow.until_settled(fine).await;
    for (job, reason) in [
        (unknown, "not known here"),
        (long, "context of 300"),
        (poor, "can be charged"),
        (other_files, "other files"),
        (malformed, "nonce"),
    ] {
        escrow
            .until("it is declined", |e| !e.job_now(job).declined.is_empty())
            .await;
        let declined = escrow.job_now(job).declined;
        assert!(declined[0].contains(reason), "{declined:?}");
    }
    let journal = worker.journal.clone();
    worker.drain().await;
    assert_eq!(journal.totals().expect("reads").declined, 5);
    assert!(journal.leases().expect("reads").is_empty());
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_takes_nothing_new() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.submit(&"y".repeat(60));
    let worker = disk.start(&escrow, Duration::from_millis(2)).await;
    escrow
        .until("it is leased", |e| e.job_now(job).state == JobState::Leased)
        .await;
    let metrics = worker.metrics.clone();
    escrow
        .until("it runs", |_| metrics.in_flight.load(Relaxed) == 1)
        .await;
    worker.stages.send_replace(Stage::Draining);
    // A look under way may still claim; after a moment none is.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let later = escrow.submit("later");
    assert_eq!(worker.drain().await, 0);
    assert_eq!(escrow.job_now(job).state, JobState::Settled);
    assert_eq!(escrow.job_now(later).state, JobState::Open);
}

#[tokio::test]
async fn a_drain_that_takes_too_long_gives_the_rest_back() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.submit(&"z".repeat(100));
    let worker = disk.start(&escrow, Duration::from_millis(500)).await;
    escrow
        .until("it is leased", |e| e.job_now(job).state == JobState::Leased)
        .await;
    worker.stages.send_replace(Stage::Stopping);
    assert_eq!(worker.drain().await, 0);
    assert!(escrow.job_now(job).declined[0].contains("shutting down"));
}

#[tokio::test]
async fn a_drain_without_a_network_leaves_the_result_in_the_journal() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.submit("kept");
    escrow.fail("deliver", &[Fault::Lost; 1000]);
    let worker = disk.start(&escrow, Duration::ZERO).await;
    escrow
        .until("it was tried", |e| e.calls("deliver") > 0)
        .await;
    let journal = worker.journal.clone();
    worker.stages.send_replace(Stage::Draining);
    tokio::time::sleep(Duration::from_millis(50)).await;
    worker.stages.send_replace(Stage::Stopping);
    worker.work.await.expect("ends");
    assert_eq!(worker.deliveries.await.expect("ends"), 1);
    assert_eq!(journal.owed().expect("reads")[0].args.job_id, job);
}

#[tokio::test]
async fn a_job_begun_before_a_crash_is_done_again_and_agrees_with_what_was_shown() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.submit(&"again ".repeat(20));
    let worker = disk.start(&escrow, Duration::from_millis(3)).await;
    escrow
        .until("it was shown", |e| e.job_now(job).extended > 1)
        .await;
    worker.crash().await;
    let worker = disk.start(&escrow, Duration::from_millis(1)).await;
    let settled = escrow.until_settled(job).await;
    assert_eq!((settled.lease.attempt, settled.settled), (1, 1));
    assert!(settled.declined.is_empty());
    worker.drain().await;
}

#[tokio::test]
async fn a_lease_that_lapsed_while_the_worker_was_away_is_dropped() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let mut lapsed = crate::fake_escrow::lease(1);
    lapsed.until = Timestamp(1);
    disk.journal().claimed(&[lapsed]).expect("stores");
    let worker = disk.start(&escrow, Duration::ZERO).await;
    let metrics = worker.metrics.clone();
    escrow
        .until("it is dropped", |_| metrics.lost.load(Relaxed) == 1)
        .await;
    assert!(worker.journal.leases().expect("reads").is_empty());
    worker.drain().await;
}

#[tokio::test]
async fn crashes_at_any_time_lose_no_finished_work_and_double_none() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let jobs: Vec<_> = (0..12)
        .map(|n| escrow.submit(&format!("{n} {}", "word ".repeat(3 * n))))
        .collect();
    for round in 0..15u64 {
        let worker = disk.start(&escrow, Duration::from_micros(300)).await;
        tokio::time::sleep(Duration::from_millis(1 + (round * 7) % 23)).await;
        worker.crash().await;
    }
    let worker = disk.start(&escrow, Duration::ZERO).await;
    for job in jobs {
        // A claim whose answer a crash has swallowed is unknown here: its lease ends, as in the real escrow.
        escrow
            .until("it is settled or its lease is not ours to know", |e| {
                let now = e.job_now(job);
                let known = worker.journal.leases().expect("reads");
                if now.state == JobState::Leased
                    && worker.metrics.in_flight.load(Relaxed) == 0
                    && worker.metrics.owed.load(Relaxed) == 0
                    && known.is_empty()
                {
                    e.change(job, |job| job.state = JobState::Open);
                }
                now.state == JobState::Settled
            })
            .await;
        let job = escrow.job_now(job);
        assert_eq!((job.settled, job.declined.len()), (1, 0));
    }
    assert_eq!(worker.drain().await, 0);
}

#[tokio::test]
async fn a_result_that_is_drawn_first_earns_when_its_job_is_final() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    escrow.draw();
    let jobs = ["upheld", "undecided", "overturned"].map(|text| escrow.submit(text));
    escrow.fail("deliver", &[Fault::AnswerLost]);
    let worker = disk.start(&escrow, Duration::ZERO).await;
    let metrics = worker.metrics.clone();
    escrow
        .until("all are delivered", |_| {
            metrics.delivered.load(Relaxed) == 3
        })
        .await;
    assert_eq!(worker.totals().earned, Tokens::ZERO);
    assert_eq!(metrics.awaited.load(Relaxed), 3);
    let earnings = Earnings {
        escrow: escrow.clone(),
        journal: worker.journal.clone(),
        metrics: metrics.clone(),
        every: Duration::from_millis(5),
    };
    let counting = tokio::spawn(earnings.run());
    let ends = [JobState::Settled, JobState::Undecided, JobState::Refunded];
    for (job, end) in jobs.into_iter().zip(ends) {
        escrow.change(job, |job| job.state = end);
    }
    escrow
        .until("all are counted", |_| {
            worker.journal.awaited().expect("reads").is_empty()
        })
        .await;
    assert_eq!(worker.totals().earned, Tokens(98 + 50));
    assert_eq!(worker.totals().delivered, 3);
    counting.abort();
    let _ = counting.await;
    assert_eq!(metrics.earned_e8s.load(Relaxed), 148);
    assert_eq!(worker.drain().await, 0);
}

#[tokio::test]
async fn no_more_is_claimed_than_the_engine_has_room_for() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let jobs: Vec<_> = (0..12)
        .map(|n| escrow.submit(&format!("take your time with number {n}")))
        .collect();
    let worker = disk.start(&escrow, Duration::from_millis(1)).await;
    let (mut most, mut batch) = (0, 0);
    while worker.metrics.delivered.load(Relaxed) < jobs.len() as u64 {
        // What is claimed is in flight until its result is owed to the escrow.
        most = most.max(worker.metrics.in_flight.load(Relaxed));
        for (_, engine) in worker.metrics.engines() {
            assert_eq!(engine.waiting, 0, "a claimed job waits for the engine");
            batch = batch.max(engine.figures.in_flight);
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    assert_eq!((most, batch), (3, 3), "all room is used, and no more");
    for job in jobs {
        let job = escrow.until_settled(job).await;
        assert_eq!((job.settled, job.declined.len()), (1, 0));
    }
    assert_eq!(worker.drain().await, 0);
}

#[tokio::test]
async fn nothing_is_claimed_for_an_engine_that_is_being_started_again() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let stays_broken = broken.clone();
    let mut is_first = true;
    let factory = move || {
        if std::mem::take(&mut is_first) {
            return Ok(Box::new(Failing) as Box<dyn crate::engine::Engine>);
        }
        match stays_broken.load(Relaxed) {
            true => Err(EngineError::Broken("no memory".into())),
            false => Ok(Box::new(Echo::new(Duration::ZERO)) as _),
        }
    };
    let worker = disk
        .start_engine(&escrow, Box::new(factory), echo::root())
        .await;
    let first = escrow.submit("the one that breaks it");
    while worker.metrics.declined.load(Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let next = escrow.submit("the one that waits");
    tokio::time::sleep(PACE.poll * 20).await;
    assert_eq!(escrow.job_now(next).state, JobState::Open);
    assert_eq!(worker.metrics.claimed.load(Relaxed), 1);
    broken.store(false, Relaxed);
    assert_eq!(escrow.until_settled(next).await.declined.len(), 0);
    assert_eq!(escrow.job_now(first).declined.len(), 1);
    assert_eq!(worker.drain().await, 0);
}

/// An engine that breaks with its first step.
struct Failing;

impl crate::engine::Engine for Failing {
    fn prompt(&mut self, _: &JobInput) -> Result<Vec<u32>, EngineError> {
        Ok(vec![1])
    }

    fn start(
        &mut self,
        _: crate::engine::SequenceKey,
        _: &crate::engine::Start,
    ) -> Result<(), EngineError> {
        Ok(())
    }

    fn step(
        &mut self,
    ) -> Result<Vec<(crate::engine::SequenceKey, crate::engine::Event)>, EngineError> {
        Err(EngineError::Broken("no memory".into()))
    }

    fn verify(
        &mut self,
        _: &emc_protocol::audit::AuditTask,
        _: &[u32],
    ) -> Result<emc_protocol::audit::Vote, EngineError> {
        Err(EngineError::Broken("no memory".into()))
    }

    fn cancel(&mut self, _: crate::engine::SequenceKey) {}

    fn figures(&self) -> emc_inference::EngineFigures {
        emc_inference::EngineFigures::default()
    }
}
