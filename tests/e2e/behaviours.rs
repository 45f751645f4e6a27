//! Behaviours that users of mosquitto rely on, directive by directive: the same scenario is run
//! against Debian's mosquitto and against us, and what a client sees must be the same.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portcullis::auth::{HashAlgorithm, StoredHash};

use crate::support::raw::{Hello, Raw, ack, publish, subscribe};
use crate::support::site::{PASSWORD, PATIENCE, Site, eventually};
use crate::support::tools::Tool;

/// Debian's mosquitto on the port that the site does not use for itself.
struct Mosquitto(Child);

impl Mosquitto {
    fn start(site: &Site, conf: &str) -> Self {
        // Debian has it where only root's PATH looks.
        let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists())
            .expect("mosquitto; scripts/test.sh installs it");
        site.write("mosquitto.conf", conf);
        let log = std::fs::File::create(site.path("mosquitto.log")).expect("a log");
        let child = Command::new(program)
            .args(["-c", &site.path_text("mosquitto.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mosquitto starts");
        let started = Self(child);
        eventually("mosquitto runs", || {
            site.read("mosquitto.log").contains("running").then_some(())
        });
        started
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs `observe` against both; what is seen must be the same, and is given.
fn both(directives: &str, observe: impl Fn(u16) -> Vec<String>) -> Vec<String> {
    let (ours, theirs) = each(directives, observe);
    assert_eq!(ours, theirs, "ours and mosquitto's, with `{directives}`");
    ours
}

/// What `observe` sees at ours and at mosquitto, each with a listener on loopback, anonymous clients
/// and `directives`.
fn each<T>(directives: &str, observe: impl Fn(u16) -> T) -> (T, T) {
    let site = Site::new();
    let common = format!("allow_anonymous true\n{}", site.fill(directives));
    // mosquitto drops root for an account that cannot read the site.
    let conf = format!("user root\nlistener {} 127.0.0.1\n{common}", site.tls);
    let _mosquitto = Mosquitto::start(&site, &conf);
    let theirs = observe(site.tls);
    site.conf(&format!(
        "security_profile compatible\nlistener {{plain}} 127.0.0.1\n{common}"
    ));
    let _broker = site.start();
    (observe(site.plain), theirs)
}

/// A client of 3.1.1 or 5.0 without a name.
fn client(port: u16, version: u8, id: &str) -> Raw {
    Raw::hello(port, &Hello::nameless(version, id)).0
}

fn kept(port: u16, version: u8, id: &str) -> (Raw, bool) {
    Raw::hello(port, &Hello::nameless(version, id).kept())
}

/// CONNACK as the code and the properties that begin with one of `wanted`.
fn refusal(port: u16, hello: &Hello) -> String {
    let mut raw = Raw::plain(port, hello.version);
    raw.send(&hello.encode());
    let connack = raw.receive();
    assert_eq!(connack.kind(), 2, "{connack:02x?}");
    format!("version {}: {:#04x}", hello.version, connack.body[1])
}

/// Takes and acknowledges so many; gives the number.
fn messages_at_least(raw: &mut Raw, count: usize) -> usize {
    (0..count).map(|_| raw.message()).count()
}

/// Every message that is there, as `topic payload qos`, with an acknowledgement for each.
fn messages(raw: &mut Raw, count: usize) -> Vec<String> {
    let mut seen: Vec<String> = (0..count)
        .map(|_| {
            let message = raw.message();
            format!("{} {} q{}", message.topic, message.payload, message.qos)
        })
        .collect();
    raw.expect_silence();
    seen.push("and no more".into());
    seen
}

#[test]
fn max_inflight_messages_bounds_what_is_sent_before_an_acknowledgement() {
    // 2.0.11 sends one more after each acknowledgement than its manual says: there we do as it says.
    let window_after_ack = std::cell::Cell::new(0);
    let seen = both("max_inflight_messages 2", |port| {
        let mut receiver = client(port, 4, "r");
        receiver.subscribe(&[("t", 1)]);
        let mut sender = client(port, 4, "s");
        for id in 1..=4 {
            sender.publish_acked("t", &id.to_string(), id);
        }
        let mut seen = Vec::new();
        let first = receiver.unacknowledged();
        seen.push(first.payload);
        seen.push(receiver.unacknowledged().payload);
        receiver.expect_silence();
        receiver.send(&ack(0x40, first.id.expect("QoS 1")));
        seen.push(receiver.unacknowledged().payload);
        receiver.send(&[0xC0, 0]);
        let mut more = 0;
        while receiver.receive().kind() == 3 {
            more += 1;
        }
        window_after_ack.set(more);
        seen
    });
    assert_eq!(seen, ["1", "2", "3"]);
    assert_eq!(window_after_ack.get(), 0, "ours, which came second");
}

#[test]
fn max_queued_messages_bounds_what_waits_behind_what_is_in_flight() {
    let directives = "max_inflight_messages 2\nmax_queued_messages 3";
    let (ours, theirs) = each(directives, |port| {
        let mut receiver = client(port, 4, "r");
        receiver.subscribe(&[("t", 1)]);
        let mut sender = client(port, 4, "s");
        for id in 1..=8 {
            sender.publish_acked("t", &id.to_string(), id);
        }
        let mut count = messages_at_least(&mut receiver, 5);
        // What an acknowledgement lets out follows the answer to the first of two pings at latest.
        for _ in 0..2 {
            receiver.send(&[0xC0, 0]);
            while receiver.receive().kind() == 3 {
                count += 1;
            }
        }
        count
    });
    assert_eq!(ours, 5, "two in flight and three behind them");
    // 2.0.11 keeps one more.
    assert!((5..=6).contains(&theirs), "{theirs}");
}

#[test]
fn queue_qos0_messages_keeps_them_for_an_absent_client() {
    for (value, count) in [("false", 1), ("true", 2)] {
        both(&format!("queue_qos0_messages {value}"), |port| {
            let (mut receiver, _) = kept(port, 4, "r");
            receiver.subscribe(&[("t", 1)]);
            receiver.disconnect();
            let mut sender = client(port, 4, "s");
            sender.publish("t", "zero", 0, 0);
            sender.publish_acked("t", "one", 1);
            let (mut receiver, present) = kept(port, 4, "r");
            assert!(present);
            messages(&mut receiver, count)
        });
    }
}

#[test]
fn upgrade_outgoing_qos_delivers_with_the_qos_of_the_subscription() {
    for (value, expected) in [("true", "t x q2"), ("false", "t x q0")] {
        let seen = both(&format!("upgrade_outgoing_qos {value}"), |port| {
            let mut receiver = client(port, 4, "r");
            receiver.subscribe(&[("t", 2)]);
            client(port, 4, "s").publish("t", "x", 0, 0);
            messages(&mut receiver, 1)
        });
        assert_eq!(seen[0], expected);
    }
}

#[test]
fn allow_duplicate_messages_decides_what_overlapping_subscriptions_deliver() {
    for (value, count) in [("true", 2), ("false", 1)] {
        both(&format!("allow_duplicate_messages {value}"), |port| {
            let mut receiver = client(port, 4, "r");
            receiver.subscribe(&[("a/#", 1), ("a/b", 1)]);
            client(port, 4, "s").publish("a/b", "x", 1, 1);
            let mut seen = messages(&mut receiver, count);
            seen.sort();
            seen
        });
    }
}

#[test]
fn retain_available_false_refuses_retained_messages_and_wills() {
    both("retain_available false", |port| {
        let mut seen = Vec::new();
        for version in [4, 5] {
            let mut sender = client(port, version, "s");
            sender.publish_with("t", "x", 0, 0, true, &[]);
            let end = sender.next();
            seen.push(format!(
                "{:?}",
                end.map(|packet| (packet.first, packet.body[0]))
            ));
            let mut will = crate::support::raw::Will::new("w", "x");
            will.retain = true;
            let hello = Hello::nameless(5, "w").with_will(will);
            seen.push(refusal(port, &hello));
        }
        seen
    });
}

#[test]
fn max_qos_lowers_subscriptions_and_refuses_publications_and_wills_above_it() {
    let seen = both("max_qos 1", |port| {
        let mut seen = Vec::new();
        for version in [4, 5] {
            let mut sender = client(port, version, "s");
            seen.push(format!(
                "granted {:?}",
                sender.subscribe(&[("t", 2), ("u", 0)])
            ));
            sender.publish("t", "x", 2, 1);
            let end = sender.next();
            seen.push(format!(
                "{:?}",
                end.map(|packet| (packet.first, packet.body[0]))
            ));
        }
        let mut will = crate::support::raw::Will::new("w", "x");
        will.qos = 2;
        seen.push(refusal(port, &Hello::nameless(5, "w").with_will(will)));
        seen
    });
    assert_eq!(seen[0], "granted [1, 0]");
}

#[test]
fn max_keepalive_is_told_to_version_5_and_held_against_older_clients() {
    let (ours, mut theirs) = each("max_keepalive 10", |port| {
        [(4, 60), (4, 0), (4, 10), (5, 60), (5, 0), (5, 10)]
            .map(|(version, seconds)| {
                let mut hello = Hello::nameless(version, "k");
                hello.keep_alive_s = seconds;
                let mut raw = Raw::plain(port, version);
                raw.send(&hello.encode());
                let connack = raw.receive();
                let told = connack.body.windows(3).any(|part| part == [0x13, 0, 10]);
                format!("{version} {seconds}: {:#04x} {told}", connack.body[1])
            })
            .to_vec()
    });
    // Older clients are held to it since 2.1, and Debian's is 2.0.
    theirs[0] = "4 60: 0x02 false".into();
    theirs[1] = "4 0: 0x02 false".into();
    assert_eq!(ours, theirs);
}

#[test]
fn message_size_limit_acknowledges_and_does_not_route() {
    both("message_size_limit 3", |port| {
        let mut receiver = client(port, 4, "r");
        receiver.subscribe(&[("t", 1)]);
        let mut sender = client(port, 4, "s");
        sender.publish_acked("t", "four", 1);
        sender.publish_acked("t", "two", 2);
        messages(&mut receiver, 1)
    });
}

#[test]
fn clientid_prefixes_keeps_others_out() {
    both("clientid_prefixes ok-", |port| {
        [
            (4, "ok-1"),
            (5, "ok-1"),
            (4, "no-1"),
            (5, "no-1"),
            (4, "ok"),
        ]
        .map(|(version, id)| format!("{id} {}", refusal(port, &Hello::nameless(version, id))))
        .to_vec()
    });
}

#[test]
fn allow_zero_length_clientid_false_refuses_who_has_none() {
    for value in ["true", "false"] {
        let directive = format!("allow_zero_length_clientid {value}");
        let (ours, mut theirs) = each(&directive, |port| {
            [4, 5].map(|version| refusal(port, &Hello::nameless(version, "")))
        });
        // 2.0.11 says 0x80; 0x85 is what the standard has for it [MQTT-3.1.3-8].
        theirs[1] = theirs[1].replace("0x80", "0x85");
        assert_eq!(ours, theirs, "{directive}");
    }
}

#[test]
fn auto_id_prefix_begins_every_identifier_that_is_assigned() {
    let seen = both("auto_id_prefix site-", |port| {
        let mut raw = Raw::plain(port, 5);
        raw.send(&Hello::nameless(5, "").encode());
        let body = raw.receive().body;
        let at = body
            .windows(5)
            .position(|part| part == b"site-")
            .expect("it is told");
        // Identifier, length, text: a UUID behind the prefix.
        vec![format!("{:02x?}", &body[at - 3..at])]
    });
    assert_eq!(seen, ["[12, 00, 29]"]);
}

#[test]
fn sys_interval_publishes_the_same_topics_under_sys() {
    both("sys_interval 1", |port| {
        let topics = [
            "$SYS/broker/version",
            "$SYS/broker/uptime",
            "$SYS/broker/clients/connected",
            "$SYS/broker/clients/total",
            "$SYS/broker/messages/received",
            "$SYS/broker/messages/sent",
            "$SYS/broker/bytes/received",
            "$SYS/broker/subscriptions/count",
            "$SYS/broker/retained messages/count",
            "$SYS/broker/publish/messages/dropped",
            "$SYS/broker/load/messages/received/1min",
        ];
        topics
            .map(|topic| {
                let mut reader = client(port, 4, "r");
                reader.subscribe(&[(topic, 0)]);
                reader.message().topic
            })
            .to_vec()
    });
}

/// Users both brokers can read.
fn write_users(site: &Site, users: &[&str]) {
    let algorithm = HashAlgorithm::Pbkdf2 { rounds: 101 };
    let stored = StoredHash::create(PASSWORD.as_bytes(), algorithm).expect("a hash");
    let lines: Vec<String> = users
        .iter()
        .map(|user| format!("{user}:{}", stored.as_str()))
        .collect();
    site.write("passwd", &lines.join("\n"));
}

/// As [`both`], with users.
fn both_with_users(site: &Site, directives: &str, observe: impl Fn(u16) -> Vec<String>) {
    write_users(site, &["alice", "bob"]);
    let common = site.fill(&format!(
        "allow_anonymous false\npassword_file {{dir}}/passwd\n{directives}"
    ));
    let conf = format!("user root\nlistener {} 127.0.0.1\n{common}", site.tls);
    let _mosquitto = Mosquitto::start(site, &conf);
    let theirs = observe(site.tls);
    site.conf(&format!(
        "security_profile compatible\nlistener {{plain}} 127.0.0.1\n{common}"
    ));
    let _broker = site.start();
    assert_eq!(observe(site.plain), theirs, "with `{directives}`");
}

#[test]
fn use_username_as_clientid_makes_one_session_for_each_user() {
    let site = Site::new();
    both_with_users(&site, "use_username_as_clientid true", |port| {
        let (mut first, _) = Raw::hello(port, &Hello::new(5, "one", "alice"));
        let (mut other, _) = Raw::hello(port, &Hello::new(5, "two", "bob"));
        let (mut second, _) = Raw::hello(port, &Hello::new(5, "three", "alice"));
        // 2.0.11 closes without a word; we say 0x8E.
        while first.next().is_some() {}
        other.expect_silence();
        second.expect_silence();
        vec![refusal(port, &Hello::nameless(5, "four"))]
    });
}

#[test]
fn check_retain_source_withholds_what_its_author_may_no_longer_write() {
    let site = Site::new();
    let rules = "user bob\ntopic readwrite #\nuser alice\n";
    site.write("acl", &format!("{rules}topic write t/#\n"));
    write_users(&site, &["alice", "bob"]);
    let common = "allow_anonymous false\npassword_file {dir}/passwd\nacl_file {dir}/acl\n\
                  check_retain_source true\n";
    site.conf(&format!(
        "security_profile compatible\nlistener {{plain}} 127.0.0.1\n{common}audit_log {{dir}}/audit.log"
    ));
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(4, "a", "alice"));
    alice.publish_with("t/1", "kept", 0, 0, true, &[]);
    alice.expect_silence();
    let read = || {
        let (mut bob, _) = Raw::hello(site.plain, &Hello::new(4, "b", "bob"));
        bob.send(&subscribe(4, 1, &[("t/#", 0)], &[]));
        assert_eq!(bob.receive().first, 0x90);
        bob.send(&[0xC0, 0]);
        bob.receive().kind()
    };
    assert_eq!(read(), 3, "while she may write it");
    site.write("acl", rules);
    broker.reload();
    assert_eq!(read(), 13, "nothing comes before PINGRESP");
}

#[test]
fn mount_point_belongs_to_one_listener_and_its_clients_never_see_it() {
    let observe = |mounted: u16, outside: u16| {
        let mut inner = client(mounted, 4, "in");
        inner.subscribe(&[("t", 0)]);
        let mut outer = client(outside, 4, "out");
        outer.subscribe(&[("#", 0)]);
        inner.publish("t", "from within", 0, 0);
        let within = format!("{:?}", inner.message());
        let outside = outer.message().topic;
        outer.publish("site/t", "from without", 0, 0);
        outer.message();
        let without = format!("{:?}", inner.message());
        outer.publish("t", "elsewhere", 0, 0);
        outer.message();
        inner.expect_silence();
        [within, outside, without]
    };
    let site = Site::new();
    let listeners = |mounted: u16, outside: u16| {
        format!(
            "listener {mounted} 127.0.0.1\nmount_point site/\nlistener {outside} 127.0.0.1\n\
             allow_anonymous true\n"
        )
    };
    let theirs = {
        let conf = format!("user root\n{}", listeners(site.plain, site.tls));
        let _mosquitto = Mosquitto::start(&site, &conf);
        observe(site.plain, site.tls)
    };
    let _broker = {
        let conf = listeners(site.plain, site.tls);
        site.conf(&format!("security_profile compatible\n{conf}"));
        site.start()
    };
    let ours = observe(site.plain, site.tls);
    // 2.0.11 alone among its versions forgets to take the prefix off again.
    let theirs = theirs.map(|seen| seen.replace("topic: \"site/t\"", "topic: \"t\""));
    assert_eq!(ours, theirs);
    assert_eq!(ours[1], "site/t");
}

#[test]
fn a_unix_domain_socket_is_a_listener_for_mosquittos_own_clients() {
    let site = Site::new();
    let socket = site.path_text("mqtt.sock");
    site.conf(&format!(
        "security_profile compatible\nlistener 0 {socket}\nallow_anonymous true"
    ));
    let mut broker = site.start();
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("stdbuf");
        command
            .args(["-oL", program, "--unix", &socket])
            .args(arguments);
        Tool::start(command)
    };
    let receiver = run(
        "mosquitto_sub",
        &["-d", "-v", "-t", "t", "-q", "1", "-C", "1"],
    );
    receiver.until("Subscribed (mid: ");
    let sent = run(
        "mosquitto_pub",
        &["-t", "t", "-m", "over a file", "-q", "1"],
    )
    .finish();
    assert_eq!(sent.code, Some(0), "{}", sent.text);
    receiver.until("t over a file");
    assert!(broker.stop().success());
    assert!(
        !site.path("mqtt.sock").exists(),
        "the file goes with the broker"
    );
}

#[test]
fn a_socket_file_left_by_a_broker_that_was_killed_is_replaced_and_one_in_use_is_not() {
    let site = Site::new();
    let socket = site.path_text("mqtt.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    site.conf(&format!(
        "security_profile compatible\nlistener 0 {socket}\nallow_anonymous true"
    ));
    let _broker = site.start();
    let second = site.run_conf();
    assert_ne!(second.code, Some(0));
    assert!(second.err.contains("cannot listen on"), "{}", second.err);
}

