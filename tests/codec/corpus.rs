//! Valid packets of every type and version: seeds of the split, mutation and allocation tests.

use portcullis::codec::Version::{self, V5, V31, V311};

use crate::wire::wire;

/// A valid packet, and the version of the connection it comes on.
pub(crate) struct Seed {
    pub(crate) version: Version,
    pub(crate) bytes: Vec<u8>,
}

impl Seed {
    /// Whether it is a CONNECT, which has a decoder of its own.
    pub(crate) fn is_connect(&self) -> bool {
        self.bytes.first().is_some_and(|first| first >> 4 == 1)
    }
}

/// All of them.
pub(crate) fn seeds() -> Vec<Seed> {
    let parse = |&(version, notation): &(Version, &str)| Seed {
        version,
        bytes: wire(notation),
    };
    CONNECTS.iter().chain(OTHERS).map(parse).collect()
}

const CONNECTS: &[(Version, &str)] = &[
    (V31, r#"10 ("MQIsdp" 03 02 00 3C "pump7")"#),
    (
        V31,
        r#"10 ("MQIsdp" 03 F6 00 0A "pump7" "will/a" "gone" "user" "secret")"#,
    ),
    (V31, r#"10 ("MQIsdp" 83 00 00 00 "bridge")"#),
    (V311, r#"10 ("MQTT" 04 02 00 3C "pump7")"#),
    (V311, r#"10 ("MQTT" 04 02 00 00 "")"#),
    (
        V311,
        r#"10 ("MQTT" 04 CE 00 0A "pump7" "will/a" "gone" "user" 00 03 FF 00 80)"#,
    ),
    (V311, r#"10 ("MQTT" 04 82 00 0A "pump7" "user")"#),
    (V5, r#"10 ("MQTT" 05 02 00 3C () "pump7")"#),
    (V5, r#"10 ("MQTT" 05 42 00 3C () "" "secret")"#),
    (
        V5,
        r#"10 ("MQTT" 05 F6 00 0A
            (11 00 00 0E 10 21 00 14 27 00 01 00 00 22 00 0A 19 01 17 00 26 "k" "v" 15 "SCRAM" 16 "data")
            "pump7"
            (18 00 00 00 05 02 00 00 00 3C 01 01 03 "text" 08 "answer/here" 09 00 02 00 FF 26 "k" "v" 26 "k" "w")
            "will/a" "gone" "user" "secret")"#,
    ),
];

const OTHERS: &[(Version, &str)] = &[
    (V31, r#"30 ("a/b" 'payload')"#),
    (V31, r#"3A ("a/b" 00 07 'payload')"#),
    (V31, "40 (00 07)"),
    (V31, "6A (00 07)"),
    (V31, r#"8A (00 07 "a/+" 01)"#),
    (V31, r#"AA (00 07 "a/+")"#),
    (V311, r#"30 ("a")"#),
    (V311, r#"31 ("sensors/pump7/pressure" '{"bar": 3}')"#),
    (V311, r#"32 ("a/b" 00 01 'payload')"#),
    (V311, r#"3D ("a/b" FF FF 'payload')"#),
    (V311, "40 (00 07)"),
    (V311, "50 (00 07)"),
    (V311, "62 (00 07)"),
    (V311, "70 (00 07)"),
    (V311, r#"82 (00 07 "a/b" 00 "c/#" 01 "$share/g/d/+" 02)"#),
    (V311, r#"A2 (00 07 "a/b" "c/#")"#),
    (V311, "C0 ()"),
    (V311, "E0 ()"),
    (V5, r#"30 ("a" ())"#),
    (V5, r#"32 ("a/b" 00 01 () 'payload')"#),
    (V5, r#"34 ("" 00 02 (23 00 01) 'payload')"#),
    (
        V5,
        r#"3B ("a/b" 12 34 (01 01 02 00 00 00 0A 03 "text/plain" 08 "answer/here"
            09 00 03 00 FF 80 23 00 05 26 "k" "v" 26 "k" "w") 'payload')"#,
    ),
    (V5, "40 (00 07)"),
    (V5, "40 (00 07 10)"),
    (V5, r#"40 (00 07 87 (1F "no" 26 "k" "v"))"#),
    (V5, "50 (00 07 97 ())"),
    (V5, r#"50 (00 07 00 (1F "yes"))"#),
    (V5, "62 (00 07)"),
    (V5, r#"62 (00 07 92 (26 "k" "v"))"#),
    (V5, "70 (00 07 00)"),
    (V5, r#"70 (00 07 92 (1F "what?"))"#),
    (V5, r#"82 (00 07 () "a/b" 2E)"#),
    (
        V5,
        r#"82 (00 07 (0B FF FF FF 7F 26 "k" "v") "a/b" 00 "c/#" 1D "$share/g/d/+" 22)"#,
    ),
    (V5, r#"A2 (00 07 () "a/b" "c/#")"#),
    (V5, r#"A2 (00 07 (26 "k" "v") "a/b")"#),
    (V5, "C0 ()"),
    (V5, "E0 ()"),
    (V5, "E0 (04)"),
    (V5, r#"E0 (00 (11 00 00 00 3C 1F "bye" 26 "k" "v"))"#),
    (V5, r#"F0 (19 (15 "SCRAM" 16 "data"))"#),
    (V5, r#"F0 (18 (15 "SCRAM" 16 "data" 1F "more" 26 "k" "v"))"#),
];
