//! Identity over HTTPS: introspection and key sets, with a server of an issuer's on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::material::MATERIAL;
use crate::support::raw::{Hello, Raw};
use crate::support::site::{Site, eventually};

const ACL: &str = "#!acl 2\nuser alice\ntopic readwrite alice/#\ngroup staff\ntopic read staff/#\n";

/// What came: the first line, the headers, the body.
#[derive(Clone, Debug)]
struct Asked {
    head: String,
    body: String,
}

/// Status and body of an answer.
type Reply = (u16, String);

type Answering = Box<dyn Fn(&Asked) -> Reply + Send>;

/// An issuer's server.
struct Issuer {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    reply: Arc<Mutex<Answering>>,
}

impl Issuer {
    fn new(reply: impl Fn(&Asked) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let reply: Arc<Mutex<Answering>> = Arc::new(Mutex::new(Box::new(reply)));
        let (all, answer) = (Arc::clone(&asked), Arc::clone(&reply));
        let config = Arc::new(config());
        // It ends with the program.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who does not like the certificate goes away.
                drop(answer_one(stream, &config, &all, &answer));
            }
        });
        Self { port, asked, reply }
    }

    fn becomes(&self, reply: impl Fn(&Asked) -> Reply + Send + 'static) {
        *self.reply.lock().expect("a lock") = Box::new(reply);
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("a lock").clone()
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }
}

fn config() -> ServerConfig {
    let certificate = CertificateDer::from_pem_slice(MATERIAL.server.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(MATERIAL.server.key.as_bytes());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.expect("PEM")], key.expect("PEM"))
        .expect("a certificate")
}

