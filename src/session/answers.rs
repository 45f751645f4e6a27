//! What the peer is answered: acknowledgements, and the packets that end a connection.
//!
//! Each is held against the client's Maximum Packet Size [MQTT-3.1.2-24]. A Reason String is sent if
//! the operator wants any, the client takes them, and the packet with it is not too large; else the
//! packet goes without.

use crate::codec::{self, AckKind, PacketId, QoS, ReasonCode};

use super::ProtocolError;
use super::connection::Connection;
use super::progress::Progress;

impl Connection {
    /// The message with `packet_id` was routed or refused: answers it. A refused QoS 2 identifier
    /// is free again at once [MQTT-4.3.3-9]. `text` is the Reason String.
    #[inline]
    pub fn published(
        &mut self,
        qos: QoS,
        packet_id: Option<PacketId>,
        reason: ReasonCode,
        text: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        let Some(id) = packet_id else { return };
        let kind = match qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => AckKind::Puback,
            QoS::ExactlyOnce => {
                if !reason.is_error() {
                    self.session.inbound.insert(id);
                    if self.is_kept() {
                        self.session.outbound.progress.push(Progress::Received(id));
                    }
                }
                AckKind::Pubrec
            }
        };
        self.acknowledge(kind, id, reason, text, out);
    }

    /// An acknowledgement without Reason String: at most six bytes, and no Maximum Packet Size that
    /// lets a client work is smaller.
    #[inline]
    pub(super) fn ack(&self, kind: AckKind, id: PacketId, reason: ReasonCode, out: &mut Vec<u8>) {
        codec::encode_ack(out, self.version, kind, id, reason, None);
    }

    /// As [`Connection::ack`], for one that must not be sent before what it says is kept.
    pub(super) fn ack_kept(
        &mut self,
        kind: AckKind,
        id: PacketId,
        reason: ReasonCode,
        out: &mut Vec<u8>,
    ) {
        let out = if self.is_kept() { &mut self.after } else { out };
        codec::encode_ack(out, self.version, kind, id, reason, None);
    }

    #[inline]
    fn acknowledge(
        &self,
        kind: AckKind,
        id: PacketId,
        reason: ReasonCode,
        text: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        match self.may_tell(text) {
            None => self.ack(kind, id, reason, out),
            text => self.with_or_without(text, out, |text, out| {
                codec::encode_ack(out, self.version, kind, id, reason, text);
            }),
        }
    }

    /// `text` if packets other than CONNACK and DISCONNECT may carry it [MQTT-3.1.2-29].
    fn may_tell<'a>(&self, text: Option<&'a str>) -> Option<&'a str> {
        text.filter(|_| self.reason_strings && self.problem_information)
    }

    /// Writes a packet with `text`, or without it if that makes it too large for the client
    /// [MQTT-3.4.2-2], [MQTT-3.9.2-1], [MQTT-3.14.2-3].
    fn with_or_without(
        &self,
        text: Option<&str>,
        out: &mut Vec<u8>,
        encode: impl Fn(Option<&str>, &mut Vec<u8>),
    ) {
        let from = out.len();
        encode(text, out);
        if text.is_some() && out.len() - from > self.maximum_packet_bytes {
            out.truncate(from);
            encode(None, out);
        }
    }

    /// SUBACK, one code per filter in their order [MQTT-3.8.4-6]. `text` is the Reason String.
    ///
    /// # Errors
    /// It is larger than the client takes [MQTT-3.1.2-24].
    pub fn subscribed(
        &self,
        packet_id: PacketId,
        codes: &[ReasonCode],
        text: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let from = out.len();
        self.with_or_without(self.may_tell(text), out, |text, out| {
            codec::encode_suback(out, self.version, packet_id, codes, text);
        });
        self.within_bound(from, out)
    }

    /// UNSUBACK, one code per filter in their order [MQTT-3.11.3-2].
    ///
    /// # Errors
    /// It is larger than the client takes [MQTT-3.1.2-24].
    pub fn unsubscribed(
        &self,
        packet_id: PacketId,
        codes: &[ReasonCode],
        text: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let from = out.len();
        self.with_or_without(self.may_tell(text), out, |text, out| {
            codec::encode_unsuback(out, self.version, packet_id, codes, text);
        });
        self.within_bound(from, out)
    }

    /// An answer that the client's Maximum Packet Size forbids cannot be left out either: the client
    /// would wait for it.
    fn within_bound(&self, from: usize, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        if out.len() - from <= self.maximum_packet_bytes {
            return Ok(());
        }
        out.truncate(from);
        Err(ProtocolError::new(
            ReasonCode::PACKET_TOO_LARGE,
            "answer_too_large",
            "MQTT-3.1.2-24",
        ))
    }

    /// DISCONNECT for a 5.0 client; 3.x has none, the close must do. Nothing is written for a client
    /// that takes no packet of three bytes. The Server Reference goes before the Reason String if not
    /// both fit.
    pub fn goodbye(&self, goodbye: &Goodbye<'_>, out: &mut Vec<u8>) {
        let text = goodbye.text.filter(|_| self.reason_strings);
        let from = out.len();
        for (text, reference) in [
            (text, goodbye.reference),
            (None, goodbye.reference),
            (None, None),
        ] {
            out.truncate(from);
            codec::encode_disconnect(out, self.version, goodbye.reason, text, reference);
            if out.len() - from <= self.maximum_packet_bytes {
                return;
            }
        }
        out.truncate(from);
    }

    /// What an authentication in session came to: a further message, or `done`.
    ///
    /// # Errors
    /// It is larger than the client takes [MQTT-3.1.2-24].
    pub fn authenticated(
        &mut self,
        done: bool,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let from = out.len();
        if let Some(authentication) = &mut self.authentication {
            authentication.answer(done, data, out);
        }
        self.within_bound(from, out)
    }
}

/// What a DISCONNECT says.
#[derive(Clone, Copy, Debug)]
pub struct Goodbye<'a> {
    /// Reason Code.
    pub reason: ReasonCode,
    /// Reason String, if the operator wants any to be sent (`reason_strings`).
    pub text: Option<&'a str>,
    /// Server Reference, with 0x9C and 0x9D.
    pub reference: Option<&'a str>,
}

impl Goodbye<'_> {
    /// The code and nothing else.
    pub fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            text: None,
            reference: None,
        }
    }
}
