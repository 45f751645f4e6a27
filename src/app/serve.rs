//! Running the broker: start, signals, housekeeping, stop.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sd_notify::NotifyState;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal as UnixSignal, SignalKind, signal};
use tokio::sync::watch;

use crate::audit::{Event, OperatorLog, SysSampler, Totals};
use crate::broker::{Effects, LastTopic, MatchCache, Signal};
use crate::codec::QoS;
use crate::config::{Bind, ListenerSettings, LoadOptions, Settings, SocketDomain};
use crate::message::{Author, ClientId, Groups, Message, Submitted};
use crate::net::listener::{ACCEPT_CORE, Bound, Endpoint};
use crate::net::{exporter, listener};
use crate::topic::TopicName;

use super::cli::{CANNOT_LISTEN, Environment, PROCESS, Run, Stop, UNREADABLE_FILE};
use super::keeping;
use super::process::{self, PidFile, ProcessError};
use super::reading::{self, Loaded};
use super::running::{Running, log_settings};
use super::watch::{Looks, Watch};

/// How often parked sessions, wills and floods are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Retained messages that have expired are removed this often when nothing else says so.
const RETAIN_SWEEP: Duration = Duration::from_secs(60);

/// What to run with.
pub(super) struct Start<'a> {
    pub(super) config_file: Option<&'a Path>,
    pub(super) options: LoadOptions,
    pub(super) daemon: bool,
    /// Stay the account that started it, even root: for trying out.
    pub(super) keep_account: bool,
    /// Called when connections are accepted.
    pub(super) ready: Box<dyn FnOnce() + 'a>,
}

/// Runs until told to stop.
pub(super) fn run(run: &Run, environment: Environment) -> Result<(), Stop> {
    start(Start {
        config_file: run.config_file.as_deref(),
        options: run.load_options(environment)?,
        daemon: run.daemon,
        keep_account: false,
        ready: Box::new(|| {}),
    })
}

fn failed(code: u8, text: impl std::fmt::Display) -> Stop {
    Stop {
        code,
        text: format!("error: {text}\n"),
    }
}

/// The exit code for a configuration that cannot be used, and every error in it.
pub(super) fn refused(loaded: &Loaded) -> Stop {
    let mut text = String::new();
    for diagnostic in &loaded.diagnostics {
        text.push_str(&format!("{diagnostic}\n"));
    }
    let only_unreadable = loaded.unreadable && loaded.errors().count() == 1;
    Stop {
        code: if only_unreadable {
            UNREADABLE_FILE
        } else {
            super::cli::INVALID
        },
        text,
    }
}

pub(super) fn start(start: Start<'_>) -> Result<(), Stop> {
    let early = crate::config::read(start.config_file, &start.options);
    if early
        .diagnostics
        .iter()
        .any(crate::config::Diagnostic::is_error)
    {
        // Everything that is wrong is told at once, with what is wrong in the files it names.
        return Err(refused(&reading::load(start.config_file, &start.options)));
    }
    let settings = early.settings;
    if start.daemon {
        process::daemonize().map_err(|error| failed(PROCESS, error))?;
    }
    process::raise_descriptor_limit();
    let _pid_file = match &settings.process.pid_file {
        Some(path) => Some(PidFile::write(&path.value).map_err(|error| failed(PROCESS, error))?),
        None => None,
    };
    // Bound while still root, for ports below 1024.
    let bound = bind_all(&settings)?;
    let metrics_listener = bind_metrics(&settings)?;
    let account = if start.keep_account {
        None
    } else {
        let wanted = settings
            .process
            .user
            .as_ref()
            .map(|user| user.value.as_str());
        process::drop_privileges(wanted).map_err(|error: ProcessError| failed(PROCESS, error))?
    };
    // What is written while it is read, or before the broker comes to look, is a change.
    let before = Watch::default().look(&settings);
    // Read as the account that will have to read it again at a reload.
    let loaded = reading::load(start.config_file, &start.options);
    if !loaded.is_ok() {
        return Err(refused(&loaded));
    }
    let Loaded {
        settings,
        files,
        diagnostics,
        ..
    } = loaded;
    let log = OperatorLog::install(log_settings(&settings)).map_err(|error| {
        failed(
            super::cli::INVALID,
            format!("the log cannot be opened: {error}"),
        )
    })?;
    for diagnostic in &diagnostics {
        tracing::warn!("{}", diagnostic.in_one_line());
    }
    match account.as_deref() {
        Some("root") => tracing::warn!(
            "running as root, as `user root` asks: whoever takes over the broker has the machine"
        ),
        Some(account) => tracing::info!("running as {account}"),
        None => {}
    }
    let source = Source {
        config_file: start.config_file.map(Path::to_owned),
        options: start.options.clone(),
    };
    let cannot = |error: std::io::Error| failed(CANNOT_LISTEN, format!("cannot start: {error}"));
    let opened = match keeping::open(&settings) {
        Ok(opened) => opened,
        Err(stop) => {
            log.stop();
            return Err(stop);
        }
    };
    let ended = Running::build(settings, &files, log.clone(), opened)
        .and_then(|running| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(serve(
                running,
                source,
                (bound, metrics_listener),
                &before,
                start.ready,
            )))
        })
        .map_err(cannot)
        .flatten();
    // However it ended, what was said is written.
    log.stop();
    ended
}

