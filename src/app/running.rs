//! The parts of a running broker, and how a reload exchanges what can be exchanged.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::audit::{
    Auditor, Event, Gauges, Journal, JournalTarget, LogClass, LogDestination, LogSettings, Metrics,
    OperatorLog, Traffic,
};
use crate::auth::{Authenticator, CacheSettings, CredentialCache, Verifier};
use crate::broker::{self, Broker, QueueLimits, RetainLimits, Signal};
use crate::codec::MalformedKind;
use crate::config::{self, AuditLog, FindingKind, LogType, Settings};
use crate::net::exporter::{Exporter, Readiness};
use crate::net::listener::Listener;
use crate::net::{Cores, Drain, Sentry, Shared, tls, websocket};
use crate::policy::{Admission, Gate};
use crate::session;

use super::abuse;
use super::ban_file::BanFile;
use super::generation::{self, Services};
use super::keeping::{self, Opened};
use super::reading::{Files, Loaded};
use super::rehash::Rehasher;
use super::remotes::Asked;

/// A broker with its parts.
pub(crate) struct Running {
    pub(crate) shared: Arc<Shared>,
    pub(crate) services: Services,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: OperatorLog,
    pub(crate) settings: Settings,
    /// `ban_file`.
    pub(crate) ban_file: Option<BanFile>,
    /// `rehash_on_login`.
    pub(crate) rehasher: Rehasher,
    asked: Asked,
    accepting: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
}

/// Where the audit log goes.
pub(crate) fn journal_target(settings: &Settings) -> JournalTarget {
    match &settings.audit_log {
        AuditLog::Off => JournalTarget::Off,
        AuditLog::Stdout => JournalTarget::Stdout,
        AuditLog::File(file) => JournalTarget::File(file.value.clone()),
    }
}

/// The operator's log as configured.
pub(crate) fn log_settings(settings: &Settings) -> LogSettings {
    let log = &settings.log;
    let mut classes: std::collections::BTreeSet<LogClass> = log
        .types
        .iter()
        .filter_map(|kind| match kind {
            LogType::Error => Some(LogClass::Error),
            LogType::Warning => Some(LogClass::Warning),
            LogType::Notice => Some(LogClass::Notice),
            LogType::Information => Some(LogClass::Information),
            LogType::Debug => Some(LogClass::Debug),
            LogType::Subscribe => Some(LogClass::Subscribe),
            LogType::Unsubscribe => Some(LogClass::Unsubscribe),
            LogType::Websockets | LogType::Internal => None,
        })
        .collect();
    // mosquitto logs connections as notices, and they are shown by default.
    if log.connection_messages && log.types.contains(&LogType::Notice) {
        classes.insert(LogClass::Connection);
    }
    LogSettings {
        destinations: log
            .destinations
            .iter()
            .map(|destination| match destination {
                config::LogDestination::Stdout => LogDestination::Stdout,
                config::LogDestination::Stderr => LogDestination::Stderr,
                config::LogDestination::Syslog => LogDestination::Syslog,
                config::LogDestination::File(file) => LogDestination::File(file.value.clone()),
            })
            .collect(),
        facility: log.facility,
        timestamp: log.timestamp,
        timestamp_format: log.timestamp_format.clone(),
        classes,
    }
}

fn open_bans(settings: &Settings, sentry: &Sentry) -> io::Result<Option<BanFile>> {
    let file = settings.abuse.ban_file.as_ref();
    file.map(|file| BanFile::open(&file.value, sentry))
        .transpose()
}

fn broker_settings(settings: &Settings) -> broker::Settings {
    let limits = &settings.limits;
    broker::Settings {
        queue: QueueLimits {
            messages: limits.max_queued_messages.unwrap_or(0),
            bytes: limits.max_queued_bytes.unwrap_or(0),
            queue_qos0: limits.queue_qos0_messages,
        },
        retain: RetainLimits {
            messages: limits.max_retained_messages.unwrap_or(0),
            bytes: limits
                .max_retained_bytes
                .map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        },
        max_sessions: limits.global_max_clients,
        duplicates: settings.protocol.allow_duplicate_messages,
        upgrade_outgoing_qos: settings.protocol.upgrade_outgoing_qos,
        check_retain_source: settings.access.check_retain_source,
    }
}

