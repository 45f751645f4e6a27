//! mosquitto's grammar, quirk by quirk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis::config::{
    AuditLog, AuthFailureLimit, Bind, LoadOptions, LogDestination, LogType, Rate, RateAction,
    SubscribeGuard, read_text,
};
use proptest::prelude::*;

use crate::support::{errors, only_error, read, settings, warnings};

#[test]
fn an_unknown_directive_is_shown_with_its_place_and_the_nearest_name() {
    assert_eq!(
        only_error("sys_interval 5\n  alow_anonymous true\n"),
        "portcullis.conf:2:3: error: unknown directive `alow_anonymous`\n\
         2 |   alow_anonymous …\n\
         \x20 |   ^\n\
         help: did you mean `allow_anonymous`?"
    );
}

#[test]
fn the_value_of_a_misspelt_directive_is_not_shown_because_it_may_be_a_secret() {
    let error = only_error("remote_pasword hunter2\n");
    assert!(!error.contains("hunter2"), "{error}");
    assert!(error.contains("did you mean `remote_password`?"), "{error}");
}

#[test]
fn a_name_like_no_other_gets_no_suggestion() {
    assert!(
        only_error("zzzzzzzzzz 1\n")
            .ends_with("help: `portcullis directives` lists every directive")
    );
}

#[test]
fn only_the_space_separates_a_name_from_its_value() {
    assert_eq!(
        only_error("listener\t1883\n"),
        "portcullis.conf:1:1: error: a TAB follows `listener`; only spaces separate a name from its value\n\
         1 | listener …\n\
         \x20 | ^\n\
         help: replace the TAB by a space"
    );
    assert!(only_error("\tlistener 1883\n").contains("error: a TAB follows ``"));
    assert_eq!(
        settings("  sys_interval    7  \n").protocol.sys_interval,
        Some(Duration::from_secs(7))
    );
}

#[test]
fn a_comment_begins_in_the_first_column() {
    assert_eq!(errors(&read("# text\n#sys_interval x\n")), [""; 0]);
    assert_eq!(
        errors(&read("  # text\n")),
        ["portcullis.conf:1:3: error: a comment has its `#` in the first column"]
    );
}

#[test]
fn the_rest_of_a_line_is_ignored_after_a_truth_value_or_number_and_said_so() {
    let loaded =
        read("allow_anonymous true # x\nmessage_size_limit 10 MB\nclient_message_rate 5 # x\n");
    assert_eq!(errors(&loaded), [""; 0]);
    assert_eq!(loaded.settings.limits.message_size_limit, Some(10));
    assert_eq!(
        warnings(&loaded),
        ["portcullis.conf:2:23: warning: `MB` and what follows is ignored"]
    );
}

#[test]
fn a_path_takes_the_rest_of_the_line_with_its_hash_and_is_warned_about() {
    let loaded = read("pid_file /p a # x  \r\n");
    let pid_file = loaded
        .settings
        .process
        .pid_file
        .clone()
        .map(|located| located.value);
    assert_eq!(pid_file, Some(PathBuf::from("/p a # x")));
    assert_eq!(
        warnings(&loaded),
        ["portcullis.conf:1:15: warning: this is part of the value, not a comment"]
    );
}

#[test]
fn line_ends_may_be_of_any_kind_and_the_last_may_be_missing() {
    let settings = settings("sys_interval 3\r\n\r\n   \nmax_keepalive 9\r\r\nmax_topic_levels 4");
    assert_eq!(settings.protocol.sys_interval, Some(Duration::from_secs(3)));
    assert_eq!(settings.limits.max_keepalive, Some(9));
    assert_eq!(settings.limits.max_topic_levels, 4);
}

#[test]
fn names_and_values_have_their_case() {
    assert!(only_error("Sys_interval 1\n").contains("did you mean `sys_interval`?"));
    assert!(only_error("allow_anonymous True\n").contains("`True` is not a truth value"));
}

#[test]
fn a_truth_value_is_one_of_four_words() {
    for (word, expected) in [("true", true), ("1", true), ("false", false), ("0", false)] {
        let settings = settings(&format!("queue_qos0_messages {word}\n"));
        assert_eq!(settings.limits.queue_qos0_messages, expected, "{word}");
    }
    for word in ["yes", "on", "TRUE", "2", "truefalse"] {
        let error = only_error(&format!("queue_qos0_messages {word}\n"));
        assert!(error.starts_with("portcullis.conf:1:21: error:"), "{error}");
    }
}

