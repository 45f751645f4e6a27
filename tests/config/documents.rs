//! The table, and the documents that are made from it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use portcullis::config::{self, SecurityProfile, Support, table};

use crate::support::{errors, only_error, read};

/// `PORTCULLIS_BLESS=1 cargo test --test config` writes the files instead of comparing them.
fn is_fresh(path: &str, expected: &str, command: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("PORTCULLIS_BLESS").is_some() {
        fs::write(&path, expected).expect("the document can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "{} is stale; to make it again: {command}",
        path.display()
    );
}

#[test]
fn the_reference_is_made_from_the_table() {
    is_fresh(
        "docs/configuration.md",
        &config::markdown(),
        "cargo run -- directives --markdown > docs/configuration.md",
    );
}

#[test]
fn the_full_example_is_made_from_the_table() {
    is_fresh(
        "conf/portcullis.conf",
        &config::conf(),
        "cargo run -- directives --conf > conf/portcullis.conf",
    );
}

#[test]
fn no_name_stands_twice_in_the_table_and_every_entry_says_what_it_means() {
    let mut seen = BTreeSet::new();
    for directive in table::directives() {
        for name in directive.names() {
            assert!(seen.insert(name), "{name} stands twice");
        }
        assert!(directive.meaning.ends_with('.'), "{}", directive.name);
    }
}

#[test]
fn every_directive_of_mosquitto_is_known() {
    for name in MOSQUITTO.split_whitespace() {
        assert!(table::directive(name).is_some(), "{name}");
    }
}

#[test]
fn every_directive_of_our_own_is_known() {
    for name in "metrics_listener audit_log subscribe_guard client_message_rate client_byte_rate rate_action \
                 connect_rate_per_ip max_connections_per_ip max_subscriptions_per_client connect_timeout \
                 auth_failure_limit max_topic_levels security_profile max_retained_messages max_retained_bytes \
                 threads allow_insecure_listener hash_workers hash_queue credential_cache \
                 credential_cache_seconds max_handshakes connect_packet_max_bytes mqtt3_denied_publish \
                 shutdown_timeout"
        .split_whitespace()
    {
        assert!(table::directive(name).is_some_and(|directive| directive.own), "{name}");
    }
}

#[test]
fn every_default_can_be_written_as_a_line() {
    for directive in table::directives() {
        for profile in SecurityProfile::ALL {
            let Some(default) = directive.default.text(profile) else {
                continue;
            };
            let loaded = read(&format!(
                "listener 1883 127.0.0.1\n{} {default}\n",
                directive.name
            ));
            assert_eq!(errors(&loaded), [""; 0], "{}", directive.name);
        }
    }
}

#[test]
fn every_refused_directive_is_an_error_that_says_what_to_do() {
    for directive in table::directives() {
        if let Support::Refused { alternative, .. } = directive.support {
            let error = only_error(&format!(
                "listener 1883 127.0.0.1\n{} something\n",
                directive.name
            ));
            assert!(error.contains(alternative), "{error}");
        }
    }
}

#[test]
fn the_listing_names_every_directive() {
    let listing = config::listing();
    for directive in table::directives() {
        assert!(
            listing.contains(&format!("  {} ", directive.name)),
            "{}",
            directive.name
        );
    }
}

const MOSQUITTO: &str = "
    acl_file allow_anonymous listener_allow_anonymous allow_zero_length_clientid auto_id_prefix
    listener_auto_id_prefix clientid_prefixes password_file per_listener_settings use_username_as_clientid
    use_identity_as_username use_subject_as_username check_retain_source enable_control_api plugin auth_plugin
    global_plugin plugin_load plugin_use plugin_opt_x auth_opt_x auth_plugin_deny_special_chars max_connections
    global_max_connections global_max_clients max_inflight_messages max_inflight_bytes max_queued_messages
    max_queued_bytes queue_qos0_messages max_packet_size message_size_limit max_keepalive max_qos maximum_qos
    max_topic_alias max_topic_alias_broker memory_limit retain_available retain_expiry_interval
    persistent_client_expiration upgrade_outgoing_qos allow_duplicate_messages set_tcp_nodelay
    packet_buffer_size websockets_headers_size sys_interval retry_interval store_clean_interval max_log_entries
    ffdc_output trace_level trace_output persistence retained_persistence persistence_file persistence_location
    autosave_interval autosave_on_changes user pid_file include_dir log_dest log_facility log_timestamp
    log_timestamp_format log_type connection_messages websockets_log_level listener port bind_address
    bind_interface socket_domain protocol accept_protocol_versions mount_point http_dir websockets_origin
    enable_proxy_protocol proxy_protocol_v2_require_tls cafile capath certfile keyfile crlfile
    require_certificate disable_client_cert_date_checks ciphers ciphers_tls1.3 tls_version dhparamfile psk_file
    psk_hint tls_engine tls_engine_kpass_sha1 tls_keyform connection address addresses topic remote_clientid
    clientid local_clientid remote_username username remote_password password local_username local_password
    cleansession local_cleansession keepalive_interval start_type idle_timeout threshold restart_timeout
    round_robin try_private notifications notifications_local_only notification_topic
    bridge_attempt_unsubscribe bridge_bind_address bridge_protocol_version bridge_max_packet_size
    bridge_outgoing_retain bridge_max_topic_alias bridge_receive_maximum bridge_session_expiry_interval
    bridge_reload_type bridge_tcp_keepalive bridge_tcp_user_timeout bridge_cafile bridge_capath bridge_certfile
    bridge_keyfile bridge_alpn bridge_insecure bridge_require_ocsp bridge_tls_version bridge_tls_use_os_certs
    bridge_ciphers bridge_ciphers_tls1.3 bridge_identity bridge_psk";
