//! JSON Web Tokens in the place of passwords, with the real program.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw, packet, put_bytes, put_properties};
use crate::support::secrets;
use crate::support::site::{Site, eventually};
use crate::support::tools::{By, publisher, subscriber};

/// Who issues tokens for the site.
struct Issuer(KeyPair);

pub(crate) fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

impl Issuer {
    fn new() -> Self {
        Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"))
    }

    /// A token of `user` for so many seconds, with these claims besides.
    fn token(&self, user: &str, seconds: u64, more: &Value) -> String {
        let mut claims = json!({
            "sub": user, "iss": "issuer", "aud": "broker", "exp": now_s() + seconds,
        });
        let object = claims.as_object_mut().expect("an object");
        object.extend(more.as_object().expect("an object").clone());
        let key = EncodingKey::from_ec_der(&self.0.serialize_der());
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).expect("a token")
    }
}

/// Password users and tokens on one listener.
fn site(issuer: &Issuer, more: &str) -> Site {
    let site = Site::with_users(&["inside"], ACL, "");
    site.write("jwt.pem", &issuer.0.public_key_pem());
    let tokens = format!(
        "jwt_public_key {{dir}}/jwt.pem\njwt_issuer issuer\njwt_audience broker\njwt_clock_skew 0\n{more}\n"
    );
    let conf = site.read("portcullis.conf");
    site.write("portcullis.conf", &format!("{conf}{}", site.fill(&tokens)));
    site
}

fn hello(version: u8, id: &str, name: &str, token: &str) -> Hello {
    let mut hello = Hello::new(version, id, name);
    hello.password = Some(token.into());
    hello
}

#[test]
fn a_token_names_the_user_and_the_rules_are_that_users() {
    let issuer = Issuer::new();
    let site = site(&issuer, "");
    let broker = site.start();
    let token = issuer.token("alice", 600, &json!({}));
    // What CONNECT says does not count, not even the name of another user.
    let (mut alice, _) = Raw::hello(site.plain, &hello(5, "a", "inside", &token));
    assert_eq!(
        alice.subscribe(&[("demo/alice/answers/#", 0), ("#", 0)]),
        [0, 0x87]
    );
    let event = broker.audited("connect", |line| line["client_id"] == "a");
    assert_eq!(
        (&event["username"], &event["method"]),
        (&json!("alice"), &json!("token"))
    );
    // Passwords work beside it.
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(4, "i", "inside"));
    inside.publish_acked("demo/alice/answers/1", "for alice", 1);
    assert_eq!(alice.message().payload, "for alice");
    // The token stands nowhere.
    for text in [
        broker.log(),
        site.read("audit.log"),
        broker.http("/metrics"),
    ] {
        assert!(!text.contains(&token[..40]), "{text}");
    }
}

#[test]
fn mosquittos_clients_send_a_token_as_their_password() {
    let issuer = Issuer::new();
    let site = site(&issuer, "");
    let _broker = site.start();
    let token = issuer.token("alice", 600, &json!({}));
    let receiver = subscriber(
        &site,
        By::Tls,
        "x",
        &["-P", &token, "-t", "demo/alice/answers/#"],
    );
    let sent = publisher(
        &site,
        By::Tls,
        "inside",
        &["-t", "demo/alice/answers/1", "-m", "hello"],
    );
    assert_eq!(sent.code, Some(0), "{}", sent.text);
    receiver.until("demo/alice/answers/1 hello");
}

#[test]
fn a_token_that_is_not_good_is_refused_with_its_reason_in_the_audit_log() {
    let (issuer, forger) = (Issuer::new(), Issuer::new());
    let site = site(&issuer, "");
    let broker = site.start();
    for (token, reason) in [
        (forger.token("alice", 600, &json!({})), "token_signature"),
        (issuer.token("alice", 0, &json!({})), "token_expired"),
        (
            issuer.token("alice", 600, &json!({"aud": "other"})),
            "token_claims",
        ),
        (issuer.token("alice/x", 600, &json!({})), "token_claims"),
        ("eyJ.eyJ.x".into(), "token_malformed"),
    ] {
        for (version, code) in [(5, 0x86), (4, 4)] {
            let refused = Raw::refused(site.plain, &hello(version, reason, "alice", &token));
            assert_eq!(refused, code, "{reason}");
        }
        let event = broker.audited("authentication_failure", |line| line["reason"] == reason);
        assert_eq!(event["decision"], "deny");
    }
}