#[test]
fn numbers_are_read_as_c_reads_them_with_base_0() {
    for (word, expected) in [
        ("1000", 1000),
        ("0x10", 16),
        ("0X1f", 31),
        ("010", 8),
        ("+7", 7),
    ] {
        let settings = settings(&format!("message_size_limit {word}\n"));
        assert_eq!(settings.limits.message_size_limit, Some(expected), "{word}");
    }
    for word in [
        "10k",
        "0x",
        "08",
        "1e3",
        "--1",
        "+-1",
        "0x-1",
        "-",
        "99999999999999999999",
    ] {
        only_error(&format!("message_size_limit {word}\n"));
    }
    assert!(only_error("max_keepalive 65536\n").contains("help: it must be from 0 to 65535"));
}

#[test]
fn a_listener_port_with_a_leading_zero_is_octal() {
    let settings = settings("listener 010 127.0.0.1\n");
    assert_eq!(
        settings.listeners[0].bind,
        Bind::Tcp {
            host: Some("127.0.0.1".to_owned()),
            port: 8
        }
    );
}

#[test]
fn a_missing_value_is_an_error() {
    for name in [
        "sys_interval",
        "acl_file",
        "listener",
        "persistence",
        "client_byte_rate",
        "audit_log",
        "include_dir",
    ] {
        let error = only_error(&format!("{name}\n"));
        assert!(error.contains(&format!("`{name}` has no value")), "{error}");
    }
}

#[test]
fn a_nul_ends_the_file_and_text_after_it_is_an_error() {
    assert_eq!(errors(&read("sys_interval 3\n\0\0\n")), [""; 0]);
    assert_eq!(
        errors(&read("sys_interval 3\n\0acl_file /acl\n")),
        ["portcullis.conf:2: error: a NUL byte ends the file here, and there is text after it"]
    );
}

#[test]
fn a_line_that_is_not_utf_8_is_an_error_at_its_byte() {
    let loaded = read_text(
        Path::new("portcullis.conf"),
        b"# \xff is fine here\nacl_file /\xc3\xa9\xff\n",
        &LoadOptions::default(),
    );
    assert_eq!(
        errors(&loaded),
        ["portcullis.conf:2:12: error: the line is not valid UTF-8"]
    );
}

#[test]
fn a_control_character_reaches_no_terminal() {
    let error = only_error("mqtt3_denied_publish \x1b[2J\n");
    assert!(!error.contains('\x1b'), "{error}");
}

#[test]
fn every_error_is_reported_in_one_go_and_in_order() {
    let loaded = read("sys_interval x\nalow 1\nlistener 0\npsk_file /x\n");
    assert_eq!(
        errors(&loaded),
        [
            "portcullis.conf:1:14: error: `x` is not a whole number",
            "portcullis.conf:2:1: error: unknown directive `alow`",
            "portcullis.conf:3:10: error: port 0 needs the path of a Unix socket",
            "portcullis.conf:4:1: error: `psk_file` is refused: the TLS library has no external pre-shared keys",
        ]
    );
}

#[test]
fn our_own_directives_are_read() {
    let settings = settings(
        "metrics_listener 9883 ::1\naudit_log /var/log/a b.json\nsubscribe_guard report\n\
         client_message_rate 100 150\nclient_byte_rate 1000\nrate_action disconnect\n\
         connect_rate_per_ip 0\nmax_connections_per_ip 5\nmax_subscriptions_per_client 6\n\
         connect_timeout 3\nauth_failure_limit 5 60 600\nmax_topic_levels 9\nthreads 3\n",
    );
    let metrics = settings.metrics_listener.expect("it was written");
    assert_eq!(
        (metrics.port, metrics.address.to_string()),
        (9883, "::1".to_owned())
    );
    let AuditLog::File(audit) = settings.audit_log else {
        panic!("a file was named")
    };
    assert_eq!(audit.value, PathBuf::from("/var/log/a b.json"));
    assert_eq!(settings.access.subscribe_guard, SubscribeGuard::Report);
    let limits = settings.limits;
    assert_eq!(
        limits.client_message_rate,
        Some(Rate {
            per_second: 100,
            burst: 150
        })
    );
    assert_eq!(
        limits.client_byte_rate,
        Some(Rate {
            per_second: 1000,
            burst: 2000
        })
    );
    assert_eq!(limits.rate_action, RateAction::Disconnect);
    assert_eq!(limits.connect_rate_per_ip, None);
    assert_eq!(limits.max_connections_per_ip, Some(5));
    assert_eq!(limits.max_subscriptions_per_client, Some(6));
    assert_eq!(limits.connect_timeout, Duration::from_secs(3));
    assert_eq!(
        settings.abuse.auth_failure_limit,
        Some(AuthFailureLimit {
            count: 5,
            window: Duration::from_mins(1),
            ban: Duration::from_mins(10)
        })
    );
    assert_eq!(limits.max_topic_levels, 9);
    assert_eq!(settings.process.threads, 3);
}

