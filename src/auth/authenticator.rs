//! One listener's rules for who may connect, in mosquitto's order.
//!
//! 1. Where the certificate is the identity, nothing else counts: user name and password of
//!    CONNECT are dropped, and neither `allow_anonymous` nor the password file is asked.
//! 2. A password that is a token is judged as one where tokens are taken, and its user name counts.
//! 3. A client without a user name is anonymous.
//! 4. With a password file, user name and password must be in it, whatever `allow_anonymous` says.
//! 5. Without one, a user name is taken unchecked where `allow_anonymous` is true and refused
//!    where it is not.
//!
//! An [`Authenticator`] does not change. A reload makes another one and asks it, for each client
//! that is connected, whether the [`Proof`] it came in by would still do.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;

use crate::policy::DenyReason;

use super::certificate::{AlternativeName, CertificateIdentity};
use super::hash::StoredHash;
use super::jwt::{self, JwtSettings, Verified};
use super::password_file::PasswordFile;
use super::secret::Secret;
use super::verifier::{Verifier, VerifyError};

/// Which name of a client certificate is its user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// `use_identity_as_username`: in its Common Name.
    CommonName,
    /// `use_subject_as_username`: in its whole subject.
    Subject,
    /// `certificate_identity san_dns|san_email|san_uri`: in its one alternative name of this kind.
    Alternative(AlternativeName),
}

/// Answers whether a client certificate that was trusted once still is.
pub trait CertificateTrust: Debug + Send + Sync {
    /// Whether the chain, the client's own certificate first, is trusted and not revoked.
    fn is_trusted(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> bool;
}

/// What one listener asks of its clients.
#[derive(Clone, Debug, Default)]
pub struct AuthenticatorSettings {
    /// `allow_anonymous`, as it holds for this listener.
    pub allow_anonymous: bool,
    /// `use_identity_as_username` or `use_subject_as_username`.
    pub identity: Option<Identity>,
    /// `password_file`.
    pub passwords: Option<Arc<PasswordFile>>,
    /// What is asked of tokens, where they are taken.
    pub tokens: Option<Arc<JwtSettings>>,
    /// Where certificates are required: asked about those of resumed TLS sessions and of
    /// connected clients.
    pub certificates: Option<Arc<dyn CertificateTrust>>,
}

/// What a client says of itself in CONNECT and has proved in TLS.
#[derive(Debug)]
pub struct Credentials {
    /// The Client Identifier of CONNECT; `None` if the client sent none.
    pub client_id: Option<String>,
    /// User Name of CONNECT.
    pub username: Option<String>,
    /// Password of CONNECT.
    pub password: Option<Secret>,
    /// The certificate of the TLS connection.
    pub certificate: Option<CertificateIdentity>,
    /// Where the client connects from.
    pub address: IpAddr,
}

/// What came of it.
#[derive(Debug)]
pub enum Verdict {
    /// The client may come in.
    Accept {
        /// Who it is; `None` for an anonymous client.
        username: Option<Arc<str>>,
        /// How that is known: one of [`Authenticator::methods`].
        method: &'static str,
        /// For the question whether it still may, after a reload.
        proof: Proof,
    },
    /// It may not.
    Reject(DenyReason),
}

/// How a client proved who it is, as logs and metrics name it: by nothing, where it gave no name;
/// by a password; by knowing one without sending it; by a token; by its certificate; by nothing
/// although it gave a name; and `none` for those that proved nothing and were refused.
const METHODS: &[&str] = &[
    "anonymous",
    "password",
    "scram",
    "token",
    "certificate",
    "unchecked",
    "none",
];

/// What a client's right to be connected rests on.
#[derive(Clone, Debug)]
pub struct Proof {
    basis: Basis,
    certificate: Option<CertificateIdentity>,
}

impl Proof {
    pub(super) fn new(basis: Basis, certificate: Option<CertificateIdentity>) -> Self {
        Self { basis, certificate }
    }

