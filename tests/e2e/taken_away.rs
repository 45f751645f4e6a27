//! Rights and users that are taken away from many at once, by a group, by a file, by a link that is
//! swapped. `PORTCULLIS_SESSIONS=10000` measures how long it takes (docs/benchmarks.md).

use std::env;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::support::raw::{Hello, Raw};
use crate::support::site::Site;

const GROUPS: &str = "group readers\nuser alice\n";
const RULES: &str = "#!acl 2\ngroup readers\ntopic read a/#\ngroup others\ntopic read b/#\n";

fn sessions() -> usize {
    let count = env::var("PORTCULLIS_SESSIONS").ok();
    count.map_or(200, |text| text.parse().expect("a number"))
}

/// A broker's site where alice reads `a/#` by her group, and as many sessions of hers as wanted.
fn site() -> Site {
    let more = "group_file {dir}/groups.conf\nmax_connections -1";
    let site = Site::with_users(&["alice", "bob"], RULES, "");
    let conf = site.read("portcullis.conf");
    site.write("portcullis.conf", &format!("{conf}\n{}\n", site.fill(more)));
    site.write("groups.conf", GROUPS);
    site
}

fn subscribed(site: &Site, count: usize) -> Vec<Raw> {
    (0..count)
        .map(|number| {
            let id = format!("c{number}");
            let (mut raw, _) = Raw::hello(site.plain, &Hello::new(5, &id, "alice"));
            assert_eq!(raw.subscribe(&[("a/+", 0)]), [0]);
            raw
        })
        .collect()
}

fn told(what: &str, count: usize, since: Instant) {
    eprintln!(
        "{what}: {count} sessions, {} ms",
        since.elapsed().as_millis()
    );
}

#[test]
fn who_leaves_a_group_loses_what_the_group_may_from_every_session() {
    let count = sessions();
    let site = site();
    let broker = site.start();
    let mut clients = subscribed(&site, count);
    site.write("groups.conf", "group others\nuser alice\n");
    let since = Instant::now();
    broker.signal(Signal::SIGHUP);
    #[expect(clippy::cast_precision_loss, reason = "a number of sessions")]
    let all = count as f64;
    broker.metric_becomes("portcullis_subscriptions_lost_total", all);
    told("a group was left", count, since);
    let (mut bob, _) = Raw::hello(site.plain, &Hello::new(5, "bob", "bob"));
    assert_eq!(bob.publish_acked("a/x", "too late", 1), 0x87);
    for client in clients.iter_mut().take(50) {
        assert_eq!(client.subscribe(&[("a/+", 0), ("b/+", 0)]), [0x87, 0]);
    }
}

#[test]
fn a_user_that_is_removed_is_disconnected_from_every_session() {
    let count = sessions();
    let site = site();
    let broker = site.start();
    let mut clients = subscribed(&site, count);
    site.users(&["bob"]);
    let since = Instant::now();
    broker.signal(Signal::SIGHUP);
    broker.metric_becomes("portcullis_connections", 0.0);
    told("a user was removed", count, since);
    for client in &mut clients {
        client.expect_disconnect(0x87);
    }
}

/// Kubernetes writes a volume's files into a new directory and swaps one link.
#[test]
fn a_swapped_link_takes_rights_away_without_a_signal() {
    let site = site();
    for (version, rules) in [
        ("v1", RULES),
        ("v2", "#!acl 2\ngroup others\ntopic read b/#\n"),
    ] {
        std::fs::create_dir(site.path(version)).expect("a directory");
        site.write(&format!("{version}/acl.conf"), rules);
    }
    std::os::unix::fs::symlink(site.path("v1"), site.path("data")).expect("a link");
    let conf = site.read("portcullis.conf");
    let conf = conf.replace("/acl.conf", "/data/acl.conf");
    site.write("portcullis.conf", &format!("{conf}watch_files true\n"));
    let broker = site.start();
    let mut clients = subscribed(&site, 1);
    std::os::unix::fs::symlink(site.path("v2"), site.path("next")).expect("a link");
    std::fs::rename(site.path("next"), site.path("data")).expect("swapped");
    broker.audited("subscription_lost", |line| line["client_id"] == "c0");
    assert_eq!(clients[0].subscribe(&[("a/+", 0)]), [0x87]);
}

#[test]
fn a_user_that_is_disabled_in_a_file_of_users_in_json_is_disconnected() {
    let site = site();
    let passwd = site.read("passwd");
    let hash = passwd
        .lines()
        .find_map(|line| line.strip_prefix("alice:"))
        .expect("alice");
    let write = |enabled: bool| {
        let users = serde_json::json!({"users": {
            "alice": {"password_hash": hash, "groups": ["readers"], "enabled": enabled},
        }});
        site.write("passwd", &users.to_string());
    };
    write(true);
    site.write("groups.conf", "");
    let broker = site.start();
    let mut clients = subscribed(&site, 1);
    write(false);
    broker.reload();
    clients[0].expect_disconnect(0x87);
    assert_eq!(
        Raw::refused(site.plain, &Hello::new(5, "c1", "alice")),
        0x86
    );
    let told = broker.audited("authentication_failure", |line| {
        line["reason"] == "user_disabled"
    });
    assert_eq!(told["username"], "alice");
}
