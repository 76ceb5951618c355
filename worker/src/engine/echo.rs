//! The echo engine: answers with the words of the last message, byte by byte. It needs no model and no libtorch.
//!
//! For trying out a set-up, a network or a client, not for selling: it is deterministic, ignores temperature and seed,
//! and stops at `max_tokens` like any other. Each byte of the answer is a token (ids 0 to 255), the end token is
//! [`END`]. A prompt counts one token for each message and each four bytes begun.
//!
//! It has a place in the catalogue like any model: its only file is [`DESCRIPTION`], which names its rules, so that its
//! root is the same everywhere.

mod check;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use emc_inference::EngineFigures;
use emc_protocol::audit::{AuditTask, Vote};
use emc_protocol::model::{ModelFile, PublishModel, Task, model_root};
use emc_protocol::{FinishReason, JobInput};
use sha2::{Digest, Sha256};

use super::{Engine, EngineError, Event, SequenceKey, Start};

/// The id under which it is usually published.
pub const MODEL_ID: &str = "echo";
/// The token that ends an answer.
pub const END: u32 = 256;
/// Longest prompt and output together, in tokens.
pub const CONTEXT: u32 = 262_144;
/// The name of its only file.
pub const FILE: &str = "echo.txt";
/// The content of its only file.
pub const DESCRIPTION: &str = "emc echo engine 1\n\
answer: the words of the last user message (of the prompt, for a completion), joined by single spaces\n\
tokens: one for each byte of the answer, ids 0 to 255; end token 256\n\
prompt tokens: one for each message and one for each four bytes begun of its content\n";

/// Its files, for the catalogue.
pub fn files() -> Vec<ModelFile> {
    vec![ModelFile {
        path: FILE.into(),
        length: DESCRIPTION.len() as u64,
        sha256: Sha256::digest(DESCRIPTION).to_vec(),
    }]
}

/// The root of its files.
pub fn root() -> [u8; 32] {
    model_root(&files())
}

/// What to send to the registry's `publish_model`.
pub fn publish_model() -> PublishModel {
    PublishModel {
        id: MODEL_ID.into(),
        task: Task::Chat,
        name: "Echo".into(),
        description:
            "Answers with the words of the last message. For tests of networks and clients.".into(),
        files: files(),
        licence: "Apache-2.0".into(),
        sources: vec![],
        context: CONTEXT,
        memory: 0,
        terms: None,
    }
}

/// Answers with what it is asked.
#[derive(Debug)]
pub struct Echo {
    delay: Duration,
    running: BTreeMap<SequenceKey, Sequence>,
    figures: EngineFigures,
}

#[derive(Debug)]
struct Sequence {
    /// The tokens still to come, last first.
    left: Vec<u32>,
    /// How many more may come.
    room: u32,
    /// Bytes of a character that is not complete.
    pending: Vec<u8>,
    /// Not before this.
    next: Instant,
}

impl Echo {
    /// An engine that makes one token of every sequence each `delay`.
    pub fn new(delay: Duration) -> Self {
        Self {
            delay,
            running: BTreeMap::new(),
            figures: EngineFigures::default(),
        }
    }
}

