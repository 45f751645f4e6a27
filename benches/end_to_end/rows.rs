//! The rows of the comparison. The loads and goals are those of docs/benchmarks.md.

use crate::job::{Load, Messages, Pace, Shape};

/// How many of a publisher's messages may be on their way in the saturating QoS 0 rows: enough that
/// a broker which reads in batches finds 64 KiB waiting.
const WINDOW_QOS0: usize = 2048;
/// QoS 1 and 2: what `max_inflight_messages` allows, so that neither side waits for the other.
pub(crate) const WINDOW_INFLIGHT: usize = 100;

#[expect(
    clippy::struct_excessive_bools,
    reason = "each says how the row's clients connect"
)]
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) load: Load,
    pub(crate) tls: bool,
    pub(crate) hybrid: bool,
    pub(crate) users: bool,
    /// Clients show certificates.
    pub(crate) mutual: bool,
    pub(crate) goal: Goal,
}

#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// CPU per message at most so many times mosquitto's.
    CpuTimes(f64),
    /// Resident KiB per connection.
    Kib(f64),
    /// Resident bytes for each thing that is held.
    Bytes(f64),
    /// Connections per CPU second at least so many times mosquitto's.
    ConnectsTimes(f64),
    /// Milliseconds.
    Ms(f64),
}

impl Row {
    const fn messages(name: &'static str, title: &'static str, times: f64, load: Messages) -> Self {
        Self {
            name,
            title,
            load: Load::Messages(load),
            tls: false,
            hybrid: true,
            users: false,
            mutual: false,
            goal: Goal::CpuTimes(times),
        }
    }

    const fn held(name: &'static str, title: &'static str, load: Load, goal: Goal) -> Self {
        Self {
            name,
            title,
            load,
            tls: false,
            hybrid: false,
            users: false,
            mutual: false,
            goal,
        }
    }

    const fn tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// The same row at a hundredth of its size.
    pub(crate) fn smoke(self) -> Self {
        let load = match self.load {
            Load::Messages(messages) => Load::Messages(messages),
            Load::Idle { connections } => Load::Idle {
                connections: connections / 50,
            },
            Load::Subscriptions { of_each, .. } => Load::Subscriptions {
                connections: 2,
                of_each: of_each / 10,
            },
            Load::Queued { for_each, .. } => Load::Queued {
                sessions: 2,
                for_each: for_each / 10,
            },
            Load::Connects { .. } => Load::Connects { threads: 2 },
            Load::Retained { topics } => Load::Retained {
                topics: topics / 100,
            },
            Load::Start => Load::Start,
        };
        Self { load, ..self }
    }
}

