//! Client certificates: who may have signed them, and which are revoked.
//!
//! rustls' verifier does the work. Around it: CA certificates count only within their own
//! validity, which a trust anchor has none of; certificates of X.509 version 1 are accepted from a
//! CA directly (see [`version1`]); and the question whether a certificate is still good can be
//! asked again at any time ([`CertificateTrust`]).
//!
//! Revocation is checked for the client's own certificate, as mosquitto's `crlfile` does: a
//! certificate whose CA has no list is refused, and so is every one of a CA whose list is too old.
//! The CAs between it and ours are checked against the lists that are there: to ask for one of every
//! CA above would refuse everybody in most installations, but who revoked a CA means it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use crate::auth::CertificateTrust;

use super::revocation::{self, RevocationList};
use super::version1;
use super::{TlsError, TlsSettings, pem};

/// A CA certificate.
#[derive(Debug)]
pub(super) struct Anchor {
    pub(super) der: CertificateDer<'static>,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

impl Anchor {
    pub(super) fn is_valid(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// What the files of a listener hold.
pub(super) struct Files {
    anchors: Vec<Anchor>,
    lists: Vec<RevocationList>,
}

/// Judges client certificates; the rustls verifier of a listener.
#[derive(Debug)]
pub struct ClientCertificates {
    anchors: Vec<Anchor>,
    lists: Vec<RevocationList>,
    is_required: bool,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Current>,
}

/// rustls' verifier with the CA certificates that are valid from one moment to another.
#[derive(Debug)]
struct Current {
    from: i64,
    until: i64,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Looks for revoked CAs between the client and ours, where there are lists.
    of_chain: Option<Arc<dyn ClientCertVerifier>>,
}

/// Reads the files, if client certificates are required.
pub(super) fn load(
    settings: &TlsSettings,
    now: i64,
    warnings: &mut Vec<TlsError>,
) -> Result<Option<Files>, Vec<TlsError>> {
    if !settings.require_certificate && !settings.request_certificate {
        if let Some(file) = &settings.crlfile {
            let message = "is not used: no client certificates are asked for";
            let help = "write `require_certificate true`, or leave `crlfile` out";
            warnings.push(TlsError::new(file, message).help(help));
        }
        return Ok(None);
    }
    let mut errors = Vec::new();
    let anchors = anchors(settings, now, warnings, &mut errors);
    let lists = match &settings.crlfile {
        Some(file) => revocation::load(file, now, warnings).unwrap_or_else(|found| {
            errors.extend(found);
            Vec::new()
        }),
        None => Vec::new(),
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    if let Some(file) = &settings.crlfile {
        warn_of_missing_lists(file, &anchors, &lists, warnings);
    }
    Ok(Some(Files { anchors, lists }))
}

fn anchors(
    settings: &TlsSettings,
    now: i64,
    warnings: &mut Vec<TlsError>,
    errors: &mut Vec<TlsError>,
) -> Vec<Anchor> {
    let mut anchors = Vec::new();
    if let Some(file) = &settings.cafile {
        match read_anchors(file) {
            Ok(found) => {
                for anchor in found {
                    match anchor {
                        Ok(anchor) => anchors.push(anchor),
                        Err(error) => errors.push(error),
                    }
                }
            }
            Err(error) => errors.push(error),
        }
    }
    let files = match &settings.capath {
        Some(path) => directory(path).unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        }),
        None => Vec::new(),
    };
    for file in files {
        // The directory may hold other things: what cannot be used there is no error.
        for anchor in read_anchors(&file).into_iter().flatten() {
            match anchor {
                Ok(anchor) => anchors.push(anchor),
                Err(error) => warnings.push(error),
            }
        }
    }
    let mut distinct: Vec<Anchor> = Vec::new();
    for anchor in anchors {
        // OpenSSL's directories have every certificate a second time, linked under its hash.
        if !distinct.iter().any(|known| known.der == anchor.der) {
            distinct.push(anchor);
        }
    }
    let place = settings.cafile.as_ref().or(settings.capath.as_ref());
    if distinct.is_empty() && errors.is_empty() {
        let place = place.unwrap_or(&settings.certfile);
        let message = "there is no CA certificate to verify client certificates with";
        errors.push(TlsError::new(place, message).help("name one with `cafile` or `capath`"));
    }
    let invalid = distinct
        .iter()
        .filter(|anchor| !anchor.is_valid(now))
        .count();
    if let Some(place) = place.filter(|_| invalid > 0) {
        let message = format!(
            "{invalid} of {} CA certificates are expired or not valid yet: their clients are \
             refused",
            distinct.len()
        );
        warnings.push(TlsError::new(place, message));
    }
    distinct
}

fn directory(path: &Path) -> Result<Vec<PathBuf>, TlsError> {
    let entries = std::fs::read_dir(path)
        .map_err(|error| TlsError::new(path, format!("cannot be read: {error}")))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    Ok(files)
}

fn read_anchors(file: &Path) -> Result<Vec<Result<Anchor, TlsError>>, TlsError> {
    let certificates = pem::certificates(file)?;
    let anchors = (1..).zip(certificates).map(|(number, der)| {
        anchor(&der).map_err(|reason| {
            let message = format!("its certificate {number} {reason}");
            TlsError::new(file, message)
        })
    });
    Ok(anchors.collect())
}

/// Whoever holds the key of an anchor can make clients, so one that was not meant to be a CA must
/// not become one by standing in the wrong file.
fn anchor(der: &CertificateDer<'static>) -> Result<Anchor, &'static str> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| "cannot be parsed")?;
    let old = certificate.version() == X509Version::V1;
    let own_issuer = certificate.subject() == certificate.issuer();
    if !(certificate.is_ca() || (old && own_issuer)) {
        return Err("is not one of a CA, which alone can be trusted to sign clients");
    }
    let mut roots = RootCertStore::empty();
    roots
        .add(der.clone())
        .map_err(|_| "cannot be used to verify others")?;
    Ok(Anchor {
        der: der.clone(),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
    })
}

fn warn_of_missing_lists(
    file: &Path,
    anchors: &[Anchor],
    lists: &[RevocationList],
    warnings: &mut Vec<TlsError>,
) {
    let without = anchors.iter().filter(|anchor| {
        X509Certificate::from_der(&anchor.der).is_ok_and(|(_, certificate)| {
            let subject = certificate.subject().as_raw();
            !lists.iter().any(|list| *list.issuer == *subject)
        })
    });
    let count = without.count();
    if count > 0 {
        let message = format!(
            "holds no list of {count} of the {} CAs: client certificates they sign are refused",
            anchors.len()
        );
        warnings.push(TlsError::new(file, message).help("append their lists to the file"));
    }
}

impl ClientCertificates {
    pub(super) fn new(
        files: Files,
        is_required: bool,
        provider: &Arc<CryptoProvider>,
        now: i64,
    ) -> Self {
        let current = current(&files.anchors, &files.lists, provider, now);
        Self {
            anchors: files.anchors,
            lists: files.lists,
            is_required,
            provider: Arc::clone(provider),
            current: ArcSwap::from_pointee(current),
        }
    }

