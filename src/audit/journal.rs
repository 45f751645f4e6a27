//! The audit log: one JSON object a line, written by a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

/// Lines that may wait for the disk.
const QUEUE: usize = 8_192;

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

enum Command {
    Line(String),
    Open(JournalTarget),
    Stop,
}

/// A bounded queue in front of the file. A line that finds it full is counted and lost: the
/// network must not wait for a disk.
#[derive(Debug)]
pub struct Journal {
    queue: SyncSender<Command>,
    lost: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
    target: Mutex<JournalTarget>,
}

impl Journal {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// The file cannot be opened, or the system refuses a thread.
    pub fn start(target: &JournalTarget) -> io::Result<Self> {
        let sink = open(target)?;
        let (queue, commands) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || write(&commands, sink))?;
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
    pub fn write(&self, line: String) {
        match self.queue.try_send(Command::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
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
        drop(open(target)?);
        *self.target.lock() = target.clone();
        self.queue
            .send(Command::Open(target.clone()))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Writes what waits and ends.
    pub fn stop(&self) {
        if let Some(thread) = self.thread.lock().take() {
            // If the thread is gone there is nothing left to write.
            drop(self.queue.send(Command::Stop));
            drop(thread.join());
        }
    }
}

enum Sink {
    Off,
    Stdout,
    File(File),
}

fn open(target: &JournalTarget) -> io::Result<Sink> {
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

fn write(commands: &Receiver<Command>, mut sink: Sink) {
    let mut batch = String::new();
    while let Ok(command) = commands.recv() {
        let mut next = Some(command);
        // Whatever waits already goes out with one call.
        while let Some(command) = next {
            match command {
                Command::Line(line) => {
                    batch.push_str(&line);
                    batch.push('\n');
                }
                Command::Open(target) => {
                    put(&mut sink, &mut batch);
                    match open(&target) {
                        Ok(opened) => sink = opened,
                        Err(error) => tracing::error!("the audit log cannot be reopened: {error}"),
                    }
                }
                Command::Stop => {
                    put(&mut sink, &mut batch);
                    return;
                }
            }
            next = if batch.len() < 64 * 1024 {
                commands.try_recv().ok()
            } else {
                None
            };
        }
        put(&mut sink, &mut batch);
    }
}

fn put(sink: &mut Sink, batch: &mut String) {
    let result = match sink {
        Sink::Off => Ok(()),
        Sink::Stdout => io::stdout().write_all(batch.as_bytes()),
        Sink::File(file) => file.write_all(batch.as_bytes()),
    };
    if let Err(error) = result {
        tracing::error!("the audit log cannot be written: {error}");
    }
    batch.clear();
}
