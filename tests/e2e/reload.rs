//! SIGHUP: all of it or nothing, and live connections feel it.

use crate::clients::ACL;
use crate::support::material::{MATERIAL, put};
use crate::support::raw::{Hello, Raw};
use crate::support::site::{Broker, Site};

fn site() -> Site {
    Site::with_users(&["inside", "alice", "bob"], ACL, "")
}

#[test]
fn a_right_taken_away_is_gone_from_live_subscriptions() {
    let site = site();
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    assert_eq!(alice.subscribe(&[("demo/alice/answers/#", 0)]), [0]);
    site.write("acl.conf", "user inside\ntopic readwrite demo/#\n");
    assert_eq!(broker.reload()["decision"], "allow");
    let lost = broker.audited("subscription_lost", |line| line["username"] == "alice");
    assert_eq!(lost["topic"], "demo/alice/answers/#");
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    assert_eq!(
        inside.publish_acked("demo/alice/answers/1", "too late", 1),
        0
    );
    alice.expect_silence();
    assert_eq!(alice.subscribe(&[("demo/alice/answers/#", 0)]), [0x87]);
}

#[test]
fn a_right_given_counts_for_connections_that_are_open() {
    let site = site();
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    assert_eq!(alice.subscribe(&[("news/#", 0)]), [0x87]);
    site.write("acl.conf", &format!("{ACL}\npattern read news/#\n"));
    broker.reload();
    assert_eq!(alice.subscribe(&[("news/#", 0)]), [0]);
}

#[test]
fn a_right_taken_away_while_a_client_was_absent_is_gone_when_it_returns() {
    let site = site();
    let broker = site.start();
    let hello = Hello::new(5, "away", "alice").kept();
    let (mut alice, _) = Raw::hello(site.plain, &hello);
    assert_eq!(alice.subscribe(&[("demo/alice/answers/#", 1)]), [1]);
    alice.vanish();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    assert_eq!(inside.publish_acked("demo/alice/answers/1", "queued", 1), 0);
    site.write("acl.conf", "user inside\ntopic readwrite demo/#\n");
    broker.reload();
    let (mut alice, present) = Raw::hello(site.plain, &hello);
    assert!(present);
    alice.expect_silence();
    broker.audited("subscription_lost", |line| line["username"] == "alice");
    assert_eq!(inside.publish_acked("demo/alice/answers/1", "later", 2), 0);
    alice.expect_silence();
}

#[test]
fn a_broken_file_changes_nothing_and_every_error_is_told() {
    let site = site();
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    site.write("acl.conf", "topc read #\nuser\n");
    let mut conf = site.read("portcullis.conf");
    conf.push_str("max_conections 5\n");
    site.write("portcullis.conf", &conf);
    let told = broker.reload();
    assert_eq!(told["decision"], "deny");
    let log = broker.log();
    for expected in [
        "acl.conf:1:",
        "acl.conf:2:",
        "max_conections",
        "max_connections",
    ] {
        assert!(log.contains(expected), "{expected} is not in\n{log}");
    }
    // The rules in force are the old ones.
    assert_eq!(
        alice.subscribe(&[("demo/alice/answers/#", 0), ("#", 0)]),
        [0, 0x87]
    );
    let failed = "portcullis_config_reloads_total{result=\"failed\"}";
    assert!(broker.metric(failed) >= 1.0);
}

#[test]
fn a_user_taken_out_of_the_password_file_is_disconnected() {
    let site = site();
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    let (mut bob, _) = Raw::hello(site.plain, &Hello::new(5, "b", "bob"));
    site.users(&["inside", "bob"]);
    broker.reload();
    alice.expect_disconnect(0x87);
    bob.expect_silence();
    assert_eq!(Raw::refused(site.plain, &Hello::new(5, "a", "alice")), 0x86);
}

#[test]
fn a_new_certificate_is_shown_to_new_clients_and_old_ones_stay() {
    let site = site();
    let broker = site.start();
    let tls = MATERIAL.tls(None);
    let mut old = Raw::tls(site.tls, 5, tls);
    old.send(&Hello::new(5, "old", "alice").encode());
    assert_eq!(old.receive().body[1], 0);
    let before = shown_certificate(&site);
    let pair = MATERIAL.another_server();
    put(site.dir(), "server.crt", &pair.certificate);
    put(site.dir(), "server.key", &pair.key);
    assert_eq!(broker.reload()["decision"], "allow");
    assert_ne!(shown_certificate(&site), before);
    old.expect_silence();

    // A key that is not the certificate's is found before anything is exchanged.
    put(site.dir(), "server.key", &MATERIAL.server.key);
    assert_eq!(broker.reload()["decision"], "deny");
    assert!(broker.log().contains("server.key"), "{}", broker.log());
    old.expect_silence();
}

