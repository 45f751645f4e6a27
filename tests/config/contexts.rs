//! What belongs to what: listeners, security groups, plugins, included files.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis::codec::{QoS, Version};
use portcullis::config::{
    Bind, CertificateIdentity, LoadOptions, Located, Settings, TlsVersion, Verbosity, load,
    read_text,
};

use crate::support::{errors, only_error, read, settings, warnings};

/// A listener of which the hardened profile has nothing to say.
const LOOPBACK: &str = "listener 1883 127.0.0.1\n";

fn binds(settings: &Settings) -> Vec<String> {
    settings
        .listeners
        .iter()
        .map(|listener| listener.bind.to_string())
        .collect()
}

fn path(file: Option<&Located<PathBuf>>) -> Option<&str> {
    file.and_then(|file| file.value.to_str())
}

#[test]
fn without_a_listener_only_this_host_is_served_and_anonymous_clients_are_allowed() {
    let (settings, warnings) = load(None, &LoadOptions::default()).expect("nothing can be wrong");
    assert!(warnings.is_empty());
    assert!(settings.local_only);
    assert_eq!(binds(&settings), ["127.0.0.1:1883", "[::1]:1883"]);
    assert!(
        settings
            .listeners
            .iter()
            .all(|listener| listener.security.allow_anonymous)
    );
    assert_eq!(
        settings
            .listeners
            .iter()
            .map(|l| l.optional)
            .collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(settings.listeners[0].max_topic_alias, 10);
    assert!(settings.findings.is_empty());
}

#[test]
fn a_file_without_a_listener_is_local_only_too_and_may_forbid_anonymous_clients() {
    let settings = settings("allow_anonymous false\npassword_file /p\n");
    assert!(settings.local_only);
    assert!(!settings.listeners[0].security.allow_anonymous);
    assert_eq!(
        path(settings.listeners[0].security.password_file.as_ref()),
        Some("/p")
    );
}

#[test]
fn ports_of_the_command_line_are_for_local_only_mode() {
    let options = LoadOptions {
        ports: vec![1884, 1885],
        ..LoadOptions::default()
    };
    let (settings, _) = load(None, &options).expect("nothing can be wrong");
    assert_eq!(
        binds(&settings),
        [
            "127.0.0.1:1884",
            "[::1]:1884",
            "127.0.0.1:1885",
            "[::1]:1885"
        ]
    );
    let loaded = read_text(Path::new("c"), LOOPBACK.as_bytes(), &options);
    assert_eq!(binds(&loaded.settings), ["127.0.0.1:1883"]);
    assert!(warnings(&loaded).contains(
        &"portcullis: warning: `-p` is ignored: the configuration has a listener".to_owned()
    ));
}

#[test]
fn quiet_beats_verbose_and_both_beat_the_file() {
    for (verbosity, expected) in [
        (Verbosity::Verbose, 9),
        (Verbosity::Quiet, 0),
        (Verbosity::FromFile, 1),
    ] {
        let options = LoadOptions {
            verbosity,
            ..LoadOptions::default()
        };
        let loaded = read_text(Path::new("c"), b"log_type error\n", &options);
        assert_eq!(loaded.settings.log.types.len(), expected, "{verbosity:?}");
    }
}

#[test]
fn listener_directives_belong_to_the_listener_above_them() {
    let settings = settings(
        "listener 1883 127.0.0.1\nmax_connections 5\nmax_qos 1\nsys_interval 3\nmax_topic_alias 0\n\
         listener 1884 ::1\nmaximum_qos 0\nmount_point a/\naccept_protocol_versions 5, 4\n\
         listener 0 /run/my broker.sock # local\nuse_username_as_clientid true\n",
    );
    assert_eq!(
        binds(&settings),
        ["127.0.0.1:1883", "[::1]:1884", "/run/my broker.sock"]
    );
    let [first, second, third] = settings.listeners.as_slice() else {
        panic!("three")
    };
    assert_eq!(
        (first.max_connections, first.max_qos, first.max_topic_alias),
        (Some(5), QoS::AtLeastOnce, 0)
    );
    assert_eq!(
        (second.max_connections, second.max_qos),
        (None, QoS::AtMostOnce)
    );
    assert_eq!(second.mount_point.as_deref(), Some("a/"));
    assert_eq!(second.versions, [Version::V311, Version::V5]);
    assert_eq!(first.versions, [Version::V31, Version::V311, Version::V5]);
    assert!(third.use_username_as_clientid && !first.use_username_as_clientid);
    assert_eq!(first.origin.line, 1);
    assert_eq!(first.origin.to_string(), "portcullis.conf:1");
}

#[test]
fn a_listener_may_be_written_badly_in_many_ways() {
    for (line, message) in [
        ("listener 0", "port 0 needs the path of a Unix socket"),
        ("listener 65536", "65536 is out of range"),
        ("listener -1", "-1 is out of range"),
        ("listener 1883 /run/x", "a path is not an address"),
        ("listener 1883 a b", "`b` is more than a listener takes"),
        ("listener 1883 a;b", "`a;b` is not an address or host name"),
        ("listener tls", "`tls` is not a whole number"),
        ("bind_address /x", "a path is not an address"),
    ] {
        let loaded = read(&format!("{line}\n"));
        assert_eq!(errors(&loaded).len(), 1, "{line}: {:?}", errors(&loaded));
        assert!(
            errors(&loaded)[0].ends_with(message),
            "{line}: {:?}",
            errors(&loaded)
        );
    }
}

#[test]
fn the_same_listener_twice_is_an_error() {
    assert!(
        only_error("listener 1883 ::1\nlistener 1883 ::1\n")
            .contains("listener [::1]:1883 is given twice")
    );
}

#[test]
fn listener_directives_without_a_listener_are_not_thrown_away() {
    let loaded = read("certfile /c\nkeyfile /k\nmax_connections 5\nmax_qos 1\n");
    assert_eq!(
        errors(&loaded),
        [
            "portcullis.conf:1:1: error: `certfile` stands before any listener",
            "portcullis.conf:2:1: error: `keyfile` stands before any listener",
            "portcullis.conf:3:1: error: `max_connections` stands before any listener",
            "portcullis.conf:4:1: error: `max_qos` stands before any listener",
        ]
    );
}

#[test]
fn the_deprecated_port_makes_a_listener_of_the_directives_without_one() {
    let loaded = read(
        "certfile /c\nkeyfile /k\nport 8883\nbind_address 127.0.0.1\nlistener 1 ::1\nmax_qos 0\n",
    );
    assert_eq!(errors(&loaded), [""; 0]);
    assert_eq!(binds(&loaded.settings), ["[::1]:1", "127.0.0.1:8883"]);
    let [own, default] = loaded.settings.listeners.as_slice() else {
        panic!("two")
    };
    assert!(default.tls.is_some() && own.tls.is_none());
    assert_eq!(
        (own.max_qos, default.max_qos),
        (QoS::AtMostOnce, QoS::ExactlyOnce)
    );
    for deprecated in [
        "portcullis.conf:3:1: warning: `port` is deprecated",
        "portcullis.conf:4:1: warning: `bind_address` is deprecated",
    ] {
        assert!(warnings(&loaded).contains(&deprecated.to_owned()));
    }
}

#[test]
fn without_per_listener_settings_security_is_global_wherever_it_is_written() {
    let settings = settings(
        "listener 1883 127.0.0.1\nlistener 1884 127.0.0.1\npassword_file /p\nacl_file /a\nallow_anonymous true\n\
         listener_allow_anonymous false\nlistener_auto_id_prefix two-\n",
    );
    let [first, second] = settings.listeners.as_slice() else {
        panic!("two")
    };
    assert_eq!(path(first.security.acl_file.as_ref()), Some("/a"));
    assert_eq!(path(first.security.password_file.as_ref()), Some("/p"));
    assert!(first.security.allow_anonymous && !second.security.allow_anonymous);
    assert_eq!(
        (
            first.security.auto_id_prefix.as_str(),
            second.security.auto_id_prefix.as_str()
        ),
        ("auto-", "two-")
    );
}

#[test]
fn with_per_listener_settings_each_listener_has_its_own_group() {
    let settings = settings(
        "per_listener_settings true\nlistener 1883 127.0.0.1\nallow_anonymous true\nacl_file /a\n\
         listener 1884 127.0.0.1\npassword_file /p\nauto_id_prefix x-\n",
    );
    let [first, second] = settings.listeners.as_slice() else {
        panic!("two")
    };
    assert!(first.security.allow_anonymous && !second.security.allow_anonymous);
    assert_eq!(
        (
            path(first.security.acl_file.as_ref()),
            path(second.security.acl_file.as_ref())
        ),
        (Some("/a"), None)
    );
    assert_eq!(
        (
            path(first.security.password_file.as_ref()),
            path(second.security.password_file.as_ref())
        ),
        (None, Some("/p"))
    );
    assert_eq!(second.security.auto_id_prefix, "x-");
    assert!(settings.security.acl_file.is_none());
}

#[test]
fn per_listener_settings_comes_first_and_stays() {
    assert!(
        only_error("acl_file /a\nper_listener_settings true\n")
            .contains("`per_listener_settings` comes too late")
    );
    assert!(
        only_error("per_listener_settings true\nper_listener_settings false\n")
            .contains("cannot go back to false")
    );
    assert!(
        only_error("per_listener_settings true\nacl_file /a\n")
            .contains("`acl_file` stands before any listener")
    );
}

#[test]
fn tls_is_whole_or_an_error() {
    let settings = settings(
        "listener 8883 127.0.0.1\ncertfile /c\nkeyfile /k\ncafile /ca\ncapath /cas\ncrlfile /crl\n\
         require_certificate true\nuse_identity_as_username true\nuse_subject_as_username true\n\
         tls_version tlsv1.3\nciphers ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256\n\
         ciphers_tls1.3 TLS_AES_256_GCM_SHA384\n",
    );
    let listener = &settings.listeners[0];
    assert_eq!(
        listener.certificate_identity,
        Some(CertificateIdentity::CommonName)
    );
    let tls = listener
        .tls
        .as_ref()
        .expect("certificate and key are there");
    assert_eq!(tls.certfile.value, PathBuf::from("/c"));
    assert_eq!(tls.certfile.origin.line, 2);
    assert_eq!(tls.keyfile.value, PathBuf::from("/k"));
    assert_eq!(path(tls.crlfile.as_ref()), Some("/crl"));
    assert_eq!(path(tls.capath.as_ref()), Some("/cas"));
    assert!(tls.require_certificate);
    assert_eq!(tls.minimum_version, TlsVersion::Tls13);
    assert_eq!(
        tls.ciphers.as_deref(),
        Some(
            &[
                "ECDHE-RSA-AES256-GCM-SHA384",
                "ECDHE-ECDSA-AES128-GCM-SHA256"
            ][..]
        )
    );
    assert_eq!(
        tls.ciphers_tls13.as_deref(),
        Some(&["TLS_AES_256_GCM_SHA384"][..])
    );
}

#[test]
fn tls_options_that_mosquitto_would_forget_are_errors() {
    for (lines, message) in [
        ("certfile /c", "`keyfile` is missing"),
        ("keyfile /k", "`certfile` is missing"),
        (
            "cafile /c",
            "`cafile` needs TLS, which listener 127.0.0.1:8883 does not have",
        ),
        (
            "require_certificate true",
            "`require_certificate` needs TLS, which listener 127.0.0.1:8883 does not have",
        ),
        (
            "use_identity_as_username true",
            "`use_identity_as_username` needs TLS, which listener 127.0.0.1:8883 does not have",
        ),
        (
            "certfile /c\nkeyfile /k\nrequire_certificate true",
            "no certificate authority is given that client certificates could be checked with",
        ),
        ("tls_version tlsv1.1", "tlsv1.1 is broken and not offered"),
        ("ciphers HIGH", "cipher suite `HIGH` is not offered"),
        (
            "accept_protocol_versions 9",
            "`9` is not a protocol version",
        ),
        (
            "certfile /c\nkeyfile /k\ncafile /a\nrequire_certificate true\n\
             use_identity_as_username true\ncertificate_identity san_uri",
            "two lines say which name of a certificate is the user name",
        ),
        ("protocol http_api", "there is no HTTP API on a listener"),
        (
            "protocol websockets\nwebsockets_origin example.org",
            "an origin begins with `https://`",
        ),
        (
            "protocol websockets\nwebsockets_origin https://*.example.org",
            "an origin is a scheme and a host, without path or wildcard",
        ),
        (
            "disable_client_cert_date_checks true",
            "`disable_client_cert_date_checks` is refused: an expired client certificate is not accepted",
        ),
    ] {
        let loaded = read(&format!("listener 8883 127.0.0.1\n{lines}\n"));
        assert_eq!(errors(&loaded).len(), 1, "{lines}: {:?}", errors(&loaded));
        assert!(
            errors(&loaded)[0].ends_with(message),
            "{lines}: {:?}",
            errors(&loaded)
        );
    }
    settings(
        "listener 8883 127.0.0.1\nrequire_certificate false\ndisable_client_cert_date_checks false\ntls_keyform pem\n",
    );
}

#[test]
fn a_misspelt_certificate_line_is_the_only_error() {
    assert!(
        only_error("listener 8883\ncertfil /c\nkeyfile /k\nacl_file /a\npassword_file /p\n")
            .contains("did you mean `certfile`?")
    );
}

#[test]
fn a_certificate_identity_without_certificates_refuses_everybody_and_is_warned_about() {
    let loaded =
        read("listener 8883 127.0.0.1\ncertfile /c\nkeyfile /k\nuse_identity_as_username true\n");
    assert_eq!(
        warnings(&loaded),
        [
            "portcullis.conf:4:1: warning: clients are not asked for a certificate, so every client of this listener is refused"
        ]
    );
}

#[test]
fn plugins_that_are_files_are_native_and_others_are_refused() {
    let loaded = settings(
        "plugin /usr/lib/mosquitto_acl_file.so\nplugin_opt_acl_file /a\n\
         plugin /usr/lib/mosquitto_password_file.so\nplugin_opt_password_file /p\nlistener 1883 127.0.0.1\n",
    );
    assert_eq!(
        path(loaded.listeners[0].security.acl_file.as_ref()),
        Some("/a")
    );
    assert_eq!(
        path(loaded.listeners[0].security.password_file.as_ref()),
        Some("/p")
    );

    let loaded = settings(
        "plugin_load acl /usr/lib/mosquitto_acl_file.so\nplugin_opt_acl_file /a\n\
         listener 1883 127.0.0.1\nplugin_use acl\nlistener 1884 127.0.0.1\n",
    );
    assert_eq!(
        path(loaded.listeners[0].security.acl_file.as_ref()),
        Some("/a")
    );
    assert_eq!(path(loaded.listeners[1].security.acl_file.as_ref()), None);

    assert!(
        only_error("plugin /x/evil.so\nplugin_opt_password hunter2\n")
            .contains("shared objects are not loaded")
    );
    assert!(
        only_error("plugin /x/mosquitto_dynamic_security.so\nplugin_opt_config_file /d\n")
            .contains("dynamic security")
    );
    assert!(only_error("plugin mosquitto_acl_file\n").contains("the plugin has no file"));
    assert!(only_error("plugin_opt_acl_file /a\n").contains("stands before any plugin"));
    assert!(
        only_error("acl_file /b\nplugin mosquitto_acl_file\nplugin_opt_acl_file /a\n")
            .contains("name a file for the same thing")
    );
    assert!(
        only_error("listener 1883 127.0.0.1\nplugin_use nothing\n")
            .contains("no plugin is called `nothing`")
    );
}

#[test]
fn a_bridge_is_one_error_however_many_lines_it_has() {
    let error =
        only_error("connection b\naddress 10.0.0.1\ntopic # both\nremote_password hunter2\n");
    assert!(
        error.starts_with(
            "portcullis.conf:1:1: error: `connection` is refused: this broker opens no connections"
        ),
        "{error}"
    );
    let error = only_error("remote_password hunter2\n");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn directives_without_effect_say_what_they_mean_here() {
    let loaded = read(
        "persistence true\npersistence_location /var/lib/mosquitto/\nautosave_interval 30\nretry_interval 5\nenable_control_api false\n",
    );
    assert_eq!(errors(&loaded), [""; 0]);
    let warnings = warnings(&loaded);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("`autosave_interval` has no effect: everything is on the disk before"),
        "{warnings:?}"
    );
    assert_eq!(
        loaded.settings.persistence.directory(),
        Path::new("/var/lib/mosquitto/store")
    );
}

#[test]
fn included_files_come_in_mosquittos_order_and_without_a_current_listener() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in [
        ("b.conf", "log_type debug\n"),
        ("B.conf", "max_topic_levels 7\n"),
        ("a.conf", "max_topic_levels 6\n"),
        ("A.conf", "max_topic_levels 5\n"),
        (".hidden.conf", "max_topic_levels 2\n"),
        ("00.conf", "max_topic_levels 3\n"),
        (".conf", "nonsense\n"),
        ("x.conf.bak", "nonsense\n"),
    ] {
        fs::write(dir.path().join(name), text).expect("it can be written");
    }
    let main = format!(
        "listener 1883 127.0.0.1\ninclude_dir {}\nmax_connections 4\n",
        dir.path().display()
    );
    let settings = settings(&main);
    assert_eq!(settings.limits.max_topic_levels, 7);
    assert_eq!(settings.listeners[0].max_connections, Some(4));
    let names: Vec<&str> = settings
        .files
        .iter()
        .filter_map(|f| f.file_name()?.to_str())
        .collect();
    assert_eq!(
        names,
        [
            "portcullis.conf",
            ".hidden.conf",
            "00.conf",
            "A.conf",
            "a.conf",
            "B.conf",
            "b.conf"
        ]
    );

    fs::write(
        dir.path().join("c.conf"),
        "max_connections 9\ninclude_dir /etc\nalow 1\n",
    )
    .expect("it can be written");
    let loaded = read(&main);
    assert_eq!(errors(&loaded).len(), 3, "{:?}", errors(&loaded));
    assert!(
        errors(&loaded)[0]
            .contains("c.conf:1:1: error: `max_connections` stands before any listener")
    );
    assert!(
        errors(&loaded)[1].contains("c.conf:2:1: error: an included file cannot include others")
    );
    assert!(errors(&loaded)[2].contains("c.conf:3:1: error: unknown directive `alow`"));
}

