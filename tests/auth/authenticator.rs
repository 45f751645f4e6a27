//! Who is let in, in mosquitto's order, and who may stay after a reload.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use portcullis::auth::{
    Authenticator, AuthenticatorSettings, CacheSettings, CertificateGroups, CertificateIdentity,
    CertificateTrust, CredentialCache, Credentials, HashAlgorithm, Identity, PasswordFile, Proof,
    Provider, Secret, StoredHash, Verdict, Verifier,
};
use rcgen::DnType;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::material::{Authority, DAY, params, validity};

/// Trusts everything, or nothing.
#[derive(Debug)]
struct Trust(bool);

impl CertificateTrust for Trust {
    fn is_trusted(&self, _: &[CertificateDer<'_>], _: SystemTime) -> bool {
        self.0
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the settings want an option")]
fn trust(answer: bool) -> Option<Arc<dyn CertificateTrust>> {
    Some(Arc::new(Trust(answer)))
}

#[expect(clippy::unnecessary_wraps, reason = "the settings want an option")]
fn users(names: &[&str]) -> Option<Arc<PasswordFile>> {
    let mut text = String::new();
    for name in names {
        let hash = StoredHash::create(name.as_bytes(), HashAlgorithm::Sha512).expect("a hash");
        text.push_str(&format!("{name}:{}\n", hash.as_str()));
    }
    Some(Arc::new(PasswordFile::parse(text).expect("a file").0))
}

fn authenticator(settings: AuthenticatorSettings) -> Authenticator {
    let cache = CredentialCache::new(CacheSettings::default()).expect("random numbers");
    let verifier = Verifier::start(1, 8, Arc::new(cache)).expect("threads");
    Authenticator::new(settings, Arc::new(verifier))
}

fn certificate(name: &str) -> CertificateIdentity {
    identity(&Authority::new("ca").client(name, 1).certificate)
}

fn identity(pem: &str) -> CertificateIdentity {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    CertificateIdentity::from_der(&der)
}

fn credentials(username: Option<&str>, password: Option<&str>) -> Credentials {
    Credentials {
        client_id: Some("c".into()),
        username: username.map(str::to_owned),
        password: password.map(Secret::from),
        certificate: None,
        address: IpAddr::from([127, 0, 0, 1]),
    }
}

fn with_certificate(certificate: CertificateIdentity) -> Credentials {
    Credentials {
        certificate: Some(certificate),
        ..credentials(Some("alice"), Some("wrong"))
    }
}

async fn outcome(authenticator: &Authenticator, credentials: Credentials) -> String {
    match authenticator.authenticate(credentials).await {
        Verdict::Accept {
            username, method, ..
        } => format!("{method} {}", username.as_deref().unwrap_or("-")),
        Verdict::Reject(reason) => reason.label().to_owned(),
    }
}

async fn proof(settings: AuthenticatorSettings, credentials: Credentials) -> Proof {
    match authenticator(settings).authenticate(credentials).await {
        Verdict::Accept { proof, .. } => proof,
        Verdict::Reject(reason) => panic!("{reason}"),
    }
}

#[tokio::test]
async fn the_order_of_decision_is_that_of_mosquitto() {
    // allow_anonymous, password file; user name, password; outcome
    let cases = [
        (false, None, None, None, "anonymous"),
        (false, None, Some("alice"), Some("alice"), "bad_credentials"),
        (true, None, None, None, "anonymous -"),
        (true, None, None, Some("alice"), "anonymous -"),
        (true, None, Some("alice"), None, "unchecked alice"),
        (true, None, Some("alice"), Some("wrong"), "unchecked alice"),
        (false, users(&["alice"]), None, None, "anonymous"),
        (
            false,
            users(&["alice"]),
            Some("alice"),
            Some("alice"),
            "password alice",
        ),
        (
            false,
            users(&["alice"]),
            Some("alice"),
            Some("wrong"),
            "bad_credentials",
        ),
        (
            false,
            users(&["alice"]),
            Some("alice"),
            Some(""),
            "bad_credentials",
        ),
        (
            false,
            users(&["alice"]),
            Some("alice"),
            None,
            "bad_credentials",
        ),
        (
            false,
            users(&["alice"]),
            Some("nobody"),
            Some("alice"),
            "bad_credentials",
        ),
        (
            false,
            users(&["alice"]),
            Some(""),
            Some("alice"),
            "bad_credentials",
        ),
        // A password file holds for every client that gives a name.
        (
            true,
            users(&["alice"]),
            Some("alice"),
            Some("wrong"),
            "bad_credentials",
        ),
        (
            true,
            users(&["alice"]),
            Some("nobody"),
            Some("x"),
            "bad_credentials",
        ),
        (true, users(&["alice"]), None, None, "anonymous -"),
    ];
    for (index, (allow_anonymous, passwords, username, password, expected)) in
        cases.into_iter().enumerate()
    {
        let authenticator = authenticator(AuthenticatorSettings {
            allow_anonymous,
            passwords,
            ..AuthenticatorSettings::default()
        });
        let credentials = credentials(username, password);
        assert_eq!(
            outcome(&authenticator, credentials).await,
            expected,
            "case {index}"
        );
    }
}

#[tokio::test]
async fn where_the_certificate_is_the_identity_nothing_else_counts() {
    for (identity, expected) in [
        (Identity::CommonName, "certificate bob"),
        (Identity::Subject, "certificate CN=bob"),
    ] {
        let authenticator = authenticator(AuthenticatorSettings {
            allow_anonymous: true,
            identity: Some(identity),
            passwords: users(&["alice"]),
            certificates: trust(true),
            ..AuthenticatorSettings::default()
        });
        // The user name alice of CONNECT is dropped, and so is its wrong password.
        let bob = with_certificate(certificate("bob"));
        assert_eq!(outcome(&authenticator, bob).await, expected);
    }
}

#[tokio::test]
async fn without_a_certificate_the_identity_is_missing_even_where_none_is_required() {
    let authenticator = authenticator(AuthenticatorSettings {
        allow_anonymous: true,
        identity: Some(Identity::CommonName),
        passwords: users(&["alice"]),
        ..AuthenticatorSettings::default()
    });
    let alice = credentials(Some("alice"), Some("alice"));
    assert_eq!(outcome(&authenticator, alice).await, "no_certificate");
}

#[tokio::test]
async fn a_certificate_that_names_nobody_is_refused() {
    let authenticator = authenticator(AuthenticatorSettings {
        identity: Some(Identity::CommonName),
        certificates: trust(true),
        ..AuthenticatorSettings::default()
    });
    for name in ["", "bob\0", "bob\r\n"] {
        let nobody = with_certificate(certificate(name));
        assert_eq!(
            outcome(&authenticator, nobody).await,
            "certificate_identity"
        );
    }
}

#[tokio::test]
async fn a_required_certificate_does_not_replace_the_password() {
    let authenticator = authenticator(AuthenticatorSettings {
        passwords: users(&["alice"]),
        certificates: trust(true),
        ..AuthenticatorSettings::default()
    });
    let wrong = with_certificate(certificate("alice"));
    assert_eq!(outcome(&authenticator, wrong).await, "bad_credentials");
    let right = Credentials {
        password: Some(Secret::from("alice")),
        ..with_certificate(certificate("bob"))
    };
    assert_eq!(outcome(&authenticator, right).await, "password alice");
    let without = credentials(Some("alice"), Some("alice"));
    assert_eq!(outcome(&authenticator, without).await, "no_certificate");
}

#[tokio::test]
async fn a_resumed_session_is_no_way_around_a_revocation_or_the_end_of_a_certificate() {
    let settings = |certificates| AuthenticatorSettings {
        identity: Some(Identity::CommonName),
        certificates,
        ..AuthenticatorSettings::default()
    };
    let resumed = || with_certificate(certificate("bob").resumed());
    let trusting = authenticator(settings(trust(true)));
    assert_eq!(outcome(&trusting, resumed()).await, "certificate bob");
    let revoked = authenticator(settings(trust(false)));
    assert_eq!(outcome(&revoked, resumed()).await, "certificate_identity");
    let mut params = params("bob");
    validity(&mut params, -2 * DAY, -DAY);
    let expired = identity(&Authority::new("ca").sign(&params).certificate);
    let expired = with_certificate(expired.resumed());
    assert_eq!(outcome(&trusting, expired).await, "certificate_identity");
}

#[tokio::test]
async fn a_removed_user_and_a_changed_password_end_the_right_to_be_connected() {
    let settings = |passwords, allow_anonymous| AuthenticatorSettings {
        passwords,
        allow_anonymous,
        ..AuthenticatorSettings::default()
    };
    let file = users(&["alice", "bob"]);
    let alice = credentials(Some("alice"), Some("alice"));
    let proof = proof(settings(file.clone(), false), alice).await;
    let holds = |settings| authenticator(settings).still_holds(&proof);
    assert!(holds(settings(file.clone(), false)));
    assert!(holds(settings(file, true)));
    assert!(!holds(settings(users(&["bob"]), true)));
    // The same password under a new salt: nobody can know that it is the same.
    assert!(!holds(settings(users(&["alice"]), false)));
    assert!(!holds(settings(None, false)));
    assert!(!holds(AuthenticatorSettings {
        identity: Some(Identity::CommonName),
        ..settings(users(&["alice"]), true)
    }));
}

#[tokio::test]
async fn anonymous_clients_stay_only_where_anonymous_clients_are_let_in() {
    let settings = |allow_anonymous, passwords, certificates| AuthenticatorSettings {
        allow_anonymous,
        passwords,
        certificates,
        ..AuthenticatorSettings::default()
    };
    let anonymous = proof(settings(true, None, None), credentials(None, None)).await;
    let claimed = proof(settings(true, None, None), credentials(Some("x"), None)).await;
    let holds = |settings, proof| authenticator(settings).still_holds(proof);
    assert!(holds(settings(true, None, None), &anonymous));
    assert!(holds(settings(true, users(&["x"]), None), &anonymous));
    assert!(!holds(settings(false, None, None), &anonymous));
    assert!(!holds(settings(true, None, trust(true)), &anonymous));
    assert!(holds(settings(true, None, None), &claimed));
    // A name that was taken on trust must be proved once there is a file of names.
    assert!(!holds(settings(true, users(&["x"]), None), &claimed));
}

#[tokio::test]
async fn a_client_whose_certificate_is_revoked_loses_its_connection() {
    let settings = |identity, answer| AuthenticatorSettings {
        identity,
        passwords: users(&["alice"]),
        allow_anonymous: true,
        certificates: trust(answer),
        ..AuthenticatorSettings::default()
    };
    let by_name = settings(Some(Identity::CommonName), true);
    let by_name = proof(by_name, with_certificate(certificate("bob"))).await;
    let holds = |settings, proof| authenticator(settings).still_holds(proof);
    assert!(holds(settings(Some(Identity::CommonName), true), &by_name));
    assert!(!holds(
        settings(Some(Identity::CommonName), false),
        &by_name
    ));
    // The other name is another user.
    assert!(!holds(settings(Some(Identity::Subject), true), &by_name));
    assert!(!holds(settings(None, true), &by_name));
    // A client that proved a password behind a certificate needs both.
    let anonymous = Credentials {
        certificate: Some(certificate("bob")),
        ..credentials(None, None)
    };
    let anonymous = proof(settings(None, true), anonymous).await;
    assert!(holds(settings(None, true), &anonymous));
    assert!(!holds(settings(None, false), &anonymous));
}

#[tokio::test]
async fn a_user_bound_to_a_key_comes_with_it_by_whatever_means_and_loses_the_connection_with_it() {
    let (own, other) = (certificate("alice"), certificate("alice"));
    let settings = |keys: &[&CertificateIdentity], identity| {
        let mut settings = AuthenticatorSettings {
            identity,
            passwords: users(&["alice", "bob"]),
            certificates: trust(true),
            certificate_is_optional: true,
            ..AuthenticatorSettings::default()
        };
        for key in keys {
            let digest = key.key_digest().expect("a key");
            settings.pins.add("alice", *digest);
        }
        settings
    };
    let by_password = |user, certificate: Option<&CertificateIdentity>| Credentials {
        certificate: certificate.cloned(),
        ..credentials(Some(user), Some(user))
    };
    let bound = authenticator(settings(&[&own], None));
    for (credentials, expected) in [
        (by_password("alice", Some(&own)), "password alice"),
        (by_password("alice", Some(&other)), "certificate_pin"),
        (by_password("alice", None), "certificate_pin"),
        (by_password("bob", None), "password bob"),
        (by_password("bob", Some(&other)), "password bob"),
    ] {
        assert_eq!(outcome(&bound, credentials).await, expected);
    }
    let named = Some(Identity::CommonName);
    let by_name = |certificate: &CertificateIdentity| with_certificate(certificate.clone());
    let both = authenticator(settings(&[&own, &other], named));
    assert_eq!(outcome(&both, by_name(&own)).await, "certificate alice");
    assert_eq!(outcome(&both, by_name(&other)).await, "certificate alice");
    let third = outcome(&both, by_name(&certificate("alice"))).await;
    assert_eq!(third, "certificate_pin");

    let free = proof(settings(&[], named), by_name(&other)).await;
    let holds =
        |keys: &[&CertificateIdentity]| authenticator(settings(keys, named)).still_holds(&free);
    assert!(holds(&[]) && holds(&[&own, &other]) && !holds(&[&own]));
}

#[tokio::test]
async fn an_open_listener_lets_everybody_in_under_the_name_they_give() {
    let open = Authenticator::open();
    assert_eq!(outcome(&open, credentials(None, None)).await, "anonymous -");
    let named = credentials(Some("x"), Some("y"));
    assert_eq!(outcome(&open, named).await, "unchecked x");
}

#[test]
fn methods_are_a_closed_set() {
    assert_eq!(
        Authenticator::methods(),
        [
            "anonymous",
            "password",
            "scram",
            "token",
            "introspection",
            "certificate",
            "unchecked",
            "none"
        ]
    );
}

fn chain(providers: &[Provider], settings: AuthenticatorSettings) -> Authenticator {
    authenticator(AuthenticatorSettings {
        providers: Some(providers.to_vec()),
        ..settings
    })
}

#[tokio::test]
async fn the_first_provider_that_knows_a_client_decides_c11() {
    let settings = || AuthenticatorSettings {
        passwords: users(&["alice"]),
        certificates: trust(true),
        certificate_is_optional: true,
        ..AuthenticatorSettings::default()
    };
    let both = || Credentials {
        password: Some(Secret::from("alice")),
        ..with_certificate(certificate("bob"))
    };
    let first = chain(&[Provider::Certificate, Provider::Password], settings());
    assert_eq!(outcome(&first, both()).await, "certificate bob");
    let second = chain(&[Provider::Password, Provider::Certificate], settings());
    assert_eq!(outcome(&second, both()).await, "password alice");
    // No certificate: the certificate has no say, and the password has.
    let alice = credentials(Some("alice"), Some("alice"));
    assert_eq!(outcome(&first, alice).await, "password alice");
    // A wrong password of somebody who is known is an answer: nobody else is asked.
    let wrong = with_certificate(certificate("bob"));
    assert_eq!(outcome(&second, wrong).await, "bad_credentials");
    // An unknown user is left to the next.
    let unknown = Credentials {
        username: Some("carol".into()),
        ..with_certificate(certificate("bob"))
    };
    assert_eq!(outcome(&second, unknown).await, "certificate bob");
}

#[tokio::test]
async fn whom_no_provider_knows_is_refused_unless_anonymous_clients_may_come_in() {
    let settings = |allow_anonymous| AuthenticatorSettings {
        allow_anonymous,
        passwords: users(&["alice"]),
        certificates: trust(true),
        certificate_is_optional: true,
        ..AuthenticatorSettings::default()
    };
    let providers = [Provider::Certificate, Provider::Password];
    let closed = chain(&providers, settings(false));
    let open = chain(&providers, settings(true));
    assert_eq!(outcome(&closed, credentials(None, None)).await, "anonymous");
    assert_eq!(outcome(&open, credentials(None, None)).await, "anonymous -");
    for authenticator in [&closed, &open] {
        let carol = credentials(Some("carol"), Some("carol"));
        assert_eq!(outcome(authenticator, carol).await, "bad_credentials");
    }
    let only = chain(&[Provider::Certificate], settings(true));
    let named = credentials(Some("alice"), Some("alice"));
    assert_eq!(outcome(&only, named).await, "no_certificate");
}

#[tokio::test]
async fn a_name_is_not_taken_on_trust_where_there_is_anybody_to_ask() {
    // A listener for tokens and nameless clients: who names itself has to prove it.
    let tokens = chain(
        &[Provider::Jwt],
        AuthenticatorSettings {
            allow_anonymous: true,
            ..AuthenticatorSettings::default()
        },
    );
    let admin = credentials(Some("admin"), Some("wrong"));
    assert_eq!(outcome(&tokens, admin).await, "bad_credentials");
    assert_eq!(
        outcome(&tokens, credentials(Some("admin"), None)).await,
        "bad_credentials"
    );
    assert_eq!(
        outcome(&tokens, credentials(None, None)).await,
        "anonymous -"
    );
}

#[tokio::test]
async fn who_came_in_by_a_provider_that_is_not_asked_any_more_loses_its_connection() {
    let file = users(&["alice"]);
    let settings = |providers: &[Provider]| AuthenticatorSettings {
        providers: Some(providers.to_vec()),
        passwords: file.clone(),
        certificates: trust(true),
        certificate_is_optional: true,
        ..AuthenticatorSettings::default()
    };
    let alice = credentials(Some("alice"), Some("alice"));
    let proof = proof(settings(&[Provider::Password]), alice).await;
    let holds = |providers: &[Provider]| authenticator(settings(providers)).still_holds(&proof);
    assert!(holds(&[Provider::Password]));
    assert!(holds(&[Provider::Certificate, Provider::Password]));
    assert!(!holds(&[Provider::Certificate]));
    assert!(!holds(&[Provider::Scram]));
}

#[tokio::test]
async fn a_disabled_user_is_refused_by_whatever_means_it_comes() {
    let file = |disabled: bool| {
        let hash = StoredHash::create(b"alice", HashAlgorithm::Sha512).expect("a hash");
        let mark = if disabled { "!" } else { "" };
        let text = format!("alice:{mark}{}\n", hash.as_str());
        let (file, _) = PasswordFile::parse(text).expect("a valid file");
        Some(Arc::new(file))
    };
    let settings = |disabled| AuthenticatorSettings {
        passwords: file(disabled),
        certificates: trust(true),
        certificate_is_optional: true,
        providers: Some(vec![Provider::Certificate, Provider::Password]),
        ..AuthenticatorSettings::default()
    };
    let alice = || credentials(Some("alice"), Some("alice"));
    let refused = authenticator(settings(true));
    assert_eq!(outcome(&refused, alice()).await, "user_disabled");
    // A guess is told nothing of it.
    let guess = credentials(Some("alice"), Some("wrong"));
    assert_eq!(outcome(&refused, guess).await, "bad_credentials");
    let by_certificate = with_certificate(certificate("alice"));
    assert_eq!(outcome(&refused, by_certificate).await, "user_disabled");
    let by_certificate = proof(settings(false), with_certificate(certificate("alice"))).await;
    assert!(authenticator(settings(false)).still_holds(&by_certificate));
    assert!(!authenticator(settings(true)).still_holds(&by_certificate));
}

#[tokio::test]
async fn a_certificate_names_groups_only_where_it_names_the_user() {
    let mut params = params("bob");
    params
        .distinguished_name
        .push(DnType::OrganizationalUnitName, "operators");
    let bob = || identity(&Authority::new("ca").sign(&params).certificate);
    let settings = |providers: &[Provider]| AuthenticatorSettings {
        providers: Some(providers.to_vec()),
        passwords: users(&["alice"]),
        certificates: trust(true),
        certificate_groups: Some(CertificateGroups::OrganizationalUnit),
        ..AuthenticatorSettings::default()
    };
    let by_certificate = settings(&[Provider::Certificate]);
    let known = proof(by_certificate.clone(), with_certificate(bob())).await;
    let groups = authenticator(by_certificate).groups(&known);
    assert_eq!(*groups, [Arc::from("operators")]);
    let by_password = settings(&[Provider::Password]);
    let alice = Credentials {
        password: Some(Secret::from("alice")),
        ..with_certificate(bob())
    };
    let known = proof(by_password.clone(), alice).await;
    assert!(authenticator(by_password).groups(&known).is_empty());
}
