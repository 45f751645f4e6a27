//! Client certificates of X.509 version 1.
//!
//! `openssl x509 -req`, as mosquitto's manual and most guides have it, writes version 1 unless it
//! is given extensions; webpki reads version 3 only. Such a certificate has no extensions at all:
//! nothing to restrict it and nothing to be a CA by. What is left to check is little, and checked
//! here: a CA of ours signed it directly, its time, and that it is not revoked.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::{
    CertRevocationListError, CertificateError, DigitallySignedStruct, Error, PeerMisbehaved,
};
use x509_parser::asn1_rs::{BitString, Sequence};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::X509Version;

use super::clients::Anchor;
use super::revocation::RevocationList;

type Algorithms = [&'static dyn SignatureVerificationAlgorithm];

/// Whether `der` is a certificate of version 1 and holds what such a one may hold.
pub(super) fn is_version1(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(rest, certificate)| {
        rest.is_empty()
            && certificate.version() == X509Version::V1
            && certificate.extensions().is_empty()
    })
}

pub(super) fn verify(
    der: &CertificateDer<'_>,
    anchors: &[Anchor],
    lists: &[RevocationList],
    algorithms: &Algorithms,
    now: i64,
) -> Result<(), Error> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| bad_encoding())?;
    if certificate.signature_algorithm != certificate.tbs_certificate.signature {
        return Err(CertificateError::BadSignature.into());
    }
    check_time(&certificate, now)?;
    let mut failure: Error = CertificateError::UnknownIssuer.into();
    for anchor in anchors.iter().filter(|anchor| anchor.is_valid(now)) {
        let (_, ca) = X509Certificate::from_der(&anchor.der).map_err(|_| bad_encoding())?;
        if ca.subject().as_raw() != certificate.issuer().as_raw() {
            continue;
        }
        // Names outside the constraints could not be told from those inside without the
        // extension that names them.
        if !matches!(ca.name_constraints(), Ok(None)) || !may_sign_certificates(&ca) {
            continue;
        }
        if !is_signed(der, ca.public_key().raw, algorithms) {
            failure = CertificateError::BadSignature.into();
            continue;
        }
        return match lists {
            [] => Ok(()),
            lists => check_revocation(&certificate, &ca, lists, algorithms, now),
        };
    }
    Err(failure)
}

fn check_time(certificate: &X509Certificate<'_>, now: i64) -> Result<(), Error> {
    let validity = certificate.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    let not_after = validity.not_after.timestamp();
    if now > not_after {
        let at = |seconds: i64| {
            let seconds = u64::try_from(seconds).unwrap_or(0);
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
        };
        return Err(CertificateError::ExpiredContext {
            time: at(now),
            not_after: at(not_after),
        }
        .into());
    }
    Ok(())
}

fn may_sign_certificates(ca: &X509Certificate<'_>) -> bool {
    match ca.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    }
}

fn check_revocation(
    certificate: &X509Certificate<'_>,
    ca: &X509Certificate<'_>,
    lists: &[RevocationList],
    algorithms: &Algorithms,
    now: i64,
) -> Result<(), Error> {
    // A list of a part of the certificates cannot vouch for one that names no part.
    let list = lists
        .iter()
        .find(|list| list.part.is_none() && *list.issuer == *ca.subject().as_raw())
        .ok_or(CertificateError::UnknownRevocationStatus)?;
    if list.next_update < now {
        return Err(CertificateError::ExpiredRevocationList.into());
    }
    if !is_signed(&list.der, ca.public_key().raw, algorithms) {
        return Err(Error::InvalidCertRevocationList(
            CertRevocationListError::BadSignature,
        ));
    }
    let (_, parsed) = CertificateRevocationList::from_der(&list.der).map_err(|_| bad_encoding())?;
    let serial = &certificate.tbs_certificate.serial;
    if parsed
        .iter_revoked_certificates()
        .any(|revoked| revoked.serial() == serial)
    {
        return Err(CertificateError::Revoked.into());
    }
    Ok(())
}

/// Whether the key signed a certificate or list: `SEQUENCE { what was signed, algorithm,
/// signature }` (RFC 5280 sections 4.1 and 5.1).
fn is_signed(der: &[u8], key: &[u8], algorithms: &Algorithms) -> bool {
    let Some((message, algorithm, signature)) = signed_parts(der) else {
        return false;
    };
    let key = SubjectPublicKeyInfoDer::from(key);
    let Ok(key) = webpki::RawPublicKeyEntity::try_from(&key) else {
        return false;
    };
    algorithms
        .iter()
        .filter(|known| known.signature_alg_id().as_ref() == algorithm)
        .any(|known| key.verify_signature(*known, message, signature).is_ok())
}

fn signed_parts(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let content = sequence(der)?.1;
    let (rest, _) = sequence(content)?;
    let message = content.get(..content.len() - rest.len())?;
    let (rest, algorithm) = sequence(rest)?;
    let (rest, signature) = BitString::from_der(rest).ok()?;
    if !rest.is_empty() || signature.unused_bits != 0 {
        return None;
    }
    // The last bytes of the value are the signature; the parsed copy does not live long enough.
    let start = der.len().checked_sub(signature.data.len())?;
    Some((message, algorithm, der.get(start..)?))
}

/// What follows a SEQUENCE, and what is in it.
fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, sequence) = Sequence::from_der(der).ok()?;
    let end = der.len().checked_sub(rest.len())?;
    let start = end.checked_sub(sequence.content.len())?;
    Some((rest, der.get(start..end)?))
}

pub(super) fn verify_tls12_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = public_key(certificate)?;
    let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(|_| bad_encoding())?;
    let possible = algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == signed.scheme)
        .map(|(_, algorithms)| *algorithms)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    if possible.iter().any(|known| {
        key.verify_signature(*known, message, signed.signature())
            .is_ok()
    }) {
        return Ok(HandshakeSignatureValid::assertion());
    }
    Err(CertificateError::BadSignature.into())
}

pub(super) fn verify_tls13_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = public_key(certificate)?;
    rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| bad_encoding())?;
    Ok(SubjectPublicKeyInfoDer::from(
        certificate.public_key().raw.to_vec(),
    ))
}

fn bad_encoding() -> Error {
    CertificateError::BadEncoding.into()
}
