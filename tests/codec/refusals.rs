//! What a CONNECT that could not be decoded is answered with.

use portcullis::codec::{
    DecodeError, Limits, MalformedKind, Version, decode_connect, encode_connect_refusal,
    frame_length,
};

use crate::wire::wire;

#[track_caller]
fn answer(notation: &str) -> Vec<u8> {
    let error = decode_connect(&wire(notation), &Limits::default()).unwrap_err();
    answer_to(error)
}

fn answer_to(error: DecodeError) -> Vec<u8> {
    let mut out = Vec::new();
    encode_connect_refusal(&mut out, &error);
    out
}

const NOTHING: [u8; 0] = [];

#[test]
fn mqtt_3_1_4_1_a_malformed_connect_of_5_is_answered_with_its_code() {
    for (packet, code) in [
        (r#"10 ("MQTT" 05 03 00 00 () "a")"#, 0x81),
        (r#"10 ("MQTT" 05 02 00 00 (21 00 00) "a")"#, 0x82),
        (r#"10 ("MQTT" 05 06 00 00 () "a" () "w/#" "p")"#, 0x90),
        (r#"11 ("MQTT" 05 02 00 00 () "a")"#, 0x81),
    ] {
        assert_eq!(answer(packet), [0x20, 3, 0, code, 0], "{packet}");
    }
}

#[test]
fn mqtt_3_1_4_1_of_3_1_1_a_malformed_connect_of_3_x_is_answered_with_a_close() {
    for packet in [
        r#"10 ("MQTT" 04 03 00 00 "a")"#,
        r#"10 ("MQTT" 04 02 00 00 "a" 00)"#,
        r#"10 ("MQIsdp" 03 1E 00 00 "a" "w" "p")"#,
    ] {
        assert_eq!(answer(packet), NOTHING, "{packet}");
    }
}

#[test]
fn mqtt_3_1_2_2_of_3_1_1_an_unknown_level_is_answered_with_return_code_1() {
    for packet in [
        r#"10 ("MQTT" 06 02 00 00 () "a")"#,
        r#"10 ("MQTT" 03 02 00 00 "a")"#,
        r#"10 ("MQIsdp" 04 02 00 00 "a")"#,
    ] {
        assert_eq!(answer(packet), [0x20, 2, 0, 1], "{packet}");
    }
}

#[test]
fn mqtt_3_1_0_1_what_is_no_mqtt_connect_is_answered_with_nothing() {
    for packet in [
        r#"10 ("HTTP" 05 02 00 00 () "a")"#,
        "C0 ()",
        "10 (00 04 'MQ')",
    ] {
        assert_eq!(answer(packet), NOTHING, "{packet}");
    }
    let error = frame_length(&[0x10, 0xFF, 0x7F], 1_000).unwrap_err();
    assert_eq!(error.kind, MalformedKind::TooLarge);
    assert_eq!(answer_to(error), NOTHING);
}

/// Section 3.2.2.2. Packets of an authentication before CONNACK are refused with it too, whatever is
/// wrong with them.
#[test]
fn mqtt_3_2_2_8_whatever_is_malformed_before_connack_there_is_a_code_of_connack() {
    for &kind in MalformedKind::ALL {
        let error = DecodeError {
            kind,
            version: Some(Version::V5),
        };
        let answer = answer_to(error);
        // Of a version that is not known there is another form.
        if kind == MalformedKind::ProtocolLevel {
            assert_eq!(answer, [0x20, 2, 0, 1]);
            continue;
        }
        assert_eq!((answer[0], answer[2]), (0x20, 0), "{kind:?}");
        assert!(
            matches!(answer[3], 0x81 | 0x82 | 0x84 | 0x85 | 0x90 | 0x95),
            "{kind:?}: {answer:02X?}"
        );
    }
}
