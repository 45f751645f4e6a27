//! Records as bytes.
//!
//! A record is its kind (one byte), the length of what follows (four), and its fields. One that carries a
//! message begins with what the index needs to know, its head, and ends with a CRC32C of all of it, which is
//! checked each time it is read.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::codec::{PacketId, QoS};
use crate::message::{
    Author, ClientId, Delivery, Grants, Identifiers, Message, RetainHandling, Subscription,
};
use crate::session::TopicTokens;
use crate::topic::{SubscriptionFilter, TopicName};

use super::clock::Clock;
use super::record::{Receiver, Record, Seq, SessionFacts, SessionKey, Stage, StoredWill};
use super::wire::{Reader, WireError, put_bytes, put_number, put_option, put_text};

/// Bytes before the fields of a record.
pub(super) const RECORD_HEADER: usize = 5;
const CRC_BYTES: usize = 4;

const PUBLISH: u8 = 1;
const SENT: u8 = 2;
const RELEASED: u8 = 3;
const DONE: u8 = 4;
const SESSION: u8 = 5;
const SESSION_END: u8 = 6;
const SUBSCRIBE: u8 = 7;
const UNSUBSCRIBE: u8 = 8;
const RECEIVED: u8 = 9;
const RECEIVED_DONE: u8 = 10;
const WILL: u8 = 11;
const WILL_ARMED: u8 = 12;
const WILL_DONE: u8 = 13;
const UNRETAIN: u8 = 14;
const ALIVE: u8 = 15;

/// A receiver as the index keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) session: SessionKey,
    pub(super) seq: Seq,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) sent: Option<PacketId>,
}

/// What a record says, without the message it may carry.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Publish {
        targets: SmallVec<[Target; 2]>,
        /// The topic it is the retained message of.
        retained: Option<Box<str>>,
        /// Bytes the message is counted for.
        size: u32,
    },
    Sent(SessionKey, Seq, PacketId),
    Released(SessionKey, Seq, PacketId),
    Done(SessionKey, Seq),
    Session(SessionKey, Box<SessionFacts>),
    SessionEnd(SessionKey),
    Subscribe(SessionKey, Box<Subscription>),
    Unsubscribe(SessionKey, Box<str>),
    Received(SessionKey, PacketId),
    ReceivedDone(SessionKey, PacketId),
    /// The delay and the expiry of a will, and when it is due, in milliseconds since 1970.
    Will(SessionKey, WillTimes),
    WillArmed(SessionKey, u64),
    WillDone(SessionKey),
    Unretain(Box<str>),
    Alive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WillTimes {
    pub(super) delay_s: u32,
    pub(super) expiry_interval_s: Option<u32>,
    pub(super) due_ms: Option<u64>,
}

/// Begins a record; [`finish`] gives it its length.
fn begin(out: &mut Vec<u8>, tag: u8) -> usize {
    let from = out.len();
    out.push(tag);
    out.extend_from_slice(&[0; 4]);
    from
}

fn finish(out: &mut [u8], from: usize) {
    let length = u32::try_from(out.len() - from - RECORD_HEADER).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(from + 1..from + RECORD_HEADER) {
        field.copy_from_slice(&length.to_le_bytes());
    }
}

/// Ends a record that carries a message.
fn finish_with_crc(out: &mut Vec<u8>, from: usize) {
    out.extend_from_slice(&[0; CRC_BYTES]);
    finish(out, from);
    let end = out.len() - CRC_BYTES;
    let crc = crc32c::crc32c(out.get(from..end).unwrap_or_default());
    if let Some(field) = out.get_mut(end..) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
}

fn put_session(out: &mut Vec<u8>, session: SessionKey) {
    put_number(out, u64::from(session.0.get()));
}

fn put_id(out: &mut Vec<u8>, id: PacketId) {
    out.extend_from_slice(&id.get().to_le_bytes());
}

/// Appends `record` to `out`.
pub(super) fn encode(record: &Record, clock: &Clock, out: &mut Vec<u8>) {
    match record {
        Record::Publish {
            message,
            retained,
            receivers,
        } => {
            let targets: SmallVec<[_; 4]> =
                receivers.iter().map(|receiver| (receiver, None)).collect();
            encode_publish(message, *retained, &targets, clock, out);
        }
        Record::Will { session, will } => encode_will(*session, will, clock, out),
        other => encode_small(other, clock, out),
    }
}