#[test]
fn persistent_client_expiration_removes_the_session_of_a_client_that_stays_away() {
    let site = Site::new();
    site.conf(
        "security_profile compatible\nlistener {plain} 127.0.0.1\nallow_anonymous true\n\
         persistent_client_expiration 1s\nmetrics_listener {metrics} 127.0.0.1",
    );
    let broker = site.start();
    let (client, _) = kept(site.plain, 4, "away");
    client.disconnect();
    broker.metric_becomes("portcullis_sessions", 0.0);
    assert!(!kept(site.plain, 4, "away").1);
}

#[test]
fn global_max_connections_counts_over_all_listeners() {
    let site = Site::new();
    site.conf(
        "security_profile compatible\nlistener {plain} 127.0.0.1\nlistener {tls} 127.0.0.1\n\
         allow_anonymous true\nglobal_max_connections 2\nmetrics_listener {metrics} 127.0.0.1",
    );
    let broker = site.start();
    let first = client(site.plain, 5, "1");
    let _second = client(site.tls, 5, "2");
    let mut third = Raw::plain(site.tls, 5);
    drop(third.try_send(&Hello::nameless(5, "3").encode()));
    assert!(third.next().is_none(), "closed before anything is read");
    first.disconnect();
    broker.metric_becomes("portcullis_sessions_connected", 1.0);
    eventually("a place is free", || {
        let mut raw = Raw::plain(site.plain, 5);
        raw.wait_at_most(PATIENCE);
        raw.try_send(&Hello::nameless(5, "4").encode()).ok()?;
        raw.next().filter(|packet| packet.body[1] == 0)
    });
}

#[test]
fn each_listener_has_settings_of_its_own() {
    let site = Site::new();
    site.conf(
        "security_profile compatible\nallow_anonymous true\nlistener {plain} 127.0.0.1\nmax_qos 0\n\
         accept_protocol_versions 5\nmax_topic_alias 3\nlistener {tls} 127.0.0.1",
    );
    let _broker = site.start();
    assert_eq!(client(site.plain, 5, "a").subscribe(&[("t", 2)]), [0]);
    assert_eq!(client(site.tls, 5, "a").subscribe(&[("t", 2)]), [2]);
    assert_eq!(
        refusal(site.plain, &Hello::nameless(4, "a")),
        "version 4: 0x01"
    );
    let mut four = client(site.tls, 4, "b");
    four.expect_silence();
    let mut five = client(site.plain, 5, "c");
    five.send(&publish(5, "t", b"", 0, 0, false, &[0x23, 0, 4]));
    five.expect_disconnect(0x94);
    let mut five = client(site.tls, 5, "c");
    five.send(&publish(5, "t", b"", 0, 0, false, &[0x23, 0, 4]));
    five.wait_at_most(Duration::from_secs(10));
    five.expect_silence();
}