/// Where a reload reads from.
struct Source {
    config_file: Option<PathBuf>,
    options: LoadOptions,
}

fn endpoints(listener: &ListenerSettings) -> Result<Vec<Endpoint>, Stop> {
    let (host, port) = match &listener.bind {
        Bind::Unix(path) => return Ok(vec![Endpoint::Unix(path.clone())]),
        Bind::Tcp { host, port } => (host.as_deref(), *port),
    };
    let any: [IpAddr; 2] = [
        IpAddr::from([0, 0, 0, 0]),
        IpAddr::from([0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let addresses: Vec<SocketAddr> = match host {
        None => any.map(|address| SocketAddr::new(address, port)).to_vec(),
        Some(host) => (host, port)
            .to_socket_addrs()
            .map_err(|error| {
                failed(
                    CANNOT_LISTEN,
                    format!(
                        "{}: the address {host:?} cannot be found: {error}",
                        listener.origin
                    ),
                )
            })?
            .collect(),
    };
    let wanted = |address: &SocketAddr| match listener.socket_domain {
        None => true,
        Some(SocketDomain::Ipv4) => address.is_ipv4(),
        Some(SocketDomain::Ipv6) => address.is_ipv6(),
    };
    Ok(addresses
        .into_iter()
        .filter(wanted)
        .map(Endpoint::Tcp)
        .collect())
}

/// Binds every listener; gives each socket with the number of its listener.
fn bind_all(settings: &Settings) -> Result<Vec<(usize, Bound)>, Stop> {
    let mut all = Vec::new();
    for (index, listener) in settings.listeners.iter().enumerate() {
        let interface = listener
            .bind_interface
            .as_ref()
            .map(|name| name.value.as_str());
        let wildcard = matches!(&listener.bind, Bind::Tcp { host: None, .. });
        let mut bound_any = false;
        for endpoint in endpoints(listener)? {
            match Bound::bind(&endpoint, interface) {
                Ok(bound) => {
                    bound_any = true;
                    all.push((index, bound));
                }
                // A machine without IPv6 still has the IPv4 half of "every address".
                Err(error) if is_no_ipv6(&endpoint, &error) && (wildcard || listener.optional) => {}
                Err(error) => {
                    return Err(failed(
                        CANNOT_LISTEN,
                        format!(
                            "{}: cannot listen on {}: {error}",
                            listener.origin,
                            shown(&endpoint)
                        ),
                    ));
                }
            }
        }
        if !bound_any && !listener.optional {
            return Err(failed(
                CANNOT_LISTEN,
                format!("{}: there is no address to listen on", listener.origin),
            ));
        }
    }
    Ok(all)
}

fn is_no_ipv6(endpoint: &Endpoint, error: &std::io::Error) -> bool {
    use nix::errno::Errno;
    let Endpoint::Tcp(address) = endpoint else {
        return false;
    };
    address.is_ipv6()
        && matches!(
            error.raw_os_error().map(Errno::from_raw),
            Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
        )
}

fn shown(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(address) => address.to_string(),
        Endpoint::Unix(path) => path.display().to_string(),
    }
}

fn bind_metrics(settings: &Settings) -> Result<Option<std::net::TcpListener>, Stop> {
    let Some(metrics) = &settings.metrics_listener else {
        return Ok(None);
    };
    let address = SocketAddr::new(metrics.address, metrics.port);
    std::net::TcpListener::bind(address)
        .map(Some)
        .map_err(|error| {
            failed(
                CANNOT_LISTEN,
                format!(
                    "{}: cannot listen on {address} for metrics: {error}",
                    metrics.origin
                ),
            )
        })
}

struct Signals {
    hangup: UnixSignal,
    terminate: UnixSignal,
    interrupt: UnixSignal,
    user1: UnixSignal,
    reopen: UnixSignal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
            // SIGRTMIN as the C library counts it: the first two are its own.
            reopen: signal(SignalKind::from_raw(34))?,
        })
    }
}

