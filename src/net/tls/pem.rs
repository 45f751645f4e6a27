//! Reading PEM files, with errors that say what was found instead.

use std::fs;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::TlsError;

/// First byte of every certificate, key and list in DER: an ASN.1 SEQUENCE.
const DER_SEQUENCE: u8 = 0x30;

pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = bytes(file)?;
    let certificates = sections(file, &bytes)?;
    if certificates.is_empty() {
        return Err(missing(
            file,
            &bytes,
            "certificate",
            "-----BEGIN CERTIFICATE-----",
            "openssl x509 -inform DER -in FILE -out FILE",
        ));
    }
    Ok(certificates)
}

pub(super) fn revocation_lists(
    file: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = bytes(file)?;
    let lists = sections(file, &bytes)?;
    if lists.is_empty() {
        return Err(missing(
            file,
            &bytes,
            "revocation list",
            "-----BEGIN X509 CRL-----",
            "openssl crl -inform DER -in FILE -out FILE",
        ));
    }
    Ok(lists)
}

pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = bytes(file)?;
    if let Ok(key) = PrivateKeyDer::from_pem_slice(&bytes)
        && !contains(&bytes, b"Proc-Type: 4,ENCRYPTED")
    {
        return Ok(key);
    }
    if contains(&bytes, b"ENCRYPTED") {
        let message = "holds an encrypted key, and there is nobody to ask for its password";
        return Err(TlsError::new(file, message).help(
            "decrypt it with `openssl pkey -in FILE -out FILE`, and keep it readable by its \
             owner only",
        ));
    }
    Err(missing(
        file,
        &bytes,
        "private key",
        "-----BEGIN PRIVATE KEY----- (PKCS #8; PKCS #1 and SEC 1 are understood too)",
        "openssl pkey -inform DER -in FILE -out FILE",
    ))
}

pub(super) fn bytes(file: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    fs::read(file)
        .map(Zeroizing::new)
        .map_err(|error| TlsError::new(file, format!("cannot be read: {error}")))
}

fn sections<T: PemObject>(file: &Path, bytes: &[u8]) -> Result<Vec<T>, TlsError> {
    T::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::new(file, format!("is not well-formed PEM: {error}")))
}

fn missing(file: &Path, bytes: &[u8], what: &str, expected: &str, convert: &str) -> TlsError {
    let error = TlsError::new(file, format!("holds no {what} in PEM form"));
    if bytes.first() == Some(&DER_SEQUENCE) {
        error.help(format!("it looks like DER; convert it with `{convert}`"))
    } else {
        error.help(format!("expected {expected}"))
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