#[expect(clippy::too_many_lines, reason = "a table, one entry for each row")]
pub(crate) fn all() -> Vec<Row> {
    let pairs = |qos, window| saturating(Shape::Pairs(50), qos, 64, window);
    let paced = |qos, rate| Messages {
        shape: Shape::Pairs(100),
        qos,
        payload_bytes: 64,
        pace: Pace::PerSecond(rate),
        kept: false,
    };
    let kept = |messages| Messages {
        payload_bytes: 576,
        kept: true,
        ..messages
    };
    let ping_pong = saturating(Shape::PingPong, 0, 64, 1);
    let fan_in = saturating(Shape::FanIn { publishers: 50 }, 0, 64, WINDOW_QOS0);
    let fan_out = saturating(Shape::FanOut { subscribers: 500 }, 0, 256, 256);
    let fan_out_1 = saturating(Shape::FanOut { subscribers: 200 }, 1, 256, WINDOW_INFLIGHT);
    let wildcards = Shape::Wildcards {
        subscribers: 200,
        publishers: 50,
    };
    let wildcards = saturating(wildcards, 0, 64, 256);
    let message = Row::messages;
    vec![
        message(
            "p2p-qos0",
            "50 pairs, QoS 0, 64 B, saturating",
            0.04,
            pairs(0, WINDOW_QOS0),
        ),
        message(
            "p2p-qos1",
            "50 pairs, QoS 1",
            0.08,
            pairs(1, WINDOW_INFLIGHT),
        ),
        message(
            "p2p-qos2",
            "50 pairs, QoS 2",
            0.09,
            pairs(2, WINDOW_INFLIGHT),
        ),
        message(
            "fan-in",
            "50 publishers to 1 subscriber, QoS 0, 64 B",
            0.10,
            fan_in,
        ),
        message(
            "fan-out",
            "1 publisher to 500 subscribers, QoS 0, 256 B",
            0.14,
            fan_out,
        ),
        message(
            "fan-out-qos1",
            "1 publisher to 200 subscribers, QoS 1, 256 B",
            0.18,
            fan_out_1,
        ),
        message(
            "wildcards",
            "200 subscribers x 50 filters, 5 levels, 10,000 topics",
            0.14,
            wildcards,
        ),
        Row {
            users: true,
            ..message(
                "acl",
                "50 pairs, QoS 0, password file, ACL of 1,000 users and 20 patterns",
                0.06,
                pairs(0, WINDOW_QOS0),
            )
        },
        message(
            "tls-qos0",
            "50 pairs, QoS 0, TLS 1.3",
            0.04,
            pairs(0, WINDOW_QOS0),
        )
        .tls(),
        message(
            "tls-qos1",
            "50 pairs, QoS 1, TLS 1.3",
            0.07,
            pairs(1, WINDOW_INFLIGHT),
        )
        .tls(),
        message(
            "paced-20k",
            "20,000 messages/s, QoS 0, 100 pairs",
            0.9,
            paced(0, 20_000),
        ),
        message(
            "paced-2k-qos1",
            "2,000 messages/s, QoS 1, 100 pairs",
            1.0,
            paced(1, 2_000),
        ),
        message(
            "kept-qos1",
            "50 pairs, QoS 1, 576 B, subscribers' sessions on disk",
            2.5,
            kept(pairs(1, WINDOW_INFLIGHT)),
        ),
        message(
            "kept-paced-qos1",
            "500 messages/s, QoS 1, 576 B, 100 pairs, subscribers' sessions on disk",
            2.5,
            kept(paced(1, 500)),
        ),
        message(
            "payload-1mib",
            "4 pairs, QoS 0, payloads of 1 MiB (for each MiB)",
            0.68,
            saturating(Shape::Pairs(4), 0, 1 << 20, 2),
        ),
        message(
            "ping-pong",
            "one pair, one message at a time",
            1.0,
            ping_pong,
        ),
        message("ping-pong-tls", "the same over TLS 1.3", 1.0, ping_pong).tls(),
        Row::held(
            "idle",
            "resident KiB per idle connection (10,000 held)",
            Load::Idle {
                connections: 10_000,
            },
            Goal::Kib(3.8),
        ),
        Row::held(
            "idle-tls",
            "resident KiB per idle TLS connection (5,000 held)",
            Load::Idle { connections: 5_000 },
            Goal::Kib(10.0),
        )
        .tls(),
        Row::held(
            "subscriptions",
            "resident bytes per subscription (100 connections x 1,000 filters)",
            Load::Subscriptions {
                connections: 100,
                of_each: 1_000,
            },
            Goal::Bytes(1_000.0),
        ),
        Row::held(
            "queued",
            "resident bytes per queued message of 64 B (100 absent sessions x 1,000)",
            Load::Queued {
                sessions: 100,
                for_each: 1_000,
            },
            Goal::Bytes(500.0),
        ),
        Row::held(
            "retained-drain",
            "100,000 retained messages taken by one `#`",
            Load::Retained { topics: 100_000 },
            Goal::CpuTimes(0.20),
        ),
        Row::held(
            "connects",
            "connect and disconnect, per broker CPU second",
            Load::Connects { threads: 8 },
            Goal::ConnectsTimes(1.0),
        ),
        Row::held(
            "connects-tls",
            "full TLS 1.3 handshake (P-256, X25519) and CONNECT, per broker CPU second",
            Load::Connects { threads: 8 },
            Goal::ConnectsTimes(1.7),
        )
        .tls(),
        Row {
            mutual: true,
            ..Row::held(
                "connects-mutual",
                "the same, with a client certificate",
                Load::Connects { threads: 8 },
                Goal::ConnectsTimes(3.5),
            )
            .tls()
        },
        Row::held(
            "start",
            "from start to the first connection",
            Load::Start,
            Goal::Ms(15.0),
        ),
        Row {
            hybrid: true,
            ..Row::held(
                "connects-hybrid",
                "the same, client offers X25519MLKEM768 first",
                Load::Connects { threads: 8 },
                Goal::ConnectsTimes(1.0),
            )
            .tls()
        },
    ]
}

/// What grows, and the sizes at which it is looked at; the last of connections is what one process may
/// have of descriptors here.
pub(crate) fn curves() -> Vec<Row> {
    let idle = |name, connections| {
        let title = "resident KiB for each idle connection";
        Row::held(name, title, Load::Idle { connections }, Goal::Kib(3.8))
    };
    let idle_tls = |name, connections| {
        let title = "resident KiB for each idle connection with TLS";
        Row::held(name, title, Load::Idle { connections }, Goal::Kib(10.0)).tls()
    };
    let subscriptions = |name, connections, of_each| {
        let title = "resident bytes for each subscription";
        let load = Load::Subscriptions {
            connections,
            of_each,
        };
        Row::held(name, title, load, Goal::Bytes(1_300.0))
    };
    let retained = |name, topics| {
        let title = "CPU to hand over each of the retained messages";
        let load = Load::Retained { topics };
        Row::held(name, title, load, Goal::CpuTimes(0.20))
    };
    vec![
        idle("idle@1000", 1_000),
        idle("idle@3000", 3_000),
        idle("idle@9000", 9_000),
        idle("idle@18000", 18_000),
        idle_tls("idle-tls@1000", 1_000),
        idle_tls("idle-tls@3000", 3_000),
        idle_tls("idle-tls@9000", 9_000),
        idle_tls("idle-tls@18000", 18_000),
        subscriptions("subscriptions@1000", 10, 100),
        subscriptions("subscriptions@10000", 10, 1_000),
        subscriptions("subscriptions@100000", 100, 1_000),
        subscriptions("subscriptions@1000000", 1_000, 1_000),
        retained("retained@1000", 1_000),
        retained("retained@10000", 10_000),
        retained("retained@100000", 100_000),
        retained("retained@1000000", 1_000_000),
    ]
}

fn saturating(shape: Shape, qos: u8, payload_bytes: usize, window: usize) -> Messages {
    Messages {
        shape,
        qos,
        payload_bytes,
        pace: Pace::Window(window),
        kept: false,
    }
}
