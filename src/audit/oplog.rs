//! The operator's log, in mosquitto's classes and to mosquitto's destinations.
//!
//! A thread of its own writes it: whoever reads standard error too slowly, or a full disk, must not hold
//! up the network.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use jiff::{Timestamp, Zoned};
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::text::redact;

/// A class of log lines (`log_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogClass {
    /// `error`.
    Error,
    /// `warning`.
    Warning,
    /// `notice`.
    Notice,
    /// `information`.
    Information,
    /// `debug`.
    Debug,
    /// `subscribe`.
    Subscribe,
    /// `unsubscribe`.
    Unsubscribe,
    /// Connects and disconnects: `information`, and `connection_messages`.
    Connection,
    /// Refusals: told whatever classes are chosen, unless there is no log at all.
    Denial,
}

const TARGET: &str = "portcullis::log";

/// Says `sentence` as a line of `class`.
pub(crate) fn say(class: LogClass, sentence: &str) {
    match class {
        LogClass::Error => tracing::error!(target: TARGET, "{sentence}"),
        LogClass::Warning => tracing::warn!(target: TARGET, "{sentence}"),
        LogClass::Notice => tracing::info!(target: "portcullis::log::notice", "{sentence}"),
        LogClass::Information => tracing::info!(target: TARGET, "{sentence}"),
        LogClass::Debug => tracing::debug!(target: TARGET, "{sentence}"),
        LogClass::Subscribe => tracing::debug!(target: "portcullis::log::subscribe", "{sentence}"),
        LogClass::Unsubscribe => {
            tracing::debug!(target: "portcullis::log::unsubscribe", "{sentence}");
        }
        LogClass::Connection => tracing::info!(target: "portcullis::log::connection", "{sentence}"),
        LogClass::Denial => tracing::info!(target: "portcullis::log::denial", "{sentence}"),
    }
}

fn class_of(metadata: &Metadata<'_>) -> LogClass {
    match metadata.target() {
        "portcullis::log::notice" => return LogClass::Notice,
        "portcullis::log::subscribe" => return LogClass::Subscribe,
        "portcullis::log::unsubscribe" => return LogClass::Unsubscribe,
        "portcullis::log::connection" => return LogClass::Connection,
        "portcullis::log::denial" => return LogClass::Denial,
        _ => {}
    }
    match *metadata.level() {
        Level::ERROR => LogClass::Error,
        Level::WARN => LogClass::Warning,
        Level::INFO => LogClass::Information,
        Level::DEBUG | Level::TRACE => LogClass::Debug,
    }
}

/// One destination (`log_dest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDestination {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The system log.
    Syslog,
    /// A file, appended to.
    File(PathBuf),
}

/// What is logged, where and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// Where to; empty for nowhere.
    pub destinations: Vec<LogDestination>,
    /// `log_facility`: `localN`; `None` is `daemon`.
    pub facility: Option<u8>,
    /// `log_timestamp`.
    pub timestamp: bool,
    /// `log_timestamp_format`; `None` is seconds since the epoch.
    pub timestamp_format: Option<String>,
    /// `log_type`.
    pub classes: BTreeSet<LogClass>,
}

enum Sink {
    Stdout,
    Stderr,
    File(Mutex<File>),
    Syslog(UnixDatagram, u8),
}

struct State {
    settings: LogSettings,
    sinks: Vec<Sink>,
}

/// Lines that may wait to be written.
const QUEUE: usize = 8_192;

/// One line on its way.
struct Line {
    /// With its time stamp and its line break.
    text: String,
    /// Bytes of the time stamp, which syslog makes itself.
    stamp_bytes: usize,
    severity: u16,
}

enum Command {
    Write(Line),
    Stop,
}

/// The log's switch: settings and files can be exchanged while it is in use.
#[derive(Clone)]
pub struct OperatorLog {
    state: Arc<ArcSwap<State>>,
    queue: SyncSender<Command>,
    lost: Arc<AtomicU64>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl std::fmt::Debug for OperatorLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "OperatorLog({:?})",
            self.state.load().settings.destinations
        )
    }
}

/// Where the local syslog listens.
const SYSLOG: &str = "/dev/log";

