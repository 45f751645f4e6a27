//! Names out of a client certificate.

use std::fmt::Write;

use x509_parser::prelude::{FromDer, X509Certificate};

/// What a verified client certificate says of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateIdentity {
    /// The Common Name, if there is exactly one and it is fit for a user name.
    pub common_name: Option<String>,
    /// The whole subject as RFC 2253 writes it.
    pub subject: Option<String>,
    /// The serial number in hexadecimal digits.
    pub serial: String,
    /// When it ends, in seconds since the epoch.
    pub not_after: i64,
}

impl CertificateIdentity {
    /// Reads a certificate that TLS has verified. One that cannot be read has no names.
    pub fn from_der(certificate: &rustls_pki_types::CertificateDer<'_>) -> Self {
        let none = Self {
            common_name: None,
            subject: None,
            serial: String::new(),
            not_after: 0,
        };
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return none;
        };
        let mut names = certificate.subject().iter_common_name();
        let common_name = match (names.next(), names.next()) {
            (Some(name), None) => name.as_str().ok().filter(|name| is_usable(name)),
            // None, or several: which one is meant must not be a matter of their order.
            _ => None,
        };
        Self {
            common_name: common_name.map(str::to_owned),
            subject: subject(&certificate).filter(|subject| is_usable(subject)),
            serial: certificate
                .raw_serial()
                .iter()
                .fold(String::new(), |mut text, byte| {
                    // Writing to a string does not fail.
                    let _ = write!(text, "{byte:02X}");
                    text
                }),
            not_after: certificate.validity().not_after.timestamp(),
        }
    }
}

/// A name with a NUL or another control character is not what it looks like; an empty one is none.
fn is_usable(name: &str) -> bool {
    !name.is_empty() && !name.contains(char::is_control)
}

/// The subject as `openssl x509 -nameopt RFC2253` prints it: last component first.
fn subject(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut parts = Vec::new();
    for rdn in certificate.subject().iter() {
        let mut attributes = Vec::new();
        for attribute in rdn.iter() {
            let oid = attribute.attr_type().to_id_string();
            let value = attribute.as_str().ok()?;
            attributes.push(format!("{}={}", short_name(&oid), escaped(value)));
        }
        parts.push(attributes.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

/// OpenSSL's short names; any other type is written by its number.
fn short_name(oid: &str) -> &str {
    match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "1.2.840.113549.1.9.1" => "emailAddress",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        other => other,
    }
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let special = matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (character == '#' && index == 0)
            || (character == ' ' && (index == 0 || index == last));
        if special {
            out.push('\\');
        }
        out.push(character);
    }
    out
}