/// A message whose receivers may have been sent it already.
pub(super) fn encode_publish(
    message: &Message,
    retained: bool,
    targets: &[(&Receiver, Option<PacketId>)],
    clock: &Clock,
    out: &mut Vec<u8>,
) {
    let from = begin(out, PUBLISH);
    let head = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(u8::from(retained));
    put_number(out, message.size_bytes() as u64);
    put_number(out, targets.len() as u64);
    for (receiver, sent) in targets {
        put_session(out, receiver.session);
        put_number(out, receiver.seq);
        let retain = u8::from(receiver.retain) << 2;
        out.push(receiver.qos.bits() | retain | u8::from(sent.is_some()) << 3);
        if let Some(id) = sent {
            put_id(out, *id);
        }
        put_number(out, receiver.identifiers.len() as u64);
        for identifier in &receiver.identifiers {
            put_number(out, u64::from(*identifier));
        }
    }
    if retained {
        put_text(out, message.topic.as_str());
    }
    let head_bytes = u32::try_from(out.len() - head - 4).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(head..head + 4) {
        field.copy_from_slice(&head_bytes.to_le_bytes());
    }
    put_message(out, message, clock);
    finish_with_crc(out, from);
}

fn encode_will(session: SessionKey, will: &StoredWill, clock: &Clock, out: &mut Vec<u8>) {
    let from = begin(out, WILL);
    put_session(out, session);
    put_number(out, u64::from(will.delay_s));
    put_option(out, will.expiry_interval_s, |out, seconds| {
        put_number(out, u64::from(seconds));
    });
    put_option(out, will.due, |out, due| {
        put_number(out, clock.wall_ms(due));
    });
    put_message(out, &will.message, clock);
    finish_with_crc(out, from);
}

fn encode_small(record: &Record, clock: &Clock, out: &mut Vec<u8>) {
    let from;
    match record {
        Record::Sent {
            session,
            seq,
            packet_id,
        } => {
            from = begin(out, SENT);
            put_session(out, *session);
            put_number(out, *seq);
            put_id(out, *packet_id);
        }
        Record::Released {
            session,
            seq,
            packet_id,
        } => {
            from = begin(out, RELEASED);
            put_session(out, *session);
            put_number(out, *seq);
            put_id(out, *packet_id);
        }
        Record::Done { session, seq } => {
            from = begin(out, DONE);
            put_session(out, *session);
            put_number(out, *seq);
        }
        Record::Session { session, facts } => {
            from = begin(out, SESSION);
            put_session(out, *session);
            put_facts(out, facts, clock);
        }
        Record::SessionEnd { session } => {
            from = begin(out, SESSION_END);
            put_session(out, *session);
        }
        Record::Subscribe {
            session,
            subscription,
        } => {
            from = begin(out, SUBSCRIBE);
            put_session(out, *session);
            put_subscription(out, subscription);
        }
        Record::Unsubscribe { session, filter } => {
            from = begin(out, UNSUBSCRIBE);
            put_session(out, *session);
            put_text(out, filter);
        }
        Record::Received { session, packet_id } => {
            from = begin(out, RECEIVED);
            put_session(out, *session);
            put_id(out, *packet_id);
        }
        Record::ReceivedDone { session, packet_id } => {
            from = begin(out, RECEIVED_DONE);
            put_session(out, *session);
            put_id(out, *packet_id);
        }
        Record::WillArmed { session, due } => {
            from = begin(out, WILL_ARMED);
            put_session(out, *session);
            put_number(out, clock.wall_ms(*due));
        }
        Record::WillDone { session } => {
            from = begin(out, WILL_DONE);
            put_session(out, *session);
        }
        Record::Unretain { topic } => {
            from = begin(out, UNRETAIN);
            put_text(out, topic.as_str());
        }
        Record::Alive => from = begin(out, ALIVE),
        // Those with a message are written by the functions above.
        Record::Publish { .. } | Record::Will { .. } => return,
    }
    finish(out, from);
}