/// What openssl sees.
fn shown_certificate(site: &Site) -> String {
    let address = format!("localhost:{}", site.tls);
    let ca = site.path_text("ca.crt");
    let output = std::process::Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &address,
            "-CAfile",
            &ca,
            "-verify_return_error",
        ])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let from = text.find("-----BEGIN").expect("a certificate");
    let to = text.find("-----END").expect("its end");
    text[from..to].to_owned()
}

#[test]
fn bounds_of_queues_retained_messages_sessions_and_rates_change_for_who_is_there() {
    let site = site();
    let broker = site.start();
    let hello = Hello::new(5, "away", "alice").kept();
    let (mut alice, _) = Raw::hello(site.plain, &hello);
    assert_eq!(alice.subscribe(&[("demo/alice/answers/#", 1)]), [1]);
    alice.vanish();
    broker.metric_becomes("portcullis_sessions_connected", 0.0);
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    let conf = site.read("portcullis.conf");
    let bounds = "max_queued_messages 3\nmax_retained_messages 1\nglobal_max_clients 2\n";
    site.write("portcullis.conf", &format!("{conf}{bounds}"));
    let told = broker.reload();
    for name in [
        "max_queued_messages (applied)",
        "max_retained_messages (applied)",
    ] {
        let changes = told["changes"].as_str().expect("changes");
        assert!(changes.contains(name), "{changes}");
    }
    for id in 1..=10 {
        inside.publish_acked("demo/alice/answers/1", &id.to_string(), id);
    }
    broker.metric_becomes(
        "portcullis_messages_dropped_total{reason=\"queue_full\"}",
        7.0,
    );
    for (id, code) in [(20, 0), (21, 0x97)] {
        inside.publish_with(&format!("demo/kept/{id}"), "x", 1, id, true, &[]);
        let ack = inside.receive();
        assert_eq!(ack.body.get(2).copied().unwrap_or(0) & 0x8F, code & 0x8F);
    }
    assert_eq!(
        Raw::refused(site.plain, &Hello::new(5, "third", "bob")),
        0x97
    );
    // A rate holds for a connection that was there before it.
    site.write(
        "portcullis.conf",
        &format!("{conf}client_message_rate 1 2\nrate_action drop\n"),
    );
    broker.reload();
    let codes: Vec<u8> = (30..36)
        .map(|id| inside.publish_acked("demo/x", "x", id))
        .collect();
    assert!(codes.contains(&0x97), "{codes:?}");
}

#[test]
fn a_certificate_that_is_revoked_ends_its_connection_and_its_neighbour_stays() {
    let site = Site::new();
    site.write("acl.conf", ACL);
    site.write("clients.crl", &MATERIAL.crl(&[]));
    site.conf(
        "listener {tls} 127.0.0.1
certfile {dir}/server.crt
keyfile {dir}/server.key
cafile {dir}/ca.crt
crlfile {dir}/clients.crl
require_certificate true
use_identity_as_username true
acl_file {dir}/acl.conf
audit_log {dir}/audit.log
",
    );
    let broker = site.start();
    let connect = |name: &str, serial: u64| {
        let pair = MATERIAL.client_with_serial(name, serial);
        let mut raw = Raw::tls(site.tls, 5, MATERIAL.tls(Some(&pair)));
        raw.send(&Hello::nameless(5, name).encode());
        assert_eq!(raw.receive().body[1], 0);
        raw
    };
    let (mut lost, mut kept) = (connect("alice", 7), connect("bob", 8));
    site.write("clients.crl", &MATERIAL.crl(&[7]));
    assert_eq!(broker.reload()["decision"], "allow");
    lost.expect_disconnect(0x87);
    kept.expect_silence();
    let pair = MATERIAL.client_with_serial("alice", 7);
    let mut again = Raw::tls(site.tls, 5, MATERIAL.tls(Some(&pair)));
    drop(again.try_send(&Hello::nameless(5, "alice").encode()));
    broker.audited("tls_failure", |line| {
        line["reason"] == "certificate_revoked"
    });
}

#[test]
fn a_watched_file_needs_no_signal_and_a_swapped_link_is_a_change() {
    let site = site();
    let conf = site.read("portcullis.conf");
    site.write("portcullis.conf", &format!("{conf}watch_files true\n"));
    // As Kubernetes mounts it: the file is a link into a directory that is replaced as a whole.
    let link_to = |directory: &str, rules: &str| {
        std::fs::create_dir(site.path(directory)).expect("a directory");
        site.write(&format!("{directory}/acl.conf"), rules);
        std::os::unix::fs::symlink(directory, site.path("next")).expect("a link");
        std::fs::rename(site.path("next"), site.path("current")).expect("swapped");
    };
    link_to("first", ACL);
    std::fs::remove_file(site.path("acl.conf")).expect("it was there");
    std::os::unix::fs::symlink("current/acl.conf", site.path("acl.conf")).expect("a link");
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    assert_eq!(alice.subscribe(&[("demo/alice/answers/#", 0)]), [0]);
    link_to("second", "user inside\ntopic readwrite demo/#\n");
    let lost = broker.audited("subscription_lost", |line| line["username"] == "alice");
    assert_eq!(lost["topic"], "demo/alice/answers/#");
    // A mistake is told once, and changes nothing.
    link_to("third", "topic raed #\n");
    broker.audited("reload", |line| line["decision"] == "deny");
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    assert_eq!(inside.publish_acked("demo/1", "x", 1), 0);
}