async fn serve(
    mut running: Running,
    source: Source,
    (bound, metrics_listener): (Vec<(usize, Bound)>, Option<std::net::TcpListener>),
    before: &Looks,
    ready: Box<dyn FnOnce() + '_>,
) -> Result<(), Stop> {
    let cannot = |error: std::io::Error| failed(CANNOT_LISTEN, format!("cannot start: {error}"));
    let mut signals = Signals::new().map_err(cannot)?;
    let (stop, stopping) = watch::channel(false);
    let listeners = running.shared.listeners();
    for (index, socket) in bound {
        let Some(listener) = listeners.get(index) else {
            continue;
        };
        let name = Arc::clone(&listener.state().name);
        let work = listener::serve(
            Arc::clone(&running.shared),
            Arc::clone(listener),
            socket,
            stopping.clone(),
        );
        running.shared.cores.handle(ACCEPT_CORE).spawn(async move {
            if let Err(error) = work.await {
                tracing::error!("listener {name} failed: {error}");
            }
        });
        tracing::info!(target: "portcullis::log::notice", "listening on {}", listener.state().name);
    }
    tokio::spawn(Arc::clone(&running.shared.cores).balance());
    if let Some(socket) = metrics_listener {
        let exporter = running.exporter();
        tokio::spawn(exporter::serve(socket, exporter, stopping.clone()));
    }
    running.ask_remotes();
    running.set_accepting(true);
    running.shared.audit.record(&Event::Started {
        version: env!("CARGO_PKG_VERSION"),
    });
    process::notify(&[NotifyState::Ready]);
    ready();
    let mut house = Housekeeping::new(&running);
    let mut watch = Watch::default();
    watch.loaded(&running.settings, None, before);
    let mut store_watch = keeping::Watch::default();
    let mut failed = None;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                house.tick(&mut running);
                if let Some(store) = running.shared.broker.store()
                    && let Err(stop) = store_watch.tick(store)
                {
                    failed = Some(stop);
                    break;
                }
                let written = tick_rehashes(&mut running);
                watch.wrote(&written, |file| running.rehasher.holds(file));
                if watch.has_changed(&running.settings) {
                    tracing::info!(target: "portcullis::log::notice", "a file has changed: reloading");
                    reload(&mut running, &source, &mut watch);
                }
            }
            _ = signals.hangup.recv() => reload(&mut running, &source, &mut watch),
            _ = signals.reopen.recv() => reopen_logs(&running),
            _ = signals.user1.recv() => {
                match running.shared.broker.store() {
                    Some(store) => {
                        store.checkpoint();
                        tracing::info!("SIGUSR1: what is in the store is sealed, so that the next start is fast");
                    }
                    None => tracing::info!("SIGUSR1: nothing to write, `persistence` is not true"),
                }
            }
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    running.set_accepting(false);
    process::notify(&[NotifyState::Stopping]);
    running.shared.audit.record(&Event::Stopping);
    stop.send_replace(true);
    drain(&running).await;
    tick_bans(&mut running);
    tick_rehashes(&mut running);
    // Last: what the connections left behind is in it.
    if let Some(store) = running.shared.broker.store() {
        store.close();
    }
    failed.map_or(Ok(()), Err)
}

fn reload(running: &mut Running, source: &Source, watch: &mut Watch) {
    let before = watch.look(&running.settings);
    let mut state = vec![NotifyState::Reloading];
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        state.push(now);
    }
    process::notify(&state);
    let loaded = reading::load(source.config_file.as_deref(), &source.options);
    let attempted = Box::new(loaded.settings.clone());
    let refused = (!running.reload(loaded)).then_some(attempted);
    watch.loaded(&running.settings, refused, &before);
    process::notify(&[NotifyState::Ready]);
}

fn reopen_logs(running: &Running) {
    let log = running.log.reopen(running.log.settings());
    let target = super::running::journal_target(&running.settings);
    let audit = running.shared.audit.journal().reopen(&target);
    for result in [log, audit] {
        if let Err(error) = result {
            tracing::error!("a log cannot be reopened: {error}");
        }
    }
}

