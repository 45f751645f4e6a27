//! A certificate's OCSP response, handed to clients along with it (RFC 6066 section 8).
//!
//! Somebody else fetches it, as for a broker that may open no connections; here it is read, judged
//! and handed out. Its signature is the client's to check. A response whose time is over is not
//! handed out: clients refuse a server for an old response, and take one without.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::time::ASN1Time;

use super::{TlsError, pem, seconds};

/// `id-pkix-ocsp-basic` (RFC 6960 section 4.2.1), its content.
const BASIC: &[u8] = &[0x2B, 6, 1, 5, 5, 7, 48, 1, 1];
/// Warned of this long before a response is old: who renews it does so at half of its life.
const SOON: i64 = 3_600;

/// A response for our certificate.
#[derive(Debug)]
pub(super) struct Staple {
    der: Vec<u8>,
    this_update: i64,
    pub(super) next_update: Option<i64>,
    is_good: bool,
}

/// Reads the file and finds in it what is said of `certificate`.
pub(super) fn load(
    file: &Path,
    certificate: &X509Certificate<'_>,
    now: i64,
    warnings: &mut Vec<TlsError>,
) -> Result<Staple, TlsError> {
    let der = pem::bytes(file)?.to_vec();
    let staple = read(&der, certificate.raw_serial()).map_err(|problem| {
        TlsError::new(file, problem.to_string()).help(
            "it is a response in DER, as `openssl ocsp -issuer CA -cert CERTFILE -url URL -respout FILE` \
             writes it",
        )
    })?;
    let mut warn = |message: &str, help| {
        warnings.push(TlsError::new(file, message).help(help));
    };
    let renew = "fetch a new one, put it in place and send SIGHUP";
    if !staple.is_good {
        warn(
            "the response does not say that the certificate is good: clients that look at it refuse it",
            "put another certificate in place",
        );
    }
    if staple.this_update > now {
        let message = "the response is not valid yet: clients may refuse it";
        warn(message, "check the clock of this host");
    }
    match staple.next_update {
        Some(next) if next < now => {
            warn("the response is too old and is not handed out", renew);
        }
        Some(next) if next < now + SOON => {
            warn("the response will be too old within an hour", renew);
        }
        _ => {}
    }
    Ok(staple)
}

/// Why it is no response for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("is no OCSP response in DER")]
    Unreadable,
    #[error("is an OCSP response without an answer: the responder said \"{0}\"")]
    Unsuccessful(&'static str),
    #[error("is an OCSP response of a type that is not understood")]
    Type,
    #[error("is an OCSP response for another certificate")]
    Other,
}

fn read(der: &[u8], serial: &[u8]) -> Result<Staple, Problem> {
    let answer = basic(der)?;
    let responses = responses(answer).ok_or(Problem::Unreadable)?;
    let mut rest = responses;
    while !rest.is_empty() {
        let (single, after) = sequence(rest).ok_or(Problem::Unreadable)?;
        let single = Single::read(single).ok_or(Problem::Unreadable)?;
        if single.serial == serial {
            return Ok(Staple {
                der: der.to_vec(),
                this_update: single.this_update,
                next_update: single.next_update,
                is_good: single.is_good,
            });
        }
        rest = after;
    }
    Err(Problem::Other)
}

