//! The MQTT 3.1.1 that the load generator speaks: a few packets out, frames in.
//!
//! Written apart from the broker's codec on purpose, so that one mistake cannot hide in both ends.

use std::io::{self, ErrorKind};

pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const PUBREC: u8 = 5;
pub(crate) const PUBREL: u8 = 6;
pub(crate) const PUBCOMP: u8 = 7;
pub(crate) const SUBACK: u8 = 9;

pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// What every payload begins with, so that the receiver can tell loss, order and age.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) stream: u32,
    pub(crate) sequence: u64,
    /// Nanoseconds since the run began; 0 where age is not asked for.
    pub(crate) sent_ns: u64,
}

const STAMP_BYTES: usize = 20;

/// A CONNECT without keep alive: the runs are shorter than any.
pub(crate) fn connect(
    client_id: &str,
    clean_session: bool,
    credentials: Option<(&str, &str)>,
) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04".to_vec();
    let named = if credentials.is_some() { 0xC0 } else { 0 };
    body.push(named | u8::from(clean_session) << 1);
    body.extend([0, 0]);
    push_text(&mut body, client_id);
    if let Some((username, password)) = credentials {
        push_text(&mut body, username);
        push_text(&mut body, password);
    }
    packet(0x10, &body)
}

pub(crate) fn subscribe(packet_id: u16, filters: &[String], qos: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    for filter in filters {
        push_text(&mut body, filter);
        body.push(qos);
    }
    packet(0x82, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP, appended.
pub(crate) fn push_ack(out: &mut Vec<u8>, kind: u8, packet_id: [u8; 2]) {
    let flags = if kind == PUBREL { 0x02 } else { 0x00 };
    out.extend([kind << 4 | flags, 2, packet_id[0], packet_id[1]]);
}

/// A PUBLISH encoded once; each message copies it and fills in what differs.
pub(crate) struct PublishTemplate {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    payload_at: usize,
}

impl PublishTemplate {
    pub(crate) fn new(topic: &str, qos: u8, payload_bytes: usize) -> Self {
        Self::with_flags(topic, qos, payload_bytes, 0)
    }

    /// QoS 0 with RETAIN.
    pub(crate) fn retained(topic: &str, payload_bytes: usize) -> Self {
        Self::with_flags(topic, 0, payload_bytes, 1)
    }

    fn with_flags(topic: &str, qos: u8, payload_bytes: usize, retain: u8) -> Self {
        let mut body = Vec::new();
        push_text(&mut body, topic);
        let id_offset = body.len();
        if qos > 0 {
            body.extend([0, 0]);
        }
        let payload_offset = body.len();
        body.resize(payload_offset + payload_bytes.max(STAMP_BYTES), b'x');
        let bytes = packet(0x30 | qos << 1 | retain, &body);
        let header = bytes.len() - body.len();
        Self {
            packet_id_at: (qos > 0).then_some(header + id_offset),
            payload_at: header + payload_offset,
            bytes,
        }
    }

    pub(crate) fn append(&self, out: &mut Vec<u8>, packet_id: u16, stamp: &Stamp) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let copy = &mut out[start..];
        if let Some(at) = self.packet_id_at {
            copy[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        let payload = &mut copy[self.payload_at..];
        payload[..4].copy_from_slice(&stamp.stream.to_be_bytes());
        payload[4..12].copy_from_slice(&stamp.sequence.to_be_bytes());
        payload[12..STAMP_BYTES].copy_from_slice(&stamp.sent_ns.to_be_bytes());
    }
}

/// What a received PUBLISH says of itself.
pub(crate) struct Arrival {
    pub(crate) qos: u8,
    pub(crate) packet_id: [u8; 2],
    pub(crate) stamp: Stamp,
}

impl Arrival {
    pub(crate) fn parse(first_byte: u8, body: &[u8]) -> Option<Self> {
        let qos = first_byte >> 1 & 3;
        let topic_bytes = usize::from(u16::from_be_bytes(*body.first_chunk()?));
        let mut rest = body.get(2 + topic_bytes..)?;
        let mut packet_id = [0, 0];
        if qos > 0 {
            packet_id = *rest.first_chunk()?;
            rest = &rest[2..];
        }
        let stamp: &[u8; STAMP_BYTES] = rest.first_chunk()?;
        Some(Self {
            qos,
            packet_id,
            stamp: Stamp {
                stream: u32::from_be_bytes(*stamp.first_chunk()?),
                sequence: u64::from_be_bytes(*stamp[4..].first_chunk()?),
                sent_ns: u64::from_be_bytes(*stamp[12..].first_chunk()?),
            },
        })
    }
}

/// One whole packet at the start of a buffer.
pub(crate) struct Frame<'a> {
    pub(crate) first_byte: u8,
    pub(crate) body: &'a [u8],
    pub(crate) whole_bytes: usize,
}

impl<'a> Frame<'a> {
    /// `None` when more bytes are needed.
    pub(crate) fn split(buffer: &'a [u8]) -> io::Result<Option<Self>> {
        let Some((&first_byte, rest)) = buffer.split_first() else {
            return Ok(None);
        };
        let mut length = 0_usize;
        for (index, byte) in rest.iter().take(4).enumerate() {
            length |= usize::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                let body_at = index + 2;
                let frame = buffer.get(body_at..body_at + length).map(|body| Self {
                    first_byte,
                    body,
                    whole_bytes: body_at + length,
                });
                return Ok(frame);
            }
        }
        if rest.len() < 4 {
            Ok(None)
        } else {
            Err(ErrorKind::InvalidData.into())
        }
    }

    pub(crate) fn kind(&self) -> u8 {
        self.first_byte >> 4
    }
}

fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first_byte];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7F).expect("seven bits");
        length >>= 7;
        out.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("the generator's strings are short");
    out.extend(length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
