//! Somebody tries doors: he is found, and thrown out where the operator says so.

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw};
use crate::support::site::{Broker, Site, eventually};

fn site(more: &str) -> Site {
    Site::with_users(&["inside", "alice", "bob"], ACL, more)
}

fn found(broker: &Broker<'_>, kind: &str) -> serde_json::Value {
    broker.metric_becomes(&format!("portcullis_misuse_total{{kind=\"{kind}\"}}"), 1.0);
    let told = broker.audited("misuse", |line| line["reason"] == kind);
    assert_eq!(told["severity"], "high");
    told
}

#[test]
fn refused_wildcards_are_an_event_of_high_severity_in_hardened_and_nobody_is_banned() {
    let site = site("");
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    for number in 0..12 {
        let filter = format!("demo/{number}/#");
        assert_eq!(alice.subscribe(&[(&filter, 0)]), [0x87]);
    }
    let told = found(&broker, "wildcards");
    assert_eq!(told["client_id"], "a");
    assert_eq!(told["count"], 10);
    assert_eq!(told["example"], "demo/9/#");
    assert_eq!(
        told["tags"],
        serde_json::json!(["mqtt", "detect-only", "acl-denied"])
    );
    alice.expect_silence();
    assert!(broker.metric("portcullis_bans_total").abs() < f64::EPSILON);
    // Once in its time.
    assert_eq!(broker.audit("misuse").len(), 1);
}

#[test]
fn who_tries_topics_is_banned_and_disconnected_where_the_operator_says_so() {
    let site = site("misuse_limit_topics 5 60 600\nban_file {dir}/bans.jsonl");
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    for id in 1..=5 {
        // The same one again is one topic.
        for _ in 0..3 {
            let topic = format!("demo/bob/answers/{id}");
            alice.publish(&topic, "x", 0, 0);
        }
    }
    let told = found(&broker, "topics");
    assert_eq!(told["decision"], "deny");
    alice.expect_disconnect(0x87);
    let mut again = Raw::plain(site.plain, 5);
    drop(again.try_send(&Hello::new(5, "b", "bob").encode()));
    assert!(again.next().is_none());
    eventually("the ban is written", || {
        let written = site.read("bans.jsonl");
        written.contains("\"misuse\"").then_some(())
    });
    broker.audited("banned", |line| line["reason"] == "misuse");
}

#[test]
fn one_user_with_many_client_ids_is_found() {
    let site = site("misuse_limit_client_ids 5 60");
    let broker = site.start();
    for id in ["q", "w", "e", "r", "t"] {
        let (alice, _) = Raw::hello(site.plain, &Hello::new(5, id, "alice"));
        alice.disconnect();
    }
    assert_eq!(found(&broker, "client_ids")["username"], "alice");
}

#[test]
fn client_ids_that_the_broker_makes_are_no_guesses() {
    let site = site("misuse_limit_client_ids 3 60\nmisuse_limit_sequence 3 60");
    let broker = site.start();
    for _ in 0..6 {
        let (alice, _) = Raw::hello(site.plain, &Hello::new(5, "", "alice"));
        alice.disconnect();
    }
    // Each in turn: what would have been told is told.
    let (bob, _) = Raw::hello(site.plain, &Hello::new(5, "last", "bob"));
    bob.disconnect();
    broker.audited("disconnect", |line| line["username"] == "bob");
    assert_eq!(broker.audit("misuse").len(), 0);
}

#[test]
fn client_ids_in_sequence_are_found_with_a_wrong_password_too() {
    let site =
        site("misuse_limit_sequence 4 60\nauth_failure_limit 0 60 60\nauth_failure_delay_ms 0 0");
    let broker = site.start();
    for number in 1..=4 {
        let hello = Hello {
            password: Some("wrong battery".into()),
            ..Hello::new(5, &format!("pump-{number:04}"), "alice")
        };
        assert_eq!(Raw::refused(site.plain, &hello), 0x86);
    }
    assert_eq!(found(&broker, "sequence")["example"], "pump-0004");
}

#[test]
fn two_clients_with_one_name_are_found_and_so_is_who_asks_for_the_sessions_of_others() {
    let site = site("misuse_limit_takeovers 3 60");
    let broker = site.start();
    let mut last = Raw::hello(site.plain, &Hello::new(5, "twin", "alice")).0;
    for _ in 0..3 {
        let (next, _) = Raw::hello(site.plain, &Hello::new(5, "twin", "alice"));
        last.expect_disconnect(0x8E);
        last = next;
    }
    assert_eq!(found(&broker, "takeovers")["client_id"], "twin");
    for _ in 0..3 {
        assert_eq!(
            Raw::refused(site.plain, &Hello::new(5, "twin", "bob")),
            0x87
        );
    }
    broker.metric_becomes("portcullis_misuse_total{kind=\"takeovers\"}", 2.0);
    broker.audited("misuse", |line| line["username"] == "bob");
}

#[test]
fn a_right_that_is_taken_away_is_no_misuse_of_the_client() {
    let site = site("misuse_limit_topics 2 60 600");
    let broker = site.start();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    let filters: Vec<String> = (0..5).map(|number| format!("demo/{number}")).collect();
    for filter in &filters {
        assert_eq!(inside.subscribe(&[(filter, 0)]), [0]);
    }
    site.write("acl.conf", "user inside\ntopic readwrite other/#\n");
    assert_eq!(broker.reload()["decision"], "allow");
    broker.metric_becomes("portcullis_subscriptions_lost_total", 5.0);
    inside.expect_silence();
    assert_eq!(broker.audit("misuse").len(), 0);
}
