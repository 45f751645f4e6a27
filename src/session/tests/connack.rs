//! What CONNACK offers and says, and that the connection then keeps to it.

use std::time::Duration;

use super::peer::Peer;
use super::wire::{Connect, publish};
use crate::codec::QoS;
use crate::policy::DenyReason;
use crate::session::{SessionState, Settings};

/// A client before it has looked at its CONNACK.
fn accepted(connect: &Connect, settings: &Settings, present: bool) -> Peer {
    let state = SessionState::default();
    Peer::accepted(connect, settings.clone(), state, present, "")
}

#[test]
fn mqtt_3_2_2_1_the_flags_of_connack_are_session_present_and_nothing_else() {
    for present in [false, true] {
        for connect in [Connect::new("c"), Connect::new("").resume().expiry(9)] {
            let bytes = accepted(&connect, &Settings::default(), present).sent_bytes();
            assert_eq!((bytes[0], bytes[2]), (0x20, u8::from(present)));
        }
    }
    let mut out = Vec::new();
    for reason in DenyReason::ALL {
        let refusal = crate::codec::Connack::new(reason.reason_code());
        out.clear();
        crate::codec::encode_connack(&mut out, crate::codec::Version::V5, &refusal);
        assert_eq!(out[2], 0, "{reason:?}");
    }
}

/// Section 3.2.2.2. Over its rate, or subscribing, is only who has been let in.
#[test]
fn mqtt_3_2_2_8_whatever_a_connect_is_refused_for_there_is_a_code_of_connack() {
    let table = [
        0x80..=0x8A,
        0x8C..=0x8C,
        0x90..=0x90,
        0x95..=0x95,
        0x97..=0x97,
        0x99..=0x9D,
        0x9F..=0x9F,
    ];
    for reason in DenyReason::ALL {
        let code = reason.reason_code().0;
        let after_connect = matches!(
            reason,
            DenyReason::MessageRate
                | DenyReason::ByteRate
                | DenyReason::WildcardsOff
                | DenyReason::SharedOff
        );
        let allowed = table.iter().any(|codes| codes.contains(&code));
        assert!(allowed || after_connect, "{reason:?}: 0x{code:02X}");
    }
}

#[test]
fn mqtt_3_2_2_9_a_maximum_qos_below_2_is_announced() {
    for (max_qos, announced) in [
        (QoS::AtMostOnce, Some(" maximum-qos=0")),
        (QoS::AtLeastOnce, Some(" maximum-qos=1")),
        (QoS::ExactlyOnce, None),
    ] {
        let settings = Settings {
            max_qos,
            ..Settings::default()
        };
        let line = accepted(&Connect::new("c"), &settings, false)
            .sent()
            .remove(0);
        match announced {
            Some(text) => assert!(line.contains(text), "{line}"),
            None => assert!(!line.contains("maximum-qos"), "{line}"),
        }
    }
}

#[test]
fn mqtt_3_2_2_18_where_no_alias_is_offered_none_is_taken() {
    let settings = Settings {
        topic_alias_maximum: 0,
        ..Settings::default()
    };
    for (topic, alias) in [("a", 1), ("", 1), ("a", 0xFFFF)] {
        let mut peer = accepted(&Connect::new("c"), &settings, false);
        let line = peer.sent().remove(0);
        assert!(!line.contains("alias"), "{line}");
        let [high, low] = u16::to_be_bytes(alias);
        let bytes = publish(0, topic, None, Some(&[0x23, high, low]), "x");
        assert_eq!(peer.refused(&bytes), (0x94, "topic_alias_invalid"));
        assert!(peer.routed.is_empty());
    }
}

#[test]
fn mqtt_3_2_2_22_without_a_keep_alive_of_ours_the_clients_own_holds() {
    let settings = Settings {
        max_keep_alive_s: 60,
        ..Settings::default()
    };
    for asked in [1, 10, 60] {
        let connect = Connect::new("c").keep_alive(asked);
        let mut peer = accepted(&connect, &settings, false);
        let line = peer.sent().remove(0);
        assert!(!line.contains("keep-alive"), "{line}");
        let deadline = peer.now + Duration::from_millis(u64::from(asked) * 1_500);
        assert_eq!(peer.connection.deadline(), Some(deadline));
    }
}

/// A client without anything to say sends PINGREQ in time: that is enough, and it is answered.
#[test]
fn mqtt_3_12_4_1_and_3_1_2_20_pingreq_is_answered_and_keeps_the_connection() {
    let mut peer = Peer::connected(&Connect::new("c").keep_alive(2));
    for _ in 0..10 {
        peer.wait(Duration::from_secs(2));
        assert!(!peer.connection.is_silent(peer.now));
        peer.send(&[0xC0, 0]);
        assert_eq!(peer.sent_bytes(), [0xD0, 0]);
        let deadline = peer.now + Duration::from_secs(3);
        assert_eq!(peer.connection.deadline(), Some(deadline));
    }
    peer.wait(Duration::from_secs(3));
    assert!(peer.connection.is_silent(peer.now));
}
