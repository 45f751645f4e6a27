//! What a client certificate says about its holder.
//!
//! Whether the certificate is to be believed was decided by the TLS handshake; here it is read.
//! An identity that could be taken for another one is none: a Common Name with a NUL byte, with
//! control characters, or one of two.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATIONAL_UNIT};
use x509_parser::prelude::FromDer;
use x509_parser::x509::AttributeTypeAndValue;

use crate::message::{Groups, group_set};

use super::distinguished_name::{hexadecimal, print};
use super::pins::KeyDigest;
use super::provider::CertificateGroups;

/// MQTT gives a user name a length of two bytes.
const USERNAME_BYTES: usize = 65_535;
/// `ub-common-name` (RFC 5280 appendix A.1).
const COMMON_NAME_CHARACTERS: usize = 64;
/// Types whose bytes mosquitto's comparison sees as they are: UTF-8, Numeric, Printable, Teletex,
/// IA5 and Visible strings.
const BYTE_STRINGS: [u32; 6] = [12, 18, 19, 20, 22, 26];

/// The certificate that a client has proved to hold.
#[derive(Clone)]
pub struct CertificateIdentity {
    chain: Arc<[CertificateDer<'static>]>,
    resumed: bool,
    facts: Option<Arc<Facts>>,
}

struct Facts {
    details: CertificateDetails,
    key_digest: KeyDigest,
    common_name: Result<Arc<str>, IdentityProblem>,
    subject: Result<Arc<str>, IdentityProblem>,
    /// By [`AlternativeName`].
    alternatives: [Result<Arc<str>, IdentityProblem>; 3],
    /// By [`CertificateGroups`].
    groups: [Option<Groups>; 3],
}

/// A kind of Subject Alternative Name (RFC 5280 section 4.2.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlternativeName {
    /// `dNSName`.
    Dns,
    /// `rfc822Name`.
    Email,
    /// `uniformResourceIdentifier`, such as a SPIFFE identity.
    Uri,
}

/// What logs tell about a client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateDetails {
    /// Serial number in hexadecimal, as `openssl x509 -serial` prints it.
    pub serial: String,
    /// The issuer as RFC 2253 writes it; its special characters are escaped.
    pub issuer: String,
    /// End of validity in seconds since 1970.
    pub not_after: i64,
    /// SHA-256 of the certificate in hexadecimal.
    pub fingerprint: String,
}

/// Why a certificate names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdentityProblem {
    /// It is not an X.509 certificate.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// The subject has no Common Name.
    #[error("the subject has no Common Name")]
    NoCommonName,
    /// It has more than one, and which of them counts is a matter of taste.
    #[error("the subject has more than one Common Name")]
    SeveralCommonNames,
    /// It has no Subject Alternative Name of the kind asked for.
    #[error("there is no such alternative name")]
    NoAlternativeName,
    /// It has more than one.
    #[error("there is more than one such alternative name")]
    SeveralAlternativeNames,
    /// It stands for more than one name.
    #[error("the name holds a wildcard")]
    Wildcard,
    /// There is nothing in it.
    #[error("the name is empty")]
    Empty,
    /// User names are UTF-8.
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// NUL cuts names short elsewhere; others forge log lines.
    #[error("the name holds a control character")]
    ControlCharacter,
    /// A Common Name of more than the 64 characters that X.509 allows, or what does not fit in a user
    /// name.
    #[error("the name is too long")]
    TooLong,
}

impl CertificateIdentity {
    /// The identity of a certificate alone. Use [`CertificateIdentity::from_chain`] where the
    /// intermediate certificates are at hand: without them a certificate that needs them is not
    /// trusted any more when the configuration is read again.
    pub fn from_der(certificate: &CertificateDer<'_>) -> Self {
        Self::from_chain(std::slice::from_ref(certificate))
    }

