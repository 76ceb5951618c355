//! `cargo xtask chaos`: the whole market under faults, by seed. Set-up, builds, then the program of `crates/devnet`
//! that does it.

use crate::demo::{self, Build};
use crate::paths::Paths;
use anyhow::Result;

/// What to run.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// How many seeds
    #[arg(long, default_value_t = 50)]
    pub seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    pub first: u64,
    /// Run this one alone, and tell each call and fault
    #[arg(long, conflicts_with_all = ["seeds", "first", "kept"])]
    pub seed: Option<u64>,
    /// Before them, the seeds that once failed
    #[arg(long)]
    pub kept: bool,
    /// Run each seed twice, and check that both runs are the same, message by message
    #[arg(long)]
    pub twice: bool,
    /// How many run at a time; as many as there are processors where absent
    #[arg(long)]
    pub parallel: Option<usize>,
}

impl Options {
    /// The program's arguments.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = match self.seed {
            Some(seed) => vec![format!("--seed={seed}")],
            None => vec![
                format!("--seeds={}", self.seeds),
                format!("--first={}", self.first),
            ],
        };
        arguments.extend(self.kept.then(|| "--kept".to_owned()));
        arguments.extend(self.twice.then(|| "--twice".to_owned()));
        arguments.extend(self.parallel.map(|number| format!("--parallel={number}")));
        arguments
    }
}

/// The program that does it.
pub const PROGRAM: &str = "emc-chaos";

/// Sets up, builds, and becomes the program.
///
/// # Errors
/// If set-up or a build fails; otherwise it does not return.
pub fn run(paths: &Paths, options: &Options) -> Result<()> {
    demo::run(paths, PROGRAM, Build::Dev, &options.arguments())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_passes_the_seed_alone_and_a_run_its_range() {
        let mut options = Options {
            seeds: 50,
            first: 1,
            seed: Some(17),
            kept: false,
            twice: true,
            parallel: None,
        };
        assert_eq!(options.arguments(), ["--seed=17", "--twice"]);
        options.seed = None;
        options.kept = true;
        options.twice = false;
        assert_eq!(options.arguments(), ["--seeds=50", "--first=1", "--kept"]);
    }
}