/// `OCSPResponse`: the `BasicOCSPResponse` in it, if it is a successful one.
fn basic(der: &[u8]) -> Result<&[u8], Problem> {
    let unreadable = Problem::Unreadable;
    let (response, rest) = sequence(der).ok_or(unreadable)?;
    let (status, body) = any(response).ok_or(unreadable)?;
    if !rest.is_empty() || status.tag() != Tag::Enumerated || status.data.len() != 1 {
        return Err(unreadable);
    }
    match status.data.first() {
        Some(0) => {}
        Some(1) => return Err(Problem::Unsuccessful("malformedRequest")),
        Some(2) => return Err(Problem::Unsuccessful("internalError")),
        Some(3) => return Err(Problem::Unsuccessful("tryLater")),
        Some(5) => return Err(Problem::Unsuccessful("sigRequired")),
        Some(6) => return Err(Problem::Unsuccessful("unauthorized")),
        _ => return Err(unreadable),
    }
    let body = tagged(body, 0).and_then(|(body, _)| Some(sequence(body)?.0));
    let (kind, body) = any(body.ok_or(unreadable)?).ok_or(unreadable)?;
    if kind.tag() != Tag::Oid {
        return Err(unreadable);
    }
    if kind.data != BASIC {
        return Err(Problem::Type);
    }
    match any(body) {
        Some((octets, [])) if octets.tag() == Tag::OctetString => Ok(octets.data),
        _ => Err(unreadable),
    }
}

/// `BasicOCSPResponse`: its `SingleResponse`s.
fn responses(answer: &[u8]) -> Option<&[u8]> {
    let (answer, _) = sequence(answer)?;
    let (data, _) = sequence(answer)?;
    // The version is there if it is another than the first.
    let data = tagged(data, 0).map_or(data, |(_, rest)| rest);
    let (_responder, data) = any(data)?;
    let (_produced_at, data) = any(data)?;
    Some(sequence(data)?.0)
}

/// What is said of one certificate.
struct Single<'a> {
    serial: &'a [u8],
    is_good: bool,
    this_update: i64,
    next_update: Option<i64>,
}

impl<'a> Single<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let (id, rest) = sequence(der)?;
        let (_algorithm, id) = any(id)?;
        let (_issuer_name, id) = any(id)?;
        let (_issuer_key, id) = any(id)?;
        let (serial, _) = any(id)?;
        let (status, rest) = any(rest)?;
        let (rest, this_update) = ASN1Time::from_der(rest).ok()?;
        let next_update = match tagged(rest, 0) {
            Some((time, _)) => Some(ASN1Time::from_der(time).ok()?.1.timestamp()),
            None => None,
        };
        Some(Self {
            serial: serial.data,
            is_good: status.tag().0 == 0,
            this_update: this_update.timestamp(),
            next_update,
        })
    }
}

/// The first value and what follows it.
fn any(der: &[u8]) -> Option<(Any<'_>, &[u8])> {
    let (rest, value) = Any::from_der(der).ok()?;
    Some((value, rest))
}

/// What is in a SEQUENCE, and what follows it.
fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (value, rest) = any(der)?;
    (value.tag() == Tag::Sequence).then_some((value.data, rest))
}

/// What is in `[number]`, and what follows it.
fn tagged(der: &[u8], number: u32) -> Option<(&[u8], &[u8])> {
    let (value, rest) = any(der)?;
    let fits = value.class() == Class::ContextSpecific && value.tag() == Tag(number);
    fits.then_some((value.data, rest))
}

/// Shows the certificate with its response as long as that is good, and without it afterwards.
#[derive(Debug)]
pub(super) struct Stapling {
    alone: Arc<CertifiedKey>,
    stapled: Option<(Arc<CertifiedKey>, i64)>,
}

impl Stapling {
    pub(super) fn new(certified: CertifiedKey, staple: Option<Staple>) -> Self {
        let stapled = staple.map(|staple| {
            let mut stapled = certified.clone();
            stapled.ocsp = Some(staple.der);
            let until = staple.next_update.unwrap_or(i64::MAX);
            (Arc::new(stapled), until)
        });
        Self {
            alone: Arc::new(certified),
            stapled,
        }
    }
}

impl ResolvesServerCert for Stapling {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let stapled = self.stapled.as_ref();
        let fresh = stapled.filter(|(_, until)| seconds(SystemTime::now()) <= *until);
        Some(Arc::clone(
            fresh.map_or(&self.alone, |(stapled, _)| stapled),
        ))
    }
}
