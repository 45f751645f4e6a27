//! TLS of a listener: files to a rustls configuration, and failures to words.
//!
//! [`load`] reads every file a listener names and reports everything that is wrong with any of
//! them at once. It decides nothing about clients beyond their certificates; who they are is
//! [`crate::auth`].
//!
//! What is fixed here, and why:
//!
//! * The hybrid key exchange X25519MLKEM768 comes first: what is recorded today must not be read
//!   when quantum computers exist.
//! * No application protocol is negotiated. A server that has a list must refuse a client whose
//!   list has nothing in common (RFC 7301 section 3.2), and clients in the field offer `mqtt`,
//!   names of clouds, or what their HTTP library offers; one that names none ignores the
//!   extension, as mosquitto does, and serves them all.
//! * Sessions are resumed by tickets that the client keeps, one for each TLS 1.3 connection: a
//!   reconnect needs one, and the server stores none. The ticket key lives as long as the
//!   configuration, so a reload ends all resumption; a certificate revoked by it cannot come back.
//! * TLS secrets are never logged, and there is no renegotiation and no early data.

mod chain;
mod clients;
mod failure;
mod pem;
mod revocation;
mod stapling;
mod suites;
mod version1;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, SupportedProtocolVersion};

use crate::auth::CertificateIdentity;

pub use chain::ServerCertificate;
pub use clients::ClientCertificates;
pub use failure::{HANDSHAKE_FAILURES, HandshakeFailure};
pub use suites::{TLS12_SUITES, TLS13_SUITES};

/// TLS settings of one listener.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// `certfile`: chain, leaf first.
    pub certfile: PathBuf,
    /// `keyfile`.
    pub keyfile: PathBuf,
    /// `ocsp_file`: a response for the certificate.
    pub ocsp_file: Option<PathBuf>,
    /// `cafile`.
    pub cafile: Option<PathBuf>,
    /// `capath`.
    pub capath: Option<PathBuf>,
    /// `crlfile`.
    pub crlfile: Option<PathBuf>,
    /// `require_certificate`. Without it no certificate is asked for, as in mosquitto.
    pub require_certificate: bool,
    /// A certificate is asked for, and a client that has none goes on without.
    pub request_certificate: bool,
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

impl TlsError {
    fn new(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            message: message.into(),
            help: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// A TLS configuration and what it was made from.
#[derive(Clone, Debug)]
pub struct Tls {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// The server certificate.
    pub certificate: ServerCertificate,
    /// How client certificates are judged, where they are required; give it to the listener's
    /// [`Authenticator`](crate::auth::Authenticator) as `certificates`.
    pub clients: Option<Arc<ClientCertificates>>,
    /// When the first of the revocation lists is too old, in seconds since the epoch: from then on
    /// the clients of its CA are refused.
    pub crl_next_update: Option<i64>,
    /// What works and should not stay so.
    pub warnings: Vec<TlsError>,
}

/// The provider all of the program uses: aws-lc-rs, hybrid post-quantum key exchange first.
pub fn provider() -> CryptoProvider {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    CryptoProvider {
        kx_groups: vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

/// Reads every file and makes a configuration.
///
/// # Errors
/// Everything that is wrong with any of the files.
pub fn load(settings: &TlsSettings) -> Result<Tls, Vec<TlsError>> {
    let now = seconds(SystemTime::now());
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let provider = collect(suites::provider(settings), &mut errors).map(Arc::new);
    let server = chain::load(settings, now, &mut warnings);
    let server = collect(server, &mut errors);
    let clients = clients::load(settings, now, &mut warnings);
    let clients = collect(clients, &mut errors);
    let (Some(provider), Some(server), Some(clients)) = (provider, server, clients) else {
        return Err(errors);
    };
    let clients = clients
        .map(|files| {
            let required = settings.require_certificate;
            ClientCertificates::new(files, required, &provider, now)
        })
        .map(Arc::new);
    let verifier = match &clients {
        Some(clients) => Arc::clone(clients) as Arc<_>,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let versions: &[&SupportedProtocolVersion] = if settings.tls12 {
        &[&rustls::version::TLS13, &rustls::version::TLS12]
    } else {
        &[&rustls::version::TLS13]
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| vec![TlsError::new(&settings.certfile, error.to_string())])?;
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(server.resolver);
    // Suites in an order of the operator's are a wish; without one the client knows better which
    // of them its processor is good at.
    config.ignore_client_order = settings.ciphers.is_some() || settings.ciphers_tls13.is_some();
    config.send_tls13_tickets = 1;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()
        .map_err(|error| vec![TlsError::new(&settings.keyfile, error.to_string())])?;
    Ok(Tls {
        config: Arc::new(config),
        certificate: server.certificate,
        crl_next_update: clients
            .as_ref()
            .and_then(|clients| clients.crl_next_update()),
        clients,
        warnings,
    })
}

/// What a finished handshake says about the client: its chain, and whether the session is an old
/// one whose certificate was verified then. `None` if it presented no certificate.
pub fn client_identity(connection: &ServerConnection) -> Option<CertificateIdentity> {
    let chain = connection.peer_certificates()?;
    let identity = CertificateIdentity::from_chain(chain);
    match connection.handshake_kind() {
        Some(HandshakeKind::Resumed) => Some(identity.resumed()),
        _ => Some(identity),
    }
}

fn collect<T>(result: Result<T, Vec<TlsError>>, errors: &mut Vec<TlsError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(found) => {
            errors.extend(found);
            None
        }
    }
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