/// Tells every client, waits until they are gone or the time is over, and ends the threads.
async fn drain(running: &Running) {
    let until = Instant::now() + running.settings.process.shutdown_timeout;
    running.shared.broker.signal_all(Signal::Shutdown);
    while running.shared.cores.connections() > 0 && Instant::now() < until {
        // A client that was greeting when the signal was sent hears it the next time.
        running.shared.broker.signal_all(Signal::Shutdown);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shared = Arc::clone(&running.shared);
    // The threads are joined where waiting is allowed.
    drop(tokio::task::spawn_blocking(move || shared.cores.stop()).await);
    running.shared.audit.journal().stop();
}

/// What is done every second, and every `sys_interval`.
struct Housekeeping {
    sampler: SysSampler,
    next_sys: Instant,
    next_sweep: Instant,
    author: Arc<Author>,
    cache: MatchCache,
}

impl Housekeeping {
    fn new(running: &Running) -> Self {
        let now = Instant::now();
        Self {
            sampler: SysSampler::new(now),
            next_sys: now,
            next_sweep: now + sweep_interval(running),
            author: Arc::new(Author {
                groups: Groups::default(),
                tokens: Arc::default(),
                grants: None,
                address: None,
                client_id: ClientId::new("$SYS"),
                username: None,
                listener: None,
            }),
            cache: MatchCache::default(),
        }
    }

    fn tick(&mut self, running: &mut Running) {
        let now = Instant::now();
        let mut effects = Effects::default();
        running.shared.broker.tick(now, &mut effects);
        tick_bans(running);
        running.shared.audit.tick(now);
        weigh(running);
        running.shared.tick_drain();
        if now >= self.next_sweep {
            self.next_sweep = now + sweep_interval(running);
            running.shared.broker.expire_retained(now, &mut effects);
        }
        if let Some(interval) = running.settings.protocol.sys_interval
            && now >= self.next_sys
        {
            self.next_sys = now + interval;
            self.publish_sys(running, now, &mut effects);
        }
        running.shared.finish(&mut effects);
    }

    fn publish_sys(&mut self, running: &Running, now: Instant, effects: &mut Effects) {
        let broker = &running.shared.broker;
        let counts = broker.counts();
        let (stored, stored_bytes) = broker.queued();
        let totals = Totals {
            traffic: running.shared.traffic.total(),
            connections: counts.accepted,
            connected: counts.connected,
            connected_maximum: counts.connected_maximum,
            sessions: counts.sessions,
            expired: counts.expired_sessions,
            subscriptions: counts.subscriptions,
            shared_subscriptions: counts.shared_subscriptions,
            retained: counts.retained_messages,
            stored,
            stored_bytes,
        };
        for (topic, value) in self.sampler.sample(now, &totals) {
            let Ok(topic) = TopicName::parse(&topic) else {
                continue;
            };
            let message = broker.gate().own(Message {
                topic,
                payload: Bytes::from(value),
                properties: Box::default(),
                qos: QoS::AtMostOnce,
                retain: true,
                expires_at: None,
                author: Arc::clone(&self.author),
                submitted: Submitted::default(),
            });
            broker.publish(
                message,
                &mut LastTopic::default(),
                &mut self.cache,
                now,
                effects,
            );
        }
    }
}

/// Writes better hashes into the password files; gives those it has written.
fn tick_rehashes(running: &mut Running) -> Vec<PathBuf> {
    let verifier = &running.services.verifier;
    running.rehasher.tick(verifier, &running.shared.audit)
}

/// Ends bans that are over, and takes and keeps them in `ban_file`.
fn tick_bans(running: &mut Running) {
    let sentry = &running.shared.sentry;
    sentry.tick();
    if sentry.take_expulsion() {
        running.shared.broker.signal_all(Signal::Expel);
    }
    if let Some(file) = &mut running.ban_file {
        file.tick(sentry);
    }
}

/// Holds what is kept against `memory_limit`, and tells when it is reached and when it is not any more.
fn weigh(running: &Running) {
    let limit = running.settings.limits.memory_limit;
    let limit = limit.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    match running.shared.broker.weigh(limit) {
        Some((true, kept)) => tracing::warn!(
            "memory_limit is reached: {kept} bytes are queued and retained; until it is less, what a \
             client does not take is dropped and new retained messages are refused"
        ),
        Some((false, _)) => {
            tracing::warn!(
                "less than memory_limit is queued and retained: messages are kept again"
            );
        }
        None => {}
    }
}

fn sweep_interval(running: &Running) -> Duration {
    running
        .settings
        .protocol
        .retain_expiry
        .unwrap_or(RETAIN_SWEEP)
        .min(RETAIN_SWEEP)
}
