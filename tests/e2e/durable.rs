//! The store under the real program: what is kept over a kill, and what is said when it cannot be.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw, Will, ack};
use crate::support::site::{Broker, Site, eventually};

const KEPT: &str = "persistence true\npersistence_location {dir}\n";
const ANSWERS: &str = "demo/alice/answers/#";
const ANSWER: &str = "demo/alice/answers/1";

fn site(more: &str) -> Site {
    let site = Site::with_users(&["inside", "alice", "bob"], ACL, &format!("{KEPT}{more}"));
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(site.dir(), mode).expect("the directory is ours");
    site
}

fn kill(mut broker: Broker<'_>) {
    broker.signal(Signal::SIGKILL);
    broker.wait();
}

fn inside(site: &Site) -> Raw {
    Raw::hello(site.plain, &Hello::new(5, "i", "inside")).0
}

fn away(site: &Site, hello: &Hello, filters: &[(&str, u8)]) {
    let (mut client, _) = Raw::hello(site.plain, hello);
    for code in client.subscribe(filters) {
        assert!(code <= 2, "refused with {code:#x}");
    }
    client.disconnect();
}

#[test]
fn a_killed_broker_comes_back_with_sessions_queues_and_retained_messages() {
    let site = site("");
    let hello = Hello::new(5, "kept", "alice").kept();
    let broker = site.start();
    away(&site, &hello, &[(ANSWERS, 2)]);
    let mut publisher = inside(&site);
    for number in 0..5 {
        assert_eq!(
            publisher.publish_acked(ANSWER, &format!("message {number}"), 1),
            0
        );
    }
    publisher.publish_with("demo/alice/answers/kept", "last", 1, 2, true, &[]);
    assert_eq!(publisher.receive().first, 0x40);
    kill(broker);

    let _broker = site.start();
    let (mut client, present) = Raw::hello(site.plain, &hello);
    assert!(present);
    for number in 0..5 {
        assert_eq!(client.message().payload, format!("message {number}"));
    }
    assert_eq!(client.message().payload, "last");
    let (mut other, _) = Raw::hello(site.plain, &Hello::new(5, "other", "alice"));
    assert_eq!(other.subscribe(&[("demo/alice/answers/kept", 1)]), [1]);
    let retained = other.message();
    assert_eq!((retained.payload.as_str(), retained.retain), ("last", true));
    // And its subscription takes what is new.
    assert_eq!(inside(&site).publish_acked(ANSWER, "after", 3), 0);
    assert_eq!(client.message().payload, "after");
}

#[test]
fn an_exchange_goes_on_after_a_kill_with_its_packet_identifier() {
    let site = site("");
    let hello = Hello::new(5, "exchange", "alice").kept();
    let broker = site.start();
    let (mut client, _) = Raw::hello(site.plain, &hello);
    assert_eq!(client.subscribe(&[(ANSWERS, 2)]), [2]);
    let mut publisher = inside(&site);
    for text in ["one", "two"] {
        publisher.publish(ANSWER, text, 2, 9);
        assert_eq!(publisher.receive().first, 0x50);
        publisher.send(&ack(0x62, 9));
        assert_eq!(publisher.receive().first, 0x70);
    }
    let (one, two) = (client.unacknowledged(), client.unacknowledged());
    client.send(&ack(0x50, two.id.expect("an identifier")));
    assert_eq!(client.receive().first, 0x62);
    kill(broker);

    let _broker = site.start();
    let (mut client, present) = Raw::hello(site.plain, &hello);
    assert!(present);
    // Each comes again as what it was: a PUBLISH with DUP, and a PUBREL.
    let again = [client.receive(), client.receive()];
    let publish = again
        .iter()
        .find(|packet| packet.kind() == 3)
        .expect("a PUBLISH");
    let publish = publish.publish(5);
    assert_eq!(
        (publish.id, publish.dup, publish.payload.as_str()),
        (one.id, true, "one")
    );
    let pubrel = again
        .iter()
        .find(|packet| packet.first == 0x62)
        .expect("a PUBREL");
    assert_eq!(
        pubrel.body[..2],
        two.id.expect("an identifier").to_be_bytes()
    );
}

