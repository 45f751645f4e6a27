//! What the encoders write, read by decoders that are not ours: rmqtt-codec for both generations,
//! mqttbytes for the packets of 3.1.1 that it reads rightly.

use bytes::BytesMut;
use portcullis::codec::{
    AckKind, Connack, PacketId, PublishHead, QoS, ReasonCode, Version, encode_ack, encode_auth,
    encode_connack, encode_disconnect, encode_pingresp, encode_suback, encode_unsuback,
};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder;

use crate::wire::{varint, wire};

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// Reads one packet of 5.0 and checks that nothing is left.
#[track_caller]
fn read5(bytes: &[u8]) -> v5::Packet {
    let mut buffer = BytesMut::from(bytes);
    let (packet, _) = v5::Codec::default().decode(&mut buffer).unwrap().unwrap();
    assert!(buffer.is_empty(), "bytes are left of {bytes:02X?}");
    packet
}

/// Reads one packet of 3.1.1 with both of the other decoders.
#[track_caller]
fn read3(bytes: &[u8]) -> (v3::Packet, mqttbytes::v4::Packet) {
    let mut buffer = BytesMut::from(bytes);
    let (packet, _) = v3::Codec::default().decode(&mut buffer).unwrap().unwrap();
    assert!(buffer.is_empty(), "bytes are left of {bytes:02X?}");
    let mut buffer = BytesMut::from(bytes);
    let second = mqttbytes::v4::read(&mut buffer, 1 << 28).unwrap();
    assert!(buffer.is_empty(), "bytes are left of {bytes:02X?}");
    (packet, second)
}

fn head<'a>(topic: &'a str, payload: &[u8]) -> PublishHead<'a> {
    PublishHead {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        alias: None,
        expiry_interval_s: None,
        identifiers: &[],
        properties: &[],
        payload_bytes: payload.len(),
    }
}

#[track_caller]
fn encoded(head: &PublishHead<'_>, version: Version, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    head.encode(version, &mut out);
    out.extend_from_slice(payload);
    assert_eq!(head.packet_bytes(version), out.len());
    out
}

#[test]
fn publish_of_3_x_is_read_back_by_others() {
    let payload = b"\x00payload\xFF";
    for (qos, other, old) in [
        (
            QoS::AtMostOnce,
            v5::QoS::AtMostOnce,
            mqttbytes::QoS::AtMostOnce,
        ),
        (
            QoS::AtLeastOnce,
            v5::QoS::AtLeastOnce,
            mqttbytes::QoS::AtLeastOnce,
        ),
        (
            QoS::ExactlyOnce,
            v5::QoS::ExactlyOnce,
            mqttbytes::QoS::ExactlyOnce,
        ),
    ] {
        for (dup, retain) in [(false, false), (true, false), (false, true), (true, true)] {
            let number = (qos != QoS::AtMostOnce).then_some(0xFFFE);
            let head = PublishHead {
                dup,
                qos,
                retain,
                packet_id: number.and_then(PacketId::new),
                ..head("a/é", payload)
            };
            for version in [Version::V31, Version::V311] {
                let (v3::Packet::Publish(read), mqttbytes::v4::Packet::Publish(second)) =
                    read3(&encoded(&head, version, payload))
                else {
                    panic!("no PUBLISH")
                };
                assert_eq!((read.dup, read.qos, read.retain), (dup, other, retain));
                assert_eq!(read.packet_id.map(std::num::NonZeroU16::get), number);
                assert_eq!((&*read.topic, &read.payload[..]), ("a/é", &payload[..]));
                assert_eq!((second.dup, second.qos, second.retain), (dup, old, retain));
                assert_eq!(second.pkid, number.unwrap_or(0));
                assert_eq!((&*second.topic, &second.payload[..]), ("a/é", &payload[..]));
            }
        }
    }
}

