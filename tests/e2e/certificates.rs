//! Client certificates: what attacks.md section 5 says must be refused, with the real program.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, StreamOwned, SupportedProtocolVersion,
};

use crate::support::authority::{Authority, DAY, authority, client, from_now, named};
use crate::support::material::{MATERIAL, Pair};
use crate::support::raw::{Hello, Raw};
use crate::support::site::{Broker, Site, eventually};
use crate::support::tools::Tool;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A listener where the certificate is the identity, and `more` directives of it.
pub(crate) fn site(more: &str) -> Site {
    let site = Site::new();
    site.write(
        "acl.conf",
        "topic readwrite #\npattern readwrite demo/%u/#\n",
    );
    site.conf(&format!(
        "listener {{tls}} 127.0.0.1
certfile {{dir}}/server.crt
keyfile {{dir}}/server.key
cafile {{dir}}/ca.crt
require_certificate true
use_identity_as_username true
{more}
acl_file {{dir}}/acl.conf
metrics_listener {{metrics}} 127.0.0.1
audit_log {{dir}}/audit.log
connect_rate_per_ip 0
max_connections_per_ip 0
"
    ));
    site
}

fn connected(site: &Site, name: &str, config: Arc<ClientConfig>) -> Raw {
    let mut raw = Raw::tls(site.tls, 5, config);
    raw.send(&Hello::nameless(5, name).encode());
    let connack = raw.receive();
    assert_eq!(
        (connack.first, connack.body[1]),
        (0x20, 0),
        "{connack:02x?}"
    );
    raw
}

/// Expects that this client never gets as far as MQTT; gives the reason that was told.
fn turned_away(broker: &Broker<'_>, config: Arc<ClientConfig>) -> String {
    let before = failures(broker);
    let mut raw = Raw::tls(broker.site.tls, 5, config);
    // With TLS 1.3 the client believes to be connected before it is refused.
    if raw.try_send(&Hello::nameless(5, "x").encode()).is_ok() {
        assert!(raw.ends_without_a_packet(), "it was let in");
    }
    reason(broker, &before)
}

/// Handshakes that failed so far, by reason. The audit log sums up what comes often.
fn failures(broker: &Broker<'_>) -> BTreeMap<String, u64> {
    let name = "portcullis_tls_handshake_failures_total{reason=\"";
    let text = broker.http("/metrics");
    let samples = text.lines().filter_map(|line| line.strip_prefix(name));
    samples
        .filter_map(|sample| {
            let (reason, count) = sample.split_once("\"} ")?;
            Some((reason.to_owned(), count.parse().ok()?))
        })
        .collect()
}

/// The reason of the one handshake that fails since `before`.
fn reason(broker: &Broker<'_>, before: &BTreeMap<String, u64>) -> String {
    let after = eventually("the handshake's failure is counted", || {
        Some(failures(broker)).filter(|now| now != before)
    });
    let new = after
        .into_iter()
        .filter(|(reason, count)| before[reason] != *count);
    let new: Vec<(String, u64)> = new.collect();
    assert_eq!(new.len(), 1, "{new:?}");
    assert_eq!(new[0].1, before[&new[0].0] + 1);
    new[0].0.clone()
}

fn turned_away_by_both(broker: &Broker<'_>, pair: Option<&Pair>, expected: &str, what: &str) {
    for version in VERSIONS {
        let reason = turned_away(broker, MATERIAL.tls_of(pair, &[version]));
        assert_eq!(reason, expected, "{what}, {version:?}");
    }
}

fn valid(mut params: CertificateParams, from: i64, until: i64) -> CertificateParams {
    params.not_before = from_now(from).into();
    params.not_after = from_now(until).into();
    params
}

