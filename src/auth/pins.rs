//! Keys that users are bound to (`pin_spki`).
//!
//! A pin is the SHA-256 of a `SubjectPublicKeyInfo` (RFC 7469 section 2.4): it outlives the renewal of
//! a certificate, and no CA can get around it.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::certificate::CertificateIdentity;

/// SHA-256 of a public key with its algorithm.
pub type KeyDigest = [u8; 32];

/// What every pin begins with.
const ALGORITHM: &str = "sha256=";
/// 32 bytes in hexadecimal.
const HEXADECIMAL: usize = 64;

/// Why a pin cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PinProblem {
    /// Another algorithm, or none.
    #[error("a pin begins with `sha256=`")]
    Algorithm,
    /// Neither Base64 nor hexadecimal.
    #[error("the pin is neither Base64 nor hexadecimal")]
    Encoding,
    /// Not what SHA-256 gives.
    #[error("the pin has {0} bytes, and SHA-256 has 32")]
    Length(usize),
}

/// Reads `sha256=` and the digest in Base64 or hexadecimal.
///
/// # Errors
/// It is none.
pub fn parse_pin(text: &str) -> Result<KeyDigest, PinProblem> {
    let digest = text.strip_prefix(ALGORITHM).ok_or(PinProblem::Algorithm)?;
    let bytes =
        if digest.len() == HEXADECIMAL && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            from_hexadecimal(digest)
        } else {
            STANDARD.decode(digest).map_err(|_| PinProblem::Encoding)?
        };
    let length = bytes.len();
    bytes.try_into().map_err(|_| PinProblem::Length(length))
}

fn from_hexadecimal(digits: &str) -> Vec<u8> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).unwrap_or(0);
    let (pairs, _) = digits.as_bytes().as_chunks::<2>();
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(value(high) * 16 + value(low)).unwrap_or(0))
        .collect()
}

/// The keys of each user that is bound to some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins(HashMap<Box<str>, Vec<KeyDigest>>);

impl Pins {
    /// One key more for a user.
    pub fn add(&mut self, username: &str, key: KeyDigest) {
        self.0.entry(username.into()).or_default().push(key);
    }

    /// Whether somebody who is `username` may come with this certificate, by whatever means it was
    /// found out who it is: always if the user is bound to no key, else only with one of its keys.
    pub fn permit(&self, username: &str, certificate: Option<&CertificateIdentity>) -> bool {
        let Some(keys) = self.0.get(username) else {
            return true;
        };
        let key = certificate.and_then(CertificateIdentity::key_digest);
        key.is_some_and(|key| keys.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use super::{PinProblem, parse_pin};

    #[test]
    fn a_pin_is_sha_256_in_base64_or_hexadecimal() {
        let hexadecimal = "00ff".repeat(16);
        let base64 = "AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8=";
        let expected: Vec<u8> = [0, 255].repeat(16);
        for text in [&hexadecimal, &hexadecimal.to_uppercase(), base64] {
            let pin = parse_pin(&format!("sha256={text}")).expect("a pin");
            assert_eq!(pin.as_slice(), expected);
        }
        for (text, expected) in [
            (base64.to_owned(), PinProblem::Algorithm),
            (format!("sha1={base64}"), PinProblem::Algorithm),
            (format!("SHA256={base64}"), PinProblem::Algorithm),
            ("sha256=".into(), PinProblem::Length(0)),
            ("sha256=AAAA".into(), PinProblem::Length(3)),
            (format!("sha256={base64}="), PinProblem::Encoding),
            (format!("sha256={}", &base64[..43]), PinProblem::Encoding),
            (format!("sha256={hexadecimal}0000"), PinProblem::Length(51)),
            (
                format!("sha256={}", &hexadecimal[1..]),
                PinProblem::Encoding,
            ),
            (
                format!("sha256={}é", &hexadecimal[2..]),
                PinProblem::Encoding,
            ),
        ] {
            assert_eq!(parse_pin(&text), Err(expected), "{text}");
        }
    }
}
