//! Enhanced authentication: SCRAM-SHA-256 at CONNECT and in session (section 4.12; RFC 7677).

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use portcullis::auth::{HashAlgorithm, StoredHash};
use sha2::{Digest, Sha256};

use crate::clients::ACL;
use crate::support::raw::{Hello, Packet, Raw, packet, put_bytes};
use crate::support::secrets;
use crate::support::site::{PASSWORD, STANDARD as CONF, Site};
use crate::support::tools::Tool;

const METHOD: &str = "SCRAM-SHA-256";

/// alice and inside have verifiers, bob an argon2id hash.
fn site(more: &str) -> Site {
    let site = Site::with_users(&["bob"], ACL, more);
    let mut passwords = site.read("passwd");
    let scram = HashAlgorithm::ScramSha256 { iterations: 4_096 };
    for user in ["alice", "inside"] {
        let hash = StoredHash::create(PASSWORD.as_bytes(), scram).expect("a verifier");
        passwords.push_str(&format!("{user}:{}\n", hash.as_str()));
    }
    site.write("passwd", &passwords);
    site.conf(&format!("{CONF}\n{more}"));
    site
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("any key");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// A SCRAM client, written from the RFC apart from the broker's half.
struct Scram {
    bare: String,
    password: String,
}

impl Scram {
    fn new(user: &str, password: &str) -> Self {
        Self {
            bare: format!("n={user},r=fyko+d2lbbFgONRv9qkxdawL"),
            password: password.into(),
        }
    }

    fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.bare).into_bytes()
    }

    /// The answer to the server's first message, and what the server must answer to that.
    fn last(&self, server_first: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let text = std::str::from_utf8(server_first).expect("text");
        let part = |name: &str| {
            let mut parts = text.split(',');
            parts
                .find_map(|part| part.strip_prefix(name))
                .expect("it is there")
                .to_owned()
        };
        let salt = STANDARD.decode(part("s=")).expect("base64");
        let rounds = part("i=").parse().expect("a number");
        let salted =
            pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(self.password.as_bytes(), &salt, rounds);
        let without_proof = format!("c=biws,r={}", part("r="));
        let said = format!("{},{text},{without_proof}", self.bare);
        let client_key = hmac(&salted, b"Client Key");
        let signature = hmac(&Sha256::digest(client_key), said.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(signature)
            .map(|(key, mask)| key ^ mask)
            .collect();
        for secret in [&proof[..], &client_key, &salted] {
            secrets::used(&STANDARD.encode(secret));
        }
        let server = hmac(&hmac(&salted, b"Server Key"), said.as_bytes());
        (
            format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes(),
            format!("v={}", STANDARD.encode(server)).into_bytes(),
        )
    }
}

fn properties(method: &str, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x15];
    put_bytes(&mut out, method.as_bytes());
    out.push(0x16);
    put_bytes(&mut out, data);
    out
}

fn hello(id: &str, method: &str, data: &[u8]) -> Hello {
    Hello::nameless(5, id).with_property(&properties(method, data))
}

fn auth(code: u8, data: &[u8]) -> Vec<u8> {
    auth_by(METHOD, code, data)
}

fn auth_by(method: &str, code: u8, data: &[u8]) -> Vec<u8> {
    let properties = properties(method, data);
    let length = u8::try_from(properties.len()).expect("short");
    let mut body = vec![code];
    // Two bytes of length where it needs them.
    if length < 128 {
        body.push(length);
    } else {
        body.extend([length, 1]);
    }
    body.extend(properties);
    packet(0xF0, &body)
}

/// The Authentication Data in an AUTH or CONNACK: it stands behind the method.
fn data(packet: &Packet) -> Vec<u8> {
    let at = packet
        .body
        .windows(METHOD.len())
        .position(|window| window == METHOD.as_bytes())
        .expect("the method");
    let rest = &packet.body[at + METHOD.len()..];
    assert_eq!(rest[0], 0x16);
    let length = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
    rest[3..3 + length].to_vec()
}