#[test]
fn publish_of_5_is_read_back_with_its_properties() {
    let forwarded = wire(
        r#"01 01 03 "text/plain" 08 "answer/here" 09 00 02 00 FF 26 "k" "v" 26 "j" "v" 26 "k" "v""#,
    );
    let head = PublishHead {
        dup: true,
        qos: QoS::ExactlyOnce,
        retain: true,
        packet_id: PacketId::new(0x1234),
        alias: Some(5),
        expiry_interval_s: Some(10),
        identifiers: &[1, 127, 128, 268_435_455],
        properties: &forwarded,
        ..head("a/b", b"payload")
    };
    let v5::Packet::Publish(read) = read5(&encoded(&head, Version::V5, b"payload")) else {
        panic!("no PUBLISH")
    };
    assert!(read.dup && read.retain);
    assert_eq!(read.qos, v5::QoS::ExactlyOnce);
    assert_eq!(read.packet_id.unwrap().get(), 0x1234);
    assert_eq!(&*read.topic, "a/b");
    assert_eq!(&read.payload[..], b"payload");
    let properties = read.properties.unwrap();
    assert_eq!(properties.topic_alias.unwrap().get(), 5);
    assert_eq!(properties.message_expiry_interval.unwrap().get(), 10);
    let identifiers: Vec<u32> = properties
        .subscription_ids
        .iter()
        .map(|identifier| identifier.get())
        .collect();
    assert_eq!(identifiers, [1, 127, 128, 268_435_455]);
    assert!(properties.is_utf8_payload);
    assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(properties.response_topic.as_deref(), Some("answer/here"));
    assert_eq!(
        properties.correlation_data.as_deref(),
        Some(&b"\x00\xFF"[..])
    );
    let users: Vec<(&str, &str)> = properties
        .user_properties
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(users, [("k", "v"), ("j", "v"), ("k", "v")]);
}

