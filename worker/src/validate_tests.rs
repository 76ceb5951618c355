//! The validator against an escrow that fails on command, with the echo engine.

use super::*;
use crate::assess::Terms;
use crate::engine::echo::{self, Echo};
use crate::engine::thread::EngineHandle;
use crate::engine::{Engine, EngineError};
use crate::fake_escrow::audits::task;
use crate::fake_escrow::{ESCROW, FakeEscrow, Fault, model, node};
use emc_protocol::error::code;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A disk that outlives the validators that use it.
struct Disk(TempDir);

struct Running {
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    stages: watch::Sender<Stage>,
    work: JoinHandle<usize>,
}

impl Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    async fn start(&self, escrow: &Arc<FakeEscrow>) -> Running {
        self.start_with(escrow, true).await
    }

    async fn start_with(&self, escrow: &Arc<FakeEscrow>, loaded: bool) -> Running {
        let metrics = Arc::new(Metrics::default());
        let engine = EngineHandle::spawn(
            "echo",
            Box::new(|| {
                Ok::<_, EngineError>(Box::new(Echo::new(Duration::ZERO)) as Box<dyn Engine>)
            }),
            metrics.clone(),
        )
        .await
        .expect("an echo engine starts");
        let terms = Terms {
            context: 300,
            least_paid_percent: 75,
        };
        let served = Arc::new(OnceLock::new());
        if loaded {
            let one = Served::new(
                model(),
                echo::root(),
                crate::engine::Server::Text(engine),
                3,
                terms,
            );
            assert!(served.set(vec![Arc::new(one)]).is_ok());
        }
        let path = self.0.path().join("journal");
        let journal = Arc::new(Journal::open(&path, node(), ESCROW).expect("opens"));
        let validator = Arc::new(Validator {
            escrow: escrow.clone(),
            escrow_id: ESCROW,
            node: node(),
            journal: journal.clone(),
            metrics: metrics.clone(),
            served,
            poll: Duration::from_millis(4),
            longest_wait: Duration::from_millis(30),
        });
        let (stages, watched) = watch::channel(Stage::Working);
        Running {
            journal,
            metrics,
            stages,
            work: tokio::spawn(async move { validator.run(watched).await.expect("reads") }),
        }
    }
}

impl Running {
    /// Ends it as `kill -9` would.
    async fn crash(self) {
        self.work.abort();
        let _ = self.work.await;
        while Arc::strong_count(&self.journal) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Drains it; how many votes wait to be revealed.
    async fn drain(self) -> usize {
        self.stages.send_replace(Stage::Draining);
        self.work.await.expect("ends")
    }

    fn counts(&self) -> (u64, u64, u64) {
        let m = &self.metrics;
        (
            m.votes_committed.load(Relaxed),
            m.votes_revealed.load(Relaxed),
            m.votes_missed.load(Relaxed),
        )
    }
}

async fn until_committed(escrow: &FakeEscrow, job: u64) {
    escrow
        .until("it is committed to", |e| {
            e.audit_now(job).commitment.is_some()
        })
        .await;
}

async fn until_revealed(escrow: &FakeEscrow, job: u64) {
    escrow.change_audit(job, |audit| audit.revealing = true);
    escrow
        .until("it is revealed", |e| e.audit_now(job).vote.is_some())
        .await;
}

#[tokio::test]
async fn an_honest_answer_and_a_wrong_one_are_voted_on() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let honest = escrow.draw_for("an honest answer");
    let mut wrong = task("a wrong answer");
    wrong.output.ids[3] += 1;
    let wrong = escrow.draw_for_task(wrong);
    let validator = disk.start(&escrow).await;
    for job in [honest, wrong] {
        until_committed(&escrow, job).await;
        until_revealed(&escrow, job).await;
    }
    let vote = |job| escrow.audit_now(job).vote.expect("revealed");
    assert_eq!(
        (vote(honest).largest_gap_milli, vote(honest).matches),
        (0, 17)
    );
    assert_eq!(
        vote(honest).prompt_tokens,
        task("an honest answer").usage.prompt_tokens
    );
    assert!(vote(wrong).above == [1] && !vote(wrong).text_right);
    let (metrics, journal) = (validator.metrics.clone(), validator.journal.clone());
    assert_eq!(validator.drain().await, 0);
    assert_eq!(metrics.audits_computed.load(Relaxed), 2);
    let totals = journal.vote_totals().expect("reads");
    assert_eq!(
        (totals.committed, totals.revealed, totals.missed),
        (2, 2, 0)
    );
}

#[tokio::test]
async fn a_vote_committed_to_before_a_crash_is_revealed_from_the_journal() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.draw_for("crash");
    let validator = disk.start(&escrow).await;
    until_committed(&escrow, job).await;
    validator.crash().await;
    // Models are not loaded yet when the round asks for it.
    let validator = disk.start_with(&escrow, false).await;
    until_revealed(&escrow, job).await;
    let metrics = validator.metrics.clone();
    assert_eq!(validator.drain().await, 0);
    assert_eq!(metrics.audits_computed.load(Relaxed), 0);
    assert_eq!(metrics.votes_revealed.load(Relaxed), 1);
}

