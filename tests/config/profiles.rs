//! `security_profile`: what is refused, what is only said, and who chooses.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use portcullis::config::permissions::{Exposure, SensitiveFile, check};
use portcullis::config::{
    FindingKind, LoadOptions, ProfileSource, SecurityProfile, SubscribeGuard, read_text,
};

use crate::support::{errors, only_error, read, read_compatible, settings, warnings};

fn kinds(loaded: &portcullis::config::Loaded) -> Vec<FindingKind> {
    loaded
        .settings
        .findings
        .iter()
        .map(|finding| finding.kind)
        .collect()
}

#[test]
fn the_command_line_beats_the_environment_which_beats_the_file() {
    assert_eq!(settings("").profile, SecurityProfile::Hardened);
    let from_file = settings("security_profile compatible\n");
    assert_eq!(from_file.profile, SecurityProfile::Compatible);
    assert_eq!(from_file.profile_source, ProfileSource::Configuration);
    for source in [ProfileSource::Environment, ProfileSource::CommandLine] {
        let options = LoadOptions {
            profile: Some((SecurityProfile::Hardened, source)),
            ..LoadOptions::default()
        };
        let loaded = read_text(Path::new("c"), b"security_profile compatible\n", &options);
        assert_eq!(
            (loaded.settings.profile, loaded.settings.profile_source),
            (SecurityProfile::Hardened, source)
        );
        assert_eq!(
            warnings(&loaded),
            [format!("c:1:1: warning: the profile is hardened, {source}")]
        );
    }
    assert!(
        only_error("security_profile safe\n").contains("help: write one of: hardened, compatible")
    );
    assert!(
        only_error("security_profile hardened\nsecurity_profile compatible\n")
            .contains("`security_profile` is given twice")
    );
}

#[test]
fn the_profile_decides_defaults_wherever_its_line_stands() {
    let hardened = settings("");
    assert_eq!(hardened.access.subscribe_guard, SubscribeGuard::Strict);
    assert_eq!(hardened.limits.max_queued_bytes, Some(4 << 20));
    assert_eq!(hardened.limits.max_subscriptions_per_client, Some(1000));
    assert_eq!(hardened.limits.connect_packet_max_bytes, 16_384);
    assert_eq!(hardened.limits.connect_timeout, Duration::from_secs(10));
    assert!(hardened.access.check_retain_source);
    let compatible = settings("max_keepalive 7\nsecurity_profile compatible\n");
    assert_eq!(compatible.access.subscribe_guard, SubscribeGuard::Filter);
    assert_eq!(compatible.limits.max_queued_bytes, None);
    assert_eq!(compatible.limits.max_queued_messages, Some(1000));
    assert_eq!(compatible.limits.max_subscriptions_per_client, None);
    assert_eq!(compatible.limits.global_max_connections, None);
    assert!(!compatible.access.check_retain_source);
    for settings in [hardened, compatible] {
        assert_eq!(settings.limits.max_packet_bytes, 2_000_000);
        assert_eq!(settings.limits.max_inflight_messages, 20);
        assert_eq!(settings.limits.max_topic_levels, 200);
        assert_eq!(
            settings.protocol.sys_interval,
            Some(Duration::from_secs(10))
        );
        assert!(settings.hashing.workers >= 1 && settings.process.threads >= 1);
    }
}

#[test]
fn hardened_refuses_an_open_listener_and_names_line_reason_and_remedy() {
    let loaded = read("allow_anonymous true\nlistener 1883\n");
    let rendered: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(
        rendered,
        [
            "portcullis.conf:1:1: error: listener 1883 can be reached by other hosts and allows anonymous clients\n\
             1 | allow_anonymous true\n\
             \x20 | ^\n\
             help: write `allow_anonymous false` (or `listener_allow_anonymous false` below the listener), \
             or bind to loopback (`listener PORT 127.0.0.1`); `security_profile compatible` would only warn",
            "portcullis.conf:2:1: error: listener 1883 can be reached by other hosts and has no TLS\n\
             2 | listener 1883\n\
             \x20 | ^\n\
             help: write `certfile` and `keyfile` below it, or bind to loopback (`listener PORT 127.0.0.1`), \
             or `allow_insecure_listener true` below it; `security_profile compatible` would only warn",
            "portcullis.conf:2:1: error: listener 1883 can be reached by other hosts and has no ACL: every \
             client may read and write everything\n\
             2 | listener 1883\n\
             \x20 | ^\n\
             help: write `acl_file PATH`, or bind to loopback (`listener PORT 127.0.0.1`); \
             `security_profile compatible` would only warn",
        ]
    );
}

#[test]
fn compatible_starts_it_with_a_warning_and_a_finding_each() {
    let loaded = read_compatible("allow_anonymous true\nlistener 1883\nmax_queued_messages 0\n");
    assert_eq!(errors(&loaded), [""; 0]);
    assert_eq!(
        kinds(&loaded),
        [
            FindingKind::UnboundedQueue,
            FindingKind::GuardNotStrict,
            FindingKind::PlaintextListener,
            FindingKind::AnonymousListener,
            FindingKind::ListenerWithoutAcl,
        ]
    );
    assert_eq!(warnings(&loaded).len(), 5);
    assert_eq!(loaded.settings.findings[2].origin.line, 2);
    assert_eq!(loaded.settings.limits.max_queued_messages, None);
}

