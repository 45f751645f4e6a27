//! `$SYS`: the broker's own numbers as messages, under the names mosquitto gave them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::traffic::TrafficDelta;

/// Totals at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Messages and bytes.
    pub traffic: TrafficDelta,
    /// Connections accepted since the start.
    pub connections: u64,
    /// Sessions with a connection.
    pub connected: usize,
    /// The most there were at one time.
    pub connected_maximum: usize,
    /// Sessions in all.
    pub sessions: usize,
    /// Sessions that expired.
    pub expired: u64,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Shared ones.
    pub shared_subscriptions: usize,
    /// Retained messages.
    pub retained: usize,
    /// Messages that wait for clients.
    pub stored: usize,
    /// Their bytes.
    pub stored_bytes: usize,
}

/// Makes `$SYS` messages out of totals; only those that changed.
#[derive(Debug)]
pub struct SysSampler {
    started: Instant,
    last: HashMap<String, String>,
    loads: [Load; 6],
    sampled: Option<Instant>,
}

/// An exponentially weighted rate a minute, over 1, 5 and 15 minutes.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    before: u64,
    averages: [f64; 3],
}

const LOAD_NAMES: [&str; 6] = [
    "messages/received",
    "messages/sent",
    "bytes/received",
    "bytes/sent",
    "publish/received",
    "connections",
];

impl Load {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to look at")]
    fn sample(&mut self, total: u64, passed: Duration) {
        let seconds = passed.as_secs_f64().max(0.001);
        let rate = total.saturating_sub(self.before) as f64 / seconds * 60.0;
        self.before = total;
        for (average, minutes) in self.averages.iter_mut().zip([1.0, 5.0, 15.0]) {
            let keep = (-seconds / (minutes * 60.0)).exp();
            *average = rate + keep * (*average - rate);
        }
    }
}

impl SysSampler {
    /// Begins at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            last: HashMap::new(),
            loads: [Load::default(); 6],
            sampled: None,
        }
    }

    /// Topics and values that are new or have changed.
    pub fn sample(&mut self, now: Instant, totals: &Totals) -> Vec<(String, String)> {
        let passed = now.duration_since(self.sampled.unwrap_or(self.started));
        self.sampled = Some(now);
        let traffic = &totals.traffic;
        let received: u64 = traffic.received.iter().sum();
        let sent: u64 = traffic.sent.iter().sum();
        for (load, total) in self.loads.iter_mut().zip([
            received,
            sent,
            traffic.bytes_received,
            traffic.bytes_sent,
            received,
            totals.connections,
        ]) {
            load.sample(total, passed);
        }
        let dropped = traffic.dropped_queue_full + traffic.dropped_expired + traffic.dropped_too_large;
        let disconnected = totals.sessions.saturating_sub(totals.connected);
        let mut values: Vec<(String, String)> = [
            ("version", format!("portcullis version {}", env!("CARGO_PKG_VERSION"))),
            ("uptime", format!("{} seconds", now.duration_since(self.started).as_secs())),
            ("clients/total", totals.sessions.to_string()),
            ("clients/connected", totals.connected.to_string()),
            ("clients/active", totals.connected.to_string()),
            ("clients/disconnected", disconnected.to_string()),
            ("clients/inactive", disconnected.to_string()),
            ("clients/maximum", totals.connected_maximum.to_string()),
            ("clients/expired", totals.expired.to_string()),
            ("messages/received", received.to_string()),
            ("messages/sent", sent.to_string()),
            ("messages/stored", totals.stored.to_string()),
            ("store/messages/count", totals.stored.to_string()),
            ("store/messages/bytes", totals.stored_bytes.to_string()),
            ("publish/messages/received", received.to_string()),
            ("publish/messages/sent", sent.to_string()),
            ("publish/messages/dropped", dropped.to_string()),
            ("bytes/received", traffic.bytes_received.to_string()),
            ("bytes/sent", traffic.bytes_sent.to_string()),
            ("retained messages/count", totals.retained.to_string()),
            ("subscriptions/count", totals.subscriptions.to_string()),
            ("shared_subscriptions/count", totals.shared_subscriptions.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (format!("$SYS/broker/{name}"), value))
        .collect();
        for (name, load) in LOAD_NAMES.iter().zip(&self.loads) {
            for (average, span) in load.averages.iter().zip(["1min", "5min", "15min"]) {
                values.push((format!("$SYS/broker/load/{name}/{span}"), format!("{average:.2}")));
            }
        }
        values.retain(|(topic, value)| self.last.get(topic) != Some(value));
        for (topic, value) in &values {
            self.last.insert(topic.clone(), value.clone());
        }
        values
    }
}
