//! What must hold of any bytes that reach the decoder: no panic, nothing read that is not in the
//! frame, only errors that a server may tell. What is accepted is written again and means the same.

use portcullis::codec::{
    self, Ack, AckKind, Connect, DecodeError, ForwardProperties, Limits, MalformedKind, Packet,
    Publish, PublishHead, Version, encode_ack, frame_length,
};

pub(crate) const LIMITS: Limits = Limits {
    max_packet_bytes: 2_000,
    max_user_properties: 2,
};

/// What a server may say in CONNACK when it refuses.
const CONNACK: [u8; 21] = [
    0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99,
    0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];
/// What a server may say in DISCONNECT when it closes.
const DISCONNECT: [u8; 27] = [
    0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
    0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];

/// What became of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Refused for this.
    Refused(MalformedKind),
    /// Accepted: protocol level and packet type.
    Accepted(u8, u8),
}

fn refused(error: DecodeError, allowed: &[u8]) -> Outcome {
    let code = error.reason_code();
    assert!(allowed.contains(&code.0), "{error} says {code:?}");
    Outcome::Refused(error.kind)
}

/// Looks at `bytes` as a packet of a connection of `version`, and as the first packet of one.
pub(crate) fn examine(bytes: &[u8], version: Version, note: &mut dyn FnMut(Outcome)) {
    let length = match frame_length(bytes, LIMITS.max_packet_bytes) {
        Ok(length) => length,
        Err(error) => return note(refused(error, &DISCONNECT)),
    };
    // Only a whole frame is decoded, but no slice may do harm.
    let frame = match length {
        Some(length) if length <= bytes.len() => &bytes[..length],
        _ => bytes,
    };
    match codec::decode(frame, version, &LIMITS) {
        Ok(Packet::Connect) => {}
        Ok(packet) => {
            assert_eq!(length, Some(frame.len()), "{packet:?} from a part");
            note(Outcome::Accepted(version.level(), frame[0] >> 4));
            accepted(frame, version, &packet);
        }
        Err(error) => {
            assert_eq!(error.version, Some(version));
            note(refused(error, &DISCONNECT));
        }
    }
    match codec::decode_connect(frame, &LIMITS) {
        Ok(connect) => {
            assert_eq!(length, Some(frame.len()), "{connect:?} from a part");
            note(Outcome::Accepted(connect.version.level(), 1));
            accepted_connect(frame, &connect);
        }
        Err(error) => note(refused(error, &CONNACK)),
    }
}

/// Whether `part` lies in `frame`: addresses are compared, nothing is read.
fn inside(frame: &[u8], part: &[u8]) {
    let (outer, inner) = (frame.as_ptr_range(), part.as_ptr_range());
    let within = outer.start <= inner.start && inner.end <= outer.end;
    assert!(part.is_empty() || within, "{part:02X?} of {frame:02X?}");
}

fn inside_text(frame: &[u8], text: Option<&str>) {
    inside(frame, text.unwrap_or_default().as_bytes());
}

/// Forwarded properties are pieces of the block: no more than it holds.
fn forwarded(frame: &[u8], properties: &ForwardProperties<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    properties.copy_forwardable(&mut out);
    assert!(out.len() < frame.len());
    assert!(!properties.is_empty() || out.is_empty());
    out
}

fn accepted(frame: &[u8], version: Version, packet: &Packet<'_>) {
    match packet {
        Packet::Connect | Packet::Pingreq => {}
        Packet::Publish(publish) => accepted_publish(frame, version, publish),
        Packet::Puback(ack) => accepted_ack(frame, version, AckKind::Puback, ack),
        Packet::Pubrec(ack) => accepted_ack(frame, version, AckKind::Pubrec, ack),
        Packet::Pubrel(ack) => accepted_ack(frame, version, AckKind::Pubrel, ack),
        Packet::Pubcomp(ack) => accepted_ack(frame, version, AckKind::Pubcomp, ack),
        Packet::Subscribe(subscribe) => {
            let mut count = 0;
            for entry in subscribe.filters() {
                inside_text(frame, Some(entry.filter));
                assert!(entry.retain_handling < 3);
                count += 1;
            }
            assert!(count > 0);
            assert_ne!(subscribe.identifier, Some(0));
        }
        Packet::Unsubscribe(unsubscribe) => {
            let mut count = 0;
            for filter in unsubscribe.filters() {
                inside_text(frame, Some(filter));
                count += 1;
            }
            assert!(count > 0);
        }
        Packet::Disconnect(disconnect) => inside_text(frame, disconnect.reason_string),
        Packet::Auth(auth) => {
            inside_text(frame, Some(auth.method));
            inside(frame, auth.data.unwrap_or_default());
        }
    }
}

fn accepted_publish(frame: &[u8], version: Version, publish: &Publish<'_>) {
    inside_text(frame, Some(publish.topic));
    inside_text(frame, publish.response_topic);
    inside(frame, publish.payload);
    let properties = forwarded(frame, &publish.properties);
    let head = PublishHead {
        dup: publish.dup,
        qos: publish.qos,
        retain: publish.retain,
        topic: publish.topic,
        packet_id: publish.packet_id,
        alias: publish.alias,
        expiry_interval_s: publish.expiry_interval_s,
        identifiers: &[],
        properties: &properties,
        payload_bytes: publish.payload.len(),
    };
    let mut again = Vec::with_capacity(frame.len());
    head.encode(version, &mut again);
    again.extend_from_slice(publish.payload);
    assert_eq!(head.packet_bytes(version), again.len());
    // Properties may change places and nothing else: the length stays, and 3.x byte for byte.
    assert_eq!(again.len(), frame.len());
    if !version.is_v5() {
        assert_eq!(again, frame);
        return;
    }
    let Ok(Packet::Publish(read)) = codec::decode(&again, version, &LIMITS) else {
        panic!("{again:02X?} from {frame:02X?}")
    };
    assert_eq!(forwarded(&again, &read.properties), properties);
    let expected = Publish {
        properties: read.properties,
        ..*publish
    };
    assert_eq!(read, expected);
}

fn accepted_ack(frame: &[u8], version: Version, kind: AckKind, ack: &Ack<'_>) {
    inside_text(frame, ack.reason_string);
    let mut again = Vec::new();
    encode_ack(
        &mut again,
        version,
        kind,
        ack.packet_id,
        ack.reason,
        ack.reason_string,
    );
    let read = match codec::decode(&again, version, &LIMITS) {
        Ok(
            Packet::Puback(read)
            | Packet::Pubrec(read)
            | Packet::Pubrel(read)
            | Packet::Pubcomp(read),
        ) => read,
        other => panic!("{other:?} from {frame:02X?}"),
    };
    assert_eq!(&read, ack);
    // User Properties and longer forms of the same are what may be missing.
    assert!(again.len() <= frame.len());
    if version == Version::V311 {
        assert_eq!(again, frame);
    }
}

fn accepted_connect(frame: &[u8], connect: &Connect<'_>) {
    inside_text(frame, Some(connect.client_id));
    inside_text(frame, connect.username);
    inside(frame, connect.password.unwrap_or_default());
    inside_text(frame, connect.authentication_method);
    inside(frame, connect.authentication_data.unwrap_or_default());
    assert_ne!(connect.receive_maximum, 0);
    assert_ne!(connect.maximum_packet_size, 0);
    if let Some(will) = connect.will {
        inside_text(frame, Some(will.topic));
        inside(frame, will.payload);
        assert!(!will.topic.is_empty() && !will.topic.contains(['+', '#', '\0']));
        forwarded(frame, &will.properties);
    }
}
