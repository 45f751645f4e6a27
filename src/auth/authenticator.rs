//! One listener's rules for who may connect: a chain of providers.
//!
//! Each provider is asked in its turn. The first definite answer counts, whether it is yes or no; a
//! provider that has no say about what the client showed (no certificate, no token, a user it does
//! not know) leaves it to the next, and one that fails refuses. Without `auth_provider` lines the
//! chain is mosquitto's order:
//!
//! 1. Where the certificate is the identity, nothing else counts: user name and password of
//!    CONNECT are dropped, and neither `allow_anonymous` nor the password file is asked.
//! 2. A password that is a token is judged as one where tokens are taken.
//! 3. With a password file, user name and password must be in it, whatever `allow_anonymous` says.
//!
//! Whom no provider knows is refused, but for two cases that `allow_anonymous true` lets in: a client
//! without a user name, and, where there is no provider at all, one with a name that nobody checks.
//!
//! An [`Authenticator`] does not change. A reload makes another one and asks it, for each client
//! that is connected, whether the [`Proof`] it came in by would still do.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;

use crate::message::{Grants, Groups};
use crate::policy::DenyReason;

use super::certificate::{AlternativeName, CertificateIdentity};
use super::hash::StoredHash;
use super::jwt::{self, JwtSettings, Lease, Replays, Verified};
use super::password_file::PasswordFile;
use super::pins::Pins;
use super::provider::{CertificateGroups, Provider};
use super::remote::{Introspected, Introspection};
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
    /// `auth_provider`: who is asked, in this order; `None` for mosquitto's order of what there is.
    pub providers: Option<Vec<Provider>>,
    /// `use_identity_as_username` or `use_subject_as_username`.
    pub identity: Option<Identity>,
    /// `certificate_groups`.
    pub certificate_groups: Option<CertificateGroups>,
    /// `password_file`.
    pub passwords: Option<Arc<PasswordFile>>,
    /// What is asked of tokens, where they are taken.
    pub tokens: Option<Arc<JwtSettings>>,
    /// Whom to ask what a token is worth.
    pub introspection: Option<Arc<Introspection>>,
    /// The tokens that were used: shared by all listeners and generations.
    pub replays: Arc<Replays>,
    /// Where certificates are asked for: judges those of resumed TLS sessions and of connected
    /// clients.
    pub certificates: Option<Arc<dyn CertificateTrust>>,
    /// A client may have none.
    pub certificate_is_optional: bool,
    /// `pin_spki`: keys that users are bound to.
    pub pins: Pins,
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
/// by a password; by knowing one without sending it; by a token; by its issuer's word; by its certificate; by nothing
/// although it gave a name; and `none` for those that proved nothing and were refused.
const METHODS: &[&str] = &[
    "anonymous",
    "password",
    "scram",
    "token",
    "introspection",
    "certificate",
    "unchecked",
    "none",
];

/// What a client's right to be connected rests on.
#[derive(Clone, Debug)]
pub struct Proof {
    basis: Basis,
    username: Option<Arc<str>>,
    certificate: Option<CertificateIdentity>,
}

impl Proof {
    pub(super) fn new(
        basis: Basis,
        username: Option<Arc<str>>,
        certificate: Option<CertificateIdentity>,
    ) -> Self {
        Self {
            basis,
            username,
            certificate,
        }
    }

    /// The certificate of the TLS connection.
    pub fn certificate(&self) -> Option<&CertificateIdentity> {
        self.certificate.as_ref()
    }

    /// The Client Identifier that a token is for.
    pub fn client_id(&self) -> Option<&str> {
        match &self.basis {
            Basis::Token(token, _) => token.claims.client_id.as_deref(),
            Basis::Introspected(said) => said.claims.client_id.as_deref(),
            _ => None,
        }
    }

