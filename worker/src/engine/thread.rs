//! The thread on which an engine lives: one loop of commands and steps. Jobs join and leave between steps; those that
//! find no room wait in line. Answers of other machines are checked one at a time, between the steps.
//!
//! An engine that fails as a whole, by an error or a panic, fails the sequences that it had and is made anew.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use emc_protocol::audit::{AuditTask, Vote};
use emc_protocol::{JobInput, TextOutput};
use tokio::sync::oneshot;

use super::gauge::Gauge;
use super::{Engine, EngineError, Event, SequenceKey, Start};
use crate::answer::Answer;
use crate::backoff::Backoff;
use crate::metrics::Metrics;

/// Makes an engine; called on its thread, again after a failure.
pub type Factory = Box<dyn FnMut() -> Result<Box<dyn Engine>, EngineError> + Send>;

/// Waits between tries to make an engine anew.
const RESTART_FIRST: Duration = Duration::from_millis(500);
const RESTART_LONGEST: Duration = Duration::from_secs(60);

enum Command {
    Prompt(JobInput, oneshot::Sender<Result<Vec<u32>, EngineError>>),
    Start(SequenceKey, Box<Waiting>),
    Cancel(SequenceKey),
    Verify(Box<Check>),
}

/// An answer to be checked.
struct Check {
    task: AuditTask,
    done: oneshot::Sender<Result<Checked, EngineError>>,
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The vote.
    pub vote: Vote,
    /// How long it took, waiting in line not counted.
    pub took: Duration,
}

struct Waiting {
    start: Start,
    answer: Arc<Mutex<Answer>>,
    done: oneshot::Sender<Result<TextOutput, EngineError>>,
}

struct Sequence {
    answer: Arc<Mutex<Answer>>,
    done: oneshot::Sender<Result<TextOutput, EngineError>>,
}

/// A connection to an engine's thread. The thread ends when the last one is dropped.
#[derive(Clone)]
pub struct EngineHandle {
    commands: Sender<Command>,
    next: Arc<std::sync::atomic::AtomicU64>,
    gauge: Arc<Gauge>,
}

/// A sequence that is being generated; dropping it cancels it.
pub struct Generation {
    key: SequenceKey,
    answer: Arc<Mutex<Answer>>,
    commands: Sender<Command>,
    done: oneshot::Receiver<Result<TextOutput, EngineError>>,
}

impl EngineHandle {
    /// Starts the thread and makes the engine on it.
    ///
    /// # Errors
    /// What the factory says, where the engine cannot be made at all.
    pub async fn spawn(
        name: &str,
        mut factory: Factory,
        metrics: Arc<Metrics>,
    ) -> Result<Self, EngineError> {
        let (commands, received) = channel();
        let (made, ready) = oneshot::channel();
        let gauge = Arc::new(Gauge::default());
        let shown = gauge.clone();
        let counted = metrics.clone();
        std::thread::Builder::new()
            .name(format!("engine {name}"))
            .spawn(move || match guarded(&mut factory) {
                Ok(engine) => {
                    shown.tell(engine.figures(), 0);
                    // Nobody waits any more if the worker is being stopped.
                    if made.send(Ok(())).is_ok() {
                        EngineThread::new(engine, factory, received, counted, shown).run();
                    }
                }
                Err(error) => {
                    let _ = made.send(Err(error));
                }
            })
            .map_err(|error| EngineError::Broken(format!("no thread for it: {error}")))?;
        ready.await.unwrap_or_else(|_| Err(ended()))?;
        metrics.show_engine(name, gauge.clone());
        Ok(Self {
            commands,
            next: Arc::default(),
            gauge,
        })
    }