fn answer_one(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    asked: &Mutex<Vec<Asked>>,
    reply: &Mutex<Answering>,
) -> std::io::Result<()> {
    let connection = ServerConnection::new(Arc::clone(config)).expect("a configuration");
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8(body).expect("text");
    let one = Asked { head, body };
    let (status, text) = reply.lock().expect("a lock")(&one);
    asked.lock().expect("a lock").push(one);
    let stream = stream.get_mut();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn site(more: &str) -> Site {
    let site = Site::with_users(&["inside"], ACL, "");
    site.write("secret", "s3cret of the broker\n");
    site.write("issuer-ca.crt", &MATERIAL.ca());
    let conf = site.read("portcullis.conf");
    site.write("portcullis.conf", &format!("{conf}{}\n", site.fill(more)));
    site
}

fn introspecting(issuer: &Issuer, more: &str) -> Site {
    site(&format!(
        "introspection_url {}\nintrospection_client_id broker id\nintrospection_cafile {{dir}}/issuer-ca.crt\n\
         introspection_client_secret_file {{dir}}/secret\nauth_failure_delay_ms 0 0\n{more}",
        issuer.url("/introspect")
    ))
}

fn hello(id: &str, token: &str) -> Hello {
    let mut hello = Hello::new(5, id, "whoever");
    hello.password = Some(token.into());
    hello
}

fn yes(more: &Value) -> Reply {
    let mut answer = json!({"active": true, "username": "alice"});
    let object = answer.as_object_mut().expect("an object");
    object.extend(more.as_object().expect("an object").clone());
    (200, answer.to_string())
}

fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

#[test]
fn the_issuer_says_who_a_token_is_and_is_asked_once() {
    let issuer = Issuer::new(|_| yes(&json!({"exp": now_s() + 600, "roles": ["staff"]})));
    let site = introspecting(&issuer, "jwt_groups_claim roles");
    let broker = site.start();
    let token = "opaque/token+with=signs&more";
    for id in ["a", "b"] {
        let (mut raw, _) = Raw::hello(site.plain, &hello(id, token));
        assert_eq!(
            raw.subscribe(&[("alice/#", 0), ("staff/#", 0), ("#", 0)]),
            [0, 0, 0x87]
        );
    }
    let event = broker.audited("connect", |line| line["client_id"] == "a");
    assert_eq!(
        (&event["username"], &event["method"]),
        (&json!("alice"), &json!("introspection"))
    );
    let asked = issuer.asked();
    assert_eq!(asked.len(), 1, "the second time it is remembered");
    assert!(asked[0].head.starts_with("POST /introspect HTTP/1.1\r\n"));
    assert!(
        asked[0]
            .body
            .contains("token=opaque%2Ftoken%2Bwith%3Dsigns%26more")
    );
    let basic = STANDARD.encode("broker%20id:s3cret%20of%20the%20broker");
    assert!(
        asked[0]
            .head
            .contains(&format!("authorization: Basic {basic}")),
        "{}",
        asked[0].head
    );
    // Passwords of the file need nobody outside.
    Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    assert_eq!(issuer.asked().len(), 1);
    for text in [
        broker.log(),
        site.read("audit.log"),
        broker.http("/metrics"),
    ] {
        for secret in [token, "s3cret", &basic] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn only_a_definite_yes_lets_anybody_in() {
    let issuer = Issuer::new(|asked| {
        let body = asked.body.clone();
        let of = |token: &str| body.starts_with(&format!("token={token}&"));
        if of("no") {
            return (200, json!({"active": false}).to_string());
        }
        if of("text") {
            return (
                200,
                json!({"active": "true", "username": "alice"}).to_string(),
            );
        }
        if of("nobody") {
            return (200, json!({"active": true}).to_string());
        }
        if of("wild") {
            return yes(&json!({"username": "#"}));
        }
        if of("over") {
            return yes(&json!({"exp": now_s() - 5}));
        }
        if of("elsewhere") {
            return yes(&json!({"aud": "another"}));
        }
        if of("twice") {
            return (
                200,
                r#"{"active": false, "active": true, "username": "alice"}"#.into(),
            );
        }
        if of("long") {
            return yes(&json!({"x": "y".repeat(70_000)}));
        }
        if of("redirect") {
            return (302, yes(&json!({})).1);
        }
        yes(&json!({"aud": ["broker"]}))
    });
    let site = introspecting(&issuer, "jwt_audience broker");
    let _broker = site.start();
    Raw::hello(site.plain, &hello("good", "good"));
    for (token, code) in [
        ("no", 0x86),
        ("nobody", 0x86),
        ("wild", 0x86),
        ("over", 0x86),
        ("elsewhere", 0x86),
        ("text", 0x88),
        ("twice", 0x88),
        ("long", 0x88),
        ("redirect", 0x88),
    ] {
        assert_eq!(
            Raw::refused(site.plain, &hello(token, token)),
            code,
            "{token}"
        );
    }
}

#[test]
fn an_issuer_that_fails_is_left_alone_and_readiness_says_so() {
    let issuer = Issuer::new(|_| (500, String::new()));
    let site = introspecting(&issuer, "");
    let broker = site.start();
    assert!(broker.http("/readyz").contains("200 OK"));
    for number in 0..7 {
        let token = format!("t{number}");
        assert_eq!(Raw::refused(site.plain, &hello("x", &token)), 0x88);
    }
    assert_eq!(issuer.asked().len(), 5);
    assert!(
        broker
            .http("/readyz")
            .contains("cannot ask https://127.0.0.1")
    );
    broker.metric_becomes("portcullis_identity_sources_down", 1.0);
    // Who needs no issuer comes in all the while.
    Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    let told = broker.audited("authentication_failure", |line| {
        line["reason"] == "auth_unavailable"
    });
    assert_eq!(told["decision"], "deny");
}

#[test]
fn a_connection_ends_with_what_the_issuer_said_of_its_token() {
    let issuer = Issuer::new(|asked| {
        if asked.body.contains("token=short") {
            yes(&json!({"exp": now_s() + 2}))
        } else {
            // Without an end: for as long as the answer is remembered.
            yes(&json!({}))
        }
    });
    let site = introspecting(&issuer, "introspection_cache 1");
    let _broker = site.start();
    let (mut short, _) = Raw::hello(site.plain, &hello("s", "short"));
    let (mut endless, _) = Raw::hello(site.plain, &hello("e", "endless"));
    endless.expect_disconnect(0xA0);
    short.expect_disconnect(0xA0);
}

#[test]
fn an_issuer_whose_certificate_is_nobodys_is_not_asked() {
    let issuer = Issuer::new(|_| yes(&json!({})));
    let site = introspecting(&issuer, "");
    let other = crate::support::material::Material::new();
    site.write("issuer-ca.crt", &other.ca());
    let _broker = site.start();
    assert_eq!(Raw::refused(site.plain, &hello("x", "token")), 0x88);
    assert!(issuer.asked().is_empty());
}

/// A key of the issuer's and its entry in a set.
struct Key {
    pair: KeyPair,
    id: &'static str,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self { pair, id }
    }

    fn jwk(&self) -> Value {
        let raw = self.pair.public_key_raw();
        // 04, x, y.
        json!({
            "kty": "EC", "crv": "P-256", "kid": self.id, "alg": "ES256", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(&raw[1..33]), "y": URL_SAFE_NO_PAD.encode(&raw[33..65]),
        })
    }

    fn token(&self) -> String {
        let claims = json!({"sub": "alice", "aud": "broker", "exp": now_s() + 600});
        let key = EncodingKey::from_ec_der(&self.pair.serialize_der());
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.into());
        jsonwebtoken::encode(&header, &claims, &key).expect("a token")
    }
}

fn set(keys: &[&Key]) -> impl Fn(&Asked) -> Reply + Send + 'static {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    let text = json!({"keys": keys}).to_string();
    move |_| (200, text.clone())
}

