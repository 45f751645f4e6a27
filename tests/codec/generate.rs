//! Random valid packets of every type a client sends.

use portcullis::codec::Version;

use crate::mutate::Rng;
use crate::wire::varint;

/// A packet type a client may send, as the high half of its first byte, except CONNECT.
const TYPES: [u8; 10] = [3, 4, 5, 6, 7, 8, 10, 12, 14, 15];

/// A valid packet of a connection of `version`.
pub(crate) fn packet(rng: &mut Rng, version: Version) -> Vec<u8> {
    let kinds = if version.is_v5() { 10 } else { 9 };
    let kind = TYPES[rng.below(kinds)];
    packet_of(rng, kind, version)
}

/// A valid packet of the type `kind`, which is among those above, and 15 only for version 5.
pub(crate) fn packet_of(rng: &mut Rng, kind: u8, version: Version) -> Vec<u8> {
    match kind {
        3 => publish(rng, version),
        4..=7 => acknowledgement(rng, kind, version),
        8 | 10 => request(rng, kind, version),
        12 => frame(0xC0, Vec::new()),
        14 => disconnect(rng, version),
        _ => auth(rng),
    }
}

fn auth(rng: &mut Rng) -> Vec<u8> {
    let mut body = vec![0x18 + u8::from(coin(rng))];
    let mut block = Vec::new();
    property(&mut block, 0x15, &text(rng));
    if coin(rng) {
        property(&mut block, 0x16, &binary(rng));
    }
    users(rng, &mut block);
    push_block(&mut body, &block);
    frame(0xF0, body)
}

/// A valid CONNECT of `version`.
pub(crate) fn connect(rng: &mut Rng, version: Version) -> Vec<u8> {
    let mut flags = u8::from(coin(rng)) << 1;
    let mut payload = prefixed(&text(rng));
    if coin(rng) {
        flags |= 0x04 | u8::try_from(rng.below(3)).unwrap() << 3 | u8::from(coin(rng)) << 5;
        if version.is_v5() {
            let mut block = Vec::new();
            if coin(rng) {
                block.extend([0x18, 0, 0, 0, rng.byte()]);
            }
            message_properties(rng, &mut block);
            push_block(&mut payload, &block);
        }
        payload.extend(prefixed(&topic(rng)));
        payload.extend(prefixed(&binary(rng)));
    }
    if coin(rng) {
        flags |= 0x80;
        payload.extend(prefixed(&text(rng)));
        if coin(rng) {
            flags |= 0x40;
            payload.extend(prefixed(&binary(rng)));
        }
    }
    let mut body = match version {
        Version::V31 => prefixed(b"MQIsdp"),
        Version::V311 | Version::V5 => prefixed(b"MQTT"),
    };
    body.extend([version.level(), flags, rng.byte(), rng.byte()]);
    if version.is_v5() {
        let block = connect_properties(rng);
        push_block(&mut body, &block);
    }
    body.extend(payload);
    frame(0x10, body)
}

fn connect_properties(rng: &mut Rng) -> Vec<u8> {
    let mut block = Vec::new();
    if coin(rng) {
        block.extend([0x11, rng.byte(), rng.byte(), rng.byte(), rng.byte()]);
    }
    for id in [0x21, 0x22] {
        if coin(rng) {
            block.extend([id, rng.byte(), rng.byte() | 1]);
        }
    }
    if coin(rng) {
        block.extend([0x27, 0, rng.byte(), rng.byte(), rng.byte() | 1]);
    }
    for id in [0x17, 0x19] {
        if coin(rng) {
            block.extend([id, u8::from(coin(rng))]);
        }
    }
    users(rng, &mut block);
    if coin(rng) {
        property(&mut block, 0x15, &text(rng));
        if coin(rng) {
            property(&mut block, 0x16, &binary(rng));
        }
    }
    block
}

fn publish(rng: &mut Rng, version: Version) -> Vec<u8> {
    let qos = u8::try_from(rng.below(3)).unwrap();
    let dup = u8::from(qos > 0 && coin(rng));
    let first = 0x30 | dup << 3 | qos << 1 | u8::from(coin(rng));
    let mut body = prefixed(&topic(rng));
    if qos > 0 {
        body.extend([rng.byte(), rng.byte() | 1]);
    }
    if version.is_v5() {
        let mut block = Vec::new();
        message_properties(rng, &mut block);
        if coin(rng) {
            block.extend([0x23, rng.byte(), rng.byte() | 1]);
        }
        push_block(&mut body, &block);
    }
    body.extend(binary(rng));
    frame(first, body)
}

