//! How a greeting comes to nothing, and what the client is told of it.

use std::time::Duration;

use crate::codec::{self, Connack, DecodeError, Version};
use crate::policy::{Denial, DenyReason, Who};
use crate::session::Opening;

use super::greet::Greeting;
use super::packets::{self, NoPacket};
use super::report;
use super::transport::Transport;
use super::websocket::Violation;

/// Why a greeting came to nothing.
pub(super) enum Failure {
    /// The socket failed or the peer went away.
    Gone,
    /// The first packet is not a CONNECT we understand.
    Malformed(DecodeError),
    /// What came is nothing that a WebSocket may bring.
    NoFrame(Violation),
    /// Refused: the version tells how to say so.
    Refused(Addressee, Box<Who>, Denial),
    /// Refused before anything was known about the client.
    RefusedEarly(Addressee, DenyReason),
    /// Refused for a wrong credential: the answer waits.
    Guessed(Box<Failure>, Duration),
}

/// Whom a refusal is written for.
#[derive(Clone, Copy)]
pub(super) struct Addressee {
    pub(super) version: Version,
    pub(super) maximum_packet_bytes: u32,
}

impl Addressee {
    /// Whether a packet of this size is within its Maximum Packet Size [MQTT-3.1.2-24].
    pub(super) fn takes(self, bytes: usize) -> bool {
        u32::try_from(bytes).is_ok_and(|bytes| bytes <= self.maximum_packet_bytes)
    }
}

impl From<&Opening> for Addressee {
    fn from(opening: &Opening) -> Self {
        Self {
            version: opening.version,
            maximum_packet_bytes: opening.maximum_packet_bytes,
        }
    }
}

impl From<NoPacket> for Failure {
    fn from(error: NoPacket) -> Self {
        match error {
            NoPacket::Gone => Self::Gone,
            NoPacket::Malformed(error) => Self::Malformed(error),
            NoPacket::NoFrame(violation) => Self::NoFrame(violation),
        }
    }
}

impl Greeting {
    /// CONNACK with the reason, as much of it as the client takes [MQTT-3.2.2-19]; nothing if it
    /// takes none at all [MQTT-3.1.2-24].
    fn refuse(&self, to: Addressee, reason: DenyReason, out: &mut Vec<u8>) {
        let drain = match reason {
            DenyReason::UseAnotherServer | DenyReason::ServerMoved => self.arrival.shared.drain(),
            _ => None,
        };
        let reference = drain.as_ref().and_then(|drain| drain.reference.as_deref());
        let wants_text = self.arrival.listener.session.reason_strings;
        let text = wants_text.then(|| reason.told());
        for (reason_string, server_reference) in
            [(text, reference), (None, reference), (None, None)]
        {
            out.clear();
            let connack = Connack {
                reason_string,
                server_reference,
                ..Connack::new(reason.reason_code())
            };
            codec::encode_connack(out, to.version, &connack);
            if to.takes(out.len()) {
                return;
            }
        }
        out.clear();
    }

    /// Tells the operator at once, and the client when it is time.
    pub(super) async fn fail(&self, failure: Failure, transport: &mut Transport) {
        let mut out = Vec::new();
        self.tell(&failure, &mut out);
        if let Failure::Guessed(_, delay) = failure {
            self.hold_back(delay).await;
        }
        // What fails here fails a connection that is over.
        drop(packets::finish(transport, &out).await);
    }

    /// Makes who guesses wait. No thread that hashes waits with him, and he gets an answer before
    /// `connect_timeout` is over, so that waiting looks like nothing else.
    async fn hold_back(&self, delay: Duration) {
        if delay.is_zero() {
            return;
        }
        let Some(_place) = self.arrival.shared.hold_back_place() else {
            return;
        };
        let now = super::now();
        let end = self.arrival.accepted_at + self.arrival.listener.connect_timeout;
        let until = now + delay.min(end.saturating_duration_since(now) / 2);
        tokio::time::sleep_until(until.into()).await;
    }

    fn tell(&self, failure: &Failure, out: &mut Vec<u8>) {
        let shared = &self.arrival.shared;
        let listener = &self.arrival.listener;
        match failure {
            Failure::Gone => {}
            Failure::NoFrame(violation) => {
                let (peer, error) = (self.arrival.peer, violation.error());
                report::malformed_connect(shared, listener, peer, error.label, error.statement);
            }
            Failure::Malformed(error) => {
                let (peer, kind) = (self.arrival.peer, error.kind);
                report::malformed_connect(shared, listener, peer, kind.label(), kind.statement());
                codec::encode_connect_refusal(out, error);
            }
            Failure::Refused(to, who, denial) => {
                report::refused(shared, who, denial);
                self.refuse(*to, denial.reason, out);
            }
            Failure::RefusedEarly(to, reason) => {
                let peer = self.arrival.peer;
                report::refused_connect(shared, listener, peer, to.version, *reason);
                self.refuse(*to, *reason, out);
            }
            Failure::Guessed(failure, _) => self.tell(failure, out),
        }
    }
}
