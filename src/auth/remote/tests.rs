//! Key sets and introspection with a server over TLS on loopback.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::auth::Secret;
use crate::auth::authenticator::now_s;
use crate::auth::jwt::{JwtSettings, KeySet, Replay, Revoked};
use crate::policy::DenyReason;

use super::https::Endpoint;
use super::introspection::{Introspection, IntrospectionSettings};
use super::keys::{RemoteKeys, RemoteKeysSettings};

/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(60);

/// What is answered to the body of a question: status and body.
type Answering = Box<dyn Fn(&str) -> (u16, String) + Send>;

/// Another end of a connection than a polite one.
#[derive(Clone, Copy, PartialEq)]
enum After {
    KeepsOpen,
    /// Closes the socket without a word of TLS.
    HangsUp,
}

struct Server {
    port: u16,
    ca: String,
    questions: Arc<Mutex<Vec<String>>>,
    answering: Arc<Mutex<Answering>>,
}

impl Server {
    async fn start(
        after: After,
        answering: impl Fn(&str) -> (u16, String) + Send + 'static,
    ) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            ca: made.cert.pem(),
            questions: Arc::default(),
            answering: Arc::new(Mutex::new(Box::new(answering))),
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let questions = Arc::clone(&server.questions);
        let answering = Arc::clone(&server.answering);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, questions) = (acceptor.clone(), Arc::clone(&questions));
                let answering = Arc::clone(&answering);
                tokio::spawn(async move {
                    // Who goes away has gone.
                    drop(serve(stream, acceptor, after, &questions, &answering).await);
                });
            }
        });
        server
    }

    fn becomes(&self, answering: impl Fn(&str) -> (u16, String) + Send + 'static) {
        *self.answering.lock() = Box::new(answering);
    }

    fn endpoint(&self) -> Endpoint {
        let url = format!("https://127.0.0.1:{}/x", self.port);
        Endpoint::new(&url, Some(self.ca.as_bytes()), LONG).unwrap()
    }

    fn questions(&self) -> usize {
        self.questions.lock().len()
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    after: After,
    questions: &Mutex<Vec<String>>,
    answering: &Mutex<Answering>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let body = String::from_utf8(body).unwrap();
        let (status, text) = answering.lock()(&body);
        questions.lock().push(body);
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        stream.write_all((head + &text).as_bytes()).await?;
        stream.flush().await?;
        if after == After::HangsUp {
            return stream.get_mut().get_mut().0.shutdown().await;
        }
    }
}

fn yes(more: &Value) -> (u16, String) {
    let mut answer = json!({"active": true, "username": "alice"});
    let object = answer.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    (200, answer.to_string())
}

fn claims(username_claim: &str) -> JwtSettings {
    JwtSettings {
        keys: KeySet::default(),
        remote: None,
        algorithms: Vec::new(),
        issuer: None,
        audience: Vec::new(),
        username_claim: username_claim.into(),
        client_id_claim: None,
        groups_claim: None,
        acl_claim: None,
        clock_skew_s: 0,
        max_lifetime_s: None,
        require_jti: false,
        revoked: Revoked::default(),
        replay: Replay::Off,
    }
}

fn asking(server: &Server, cache: Duration, username_claim: &str) -> Arc<Introspection> {
    let introspection = Introspection::new(IntrospectionSettings {
        endpoint: server.endpoint(),
        client_id: "broker".into(),
        client_secret: Secret::from("secret"),
        cache,
        claims: claims(username_claim),
    });
    Arc::new(introspection.unwrap())
}

/// One that is served.
fn introspection(server: &Server, cache: Duration) -> Arc<Introspection> {
    let issuer = asking(server, cache, "username");
    tokio::spawn(Arc::clone(&issuer).serve());
    issuer
}

async fn verify(issuer: &Introspection, token: &str) -> Result<String, DenyReason> {
    let said = issuer.verify(Secret::from(token), now_s()).await?;
    Ok(said.claims.username.to_string())
}

