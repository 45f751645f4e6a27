//! The protocol state machine of one Network Connection, from CONNACK to its end.
//!
//! A call takes one packet or one delivery and appends what must be sent to `out`. What only the
//! rest of the broker can do comes back as a [`Step`]; its result is given back by a method named
//! for it, and only then is the peer answered, so an acknowledgement is never sent early.

use std::time::Instant;

use crate::codec::{
    self, Ack, AckKind, Packet, PacketId, Publish, PublishHead, QoS, ReasonCode, Subscribe, Version,
};
use crate::message::Delivery;
use crate::policy::Admitted;
use crate::topic::{TopicName, split_share};

use super::ProtocolError;
use super::alias::{InboundAliases, Naming, OutboundAliases};
use super::authentication::Authentication;
use super::available::Available;
use super::keep_alive::KeepAlive;
use super::opening::{Opening, Settings};
use super::outbound::{Sent, Window};
use super::progress::Progress;
use super::state::SessionState;
use super::step::{Delivered, Incoming, IncomingTopic, Step, Tally};
use super::will::Will;

/// One accepted Network Connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) version: Version,
    pub(super) session: SessionState,
    window: Window,
    receive_maximum: usize,
    pub(super) maximum_packet_bytes: usize,
    max_qos: QoS,
    retain_available: bool,
    max_session_expiry_s: u32,
    /// Bytes of the mount point, taken off the front of delivered topics.
    mount_bytes: usize,
    inbound_aliases: InboundAliases,
    outbound_aliases: OutboundAliases,
    keep_alive: KeepAlive,
    /// Reason Strings may stand in packets other than CONNACK and DISCONNECT [MQTT-3.1.2-29].
    pub(super) problem_information: bool,
    /// `reason_strings`.
    pub(super) reason_strings: bool,
    /// What SUBSCRIBE may ask for here.
    available: Available,
    will: Option<Box<Will>>,
    pub(super) authentication: Option<Box<Authentication>>,
    tally: Tally,
    /// Packets that may be sent when what was recorded is kept.
    pub(super) after: Vec<u8>,
    /// PUBLISH packets in `after`.
    publishes_after: usize,
    /// Those, and the ones the caller has taken and not sent yet.
    publishes_held: usize,
}

