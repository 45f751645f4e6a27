//! Directives about clients that guess.

use std::time::Duration;

use portcullis::config::{AuthFailureLimit, CountLimit, MisuseLimit};

use crate::support::{only_error, read_compatible, settings};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn limits_on_guesses_are_read() {
    let abuse = settings(
        "auth_failure_limit_pair 3 60 120\nauth_failure_limit_user 4 30 # why\n\
         auth_failure_delay_ms 5 1000\nmisuse_limit_topics 7 8\nmisuse_limit_takeovers 9 10 11\n\
         misuse_limit_wildcards 0 60\ncanary_topic a/#\ncanary_topic b c\ncanary_user eve #1\ncanary_ban 12\n",
    )
    .abuse;
    assert_eq!(
        abuse.auth_failure_limit_pair,
        Some(AuthFailureLimit {
            count: 3,
            window: 60 * SECOND,
            ban: 120 * SECOND
        })
    );
    assert_eq!(
        abuse.auth_failure_limit_user,
        Some(CountLimit {
            count: 4,
            window: 30 * SECOND
        })
    );
    assert_eq!(
        abuse.auth_failure_delay,
        Some((Duration::from_millis(5), SECOND))
    );
    let limit = |count, window, ban: Option<u32>| {
        Some(MisuseLimit {
            count,
            window: window * SECOND,
            ban: ban.map(|ban| ban * SECOND),
        })
    };
    assert_eq!(
        abuse.misuse,
        [
            None,
            limit(7, 8, None),
            limit(100, 60, None),
            limit(20, 60, None),
            limit(9, 10, Some(11))
        ]
    );
    let topics: Vec<&str> = abuse
        .canary_topics
        .iter()
        .map(portcullis::topic::TopicFilter::as_str)
        .collect();
    assert_eq!(topics, ["a/#", "b c"]);
    assert_eq!(abuse.canary_users, ["eve #1"]);
    assert_eq!(abuse.canary_ban, Some(12 * SECOND));
}

#[test]
fn hardened_tells_of_misuse_without_banning_and_compatible_does_as_mosquitto() {
    let hardened = settings("").abuse;
    assert!(
        hardened
            .misuse
            .iter()
            .all(|limit| limit.is_some_and(|limit| limit.ban.is_none()))
    );
    assert!(hardened.auth_failure_limit_user.is_some() && hardened.auth_failure_delay.is_some());
    let compatible = read_compatible("").settings.abuse;
    assert_eq!(compatible, portcullis::config::AbuseSettings::default());
}

#[test]
fn what_is_wrong_with_them_is_told_at_its_place() {
    for (line, said) in [
        (
            "auth_failure_limit_pair 3 60",
            ":25: error: three numbers are needed",
        ),
        (
            "auth_failure_limit_user 3",
            ":25: error: two numbers are needed",
        ),
        (
            "auth_failure_limit_user 3 0",
            ":27: error: 0 is out of range",
        ),
        (
            "auth_failure_delay_ms 5",
            ":23: error: two numbers are needed",
        ),
        (
            "auth_failure_delay_ms 500 100",
            ":27: error: MAX is less than MIN",
        ),
        (
            "auth_failure_delay_ms 1 60001",
            ":25: error: 60001 is out of range",
        ),
        (
            "misuse_limit_topics 1001 60",
            ":21: error: 1001 is out of range",
        ),
        (
            "misuse_limit_topics 5",
            ":21: error: two or three numbers are needed",
        ),
        (
            "misuse_limit_topics 5 60 0",
            ":26: error: 0 is out of range",
        ),
        (
            "misuse_limit_topics 5 60 1 2",
            ":21: error: two or three numbers are needed",
        ),
        (
            "canary_topic a/b#",
            ":14: error: `a/b#`: + and # must fill a whole level",
        ),
    ] {
        let error = only_error(&format!("{line}\n"));
        assert!(error.contains(said), "{line}: {error}");
    }
    let many = "canary_user x\n".repeat(257);
    assert!(only_error(&many).contains("256 of them"));
}