fn put_facts(out: &mut Vec<u8>, facts: &SessionFacts, clock: &Clock) {
    put_text(out, facts.client_id.as_str());
    put_option(out, facts.username.as_deref(), put_text);
    put_number(out, u64::from(facts.expiry_interval_s));
    put_option(out, facts.away_since, |out, at| {
        put_number(out, clock.wall_ms(at));
    });
    put_option(out, facts.tokens.as_deref(), |out, tokens| {
        put_text(out, &tokens.current);
        put_number(out, clock.wall_ms(tokens.drawn_at));
        put_number(out, u64::from(tokens.generation));
        put_option(out, tokens.previous.as_ref(), |out, (token, until)| {
            put_text(out, token);
            put_number(out, clock.wall_ms(*until));
        });
        put_option(out, tokens.subscribed, |out, (qos, identifier)| {
            out.push(qos.bits());
            put_option(out, identifier, |out, identifier| {
                put_number(out, u64::from(identifier));
            });
        });
    });
}

fn put_subscription(out: &mut Vec<u8>, subscription: &Subscription) {
    put_text(out, &subscription.filter.to_string());
    let handling = match subscription.retain_handling {
        RetainHandling::Send => 0,
        RetainHandling::SendIfNew => 1,
        RetainHandling::DoNotSend => 2,
    };
    out.push(
        subscription.qos.bits()
            | u8::from(subscription.no_local) << 2
            | u8::from(subscription.retain_as_published) << 3
            | handling << 4,
    );
    put_option(out, subscription.identifier, |out, identifier| {
        put_number(out, u64::from(identifier));
    });
}

fn put_message(out: &mut Vec<u8>, message: &Message, clock: &Clock) {
    put_text(out, message.topic.as_str());
    out.push(message.qos.bits() | u8::from(message.retain) << 2);
    put_option(out, message.expires_at, |out, at| {
        put_number(out, clock.wall_ms(at));
    });
    put_bytes(out, &message.properties);
    put_author(out, &message.author);
    put_bytes(out, &message.payload);
}

fn put_texts<'a>(out: &mut Vec<u8>, texts: impl ExactSizeIterator<Item = &'a str>) {
    put_number(out, texts.len() as u64);
    for text in texts {
        put_text(out, text);
    }
}

fn put_author(out: &mut Vec<u8>, author: &Author) {
    put_text(out, author.client_id.as_str());
    put_option(out, author.username.as_deref(), put_text);
    put_texts(out, author.groups.iter().map(|group| &**group));
    put_option(out, author.grants.as_deref(), |out, grants| {
        put_texts(out, grants.publish.iter().map(|filter| &**filter));
        put_texts(out, grants.subscribe.iter().map(|filter| &**filter));
    });
    put_texts(out, author.tokens.iter().map(|token| &**token));
    put_option(out, author.address, |out, address| match address {
        IpAddr::V4(address) => put_bytes(out, &address.octets()),
        IpAddr::V6(address) => put_bytes(out, &address.octets()),
    });
    put_option(out, author.listener, |out, listener| {
        out.extend_from_slice(&listener.to_le_bytes());
    });
}

fn session(reader: &mut Reader<'_>) -> Result<SessionKey, WireError> {
    let number = reader.number_u32()?;
    NonZeroU32::new(number)
        .map(SessionKey)
        .ok_or(WireError::Field("session"))
}

fn packet_id(reader: &mut Reader<'_>) -> Result<PacketId, WireError> {
    PacketId::new(reader.u16()?).ok_or(WireError::Field("packet identifier"))
}

fn qos(bits: u8) -> Result<QoS, WireError> {
    QoS::from_bits(bits & 3).ok_or(WireError::Field("QoS"))
}

/// One record at the front of `bytes`: its kind and its fields, and its length.
pub(super) fn split(bytes: &[u8]) -> Result<(u8, &[u8], usize), WireError> {
    let mut reader = Reader::new(bytes);
    let tag = reader.u8()?;
    if !(PUBLISH..=ALIVE).contains(&tag) {
        return Err(WireError::Tag(tag));
    }
    let length = usize::try_from(reader.u32()?).map_err(|_| WireError::Short)?;
    let fields = reader.take(length)?;
    Ok((tag, fields, RECORD_HEADER + length))
}