impl Connection {
    /// Accepts `opening` with `session` (parked, or fresh) and writes CONNACK. `mount_point` is
    /// the listener's prefix, which the client never sees.
    pub fn accept(
        opening: Opening,
        mut session: SessionState,
        session_present: bool,
        settings: &Settings,
        mount_point: &str,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Self {
        session.expiry_interval_s = opening.session_expiry_s;
        session.inbound.resume();
        session.outbound.resume();
        let connack = opening.connack(session_present, settings);
        codec::encode_connack(out, opening.version, &connack);
        Self {
            version: opening.version,
            session,
            window: Window {
                messages: usize::from(settings.max_inflight_messages.min(opening.receive_maximum)),
                bytes: settings.max_inflight_bytes,
            },
            receive_maximum: usize::from(settings.max_inflight_messages),
            maximum_packet_bytes: usize::try_from(opening.maximum_packet_bytes)
                .unwrap_or(usize::MAX),
            max_qos: settings.max_qos,
            retain_available: settings.retain_available,
            max_session_expiry_s: settings.max_session_expiry_s,
            mount_bytes: mount_point.len(),
            inbound_aliases: InboundAliases::new(settings.topic_alias_maximum),
            outbound_aliases: OutboundAliases::new(
                opening
                    .topic_alias_maximum
                    .min(settings.topic_alias_maximum_broker),
            ),
            keep_alive: KeepAlive::new(opening.keep_alive_s, now),
            problem_information: opening.problem_information,
            reason_strings: settings.reason_strings,
            available: settings.available,
            will: opening.will.map(Box::new),
            authentication: opening
                .authentication
                .map(|(method, _)| Box::new(Authentication::new(method))),
            tally: Tally::default(),
            after: Vec::new(),
            publishes_after: 0,
            publishes_held: 0,
        }
    }

    /// The protocol version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The Session State, to read or change its subscriptions.
    pub fn session(&self) -> &SessionState {
        &self.session
    }

    /// The Session State, to change its subscriptions.
    pub fn session_mut(&mut self) -> &mut SessionState {
        &mut self.session
    }

    /// Ends the connection and gives back what outlives it, with the will if one is left.
    pub fn into_session(self) -> (SessionState, Option<Box<Will>>) {
        (self.session, self.will)
    }

    /// The Authentication Method of CONNECT.
    pub fn authentication_method(&self) -> Option<&str> {
        self.authentication
            .as_ref()
            .map(|authentication| authentication.method())
    }

    /// Whether the session is kept in the store.
    #[inline]
    pub fn is_kept(&self) -> bool {
        self.session.number.is_some()
    }

    /// Moves packets to `into` that may be sent only when what [`SessionState::take_progress`] gave is kept.
    /// Gives the number of PUBLISH packets among them, which the caller gives back to
    /// [`Connection::sent_after`] when they are sent.
    #[inline]
    pub fn take_after(&mut self, into: &mut Vec<u8>) -> usize {
        into.append(&mut self.after);
        std::mem::take(&mut self.publishes_after)
    }

    /// So many PUBLISH packets that waited were sent.
    #[inline]
    pub fn sent_after(&mut self, publishes: usize) {
        self.publishes_held = self.publishes_held.saturating_sub(publishes);
    }

    /// A delivery that was not admitted: the client does not get it.
    pub fn dropped(&mut self, seq: u64) {
        self.session.outbound.dropped(seq);
    }

    /// Counters since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// When the connection is over if the peer stays silent.
    pub fn deadline(&self) -> Option<Instant> {
        self.keep_alive.deadline()
    }

    /// Whether the Keep Alive has run out.
    pub fn is_silent(&self, now: Instant) -> bool {
        self.keep_alive.is_over(now)
    }

    /// Messages and bytes that wait for the window: they count against the queue bounds.
    pub fn held(&self) -> (usize, usize) {
        (
            self.session.outbound.waiting(),
            self.session.outbound.waiting_bytes(),
        )
    }

    /// Takes one packet from the peer.
    ///
    /// # Errors
    /// The peer broke the protocol: the caller sends DISCONNECT to a 5.0 client and closes.
    pub fn handle<'a>(
        &mut self,
        packet: Packet<'a>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, ProtocolError> {
        self.keep_alive.packet(now);
        match packet {
            Packet::Publish(publish) => self.publish(publish, out),
            Packet::Puback(ack) => {
                let outcome = self.session.outbound.acked(ack.packet_id);
                after_ack(outcome, "MQTT-4.3.2-5")
            }
            Packet::Pubrec(ack) => self.pubrec(&ack, out),
            Packet::Pubrel(ack) => {
                let known = self.session.inbound.release(ack.packet_id);
                if known && self.is_kept() {
                    let progress = Progress::ReceivedDone(ack.packet_id);
                    self.session.outbound.progress.push(progress);
                }
                let reason = if known {
                    ReasonCode::SUCCESS
                } else {
                    ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
                };
                self.ack_kept(AckKind::Pubcomp, ack.packet_id, reason, out);
                Ok(Step::Continue)
            }
            Packet::Pubcomp(ack) => {
                let outcome = self.session.outbound.completed(ack.packet_id);
                after_ack(outcome, "MQTT-4.3.3-7")
            }
            Packet::Subscribe(subscribe) => self
                .check_subscribe(&subscribe)
                .map(|()| Step::Subscribe(subscribe)),
            Packet::Unsubscribe(unsubscribe) => Ok(Step::Unsubscribe(unsubscribe)),
            Packet::Pingreq => {
                codec::encode_pingresp(out); // [MQTT-3.12.4-1]
                Ok(Step::Continue)
            }
            Packet::Disconnect(disconnect) => {
                self.disconnect(disconnect.reason, disconnect.session_expiry_interval_s)
            }
            Packet::Auth(auth) => match &mut self.authentication {
                Some(authentication) => authentication.packet(&auth),
                // AUTH is for clients that named a method in CONNECT.
                None => Err(ProtocolError::new(
                    ReasonCode::PROTOCOL_ERROR,
                    "auth_not_expected",
                    "MQTT-4.12.0-7",
                )),
            },
            Packet::Connect => Err(ProtocolError::new(
                ReasonCode::PROTOCOL_ERROR,
                "second_connect",
                "MQTT-3.1.0-2",
            )),
        }
    }