#[test]
fn a_qos_2_message_that_was_taken_is_not_taken_again_after_a_kill() {
    let site = site("");
    let broker = site.start();
    away(
        &site,
        &Hello::new(5, "reader", "alice").kept(),
        &[(ANSWERS, 2)],
    );
    let hello = Hello::new(5, "writer", "inside").kept();
    let (mut writer, _) = Raw::hello(site.plain, &hello);
    writer.publish(ANSWER, "once", 2, 5);
    assert_eq!(writer.receive().first, 0x50);
    kill(broker);

    let _broker = site.start();
    let (mut writer, present) = Raw::hello(site.plain, &hello);
    assert!(present);
    writer.publish(ANSWER, "once", 2, 5);
    assert_eq!(writer.receive().first, 0x50);
    writer.send(&ack(0x62, 5));
    assert_eq!(writer.receive().first, 0x70);
    let (mut reader, _) = Raw::hello(site.plain, &Hello::new(5, "reader", "alice").kept());
    assert_eq!(reader.message().payload, "once");
    reader.expect_silence();
}

#[test]
fn what_was_ended_does_not_come_back() {
    let site = site("");
    let broker = site.start();
    let hello = Hello::new(5, "ends", "alice").kept();
    let (mut client, _) = Raw::hello(site.plain, &hello);
    client.subscribe(&[(ANSWERS, 1), ("demo/alice/answers/1", 1)]);
    client.send(&crate::support::raw::packet(
        0xA2,
        &[&[0, 9, 0, 0, 20][..], b"demo/alice/answers/1"].concat(),
    ));
    assert_eq!(client.receive().first, 0xB0);
    client.disconnect();
    // One that starts clean, and one whose session ends with the connection.
    let other = Hello::new(5, "clean", "alice").kept();
    away(&site, &other, &[(ANSWERS, 1)]);
    away(&site, &Hello::new(5, "clean", "alice"), &[(ANSWERS, 1)]);
    assert_eq!(inside(&site).publish_acked(ANSWER, "one", 1), 0);
    kill(broker);

    let _broker = site.start();
    let (_, present) = Raw::hello(site.plain, &other);
    assert!(!present);
    let (mut client, present) = Raw::hello(site.plain, &hello);
    assert!(present);
    assert_eq!(client.message().payload, "one");
    client.expect_silence();
}

#[test]
fn a_session_that_expires_while_the_broker_is_down_is_gone() {
    let site = site("");
    let broker = site.start();
    let mut hello = Hello::new(5, "short", "alice");
    hello.clean = false;
    let hello = hello.with_property(&[0x11, 0, 0, 0, 1]);
    away(&site, &hello, &[(ANSWERS, 1)]);
    broker.metric_becomes("portcullis_connections", 0.0);
    // When this is kept, all before it is.
    assert_eq!(inside(&site).publish_acked(ANSWER, "one", 1), 0);
    kill(broker);
    std::thread::sleep(Duration::from_millis(1_200));
    let _broker = site.start();
    assert!(!Raw::hello(site.plain, &hello).1);
}

#[test]
fn the_will_of_a_client_is_published_after_the_broker_was_killed() {
    let site = site("");
    let broker = site.start();
    away(
        &site,
        &Hello::new(5, "watcher", "alice").kept(),
        &[(ANSWERS, 1)],
    );
    let mut will = Will::new(ANSWER, "gone");
    will.qos = 1;
    let hello = Hello::new(5, "i", "inside").with_will(will);
    let (mut connected, _) = Raw::hello(site.plain, &hello);
    // One that says goodbye leaves none.
    let mut will = Will::new(ANSWER, "never");
    will.qos = 1;
    let (leaving, _) = Raw::hello(site.plain, &Hello::new(5, "j", "inside").with_will(will));
    leaving.disconnect();
    eventually("one client is left", || {
        (broker.metric("portcullis_connections") < 2.0).then_some(())
    });
    // When this is kept, all before it is.
    assert_eq!(connected.publish_acked(ANSWER, "still here", 1), 0);
    kill(broker);

    let _broker = site.start();
    let (mut watcher, _) = Raw::hello(site.plain, &Hello::new(5, "watcher", "alice").kept());
    assert_eq!(watcher.message().payload, "still here");
    assert_eq!(watcher.message().payload, "gone");
    watcher.expect_silence();
}