    /// When the first of the revocation lists is too old.
    pub fn crl_next_update(&self) -> Option<i64> {
        self.lists.iter().map(|list| list.next_update).min()
    }

    fn current(&self, now: i64) -> Arc<Current> {
        let known = self.current.load();
        if (known.from..known.until).contains(&now) {
            return Arc::clone(&known);
        }
        let new = Arc::new(current(&self.anchors, &self.lists, &self.provider, now));
        self.current.store(Arc::clone(&new));
        new
    }
}

fn current(
    anchors: &[Anchor],
    lists: &[RevocationList],
    provider: &Arc<CryptoProvider>,
    now: i64,
) -> Current {
    let mut roots = RootCertStore::empty();
    let (mut from, mut until) = (i64::MIN, i64::MAX);
    for anchor in anchors {
        for boundary in [anchor.not_before, anchor.not_after.saturating_add(1)] {
            if boundary <= now {
                from = from.max(boundary);
            } else {
                until = until.min(boundary);
            }
        }
        if anchor.is_valid(now) {
            // It was added once before, when the file was read.
            let _ = roots.add(anchor.der.clone());
        }
    }
    let roots = Arc::new(roots);
    let builder = || {
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider))
            // A client that picks its certificate by these would send none rather than one of an
            // intermediate CA; and strangers need not learn whom we trust.
            .clear_root_hint_subjects()
    };
    let with_lists = || {
        builder()
            .with_crls(lists.iter().map(|list| list.der.clone()))
            .enforce_revocation_expiration()
    };
    // Only without any valid CA certificate is there no verifier.
    let (verifier, of_chain) = if lists.is_empty() {
        (builder().build().ok(), None)
    } else {
        (
            with_lists().only_check_end_entity_revocation().build().ok(),
            with_lists().allow_unknown_revocation_status().build().ok(),
        )
    };
    Current {
        from,
        until,
        verifier,
        of_chain,
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if version1::is_version1(end_entity) {
            version1::verify(
                end_entity,
                &self.anchors,
                &self.lists,
                self.provider.signature_verification_algorithms.all,
                seconds,
            )?;
            return Ok(ClientCertVerified::assertion());
        }
        let current = self.current(seconds);
        let verifier = current.verifier.as_ref();
        let verifier = verifier.ok_or(CertificateError::UnknownIssuer)?;
        let verified = verifier.verify_client_cert(end_entity, intermediates, now)?;
        match &current.of_chain {
            Some(of_chain) if !intermediates.is_empty() => {
                of_chain.verify_client_cert(end_entity, intermediates, now)
            }
            _ => Ok(verified),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        if version1::is_version1(cert) {
            return version1::verify_tls12_signature(message, cert, dss, algorithms);
        }
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        if version1::is_version1(cert) {
            return version1::verify_tls13_signature(message, cert, dss, algorithms);
        }
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl CertificateTrust for ClientCertificates {
    fn is_trusted(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> bool {
        let Some((end_entity, intermediates)) = chain.split_first() else {
            return false;
        };
        let Ok(now) = now.duration_since(UNIX_EPOCH) else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(now);
        self.verify_client_cert(end_entity, intermediates, now)
            .is_ok()
    }
}