    #[inline]
    fn publish<'a>(
        &mut self,
        publish: Publish<'a>,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, ProtocolError> {
        if publish.qos > self.max_qos {
            return Err(ProtocolError::new(
                ReasonCode::QOS_NOT_SUPPORTED,
                "qos_not_supported",
                "MQTT-3.2.2-11",
            ));
        }
        if publish.retain && !self.retain_available {
            return Err(ProtocolError::new(
                ReasonCode::RETAIN_NOT_SUPPORTED,
                "retain_not_supported",
                "MQTT-3.2.2-14",
            ));
        }
        let topic = match publish.alias {
            None => IncomingTopic::Text(publish.topic),
            Some(alias) => self.resolve(alias, publish.topic)?,
        };
        if publish.qos == QoS::ExactlyOnce
            && let Some(id) = publish.packet_id
        {
            if self.session.inbound.is_repeated(id) {
                // The message was taken before; say so again, and route nothing [MQTT-4.3.3-10].
                self.ack_kept(AckKind::Pubrec, id, ReasonCode::SUCCESS, out);
                return Ok(Step::Continue);
            }
            // 3.x clients are told no Receive Maximum; identifiers bound them to 65,535.
            if self.version.is_v5() && self.session.inbound.open() >= self.receive_maximum {
                return Err(ProtocolError::new(
                    ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
                    "receive_maximum_exceeded",
                    "MQTT-3.3.4-9",
                ));
            }
        }
        Ok(Step::Publish(Incoming { publish, topic }))
    }

    fn resolve<'a>(
        &mut self,
        alias: u16,
        topic: &'a str,
    ) -> Result<IncomingTopic<'a>, ProtocolError> {
        if topic.is_empty() {
            let name = self.inbound_aliases.resolve(alias)?;
            return Ok(IncomingTopic::Alias(name.clone()));
        }
        // The decoder has checked the name; a failure here would be a fault of ours, and refusing
        // is the safe answer to it.
        let name = TopicName::parse(topic).map_err(|_| {
            ProtocolError::new(
                ReasonCode::TOPIC_NAME_INVALID,
                "topic_alias_invalid",
                "MQTT-3.3.2-1",
            )
        })?;
        self.inbound_aliases.set(alias, name)?;
        Ok(IncomingTopic::Text(topic))
    }

    /// The client was told or told us that its will is not wanted any more.
    pub fn discard_will(&mut self) {
        self.will = None;
    }

    /// Sends one delivery, or keeps it until the window has room.
    #[inline]
    pub fn deliver(
        &mut self,
        delivery: Admitted<Delivery>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Delivered {
        let delivery = delivery.into_inner();
        if delivery.qos != QoS::AtMostOnce {
            let must_wait = self.session.outbound.waiting() > 0
                || self.session.outbound.is_resending()
                || !self.session.outbound.has_room(self.window);
            if must_wait {
                self.session.outbound.wait(delivery);
                return Delivered::Waiting;
            }
        }
        self.send(delivery, now, out)
    }

    /// Puts a delivery that was not judged yet behind those that wait; [`Connection::pump`] has it
    /// judged when its turn comes.
    pub fn hold(&mut self, delivery: Delivery) {
        self.session.outbound.wait(delivery);
    }

    /// Whether QoS 1 and 2 have to wait for acknowledgements.
    pub fn is_window_shut(&self) -> bool {
        self.session.outbound.waiting() > 0 || !self.session.outbound.has_room(self.window)
    }

    /// Whether [`Connection::pump`] could send something now.
    pub fn can_pump(&self) -> bool {
        (self.session.outbound.waiting() > 0 || self.session.outbound.is_resending())
            && self.session.outbound.has_room(self.window)
    }

    /// Sends what a resumed session owes, then what waited, while the window has room and `out`
    /// holds less than `full_bytes`. Each message is judged again by `admit`: rights may have
    /// changed while it waited.
    pub fn pump(
        &mut self,
        now: Instant,
        out: &mut Vec<u8>,
        full_bytes: usize,
        mut admit: impl FnMut(Delivery) -> Option<Admitted<Delivery>>,
    ) {
        while out.len() < full_bytes {
            let Some((id, delivery)) = self.session.outbound.next_resend(self.window) else {
                break;
            };
            match delivery {
                None => self.ack(AckKind::Pubrel, id, ReasonCode::SUCCESS, out),
                Some(delivery) => match admit(delivery) {
                    Some(delivery) => {
                        let delivery = delivery.into_inner();
                        if !self.write(&delivery, Some(id), Sending::Again, now, out) {
                            self.give_up(id, out);
                        }
                    }
                    None => self.give_up(id, out),
                },
            }
        }
        while out.len() < full_bytes
            && !self.session.outbound.is_resending()
            && self.session.outbound.has_room(self.window)
        {
            let Some(delivery) = self.session.outbound.next_waiting() else {
                break;
            };
            let seq = delivery.seq;
            match admit(delivery) {
                Some(delivery) => {
                    self.send(delivery.into_inner(), now, out);
                }
                None => self.dropped(seq),
            }
        }
    }

    fn give_up(&mut self, id: PacketId, out: &mut Vec<u8>) {
        if self.session.outbound.give_up(id) {
            self.ack_kept(AckKind::Pubrel, id, ReasonCode::SUCCESS, out);
        }
    }

    #[inline]
    fn send(&mut self, delivery: Delivery, now: Instant, out: &mut Vec<u8>) -> Delivered {
        if delivery.message.is_expired(now) {
            self.tally.expired += 1;
            self.dropped(delivery.seq);
            return Delivered::Expired;
        }
        let id = match delivery.qos {
            QoS::AtMostOnce => None,
            _ => match self.session.outbound.reserve_id() {
                Some(id) => Some(id),
                None => {
                    self.session.outbound.wait(delivery);
                    return Delivered::Waiting;
                }
            },
        };
        // A message of QoS 2 goes when it is certain that it will keep its identifier, and what is sent
        // again comes in the order of the first time [MQTT-4.6.0-1]: one of QoS 1 does not overtake it.
        let waits = delivery.seq != 0
            && (delivery.qos == QoS::ExactlyOnce || (id.is_some() && self.publishes_held > 0));
        let is_written = if waits {
            let mut after = std::mem::take(&mut self.after);
            let is_written = self.write(&delivery, id, Sending::Later, now, &mut after);
            self.after = after;
            self.publishes_after += usize::from(is_written);
            self.publishes_held += usize::from(is_written);
            is_written
        } else {
            self.write(&delivery, id, Sending::First, now, out)
        };
        if !is_written {
            self.dropped(delivery.seq);
            return Delivered::TooLarge;
        }
        if let Some(id) = id {
            self.session.outbound.start(id, delivery);
        }
        Delivered::Sent
    }

    /// Writes one PUBLISH; false if it is larger than the client takes.
    #[inline]
    fn write(
        &mut self,
        delivery: &Delivery,
        packet_id: Option<PacketId>,
        sending: Sending,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> bool {
        let message = &*delivery.message;
        let name = message.topic.as_str();
        let topic = name.get(self.mount_bytes..).unwrap_or(name);
        let mut head = PublishHead {
            dup: sending == Sending::Again,
            qos: delivery.qos,
            retain: delivery.retain,
            topic,
            packet_id,
            alias: None,
            expiry_interval_s: None,
            identifiers: &[],
            properties: &[],
            payload_bytes: message.payload.len(),
        };
        let mut naming = Naming::Name;
        if self.version.is_v5() {
            head.expiry_interval_s = message.expiry_left_s(now);
            head.identifiers = &delivery.identifiers;
            head.properties = &message.properties;
            // What is sent later than what follows it can neither set an alias nor rely on one.
            if sending != Sending::Later {
                naming = self.outbound_aliases.naming(&message.topic);
            }
            match naming {
                Naming::Name => {}
                Naming::NameAndAlias(alias) => head.alias = Some(alias),
                Naming::Alias(alias) => {
                    head.topic = "";
                    head.alias = Some(alias);
                }
            }
        }
        let mut bytes = head.packet_bytes(self.version);
        if bytes > self.maximum_packet_bytes && naming != Naming::Name {
            // An alias can make a packet larger: that must not be what it is dropped for.
            naming = Naming::Name;
            head.alias = None;
            head.topic = topic;
            bytes = head.packet_bytes(self.version);
        }
        // [MQTT-3.1.2-24]
        if bytes > self.maximum_packet_bytes {
            self.tally.too_large += 1;
            return false;
        }
        head.encode(self.version, out);
        out.extend_from_slice(&message.payload);
        self.outbound_aliases.sent(&message.topic, naming);
        self.tally.sent[usize::from(delivery.qos.bits())] += 1;
        true
    }

    /// Judged for the whole packet before any of it is obeyed: a session that goes on must not keep
    /// half of a SUBSCRIBE that ended its connection.
    fn check_subscribe(&self, subscribe: &Subscribe<'_>) -> Result<(), ProtocolError> {
        if !self.version.is_v5() {
            // 3.x has no such options, and what is not offered is refused filter by filter.
            return Ok(());
        }
        if subscribe.identifier.is_some() && !self.available.identifiers {
            return Err(ProtocolError::new(
                ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
                "subscription_identifiers_off",
                "section 3.2.2.3.12",
            ));
        }
        for wanted in subscribe.filters() {
            // A filter that is none is answered by itself.
            let Ok((share, filter)) = split_share(wanted.filter) else {
                continue;
            };
            if share.is_some() && wanted.no_local {
                return Err(ProtocolError::new(
                    ReasonCode::PROTOCOL_ERROR,
                    "shared_no_local",
                    "MQTT-3.8.3-4",
                ));
            }
            self.available.check(share.is_some(), filter)?;
        }
        Ok(())
    }

    fn pubrec<'a>(&mut self, ack: &Ack<'a>, out: &mut Vec<u8>) -> Result<Step<'a>, ProtocolError> {
        let refused = ack.reason.is_error();
        match self.session.outbound.received(ack.packet_id, refused) {
            Sent::Release | Sent::ReleaseAgain => {
                self.ack_kept(AckKind::Pubrel, ack.packet_id, ReasonCode::SUCCESS, out);
                Ok(Step::Continue)
            }
            Sent::Unknown if refused => Ok(Step::Continue),
            Sent::Unknown => {
                let reason = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
                self.ack(AckKind::Pubrel, ack.packet_id, reason, out);
                Ok(Step::Continue)
            }
            outcome => after_ack(outcome, "MQTT-4.3.3-4"),
        }
    }

    fn disconnect<'a>(
        &mut self,
        reason: ReasonCode,
        expiry_interval_s: Option<u32>,
    ) -> Result<Step<'a>, ProtocolError> {
        if let Some(seconds) = expiry_interval_s {
            if self.session.expiry_interval_s == 0 && seconds > 0 {
                // A session that was to end with the connection cannot be kept by its end
                // (section 3.14.2.2.2).
                return Err(ProtocolError::new(
                    ReasonCode::PROTOCOL_ERROR,
                    "session_expiry_from_zero",
                    "MQTT-3.14.2-2",
                ));
            }
            self.session.expiry_interval_s = seconds.min(self.max_session_expiry_s);
        }
        let publish_will = self.version.is_v5() && reason != ReasonCode::SUCCESS;
        if !publish_will {
            self.will = None; // [MQTT-3.14.4-3]
        }
        Ok(Step::Disconnect {
            reason,
            publish_will,
        })
    }
}

/// Why a PUBLISH is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// For the first time.
    First,
    /// For the first time, and to be sent behind others.
    Later,
    /// Because a session was resumed.
    Again,
}

fn after_ack<'a>(outcome: Sent, statement: &'static str) -> Result<Step<'a>, ProtocolError> {
    match outcome {
        Sent::Completed => Ok(Step::WindowOpened),
        Sent::OutOfState => Err(ProtocolError::new(
            ReasonCode::PROTOCOL_ERROR,
            "ack_out_of_state",
            statement,
        )),
        // A late acknowledgement of something already settled harms nobody.
        Sent::Unknown | Sent::Release | Sent::ReleaseAgain => Ok(Step::Continue),
    }
}
