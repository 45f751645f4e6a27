//! Certificate revocation lists.

use std::path::Path;

use rustls::pki_types::CertificateRevocationListDer;
use x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::{TlsError, pem};

const DAY: i64 = 86_400;

/// One list, and what is asked of it here.
#[derive(Debug)]
pub(super) struct RevocationList {
    pub(super) der: CertificateRevocationListDer<'static>,
    /// The issuer's name in DER.
    pub(super) issuer: Box<[u8]>,
    /// The Issuing Distribution Point extension of a list that holds only part of its CA's
    /// revoked certificates.
    pub(super) part: Option<Box<[u8]>>,
    pub(super) this_update: i64,
    pub(super) next_update: i64,
}

/// Reads a file. Of several lists of one CA the newest counts: verification would stop at an
/// expired one although a fresh one is there.
pub(super) fn load(
    file: &Path,
    now: i64,
    warnings: &mut Vec<TlsError>,
) -> Result<Vec<RevocationList>, Vec<TlsError>> {
    let found = pem::revocation_lists(file).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    let mut lists: Vec<RevocationList> = Vec::new();
    for (number, der) in (1..).zip(found) {
        let list = match parse(der) {
            Ok(list) => list,
            Err(reason) => {
                let message = format!("its revocation list {number} cannot be used: {reason}");
                errors.push(TlsError::new(file, message).help(
                    "version 2 lists with a number and a next update are understood \
                     (`crlnumber` and `default_crl_days` in openssl.cnf)",
                ));
                continue;
            }
        };
        let same =
            |known: &&mut RevocationList| known.issuer == list.issuer && known.part == list.part;
        match lists.iter_mut().find(same) {
            Some(known) if known.this_update < list.this_update => *known = list,
            Some(_) => {}
            None => lists.push(list),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    for list in &lists {
        warn(file, list, now, warnings);
    }
    Ok(lists)
}

fn parse(der: CertificateRevocationListDer<'static>) -> Result<RevocationList, String> {
    webpki::OwnedCertRevocationList::from_der(&der).map_err(|error| error.to_string())?;
    let (_, list) = CertificateRevocationList::from_der(&der).map_err(|error| error.to_string())?;
    let next_update = list.next_update().ok_or("it has no next update")?;
    let part = list
        .extensions()
        .iter()
        .find(|extension| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT)
        .map(|extension| extension.value.into());
    Ok(RevocationList {
        issuer: list.issuer().as_raw().into(),
        part,
        this_update: list.last_update().timestamp(),
        next_update: next_update.timestamp(),
        der,
    })
}

fn warn(file: &Path, list: &RevocationList, now: i64, warnings: &mut Vec<TlsError>) {
    let help = "put a new list in place and send SIGHUP";
    if list.next_update < now {
        let message = "a revocation list is too old: every client of its CA is refused";
        warnings.push(TlsError::new(file, message).help(help));
    } else if list.next_update < now + DAY {
        let message = "a revocation list will be too old within a day: every client of its CA \
                       will be refused then";
        warnings.push(TlsError::new(file, message).help(help));
    }
}