    /// The identity of the first certificate of a chain.
    pub fn from_chain(chain: &[CertificateDer<'_>]) -> Self {
        let chain: Arc<[_]> = chain.iter().map(|der| der.clone().into_owned()).collect();
        let facts = chain.first().and_then(|der| read(der)).map(Arc::new);
        Self {
            chain,
            resumed: false,
            facts,
        }
    }

    /// Marks the identity as one from a resumed TLS session: the certificate was verified when
    /// the session began, which may be long ago.
    #[must_use]
    pub fn resumed(mut self) -> Self {
        self.resumed = true;
        self
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The certificates as they were presented, the client's own first.
    pub fn chain(&self) -> &Arc<[CertificateDer<'static>]> {
        &self.chain
    }

    /// The Common Name.
    ///
    /// # Errors
    /// There is none that can be a user name.
    pub fn common_name(&self) -> Result<&Arc<str>, IdentityProblem> {
        let facts = self.facts.as_ref().ok_or(IdentityProblem::Unreadable)?;
        facts.common_name.as_ref().map_err(|problem| *problem)
    }

    /// The whole subject as RFC 2253 writes it, as mosquitto does.
    ///
    /// # Errors
    /// It cannot be a user name.
    pub fn subject(&self) -> Result<&Arc<str>, IdentityProblem> {
        let facts = self.facts.as_ref().ok_or(IdentityProblem::Unreadable)?;
        facts.subject.as_ref().map_err(|problem| *problem)
    }

    /// The Subject Alternative Name of this kind, if there is exactly one.
    ///
    /// # Errors
    /// There is none that can be a user name.
    pub fn alternative_name(&self, kind: AlternativeName) -> Result<&Arc<str>, IdentityProblem> {
        let facts = self.facts.as_ref().ok_or(IdentityProblem::Unreadable)?;
        let [dns, email, uri] = &facts.alternatives;
        let name = match kind {
            AlternativeName::Dns => dns,
            AlternativeName::Email => email,
            AlternativeName::Uri => uri,
        };
        name.as_ref().map_err(|problem| *problem)
    }

    /// Serial number, issuer and so on, for logs; `None` if it is not a certificate.
    pub fn details(&self) -> Option<&CertificateDetails> {
        self.facts.as_ref().map(|facts| &facts.details)
    }

    /// SHA-256 of the public key with its algorithm; `None` if it is not a certificate.
    pub fn key_digest(&self) -> Option<&KeyDigest> {
        self.facts.as_ref().map(|facts| &facts.key_digest)
    }

    /// The names in the fields that `source` asks for; `None` if one can be no group.
    pub fn groups(&self, source: CertificateGroups) -> Option<&Groups> {
        let [units, dns, uris] = &self.facts.as_ref()?.groups;
        match source {
            CertificateGroups::OrganizationalUnit => units,
            CertificateGroups::Dns => dns,
            CertificateGroups::Uri => uris,
        }
        .as_ref()
    }

    /// End of validity in seconds since 1970; 0 if it is not a certificate.
    pub fn ends_at_s(&self) -> Option<u64> {
        let not_after = self
            .facts
            .as_ref()
            .map_or(0, |facts| facts.details.not_after);
        // The certificate is good throughout its last second.
        Some(u64::try_from(not_after).unwrap_or(0).saturating_add(1))
    }

    /// Whether the certificate's time is over.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.facts
            .as_ref()
            .is_none_or(|facts| facts.details.not_after < i64::try_from(now).unwrap_or(i64::MAX))
    }
}

impl fmt::Debug for CertificateIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CertificateIdentity")
            .field(&self.details())
            .finish()
    }
}

fn read(der: &[u8]) -> Option<Facts> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let issuer = print(certificate.issuer()).map_or_else(|_| String::new(), |name| name.text);
    Some(Facts {
        details: CertificateDetails {
            serial: serial(certificate.raw_serial()),
            issuer,
            not_after: certificate.validity().not_after.timestamp(),
            fingerprint: lower_hexadecimal(&Sha256::digest(der)),
        },
        key_digest: Sha256::digest(certificate.public_key().raw).into(),
        common_name: common_name(&certificate),
        subject: subject(&certificate),
        alternatives: [
            AlternativeName::Dns,
            AlternativeName::Email,
            AlternativeName::Uri,
        ]
        .map(|kind| alternative_name(&certificate, kind)),
        groups: [
            group_set(units(&certificate)),
            group_set(alternatives(&certificate, AlternativeName::Dns)),
            group_set(alternatives(&certificate, AlternativeName::Uri)),
        ],
    })
}