/// Goes through the exchange of CONNECT; gives the CONNACK and what it should say.
fn connect(site: &Site, id: &str, client: &Scram) -> (Raw, Packet, Vec<u8>) {
    let mut raw = Raw::plain(site.plain, 5);
    raw.send(&hello(id, METHOD, &client.first()).encode());
    let challenge = raw.receive();
    assert_eq!(
        (challenge.first, challenge.body[0]),
        (0xF0, 0x18),
        "{challenge:02x?}"
    );
    let (last, expected) = client.last(&data(&challenge));
    raw.send(&auth(0x18, &last));
    let connack = raw.receive();
    assert_eq!(connack.kind(), 2, "{connack:02x?}");
    (raw, connack, expected)
}

#[test]
fn mqtt_4_12_0_2_a_client_proves_its_password_without_sending_it_and_the_broker_proves_that_it_knew()
 {
    let site = site("");
    let broker = site.start();
    let (mut raw, connack, expected) = connect(&site, "s", &Scram::new("alice", PASSWORD));
    assert_eq!(connack.body[1], 0);
    assert_eq!(data(&connack), expected);
    assert_eq!(
        raw.subscribe(&[("demo/alice/answers/#", 1), ("#", 0)]),
        [1, 0x87]
    );
    let told = broker.audited("connect", |line| line["decision"] == "allow");
    assert_eq!(
        (&told["username"], &told["method"]),
        (&"alice".into(), &"scram".into())
    );
}

#[test]
fn mqtt_4_12_0_4_a_wrong_password_a_user_that_does_not_exist_and_one_without_verifier_end_alike() {
    let site = site("");
    let broker = site.start();
    for client in [
        Scram::new("alice", "wrong battery"),
        Scram::new("nobody", PASSWORD),
        Scram::new("bob", PASSWORD),
    ] {
        let (mut raw, connack, _) = connect(&site, "s", &client);
        assert_eq!(connack.body[1], 0x86);
        raw.expect_end();
    }
    let failures = "portcullis_auth_failures_total{reason=\"bad_credentials\"}";
    broker.metric_becomes(failures, 3.0);
}

#[test]
fn a_verifier_serves_for_a_password_in_connect_too() {
    let site = site("");
    let _broker = site.start();
    Raw::hello(site.plain, &Hello::new(4, "p", "alice"))
        .0
        .disconnect();
    let wrong = Hello {
        password: Some("wrong battery".into()),
        ..Hello::new(5, "p", "alice")
    };
    assert_eq!(Raw::refused(site.plain, &wrong), 0x86);
}

#[test]
fn mqtt_4_12_0_1_a_method_that_is_not_offered_is_0x8c() {
    let offering = site("");
    let _broker = offering.start();
    let other = hello("m", "KERBEROS", b"x");
    assert_eq!(Raw::refused(offering.plain, &other), 0x8C);
    // Where nobody has a verifier nothing is offered.
    let site = Site::with_users(&["alice"], ACL, "");
    let _broker = site.start();
    let scram = hello("m", METHOD, &Scram::new("alice", PASSWORD).first());
    assert_eq!(Raw::refused(site.plain, &scram), 0x8C);
}

#[test]
fn mqtt_3_1_2_30_and_4_12_0_3_until_connack_a_client_sends_auth_and_disconnect_and_nothing_else() {
    let site = site("");
    let _broker = site.start();
    for bytes in [
        crate::support::raw::publish(5, "demo/x", b"x", 0, 0, false, &[]),
        vec![0xC0, 0],
        auth(0x19, b"x"),
        hello("m", METHOD, b"x").encode(),
    ] {
        let mut raw = Raw::plain(site.plain, 5);
        raw.send(&hello("m", METHOD, &Scram::new("alice", PASSWORD).first()).encode());
        assert_eq!(raw.receive().first, 0xF0);
        raw.send(&bytes);
        let refusal = raw.receive();
        assert_eq!((refusal.kind(), refusal.body[1]), (2, 0x82), "{bytes:02x?}");
        raw.expect_end();
    }
}

