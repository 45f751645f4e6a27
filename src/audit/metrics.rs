//! Prometheus metrics: counters that events move, and gauges read at a scrape.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Counter, Encoder, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::core_metrics::{CoreMetrics, CoresGauges};
use super::event::{Cause, Touched};
use super::store_metrics::{self, StoreGauges};
use super::traffic::{Traffic, TrafficDelta};
use crate::policy::{Action, DenyReason, MisuseKind};

/// Counters that events move. Labels come from closed sets only.
#[derive(Clone, Debug)]
pub struct Families {
    connects: IntCounterVec,
    refused: IntCounterVec,
    auth_failures: IntCounterVec,
    denied: IntCounterVec,
    subscribe_denied: IntCounterVec,
    rate_limited: IntCounterVec,
    misuse: IntCounterVec,
    canary: IntCounterVec,
    pub(super) would_deny: IntCounterVec,
    pub(super) tls_failures: IntCounterVec,
    pub(super) connect_timeouts: IntCounterVec,
    pub(super) malformed: IntCounterVec,
    pub(super) disconnects: IntCounterVec,
    pub(super) reloads: IntCounterVec,
    pub(super) subscribes: IntCounter,
    pub(super) unsubscribes: IntCounter,
    pub(super) subscriptions_lost: IntCounter,
    pub(super) takeovers: IntCounter,
    pub(super) bans: IntCounter,
    pub(super) bans_lifted: IntCounter,
    pub(super) accept_failures: IntCounter,
}

impl Families {
    pub(super) fn connects(&self, result: &str, method: &str) {
        self.connects.with_label_values(&[result, method]).inc();
    }

    pub(super) fn refused(&self, reason: DenyReason) {
        self.refused.with_label_values(&[reason.label()]).inc();
        if is_authentication(reason) {
            self.auth_failures
                .with_label_values(&[reason.label()])
                .inc();
        }
        if is_rate(reason) {
            self.rate_limited.with_label_values(&[reason.label()]).inc();
        }
    }

    pub(super) fn canary(&self, kind: &str) {
        self.canary.with_label_values(&[kind]).inc();
    }

    pub(super) fn misuse(&self, kind: MisuseKind) {
        self.misuse.with_label_values(&[kind.label()]).inc();
    }

    pub(super) fn denied(&self, action: Action, reason: DenyReason) {
        if is_rate(reason) {
            self.rate_limited.with_label_values(&[reason.label()]).inc();
            return;
        }
        self.denied
            .with_label_values(&[action.label(), reason.label()])
            .inc();
        if action == Action::Subscribe {
            self.subscribe_denied
                .with_label_values(&[reason.label()])
                .inc();
        }
    }
}

fn set_times(gauges: &GaugeVec, times: &[(String, i64)]) {
    gauges.reset();
    for (listener, at) in times {
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds since the epoch are far below 2^52"
        )]
        gauges.with_label_values(&[listener]).set(*at as f64);
    }
}

fn is_authentication(reason: DenyReason) -> bool {
    matches!(
        reason,
        DenyReason::BadCredentials
            | DenyReason::AnonymousForbidden
            | DenyReason::NoCertificate
            | DenyReason::BadCertificateIdentity
            | DenyReason::CertificatePin
            | DenyReason::UserDisabled
            | DenyReason::AuthUnavailable
            | DenyReason::AuthBusy
            | DenyReason::BadAuthMethod
            | DenyReason::TokenMalformed
            | DenyReason::TokenSignature
            | DenyReason::TokenClaims
            | DenyReason::TokenExpired
            | DenyReason::TokenRevoked
            | DenyReason::TokenReplayed
    )
}

fn is_rate(reason: DenyReason) -> bool {
    matches!(
        reason,
        DenyReason::MessageRate | DenyReason::ByteRate | DenyReason::ConnectRate
    )
}

/// Whether the gate can give it for a publish, a subscription, a delivery or a will.
fn is_of_the_gate(reason: DenyReason) -> bool {
    matches!(
        reason,
        DenyReason::NoRule
            | DenyReason::DenyRule
            | DenyReason::ReadOnly
            | DenyReason::WriteOnly
            | DenyReason::Wildcard
            | DenyReason::GuardBudget
            | DenyReason::Reserved
            | DenyReason::IdentityCharacters
            | DenyReason::MaxSubscriptions
            | DenyReason::MountPoint
            | DenyReason::TopicLevels
            | DenyReason::MessageSize
            | DenyReason::RetainQuota
            | DenyReason::StoreFull
            | DenyReason::WillRefused
            | DenyReason::QosNotSupported
            | DenyReason::RetainNotSupported
            | DenyReason::RetainSource
            | DenyReason::WildcardsOff
            | DenyReason::SharedOff
    )
}