#[test]
fn a_certificate_that_nobody_of_ours_gave_or_not_for_this_is_refused() {
    let site = site("");
    let broker = site.start();
    let ours = &MATERIAL.authority;
    let refused = |pair: &Pair, expected: &str, what: &str| {
        turned_away_by_both(&broker, Some(pair), expected, what);
    };
    turned_away_by_both(&broker, None, "no_certificate", "none");
    let over = ours.sign(&valid(client("alice", 1), -10 * DAY, -DAY));
    refused(&over, "certificate_expired", "one that is over");
    let early = ours.sign(&valid(client("alice", 1), DAY, 10 * DAY));
    refused(&early, "certificate_expired", "one to come");
    let other = Authority::new("Another CA").client("alice", 1);
    refused(&other, "unknown_ca", "of another CA");
    let namesake = Authority::new("Test CA");
    let forged = namesake.client("alice", 1);
    refused(&forged, "bad_certificate", "of a CA of the same name");
    let with_it = namesake.client("alice", 1).and(&namesake.pem());
    refused(&with_it, "bad_certificate", "and the CA along with it");
    let key = rcgen::KeyPair::generate().expect("a key");
    let own = client("alice", 1).self_signed(&key).expect("a certificate");
    let own = Pair {
        certificate: own.pem(),
        key: key.serialize_pem(),
    };
    refused(&own, "unknown_ca", "self-signed");
    for usage in [
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::CodeSigning,
        ExtendedKeyUsagePurpose::EmailProtection,
    ] {
        let mut params = named("alice");
        params.extended_key_usages = vec![usage];
        refused(&ours.sign(&params), "bad_certificate", "for other uses");
    }
    let alice = MATERIAL.client("alice");
    for version in VERSIONS {
        connected(&site, "alice", MATERIAL.tls_of(Some(&alice), &[version])).disconnect();
    }
}

#[test]
fn a_chain_is_only_as_good_as_each_certificate_of_it() {
    let site = site("");
    let broker = site.start();
    let ours = &MATERIAL.authority;
    let good = ours.below(authority("Between"));
    let by_good = good.client("alice", 1).and(&good.pem());
    for version in VERSIONS {
        connected(&site, "alice", MATERIAL.tls_of(Some(&by_good), &[version])).disconnect();
    }
    // Whoever has a client certificate is no CA by it.
    let client_as_ca = ours.below(client("mallory", 2));
    let no_usage = ours.below(named("mallory"));
    let mut first = authority("First");
    first.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let first = ours.below(first);
    let second = first.below(authority("Second"));
    let over = ours.below(valid(authority("Over"), -10 * DAY, -DAY));
    let mut for_servers = authority("For servers");
    for_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let for_servers = ours.below(for_servers);
    for (issuer, above, expected, what) in [
        (&client_as_ca, "", "bad_certificate", "a client as CA"),
        (&no_usage, "", "bad_certificate", "no CA at all"),
        (&second, first.pem().as_str(), "bad_certificate", "too long"),
        (&over, "", "certificate_expired", "a CA that is over"),
        (&for_servers, "", "bad_certificate", "a CA for servers"),
    ] {
        let pair = issuer.client("alice", 1).and(&issuer.pem()).and(above);
        turned_away_by_both(&broker, Some(&pair), expected, what);
    }
    let without = good.client("alice", 1);
    turned_away_by_both(&broker, Some(&without), "unknown_ca", "a gap");
}

