//! JSON Web Tokens (RFC 7519) as proof of who a client is.
//!
//! A token never chooses how it is verified: the algorithms are the operator's, each key takes those
//! of its type, and nothing in the header but `alg` and `kid` has an effect. What is refused, and why,
//! is a closed list ([`JwtProblem`]).

mod claims;
mod keys;
mod replay;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, crypto};
use serde_json::{Map, Value};

use crate::policy::DenyReason;

use super::remote::RemoteKeys;
use super::strict_json;

pub use claims::Claims;
pub use keys::{KeyError, KeyId, KeySet};
pub use replay::{Lease, Replay, Replays};

/// Longest token, in bytes: twice what identity providers issue with many groups.
pub const MAX_TOKEN_BYTES: usize = 8_192;
/// Longest `kid`.
const MAX_KEY_ID_BYTES: usize = 256;

/// What is asked of a token.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// `jwt_public_key`, `jwt_jwks_file`, `jwt_secret_file`, `jwt_secret_env`.
    pub keys: KeySet,
    /// `jwt_jwks_url`.
    pub remote: Option<Arc<RemoteKeys>>,
    /// `jwt_algorithms`; those that the keys allow if it names none.
    pub algorithms: Vec<Algorithm>,
    /// `jwt_issuer`: what `iss` must be.
    pub issuer: Option<String>,
    /// `jwt_audience`: one of these must be in `aud`.
    pub audience: Vec<String>,
    /// `jwt_username_claim`.
    pub username_claim: String,
    /// `clientid_from jwt:CLAIM`: the claim that the Client Identifier must be equal to.
    pub client_id_claim: Option<String>,
    /// `jwt_groups_claim`: the claim that names the user's groups.
    pub groups_claim: Option<String>,
    /// `jwt_acl_claim`: the claim that holds rules.
    pub acl_claim: Option<String>,
    /// `jwt_clock_skew` in seconds: how far clocks may be apart.
    pub clock_skew_s: u64,
    /// `jwt_max_lifetime` in seconds, from `iat` to `exp`.
    pub max_lifetime_s: Option<u64>,
    /// `jwt_require_jti`.
    pub require_jti: bool,
    /// `jwt_revoked_file`.
    pub revoked: Revoked,
    /// `jwt_replay`.
    pub replay: Replay,
}

/// Tokens and subjects that are not to be taken any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    tokens: HashSet<String>,
    subjects: HashSet<String>,
}

impl Revoked {
    /// Reads lines of `jti VALUE` and `sub VALUE`; `#` begins a comment.
    ///
    /// # Errors
    /// Line numbers, from 1, and what is wrong with each.
    pub fn parse(text: &str) -> Result<Self, Vec<(u32, String)>> {
        let mut revoked = Self::default();
        let mut errors = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (kind, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let list = match kind {
                "jti" => &mut revoked.tokens,
                "sub" => &mut revoked.subjects,
                _ => {
                    errors.push((number, "a line begins with `jti` or `sub`".to_owned()));
                    continue;
                }
            };
            match value.trim() {
                "" => errors.push((number, format!("a value is missing behind `{kind}`"))),
                value => {
                    list.insert(value.to_owned());
                }
            }
        }
        if errors.is_empty() {
            Ok(revoked)
        } else {
            Err(errors)
        }
    }

    fn holds(&self, claims: &Claims) -> bool {
        let has = |list: &HashSet<String>, value: &Option<Box<str>>| {
            value.as_deref().is_some_and(|value| list.contains(value))
        };
        has(&self.tokens, &claims.id) || has(&self.subjects, &claims.subject)
    }
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtProblem {
    /// It is not three parts of base64url with JSON objects in the first two, it is too long, or its
    /// header asks for something that has no place here.
    Malformed,
    /// Its algorithm is not among those configured, no key fits it, or the signature is wrong.
    Signature,
    /// A claim is missing, of a wrong type, or says something else than it must.
    Claims,
    /// `exp` is over, or `nbf` is still to come.
    Expired,
    /// Its `jti` or `sub` is in the file of revoked ones.
    Revoked,
    /// The keys that it could be verified with cannot be read.
    Unavailable,
}

impl From<JwtProblem> for DenyReason {
    fn from(problem: JwtProblem) -> Self {
        match problem {
            JwtProblem::Malformed => Self::TokenMalformed,
            JwtProblem::Signature => Self::TokenSignature,
            JwtProblem::Claims => Self::TokenClaims,
            JwtProblem::Expired => Self::TokenExpired,
            JwtProblem::Revoked => Self::TokenRevoked,
            JwtProblem::Unavailable => Self::AuthUnavailable,
        }
    }
}

/// A token that was good, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its user.
    pub username: Arc<str>,
    /// What it says.
    pub claims: Claims,
    /// The key that signed it.
    pub key: KeyId,
    /// The algorithm it is signed with.
    pub algorithm: Algorithm,
    /// The claims that were read as user name, Client Identifier, groups and rules.
    pub names: ClaimNames,
}

/// Which claims stand for what, by the operator's choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    username: String,
    client_id: Option<String>,
    groups: Option<String>,
    acl: Option<String>,
}

impl Verified {
    /// When it is over, clocks considered; seconds since 1970.
    pub fn ends_at_s(&self, settings: &JwtSettings) -> u64 {
        self.claims
            .expires_at_s
            .saturating_add(settings.clock_skew_s)
    }
}

