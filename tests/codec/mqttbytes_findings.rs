//! Why mqttbytes 0.6.0 is an oracle of the tests and not the broker's codec: what it does wrong,
//! and what ours does with the same bytes. See docs/decisions/0001-own-codec.md.

use bytes::{Bytes, BytesMut};
use mqttbytes::v5::{ConnAck, ConnectReturnCode};
use mqttbytes::{Error, FixedHeader, QoS, v4, v5};
use portcullis::codec::{
    self, Connack, DecodeError, Limits, MalformedKind, Packet, ReasonCode, Version, decode_connect,
    encode_connack,
};
use portcullis::topic;

use crate::wire::wire;

const MAX: usize = 1 << 20;

fn ours(bytes: &[u8], version: Version) -> Result<Packet<'_>, MalformedKind> {
    codec::decode(bytes, version, &Limits::default()).map_err(|error: DecodeError| error.kind)
}

/// Reads two packets of 5.0 that come together, the second of which is PINGREQ.
fn theirs_then_ping(first: &str) -> (Result<v5::Packet, Error>, Result<v5::Packet, Error>) {
    let mut stream = BytesMut::from(&wire(&format!("{first} C0 ()"))[..]);
    (v5::read(&mut stream, MAX), v5::read(&mut stream, MAX))
}

#[test]
fn it_refuses_a_disconnect_of_5_without_a_body() {
    let mut stream = BytesMut::from(&[0xE0, 0x00][..]);
    assert_eq!(v5::read(&mut stream, MAX), Err(Error::PayloadRequired));
    assert!(matches!(
        ours(&[0xE0, 0x00], Version::V5),
        Ok(Packet::Disconnect(read)) if read.reason == ReasonCode::SUCCESS
    ));
}

#[test]
fn it_loses_a_disconnect_with_a_code_and_goes_on_with_the_next_packet() {
    // "More bytes needed" for a frame that it has already taken off the buffer: the caller never
    // learns that the will is to be published.
    let (first, second) = theirs_then_ping("E0 (04)");
    assert_eq!(first, Err(Error::InsufficientBytes(1)));
    assert_eq!(second, Ok(v5::Packet::PingReq));
    assert!(matches!(
        ours(&wire("E0 (04)"), Version::V5),
        Ok(Packet::Disconnect(read)) if read.reason == ReasonCode::DISCONNECT_WITH_WILL
    ));
}

#[test]
fn it_loses_a_malformed_publish_without_an_error() {
    let publish = r#"32 ("a" 00 07)"#;
    let (first, second) = theirs_then_ping(publish);
    assert_eq!(first, Err(Error::InsufficientBytes(1)));
    assert_eq!(second, Ok(v5::Packet::PingReq));
    assert_eq!(
        ours(&wire(publish), Version::V5),
        Err(MalformedKind::Truncated)
    );
}

#[test]
fn its_matcher_panics_on_a_topic_that_does_not_begin_with_ascii() {
    let result = std::panic::catch_unwind(|| mqttbytes::matches("é/x", "#"));
    assert!(result.is_err());
    assert!(topic::matches("#", "é/x"));
}

#[test]
fn its_matcher_never_matches_dollar_topics() {
    assert!(!mqttbytes::matches("$SYS/a", "$SYS/#"));
    assert!(topic::matches("$SYS/#", "$SYS/a")); // [MQTT-4.7.2-1]
}

#[test]
fn it_accepts_filters_and_topics_that_are_none() {
    for filter in ["a+", "a+/b", "+a/b"] {
        assert!(mqttbytes::valid_filter(filter), "{filter}");
        assert!(topic::TopicFilter::parse(filter).is_err(), "{filter}"); // [MQTT-4.7.1-2]
    }
    for filter in ["$share/g", "$share//a"] {
        assert!(mqttbytes::valid_filter(filter), "{filter}");
        assert!(
            topic::SubscriptionFilter::parse(filter).is_err(),
            "{filter}"
        ); // [MQTT-4.8.2-1]
    }
    for name in ["", "a\0b"] {
        assert!(mqttbytes::valid_topic(name), "{name:?}");
        assert!(topic::check_name(name).is_err(), "{name:?}");
    }
}

