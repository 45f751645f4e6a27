//! Sessions over connections: kept, resumed, taken over and refused, with the real program.

use nix::sys::signal::Signal;

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw, Will, ack, publish};
use crate::support::site::Site;
use crate::support::tools::{By, Tool, mosquitto, publisher};

fn site(more: &str) -> Site {
    Site::with_users(&["inside", "alice", "bob"], ACL, more)
}

const ANSWERS: &str = "demo/alice/answers/#";
const ANSWER: &str = "demo/alice/answers/1";

#[test]
fn a_persistent_session_gets_what_came_while_it_was_away() {
    let site = site("");
    let _broker = site.start();
    for version in ["mqttv311", "mqttv5"] {
        let id = format!("kept-{version}");
        let mut arguments = vec!["-V", version, "-i", &id, "-c", "-q", "1", "-t", ANSWERS];
        if version == "mqttv5" {
            arguments.extend(["-x", "3600"]);
        }
        let mut leaving = arguments.clone();
        leaving.push("-E");
        let command = mosquitto("mosquitto_sub", &site, By::Tls, Some("alice"), &leaving);
        assert_eq!(Tool::start(command).finish().code, Some(0));
        for number in 0..3 {
            let text = format!("message {number}");
            let sent = ["-q", "1", "-t", ANSWER, "-m", &text];
            assert_eq!(publisher(&site, By::Tls, "inside", &sent).code, Some(0));
        }
        // What waits for it comes before its new subscription is acknowledged.
        let command = mosquitto("mosquitto_sub", &site, By::Tls, Some("alice"), &arguments);
        let waiting = Tool::start(command);
        for number in 0..3 {
            waiting.until(&format!("message {number}"));
        }
    }
}

#[test]
fn what_was_not_acknowledged_comes_again_with_dup_and_its_identifier() {
    let site = site("");
    let _broker = site.start();
    for version in [4, 5] {
        let id = format!("again-{version}");
        let hello = Hello::new(version, &id, "alice").kept();
        let (mut alice, present) = Raw::hello(site.plain, &hello);
        assert!(!present);
        assert_eq!(alice.subscribe(&[(ANSWERS, 2)]), [2]);
        let (mut inside, _) = Raw::hello(site.plain, &Hello::new(4, "i", "inside"));
        assert_eq!(inside.publish_acked(ANSWER, "one", 1), 0);
        inside.publish(ANSWER, "two", 2, 2);
        assert_eq!(inside.receive().first, 0x50);
        let (one, two) = (alice.unacknowledged(), alice.unacknowledged());
        // PUBREC only: the second is in the middle of its exchange.
        alice.send(&ack(0x50, two.id.expect("an identifier")));
        assert_eq!(alice.receive().first, 0x62);
        alice.vanish();
        let (mut alice, present) = Raw::hello(site.plain, &hello);
        assert!(present);
        let again = alice.unacknowledged();
        assert_eq!(
            (again.id, again.dup, &again.payload),
            (one.id, true, &one.payload)
        );
        // Not the PUBLISH but the PUBREL is sent again [MQTT-4.4.0-1].
        let pubrel = alice.receive();
        assert_eq!(pubrel.first, 0x62);
        assert_eq!(
            pubrel.body[..2],
            two.id.expect("an identifier").to_be_bytes()
        );
    }
}

#[test]
fn the_same_identity_takes_its_session_over_and_the_old_connection_is_told() {
    let site = site("");
    let broker = site.start();
    let hello = Hello::new(5, "one-id", "alice").kept();
    let (mut first, _) = Raw::hello(site.plain, &hello);
    assert_eq!(first.subscribe(&[(ANSWERS, 1)]), [1]);
    let (mut second, present) = Raw::hello(site.plain, &hello);
    assert!(present);
    first.expect_disconnect(0x8E);
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    assert_eq!(inside.publish_acked(ANSWER, "for the second", 1), 0);
    assert_eq!(second.message().payload, "for the second");
    assert!(broker.metric("portcullis_takeovers_total") >= 1.0);
}

#[test]
fn another_identity_cannot_take_a_session_and_does_not_disturb_it() {
    let site = site("");
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "one-id", "alice"));
    assert_eq!(alice.subscribe(&[(ANSWERS, 1)]), [1]);
    assert_eq!(
        Raw::refused(site.plain, &Hello::new(5, "one-id", "bob")),
        0x87
    );
    assert_eq!(Raw::refused(site.plain, &Hello::new(4, "one-id", "bob")), 5);
    alice.expect_silence();
    let told = broker.audited("takeover_refused", |line| line["username"] == "bob");
    assert_eq!(told["client_id"], "one-id");
    assert_eq!(told["reason"], "session_owner");
    // Parked sessions are not free to take either.
    let kept = Hello::new(5, "parked-id", "alice").kept();
    Raw::hello(site.plain, &kept).0.disconnect();
    assert_eq!(
        Raw::refused(site.plain, &Hello::new(5, "parked-id", "bob")),
        0x87
    );
}

