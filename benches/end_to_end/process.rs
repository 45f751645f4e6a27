//! What the kernel says about a process: CPU time, memory, context switches.

use std::fs;
use std::io;
use std::path::Path;

/// One reading of a process's counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Time on a CPU, all threads, from `/proc/PID/task/*/schedstat`. Clock ticks of 10 ms are too
    /// coarse for the paced rows: 2,000 messages a second use a handful of them.
    pub(crate) cpu_ns: u64,
    /// User and system clock ticks of `/proc/PID/stat`, kept as a check on the above.
    pub(crate) ticks: u64,
    pub(crate) context_switches: u64,
    pub(crate) rss_kib: u64,
    pub(crate) peak_kib: u64,
}

impl Sample {
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let root = format!("/proc/{pid}");
        let mut sample = Self::default();
        for thread in fs::read_dir(format!("{root}/task"))? {
            let path = thread?.path();
            // A thread may end between the listing and the reading.
            let Ok(schedstat) = fs::read_to_string(path.join("schedstat")) else {
                continue;
            };
            sample.cpu_ns += schedstat
                .split(' ')
                .next()
                .and_then(|ns| ns.parse().ok())
                .unwrap_or(0);
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            sample.context_switches += field(&status, "voluntary_ctxt_switches:");
            sample.context_switches += field(&status, "nonvoluntary_ctxt_switches:");
        }
        sample.ticks = ticks(Path::new(&root))?;
        let status = fs::read_to_string(format!("{root}/status"))?;
        sample.rss_kib = field(&status, "VmRSS:");
        sample.peak_kib = field(&status, "VmHWM:");
        Ok(sample)
    }
}

fn ticks(root: &Path) -> io::Result<u64> {
    let stat = fs::read_to_string(root.join("stat"))?;
    // The command name may hold spaces and brackets; the fields after the last one do not.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let number = |index: usize| {
        fields
            .get(index)
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
    };
    Ok(number(11) + number(12))
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line[name.len()..].split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