    /// How the engine does.
    pub fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    /// The tokens of an input.
    ///
    /// # Errors
    /// As [`Engine::prompt`].
    pub async fn prompt(&self, input: JobInput) -> Result<Vec<u32>, EngineError> {
        let (answer, answered) = oneshot::channel();
        // Where the thread is gone, the sender of the answer goes with the command.
        let _ = self.commands.send(Command::Prompt(input, answer));
        answered.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Checks an answer that another machine made, once its turn has come.
    ///
    /// # Errors
    /// As [`Engine::prompt`] and [`Engine::verify`].
    pub async fn verify(&self, task: AuditTask) -> Result<Checked, EngineError> {
        let (done, checked) = oneshot::channel();
        let check = Box::new(Check { task, done });
        let _ = self.commands.send(Command::Verify(check));
        checked.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Begins a sequence, or puts it in line.
    pub fn start(&self, start: Start) -> Generation {
        let key = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let answer = Arc::new(Mutex::new(Answer::new(&start.parameters.stop)));
        let (done, finished) = oneshot::channel();
        let waiting = Waiting {
            start,
            answer: answer.clone(),
            done,
        };
        let _ = self.commands.send(Command::Start(key, Box::new(waiting)));
        Generation {
            key,
            answer,
            commands: self.commands.clone(),
            done: finished,
        }
    }
}

impl Generation {
    /// The answer so far.
    pub fn so_far(&self) -> Answer {
        lock(&self.answer).clone()
    }

    /// Waits for the end. May be called again after it was interrupted.
    ///
    /// # Errors
    /// Where the engine failed.
    pub async fn finished(&mut self) -> Result<TextOutput, EngineError> {
        (&mut self.done).await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Cancel(self.key));
    }
}

fn lock(answer: &Mutex<Answer>) -> MutexGuard<'_, Answer> {
    answer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is said where the thread is gone.
pub(super) fn ended() -> EngineError {
    EngineError::Broken("its thread ended".into())
}

/// Runs what may panic (libtorch's bindings do) and turns a panic into an error.
pub(super) fn unpanicked<T>(
    work: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(EngineError::Broken(what.unwrap_or("a panic").to_owned()))
    })
}

fn guarded(factory: &mut Factory) -> Result<Box<dyn Engine>, EngineError> {
    unpanicked(factory)
}

struct EngineThread {
    /// `None` while it is being made anew.
    engine: Option<Box<dyn Engine>>,
    factory: Factory,
    commands: Receiver<Command>,
    metrics: Arc<Metrics>,
    running: BTreeMap<SequenceKey, Sequence>,
    waiting: VecDeque<(SequenceKey, Box<Waiting>)>,
    checks: VecDeque<Box<Check>>,
    backoff: Backoff,
    gauge: Arc<Gauge>,
}

impl EngineThread {
    fn new(
        engine: Box<dyn Engine>,
        factory: Factory,
        commands: Receiver<Command>,
        metrics: Arc<Metrics>,
        gauge: Arc<Gauge>,
    ) -> Self {
        Self {
            engine: Some(engine),
            factory,
            commands,
            metrics,
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            checks: VecDeque::new(),
            backoff: Backoff::new(RESTART_FIRST, RESTART_LONGEST),
            gauge,
        }
    }

    /// Until no handle is left.
    fn run(mut self) {
        while self.take_commands() {
            if self.engine.is_none() {
                self.restart();
                continue;
            }
            self.admit();
            if !self.running.is_empty() {
                self.step();
            }
            self.check_one();
            self.tell();
        }
    }

    /// Tells how it does, after every round.
    fn tell(&self) {
        if let Some(engine) = &self.engine {
            let waiting = self.waiting.len() + self.checks.len();
            self.gauge.tell(engine.figures(), waiting);
        }
    }

    /// Takes what has come, waiting for something if there is nothing else to do. False when all handles are gone.
    fn take_commands(&mut self) -> bool {
        let idle = self.running.is_empty() && self.waiting.is_empty() && self.checks.is_empty();
        if self.engine.is_some() && idle {
            match self.commands.recv() {
                Ok(command) => self.obey(command),
                Err(_) => return false,
            }
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => return true,
                // What still runs has nobody to tell.
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Prompt(input, answer) => {
                let tokens = match &mut self.engine {
                    // Text only: a panic over a strange prompt is that job's alone, the others go on.
                    Some(engine) => {
                        unpanicked(|| engine.prompt(&input)).map_err(|error| match error {
                            EngineError::Broken(why) => EngineError::Unsuitable(why),
                            other => other,
                        })
                    }
                    None => Err(EngineError::Broken("it is being started again".into())),
                };
                let _ = answer.send(tokens);
            }
            Command::Start(key, waiting) => self.waiting.push_back((key, waiting)),
            Command::Verify(check) => self.checks.push_back(check),
            Command::Cancel(key) => {
                self.waiting.retain(|(waiting, _)| *waiting != key);
                if self.running.remove(&key).is_some() {
                    let _ = self.with_engine(|engine| {
                        engine.cancel(key);
                        Ok(())
                    });
                }
            }
        }
    }

