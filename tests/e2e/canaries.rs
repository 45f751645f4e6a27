//! Traps: topics that nobody has any business with, and users that nobody is.

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw, Will};
use crate::support::site::Site;
use crate::support::tools::{By, publisher};

fn site(more: &str) -> Site {
    let more = format!(
        "canary_topic demo/admin/#\ncanary_topic demo/alice/requests/trap\ncanary_user root\n{more}"
    );
    Site::with_users(&["inside", "alice", "bob"], ACL, &more)
}

const TOPIC: &str = "portcullis_canary_touched_total{kind=\"topic\"}";
const USER: &str = "portcullis_canary_touched_total{kind=\"user\"}";

#[test]
fn a_publish_to_a_canary_is_told_whether_it_is_allowed_or_not() {
    let site = site("");
    let broker = site.start();
    // Not allowed, by a program people have.
    publisher(
        &site,
        By::Tls,
        "alice",
        &["-t", "demo/admin/stop", "-m", "x"],
    );
    let told = broker.audited("canary", |line| line["topic"] == "demo/admin/stop");
    assert_eq!(told["severity"], "high");
    assert_eq!(told["decision"], "deny");
    assert_eq!(told["action"], "publish");
    assert_eq!(told["username"], "alice");
    assert_eq!(
        told["tags"],
        serde_json::json!(["mqtt", "detect-only", "acl-denied"])
    );
    broker.metric_becomes(TOPIC, 1.0);
    // Allowed: told once while the client goes on with it, and again when it comes back to it.
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    for id in 1..=3 {
        assert_ne!(
            alice.publish_acked("demo/alice/requests/trap", "x", id) & 0x80,
            0x80
        );
    }
    let told = broker.audited("canary", |line| line["decision"] == "allow");
    assert_eq!(told["topic"], "demo/alice/requests/trap");
    broker.metric_becomes(TOPIC, 2.0);
    alice.publish_acked("demo/alice/requests/1", "x", 4);
    alice.publish_acked("demo/alice/requests/trap", "x", 5);
    broker.metric_becomes(TOPIC, 3.0);
    alice.expect_silence();
}

#[test]
fn a_subscription_that_could_match_a_canary_is_told_and_one_that_cannot_is_not() {
    let site = site("");
    let broker = site.start();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    assert_eq!(inside.subscribe(&[("demo/bob/#", 0)]), [0]);
    assert_eq!(inside.subscribe(&[("$share/g/demo/+/x", 0)]), [0]);
    let told = broker.audited("canary", |_| true);
    assert_eq!(told["topic"], "$share/g/demo/+/x");
    assert_eq!(
        (&told["action"], &told["decision"]),
        (&"subscribe".into(), &"allow".into())
    );
    let (mut bob, _) = Raw::hello(site.plain, &Hello::new(5, "b", "bob"));
    assert_eq!(bob.subscribe(&[("#", 0)]), [0x87]);
    let told = broker.audited("canary", |line| line["username"] == "bob");
    assert_eq!(told["decision"], "deny");
    broker.metric_becomes(TOPIC, 2.0);
}

#[test]
fn a_will_for_a_canary_is_told_when_it_is_left() {
    let site = site("");
    let broker = site.start();
    let hello = Hello::new(5, "a", "alice");
    let (alice, _) = Raw::hello(
        site.plain,
        &hello
            .clone()
            .with_will(Will::new("demo/alice/requests/trap", "x")),
    );
    let told = broker.audited("canary", |line| line["action"] == "will");
    assert_eq!(told["decision"], "allow");
    alice.disconnect();
    let refused = hello.with_will(Will::new("demo/admin/stop", "x"));
    assert_eq!(Raw::refused(site.plain, &refused), 0x87);
    broker.audited("canary", |line| line["decision"] == "deny");
}

#[test]
fn who_says_to_be_a_canary_is_told_and_sees_no_difference() {
    let site = site("auth_failure_delay_ms 0 0");
    let broker = site.start();
    assert_eq!(Raw::refused(site.plain, &Hello::new(5, "r", "root")), 0x86);
    assert_eq!(
        Raw::refused(site.plain, &Hello::new(5, "r", "nobody")),
        0x86
    );
    let told = broker.audited("canary", |_| true);
    assert_eq!(
        (&told["username"], &told["reason"]),
        (&"root".into(), &"user".into())
    );
    broker.metric_becomes(USER, 1.0);
    assert_eq!(broker.audit("canary").len(), 1);
    assert!(broker.metric("portcullis_bans_total").abs() < f64::EPSILON);
}

#[test]
fn who_touches_a_canary_is_banned_and_gone_where_the_operator_says_so() {
    let site = site("canary_ban 600");
    let broker = site.start();
    let (mut bob, _) = Raw::hello(site.plain, &Hello::new(5, "b", "bob"));
    bob.publish("demo/admin/x", "x", 0, 0);
    broker.audited("banned", |line| line["reason"] == "canary");
    bob.expect_disconnect(0x87);
    let mut again = Raw::plain(site.plain, 5);
    drop(again.try_send(&Hello::new(5, "b", "bob").encode()));
    assert!(again.next().is_none());
}

#[test]
fn a_reload_sets_a_trap_under_a_client_that_is_at_its_topic_already() {
    let site = site("");
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    alice.publish_acked("demo/alice/requests/1", "x", 1);
    let conf = site.read("portcullis.conf");
    site.write(
        "portcullis.conf",
        &format!("{conf}\ncanary_topic demo/alice/requests/1\n"),
    );
    assert_eq!(broker.reload()["decision"], "allow");
    alice.publish_acked("demo/alice/requests/1", "x", 2);
    broker.audited("canary", |line| line["topic"] == "demo/alice/requests/1");
}

#[test]
fn a_canary_that_is_no_filter_is_an_error_at_its_place() {
    let site = site("canary_topic a/#/b");
    let ended = site.run_conf();
    assert_eq!(ended.code, Some(3));
    assert!(
        ended.err.contains("`a/#/b`: # must be the last level"),
        "{}",
        ended.err
    );
}