#[test]
fn publish_with_nothing_but_an_alias_has_an_empty_topic() {
    let head = PublishHead {
        alias: Some(9),
        ..head("", b"x")
    };
    assert_eq!(
        encoded(&head, Version::V5, b"x"),
        wire(r#"30 ("" (23 00 09) 'x')"#)
    );
}

#[test]
fn mqtt_1_5_5_1_lengths_take_as_few_bytes_as_they_can() {
    for remaining in [127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
        let payload = vec![b'x'; remaining - 3];
        let bytes = encoded(&head("a", &payload), Version::V311, &payload);
        let mut expected = vec![0x30];
        expected.extend(varint(remaining));
        expected.extend(wire(r#""a""#));
        expected.extend_from_slice(&payload);
        assert!(bytes == expected, "remaining length {remaining}");
    }
    for block in [127, 128, 16_383, 16_384] {
        let name = "k".repeat(block - 6);
        let properties = wire(&format!(r#"26 "{name}" "v""#));
        let head = PublishHead {
            properties: &properties,
            ..head("a", b"")
        };
        let v5::Packet::Publish(read) = read5(&encoded(&head, Version::V5, b"")) else {
            panic!("no PUBLISH")
        };
        let (read_name, _) = &read.properties.unwrap().user_properties[0];
        assert_eq!(read_name.len(), name.len(), "block of {block}");
    }
}

#[test]
fn a_publish_that_cannot_be_written_is_larger_than_any_bound() {
    // The largest packet there is: fixed header of 5 bytes and 268,435,455 behind it.
    let head = |payload_bytes| PublishHead {
        payload_bytes,
        ..head("a", b"")
    };
    assert_eq!(head(268_435_452).packet_bytes(Version::V311), 268_435_460);
    assert_eq!(head(268_435_453).packet_bytes(Version::V311), usize::MAX);
    assert_eq!(head(268_435_452).packet_bytes(Version::V5), usize::MAX);
    // [MQTT-4.7.3-3]
    let topic = "x".repeat(65_536);
    let head = PublishHead {
        topic: &topic,
        ..head(0)
    };
    assert_eq!(head.packet_bytes(Version::V311), usize::MAX);
}

fn connack(version: Version, connack: &Connack<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_connack(&mut out, version, connack);
    out
}

#[test]
fn connack_of_5_with_nothing_to_say_has_a_property_length() {
    let success = Connack::new(ReasonCode::SUCCESS);
    assert_eq!(connack(Version::V5, &success), [0x20, 3, 0, 0, 0]); // [MQTT-2.2.2-1]
    let v5::Packet::ConnectAck(read) = read5(&connack(Version::V5, &success)) else {
        panic!("no CONNACK")
    };
    assert_eq!(*read, v5::ConnectAck::default());
}

#[test]
fn every_property_of_connack_is_read_back() {
    let all = Connack {
        session_present: true,
        session_expiry_interval_s: Some(3_600),
        receive_maximum: Some(20),
        maximum_qos: Some(QoS::AtLeastOnce),
        retain_available: Some(false),
        maximum_packet_size: Some(65_536),
        assigned_client_identifier: Some("auto-1"),
        topic_alias_maximum: Some(10),
        reason_string: Some("why"),
        wildcard_available: Some(false),
        identifiers_available: Some(false),
        shared_available: Some(false),
        server_keep_alive_s: Some(30),
        response_information: Some("answers/"),
        server_reference: Some("other:8883"),
        authentication_method: Some("SCRAM"),
        authentication_data: Some(b"\xFF\x00"),
        ..Connack::new(ReasonCode::SUCCESS)
    };
    let v5::Packet::ConnectAck(read) = read5(&connack(Version::V5, &all)) else {
        panic!("no CONNACK")
    };
    let expected = v5::ConnectAck {
        session_present: true,
        reason_code: v5::ConnectAckReason::Success,
        session_expiry_interval_secs: Some(3_600),
        receive_max: 20.try_into().unwrap(),
        max_qos: v5::QoS::AtLeastOnce,
        max_packet_size: Some(65_536),
        assigned_client_id: Some("auto-1".into()),
        topic_alias_max: 10,
        retain_available: false,
        wildcard_subscription_available: false,
        subscription_identifiers_available: false,
        shared_subscription_available: false,
        server_keepalive_sec: Some(30),
        response_info: Some("answers/".into()),
        server_reference: Some("other:8883".into()),
        auth_method: Some("SCRAM".into()),
        auth_data: Some(bytes::Bytes::from_static(b"\xFF\x00")),
        reason_string: Some("why".into()),
        user_properties: Vec::new(),
    };
    assert_eq!(*read, expected);
}

#[test]
fn mqtt_3_2_2_6_an_error_never_says_session_present() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let refusal = Connack {
            session_present: true,
            ..Connack::new(ReasonCode::NOT_AUTHORIZED)
        };
        assert_eq!(connack(version, &refusal)[2], 0, "{version:?}");
    }
}

#[test]
fn connack_of_3_x_has_the_nearest_return_code_or_is_not_sent() {
    // Reason Code, return code; `None` is a bare close.
    for (reason, expected) in [
        (0x00, Some(0)),
        (0x84, Some(1)),
        (0x85, Some(2)),
        (0x88, Some(3)),
        (0x89, Some(3)),
        (0x97, Some(3)),
        (0x9C, Some(3)),
        (0x9D, Some(3)),
        (0x9F, Some(3)),
        (0x86, Some(4)),
        (0x87, Some(5)),
        (0x8A, Some(5)),
        (0x8C, Some(5)),
        (0x80, None),
        (0x81, None),
        (0x82, None),
        (0x83, None),
        (0x90, None),
        (0x95, None),
        (0x99, None),
        (0x9A, None),
        (0x9B, None),
    ] {
        let bytes = connack(Version::V311, &Connack::new(ReasonCode(reason)));
        let Some(code) = expected else {
            assert_eq!(bytes, [0_u8; 0], "{reason:02X}");
            continue;
        };
        assert_eq!(bytes, [0x20, 2, 0, code], "{reason:02X}");
        let (v3::Packet::ConnectAck(read), mqttbytes::v4::Packet::ConnAck(_)) = read3(&bytes)
        else {
            panic!("no CONNACK")
        };
        assert_eq!(read.return_code as u8, code);
    }
}

#[test]
fn v31_4_only_3_1_1_and_5_say_session_present() {
    let present = Connack {
        session_present: true,
        ..Connack::new(ReasonCode::SUCCESS)
    };
    assert_eq!(connack(Version::V31, &present), [0x20, 2, 0, 0]);
    assert_eq!(connack(Version::V311, &present), [0x20, 2, 1, 0]);
    assert_eq!(connack(Version::V5, &present), [0x20, 3, 1, 0, 0]);
}

fn ack(version: Version, kind: AckKind, reason: u8, text: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_ack(
        &mut out,
        version,
        kind,
        id(0x1234),
        ReasonCode(reason),
        text,
    );
    out
}

#[test]
fn acknowledgements_of_3_x_have_an_identifier_and_nothing_else() {
    for (kind, first) in [
        (AckKind::Puback, 0x40),
        (AckKind::Pubrec, 0x50),
        (AckKind::Pubrel, 0x62), // [MQTT-3.6.1-1]
        (AckKind::Pubcomp, 0x70),
    ] {
        for version in [Version::V31, Version::V311] {
            for (reason, text) in [(0x00, None), (0x92, None), (0x87, Some("no"))] {
                let bytes = ack(version, kind, reason, text);
                assert_eq!(bytes, [first, 2, 0x12, 0x34], "{kind:?}");
            }
        }
        read3(&ack(Version::V311, kind, 0, None));
    }
}

#[test]
fn acknowledgements_of_5_are_read_back() {
    use v5::{PublishAck2Reason as Released, PublishAckReason as Received};
    for (reason, expected) in [
        (0x00, Received::Success),
        (0x10, Received::NoMatchingSubscribers),
        (0x80, Received::UnspecifiedError),
        (0x83, Received::ImplementationSpecificError),
        (0x87, Received::NotAuthorized),
        (0x90, Received::TopicNameInvalid),
        (0x91, Received::PacketIdentifierInUse),
        (0x97, Received::QuotaExceeded),
        (0x99, Received::PayloadFormatInvalid),
    ] {
        for text in [None, Some("why")] {
            let read = read5(&ack(Version::V5, AckKind::Puback, reason, text));
            let again = read5(&ack(Version::V5, AckKind::Pubrec, reason, text));
            let (v5::Packet::PublishAck(read), v5::Packet::PublishReceived(again)) = (read, again)
            else {
                panic!("no PUBACK and PUBREC")
            };
            assert_eq!(read, again);
            assert_eq!(read.packet_id.get(), 0x1234);
            assert_eq!(read.reason_code, expected);
            assert_eq!(read.reason_string.as_deref(), text);
        }
    }
    for (reason, expected) in [
        (0x00, Released::Success),
        (0x92, Released::PacketIdNotFound),
    ] {
        for text in [None, Some("why")] {
            let read = read5(&ack(Version::V5, AckKind::Pubrel, reason, text));
            let again = read5(&ack(Version::V5, AckKind::Pubcomp, reason, text));
            let (v5::Packet::PublishRelease(read), v5::Packet::PublishComplete(again)) =
                (read, again)
            else {
                panic!("no PUBREL and PUBCOMP")
            };
            assert_eq!(read, again);
            assert_eq!(read.packet_id.get(), 0x1234);
            assert_eq!(read.reason_code, expected);
            assert_eq!(read.reason_string.as_deref(), text);
        }
    }
}

#[test]
fn a_reason_string_is_cut_where_its_length_field_ends() {
    // A length that counts more than is written would make the next packet part of this one.
    let text = "é".repeat(40_000);
    let v5::Packet::PublishAck(read) = read5(&ack(Version::V5, AckKind::Puback, 0x87, Some(&text)))
    else {
        panic!("no PUBACK")
    };
    // At most 65,535 bytes, and no half character.
    assert_eq!(read.reason_string.unwrap().len(), 65_534);
}

fn codes(codes: &[u8]) -> Vec<ReasonCode> {
    codes.iter().copied().map(ReasonCode).collect()
}

#[test]
fn mqtt_3_9_3_1_suback_has_a_code_for_each_filter_in_order() {
    const CODES: [u8; 12] = [
        0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2,
    ];
    let mut out = Vec::new();
    encode_suback(&mut out, Version::V5, id(0x1234), &codes(&CODES), None);
    let v5::Packet::SubscribeAck(read) = read5(&out) else {
        panic!("no SUBACK")
    };
    assert_eq!(read.packet_id.get(), 0x1234);
    let status: Vec<u8> = read.status.into_iter().map(u8::from).collect();
    assert_eq!(status, CODES);
    assert_eq!(read.reason_string, None);
}

#[test]
fn mqtt_3_9_3_2_of_3_1_1_suback_says_0_1_2_or_80() {
    let given = codes(&[0x00, 0x01, 0x02, 0x80, 0x87, 0x8F, 0x9E]);
    for version in [Version::V31, Version::V311] {
        let mut out = Vec::new();
        encode_suback(&mut out, version, id(0x1234), &given, None);
        assert_eq!(out, wire("90 (12 34 00 01 02 80 80 80 80)"));
        let (v3::Packet::SubscribeAck { status, .. }, mqttbytes::v4::Packet::SubAck(second)) =
            read3(&out)
        else {
            panic!("no SUBACK")
        };
        assert_eq!((status.len(), second.return_codes.len()), (7, 7));
    }
}

#[test]
fn mqtt_3_11_3_1_unsuback_has_a_code_for_each_filter_in_order() {
    const CODES: [u8; 7] = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
    let mut out = Vec::new();
    encode_unsuback(&mut out, Version::V5, id(0x1234), &codes(&CODES), None);
    let v5::Packet::UnsubscribeAck(read) = read5(&out) else {
        panic!("no UNSUBACK")
    };
    assert_eq!(read.packet_id.get(), 0x1234);
    let status: Vec<u8> = read.status.into_iter().map(u8::from).collect();
    assert_eq!(status, CODES);
}

#[test]
fn mqtt_3_10_4_5_of_3_1_1_unsuback_has_no_payload() {
    for version in [Version::V31, Version::V311] {
        let mut out = Vec::new();
        encode_unsuback(&mut out, version, id(0x1234), &codes(&[0x00, 0x11]), None);
        assert_eq!(out, [0xB0, 2, 0x12, 0x34]);
        read3(&out);
    }
}

fn disconnect(reason: u8, text: Option<&str>, reference: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_disconnect(&mut out, Version::V5, ReasonCode(reason), text, reference);
    out
}

#[test]
fn every_disconnect_of_a_server_is_read_back() {
    const CODES: [u8; 28] = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
        0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
    ];
    for code in CODES {
        for (text, reference) in [
            (None, None),
            (Some("why"), None),
            (None, Some("other:8883")),
            (Some("why"), Some("other:8883")),
        ] {
            let v5::Packet::Disconnect(read) = read5(&disconnect(code, text, reference)) else {
                panic!("no DISCONNECT")
            };
            assert_eq!(u8::from(read.reason_code), code);
            assert_eq!(read.reason_string.as_deref(), text);
            assert_eq!(read.server_reference.as_deref(), reference);
        }
    }
    assert_eq!(disconnect(0x8B, None, None), [0xE0, 1, 0x8B]);
}

#[test]
fn a_server_of_3_x_has_no_disconnect() {
    for version in [Version::V31, Version::V311] {
        let mut out = Vec::new();
        encode_disconnect(&mut out, version, ReasonCode(0x8B), Some("why"), None);
        assert!(out.is_empty());
    }
}

#[test]
fn auth_is_read_back() {
    for (code, data) in [(0x00, None), (0x18, Some(&b"\x00\xFF"[..]))] {
        let mut out = Vec::new();
        encode_auth(&mut out, ReasonCode(code), "SCRAM", data);
        let v5::Packet::Auth(read) = read5(&out) else {
            panic!("no AUTH")
        };
        assert_eq!(u8::from(read.reason_code), code);
        assert_eq!(read.auth_method.as_deref(), Some("SCRAM"));
        assert_eq!(read.auth_data.as_deref(), data);
    }
}

#[test]
fn pingresp_is_two_bytes() {
    let mut out = Vec::new();
    encode_pingresp(&mut out);
    assert_eq!(read5(&out), v5::Packet::PingResponse);
    assert_eq!(
        read3(&out),
        (v3::Packet::PingResponse, mqttbytes::v4::Packet::PingResp)
    );
}

#[test]
fn encoders_append_and_leave_what_is_there() {
    let mut out = vec![0xAA];
    encode_pingresp(&mut out);
    encode_ack(
        &mut out,
        Version::V5,
        AckKind::Puback,
        id(1),
        ReasonCode(0x87),
        None,
    );
    encode_suback(&mut out, Version::V5, id(2), &codes(&[0x00]), None);
    encode_disconnect(&mut out, Version::V5, ReasonCode(0x8E), None, None);
    assert_eq!(out, wire("AA D0 () 40 (00 01 87) 90 (00 02 () 00) E0 (8E)"));
}
