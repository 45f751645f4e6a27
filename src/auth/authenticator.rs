//! The decision who a client is, in the order mosquitto takes it.

use std::net::IpAddr;
use std::sync::Arc;

use super::certificate::CertificateIdentity;
use super::password::PasswordFile;
use super::secret::Secret;
use super::worker::Verifier;
use crate::policy::DenyReason;

/// What a client brings.
#[derive(Debug)]
pub struct Credentials {
    /// User Name of CONNECT.
    pub username: Option<String>,
    /// Password of CONNECT.
    pub password: Option<Secret>,
    /// The client certificate that TLS verified.
    pub certificate: Option<CertificateIdentity>,
    /// Where it comes from.
    pub address: IpAddr,
}

/// Which name a client certificate gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// `use_identity_as_username`.
    CommonName,
    /// `use_subject_as_username`.
    Subject,
}

/// What a right to be connected rests on.
#[derive(Clone, Debug)]
pub struct Proof {
    username: Option<Arc<str>>,
    /// The stored hash the password was verified with.
    fingerprint: Option<[u8; 32]>,
    method: &'static str,
}

/// The answer.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is this user, or an anonymous client.
    Accept {
        /// The user name.
        username: Option<Arc<str>>,
        /// How it was proved.
        method: &'static str,
        /// To be asked again when users have changed.
        proof: Proof,
    },
    /// It is not.
    Reject(DenyReason),
}

/// Settings of one listener.
#[derive(Clone, Debug)]
pub struct AuthenticatorSettings {
    /// `allow_anonymous`.
    pub allow_anonymous: bool,
    /// Names come from client certificates.
    pub identity: Option<Identity>,
    /// `password_file`.
    pub passwords: Option<Arc<PasswordFile>>,
}

/// Decides who clients of one listener are. Immutable: a reload makes a new one.
#[derive(Debug)]
pub struct Authenticator {
    settings: AuthenticatorSettings,
    verifier: Arc<Verifier>,
}

/// How a client proved who it is, as logs and metrics name it.
pub(crate) const METHODS: &[&str] = &["anonymous", "password", "certificate", "unchecked", "none"];

impl Authenticator {
    /// With these settings.
    pub fn new(settings: AuthenticatorSettings, verifier: Arc<Verifier>) -> Self {
        Self { settings, verifier }
    }

    /// Every value of `method`, for metrics that start at zero.
    pub fn methods() -> &'static [&'static str] {
        METHODS
    }

    /// Decides. Waits for a hash where one is needed.
    pub async fn authenticate(&self, credentials: Credentials) -> Verdict {
        if let Some(identity) = self.settings.identity {
            // User Name and Password of CONNECT count for nothing here.
            return by_certificate(identity, credentials.certificate);
        }
        let Some(username) = credentials.username else {
            if self.settings.allow_anonymous {
                return accept(None, "anonymous", None);
            }
            return Verdict::Reject(DenyReason::AnonymousForbidden);
        };
        let Some(passwords) = &self.settings.passwords else {
            // As in mosquitto: nothing is configured to check a name against, and anonymous
            // clients are let in, so one that gives a name is too. The method says that nobody
            // checked it.
            if self.settings.allow_anonymous {
                return accept(Some(username.into()), "unchecked", None);
            }
            return Verdict::Reject(DenyReason::BadCredentials);
        };
        let Some(password) = credentials.password else {
            return Verdict::Reject(DenyReason::BadCredentials);
        };
        match self.verifier.verify(passwords, &username, password).await {
            Ok(true) => {
                let fingerprint = passwords.entry(&username).map(|entry| entry.fingerprint);
                accept(Some(username.into()), "password", fingerprint)
            }
            Ok(false) => Verdict::Reject(DenyReason::BadCredentials),
            Err(_) => Verdict::Reject(DenyReason::AuthBusy),
        }
    }

    /// Whether a client that was accepted would still be: its user is there and has the password
    /// it was verified with, anonymous clients are still let in.
    pub fn still_holds(&self, proof: &Proof) -> bool {
        match proof.method {
            "certificate" => self.settings.identity.is_some(),
            "anonymous" => self.settings.identity.is_none() && self.settings.allow_anonymous,
            "unchecked" => {
                self.settings.identity.is_none()
                    && self.settings.allow_anonymous
                    && self.settings.passwords.is_none()
            }
            _ => match (&self.settings.passwords, &proof.username) {
                (Some(passwords), Some(user)) if self.settings.identity.is_none() => {
                    passwords.entry(user).map(|entry| entry.fingerprint) == proof.fingerprint
                }
                _ => false,
            },
        }
    }
}

