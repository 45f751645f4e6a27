//! Somebody guesses passwords: he is slowed down, counted and banned, and nobody else is.

use std::time::{Duration, Instant};

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw};
use crate::support::site::{Site, eventually};

fn site(more: &str) -> Site {
    Site::with_users(&["alice", "bob"], ACL, more)
}

fn wrong(user: &str) -> Hello {
    Hello {
        password: Some("wrong battery".into()),
        ..Hello::new(5, "guess", user)
    }
}

#[test]
fn a_user_is_banned_from_one_address_before_its_password_is_looked_at_and_others_are_not() {
    let site = site("auth_failure_limit 100 60 60\nauth_failure_limit_pair 2 60 60");
    let broker = site.start();
    assert_eq!(Raw::refused(site.plain, &wrong("alice")), 0x86);
    assert_eq!(Raw::refused(site.plain, &wrong("alice")), 0x86);
    let banned = broker.audited("banned", |line| line["username"] == "alice");
    assert_eq!(banned["reason"], "auth_failures");
    assert_eq!(banned["address"], "127.0.0.1");
    broker.metric_becomes("portcullis_banned_users", 1.0);
    broker.metric_becomes("portcullis_banned_addresses", 0.0);
    let hashed = broker.metric("portcullis_password_hashes_total");
    // The right password does not help, nor does the old protocol.
    assert_eq!(Raw::refused(site.plain, &Hello::new(5, "a", "alice")), 0x8A);
    assert_eq!(Raw::refused(site.plain, &Hello::new(4, "a", "alice")), 5);
    let now = broker.metric("portcullis_password_hashes_total");
    assert!((now - hashed).abs() < f64::EPSILON);
    let (bob, _) = Raw::hello(site.plain, &Hello::new(5, "b", "bob"));
    bob.disconnect();
}

#[test]
fn a_ban_is_told_when_it_ends() {
    let site = site("auth_failure_limit_pair 1 60 1");
    let broker = site.start();
    assert_eq!(Raw::refused(site.plain, &wrong("alice")), 0x86);
    let ended = broker.audited("ban_ended", |line| line["username"] == "alice");
    assert_eq!(ended["how"], "over");
    let (alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    alice.disconnect();
    assert!(broker.metric("portcullis_bans_lifted_total").abs() < f64::EPSILON);
}

#[test]
fn who_has_a_password_of_his_own_buys_no_guesses_with_it() {
    let site = site("auth_failure_limit 4 60 60");
    let broker = site.start();
    for _ in 0..3 {
        assert_eq!(Raw::refused(site.plain, &wrong("alice")), 0x86);
        let (bob, _) = Raw::hello(site.plain, &Hello::new(5, "b", "bob"));
        bob.disconnect();
    }
    assert_eq!(Raw::refused(site.plain, &wrong("alice")), 0x86);
    broker.audited("banned", |line| line["address"] == "127.0.0.1");
}

#[test]
fn a_wrong_credential_waits_for_its_answer_and_a_right_one_does_not() {
    let site = site("auth_failure_delay_ms 400 60000\nconnect_timeout 5");
    let broker = site.start();
    let begun = Instant::now();
    let mut guess = Raw::plain(site.plain, 5);
    guess.send(&wrong("alice").encode());
    // The operator is told before the client is.
    broker.audited("authentication_failure", |line| line["username"] == "alice");
    broker.metric_becomes("portcullis_held_back_connections", 1.0);
    let (alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    assert_eq!(guess.receive().body[1], 0x86);
    assert!(begun.elapsed() >= Duration::from_millis(400));
    alice.disconnect();
    // However long the wait grows, there is an answer within connect_timeout.
    for _ in 0..3 {
        assert_eq!(Raw::refused(site.plain, &wrong("alice")), 0x86);
    }
    assert!(
        broker
            .audit("connect")
            .iter()
            .all(|line| line["reason"] != "connect_timeout")
    );
}

#[test]
fn no_more_are_held_back_than_a_quarter_of_those_that_may_greet() {
    let site = site("auth_failure_delay_ms 60000 60000\nmax_handshakes 8\nconnect_timeout 30");
    let broker = site.start();
    let held: Vec<Raw> = (0..2)
        .map(|_| {
            let mut raw = Raw::plain(site.plain, 5);
            raw.send(&wrong("alice").encode());
            raw
        })
        .collect();
    broker.metric_becomes("portcullis_held_back_connections", 2.0);
    assert_eq!(Raw::refused(site.plain, &wrong("alice")), 0x86);
    let (bob, _) = Raw::hello(site.plain, &Hello::new(5, "b", "bob"));
    bob.disconnect();
    drop(held);
}

#[test]
fn a_reload_that_takes_the_limit_away_frees_those_it_banned() {
    let site = site("auth_failure_limit_pair 1 60 600");
    let broker = site.start();
    assert_eq!(Raw::refused(site.plain, &wrong("alice")), 0x86);
    assert_eq!(Raw::refused(site.plain, &Hello::new(5, "a", "alice")), 0x8A);
    let conf = site.read("portcullis.conf");
    site.write(
        "portcullis.conf",
        &conf.replace("auth_failure_limit_pair 1", "auth_failure_limit_pair 0"),
    );
    assert_eq!(broker.reload()["decision"], "allow");
    let ended = broker.audited("ban_ended", |line| line["username"] == "alice");
    assert_eq!(ended["how"], "lifted");
    eventually("alice is let in", || {
        let mut raw = Raw::plain(site.plain, 5);
        raw.send(&Hello::new(5, "a", "alice").encode());
        (raw.receive().body[1] == 0).then_some(())
    });
}