/// Labels of everything that can be wrong with a packet.
fn malformed_labels() -> Vec<&'static str> {
    MalformedKind::ALL
        .iter()
        .map(|kind| kind.label())
        .chain(session::LABELS.iter().copied())
        .chain(websocket::LABELS.iter().copied())
        .collect()
}

impl Running {
    /// Builds the parts; nothing listens yet.
    ///
    /// # Errors
    /// The system refuses threads, random numbers or the audit log.
    pub(crate) fn build(
        settings: Settings,
        files: &Files,
        log: OperatorLog,
        opened: Option<Opened>,
    ) -> io::Result<Self> {
        let journal = Journal::start(&journal_target(&settings))?;
        let traffic = Arc::new(Traffic::new(settings.process.threads));
        let kinds: Vec<&str> = FindingKind::ALL.iter().map(|kind| kind.label()).collect();
        let (metrics, families) = Metrics::new(
            Arc::clone(&traffic),
            &malformed_labels(),
            tls::HANDSHAKE_FAILURES,
            Authenticator::methods(),
            &kinds,
        )
        .map_err(io::Error::other)?;
        let metrics = Arc::new(metrics);
        let audit = Auditor::new(journal, families);
        let sentry = Sentry::new(Arc::clone(&audit), &abuse::sentry(&settings));
        let ban_file = open_bans(&settings, &sentry)?;
        let gate = Arc::new(Gate::new(
            generation::policy(&settings, files),
            Arc::clone(&sentry) as Arc<dyn crate::policy::Observer>,
        ));
        let cache = CredentialCache::new(CacheSettings {
            entries: settings.hashing.credential_cache,
            time: settings.hashing.credential_cache_time,
        })
        .map_err(io::Error::other)?;
        let verifier = Arc::new(Verifier::start(
            settings.hashing.workers,
            settings.hashing.queue,
            Arc::new(cache),
        )?);
        let services = Services {
            verifier,
            replays: Arc::default(),
        };
        let cores = Cores::start(settings.process.threads, settings.process.placement)?;
        if let Some(opened) = &opened {
            opened.connect(&cores);
        }
        let store = opened.as_ref().map(|opened| Arc::clone(&opened.store));
        let shared = Shared::new(
            Broker::new(&broker_settings(&settings), gate).with_store(store),
            audit,
            traffic,
            Admission::new(generation::admission(&settings)),
            sentry,
            cores,
        );
        for state in generation::listeners(&settings, files, &services) {
            shared.add_listener(Listener::new(state));
        }
        if let Some(opened) = opened {
            keeping::restore(&shared, opened.recovered);
        }
        let mut running = Self {
            shared,
            services,
            metrics,
            log,
            settings,
            ban_file,
            rehasher: Rehasher::default(),
            asked: Asked::default(),
            accepting: Arc::new(AtomicBool::new(false)),
            draining: Arc::new(AtomicBool::new(false)),
        };
        running.asked.set(files.remotes.clone());
        running.rehash(files);
        running.tell_metrics(files);
        running.connect_gauges();
        Ok(running)
    }

    fn rehash(&mut self, files: &Files) {
        self.rehasher.loaded(&files.password_digests);
        self.services
            .verifier
            .set_rehash(self.settings.hashing.rehash_on_login);
    }

    fn tell_metrics(&self, files: &Files) {
        let settings = &self.settings;
        let drain = generation::drain(settings);
        let draining = drain.is_some();
        if draining != self.draining.swap(draining, Ordering::Relaxed) {
            tell_drain(settings, drain.as_ref());
        }
        self.shared.set_drain(drain);
        self.shared.set_limits(
            generation::budget(settings),
            settings.limits.global_max_connections,
            settings.limits.max_handshakes,
        );
        self.metrics
            .set_certificates(&generation::certificates(settings, files));
        self.metrics
            .set_ocsp_responses(&generation::ocsp_responses(settings, files));
        let counts: Vec<(&str, i64)> = FindingKind::ALL
            .iter()
            .map(|&kind| {
                let count = settings
                    .findings
                    .iter()
                    .filter(|finding| finding.kind == kind);
                (
                    kind.label(),
                    i64::try_from(count.count()).unwrap_or(i64::MAX),
                )
            })
            .collect();
        self.metrics.set_findings(&counts);
    }