/// The words that answer an input.
fn answer(input: &JobInput) -> String {
    let said = match input {
        JobInput::Completion { prompt } => prompt.as_str(),
        JobInput::Chat { messages } => messages
            .iter()
            .rfind(|message| message.role == emc_protocol::job::ChatRole::User)
            .map_or("", |message| message.content.as_str()),
        JobInput::Image(input) => input.prompt.as_str(),
    };
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Sequence {
    fn step(&mut self) -> (Event, Option<FinishReason>) {
        let id = self.left.pop().unwrap_or(END);
        self.room = self.room.saturating_sub(1);
        let end = match id {
            END => Some(FinishReason::Stop),
            _ if self.room == 0 => Some(FinishReason::Length),
            _ => None,
        };
        let text = text_of(&mut self.pending, id, end.is_some());
        (Event::Token { id, text }, end)
    }
}

/// The text that has become certain with a token.
fn text_of(pending: &mut Vec<u8>, id: u32, is_last: bool) -> String {
    if let Ok(byte) = u8::try_from(id) {
        pending.push(byte);
    }
    match std::str::from_utf8(pending) {
        Ok(whole) => {
            let text = whole.to_owned();
            pending.clear();
            text
        }
        // Cut in the middle of a character, which its detokenisation shows.
        Err(_) if is_last => char::REPLACEMENT_CHARACTER.to_string(),
        Err(_) => String::new(),
    }
}

impl Engine for Echo {
    fn prompt(&mut self, input: &JobInput) -> Result<Vec<u32>, EngineError> {
        let contents: Vec<&str> = match input {
            JobInput::Completion { prompt } => vec![prompt],
            JobInput::Chat { messages } => messages.iter().map(|m| m.content.as_str()).collect(),
            JobInput::Image(_) => {
                return Err(EngineError::Unsuitable(
                    "this model makes no pictures".into(),
                ));
            }
        };
        let mut tokens = vec![];
        for content in contents {
            tokens.push(END);
            for bytes in content.as_bytes().chunks(4) {
                let mut word = [0; 4];
                word[..bytes.len()].copy_from_slice(bytes);
                tokens.push(u32::from_le_bytes(word));
            }
        }
        Ok(tokens)
    }

    fn start(&mut self, key: SequenceKey, start: &Start) -> Result<(), EngineError> {
        let mut left = vec![END];
        left.extend(answer(&start.input).bytes().rev().map(u32::from));
        let sequence = Sequence {
            left,
            room: start.parameters.max_tokens,
            pending: vec![],
            next: Instant::now() + self.delay,
        };
        self.running.insert(key, sequence);
        Ok(())
    }

    fn step(&mut self) -> Result<Vec<(SequenceKey, Event)>, EngineError> {
        let begin = Instant::now();
        if let Some(first) = self.running.values().map(|s| s.next).min() {
            // Short naps only: others may join or leave meanwhile.
            std::thread::sleep(
                first
                    .saturating_duration_since(begin)
                    .min(Duration::from_millis(20)),
            );
        }
        let now = Instant::now();
        let mut events = vec![];
        let mut ended = vec![];
        for (&key, sequence) in self.running.iter_mut().filter(|(_, s)| s.next <= now) {
            sequence.next = now + self.delay;
            let (event, end) = sequence.step();
            events.push((key, event));
            ended.extend(end.map(|reason| (key, reason)));
        }
        self.figures.batch = events.len();
        self.figures.steps += 1;
        self.figures.chosen_tokens += events.len() as u64;
        self.figures.decoded_tokens += events.len() as u64;
        self.figures.decode_time += begin.elapsed();
        for (key, reason) in ended {
            self.running.remove(&key);
            events.push((key, Event::Finished(reason)));
        }
        Ok(events)
    }

    fn verify(&mut self, task: &AuditTask, prompt: &[u32]) -> Result<Vote, EngineError> {
        check::check(task, prompt.len())
    }

    fn cancel(&mut self, key: SequenceKey) {
        self.running.remove(&key);
    }

    fn figures(&self) -> EngineFigures {
        let mut figures = self.figures;
        figures.in_flight = self.running.len();
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;
    use emc_protocol::job::{ChatMessage, ChatRole};
    use emc_protocol::{Parameters, TextOutput};

    fn run(input: JobInput, max_tokens: u32) -> TextOutput {
        let mut echo = Echo::new(Duration::ZERO);
        let prompt = echo.prompt(&input).expect("any input will do");
        let parameters = Parameters::greedy(max_tokens);
        let start = Start {
            input,
            prompt,
            parameters,
            seed: 1,
        };
        echo.start(3, &start).expect("starts");
        let mut answer = Answer::new(&[]);
        loop {
            for (key, event) in echo.step().expect("steps") {
                assert_eq!(key, 3);
                match event {
                    Event::Token { id, text } => {
                        answer.push(id, &text);
                    }
                    Event::Finished(reason) => return answer.output(reason, ""),
                    Event::Failed(reason) => panic!("{reason}"),
                }
            }
        }
    }

    fn chat(text: &str) -> JobInput {
        let message = |role, content: &str| ChatMessage {
            role,
            content: content.into(),
        };
        JobInput::Chat {
            messages: vec![
                message(ChatRole::System, "be brief"),
                message(ChatRole::User, text),
                message(ChatRole::Assistant, "…"),
            ],
        }
    }

    #[test]
    fn it_says_the_words_of_the_last_user_message() {
        let output = run(chat("  hällo\n world "), 100);
        assert_eq!(output.text, "hällo world");
        assert_eq!(output.finish_reason, FinishReason::Stop);
        assert_eq!(output.ids.len(), 13);
        assert_eq!(output.ids.last(), Some(&END));
        assert_eq!(output, run(chat("  hällo\n world "), 100));
    }

    #[test]
    fn it_stops_at_the_most_tokens_even_inside_a_character() {
        let output = run(
            JobInput::Completion {
                prompt: "aé".into(),
            },
            2,
        );
        assert_eq!(output.ids, [97, 195]);
        assert_eq!(output.text, "a\u{FFFD}");
        assert_eq!(output.finish_reason, FinishReason::Length);
    }

    #[test]
    fn nothing_to_say_is_an_end_token() {
        let output = run(JobInput::Chat { messages: vec![] }, 5);
        assert_eq!((output.ids, output.text), (vec![END], String::new()));
    }

    #[test]
    fn a_prompt_counts_messages_and_words_of_four_bytes() {
        let tokens = Echo::new(Duration::ZERO)
            .prompt(&chat("12345"))
            .expect("counts");
        assert_eq!(tokens.len(), 3 + 2 + 2 + 1);
    }

    /// The root is what catalogues hold: a change of the description would make every published echo model unknown.
    #[test]
    fn its_root_never_changes() {
        assert_eq!(hex::encode(root()), ROOT);
    }

    const ROOT: &str = "597403c69f995c06402b083da82f835d9791006ddea35cda84780cb89503e387";
}
