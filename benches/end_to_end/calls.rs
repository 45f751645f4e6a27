//! How many system calls the broker makes, counted by strace while the load goes on.
//!
//! Behind the measured window, because it slows the broker down; a saturated broker then finds more at
//! once, so that the number is a little too good there. In the paced rows it is what it is.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ATTACH: Duration = Duration::from_secs(5);

/// System calls for each of the deliveries that `work` counts; `None` without strace.
pub(crate) fn for_each(
    broker_pid: u32,
    work: impl FnOnce() -> io::Result<u64>,
) -> io::Result<Option<f64>> {
    let summary = tempfile::NamedTempFile::new()?;
    let strace = Command::new("strace")
        .args(["-f", "-c", "-p", &broker_pid.to_string(), "-o"])
        .arg(summary.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut strace) = strace else {
        return Ok(None);
    };
    let deadline = Instant::now() + ATTACH;
    while !is_traced(broker_pid)? {
        if strace.try_wait()?.is_some() || Instant::now() > deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(1));
    }
    let counted = work();
    let pid = Pid::from_raw(i32::try_from(strace.id()).expect("a process number"));
    kill(pid, Signal::SIGINT)?;
    strace.wait()?;
    let total = total(&fs::read_to_string(summary.path())?);
    let counted = counted?;
    Ok(total.map(|total| total as f64 / counted.max(1) as f64))
}

/// Whether every thread is.
fn is_traced(pid: u32) -> io::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        if status.lines().any(|line| line == "TracerPid:\t0") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The calls in the last line of the summary: share, seconds, microseconds each, calls, errors, `total`.
fn total(summary: &str) -> Option<u64> {
    let line = summary
        .lines()
        .find(|line| line.trim_end().ends_with("total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}
