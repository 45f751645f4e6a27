//! `portcullis store`: looking into a store, mending it, and moving from mosquitto.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw, ack};
use crate::support::site::{Site, eventually};

const ANSWERS: &str = "demo/alice/answers/#";
const ANSWER: &str = "demo/alice/answers/1";

fn site() -> Site {
    let kept = "persistence true\npersistence_location {dir}\n";
    let site = Site::with_users(&["inside", "alice", "bob"], ACL, kept);
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(site.dir(), mode).expect("the directory is ours");
    site
}

/// A store with one session, two messages that wait, and a retained one.
fn filled() -> Site {
    let site = site();
    let mut broker = site.start();
    let hello = Hello::new(5, "kept", "alice").kept();
    let (mut client, _) = Raw::hello(site.plain, &hello);
    assert_eq!(client.subscribe(&[(ANSWERS, 1)]), [1]);
    client.disconnect();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    assert_eq!(inside.publish_acked(ANSWER, "number one", 1), 0);
    assert_eq!(inside.publish_acked(ANSWER, "number two", 2), 0);
    inside.publish_with("demo/alice/answers/kept", "retained one", 1, 3, true, &[]);
    assert_eq!(inside.receive().first, 0x40);
    broker.signal(Signal::SIGTERM);
    broker.wait();
    drop(broker);
    site
}

#[test]
fn a_store_is_checked_counted_and_written_out() {
    let site = filled();
    let conf = site.path_text("portcullis.conf");
    let checked = site.run(&["store", "check", "-c", &conf]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.out, checked.err);
    assert!(
        checked.out.trim_end().ends_with(": sound"),
        "{}",
        checked.out
    );
    let store = site.path_text("store");
    let counted = site.run(&["store", "stat", "--json", &store]);
    let numbers: serde_json::Value = serde_json::from_str(&counted.out).expect("JSON");
    for (name, number) in [
        ("sessions", 1),
        ("subscriptions", 1),
        ("messages_queued", 3),
        ("retained", 1),
    ] {
        assert_eq!(numbers[name], number, "{name}: {}", counted.out);
    }
    let dumped = site.run(&["store", "dump", "--session", "kept", &store]);
    let lines: Vec<serde_json::Value> = dumped
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 4, "{}", dumped.out);
    assert_eq!(lines[0]["subscriptions"][0]["filter"], ANSWERS);
    assert_eq!(lines[1]["topic"], ANSWER);
    assert!(lines[1].get("payload").is_none());
    let unknown = site.run(&["store", "dump", "--session", "nobody", &store]);
    assert_eq!(unknown.code, Some(15));
    // Nothing was changed by looking.
    let _broker = site.start();
    assert!(Raw::hello(site.plain, &Hello::new(5, "kept", "alice").kept()).1);
    let locked = site.run(&["store", "check", &store]);
    assert_eq!(locked.code, Some(15));
    assert!(
        locked.err.contains("stop the broker first"),
        "{}",
        locked.err
    );
}

#[test]
fn the_broker_and_the_tools_look_where_mosquittos_environment_variable_says() {
    let site = site();
    let conf = site.path_text("portcullis.conf");
    let elsewhere = site.path_text("elsewhere");
    let variables = [("MOSQUITTO_PERSISTENCE_LOCATION", elsewhere.as_str())];
    let mut broker = site.spawn_with(&variables, &["-c", &conf]);
    broker.until_ready();
    broker.stop();
    drop(broker);
    assert!(site.path("elsewhere/store/META").exists());
    assert!(!site.path("store").exists());
    let checked = site.run_with(&variables, &["store", "check", "-c", &conf]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.out, checked.err);
    let unset = [("MOSQUITTO_PERSISTENCE_LOCATION", "")];
    let checked = site.run_with(&unset, &["store", "check", "-c", &conf]);
    assert_eq!(checked.code, Some(15), "{}{}", checked.out, checked.err);
}

#[test]
fn a_place_that_holds_no_store_is_told_and_not_made_one() {
    let site = site();
    let nothing = site.path_text("nothing");
    let ended = site.run(&["store", "check", &nothing]);
    assert_eq!(ended.code, Some(15), "{}", ended.err);
    assert!(!site.path("nothing").exists());
    let here = site.path_text("");
    let ended = site.run(&["store", "stat", &here]);
    assert!(
        ended.err.contains("there is no store here"),
        "{}",
        ended.err
    );
}