/// What a scrape asks the broker for.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Connections, those that greet included.
    pub connections: usize,
    /// The network threads.
    pub cores: CoresGauges,
    /// Sessions, connected or parked.
    pub sessions: usize,
    /// Sessions with a connection.
    pub connected: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Those that are shared.
    pub shared_subscriptions: usize,
    /// Retained messages.
    pub retained_messages: usize,
    /// Their bytes.
    pub retained_bytes: usize,
    /// Messages queued in all mailboxes.
    pub queued_messages: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Whether `memory_limit` is reached.
    pub memory_pressed: bool,
    /// Addresses banned now.
    pub banned: usize,
    /// Users banned now from one address.
    pub banned_users: usize,
    /// Refused connections whose answer waits.
    pub held_back: usize,
    /// Identity sources over HTTPS that cannot be relied on.
    pub remotes_down: usize,
    /// Those, and key sets that could not be read the last time.
    pub remotes_silent: usize,
    /// Passwords hashed.
    pub hash_runs: u64,
    /// Passwords answered from the cache or from a run under way.
    pub hash_saved: u64,
    /// The store.
    pub store: StoreGauges,
    /// Lines of the operator's log lost because its reader was too slow.
    pub log_lost: u64,
    /// Lines of the audit log lost because the disk was too slow.
    pub audit_lost: u64,
}

type Source = Box<dyn Fn() -> Gauges + Send + Sync>;

/// Everything that is scraped.
pub struct Metrics {
    registry: Registry,
    certificate_expiry: GaugeVec,
    ocsp_expiry: GaugeVec,
    findings: IntGaugeVec,
    source: Arc<Mutex<Option<Source>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

impl Metrics {
    /// Registers every metric, each label value at zero, so that a rate exists from the first
    /// scrape on. `malformed` and `tls` are the labels those floors can give.
    ///
    /// # Errors
    /// Two metrics have one name, which is a mistake in the program.
    pub fn new(
        traffic: Arc<Traffic>,
        malformed: &[&str],
        tls: &[&str],
        methods: &[&str],
        finding_kinds: &[&str],
    ) -> prometheus::Result<(Self, Families)> {
        let registry = Registry::new();
        let families = families(&registry)?;
        for method in methods {
            for result in ["accepted", "refused"] {
                families.connects.with_label_values(&[result, method]);
            }
        }
        for reason in DenyReason::ALL {
            families.refused.with_label_values(&[reason.label()]);
            if is_authentication(*reason) {
                families.auth_failures.with_label_values(&[reason.label()]);
            }
            if is_rate(*reason) {
                families.rate_limited.with_label_values(&[reason.label()]);
            }
            if !is_of_the_gate(*reason) {
                continue;
            }
            for action in Action::ALL {
                families
                    .denied
                    .with_label_values(&[action.label(), reason.label()]);
            }
            families
                .subscribe_denied
                .with_label_values(&[reason.label()]);
            families.would_deny.with_label_values(&[reason.label()]);
        }
        for (family, labels) in [
            (&families.malformed, malformed),
            (&families.tls_failures, tls),
            (
                &families.connect_timeouts,
                &["tls", "websocket", "connect", "authentication"],
            ),
            (&families.reloads, &["applied", "failed"]),
        ] {
            for label in labels {
                family.with_label_values(&[label]);
            }
        }
        for kind in Touched::LABELS {
            families.canary.with_label_values(&[kind]);
        }
        for kind in MisuseKind::ALL {
            families.misuse.with_label_values(&[kind.label()]);
        }
        for cause in Cause::ALL {
            families.disconnects.with_label_values(&[cause.label()]);
        }
        let certificate_expiry = GaugeVec::new(
            Opts::new(
                "portcullis_certificate_expiry_timestamp_seconds",
                "When the server certificate of a listener expires, in seconds since the epoch.",
            ),
            &["listener"],
        )?;
        let ocsp_expiry = GaugeVec::new(
            Opts::new(
                "portcullis_ocsp_expiry_timestamp_seconds",
                "When the OCSP response of a listener's certificate is too old, in seconds since the epoch.",
            ),
            &["listener"],
        )?;
        let findings = IntGaugeVec::new(
            Opts::new(
                "portcullis_hardened_findings",
                "Things in the configuration that the hardened profile would refuse.",
            ),
            &["kind"],
        )?;
        for kind in finding_kinds {
            findings.with_label_values(&[kind]);
        }
        let build_info = IntGaugeVec::new(
            Opts::new(
                "portcullis_build_info",
                "Always 1; the labels tell what runs.",
            ),
            &["version"],
        )?;
        build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        registry.register(Box::new(certificate_expiry.clone()))?;
        registry.register(Box::new(ocsp_expiry.clone()))?;
        registry.register(Box::new(findings.clone()))?;
        registry.register(Box::new(build_info))?;
        let source = Arc::new(Mutex::new(None));
        registry.register(Box::new(Readings::new(traffic, Arc::clone(&source))?))?;
        let metrics = Self {
            registry,
            certificate_expiry,
            ocsp_expiry,
            findings,
            source,
        };
        Ok((metrics, families))
    }

