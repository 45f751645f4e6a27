//! TLS of a listener: files to a rustls configuration, and failures to words.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    AlertDescription, CertificateError, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// TLS settings of one listener.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// `certfile`: chain, leaf first.
    pub certfile: PathBuf,
    /// `keyfile`.
    pub keyfile: PathBuf,
    /// `cafile`.
    pub cafile: Option<PathBuf>,
    /// `capath`.
    pub capath: Option<PathBuf>,
    /// `crlfile`.
    pub crlfile: Option<PathBuf>,
    /// `require_certificate`.
    pub require_certificate: bool,
    /// Whether TLS 1.2 is offered (`tls_version`).
    pub tls12: bool,
    /// `ciphers`: names of TLS 1.2 suites as OpenSSL writes them; `None` is all.
    pub ciphers: Option<Vec<String>>,
    /// `ciphers_tls1.3`.
    pub ciphers_tls13: Option<Vec<String>>,
}

/// Something wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// Which file.
    pub file: PathBuf,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// What an operator may want to know of the server certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCertificate {
    /// When it expires, in seconds since the epoch.
    pub not_after: i64,
    /// When it begins to be valid.
    pub not_before: i64,
    /// Whether it names a host or address in its Subject Alternative Name; clients of today look
    /// nowhere else.
    pub has_san: bool,
}

/// A TLS configuration and what it was made from.
#[derive(Clone, Debug)]
pub struct Tls {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// The server certificate.
    pub certificate: ServerCertificate,
}

/// Suites by OpenSSL's names.
const TLS12_SUITES: [(&str, rustls::CipherSuite); 6] = [
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        rustls::CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];
const TLS13_SUITES: [(&str, rustls::CipherSuite); 3] = [
    (
        "TLS_AES_256_GCM_SHA384",
        rustls::CipherSuite::TLS13_AES_256_GCM_SHA384,
    ),
    (
        "TLS_AES_128_GCM_SHA256",
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256,
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
];

/// The provider all of the program uses: aws-lc-rs, hybrid post-quantum key exchange first.
pub fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// Reads every file and makes a configuration.
///
/// # Errors
/// Everything that is wrong with any of the files.
pub fn load(settings: &TlsSettings) -> Result<Tls, Vec<TlsError>> {
    let mut errors = Vec::new();
    let chain = collect(certificates(&settings.certfile), &mut errors);
    let key = collect(private_key(&settings.keyfile), &mut errors);
    let roots = roots(settings, &mut errors);
    let crls = match &settings.crlfile {
        Some(file) => collect(revocations(file), &mut errors).unwrap_or_default(),
        None => Vec::new(),
    };
    let (Some(chain), Some(key)) = (chain, key) else {
        return Err(errors);
    };
    let certificate = collect(describe(&settings.certfile, &chain), &mut errors);
    let provider = Arc::new(restricted(settings));
    let verifier = if settings.require_certificate {
        collect(verifier(settings, roots, crls, &provider), &mut errors)
    } else {
        // As mosquitto: a certificate is not even asked for.
        Some(WebPkiClientVerifier::no_client_auth())
    };
    let (Some(verifier), Some(certificate), true) = (verifier, certificate, errors.is_empty())
    else {
        return Err(errors);
    };
    let versions: &[&SupportedProtocolVersion] = if settings.tls12 {
        &[&rustls::version::TLS13, &rustls::version::TLS12]
    } else {
        &[&rustls::version::TLS13]
    };
    let built = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain, key)
        });
    let mut config = match built {
        Ok(config) => config,
        Err(error) => {
            return Err(vec![TlsError {
                file: settings.keyfile.clone(),
                message: format!(
                    "cannot be used with {}: {error}",
                    settings.certfile.display()
                ),
                help: Some("the key must be the one the certificate was made for".into()),
            }]);
        }
    };
    // One ticket is enough for a reconnect and costs half of two.
    config.send_tls13_tickets = 1;
    // TLS 1.2 sessions would have to be kept here; its tickets are stateless as well.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if let Ok(ticketer) = aws_lc_rs::Ticketer::new() {
        config.ticketer = ticketer;
    }
    Ok(Tls {
        config: Arc::new(config),
        certificate,
    })
}

fn collect<T>(result: Result<T, TlsError>, errors: &mut Vec<TlsError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

fn unreadable(file: &Path, error: &impl fmt::Display) -> TlsError {
    TlsError {
        file: file.to_owned(),
        message: format!("cannot be read: {error}"),
        help: None,
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = fs::read(file).map_err(|error| unreadable(file, &error))?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(file, &error))?;
    if chain.is_empty() {
        return Err(TlsError {
            file: file.to_owned(),
            message: "holds no certificate in PEM form".into(),
            help: Some("expected -----BEGIN CERTIFICATE-----".into()),
        });
    }
    Ok(chain)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = zeroize::Zeroizing::new(fs::read(file).map_err(|error| unreadable(file, &error))?);
    let encrypted = bytes
        .windows(b"ENCRYPTED".len())
        .any(|window| window == b"ENCRYPTED");
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| TlsError {
        file: file.to_owned(),
        message: if encrypted {
            "holds an encrypted key, and there is nobody to ask for its password".into()
        } else {
            "holds no private key in PEM form".into()
        },
        help: Some(if encrypted {
            "decrypt it with `openssl pkey -in FILE -out FILE` and restrict its permissions to 0600"
                .into()
        } else {
            "expected -----BEGIN PRIVATE KEY----- (PKCS #8, PKCS #1 and SEC 1 are understood)"
                .into()
        }),
    })
}

