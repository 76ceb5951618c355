//! The `emc-infer` command: runs, checks and looks into models on this machine, without any network.

mod bench;
mod chat;
mod embed;
mod generate;
mod inspect;
mod logits;
mod npy;
mod options;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Runs, checks and looks into language models on this machine. A MODEL is a GGUF file, a folder with one in it, or a
/// Hugging Face folder with safetensors.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answers one prompt, or completes one text.
    Generate(generate::Arguments),
    /// Talks with a model on the terminal.
    Chat(chat::Arguments),
    /// Turns texts into embeddings.
    Embed(embed::Arguments),
    /// Checks an answer that `generate --json` gave, here or on another machine.
    Verify(verify::Arguments),
    /// Writes the logits after every token to a file.
    Logits(logits::Arguments),
    /// Says what a model is and what it needs.
    Inspect(inspect::Arguments),
    /// Measures how fast a model is here.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Chat(arguments) => chat::run(&arguments),
        Command::Embed(arguments) => embed::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Logits(arguments) => logits::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
