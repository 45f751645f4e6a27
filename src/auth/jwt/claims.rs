//! What a token says, and whether it may.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{JwtProblem, JwtSettings};

/// Longest user name out of a token, in bytes.
const MAX_NAME_BYTES: usize = 512;

/// The claims that have a meaning here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The user, from `jwt_username_claim`.
    pub username: Arc<str>,
    /// `sub`.
    pub subject: Option<Box<str>>,
    /// `jti`.
    pub id: Option<Box<str>>,
    /// `iss`.
    pub issuer: Option<Box<str>>,
    /// `aud`, one or several.
    pub audience: Vec<Box<str>>,
    /// `exp`, seconds since 1970.
    pub expires_at_s: u64,
    /// `nbf`, seconds since 1970.
    pub not_before_s: Option<u64>,
    /// `iat`, seconds since 1970.
    pub issued_at_s: Option<u64>,
    /// What the Client Identifier must be, from `clientid_from jwt:CLAIM`.
    pub client_id: Option<Box<str>>,
}

impl Claims {
    /// Reads them, each of its type or not at all.
    pub(super) fn read(
        object: &Map<String, Value>,
        settings: &JwtSettings,
    ) -> Result<Self, JwtProblem> {
        let username = text(object, &settings.username_claim)?.ok_or(JwtProblem::Claims)?;
        if !is_a_name(&username) {
            return Err(JwtProblem::Claims);
        }
        let client_id = match &settings.client_id_claim {
            None => None,
            Some(claim) => {
                let named = text(object, claim)?.ok_or(JwtProblem::Claims)?;
                if named.chars().any(char::is_control) {
                    return Err(JwtProblem::Claims);
                }
                Some(named)
            }
        };
        Ok(Self {
            username: Arc::from(username),
            subject: text(object, "sub")?,
            id: text(object, "jti")?,
            issuer: text(object, "iss")?,
            audience: audience(object)?,
            expires_at_s: seconds(object, "exp")?.ok_or(JwtProblem::Claims)?,
            not_before_s: seconds(object, "nbf")?,
            issued_at_s: seconds(object, "iat")?,
            client_id,
        })
    }

    /// Whether they are what the operator asks for, at `now_s`.
    pub(super) fn check(&self, settings: &JwtSettings, now_s: u64) -> Result<(), JwtProblem> {
        if let Some(issuer) = &settings.issuer
            && self.issuer.as_deref() != Some(issuer)
        {
            return Err(JwtProblem::Claims);
        }
        let wanted = &settings.audience;
        if !wanted.is_empty()
            && !self
                .audience
                .iter()
                .any(|one| wanted.iter().any(|other| **one == **other))
        {
            return Err(JwtProblem::Claims);
        }
        if settings.require_jti && self.id.is_none() {
            return Err(JwtProblem::Claims);
        }
        let skew = settings.clock_skew_s;
        if let Some(most) = settings.max_lifetime_s {
            let issued = self.issued_at_s.ok_or(JwtProblem::Claims)?;
            let lifetime = self
                .expires_at_s
                .checked_sub(issued)
                .ok_or(JwtProblem::Claims)?;
            if lifetime > most {
                return Err(JwtProblem::Claims);
            }
        }
        if self
            .issued_at_s
            .is_some_and(|issued| issued > now_s.saturating_add(skew))
        {
            return Err(JwtProblem::Claims);
        }
        let is_over = now_s >= self.expires_at_s.saturating_add(skew);
        let is_early = self
            .not_before_s
            .is_some_and(|from| from > now_s.saturating_add(skew));
        if is_over || is_early {
            return Err(JwtProblem::Expired);
        }
        Ok(())
    }
}

/// A name that rules can bind: what patterns give a meaning is not in it.
fn is_a_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.contains(['+', '#', '/'])
        && !name.chars().any(char::is_control)
}

fn text(object: &Map<String, Value>, name: &str) -> Result<Option<Box<str>>, JwtProblem> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.as_str().into())),
        Some(_) => Err(JwtProblem::Claims),
    }
}

/// `aud`: a string, or a list of them (RFC 7519 section 4.1.3).
fn audience(object: &Map<String, Value>) -> Result<Vec<Box<str>>, JwtProblem> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.as_str().into()),
        _ => Err(JwtProblem::Claims),
    };
    match object.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(one).collect(),
        Some(value) => Ok(vec![one(value)?]),
    }
}

/// A `NumericDate`: a number that is not negative. Fractions are cut off, for `exp` to the disadvantage
/// of the token.
fn seconds(object: &Map<String, Value>, name: &str) -> Result<Option<u64>, JwtProblem> {
    /// The year 9999: what comes later is a mistake, and far from where numbers end.
    const LAST: u64 = 253_402_300_799;
    let Some(value) = object.get(name) else {
        return Ok(None);
    };
    let Value::Number(number) = value else {
        return Err(JwtProblem::Claims);
    };
    let whole = match (number.as_u64(), number.as_f64()) {
        (Some(whole), _) => whole,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "between 0 and the year 9999"
        )]
        (None, Some(number)) if number >= 0.0 && number <= LAST as f64 => number as u64,
        _ => return Err(JwtProblem::Claims),
    };
    if whole > LAST {
        return Err(JwtProblem::Claims);
    }
    Ok(Some(whole))
}