fn roots(settings: &TlsSettings, errors: &mut Vec<TlsError>) -> RootCertStore {
    let mut files: Vec<PathBuf> = settings.cafile.iter().cloned().collect();
    if let Some(path) = &settings.capath {
        match fs::read_dir(path) {
            Ok(entries) => {
                let mut found: Vec<PathBuf> = entries
                    .filter_map(|entry| Some(entry.ok()?.path()))
                    .filter(|path| path.is_file())
                    .collect();
                found.sort();
                files.extend(found);
            }
            Err(error) => errors.push(unreadable(path, &error)),
        }
    }
    let mut roots = RootCertStore::empty();
    for file in files {
        let in_directory = settings.cafile.as_ref() != Some(&file);
        match certificates(&file) {
            Ok(certificates) => {
                for certificate in certificates {
                    if let Err(error) = roots.add(certificate) {
                        errors.push(TlsError {
                            file: file.clone(),
                            message: format!("holds a CA certificate that cannot be used: {error}"),
                            help: None,
                        });
                    }
                }
            }
            // A directory may hold other files; `cafile` names one that must be right.
            Err(_) if in_directory => {}
            Err(error) => errors.push(error),
        }
    }
    roots
}

fn revocations(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = fs::read(file).map_err(|error| unreadable(file, &error))?;
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(file, &error))?;
    if lists.is_empty() {
        return Err(TlsError {
            file: file.to_owned(),
            message: "holds no revocation list in PEM form".into(),
            help: Some("expected -----BEGIN X509 CRL-----".into()),
        });
    }
    Ok(lists)
}

fn verifier(
    settings: &TlsSettings,
    roots: RootCertStore,
    crls: Vec<CertificateRevocationListDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let file = settings
        .cafile
        .clone()
        .or_else(|| settings.capath.clone())
        .unwrap_or_else(|| settings.certfile.clone());
    if roots.is_empty() {
        return Err(TlsError {
            file,
            message: "no CA certificate to verify client certificates with".into(),
            help: Some("name one with cafile or capath".into()),
        });
    }
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if !crls.is_empty() {
        // As mosquitto's crlfile: the client's own certificate is looked up, and an expired list
        // is worth nothing. A list that says nothing of its issuer refuses it.
        builder = builder
            .with_crls(crls)
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration();
    }
    builder.build().map_err(|error| TlsError {
        file: settings.crlfile.clone().unwrap_or(file),
        message: format!("client certificates cannot be verified: {error}"),
        help: None,
    })
}

/// The provider with only the suites the operator named.
fn restricted(settings: &TlsSettings) -> CryptoProvider {
    let mut provider = provider();
    let wanted = |names: &Option<Vec<String>>, table: &[(&str, rustls::CipherSuite)]| {
        names.as_ref().map(|names| {
            table
                .iter()
                .filter(|(name, _)| names.iter().any(|wanted| wanted == name))
                .map(|&(_, suite)| suite)
                .collect::<Vec<_>>()
        })
    };
    let tls12 = wanted(&settings.ciphers, &TLS12_SUITES);
    let tls13 = wanted(&settings.ciphers_tls13, &TLS13_SUITES);
    provider.cipher_suites.retain(|suite| {
        let allowed = if suite.tls13().is_some() {
            &tls13
        } else {
            &tls12
        };
        allowed
            .as_ref()
            .is_none_or(|allowed| allowed.contains(&suite.suite()))
    });
    provider
}

fn describe(file: &Path, chain: &[CertificateDer<'_>]) -> Result<ServerCertificate, TlsError> {
    let unparsable = || TlsError {
        file: file.to_owned(),
        message: "its first certificate cannot be parsed".into(),
        help: Some("the server's own certificate comes first, those of the CAs after it".into()),
    };
    let leaf = chain.first().ok_or_else(unparsable)?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| unparsable())?;
    let has_san = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .is_some_and(|names| {
            names
                .value
                .general_names
                .iter()
                .any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_)))
        });
    Ok(ServerCertificate {
        not_after: certificate.validity().not_after.timestamp(),
        not_before: certificate.validity().not_before.timestamp(),
        has_san,
    })
}

/// Why a handshake failed. The labels are a closed set: they are metric label values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeFailure {
    label: &'static str,
    detail: String,
}

/// Every label of [`HandshakeFailure`], for metrics that start at zero.
pub const HANDSHAKE_FAILURES: &[&str] = &[
    "not_tls",
    "protocol_version",
    "no_shared_cipher",
    "no_certificate",
    "certificate_expired",
    "certificate_revoked",
    "unknown_ca",
    "bad_certificate",
    "refused_by_client",
    "closed",
    "other",
];

impl HandshakeFailure {
    /// Sorts the failure of an accept.
    pub fn from_io(error: &io::Error) -> Self {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let label = match inner {
            Some(error) => label(error),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe => "closed",
                _ => "other",
            },
        };
        Self {
            label,
            detail: error.to_string(),
        }
    }

    /// The metric label value.
    pub fn label(&self) -> &'static str {
        self.label
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

fn label(error: &rustls::Error) -> &'static str {
    use rustls::{Error, PeerIncompatible};
    match error {
        Error::NoCertificatesPresented => "no_certificate",
        Error::InvalidCertificate(reason) => match reason {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => "certificate_expired",
            CertificateError::Revoked => "certificate_revoked",
            CertificateError::UnknownIssuer => "unknown_ca",
            _ => "bad_certificate",
        },
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => "protocol_version",
        Error::PeerIncompatible(_) => "no_shared_cipher",
        Error::InvalidMessage(_) => "not_tls",
        Error::AlertReceived(alert) => match alert {
            AlertDescription::ProtocolVersion => "protocol_version",
            AlertDescription::HandshakeFailure => "no_shared_cipher",
            // What clients say that do not trust our certificate.
            _ => "refused_by_client",
        },
        _ => "other",
    }
}
