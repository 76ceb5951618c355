//! The chat template that a model's file carries: Jinja, rendered the way Hugging Face's `apply_chat_template` does.
//!
//! A template is a program from a stranger. It is given no loader, no clock and no files, and runs with bounds on its
//! size, its steps, its recursion and its output. What remains possible is to waste memory by doubling a string within
//! those steps; the operator chooses the models that he serves.

use std::io::{self, Write};

use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, context};
use serde::{Deserialize, Serialize};

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

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles a template; `bos` and `eos` are the texts that it may name as `bos_token` and `eos_token`.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        if source.len() > MAX_SOURCE {
            return Err(Error::ChatTemplate(format!(
                "it has {} bytes, more than {MAX_SOURCE}",
                source.len()
            )));
        }
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_recursion_limit(MAX_RECURSION);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<Value, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(broken)?;
        Ok(Self {
            environment,
            bos: bos.to_owned(),
            eos: eos.to_owned(),
        })
    }

    /// The prompt for the next answer to a conversation.
    pub fn render(&self, messages: &[ChatMessage]) -> Result<String> {
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(BASE_STEPS + STEPS_PER_MESSAGE * messages.len() as u64));
        let template = environment.get_template(NAME).map_err(broken)?;
        let given: usize = messages
            .iter()
            .map(|message| message.role.len() + message.content.len())
            .sum();
        let mut output = Bounded {
            bytes: Vec::new(),
            limit: given * OUTPUT_FACTOR + OUTPUT_EXTRA,
        };
        let context = context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => self.bos,
            eos_token => self.eos,
            // Hugging Face passes these as None, and templates test them so.
            tools => Value::from(()),
            documents => Value::from(()),
        };
        template
            .render_captured_to(context, &mut output)
            .map_err(broken)?;
        String::from_utf8(output.bytes)
            .map_err(|_| Error::ChatTemplate("its output is not UTF-8".into()))
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
        ChatTemplate::new(source, "<s>", "</s>")?.render(&[
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
        assert!(ChatTemplate::new("{% for %}", "", "").is_err());
        assert!(ChatTemplate::new(&" ".repeat(MAX_SOURCE + 1), "", "").is_err());
    }

    #[test]
    fn templates_reach_neither_clock_nor_files() {
        assert!(render("{{ strftime_now('%Y') }}").is_err());
        assert!(render("{% include '/etc/passwd' %}").is_err());
    }
}