#[test]
fn a_will_with_delay_waits_and_a_return_cancels_it() {
    let site = site("");
    let _broker = site.start();
    let (mut watching, _) = Raw::hello(site.plain, &Hello::new(5, "w", "inside"));
    assert_eq!(watching.subscribe(&[("demo/+/requests/gone", 0)]), [0]);
    let will = |seconds: u8| Will {
        properties: vec![0x18, 0, 0, 0, seconds],
        ..Will::new("demo/alice/requests/gone", "gone")
    };
    let patient = Hello::new(5, "patient", "alice").kept().with_will(will(60));
    Raw::hello(site.plain, &patient).0.vanish();
    watching.expect_silence();
    let (back, present) = Raw::hello(
        site.plain,
        &Hello {
            will: None,
            ..patient
        },
    );
    assert!(present);
    back.disconnect();
    watching.expect_silence();
    let hasty = Hello::new(5, "hasty", "alice").kept().with_will(will(1));
    Raw::hello(site.plain, &hasty).0.vanish();
    assert_eq!(watching.message().payload, "gone");
}

#[test]
fn goodbye_forgets_the_will_unless_it_asks_for_it() {
    let site = site("");
    let _broker = site.start();
    let (mut watching, _) = Raw::hello(site.plain, &Hello::new(5, "w", "inside"));
    assert_eq!(watching.subscribe(&[("demo/+/requests/gone", 0)]), [0]);
    let will = Will::new("demo/alice/requests/gone", "gone");
    let hello = Hello::new(5, "polite", "alice").with_will(will);
    Raw::hello(site.plain, &hello).0.disconnect();
    watching.expect_silence();
    let (mut asking, _) = Raw::hello(site.plain, &hello);
    asking.send(&[0xE0, 1, 0x04]);
    assert_eq!(watching.message().payload, "gone");
}

#[test]
fn a_message_expires_on_the_way_and_the_rest_of_its_time_is_told() {
    let site = site("");
    let _broker = site.start();
    let hello = Hello::new(5, "e", "alice").kept();
    let (mut alice, _) = Raw::hello(site.plain, &hello);
    assert_eq!(alice.subscribe(&[(ANSWERS, 1)]), [1]);
    alice.vanish();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    for (id, seconds, payload) in [(1, 1, "short"), (2, 100, "long")] {
        inside.send(&publish(
            5,
            ANSWER,
            payload.as_bytes(),
            1,
            id,
            false,
            &[2, 0, 0, 0, seconds],
        ));
        assert_eq!(inside.receive().first, 0x40);
    }
    // The time of the first has to pass; it is the one thing to wait for here.
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let (mut alice, _) = Raw::hello(site.plain, &hello);
    let left = alice.message();
    assert_eq!(left.payload, "long");
    assert_eq!(left.properties[..4], [2, 0, 0, 0]);
    assert!((90..100).contains(&left.properties[4]), "{left:?}");
}

#[test]
fn topic_aliases_and_subscription_identifiers_work_both_ways() {
    let site = site("");
    let _broker = site.start();
    let hello = Hello::new(5, "a", "alice").with_property(&[0x22, 0, 10]);
    let (mut alice, _) = Raw::hello(site.plain, &hello);
    alice.send(&crate::support::raw::subscribe(
        5,
        7,
        &[(ANSWERS, 0)],
        &[0x0B, 42],
    ));
    assert_eq!(alice.receive().body[3], 0);
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    inside.send(&publish(
        5,
        ANSWER,
        b"with name",
        0,
        0,
        false,
        &[0x23, 0, 1],
    ));
    inside.send(&publish(5, "", b"with alias", 0, 0, false, &[0x23, 0, 1]));
    let first = alice.message();
    assert_eq!(
        (first.topic.as_str(), first.payload.as_str()),
        (ANSWER, "with name")
    );
    assert!(first.properties.windows(2).any(|pair| pair == [0x0B, 42]));
    assert_eq!(alice.message().payload, "with alias");
}

#[test]
fn a_client_without_an_id_is_given_one() {
    let site = site("");
    let _broker = site.start();
    let mut raw = Raw::plain(site.plain, 5);
    raw.send(&Hello::new(5, "", "alice").encode());
    let connack = raw.receive();
    assert_eq!(connack.body[1], 0);
    assert!(connack.body[3..].contains(&0x12), "{connack:02x?}");
    // 3.1.1 allows it for clean sessions only [MQTT-3.1.3-8].
    Raw::hello(site.plain, &Hello::new(4, "", "alice"));
    let unclean = Hello {
        clean: false,
        ..Hello::new(4, "", "alice")
    };
    assert_eq!(Raw::refused(site.plain, &unclean), 2);
}

#[test]
fn at_sigterm_5_0_clients_hear_that_the_server_shuts_down_and_the_exit_code_is_0() {
    let site = site("");
    let mut broker = site.start();
    let (mut new, _) = Raw::hello(site.plain, &Hello::new(5, "new", "alice"));
    let (mut old, _) = Raw::hello(site.plain, &Hello::new(4, "old", "alice"));
    broker.signal(Signal::SIGTERM);
    new.expect_disconnect(0x8B);
    old.expect_end();
    assert_eq!(broker.wait().code(), Some(0));
    assert_eq!(broker.audit("stop").len(), 1);
}