#[test]
fn hardened_refuses_a_queue_without_a_bound() {
    assert!(only_error("max_queued_messages 0\n").contains("write `max_queued_messages 1000`"));
}

#[test]
fn plaintext_off_loopback_can_be_asked_for_and_is_still_a_finding() {
    let loaded = read(
        "password_file /p\nacl_file /a\nlistener 1883 10.0.0.1\nallow_insecure_listener true\n",
    );
    assert_eq!(errors(&loaded), [""; 0]);
    assert_eq!(kinds(&loaded), [FindingKind::PlaintextListener]);
    // It excuses the missing TLS and nothing else.
    let loaded = read("allow_anonymous true\nlistener 1883\nallow_insecure_listener true\n");
    assert_eq!(errors(&loaded).len(), 2, "{:?}", errors(&loaded));
}

#[test]
fn loopback_and_unix_listeners_are_not_judged() {
    let loaded = read(
        "allow_anonymous true\nlistener 1883 127.0.0.1\nlistener 1883 ::1\nlistener 0 /run/p.sock\n",
    );
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
}

#[test]
fn a_weaker_guard_is_allowed_and_said() {
    let loaded = read("subscribe_guard filter\n");
    assert_eq!(
        loaded.settings.access.subscribe_guard,
        SubscribeGuard::Filter
    );
    assert_eq!(kinds(&loaded), [FindingKind::GuardNotStrict]);
    assert_eq!(warnings(&loaded).len(), 1);
}

#[test]
fn a_listener_nobody_can_use_or_anybody_can_pretend_on_gets_a_warning() {
    let loaded = read("listener 1883 127.0.0.1\n");
    assert_eq!(
        warnings(&loaded),
        ["portcullis.conf:1:1: warning: nobody can connect to listener 127.0.0.1:1883"]
    );
    let loaded = read("allow_anonymous true\nacl_file /a\nlistener 1883 127.0.0.1\n");
    assert_eq!(
        warnings(&loaded),
        [
            "portcullis.conf:3:1: warning: clients of listener 127.0.0.1:1883 can claim any user name of the ACL file"
        ]
    );
}

#[test]
fn metrics_for_other_hosts_get_a_warning() {
    assert!(warnings(&read("metrics_listener 9883\n")).is_empty());
    assert_eq!(
        warnings(&read("metrics_listener 9883 0.0.0.0\n")),
        ["portcullis.conf:1:1: warning: metrics are served without TLS or password to other hosts"]
    );
}

#[test]
fn a_secret_that_others_can_read_is_an_error_in_hardened_and_a_finding_in_compatible() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str, mode: u32| {
        let path = dir.path().join(name);
        fs::write(&path, "x").expect("it can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode can be set");
        path
    };
    let key = path("key", 0o640);
    let passwords = path("passwords", 0o600);
    let acl = path("acl", 0o666);
    assert_eq!(
        check(&key, SensitiveFile::PrivateKey).expect("it exists"),
        Some(Exposure::GroupOrWorld { mode: 0o640 })
    );
    assert_eq!(
        check(&passwords, SensitiveFile::PasswordFile).expect("it exists"),
        None
    );
    assert_eq!(
        check(&acl, SensitiveFile::AclFile).expect("it exists"),
        Some(Exposure::WorldWritable { mode: 0o666 })
    );
    assert!(check(&dir.path().join("missing"), SensitiveFile::AclFile).is_err());
    // Container secrets are links to the file that counts.
    let link = dir.path().join("link");
    symlink(&key, &link).expect("it can be made");
    assert_eq!(
        check(&link, SensitiveFile::PasswordFile).expect("it exists"),
        Some(Exposure::GroupOrWorld { mode: 0o640 })
    );

    let conf = format!(
        "acl_file {}\npassword_file {}\nlistener 8883\ncertfile /missing\nkeyfile {}\n",
        acl.display(),
        passwords.display(),
        key.display()
    );
    let mut hardened = read(&conf).settings;
    let rendered: Vec<String> = hardened
        .check_permissions()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(rendered.len(), 2);
    assert!(
        rendered[0].starts_with("portcullis.conf:1:10: error: "),
        "{}",
        rendered[0]
    );
    assert!(
        rendered[0].contains("world can write it (mode 0666)"),
        "{}",
        rendered[0]
    );
    assert!(
        rendered[1].contains(&format!("help: chmod 600 {}", key.display())),
        "{}",
        rendered[1]
    );
    assert!(hardened.findings.is_empty());

    let mut compatible = read_compatible(&conf).settings;
    assert!(
        compatible
            .check_permissions()
            .iter()
            .all(|diagnostic| !diagnostic.is_error())
    );
    let found: Vec<_> = compatible
        .findings
        .iter()
        .map(|finding| finding.kind)
        .collect();
    assert_eq!(
        found,
        [
            FindingKind::GuardNotStrict,
            FindingKind::AclWritable,
            FindingKind::SecretReadable
        ]
    );
}