#[test]
fn what_cannot_be_included_is_an_error_at_its_line() {
    assert!(
        only_error("include_dir /nowhere/at/all\n")
            .starts_with("portcullis.conf:1:13: error: cannot read the directory")
    );
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(dir.path().join("d.conf")).expect("it can be made");
    assert!(
        only_error(&format!("include_dir {}\n", dir.path().display())).contains("cannot include")
    );
}

#[test]
fn a_missing_file_is_an_error_of_the_file() {
    let errors = load(
        Some(Path::new("/nowhere/at/all.conf")),
        &LoadOptions::default(),
    )
    .expect_err("it is missing");
    assert!(
        errors[0]
            .to_string()
            .starts_with("/nowhere/at/all.conf: error: cannot read the configuration")
    );
}

#[test]
fn a_loopback_name_or_address_is_known_as_such() {
    for (host, expected) in [
        (Some("127.0.0.1"), true),
        (Some("127.9.9.9"), true),
        (Some("::1"), true),
        (Some("::ffff:127.0.0.1"), true),
        (Some("localhost"), true),
        (Some("localhost.example.com"), false),
        (Some("10.0.0.1"), false),
        (Some("0.0.0.0"), false),
        (Some("::"), false),
        (None, false),
    ] {
        let bind = Bind::Tcp {
            host: host.map(str::to_owned),
            port: 1883,
        };
        assert_eq!(bind.is_loopback(), expected, "{host:?}");
    }
    assert!(Bind::Unix(PathBuf::from("/run/x")).is_loopback());
}

#[test]
fn whoever_is_to_be_asked_who_a_client_is_must_have_something_to_answer_by() {
    let told = |text: &str| errors(&read(text)).join("\n");
    let chain = "allow_anonymous false\npassword_file p\nauth_provider password\nauth_provider jwt\n\
                 auth_provider certificate\nlistener 1883 127.0.0.1\n";
    let found = told(chain);
    assert!(found.contains(":4:1: error: jwt is to be asked"), "{found}");
    assert!(
        found.contains(":5:1: error: certificate is to be asked"),
        "{found}"
    );
    assert!(!found.contains("password is to be asked"), "{found}");
    let twice = told("password_file p\nauth_provider password\nauth_provider password\n");
    assert!(
        twice.contains(":3:15: error: password is asked already"),
        "{twice}"
    );
    let nearest = only_error("auth_provider pasword\n");
    assert!(nearest.contains("password"), "{nearest}");
}