#[test]
fn a_long_queue_waits_on_the_disk_and_comes_in_order() {
    const COUNT: usize = 3_000;
    let site = site("max_queued_messages 10000\nmax_queued_bytes 100000000\n");
    let hello = Hello::new(5, "long", "alice").kept();
    let broker = site.start();
    away(&site, &hello, &[(ANSWERS, 1)]);
    let mut publisher = inside(&site);
    let fill = "x".repeat(2_000);
    for batch in 0..COUNT / 10 {
        for number in 0..10 {
            let text = format!("{} {fill}", batch * 10 + number);
            publisher.publish(ANSWER, &text, 1, u16::try_from(number + 1).expect("small"));
        }
        for _ in 0..10 {
            assert_eq!(publisher.receive().first, 0x40);
        }
    }
    assert!(broker.metric("portcullis_queued_messages") >= 3_000.0);
    kill(broker);
    let broker = site.start();
    let (mut client, _) = Raw::hello(site.plain, &hello);
    for number in 0..COUNT {
        let text = client.message().payload;
        assert!(
            text.starts_with(&format!("{number} ")),
            "{number}: {}",
            &text[..20]
        );
    }
    client.expect_silence();
    broker.metric_becomes("portcullis_store_queued_messages", 0.0);
}

#[test]
fn the_oldest_makes_room_where_the_operator_says_so() {
    let site = site("max_queued_messages 3\n");
    site.on_plain_listener("queue_overflow drop_oldest");
    let hello = Hello::new(5, "overflow", "alice").kept();
    let _broker = site.start();
    away(&site, &hello, &[(ANSWERS, 1)]);
    let mut publisher = inside(&site);
    for number in 0..8 {
        assert_eq!(publisher.publish_acked(ANSWER, &number.to_string(), 1), 0);
    }
    let (mut client, _) = Raw::hello(site.plain, &hello);
    for number in 5..8 {
        assert_eq!(client.message().payload, number.to_string());
    }
    client.expect_silence();
}

#[test]
fn a_store_without_room_refuses_what_it_would_have_to_keep_and_says_so() {
    let site = site("store_max_messages 4\n");
    let broker = site.start();
    let hello = Hello::new(5, "slow", "alice").kept();
    away(&site, &hello, &[(ANSWERS, 1)]);
    let mut publisher = inside(&site);
    for number in 0..4 {
        assert_eq!(publisher.publish_acked(ANSWER, &number.to_string(), 1), 0);
    }
    let refused = eventually("the store is full", || {
        let code = publisher.publish_acked(ANSWER, "more", 1);
        (code != 0).then_some(code)
    });
    assert_eq!(refused, 0x97);
    assert!(broker.http("/readyz").contains("the store has no room"));
    broker.metric_becomes("portcullis_store_full", 1.0);
    // New sessions and subscriptions are refused, and a 3.1.1 client is not told what is not true.
    assert_eq!(
        Raw::refused(site.plain, &Hello::new(5, "new", "bob").kept()),
        0x97
    );
    let (mut old, _) = Raw::hello(site.plain, &Hello::new(4, "old", "inside"));
    old.publish(ANSWER, "more", 1, 1);
    old.expect_end();
    // What nobody is kept for goes its way.
    let (mut passing, _) = Raw::hello(site.plain, &Hello::new(5, "passing", "alice"));
    assert_eq!(passing.subscribe(&[("demo/alice/answers/now", 1)]), [1]);
    // Who takes what waits makes room.
    let (mut client, _) = Raw::hello(site.plain, &hello);
    for number in 0..4 {
        assert_eq!(client.message().payload, number.to_string());
    }
    eventually("there is room again", || {
        (publisher.publish_acked(ANSWER, "again", 1) == 0).then_some(())
    });
    broker.metric_becomes("portcullis_store_full", 0.0);
}

fn newest_segment(site: &Site) -> PathBuf {
    let mut segments: Vec<PathBuf> = std::fs::read_dir(site.path("store/s0"))
        .expect("a log")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    segments.sort();
    segments.pop().expect("a segment")
}

#[test]
fn a_damaged_store_is_refused_with_its_place_or_set_aside() {
    let site = site("");
    let broker = site.start();
    let hello = Hello::new(5, "kept", "alice").kept();
    away(&site, &hello, &[(ANSWERS, 1)]);
    let mut publisher = inside(&site);
    assert_eq!(publisher.publish_acked(ANSWER, "damaged soon", 1), 0);
    // What follows tells damage from a torn end.
    assert_eq!(publisher.publish_acked(ANSWER, "sound", 2), 0);
    kill(broker);
    let segment = newest_segment(&site);
    let mut bytes = std::fs::read(&segment).expect("a segment");
    let at = bytes
        .windows(12)
        .position(|part| part == b"damaged soon")
        .expect("the message");
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).expect("written");
    let ended = site.run_conf();
    assert_eq!(ended.code, Some(15), "{}", ended.err);
    let place = format!("{} at byte ", segment.display());
    assert!(ended.err.contains(&place), "{}", ended.err);
    assert!(
        ended.err.contains("portcullis store check"),
        "{}",
        ended.err
    );

    let conf = site.read("portcullis.conf").replace(
        "persistence true\n",
        "persistence true\nstore_on_damage quarantine\n",
    );
    site.write("portcullis.conf", &conf);
    let broker = site.start();
    assert!(broker.log().contains("set aside"), "{}", broker.log());
    assert!(broker.metric("portcullis_store_damaged") >= 1.0);
    assert!(site.path("store/quarantine").is_dir());
    assert!(Raw::hello(site.plain, &hello).1);
}

