//! docs/benchmarks.md from raw results: tables between its markers, and the plots beside it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::plot::{self, Line};
use crate::report::{Report, Run};
use crate::rows::{self, Goal, Row};

const OURS: &str = "portcullis";
const PEER: &str = "mosquitto";

/// Writes what the newest results say into `docs`.
pub(crate) fn write(results: &Path, docs: &Path) -> io::Result<()> {
    let page = docs.join("benchmarks.md");
    let plots = docs.join("benchmarks");
    fs::create_dir_all(&plots)?;
    let rows = newest(results, "-rows.json")?;
    let curves = newest(results, "-curves.json")?;
    let text = fs::read_to_string(&page)?;
    let text = replace(&text, "rows", &row_tables(&rows))?;
    let text = replace(&text, "curves", &curve_tables(&curves)?)?;
    fs::write(page, text)?;
    let ratios = ratios(&rows.1);
    fs::write(plots.join("ratios.svg"), plot::bars(&ratios)?)?;
    for (name, axis, lines) in plotted(&curves.1) {
        let file = plots.join(format!("{name}.svg"));
        fs::write(file, plot::lines(axis, &lines)?)?;
    }
    Ok(())
}

type Results = (PathBuf, Report);

/// Results are named by their date.
fn newest(results: &Path, suffix: &str) -> io::Result<Results> {
    let mut files = Vec::new();
    for entry in fs::read_dir(results)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(suffix) {
            files.push(path);
        }
    }
    let path = files
        .into_iter()
        .max()
        .ok_or_else(|| io::Error::other(format!("no *{suffix} in {}", results.display())))?;
    let report = serde_json::from_str(&fs::read_to_string(&path)?)?;
    Ok((path, report))
}

/// Puts `content` between the markers of a section.
fn replace(page: &str, section: &str, content: &str) -> io::Result<String> {
    let (begin, end) = (
        format!("<!-- begin {section} -->\n"),
        format!("<!-- end {section} -->"),
    );
    let missing = || io::Error::other(format!("the page has no section {section}"));
    let (head, rest) = page.split_once(&begin).ok_or_else(missing)?;
    let (_, tail) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{head}{begin}{content}{end}{tail}"))
}

fn said(report: &Report, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let versions: Vec<&str> = report
        .brokers
        .iter()
        .map(|broker| broker.version.as_str())
        .collect();
    format!(
        "{}; {}; {}. Raw results: [{name}](../benches/results/{name}), made with\n`cargo bench --bench end_to_end -- {}`.\n\n",
        report.date,
        report.machine,
        versions.join(", "),
        report.command.trim_end_matches(" --bench"),
    )
}

fn row_tables((path, report): &Results) -> String {
    let mut text = said(report, path);
    text.push_str("![CPU for each message beside mosquitto's](benchmarks/ratios.svg)\n\n");
    text.push_str("| row | load | Portcullis | mosquitto | ratio | goal | |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for row in rows::all() {
        text.push_str(&figures(report, &row));
    }
    text.push_str(
        "\nWhat else was seen in the same runs, Portcullis / mosquitto, for each delivery:\n\n",
    );
    text.push_str("| row | system calls | context switches | latency, median | latency, 99th of 100 | peak memory, MiB | generator's share of the CPU |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for row in rows::all() {
        text.push_str(&more(report, &row));
    }
    text.push('\n');
    text
}

fn figures(report: &Report, row: &Row) -> String {
    let figure = |broker| report.median_of(row.name, broker, |run| Some(run.figure));
    let (Some(ours), Some(peer)) = (figure(OURS), figure(PEER)) else {
        return String::new();
    };
    let ratio = ours / peer;
    let (unit, goal, is_met) = match row.goal {
        Goal::CpuTimes(times) => (" µs", format!("≤ {times}"), ratio <= times),
        Goal::Kib(kib) => (" KiB", format!("≤ {kib} KiB"), ours <= kib),
        Goal::Bytes(bytes) => (" B", format!("≤ {bytes} B"), ours <= bytes),
        Goal::ConnectsTimes(times) => ("/s", format!("≥ {times}"), ratio >= times),
        Goal::Ms(ms) => (" ms", format!("≤ {ms} ms"), ours <= ms),
    };
    let digits = if ours.min(peer) >= 100.0 { 0 } else { 2 };
    format!(
        "| {} | {} | {ours:.digits$}{unit} | {peer:.digits$}{unit} | {ratio:.3} | {goal} | {} |\n",
        row.name,
        row.title,
        if is_met { "met" } else { "**missed**" },
    )
}

