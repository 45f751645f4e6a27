//! Runs the tables of malformed packets: each must be refused for the reason it stands there for,
//! with the Reason Code that the standard names. A name begins with the statement that is broken;
//! where the standard has a rule without a number, with the section.

use std::collections::HashSet;

use portcullis::codec::{
    self, DecodeError, Limits, MalformedKind, ReasonCode, Version, frame_length,
};

use crate::wire::wire;
use crate::{malformed_connect, malformed_publish, malformed_requests};

/// On which connections a packet is malformed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    /// It is the first packet.
    First,
    /// A connection of MQTT 3.1.1.
    V311,
    /// A connection of MQTT 3.1 or 3.1.1.
    V3,
    /// A connection of MQTT 5.0.
    V5,
    /// Any connection.
    All,
}

/// Name, connection, packet, what is wrong, Reason Code.
pub(crate) type Row = (&'static str, On, &'static str, MalformedKind, u8);

const LIMITS: Limits = Limits {
    max_packet_bytes: 1_000,
    max_user_properties: 3,
};

fn rows() -> impl Iterator<Item = Row> {
    [
        malformed_connect::FRAMES,
        malformed_connect::CONNECT,
        malformed_connect::CONNECT_PROPERTIES,
        malformed_connect::WILL,
        malformed_publish::PUBLISH,
        malformed_publish::PUBLISH_PROPERTIES,
        malformed_requests::ACKNOWLEDGEMENTS,
        malformed_requests::SUBSCRIBE,
        malformed_requests::UNSUBSCRIBE,
        malformed_requests::DISCONNECT,
        malformed_requests::AUTH,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// What a connection does with received bytes: the frame first, then what is in it.
fn refuse(version: Option<Version>, bytes: &[u8]) -> Result<(), DecodeError> {
    let length = frame_length(bytes, LIMITS.max_packet_bytes)?.expect("a whole fixed header");
    assert_eq!(length, bytes.len(), "the row is one whole frame");
    match version {
        None => codec::decode_connect(bytes, &LIMITS).map(drop),
        Some(version) => codec::decode(bytes, version, &LIMITS).map(drop),
    }
}

fn versions(on: On) -> &'static [Option<Version>] {
    match on {
        On::First => &[None],
        On::V311 => &[Some(Version::V311)],
        On::V3 => &[Some(Version::V31), Some(Version::V311)],
        On::V5 => &[Some(Version::V5)],
        On::All => &[Some(Version::V31), Some(Version::V311), Some(Version::V5)],
    }
}

#[test]
fn every_malformed_packet_is_refused_for_its_reason() {
    let mut wrong = Vec::new();
    for (name, on, packet, kind, code) in rows() {
        for &version in versions(on) {
            match refuse(version, &wire(packet)) {
                Ok(()) => wrong.push(format!("{name} {version:?}: was accepted")),
                Err(error) if error.kind != kind || error.reason_code() != ReasonCode(code) => {
                    wrong.push(format!(
                        "{name} {version:?}: {error}, {:?}",
                        error.reason_code()
                    ));
                }
                Err(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_two_rows_have_one_name() {
    let mut seen = HashSet::new();
    for (name, ..) in rows() {
        assert!(seen.insert(name), "{name} is there twice");
    }
}

#[test]
fn the_tables_reach_every_kind() {
    let reached: HashSet<MalformedKind> = rows().map(|(_, _, _, kind, _)| kind).collect();
    for kind in MalformedKind::ALL {
        assert!(reached.contains(kind), "no row for {kind:?}");
    }
}

/// The highest statement of each section that kinds refer to (MQTT 5.0, appendix B).
const STATEMENTS: [(&str, u32); 17] = [
    ("MQTT-1.5.4", 3),
    ("MQTT-1.5.5", 1),
    ("MQTT-1.5.7", 1),
    ("MQTT-2.1.3", 1),
    ("MQTT-2.2.1", 6),
    ("MQTT-3.1.0", 2),
    ("MQTT-3.1.2", 30),
    ("MQTT-3.1.3", 12),
    ("MQTT-3.2.2", 22),
    ("MQTT-3.3.1", 13),
    ("MQTT-3.3.2", 20),
    ("MQTT-3.8.3", 5),
    ("MQTT-3.15.2", 3),
    ("MQTT-4.7.3", 4),
    ("MQTT-4.12.0", 7),
    ("MQTT-4.13.1", 1),
    ("MQTT-4.13.2", 1),
];

#[test]
fn the_statement_of_every_kind_exists() {
    for kind in MalformedKind::ALL {
        let (section, number) = kind.statement().rsplit_once('-').unwrap();
        let highest = STATEMENTS.iter().find(|(name, _)| *name == section);
        let (_, highest) = highest.unwrap_or_else(|| panic!("{kind:?}: no section {section}"));
        let number: u32 = number.parse().unwrap();
        assert!((1..=*highest).contains(&number), "{kind:?}");
    }
}

#[test]
fn a_slice_that_is_not_one_whole_frame_is_malformed() {
    // The caller cuts frames by `frame_length`; these cannot happen and must not be believed.
    let limits = Limits::default();
    for (bytes, kind) in [
        (&[][..], MalformedKind::Truncated),
        (&[0xC0], MalformedKind::Truncated),
        (&[0x40, 0x02, 0x00], MalformedKind::Truncated),
        (&[0x40, 0x82], MalformedKind::Truncated),
        (&[0xC0, 0x00, 0x00], MalformedKind::Surplus),
        (&[0xC0, 0x80, 0x00], MalformedKind::LengthEncoding),
    ] {
        for version in [Version::V31, Version::V311, Version::V5] {
            let error = codec::decode(bytes, version, &limits).unwrap_err();
            assert_eq!(error.kind, kind, "{bytes:02X?}");
        }
        let error = codec::decode_connect(bytes, &limits).unwrap_err();
        assert_eq!(error.kind, kind, "{bytes:02X?} as CONNECT");
    }
}

#[test]
fn mqtt_3_2_2_15_a_packet_that_is_too_large_is_refused_from_its_fixed_header_alone() {
    for (header, limit, expected) in [
        // Nothing of the body is here, and nothing need be kept for it.
        (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F][..], 1_000, Err(())),
        (
            &[0x30, 0xFF, 0xFF, 0xFF, 0x7F],
            268_435_460,
            Ok(268_435_460),
        ),
        (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 268_435_459, Err(())),
        // The bound is on the whole packet, fixed header included.
        (&[0x30, 0x7F], 129, Ok(129)),
        (&[0x30, 0x7F], 128, Err(())),
        (&[0x30, 0x80, 0x01], 131, Ok(131)),
        (&[0x30, 0x80, 0x01], 130, Err(())),
    ] {
        let length = frame_length(header, limit);
        match expected {
            Ok(bytes) => assert_eq!(length, Ok(Some(bytes)), "{header:02X?}"),
            Err(()) => {
                let error = length.unwrap_err();
                assert_eq!(error.kind, MalformedKind::TooLarge, "{header:02X?}");
                assert_eq!(error.reason_code(), ReasonCode::PACKET_TOO_LARGE);
            }
        }
    }
}

#[test]
fn an_error_of_a_connect_names_the_version_once_it_was_read() {
    for (packet, version) in [
        (r#"10 ("MQTT" 05 01 00 00 () "a")"#, Some(Version::V5)),
        (r#"10 ("MQTT" 04 01 00 00 "a")"#, Some(Version::V311)),
        (r#"10 ("MQIsdp" 03 18 00 00 "a")"#, Some(Version::V31)),
        (r#"10 ("MQTT" 06 02 00 00 "a")"#, None),
        (r#"10 ("MQTX" 05 02 00 00 () "a")"#, None),
    ] {
        let error = codec::decode_connect(&wire(packet), &LIMITS).unwrap_err();
        assert_eq!(error.version, version, "{packet}");
    }
}
