//! `emc-infer chat`: a conversation on the terminal. What was said before is not computed again.

use std::io::{BufRead, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use clap::Args;
use emc_inference::{ChatInput, ChatMessage, Engine, EngineOptions, Event};

use crate::options::{ModelOptions, SamplingOptions};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
    /// Said to the model before everything else.
    #[arg(long)]
    system: Option<String>,
    #[command(flatten)]
    sampling: SamplingOptions,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let model = arguments.model.load()?;
    ensure!(
        model.text().has_template(),
        "the model has no chat template: use `emc-infer generate --raw` to complete texts"
    );
    let info = model.info();
    let options = EngineOptions {
        max_sequences: 1,
        cache_bytes: info.cache_bytes_per_token * (info.context as u64 + 64),
        ..EngineOptions::default()
    };
    let mut engine = Engine::new(model, options)?;
    let params = arguments.sampling.params(engine.model().defaults())?;
    let begin: Vec<ChatMessage> = arguments
        .system
        .iter()
        .map(|system| ChatMessage::new("system", system))
        .collect();
    let mut messages = begin.clone();
    let is_terminal = std::io::stdin().is_terminal();
    if is_terminal {
        eprintln!("/reset begins anew, /exit ends (or Ctrl-D).");
    }
    let (stdin, mut stdout) = (std::io::stdin(), std::io::stdout());
    loop {
        if is_terminal {
            write!(stdout, "> ")?;
            stdout.flush()?;
        }
        let mut line = String::new();
        if stdin.lock().read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim() {
            "" => continue,
            "/exit" => return Ok(()),
            "/reset" => {
                messages = begin.clone();
                continue;
            }
            said => messages.push(ChatMessage::new("user", said)),
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let input = ChatInput {
            now: i64::try_from(now.as_secs()).ok(),
            ..ChatInput::from(messages.as_slice())
        };
        let text = engine.model().text();
        let prompt = text.encode(&text.render_input(&input)?)?;
        if let Err(error) = engine.start(prompt, params.clone()) {
            eprintln!("error: {error}");
            messages.pop();
            continue;
        }
        let mut answer = String::new();
        while engine.in_flight() > 0 {
            for event in engine.step() {
                match event {
                    Event::Token { text, .. } => {
                        write!(stdout, "{text}")?;
                        stdout.flush()?;
                        answer += &text;
                    }
                    Event::Failed { error, .. } => return Err(error.into()),
                    _ => {}
                }
            }
        }
        writeln!(stdout)?;
        messages.push(ChatMessage::new("assistant", answer));
    }
}
