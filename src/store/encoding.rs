//! Records as bytes.
//!
//! A record is its kind (one byte), the length of what follows (four), and its fields. One that carries a
//! message begins with what the index needs to know, its head, and ends with a CRC32C of all of it, which is
//! checked each time it is read.

use std::net::IpAddr;

use smallvec::SmallVec;

use crate::codec::PacketId;
use crate::message::{Author, Identifiers, Message, RetainHandling, Subscription};

use super::clock::Clock;
use super::decoding::{Target, check, split, target};
use super::record::{Receiver, Record, Seq, SessionFacts, SessionKey, Stage, StoredWill};
use super::wire::{Reader, WireError, put_bytes, put_number, put_option, put_text};

/// Bytes before the fields of a record.
pub(super) const RECORD_HEADER: usize = 5;
pub(super) const CRC_BYTES: usize = 4;

pub(super) const PUBLISH: u8 = 1;
pub(super) const SENT: u8 = 2;
pub(super) const RELEASED: u8 = 3;
pub(super) const DONE: u8 = 4;
pub(super) const SESSION: u8 = 5;
pub(super) const SESSION_END: u8 = 6;
pub(super) const SUBSCRIBE: u8 = 7;
pub(super) const UNSUBSCRIBE: u8 = 8;
pub(super) const RECEIVED: u8 = 9;
pub(super) const RECEIVED_DONE: u8 = 10;
pub(super) const WILL: u8 = 11;
pub(super) const WILL_ARMED: u8 = 12;
pub(super) const WILL_DONE: u8 = 13;
pub(super) const UNRETAIN: u8 = 14;
pub(super) const ALIVE: u8 = 15;

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
