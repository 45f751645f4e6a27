//! What the broker is for: nobody sees or sends more than was granted (requirements A1 to A9).

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw, Will, publish, subscribe};
use crate::support::site::Site;
use crate::support::tools::{By, publisher, subscriber};
use crate::support::tools::{Tool, mosquitto};

const NOT_AUTHORIZED: u8 = 0x87;

fn site(more: &str) -> Site {
    Site::with_users(&["inside", "alice", "bob"], ACL, more)
}

/// Filters that match more than alice's `demo/alice/answers/#`.
const ENUMERATING: [&str; 10] = [
    "#",
    "+/#",
    "demo/#",
    "demo/+/answers/#",
    "demo/alice/#",
    "demo/alice/+",
    "+/alice/answers/#",
    "demo/bob/answers/#",
    "$share/g/demo/#",
    "$SYS/#",
];

#[test]
fn enumeration_is_refused_at_subscribe_in_every_version() {
    let site = site("");
    let broker = site.start();
    for (version, code) in [(4, 0x80), (5, NOT_AUTHORIZED)] {
        let (mut alice, _) = Raw::hello(site.plain, &Hello::new(version, "a", "alice"));
        for filter in ENUMERATING {
            assert_eq!(alice.subscribe(&[(filter, 0)]), [code], "{filter}");
        }
        // One refusal does not take the others of the same packet with it.
        let mixed = [
            ("#", 0),
            ("demo/alice/answers/#", 1),
            ("demo/alice/answers/+/x", 0),
        ];
        assert_eq!(alice.subscribe(&mixed), [code, 1, 0]);
    }
    let denied = broker.audited("acl_denied", |line| line["topic"] == "#");
    assert_eq!(denied["action"], "subscribe");
    assert_eq!(denied["reason"], "wildcard");
    assert_eq!(denied["username"], "alice");
    assert!(broker.metric("portcullis_subscribe_denied_total{reason=\"wildcard\"}") >= 2.0);
}

#[test]
fn v31_5_a_client_whose_suback_cannot_say_no_is_disconnected_or_granted_nothing() {
    let disconnecting = site("");
    let broker = disconnecting.start();
    for filter in ENUMERATING {
        let (mut alice, _) = Raw::hello(disconnecting.plain, &Hello::new(3, "a", "alice"));
        alice.send(&subscribe(3, 7, &[(filter, 0)], &[]));
        alice.expect_end();
    }
    broker.audited("disconnect", |line| line["reason"] == "denied");
    let granting = site("mqtt31_denied_subscribe grant");
    let _broker = granting.start();
    let (mut alice, _) = Raw::hello(granting.plain, &Hello::new(3, "a", "alice"));
    assert_eq!(alice.subscribe(&[("#", 1)]), [1]);
    let sent = ["-q", "1", "-t", "demo/bob/answers/1", "-m", "for bob"];
    assert_eq!(
        publisher(&granting, By::Plain, "inside", &sent).code,
        Some(0)
    );
    alice.expect_silence();
}

#[test]
fn mosquitto_sub_of_everything_is_told_that_it_is_refused() {
    let site = site("");
    let _broker = site.start();
    for version in ["mqttv311", "mqttv5"] {
        let arguments = ["-V", version, "-t", "#"];
        let command = mosquitto("mosquitto_sub", &site, By::Tls, Some("alice"), &arguments);
        let ended = Tool::start(command).finish();
        assert!(
            ended.text.contains("All subscription requests were denied"),
            "{}",
            ended.text
        );
    }
}

#[test]
fn nothing_of_others_is_delivered_after_a_refused_subscription() {
    let site = site("");
    let _broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(4, "a", "alice"));
    assert_eq!(alice.subscribe(&[("#", 0)]), [0x80]);
    let sent = ["-q", "1", "-t", "demo/bob/answers/1", "-m", "for bob"];
    assert_eq!(publisher(&site, By::Plain, "inside", &sent).code, Some(0));
    alice.expect_silence();
}

#[test]
fn a_fake_answer_is_refused_and_never_arrives() {
    let site = site("");
    let broker = site.start();
    let bob_reads = ["-t", "demo/bob/answers/#"];
    let bob = subscriber(&site, By::Tls, "bob", &bob_reads);
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    assert_eq!(
        alice.publish_acked("demo/bob/answers/1", "fake", 1),
        NOT_AUTHORIZED
    );
    assert_eq!(
        alice.publish_acked("demo/alice/answers/1", "fake", 2),
        NOT_AUTHORIZED
    );
    // A 3.1.1 client cannot be told, and is acknowledged as mosquitto does.
    let (mut old, _) = Raw::hello(site.plain, &Hello::new(4, "old", "alice"));
    assert_eq!(old.publish_acked("demo/bob/answers/1", "fake", 1), 0);
    // The true answer comes first and alone.
    let sent = ["-q", "1", "-t", "demo/bob/answers/1", "-m", "true answer"];
    assert_eq!(publisher(&site, By::Tls, "inside", &sent).code, Some(0));
    assert!(bob.until("demo/bob/answers/1 ").ends_with("true answer"));
    let sample = "portcullis_acl_denied_total{action=\"publish\",reason=\"no_rule\"}";
    assert!(broker.metric(sample) >= 2.0);
}