fn with_key_set(issuer: &Issuer) -> Site {
    site(&format!(
        "jwt_jwks_url {}\njwt_jwks_cafile {{dir}}/issuer-ca.crt\njwt_jwks_refresh 10\njwt_audience broker\n\
         auth_failure_delay_ms 0 0\n",
        issuer.url("/keys")
    ))
}

#[test]
fn a_key_set_is_read_over_https_and_kept_while_its_server_is_down() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let issuer = Issuer::new(|_| (503, String::new()));
    let site = with_key_set(&issuer);
    let broker = site.start();
    // The broker starts without it, and nobody comes in by it.
    assert_eq!(Raw::refused(site.plain, &hello("x", &old.token())), 0x88);
    assert!(broker.http("/readyz").contains("the key set https://"));
    issuer.becomes(set(&[&old, &new]));
    eventually("the set is read", || {
        broker.http("/readyz").contains("200 OK").then_some(())
    });
    let (mut by_old, _) = Raw::hello(site.plain, &hello("o", &old.token()));
    let (mut by_new, _) = Raw::hello(site.plain, &hello("n", &new.token()));
    // A reload keeps the set, and who came in by it.
    issuer.becomes(|_| (503, String::new()));
    broker.reload();
    by_old.expect_silence();
    Raw::hello(site.plain, &hello("again", &old.token()));
    // That it will be too old one day is told early.
    broker.metric_becomes("portcullis_identity_sources_silent", 1.0);
    broker.metric_becomes("portcullis_identity_sources_down", 0.0);
    assert!(broker.http("/readyz").contains("200 OK"));
    // A key that is taken out of the set takes its clients along.
    issuer.becomes(set(&[&new]));
    by_old.expect_disconnect(0x87);
    by_new.expect_silence();
    assert_eq!(Raw::refused(site.plain, &hello("x", &old.token())), 0x86);
}

#[test]
fn where_to_ask_must_be_https_and_have_a_secret() {
    let site = site("introspection_url http://issuer.example/x\njwt_jwks_url issuer.example\n");
    let ended = site.run_conf();
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    assert!(
        ended.err.contains("there is no secret to ask it with"),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("it is no URL such as"), "{}", ended.err);
}

#[test]
fn a_file_of_cas_without_one_is_told_where_it_is_named() {
    let site = site(
        "jwt_audience broker\njwt_jwks_url https://issuer.example/keys\n\
         jwt_jwks_cafile {dir}/secret\n",
    );
    let ended = site.run_conf();
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    let conf = site.read("portcullis.conf");
    let mut lines = (1..).zip(conf.lines());
    let line = lines.find(|(_, line)| line.starts_with("jwt_jwks_cafile"));
    let at = format!("portcullis.conf:{}:", line.expect("it is there").0);
    assert!(ended.err.contains(&at), "{at} is not in {}", ended.err);
    assert!(
        ended.err.contains("there is no CA certificate"),
        "{}",
        ended.err
    );
}
