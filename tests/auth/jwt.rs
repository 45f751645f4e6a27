//! Tokens: what is taken, and every way in which one may try to be taken that is not good.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use portcullis::auth::Secret;
use portcullis::auth::jwt::{
    JwtProblem, JwtSettings, KeySet, Replay, Revoked, Verified, looks_like_a_token, name,
};
use portcullis::message::Grants;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use serde_json::{Value, json};

pub(crate) const NOW_S: u64 = 1_800_000_000;

/// A key and what verifies its signatures.
pub(crate) struct Issuer {
    pub(crate) key: EncodingKey,
    pub(crate) public_pem: String,
    pub(crate) algorithm: Algorithm,
}

impl Issuer {
    pub(crate) fn ec() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self {
            key: EncodingKey::from_ec_der(&pair.serialize_der()),
            public_pem: pair.public_key_pem(),
            algorithm: Algorithm::ES256,
        }
    }

    pub(crate) fn settings(&self) -> JwtSettings {
        settings(KeySet::from_pem(self.public_pem.as_bytes()).expect("a key"))
    }

    /// Signs header and payload as they are.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload)
        );
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm);
        format!("{message}.{}", signature.expect("a signature"))
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": name(self.algorithm), "typ": "JWT"});
        self.sign(&header.to_string(), &claims.to_string())
    }
}

pub(crate) fn settings(keys: KeySet) -> JwtSettings {
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

pub(crate) fn claims() -> Value {
    json!({
        "iss": "https://issuer.example",
        "aud": "broker",
        "sub": "alice",
        "exp": NOW_S + 600,
        "iat": NOW_S,
    })
}

/// The claims with one of them replaced, or taken away by null.
pub(crate) fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let object = claims.as_object_mut().expect("an object");
    if value.is_null() {
        object.remove(name);
    } else {
        object.insert(name.into(), value);
    }
    claims
}

pub(crate) fn verify(settings: &JwtSettings, token: &str) -> Result<Verified, JwtProblem> {
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
pub(crate) fn pkcs1(pkcs8: &[u8]) -> &[u8] {
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