#[test]
fn a_refused_publish_of_qos_2_ends_with_its_pubrec() {
    let site = site("");
    let _broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    alice.publish("demo/bob/answers/1", "fake", 2, 9);
    assert_eq!(alice.receive().body, [0, 9, NOT_AUTHORIZED]);
    // The identifier is free again [MQTT-4.3.3-4].
    alice.publish("demo/alice/requests/1", "real", 2, 9);
    assert_eq!(alice.receive().first, 0x50);
}

#[test]
fn an_operator_can_have_3x_clients_disconnected_for_a_refused_publish() {
    let site = site("mqtt3_denied_publish disconnect");
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(4, "a", "alice"));
    alice.publish("demo/bob/answers/1", "fake", 1, 1);
    alice.expect_end();
    broker.audited("disconnect", |line| line["reason"] == "denied");
}

#[test]
fn a_will_that_could_never_be_published_is_refused_at_connect() {
    let site = site("");
    let _broker = site.start();
    let will = Will::new("demo/bob/answers/1", "fake");
    let hello = Hello::new(5, "a", "alice").with_will(will);
    assert_eq!(Raw::refused(site.plain, &hello), NOT_AUTHORIZED);
    let old = Hello {
        version: 4,
        ..hello
    };
    assert_eq!(Raw::refused(site.plain, &old), 5);
}

#[test]
fn sys_and_control_are_closed_unless_granted() {
    let rules = format!("{ACL}\nuser bob\ntopic read $SYS/broker/uptime\n");
    let site = Site::with_users(&["inside", "alice", "bob"], &rules, "sys_interval 1");
    let _broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    let filters = [("$SYS/broker/uptime", 0), ("$CONTROL/#", 0), ("$SYS/#", 0)];
    assert_eq!(alice.subscribe(&filters), [NOT_AUTHORIZED; 3]);
    assert_eq!(
        alice.publish_acked("$SYS/broker/uptime", "0", 1),
        NOT_AUTHORIZED
    );
    assert_eq!(
        alice.publish_acked("$CONTROL/x/v1", "{}", 2),
        NOT_AUTHORIZED
    );
    let (mut bob, _) = Raw::hello(site.plain, &Hello::new(5, "b", "bob"));
    assert_eq!(bob.subscribe(&[("$SYS/broker/uptime", 0)]), [0]);
    assert!(bob.message().payload.contains("seconds"));
}

#[test]
fn without_an_acl_sys_is_readable_as_with_mosquitto_and_hash_does_not_include_it() {
    let site = Site::new();
    let broker = site.start_with(&["-p", &site.plain.to_string()]);
    let (mut client, _) = Raw::hello(site.plain, &Hello::nameless(4, "a"));
    assert_eq!(client.subscribe(&[("#", 0)]), [0]);
    client.publish("x", "mine", 0, 0);
    assert_eq!(client.message().topic, "x");
    drop(broker);
}

#[test]
fn filter_mode_accepts_the_subscription_and_holds_back_what_is_not_granted() {
    let site = site("subscribe_guard filter");
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    assert_eq!(alice.subscribe(&[("demo/#", 0)]), [0]);
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    assert_eq!(inside.publish_acked("demo/bob/answers/1", "for bob", 1), 0);
    assert_eq!(
        inside.publish_acked("demo/alice/answers/1", "for alice", 2),
        0
    );
    assert_eq!(alice.message().payload, "for alice");
    alice.expect_silence();
    drop(broker);
}

#[test]
fn report_mode_does_as_filter_and_tells_what_strict_would_refuse() {
    let site = site("subscribe_guard report");
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    assert_eq!(alice.subscribe(&[("demo/#", 0)]), [0]);
    let told = broker.audited("acl_denied", |line| line["topic"] == "demo/#");
    assert_eq!(told["decision"], "allow");
    assert_eq!(told["tags"][1], "detect-only");
}

#[test]
fn retained_messages_are_read_under_the_same_rules() {
    let site = site("subscribe_guard filter");
    let _broker = site.start();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(4, "i", "inside"));
    inside.send(&publish(
        4,
        "demo/bob/answers/r",
        b"for bob",
        1,
        1,
        true,
        &[],
    ));
    assert_eq!(inside.receive().first, 0x40);
    inside.send(&publish(
        4,
        "demo/alice/answers/r",
        b"for alice",
        1,
        2,
        true,
        &[],
    ));
    assert_eq!(inside.receive().first, 0x40);
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(4, "a", "alice"));
    assert_eq!(alice.subscribe(&[("demo/#", 0)]), [0]);
    assert_eq!(alice.message().payload, "for alice");
    alice.expect_silence();
}

#[test]
fn explain_says_what_the_gate_says_and_names_the_rule() {
    let site = site("");
    let conf = site.path_text("portcullis.conf");
    let explain = |action: &str, topic: &str| {
        let arguments = [
            "acl", "explain", "-c", &conf, "--user", "alice", "--client", "a", action, topic,
        ];
        site.run(&arguments)
    };
    let granted = explain("subscribe", "demo/alice/answers/1");
    assert_eq!(granted.code, Some(0), "{}", granted.err);
    assert!(granted.out.contains("acl.conf:4"), "{}", granted.out);
    let refused = explain("subscribe", "#");
    assert_ne!(refused.code, Some(0));
    assert!(refused.out.contains("also matches"), "{}", refused.out);
    let refused = explain("publish", "demo/bob/answers/1");
    assert!(refused.out.contains("no rule grants"), "{}", refused.out);
}
