//! What was measured: a line for each row, and everything as JSON.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::broker::Contender;
use crate::job::{Load, Outcome};
use crate::rows::{Goal, Row};

#[derive(Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) brokers: Vec<Named>,
    pub(crate) command: String,
    pub(crate) runs: Vec<Run>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) version: String,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct Run {
    pub(crate) row: String,
    pub(crate) broker: String,
    round: usize,
    start_ms: f64,
    /// What the row is about: microseconds of CPU for each delivery, KiB for each connection, bytes for
    /// each subscription or queued message, or connections for each second of CPU.
    pub(crate) figure: f64,
    pub(crate) outcome: Outcome,
}

impl Run {
    pub(crate) fn new(
        row: &Row,
        broker: &Contender,
        round: usize,
        start_ms: f64,
        outcome: Outcome,
    ) -> Self {
        let counted = outcome.counted.max(1) as f64;
        let figure = match row.load {
            Load::Messages(_) | Load::Retained { .. } => outcome.broker_cpu_s * 1e6 / counted,
            Load::Start => start_ms,
            Load::Idle { .. } => outcome.rss_growth_kib.unwrap_or_default() as f64 / counted,
            Load::Subscriptions { .. } | Load::Queued { .. } => {
                outcome.rss_growth_kib.unwrap_or_default() as f64 * 1024.0 / counted
            }
            Load::Connects { .. } => counted / outcome.broker_cpu_s.max(1e-9),
        };
        Self {
            row: row.name.to_owned(),
            broker: broker.name.clone(),
            round,
            start_ms,
            figure,
            outcome,
        }
    }
}

impl Report {
    pub(crate) fn new(brokers: &[Contender]) -> Self {
        println!("row                        ours        peer   ratio    goal");
        Self {
            date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            machine: machine(),
            brokers: brokers
                .iter()
                .map(|broker| Named {
                    name: broker.name.clone(),
                    version: broker.version(),
                })
                .collect(),
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            runs: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, run: Run) {
        if let Some(void) = &run.outcome.void {
            println!("{} with {}: VOID: {void}", run.row, run.broker);
        }
        self.runs.push(run);
    }

    /// The median of a row's rounds.
    fn median(&self, row: &Row, broker: &str) -> Option<f64> {
        self.median_of(row.name, broker, |run| Some(run.figure))
    }

    /// The median of something that the runs of a row have.
    pub(crate) fn median_of(
        &self,
        row: &str,
        broker: &str,
        of: impl Fn(&Run) -> Option<f64>,
    ) -> Option<f64> {
        let mut figures: Vec<f64> = self
            .runs
            .iter()
            .filter(|run| run.row == row && run.broker == broker)
            .filter(|run| run.outcome.void.is_none())
            .filter_map(of)
            .collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    }

    pub(crate) fn print_row(&self, row: &Row) {
        let mut names = self.brokers.iter().map(|broker| broker.name.as_str());
        let first = names.next().and_then(|name| self.median(row, name));
        let (unit, goal) = match row.goal {
            Goal::CpuTimes(times) => ("us", format!("<= {times}")),
            Goal::Kib(kib) => ("KiB", format!("<= {kib} KiB")),
            Goal::Bytes(bytes) => ("B", format!("<= {bytes} B")),
            Goal::ConnectsTimes(times) => ("/s", format!(">= {times}")),
            Goal::Ms(ms) => ("ms", format!("<= {ms} ms")),
        };
        for name in names {
            let peer = self.median(row, name);
            let show = |figure: Option<f64>| {
                figure.map_or_else(|| "void".to_owned(), |figure| format!("{figure:.2} {unit}"))
            };
            let ratio = match (first, peer) {
                (Some(first), Some(peer)) if peer > 0.0 => format!("{:.3}", first / peer),
                _ => "-".to_owned(),
            };
            println!(
                "{:18} {:>12} {:>12}  {ratio:>6}  {goal}",
                row.name,
                show(first),
                show(peer)
            );
        }
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }

    /// An error if a run is void: a broker that loses messages has no figure.
    pub(crate) fn verdict(&self) -> io::Result<()> {
        let void = self.runs.iter().filter(|run| run.outcome.void.is_some());
        match void.count() {
            0 => Ok(()),
            count => Err(io::Error::other(format!("{count} run(s) are void"))),
        }
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, {model}, {}", said("uname", &["-sr"]))
}