#[test]
fn a_connection_ends_with_its_token_though_nothing_happens() {
    let issuer = Issuer::new();
    let site = site(&issuer, "");
    let broker = site.start();
    let token = issuer.token("alice", 2, &json!({}));
    let (mut five, _) = Raw::hello(site.plain, &hello(5, "five", "x", &token));
    let (mut four, _) = Raw::hello(site.plain, &hello(4, "four", "x", &token));
    five.expect_disconnect(0xA0);
    four.expect_end();
    let left = broker.audited("disconnect", |line| line["client_id"] == "five");
    assert_eq!(left["reason"], "token_over");
    // The clocks of deadlines and of tokens may be a moment apart.
    eventually("the token is refused", || {
        let mut raw = Raw::plain(site.plain, 5);
        raw.send(&hello(5, "five", "x", &token).encode());
        (raw.receive().body[1] == 0x86).then_some(())
    });
}

#[test]
fn a_token_that_ends_in_the_year_9999_is_one_like_others() {
    let issuer = Issuer::new();
    let site = site(&issuer, "");
    let _broker = site.start();
    let token = issuer.token("alice", 600, &json!({"exp": 253_402_300_799_u64}));
    let (mut raw, _) = Raw::hello(site.plain, &hello(5, "a", "x", &token));
    raw.expect_silence();
    raw.disconnect();
}

#[test]
fn a_token_is_revoked_at_the_reload_that_names_it_and_so_is_its_key() {
    let (issuer, next) = (Issuer::new(), Issuer::new());
    let site = site(&issuer, "jwt_revoked_file {dir}/revoked");
    site.write("revoked", "# nobody\n");
    let broker = site.start();
    let connect = |id: &str, token: &str| Raw::hello(site.plain, &hello(5, id, "x", token)).0;
    let one = issuer.token("alice", 600, &json!({"jti": "t-1"}));
    let other = issuer.token("bob", 600, &json!({"jti": "t-2"}));
    let (mut a, mut b) = (connect("a", &one), connect("b", &other));
    site.write("revoked", "jti t-1\n");
    assert_eq!(broker.reload()["decision"], "allow");
    a.expect_disconnect(0x87);
    b.expect_silence();
    assert_eq!(Raw::refused(site.plain, &hello(5, "a", "x", &one)), 0x86);
    // Another key beside the old one takes nothing away; in its place it does.
    let both = format!("{}{}", issuer.0.public_key_pem(), next.0.public_key_pem());
    site.write("jwt.pem", &both);
    broker.reload();
    b.expect_silence();
    let mut c = connect("c", &next.token("bob", 600, &json!({})));
    site.write("jwt.pem", &next.0.public_key_pem());
    broker.reload();
    b.expect_disconnect(0x87);
    c.expect_silence();
    // A list with a mistake in it changes nothing.
    site.write("revoked", "jti t-1\nuser bob\n");
    assert_eq!(broker.reload()["decision"], "deny");
    c.expect_silence();
    assert!(
        broker
            .log()
            .contains("revoked:2: error: a line begins with"),
        "{}",
        broker.log()
    );
}

#[test]
fn a_token_may_be_for_one_client_id_alone() {
    let issuer = Issuer::new();
    let site = site(&issuer, "");
    site.on_plain_listener("clientid_from jwt:client");
    let _broker = site.start();
    let token = issuer.token("alice", 600, &json!({"client": "device-1"}));
    Raw::hello(site.plain, &hello(5, "device-1", "x", &token))
        .0
        .disconnect();
    assert_eq!(
        Raw::refused(site.plain, &hello(5, "device-2", "x", &token)),
        0x86
    );
    // One that sends no identifier is given that of its token, and told.
    let mut raw = Raw::plain(site.plain, 5);
    raw.send(&hello(5, "", "x", &token).encode());
    let connack = raw.receive();
    assert_eq!(connack.said(0x12).as_deref(), Some(&b"device-1"[..]));
    // Who comes by password has no token that could say what it is called.
    assert_eq!(
        Raw::refused(site.plain, &Hello::new(5, "i", "inside")),
        0x85
    );
    let unbound = issuer.token("alice", 600, &json!({}));
    assert_eq!(
        Raw::refused(site.plain, &hello(5, "device-1", "x", &unbound)),
        0x86
    );
}

