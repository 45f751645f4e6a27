//! Keys that tokens are verified with. Each is bound to the algorithms of its type when it is read.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::auth::Secret;

/// RSA keys shorter than this are refused (requirement B2).
const LEAST_RSA_BITS: usize = 2_048;
/// Secrets shorter than the shortest hash are refused (RFC 7518 section 3.2).
const LEAST_SECRET_BYTES: usize = 32;
/// Keys of a set; nobody rotates through more.
const MOST_KEYS: usize = 64;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const SECRET: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// Which key it is, as long as the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(u64);

/// What is wrong with a key. Nothing of it is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no public key or certificate in PEM.
    #[error("it holds no public key in PEM (`-----BEGIN PUBLIC KEY-----` or a certificate)")]
    NoKey,
    /// It cannot be read.
    #[error("key {0} of it cannot be read")]
    Unreadable(usize),
    /// A type or curve that is not supported.
    #[error("key {0} is of a kind that is not supported: write RSA, P-256, P-384 or Ed25519")]
    Unsupported(usize),
    /// RSA below 2048 bits.
    #[error("key {0} is RSA of {1} bits, and 2048 are the least")]
    TooShort(usize, usize),
    /// A secret that can be guessed.
    #[error("the secret has {0} bytes, and 32 are the least")]
    ShortSecret(usize),
    /// It is no JWKS.
    #[error("it is no JSON Web Key Set: {0}")]
    NoSet(String),
    /// A symmetric key in a set that is meant to be public.
    #[error("key {0} is a secret, which has no place in a key set")]
    SecretInSet(usize),
    /// More keys than anybody rotates through.
    #[error("it has more than {MOST_KEYS} keys")]
    TooMany,
}

/// A key with what it may be used for.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: KeyId,
    pub(super) decoding: DecodingKey,
    algorithms: Vec<Algorithm>,
    name: Option<String>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(kid {:?}, {:?})", self.name, self.algorithms)
    }
}

impl Key {
    fn new(
        decoding: DecodingKey,
        algorithms: &[Algorithm],
        name: Option<String>,
        bytes: &[u8],
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        name.hash(&mut hasher);
        Self {
            id: KeyId(hasher.finish()),
            decoding,
            algorithms: algorithms.to_vec(),
            name,
        }
    }
}

/// The keys of a listener.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Arc<Key>>,
}

impl KeySet {
    /// A secret: for HS256, HS384 and HS512. A line break at its end is not part of it.
    ///
    /// # Errors
    /// It is too short.
    pub fn from_secret(secret: &Secret) -> Result<Self, KeyError> {
        let mut bytes = secret.expose();
        for end in [&b"\n"[..], b"\r"] {
            bytes = bytes.strip_suffix(end).unwrap_or(bytes);
        }
        if bytes.len() < LEAST_SECRET_BYTES {
            return Err(KeyError::ShortSecret(bytes.len()));
        }
        let key = Key::new(DecodingKey::from_secret(bytes), SECRET, None, bytes);
        Ok(Self {
            keys: vec![Arc::new(key)],
        })
    }

    /// Every public key, or key of a certificate, in PEM.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let mut set = Self::default();
        let keys = SubjectPublicKeyInfoDer::pem_slice_iter(pem)
            .map(|key| key.map(|key| key.as_ref().to_vec()));
        let certificates = CertificateDer::pem_slice_iter(pem).map(|certificate| {
            let certificate = certificate?;
            let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
                .map_err(|_| rustls_pki_types::pem::Error::NoItemsFound)?;
            Ok(parsed.public_key().raw.to_vec())
        });
        for (number, key) in (1..).zip(keys.chain(certificates)) {
            let key = key.map_err(|_| KeyError::Unreadable(number))?;
            set.push(from_public_key_info(&key, number)?)?;
        }
        if set.keys.is_empty() {
            return Err(KeyError::NoKey);
        }
        Ok(set)
    }

    /// The signing keys of a JSON Web Key Set (RFC 7517).
    ///
    /// # Errors
    /// It is none, or a key of it cannot be used. Keys for encryption are left out.
    pub fn from_jwks(json: &[u8]) -> Result<Self, KeyError> {
        let mut set = Self::default();
        for (number, jwk) in (1..).zip(&entries::<Jwk>(json)?) {
            if is_for_signatures(jwk) {
                set.push(from_jwk(jwk, number)?)?;
            }
        }
        set.for_signatures()
    }

    /// As [`KeySet::from_jwks`], of a set that somebody else keeps: keys that cannot be used are left out,
    /// as RFC 7517 section 5 would have it, or one of a new kind would make nothing of all. The other part
    /// says what is wrong with them; of very many, with the first.
    ///
    /// # Errors
    /// It is none, or no key of it can be used.
    pub fn from_foreign_jwks(json: &[u8]) -> Result<(Self, Vec<KeyError>), KeyError> {
        let mut set = Self::default();
        let mut left_out = Vec::new();
        for (number, value) in (1..).zip(entries::<serde_json::Value>(json)?) {
            let key = match Jwk::deserialize(value) {
                Ok(jwk) if !is_for_signatures(&jwk) => continue,
                Ok(jwk) => from_jwk(&jwk, number),
                Err(_) => Err(KeyError::Unsupported(number)),
            };
            match key {
                Ok(key) => set.push(key)?,
                Err(error) if left_out.len() < MOST_KEYS => left_out.push(error),
                Err(_) => {}
            }
        }
        Ok((set.for_signatures()?, left_out))
    }

    fn for_signatures(self) -> Result<Self, KeyError> {
        if self.keys.is_empty() {
            return Err(KeyError::NoSet("it has no key for signatures".into()));
        }
        Ok(self)
    }

    /// Both sets.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self
    }

    fn push(&mut self, key: Key) -> Result<(), KeyError> {
        if self.keys.len() >= MOST_KEYS {
            return Err(KeyError::TooMany);
        }
        self.keys.push(Arc::new(key));
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many there are.
    #[cfg(test)]
    pub(in crate::auth) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether a key has this name.
    pub(super) fn has_named(&self, name: &str) -> bool {
        self.keys
            .iter()
            .any(|key| key.name.as_deref() == Some(name))
    }

    /// Whether every key of the other set is one of these.
    pub fn has_all_of(&self, other: &Self) -> bool {
        other.keys.iter().all(|key| self.contains(key.id))
    }

    /// Whether the key is one of these.
    pub fn contains(&self, id: KeyId) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// What they can verify.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        super::ALGORITHMS
            .into_iter()
            .filter(|algorithm| {
                self.keys
                    .iter()
                    .any(|key| key.algorithms.contains(algorithm))
            })
            .collect()
    }

    /// The keys that may have signed with `algorithm`: those that the header names, and those that
    /// have no name.
    pub(super) fn candidates(
        &self,
        algorithm: Algorithm,
        key_id: Option<&str>,
    ) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.iter().filter(move |key| {
            let is_named = match (key_id, &key.name) {
                (Some(wanted), Some(name)) => wanted == name,
                _ => true,
            };
            is_named && key.algorithms.contains(&algorithm)
        })
    }
}