/// Whether `password` is meant to be a token: nobody's password begins with an encoded `{"` and has
/// two dots. Only for the question which provider it is for.
pub fn looks_like_a_token(password: &[u8]) -> bool {
    password.starts_with(b"eyJ") && password.split(|&byte| byte == b'.').count() == 3
}

impl JwtSettings {
    /// Verifies a token at `now_s`, seconds since 1970.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify(&self, token: &[u8], now_s: u64) -> Result<Verified, JwtProblem> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwtProblem::Malformed);
        }
        let token = std::str::from_utf8(token).map_err(|_| JwtProblem::Malformed)?;
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtProblem::Malformed);
        };
        let header = Header::read(header)?;
        let algorithm = self
            .algorithms
            .iter()
            .copied()
            .find(|&algorithm| name(algorithm) == header.algorithm)
            .ok_or(JwtProblem::Signature)?;
        let signed = token
            .get(..token.len() - signature.len() - 1)
            .ok_or(JwtProblem::Malformed)?;
        // Strict base64url: what else the library might take does not reach it.
        if signature.is_empty() || URL_SAFE_NO_PAD.decode(signature).is_err() {
            return Err(JwtProblem::Malformed);
        }
        let signer = |keys: &KeySet| {
            keys.candidates(algorithm, header.key_id.as_deref())
                .find(|key| {
                    let verified =
                        crypto::verify(signature, signed.as_bytes(), &key.decoding, algorithm);
                    verified.unwrap_or(false)
                })
                .map(|key| key.id)
        };
        let key = match signer(&self.keys) {
            Some(key) => key,
            None => self.remote_signer(header.key_id.as_deref(), signer)?,
        };
        // Nothing of the payload is looked at before its signature.
        let claims = Claims::read(&object(payload)?, self)?;
        claims.check(self, now_s)?;
        if self.revoked.holds(&claims) {
            return Err(JwtProblem::Revoked);
        }
        Ok(Verified {
            username: Arc::clone(&claims.username),
            claims,
            key,
            algorithm,
            names: self.names(),
        })
    }

    /// The key of the set at a URL that has signed a token.
    fn remote_signer(
        &self,
        key_id: Option<&str>,
        signer: impl FnOnce(&KeySet) -> Option<KeyId>,
    ) -> Result<KeyId, JwtProblem> {
        let Some(remote) = &self.remote else {
            return Err(JwtProblem::Signature);
        };
        let Some(keys) = remote.current() else {
            // Nobody can say whether it is good.
            return Err(JwtProblem::Unavailable);
        };
        if let Some(key) = signer(&keys) {
            return Ok(key);
        }
        if key_id.is_some_and(|id| !keys.has_named(id)) {
            remote.want_newer();
        }
        Err(JwtProblem::Signature)
    }

    fn has_key(&self, key: KeyId) -> bool {
        let remote = self.remote.as_ref();
        self.keys.contains(key)
            || remote
                .and_then(|remote| remote.last())
                .is_some_and(|keys| keys.contains(key))
    }

    pub(in crate::auth) fn names(&self) -> ClaimNames {
        ClaimNames {
            username: self.username_claim.clone(),
            client_id: self.client_id_claim.clone(),
            groups: self.groups_claim.clone(),
            acl: self.acl_claim.clone(),
        }
    }

    /// Whether a token that was good under older settings would be good under these, and mean the
    /// same: of the claims that were not read then nothing is known.
    pub fn still_takes(&self, verified: &Verified, now_s: u64) -> bool {
        self.has_key(verified.key)
            && self.algorithms.contains(&verified.algorithm)
            && verified.names == self.names()
            && verified.claims.check(self, now_s).is_ok()
            && !self.revoked.holds(&verified.claims)
    }
}

/// The name of an algorithm in `alg`.
pub fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 => "HS256",
        Algorithm::HS384 => "HS384",
        Algorithm::HS512 => "HS512",
        Algorithm::RS256 => "RS256",
        Algorithm::RS384 => "RS384",
        Algorithm::RS512 => "RS512",
        Algorithm::PS256 => "PS256",
        Algorithm::PS384 => "PS384",
        Algorithm::PS512 => "PS512",
        Algorithm::ES256 => "ES256",
        Algorithm::ES384 => "ES384",
        Algorithm::EdDSA => "EdDSA",
        // Not among those that can be configured.
        _ => "(unknown)",
    }
}

/// Every algorithm, for the words of `jwt_algorithms`.
pub const ALGORITHMS: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Those of keys that may be known to everybody.
pub const PUBLIC_ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

struct Header {
    algorithm: String,
    key_id: Option<String>,
}

impl Header {
    fn read(part: &str) -> Result<Self, JwtProblem> {
        let header = object(part)?;
        // Extensions that must be understood, an encrypted or compressed payload, one that is not
        // encoded: none of it is.
        if ["crit", "b64", "enc", "zip"]
            .iter()
            .any(|name| header.contains_key(*name))
        {
            return Err(JwtProblem::Malformed);
        }
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(JwtProblem::Malformed),
        };
        let key_id = text("kid")?;
        if key_id
            .as_ref()
            .is_some_and(|id| id.len() > MAX_KEY_ID_BYTES)
        {
            return Err(JwtProblem::Malformed);
        }
        Ok(Self {
            algorithm: text("alg")?.ok_or(JwtProblem::Malformed)?,
            key_id,
        })
    }
}

fn object(part: &str) -> Result<Map<String, Value>, JwtProblem> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| JwtProblem::Malformed)?;
    strict_json::object(&bytes).map_err(|_| JwtProblem::Malformed)
}

impl fmt::Display for JwtProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DenyReason::from(*self).sentence())
    }
}