    fn connect_gauges(&self) {
        // Weak: the metrics must not keep the broker alive.
        let shared = Arc::downgrade(&self.shared);
        let verifier = Arc::downgrade(&self.services.verifier);
        let log = self.log.clone();
        let asked = self.asked.clone();
        self.metrics.set_source(move || {
            let (Some(shared), Some(verifier)) = (shared.upgrade(), verifier.upgrade()) else {
                return Gauges::default();
            };
            let counts = shared.broker.counts();
            let (queued_messages, queued_bytes) = shared.broker.queued();
            let hashes = verifier.counts();
            let (banned, banned_users) = shared.sentry.bans.count(std::time::Instant::now());
            Gauges {
                connections: shared.cores.connections(),
                cores: shared.cores.gauges(),
                sessions: counts.sessions,
                connected: counts.connected,
                subscriptions: counts.subscriptions,
                shared_subscriptions: counts.shared_subscriptions,
                retained_messages: counts.retained_messages,
                retained_bytes: counts.retained_bytes,
                queued_messages,
                queued_bytes,
                memory_pressed: shared.broker.is_pressed(),
                banned,
                banned_users,
                held_back: shared.held_back(),
                remotes_down: asked.down().len(),
                remotes_silent: asked.silent(),
                hash_runs: hashes.runs,
                hash_saved: hashes.cached + hashes.shared,
                audit_lost: shared.audit.journal().lost(),
                store: keeping::gauges(shared.broker.store()),
                log_lost: log.lost(),
            }
        });
    }

    /// Asks who is to be asked over HTTPS, on this runtime.
    pub(crate) fn ask_remotes(&self) {
        self.asked.start(&self.shared);
    }

    /// What the metrics endpoint answers from.
    pub(crate) fn exporter(&self) -> Exporter {
        let accepting = Arc::clone(&self.accepting);
        let draining = Arc::clone(&self.draining);
        let asked = self.asked.clone();
        // Weak: the endpoint must not keep the broker alive.
        let shared = Arc::downgrade(&self.shared);
        Exporter {
            metrics: Arc::clone(&self.metrics),
            ready: Arc::new(move || -> Readiness {
                if !accepting.load(Ordering::Relaxed) {
                    Err("the broker does not accept connections".into())
                } else if draining.load(Ordering::Relaxed) {
                    Err("the broker is being drained".into())
                } else if let Some(shared) = shared.upgrade()
                    && let Err(why) = keeping::readiness(shared.broker.store())
                {
                    Err(why)
                } else {
                    match asked.down().as_slice() {
                        [] => Ok(()),
                        down => Err(format!("cannot ask {}", down.join(", "))),
                    }
                }
            }),
        }
    }

    /// Says whether connections are accepted, for `/readyz`.
    pub(crate) fn set_accepting(&self, accepting: bool) {
        self.accepting.store(accepting, Ordering::Relaxed);
    }

    /// Exchanges everything that can be, or nothing: false then. `loaded` is the new configuration with
    /// its files.
    pub(crate) fn reload(&mut self, loaded: Loaded) -> bool {
        let errors: Vec<String> = loaded.errors().map(config::Diagnostic::headline).collect();
        for diagnostic in &loaded.diagnostics {
            if diagnostic.is_error() {
                tracing::error!("{}", diagnostic.in_one_line());
            } else {
                tracing::warn!("{}", diagnostic.in_one_line());
            }
        }
        if !errors.is_empty() {
            self.refuse_reload(&errors);
            return false;
        }
        let settings = loaded.settings;
        let wanted = settings.abuse.ban_file.as_ref().map(|file| &*file.value);
        let mut ban_file = None;
        if self.ban_file.as_ref().map(BanFile::path) != wanted {
            match open_bans(&settings, &self.shared.sentry) {
                Ok(file) => ban_file = Some(file),
                Err(error) => {
                    self.refuse_reload(&[error.to_string()]);
                    return false;
                }
            }
        }
        let target = journal_target(&settings);
        if let Err(error) = self.log.reopen(log_settings(&settings)) {
            self.refuse_reload(&[format!("the log cannot be opened: {error}")]);
            return false;
        }
        if let Err(error) = self.shared.audit.journal().reopen(&target) {
            // The operator's log goes back to what it was: all or nothing.
            drop(self.log.reopen(log_settings(&self.settings)));
            self.refuse_reload(&[format!("the audit log cannot be opened: {error}")]);
            return false;
        }
        if let Some(file) = ban_file {
            self.ban_file = file;
        }
        let changes = self.settings.changes(&settings);
        self.apply(settings, &loaded.files);
        let text = describe(&changes);
        self.shared
            .audit
            .record(&Event::Reloaded { changes: &text });
        true
    }

