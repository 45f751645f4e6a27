//! One connection without a socket: bytes in, lines out, virtual time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::wire::{self, Connect};
use crate::codec::{self, Limits, QoS, ReasonCode, Version};
use crate::message::{Author, ClientId, Delivery, Identifiers, Message, Submitted};
use crate::policy::{
    BudgetSettings, Client, Denial, DenyReason, Gate, Observer, Policy, Request, SubscribeGuard,
    Who,
};
use crate::session::{
    Connection, Delivered, Opening, ProtocolError, SessionState, Settings, Step, Will, open,
};
use crate::topic::TopicName;

struct Silent;

impl Observer for Silent {
    fn denied(&self, _: &Request<'_>, _: &Denial) {}
    fn would_deny(&self, _: &Request<'_>, _: &Denial) {}
}

/// A gate that lets everything through: what MQTT says is tested here, not who may do what.
fn open_gate() -> (Gate, Client) {
    let policy = Policy::new(vec![None], SubscribeGuard::Strict, 200);
    let gate = Gate::new(policy, Arc::new(Silent));
    let who = Who {
        groups: Arc::default(),
        tokens: Arc::default(),
        grants: None,
        client_id: ClientId::new("c"),
        username: None,
        address: None,
        listener: 0,
        listener_name: "test".into(),
        protocol: Version::V5,
        method: "anonymous",
    };
    let client = gate.client(who, BudgetSettings::default());
    (gate, client)
}

/// Judges the bytes of a CONNECT.
pub(super) fn try_open(connect: &Connect, settings: &Settings) -> Result<Opening, DenyReason> {
    let bytes = connect.bytes();
    let packet = codec::decode_connect(&bytes, &Limits::default()).expect("a valid CONNECT");
    open(&packet, settings, [0xA5; 16])
}

pub(super) fn opening(connect: &Connect, settings: &Settings) -> Opening {
    try_open(connect, settings).expect("accepted")
}

/// A connected client, and the rest of the broker as far as its connection can tell.
pub(super) struct Peer {
    pub(super) connection: Connection,
    pub(super) now: Instant,
    /// What the broker answers to a PUBLISH.
    pub(super) verdict: ReasonCode,
    /// The Reason String of its answers.
    pub(super) text: Option<&'static str>,
    /// Messages that were to be routed, as `topic payload`.
    pub(super) routed: Vec<String>,
    /// How the client left, with whether its will is still to be published.
    pub(super) left: Option<(ReasonCode, bool)>,
    settings: Settings,
    gate: Gate,
    client: Client,
    out: Vec<u8>,
}

impl Peer {
    /// Connects with the default settings and takes CONNACK off.
    pub(super) fn connected(connect: &Connect) -> Self {
        Self::with(connect, Settings::default())
    }

    pub(super) fn with(connect: &Connect, settings: Settings) -> Self {
        let mut peer = Self::accepted(connect, settings, SessionState::default(), false, "");
        peer.sent();
        peer
    }

    /// Connects and leaves CONNACK to be looked at.
    pub(super) fn accepted(
        connect: &Connect,
        settings: Settings,
        state: SessionState,
        present: bool,
        mount_point: &str,
    ) -> Self {
        let (gate, client) = open_gate();
        let now = Instant::now();
        let mut out = Vec::new();
        let opening = opening(connect, &settings);
        let connection = Connection::accept(
            opening,
            state,
            present,
            &settings,
            mount_point,
            now,
            &mut out,
        );
        Self {
            connection,
            now,
            verdict: ReasonCode::SUCCESS,
            text: None,
            routed: Vec::new(),
            left: None,
            settings,
            gate,
            client,
            out,
        }
    }

    /// The connection breaks, and `connect` resumes the session on a new one. CONNACK is taken off
    /// and what is owed is sent.
    pub(super) fn resumed(self, connect: &Connect) -> Self {
        let settings = self.settings.clone();
        let now = self.now;
        let (state, _) = self.connection.into_session();
        let mut peer = Self::accepted(connect, settings, state, true, "");
        peer.now = now;
        peer.sent();
        peer.pump();
        peer
    }

    pub(super) fn broken(self) -> (SessionState, Option<Box<Will>>) {
        self.connection.into_session()
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// What the server has sent since this was asked last.
    pub(super) fn sent(&mut self) -> Vec<String> {
        wire::lines(
            &std::mem::take(&mut self.out),
            self.connection.version().is_v5(),
        )
    }

    /// As [`Peer::sent`], byte for byte.
    pub(super) fn sent_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Sends a packet that the connection takes.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("no protocol error");
    }

    /// Sends a packet that ends the connection; gives Reason Code and label.
    pub(super) fn refused(&mut self, bytes: &[u8]) -> (u8, &'static str) {
        let error = self.try_send(bytes).expect_err("a protocol error");
        assert!(
            error.statement.starts_with("MQTT-") || error.statement.starts_with("section "),
            "{error}"
        );
        (error.reason.0, error.label)
    }

    fn try_send(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        let version = self.connection.version();
        let packet = codec::decode(bytes, version, &Limits::default())?;
        match self.connection.handle(packet, self.now, &mut self.out)? {
            Step::Continue => {}
            Step::WindowOpened => self.pump(),
            // Done at the second message, as SCRAM is.
            Step::Authenticate { begins, data } => {
                let answer = data.unwrap_or_default().to_vec();
                self.connection
                    .authenticated(!begins, &answer, &mut self.out)?;
            }
            Step::Publish(incoming) => {
                let payload = String::from_utf8_lossy(incoming.publish.payload);
                self.routed
                    .push(format!("{} {payload}", incoming.topic.as_str()));
                let (qos, id) = (incoming.publish.qos, incoming.publish.packet_id);
                self.connection
                    .published(qos, id, self.verdict, self.text, &mut self.out);
            }
            Step::Subscribe(subscribe) => {
                let codes: Vec<ReasonCode> = subscribe
                    .filters()
                    .map(|filter| ReasonCode::granted(filter.qos))
                    .collect();
                self.connection.subscribed(
                    subscribe.packet_id,
                    &codes,
                    self.text,
                    &mut self.out,
                )?;
            }
            Step::Unsubscribe(unsubscribe) => {
                let codes: Vec<ReasonCode> = unsubscribe
                    .filters()
                    .map(|_| ReasonCode::NO_SUBSCRIPTION_EXISTED)
                    .collect();
                self.connection.unsubscribed(
                    unsubscribe.packet_id,
                    &codes,
                    self.text,
                    &mut self.out,
                )?;
            }
            Step::Disconnect {
                reason,
                publish_will,
            } => self.left = Some((reason, publish_will)),
        }
        Ok(())
    }

    /// A message for this client arrives.
    pub(super) fn deliver(&mut self, delivery: Delivery) -> Delivered {
        let admitted = self
            .gate
            .deliver(&mut self.client, delivery)
            .expect("the gate is open");
        self.connection.deliver(admitted, self.now, &mut self.out)
    }

    /// Messages arrive at `topic` with these payloads.
    pub(super) fn deliver_all(&mut self, qos: QoS, topic: &str, payloads: &[&str]) {
        for payload in payloads {
            self.deliver(delivery(qos, topic, payload));
        }
    }

    pub(super) fn pump(&mut self) {
        let (gate, client) = (&self.gate, &mut self.client);
        self.connection
            .pump(self.now, &mut self.out, usize::MAX, |delivery| {
                gate.deliver(client, delivery)
            });
    }

    /// As [`Peer::pump`], with a gate that refuses topics that begin so.
    pub(super) fn pump_refusing(&mut self, prefix: &str) {
        let (gate, client) = (&self.gate, &mut self.client);
        self.connection
            .pump(self.now, &mut self.out, usize::MAX, |delivery| {
                let refused = delivery.message.topic.as_str().starts_with(prefix);
                (!refused).then(|| gate.deliver(client, delivery))?
            });
    }
}

/// A message on its way to the client.
pub(super) fn delivery(qos: QoS, topic: &str, payload: &str) -> Delivery {
    Delivery {
        message: Arc::new(message(qos, topic, payload)),
        qos,
        retain: false,
        identifiers: Identifiers::new(),
        seq: 0,
    }
}

pub(super) fn message(qos: QoS, topic: &str, payload: &str) -> Message {
    Message {
        topic: TopicName::parse(topic).expect("a valid topic"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        properties: Box::default(),
        qos,
        retain: false,
        expires_at: None,
        author: Arc::new(Author {
            groups: Arc::default(),
            tokens: Arc::default(),
            grants: None,
            address: None,
            client_id: ClientId::new("author"),
            username: None,
            listener: Some(0),
        }),
        submitted: Submitted::default(),
    }
}