fn accept(
    username: Option<Arc<str>>,
    method: &'static str,
    fingerprint: Option<[u8; 32]>,
) -> Verdict {
    Verdict::Accept {
        proof: Proof {
            username: username.clone(),
            fingerprint,
            method,
        },
        username,
        method,
    }
}

fn by_certificate(identity: Identity, certificate: Option<CertificateIdentity>) -> Verdict {
    let Some(certificate) = certificate else {
        return Verdict::Reject(DenyReason::NoCertificate);
    };
    let name = match identity {
        Identity::CommonName => certificate.common_name,
        Identity::Subject => certificate.subject,
    };
    match name {
        Some(name) => accept(Some(name.into()), "certificate", None),
        None => Verdict::Reject(DenyReason::BadCertificateIdentity),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{CacheSettings, CredentialCache, hash_sha512};

    fn verifier() -> Arc<Verifier> {
        let cache = CredentialCache::new(CacheSettings::default()).expect("random numbers");
        Arc::new(Verifier::start(1, 8, Arc::new(cache)).expect("threads"))
    }

    fn users(names: &[&str]) -> Arc<PasswordFile> {
        let mut text = String::new();
        for name in names {
            text.push_str(&format!(
                "{name}:{}\n",
                hash_sha512(name.as_bytes()).expect("hash")
            ));
        }
        Arc::new(PasswordFile::parse(&text).expect("valid").0)
    }

    fn authenticator(
        allow_anonymous: bool,
        identity: Option<Identity>,
        passwords: Option<Arc<PasswordFile>>,
    ) -> Authenticator {
        let settings = AuthenticatorSettings {
            allow_anonymous,
            identity,
            passwords,
        };
        Authenticator::new(settings, verifier())
    }

    fn credentials(username: Option<&str>, password: Option<&str>) -> Credentials {
        Credentials {
            username: username.map(str::to_owned),
            password: password.map(|text| Secret::from(text.as_bytes())),
            certificate: None,
            address: IpAddr::from([127, 0, 0, 1]),
        }
    }

    async fn outcome(authenticator: &Authenticator, credentials: Credentials) -> String {
        match authenticator.authenticate(credentials).await {
            Verdict::Accept {
                username, method, ..
            } => {
                format!("{method} {}", username.as_deref().unwrap_or("-"))
            }
            Verdict::Reject(reason) => reason.label().to_owned(),
        }
    }

    #[tokio::test]
    async fn the_order_of_decision_is_that_of_mosquitto() {
        let with_file = authenticator(false, None, Some(users(&["alice"])));
        let open = authenticator(true, None, None);
        let open_with_file = authenticator(true, None, Some(users(&["alice"])));
        let closed = authenticator(false, None, None);
        let certificates = authenticator(true, Some(Identity::CommonName), Some(users(&["alice"])));
        let alice = || credentials(Some("alice"), Some("alice"));
        let wrong = || credentials(Some("alice"), Some("bob"));
        let nobody = || credentials(None, None);
        assert_eq!(outcome(&with_file, alice()).await, "password alice");
        assert_eq!(outcome(&with_file, wrong()).await, "bad_credentials");
        assert_eq!(
            outcome(&with_file, credentials(Some("alice"), None)).await,
            "bad_credentials"
        );
        assert_eq!(outcome(&with_file, nobody()).await, "anonymous");
        assert_eq!(outcome(&open, nobody()).await, "anonymous -");
        assert_eq!(outcome(&open, wrong()).await, "unchecked alice");
        // A password file is not bypassed by allow_anonymous for a client that gives a name.
        assert_eq!(outcome(&open_with_file, wrong()).await, "bad_credentials");
        assert_eq!(outcome(&open_with_file, nobody()).await, "anonymous -");
        assert_eq!(outcome(&closed, alice()).await, "bad_credentials");
        assert_eq!(outcome(&certificates, alice()).await, "no_certificate");
    }

    #[tokio::test]
    async fn a_removed_user_and_a_changed_password_end_the_right_to_be_connected() {
        let file = users(&["alice", "bob"]);
        let before = authenticator(false, None, Some(Arc::clone(&file)));
        let Verdict::Accept { proof, .. } = before
            .authenticate(credentials(Some("alice"), Some("alice")))
            .await
        else {
            panic!("alice is known");
        };
        assert!(before.still_holds(&proof));
        assert!(authenticator(true, None, Some(file)).still_holds(&proof));
        assert!(!authenticator(false, None, Some(users(&["bob"]))).still_holds(&proof));
        // A new salt is a new hash.
        assert!(!authenticator(false, None, Some(users(&["alice"]))).still_holds(&proof));
        assert!(!authenticator(true, None, None).still_holds(&proof));
    }
}