fn more(report: &Report, row: &Row) -> String {
    let latency =
        |run: &Run, of: fn(&crate::job::Latency) -> f64| run.outcome.latency_us.as_ref().map(of);
    let pair = |of: &dyn Fn(&Run) -> Option<f64>, digits: usize, unit: &str| {
        let [ours, peer] = [OURS, PEER].map(|broker| report.median_of(row.name, broker, of));
        match (ours, peer) {
            (Some(ours), Some(peer)) => format!("{ours:.digits$} / {peer:.digits$}{unit}"),
            _ => String::new(),
        }
    };
    let each = |run: &Run, what: f64| {
        let counted = run.outcome.counted;
        (counted > 0 && run.outcome.window_s > 0.0).then(|| what / counted as f64)
    };
    let cells = [
        pair(&|run| run.outcome.syscalls_each, 3, ""),
        pair(
            &|run| each(run, run.outcome.broker_context_switches as f64),
            4,
            "",
        ),
        pair(&|run| latency(run, |latency| latency.p50), 0, " µs"),
        pair(&|run| latency(run, |latency| latency.p99), 0, " µs"),
        pair(
            &|run| Some(run.outcome.broker_peak_kib as f64 / 1024.0).filter(|mib| *mib > 0.0),
            0,
            "",
        ),
        pair(&|run| share(run), 2, ""),
    ];
    if cells.iter().all(String::is_empty) {
        return String::new();
    }
    format!("| {} | {} |\n", row.name, cells.join(" | "))
}

/// Of what generator and broker used together.
fn share(run: &Run) -> Option<f64> {
    let both = run.outcome.generator_cpu_s + run.outcome.broker_cpu_s;
    (both > 0.0 && run.outcome.generator_cpu_s > 0.0).then(|| run.outcome.generator_cpu_s / both)
}

/// Ratios of the rows whose goal is one, with the goal.
fn ratios(report: &Report) -> Vec<(&'static str, f64, f64)> {
    rows::all()
        .iter()
        .filter_map(|row| {
            let Goal::CpuTimes(goal) = row.goal else {
                return None;
            };
            let figure = |broker| report.median_of(row.name, broker, |run| Some(run.figure));
            Some((row.name, figure(OURS)? / figure(PEER)?, goal))
        })
        .collect()
}

/// What a curve shows of one run.
struct Shown {
    /// Rows of this name and a size.
    row: &'static str,
    file: &'static str,
    axis: &'static str,
    of: fn(&Run) -> Option<f64>,
}

const SHOWN: &[Shown] = &[
    Shown {
        row: "idle",
        file: "idle",
        axis: "KiB for each idle connection",
        of: |run| Some(run.figure),
    },
    Shown {
        row: "idle-tls",
        file: "idle-tls",
        axis: "KiB for each idle connection with TLS",
        of: |run| Some(run.figure),
    },
    Shown {
        row: "subscriptions",
        file: "subscriptions-memory",
        axis: "bytes for each subscription",
        of: |run| Some(run.figure),
    },
    Shown {
        row: "subscriptions",
        file: "subscriptions-making",
        axis: "µs of CPU to make a subscription",
        of: |run| run.outcome.making_cpu_us,
    },
    Shown {
        row: "subscriptions",
        file: "subscriptions-matching",
        axis: "µs of CPU for a message that nobody gets",
        of: |run| run.outcome.matching_cpu_us,
    },
    Shown {
        row: "retained",
        file: "retained-memory",
        axis: "bytes for each retained message",
        of: |run| Some(run.outcome.rss_growth_kib? as f64 * 1024.0 / run.outcome.counted as f64),
    },
    Shown {
        row: "retained",
        file: "retained-making",
        axis: "µs of CPU to keep a retained message",
        of: |run| run.outcome.making_cpu_us,
    },
    Shown {
        row: "retained",
        file: "retained-taking",
        axis: "µs of CPU to hand one over",
        of: |run| Some(run.figure),
    },
];

fn sizes(shown: &Shown) -> Vec<(String, f64)> {
    rows::curves()
        .iter()
        .filter_map(|row| {
            let (name, size) = row.name.split_once('@')?;
            (name == shown.row).then(|| (row.name.to_owned(), size.parse().expect("a number")))
        })
        .collect()
}

fn points(report: &Report, shown: &Shown, broker: &str) -> Vec<(f64, f64)> {
    sizes(shown)
        .into_iter()
        .filter_map(|(row, size)| Some((size, report.median_of(&row, broker, shown.of)?)))
        .collect()
}

fn plotted(report: &Report) -> Vec<(&'static str, &'static str, Vec<Line>)> {
    SHOWN
        .iter()
        .map(|shown| {
            let line = |name: &'static str| Line {
                name,
                points: points(report, shown, name),
            };
            (shown.file, shown.axis, vec![line(OURS), line(PEER)])
        })
        .collect()
}

fn curve_tables((path, report): &Results) -> io::Result<String> {
    let mut text = said(report, path);
    text.push_str("Portcullis / mosquitto:\n\n| what | size: figures | |\n| --- | --- | --- |\n");
    for shown in SHOWN {
        let (ours, peer) = (points(report, shown, OURS), points(report, shown, PEER));
        let mut cells = Vec::new();
        for ((size, ours), (_, peer)) in ours.iter().zip(&peer) {
            let digits = if ours.min(*peer) >= 100.0 { 0 } else { 2 };
            cells.push(format!("{size}: {ours:.digits$} / {peer:.digits$}"));
        }
        writeln!(
            text,
            "| {} | {} | [plot](benchmarks/{}.svg) |",
            shown.axis,
            cells.join("; "),
            shown.file
        )
        .map_err(io::Error::other)?;
    }
    text.push('\n');
    Ok(text)
}