/// rustls makes no such client, so openssl is one.
#[test]
fn an_rsa_key_of_1024_bits_is_refused() {
    let site = site("");
    let broker = site.start();
    // The CA is openssl's as well, for it is to sign what no other library here would.
    let run = |line: &str| {
        let mut command = Command::new("openssl");
        command
            .args(line.split_whitespace())
            .current_dir(site.dir());
        let ended = Tool::start(command).finish();
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.text);
    };
    run("req -x509 -nodes -newkey rsa:2048 -keyout ca2.key -out ca2.crt -days 2 -subj /CN=RSA");
    for bits in ["1024", "2048"] {
        let of = |kind: &str| format!("rsa{bits}.{kind}");
        let (key, request) = (of("key"), of("csr"));
        run(&format!(
            "req -new -nodes -newkey rsa:{bits} -keyout {key} -out {request} -subj /CN=alice"
        ));
        site.write("client.ext", "extendedKeyUsage=clientAuth\n");
        run(&format!(
            "x509 -req -in {request} -CA ca2.crt -CAkey ca2.key -CAcreateserial -days 2 \
             -extfile client.ext -out {}",
            of("crt")
        ));
    }
    let both = format!("{}{}", site.read("ca.crt"), site.read("ca2.crt"));
    site.write("ca.crt", &both);
    assert_eq!(broker.reload()["decision"], "allow");
    let shake = |bits: &str, version: &str| {
        let mut command = Command::new("openssl");
        let port = format!("127.0.0.1:{}", site.tls);
        command.args(["s_client", "-connect", &port, version]);
        command.args(["-cipher", "DEFAULT@SECLEVEL=0"]);
        for (option, kind) in [("-cert", "crt"), ("-key", "key")] {
            command.args([option, &site.path_text(&format!("rsa{bits}.{kind}"))]);
        }
        Tool::start(command).finish();
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let before = failures(&broker);
        // It leaves without CONNECT, and not for its certificate.
        shake("2048", version);
        shake("1024", version);
        assert_eq!(reason(&broker, &before), "bad_certificate", "{version}");
    }
}

#[test]
fn a_revoked_certificate_is_refused_by_both_versions_and_so_is_everyone_whose_list_is_too_old() {
    let site = site("crlfile {dir}/clients.crl");
    site.write("clients.crl", &MATERIAL.crl(&[7]));
    let broker = site.start();
    let (revoked, good) = (
        MATERIAL.client_with_serial("alice", 7),
        MATERIAL.client_with_serial("bob", 8),
    );
    turned_away_by_both(&broker, Some(&revoked), "certificate_revoked", "revoked");
    for version in VERSIONS {
        connected(&site, "bob", MATERIAL.tls_of(Some(&good), &[version])).disconnect();
    }
    let mut bob = connected(&site, "bob", MATERIAL.tls(Some(&good)));
    let old = MATERIAL.authority.crl(&[7], -10 * DAY, -DAY);
    site.write("clients.crl", &old);
    assert_eq!(broker.reload()["decision"], "allow");
    let told = "a revocation list is too old";
    assert!(broker.log().contains(told), "{}", broker.log());
    // Who knows whether he was revoked since.
    bob.expect_disconnect(0x87);
    turned_away_by_both(&broker, Some(&good), "revocation_unknown", "too old");
    // A fresh list beside the old one counts, whichever comes first.
    let fresh = MATERIAL.crl(&[7]);
    for lists in [format!("{old}{fresh}"), format!("{fresh}{old}")] {
        site.write("clients.crl", &lists);
        assert_eq!(broker.reload()["decision"], "allow");
        connected(&site, "bob", MATERIAL.tls(Some(&good))).disconnect();
    }
}