#[test]
fn it_reads_a_property_beyond_its_block() {
    // The block has 3 bytes; the Correlation Data takes 16 of the payload.
    let publish = wire(r#"30 ("a" (09 00 10) '0123456789ABCDEFpayload')"#);
    let Ok(v5::Packet::Publish(read)) = v5::read(&mut BytesMut::from(&publish[..]), MAX) else {
        panic!("it is said to accept")
    };
    assert_eq!(&read.payload[..], b"payload");
    assert_eq!(ours(&publish, Version::V5), Err(MalformedKind::Truncated));
}

#[test]
fn it_counts_a_subscription_identifier_one_byte_too_long() {
    // The fourth byte of the block is a property that does not exist; it becomes the first byte
    // of the filter's length.
    let subscribe = wire("82 (00 01 (0B FF 7F 00) 01 70 00)");
    let Ok(v5::Packet::Subscribe(read)) = v5::read(&mut BytesMut::from(&subscribe[..]), MAX) else {
        panic!("it is said to accept")
    };
    assert_eq!(read.filters[0].path, "p");
    assert_eq!(
        ours(&subscribe, Version::V5),
        Err(MalformedKind::UnknownProperty)
    );
}

#[test]
fn it_accepts_what_the_standard_forbids() {
    for (packet, kind) in [
        (r#"31 ("a" (23 00 00))"#, MalformedKind::TopicAliasZero),
        (r#"30 ("a" (01 02))"#, MalformedKind::PropertyValue),
        (
            r#"30 ("a" (01 01 01 01))"#,
            MalformedKind::DuplicateProperty,
        ),
        (r#"30 ("a" (0B 00))"#, MalformedKind::PropertyNotAllowed),
        (r#"30 ("a/#" (23 00 01))"#, MalformedKind::TopicName),
        (r#"38 ("a" (23 00 01))"#, MalformedKind::DupWithQos0),
        ("30 (00 02 'a' 00 ())", MalformedKind::Nul),
        ("40 (00 00 00 ())", MalformedKind::PacketId),
        ("42 (00 07)", MalformedKind::Flags),
        ("C0 80 00", MalformedKind::LengthEncoding),
        ("C1 ()", MalformedKind::Flags),
    ] {
        let bytes = wire(packet);
        let theirs = v5::read(&mut BytesMut::from(&bytes[..]), MAX);
        assert!(theirs.is_ok(), "{packet}: {theirs:?}");
        let frame = codec::frame_length(&bytes, MAX).map_err(|error| error.kind);
        let ours = frame.and_then(|_| ours(&bytes, Version::V5));
        assert_eq!(ours, Err(kind), "{packet}");
    }
}

#[test]
fn it_refuses_passwords_that_are_no_text_and_loses_empty_ones() {
    let connect = wire(r#"10 ("MQTT" 04 C2 00 3C "a" "u" 00 01 FF)"#);
    let theirs = v4::read(&mut BytesMut::from(&connect[..]), MAX);
    assert_eq!(theirs, Err(Error::TopicNotUtf8));
    let read = decode_connect(&connect, &Limits::default()).unwrap();
    assert_eq!(read.password, Some(&[0xFF][..]));

    let connect = wire(r#"10 ("MQTT" 04 C2 00 3C "a" "" "")"#);
    let Ok(v4::Packet::Connect(theirs)) = v4::read(&mut BytesMut::from(&connect[..]), MAX) else {
        panic!("it is said to accept")
    };
    assert_eq!(theirs.login, None);
    let read = decode_connect(&connect, &Limits::default()).unwrap();
    assert_eq!((read.username, read.password), (Some(""), Some(&b""[..])));
}

#[test]
fn it_mixes_up_the_versions() {
    let connect = wire(r#"10 ("MQTT" 05 02 00 3C () 00)"#);
    // The property length is read as the length of a Client Identifier.
    let theirs = v4::read(&mut BytesMut::from(&connect[..]), MAX);
    assert!(matches!(theirs, Ok(v4::Packet::Connect(read)) if read.client_id.is_empty()));
    let error = decode_connect(&connect, &Limits::default()).unwrap_err();
    assert_eq!(error.kind, MalformedKind::Truncated);

    let connect = wire(r#"10 ("MQIsdp" 03 02 00 3C "a")"#);
    let theirs = v4::read(&mut BytesMut::from(&connect[..]), MAX);
    assert_eq!(theirs, Err(Error::InvalidProtocol));
    assert!(decode_connect(&connect, &Limits::default()).is_ok());

    let auth = wire(r#"F0 (18 (15 "M"))"#);
    let theirs = v5::read(&mut BytesMut::from(&auth[..]), MAX);
    assert_eq!(theirs, Err(Error::InvalidPacketType(15)));
    assert!(ours(&auth, Version::V5).is_ok());
}

#[test]
fn its_reader_panics_if_the_header_is_not_of_these_bytes() {
    let result = std::panic::catch_unwind(|| {
        v4::Publish::read(FixedHeader::new(0x30, 4, 10), Bytes::from_static(&[0, 0]))
    });
    assert!(result.is_err());
    // Ours takes the frame whole, so that there is no header beside it.
    assert_eq!(
        ours(&[0x30, 10], Version::V311),
        Err(MalformedKind::Truncated)
    );
}

#[test]
fn it_writes_a_connack_of_5_without_its_property_length() {
    let connack = ConnAck {
        session_present: false,
        code: ConnectReturnCode::Success,
        properties: None,
    };
    let mut theirs = BytesMut::new();
    connack.write(&mut theirs).unwrap();
    assert_eq!(&theirs[..], [0x20, 2, 0, 0]);
    let mut out = Vec::new();
    encode_connack(&mut out, Version::V5, &Connack::new(ReasonCode::SUCCESS));
    assert_eq!(out, [0x20, 3, 0, 0, 0]); // [MQTT-2.2.2-1]
}

#[test]
fn it_writes_a_wrong_length_before_long_topics() {
    let publish = v4::Publish::new("x".repeat(70_000), QoS::AtMostOnce, "");
    let mut theirs = BytesMut::new();
    publish.write(&mut theirs).unwrap();
    // Remaining Length of three bytes, then 4,464 for a topic of 70,000.
    assert_eq!(theirs[4..6], 4_464_u16.to_be_bytes());
    assert!(topic::TopicName::parse(&"x".repeat(70_000)).is_err()); // [MQTT-4.7.3-3]
}