#[test]
fn a_store_that_another_broker_has_is_refused() {
    let site = site("");
    let _broker = site.start();
    let conf = site
        .read("portcullis.conf")
        .replace(&site.plain.to_string(), "0")
        .replace(&site.tls.to_string(), "0")
        .replace(&site.metrics.to_string(), "0");
    site.write("second.conf", &conf);
    let ended = site.run(&["-c", &site.path_text("second.conf")]);
    assert_ne!(ended.code, Some(0));
}

#[test]
fn mosquittos_database_is_not_taken_for_a_directory() {
    let site = site("persistence_file mosquitto.db\n");
    site.write("mosquitto.db", "mosquitto db");
    let conf = site.path_text("portcullis.conf");
    for arguments in [&["-c"][..], &["check", "-c"]] {
        let ended = site.run(&[arguments, &[&conf]].concat());
        assert_eq!(ended.code, Some(3), "{}", ended.err);
        let command = format!(
            "portcullis store import-mosquitto {} -c {conf}",
            site.path_text("mosquitto.db")
        );
        assert!(ended.err.contains(&command), "{}", ended.err);
    }
}

#[test]
fn mosquittos_database_is_told_by_the_check_and_by_the_first_start_and_not_after_it() {
    let site = site("");
    site.write("mosquitto.db", "mosquitto db");
    let conf = site.path_text("portcullis.conf");
    let command = format!(
        "portcullis store import-mosquitto {} -c {conf}",
        site.path_text("mosquitto.db")
    );
    let checked = site.run(&["check", "-c", &conf]);
    assert_eq!(checked.code, Some(0), "{}", checked.err);
    assert!(checked.err.contains(&command), "{}", checked.err);
    let mut broker = site.start();
    assert!(broker.log().contains(&command), "{}", broker.log());
    broker.stop();
    drop(broker);
    let checked = site.run(&["check", "-c", &conf]);
    assert!(!checked.err.contains("mosquitto"), "{}", checked.err);
}

#[test]
fn a_store_that_the_broker_may_not_use_is_told_with_its_account_and_the_command_for_root() {
    use nix::unistd::{Uid, User, geteuid};
    let site = Site::new();
    let mode = |name: &str, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(site.path(name), mode).expect("it is ours");
    };
    // Root may do everything, so it becomes somebody else.
    let name = if geteuid().is_root() {
        "nobody".to_owned()
    } else {
        let user = User::from_uid(Uid::effective()).expect("accounts can be asked for");
        user.map_or_else(|| geteuid().to_string(), |user| user.name)
    };
    let account = if geteuid().is_root() {
        "user nobody\n"
    } else {
        ""
    };
    let conf = site.fill(
        "listener {plain} 127.0.0.1\nallow_anonymous true\npersistence true\n\
         persistence_location {dir}/closed\n",
    );
    site.write("portcullis.conf", &format!("{account}{conf}"));
    std::fs::create_dir(site.path("closed")).expect("made");
    for (file, bits) in [("", 0o755), ("portcullis.conf", 0o644), ("closed", 0o555)] {
        mode(file, bits);
    }
    let store = site.path_text("closed/store");
    let ended = site.run_conf();
    assert_eq!(ended.code, Some(15), "{}", ended.err);
    let expected = format!(
        "the broker runs as {name}: there is no such directory, and it may not make one there\n\
         help: as root: mkdir -p -m 700 {store} && chown {name}: {store}\n"
    );
    assert!(ended.err.ends_with(&expected), "{}", ended.err);
    mode("closed", 0o700);
    if geteuid().is_root() {
        let ended = site.run_conf();
        let command = format!(
            "help: as root: chown {name}: {}\n",
            site.path_text("closed")
        );
        assert!(ended.err.ends_with(&command), "{}", ended.err);
        mode("closed", 0o755);
        std::fs::create_dir(site.path("closed/store")).expect("made");
        mode("closed/store", 0o700);
        let command = format!("help: as root: chown -R {name}: {store}\n");
        for owner in [0, 4_321] {
            std::os::unix::fs::chown(&store, Some(owner), None).expect("root may");
            let ended = site.run_conf();
            assert_eq!(ended.code, Some(15), "{}", ended.err);
            assert!(
                ended.err.contains("the directory belongs to "),
                "{}",
                ended.err
            );
            assert!(ended.err.ends_with(&command), "{}", ended.err);
        }
    }
}

