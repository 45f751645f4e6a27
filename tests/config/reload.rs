//! What a reload says about each change.

use portcullis::config::{Change, Reload};

use crate::support::{read_compatible, settings};

fn changes(before: &str, after: &str) -> Vec<(String, Reload)> {
    settings(before)
        .changes(&settings(after))
        .into_iter()
        .map(|change| (describe(&change), change.effect))
        .collect()
}

fn describe(change: &Change) -> String {
    format!(
        "{}{}: {} -> {}",
        change
            .listener
            .as_ref()
            .map(|listener| format!("[{listener}] "))
            .unwrap_or_default(),
        change.directive,
        change.before.as_deref().unwrap_or("none"),
        change.after.as_deref().unwrap_or("none"),
    )
}

fn text(expected: &[(&str, Reload)]) -> Vec<(String, Reload)> {
    expected
        .iter()
        .map(|(text, effect)| ((*text).to_owned(), *effect))
        .collect()
}

#[test]
fn nothing_changes_between_two_ways_of_writing_the_same() {
    assert_eq!(
        changes(
            "sys_interval 16\nlistener 1883 127.0.0.1\n",
            "#\nsys_interval 0x10\nlistener 1883 127.0.0.1 # x\nmax_qos 2\n"
        ),
        []
    );
}

#[test]
fn each_change_says_when_it_takes_effect() {
    assert_eq!(
        changes(
            "threads 2\nacl_file /a\nuser x\n",
            "threads 3\nacl_file /b\nuser x\nmax_connections_per_ip 7\n"
        ),
        text(&[
            ("acl_file: /a -> /b", Reload::Applied),
            ("max_connections_per_ip: 1000 -> 7", Reload::NewConnections),
            ("threads: 2 -> 3", Reload::NeedsRestart),
        ])
    );
}

#[test]
fn listeners_are_compared_by_where_they_bind() {
    assert_eq!(
        changes(
            "listener 1883 127.0.0.1\nmax_connections 5\nlistener 1884 ::1\n",
            "listener 1885 ::1\nlistener 1883 127.0.0.1\nmax_connections 6\n",
        ),
        text(&[
            (
                "[127.0.0.1:1883] max_connections: 5 -> 6",
                Reload::NewConnections
            ),
            (
                "[[::1]:1884] listener: [::1]:1884 -> none",
                Reload::NeedsRestart
            ),
            (
                "[[::1]:1885] listener: none -> [::1]:1885",
                Reload::NeedsRestart
            ),
        ])
    );
}

#[test]
fn the_deprecated_port_is_a_listener_like_the_others() {
    assert_eq!(
        changes(
            "port 1883\nbind_address 127.0.0.1\nmax_qos 1\n",
            "listener 1883 127.0.0.1\nmax_qos 0\n"
        ),
        text(&[
            (
                "[127.0.0.1:1883] bind_address: 127.0.0.1 -> none",
                Reload::Applied
            ),
            ("[127.0.0.1:1883] max_qos: 1 -> 0", Reload::NewConnections),
            ("[127.0.0.1:1883] port: 1883 -> none", Reload::Applied),
        ])
    );
}

#[test]
fn another_profile_shows_every_default_that_moves_with_it() {
    let changes = settings("").changes(&read_compatible("").settings);
    let all: Vec<String> = changes.iter().map(describe).collect();
    assert_eq!(all[0], "security_profile: hardened -> compatible");
    assert!(
        all.contains(&"subscribe_guard: strict -> filter".to_owned()),
        "{all:?}"
    );
    assert!(
        all.contains(&"max_queued_bytes: 4194304 -> 0".to_owned()),
        "{all:?}"
    );
}