/// The shortest beginning of a record from which [`item`] still reads all it needs.
pub(super) fn head_of(record: &[u8]) -> Result<&[u8], WireError> {
    let (tag, fields, length) = split(record)?;
    let mut reader = Reader::new(fields);
    let kept = match tag {
        PUBLISH => {
            let head = usize::try_from(reader.u32()?).map_err(|_| WireError::Short)?;
            reader.take(head)?;
            RECORD_HEADER + 4 + head
        }
        WILL => {
            will_head(&mut reader)?;
            length - reader.rest().len()
        }
        _ => length,
    };
    record.get(..kept).ok_or(WireError::Short)
}

fn will_head(reader: &mut Reader<'_>) -> Result<(SessionKey, WillTimes), WireError> {
    let session = session(reader)?;
    let delay_s = reader.number_u32()?;
    let expiry_interval_s = reader.option(Reader::number_u32)?;
    let due_ms = reader.option(Reader::number)?;
    let times = WillTimes {
        delay_s,
        expiry_interval_s,
        due_ms,
    };
    Ok((session, times))
}

/// What a record says; its beginning is enough (see [`head_of`]).
pub(super) fn item(head: &[u8], clock: &Clock) -> Result<Item, WireError> {
    let (&tag, rest) = head.split_first().ok_or(WireError::Short)?;
    let mut reader = Reader::new(rest.get(4..).ok_or(WireError::Short)?);
    let reader = &mut reader;
    let item = match tag {
        PUBLISH => return publish_head(reader),
        WILL => {
            let (session, times) = will_head(reader)?;
            return Ok(Item::Will(session, times));
        }
        SENT => Item::Sent(session(reader)?, reader.number()?, packet_id(reader)?),
        RELEASED => Item::Released(session(reader)?, reader.number()?, packet_id(reader)?),
        DONE => Item::Done(session(reader)?, reader.number()?),
        SESSION => Item::Session(session(reader)?, Box::new(facts(reader, clock)?)),
        SESSION_END => Item::SessionEnd(session(reader)?),
        SUBSCRIBE => Item::Subscribe(session(reader)?, Box::new(subscription(reader)?)),
        UNSUBSCRIBE => Item::Unsubscribe(session(reader)?, reader.text()?.into()),
        RECEIVED => Item::Received(session(reader)?, packet_id(reader)?),
        RECEIVED_DONE => Item::ReceivedDone(session(reader)?, packet_id(reader)?),
        WILL_ARMED => Item::WillArmed(session(reader)?, reader.number()?),
        WILL_DONE => Item::WillDone(session(reader)?),
        UNRETAIN => Item::Unretain(reader.text()?.into()),
        ALIVE => Item::Alive,
        tag => return Err(WireError::Tag(tag)),
    };
    reader.end()?;
    Ok(item)
}

fn target(reader: &mut Reader<'_>) -> Result<(Target, Identifiers), WireError> {
    let session = session(reader)?;
    let seq = reader.number()?;
    let flags = reader.u8()?;
    let sent = if flags & 8 != 0 {
        Some(packet_id(reader)?)
    } else {
        None
    };
    let identifiers = reader.list(Reader::number_u32)?.into();
    let target = Target {
        session,
        seq,
        qos: qos(flags)?,
        retain: flags & 4 != 0,
        sent,
    };
    Ok((target, identifiers))
}

fn publish_head(reader: &mut Reader<'_>) -> Result<Item, WireError> {
    let length = usize::try_from(reader.u32()?).map_err(|_| WireError::Short)?;
    let mut head = Reader::new(reader.take(length)?);
    let retained = head.u8()? & 1 != 0;
    let size = head.number_u32()?;
    let count = head.number()?;
    let mut targets = SmallVec::new();
    for _ in 0..count {
        targets.push(target(&mut head)?.0);
    }
    let retained = if retained {
        Some(head.text()?.into())
    } else {
        None
    };
    head.end()?;
    Ok(Item::Publish {
        targets,
        retained,
        size,
    })
}

fn facts(reader: &mut Reader<'_>, clock: &Clock) -> Result<SessionFacts, WireError> {
    Ok(SessionFacts {
        client_id: ClientId::new(reader.text()?),
        username: reader.option(|reader| reader.text().map(Arc::from))?,
        expiry_interval_s: reader.number_u32()?,
        away_since: reader.option(|reader| reader.number().map(|at| clock.instant(at)))?,
        tokens: reader.option(|reader| {
            Ok(Box::new(TopicTokens {
                current: reader.text()?.into(),
                drawn_at: clock.instant(reader.number()?),
                generation: reader.number_u32()?,
                previous: reader.option(|reader| {
                    let token = Arc::from(reader.text()?);
                    Ok((token, clock.instant(reader.number()?)))
                })?,
                subscribed: reader.option(|reader| {
                    let qos = qos(reader.u8()?)?;
                    Ok((qos, reader.option(Reader::number_u32)?))
                })?,
            }))
        })?,
    })
}