/// A broker that watches its files, with a directory of more of them.
fn watching(directory: &str) -> Site {
    let site = site();
    let conf = site.read("portcullis.conf");
    std::fs::create_dir(site.path(directory)).expect("a directory");
    let more = format!(
        "watch_files true\ninclude_dir {}\n",
        site.path_text(directory)
    );
    site.write("portcullis.conf", &format!("{conf}{more}"));
    site
}

fn applied(broker: &Broker<'_>, name: &str) {
    broker.audited("reload", |line| {
        let changes = line["changes"].as_str().unwrap_or_default();
        line["decision"] == "allow" && changes.contains(&format!("{name} (applied)"))
    });
}

#[test]
fn a_watched_directory_may_be_given_more_files() {
    let site = watching("more");
    let broker = site.start();
    site.write("more/one.conf", "max_queued_messages 11\n");
    applied(&broker, "max_queued_messages");
    site.write("more/two.conf", "max_retained_messages 12\n");
    applied(&broker, "max_retained_messages");
    std::fs::remove_file(site.path("more/one.conf")).expect("it was there");
    broker.metric_becomes("portcullis_config_reloads_total{result=\"applied\"}", 3.0);
}

#[test]
fn a_watched_directory_may_be_mounted_by_kubernetes() {
    let site = watching("mount");
    // Files are links into `..data`, a link into a directory with the time in its name.
    let mount = |time: &str, files: &[(&str, &str)]| {
        std::fs::create_dir(site.path(&format!("mount/{time}"))).expect("a directory");
        for (name, text) in files {
            site.write(&format!("mount/{time}/{name}"), text);
        }
        std::os::unix::fs::symlink(time, site.path("mount/..data_tmp")).expect("a link");
        std::fs::rename(site.path("mount/..data_tmp"), site.path("mount/..data")).expect("swapped");
        for (name, _) in files {
            let target = format!("..data/{name}");
            drop(std::os::unix::fs::symlink(
                target,
                site.path(&format!("mount/{name}")),
            ));
        }
    };
    let queues = ("queues.conf", "max_queued_messages 11\n");
    mount("..2026_11_23_1", &[queues]);
    let broker = site.start();
    mount(
        "..2026_11_23_2",
        &[("queues.conf", "max_queued_messages 12\n")],
    );
    applied(&broker, "max_queued_messages");
    let retained = ("retained.conf", "max_retained_messages 12\n");
    mount(
        "..2026_11_23_3",
        &[("queues.conf", "max_queued_messages 12\n"), retained],
    );
    applied(&broker, "max_retained_messages");
}

#[test]
fn a_watched_file_that_was_missing_is_read_when_it_comes() {
    let site = watching("more");
    let broker = site.start();
    let conf = site.read("portcullis.conf");
    let acl = site.path_text("acl.conf");
    let renamed = conf.replace(&acl, &site.path_text("other.conf"));
    site.write("portcullis.conf", &renamed);
    broker.audited("reload", |line| line["decision"] == "deny");
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    assert_eq!(alice.subscribe(&[("news/#", 0)]), [0x87]);
    site.write("other.conf", &format!("{ACL}\npattern read news/#\n"));
    applied(&broker, "acl_file");
    assert_eq!(alice.subscribe(&[("news/#", 0)]), [0]);
    // A directory that is not there yet is waited for too.
    let more = site.path_text("more");
    site.write(
        "portcullis.conf",
        &renamed.replace(&more, &site.path_text("later")),
    );
    broker.metric_becomes("portcullis_config_reloads_total{result=\"failed\"}", 2.0);
    std::fs::create_dir(site.path("later")).expect("a directory");
    broker.metric_becomes("portcullis_config_reloads_total{result=\"applied\"}", 2.0);
}

#[test]
fn a_watched_group_file_needs_no_signal() {
    let site = site();
    let conf = site.read("portcullis.conf");
    site.write("groups.conf", "group staff\nuser bob\n");
    let more = format!(
        "watch_files true\ngroup_file {}\n",
        site.path_text("groups.conf")
    );
    site.write("portcullis.conf", &format!("{conf}{more}"));
    let broker = site.start();
    site.write("groups.conf", "group staff\nuser bob\nuser alice\n");
    broker.audited("reload", |line| line["decision"] == "allow");
}
