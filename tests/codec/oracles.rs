//! The same packet in the words of three decoders, so that they can be compared: what ours reads,
//! and the forms of words that all share.

use portcullis::codec::{
    self, Ack, Connect, DecodeError, ForwardProperties, Limits, Packet, PacketId, Publish, Version,
    frame_length,
};

/// What a decoder makes of one packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<E> {
    /// It accepts the packet; the text says what it read.
    Accepts(String),
    /// It refuses it.
    Refuses(E),
    /// It asks for more bytes.
    Waits,
}

/// Ours, on a connection of `version`; without one the packet is the first.
pub(crate) fn ours(bytes: &[u8], version: Option<Version>) -> Verdict<DecodeError> {
    let limits = Limits {
        max_packet_bytes: usize::MAX,
        max_user_properties: usize::MAX,
    };
    let frame = match frame_length(bytes, limits.max_packet_bytes) {
        Err(error) => return Verdict::Refuses(error),
        Ok(Some(length)) if length <= bytes.len() => &bytes[..length],
        Ok(_) => return Verdict::Waits,
    };
    let said = match version {
        None => codec::decode_connect(frame, &limits).map(|connect| said_connect(&connect)),
        Some(version) => codec::decode(frame, version, &limits).map(|packet| said(&packet)),
    };
    said.map_or_else(Verdict::Refuses, Verdict::Accepts)
}

fn said_connect(connect: &Connect<'_>) -> String {
    let will = connect.will.map(|will| Message {
        topic: will.topic,
        qos: will.qos.bits(),
        retain: will.retain,
        payload: will.payload,
        expiry: will.expiry_interval_s,
        properties: chunks(&will.properties),
    });
    let delay = connect.will.map_or(0, |will| will.delay_interval_s);
    Opening {
        clean_start: connect.clean_start,
        keep_alive: connect.keep_alive_s,
        client_id: connect.client_id,
        will,
        credentials: (connect.username, connect.password),
        session_expiry: connect.session_expiry_interval_s.unwrap_or(0),
        receive_maximum: connect.receive_maximum,
        maximum_packet_size: connect.maximum_packet_size,
        alias_maximum: connect.topic_alias_maximum,
        information: (
            connect.request_response_information,
            connect.request_problem_information,
        ),
        authentication: (connect.authentication_method, connect.authentication_data),
        delay,
    }
    .said()
}

fn said(packet: &Packet<'_>) -> String {
    let ack =
        |name, ack: &Ack<'_>| said_ack(name, ack.packet_id.get(), ack.reason.0, ack.reason_string);
    match packet {
        Packet::Connect => "connect".to_owned(),
        Packet::Publish(publish) => said_publish(publish),
        Packet::Puback(read) => ack("puback", read),
        Packet::Pubrec(read) => ack("pubrec", read),
        Packet::Pubrel(read) => ack("pubrel", read),
        Packet::Pubcomp(read) => ack("pubcomp", read),
        Packet::Subscribe(subscribe) => {
            let entries: Vec<Entry<'_>> = subscribe
                .filters()
                .map(|f| {
                    let flags = (f.no_local, f.retain_as_published, f.retain_handling);
                    (f.filter, f.qos.bits(), flags)
                })
                .collect();
            said_subscribe(subscribe.packet_id.get(), subscribe.identifier, &entries)
        }
        Packet::Unsubscribe(unsubscribe) => {
            let filters: Vec<_> = unsubscribe.filters().collect();
            said_unsubscribe(unsubscribe.packet_id.get(), &filters)
        }
        Packet::Pingreq => "pingreq".to_owned(),
        Packet::Disconnect(d) => {
            said_disconnect(d.reason.0, d.session_expiry_interval_s, d.reason_string)
        }
        Packet::Auth(auth) => said_auth(auth.reason.0, Some(auth.method), auth.data),
    }
}