    fn admit(&mut self) {
        while let Some((key, waiting)) = self.waiting.pop_front() {
            match self.with_engine(|engine| engine.start(key, &waiting.start)) {
                Ok(()) => {
                    let Waiting { answer, done, .. } = *waiting;
                    self.running.insert(key, Sequence { answer, done });
                }
                // With nothing running no room will be made: then it never fits.
                Err(EngineError::Busy(_)) if !self.running.is_empty() => {
                    self.waiting.push_front((key, waiting));
                    return;
                }
                Err(error) => {
                    let _ = waiting.done.send(Err(error));
                    if self.engine.is_none() {
                        return;
                    }
                }
            }
        }
    }

    fn step(&mut self) {
        let Ok(events) = self.with_engine(|engine| engine.step()) else {
            return;
        };
        self.backoff.reset();
        let mut tokens = 0;
        for (key, event) in events {
            // It may have ended earlier in this very list, by a stop string.
            let Some(sequence) = self.running.get(&key) else {
                continue;
            };
            let end = match event {
                Event::Token { id, text } => {
                    tokens += 1;
                    if !lock(&sequence.answer).push(id, &text) {
                        continue;
                    }
                    let _ = self.with_engine(|engine| {
                        engine.cancel(key);
                        Ok(())
                    });
                    Ok(emc_protocol::FinishReason::StopString)
                }
                Event::Finished(reason) => Ok(reason),
                Event::Failed(why) => Err(EngineError::Unsuitable(why)),
            };
            if let Some(sequence) = self.running.remove(&key) {
                let output = end.map(|reason| lock(&sequence.answer).clone().output(reason, ""));
                let _ = sequence.done.send(output);
            }
        }
        self.metrics.generated(tokens);
    }

    /// Checks the answer that has waited longest. A panic over a strange one is that check's alone: it has a cache of
    /// its own, and what runs goes on.
    fn check_one(&mut self) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        let Some(Check { task, done }) = self.checks.pop_front().map(|check| *check) else {
            return;
        };
        if done.is_closed() {
            return;
        }
        let begin = Instant::now();
        let vote = unpanicked(|| {
            let input = task.input.as_ref().ok_or_else(|| {
                let why = "this kind of job is not known here; the node's software is older";
                EngineError::Unsuitable(why.into())
            })?;
            let prompt = engine.prompt(input)?;
            engine.verify(&task, &prompt)
        });
        let took = begin.elapsed();
        let _ = done.send(vote.map(|vote| Checked { vote, took }));
    }

    /// Uses the engine. If that breaks it, everything that it ran fails.
    fn with_engine<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Engine) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let Some(engine) = &mut self.engine else {
            return Err(EngineError::Broken("it is being started again".into()));
        };
        let result = unpanicked(|| work(engine.as_mut()));
        if let Err(EngineError::Broken(why)) = &result {
            tracing::error!(%why, "the engine failed and is started again");
            self.metrics.engine_failed();
            self.gauge.failed();
            for (_, sequence) in std::mem::take(&mut self.running) {
                let _ = sequence.done.send(Err(EngineError::Broken(why.clone())));
            }
            // Dropping a broken engine may panic as well.
            let engine = self.engine.take();
            let _ = catch_unwind(AssertUnwindSafe(|| drop(engine)));
        }
        result
    }

    fn restart(&mut self) {
        for (_, waiting) in self.waiting.drain(..) {
            let why = "it is being started again".into();
            let _ = waiting.done.send(Err(EngineError::Broken(why)));
        }
        let until = Instant::now() + self.backoff.next_wait();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.commands.recv_timeout(left) {
                Ok(Command::Start(_, waiting)) => {
                    let why = "it is being started again".into();
                    let _ = waiting.done.send(Err(EngineError::Broken(why)));
                }
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        match guarded(&mut self.factory) {
            Ok(engine) => {
                tracing::info!("the engine is back");
                self.gauge.tell(engine.figures(), 0);
                self.engine = Some(engine);
            }
            Err(error) => tracing::error!(%error, "the engine cannot be started"),
        }
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
