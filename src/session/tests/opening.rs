//! CONNECT and CONNACK: what is accepted, what is told, and what is refused.

use super::peer::{Peer, opening, try_open};
use super::wire::{Connect, Will};
use crate::codec::{self, Limits, MalformedKind, QoS};
use crate::policy::DenyReason;
use crate::session::{SessionState, Settings};

fn connack(connect: &Connect, settings: Settings) -> String {
    let mut peer = Peer::accepted(connect, settings, SessionState::default(), false, "");
    let mut sent = peer.sent();
    assert_eq!(sent.len(), 1, "CONNACK and nothing else [MQTT-3.2.0-1]");
    sent.remove(0)
}

#[test]
fn mqtt_3_1_4_5_a_good_connect_is_acknowledged_with_what_we_offer() {
    assert_eq!(
        connack(&Connect::new("c"), Settings::default()),
        "CONNACK 0x00 receive-maximum=20 alias-maximum=10 maximum-packet=2000000"
    );
    let scant = Settings {
        max_inflight_messages: 1,
        topic_alias_maximum: 0,
        max_qos: QoS::AtLeastOnce,
        retain_available: false,
        ..Settings::default()
    };
    assert_eq!(
        connack(&Connect::new("c"), scant.clone()),
        "CONNACK 0x00 receive-maximum=1 maximum-packet=2000000 maximum-qos=1 retain-available=0"
    );
    for level in [3, 4] {
        assert_eq!(
            connack(&Connect::new("c").level(level), scant.clone()),
            "CONNACK 0x00"
        );
    }
}

#[test]
fn mqtt_3_1_0_1_anything_else_than_connect_first_is_an_error_without_an_answer() {
    for packet in [
        &[0xC0, 0][..],
        &[0x30, 3, 0, 1, b'a'],
        &[0xF0, 0],
        &[0xE0, 0],
    ] {
        let error = codec::decode_connect(packet, &Limits::default()).expect_err("no CONNECT");
        assert_eq!(error.kind, MalformedKind::NotConnect);
        let mut out = Vec::new();
        codec::encode_connect_refusal(&mut out, &error);
        assert!(out.is_empty());
    }
}

#[test]
fn mqtt_3_1_3_5_client_identifiers_of_23_letters_and_of_more_are_accepted() {
    for length in [1, 23, 24, 200] {
        for level in [3, 4, 5] {
            let connect = Connect::new(&"a".repeat(length)).level(level);
            let opening = opening(&connect, &Settings::default());
            assert_eq!(opening.client_id.as_str().len(), length);
            assert!(!opening.assigned_client_id);
        }
    }
}

#[test]
fn mqtt_3_1_3_7_a_client_without_an_identifier_is_given_one_and_told() {
    let line = connack(&Connect::new(""), Settings::default());
    let id = "auto-a5a5a5a5-a5a5-a5a5-a5a5-a5a5a5a5a5a5";
    assert!(line.contains(&format!(" assigned={id}")), "{line}");
    let opening = opening(&Connect::new("").level(4), &Settings::default());
    assert_eq!(opening.client_id.as_str(), id);
    // 3.1.1 has no way to tell; CONNACK is what it always is.
    let old = connack(&Connect::new("").level(4), Settings::default());
    assert_eq!(old, "CONNACK 0x00");
}

#[test]
fn mqtt_3_1_3_8_an_empty_identifier_is_refused_where_it_cannot_be() {
    let refused = Err(DenyReason::ClientIdRefused);
    let judged = |connect: &Connect, settings: &Settings| {
        try_open(connect, settings).map(|opening| opening.assigned_client_id)
    };
    let open = Settings::default();
    assert_eq!(judged(&Connect::new("").level(3), &open), refused); // V31-3
    // A session that is to be kept cannot be found again under a name nobody was told.
    assert_eq!(judged(&Connect::new("").level(4).resume(), &open), refused);
    assert_eq!(judged(&Connect::new("").level(4), &open), Ok(true));
    assert_eq!(judged(&Connect::new("").resume(), &open), Ok(true));
    let closed = Settings {
        allow_zero_length_client_id: false,
        ..Settings::default()
    };
    for level in [3, 4, 5] {
        assert_eq!(judged(&Connect::new("").level(level), &closed), refused);
        assert_eq!(judged(&Connect::new("c").level(level), &closed), Ok(false));
    }
    assert_eq!(DenyReason::ClientIdRefused.reason_code().0, 0x85);
}

