//! The engine's thread, with engines that echo, are full, or break.

use super::*;
use crate::engine::echo::Echo;
use crate::fake_escrow::audits::task as echo_task;
use emc_inference::EngineFigures;
use emc_protocol::{FinishReason, Parameters};
use std::sync::atomic::{AtomicU32, Ordering};

fn start(text: &str, stop: &[&str]) -> Start {
    Start {
        input: JobInput::Completion {
            prompt: text.into(),
        },
        prompt: vec![1],
        parameters: Parameters {
            stop: stop.iter().map(|s| (*s).to_owned()).collect(),
            ..Parameters::greedy(100)
        },
        seed: 0,
    }
}

async fn spawn(factory: Factory) -> EngineHandle {
    EngineHandle::spawn("test", factory, Arc::default())
        .await
        .expect("starts")
}

fn echo() -> Factory {
    Box::new(|| Ok(Box::new(Echo::new(Duration::ZERO))))
}

#[tokio::test]
async fn sequences_run_side_by_side_and_end_with_their_own_answer() {
    let engine = spawn(echo()).await;
    let mut first = engine.start(start("one", &[]));
    let mut second = engine.start(start("two", &[]));
    assert_eq!(second.finished().await.expect("answers").text, "two");
    assert_eq!(first.finished().await.expect("answers").text, "one");
}

#[tokio::test]
async fn a_stop_string_ends_the_sequence_at_the_token_that_completes_it() {
    let engine = spawn(echo()).await;
    let output = engine
        .start(start("say STOP now", &["STOP"]))
        .finished()
        .await
        .expect("answers");
    assert_eq!(output.text, "say ");
    assert_eq!(output.ids.len(), 8);
    assert_eq!(output.finish_reason, FinishReason::StopString);
}

#[tokio::test]
async fn what_is_made_can_be_seen_before_the_end_and_a_dropped_job_ends() {
    let slow: Factory = Box::new(|| Ok(Box::new(Echo::new(Duration::from_millis(2)))));
    let engine = spawn(slow).await;
    let generation = engine.start(start(&"word ".repeat(50), &[]));
    while generation.so_far().certain_text().len() < 4 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (answer, key) = (generation.answer.clone(), generation.key);
    drop(generation);
    engine
        .prompt(JobInput::Completion { prompt: "".into() })
        .await
        .expect("the cancel came before");
    let seen = lock(&answer).ids().len();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(lock(&answer).ids().len(), seen, "sequence {key} went on");
}

/// Takes one sequence at a time, and breaks when asked to say "error" or "panic".
struct Fragile {
    echo: Echo,
    key: Option<SequenceKey>,
    fate: String,
}

impl Engine for Fragile {
    fn prompt(&mut self, input: &JobInput) -> Result<Vec<u32>, EngineError> {
        self.echo.prompt(input)
    }

    fn start(&mut self, key: SequenceKey, start: &Start) -> Result<(), EngineError> {
        if self.key.is_some() {
            return Err(EngineError::Busy("one at a time".into()));
        }
        if let JobInput::Completion { prompt } = &start.input {
            self.fate = prompt.clone();
        }
        self.key = Some(key);
        self.echo.start(key, start)
    }

    fn step(&mut self) -> Result<Vec<(SequenceKey, Event)>, EngineError> {
        match self.fate.as_str() {
            "error" => return Err(EngineError::Broken("out of memory".into())),
            "panic" => panic!("a tensor of the wrong shape"),
            _ => {}
        }
        let events = self.echo.step()?;
        if events
            .iter()
            .any(|(_, event)| matches!(event, Event::Finished(_)))
        {
            self.key = None;
        }
        Ok(events)
    }

    fn verify(&mut self, task: &AuditTask, prompt: &[u32]) -> Result<Vote, EngineError> {
        match task.output.text.as_str() {
            "panic" => panic!("a prompt of the wrong shape"),
            _ => self.echo.verify(task, prompt),
        }
    }

    fn cancel(&mut self, key: SequenceKey) {
        self.echo.cancel(key);
        self.key = None;
    }

    fn figures(&self) -> EngineFigures {
        self.echo.figures()
    }
}

fn fragile(made: Arc<AtomicU32>) -> Factory {
    Box::new(move || {
        made.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Fragile {
            echo: Echo::new(Duration::ZERO),
            key: None,
            fate: String::new(),
        }))
    })
}