fn open(settings: LogSettings) -> io::Result<State> {
    let mut sinks = Vec::new();
    for destination in &settings.destinations {
        sinks.push(match destination {
            LogDestination::Stdout => Sink::Stdout,
            LogDestination::Stderr => Sink::Stderr,
            LogDestination::File(path) => Sink::File(Mutex::new(open_file(path)?)),
            LogDestination::Syslog => {
                let socket = UnixDatagram::unbound()?;
                socket
                    .connect(SYSLOG)
                    .map_err(|error| io::Error::new(error.kind(), format!("{SYSLOG}: {error}")))?;
                // Facility daemon is 3, local0 is 16.
                Sink::Syslog(
                    socket,
                    settings.facility.map_or(3, |local| 16 + local.min(7)),
                )
            }
        });
    }
    Ok(State { settings, sinks })
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

impl OperatorLog {
    /// Opens the destinations and becomes the program's log.
    ///
    /// # Errors
    /// A file or the system log cannot be opened.
    pub fn install(settings: LogSettings) -> io::Result<Self> {
        let state = Arc::new(ArcSwap::from_pointee(open(settings)?));
        let (queue, commands) = sync_channel(QUEUE);
        let writing = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write(&commands, &writing))?;
        let log = Self {
            state,
            queue,
            lost: Arc::new(AtomicU64::new(0)),
            thread: Arc::new(Mutex::new(Some(thread))),
        };
        // A second installation in one process (a test) leaves the first in place.
        drop(tracing_subscriber::registry().with(log.clone()).try_init());
        Ok(log)
    }

    /// Opens the destinations again, after a rotation or with new settings.
    ///
    /// # Errors
    /// One cannot be opened; the old ones stay in use.
    pub fn reopen(&self, settings: LogSettings) -> io::Result<()> {
        self.state.store(Arc::new(open(settings)?));
        Ok(())
    }

    /// Lines lost because the destinations were too slow.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Writes what waits, and nothing after it.
    pub fn stop(&self) {
        if let Some(thread) = self.thread.lock().take() {
            // If the thread is gone there is nothing left to write.
            drop(self.queue.send(Command::Stop));
            drop(thread.join());
        }
    }

    fn say(&self, class: LogClass, message: &str) {
        let line = self.state.load().line(class, message);
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Command::Write(line)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> LogSettings {
        self.state.load().settings.clone()
    }
}

impl State {
    fn wants(&self, class: LogClass) -> bool {
        !self.sinks.is_empty()
            && (self.settings.classes.contains(&class)
                || (class == LogClass::Denial && !self.settings.classes.is_empty()))
    }

    fn line(&self, class: LogClass, message: &str) -> Line {
        let message = redact(message);
        let mut text = String::with_capacity(message.len() + 32);
        if self.settings.timestamp {
            self.stamp(&mut text);
        }
        let stamp_bytes = text.len();
        text.push_str(&message);
        text.push('\n');
        Line {
            text,
            stamp_bytes,
            severity: severity(class),
        }
    }

    fn write(&self, line: &Line) {
        for sink in &self.sinks {
            // A log that cannot be written has nowhere to say so.
            let _ = match sink {
                Sink::Stdout => io::stdout().write_all(line.text.as_bytes()),
                Sink::Stderr => io::stderr().write_all(line.text.as_bytes()),
                Sink::File(file) => file.lock().write_all(line.text.as_bytes()),
                Sink::Syslog(socket, facility) => {
                    let priority = u16::from(*facility) * 8 + line.severity;
                    let message = line.text.get(line.stamp_bytes..).unwrap_or_default();
                    let text = format!(
                        "<{priority}>portcullis[{}]: {}",
                        std::process::id(),
                        message.trim_end()
                    );
                    socket.send(text.as_bytes()).map(|_| ())
                }
            };
        }
    }

    fn stamp(&self, line: &mut String) {
        let result = match &self.settings.timestamp_format {
            None => write!(line, "{}: ", Timestamp::now().as_second()),
            Some(format) => match jiff::fmt::strtime::format(format, &Zoned::now()) {
                Ok(text) => write!(line, "{text}: "),
                Err(_) => write!(line, "{}: ", Timestamp::now()),
            },
        };
        // Writing to a string does not fail.
        let _ = result;
    }
}

fn write(commands: &Receiver<Command>, state: &ArcSwap<State>) {
    while let Ok(Command::Write(line)) = commands.recv() {
        state.load().write(&line);
    }
}

fn severity(class: LogClass) -> u16 {
    match class {
        LogClass::Error => 3,
        LogClass::Warning => 4,
        LogClass::Notice | LogClass::Denial => 5,
        LogClass::Information | LogClass::Connection => 6,
        LogClass::Debug | LogClass::Subscribe | LogClass::Unsubscribe => 7,
    }
}

impl<S: Subscriber> Layer<S> for OperatorLog {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Other crates' debugging is not ours to show.
        let ours = metadata.target().starts_with("portcullis");
        (ours || *metadata.level() <= Level::WARN) && self.state.load().wants(class_of(metadata))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    // Writing to a string does not fail.
                    let _ = write!(self.0, "{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.say(class_of(event.metadata()), &message.0);
    }
}