#[tokio::test]
async fn an_answer_that_is_complete_counts_though_tls_is_not_closed() {
    let server = Server::start(After::HangsUp, |_| (200, "x".repeat(100_000))).await;
    let endpoint = server.endpoint();
    for _ in 0..20 {
        let answer = endpoint.get(1 << 20).await;
        assert_eq!(
            answer.map(|bytes| bytes.len()).map_err(|e| e.to_string()),
            Ok(100_000)
        );
    }
}

#[tokio::test]
async fn clients_that_come_with_one_token_at_once_are_one_question() {
    let server = Server::start(After::KeepsOpen, |_| yes(&json!({}))).await;
    let issuer = asking(&server, LONG, "username");
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let issuer = Arc::clone(&issuer);
            tokio::spawn(async move { verify(&issuer, "the same").await })
        })
        .collect();
    // All have asked before anything is answered.
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    tokio::spawn(Arc::clone(&issuer).serve());
    for one in waiting {
        assert_eq!(one.await.unwrap(), Ok("alice".into()));
    }
    assert_eq!(server.questions(), 1);
}

#[tokio::test]
async fn what_a_token_makes_the_issuer_refuse_shuts_nobody_else_out() {
    let server = Server::start(After::KeepsOpen, |body| {
        // As something in front of the issuer that looks for attacks would.
        if body.contains("evil") {
            (403, String::new())
        } else {
            yes(&json!({}))
        }
    })
    .await;
    let issuer = introspection(&server, LONG);
    for number in 0..8 {
        let token = format!("evil{number}");
        assert_eq!(
            verify(&issuer, &token).await,
            Err(DenyReason::AuthUnavailable)
        );
    }
    assert_eq!(verify(&issuer, "good").await, Ok("alice".into()));
}

#[tokio::test]
async fn an_issuer_that_does_not_know_the_broker_is_down() {
    use super::Remote;
    let server = Server::start(After::KeepsOpen, |_| (401, String::new())).await;
    let issuer = introspection(&server, LONG);
    for number in 0..8 {
        let token = number.to_string();
        assert_eq!(
            verify(&issuer, &token).await,
            Err(DenyReason::AuthUnavailable)
        );
    }
    assert!(!issuer.is_up());
    assert_eq!(server.questions(), 5);
}

#[tokio::test]
async fn what_no_access_token_holds_is_not_sent() {
    let server = Server::start(After::KeepsOpen, |_| yes(&json!({}))).await;
    let issuer = introspection(&server, LONG);
    for token in ["", "a\0", "a\n", "pässword", "\u{7f}"] {
        assert_eq!(
            verify(&issuer, token).await,
            Err(DenyReason::TokenMalformed),
            "{token:?}"
        );
    }
    assert_eq!(server.questions(), 0);
    assert_eq!(verify(&issuer, " ~!").await, Ok("alice".into()));
}

#[tokio::test]
async fn who_remembers_nothing_still_takes_tokens_without_an_end() {
    let server = Server::start(After::KeepsOpen, |_| yes(&json!({}))).await;
    let issuer = introspection(&server, Duration::ZERO);
    assert_eq!(verify(&issuer, "token").await, Ok("alice".into()));
    assert_eq!(verify(&issuer, "token").await, Ok("alice".into()));
    assert_eq!(server.questions(), 2);
}

#[tokio::test]
async fn a_reload_that_reads_another_field_as_the_name_ends_what_the_old_one_gave() {
    let server = Server::start(After::KeepsOpen, |_| yes(&json!({"sub": "bob"}))).await;
    let issuer = introspection(&server, LONG);
    let said = issuer.verify(Secret::from("token"), now_s()).await.unwrap();
    assert!(issuer.still_takes(&said, now_s()));
    assert!(asking(&server, LONG, "username").still_takes(&said, now_s()));
    assert!(!asking(&server, LONG, "sub").still_takes(&said, now_s()));
}