#[tokio::test]
async fn jobs_that_find_no_room_wait_in_line() {
    let engine = spawn(fragile(Arc::default())).await;
    let mut all: Vec<_> = ["a", "b", "c"]
        .map(|text| engine.start(start(text, &[])))
        .into();
    drop(all.remove(1));
    for (generation, text) in all.iter_mut().zip(["a", "c"]) {
        assert_eq!(generation.finished().await.expect("answers").text, text);
    }
}

#[tokio::test]
async fn a_broken_engine_fails_its_jobs_and_is_made_anew() {
    for fate in ["error", "panic"] {
        let made = Arc::new(AtomicU32::new(0));
        let engine = spawn(fragile(made.clone())).await;
        let error = engine
            .start(start(fate, &[]))
            .finished()
            .await
            .expect_err("fails");
        assert!(matches!(&error, EngineError::Broken(_)), "{error}");
        let text = loop {
            match engine.start(start("well", &[])).finished().await {
                Ok(output) => break output.text,
                Err(EngineError::Broken(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(text, "well");
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }
}

#[tokio::test]
async fn an_engine_that_cannot_be_made_says_why() {
    let factory: Factory = Box::new(|| Err(EngineError::Unsuitable("no such file".into())));
    let error = EngineHandle::spawn("test", factory, Arc::default())
        .await
        .err();
    assert_eq!(error, Some(EngineError::Unsuitable("no such file".into())));
    let factory: Factory = Box::new(|| panic!("at the disco"));
    let error = EngineHandle::spawn("test", factory, Arc::default())
        .await
        .err();
    assert_eq!(error, Some(EngineError::Broken("at the disco".into())));
}

#[tokio::test]
async fn answers_are_checked_between_the_steps_of_those_that_run() {
    let slow: Factory = Box::new(|| Ok(Box::new(Echo::new(Duration::from_millis(5)))));
    let engine = spawn(slow).await;
    let mut running = engine.start(start("an answer that takes a while", &[]));
    let checked = engine.verify(echo_task("checked")).await.expect("checks");
    assert!(checked.vote.text_right && checked.vote.largest_gap_milli == 0);
    assert!(
        running.so_far().ids().len() < 28,
        "it waited for the answer"
    );
    let text = running.finished().await.expect("answers").text;
    assert_eq!(text, "an answer that takes a while");
}

#[tokio::test]
async fn a_check_that_panics_or_cannot_be_done_disturbs_nothing() {
    let made = Arc::new(AtomicU32::new(0));
    let engine = spawn(fragile(made.clone())).await;
    let mut running = engine.start(start("goes on", &[]));
    let mut strange = echo_task("strange");
    strange.output.text = "panic".into();
    let error = engine.verify(strange).await.expect_err("fails");
    assert_eq!(
        error,
        EngineError::Broken("a prompt of the wrong shape".into())
    );
    let mut unknown = echo_task("unknown");
    unknown.input = None;
    let error = engine.verify(unknown).await.expect_err("fails");
    assert!(matches!(error, EngineError::Unsuitable(_)), "{error}");
    assert_eq!(running.finished().await.expect("answers").text, "goes on");
    assert_eq!(made.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn its_gauge_shows_who_runs_who_waits_and_how_fast() {
    let slow = Box::new(|| {
        let echo = Echo::new(Duration::from_millis(4));
        let (key, fate) = (None, String::new());
        Ok(Box::new(Fragile { echo, key, fate }) as Box<dyn Engine>)
    });
    let engine = spawn(slow).await;
    assert!(engine.gauge().is_ready());
    let mut first = engine.start(start(&"word ".repeat(10), &[]));
    let mut second = engine.start(start("two", &[]));
    let both = loop {
        let reading = engine.gauge().read();
        if reading.waiting == 1 && reading.figures.chosen_tokens > 2 {
            break reading;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert_eq!((both.figures.in_flight, both.figures.batch), (1, 1));
    let tokens = first.finished().await.expect("answers").ids.len()
        + second.finished().await.expect("answers").ids.len();
    // What was told last is told before the thread waits for the next command.
    let idle = loop {
        match engine.gauge().read() {
            reading if reading.figures.in_flight == 0 => break reading,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert_eq!(idle.figures.chosen_tokens, tokens as u64);
    assert_eq!((idle.waiting, idle.figures.batch), (0, 0));
    // A token each four milliseconds, and more on a machine that is busy.
    let rate = idle.decode_per_second;
    assert!((1.0..=250.0).contains(&rate), "{rate}");
}
