//! What we ship besides the program: each file is used here as its reader would use it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::material::MATERIAL;
use crate::support::raw::{Hello, Raw};
use crate::support::site::{PASSWORD, Site};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn shipped(path: &str) -> String {
    std::fs::read_to_string(repository(path)).expect("it is in the repository")
}

#[test]
fn the_conf_of_a13_to_a15_runs_unchanged_but_for_its_paths() {
    let site = Site::new();
    site.users(&["alice"]);
    site.write("acl.conf", crate::clients::ACL);
    // As the guide has it, with the paths and the port of this test.
    site.conf(
        "allow_anonymous false
password_file {dir}/passwd
acl_file {dir}/acl.conf
listener {tls}
cafile {dir}/ca.crt
certfile {dir}/server.crt
keyfile {dir}/server.key
require_certificate true
max_connections 1000
max_inflight_messages 100
max_queued_messages 1000
log_type error
log_type warning
log_type notice
log_type information
log_dest file {dir}/own.log
",
    );
    let conf = site.path_text("portcullis.conf");
    let checked = site.run(&["check", "-c", &conf]);
    assert_eq!(checked.code, Some(0), "{}", checked.err);
    // The log goes to its own file, which is where readiness is told.
    let child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["-c", &conf])
        .env_remove("PORTCULLIS_SECURITY_PROFILE")
        .spawn();
    let mut child = child.expect("the program starts");
    crate::support::site::eventually("it accepts connections", || {
        site.read("own.log")
            .contains("accepts connections")
            .then_some(())
    });
    let pair = MATERIAL.client("alice");
    let mut alice = Raw::tls(site.tls, 4, MATERIAL.tls(Some(&pair)));
    alice.send(&Hello::new(4, "a", "alice").encode());
    assert_eq!(alice.receive().body, [0, 0]);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

/// Everyone of the request/response example, and what each may and may not do
/// (requirements A5 to A9, D5, D6).
#[test]
fn the_request_response_example_keeps_requests_and_answers_apart() {
    let users = [
        "pump7",
        "pump8",
        "mcp_server_001",
        "coa-client-1",
        "coa-service",
    ];
    let site = Site::with_users(&users, &shipped("conf/acl-request-response.conf"), "");
    let _broker = site.start();
    let connect = |user: &str| Raw::hello(site.plain, &Hello::new(5, user, user)).0;
    let mut pump = connect("pump7");
    let mine = "mcp/res/a7f9e2d8x3k5m1n4/pump7";
    let filters = [
        (mine, 1),
        ("mcp/#", 0),
        ("mcp/res/+/pump8", 0),
        ("mcp/req/+/+", 0),
        ("#", 0),
    ];
    assert_eq!(pump.subscribe(&filters), [1, 0x87, 0x87, 0x87, 0x87]);
    let mut server = connect("mcp_server_001");
    assert_eq!(
        server.subscribe(&[("mcp/req/+/+", 1), ("mcp/res/+/+", 0)]),
        [1, 0x87]
    );
    let request = "mcp/req/a7f9e2d8x3k5m1n4/pump7";
    assert_eq!(pump.publish_acked(request, "status?", 1), 0);
    assert_eq!(server.message().topic, request);
    let mut neighbour = connect("pump8");
    assert_eq!(neighbour.publish_acked(request, "fake", 1), 0x87);
    assert_eq!(neighbour.publish_acked(mine, "fake", 2), 0x87);
    server.publish(mine, "fine", 0, 0);
    assert_eq!(pump.message().payload, "fine");
    server.expect_silence();

    let mut service = connect("coa-service");
    assert_eq!(service.subscribe(&[("coa-request", 1)]), [1]);
    let mut client = connect("coa-client-1");
    assert_eq!(
        client.subscribe(&[("coa-response/coa-client-1", 1), ("coa-request", 0)]),
        [1, 0x87]
    );
    assert_eq!(client.publish_acked("coa-request", "do", 1), 0);
    assert_eq!(service.message().payload, "do");
}

#[test]
fn the_hardened_example_runs_with_its_paths_filled_in() {
    let site = Site::new();
    MATERIAL.write(site.dir());
    for name in ["outside-acl.conf", "inside-acl.conf"] {
        site.write(name, &shipped("conf/acl-request-response.conf"));
    }
    site.users(&["mcp_server_001"]);
    std::fs::rename(site.path("passwd"), site.path("inside-passwd")).expect("moved");
    site.write("clients-ca.crt", &MATERIAL.ca());
    site.write("clients-ca.crl", &MATERIAL.crl(&[]));
    let text = shipped("conf/hardened.conf")
        .replace("/etc/portcullis", "{dir}")
        .replace("/var/log/portcullis", "{dir}")
        .replace("/var/lib/portcullis", "{dir}")
        .replace("metrics_listener 9883", "metrics_listener {metrics}")
        .replace("listener 8883", "listener {tls}")
        .replace("listener 8884 10.0.0.2", "listener {plain} 127.0.0.1")
        .replace(
            "user portcullis",
            if nix::unistd::geteuid().is_root() {
                "user root"
            } else {
                ""
            },
        );
    site.write("portcullis.conf", &site.fill(&text));
    let broker = site.start();
    let pair = MATERIAL.client("pump7");
    let mut pump = Raw::tls(site.tls, 5, MATERIAL.tls(Some(&pair)));
    pump.send(&Hello::nameless(5, "").encode());
    assert_eq!(pump.receive().body[1], 0);
    assert_eq!(
        pump.subscribe(&[("mcp/res/token/pump7", 1), ("mcp/#", 0)]),
        [1, 0x87]
    );
    let told = broker.audited("connect", |line| line["username"] == "pump7");
    assert_eq!(told["client_id"], "pump7");
}

#[test]
fn the_systemd_unit_is_exposed_at_most_2_0() {
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(repository("systemd/portcullis.service"))
        .output()
        .expect("systemd-analyze is installed by scripts/test.sh");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let level: f64 = text
        .lines()
        .find_map(|line| {
            line.split("portcullis.service:")
                .nth(1)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or_else(|| panic!("no level in\n{text}"));
    assert!(level <= 2.0, "{level}\n{text}");
}

#[test]
fn the_development_ca_makes_what_a_listener_and_a_client_need() {
    let site = Site::new();
    let dir = site.path("ca");
    let made = Command::new("bash")
        .arg(repository("certs/make-dev-ca.sh"))
        .arg(&dir)
        .args(["broker.example", "--client", "pump7"])
        .output()
        .expect("bash runs");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    for name in [
        "ca.crt",
        "server.crt",
        "server.key",
        "pump7.crt",
        "pump7.key",
    ] {
        assert!(dir.join(name).exists(), "{name}");
    }
    site.users(&["alice"]);
    site.write("acl.conf", crate::clients::ACL);
    site.conf(
        "listener {tls} 127.0.0.1
certfile {dir}/ca/server.crt
keyfile {dir}/ca/server.key
cafile {dir}/ca/ca.crt
require_certificate true
password_file {dir}/passwd
acl_file {dir}/acl.conf
",
    );
    let _broker = site.start();
    let ended = Command::new("mosquitto_sub")
        .args(["-h", "localhost", "-p", &site.tls.to_string(), "-E"])
        .args(["-u", "alice", "-P", PASSWORD, "-t", "demo/alice/answers/#"])
        .args(["--cafile", &site.path_text("ca/ca.crt")])
        .args(["--cert", &site.path_text("ca/pump7.crt")])
        .args(["--key", &site.path_text("ca/pump7.key")])
        .output()
        .expect("mosquitto_sub is installed by scripts/test.sh");
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}