fn jwk(id: &str) -> Value {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let raw = pair.public_key_raw();
    json!({
        "kty": "EC", "crv": "P-256", "kid": id, "use": "sig",
        "x": URL_SAFE_NO_PAD.encode(&raw[1..33]), "y": URL_SAFE_NO_PAD.encode(&raw[33..65]),
    })
}

fn set(keys: &[Value]) -> impl Fn(&str) -> (u16, String) + Send + 'static {
    let text = json!({"keys": keys}).to_string();
    move |_| (200, text.clone())
}

fn unread_keys(server: &Server, stale: Duration) -> RemoteKeys {
    RemoteKeys::new(RemoteKeysSettings {
        endpoint: server.endpoint(),
        refresh: LONG * 60,
        stale,
    })
}

fn remote_keys(server: &Server) -> Arc<RemoteKeys> {
    Arc::new(unread_keys(server, LONG * 60))
}

/// Until it is so; what waits is stopped by the time limit of the whole.
async fn eventually(what: &str, so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, waiting).await.is_ok(), "{what}");
}

#[tokio::test]
async fn keys_that_are_not_understood_are_left_out_of_a_set() {
    let server = Server::start(
        After::KeepsOpen,
        set(&[
            json!({"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA", "kid": "later"}),
            json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "k1"}),
            json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "p521"}),
            json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "short"}),
            json!("no key at all"),
            jwk("good"),
        ]),
    )
    .await;
    let keys = remote_keys(&server);
    tokio::spawn(RemoteKeys::keep_new(Arc::downgrade(&keys), || {}));
    eventually("the set is read", || keys.current().is_some()).await;
    assert_eq!(keys.current().unwrap().len(), 1);
}

#[tokio::test]
async fn a_set_without_a_key_that_can_be_used_does_not_replace_a_good_one() {
    let server = Server::start(After::KeepsOpen, set(&[jwk("good")])).await;
    let keys = remote_keys(&server);
    tokio::spawn(RemoteKeys::keep_new(Arc::downgrade(&keys), || {}));
    eventually("the set is read", || keys.current().is_some()).await;
    server.becomes(set(&[
        json!({"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA"}),
    ]));
    keys.refetch().await;
    assert_eq!(server.questions(), 2);
    assert_eq!(keys.current().unwrap().len(), 1);
}

#[tokio::test]
async fn a_set_that_is_too_old_verifies_nothing() {
    use super::Remote;
    let server = Server::start(After::KeepsOpen, set(&[jwk("good")])).await;
    let keys = unread_keys(&server, Duration::ZERO);
    keys.refetch().await;
    assert!(keys.current().is_none() && !keys.is_up());
    // Who is connected by a key of it is not sent away for that.
    assert_eq!(keys.last().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_that_is_not_there_has_the_set_read_again_at_once() {
    let server = Server::start(After::KeepsOpen, set(&[jwk("old")])).await;
    let mut keys = unread_keys(&server, LONG * 60);
    // As if the last time were longer ago.
    keys.least_between = Duration::ZERO;
    let keys = Arc::new(keys);
    tokio::spawn(RemoteKeys::keep_new(Arc::downgrade(&keys), || {}));
    eventually("the set is read", || keys.current().is_some()).await;
    server.becomes(set(&[jwk("old"), jwk("new")]));
    keys.want_newer();
    eventually("the new set is read", || keys.last().unwrap().len() == 2).await;
    assert_eq!(server.questions(), 2);
}

#[tokio::test]
async fn a_set_that_nobody_wants_any_more_is_forgotten_at_once() {
    let server = Server::start(After::KeepsOpen, set(&[jwk("good")])).await;
    let keys = remote_keys(&server);
    let keeping = tokio::spawn(RemoteKeys::keep_new(Arc::downgrade(&keys), || {}));
    eventually("the set is read", || keys.current().is_some()).await;
    let weak = Arc::downgrade(&keys);
    drop(keys);
    assert!(tokio::time::timeout(LONG, keeping).await.is_ok());
    assert!(weak.upgrade().is_none());
}
