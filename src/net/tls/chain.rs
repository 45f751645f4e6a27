//! The server's own certificates and key.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{FromDer, GeneralName};

use crate::auth::CertificateIdentity;

use super::stapling::{self, Stapling};
use super::{TlsError, TlsSettings, pem};

const DAY: i64 = 86_400;
/// Warned of this long before a certificate ends.
const SOON: i64 = 14 * DAY;

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
    /// Those names and addresses.
    pub sans: Vec<String>,
    /// The subject as RFC 2253 writes it.
    pub subject: String,
    /// SHA-256 of the certificate in hexadecimal.
    pub fingerprint: String,
    /// When the OCSP response that is handed out with it is too old, if it says so.
    pub ocsp_next_update: Option<i64>,
}

/// What rustls presents, and what it is.
pub(super) struct Server {
    pub(super) resolver: Arc<dyn ResolvesServerCert>,
    pub(super) certificate: ServerCertificate,
}

pub(super) fn load(
    settings: &TlsSettings,
    now: i64,
    warnings: &mut Vec<TlsError>,
) -> Result<Server, Vec<TlsError>> {
    let mut errors = Vec::new();
    let mut keep = |error| errors.push(error);
    let file = &settings.certfile;
    let chain = pem::certificates(file).map_err(&mut keep).ok();
    let key = signing_key(&settings.keyfile).map_err(&mut keep).ok();
    let parsed = chain
        .as_deref()
        .map(|chain| parse(file, chain))
        .and_then(|parsed| parsed.map_err(&mut keep).ok());
    let (Some(chain), Some(key), Some(parsed)) = (&chain, key, &parsed) else {
        return Err(errors);
    };
    if let Err(error) = check_pair(settings, &*key, parsed) {
        return Err(vec![error]);
    }
    let staple = match (&settings.ocsp_file, parsed.first()) {
        (Some(file), Some(leaf)) => Some(stapling::load(file, leaf, now, warnings)),
        _ => None,
    };
    let staple = staple.transpose().map_err(|error| vec![error])?;
    let mut certificate = describe(chain, parsed);
    certificate.ocsp_next_update = staple.as_ref().and_then(|staple| staple.next_update);
    warn(file, parsed, &certificate, now, warnings);
    // rustls would look at the pair again and refuse X.509 version 1, which `openssl x509 -req`
    // writes by default up to OpenSSL 3.x.
    let certified = CertifiedKey::new(chain.clone(), key);
    Ok(Server {
        resolver: Arc::new(Stapling::new(certified, staple)),
        certificate,
    })
}

fn signing_key(file: &Path) -> Result<Arc<dyn SigningKey>, TlsError> {
    let key = pem::private_key(file)?;
    let provider: CryptoProvider = super::provider();
    provider.key_provider.load_private_key(key).map_err(|_| {
        TlsError::new(file, "holds a private key that cannot be used").help(
            "RSA with 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, and Ed25519 are possible",
        )
    })
}

fn parse<'a>(
    file: &Path,
    chain: &'a [CertificateDer<'_>],
) -> Result<Vec<X509Certificate<'a>>, TlsError> {
    let mut certificates = Vec::with_capacity(chain.len());
    for (number, der) in (1..).zip(chain) {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| {
            TlsError::new(file, format!("its certificate {number} cannot be parsed"))
        })?;
        certificates.push(certificate);
    }
    Ok(certificates)
}

/// The key belongs to the first certificate, or the error says to which it belongs.
fn check_pair(
    settings: &TlsSettings,
    key: &dyn SigningKey,
    chain: &[X509Certificate<'_>],
) -> Result<(), TlsError> {
    // A key that does not know its public half fails at the first handshake instead.
    let Some(public) = key.public_key() else {
        return Ok(());
    };
    let position = chain
        .iter()
        .position(|certificate| certificate.public_key().raw == public.as_ref());
    match position {
        Some(0) => Ok(()),
        Some(index) => {
            let message = format!(
                "the certificate that {} belongs to is number {} in the file",
                settings.keyfile.display(),
                index + 1
            );
            Err(TlsError::new(&settings.certfile, message)
                .help("the server's own certificate comes first, those of the CAs after it"))
        }
        None => {
            let message = format!("is not the key of {}", settings.certfile.display());
            Err(TlsError::new(&settings.keyfile, message).help(
                "`openssl pkey -in KEYFILE -pubout` and `openssl x509 -in CERTFILE -noout -pubkey` \
                 must print the same",
            ))
        }
    }
}

fn describe(chain: &[CertificateDer<'_>], parsed: &[X509Certificate<'_>]) -> ServerCertificate {
    let identity = CertificateIdentity::from_chain(chain.get(..1).unwrap_or_default());
    let details = identity.details();
    let leaf = parsed.first();
    let sans: Vec<String> = leaf.map(names).unwrap_or_default();
    ServerCertificate {
        not_after: leaf.map_or(0, |leaf| leaf.validity().not_after.timestamp()),
        not_before: leaf.map_or(0, |leaf| leaf.validity().not_before.timestamp()),
        has_san: !sans.is_empty(),
        sans,
        subject: identity
            .subject()
            .map(ToString::to_string)
            .unwrap_or_default(),
        fingerprint: details.map_or_else(String::new, |details| details.fingerprint.clone()),
        ocsp_next_update: None,
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = &extension.value.general_names;
    names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(bytes).to_string());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(bytes).to_string())
}

/// What a client would refuse the certificate for, as far as it can be known here.
fn warn(
    file: &Path,
    chain: &[X509Certificate<'_>],
    certificate: &ServerCertificate,
    now: i64,
    warnings: &mut Vec<TlsError>,
) {
    let mut warn = |message: String, help: &str| {
        warnings.push(TlsError::new(file, message).help(help));
    };
    let renew = "renew it, put it in place and send SIGHUP";
    if certificate.not_after < now {
        warn(
            "the certificate has expired: clients refuse it".into(),
            renew,
        );
    } else if certificate.not_after < now + SOON {
        let days = (certificate.not_after - now) / DAY;
        warn(format!("the certificate expires in {days} days"), renew);
    }
    if certificate.not_before > now {
        warn(
            "the certificate is not valid yet: clients refuse it".into(),
            "check the clock of this host and of the one that made it",
        );
    }
    if !certificate.has_san {
        warn(
            "the certificate has no Subject Alternative Name: most clients of today refuse it"
                .into(),
            "make it with `-addext subjectAltName=DNS:NAME`; the Common Name does not count",
        );
    }
    let Some(leaf) = chain.first() else {
        return;
    };
    if leaf.is_ca() {
        warn(
            "the first certificate is one of a CA: many clients refuse it as a server's".into(),
            "make a server certificate, signed by the CA",
        );
    }
    if let Ok(Some(usage)) = leaf.extended_key_usage()
        && !usage.value.server_auth
        && !usage.value.any
    {
        warn(
            "the certificate is not meant for servers: clients refuse it".into(),
            "its Extended Key Usage must have serverAuth",
        );
    }
    for (number, pair) in (1..).zip(chain.windows(2)) {
        if let [certificate, issuer] = pair
            && certificate.issuer().as_raw() != issuer.subject().as_raw()
        {
            warn(
                format!("certificate {number} is not issued by the one after it"),
                "each certificate is followed by that of its CA; clients may not find the way",
            );
        }
    }
}
