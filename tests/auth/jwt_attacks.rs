//! What attacks.md section 4 says must be refused, by its numbers.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use portcullis::auth::Secret;
use portcullis::auth::jwt::{ALGORITHMS, JwtProblem, KeyError, KeySet, MAX_TOKEN_BYTES, Revoked};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use crate::jwt::{Issuer, NOW_S, claims, settings, verify, with};

#[test]
fn attacks_1_and_4_a_token_does_not_choose_how_it_is_verified() {
    let issuer = Issuer::ec();
    let settings = issuer.settings();
    let payload = claims().to_string();
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    for alg in [
        "none", "None", "nOnE", "NONE", "", "ES256 ", "es256", "ES384", "HS256",
    ] {
        let header = json!({"alg": alg}).to_string();
        let unsigned = format!("{}.{}.", encode(&header), encode(&payload));
        assert!(
            verify(&settings, &unsigned).is_err(),
            "{alg:?} without signature"
        );
        let signed = issuer.sign(&header, &payload);
        assert_eq!(
            verify(&settings, &signed),
            Err(JwtProblem::Signature),
            "{alg:?}"
        );
    }
    for header in [
        json!({"typ": "JWT"}),
        json!({"alg": null}),
        json!({"alg": ["ES256"]}),
        json!({"alg": 1}),
        json!({"alg": "ES256", "crit": ["exp"]}),
        json!({"alg": "ES256", "b64": false}),
        json!({"alg": "ES256", "zip": "DEF"}),
        json!({"alg": "ES256", "enc": "A256GCM"}),
        json!({"alg": "ES256", "kid": 1}),
        json!({"alg": "ES256", "kid": "x".repeat(300)}),
    ] {
        let token = issuer.sign(&header.to_string(), &payload);
        assert_eq!(
            verify(&settings, &token),
            Err(JwtProblem::Malformed),
            "{header}"
        );
    }
}