/// The Organizational Units that are text.
fn units<'a>(certificate: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a str> {
    certificate
        .subject()
        .iter_by_oid(&OID_X509_ORGANIZATIONAL_UNIT)
        .map(AttributeTypeAndValue::attr_value)
        .filter(|value| BYTE_STRINGS.contains(&value.tag().0))
        .filter_map(|value| std::str::from_utf8(value.data).ok())
}

fn alternatives<'a>(
    certificate: &'a X509Certificate<'_>,
    kind: AlternativeName,
) -> impl Iterator<Item = &'a str> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.map_or(&[][..], |extension| &extension.value.general_names);
    names.iter().filter_map(move |name| match (kind, name) {
        (AlternativeName::Dns, GeneralName::DNSName(text))
        | (AlternativeName::Email, GeneralName::RFC822Name(text))
        | (AlternativeName::Uri, GeneralName::URI(text)) => Some(*text),
        _ => None,
    })
}

fn common_name(certificate: &X509Certificate<'_>) -> Result<Arc<str>, IdentityProblem> {
    let mut names = certificate.subject().iter_by_oid(&OID_X509_COMMON_NAME);
    let name = names.next().ok_or(IdentityProblem::NoCommonName)?;
    if names.next().is_some() {
        return Err(IdentityProblem::SeveralCommonNames);
    }
    let value = name.attr_value();
    if !BYTE_STRINGS.contains(&value.tag().0) {
        return Err(IdentityProblem::NotUtf8);
    }
    let text = std::str::from_utf8(value.data).map_err(|_| IdentityProblem::NotUtf8)?;
    if text.chars().count() > COMMON_NAME_CHARACTERS {
        return Err(IdentityProblem::TooLong);
    }
    one_name(text)
}

/// What is part of how a whole subject is written (`+`, `#`) has no place in one name.
fn one_name(text: &str) -> Result<Arc<str>, IdentityProblem> {
    if text.chars().any(char::is_control) {
        return Err(IdentityProblem::ControlCharacter);
    }
    if text.contains(['*', '+', '#']) {
        return Err(IdentityProblem::Wildcard);
    }
    username(text)
}

fn subject(certificate: &X509Certificate<'_>) -> Result<Arc<str>, IdentityProblem> {
    let printed = print(certificate.subject()).map_err(|_| IdentityProblem::NotUtf8)?;
    if printed.has_control {
        return Err(IdentityProblem::ControlCharacter);
    }
    username(&printed.text)
}

fn alternative_name(
    certificate: &X509Certificate<'_>,
    kind: AlternativeName,
) -> Result<Arc<str>, IdentityProblem> {
    certificate
        .subject_alternative_name()
        .map_err(|_| IdentityProblem::Unreadable)?;
    let mut names = alternatives(certificate, kind);
    let text = names.next().ok_or(IdentityProblem::NoAlternativeName)?;
    if names.next().is_some() {
        return Err(IdentityProblem::SeveralAlternativeNames);
    }
    one_name(text)
}

fn username(text: &str) -> Result<Arc<str>, IdentityProblem> {
    match text.len() {
        0 => Err(IdentityProblem::Empty),
        1..=USERNAME_BYTES => Ok(text.into()),
        _ => Err(IdentityProblem::TooLong),
    }
}

fn serial(bytes: &[u8]) -> String {
    // A leading zero only keeps the number from being negative.
    let bytes = match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        bytes => bytes,
    };
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        hexadecimal(&mut text, "", *byte);
    }
    text
}

fn lower_hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        hexadecimal(&mut text, "", *byte);
    }
    text.make_ascii_lowercase();
    text
}
