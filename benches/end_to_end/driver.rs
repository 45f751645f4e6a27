//! Row by row, round by round, broker by broker.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::Options;
use crate::broker::Contender;
use crate::job::{Job, Load, Outcome};
use crate::material::Material;
use crate::page;
use crate::report::{Report, Run};
use crate::rows::{self, Row};

/// How long a run takes.
struct Lengths {
    rounds: usize,
    warm_up_ms: u64,
    measure_ms: u64,
}

pub(crate) fn run(options: &Options) -> io::Result<()> {
    if let Some(directory) = &options.page {
        return page::write(Path::new("benches/results"), directory);
    }
    let chosen = choose(options)?;
    if options.list {
        for row in &chosen {
            println!("{:18} {}", row.name, row.title);
        }
        return Ok(());
    }
    raise_descriptors();
    let brokers = contenders(options)?;
    let lengths = lengths(options);
    let directory = tempfile::tempdir()?;
    let material = Material::write(directory.path())?;
    let mut report = Report::new(&brokers);
    for row in &chosen {
        let row = if options.smoke { row.smoke() } else { *row };
        for round in 0..lengths.rounds {
            for broker in &brokers {
                let syscalls = options.syscalls && round == 0;
                let (outcome, start_ms) = one(
                    &row,
                    broker,
                    &material,
                    directory.path(),
                    &lengths,
                    syscalls,
                )?;
                report.add(Run::new(&row, broker, round, start_ms, outcome));
            }
        }
        report.print_row(&row);
    }
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    report.verdict()
}

fn choose(options: &Options) -> io::Result<Vec<Row>> {
    let all = if options.curves {
        rows::curves()
    } else {
        rows::all()
    };
    if options.rows.is_empty() {
        return Ok(all);
    }
    options
        .rows
        .iter()
        .map(|name| {
            all.iter()
                .find(|row| row.name == name)
                .copied()
                .ok_or_else(|| io::Error::other(format!("no row {name}; --list names them")))
        })
        .collect()
}

fn contenders(options: &Options) -> io::Result<Vec<Contender>> {
    if !options.brokers.is_empty() {
        return Ok(options.brokers.clone());
    }
    let mosquitto = PathBuf::from("/usr/sbin/mosquitto");
    if !mosquitto.exists() {
        return Err(io::Error::other(
            "mosquitto is not installed; scripts/test.sh does it",
        ));
    }
    Ok(vec![
        Contender {
            name: "portcullis".into(),
            path: env!("CARGO_BIN_EXE_portcullis").into(),
        },
        Contender {
            name: "mosquitto".into(),
            path: mosquitto,
        },
    ])
}

fn lengths(options: &Options) -> Lengths {
    let (rounds, warm_up_ms, measure_ms) = if options.smoke {
        (1, 50, 100)
    } else if options.quick {
        (1, 500, 2_000)
    } else {
        (3, 1_000, 5_000)
    };
    Lengths {
        rounds: options.rounds.unwrap_or(rounds),
        warm_up_ms,
        measure_ms,
    }
}

fn one(
    row: &Row,
    broker: &Contender,
    material: &Material,
    directory: &Path,
    lengths: &Lengths,
    syscalls: bool,
) -> io::Result<(Outcome, f64)> {
    let running = broker.start(row, material, directory)?;
    if matches!(row.load, Load::Start) {
        return Ok((Outcome::default(), running.start_ms));
    }
    let job = Job {
        load: row.load,
        port: running.port,
        ca_file: row.tls.then(|| material.ca.clone()),
        hybrid: row.hybrid,
        users: row.users,
        identity: row.mutual.then(|| {
            let certificate = material.client_certificate.clone();
            (certificate, material.client_key.clone())
        }),
        syscalls,
        broker_pid: running.pid(),
        warm_up_ms: lengths.warm_up_ms,
        measure_ms: lengths.measure_ms,
    };
    let output = Command::new(std::env::current_exe()?)
        .arg("--generate")
        .arg(serde_json::to_string(&job)?)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let outcome = serde_json::from_str(&text)
        .map_err(|_| io::Error::other(format!("{} with {}: no result", row.name, broker.name)))?;
    Ok((outcome, running.start_ms))
}

/// Ten thousand connections have two ends on this machine.
fn raise_descriptors() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it fails, the rows that need more say so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
