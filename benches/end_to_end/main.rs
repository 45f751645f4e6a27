//! CPU per message beside mosquitto, in one run (docs/benchmarks.md).
//!
//! The driver starts each broker in turn, with equivalent configuration, and a generator process that
//! loads it; the brokers alternate, so that what else the machine does meets both. Times here are
//! noisy: what is compared is the CPU time of the broker's process for each delivered message.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a program that prints numbers, which are far from the ends of their types"
)]

mod broker;
mod calls;
mod driver;
mod hold;
mod job;
mod link;
mod load;
mod material;
mod pacer;
mod page;
mod plan;
mod plot;
mod process;
mod report;
mod rows;
mod wire;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use broker::Contender;
use job::{Job, Load, Outcome};

/// Options after `--`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line"
)]
#[derive(Debug, Parser)]
#[command(about = "Compares brokers by CPU per message")]
pub(crate) struct Options {
    /// Rows to run; all of them if none is named.
    rows: Vec<String>,
    /// Shorter runs: about three minutes for all rows.
    #[arg(long)]
    quick: bool,
    /// Every row at a fraction of its size, to see that all of it works; asserts no figure.
    #[arg(long)]
    smoke: bool,
    /// How often the brokers alternate.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// A broker to compare; a name that begins with `portcullis` is configured as ours.
    #[arg(long = "broker", value_name = "NAME=PATH")]
    brokers: Vec<Contender>,
    /// Where the raw results go.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The curves over size instead of the rows.
    #[arg(long)]
    curves: bool,
    /// Count system calls as well (needs strace).
    #[arg(long)]
    syscalls: bool,
    /// Write tables and plots of these raw results into DIRECTORY instead of running anything.
    #[arg(long, value_name = "DIRECTORY", num_args = 0..=1, default_missing_value = "docs")]
    page: Option<PathBuf>,
    /// List the rows.
    #[arg(long)]
    list: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    /// The generator's half: one job as JSON.
    #[arg(long, hide = true, value_name = "JSON")]
    generate: Option<String>,
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    // `cargo test` names no bench: it wants to know whether all of it works.
    options.smoke |= !options.bench;
    let done = match &options.generate {
        Some(job) => generate(job),
        None => driver::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A process of its own, so that its CPU time and memory are nobody else's.
fn generate(job: &str) -> io::Result<()> {
    let job: Job = serde_json::from_str(job)?;
    let outcome: Outcome = match &job.load {
        Load::Messages(messages) => load::run(&job, messages)?,
        Load::Idle { connections } => hold::idle(&job, *connections)?,
        Load::Subscriptions {
            connections,
            of_each,
        } => hold::subscriptions(&job, *connections, *of_each)?,
        Load::Queued { sessions, for_each } => hold::queued(&job, *sessions, *for_each)?,
        Load::Connects { threads } => hold::connects(&job, *threads)?,
        Load::Retained { topics } => hold::retained(&job, *topics)?,
        Load::Start => Outcome::default(),
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}
