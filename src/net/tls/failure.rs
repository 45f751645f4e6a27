//! Failed handshakes, sorted.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Every label of [`HandshakeFailure`], for metrics that start at zero.
pub const HANDSHAKE_FAILURES: &[&str] = &[
    "not_tls",
    "malformed",
    "protocol_version",
    "no_shared_cipher",
    "no_certificate",
    "certificate_expired",
    "certificate_revoked",
    "revocation_unknown",
    "unknown_ca",
    "bad_certificate",
    "refused_by_client",
    "closed",
    "other",
];

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeFailure {
    label: &'static str,
    detail: String,
}

impl HandshakeFailure {
    /// Sorts the failure of an accept.
    pub fn from_io(error: &io::Error) -> Self {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        let label = match inner {
            Some(error) => label(error),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => "closed",
                _ => "other",
            },
        };
        Self {
            label,
            detail: error.to_string(),
        }
    }

    /// The metric label value, one of [`HANDSHAKE_FAILURES`].
    pub fn label(&self) -> &'static str {
        self.label
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

fn label(error: &Error) -> &'static str {
    match error {
        Error::NoCertificatesPresented => "no_certificate",
        Error::InvalidCertificate(reason) => certificate_label(reason),
        Error::InvalidCertRevocationList(_) => "revocation_unknown",
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        ) => "protocol_version",
        Error::PeerIncompatible(_) => "no_shared_cipher",
        // Another protocol, such as MQTT without TLS: its first bytes are no record's header.
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge,
        ) => "not_tls",
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord
        | Error::DecryptError => "malformed",
        Error::AlertReceived(alert) => match alert {
            AlertDescription::ProtocolVersion => "protocol_version",
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                "no_shared_cipher"
            }
            AlertDescription::CloseNotify | AlertDescription::UserCanceled => "closed",
            // What clients say that do not trust our certificate.
            _ => "refused_by_client",
        },
        _ => "other",
    }
}

fn certificate_label(reason: &CertificateError) -> &'static str {
    match reason {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => "certificate_expired",
        CertificateError::Revoked => "certificate_revoked",
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => "revocation_unknown",
        CertificateError::UnknownIssuer => "unknown_ca",
        _ => "bad_certificate",
    }
}
