//! `cargo xtask calibrate`: set-up where it is needed, then the program of `worker/inference` that compares honest
//! machines with cheats: one for language models, one for models of pictures.

use crate::demo::Build;
use crate::example;
use crate::paths::Paths;
use crate::setup;
use anyhow::{Context, Result, ensure};
use std::os::unix::process::CommandExt;
use std::path::{PathBuf, absolute};
use std::process::Command;

/// What to calibrate, and how much of it.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A language model's GGUF file, or a folder with one in it; or a Stable Diffusion's folder or safetensors file. The
    /// language model of set-up unless given
    model: Option<PathBuf>,
    /// Prompts, one a line; a built-in list of 24 unless given
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// How many of the prompts to use; every second one is held out
    #[arg(long)]
    count: Option<usize>,
    /// Tokens of an answer, at most
    #[arg(long, default_value_t = 64)]
    tokens: u32,
    /// Steps of a picture [default: 20]
    #[arg(long)]
    steps: Option<u32>,
    /// How much a picture's prompt counts [default: 3]
    #[arg(long)]
    guidance: Option<f64>,
    /// Answers of other programs, as tools/parity/text/other_programs.py writes them; they are checked as well
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    answers: Option<PathBuf>,
    /// Write the answers of all into this file, and check none of them: tests/data/answers has such a file
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    record: Option<PathBuf>,
    /// Everything that was measured as JSON instead of the tables
    #[arg(long)]
    json: bool,
}

/// Becomes the program, built for speed.
///
/// # Errors
/// If set-up fails or cargo cannot be started; otherwise it does not return.
pub fn run(paths: &Paths, options: &Options) -> Result<()> {
    // Standard output belongs to the program, which may be asked for JSON: set-up only where it has something to do.
    if !paths.libtorch().exists() || (options.model.is_none() && !paths.model().exists()) {
        setup::run(paths, &setup::Options::default())?;
    }
    Err(command(paths, options)?.exec()).context("running cargo")
}

fn command(paths: &Paths, options: &Options) -> Result<Command> {
    let model = options.model.clone().unwrap_or_else(|| paths.model());
    let pictures = model.join("model_index.json").exists()
        || model
            .extension()
            .is_some_and(|ending| ending == "safetensors");
    let name = if pictures {
        "calibrate_pictures"
    } else {
        "calibrate"
    };
    let mut command = example::command(paths, name, Build::Release);
    command.arg(absolute(&model).context("the model's path is empty")?);
    match pictures {
        false => {
            ensure!(
                options.steps.is_none() && options.guidance.is_none(),
                "--steps and --guidance are for models of pictures"
            );
            command.arg(format!("--tokens={}", options.tokens));
        }
        true => {
            ensure!(options.record.is_none(), "--record is for language models");
            ensure!(
                options.answers.is_none(),
                "--answers is for language models"
            );
            command.args(options.steps.map(|steps| format!("--steps={steps}")));
            let guidance = options.guidance;
            command.args(guidance.map(|guidance| format!("--guidance={guidance}")));
        }
    }
    if let Some(prompts) = &options.prompts {
        let path = absolute(prompts).context("the path of the prompts is empty")?;
        command.arg("--prompts").arg(path);
    }
    if let Some(count) = options.count {
        command.arg(format!("--count={count}"));
    }
    if let Some(answers) = &options.answers {
        let path = absolute(answers).context("the path of the answers is empty")?;
        command.arg("--answers").arg(path);
    }
    if let Some(record) = &options.record {
        let path = absolute(record).context("the path of the record is empty")?;
        command.arg("--record").arg(path);
    }
    if options.json {
        command.arg("--json");
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn paths_are_those_of_who_types_the_command() {
        let paths = Paths::new("/clone".into(), "/cache".into());
        let options = Options {
            model: Some("a/model.gguf".into()),
            prompts: Some("p.txt".into()),
            count: Some(7),
            tokens: 32,
            steps: None,
            guidance: None,
            answers: None,
            record: None,
            json: true,
        };
        let command = command(&paths, &options).expect("there is a working directory");
        let given: Vec<_> = command
            .get_args()
            .skip_while(|arg| *arg != "--")
            .skip(1)
            .collect();
        let here = std::env::current_dir().expect("there is a working directory");
        assert_eq!(Path::new(given[0]), here.join("a/model.gguf"));
        assert_eq!(given[1], "--tokens=32");
        assert_eq!(Path::new(given[3]), here.join("p.txt"));
        assert_eq!(given[4..], ["--count=7", "--json"]);
        assert_eq!(command.get_current_dir(), Some(Path::new("/clone")));
    }

    #[test]
    fn pictures_have_a_program_of_their_own() {
        let paths = Paths::new("/clone".into(), "/cache".into());
        let options = Options {
            model: Some("a/model.safetensors".into()),
            prompts: None,
            count: None,
            tokens: 64,
            steps: Some(8),
            guidance: None,
            answers: None,
            record: None,
            json: false,
        };
        let given = command(&paths, &options).expect("there is a working directory");
        let given: Vec<_> = given.get_args().collect();
        assert!(given.contains(&"calibrate_pictures".as_ref()));
        assert_eq!(given.last(), Some(&"--steps=8".as_ref()));
        let text = Options {
            model: Some("a/model.gguf".into()),
            ..options
        };
        assert!(command(&paths, &text).is_err());
    }
}
