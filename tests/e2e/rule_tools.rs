//! `portcullis acl`: rules checked, converted, and learned from what was used (requirements A7, A8, A25).

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw};
use crate::support::site::{Ended, Site};

const NOT_AUTHORIZED: u8 = 0x87;

fn findings(ended: &Ended) -> Vec<(u64, String, String)> {
    let whole: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    let text = |found: &serde_json::Value, key: &str| found[key].as_str().expect("text").to_owned();
    let list = whole["findings"].as_array().expect("a list").iter();
    list.map(|found| {
        let line = found["line"].as_u64().expect("a line");
        (line, text(found, "severity"), text(found, "name"))
    })
    .collect()
}

#[test]
fn a7_a8_the_traps_of_a_file_have_names_and_are_errors_in_hardened() {
    let site = Site::new();
    site.write(
        "acl.conf",
        "topic news\npattern read mcp/#\npattern deny plant/#\nuser eve\ntopic deny\ntopic read plant/1\n\
         topic readwrite mcp/request/mcp_client_001_*\ntopic deny a/#\ntopic read a/b\n",
    );
    let names = [
        (1, "rule-for-anonymous"),
        (2, "pattern-grants-everyone"),
        (5, "access-word-as-topic"),
        (6, "user-grant-beats-pattern-deny"),
        (7, "asterisk-is-literal"),
        (9, "shadowed-rule"),
    ];
    for (profile, code, severity) in [("hardened", 3, "error"), ("compatible", 0, "warning")] {
        let told = [
            "acl",
            "check",
            "acl.conf",
            "--json",
            "--security-profile",
            profile,
        ];
        let ended = site.run(&told);
        assert_eq!(ended.code, Some(code), "{}", ended.err);
        let expected: Vec<_> = names
            .iter()
            .map(|(line, name)| (*line, severity.to_owned(), (*name).to_owned()))
            .collect();
        assert_eq!(findings(&ended), expected);
    }
    let ended = site.run(&["acl", "check", "acl.conf"]);
    assert_eq!(ended.code, Some(3));
    assert!(
        ended
            .err
            .contains("acl.conf:2: error: pattern-grants-everyone: "),
        "{}",
        ended.err
    );
    assert_eq!(ended.out, "1 file(s), 6 error(s), 0 warning(s)\n");
    // They are told where a configuration is tested as well, and do not keep it from starting.
    site.users(&["eve"]);
    site.conf(crate::support::site::STANDARD);
    let ended = site.run(&["-c", "portcullis.conf", "--test-config"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(
        ended.err.contains("user-grant-beats-pattern-deny"),
        "{}",
        ended.err
    );
}

#[test]
fn errors_of_every_file_are_told_with_line_and_column() {
    let site = Site::new();
    site.write("good.conf", ACL);
    site.write("bad.conf", "user a\ntopic raed a b\n");
    site.write("outer.conf", "#!acl 2\ninclude inner.conf\n");
    site.write("inner.conf", "#!acl 2\nall\ntopic read a/*/b\n");
    let ended = site.run(&["acl", "check", "good.conf"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let ended = site.run(&["acl", "check", "bad.conf", "good.conf", "outer.conf"]);
    assert_eq!(ended.code, Some(3));
    for place in ["bad.conf:2:7: error: ", "inner.conf:3:14: error: "] {
        assert!(ended.err.contains(place), "{}", ended.err);
    }
    let ended = site.run(&["acl", "check", "bad.conf", "nowhere.conf"]);
    assert_eq!(ended.code, Some(13));
    assert!(
        ended.err.contains("nowhere.conf cannot be read"),
        "{}",
        ended.err
    );
}

#[test]
fn a_file_of_mosquittos_is_converted_or_it_is_said_why_not() {
    let site = Site::new();
    site.write("old.conf", &format!("# demo\n{ACL}"));
    let ended = site.run(&["acl", "convert", "old.conf", "-o", "new.conf"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert_eq!(
        site.read("new.conf"),
        "#!acl 2\n# demo\nuser inside\ntopic readwrite demo/#\n\nall\ntopic read demo/%u/answers/#\n\
         topic write demo/%u/requests/#\n"
    );
    let ended = site.run(&["acl", "check", "new.conf"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    site.write("old.conf", "pattern deny a/#\nuser u\ntopic read a/b\n");
    let ended = site.run(&["acl", "convert", "old.conf", "-o", "other.conf"]);
    assert_eq!(ended.code, Some(3));
    assert!(ended.err.contains("old.conf:3: error: "), "{}", ended.err);
    assert!(!site.path("other.conf").exists());
    let ended = site.run(&["acl", "convert", "--force", "old.conf"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.out.starts_with("#!acl 2\nall\n"), "{}", ended.out);
    site.write("old.conf", "tpic a\n");
    let ended = site.run(&["acl", "convert", "old.conf"]);
    assert_eq!(ended.code, Some(3));
    assert!(ended.err.contains("old.conf:1:1: error: "), "{}", ended.err);
}

/// A run in which everybody subscribes freely and nobody may publish.
fn observe(site: &Site) {
    let mut broker = site.start();
    let mut clients: Vec<Raw> = Vec::new();
    for (user, id) in [("alice", "a"), ("bob", "b")] {
        let (mut client, _) = Raw::hello(site.plain, &Hello::new(5, id, user));
        let own = format!("answers/{user}/#");
        assert_eq!(client.subscribe(&[(&own, 1)]), [1]);
        let request = format!("requests/{user}/{id}");
        assert_eq!(client.publish_acked(&request, "x", 2), NOT_AUTHORIZED);
        clients.push(client);
    }
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    let subscribed = [("requests/+/+", 0), ("$share/g/jobs/100%*", 0)];
    assert_eq!(inside.subscribe(&subscribed), [0, 0]);
    assert_eq!(
        inside.publish_acked("answers/alice/1", "x", 3),
        NOT_AUTHORIZED
    );
    inside.disconnect();
    broker.audited("disconnect", |line| line["client_id"] == "i");
    assert!(broker.stop().success());
}

#[test]
fn a25_what_a_reporting_run_used_is_learned_and_is_all_that_strict_then_allows() {
    let users = ["inside", "alice", "bob"];
    let site = Site::with_users(&users, "# nothing\n", "subscribe_guard report");
    observe(&site);
    let log = site.read("audit.log");
    site.write("audit.log", &format!("{log}not of the broker\n"));
    let ended = site.run(&["acl", "learn", "audit.log", "-o", "acl.conf"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(
        ended.err.contains("warning: 1 line(s) are no events"),
        "{}",
        ended.err
    );
    let learned = site.read("acl.conf");
    let rules: Vec<&str> = learned
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    assert_eq!(
        rules,
        [
            "user alice",
            "topic read answers/%u/#",
            "topic write requests/%u/%c",
            "user bob",
            "topic read answers/%u/#",
            "topic write requests/%u/%c",
            "user inside",
            "topic read requests/+/+",
            "topic read jobs/100%%%*",
            "topic write answers/alice/1",
        ]
    );
    let ended = site.run(&["acl", "learn", "audit.log", "--group-file", "groups"]);
    assert!(ended.out.contains("\ngroup learned-1\n"), "{}", ended.out);
    assert_eq!(
        site.read("groups"),
        "group learned-1\nuser alice\nuser bob\n"
    );
    let ended = site.run(&["acl", "check", "acl.conf"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let conf = site.read("portcullis.conf");
    site.write(
        "portcullis.conf",
        &conf.replace("subscribe_guard report", "subscribe_guard strict"),
    );
    let _broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    let wanted = [
        ("answers/alice/#", 1),
        ("answers/bob/#", 1),
        ("answers/#", 1),
        ("requests/alice/a", 0),
    ];
    assert_eq!(
        alice.subscribe(&wanted),
        [1, NOT_AUTHORIZED, NOT_AUTHORIZED, NOT_AUTHORIZED]
    );
    let mut publish = |topic, id| alice.publish_acked(topic, "x", id);
    assert_eq!(publish("requests/alice/a", 5), 0);
    assert_eq!(publish("requests/bob/b", 6), NOT_AUTHORIZED);
    assert_eq!(publish("requests/alice/b", 7), NOT_AUTHORIZED);
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    let subscribed = [
        ("requests/+/+", 0),
        ("$share/g/jobs/100%*", 0),
        ("jobs/+", 0),
    ];
    assert_eq!(inside.subscribe(&subscribed), [0, 0, NOT_AUTHORIZED]);
    assert_eq!(inside.publish_acked("answers/alice/1", "x", 3), 0);
    assert_eq!(
        inside.publish_acked("answers/bob/1", "x", 4),
        NOT_AUTHORIZED
    );
    assert_eq!(alice.message().topic, "answers/alice/1");
}

#[test]
fn a_log_that_names_no_use_teaches_nothing() {
    let site = Site::new();
    site.write(
        "audit.log",
        "{\"event\":\"start\",\"decision\":\"allow\"}\n",
    );
    let ended = site.run(&["acl", "learn", "audit.log", "-o", "acl.conf"]);
    assert_eq!(ended.code, Some(3));
    assert!(!site.path("acl.conf").exists());
    let ended = site.run(&["acl", "learn", "nowhere.log"]);
    assert_eq!(ended.code, Some(13));
}

#[test]
fn a25_what_the_rules_of_a_reporting_run_granted_to_publish_is_learned_too() {
    let wide = "user alice\ntopic readwrite #\n";
    let site = Site::with_users(&["alice"], wide, "subscribe_guard report");
    let mut broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    for topic in ["plant/1", "plant/1", "plant/2", "plant/1"] {
        assert_eq!(alice.publish_acked(topic, "x", 1), 0);
    }
    assert_eq!(alice.subscribe(&[("orders/+", 0)]), [0]);
    alice.disconnect();
    assert!(broker.stop().success());
    let told = broker.audit("publish");
    assert_eq!(told.len(), 2, "each topic once in a while: {told:?}");
    let ended = site.run(&["acl", "learn", "audit.log"]);
    let expected = "user alice\ntopic read orders/+\ntopic write plant/1\ntopic write plant/2\n";
    assert!(ended.out.ends_with(expected), "{}", ended.out);
}
