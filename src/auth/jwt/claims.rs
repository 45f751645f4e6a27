//! What a token says, and whether it may.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::message::{Grants, Groups, group_set};
use crate::topic::check_filter;

use super::{JwtProblem, JwtSettings};

/// Most filters in each list of the claim with rules.
const MAX_FILTERS: usize = 128;
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
    /// The user's groups, from `jwt_groups_claim`.
    pub groups: Groups,
    /// Rules, from `jwt_acl_claim`.
    pub grants: Option<Arc<Grants>>,
}

impl Claims {
    /// Reads them, each of its type or not at all.
    pub(in crate::auth) fn read(
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
            groups: match &settings.groups_claim {
                None => Groups::default(),
                Some(claim) => groups(member(object, claim))?,
            },
            grants: match &settings.acl_claim {
                None => None,
                Some(claim) => Some(Arc::new(grants(member(object, claim))?)),
            },
        })
    }

    /// Whether they are what the operator asks for, at `now_s`.
    pub(in crate::auth) fn check(
        &self,
        settings: &JwtSettings,
        now_s: u64,
    ) -> Result<(), JwtProblem> {
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

/// The claim of this name, or, where none has it, what a path like `realm_access.roles` leads to.
fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = object.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    member(object.get(first)?.as_object()?, rest)
}

/// A name, or a list of them. A token without the claim belongs to no group.
fn groups(claim: Option<&Value>) -> Result<Groups, JwtProblem> {
    let names = match claim {
        None => Vec::new(),
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(values)) => strings(values)?,
        Some(_) => return Err(JwtProblem::Claims),
    };
    group_set(names).ok_or(JwtProblem::Claims)
}

/// `{"publish": [FILTER, …], "subscribe": [FILTER, …]}`. A token without the claim brings no rule
/// along; one with a claim that is not understood is refused, since it may have been meant to
/// forbid something.
fn grants(claim: Option<&Value>) -> Result<Grants, JwtProblem> {
    let mut grants = Grants::default();
    let Some(claim) = claim else {
        return Ok(grants);
    };
    for (name, value) in claim.as_object().ok_or(JwtProblem::Claims)? {
        let list = match name.as_str() {
            "publish" => &mut grants.publish,
            "subscribe" => &mut grants.subscribe,
            _ => return Err(JwtProblem::Claims),
        };
        let filters = strings(value.as_array().ok_or(JwtProblem::Claims)?)?;
        if filters.len() > MAX_FILTERS || filters.iter().any(|one| check_filter(one).is_err()) {
            return Err(JwtProblem::Claims);
        }
        *list = filters.into_iter().map(Into::into).collect();
    }
    Ok(grants)
}

fn strings(values: &[Value]) -> Result<Vec<&str>, JwtProblem> {
    if !values.iter().all(Value::is_string) {
        return Err(JwtProblem::Claims);
    }
    Ok(values.iter().filter_map(Value::as_str).collect())
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