#[tokio::test]
async fn a_crash_between_journal_and_commitment_commits_to_the_same_vote_later() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.draw_for("sealed");
    escrow.fail("commit_vote", &[Fault::Lost; 1000]);
    let validator = disk.start(&escrow).await;
    escrow
        .until("it was tried", |e| e.calls("commit_vote") > 1)
        .await;
    let salt = validator.journal.sealed_votes().expect("reads")[0]
        .salt
        .clone();
    validator.crash().await;
    escrow.heal("commit_vote");
    let validator = disk.start(&escrow).await;
    until_committed(&escrow, job).await;
    let again = validator.journal.sealed_votes().expect("reads")[0]
        .salt
        .clone();
    assert_eq!(again, salt);
    assert_eq!(validator.metrics.audits_computed.load(Relaxed), 0);
    until_revealed(&escrow, job).await;
    validator.drain().await;
}

#[tokio::test]
async fn lost_answers_neither_lose_nor_double_a_vote() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.draw_for("answers are lost");
    escrow.fail("audits", &[Fault::Lost, Fault::Lost]);
    escrow.fail("audit_task", &[Fault::Lost]);
    escrow.fail("commit_vote", &[Fault::AnswerLost]);
    escrow.fail(
        "reveal_vote",
        &[Fault::Refused(code::BUSY), Fault::AnswerLost],
    );
    let validator = disk.start(&escrow).await;
    until_committed(&escrow, job).await;
    until_revealed(&escrow, job).await;
    escrow.change_audit(job, |audit| audit.over = true);
    let metrics = validator.metrics.clone();
    escrow
        .until("it is known as revealed", |_| {
            metrics.votes_revealed.load(Relaxed) == 1
        })
        .await;
    assert_eq!(validator.counts().2, 0);
    assert_eq!(validator.journal.vote_totals().expect("reads").committed, 1);
    assert_eq!(validator.drain().await, 0);
}

#[tokio::test]
async fn tasks_that_cannot_be_done_are_counted_and_the_rest_goes_on() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let mut other_files = task("other files");
    other_files.model_root[0] ^= 1;
    let mut unknown = task("of a kind of tomorrow");
    unknown.input = None;
    let mut other_model = task("another model");
    other_model.model.version = Some(2);
    let mut outside = task("a probe that is not there");
    outside.probes[0].position = 1_000;
    let bad = [other_files, unknown, other_model, outside].map(|task| escrow.draw_for_task(task));
    let fine = escrow.draw_for("fine");
    let validator = disk.start(&escrow).await;
    until_committed(&escrow, fine).await;
    until_revealed(&escrow, fine).await;
    let metrics = validator.metrics.clone();
    escrow
        .until("they are given up", |_| {
            metrics.votes_missed.load(Relaxed) == 4
        })
        .await;
    assert_eq!(metrics.audits_failed.load(Relaxed), 4);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(validator.counts(), (1, 1, 4), "each is counted once");
    for job in bad {
        assert!(escrow.audit_now(job).commitment.is_none());
        escrow.change_audit(job, |audit| audit.over = true);
    }
    assert_eq!(validator.drain().await, 0);
}

#[tokio::test]
async fn a_window_that_passes_is_a_vote_missed_whether_computed_or_not() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let not_computed = escrow.draw_for("not computed");
    escrow.fail("audit_task", &[Fault::Lost; 1000]);
    let validator = disk.start(&escrow).await;
    escrow
        .until("it was tried", |e| e.calls("audit_task") > 1)
        .await;
    escrow.change_audit(not_computed, |audit| audit.over = true);
    let metrics = validator.metrics.clone();
    escrow
        .until("it is missed", |_| metrics.votes_missed.load(Relaxed) == 1)
        .await;
    escrow.heal("audit_task");

    // Committed to; the round ends while nothing arrives.
    let computed = escrow.draw_for("computed");
    until_committed(&escrow, computed).await;
    escrow.fail("reveal_vote", &[Fault::Lost; 1000]);
    escrow.change_audit(computed, |audit| audit.revealing = true);
    escrow
        .until("it was tried", |e| e.calls("reveal_vote") > 1)
        .await;
    escrow.end_without_us(computed);
    escrow
        .until("it is missed", |_| metrics.votes_missed.load(Relaxed) == 2)
        .await;
    assert!(validator.journal.sealed_votes().expect("reads").is_empty());
    assert_eq!(validator.drain().await, 0);
}

#[tokio::test]
async fn a_drain_waits_for_votes_to_be_revealed_and_a_stop_leaves_them_in_the_journal() {
    let (escrow, disk) = (Arc::new(FakeEscrow::default()), Disk::new());
    let job = escrow.draw_for("draining");
    let validator = disk.start(&escrow).await;
    until_committed(&escrow, job).await;
    validator.stages.send_replace(Stage::Draining);
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(!validator.work.is_finished());
    validator.stages.send_replace(Stage::Stopping);
    assert_eq!(validator.work.await.expect("ends"), 1);
    drop(validator.journal);
    let validator = disk.start(&escrow).await;
    validator.stages.send_replace(Stage::Draining);
    until_revealed(&escrow, job).await;
    assert_eq!(validator.work.await.expect("ends"), 0);
}
