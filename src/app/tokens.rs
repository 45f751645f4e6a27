//! The keys and lists of a listener that takes tokens, read from their files.

use std::path::PathBuf;
use std::sync::Arc;

use crate::auth::Secret;
use crate::auth::jwt::{self, JwtSettings, KeyError, KeySet, Revoked};
use crate::config::{ClientIdFrom, Diagnostic, Located, Origin, TokenSettings};

use super::reading::Reader;

impl Reader {
    /// `None` if no tokens are taken, or if something is wrong, which is told.
    pub(super) fn tokens(
        &mut self,
        settings: &TokenSettings,
        client_id: Option<&ClientIdFrom>,
    ) -> Option<Arc<JwtSettings>> {
        let origin = settings.origin()?.clone();
        let remote = self.remote_keys(settings);
        if settings.jwks_url.is_some() && remote.is_none() {
            return None;
        }
        let keys = self.token_keys(settings);
        let revoked = match &settings.revoked_file {
            None => Some(Revoked::default()),
            Some(file) => {
                let text = self.text(file, "the list of revoked tokens");
                text.and_then(|text| match Revoked::parse(&text) {
                    Ok(revoked) => Some(revoked),
                    Err(errors) => {
                        for (line, message) in errors {
                            self.push(Diagnostic::error(message).at_line(
                                &file.value,
                                line,
                                None,
                                None,
                            ));
                        }
                        None
                    }
                })
            }
        };
        let (keys, revoked) = (keys?, revoked?);
        let algorithms = self.token_algorithms(settings, &keys, &origin)?;
        Some(Arc::new(JwtSettings {
            keys,
            remote,
            algorithms,
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            username_claim: settings.username_claim.clone(),
            client_id_claim: match client_id {
                Some(ClientIdFrom::Jwt(claim)) => Some(claim.clone()),
                _ => None,
            },
            groups_claim: settings.groups_claim.clone(),
            acl_claim: settings.acl_claim.clone(),
            clock_skew_s: settings.clock_skew.as_secs(),
            max_lifetime_s: settings.max_lifetime.map(|time| time.as_secs()),
            require_jti: settings.require_jti,
            revoked,
            replay: settings.replay,
        }))
    }

    /// Every key of every file; `None` if one cannot be used.
    fn token_keys(&mut self, settings: &TokenSettings) -> Option<KeySet> {
        let mut all = Some(KeySet::default());
        let mut add = |set: Option<KeySet>| {
            all = match (all.take(), set) {
                (Some(all), Some(set)) => Some(all.and(set)),
                _ => None,
            };
        };
        for file in &settings.public_keys {
            let pem = self.bytes(file, "the key file");
            let set = pem.and_then(|pem| self.usable(KeySet::from_pem(&pem), &file.origin));
            add(set);
        }
        if let Some(file) = &settings.jwks_file {
            let json = self.bytes(file, "the key set");
            let set = json.and_then(|json| self.usable(KeySet::from_jwks(&json), &file.origin));
            add(set);
        }
        if let Some(file) = &settings.secret_file {
            let secret = self.bytes(file, "the secret").map(Secret::from);
            let set =
                secret.and_then(|secret| self.usable(KeySet::from_secret(&secret), &file.origin));
            add(set);
        }
        if let Some(name) = &settings.secret_env {
            let secret = self.secret_of_environment(name);
            let set =
                secret.and_then(|secret| self.usable(KeySet::from_secret(&secret), &name.origin));
            add(set);
        }
        all
    }

    /// A secret in a file, without the line break at its end.
    pub(super) fn secret_of_file(&mut self, file: &Located<PathBuf>) -> Option<Secret> {
        let bytes = zeroize::Zeroizing::new(self.bytes(file, "the secret")?);
        let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        Some(Secret::from(secret.strip_suffix(b"\r").unwrap_or(secret)))
    }

    pub(super) fn secret_of_environment(&mut self, name: &Located<String>) -> Option<Secret> {
        use std::os::unix::ffi::OsStringExt;
        let Some(value) = std::env::var_os(&name.value) else {
            let message = "the environment variable that is named here is not set";
            self.push(Diagnostic::error(message).at(&name.origin));
            return None;
        };
        Some(Secret::from(value.into_vec()))
    }

    fn usable(&mut self, set: Result<KeySet, KeyError>, origin: &Origin) -> Option<KeySet> {
        match set {
            Ok(set) => Some(set),
            Err(error) => {
                self.push(Diagnostic::error(error.to_string()).at(origin));
                None
            }
        }
    }

    /// What was asked for, or all that the keys allow.
    fn token_algorithms(
        &mut self,
        settings: &TokenSettings,
        keys: &KeySet,
        origin: &Origin,
    ) -> Option<Vec<jsonwebtoken::Algorithm>> {
        let mut possible = keys.algorithms();
        if settings.jwks_url.is_some() {
            // What its keys will be for is not known yet; each takes those of its type alone.
            possible = jwt::PUBLIC_ALGORITHMS.to_vec();
        }
        if settings.algorithms.is_empty() {
            return Some(possible);
        }
        let missing: Vec<&str> = settings
            .algorithms
            .iter()
            .filter(|algorithm| !possible.contains(algorithm))
            .map(|&algorithm| jwt::name(algorithm))
            .collect();
        if missing.is_empty() {
            return Some(settings.algorithms.clone());
        }
        let message = format!(
            "no key is for {}, which jwt_algorithms allows",
            missing.join(", ")
        );
        self.push(Diagnostic::error(message).at(origin));
        None
    }
}
