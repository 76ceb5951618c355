//! The chat template that a model's file carries: Jinja, rendered the way Hugging Face's `apply_chat_template` does.
//!
//! A template is a program from a stranger. It is given no loader, no clock and no files, and runs with bounds on its
//! size, its steps, its recursion and its output. What remains possible is to waste memory by doubling a string within
//! those steps; the operator chooses the models that he serves.

mod clock;
mod filters;
mod jinja;
mod methods;
#[cfg(test)]
mod parity;
mod python;

use std::collections::BTreeMap;
use std::io::{self, Write};

use minijinja::value::Value;
use minijinja::{Environment, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::error::{Error, Result};

/// Longest template source, in bytes. Real ones have 200 to 20,000.
const MAX_SOURCE: usize = 256 * 1024;
/// Template instructions per rendering, beside those for the messages. A simple template takes some 30 a message.
const BASE_STEPS: u64 = 100_000;
/// Further instructions for each message.
const STEPS_PER_MESSAGE: u64 = 2_000;
/// Nesting of macros and includes.
const MAX_RECURSION: usize = 64;
/// The output may exceed the messages' own bytes by this factor and this much.
const OUTPUT_FACTOR: usize = 4;
const OUTPUT_EXTRA: usize = 256 * 1024;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user` or `assistant`, or what else the model's template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl ChatMessage {
    /// A message of `role` that says `content`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// What a template renders.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatInput {
    /// The conversation: each message with its `role`, its `content`, and what else the template knows, such as
    /// `tool_calls`.
    pub messages: Vec<Map<String, Json>>,
    /// Functions that the model may call, as JSON schemas.
    pub tools: Option<Vec<Json>>,
    /// Texts that the model may use.
    pub documents: Option<Vec<Json>>,
    /// Further names for the template, such as `enable_thinking`.
    pub variables: Map<String, Json>,
    /// Whether the model's next message is to be begun.
    pub add_generation_prompt: bool,
    /// The time that a template sees, in seconds since 1970. It is given, not looked up, so that everybody who renders the
    /// conversation gets the same prompt. Without it templates write the date that their authors chose for that.
    pub now: Option<i64>,
}

impl From<&[ChatMessage]> for ChatInput {
    /// A conversation to be answered.
    fn from(messages: &[ChatMessage]) -> Self {
        let message = |message: &ChatMessage| {
            let entries = [("role", &message.role), ("content", &message.content)];
            let entries = entries.map(|(key, text)| (key.to_owned(), Json::String(text.clone())));
            entries.into_iter().collect()
        };
        Self {
            messages: messages.iter().map(message).collect(),
            add_generation_prompt: true,
            ..Self::default()
        }
    }
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: Option<String>,
    eos: Option<String>,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles a template; `bos` and `eos` are the texts that it may name as `bos_token` and `eos_token`.
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Self> {
        if source.len() > MAX_SOURCE {
            return Err(Error::ChatTemplate(format!(
                "it has {} bytes, more than {MAX_SOURCE}",
                source.len()
            )));
        }
        let mut environment = jinja::environment();
        environment.set_recursion_limit(MAX_RECURSION);
        environment
            .add_template_owned(NAME, jinja::without_generation_tags(source))
            .map_err(broken)?;
        Ok(Self {
            environment,
            bos: bos.map(str::to_owned),
            eos: eos.map(str::to_owned),
        })
    }

    /// The prompt for the next answer to a conversation, by a template that is told no time.
    pub fn render(&self, messages: &[ChatMessage]) -> Result<String> {
        self.render_input(&messages.into())
    }

    /// The prompt that the template makes of this.
    pub fn render_input(&self, input: &ChatInput) -> Result<String> {
        let mut environment = self.environment.clone();
        let count = input.messages.len() as u64;
        environment.set_fuel(Some(BASE_STEPS + STEPS_PER_MESSAGE * count));
        if let Some(now) = input.now {
            environment.add_function("strftime_now", move |form: String| {
                clock::format(now, &form).ok_or_else(|| {
                    let what = format!("strftime_now does not know {form:?}");
                    minijinja::Error::new(ErrorKind::InvalidOperation, what)
                })
            });
        }
        let template = environment.get_template(NAME).map_err(broken)?;
        let mut context: BTreeMap<String, Value> = BTreeMap::new();
        for (name, value) in &input.variables {
            context.insert(name.clone(), Value::from_serialize(value));
        }
        let messages: Vec<_> = input.messages.iter().map(cleaned).collect();
        // Hugging Face passes what is absent as None, and templates test it so.
        let given = [
            ("messages", Value::from_serialize(&messages)),
            ("tools", Value::from_serialize(&input.tools)),
            ("documents", Value::from_serialize(&input.documents)),
            (
                "add_generation_prompt",
                Value::from(input.add_generation_prompt),
            ),
        ];
        context.extend(given.map(|(name, value)| (name.to_owned(), value)));
        for (name, token) in [("bos_token", &self.bos), ("eos_token", &self.eos)] {
            context.extend(
                token
                    .iter()
                    .map(|token| (name.to_owned(), Value::from(token))),
            );
        }
        let length = |values: &[Map<String, Json>]| -> usize { values.iter().map(length_of).sum() };
        let lists = [&input.tools, &input.documents]
            .into_iter()
            .flatten()
            .flatten();
        let given = length(&input.messages)
            + lists.map(json_length).sum::<usize>()
            + length_of(&input.variables);
        let mut output = Bounded {
            bytes: Vec::new(),
            limit: given * OUTPUT_FACTOR + OUTPUT_EXTRA,
        };
        template
            .render_captured_to(context, &mut output)
            .map_err(broken)?;
        String::from_utf8(output.bytes)
            .map_err(|_| Error::ChatTemplate("its output is not UTF-8".into()))
    }
}

/// A message without what is null in it, as transformers hands it to templates, which then test whether it is there.
fn cleaned(message: &Map<String, Json>) -> Map<String, Json> {
    let entries = message.iter().filter(|(_, value)| !value.is_null());
    let mut cleaned: Map<String, Json> = entries
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    // Three names for what a model thought before it answered.
    let names = ["reasoning_content", "thinking", "reasoning"];
    let thought = names.iter().find_map(|name| cleaned.get(*name).cloned());
    if let Some(thought) = thought {
        for name in ["reasoning_content", "thinking"] {
            cleaned.entry(name).or_insert_with(|| thought.clone());
        }
    }
    cleaned
}

fn length_of(entries: &Map<String, Json>) -> usize {
    let each = entries.iter();
    each.map(|(key, value)| key.len() + json_length(value))
        .sum()
}

/// About the bytes of a value's text.
fn json_length(value: &Json) -> usize {
    match value {
        Json::String(text) => text.len() + 8,
        Json::Array(items) => items.iter().map(json_length).sum(),
        Json::Object(entries) => length_of(entries),
        _ => 16,
    }
}

fn broken(error: minijinja::Error) -> Error {
    Error::ChatTemplate(error.to_string())
}

/// Takes output up to a limit, then fails, which ends the rendering.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(io::Error::other("the output is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String> {
        ChatTemplate::new(source, Some("<s>"), Some("</s>"))?.render(&[
            ChatMessage::new("user", " hi "),
            ChatMessage::new("assistant", "ho"),
        ])
    }

    #[test]
    fn templates_see_messages_and_special_tokens() {
        let text = render(
            "{{ bos_token }}{% for m in messages %}\n  {% if loop.first %}[{{ m.role }}]{% endif %}\n{{ m['content'].strip() }}{{ eos_token }}{% endfor %}",
        );
        assert_eq!(text.expect("renders"), "<s>[user]hi</s>ho</s>");
    }

    #[test]
    fn a_template_s_own_complaint_reaches_the_user() {
        let error = render("{{ raise_exception('roles must alternate') }}").expect_err("raises");
        assert!(
            error.to_string().contains("roles must alternate"),
            "{error}"
        );
    }

    #[test]
    fn a_template_without_end_runs_out_of_steps() {
        let source = "{% for a in range(10000) %}{% for b in range(10000) %}{% set c = a + b %}{% endfor %}{% endfor %}";
        assert!(render(source).is_err());
    }

    #[test]
    fn a_template_that_pours_out_text_is_stopped() {
        assert!(render("{% for a in range(9000) %}{{ 'x' * 1000 }}{% endfor %}").is_err());
    }

    #[test]
    fn endless_recursion_is_stopped() {
        assert!(render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").is_err());
    }

    #[test]
    fn a_broken_or_oversized_template_is_refused() {
        assert!(ChatTemplate::new("{% for %}", None, None).is_err());
        assert!(ChatTemplate::new(&" ".repeat(MAX_SOURCE + 1), None, None).is_err());
    }

    #[test]
    fn templates_reach_neither_clock_nor_files() {
        assert!(render("{{ strftime_now('%Y') }}").is_err());
        assert_eq!(
            render("{{ strftime_now is defined }}").expect("renders"),
            "False"
        );
        assert!(render("{% include '/etc/passwd' %}").is_err());
    }
}
