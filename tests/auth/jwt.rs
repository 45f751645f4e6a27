//! Tokens: what is taken, and every way in which one may try to be taken that is not good.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use portcullis::auth::Secret;
use portcullis::auth::jwt::{
    JwtProblem, JwtSettings, KeyError, KeySet, MAX_TOKEN_BYTES, Replay, Revoked, Verified,
    looks_like_a_token, name,
};
use portcullis::message::Grants;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use serde_json::{Value, json};

const NOW_S: u64 = 1_800_000_000;

/// A key and what verifies its signatures.
struct Issuer {
    key: EncodingKey,
    public_pem: String,
    algorithm: Algorithm,
}

impl Issuer {
    fn ec() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self {
            key: EncodingKey::from_ec_der(&pair.serialize_der()),
            public_pem: pair.public_key_pem(),
            algorithm: Algorithm::ES256,
        }
    }

    fn settings(&self) -> JwtSettings {
        settings(KeySet::from_pem(self.public_pem.as_bytes()).expect("a key"))
    }

    /// Signs header and payload as they are.
    fn sign(&self, header: &str, payload: &str) -> String {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload)
        );
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm);
        format!("{message}.{}", signature.expect("a signature"))
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": name(self.algorithm), "typ": "JWT"});
        self.sign(&header.to_string(), &claims.to_string())
    }
}

fn settings(keys: KeySet) -> JwtSettings {
    JwtSettings {
        algorithms: keys.algorithms(),
        keys,
        issuer: Some("https://issuer.example".into()),
        audience: vec!["broker".into()],
        username_claim: "sub".into(),
        client_id_claim: None,
        groups_claim: None,
        acl_claim: None,
        remote: None,
        replay: Replay::Off,
        clock_skew_s: 60,
        max_lifetime_s: None,
        require_jti: false,
        revoked: Revoked::default(),
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example",
        "aud": "broker",
        "sub": "alice",
        "exp": NOW_S + 600,
        "iat": NOW_S,
    })
}

/// The claims with one of them replaced, or taken away by null.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let object = claims.as_object_mut().expect("an object");
    if value.is_null() {
        object.remove(name);
    } else {
        object.insert(name.into(), value);
    }
    claims
}

fn verify(settings: &JwtSettings, token: &str) -> Result<Verified, JwtProblem> {
    settings.verify(token.as_bytes(), NOW_S)
}

#[test]
fn a_good_token_names_its_user() {
    let issuer = Issuer::ec();
    let verified = verify(&issuer.settings(), &issuer.token(&claims())).expect("good");
    assert_eq!(&*verified.username, "alice");
    assert_eq!(verified.ends_at_s(&issuer.settings()), NOW_S + 660);
}

/// The RSA key inside PKCS #8: behind its algorithm and the header of an octet string.
fn pkcs1(pkcs8: &[u8]) -> &[u8] {
    const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1, 5, 0];
    let at = pkcs8.windows(RSA.len()).position(|part| part == RSA);
    &pkcs8[at.expect("an RSA key") + RSA.len() + 4..]
}

#[test]
fn every_algorithm_works_with_the_keys_of_its_type_and_with_no_other() {
    let secret = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    let rsa = rsa.expect("a key");
    let p256 = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
    let ed = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let pem = |pair: &KeyPair| KeySet::from_pem(pair.public_key_pem().as_bytes()).expect("a key");
    let sets = [
        KeySet::from_secret(&Secret::from(&secret[..])).expect("a secret"),
        pem(&rsa),
        pem(&p256),
        pem(&p384),
        pem(&ed),
    ];
    let signers = [
        EncodingKey::from_secret(secret),
        EncodingKey::from_rsa_der(pkcs1(&rsa.serialize_der())),
        EncodingKey::from_ec_der(&p256.serialize_der()),
        EncodingKey::from_ec_der(&p384.serialize_der()),
        EncodingKey::from_ed_der(&ed.serialize_der()),
    ];
    for (index, set) in sets.iter().enumerate() {
        for algorithm in set.algorithms() {
            let issuer = Issuer {
                key: signers[index].clone(),
                public_pem: String::new(),
                algorithm,
            };
            let token = issuer.token(&claims());
            for (other, keys) in sets.iter().enumerate() {
                let mut settings = settings(keys.clone());
                settings.algorithms = portcullis::auth::jwt::ALGORITHMS.to_vec();
                let good = verify(&settings, &token).is_ok();
                assert_eq!(good, index == other, "{algorithm:?} with key {other}");
            }
            // What the operator does not allow is not taken though the key fits.
            let mut strict = settings(set.clone());
            strict.algorithms.retain(|&allowed| allowed != algorithm);
            assert_eq!(verify(&strict, &token), Err(JwtProblem::Signature));
        }
    }
}