#[test]
fn an_expiration_needs_a_unit() {
    for (word, seconds) in [
        ("10s", 10),
        ("2h", 7200),
        ("1d", 86_400),
        ("1w", 604_800),
        ("1m", 2_592_000),
        ("010y", 315_360_000),
    ] {
        let settings = settings(&format!("persistent_client_expiration {word}\n"));
        assert_eq!(
            settings.protocol.persistent_client_expiration,
            Some(Duration::from_secs(seconds)),
            "{word}"
        );
    }
    for word in ["10", "d", "1.5d", "-1d", "0d", "10x"] {
        only_error(&format!("persistent_client_expiration {word}\n"));
    }
}

#[test]
fn log_lines_add_up_and_none_clears() {
    let first = settings("");
    assert_eq!(first.log.destinations, [LogDestination::Stderr]);
    assert_eq!(
        first.log.types.into_iter().collect::<Vec<_>>(),
        [
            LogType::Error,
            LogType::Warning,
            LogType::Notice,
            LogType::Information
        ]
    );
    let log = settings(
        "log_dest stdout\nlog_dest none\nlog_dest syslog\nlog_type debug\nlog_type error\n",
    )
    .log;
    assert_eq!(log.destinations, [LogDestination::Syslog]);
    assert_eq!(
        log.types.into_iter().collect::<Vec<_>>(),
        [LogType::Error, LogType::Debug]
    );
    let log = settings("log_dest file /var/log/a b.log\nlog_type none\n").log;
    let [LogDestination::File(file)] = log.destinations.as_slice() else {
        panic!("one file")
    };
    assert_eq!(file.value, PathBuf::from("/var/log/a b.log"));
    assert!(log.types.is_empty());
    only_error("log_dest file /a\nlog_dest file /b\n");
    only_error("log_dest dlt\n");
}

#[test]
fn a_second_line_adds_replaces_or_is_an_error() {
    let loaded = read("acl_file /a\nacl_file /b\npid_file /p\npid_file /q\n");
    assert_eq!(
        warnings(&loaded)[0],
        "portcullis.conf:2:1: warning: this replaces the `acl_file` of portcullis.conf:1"
    );
    assert_eq!(
        loaded
            .settings
            .security
            .acl_file
            .clone()
            .map(|file| file.value),
        Some(PathBuf::from("/b"))
    );
    assert_eq!(
        errors(&loaded),
        ["portcullis.conf:4:1: error: `pid_file` is given twice"]
    );
}

#[test]
fn a_file_full_of_errors_ends_with_one_that_says_so() {
    let loaded = read(&"nonsense 1\n".repeat(5000));
    assert_eq!(errors(&loaded).len(), 1001);
    assert!(
        errors(&loaded)[1000].ends_with("too many problems; the lines from here on were not read")
    );
}

#[test]
fn a_file_full_of_listeners_is_bounded() {
    let lines: Vec<String> = (1..5000)
        .map(|port| format!("listener {port} 127.0.0.1"))
        .collect();
    assert_eq!(read(&lines.join("\n")).settings.listeners.len(), 1024);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let loaded = read_text(Path::new("fuzz"), &bytes, &LoadOptions::default());
        for diagnostic in loaded.diagnostics {
            prop_assert!(!diagnostic.to_string().is_empty());
        }
    }

    #[test]
    fn no_value_of_any_directive_makes_the_parser_panic(
        lines in proptest::collection::vec(
            (proptest::sample::select(names()), "[ -~é\u{7f}]{0,24}"), 0..12,
        )
    ) {
        let lines: Vec<String> = lines.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let text = lines.join("\n");
        // include_dir would read the disk; its rules have their own test.
        prop_assume!(!text.contains("include_dir"));
        for loaded in [read(&text), crate::support::read_compatible(&text)] {
            for diagnostic in &loaded.diagnostics {
                prop_assert!(diagnostic.to_string().contains(&diagnostic.message[..1]));
            }
            let _ = loaded.settings.changes(&read("").settings);
        }
    }

    #[test]
    fn a_number_means_what_it_says(value in 1usize..200_000_000) {
        let settings = settings(&format!("message_size_limit {value}\nmax_queued_bytes {value:#x}\n"));
        prop_assert_eq!(settings.limits.message_size_limit, Some(value));
        prop_assert_eq!(settings.limits.max_queued_bytes, Some(value));
    }
}

fn names() -> Vec<&'static str> {
    portcullis::config::table::directives()
        .flat_map(portcullis::config::Directive::names)
        .collect()
}
