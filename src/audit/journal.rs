//! The audit log: one JSON object a line, written by a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Lines that may wait for the disk.
const QUEUE: usize = 8_192;
/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(10);
/// A buffer that grew beyond this is given back.
const KEPT_BYTES: usize = 64 * 1024;

/// Where the audit log goes (`audit_log`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JournalTarget {
    /// Nowhere.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file that only its owner may read.
    File(PathBuf),
}

/// What waits for the thread.
#[derive(Debug, Default)]
struct Waiting {
    lines: String,
    count: usize,
    /// The file is to be opened again; so many bytes of `lines` belong into the one before.
    open: Option<(usize, JournalTarget)>,
    stop: bool,
    /// The thread sleeps until somebody wakes it.
    idle: bool,
}

/// A bounded queue in front of the file. A line that finds it full is counted and lost: the
/// network must not wait for a disk.
///
/// Who writes a line wakes the thread only if it sleeps, and it lets lines gather before it writes: a wake
/// for each line would cost more than the connection it tells of.
#[derive(Debug)]
pub struct Journal {
    queue: Arc<Queue>,
    lost: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
    target: Mutex<JournalTarget>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// There is something.
    some: Condvar,
    /// There is something that must not wait.
    urgent: Condvar,
}

impl Journal {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// The file cannot be opened, or the system refuses a thread.
    pub fn start(target: &JournalTarget) -> io::Result<Self> {
        let sink = open_sink(target)?;
        let queue = Arc::<Queue>::default();
        let writer = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || write(&writer, sink))?;
        Ok(Self {
            queue,
            lost: AtomicU64::new(0),
            thread: Mutex::new(Some(thread)),
            target: Mutex::new(target.clone()),
        })
    }

    /// Whether lines go anywhere.
    pub fn is_on(&self) -> bool {
        *self.target.lock() != JournalTarget::Off
    }

    /// Queues one line without its line break.
    pub fn write(&self, line: &str) {
        let mut waiting = self.queue.waiting.lock();
        if waiting.count >= QUEUE || waiting.stop {
            drop(waiting);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.count += 1;
        waiting.lines.push_str(line);
        waiting.lines.push('\n');
        if std::mem::take(&mut waiting.idle) {
            self.queue.some.notify_one();
        }
        // Before it is full, the thread is not to wait for more.
        if waiting.count == QUEUE / 2 {
            self.queue.urgent.notify_one();
        }
    }

    /// Lines lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Closes the file and opens it, or another, again: after a rotation or a reload.
    ///
    /// # Errors
    /// The file cannot be opened; the old one stays in use.
    pub fn reopen(&self, target: &JournalTarget) -> io::Result<()> {
        // Tried here first, so that the caller hears of a failure.
        drop(open_sink(target)?);
        *self.target.lock() = target.clone();
        let mut waiting = self.queue.waiting.lock();
        if waiting.stop {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let before = waiting
            .open
            .as_ref()
            .map_or(waiting.lines.len(), |(before, _)| *before);
        waiting.open = Some((before, target.clone()));
        self.queue.wake(&mut waiting);
        Ok(())
    }

    /// Writes what waits and ends.
    pub fn stop(&self) {
        if let Some(thread) = self.thread.lock().take() {
            {
                let mut waiting = self.queue.waiting.lock();
                waiting.stop = true;
                self.queue.wake(&mut waiting);
            }
            // If the thread is gone there is nothing left to write.
            drop(thread.join());
        }
    }
}

impl Queue {
    /// Wakes the thread whatever it waits for.
    fn wake(&self, waiting: &mut Waiting) {
        waiting.idle = false;
        self.some.notify_one();
        self.urgent.notify_one();
    }
}

enum Sink {
    Off,
    Stdout,
    File(File),
}

fn open_sink(target: &JournalTarget) -> io::Result<Sink> {
    Ok(match target {
        JournalTarget::Off => Sink::Off,
        JournalTarget::Stdout => Sink::Stdout,
        JournalTarget::File(path) => Sink::File(
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)?,
        ),
    })
}

fn write(queue: &Queue, mut sink: Sink) {
    let mut lines = String::new();
    loop {
        let (open, stop) = {
            let mut waiting = queue.waiting.lock();
            while waiting.lines.is_empty() && waiting.open.is_none() && !waiting.stop {
                waiting.idle = true;
                queue.some.wait(&mut waiting);
            }
            if waiting.open.is_none() && !waiting.stop {
                // Not woken for lines meanwhile.
                queue.urgent.wait_for(&mut waiting, GATHER);
            }
            waiting.count = 0;
            std::mem::swap(&mut waiting.lines, &mut lines);
            (waiting.open.take(), waiting.stop)
        };
        if let Some((before, target)) = open {
            put(&mut sink, lines.get(..before).unwrap_or_default());
            lines.drain(..before.min(lines.len()));
            match open_sink(&target) {
                Ok(opened) => sink = opened,
                Err(error) => tracing::error!("the audit log cannot be reopened: {error}"),
            }
        }
        put(&mut sink, &lines);
        lines.clear();
        lines.shrink_to(KEPT_BYTES);
        if stop {
            return;
        }
    }
}

fn put(sink: &mut Sink, lines: &str) {
    if lines.is_empty() {
        return;
    }
    let result = match sink {
        Sink::Off => Ok(()),
        Sink::Stdout => io::stdout().write_all(lines.as_bytes()),
        Sink::File(file) => file.write_all(lines.as_bytes()),
    };
    if let Err(error) = result {
        tracing::error!("the audit log cannot be written: {error}");
    }
}
