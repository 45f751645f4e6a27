//! `mosquitto_pub` and `mosquitto_sub` in every version, over TCP and TLS, with password and
//! certificate (issue demand: real clients; requirements A10 to A15).

use crate::support::material::{MATERIAL, put};
use crate::support::site::Site;
use crate::support::tools::{By, Tool, mosquitto, publisher, subscriber};

pub(crate) const ACL: &str = "\
user inside
topic readwrite demo/#

pattern read demo/%u/answers/#
pattern write demo/%u/requests/#
";

fn site() -> Site {
    Site::with_users(&["inside", "alice", "bob"], ACL, "")
}

#[test]
fn mqtt_4_2_0_1_a_message_of_every_qos_arrives_in_every_version_over_tcp_and_tls() {
    let site = site();
    let _broker = site.start();
    for by in [By::Plain, By::Tls] {
        for version in ["mqttv31", "mqttv311", "mqttv5"] {
            let topic = "demo/alice/answers/1";
            let arguments = [
                "-V",
                version,
                "-q",
                "2",
                "-C",
                "3",
                "-t",
                "demo/alice/answers/#",
            ];
            let waiting = subscriber(&site, by, "alice", &arguments);
            for qos in ["0", "1", "2"] {
                let sent = publisher(
                    &site,
                    by,
                    "inside",
                    &[
                        "-V",
                        version,
                        "-q",
                        qos,
                        "-t",
                        topic,
                        "-m",
                        &format!("qos {qos}"),
                    ],
                );
                assert_eq!(sent.code, Some(0), "{}", sent.text);
                waiting.until(&format!("{topic} qos {qos}"));
            }
            assert_eq!(waiting.finish().code, Some(0));
        }
    }
}

#[test]
fn a_retained_message_waits_for_whoever_subscribes_later_and_an_empty_one_removes_it() {
    let site = site();
    let broker = site.start();
    let topic = "demo/alice/answers/state";
    let retained = ["-r", "-q", "1", "-t", topic, "-m", "on"];
    assert_eq!(publisher(&site, By::Tls, "inside", &retained).code, Some(0));
    let arguments = ["-C", "1", "-t", "demo/alice/answers/+"];
    subscriber(&site, By::Tls, "alice", &arguments).until("state on");
    broker.metric_becomes("portcullis_retained_messages", 1.0);
    let removing = ["-r", "-q", "1", "-t", topic, "-n"];
    assert_eq!(publisher(&site, By::Tls, "inside", &removing).code, Some(0));
    broker.metric_becomes("portcullis_retained_messages", 0.0);
}

#[test]
fn a_client_certificate_is_a_name() {
    let site = Site::new();
    let alice = MATERIAL.client("alice");
    put(site.dir(), "alice.crt", &alice.certificate);
    put(site.dir(), "alice.key", &alice.key);
    site.write("acl.conf", ACL);
    site.conf(
        "listener {tls} 127.0.0.1
certfile {dir}/server.crt
keyfile {dir}/server.key
cafile {dir}/ca.crt
require_certificate true
use_identity_as_username true
acl_file {dir}/acl.conf
metrics_listener {metrics}
audit_log {dir}/audit.log
",
    );
    let broker = site.start();
    let filter = "demo/alice/answers/#";
    let certificate = By::Certificate("alice");
    let subscribing = mosquitto(
        "mosquitto_sub",
        &site,
        certificate,
        None,
        &["-E", "-t", filter],
    );
    let ended = Tool::start(subscribing).finish();
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let connected = broker.audited("connect", |line| line["decision"] == "allow");
    assert_eq!(connected["username"], "alice");
    assert_eq!(connected["method"], "certificate");

    // Without one the handshake fails, and the reason is counted.
    let without = mosquitto("mosquitto_sub", &site, By::Tls, None, &["-E", "-t", filter]);
    assert_ne!(Tool::start(without).finish().code, Some(0));
    broker.metric_becomes(
        "portcullis_tls_handshake_failures_total{reason=\"no_certificate\"}",
        1.0,
    );
}

