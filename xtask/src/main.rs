//! `cargo xtask ...`: the commands that people type in this repository.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use xtask::demo::Build;
use xtask::paths::Paths;
use xtask::pins::View;
use xtask::{calibrate, canisters, chaos, demo, example, mutants, setup, simulate, test};

/// The commands of this repository. Start with `cargo xtask setup`; the others run it by themselves.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Download and unpack what the builds need: libtorch, a model, the icp command, the Rust target for canisters
    Setup(Setup),
    /// Build the canisters to .emc/canisters/<name>.wasm and .wasm.gz
    Build,
    /// The main job from end to end: a network, a market, a real model, three paid answers
    Demo {
        /// Leave the network and the worker running, and say how to use them
        #[arg(long)]
        keep: bool,
        /// The network's port; 0 takes any that is free
        #[arg(long, default_value_t = 8000)]
        port: u16,
        /// The network's seed: the order of messages, random numbers, everybody's keys
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Figures, a line each: what the main job, the escrow's and the ledger's calls, pictures or text cost in time,
    /// instructions and memory
    Bench {
        /// What to measure
        subject: Subject,
        /// Build with --release: minutes more, for the last tenth (the kernels and what we depend on are optimised anyway)
        #[arg(long)]
        release: bool,
        /// Passed on; `--help` lists what the subject knows
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The escrow's rules a million times over, without a network: what cheating pays, how verdicts go wrong, what state
    /// grows by; tables and charts go to docs/simulation
    Simulate {
        /// Passed on; `--help` lists what there is
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Honest machines against cheats on a model: how far their tokens are apart, and the audit terms that follow
    Calibrate(calibrate::Options),
    /// Whether the GPU computes what the processor computes, and how fast
    GpuCheck {
        /// Passed on; `--help` lists what there is
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The whole market under faults that a seed chooses: nothing may be lost, everything must end
    Chaos(chaos::Options),
    /// Break the rules one by one; each break must make its named test fail
    Mutants {
        /// Only those whose name contains this
        filter: Option<String>,
        /// Only list them
        #[arg(long)]
        list: bool,
    },
    /// Everything that must hold before a change lands: formatting, lints, docs, all tests
    Test(Test),
}

/// What a benchmark measures.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Subject {
    /// The main job: latency, throughput, instructions, the model's speed and memory
    Main,
    /// The escrow: instructions of every call after a thousand jobs and after a million, jobs a second, bytes kept
    Escrow,
    /// The ledger: instructions of its calls and of an upgrade at a thousand accounts and at a million, bytes kept
    Ledger,
    /// Pictures: seconds a step and peak memory, beside diffusers in turn
    Diffusion,
    /// Text: tokens a second, loading and peak memory, beside llama.cpp and transformers in turn
    Llm,
}

#[derive(Args)]
struct Setup {
    /// Only report what is there and what is missing; exit 1 if anything is
    #[arg(long)]
    check: bool,
    /// libtorch with the CUDA libraries, also without an NVIDIA driver (kept in .emc/view until you choose again)
    #[arg(long, conflicts_with = "cpu")]
    cuda: bool,
    /// libtorch without CUDA, even with an NVIDIA driver (kept in .emc/view until you choose again)
    #[arg(long)]
    cpu: bool,
    /// Also what only tests need (a second model, 238 MB)
    #[arg(long)]
    tests: bool,
}

#[derive(Args)]
struct Test {
    /// Leave out the end-to-end tests
    #[arg(long)]
    quick: bool,
    /// Run only the tests whose name contains this, without the checks before them
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a backtrace, even where RUST_BACKTRACE asks for one: these errors are messages to the user.
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let paths = Paths::of_this_clone()?;
    match Cli::parse().command {
        Command::Setup(Setup {
            check,
            cuda,
            cpu,
            tests,
        }) => {
            let view = if cuda {
                Some(View::Cuda)
            } else {
                cpu.then_some(View::Cpu)
            };
            setup::run(&paths, &setup::Options { check, tests, view })
        }
        Command::Demo { keep, port, seed } => {
            let mut arguments = vec![format!("--port={port}"), format!("--seed={seed}")];
            arguments.extend(keep.then(|| "--keep".to_owned()));
            demo::run(&paths, "emc-demo", Build::Dev, &arguments)
        }
        Command::Bench {
            subject,
            release,
            arguments,
        } => {
            let build = if release { Build::Release } else { Build::Dev };
            match subject {
                Subject::Main => demo::run(&paths, "emc-bench", build, &arguments),
                Subject::Escrow => demo::run(&paths, "emc-bench-escrow", build, &arguments),
                Subject::Ledger => demo::run(&paths, "emc-bench-ledger", build, &arguments),
                Subject::Diffusion => example::run(&paths, "bench_diffusion", build, &arguments),
                Subject::Llm => example::run(&paths, "bench_llm", build, &arguments),
            }
        }
        Command::Simulate { arguments } => simulate::run(&paths, &arguments),
        Command::GpuCheck { arguments } => {
            example::run(&paths, "gpu_check", Build::Release, &arguments)
        }
        Command::Calibrate(options) => calibrate::run(&paths, &options),
        Command::Chaos(options) => chaos::run(&paths, &options),
        Command::Mutants { filter, list } => {
            mutants::run(&paths, &mutants::Options { filter, list })
        }
        Command::Build => canisters::print(&canisters::build(&canisters::Options::default())?),
        Command::Test(Test { quick, filter }) => {
            test::run(&paths, &test::Options { quick, filter })
        }
    }
}