#[test]
fn a_token_does_not_choose_how_it_is_verified() {
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

/// The oldest attack: a public key is no secret, so it must not serve as one.
#[test]
fn a_public_key_does_not_serve_as_a_secret() {
    let issuer = Issuer::ec();
    let mut settings = issuer.settings();
    settings.algorithms = portcullis::auth::jwt::ALGORITHMS.to_vec();
    let pem = issuer.public_pem.as_bytes();
    let der = STANDARD
        .decode(
            issuer
                .public_pem
                .lines()
                .filter(|line| !line.starts_with('-'))
                .collect::<String>(),
        )
        .expect("base64");
    for secret in [pem, pem.trim_ascii(), &der] {
        let forger = Issuer {
            key: EncodingKey::from_secret(secret),
            public_pem: String::new(),
            algorithm: Algorithm::HS256,
        };
        let forged = verify(&settings, &forger.token(&claims()));
        assert_eq!(forged, Err(JwtProblem::Signature));
    }
}

#[test]
fn keys_that_a_token_brings_along_are_not_looked_at() {
    let (issuer, forger) = (Issuer::ec(), Issuer::ec());
    for header in [
        json!({"alg": "ES256", "jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}),
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

#[test]
fn what_is_not_three_parts_of_base64url_is_no_token() {
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

#[test]
fn one_changed_bit_anywhere_spoils_a_token() {
    let issuer = Issuer::ec();
    let settings = issuer.settings();
    let good = issuer.token(&claims());
    for at in 0..good.len() {
        for bit in 0..7 {
            let mut bad = good.clone().into_bytes();
            bad[at] ^= 1 << bit;
            if let Ok(verified) = settings.verify(&bad, NOW_S) {
                panic!("byte {at}, bit {bit}: {verified:?}");
            }
        }
    }
}

#[test]
fn each_claim_must_be_there_of_its_type_and_say_what_is_asked_for() {
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
fn names_that_stand_twice_and_deep_nesting_are_refused() {
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
}

#[test]
fn time_is_judged_once_with_the_skew_that_was_set() {
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
fn a_lifetime_that_is_too_long_is_refused_and_needs_iat() {
    let issuer = Issuer::ec();
    let mut settings = issuer.settings();
    settings.max_lifetime_s = Some(600);
    assert!(verify(&settings, &issuer.token(&claims())).is_ok());
    for wrong in [
        with("iat", json!(null)),
        with("iat", json!(NOW_S - 1)),
        with("iat", json!(NOW_S + 601)),
    ] {
        assert_eq!(
            verify(&settings, &issuer.token(&wrong)),
            Err(JwtProblem::Claims)
        );
    }
}

#[test]
fn jti_can_be_asked_for_and_tokens_and_subjects_revoked() {
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
fn keys_rotate_without_a_gap_and_a_key_that_is_gone_takes_its_clients_along() {
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
fn a_key_set_gives_each_key_its_name_and_algorithm() {
    let jwk = |pem: &str, kid: &str, alg: &str| {
        // A point is 65 bytes at the end: 04, x, y.
        let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(text).expect("base64");
        let point = &der[der.len() - 64..];
        json!({
            "kty": "EC", "crv": "P-256", "kid": kid, "alg": alg, "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(&point[..32]),
            "y": URL_SAFE_NO_PAD.encode(&point[32..]),
        })
    };
    let (a, b) = (Issuer::ec(), Issuer::ec());
    let set = json!({"keys": [jwk(&a.public_pem, "a", "ES256"), jwk(&b.public_pem, "b", "ES256")]});
    let settings = settings(KeySet::from_jwks(set.to_string().as_bytes()).expect("a set"));
    let by = |issuer: &Issuer, kid: &str| {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        verify(&settings, &issuer.sign(&header, &claims().to_string()))
    };
    assert!(by(&a, "a").is_ok() && by(&b, "b").is_ok());
    assert_eq!(by(&a, "b"), Err(JwtProblem::Signature));
    assert_eq!(by(&a, "c"), Err(JwtProblem::Signature));
    for (wrong, expected) in [
        (json!({"keys": []}), "no key for signatures"),
        (json!({"key": []}), "no JSON Web Key Set"),
        (
            json!({"keys": [{"kty": "oct", "k": "AAAA"}]}),
            "is a secret",
        ),
        (
            json!({"keys": [jwk(&a.public_pem, "a", "ES384")]}),
            "not supported",
        ),
        (
            json!({"keys": [{"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xFF; 128]), "e": "AQAB"}]}),
            "1024 bits",
        ),
    ] {
        let error = KeySet::from_jwks(wrong.to_string().as_bytes()).expect_err("wrong");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn keys_that_protect_nothing_are_refused_when_they_are_read() {
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
fn nobodys_password_is_taken_for_a_token() {
    assert!(looks_like_a_token(b"eyJhbGciOiJFUzI1NiJ9.e30.AA"));
    for password in [
        &b"secret"[..],
        b"a.b.c",
        b"eyJ",
        b"eyJ.x",
        b"eyJ.x.y.z",
        b"",
    ] {
        assert!(!looks_like_a_token(password));
    }
}

#[test]
fn a_token_that_settings_of_now_would_refuse_or_read_otherwise_takes_its_client_along() {
    let issuer = Issuer::ec();
    let settings = issuer.settings();
    let verified = verify(&settings, &issuer.token(&claims())).expect("good");
    let holds = |change: fn(&mut JwtSettings)| {
        let mut changed = settings.clone();
        change(&mut changed);
        changed.still_takes(&verified, NOW_S)
    };
    assert!(holds(|_| {}));
    assert!(holds(|settings| settings.clock_skew_s = 0));
    assert!(!holds(
        |settings| settings.algorithms = vec![Algorithm::ES384]
    ));
    assert!(!holds(|settings| settings.username_claim = "name".into()));
    assert!(!holds(
        |settings| settings.client_id_claim = Some("device".into())
    ));
    assert!(!holds(
        |settings| settings.groups_claim = Some("groups".into())
    ));
    assert!(!holds(|settings| settings.acl_claim = Some("mqtt".into())));
    assert!(!holds(|settings| settings.max_lifetime_s = Some(599)));
}

#[test]
fn a_claim_names_groups_by_its_name_or_by_the_path_to_it_c5() {
    let issuer = Issuer::ec();
    let groups = |path: &str, claims: Value| {
        let mut settings = issuer.settings();
        settings.groups_claim = Some(path.into());
        verify(&settings, &issuer.token(&claims)).map(|verified| {
            let names = verified.claims.groups.iter();
            names.map(ToString::to_string).collect::<Vec<_>>()
        })
    };
    let list = with("groups", json!(["b", "a", "b"]));
    assert_eq!(groups("groups", list).expect("good"), ["a", "b"]);
    let one = with("groups", json!("a"));
    assert_eq!(groups("groups", one).expect("good"), ["a"]);
    let nested = with("realm_access", json!({"roles": ["/staff/night"]}));
    assert_eq!(
        groups("realm_access.roles", nested).expect("good"),
        ["/staff/night"]
    );
    let dotted = with("https://example.org/groups", json!(["a"]));
    assert_eq!(
        groups("https://example.org/groups", dotted).expect("good"),
        ["a"]
    );
    assert_eq!(groups("groups", claims()).expect("good"), [""; 0]);
    let many: Vec<String> = (0..257).map(|number| number.to_string()).collect();
    for wrong in [
        json!(7),
        json!([7]),
        json!({"a": 1}),
        json!([""]),
        json!(["a\n"]),
        json!(many),
    ] {
        let told = format!("{wrong}");
        let refused = groups("groups", with("groups", wrong));
        assert_eq!(refused, Err(JwtProblem::Claims), "{told}");
    }
}

#[test]
fn a_claim_brings_rules_along_or_the_token_is_refused() {
    let issuer = Issuer::ec();
    let mut settings = issuer.settings();
    settings.acl_claim = Some("mqtt".into());
    let read = |claim: Value| {
        let verified = verify(&settings, &issuer.token(&with("mqtt", claim)))?;
        Ok(verified.claims.grants.expect("rules"))
    };
    let grants = read(json!({"publish": ["a/b"], "subscribe": ["c/#", "d/+"]})).expect("good");
    assert_eq!(grants.publish, ["a/b".into()]);
    assert_eq!(grants.subscribe, ["c/#".into(), "d/+".into()]);
    let none = verify(&settings, &issuer.token(&claims())).expect("good");
    assert_eq!(
        *none.claims.grants.expect("no rule, which is not no rules"),
        Grants::default()
    );
    for wrong in [
        json!("a/#"),
        json!({"publish": "a/#"}),
        json!({"publish": ["a/#/b"]}),
        json!({"publish": [""]}),
        json!({"deny": ["a"]}),
        json!({"subscribe": vec!["a"; 129]}),
    ] {
        let told = wrong.to_string();
        assert_eq!(read(wrong), Err(JwtProblem::Claims), "{told}");
    }
}