    fn refuse_reload(&self, errors: &[String]) {
        let first = errors
            .first()
            .map_or("the configuration cannot be read", String::as_str);
        self.shared.audit.record(&Event::ReloadFailed {
            errors: errors.len().max(1),
            first,
        });
    }

    fn apply(&mut self, mut settings: Settings, files: &Files) {
        // Listeners stay as they are bound: those that both configurations have, by address, get
        // the new settings under their old number.
        let mut policy_order = Vec::new();
        for old in &self.settings.listeners {
            policy_order.push(
                settings
                    .listeners
                    .iter()
                    .position(|new| new.bind == old.bind),
            );
        }
        // Before anybody is asked about by what was fetched.
        self.asked.set(files.remotes.clone());
        let states = generation::listeners(&settings, files, &self.services);
        let policy = generation::policy(&settings, files);
        let old = self.shared.broker.gate().policy();
        let listeners = policy_order
            .iter()
            .enumerate()
            // One that is gone from the configuration is up until the restart, with its old rules.
            .filter_map(|(index, place)| match place {
                Some(place) => policy.listeners.get(*place).cloned(),
                None => old.listeners.get(index).cloned(),
            })
            .collect();
        self.services.verifier.forget();
        let mut states: Vec<Option<_>> = states.into_iter().map(Some).collect();
        for (index, listener) in self.shared.listeners().iter().enumerate() {
            let Some(place) = policy_order.get(index).copied().flatten() else {
                continue;
            };
            if let Some(mut state) = states.get_mut(place).and_then(Option::take) {
                state.id = u16::try_from(index).unwrap_or(u16::MAX);
                listener.set_state(state);
            }
        }
        // Before the policy: with that every topic is judged, and looked at, anew.
        self.shared.sentry.set(&abuse::sentry(&settings));
        self.shared
            .broker
            .gate()
            .set_policy(crate::policy::Policy::of(
                listeners,
                policy.max_topic_levels,
            ));
        self.shared.broker.set(&broker_settings(&settings));
        self.shared.admission.set(generation::admission(&settings));
        // The order of listeners that is in use, so that the next reload compares with it.
        let by_old_number: Vec<_> = policy_order
            .iter()
            .zip(&self.settings.listeners)
            .map(|(place, old)| {
                place
                    .and_then(|place| settings.listeners.get(place))
                    .unwrap_or(old)
                    .clone()
            })
            .collect();
        settings.listeners = by_old_number;
        self.settings = settings;
        self.rehash(files);
        self.tell_metrics(files);
        self.asked.start(&self.shared);
        // Last: every connection looks at what is now in force.
        self.shared.broker.signal_all(Signal::Recheck);
    }
}

fn tell_drain(settings: &Settings, drain: Option<&Drain>) {
    let Some(drain) = drain else {
        tracing::info!(target: "portcullis::log::notice", "clients are taken again: `drain` is gone");
        return;
    };
    let reference = drain.reference.as_deref().unwrap_or("no other server");
    let rate = match settings.protocol.drain_rate {
        Some(rate) => format!("{rate} a second"),
        None => "all at once".into(),
    };
    tracing::warn!(
        "draining: clients are refused and sent away ({rate}), referred to {reference}; \
         remove `drain` and reload to take them again"
    );
}

fn describe(changes: &[config::Change]) -> String {
    if changes.is_empty() {
        return "the files it names were read again; no directive has changed".into();
    }
    let mut parts = Vec::new();
    for change in changes {
        let effect = match change.effect {
            config::Reload::Applied => "applied",
            config::Reload::NewConnections => "for new connections",
            config::Reload::NeedsRestart => "needs a restart",
        };
        parts.push(format!("{} ({effect})", change.directive));
    }
    parts.join(", ")
}
