//! Identity sources that are asked over HTTPS: made from the configuration, kept over reloads, and
//! served on the main thread's runtime.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::auth::jwt::{JwtSettings, KeySet, Replay, Revoked};
use crate::auth::remote::{
    Endpoint, Introspection, IntrospectionSettings, Remote, RemoteKeys, RemoteKeysSettings,
};
use crate::broker::Signal;
use crate::config::{ClientIdFrom, Diagnostic, IntrospectionConfig, Located, TokenSettings};
use crate::net::Shared;

use super::reading::Reader;

/// How long a key set may take to come.
const KEY_SET_TIMEOUT: Duration = Duration::from_secs(10);

/// What one generation asks over HTTPS: each place once, however many listeners ask it.
#[derive(Clone, Default)]
pub(crate) struct Remotes {
    keys: Vec<(TokenSettings, Arc<RemoteKeys>)>,
    introspections: Vec<(IntrospectionConfig, JwtClaims, Arc<Introspection>)>,
}

type JwtClaims = (TokenSettings, Option<String>);

impl Remotes {
    fn all(&self) -> Vec<Arc<dyn Remote>> {
        let keys = self
            .keys
            .iter()
            .map(|(_, keys)| Arc::clone(keys) as Arc<dyn Remote>);
        let issuers = self.introspections.iter();
        let issuers = issuers.map(|(_, _, issuer)| Arc::clone(issuer) as Arc<dyn Remote>);
        keys.chain(issuers).collect()
    }
}

/// Those in force.
#[derive(Clone, Default)]
pub(crate) struct Asked {
    remotes: Arc<Mutex<Remotes>>,
}

impl Asked {
    /// Puts a generation in force; key sets that were fetched are kept. Nothing is asked yet.
    pub(crate) fn set(&self, remotes: Remotes) {
        let mut known = self.remotes.lock();
        for (_, keys) in &remotes.keys {
            // The first that is the same place.
            let _ = known.keys.iter().any(|(_, earlier)| keys.adopt(earlier));
        }
        *known = remotes;
    }

    /// Asks, on this runtime, until the generation is not in force any more.
    pub(crate) fn start(&self, shared: &Arc<Shared>) {
        let remotes = self.remotes.lock();
        for (_, keys) in &remotes.keys {
            let shared = Arc::downgrade(shared);
            let changed = move || {
                // Whoever came in by a key that has gone is not wanted any more.
                if let Some(shared) = shared.upgrade() {
                    shared.broker.signal_all(Signal::Recheck);
                }
            };
            tokio::spawn(RemoteKeys::keep_new(Arc::downgrade(keys), changed));
        }
        for (_, _, issuer) in &remotes.introspections {
            tokio::spawn(Arc::clone(issuer).serve());
        }
    }

    /// Those that cannot be relied on now.
    pub(crate) fn down(&self) -> Vec<String> {
        let remotes = self.remotes.lock().all();
        let down = remotes.iter().filter(|remote| !remote.is_up());
        down.map(|remote| remote.name()).collect()
    }

    /// How many do not answer, those included whose last answer will still do.
    pub(crate) fn silent(&self) -> usize {
        let remotes = self.remotes.lock().all();
        remotes.iter().filter(|remote| !remote.answers()).count()
    }
}

impl Reader {
    fn endpoint(
        &mut self,
        url: &Located<String>,
        cafile: Option<&Located<PathBuf>>,
        timeout: Duration,
    ) -> Option<Endpoint> {
        let pem = match cafile {
            None => None,
            Some(file) => Some(self.bytes(file, "the file of CA certificates")?),
        };
        match Endpoint::new(&url.value, pem.as_deref(), timeout) {
            Ok(endpoint) => Some(endpoint),
            Err(error) => {
                let file = cafile.filter(|_| error.is_about_roots());
                let origin = file.map_or(&url.origin, |file| &file.origin);
                self.push(Diagnostic::error(error.to_string()).at(origin));
                None
            }
        }
    }

    /// The key set at a URL; `None` as well if something is wrong, which is told.
    pub(super) fn remote_keys(&mut self, settings: &TokenSettings) -> Option<Arc<RemoteKeys>> {
        let url = settings.jwks_url.as_ref()?;
        let known = self.remotes().keys.iter();
        if let Some((_, keys)) = known.clone().find(|(other, _)| {
            other.jwks_url == settings.jwks_url && other.jwks_cafile == settings.jwks_cafile
        }) {
            return Some(Arc::clone(keys));
        }
        let endpoint = self.endpoint(url, settings.jwks_cafile.as_ref(), KEY_SET_TIMEOUT)?;
        let keys = Arc::new(RemoteKeys::new(RemoteKeysSettings {
            endpoint,
            refresh: settings.jwks_refresh,
            stale: settings.jwks_stale,
        }));
        let remotes = self.remotes();
        remotes.keys.push((settings.clone(), Arc::clone(&keys)));
        Some(keys)
    }

    /// Whom to ask what a token is worth.
    pub(super) fn introspection(
        &mut self,
        settings: &IntrospectionConfig,
        tokens: &TokenSettings,
        client_id: Option<&ClientIdFrom>,
    ) -> Option<Arc<Introspection>> {
        let url = settings.url.as_ref()?;
        let client_id_claim = match client_id {
            Some(ClientIdFrom::Jwt(claim)) => Some(claim.clone()),
            _ => None,
        };
        let claims = (tokens.clone(), client_id_claim.clone());
        let known = self.remotes().introspections.iter();
        if let Some((_, _, issuer)) = known
            .clone()
            .find(|(other, theirs, _)| other == settings && *theirs == claims)
        {
            return Some(Arc::clone(issuer));
        }
        let secret = match (&settings.client_secret_file, &settings.client_secret_env) {
            (Some(file), _) => self.secret_of_file(file)?,
            (None, Some(name)) => self.secret_of_environment(name)?,
            (None, None) => {
                let help = "write `introspection_client_secret_file PATH`";
                let message = "there is no secret to ask it with";
                self.push(Diagnostic::error(message).at(&url.origin).help(help));
                return None;
            }
        };
        let endpoint = self.endpoint(url, settings.cafile.as_ref(), settings.timeout)?;
        let made = Introspection::new(IntrospectionSettings {
            endpoint,
            client_id: settings.client_id.clone(),
            client_secret: secret,
            cache: settings.cache,
            claims: JwtSettings {
                keys: KeySet::default(),
                remote: None,
                algorithms: Vec::new(),
                issuer: tokens.issuer.clone(),
                audience: tokens.audience.clone(),
                username_claim: settings.username_claim.clone(),
                client_id_claim,
                groups_claim: tokens.groups_claim.clone(),
                acl_claim: tokens.acl_claim.clone(),
                clock_skew_s: 0,
                max_lifetime_s: None,
                require_jti: false,
                revoked: Revoked::default(),
                replay: Replay::Off,
            },
        });
        match made {
            Ok(issuer) => {
                let issuer = Arc::new(issuer);
                let remotes = self.remotes();
                remotes
                    .introspections
                    .push((settings.clone(), claims, Arc::clone(&issuer)));
                Some(issuer)
            }
            Err(error) => {
                let message = format!("the system gives no random numbers: {error}");
                self.push(Diagnostic::error(message).at(&url.origin));
                None
            }
        }
    }
}