/// Properties that PUBLISH and a will have both.
fn message_properties(rng: &mut Rng, block: &mut Vec<u8>) {
    users(rng, block);
    if coin(rng) {
        block.extend([0x01, u8::from(coin(rng))]);
    }
    if coin(rng) {
        block.extend([0x02, 0, rng.byte(), rng.byte(), rng.byte() | 1]);
    }
    if coin(rng) {
        property(block, 0x03, &text(rng));
    }
    if coin(rng) {
        property(block, 0x08, &topic(rng));
    }
    if coin(rng) {
        property(block, 0x09, &binary(rng));
    }
    users(rng, block);
}

fn acknowledgement(rng: &mut Rng, kind: u8, version: Version) -> Vec<u8> {
    let mut body = vec![rng.byte(), rng.byte() | 1];
    if version.is_v5() && coin(rng) {
        body.push(match kind {
            4 | 5 => *rng.pick(&[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
            _ => *rng.pick(&[0x00, 0x92]),
        });
        if coin(rng) {
            let block = reason(rng);
            push_block(&mut body, &block);
        }
    }
    frame(kind << 4 | if kind == 6 { 2 } else { 0 }, body)
}

fn request(rng: &mut Rng, kind: u8, version: Version) -> Vec<u8> {
    let mut body = vec![rng.byte(), rng.byte() | 1];
    if version.is_v5() {
        let mut block = Vec::new();
        users(rng, &mut block);
        if kind == 8 && coin(rng) {
            block.extend([0x0B, rng.byte() | 0x80, (rng.byte() & 0x7F) | 1]);
        }
        push_block(&mut body, &block);
    }
    for _ in 0..=rng.below(3) {
        body.extend(prefixed(&filter(rng)));
        if kind == 8 {
            let mut options = u8::try_from(rng.below(3)).unwrap();
            if version.is_v5() {
                options |= rng.byte() & 0x0C | u8::try_from(rng.below(3)).unwrap() << 4;
            }
            body.push(options);
        }
    }
    frame(kind << 4 | 2, body)
}

fn disconnect(rng: &mut Rng, version: Version) -> Vec<u8> {
    let mut body = Vec::new();
    if version.is_v5() && coin(rng) {
        body.push(*rng.pick(&[0x00, 0x04, 0x80, 0x81, 0x93, 0x99]));
        if coin(rng) {
            let mut block = reason(rng);
            if coin(rng) {
                block.extend([0x11, rng.byte(), rng.byte(), rng.byte(), rng.byte()]);
            }
            push_block(&mut body, &block);
        }
    }
    frame(0xE0, body)
}

fn reason(rng: &mut Rng) -> Vec<u8> {
    let mut block = Vec::new();
    users(rng, &mut block);
    if coin(rng) {
        property(&mut block, 0x1F, &text(rng));
    }
    block
}

fn users(rng: &mut Rng, block: &mut Vec<u8>) {
    for _ in 0..rng.below(3) {
        property(block, 0x26, &text(rng));
        block.extend(prefixed(&text(rng)));
    }
}

fn property(block: &mut Vec<u8>, id: u8, value: &[u8]) {
    block.push(id);
    block.extend(prefixed(value));
}

fn push_block(body: &mut Vec<u8>, block: &[u8]) {
    body.extend(varint(block.len()));
    body.extend_from_slice(block);
}

fn frame(first: u8, body: Vec<u8>) -> Vec<u8> {
    let mut packet = vec![first];
    packet.extend(varint(body.len()));
    packet.extend(body);
    packet
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

fn coin(rng: &mut Rng) -> bool {
    rng.below(2) == 0
}

fn binary(rng: &mut Rng) -> Vec<u8> {
    let length = *rng.pick(&[0, 1, 5, 5, 40, 150]);
    (0..length).map(|_| rng.byte()).collect()
}

fn text(rng: &mut Rng) -> Vec<u8> {
    const PIECES: [&str; 8] = ["a", "pump7", "é", "\u{FEFF}", " ", "𝄞", "/", "$"];
    (0..rng.below(6))
        .map(|_| *rng.pick(&PIECES))
        .collect::<String>()
        .into_bytes()
}

fn topic(rng: &mut Rng) -> Vec<u8> {
    let mut topic = text(rng);
    topic.push(b'x');
    topic
}

fn filter(rng: &mut Rng) -> Vec<u8> {
    const FILTERS: [&str; 6] = ["a/b", "#", "+/b/#", "$share/g/a", "é", "/"];
    rng.pick(&FILTERS).as_bytes().to_vec()
}