#[test]
fn a_client_id_out_of_a_token_is_bound_by_the_rules_for_client_ids() {
    let issuer = Issuer::new();
    let prefix = "clientid_prefixes dev";
    let site = site(&issuer, prefix);
    site.on_plain_listener("clientid_from jwt:client\nclientid_max_length 8");
    let _broker = site.start();
    for (client, code) in [
        ("dev-1", 0),
        ("dev-1/a", 0),
        ("dev\0b", 0x86),
        ("dev\u{7}", 0x86),
        ("dev-12345", 0x85),
        ("other", 0x87),
    ] {
        let token = issuer.token("alice", 600, &json!({"client": client}));
        for sent in ["", client] {
            // Who sends NUL breaks the protocol [MQTT-1.5.4-2].
            if sent.contains('\0') {
                continue;
            }
            let mut raw = Raw::plain(site.plain, 5);
            raw.send(&hello(5, sent, "x", &token).encode());
            assert_eq!(raw.receive().body[1], code, "{client:?} for {sent:?}");
        }
    }
}

/// Authentication Method and Authentication Data.
pub(crate) fn by_jwt(token: &str) -> Vec<u8> {
    secrets::used(token);
    let mut properties = vec![0x15];
    put_bytes(&mut properties, b"JWT");
    properties.push(0x16);
    put_bytes(&mut properties, token.as_bytes());
    properties
}

/// AUTH with Re-authenticate.
fn again(token: &str) -> Vec<u8> {
    let mut body = vec![0x19];
    put_properties(&mut body, &by_jwt(token));
    packet(0xF0, &body)
}

#[test]
fn a_token_is_renewed_in_session_by_auth_and_the_connection_lives_as_long_as_the_new_one() {
    let issuer = Issuer::new();
    let site = site(&issuer, "");
    let broker = site.start();
    let short = issuer.token("alice", 2, &json!({}));
    let connect = |id: &str| {
        let hello = Hello::nameless(5, id).with_property(&by_jwt(&short));
        Raw::hello(site.plain, &hello).0
    };
    let (mut renewed, mut left_alone) = (connect("renewed"), connect("left-alone"));
    renewed.send(&again(&issuer.token("alice", 600, &json!({}))));
    let answer = renewed.receive();
    assert_eq!(
        (answer.first, answer.body[0]),
        (0xF0, 0x00),
        "{answer:02x?}"
    );
    left_alone.expect_disconnect(0xA0);
    renewed.expect_silence();
    // Not with a token of somebody else, nor with one that is over.
    renewed.send(&again(&issuer.token("bob", 600, &json!({}))));
    renewed.expect_disconnect(0x87);
    let fresh = issuer.token("alice", 600, &json!({}));
    let hello = Hello::nameless(5, "other").with_property(&by_jwt(&fresh));
    let (mut other, _) = Raw::hello(site.plain, &hello);
    other.send(&again(&short));
    other.expect_disconnect(0x87);
    broker.audited("authentication_failure", |line| {
        line["reason"] == "token_expired"
    });
}

