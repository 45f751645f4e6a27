//! What the driver asks of the generator process, and what it answers; both travel as JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One run against one broker.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Job {
    pub(crate) load: Load,
    pub(crate) port: u16,
    /// The CA to trust; present when the row uses TLS.
    pub(crate) ca_file: Option<PathBuf>,
    /// Offer X25519MLKEM768 first, as rustls would; otherwise X25519 alone.
    pub(crate) hybrid: bool,
    /// Log in as the users of the generated password file.
    pub(crate) users: bool,
    /// Certificate and key to show the broker, if the row asks for them.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// Count the broker's system calls for a while behind the measured window.
    pub(crate) syscalls: bool,
    pub(crate) broker_pid: u32,
    pub(crate) warm_up_ms: u64,
    pub(crate) measure_ms: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum Load {
    Messages(Messages),
    /// Connections opened, then left alone.
    Idle {
        connections: usize,
    },
    /// Filters that differ, over some connections.
    Subscriptions {
        connections: usize,
        of_each: usize,
    },
    /// Messages of 64 bytes for sessions whose clients are away, each for one of them.
    Queued {
        sessions: usize,
        for_each: usize,
    },
    /// Connect, CONNACK, DISCONNECT, again and again.
    Connects {
        threads: usize,
    },
    /// Retained messages of 64 bytes, then one subscriber who takes them all.
    Retained {
        topics: usize,
    },
    /// The broker is started and takes a connection; there is no generator.
    Start,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Messages {
    pub(crate) shape: Shape,
    pub(crate) qos: u8,
    pub(crate) payload_bytes: usize,
    pub(crate) pace: Pace,
    /// Subscribers have sessions that outlive their connections, and the broker keeps them on disk.
    pub(crate) kept: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum Shape {
    Pairs(usize),
    FanIn {
        publishers: usize,
    },
    FanOut {
        subscribers: usize,
    },
    Wildcards {
        subscribers: usize,
        publishers: usize,
    },
    PingPong,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum Pace {
    /// At most so many messages of a publisher between its socket and the last receiver. A bound is
    /// what lets QoS 0 saturate a broker without a queue overflowing anywhere.
    Window(usize),
    /// So many messages a second over all publishers, each at its own moment.
    PerSecond(u32),
}

/// What one run gave.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Outcome {
    /// Whatever voids the run: a message lost, reordered or sent twice, a connection closed, a stall.
    pub(crate) void: Option<String>,
    /// Deliveries of the whole run, and what they should have been.
    pub(crate) delivered: u64,
    pub(crate) expected: u64,
    /// Deliveries (or connections) inside the measured window, and its length.
    pub(crate) counted: u64,
    pub(crate) window_s: f64,
    pub(crate) broker_cpu_s: f64,
    /// The same from clock ticks, as a check.
    pub(crate) broker_ticks_cpu_s: f64,
    pub(crate) broker_context_switches: u64,
    pub(crate) broker_rss_kib: u64,
    pub(crate) broker_peak_kib: u64,
    pub(crate) generator_cpu_s: f64,
    pub(crate) latency_us: Option<Latency>,
    /// Growth of the broker's resident memory by what is held.
    pub(crate) rss_growth_kib: Option<i64>,
    /// CPU of the broker for making each thing that is held.
    pub(crate) making_cpu_us: Option<f64>,
    /// CPU of the broker for each message that nobody gets, while all of them are held.
    pub(crate) matching_cpu_us: Option<f64>,
    /// System calls of the broker for each delivery.
    pub(crate) syscalls_each: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}