#[test]
fn mqtt_4_12_1_2_a_client_authenticates_again_while_it_works() {
    let site = site("");
    let _broker = site.start();
    let alice = Scram::new("alice", PASSWORD);
    let (mut raw, _, _) = connect(&site, "s", &alice);
    assert_eq!(raw.subscribe(&[("demo/alice/answers/#", 0)]), [0]);
    raw.send(&auth(0x19, &alice.first()));
    let challenge = raw.receive();
    assert_eq!((challenge.first, challenge.body[0]), (0xF0, 0x18));
    // The connection goes on meanwhile.
    assert_eq!(raw.publish_acked("demo/alice/requests/1", "x", 1) & 0x80, 0);
    let (last, expected) = alice.last(&data(&challenge));
    raw.send(&auth(0x18, &last));
    let done = raw.receive();
    assert_eq!((done.first, done.body[0]), (0xF0, 0));
    assert_eq!(data(&done), expected);
    raw.expect_silence();
}

#[test]
fn mqtt_4_12_1_1_another_method_another_user_or_a_wrong_proof_ends_the_connection() {
    let site = site("");
    let broker = site.start();
    let alice = Scram::new("alice", PASSWORD);
    let (mut raw, _, _) = connect(&site, "s", &alice);
    let mut body = vec![0x19];
    let properties = properties("KERBEROS", b"x");
    body.push(u8::try_from(properties.len()).expect("short"));
    body.extend(properties);
    raw.send(&packet(0xF0, &body));
    raw.expect_disconnect(0x82);
    for again in [
        Scram::new("inside", PASSWORD),
        Scram::new("alice", "wrong battery"),
    ] {
        let (mut raw, _, _) = connect(&site, "s", &alice);
        raw.send(&auth(0x19, &again.first()));
        let (last, _) = again.last(&data(&raw.receive()));
        raw.send(&auth(0x18, &last));
        raw.expect_disconnect(0x87);
    }
    broker.audited("authentication_failure", |line| line["username"] == "alice");
    // Without an exchange there is nothing to go on with.
    let (mut raw, _, _) = connect(&site, "s", &alice);
    raw.send(&auth(0x18, b"x"));
    raw.expect_disconnect(0x82);
    // And who came without a method has none.
    let (mut raw, _) = Raw::hello(site.plain, &Hello::new(5, "p", "bob"));
    raw.send(&auth(0x19, b"x"));
    raw.expect_disconnect(0x82);
}

const AUTHENTICATION_METHOD: u8 = 0x15;
const AUTHENTICATION_DATA: u8 = 0x16;