fn subscription(reader: &mut Reader<'_>) -> Result<Subscription, WireError> {
    let filter =
        SubscriptionFilter::parse(reader.text()?).map_err(|_| WireError::Field("filter"))?;
    let flags = reader.u8()?;
    Ok(Subscription {
        filter,
        qos: qos(flags)?,
        no_local: flags & 4 != 0,
        retain_as_published: flags & 8 != 0,
        retain_handling: match flags >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(WireError::Field("retain handling")),
        },
        identifier: reader.option(Reader::number_u32)?,
    })
}

fn text_list(reader: &mut Reader<'_>) -> Result<Arc<[Arc<str>]>, WireError> {
    Ok(reader.list(|reader| reader.text().map(Arc::from))?.into())
}

fn author(reader: &mut Reader<'_>) -> Result<Author, WireError> {
    Ok(Author {
        client_id: ClientId::new(reader.text()?),
        username: reader.option(|reader| reader.text().map(Arc::from))?,
        groups: text_list(reader)?,
        grants: reader.option(|reader| {
            let mut filters = || reader.list(|reader| reader.text().map(Box::from));
            let publish = filters()?;
            let subscribe = filters()?;
            Ok(Arc::new(Grants { publish, subscribe }))
        })?,
        tokens: text_list(reader)?,
        address: reader.option(|reader| {
            let octets = reader.bytes()?;
            if let Ok(octets) = <[u8; 4]>::try_from(octets) {
                return Ok(IpAddr::from(octets));
            }
            let octets = <[u8; 16]>::try_from(octets).map_err(|_| WireError::Field("address"))?;
            Ok(IpAddr::from(octets))
        })?,
        listener: reader.option(Reader::u16)?,
    })
}

/// Reads messages; neighbours often have one author, which is then shared.
#[derive(Debug)]
pub(super) struct MessageReader {
    clock: Clock,
    last: Option<Arc<Author>>,
}

impl MessageReader {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, last: None }
    }

    fn message(&mut self, reader: &mut Reader<'_>) -> Result<Message, WireError> {
        let topic = TopicName::parse(reader.text()?).map_err(|_| WireError::Field("topic"))?;
        let flags = reader.u8()?;
        let expires_at = reader.option(Reader::number)?;
        let properties = reader.bytes()?.into();
        let author = author(reader)?;
        let author = match &self.last {
            Some(last) if **last == author => Arc::clone(last),
            _ => Arc::clone(self.last.insert(Arc::new(author))),
        };
        Ok(Message {
            topic,
            payload: Bytes::copy_from_slice(reader.bytes()?),
            properties,
            qos: qos(flags)?,
            retain: flags & 4 != 0,
            expires_at: expires_at.map(|at| self.clock.instant(at)),
            author,
            submitted: crate::message::Submitted::yes(),
        })
    }

    /// The message in a whole record, which must be one that carries a message; its checksum is checked.
    fn carried<'a>(
        &mut self,
        record: &'a [u8],
        wanted: u8,
    ) -> Result<(Reader<'a>, Arc<Message>), WireError> {
        check(record)?;
        let (tag, fields, _) = split(record)?;
        if tag != wanted {
            return Err(WireError::Tag(tag));
        }
        let body = fields
            .get(..fields.len() - CRC_BYTES)
            .ok_or(WireError::Short)?;
        let mut head = Reader::new(body);
        let from = head_of(record)?.len() - RECORD_HEADER;
        let mut reader = Reader::new(body.get(from..).ok_or(WireError::Short)?);
        let message = self.message(&mut reader)?;
        reader.end()?;
        if wanted == PUBLISH {
            head.take(4)?;
        }
        Ok((head, Arc::new(message)))
    }

    /// What `session` is to be delivered at `seq` out of a publish record.
    pub(super) fn delivery(
        &mut self,
        record: &[u8],
        session: SessionKey,
        seq: Seq,
    ) -> Result<Delivery, WireError> {
        let (mut head, message) = self.carried(record, PUBLISH)?;
        head.u8()?;
        head.number()?;
        let count = head.number()?;
        for _ in 0..count {
            let (target, identifiers) = target(&mut head)?;
            if target.session == session && target.seq == seq {
                return Ok(Delivery {
                    message,
                    qos: target.qos,
                    retain: target.retain,
                    identifiers,
                    seq,
                });
            }
        }
        Err(WireError::Field("receiver"))
    }

    /// The message of a publish record.
    pub(super) fn published(&mut self, record: &[u8]) -> Result<Arc<Message>, WireError> {
        self.carried(record, PUBLISH).map(|(_, message)| message)
    }

    /// The message of a will.
    pub(super) fn will(&mut self, record: &[u8]) -> Result<Arc<Message>, WireError> {
        self.carried(record, WILL).map(|(_, message)| message)
    }
}

