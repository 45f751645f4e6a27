//! What the operator offers or not, and what clients are told in words.

use super::peer::{Peer, opening};
use super::wire::{Connect, packet, properties, publish, text};
use crate::codec::ReasonCode;
use crate::session::{Available, Goodbye, ResponseInformation, SessionState, Settings};

fn connack(connect: &Connect, settings: &Settings, username: Option<&str>) -> String {
    let mut opening = opening(connect, settings);
    opening.identified(username, None, settings);
    let mut out = Vec::new();
    crate::session::Connection::accept(
        opening,
        SessionState::default(),
        false,
        settings,
        "",
        std::time::Instant::now(),
        &mut out,
    );
    super::wire::lines(&out, connect.level == 5).remove(0)
}

fn subscribe(id: u16, block: &[u8], filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(properties(block));
    for filter in filters {
        body.extend(text(filter));
        body.push(1);
    }
    packet(0x82, &body)
}

#[test]
fn kinds_of_subscription_that_are_off_are_told_in_connack_and_refused_as_protocol_errors() {
    let nothing = Settings {
        available: Available {
            wildcards: false,
            shared: false,
            identifiers: false,
        },
        ..Settings::default()
    };
    let connect = Connect::new("c");
    let line = connack(&connect, &nothing, None);
    assert!(
        line.ends_with(" wildcards=0 identifiers=0 shared=0"),
        "{line}"
    );
    let everything = connack(&connect, &Settings::default(), None);
    assert!(
        !everything.contains("wildcards"),
        "the default is not written: {everything}"
    );
    for (block, filter, expected) in [
        (&[][..], "a/+", (0xA2, "wildcard_subscriptions_off")),
        (&[], "a/#", (0xA2, "wildcard_subscriptions_off")),
        (&[], "$share/g/a", (0x9E, "shared_subscriptions_off")),
        (&[0x0B, 1], "a", (0xA1, "subscription_identifiers_off")),
    ] {
        let mut peer = Peer::with(&connect, nothing.clone());
        peer.send(&subscribe(1, &[], &["a"]));
        // Another good filter in the same packet changes nothing.
        let refused = peer.refused(&subscribe(2, block, &["b", filter]));
        assert_eq!(refused, expected, "{filter}");
        let mut peer = Peer::connected(&connect);
        peer.send(&subscribe(3, block, &[filter]));
        assert!(
            peer.sent()[0].starts_with("SUBACK #3"),
            "offered by default"
        );
    }
}

#[test]
fn mqtt_3_1_2_28_response_information_is_sent_to_who_asks_for_it_and_to_nobody_else() {
    let settings = Settings {
        response_information: Some(ResponseInformation::parse("answers/%u/%c/").expect("valid")),
        ..Settings::default()
    };
    let asking = Connect::new("dev-1").wants_response_information();
    let told = " response-information=answers/ann/dev-1/";
    assert!(connack(&asking, &settings, Some("ann")).contains(told));
    let silent = [
        (Connect::new("dev-1"), Some("ann"), "did not ask"),
        (asking.clone(), None, "has no user name to put there"),
        (
            asking.clone(),
            Some("a/b"),
            "would reach into another's topics",
        ),
        (asking.clone(), Some("#"), "would be a wildcard"),
        (
            Connect::new("%u").wants_response_information(),
            Some("+"),
            "is bound literally",
        ),
    ];
    for (connect, user, why) in silent {
        let line = connack(&connect, &settings, user);
        assert!(!line.contains("response-information"), "{why}: {line}");
    }
    let literal = Connect::new("%u").wants_response_information();
    let line = connack(&literal, &settings, Some("ann"));
    assert!(
        line.contains(" response-information=answers/ann/%u/"),
        "{line}"
    );
    let off = connack(&asking, &Settings::default(), Some("ann"));
    assert!(
        !off.contains("response-information"),
        "nothing is configured: {off}"
    );
}

#[test]
fn mqtt_3_1_2_24_who_takes_too_little_for_response_information_is_let_in_without_it() {
    let prefix = "a".repeat(100);
    let settings = Settings {
        response_information: Some(ResponseInformation::parse(&prefix).expect("valid")),
        ..Settings::default()
    };
    for (maximum, told, answered) in [(200, true, true), (100, false, true), (5, false, false)] {
        let asking = Connect::new("c").wants_response_information();
        let mut opening = opening(&asking.maximum_packet(maximum), &settings);
        opening.identified(None, None, &settings);
        assert_eq!(opening.response_information.is_some(), told, "{maximum}");
        assert_eq!(opening.can_be_answered(&settings), answered, "{maximum}");
    }
}