/// The identifiers of the properties behind `at` bytes of the body.
fn identifiers(packet: &Packet, at: usize) -> Vec<u8> {
    let properties = packet.properties(at);
    properties.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn mqtt_4_12_0_5_every_auth_and_connack_names_the_method_of_connect_and_so_must_the_client() {
    let site = site("");
    let _broker = site.start();
    let alice = Scram::new("alice", PASSWORD);
    let mut named = vec![AUTHENTICATION_METHOD];
    put_bytes(&mut named, METHOD.as_bytes());
    let names = |packet: &Packet, at: usize| {
        let (id, value) = packet.properties(at).swap_remove(0);
        [vec![id], value].concat() == named
    };
    let mut raw = Raw::plain(site.plain, 5);
    raw.send(&hello("s", METHOD, &alice.first()).encode());
    let challenge = raw.receive();
    // Properties stand behind the code of AUTH, and behind flags and code of CONNACK.
    assert!(names(&challenge, 1), "{challenge:02x?}");
    let (last, _) = alice.last(&data(&challenge));
    raw.send(&auth(0x18, &last));
    let connack = raw.receive();
    assert_eq!(connack.body[..2], [0, 0]);
    let method = connack.said(AUTHENTICATION_METHOD);
    assert_eq!(method.as_deref(), Some(METHOD.as_bytes()));
    // And when it authenticates again.
    raw.send(&auth(0x19, &alice.first()));
    let challenge = raw.receive();
    assert!(names(&challenge, 1), "{challenge:02x?}");
    raw.send(&auth(0x18, &alice.last(&data(&challenge)).0));
    let done = raw.receive();
    assert!(names(&done, 1), "{done:02x?}");
    // A right proof under another name is none.
    for other in ["SCRAM-SHA-512", "scram-sha-256", ""] {
        let mut raw = Raw::plain(site.plain, 5);
        raw.send(&hello("o", METHOD, &alice.first()).encode());
        let (last, _) = alice.last(&data(&raw.receive()));
        raw.send(&auth_by(other, 0x18, &last));
        let refusal = raw.receive();
        assert_eq!((refusal.kind(), refusal.body[1]), (2, 0x82), "{other}");
        raw.expect_end();
    }
}

#[test]
fn mqtt_4_12_0_6_who_names_no_method_is_sent_no_auth_and_no_method() {
    let site = site("");
    let _broker = site.start();
    let good = Hello::new(5, "p", "alice");
    let wrong = Hello {
        password: Some("wrong battery".into()),
        ..good.clone()
    };
    for (hello, code) in [(good, 0), (wrong, 0x86)] {
        let mut raw = Raw::plain(site.plain, 5);
        raw.send(&hello.encode());
        let answer = raw.receive();
        assert_eq!((answer.kind(), answer.body[1]), (2, code));
        let identifiers = identifiers(&answer, 2);
        assert!(!identifiers.contains(&AUTHENTICATION_METHOD));
        assert!(!identifiers.contains(&AUTHENTICATION_DATA));
    }
}

/// What AUTH must say is method and data; for a client that does not take that much there is no
/// exchange.
#[test]
fn mqtt_3_15_2_2_and_3_an_auth_has_nothing_that_could_make_it_too_large() {
    let site = site("");
    site.on_plain_listener("reason_strings true");
    let _broker = site.start();
    let alice = Scram::new("alice", PASSWORD);
    let greeted = |maximum: usize| {
        let [high, low] = u16::try_from(maximum).expect("small").to_be_bytes();
        let hello = hello("s", METHOD, &alice.first()).with_property(&[0x27, 0, 0, high, low]);
        let mut raw = Raw::plain(site.plain, 5);
        raw.send(&hello.encode());
        let first = raw.receive();
        assert!(first.bytes() <= maximum, "{maximum}: {first:02x?}");
        (raw, first)
    };
    let (_, challenge) = greeted(60_000);
    let size = challenge.bytes();
    let (mut raw, challenge) = greeted(size);
    let both = [AUTHENTICATION_METHOD, AUTHENTICATION_DATA];
    assert_eq!(identifiers(&challenge, 1), both);
    raw.send(&auth(0x18, &alice.last(&data(&challenge)).0));
    assert_eq!(raw.receive().body[1], 0);
    raw.send(&auth(0x19, &alice.first()));
    let again = raw.receive();
    assert!(again.bytes() <= size);
    assert_eq!(identifiers(&again, 1), both);
    let (mut raw, refusal) = greeted(size - 1);
    assert_eq!((refusal.kind(), refusal.body[1]), (2, 0x95));
    raw.expect_end();
}

#[test]
fn failures_of_an_exchange_ban_like_others() {
    let site = site("auth_failure_limit 2 60 60");
    let broker = site.start();
    let (_, connack, _) = connect(&site, "s", &Scram::new("alice", "wrong battery"));
    assert_eq!(connack.body[1], 0x86);
    assert_eq!(
        Raw::refused(site.plain, &hello("s", METHOD, b"nonsense")),
        0x86
    );
    broker.metric_becomes("portcullis_bans_total", 1.0);
}

#[test]
fn mqtt_js_logs_in_by_scram() {
    let site = site("");
    let broker = site.start();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("node");
    command
        .env("NODE_PATH", root.join("target/test-js/node_modules"))
        .arg(root.join("tests/e2e/mqtt_js_scram.js"))
        .env("PLAIN_PORT", site.plain.to_string())
        .env("PASSWORD", PASSWORD);
    let ended = Tool::start(command).finish();
    assert!(ended.text.ends_with("all is well"), "{}", ended.text);
    let told = broker.audited("connect", |line| line["decision"] == "allow");
    assert_eq!(told["method"], "scram");
}