    /// Where gauges are read from at a scrape.
    pub fn set_source(&self, source: impl Fn() -> Gauges + Send + Sync + 'static) {
        *self.source.lock() = Some(Box::new(source));
    }

    /// When the certificates of the listeners expire: replaces what was told before.
    pub fn set_certificates(&self, expiries: &[(String, i64)]) {
        set_times(&self.certificate_expiry, expiries);
    }

    /// When their OCSP responses are too old.
    pub fn set_ocsp_responses(&self, expiries: &[(String, i64)]) {
        set_times(&self.ocsp_expiry, expiries);
    }

    /// How many findings of each kind there are.
    pub fn set_findings(&self, counts: &[(&str, i64)]) {
        for (kind, count) in counts {
            self.findings.with_label_values(&[kind]).set(*count);
        }
    }

    /// The exposition in Prometheus's text format.
    pub fn render(&self) -> String {
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!("metrics cannot be rendered: {error}");
        }
        String::from_utf8(out).unwrap_or_default()
    }
}

fn families(registry: &Registry) -> prometheus::Result<Families> {
    let many = |name: &str, help: &str, labels: &[&str]| counters(registry, name, help, labels);
    let one = |name: &str, help: &str| counter(registry, name, help);
    Ok(Families {
        connects: many(
            "portcullis_connects_total",
            "Connections that sent CONNECT or were refused before, by result and by how the client proved who it is.",
            &["result", "method"],
        )?,
        refused: many(
            "portcullis_connects_refused_total",
            "Refused connections by reason.",
            &["reason"],
        )?,
        auth_failures: many(
            "portcullis_auth_failures_total",
            "Failed authentications by reason.",
            &["reason"],
        )?,
        denied: many(
            "portcullis_acl_denied_total",
            "Refused publishes, subscriptions and wills, by action and reason.",
            &["action", "reason"],
        )?,
        subscribe_denied: many(
            "portcullis_subscribe_denied_total",
            "Refused subscriptions by reason; `wildcard` counts attempts to enumerate.",
            &["reason"],
        )?,
        rate_limited: many(
            "portcullis_rate_limited_total",
            "Times a client or address ran into a rate.",
            &["reason"],
        )?,
        misuse: many(
            "portcullis_misuse_total",
            "Times that somebody reached a misuse_limit, by what he did.",
            &["kind"],
        )?,
        canary: many(
            "portcullis_canary_touched_total",
            "Times that somebody touched a canary_topic or a canary_user.",
            &["kind"],
        )?,
        would_deny: many(
            "portcullis_would_deny_total",
            "Subscriptions admitted by `subscribe_guard report` that strict would refuse.",
            &["reason"],
        )?,
        tls_failures: many(
            "portcullis_tls_handshake_failures_total",
            "TLS handshakes that failed, by reason.",
            &["reason"],
        )?,
        connect_timeouts: many(
            "portcullis_connect_timeouts_total",
            "Connections closed because no CONNECT came in time, by what was waited for.",
            &["stage"],
        )?,
        malformed: many(
            "portcullis_malformed_packets_total",
            "Packets that broke the protocol, by kind.",
            &["kind"],
        )?,
        disconnects: many(
            "portcullis_disconnects_total",
            "Connections that ended, by cause.",
            &["cause"],
        )?,
        reloads: many(
            "portcullis_config_reloads_total",
            "Reloads of the configuration, by result.",
            &["result"],
        )?,
        subscribes: one("portcullis_subscribes_total", "Subscriptions granted.")?,
        unsubscribes: one(
            "portcullis_unsubscribes_total",
            "Subscriptions ended by clients.",
        )?,
        subscriptions_lost: one(
            "portcullis_subscriptions_lost_total",
            "Subscriptions ended because they are not granted any more.",
        )?,
        takeovers: one(
            "portcullis_takeovers_total",
            "Sessions taken over by a new connection of the same identity.",
        )?,
        bans: one(
            "portcullis_bans_total",
            "Bans of addresses, and of users from one address.",
        )?,
        bans_lifted: one(
            "portcullis_bans_lifted_total",
            "Bans that ended before their time.",
        )?,
        accept_failures: one(
            "portcullis_accept_failures_total",
            "Connections that could not be accepted, mostly for want of file descriptors.",
        )?,
    })
}

