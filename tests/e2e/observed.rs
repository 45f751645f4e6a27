//! What the operator sees: metrics, health, audit log.

use std::process::{Command, Stdio};

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw};
use crate::support::site::Site;

fn site() -> Site {
    Site::with_users(&["inside", "alice", "bob"], ACL, "")
}

#[test]
fn promtool_accepts_the_metrics() {
    use std::io::Write;
    let site = site();
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    alice.subscribe(&[("#", 0)]);
    let text = broker.http("/metrics");
    let body = text.split_once("\r\n\r\n").expect("a body").1;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed by scripts/test.sh");
    let mut input = promtool.stdin.take().expect("piped");
    input.write_all(body.as_bytes()).expect("it reads");
    drop(input);
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_metrics_answer_has_the_security_headers_b16() {
    let site = site();
    let broker = site.start();
    for path in ["/metrics", "/healthz", "/readyz", "/nothing"] {
        let answer = broker.http(path).to_lowercase();
        for header in [
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "content-security-policy:",
            "cache-control: no-store",
        ] {
            assert!(answer.contains(header), "{path} lacks {header}:\n{answer}");
        }
        assert!(!answer.contains("server:"), "{answer}");
    }
    assert!(broker.http("/readyz").starts_with("HTTP/1.1 200"));
    assert!(broker.http("/nothing").starts_with("HTTP/1.1 404"));
}

#[test]
fn messages_and_bytes_are_counted_in_both_directions() {
    let site = site();
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "inside"));
    assert_eq!(alice.subscribe(&[("demo/x", 2)]), [2]);
    alice.publish("demo/x", "0", 0, 0);
    alice.message();
    broker.metric_becomes("portcullis_messages_received_total{qos=\"0\"}", 1.0);
    broker.metric_becomes("portcullis_messages_sent_total{qos=\"0\"}", 1.0);
    assert!(broker.metric("portcullis_bytes_received_total") > 20.0);
    assert!(broker.metric("portcullis_bytes_sent_total") > 20.0);
    broker.metric_becomes("portcullis_sessions", 1.0);
    broker.metric_becomes("portcullis_subscriptions", 1.0);
    let samples = "portcullis_connects_total{method=\"password\",result=\"accepted\"}";
    broker.metric_becomes(samples, 1.0);
    let expiry = broker.http("/metrics");
    assert!(expiry.contains("portcullis_certificate_expiry_timestamp_seconds{listener="));
}

#[test]
fn every_line_of_the_audit_log_is_json_with_who_where_and_why() {
    let site = site();
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a-1", "alice"));
    alice.subscribe(&[("#", 0), ("demo/alice/answers/#", 1)]);
    alice.publish_acked("demo/bob/answers/1", "x", 1);
    alice.disconnect();
    broker.audited("disconnect", |_| true);
    let connect = broker.audited("connect", |line| line["client_id"] == "a-1");
    for field in [
        "time", "listener", "address", "username", "protocol", "method", "tags",
    ] {
        assert!(!connect[field].is_null(), "{field} in {connect}");
    }
    let granted = broker.audited("subscribe", |_| true);
    assert_eq!(granted["topic"], "demo/alice/answers/#");
    let denied = broker.audited("acl_denied", |line| line["action"] == "publish");
    assert_eq!(denied["topic"], "demo/bob/answers/1");
    assert_eq!(denied["reason"], "no_rule");
    assert_eq!(denied["decision"], "deny");
    let tags: Vec<&str> = denied["tags"]
        .as_array()
        .expect("tags")
        .iter()
        .filter_map(serde_json::Value::as_str)
        .collect();
    assert!(
        tags.contains(&"acl-denied") && tags.contains(&"blocked"),
        "{tags:?}"
    );
    for line in site.read("audit.log").lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("a JSON object");
    }
}

#[test]
fn curl_reads_them_as_the_quickstart_says() {
    let site = site();
    let _broker = site.start();
    let output = Command::new("curl")
        .args(["-s", &format!("http://127.0.0.1:{}/metrics", site.metrics)])
        .output()
        .expect("curl is installed by scripts/test.sh");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("portcullis_build_info"));
}

/// docs/metrics.md as the metrics say it themselves.
fn metrics_page(text: &str) -> String {
    use std::collections::{BTreeMap, BTreeSet};
    let mut page = String::from(
        "# Metrics

`metrics_listener PORT [ADDRESS]` serves these at `/metrics` in the text format of Prometheus. This page is
made from what a running broker answers (`PORTCULLIS_BLESS=1 cargo test --test e2e metric_is_explained`).
Every label comes from a closed set, so a client cannot make new time series; each value of a label exists
from the start with zero, so a rate is right from the first scrape on. Counters begin anew at a restart.
[alerts.rules.yml](alerts.rules.yml) holds rules to begin with.

| metric | type | meaning | labels |
| --- | --- | --- | --- |
",
    );
    let mut labels: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for (name, inside) in text.lines().filter_map(|line| {
        let (name, rest) = line.split_once('{')?;
        Some((name, rest.split_once('}')?.0))
    }) {
        for (label, value) in inside.split(',').filter_map(|pair| pair.split_once('=')) {
            let values = labels.entry(name).or_default().entry(label).or_default();
            values.insert(value.trim_matches('\"'));
        }
    }
    let mut types = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a type");
        types.insert(name, kind);
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = line.split_once(' ').expect("an explanation");
        let mut cell = Vec::new();
        for (label, values) in labels.get(name).into_iter().flatten() {
            cell.push(match *label {
                // Not of a fixed set of words, but of the configuration and of the build.
                "listener" | "version" => format!("`{label}`"),
                _ => format!(
                    "`{label}`: {}",
                    values.iter().copied().collect::<Vec<_>>().join(", ")
                ),
            });
        }
        let kind = types.get(name).copied().unwrap_or("untyped");
        page.push_str(&format!(
            "| `{name}` | {kind} | {help} | {} |\n",
            cell.join("; ")
        ));
    }
    page
}

#[test]
fn every_metric_is_explained_in_the_documentation() {
    let site = site();
    crate::stapling::staple(&site);
    let broker = site.start();
    let answer = broker.http("/metrics");
    let page = metrics_page(answer.split_once("\r\n\r\n").expect("a body").1);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os("PORTCULLIS_BLESS").is_some() {
        std::fs::write(&path, &page).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written
        .lines()
        .zip(page.lines())
        .find(|(old, new)| old != new);
    let remedy = "docs/metrics.md is old: make it anew with PORTCULLIS_BLESS=1";
    assert!(written == page, "{remedy}; first: {differs:#?}");
}

#[test]
fn the_alert_rules_are_right_and_fire_when_they_should() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for arguments in [
        ["check", "rules", "alerts.rules.yml"],
        ["test", "rules", "../tests/e2e/alerts.test.yml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(&docs)
            .output()
            .expect("promtool is installed by scripts/test.sh");
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}

#[test]
fn the_alert_rules_name_metrics_that_exist() {
    let site = site();
    let broker = site.start();
    let answer = broker.http("/metrics");
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let rules = std::fs::read_to_string(docs.join("alerts.rules.yml")).expect("it is there");
    let mut names = 0;
    for word in rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if word.starts_with("portcullis_") {
            names += 1;
            assert!(answer.contains(&format!("# TYPE {word} ")), "{word}");
        }
    }
    assert!(names > 5);
}
