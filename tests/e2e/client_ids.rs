//! What a client may be called: form, length, and whose name it is.

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw};
use crate::support::site::Site;

fn site(on_plain: &str) -> Site {
    let site = Site::with_users(&["alice", "bob"], ACL, "");
    site.on_plain_listener(on_plain);
    site
}

/// The codes of CONNACK in 5.0 and 3.1.1.
fn codes(site: &Site, id: &str) -> [u8; 2] {
    [5, 4].map(|version| {
        let mut raw = Raw::plain(site.plain, version);
        raw.send(&Hello::new(version, id, "alice").encode());
        raw.receive().body[1]
    })
}

const GOOD: [u8; 2] = [0, 0];
const REFUSED: [u8; 2] = [0x85, 2];

#[test]
fn a_client_id_must_match_the_pattern_as_a_whole() {
    let site = site("clientid_pattern [a-z]+-[0-9]{4}");
    let broker = site.start();
    assert_eq!(codes(&site, "pump-0001"), GOOD);
    for wrong in [
        "pump-1",
        "pump-00011",
        "x pump-0001",
        "PUMP-0001",
        "pump-0001\n",
    ] {
        assert_eq!(codes(&site, wrong), REFUSED, "{wrong:?}");
    }
    // Who sends none is given one, which is ours.
    assert_eq!(codes(&site, ""), GOOD);
    let refused = broker.audited("connect", |line| line["reason"] == "client_id");
    assert_eq!(refused["decision"], "deny");
}

#[test]
fn a_client_id_has_a_least_and_a_most_length() {
    let site = site("clientid_min_length 4\nclientid_max_length 8");
    let _broker = site.start();
    for (id, expected) in [
        ("abc", REFUSED),
        ("abcd", GOOD),
        ("abcdefgh", GOOD),
        ("abcdefghi", REFUSED),
        // Bytes count, not letters.
        ("\u{e4}\u{e4}", GOOD),
    ] {
        assert_eq!(codes(&site, id), expected, "{id}");
    }
}

#[test]
fn hardened_takes_no_client_id_longer_than_256_bytes() {
    let site = site("");
    let _broker = site.start();
    assert_eq!(codes(&site, &"x".repeat(256)), GOOD);
    assert_eq!(codes(&site, &"x".repeat(257)), REFUSED);
}

#[test]
fn a_client_id_that_must_be_the_user_name_cannot_be_anothers() {
    let site = site("clientid_from user");
    let _broker = site.start();
    assert_eq!(codes(&site, "alice"), GOOD);
    assert_eq!(codes(&site, "bob"), REFUSED);
    assert_eq!(codes(&site, "alice "), REFUSED);
    // A client that sends none is given it, and told.
    let mut raw = Raw::plain(site.plain, 5);
    raw.send(&Hello::new(5, "", "alice").encode());
    let connack = raw.receive();
    assert_eq!(connack.said(0x12).as_deref(), Some(&b"alice"[..]));
}

#[test]
fn a_client_id_that_is_not_sent_has_the_form_that_is_asked_for_too() {
    let form = "clientid_pattern [a-z0-9-]{4,8}";
    for from in ["clientid_from user", "use_username_as_clientid true"] {
        let site = Site::with_users(&["alice", "bob", "inside-the-plant"], ACL, "");
        site.on_plain_listener(&format!("{from}\n{form}"));
        let _broker = site.start();
        let code = |user: &str| {
            let mut raw = Raw::plain(site.plain, 5);
            raw.send(&Hello::new(5, "", user).encode());
            raw.receive().body[1]
        };
        assert_eq!(code("alice"), 0, "{from}");
        assert_eq!(code("bob"), 0x85, "{from}");
        assert_eq!(code("inside-the-plant"), 0x85, "{from}");
    }
}

#[test]
fn a_user_without_a_name_does_not_give_the_client_id() {
    let site = Site::new();
    site.conf(
        "security_profile compatible\nlistener {plain} 127.0.0.1\nallow_anonymous true\n\
         use_username_as_clientid true\n",
    );
    let _broker = site.start();
    let mut hello = Hello::nameless(5, "c");
    hello.user = Some(String::new());
    assert_eq!(Raw::refused(site.plain, &hello), 0x85);
}

#[test]
fn a_pattern_that_is_none_is_told_with_its_place() {
    let site = site("clientid_pattern [a-");
    let ended = site.run_conf();
    assert_ne!(ended.code, Some(0));
    assert!(
        ended.err.contains("it is no regular expression"),
        "{}",
        ended.err
    );
}