/// What stands in a JSON Web Key Set.
fn entries<K: DeserializeOwned>(json: &[u8]) -> Result<Vec<K>, KeyError> {
    #[derive(Deserialize)]
    struct Set<K> {
        keys: Vec<K>,
    }
    let set: Set<K> =
        serde_json::from_slice(json).map_err(|error| KeyError::NoSet(error.to_string()))?;
    Ok(set.keys)
}

fn is_for_signatures(jwk: &Jwk) -> bool {
    matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    )
}

/// A `SubjectPublicKeyInfo` in DER.
fn from_public_key_info(der: &[u8], number: usize) -> Result<Key, KeyError> {
    let (_, info) =
        SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::Unreadable(number))?;
    let bits = &*info.subject_public_key.data;
    let (decoding, algorithms): (_, &[Algorithm]) = match info.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            long_enough(rsa.key_size(), number)?;
            (DecodingKey::from_rsa_der(bits), RSA)
        }
        Ok(PublicKey::EC(point)) => {
            let algorithm = match point.key_size() {
                256 => &[Algorithm::ES256],
                384 => &[Algorithm::ES384],
                _ => return Err(KeyError::Unsupported(number)),
            };
            (DecodingKey::from_ec_der(bits), algorithm)
        }
        _ if info.algorithm.algorithm.to_id_string() == "1.3.101.112" => {
            (DecodingKey::from_ed_der(bits), &[Algorithm::EdDSA])
        }
        Ok(_) => return Err(KeyError::Unsupported(number)),
        Err(_) => return Err(KeyError::Unreadable(number)),
    };
    Ok(Key::new(decoding, algorithms, None, bits))
}

fn from_jwk(jwk: &Jwk, number: usize) -> Result<Key, KeyError> {
    let bytes = |text: &str| {
        URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| KeyError::Unreadable(number))
    };
    let (material, mut algorithms) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = bytes(&rsa.n)?;
            let zeros = modulus.iter().take_while(|&&byte| byte == 0).count();
            let bits = match modulus.get(zeros) {
                Some(first) => (modulus.len() - zeros) * 8 - first.leading_zeros() as usize,
                None => 0,
            };
            long_enough(bits, number)?;
            (modulus, RSA.to_vec())
        }
        AlgorithmParameters::EllipticCurve(point) => {
            let algorithm = match point.curve {
                EllipticCurve::P256 => Algorithm::ES256,
                EllipticCurve::P384 => Algorithm::ES384,
                _ => return Err(KeyError::Unsupported(number)),
            };
            let mut material = bytes(&point.x)?;
            material.extend(bytes(&point.y)?);
            (material, vec![algorithm])
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (bytes(&pair.x)?, vec![Algorithm::EdDSA])
        }
        AlgorithmParameters::OctetKey(_) => return Err(KeyError::SecretInSet(number)),
        _ => return Err(KeyError::Unsupported(number)),
    };
    if let Some(only) = jwk.common.key_algorithm {
        // A key that names its algorithm is for that alone.
        let named = only.to_string();
        algorithms.retain(|&algorithm| super::name(algorithm) == named);
        if algorithms.is_empty() {
            return Err(KeyError::Unsupported(number));
        }
    }
    let decoding = DecodingKey::from_jwk(jwk).map_err(|_| KeyError::Unreadable(number))?;
    let name = jwk.common.key_id.clone();
    Ok(Key::new(decoding, &algorithms, name, &material))
}

fn long_enough(bits: usize, number: usize) -> Result<(), KeyError> {
    if bits < LEAST_RSA_BITS {
        return Err(KeyError::TooShort(number, bits));
    }
    Ok(())
}