#[test]
fn a_token_in_connect_by_method_is_judged_like_one_in_the_password() {
    let (issuer, forger) = (Issuer::new(), Issuer::new());
    let site = site(&issuer, "");
    let _broker = site.start();
    let connect = |token: &str| Hello::nameless(5, "a").with_property(&by_jwt(token));
    assert_eq!(
        Raw::refused(site.plain, &connect(&forger.token("alice", 60, &json!({})))),
        0x86
    );
    assert_eq!(Raw::refused(site.plain, &connect("no token")), 0x86);
    let mut raw = Raw::plain(site.plain, 5);
    raw.send(&connect(&issuer.token("alice", 60, &json!({}))).encode());
    let connack = raw.receive();
    assert_eq!(connack.body[1], 0, "{connack:02x?}");
    assert_eq!(connack.said(0x15).as_deref(), Some(&b"JWT"[..]));
    // Where no tokens are taken there is no such method.
    let without = Site::with_users(&["alice"], ACL, "");
    let _broker = without.start();
    assert_eq!(Raw::refused(without.plain, &connect("x")), 0x8C);
}

#[test]
fn a_secret_serves_in_the_place_of_keys_and_not_beside_them() {
    let site = Site::with_users(&["inside"], ACL, "");
    site.write("secret", "0123456789abcdef0123456789abcdef\n");
    let conf = site.read("portcullis.conf");
    let with = |more: &str| site.write("portcullis.conf", &format!("{conf}{}", site.fill(more)));
    with("jwt_secret_file {dir}/secret\njwt_audience broker\n");
    {
        let _broker = site.start();
        let key = EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
        let claims = json!({"sub": "alice", "aud": "broker", "exp": now_s() + 60});
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key).expect("a token");
        Raw::hello(site.plain, &hello(5, "a", "x", &token))
            .0
            .disconnect();
    }
    site.write("jwt.pem", &Issuer::new().0.public_key_pem());
    with("jwt_secret_file {dir}/secret\njwt_public_key {dir}/jwt.pem\n");
    let ended = site.run_conf();
    assert_ne!(ended.code, Some(0));
    assert!(
        ended
            .err
            .contains("a secret and public keys for tokens on one listener"),
        "{}",
        ended.err
    );
    site.write("secret", "short\n");
    with("jwt_secret_file {dir}/secret\njwt_algorithms ES256\n");
    let ended = site.run_conf();
    assert!(
        ended
            .err
            .contains("the secret has 5 bytes, and 32 are the least"),
        "{}",
        ended.err
    );
}

#[test]
fn a_token_is_used_by_one_client_at_a_time_where_that_is_asked() {
    let issuer = Issuer::new();
    let site = site(
        &issuer,
        "jwt_replay per_connection\nauth_failure_delay_ms 0 0",
    );
    let broker = site.start();
    let token = issuer.token("alice", 600, &json!({"jti": "t-1"}));
    let (first, _) = Raw::hello(site.plain, &hello(5, "a", "", &token));
    assert_eq!(Raw::refused(site.plain, &hello(5, "b", "", &token)), 0x86);
    broker.audited("authentication_failure", |line| {
        line["reason"] == "token_replayed"
    });
    // The same client takes its own session over, and another one may have it when that is gone.
    let (mut again, _) = Raw::hello(site.plain, &hello(5, "a", "", &token));
    drop(first);
    again.expect_silence();
    again.disconnect();
    eventually("the token is free", || {
        let mut raw = Raw::plain(site.plain, 5);
        raw.send(&hello(5, "b", "", &token).encode());
        (raw.receive().body[1] == 0).then_some(())
    });
    let nameless = issuer.token("alice", 600, &json!({}));
    assert_eq!(
        Raw::refused(site.plain, &hello(5, "c", "", &nameless)),
        0x86
    );
}

#[test]
fn a_token_is_used_once_where_that_is_asked_whatever_is_reloaded() {
    let issuer = Issuer::new();
    let site = site(&issuer, "jwt_replay single_use\nauth_failure_delay_ms 0 0");
    let broker = site.start();
    let token = issuer.token("alice", 600, &json!({"jti": "t-1"}));
    let (mut first, _) = Raw::hello(site.plain, &hello(5, "a", "", &token));
    broker.reload();
    first.expect_silence();
    first.disconnect();
    for id in ["a", "b"] {
        assert_eq!(Raw::refused(site.plain, &hello(5, id, "", &token)), 0x86);
    }
    let other = issuer.token("alice", 600, &json!({"jti": "t-2"}));
    Raw::hello(site.plain, &hello(5, "a", "", &other));
}