#[test]
fn a_client_identifier_must_begin_with_the_prefix_that_is_asked_for() {
    let settings = Settings {
        client_id_prefix: Some("plant-".into()),
        ..Settings::default()
    };
    assert!(try_open(&Connect::new("plant-7"), &settings).is_ok());
    for id in ["Plant-7", "7-plant-", "plant"] {
        assert_eq!(
            try_open(&Connect::new(id), &settings).err(),
            Some(DenyReason::ClientIdPrefix),
            "{id}"
        );
    }
}

#[test]
fn versions_that_a_listener_does_not_speak_are_refused() {
    for (index, level) in [3, 4, 5].into_iter().enumerate() {
        let mut settings = Settings::default();
        settings.versions[index] = false;
        for other in [3, 4, 5] {
            let judged = try_open(&Connect::new("c").level(other), &settings).err();
            let expected = (other == level).then_some(DenyReason::ProtocolVersion);
            assert_eq!(judged, expected);
        }
    }
}

#[test]
fn mqtt_3_1_2_21_a_keep_alive_above_our_maximum_is_replaced_for_5_0_and_refused_for_3_x() {
    let settings = Settings {
        max_keep_alive_s: 60,
        ..Settings::default()
    };
    for (asked, told) in [(30, None), (60, None), (61, Some(60)), (0, Some(60))] {
        let connect = Connect::new("c").keep_alive(asked);
        let line = connack(&connect, settings.clone());
        let expected = told.map(|seconds| format!(" keep-alive={seconds}"));
        assert_eq!(line.contains("keep-alive"), told.is_some(), "{line}");
        assert!(line.contains(expected.as_deref().unwrap_or("")), "{line}");
        for level in [3, 4] {
            let judged = try_open(&connect.clone().level(level), &settings).err();
            assert_eq!(judged, told.map(|_| DenyReason::KeepAlive), "{asked}");
        }
    }
}

#[test]
fn mqtt_3_2_2_12_and_13_a_will_beyond_what_is_offered_is_refused() {
    let settings = Settings {
        max_qos: QoS::AtLeastOnce,
        retain_available: false,
        ..Settings::default()
    };
    for (qos, retain, expected) in [
        (1, false, None),
        (2, false, Some(DenyReason::QosNotSupported)),
        (0, true, Some(DenyReason::RetainNotSupported)),
    ] {
        let will = Will {
            qos,
            retain,
            ..Will::default()
        };
        let connect = Connect::new("c").will(will);
        assert_eq!(try_open(&connect, &settings).err(), expected);
        assert!(try_open(&connect, &Settings::default()).is_ok());
    }
    assert_eq!(DenyReason::QosNotSupported.reason_code().0, 0x9B);
    assert_eq!(DenyReason::RetainNotSupported.reason_code().0, 0x9A);
}

#[test]
fn how_long_a_session_is_kept_follows_the_client_within_our_bound() {
    let hour = Settings {
        max_session_expiry_s: 3_600,
        ..Settings::default()
    };
    let never = u32::MAX;
    for (connect, unbounded, bounded) in [
        (Connect::new("c"), 0, 0),
        (Connect::new("c").resume(), 0, 0),
        (Connect::new("c").expiry(60), 60, 60),
        (Connect::new("c").expiry(never), never, 3_600),
        (Connect::new("c").level(4), 0, 0),
        (Connect::new("c").level(4).resume(), never, 3_600),
        (Connect::new("c").level(3).resume(), never, 3_600),
    ] {
        let kept = |settings: &Settings| opening(&connect, settings).session_expiry_s;
        assert_eq!(kept(&Settings::default()), unbounded, "{connect:?}");
        assert_eq!(kept(&hour), bounded, "{connect:?}");
        let line = connack(&connect, hour.clone());
        let told = connect.level == 5 && unbounded != bounded;
        assert_eq!(line.contains(" session-expiry=3600"), told, "{line}");
    }
}

#[test]
fn mqtt_3_1_2_23_the_interval_of_the_newest_connect_holds() {
    let peer = Peer::connected(&Connect::new("c").expiry(60));
    assert!(peer.connection.session().outlives_connection());
    let peer = peer.resumed(&Connect::new("c").resume());
    assert!(!peer.connection.session().outlives_connection());
}