    /// The rules that a token brings along.
    pub fn grants(&self) -> Option<&Arc<Grants>> {
        match &self.basis {
            Basis::Token(token, _) => token.claims.grants.as_ref(),
            Basis::Introspected(said) => said.claims.grants.as_ref(),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Basis {
    Anonymous,
    /// A user name that nothing vouches for.
    Claimed,
    Password(Arc<StoredHash>),
    Scram(Arc<StoredHash>),
    Certificate(Identity),
    Token(
        Arc<Verified>,
        #[expect(dead_code, reason = "held as long as the proof is")] Option<Arc<Lease>>,
    ),
    Introspected(Introspected),
}

/// One listener's rules as of one generation of the configuration.
#[derive(Debug)]
pub struct Authenticator {
    settings: AuthenticatorSettings,
    chain: Vec<Provider>,
    verifier: Option<Arc<Verifier>>,
}

/// What one provider says.
enum Answer {
    /// It knows who this is.
    Is(Verdict),
    /// It has no say.
    NotMine,
}

impl Authenticator {
    /// The rules, and the threads that hash.
    pub fn new(settings: AuthenticatorSettings, verifier: Arc<Verifier>) -> Self {
        Self {
            chain: chain(&settings),
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
            chain: Vec::new(),
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

    /// Whether `provider` is asked here.
    pub fn asks(&self, provider: Provider) -> bool {
        self.chain.contains(&provider)
    }

    /// Decides.
    pub async fn authenticate(&self, credentials: Credentials) -> Verdict {
        match self.decide(credentials).await {
            Ok(accepted) => accepted,
            Err(reason) => Verdict::Reject(reason),
        }
    }

    async fn decide(&self, credentials: Credentials) -> Result<Verdict, DenyReason> {
        self.check_certificate(credentials.certificate.as_ref())?;
        for provider in &self.chain {
            let answer = match provider {
                Provider::Certificate => self.by_certificate(&credentials)?,
                Provider::Jwt => self.by_token(&credentials)?,
                Provider::Password => self.by_password(&credentials).await?,
                Provider::Introspection => self.by_introspection(&credentials).await?,
                // Its messages come in AUTH.
                Provider::Scram => Answer::NotMine,
            };
            if let Answer::Is(verdict) = answer {
                return Ok(verdict);
            }
        }
        self.unknown(credentials).await
    }

    fn by_certificate(&self, credentials: &Credentials) -> Result<Answer, DenyReason> {
        let Some(certificate) = &credentials.certificate else {
            return Ok(Answer::NotMine);
        };
        let source = self.settings.identity.unwrap_or(Identity::CommonName);
        let username = match source {
            Identity::CommonName => certificate.common_name(),
            Identity::Subject => certificate.subject(),
            Identity::Alternative(kind) => certificate.alternative_name(kind),
        };
        let username = username.map_err(|_| DenyReason::BadCertificateIdentity)?;
        if let Some(groups) = self.settings.certificate_groups
            && certificate.groups(groups).is_none()
        {
            return Err(DenyReason::BadCertificateIdentity);
        }
        self.accept(
            Some(Arc::clone(username)),
            "certificate",
            Basis::Certificate(source),
            Some(certificate.clone()),
        )
        .map(Answer::Is)
    }

    fn by_token(&self, credentials: &Credentials) -> Result<Answer, DenyReason> {
        match &credentials.password {
            Some(password) if jwt::looks_like_a_token(password.expose()) => self
                .token(
                    password.expose(),
                    credentials.client_id.as_deref(),
                    credentials.certificate.clone(),
                )
                .map(Answer::Is),
            _ => Ok(Answer::NotMine),
        }
    }

    async fn by_password(&self, credentials: &Credentials) -> Result<Answer, DenyReason> {
        let (Some(file), Some(username)) = (&self.settings.passwords, &credentials.username) else {
            return Ok(Answer::NotMine);
        };
        if file.hash_of(username).is_none() {
            return Ok(Answer::NotMine);
        }
        // A user name without a password costs nothing, whoever it is.
        let password = credentials.password.clone();
        let password = password.ok_or(DenyReason::BadCredentials)?;
        let hash = self.verify(file, username, password).await?;
        let hash = hash.ok_or(DenyReason::BadCredentials)?;
        self.accept(
            Some(username.as_str().into()),
            "password",
            Basis::Password(hash),
            credentials.certificate.clone(),
        )
        .map(Answer::Is)
    }

    async fn by_introspection(&self, credentials: &Credentials) -> Result<Answer, DenyReason> {
        let (Some(issuer), Some(token)) = (&self.settings.introspection, &credentials.password)
        else {
            return Ok(Answer::NotMine);
        };
        let said = issuer.verify(token.clone(), now_s()).await?;
        fits(
            said.claims.client_id.as_deref(),
            credentials.client_id.as_deref(),
        )?;
        self.accept(
            Some(Arc::clone(&said.claims.username)),
            "introspection",
            Basis::Introspected(said),
            credentials.certificate.clone(),
        )
        .map(Answer::Is)
    }

    async fn verify(
        &self,
        file: &PasswordFile,
        username: &str,
        password: Secret,
    ) -> Result<Option<Arc<StoredHash>>, DenyReason> {
        let verifier = self.verifier.as_ref().ok_or(DenyReason::AuthUnavailable)?;
        verifier
            .verify(file, username, password)
            .await
            .map_err(|error| match error {
                VerifyError::Busy => DenyReason::AuthBusy,
                VerifyError::Unavailable => DenyReason::AuthUnavailable,
            })
    }

    /// No provider knows the client.
    async fn unknown(&self, credentials: Credentials) -> Result<Verdict, DenyReason> {
        let only_certificates = self.chain == [Provider::Certificate];
        let Some(username) = credentials.username else {
            return if only_certificates && self.settings.providers.is_none() {
                Err(DenyReason::NoCertificate)
            } else if self.settings.allow_anonymous {
                self.accept(None, "anonymous", Basis::Anonymous, credentials.certificate)
            } else if only_certificates {
                Err(DenyReason::NoCertificate)
            } else {
                Err(DenyReason::AnonymousForbidden)
            };
        };
        if only_certificates {
            return Err(DenyReason::NoCertificate);
        }
        if self.chain.is_empty() && self.settings.allow_anonymous {
            let username = Some(username.into());
            return self.accept(
                username,
                "unchecked",
                Basis::Claimed,
                credentials.certificate,
            );
        }
        // Somebody who does not exist is to wait as long as somebody with a wrong password.
        if self.asks(Provider::Password)
            && let (Some(file), Some(password)) = (&self.settings.passwords, credentials.password)
        {
            self.verify(file, &username, password).await?;
        }
        Err(DenyReason::BadCredentials)
    }

    /// A token, in whatever packet it came. It may be for one Client Identifier alone.
    pub(super) fn token(
        &self,
        token: &[u8],
        client_id: Option<&str>,
        certificate: Option<CertificateIdentity>,
    ) -> Result<Verdict, DenyReason> {
        let tokens = self.settings.tokens.as_ref();
        let tokens = tokens.ok_or(DenyReason::BadAuthMethod)?;
        let verified = tokens.verify(token, now_s())?;
        fits(verified.claims.client_id.as_deref(), client_id)?;
        let username = Some(Arc::clone(&verified.username));
        let lease = self.settings.replays.take(
            tokens.replay,
            &verified.claims,
            client_id,
            verified.ends_at_s(tokens),
            now_s(),
        )?;
        let basis = Basis::Token(Arc::new(verified), lease);
        self.accept(username, "token", basis, certificate)
    }

    /// Lets somebody in whom a provider knows: not if the operator has disabled the user or bound it
    /// to another key, by whatever means it comes.
    pub(super) fn accept(
        &self,
        username: Option<Arc<str>>,
        method: &'static str,
        basis: Basis,
        certificate: Option<CertificateIdentity>,
    ) -> Result<Verdict, DenyReason> {
        if let Some(reason) = self.objection(username.as_deref(), certificate.as_ref()) {
            return Err(reason);
        }
        Ok(Verdict::Accept {
            proof: Proof::new(basis, username.clone(), certificate),
            username,
            method,
        })
    }

    fn objection(
        &self,
        username: Option<&str>,
        certificate: Option<&CertificateIdentity>,
    ) -> Option<DenyReason> {
        let (username, settings) = (username?, &self.settings);
        let file = settings.passwords.as_ref();
        if file.is_some_and(|file| file.is_disabled(username)) {
            return Some(DenyReason::UserDisabled);
        }
        (!settings.pins.permit(username, certificate)).then_some(DenyReason::CertificatePin)
    }

    fn requires_certificate(&self) -> bool {
        self.settings.certificates.is_some() && !self.settings.certificate_is_optional
    }

    /// The handshake has verified the certificate, except where it resumed an older session.
    pub(super) fn check_certificate(
        &self,
        certificate: Option<&CertificateIdentity>,
    ) -> Result<(), DenyReason> {
        let Some(certificate) = certificate else {
            if self.requires_certificate() {
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
            None if self.requires_certificate() => return false,
            _ => {}
        }
        let username = proof.username.as_deref();
        if self
            .objection(username, proof.certificate.as_ref())
            .is_some()
        {
            return false;
        }
        let has_hash = |hash| {
            let username = proof.username.as_deref();
            let file = settings.passwords.as_ref();
            let known = file
                .zip(username)
                .and_then(|(file, name)| file.hash_of(name));
            known == Some(hash)
        };
        match &proof.basis {
            Basis::Anonymous => settings.allow_anonymous && !self.wants_certificate_alone(),
            Basis::Claimed => settings.allow_anonymous && self.chain.is_empty(),
            Basis::Certificate(source) => {
                let groups = settings.certificate_groups;
                let named = proof.certificate.as_ref().zip(groups);
                self.asks(Provider::Certificate)
                    && settings.identity.unwrap_or(Identity::CommonName) == *source
                    && named
                        .is_none_or(|(certificate, source)| certificate.groups(source).is_some())
            }
            Basis::Password(hash) => self.asks(Provider::Password) && has_hash(hash),
            Basis::Scram(hash) => self.asks(Provider::Scram) && has_hash(hash),
            Basis::Introspected(said) => {
                let issuer = settings.introspection.as_ref();
                self.asks(Provider::Introspection)
                    && issuer.is_some_and(|issuer| issuer.still_takes(said, now_s()))
            }
            Basis::Token(token, _) => {
                let tokens = settings.tokens.as_ref();
                self.asks(Provider::Jwt)
                    && tokens.is_some_and(|tokens| tokens.still_takes(token, now_s()))
            }
        }
    }

    fn wants_certificate_alone(&self) -> bool {
        self.settings.providers.is_none() && self.chain == [Provider::Certificate]
    }

    /// When the proof is over by itself, in seconds since 1970: the end of a token, clocks
    /// considered, and of the certificate of the connection.
    pub fn ends_at_s(&self, proof: &Proof) -> Option<u64> {
        let token = match &proof.basis {
            Basis::Token(token, _) => {
                let tokens = self.settings.tokens.as_ref();
                Some(tokens.map_or(token.claims.expires_at_s, |tokens| token.ends_at_s(tokens)))
            }
            Basis::Introspected(said) => Some(said.claims.expires_at_s),
            _ => None,
        };
        let certificate = proof.certificate.as_ref();
        let certificate = certificate.and_then(CertificateIdentity::ends_at_s);
        token.into_iter().chain(certificate).min()
    }

    /// The groups that the proof names: those of a token's claim or of the certificate that the
    /// user name was taken from. Sorted, each once.
    pub fn groups(&self, proof: &Proof) -> Groups {
        let groups = match &proof.basis {
            Basis::Token(token, _) => Some(&token.claims.groups),
            Basis::Introspected(said) => Some(&said.claims.groups),
            Basis::Certificate(_) => {
                let certificate = proof.certificate.as_ref();
                let source = self.settings.certificate_groups;
                certificate
                    .zip(source)
                    .and_then(|(one, source)| one.groups(source))
            }
            _ => None,
        };
        groups.map_or_else(Groups::default, Arc::clone)
    }
}

/// A token may be for one Client Identifier alone.
fn fits(bound: Option<&str>, sent: Option<&str>) -> Result<(), DenyReason> {
    match (bound, sent) {
        (Some(wanted), Some(sent)) if wanted != sent => Err(DenyReason::TokenClaims),
        _ => Ok(()),
    }
}

/// Who is asked, where no line says it: as mosquitto would.
fn chain(settings: &AuthenticatorSettings) -> Vec<Provider> {
    if let Some(providers) = &settings.providers {
        return providers.clone();
    }
    if settings.identity.is_some() {
        return vec![Provider::Certificate];
    }
    let mut chain = Vec::new();
    if settings.tokens.is_some() {
        chain.push(Provider::Jwt);
    }
    if settings.passwords.is_some() {
        chain.extend([Provider::Password, Provider::Scram]);
    }
    if settings.introspection.is_some() {
        chain.push(Provider::Introspection);
    }
    chain
}

pub(super) fn now_s() -> u64 {
    // Before 1970 every token is too early.
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