#[test]
fn a_list_that_is_empty_broken_or_forged_lets_nobody_in() {
    let site = site("crlfile {dir}/clients.crl");
    let good = MATERIAL.crl(&[7]);
    let torn = good.lines().take(3).collect::<Vec<_>>().join("\n");
    let other = good.replacen("\nMI", "\nMA", 1);
    assert_ne!(other, good);
    let broken = [
        String::new(),
        "no list\n".to_owned(),
        torn,
        other,
        MATERIAL.ca(),
    ];
    for list in &broken {
        site.write("clients.crl", list);
        let ended = site.run_conf();
        assert_ne!(ended.code, Some(0), "{list}");
        assert!(ended.err.contains("clients.crl: "), "{}", ended.err);
    }
    std::fs::remove_file(site.path("clients.crl")).expect("it was there");
    let ended = site.run_conf();
    assert_ne!(ended.code, Some(0));
    assert!(
        ended.err.contains("clients.crl: cannot be read"),
        "{}",
        ended.err
    );
    // At a reload the last good one stays.
    site.write("clients.crl", &good);
    let broker = site.start();
    let revoked = MATERIAL.client_with_serial("alice", 7);
    let mut bob = connected(&site, "bob", MATERIAL.tls(Some(&MATERIAL.client("bob"))));
    for list in &broken {
        site.write("clients.crl", list);
        assert_eq!(broker.reload()["decision"], "deny", "{list}");
        turned_away_by_both(&broker, Some(&revoked), "certificate_revoked", "still");
    }
    bob.expect_silence();
    // One that another CA of this name has signed says nothing of ours.
    site.write(
        "clients.crl",
        &Authority::new("Test CA").crl(&[], -DAY, DAY),
    );
    assert_eq!(broker.reload()["decision"], "allow");
    bob.expect_disconnect(0x87);
    turned_away_by_both(&broker, Some(&revoked), "revocation_unknown", "forged list");
}

#[test]
fn a_ca_between_needs_a_list_of_its_own_and_may_be_revoked_itself() {
    let site = site("crlfile {dir}/clients.crl");
    let ours = &MATERIAL.authority;
    let mut params = authority("Between");
    params.serial_number = Some(rcgen::SerialNumber::from(70_u64));
    let between = ours.below(params);
    let pair = between.client("alice", 7).and(&between.pem());
    let neighbour = between.client("bob", 8).and(&between.pem());
    site.write("clients.crl", &ours.crl(&[], -DAY, DAY));
    let broker = site.start();
    let lists = |lists: &[String]| {
        site.write("clients.crl", &lists.concat());
        assert_eq!(broker.reload()["decision"], "allow");
    };
    turned_away_by_both(
        &broker,
        Some(&pair),
        "revocation_unknown",
        "no list of its CA",
    );
    lists(&[ours.crl(&[], -DAY, DAY), between.crl(&[7], -DAY, DAY)]);
    turned_away_by_both(&broker, Some(&pair), "certificate_revoked", "its CA's list");
    let mut bob = connected(&site, "bob", MATERIAL.tls(Some(&neighbour)));
    // The CA above is not asked for a list it does not have.
    lists(&[between.crl(&[7], -DAY, DAY)]);
    bob.expect_silence();
    connected(&site, "other", MATERIAL.tls(Some(&neighbour))).disconnect();
    // But what its list says counts.
    lists(&[ours.crl(&[70], -DAY, DAY), between.crl(&[7], -DAY, DAY)]);
    bob.expect_disconnect(0x87);
    turned_away_by_both(&broker, Some(&neighbour), "certificate_revoked", "its CA");
    lists(&[ours.crl(&[], -10 * DAY, -DAY), between.crl(&[7], -DAY, DAY)]);
    turned_away_by_both(
        &broker,
        Some(&neighbour),
        "revocation_unknown",
        "old list of the root",
    );
}

