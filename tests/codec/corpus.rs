//! Valid packets of every type a client sends, in every version.

use portcullis::codec::Version::{self, V5, V31, V311};

/// A packet with its header.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length % 128).expect("seven bits");
        length /= 128;
        out.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

/// Text or binary data with its length in front.
pub(crate) fn lp(bytes: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(bytes.len())
        .expect("short")
        .to_be_bytes()
        .to_vec();
    out.extend_from_slice(bytes);
    out
}

/// A property block with its length in front.
pub(crate) fn block(properties: &[&[u8]]) -> Vec<u8> {
    let joined = properties.concat();
    let mut out = packet(0, &joined);
    out.remove(0);
    out
}

pub(crate) fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// CONNECT with all there is to say.
pub(crate) fn full_connect(version: Version) -> Vec<u8> {
    let name: &[u8] = if version == V31 { b"MQIsdp" } else { b"MQTT" };
    let mut body = join(&[&lp(name), &[version.level(), 0xEE, 0, 60]]);
    if version == V5 {
        body.extend(block(&[
            &[0x11, 0, 0, 0, 10],
            &[0x21, 0, 20],
            &[0x27, 0, 1, 0, 0],
            &[0x22, 0, 5],
            &[0x19, 1],
            &[0x17, 0],
            &join(&[&[0x26], &lp(b"key"), &lp(b"value")]),
            &join(&[&[0x15], &lp(b"SCRAM")]),
            &join(&[&[0x16], &lp(b"\x00\xFF")]),
        ]));
    }
    body.extend(lp(b"client"));
    if version == V5 {
        body.extend(block(&[
            &[0x18, 0, 0, 0, 7],
            &[0x01, 1],
            &[0x02, 0, 0, 0, 9],
            &join(&[&[0x03], &lp(b"text/plain")]),
            &join(&[&[0x08], &lp(b"answer/here")]),
            &join(&[&[0x09], &lp(b"\x01\x02")]),
            &join(&[&[0x26], &lp(b"k"), &lp(b"v")]),
        ]));
    }
    body.extend(lp("w\u{e4}ll".as_bytes()));
    body.extend(lp(b"gone\xFF"));
    body.extend(lp(b"user"));
    body.extend(lp(b"pass\xFFword"));
    packet(0x10, &body)
}

pub(crate) fn small_connect(version: Version) -> Vec<u8> {
    let name: &[u8] = if version == V31 { b"MQIsdp" } else { b"MQTT" };
    let mut body = join(&[&lp(name), &[version.level(), 0x02, 0, 0]]);
    if version == V5 {
        body.push(0);
    }
    body.extend(lp(b"c"));
    packet(0x10, &body)
}

/// Every property a client may put into PUBLISH.
pub(crate) fn full_publish() -> Vec<u8> {
    let properties = block(&[
        &[0x01, 1],
        &[0x02, 0, 0, 1, 0],
        &[0x23, 0, 3],
        &join(&[&[0x08], &lp(b"answer")]),
        &join(&[&[0x09], &lp(b"\x00\x01")]),
        &join(&[&[0x26], &lp(b"k"), &lp(b"v")]),
        &join(&[&[0x26], &lp(b"k"), &lp(b"w")]),
        &join(&[&[0x03], &lp(b"json")]),
    ]);
    packet(
        0x3B,
        &join(&[
            &lp("t\u{f6}pic/a".as_bytes()),
            &[0, 9],
            &properties,
            b"payload",
        ]),
    )
}

/// Every packet after CONNECT, with its version and a name.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn valid() -> Vec<(&'static str, Version, Vec<u8>)> {
    let mut all = Vec::new();
    for version in [V31, V311, V5] {
        let properties: &[u8] = if version == V5 { &[0] } else { &[] };
        let publish = |first, id: &[u8], payload: &[u8]| {
            packet(first, &join(&[&lp(b"a/b"), id, properties, payload]))
        };
        all.extend([
            ("PUBLISH of QoS 0", version, publish(0x30, &[], b"x")),
            (
                "retained PUBLISH",
                version,
                publish(0x31, &[], &[0xFF; 300]),
            ),
            ("PUBLISH of QoS 1", version, publish(0x32, &[0, 1], b"")),
            (
                "repeated PUBLISH of QoS 2",
                version,
                publish(0x3C, &[0xFF, 0xFF], b"x"),
            ),
            ("PUBACK", version, packet(0x40, &[0, 1])),
            ("PUBREC", version, packet(0x50, &[0, 1])),
            ("PUBREL", version, packet(0x62, &[0, 1])),
            ("PUBCOMP", version, packet(0x70, &[0, 1])),
            (
                "SUBSCRIBE",
                version,
                packet(
                    0x82,
                    &join(&[&[0, 5], properties, &lp(b"a/+/#"), &[2], &lp(b"b"), &[0]]),
                ),
            ),
            (
                "UNSUBSCRIBE",
                version,
                packet(
                    0xA2,
                    &join(&[&[0, 6], properties, &lp(b"a/+/#"), &lp(b"b")]),
                ),
            ),
            ("PINGREQ", version, packet(0xC0, &[])),
            ("DISCONNECT", version, packet(0xE0, &[])),
        ]);
    }
    let reason = join(&[&[0x1F], &lp(b"why")]);
    let user = join(&[&[0x26], &lp(b"k"), &lp(b"v")]);
    let properties = block(&[&reason, &user]);
    all.extend([
        ("PUBLISH with every property", V5, full_publish()),
        (
            "PUBLISH by alias alone",
            V5,
            packet(0x30, &[0, 0, 3, 0x23, 0, 1, b'x']),
        ),
        ("PUBACK with a code", V5, packet(0x40, &[0, 1, 0x87])),
        (
            "PUBREC with properties",
            V5,
            packet(0x50, &join(&[&[0, 1, 0x80], &properties])),
        ),
        ("PUBREL with a code", V5, packet(0x62, &[0, 1, 0x92])),
        (
            "PUBCOMP with properties",
            V5,
            packet(0x70, &join(&[&[0, 1, 0], &properties])),
        ),
        (
            "SUBSCRIBE with an identifier and options",
            V5,
            packet(
                0x82,
                &join(&[
                    &[0, 5],
                    &block(&[&[0x0B, 0xFF, 0x7F], &user]),
                    &lp(b"$share/g/a"),
                    &[0x2D],
                ]),
            ),
        ),
        (
            "UNSUBSCRIBE with properties",
            V5,
            packet(0xA2, &join(&[&[0, 6], &block(&[&user]), &lp(b"a")])),
        ),
        ("DISCONNECT with a code", V5, packet(0xE0, &[0x04])),
        (
            "DISCONNECT with properties",
            V5,
            packet(
                0xE0,
                &join(&[&[0], &block(&[&[0x11, 0, 0, 0, 1], &reason, &user])]),
            ),
        ),
        ("AUTH without body", V5, packet(0xF0, &[])),
        (
            "AUTH",
            V5,
            packet(
                0xF0,
                &join(&[
                    &[0x18],
                    &block(&[
                        &join(&[&[0x15], &lp(b"SCRAM")]),
                        &join(&[&[0x16], &lp(b"\xFF")]),
                    ]),
                ]),
            ),
        ),
    ]);
    all
}