/// Checks the checksum of a record that carries a message.
pub(super) fn check(record: &[u8]) -> Result<(), WireError> {
    let (tag, _, length) = split(record)?;
    if !carries_message(tag) {
        return Ok(());
    }
    let record = record.get(..length).ok_or(WireError::Short)?;
    let (bytes, crc) = record
        .split_last_chunk::<CRC_BYTES>()
        .ok_or(WireError::Short)?;
    if crc32c::crc32c(bytes) == u32::from_le_bytes(*crc) {
        Ok(())
    } else {
        Err(WireError::Checksum)
    }
}

/// Whether this is a whole record that carries a message of the kind it should.
pub(super) fn check_carrier(record: &[u8], is_will: bool) -> Result<(), WireError> {
    let wanted = if is_will { WILL } else { PUBLISH };
    let (tag, _, length) = split(record)?;
    if tag != wanted || length != record.len() {
        return Err(WireError::Field("kind"));
    }
    check(record)
}

pub(super) fn carries_message(tag: u8) -> bool {
    matches!(tag, PUBLISH | WILL)
}

/// Whether the index keeps the place of records of this kind.
pub(super) fn has_place(tag: u8) -> bool {
    matches!(tag, PUBLISH | WILL | SESSION | SUBSCRIBE)
}

/// Writes a publish record again for those it still waits for. `stage` says of each receiver whether it is
/// one of them, and how far it has come.
pub(super) fn copy_publish(
    record: &[u8],
    retained: bool,
    mut stage: impl FnMut(SessionKey, Seq) -> Option<Stage>,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    check(record)?;
    let (_, fields, _) = split(record)?;
    let mut reader = Reader::new(fields);
    let head_bytes = usize::try_from(reader.u32()?).map_err(|_| WireError::Short)?;
    let mut head = Reader::new(reader.take(head_bytes)?);
    let body = reader.rest();
    let body = body.get(..body.len() - CRC_BYTES).ok_or(WireError::Short)?;
    head.u8()?;
    let size = head.number()?;
    let count = head.number()?;
    let mut kept: Vec<(Target, Identifiers)> = Vec::new();
    for _ in 0..count {
        let (mut target, identifiers) = target(&mut head)?;
        match stage(target.session, target.seq) {
            Some(Stage::Queued) => target.sent = None,
            Some(Stage::Sent(id)) => target.sent = Some(id),
            // A released one needs no message.
            Some(Stage::Released(_)) | None => continue,
        }
        kept.push((target, identifiers));
    }
    let from = begin(out, PUBLISH);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(u8::from(retained));
    put_number(out, size);
    put_number(out, kept.len() as u64);
    for (target, identifiers) in &kept {
        put_session(out, target.session);
        put_number(out, target.seq);
        let flags = target.qos.bits() | u8::from(target.retain) << 2;
        out.push(flags | u8::from(target.sent.is_some()) << 3);
        if let Some(id) = target.sent {
            put_id(out, id);
        }
        put_number(out, identifiers.len() as u64);
        for identifier in identifiers {
            put_number(out, u64::from(*identifier));
        }
    }
    if retained {
        // The topic is the first field of the message too.
        put_text(out, Reader::new(body).text()?);
    }
    let head_bytes = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&head_bytes.to_le_bytes());
    }
    out.extend_from_slice(body);
    finish_with_crc(out, from);
    Ok(())
}