/// A metric, and what is read for it.
pub(super) type Read<M, From, To> = (M, fn(&From) -> To);

/// Reads the traffic counters and the gauges when they are scraped.
struct Readings {
    traffic: Arc<Traffic>,
    source: Arc<Mutex<Option<Source>>>,
    by_qos: Vec<Read<IntCounterVec, TrafficDelta, [u64; 3]>>,
    totals: Vec<Read<IntCounter, TrafficDelta, u64>>,
    dropped: IntCounterVec,
    gauges: Vec<Read<IntGauge, Gauges, usize>>,
    counted: Vec<Read<IntCounter, Gauges, u64>>,
    sync_seconds: Read<Counter, Gauges, f64>,
    cores: CoreMetrics,
}

impl Readings {
    #[expect(
        clippy::too_many_lines,
        reason = "a table of metrics, their names and their meaning"
    )]
    fn new(traffic: Arc<Traffic>, source: Arc<Mutex<Option<Source>>>) -> prometheus::Result<Self> {
        let by_qos = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["qos"]);
        let gauge = |name: &str, help: &str| IntGauge::new(name, help);
        let total = |name: &str, help: &str| IntCounter::new(name, help);
        let mut readings = Self {
            traffic,
            source,
            sync_seconds: store_metrics::sync_seconds()?,
            cores: CoreMetrics::new()?,
            by_qos: vec![
                (
                    by_qos(
                        "portcullis_messages_received_total",
                        "PUBLISH packets received, by QoS.",
                    )?,
                    |delta| delta.received,
                ),
                (
                    by_qos(
                        "portcullis_messages_sent_total",
                        "PUBLISH packets sent, by QoS.",
                    )?,
                    |delta| delta.sent,
                ),
            ],
            totals: vec![
                (
                    total("portcullis_bytes_received_total", "Bytes of MQTT received.")?,
                    |delta| delta.bytes_received,
                ),
                (
                    total("portcullis_bytes_sent_total", "Bytes of MQTT sent.")?,
                    |delta| delta.bytes_sent,
                ),
            ],
            dropped: IntCounterVec::new(
                Opts::new(
                    "portcullis_messages_dropped_total",
                    "Deliveries dropped, by reason.",
                ),
                &["reason"],
            )?,
            gauges: vec![
                (gauge("portcullis_connections", "Open connections.")?, |g| {
                    g.connections
                }),
                (
                    gauge("portcullis_sessions", "Sessions, absent clients included.")?,
                    |g| g.sessions,
                ),
                (
                    gauge(
                        "portcullis_sessions_connected",
                        "Sessions with a connection.",
                    )?,
                    |g| g.connected,
                ),
                (gauge("portcullis_subscriptions", "Subscriptions.")?, |g| {
                    g.subscriptions
                }),
                (
                    gauge("portcullis_shared_subscriptions", "Shared subscriptions.")?,
                    |g| g.shared_subscriptions,
                ),
                (
                    gauge("portcullis_retained_messages", "Retained messages.")?,
                    |g| g.retained_messages,
                ),
                (
                    gauge("portcullis_retained_bytes", "Bytes of retained messages.")?,
                    |g| g.retained_bytes,
                ),
                (
                    gauge(
                        "portcullis_queued_messages",
                        "Messages that wait for clients.",
                    )?,
                    |g| g.queued_messages,
                ),
                (
                    gauge(
                        "portcullis_queued_bytes",
                        "Bytes of the messages that wait for clients.",
                    )?,
                    |g| g.queued_bytes,
                ),
                (
                    gauge(
                        "portcullis_memory_pressed",
                        "1 while memory_limit is reached: nothing more is kept for clients that do not take it.",
                    )?,
                    |g| usize::from(g.memory_pressed),
                ),
                (
                    gauge("portcullis_banned_addresses", "Addresses that are banned.")?,
                    |g| g.banned,
                ),
                (
                    gauge(
                        "portcullis_banned_users",
                        "Users that are banned, each from one address.",
                    )?,
                    |g| g.banned_users,
                ),
                (
                    gauge(
                        "portcullis_held_back_connections",
                        "Refused connections whose answer waits (auth_failure_delay_ms).",
                    )?,
                    |g| g.held_back,
                ),
                (
                    gauge(
                        "portcullis_identity_sources_down",
                        "Key sets and issuers that do not answer; who comes by them is refused.",
                    )?,
                    |g| g.remotes_down,
                ),
                (
                    gauge(
                        "portcullis_identity_sources_silent",
                        "Identity sources that are down, and key sets that could not be read the last time; the last good one is used until it is too old.",
                    )?,
                    |g| g.remotes_silent,
                ),
            ],
            counted: vec![
                (
                    total("portcullis_password_hashes_total", "Passwords hashed.")?,
                    |g| g.hash_runs,
                ),
                (
                    total(
                        "portcullis_password_hashes_saved_total",
                        "Passwords that needed no hash of their own.",
                    )?,
                    |g| g.hash_saved,
                ),
                (
                    total(
                        "portcullis_audit_lines_lost_total",
                        "Lines of the audit log lost because its queue was full.",
                    )?,
                    |g| g.audit_lost,
                ),
                (
                    total(
                        "portcullis_log_lines_lost_total",
                        "Lines of the operator's log lost because who reads it is too slow.",
                    )?,
                    |g| g.log_lost,
                ),
            ],
        };
        readings.gauges.extend(store_metrics::gauges()?);
        readings.counted.extend(store_metrics::counters()?);
        Ok(readings)
    }
}