    /// The certificate of the TLS connection.
    pub fn certificate(&self) -> Option<&CertificateIdentity> {
        self.certificate.as_ref()
    }

    /// The Client Identifier that a token is for.
    pub fn client_id(&self) -> Option<&str> {
        match &self.basis {
            Basis::Token { token, .. } => token.claims.client_id.as_deref(),
            _ => None,
        }
    }

    /// When it is over by itself, in seconds since 1970.
    pub fn ends_at_s(&self) -> Option<u64> {
        match &self.basis {
            Basis::Token { ends_at_s, .. } => Some(*ends_at_s),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Basis {
    Anonymous,
    /// A user name that nothing vouches for.
    Claimed,
    Password {
        username: Arc<str>,
        hash: Arc<StoredHash>,
    },
    Certificate(Identity),
    Token {
        token: Arc<Verified>,
        ends_at_s: u64,
    },
}

/// One listener's rules as of one generation of the configuration.
#[derive(Debug)]
pub struct Authenticator {
    settings: AuthenticatorSettings,
    verifier: Option<Arc<Verifier>>,
}

impl Authenticator {
    /// The rules, and the threads that hash.
    pub fn new(settings: AuthenticatorSettings, verifier: Arc<Verifier>) -> Self {
        Self {
            settings,
            verifier: Some(verifier),
        }
    }

    /// Lets everybody in under the name they give: what a listener with no authentication
    /// configured and `allow_anonymous true` does.
    pub fn open() -> Self {
        Self {
            settings: AuthenticatorSettings {
                allow_anonymous: true,
                ..AuthenticatorSettings::default()
            },
            verifier: None,
        }
    }

    /// Every value of `method`, for metrics that start at zero.
    pub fn methods() -> &'static [&'static str] {
        METHODS
    }

    /// What the listener asks of its clients.
    pub fn settings(&self) -> &AuthenticatorSettings {
        &self.settings
    }

    /// Decides.
    pub async fn authenticate(&self, credentials: Credentials) -> Verdict {
        match self.decide(credentials).await {
            Ok(accepted) => accepted,
            Err(reason) => Verdict::Reject(reason),
        }
    }

    async fn decide(&self, credentials: Credentials) -> Result<Verdict, DenyReason> {
        let Credentials {
            client_id,
            username,
            password,
            certificate,
            address: _,
        } = credentials;
        self.check_certificate(certificate.as_ref())?;
        if let Some(source) = self.settings.identity {
            let certificate = certificate.ok_or(DenyReason::NoCertificate)?;
            let username = match source {
                Identity::CommonName => certificate.common_name(),
                Identity::Subject => certificate.subject(),
                Identity::Alternative(kind) => certificate.alternative_name(kind),
            };
            let username = username.map_err(|_| DenyReason::BadCertificateIdentity)?;
            let username = Some(Arc::clone(username));
            let basis = Basis::Certificate(source);
            return Ok(accept(username, "certificate", basis, Some(certificate)));
        }
        if self.settings.tokens.is_some()
            && let Some(password) = &password
            && jwt::looks_like_a_token(password.expose())
        {
            return self.token(password.expose(), client_id.as_deref(), certificate);
        }
        let Some(username) = username else {
            if !self.settings.allow_anonymous {
                return Err(DenyReason::AnonymousForbidden);
            }
            return Ok(accept(None, "anonymous", Basis::Anonymous, certificate));
        };
        let Some(file) = &self.settings.passwords else {
            if !self.settings.allow_anonymous {
                return Err(DenyReason::BadCredentials);
            }
            let username = Some(username.into());
            return Ok(accept(username, "unchecked", Basis::Claimed, certificate));
        };
        let hash = self.verify(file, &username, password).await?;
        let username: Arc<str> = username.into();
        let basis = Basis::Password {
            username: Arc::clone(&username),
            hash,
        };
        Ok(accept(Some(username), "password", basis, certificate))
    }

    async fn verify(
        &self,
        file: &PasswordFile,
        username: &str,
        password: Option<Secret>,
    ) -> Result<Arc<StoredHash>, DenyReason> {
        // A user name without a password costs nothing, whoever it is.
        let password = password.ok_or(DenyReason::BadCredentials)?;
        let verifier = self.verifier.as_ref().ok_or(DenyReason::AuthUnavailable)?;
        match verifier.verify(file, username, password).await {
            Ok(Some(hash)) => Ok(hash),
            Ok(None) => Err(DenyReason::BadCredentials),
            Err(VerifyError::Busy) => Err(DenyReason::AuthBusy),
            Err(VerifyError::Unavailable) => Err(DenyReason::AuthUnavailable),
        }
    }

    /// A token, in whatever packet it came. It may be for one Client Identifier alone.
    pub(super) fn token(
        &self,
        token: &[u8],
        client_id: Option<&str>,
        certificate: Option<CertificateIdentity>,
    ) -> Result<Verdict, DenyReason> {
        let tokens = self
            .settings
            .tokens
            .as_ref()
            .ok_or(DenyReason::BadAuthMethod)?;
        let verified = tokens.verify(token, now_s())?;
        let bound = verified.claims.client_id.as_deref();
        if let (Some(wanted), Some(sent)) = (bound, client_id)
            && wanted != sent
        {
            return Err(DenyReason::TokenClaims);
        }
        let username = Some(Arc::clone(&verified.username));
        let basis = Basis::Token {
            ends_at_s: verified.ends_at_s(tokens),
            token: Arc::new(verified),
        };
        Ok(accept(username, "token", basis, certificate))
    }

    /// The handshake has verified the certificate, except where it resumed an older session.
    pub(super) fn check_certificate(
        &self,
        certificate: Option<&CertificateIdentity>,
    ) -> Result<(), DenyReason> {
        let Some(certificate) = certificate else {
            if self.settings.certificates.is_some() {
                return Err(DenyReason::NoCertificate);
            }
            return Ok(());
        };
        if certificate.is_resumed() && !self.trusts(certificate) {
            return Err(DenyReason::BadCertificateIdentity);
        }
        Ok(())
    }

    fn trusts(&self, certificate: &CertificateIdentity) -> bool {
        let now = SystemTime::now();
        !certificate.has_expired(now)
            && self
                .settings
                .certificates
                .as_ref()
                .is_none_or(|trust| trust.is_trusted(certificate.chain(), now))
    }

    /// Whether a client that came in with this proof would still be let in: not if its user or
    /// certificate is gone, its password has another hash, or the rules have changed.
    pub fn still_holds(&self, proof: &Proof) -> bool {
        let settings = &self.settings;
        match &proof.certificate {
            Some(certificate) if !self.trusts(certificate) => return false,
            None if settings.certificates.is_some() => return false,
            _ => {}
        }
        match &proof.basis {
            Basis::Certificate(source) => settings.identity == Some(*source),
            _ if settings.identity.is_some() => false,
            Basis::Anonymous => settings.allow_anonymous,
            Basis::Claimed => settings.allow_anonymous && settings.passwords.is_none(),
            Basis::Token { token, .. } => settings
                .tokens
                .as_ref()
                .is_some_and(|tokens| tokens.still_takes(token, now_s())),
            Basis::Password { username, hash } => match &settings.passwords {
                Some(file) => file.hash_of(username).is_some_and(|known| known == hash),
                None => settings.allow_anonymous,
            },
        }
    }
}

fn now_s() -> u64 {
    // Before 1970 every token is too early.
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn accept(
    username: Option<Arc<str>>,
    method: &'static str,
    basis: Basis,
    certificate: Option<CertificateIdentity>,
) -> Verdict {
    Verdict::Accept {
        username,
        method,
        proof: Proof { basis, certificate },
    }
}