#[test]
fn damage_is_named_by_check_and_the_rest_is_salvaged() {
    let site = filled();
    let segment = site.path("store/s0/0000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    let at = bytes
        .windows(10)
        .position(|part| part == b"number one")
        .expect("the message");
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).expect("written");
    let store = site.path_text("store");
    let checked = site.run(&["store", "check", &store]);
    assert_eq!(checked.code, Some(15), "{}{}", checked.out, checked.err);
    let place = format!("{} at byte ", segment.display());
    assert!(checked.out.contains(&place), "{}", checked.out);
    let to = site.path_text("salvaged");
    let salvaged = site.run(&["store", "salvage", "--to", &to, &store]);
    assert_eq!(salvaged.code, Some(0), "{}{}", salvaged.out, salvaged.err);
    assert!(
        salvaged.out.contains(&format!("lost: {place}")),
        "{}",
        salvaged.out
    );
    let sound = site.run(&["store", "check", &to]);
    assert_eq!(sound.code, Some(0), "{}", sound.out);
    let conf = site.read("portcullis.conf").replace(
        "persistence true\n",
        "persistence true\npersistence_file salvaged\n",
    );
    site.write("portcullis.conf", &conf);
    let _broker = site.start();
    let (mut client, present) = Raw::hello(site.plain, &Hello::new(5, "kept", "alice").kept());
    assert!(present);
    assert_eq!(client.message().payload, "number two");
    assert_eq!(client.message().payload, "retained one");
}

/// Debian's mosquitto with its own persistence.
struct Mosquitto(Child);

