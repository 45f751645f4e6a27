//! Tokens that may be used once, or by one client at a time (`jwt_replay`).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::policy::DenyReason;

use super::Claims;

/// Tokens that are remembered, each until it is over; above, tokens are refused as busy.
const MOST_TOKENS: usize = 100_000;

/// How often a token may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Replay {
    /// As often as one likes.
    #[default]
    Off,
    /// By one Client Identifier at a time.
    PerConnection,
    /// Once.
    SingleUse,
}

/// A token by its issuer and `jti`.
type Fingerprint = [u8; 32];

#[derive(Debug)]
struct Entry {
    client_id: Option<Box<str>>,
    connections: usize,
    /// When it can be forgotten, seconds since 1970.
    until_s: u64,
}

/// The tokens that were used and are not over. Outlives reloads.
#[derive(Debug, Default)]
pub struct Replays(Mutex<HashMap<Fingerprint, Entry>>);

/// A token in use by a connection; given back when that is over.
#[derive(Debug)]
pub struct Lease {
    replays: Arc<Replays>,
    fingerprint: Fingerprint,
}

impl Replays {
    /// Takes a token into use. `until_s` is when it is over, clocks considered; a client that has no
    /// identifier yet is another one than all others.
    pub(in crate::auth) fn take(
        self: &Arc<Self>,
        replay: Replay,
        claims: &Claims,
        client_id: Option<&str>,
        until_s: u64,
        now_s: u64,
    ) -> Result<Option<Arc<Lease>>, DenyReason> {
        if replay == Replay::Off {
            return Ok(None);
        }
        let id = claims.id.as_deref().ok_or(DenyReason::TokenClaims)?;
        let fingerprint = fingerprint(claims.issuer.as_deref().unwrap_or(""), id);
        let mut known = self.0.lock();
        if known.len() >= MOST_TOKENS && !known.contains_key(&fingerprint) {
            known.retain(|_, entry| entry.connections > 0 || entry.until_s > now_s);
            if known.len() >= MOST_TOKENS {
                return Err(DenyReason::AuthBusy);
            }
        }
        match known.get_mut(&fingerprint) {
            Some(_) if replay == Replay::SingleUse => return Err(DenyReason::TokenReplayed),
            Some(entry) => {
                let is_same = client_id.is_some() && entry.client_id.as_deref() == client_id;
                if entry.connections > 0 && !is_same {
                    return Err(DenyReason::TokenReplayed);
                }
                entry.client_id = client_id.map(Into::into);
                entry.connections += 1;
            }
            None => {
                let entry = Entry {
                    client_id: client_id.map(Into::into),
                    connections: 1,
                    until_s,
                };
                known.insert(fingerprint, entry);
            }
        }
        Ok(Some(Arc::new(Lease {
            replays: Arc::clone(self),
            fingerprint,
        })))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(entry) = self.replays.0.lock().get_mut(&self.fingerprint) {
            entry.connections = entry.connections.saturating_sub(1);
        }
    }
}

fn fingerprint(issuer: &str, id: &str) -> Fingerprint {
    let mut digest = Sha256::new();
    // The length keeps the two apart.
    digest.update(issuer.len().to_be_bytes());
    digest.update(issuer);
    digest.update(id);
    digest.finalize().into()
}