#[test]
fn a_wrong_password_and_an_unknown_user_hear_the_same() {
    let site = site();
    let broker = site.start();
    for (version, expected) in [
        ("mqttv311", "bad user name or password"),
        ("mqttv5", "Not auth"),
    ] {
        let mut heard = Vec::new();
        for user in ["alice", "nobody-of-this-name"] {
            let mut command = mosquitto(
                "mosquitto_sub",
                &site,
                By::Tls,
                None,
                &["-V", version, "-t", "demo/alice/answers/#"],
            );
            command.args(["-u", user, "-P", "wrong battery"]);
            let ended = Tool::start(command).finish();
            assert_ne!(ended.code, Some(0), "{expected}");
            heard.push((ended.code, ended.text));
        }
        assert_eq!(heard[0], heard[1]);
    }
    let failures = "portcullis_auth_failures_total{reason=\"bad_credentials\"}";
    broker.metric_becomes(failures, 4.0);
    let told = broker.audited("authentication_failure", |line| line["username"] == "alice");
    assert_eq!(told["reason"], "bad_credentials");
    assert!(!site.read("audit.log").contains("wrong battery"));
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_member() {
    let site = site();
    let _broker = site.start();
    let filter = "$share/workers/demo/jobs/+";
    let arguments = ["-V", "mqttv5", "-q", "1", "-t", filter];
    let first = subscriber(&site, By::Plain, "inside", &arguments);
    let second = subscriber(&site, By::Plain, "inside", &arguments);
    for number in 0..4 {
        let topic = format!("demo/jobs/{number}");
        let sent = ["-q", "1", "-t", &topic, "-m", "job"];
        assert_eq!(publisher(&site, By::Plain, "inside", &sent).code, Some(0));
    }
    // They take turns, so each sees two; which two is not promised.
    for member in [first, second] {
        member.until("demo/jobs/");
        member.until("demo/jobs/");
    }
}

#[test]
fn a_will_tells_the_others_when_its_client_is_gone() {
    let site = site();
    let _broker = site.start();
    let watching = subscriber(&site, By::Tls, "inside", &["-t", "demo/+/requests/gone"]);
    let topic = "demo/alice/requests/gone";
    let arguments = [
        "-t",
        "demo/alice/answers/#",
        "--will-topic",
        topic,
        "--will-payload",
        "bye",
    ];
    let dying = subscriber(&site, By::Tls, "alice", &arguments);
    // Killed, so that it cannot say DISCONNECT.
    drop(dying);
    watching.until(&format!("{topic} bye"));
}

#[test]
fn a_client_certificate_as_guides_make_it_without_extensions_is_a_name_too() {
    let site = Site::new();
    let openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .args(arguments)
            .current_dir(site.dir())
            .output()
            .expect("openssl is installed by scripts/test.sh");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
    };
    openssl(&[
        "req",
        "-new",
        "-x509",
        "-nodes",
        "-newkey",
        "rsa:2048",
        "-days",
        "365",
        "-keyout",
        "own-ca.key",
        "-out",
        "own-ca.crt",
        "-subj",
        "/O=Test/CN=openssl CA",
    ]);
    openssl(&[
        "req",
        "-new",
        "-nodes",
        "-newkey",
        "rsa:2048",
        "-keyout",
        "alice.key",
        "-out",
        "alice.csr",
        "-subj",
        "/CN=alice",
    ]);
    openssl(&[
        "x509",
        "-req",
        "-in",
        "alice.csr",
        "-CA",
        "own-ca.crt",
        "-CAkey",
        "own-ca.key",
        "-CAcreateserial",
        "-out",
        "alice.crt",
        "-days",
        "365",
    ]);
    site.write("acl.conf", ACL);
    site.conf(
        "listener {tls} 127.0.0.1
certfile {dir}/server.crt
keyfile {dir}/server.key
cafile {dir}/own-ca.crt
require_certificate true
use_identity_as_username true
acl_file {dir}/acl.conf
audit_log {dir}/audit.log
",
    );
    let broker = site.start();
    let certificate = By::Certificate("alice");
    let arguments = ["-E", "-t", "demo/alice/answers/#"];
    let subscribing = mosquitto("mosquitto_sub", &site, certificate, None, &arguments);
    let ended = Tool::start(subscribing).finish();
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let connected = broker.audited("connect", |line| line["decision"] == "allow");
    assert_eq!(connected["username"], "alice");
}