#[test]
fn a_user_bound_to_a_key_is_refused_with_a_certificate_for_another_one() {
    let site = site("");
    let (own, other) = (MATERIAL.client("alice"), MATERIAL.client("alice"));
    // By the commands of the documentation.
    let digest = |pair: &Pair| {
        site.write("alice.crt", &pair.certificate);
        let mut command = Command::new("sh");
        let line = "openssl x509 -in alice.crt -noout -pubkey | openssl pkey -pubin -outform DER | \
                    openssl dgst -sha256 -binary | base64";
        command.args(["-c", line]).current_dir(site.dir());
        let ended = Tool::start(command).finish();
        assert_eq!(ended.code, Some(0), "{}", ended.text);
        ended.text
    };
    let conf = site.read("portcullis.conf");
    let pinned = |pair: &Pair| {
        let line = format!("pin_spki alice sha256={}\n", digest(pair));
        site.write("portcullis.conf", &format!("{conf}{line}"));
    };
    pinned(&own);
    let broker = site.start();
    let mut alice = connected(&site, "alice", MATERIAL.tls(Some(&own)));
    let mut bob = connected(&site, "bob", MATERIAL.tls(Some(&MATERIAL.client("bob"))));
    let mut refused = Raw::tls(site.tls, 5, MATERIAL.tls(Some(&other)));
    refused.send(&Hello::nameless(5, "x").encode());
    assert_eq!(refused.receive().body[1], 0x86);
    let event = broker.audited("authentication_failure", |line| line["client_id"] == "x");
    assert_eq!(event["reason"], "certificate_pin");
    // The other key in the place of the first.
    pinned(&other);
    assert_eq!(broker.reload()["decision"], "allow");
    alice.expect_disconnect(0x87);
    bob.expect_silence();
    connected(&site, "alice", MATERIAL.tls(Some(&other))).disconnect();
    // What is no pin changes nothing, and is told with its place.
    site.write(
        "portcullis.conf",
        &format!("{conf}pin_spki alice sha256=abc\n"),
    );
    let checked = site.run(&["check", "-c", &site.path_text("portcullis.conf")]);
    assert_ne!(checked.code, Some(0));
    let told = format!("{}{}", checked.out, checked.err);
    let line = conf.lines().count() + 1;
    assert!(
        told.contains(&format!("portcullis.conf:{line}:16: error: ")),
        "{told}"
    );
    assert_eq!(broker.reload()["decision"], "deny");
    bob.expect_silence();
}

/// How it connects, if it does; the session's ticket is in `config` afterwards.
fn handshake(site: &Site, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let stream = TcpStream::connect(("127.0.0.1", site.tls)).expect("the broker accepts");
    let name = "localhost".try_into().expect("a name");
    let tls = ClientConnection::new(Arc::clone(config), name).expect("a TLS client");
    let mut stream = StreamOwned::new(tls, stream);
    stream
        .write_all(&Hello::nameless(4, "alice").encode())
        .ok()?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).ok()?;
    let kind = stream.conn.handshake_kind()?;
    (connack[3] == 0).then_some(kind)
}

#[test]
fn a_session_is_not_resumed_past_a_revocation() {
    let site = site("crlfile {dir}/clients.crl");
    site.write("clients.crl", &MATERIAL.crl(&[]));
    let broker = site.start();
    let alice = MATERIAL.client_with_serial("alice", 7);
    let configs = VERSIONS.map(|version| MATERIAL.tls_of(Some(&alice), &[version]));
    for config in &configs {
        assert_ne!(handshake(&site, config), Some(HandshakeKind::Resumed));
        assert_eq!(handshake(&site, config), Some(HandshakeKind::Resumed));
    }
    site.write("clients.crl", &MATERIAL.crl(&[7]));
    assert_eq!(broker.reload()["decision"], "allow");
    for config in &configs {
        let before = failures(&broker);
        assert_eq!(handshake(&site, config), None);
        assert_eq!(reason(&broker, &before), "certificate_revoked");
    }
}

#[test]
fn a_certificate_that_ends_takes_its_connection_along_and_its_session_is_not_resumed() {
    let site = site("");
    let broker = site.start();
    let short = MATERIAL.authority.sign(&valid(client("alice", 1), -DAY, 3));
    let config = MATERIAL.tls(Some(&short));
    let mut alice = connected(&site, "alice", Arc::clone(&config));
    let mut bob = connected(&site, "bob", MATERIAL.tls(Some(&MATERIAL.client("bob"))));
    alice.expect_disconnect(0xA0);
    bob.expect_silence();
    // With the ticket of the first connection there is no handshake that would look at it.
    assert_eq!(handshake(&site, &config), None);
    broker.audited("authentication_failure", |line| {
        line["reason"] == "certificate_identity"
    });
    assert_eq!(handshake(&site, &config), None);
}