fn said_publish(publish: &Publish<'_>) -> String {
    let message = Message {
        topic: publish.topic,
        qos: publish.qos.bits(),
        retain: publish.retain,
        payload: publish.payload,
        expiry: publish.expiry_interval_s,
        properties: chunks(&publish.properties),
    };
    let id = publish.packet_id.map(PacketId::get);
    message.said(publish.dup, id, publish.alias)
}

/// Forwarded properties one by one, sorted: others do not keep the order among different ones. A
/// Payload Format Indicator of 0 means the same as none.
fn chunks(properties: &ForwardProperties<'_>) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    properties.copy_forwardable(&mut bytes);
    let mut found = Vec::new();
    let mut rest = &bytes[..];
    let prefixed = |at: &[u8]| 2 + usize::from(u16::from_be_bytes([at[0], at[1]]));
    while let Some(&id) = rest.first() {
        let length = match id {
            0x01 => 2,
            0x26 => {
                let name = 1 + prefixed(&rest[1..]);
                name + prefixed(&rest[name..])
            }
            _ => 1 + prefixed(&rest[1..]),
        };
        let (chunk, after) = rest.split_at(length);
        found.push(chunk.to_vec());
        rest = after;
    }
    sorted(found)
}

/// Chunks in their order for comparison.
pub(crate) fn sorted(mut chunks: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    chunks.retain(|chunk| chunk[..] != [0x01, 0x00]);
    chunks.sort();
    chunks
}

/// An Application Message in a packet.
#[derive(Debug)]
#[expect(dead_code, reason = "read as text")]
pub(crate) struct Message<'a> {
    pub(crate) topic: &'a str,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) payload: &'a [u8],
    pub(crate) expiry: Option<u32>,
    pub(crate) properties: Vec<Vec<u8>>,
}

impl Message<'_> {
    pub(crate) fn said(&self, dup: bool, id: Option<u16>, alias: Option<u16>) -> String {
        format!("publish dup {dup} id {id:?} alias {alias:?} {self:?}")
    }
}

/// A CONNECT.
#[derive(Debug)]
#[expect(dead_code, reason = "read as text")]
pub(crate) struct Opening<'a> {
    pub(crate) clean_start: bool,
    pub(crate) keep_alive: u16,
    pub(crate) client_id: &'a str,
    pub(crate) will: Option<Message<'a>>,
    pub(crate) credentials: (Option<&'a str>, Option<&'a [u8]>),
    pub(crate) session_expiry: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet_size: u32,
    pub(crate) alias_maximum: u16,
    /// Request Response Information, Request Problem Information.
    pub(crate) information: (bool, bool),
    pub(crate) authentication: (Option<&'a str>, Option<&'a [u8]>),
    pub(crate) delay: u32,
}

impl Opening<'_> {
    pub(crate) fn said(&self) -> String {
        format!("{self:?}")
    }
}

pub(crate) fn said_ack(name: &str, id: u16, reason: u8, text: Option<&str>) -> String {
    format!("{name} {id} {reason:02X} {text:?}")
}

/// Filter, QoS, (No Local, Retain As Published, Retain Handling).
pub(crate) type Entry<'a> = (&'a str, u8, (bool, bool, u8));

pub(crate) fn said_subscribe(id: u16, identifier: Option<u32>, entries: &[Entry<'_>]) -> String {
    format!("subscribe {id} {identifier:?} {entries:?}")
}

pub(crate) fn said_unsubscribe(id: u16, filters: &[&str]) -> String {
    format!("unsubscribe {id} {filters:?}")
}

pub(crate) fn said_disconnect(reason: u8, expiry: Option<u32>, text: Option<&str>) -> String {
    format!("disconnect {reason:02X} {expiry:?} {text:?}")
}

pub(crate) fn said_auth(reason: u8, method: Option<&str>, data: Option<&[u8]>) -> String {
    format!("auth {reason:02X} {method:?} {data:02X?}")
}
