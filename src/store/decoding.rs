//! Bytes as records; see [`super::encoding`] for how they are written.

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
use super::encoding::{
    ALIVE, CRC_BYTES, DONE, PUBLISH, RECEIVED, RECEIVED_DONE, RECORD_HEADER, RELEASED, SENT,
    SESSION, SESSION_END, SUBSCRIBE, UNRETAIN, UNSUBSCRIBE, WILL, WILL_ARMED, WILL_DONE,
};
use super::record::{Seq, SessionFacts, SessionKey};
use super::wire::{Reader, WireError};

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

pub(super) fn target(reader: &mut Reader<'_>) -> Result<(Target, Identifiers), WireError> {
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

/// Gives each record of `payload` that carries a message the checksum it should have.
pub(super) fn put_right(payload: &mut [u8]) {
    let mut at = 0;
    while let Some((tag, length)) = payload
        .get(at..)
        .and_then(|rest| split(rest).ok())
        .map(|(tag, _, length)| (tag, length))
    {
        if carries_message(tag)
            && let Some(record) = payload.get_mut(at..at + length)
            && let Some((bytes, crc)) = record.split_last_chunk_mut::<CRC_BYTES>()
        {
            *crc = crc32c::crc32c(bytes).to_le_bytes();
        }
        at += length;
    }
}

/// Reads the messages of all records of `payload`.
pub(super) fn read_messages(payload: &[u8], clock: &Clock) {
    let mut messages = MessageReader::new(*clock);
    let mut rest = payload;
    while let Ok((_, _, length)) = split(rest) {
        let (record, behind) = rest.split_at(length);
        let will = messages.will(record).is_ok();
        let published = messages.published(record).is_ok();
        assert!(!(will && published));
        if published && let Ok(Item::Publish { targets, .. }) = item(record, clock) {
            for target in targets {
                let delivery = messages.delivery(record, target.session, target.seq);
                delivery.expect("who is named is delivered to");
            }
        }
        rest = behind;
    }
}