const QOS: [&str; 3] = ["0", "1", "2"];

impl Collector for Readings {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = Vec::new();
        all.extend(self.by_qos.iter().flat_map(|(family, _)| family.desc()));
        all.extend(self.totals.iter().flat_map(|(counter, _)| counter.desc()));
        all.extend(self.dropped.desc());
        all.extend(self.gauges.iter().flat_map(|(gauge, _)| gauge.desc()));
        all.extend(self.counted.iter().flat_map(|(counter, _)| counter.desc()));
        all.extend(self.sync_seconds.0.desc());
        all.extend(self.cores.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let total = self.traffic.total();
        let gauges = self
            .source
            .lock()
            .as_ref()
            .map(|source| source())
            .unwrap_or_default();
        let mut all = Vec::new();
        for (family, read) in &self.by_qos {
            for (label, value) in QOS.iter().zip(read(&total)) {
                set(&family.with_label_values(&[label]), value);
            }
            all.extend(family.collect());
        }
        for (counter, read) in &self.totals {
            set(counter, read(&total));
            all.extend(counter.collect());
        }
        for (reason, value) in [
            ("queue_full", total.dropped_queue_full),
            ("expired", total.dropped_expired),
            ("too_large", total.dropped_too_large),
            ("denied", total.dropped_denied),
        ] {
            set(&self.dropped.with_label_values(&[reason]), value);
        }
        all.extend(self.dropped.collect());
        for (gauge, read) in &self.gauges {
            gauge.set(i64::try_from(read(&gauges)).unwrap_or(i64::MAX));
            all.extend(gauge.collect());
        }
        for (counter, read) in &self.counted {
            set(counter, read(&gauges));
            all.extend(counter.collect());
        }
        let (counter, read) = &self.sync_seconds;
        counter.inc_by((read(&gauges) - counter.get()).max(0.0));
        all.extend(counter.collect());
        all.extend(self.cores.collect(&gauges.cores));
        all
    }
}

/// Counters only go up, so what is missing to the reading is added.
fn set(counter: &IntCounter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}