#[test]
fn a_prefix_of_answers_is_checked_when_it_is_read() {
    for wrong in ["", "a/+/", "a/#", "a/%x", "a/%", "a\0"] {
        assert!(ResponseInformation::parse(wrong).is_err(), "{wrong:?}");
    }
    for right in ["a", "%c", "a/%c%u/", "answers/"] {
        let parsed = ResponseInformation::parse(right).expect("valid");
        assert_eq!(parsed.to_string(), right);
    }
}

fn talkative() -> Settings {
    Settings {
        reason_strings: true,
        ..Settings::default()
    }
}

/// The answers to a PUBLISH of QoS 1, one of QoS 2, a SUBSCRIBE and an UNSUBSCRIBE, and a DISCONNECT.
fn answers(connect: &Connect, settings: &Settings) -> Vec<String> {
    let mut peer = Peer::with(connect, settings.clone());
    peer.verdict = ReasonCode::NOT_AUTHORIZED;
    peer.text = Some("why");
    peer.send(&publish(2, "a", Some(1), Some(&[]), ""));
    peer.send(&publish(4, "a", Some(2), Some(&[]), ""));
    peer.send(&subscribe(3, &[], &["a"]));
    let mut unsubscribe = vec![0, 4, 0];
    unsubscribe.extend(text("a"));
    peer.send(&packet(0xA2, &unsubscribe));
    let mut lines = peer.sent();
    let mut out = Vec::new();
    let goodbye = Goodbye {
        reason: ReasonCode::USE_ANOTHER_SERVER,
        text: Some("why"),
        reference: Some("other:1"),
    };
    peer.connection.goodbye(&goodbye, &mut out);
    lines.extend(super::wire::lines(&out, true));
    lines
}

#[test]
fn mqtt_3_1_2_29_reason_strings_are_kept_from_who_declines_them_but_in_connack_and_disconnect() {
    let told = [
        "PUBACK #1 0x87 reason=\"why\"",
        "PUBREC #2 0x87 reason=\"why\"",
        "SUBACK #3 reason=\"why\" 01",
        "UNSUBACK #4 reason=\"why\" 11",
        "DISCONNECT 0x9C reason=\"why\" server-reference=other:1",
    ];
    assert_eq!(answers(&Connect::new("c"), &talkative()), told);
    let declined = answers(&Connect::new("c").no_problem_information(), &talkative());
    assert_eq!(
        declined,
        [
            "PUBACK #1 0x87",
            "PUBREC #2 0x87",
            "SUBACK #3 01",
            "UNSUBACK #4 11",
            "DISCONNECT 0x9C reason=\"why\" server-reference=other:1",
        ]
    );
    let off = answers(&Connect::new("c"), &Settings::default());
    assert_eq!(off[..4], declined[..4], "the operator wants none sent");
    assert_eq!(off[4], "DISCONNECT 0x9C server-reference=other:1");
}

#[test]
fn mqtt_3_4_2_2_and_3_5_2_2_and_3_9_2_1_and_3_11_2_1_and_3_14_2_3_a_reason_string_that_makes_it_too_large_is_left_out()
 {
    // With its text of three bytes a PUBACK has 12 bytes, a SUBACK 12, a DISCONNECT 20.
    let at = |maximum: u32| answers(&Connect::new("c").maximum_packet(maximum), &talkative());
    let all = at(20);
    assert!(all.iter().all(|line| line.contains("why")), "{all:?}");
    let without_in_disconnect = at(19);
    assert_eq!(without_in_disconnect[..4], all[..4]);
    assert_eq!(
        without_in_disconnect[4],
        "DISCONNECT 0x9C server-reference=other:1"
    );
    assert_eq!(
        at(11),
        [
            "PUBACK #1 0x87",
            "PUBREC #2 0x87",
            "SUBACK #3 01",
            "UNSUBACK #4 11",
            "DISCONNECT 0x9C",
        ]
    );
}

#[test]
fn a_client_that_takes_no_disconnect_at_all_is_sent_none() {
    let peer = Peer::with(&Connect::new("c").maximum_packet(2), talkative());
    let mut out = Vec::new();
    let goodbye = Goodbye::new(ReasonCode::SERVER_SHUTTING_DOWN);
    peer.connection.goodbye(&goodbye, &mut out);
    assert!(out.is_empty(), "{out:02x?}");
}