#[test]
fn attacks_1_and_8_what_is_not_three_parts_of_base64url_is_no_token() {
    let issuer = Issuer::ec();
    let settings = issuer.settings();
    let good = issuer.token(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = [parts[0], parts[1], parts[2]];
    for token in [
        String::new(),
        "..".into(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("{good}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!("{header} .{payload}.{signature}"),
        format!("{good}\n"),
        format!("{good}\0"),
        good.replace('.', ","),
    ] {
        assert_eq!(
            verify(&settings, &token),
            Err(JwtProblem::Malformed),
            "{token:?}"
        );
    }
    assert_eq!(
        settings.verify(&[0xFF, b'.', b'.'], NOW_S),
        Err(JwtProblem::Malformed)
    );
    let long = issuer.token(&with("more", json!("x".repeat(MAX_TOKEN_BYTES))));
    assert_eq!(verify(&settings, &long), Err(JwtProblem::Malformed));
}

/// The oldest attack: a public key is no secret, so it must not serve as one.
#[test]
fn attack_2_a_public_key_does_not_serve_as_a_secret() {
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    for pem in [
        Issuer::ec().public_pem,
        rsa.expect("a key").public_key_pem(),
    ] {
        let keys = KeySet::from_pem(pem.as_bytes()).expect("a key");
        let mut settings = settings(keys);
        // Even where the operator names them all.
        settings.algorithms = ALGORITHMS.to_vec();
        let der = der_of(&pem);
        for secret in [pem.as_bytes(), pem.as_bytes().trim_ascii(), &der] {
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let forger = Issuer {
                    key: EncodingKey::from_secret(secret),
                    public_pem: String::new(),
                    algorithm,
                };
                let forged = verify(&settings, &forger.token(&claims()));
                assert_eq!(forged, Err(JwtProblem::Signature));
            }
        }
    }
}

fn der_of(pem: &str) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(text).expect("base64")
}

/// The key as a JSON Web Key; a point is 65 bytes at the end: 04, x, y.
fn jwk(issuer: &Issuer, kid: &str) -> Value {
    let der = der_of(&issuer.public_pem);
    let point = &der[der.len() - 64..];
    json!({
        "kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "use": "sig",
        "x": URL_SAFE_NO_PAD.encode(&point[..32]), "y": URL_SAFE_NO_PAD.encode(&point[32..]),
    })
}

#[test]
fn attack_3_keys_that_a_token_brings_along_are_not_looked_at() {
    let (issuer, forger) = (Issuer::ec(), Issuer::ec());
    for header in [
        json!({"alg": "ES256", "jwk": jwk(&forger, "evil")}),
        json!({"alg": "ES256", "jku": "https://evil.example/keys"}),
        json!({"alg": "ES256", "x5u": "https://evil.example/cert"}),
        json!({"alg": "ES256", "x5c": ["AAAA"]}),
        json!({"alg": "ES256", "kid": "../../dev/null"}),
        json!({"alg": "ES256", "kid": "' OR 1=1"}),
    ] {
        let token = forger.sign(&header.to_string(), &claims().to_string());
        assert_eq!(
            verify(&issuer.settings(), &token),
            Err(JwtProblem::Signature),
            "{header}"
        );
    }
}

/// Where keys have names, a `kid` is one of them and nothing else: no path, no query, no default.
#[test]
fn attack_3_a_key_id_chooses_among_the_keys_that_are_there() {
    let (issuer, other) = (Issuer::ec(), Issuer::ec());
    let set = json!({"keys": [jwk(&issuer, "one"), jwk(&other, "two")]});
    let keys = KeySet::from_jwks(set.to_string().as_bytes()).expect("a set");
    let settings = settings(keys);
    let signed = |header: &Value| {
        let token = issuer.sign(&header.to_string(), &claims().to_string());
        verify(&settings, &token).map(|_| ())
    };
    assert_eq!(signed(&json!({"alg": "ES256", "kid": "one"})), Ok(()));
    for kid in [
        "../../dev/null",
        "/dev/null",
        "one' OR '1'='1",
        "one\0",
        "one ",
        "ONE",
        "two",
        "",
    ] {
        let refused = signed(&json!({"alg": "ES256", "kid": kid}));
        assert_eq!(refused, Err(JwtProblem::Signature), "{kid:?}");
    }
    for kid in [
        json!("x".repeat(257)),
        json!(null),
        json!(["one"]),
        json!({"kid": "one"}),
    ] {
        let refused = signed(&json!({"alg": "ES256", "kid": kid}));
        assert_eq!(refused, Err(JwtProblem::Malformed), "{kid}");
    }
}

#[test]
fn attack_5_numbers_that_are_none_are_no_end() {
    let issuer = Issuer::ec();
    let settings = issuer.settings();
    let good = claims().to_string();
    let written = format!("\"exp\":{}", NOW_S + 600);
    assert!(good.contains(&written), "{good}");
    for (exp, expected) in [
        ("1e999", JwtProblem::Malformed),
        ("Infinity", JwtProblem::Malformed),
        ("NaN", JwtProblem::Malformed),
        ("01800000600", JwtProblem::Malformed),
        ("-1e999", JwtProblem::Malformed),
        ("1e18", JwtProblem::Claims),
        ("18446744073709551616", JwtProblem::Claims),
        ("-0.5", JwtProblem::Claims),
        ("true", JwtProblem::Claims),
        ("null", JwtProblem::Claims),
        ("0", JwtProblem::Expired),
    ] {
        let payload = good.replace(&written, &format!("\"exp\":{exp}"));
        let token = issuer.sign(r#"{"alg":"ES256"}"#, &payload);
        assert_eq!(verify(&settings, &token), Err(expected), "{exp}");
    }
}

#[test]
fn attacks_5_to_7_and_9_each_claim_must_be_there_of_its_type_and_say_what_is_asked_for() {
    let issuer = Issuer::ec();
    let settings = issuer.settings();
    for (claim, value) in [
        ("exp", json!(null)),
        ("exp", json!("1800000600")),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("exp", json!([NOW_S + 600])),
        ("exp", json!(u64::MAX)),
        ("nbf", json!("now")),
        ("iat", json!("now")),
        ("iat", json!(NOW_S + 61)),
        ("iss", json!(null)),
        ("iss", json!("https://issuer.example/")),
        ("iss", json!("HTTPS://ISSUER.EXAMPLE")),
        ("iss", json!(["https://issuer.example"])),
        ("iss", json!("")),
        ("aud", json!(null)),
        ("aud", json!("brokers")),
        ("aud", json!("brok")),
        ("aud", json!([])),
        ("aud", json!([["broker"]])),
        ("aud", json!({"broker": true})),
        ("sub", json!(null)),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!(["alice"])),
        ("sub", json!("al/ice")),
        ("sub", json!("+")),
        ("sub", json!("alice#")),
        ("sub", json!("alice\u{0}")),
        ("sub", json!("alice\n")),
        ("sub", json!("a".repeat(513))),
        ("jti", json!(1)),
    ] {
        let token = issuer.token(&with(claim, value.clone()));
        assert_eq!(
            verify(&settings, &token),
            Err(JwtProblem::Claims),
            "{claim}: {value}"
        );
    }
    for (claim, value) in [
        ("exp", json!(1_800_000_600.5)),
        ("nbf", json!(NOW_S + 60)),
        ("iat", json!(null)),
        ("aud", json!(["other", "broker"])),
        ("sub", json!("auth0|123")),
        ("jti", json!("x")),
        ("unknown", json!({"deep": [1, 2]})),
    ] {
        let token = issuer.token(&with(claim, value.clone()));
        assert!(verify(&settings, &token).is_ok(), "{claim}: {value}");
    }
}

#[test]
fn attack_5_time_is_judged_once_with_the_skew_that_was_set() {
    let issuer = Issuer::ec();
    let mut settings = issuer.settings();
    let token = issuer.token(&with("nbf", json!(NOW_S)));
    for (skew, from, until) in [(0, NOW_S, NOW_S + 600), (60, NOW_S - 60, NOW_S + 660)] {
        settings.clock_skew_s = skew;
        let at = |now: u64| settings.verify(token.as_bytes(), now);
        assert!(at(from).is_ok() && at(until - 1).is_ok(), "skew {skew}");
        assert_eq!(at(until), Err(JwtProblem::Expired));
        assert!(at(from - 1).is_err());
    }
}

#[test]
fn attack_8_names_that_stand_twice_and_deep_nesting_are_refused() {
    let issuer = Issuer::ec();
    let settings = issuer.settings();
    let body = claims().to_string();
    let twice = body.replacen('{', r#"{"sub":"mallory","#, 1);
    let token = issuer.sign(r#"{"alg":"ES256"}"#, &twice);
    assert_eq!(verify(&settings, &token), Err(JwtProblem::Malformed));
    let token = issuer.sign(r#"{"alg":"ES256","alg":"ES256"}"#, &body);
    assert_eq!(verify(&settings, &token), Err(JwtProblem::Malformed));
    let mut deep = json!(1);
    for _ in 0..20 {
        deep = json!([deep]);
    }
    let token = issuer.token(&with("deep", deep));
    assert_eq!(verify(&settings, &token), Err(JwtProblem::Malformed));
    // The same name, written otherwise, and one further in.
    for twice in [
        body.replacen('{', r#"{"s\u0075b":"mallory","#, 1),
        body.replacen('{', r#"{"more":{"a":1,"a":2},"#, 1),
    ] {
        let token = issuer.sign(r#"{"alg":"ES256"}"#, &twice);
        assert_eq!(verify(&settings, &token), Err(JwtProblem::Malformed));
    }
    // As deep as a token of the greatest length can be.
    let deepest = format!("{{\"a\":{}", "[".repeat(5_000));
    let token = issuer.sign(r#"{"alg":"ES256"}"#, &deepest);
    assert!(token.len() <= MAX_TOKEN_BYTES);
    assert_eq!(verify(&settings, &token), Err(JwtProblem::Malformed));
    let token = issuer.sign(&deepest, &body);
    assert_eq!(verify(&settings, &token), Err(JwtProblem::Malformed));
}

#[test]
fn attack_9_jti_can_be_asked_for_and_tokens_and_subjects_revoked() {
    let issuer = Issuer::ec();
    let mut settings = issuer.settings();
    settings.require_jti = true;
    let without = issuer.token(&claims());
    assert_eq!(verify(&settings, &without), Err(JwtProblem::Claims));
    let token = issuer.token(&with("jti", json!("t-1")));
    let verified = verify(&settings, &token).expect("good");
    for text in ["jti t-1", "# a comment\n\nsub alice\n"] {
        settings.revoked = Revoked::parse(text).expect("a list");
        assert_eq!(
            verify(&settings, &token),
            Err(JwtProblem::Revoked),
            "{text}"
        );
        assert!(
            !settings.still_takes(&verified, NOW_S),
            "who is connected too"
        );
    }
    settings.revoked = Revoked::parse("jti t-2\nsub bob").expect("a list");
    assert!(verify(&settings, &token).is_ok() && settings.still_takes(&verified, NOW_S));
    let errors = Revoked::parse("jti\nuser alice\nsub x").expect_err("two lines are wrong");
    assert_eq!(
        errors.iter().map(|error| error.0).collect::<Vec<_>>(),
        [1, 2]
    );
}

#[test]
fn attack_10_keys_that_protect_nothing_are_refused_when_they_are_read() {
    assert_eq!(
        KeySet::from_secret(&Secret::from("short\n")).expect_err("short"),
        KeyError::ShortSecret(5)
    );
    let with_break = Secret::from("0123456789abcdef0123456789abcdef\n");
    let without = Secret::from("0123456789abcdef0123456789abcdef");
    let forger = Issuer {
        key: EncodingKey::from_secret(without.expose()),
        public_pem: String::new(),
        algorithm: Algorithm::HS256,
    };
    let settings = settings(KeySet::from_secret(&with_break).expect("32 bytes"));
    assert!(
        verify(&settings, &forger.token(&claims())).is_ok(),
        "a line break is no part of it"
    );
    assert_eq!(KeySet::from_pem(b"").expect_err("nothing"), KeyError::NoKey);
    let private = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let error = KeySet::from_pem(private.serialize_pem().as_bytes()).expect_err("private");
    assert_eq!(error, KeyError::NoKey);
}

#[test]
fn attack_10_keys_rotate_without_a_gap_and_a_key_that_is_gone_takes_its_clients_along() {
    let (old, new) = (Issuer::ec(), Issuer::ec());
    let set = |issuer: &Issuer| KeySet::from_pem(issuer.public_pem.as_bytes()).expect("a key");
    let both = settings(set(&old).and(set(&new)));
    let by_old = verify(&both, &old.token(&claims())).expect("good");
    let by_new = verify(&both, &new.token(&claims())).expect("good");
    let only_new = settings(set(&new));
    assert!(!only_new.still_takes(&by_old, NOW_S));
    assert!(only_new.still_takes(&by_new, NOW_S));
    let mut elsewhere = only_new.clone();
    elsewhere.issuer = Some("https://other.example".into());
    assert!(!elsewhere.still_takes(&by_new, NOW_S));
    assert!(
        !only_new.still_takes(&by_new, NOW_S + 660),
        "nor once it is over"
    );
}

#[test]
fn attack_11_what_can_be_printed_holds_neither_token_nor_key() {
    let text = b"the-secret-that-signs-all-the-tokens";
    let secret = Secret::from(&text[..]);
    let settings = settings(KeySet::from_secret(&secret).expect("long enough"));
    let issuer = Issuer {
        key: EncodingKey::from_secret(text),
        public_pem: String::new(),
        algorithm: Algorithm::HS256,
    };
    let token = issuer.token(&claims());
    let verified = verify(&settings, &token).expect("good");
    let bad = verify(&settings, &format!("{token}x"));
    let password = Secret::from(token.as_bytes());
    let said = format!("{settings:?} {verified:?} {bad:?} {secret:?} {password:?}");
    for part in token
        .split('.')
        .chain(["the-secret-that-signs-all-the-tokens"])
    {
        assert!(!said.contains(part), "{said}");
    }
    assert!(
        !said.contains(&format!("{:?}", &text[..8])[1..20]),
        "{said}"
    );
}
