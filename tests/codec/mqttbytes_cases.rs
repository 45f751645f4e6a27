//! Why the codec is our own: what mqttbytes 0.6 does with these bytes, and what ours does. Each case is
//! named in docs/decisions/0001-own-codec.md.

use bytes::BytesMut;
use mqttbytes::{Error, matches, v4, v5, valid_filter, valid_topic};
use portcullis::codec::Version::{V5, V311};
use portcullis::codec::{Limits, MalformedKind, Packet, ReasonCode, decode, decode_connect};
use portcullis::topic;

fn ours(bytes: &[u8], version: portcullis::codec::Version) -> Result<Packet<'_>, MalformedKind> {
    decode(bytes, version, &Limits::default()).map_err(|error| error.kind)
}

fn theirs5(bytes: &[u8]) -> Result<v5::Packet, Error> {
    v5::read(&mut BytesMut::from(bytes), 10_000)
}

fn theirs4(bytes: &[u8]) -> Result<v4::Packet, Error> {
    v4::read(&mut BytesMut::from(bytes), 10_000)
}

#[test]
fn a_disconnect_without_body_is_normal_and_they_refuse_it() {
    let bytes = [0xE0, 0];
    assert_eq!(theirs5(&bytes), Err(Error::PayloadRequired));
    assert!(
        matches!(ours(&bytes, V5), Ok(Packet::Disconnect(packet)) if packet.reason == ReasonCode::SUCCESS)
    );
}

#[test]
fn a_disconnect_with_will_vanishes_with_them() {
    // DISCONNECT 0x04, then PINGREQ: the first is taken off the buffer and reported as incomplete.
    let mut buffer = BytesMut::from(&[0xE0, 1, 4, 0xC0, 0][..]);
    assert!(matches!(
        v5::read(&mut buffer, 10_000),
        Err(Error::InsufficientBytes(_))
    ));
    assert_eq!(v5::read(&mut buffer, 10_000), Ok(v5::Packet::PingReq));
    assert!(
        matches!(ours(&[0xE0, 1, 4], V5), Ok(Packet::Disconnect(packet)) if packet.reason == ReasonCode(4))
    );
}

#[test]
fn a_publish_without_property_length_vanishes_with_them() {
    let publish = [0x32, 5, 0, 1, b'a', 0, 7];
    let mut buffer = BytesMut::from(&[&publish[..], &[0xC0, 0]].concat()[..]);
    assert!(matches!(
        v5::read(&mut buffer, 10_000),
        Err(Error::InsufficientBytes(_))
    ));
    assert_eq!(v5::read(&mut buffer, 10_000), Ok(v5::Packet::PingReq));
    assert_eq!(ours(&publish, V5), Err(MalformedKind::Truncated));
}

#[test]
fn their_matching_panics_at_a_letter_of_two_bytes_and_never_matches_sys() {
    assert!(std::panic::catch_unwind(|| matches("\u{e9}/x", "#")).is_err());
    assert!(topic::matches("#", "\u{e9}/x"));
    assert!(!matches("$SYS/a", "$SYS/#"));
    assert!(topic::matches("$SYS/#", "$SYS/a"));
}

#[test]
fn their_checks_of_names_and_filters_let_through_what_the_standard_forbids() {
    for filter in ["a+", "a+/b", "+a/b", "$share/g", "$share//a"] {
        assert!(valid_filter(filter), "{filter}");
        assert!(
            topic::SubscriptionFilter::parse(filter).is_err(),
            "{filter}"
        );
    }
    for name in ["", "a\0b"] {
        assert!(valid_topic(name), "{name:?}");
        assert!(topic::TopicName::parse(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_property_that_runs_out_of_its_block_is_read_on_by_them() {
    // Property length 3, and in it Correlation Data that says 16 bytes: 13 of them are payload.
    let mut bytes = vec![0x30, 23, 0, 1, b'a', 3, 0x09, 0, 16];
    bytes.extend([b'x'; 16]);
    assert!(theirs5(&bytes).is_ok());
    assert_eq!(ours(&bytes, V5), Err(MalformedKind::Truncated));
}

#[test]
fn a_property_block_is_taken_too_short_by_them() {
    let bytes = [0x82, 10, 0, 1, 4, 0x0B, 0xFF, 0x7F, 0x00, 1, b'p', 0];
    assert!(theirs5(&bytes).is_ok());
    assert_eq!(ours(&bytes, V5), Err(MalformedKind::UnknownProperty));
}

#[test]
fn flags_zero_identifiers_nul_and_trailing_bytes_pass_with_them() {
    for (bytes, kind) in [
        (&[0x41, 2, 0, 1][..], MalformedKind::Flags),
        (&[0x40, 2, 0, 0], MalformedKind::PacketId),
        (&[0x40, 3, 0, 1, 9], MalformedKind::Surplus),
        (&[0x30, 4, 0, 2, b'a', 0], MalformedKind::Nul),
    ] {
        assert!(theirs4(bytes).is_ok(), "{bytes:02x?}");
        assert_eq!(ours(bytes, V311), Err(kind), "{bytes:02x?}");
    }
}

#[test]
fn a_binary_password_is_refused_by_them_and_an_empty_user_name_lost() {
    let binary = b"\x10\x12\x00\x04MQTT\x04\xC2\x00\x00\x00\x00\x00\x01u\x00\x01\xFF";
    assert_eq!(theirs4(binary), Err(Error::TopicNotUtf8));
    let connect = decode_connect(binary, &Limits::default()).expect("a password is binary data");
    assert_eq!(connect.password, Some([0xFF].as_slice()));
    let empty = b"\x10\x10\x00\x04MQTT\x04\xC2\x00\x00\x00\x00\x00\x00\x00\x00";
    let Ok(v4::Packet::Connect(theirs)) = theirs4(empty) else {
        panic!("they read it");
    };
    assert_eq!(theirs.login, None);
    let connect = decode_connect(empty, &Limits::default()).expect("valid");
    assert_eq!(connect.username, Some(""));
}

#[test]
fn they_know_neither_auth_nor_3_1() {
    assert!(theirs5(&[0xF0, 0]).is_err());
    assert!(ours(&[0xF0, 0], V5).is_ok());
    let old = b"\x10\x0F\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01c";
    assert!(theirs4(old).is_err());
    assert!(decode_connect(old, &Limits::default()).is_ok());
}