#[test]
fn a_store_is_made_for_the_brokers_account_alone() {
    let site = site("");
    site.start().stop();
    for (name, bits) in [("store", 0o700), ("store/s0", 0o700), ("store/META", 0o600)] {
        let metadata = std::fs::metadata(site.path(name)).expect("it was made");
        assert_eq!(metadata.permissions().mode() & 0o7777, bits, "{name}");
    }
}

#[test]
fn the_check_says_where_the_store_is_and_what_it_promises() {
    let site = site("");
    let conf = site.path_text("portcullis.conf");
    let store = site.path_text("store");
    let said = || site.run(&["check", "-c", &conf]).out;
    let before =
        format!("store: {store} is made at the first start; what is acknowledged is on the disk\n");
    assert!(said().contains(&before), "{}", said());
    site.start().stop();
    assert!(
        said().contains(&format!("store: {store} is there; ")),
        "{}",
        said()
    );
    let text = site.read("portcullis.conf");
    let interval = text.replace(
        "persistence true\n",
        "persistence true\nstore_sync interval 250\n",
    );
    site.write("portcullis.conf", &interval);
    let robbed = "a power cut takes what was acknowledged in the last 250 ms";
    let checked = site.run(&["check", "--security-profile", "compatible", "-c", &conf]);
    assert!(checked.out.contains(robbed), "{}", checked.out);
    site.write("portcullis.conf", &text.replace("persistence true\n", ""));
    assert!(said().contains("store: none: "), "{}", said());
    assert!(
        said().contains("`persistence true` keeps them"),
        "{}",
        said()
    );
}

#[test]
fn sigusr1_seals_the_log() {
    let site = site("");
    let broker = site.start();
    away(
        &site,
        &Hello::new(5, "kept", "alice").kept(),
        &[(ANSWERS, 1)],
    );
    let before = newest_segment(&site);
    broker.signal(Signal::SIGUSR1);
    eventually("another segment", || {
        (newest_segment(&site) != before).then_some(())
    });
    eventually("a sidecar", || {
        before.with_extension("idx").exists().then_some(())
    });
    kill(broker);
    let _broker = site.start();
    assert!(Raw::hello(site.plain, &Hello::new(5, "kept", "alice").kept()).1);
}

#[test]
fn qos_0_and_sessions_that_end_with_their_connection_touch_no_disk() {
    let site = site("");
    let broker = site.start();
    let (mut reader, _) = Raw::hello(site.plain, &Hello::new(5, "r", "alice"));
    assert_eq!(reader.subscribe(&[(ANSWERS, 2)]), [2]);
    let mut publisher = inside(&site);
    publisher.publish(ANSWER, "zero", 0, 0);
    assert_eq!(reader.message().payload, "zero");
    assert_eq!(publisher.publish_acked(ANSWER, "one", 1), 0);
    assert_eq!(reader.message().payload, "one");
    publisher.publish(ANSWER, "two", 2, 2);
    assert_eq!(publisher.receive().first, 0x50);
    assert_eq!(reader.message().payload, "two");
    // QoS 0 for a session that is kept is not written either.
    away(
        &site,
        &Hello::new(5, "kept", "alice").kept(),
        &[("demo/alice/answers/0", 0)],
    );
    let before = broker.metric("portcullis_store_written_bytes_total");
    publisher.publish("demo/alice/answers/0", "zero", 0, 0);
    assert_eq!(reader.message().payload, "zero");
    assert_eq!(publisher.publish_acked("demo/alice/answers/0", "one", 1), 0);
    assert_eq!(reader.message().payload, "one");
    let written = broker.metric("portcullis_store_written_bytes_total") - before;
    // An empty batch may follow the last one.
    assert!(written < 128.0, "{written}");
}
