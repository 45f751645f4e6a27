//! What a server may send, read slowly and from the standard alone. Anything else is a finding: it
//! panics with the packet.

use portcullis::codec::Version;

use super::reading::{Fields, In, Properties, is_topic_name, properties};
use super::standard::Publish;

/// A packet of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Session Present, code, properties.
    Connack(bool, u8, Properties),
    Publish(Publish),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP, as the high half of the first byte.
    Ack(u8, u16, u8, Properties),
    /// SUBACK or UNSUBACK, the same; with the codes, of which UNSUBACK of 3.x has none.
    Answer(u8, u16, Properties, Vec<u8>),
    Pingresp,
    Disconnect(u8, Properties),
    Auth(u8, Properties),
}

/// Takes the next packet off `bytes`; gives its length too.
pub(super) fn next(bytes: &mut &[u8], version: Version) -> (Sent, usize) {
    let before = *bytes;
    let packet = take(bytes, version);
    let length = before.len() - bytes.len();
    match packet {
        Some(packet) => (packet, length),
        None => panic!("{version:?} was sent {before:02X?}"),
    }
}

fn take(bytes: &mut &[u8], version: Version) -> Option<Sent> {
    let mut fields = Fields(bytes);
    let first = fields.byte()?;
    let length = fields.variable()?;
    let mut body = Fields(fields.take(usize::try_from(length).unwrap())?);
    *bytes = fields.0;
    let (kind, flags) = (first >> 4, first % 16);
    let right = match kind {
        3 => true,
        6 => flags == 2,
        _ => flags == 0,
    };
    let v5 = version == Version::V5;
    let packet = match kind {
        2 => connack(&mut body, version),
        3 => publish(flags, &mut body, version),
        4..=7 => ack(kind, &mut body, v5),
        9 | 11 => answer(kind, &mut body, version),
        13 => Some(Sent::Pingresp),
        14 if v5 => disconnect(&mut body),
        15 if v5 => auth(&mut body),
        _ => None,
    }?;
    (right && body.0.is_empty()).then_some(packet)
}

fn block(body: &mut Fields<'_>, place: In, v5: bool) -> Option<Properties> {
    if v5 {
        properties(body, place, usize::MAX)
    } else {
        Some(Properties::default())
    }
}

fn connack(body: &mut Fields<'_>, version: Version) -> Option<Sent> {
    let v5 = version == Version::V5;
    let (present, code) = (body.byte()?, body.byte()?);
    let properties = block(body, In::Connack, v5)?;
    let codes: &[u8] = match version {
        Version::V5 => &[
            0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95,
            0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
        ],
        _ => &[0, 1, 2, 3, 4, 5],
    };
    // [MQTT-3.2.2-1], [MQTT-3.2.2-6]; in 3.1 there is no Session Present.
    let most = u8::from(code == 0 && version != Version::V31);
    (present <= most && codes.contains(&code)).then_some(Sent::Connack(
        present == 1,
        code,
        properties,
    ))
}

fn publish(flags: u8, body: &mut Fields<'_>, version: Version) -> Option<Sent> {
    let (dup, qos, retain) = (flags & 8 != 0, flags / 2 % 4, flags % 2 == 1);
    if qos == 3 || (dup && qos == 0) {
        return None;
    }
    let topic = body.text()?;
    let id = if qos > 0 {
        Some(body.identifier()?)
    } else {
        None
    };
    let properties = block(body, In::PublishFromServer, version == Version::V5)?;
    let named = if topic.is_empty() {
        properties.has(0x23)
    } else {
        is_topic_name(&topic)
    };
    let payload = body.take(body.0.len())?.to_vec();
    named.then_some(Sent::Publish(Publish {
        dup,
        qos,
        retain,
        topic,
        id,
        properties,
        payload,
    }))
}

fn ack(kind: u8, body: &mut Fields<'_>, v5: bool) -> Option<Sent> {
    let id = body.identifier()?;
    let mut code = 0;
    let mut properties = Properties::default();
    if v5 && !body.0.is_empty() {
        code = body.byte()?;
        if !body.0.is_empty() {
            properties = block(body, In::Ack, true)?;
        }
    }
    let codes: &[u8] = match kind {
        4 | 5 => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        _ => &[0x00, 0x92],
    };
    codes
        .contains(&code)
        .then_some(Sent::Ack(kind, id, code, properties))
}

fn answer(kind: u8, body: &mut Fields<'_>, version: Version) -> Option<Sent> {
    let id = body.identifier()?;
    let properties = block(body, In::Suback, version == Version::V5)?;
    let codes = body.take(body.0.len())?.to_vec();
    let known: &[u8] = match (kind, version) {
        (9, Version::V5) => &[
            0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2,
        ],
        (9, Version::V311) => &[0x00, 0x01, 0x02, 0x80],
        (9, Version::V31) => &[0x00, 0x01, 0x02],
        (_, Version::V5) => &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91],
        _ => &[],
    };
    codes
        .iter()
        .all(|code| known.contains(code))
        .then_some(Sent::Answer(kind, id, properties, codes))
}

fn disconnect(body: &mut Fields<'_>) -> Option<Sent> {
    let code = if body.0.is_empty() { 0 } else { body.byte()? };
    let mut properties = Properties::default();
    if !body.0.is_empty() {
        properties = block(body, In::DisconnectFromServer, true)?;
    }
    let right = matches!(code, 0x80..=0x83 | 0x87 | 0x89 | 0x8B | 0x8D..=0x90 | 0x93..=0xA2);
    right.then_some(Sent::Disconnect(code, properties))
}

fn auth(body: &mut Fields<'_>) -> Option<Sent> {
    let code = if body.0.is_empty() { 0 } else { body.byte()? };
    let properties = block(body, In::Auth, true)?;
    (matches!(code, 0x00 | 0x18) && properties.has(0x15)).then_some(Sent::Auth(code, properties))
}
