//! Everything worth telling.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::codec::{QoS, ReasonCode, Version};
use crate::policy::{Action, BanCause, Denial, DenyReason, Found, Who};

/// Why a connection ended. A closed set: labels are metric label values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The client sent DISCONNECT.
    Client,
    /// The client closed without DISCONNECT.
    Closed,
    /// The socket or TLS failed.
    Socket,
    /// Keep Alive ran out.
    KeepAlive,
    /// The client broke the protocol.
    Protocol,
    /// Another connection took the session.
    TakenOver,
    /// The broker stops.
    Shutdown,
    /// The client was over its rate.
    Rate,
    /// A right to be connected was taken away.
    Revoked,
    /// A refused PUBLISH of a 3.x client, where the operator chose disconnection.
    Denied,
    /// A packet was not complete within `packet_timeout`.
    PacketTimeout,
    /// The operator drains the broker.
    Drained,
    /// The token it came in by is over.
    ProofOver,
}

impl Cause {
    /// Every cause, for metrics that start at zero.
    pub const ALL: &'static [Self] = &[
        Self::Client,
        Self::Closed,
        Self::Socket,
        Self::KeepAlive,
        Self::Protocol,
        Self::TakenOver,
        Self::Shutdown,
        Self::Rate,
        Self::Revoked,
        Self::Denied,
        Self::PacketTimeout,
        Self::Drained,
        Self::ProofOver,
    ];

    /// The metric label value and the `reason` field of the audit log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Closed => "closed",
            Self::Socket => "socket",
            Self::KeepAlive => "keep_alive",
            Self::Protocol => "protocol",
            Self::TakenOver => "taken_over",
            Self::Shutdown => "shutdown",
            Self::Rate => "rate",
            Self::Revoked => "revoked",
            Self::Denied => "denied",
            Self::PacketTimeout => "packet_timeout",
            Self::Drained => "drained",
            Self::ProofOver => "token_over",
        }
    }
}

/// Which canary was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched<'a> {
    /// A user name was used.
    User,
    /// Something was asked for a topic.
    Topic {
        /// What.
        action: Action,
        /// Topic Name or Topic Filter.
        topic: &'a str,
        /// Whether the rules allow it.
        allowed: bool,
    },
}

impl Touched<'_> {
    /// Every label, for metrics that start at zero.
    pub const LABELS: [&'static str; 2] = ["user", "topic"];

    /// The metric label value and the `reason` field of the audit log.
    pub fn label(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Topic { .. } => "topic",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A client is connected.
    Connected {
        /// Who.
        who: &'a Who,
        /// Clean Start.
        clean_start: bool,
        /// Keep Alive in seconds.
        keep_alive_s: u16,
        /// Whether it resumed a session.
        session_present: bool,
    },
    /// A CONNECT was refused.
    ConnectRefused {
        /// Who it says it is.
        who: &'a Who,
        /// Why.
        denial: &'a Denial,
    },
    /// A connection was refused before anything was known of the client.
    RefusedEarly {
        /// Where it came from.
        address: SocketAddr,
        /// Name of the listener.
        listener: &'a str,
        /// The version it named, if it came that far.
        version: Option<Version>,
        /// Why.
        reason: DenyReason,
    },
    /// TLS did not come about.
    TlsFailed {
        /// Where it came from.
        address: SocketAddr,
        /// Name of the listener.
        listener: &'a str,
        /// Label of the failure.
        label: &'static str,
        /// The library's words.
        detail: &'a str,
    },
    /// No CONNECT came in time.
    GreetTimeout {
        /// Where it came from.
        address: SocketAddr,
        /// Name of the listener.
        listener: &'a str,
        /// What was waited for.
        stage: &'static str,
    },
    /// The first packet was no valid CONNECT.
    MalformedConnect {
        /// Where it came from.
        address: SocketAddr,
        /// Name of the listener.
        listener: &'a str,
        /// Label of what was wrong.
        label: &'static str,
        /// The statement that was broken.
        statement: &'static str,
    },
    /// A connected client broke the protocol.
    ProtocolError {
        /// Who.
        who: &'a Who,
        /// Label of what was wrong.
        label: &'static str,
        /// The statement that was broken.
        statement: &'static str,
    },
    /// A connection has ended.
    Disconnected {
        /// Who.
        who: &'a Who,
        /// Why.
        cause: Cause,
        /// Reason Code, the client's or ours.
        code: Option<ReasonCode>,
        /// How long it lasted.
        lasted: Duration,
    },
    /// A subscription was granted.
    Subscribed {
        /// Who.
        who: &'a Who,
        /// Topic Filter.
        filter: &'a str,
        /// Granted QoS.
        qos: QoS,
    },
    /// A client publishes to another topic than before: under `subscribe_guard report` alone, for whoever
    /// wants to write rules for what is used.
    Published {
        /// Who.
        who: &'a Who,
        /// Topic Name.
        topic: &'a str,
    },
    /// A subscription ended at the client's wish.
    Unsubscribed {
        /// Who.
        who: &'a Who,
        /// Topic Filter.
        filter: &'a str,
    },
    /// A subscription ended because it is not granted any more.
    SubscriptionLost {
        /// Who.
        who: &'a Who,
        /// Topic Filter.
        filter: &'a str,
        /// Why.
        denial: &'a Denial,
    },
    /// The gate refused something.
    Denied {
        /// Who.
        who: &'a Who,
        /// What was asked for.
        action: Action,
        /// Topic Name or Topic Filter.
        topic: &'a str,
        /// Why.
        denial: &'a Denial,
    },
    /// The gate admitted what `subscribe_guard strict` would have refused.
    WouldDeny {
        /// Who.
        who: &'a Who,
        /// Topic Filter.
        topic: &'a str,
        /// Why.
        denial: &'a Denial,
    },
    /// A connection takes over a session that another one has.
    TakenOver {
        /// Client Identifier.
        client_id: &'a str,
    },
    /// An address, or a user from it, is refused for a time.
    Banned {
        /// Which.
        address: IpAddr,
        /// Only this user.
        user: Option<&'a str>,
        /// Why.
        cause: BanCause,
        /// For how long.
        lasts: Duration,
    },
    /// Somebody does what an ordinary client does not do, or not so often.
    Misuse {
        /// Who.
        who: &'a Who,
        /// What was found.
        found: Found,
        /// The last topic, filter or Client Identifier of it.
        example: &'a str,
    },
    /// Somebody touched what nobody has any business with.
    Canary {
        /// Who.
        who: &'a Who,
        /// What.
        touched: Touched<'a>,
        /// Whether it led to a ban of the address.
        bans: bool,
    },
    /// A ban is over.
    BanEnded {
        /// Of which address.
        address: IpAddr,
        /// Of this user alone.
        user: Option<&'a str>,
        /// Why it was.
        cause: BanCause,
        /// Before its time.
        lifted: bool,
    },
    /// A connection could not be accepted.
    AcceptFailed {
        /// Name of the listener.
        listener: &'a str,
        /// The system's words.
        detail: &'a str,
    },
    /// A new configuration is in force.
    Reloaded {
        /// What changed, for people.
        changes: &'a str,
    },
    /// A new configuration was refused; the old one stays.
    ReloadFailed {
        /// How many errors there were.
        errors: usize,
        /// The first of them.
        first: &'a str,
    },
    /// The broker accepts connections.
    Started {
        /// Version of the broker.
        version: &'a str,
    },
    /// The broker stops.
    Stopping,
}
