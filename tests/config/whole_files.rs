//! Files as operators have them: the examples we ship, and those people bring along.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis::config::{CertificateIdentity, LoadOptions, LogDestination, LogType, load};

use crate::support::{errors, read, read_compatible, settings, warnings};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conf")
        .join(name)
}

/// The configuration of requirements A13 to A15, to the letter.
const TOPIC_SECURITY_GUIDE: &str = "\
# /etc/mosquitto/mosquitto.conf

# Basic security settings
allow_anonymous false
password_file /etc/mosquitto/passwd
acl_file /etc/mosquitto/acl.conf

# TLS settings
listener 8883
cafile /etc/mosquitto/ca.crt
certfile /etc/mosquitto/server.crt
keyfile /etc/mosquitto/server.key
require_certificate true

# Connection limits
max_connections 1000
max_inflight_messages 100
max_queued_messages 1000

# Logging
log_type error
log_type warning
log_type notice
log_type information
log_dest file /var/log/mosquitto/mosquitto.log
";

#[test]
fn the_configuration_of_the_topic_security_guide_loads_unchanged_in_hardened() {
    let loaded = read(TOPIC_SECURITY_GUIDE);
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    let settings = loaded.settings;
    assert!(settings.findings.is_empty());
    let [listener] = settings.listeners.as_slice() else {
        panic!("one listener")
    };
    assert_eq!(listener.bind.to_string(), "8883");
    assert_eq!(listener.max_connections, Some(1000));
    assert!(!listener.security.allow_anonymous);
    let tls = listener.tls.as_ref().expect("TLS is on");
    assert!(tls.require_certificate && tls.cafile.is_some());
    assert_eq!(settings.limits.max_inflight_messages, 100);
    assert_eq!(settings.limits.max_queued_messages, Some(1000));
    assert_eq!(settings.log.types.len(), 4);
    assert!(settings.log.types.contains(&LogType::Information));
    assert!(matches!(
        settings.log.destinations.as_slice(),
        [LogDestination::File(_)]
    ));
}

#[test]
fn the_default_file_of_debian_loads_and_keeps_what_it_kept() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let text = format!(
        "pid_file /run/mosquitto/mosquitto.pid\n\npersistence true\npersistence_location /var/lib/mosquitto/\n\n\
         log_dest file /var/log/mosquitto/mosquitto.log\n\ninclude_dir {}\n",
        dir.path().display()
    );
    let loaded = read(&text);
    assert_eq!(errors(&loaded), [""; 0]);
    assert_eq!(warnings(&loaded), [""; 0]);
    assert!(loaded.settings.local_only);
    assert!(loaded.settings.persistence.store().is_some());
}

#[test]
fn an_open_broker_of_the_internet_loads_in_compatible_only() {
    let text = "listener 1883 0.0.0.0\nallow_anonymous true\nlistener 9001 127.0.0.1\n";
    assert_eq!(errors(&read(text)).len(), 3);
    assert_eq!(errors(&read_compatible(text)), [""; 0]);
}

#[test]
fn the_full_example_is_an_empty_configuration() {
    let (settings, warnings) =
        load(Some(&shipped("portcullis.conf")), &LoadOptions::default()).expect("it loads");
    assert!(warnings.is_empty());
    assert!(settings.changes(&crate::support::settings("")).is_empty());
}

/// These need files or other lines that are not in the example, or exclude one that is.
fn stands_apart(name: &str) -> bool {
    name.contains("plugin")
        || name == "include_dir"
        || name == "certificate_identity"
        || name.starts_with("jwt_secret")
}

#[test]
fn the_full_example_loads_with_its_lines_switched_on() {
    let text = std::fs::read_to_string(shipped("portcullis.conf")).expect("it is there");
    let mut switched_on = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix('#') else {
            continue;
        };
        let name = rest.split(' ').next().unwrap_or_default();
        if portcullis::config::table::directive(name).is_some() && !stands_apart(name) {
            switched_on.push(rest);
        }
    }
    let implemented = portcullis::config::table::directives()
        .filter(|directive| directive.support == portcullis::config::Support::Implemented)
        .filter(|directive| !stands_apart(directive.name))
        .count();
    assert_eq!(switched_on.len(), implemented);
    let settings = settings(&switched_on.join("\n"));
    assert_eq!(settings.listeners.len(), 2);
    assert!(settings.listeners[0].tls.is_some());
    assert_eq!(settings.limits, crate::support::settings("").limits);
}

#[test]
fn the_minimal_example_loads_in_hardened_without_a_word() {
    let (settings, warnings) =
        load(Some(&shipped("minimal.conf")), &LoadOptions::default()).expect("it loads");
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(settings.findings.is_empty());
    assert_eq!(settings.listeners.len(), 1);
}

#[test]
fn the_hardened_example_loads_in_hardened_without_a_word() {
    let (settings, warnings) =
        load(Some(&shipped("hardened.conf")), &LoadOptions::default()).expect("it loads");
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(settings.findings.is_empty());
    let [outside, inside] = settings.listeners.as_slice() else {
        panic!("two listeners")
    };
    assert_eq!(
        outside.certificate_identity,
        Some(CertificateIdentity::CommonName)
    );
    assert!(outside.security.password_file.is_none() && inside.security.password_file.is_some());
    // Clients with keep alives of up to 200 seconds are in use (requirement D9).
    assert!(settings.limits.max_keepalive.is_none_or(|most| most >= 200));
    assert_eq!(settings.limits.connect_timeout, Duration::from_secs(10));
}
