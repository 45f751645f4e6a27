//! Valid packets of a connection, field by field.

use portcullis::codec::{
    self, Ack, Auth, Disconnect, Limits, Packet, PacketId, Publish, QoS, ReasonCode,
    SubscribeFilter, Version,
};

use crate::wire::wire;

const ALL: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const V3: [Version; 2] = [Version::V31, Version::V311];

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

#[track_caller]
fn decode(bytes: &[u8], version: Version) -> Packet<'_> {
    codec::decode(bytes, version, &Limits::default()).unwrap()
}

#[track_caller]
fn publish(bytes: &[u8], version: Version) -> Publish<'_> {
    let Packet::Publish(publish) = decode(bytes, version) else {
        panic!("no PUBLISH")
    };
    publish
}

#[test]
fn flags_topic_identifier_and_payload_of_publish() {
    for (first, dup, qos, retain) in [
        ("30", false, QoS::AtMostOnce, false),
        ("31", false, QoS::AtMostOnce, true),
        ("32", false, QoS::AtLeastOnce, false),
        ("3A", true, QoS::AtLeastOnce, false),
        ("35", false, QoS::ExactlyOnce, true),
        ("3D", true, QoS::ExactlyOnce, true),
    ] {
        // [MQTT-2.2.1-2]: a QoS 0 PUBLISH has no Packet Identifier.
        let (number, packet_id) = if qos == QoS::AtMostOnce {
            ("", None)
        } else {
            ("12 34", Some(id(0x1234)))
        };
        for version in ALL {
            let block = if version.is_v5() { "()" } else { "" };
            let bytes = wire(&format!(r#"{first} ("a/é" {number} {block} 00 FF)"#));
            let read = publish(&bytes, version);
            assert_eq!(read.dup, dup, "{first}");
            assert_eq!(read.qos, qos, "{first}");
            assert_eq!(read.retain, retain, "{first}");
            assert_eq!(read.topic, "a/é");
            assert_eq!(read.packet_id, packet_id);
            assert_eq!(read.payload, [0x00, 0xFF]);
            assert_eq!(read.alias, None);
            assert_eq!(read.expiry_interval_s, None);
            assert_eq!(read.response_topic, None);
            assert!(!read.payload_is_utf8);
            assert!(read.properties.is_empty());
        }
    }
}

#[test]
fn a_payload_may_be_empty_and_a_topic_as_long_as_its_length_allows() {
    let bytes = wire(r#"30 ("a")"#);
    assert_eq!(publish(&bytes, Version::V311).payload, b"");
    let long = "x".repeat(65_535);
    let bytes = wire(&format!("30 (\"{long}\" 'p')"));
    let read = publish(&bytes, Version::V311);
    assert_eq!((read.topic, read.payload), (long.as_str(), &b"p"[..]));
}

#[test]
fn every_property_of_publish_is_read() {
    let bytes = wire(
        r#"34 ("a" 00 01 (01 01 02 00 00 00 0A 03 "text/plain" 08 "answer/here" 09 00 03 00 FF 80
            23 00 05 26 "k" "v" 26 "j" "v" 26 "k" "v") 'payload')"#,
    );
    let read = publish(&bytes, Version::V5);
    assert!(read.payload_is_utf8);
    assert_eq!(read.expiry_interval_s, Some(10));
    assert_eq!(read.response_topic, Some("answer/here"));
    assert_eq!(read.alias, Some(5));
    assert_eq!(read.payload, b"payload");
    // [MQTT-3.3.2-17], [MQTT-3.3.2-18]: all User Properties, in their order. Alias and expiry are
    // of this hop.
    let mut forwarded = Vec::new();
    read.properties.copy_forwardable(&mut forwarded);
    assert_eq!(
        forwarded,
        wire(
            r#"01 01 03 "text/plain" 08 "answer/here" 09 00 03 00 FF 80
                26 "k" "v" 26 "j" "v" 26 "k" "v""#
        )
    );
}

#[test]
fn an_alias_may_stand_for_the_topic_and_an_expiry_may_be_0() {
    let bytes = wire(r#"30 ("" (23 FF FF 02 00 00 00 00) 'x')"#);
    let read = publish(&bytes, Version::V5);
    assert_eq!(read.topic, "");
    assert_eq!(read.alias, Some(65_535));
    assert_eq!(read.expiry_interval_s, Some(0));
    let mut forwarded = Vec::new();
    read.properties.copy_forwardable(&mut forwarded);
    assert_eq!(forwarded, b"");
}

#[test]
fn properties_do_not_exist_in_3_x() {
    let bytes = wire(r#"30 ("a" 01 01 'x')"#);
    for version in V3 {
        assert_eq!(publish(&bytes, version).payload, b"\x01\x01x");
    }
}

#[test]
fn user_properties_are_accepted_up_to_the_bound() {
    let bytes = wire(r#"30 ("a" (26 "" "" 26 "" "" 26 "" ""))"#);
    let limits = |max_user_properties| Limits {
        max_user_properties,
        ..Limits::default()
    };
    assert!(codec::decode(&bytes, Version::V5, &limits(3)).is_ok());
    assert!(codec::decode(&bytes, Version::V5, &limits(2)).is_err());
}

type MakeAck = fn(Ack<'static>) -> Packet<'static>;

const ACKS: [(&str, MakeAck, u8); 4] = [
    ("40", Packet::Puback, 0x97),
    ("50", Packet::Pubrec, 0x97),
    ("62", Packet::Pubrel, 0x92),
    ("70", Packet::Pubcomp, 0x92),
];

#[test]
fn acknowledgements_without_a_code_mean_success() {
    for (first, make, _) in ACKS {
        let bytes = wire(&format!("{first} (12 34)"));
        for version in ALL {
            let expected = make(Ack {
                packet_id: id(0x1234),
                reason: ReasonCode::SUCCESS,
                reason_string: None,
            });
            assert_eq!(decode(&bytes, version), expected, "{first} {version:?}");
        }
    }
}

#[test]
fn acknowledgements_of_5_have_codes_and_reason_strings() {
    for (first, make, code) in ACKS {
        for (rest, reason_string) in [
            (String::new(), None),
            ("()".to_owned(), None),
            (
                r#"(1F "why" 26 "k" "v" 26 "k" "v")"#.to_owned(),
                Some("why"),
            ),
        ] {
            let bytes = wire(&format!("{first} (00 07 {code:02X} {rest})"));
            let expected = make(Ack {
                packet_id: id(7),
                reason: ReasonCode(code),
                reason_string,
            });
            assert_eq!(decode(&bytes, Version::V5), expected, "{first} {rest}");
        }
    }
}

#[test]
fn mqtt_3_4_2_1_every_code_of_an_acknowledgement_is_accepted_and_no_other() {
    const RECEIVED: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    const RELEASED: [u8; 2] = [0x00, 0x92];
    for (first, allowed) in [
        ("40", &RECEIVED[..]),
        ("50", &RECEIVED),
        ("62", &RELEASED),
        ("70", &RELEASED),
    ] {
        for code in 0..=0xFF_u8 {
            let bytes = wire(&format!("{first} (00 07 {code:02X})"));
            let read = codec::decode(&bytes, Version::V5, &Limits::default());
            assert_eq!(read.is_ok(), allowed.contains(&code), "{first} {code:02X}");
        }
    }
}

#[test]
fn v31_6_requests_of_3_1_may_be_repeated_and_unused_flags_are_ignored() {
    let ack = Ack {
        packet_id: id(7),
        reason: ReasonCode::SUCCESS,
        reason_string: None,
    };
    for (notation, expected) in [
        ("6A (00 07)", Packet::Pubrel(ack)),
        ("48 (00 07)", Packet::Puback(ack)),
        ("5F (00 07)", Packet::Pubrec(ack)),
        ("72 (00 07)", Packet::Pubcomp(ack)),
        ("C1 ()", Packet::Pingreq),
    ] {
        assert_eq!(
            decode(&wire(notation), Version::V31),
            expected,
            "{notation}"
        );
    }
    let bytes = wire("EF ()");
    assert!(matches!(
        decode(&bytes, Version::V31),
        Packet::Disconnect(_)
    ));
    for notation in [r#"8A (00 07 "a" 01)"#, r#"83 (00 07 "a" 01)"#] {
        let bytes = wire(notation);
        assert!(
            matches!(decode(&bytes, Version::V31), Packet::Subscribe(_)),
            "{notation}"
        );
    }
    let bytes = wire(r#"AA (00 07 "a")"#);
    assert!(matches!(
        decode(&bytes, Version::V31),
        Packet::Unsubscribe(_)
    ));
}

fn filter(filter: &str, qos: QoS) -> SubscribeFilter<'_> {
    SubscribeFilter {
        filter,
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    }
}

#[test]
fn subscribe_of_3_x_has_filters_with_their_qos_in_order() {
    let bytes = wire(r#"82 (12 34 "a/b" 00 "c/#" 01 "$share/g/d/+" 02 "" 00)"#);
    for version in V3 {
        let Packet::Subscribe(read) = decode(&bytes, version) else {
            panic!("no SUBSCRIBE")
        };
        assert_eq!(read.packet_id, id(0x1234));
        assert_eq!(read.identifier, None);
        // Filters are judged one by one, by whoever answers them: the last is not valid.
        let filters: Vec<_> = read.filters().collect();
        assert_eq!(
            filters,
            [
                filter("a/b", QoS::AtMostOnce),
                filter("c/#", QoS::AtLeastOnce),
                filter("$share/g/d/+", QoS::ExactlyOnce),
                filter("", QoS::AtMostOnce),
            ]
        );
    }
}

#[test]
fn subscribe_of_5_has_options_and_an_identifier() {
    let bytes = wire(
        r#"82 (00 01 (0B FF FF FF 7F 26 "k" "v" 26 "k" "v") "a" 00 "b" 05 "c" 0A "d" 10 "e" 2E)"#,
    );
    let Packet::Subscribe(read) = decode(&bytes, Version::V5) else {
        panic!("no SUBSCRIBE")
    };
    assert_eq!(read.packet_id, id(1));
    assert_eq!(read.identifier, Some(268_435_455));
    let filters: Vec<_> = read.filters().collect();
    assert_eq!(
        filters,
        [
            filter("a", QoS::AtMostOnce),
            SubscribeFilter {
                no_local: true,
                ..filter("b", QoS::AtLeastOnce)
            },
            SubscribeFilter {
                retain_as_published: true,
                ..filter("c", QoS::ExactlyOnce)
            },
            SubscribeFilter {
                retain_handling: 1,
                ..filter("d", QoS::AtMostOnce)
            },
            SubscribeFilter {
                no_local: true,
                retain_as_published: true,
                retain_handling: 2,
                ..filter("e", QoS::ExactlyOnce)
            },
        ]
    );
}

#[test]
fn unsubscribe_has_filters_in_order() {
    for (version, block) in [
        (Version::V31, ""),
        (Version::V311, ""),
        (Version::V5, "()"),
        (Version::V5, r#"(26 "k" "v")"#),
    ] {
        let bytes = wire(&format!(r#"A2 (12 34 {block} "a/b" "c/#" "a/b")"#));
        let Packet::Unsubscribe(read) = decode(&bytes, version) else {
            panic!("no UNSUBSCRIBE")
        };
        assert_eq!(read.packet_id, id(0x1234));
        let filters: Vec<_> = read.filters().collect();
        assert_eq!(filters, ["a/b", "c/#", "a/b"]);
    }
}

#[test]
fn pingreq_and_disconnect_are_two_bytes() {
    let normal = Disconnect {
        reason: ReasonCode::SUCCESS,
        session_expiry_interval_s: None,
        reason_string: None,
    };
    for version in ALL {
        assert_eq!(decode(&wire("C0 ()"), version), Packet::Pingreq);
        assert_eq!(decode(&wire("E0 ()"), version), Packet::Disconnect(normal));
    }
}

#[test]
fn disconnect_of_5_has_a_code_an_expiry_and_a_reason_string() {
    let with_will = Disconnect {
        reason: ReasonCode::DISCONNECT_WITH_WILL,
        session_expiry_interval_s: None,
        reason_string: None,
    };
    for notation in ["E0 (04)", "E0 (04 ())"] {
        assert_eq!(
            decode(&wire(notation), Version::V5),
            Packet::Disconnect(with_will)
        );
    }
    let bytes = wire(r#"E0 (00 (11 FF FF FF FF 1F "bye" 26 "k" "v"))"#);
    assert_eq!(
        decode(&bytes, Version::V5),
        Packet::Disconnect(Disconnect {
            reason: ReasonCode::SUCCESS,
            session_expiry_interval_s: Some(u32::MAX),
            reason_string: Some("bye"),
        })
    );
}

#[test]
fn mqtt_3_14_2_1_a_client_may_disconnect_with_its_codes_and_no_others() {
    // 0x8C stands in the general table of the standard and not in that of DISCONNECT.
    const ALLOWED: [u8; 15] = [
        0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x8C, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    ];
    for code in 0..=0xFF_u8 {
        let bytes = wire(&format!("E0 ({code:02X})"));
        let read = codec::decode(&bytes, Version::V5, &Limits::default());
        assert_eq!(read.is_ok(), ALLOWED.contains(&code), "{code:02X}");
    }
}

#[test]
fn auth_has_a_method_and_data() {
    for (notation, reason, data) in [
        (r#"F0 (18 (15 "SCRAM"))"#, 0x18, None),
        (
            r#"F0 (19 (16 00 02 FF 00 26 "k" "v" 15 "SCRAM" 1F "again"))"#,
            0x19,
            Some(&[0xFF, 0x00][..]),
        ),
    ] {
        assert_eq!(
            decode(&wire(notation), Version::V5),
            Packet::Auth(Auth {
                reason: ReasonCode(reason),
                method: "SCRAM",
                data,
            })
        );
    }
}

#[test]
fn a_second_connect_is_told_from_the_first_byte() {
    for version in ALL {
        let bytes = wire(r#"10 ("MQTT" 04 02 00 3C "pump7")"#);
        assert_eq!(decode(&bytes, version), Packet::Connect);
    }
}