impl Mosquitto {
    fn start(site: &Site) -> Self {
        site.write(
            "mosquitto.conf",
            &site.fill(
                "user root\nlistener {plain} 127.0.0.1\nallow_anonymous true\npersistence true\n\
                 persistence_location {dir}/\nmax_inflight_messages 1\n",
            ),
        );
        let program = ["/usr/sbin/mosquitto", "mosquitto"]
            .into_iter()
            .find(|path| !path.starts_with('/') || std::path::Path::new(path).exists())
            .expect("one of them");
        let child = Command::new(program)
            .args(["-c", &site.path_text("mosquitto.conf")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is installed");
        let mosquitto = Self(child);
        eventually("mosquitto listens", || {
            std::net::TcpStream::connect(("127.0.0.1", site.plain)).ok()
        });
        mosquitto
    }

    /// SIGTERM: it writes its database and ends.
    fn stop(mut self) {
        let id = i32::try_from(self.0.id()).expect("a process id");
        kill(Pid::from_raw(id), Signal::SIGTERM).expect("it runs");
        self.0.wait().expect("it ends");
    }
}

fn nameless(version: u8, id: &str) -> Hello {
    Hello::nameless(version, id).kept()
}

/// Has mosquitto keep sessions, messages that wait, exchanges in the middle, and a retained message.
fn fill_mosquitto(site: &Site) {
    let mosquitto = Mosquitto::start(site);
    for (version, id, filters) in [
        (5, "new", &[("a/#", 2)][..]),
        (4, "old", &[("a/1", 1), ("b/+", 1)]),
        // mosquitto 2.0 writes no shared subscriptions.
        (5, "member", &[("s/#", 1)]),
    ] {
        let (mut client, _) = Raw::hello(site.plain, &nameless(version, id));
        client.subscribe(filters);
        if id == "new" {
            // Two on their way: one not acknowledged, one in the middle of its exchange.
            let (mut publisher, _) = Raw::hello(site.plain, &Hello::nameless(5, "p"));
            publisher.publish("a/2", "in the middle", 2, 1);
            assert_eq!(publisher.receive().first, 0x50);
            publisher.send(&ack(0x62, 1));
            assert_eq!(publisher.receive().first, 0x70);
            let sent = client.unacknowledged();
            client.send(&ack(0x50, sent.id.expect("an identifier")));
            assert_eq!(client.receive().first, 0x62);
            publisher.disconnect();
        }
        client.vanish();
    }
    let (mut publisher, _) = Raw::hello(site.plain, &Hello::nameless(5, "p"));
    for number in 0..3 {
        assert_eq!(
            publisher.publish_acked("a/1", &format!("waits {number}"), 1) & 0x80,
            0
        );
    }
    assert_eq!(
        publisher.publish_acked("s/1", "for the member", 1) & 0x80,
        0
    );
    // Content Type, a Message Expiry Interval, a User Property.
    let properties = [
        &[0x03, 0, 4][..],
        b"text",
        &[0x02, 0, 0, 0x0E, 0x10],
        &[0x26, 0, 1, b'k', 0, 1, b'v'],
    ]
    .concat();
    publisher.publish_with("r/1", "retained", 1, 9, true, &properties);
    assert_eq!(publisher.receive().first, 0x40);
    // One that mosquitto has taken and not handed on yet.
    let (mut writer, _) = Raw::hello(site.plain, &nameless(5, "writer"));
    writer.publish("a/1", "half", 2, 7);
    assert_eq!(writer.receive().first, 0x50);
    writer.vanish();
    mosquitto.stop();
}

#[test]
fn a_site_moves_from_mosquitto_with_its_sessions_its_messages_and_what_is_retained() {
    let site = Site::new();
    fill_mosquitto(&site);
    let database = site.path_text("mosquitto.db");
    let to = site.path_text("store");
    let imported = site.run(&["store", "import-mosquitto", &database, "--to", &to]);
    assert_eq!(imported.code, Some(0), "{}{}", imported.out, imported.err);
    assert!(
        imported.out.contains("4 sessions, 4 subscriptions"),
        "{}",
        imported.out
    );
    let again = site.run(&["store", "import-mosquitto", &database, "--to", &to]);
    assert_eq!(again.code, Some(15));
    assert!(
        again.err.contains("there is a store already"),
        "{}",
        again.err
    );

    site.conf(
        "security_profile compatible\nlistener {plain} 127.0.0.1\nallow_anonymous true\nmetrics_listener {metrics} \
         127.0.0.1\npersistence true\npersistence_location {dir}\n",
    );
    let _broker = site.start();
    let (mut new, present) = Raw::hello(site.plain, &nameless(5, "new"));
    assert!(present);
    let mut texts = Vec::new();
    while texts.len() < 4 {
        let packet = new.receive();
        if packet.first == 0x62 {
            let id = u16::from_be_bytes([packet.body[0], packet.body[1]]);
            new.send(&ack(0x70, id));
            continue;
        }
        let received = packet.publish(5);
        match (received.qos, received.id) {
            (1, Some(id)) => new.send(&ack(0x40, id)),
            (2, Some(id)) => new.send(&ack(0x50, id)),
            _ => panic!("{received:?}"),
        }
        texts.push(received.payload);
    }
    assert_eq!(texts, ["waits 0", "waits 1", "waits 2", "half"]);
    let (mut old, present) = Raw::hello(site.plain, &nameless(4, "old"));
    assert!(present);
    for text in ["waits 0", "waits 1", "waits 2", "half"] {
        assert_eq!(old.message().payload, text);
    }
    let (mut member, present) = Raw::hello(site.plain, &nameless(5, "member"));
    assert!(present);
    assert_eq!(member.message().payload, "for the member");
    let (mut writer, present) = Raw::hello(site.plain, &nameless(5, "writer"));
    assert!(present);
    writer.publish("a/1", "half", 2, 7);
    assert_eq!(writer.receive().first, 0x50);
    writer.send(&ack(0x62, 7));
    assert_eq!(writer.receive().first, 0x70);
    old.expect_silence();
    let (mut reader, _) = Raw::hello(site.plain, &Hello::nameless(5, "reader"));
    reader.subscribe(&[("r/#", 1)]);
    let retained = reader.message();
    assert_eq!(
        (retained.payload.as_str(), retained.retain),
        ("retained", true)
    );
    let said = String::from_utf8_lossy(&retained.properties).into_owned();
    assert!(
        said.contains("text") && said.contains('k') && said.contains('v'),
        "{said:?}"
    );
}
