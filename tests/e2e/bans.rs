//! Bans that an operator sees, lifts and adds, and that outlive the broker.

use std::os::unix::fs::PermissionsExt;

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw};
use crate::support::site::{Ended, Site, eventually};

/// One wrong password bans the user from there.
fn site() -> Site {
    Site::with_users(
        &["alice", "bob"],
        ACL,
        "auth_failure_limit_pair 1 60 600\nauth_failure_delay_ms 0 0\nban_file {dir}/bans.jsonl",
    )
}

fn guess(site: &Site, user: &str) {
    let wrong = Hello {
        password: Some("wrong battery".into()),
        ..Hello::new(5, "guess", user)
    };
    assert_eq!(Raw::refused(site.plain, &wrong), 0x86);
}

fn code(site: &Site, user: &str) -> u8 {
    let mut raw = Raw::plain(site.plain, 5);
    drop(raw.try_send(&Hello::new(5, "x", user).encode()));
    // A banned address gets no answer at all.
    raw.next().map_or(0xFF, |packet| packet.body[1])
}

fn is_let_in(site: &Site, user: &str) {
    eventually("it is let in", || (code(site, user) == 0).then_some(()));
}

fn lines(site: &Site) -> Vec<serde_json::Value> {
    site.read("bans.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn written(site: &Site, count: usize) -> Vec<serde_json::Value> {
    eventually("the file has them", || {
        Some(lines(site)).filter(|lines| lines.len() == count)
    })
}

fn bans(site: &Site, arguments: &[&str]) -> Ended {
    let conf = site.path_text("portcullis.conf");
    site.run(&[&["bans", "-c", &conf], arguments].concat())
}

#[test]
fn a_restart_frees_nobody_and_the_file_is_the_brokers_alone() {
    let site = site();
    let mut broker = site.start();
    assert_eq!(lines(&site).len(), 0);
    guess(&site, "alice");
    // What was banned in the last second is written as well.
    assert!(broker.stop().success());
    drop(broker);
    let kept = written(&site, 1);
    assert_eq!(kept[0]["address"], "127.0.0.1");
    assert_eq!(kept[0]["username"], "alice");
    assert_eq!(kept[0]["reason"], "auth_failures");
    let mode = std::fs::metadata(site.path("bans.jsonl")).expect("it is there");
    assert_eq!(mode.permissions().mode() & 0o7777, 0o600);
    let broker = site.start();
    assert_eq!(code(&site, "alice"), 0x8A);
    assert_eq!(code(&site, "bob"), 0);
    broker.metric_becomes("portcullis_banned_users", 1.0);
}

#[test]
fn the_command_lists_and_lifts() {
    let site = site();
    let broker = site.start();
    guess(&site, "alice");
    guess(&site, "bob");
    written(&site, 2);
    let listed = bans(&site, &["list"]);
    assert_eq!(listed.code, Some(0), "{}", listed.err);
    assert!(
        listed
            .out
            .contains("127.0.0.1 user alice: too many failed authentications ("),
        "{}",
        listed.out
    );
    assert_eq!(
        bans(&site, &["list", "--json"]).out,
        site.read("bans.jsonl")
    );
    let lifted = bans(&site, &["lift", "127.0.0.1", "--user", "alice"]);
    assert_eq!(lifted.out, "1 lifted\n");
    is_let_in(&site, "alice");
    assert_eq!(code(&site, "bob"), 0x8A);
    let ended = broker.audited("ban_ended", |line| line["username"] == "alice");
    assert_eq!(ended["how"], "lifted");
    broker.metric_becomes("portcullis_bans_lifted_total", 1.0);
    assert_eq!(bans(&site, &["lift", "192.0.2.1"]).code, Some(1));
    assert_eq!(bans(&site, &["lift", "nonsense"]).code, Some(3));
    assert_eq!(bans(&site, &["lift", "all"]).out, "1 lifted\n");
    is_let_in(&site, "bob");
}

#[test]
fn a_line_taken_out_by_hand_lifts_its_ban() {
    let site = site();
    let _broker = site.start();
    guess(&site, "alice");
    written(&site, 1);
    site.write("bans.jsonl", "");
    is_let_in(&site, "alice");
}

#[test]
fn an_operator_bans_an_address_and_lifts_it_again() {
    let site = site();
    let broker = site.start();
    assert_eq!(
        bans(&site, &["add", "127.0.0.1", "--seconds", "600"]).code,
        Some(0)
    );
    let told = broker.audited("banned", |line| line["reason"] == "operator");
    assert_eq!(told["address"], "127.0.0.1");
    assert_eq!(code(&site, "alice"), 0xFF);
    broker.metric_becomes("portcullis_banned_addresses", 1.0);
    assert_eq!(bans(&site, &["lift", "all"]).code, Some(0));
    is_let_in(&site, "alice");
}

#[test]
fn a_file_that_is_removed_or_broken_lifts_nobody() {
    let site = site();
    let broker = site.start();
    guess(&site, "alice");
    written(&site, 1);
    std::fs::remove_file(site.path("bans.jsonl")).expect("it is there");
    written(&site, 1);
    assert_eq!(code(&site, "alice"), 0x8A);
    site.write("bans.jsonl", "{\n");
    eventually("the operator is told", || {
        broker.log().contains("bans.jsonl: line 1: ").then_some(())
    });
    assert_eq!(code(&site, "alice"), 0x8A);
    assert_eq!(bans(&site, &["list"]).code, Some(1));
}

#[test]
fn a_start_with_a_file_that_is_none_is_refused_with_its_line() {
    let site = site();
    site.write(
        "bans.jsonl",
        "\n{\"address\":\"x\",\"until\":\"2030-01-31T12:00:00Z\"}\n",
    );
    let ended = site.run_conf();
    assert_eq!(ended.code, Some(3));
    assert!(ended.err.contains("bans.jsonl:2"), "{}", ended.err);
    assert!(ended.err.contains("is no address"), "{}", ended.err);
}
