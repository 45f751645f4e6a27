//! Whether tokens can be taken as is written, and Client Identifiers had from where they are to come.

use crate::auth::Provider;

use super::builder::Builder;
use super::changes::Owner;
use super::settings::{ClientIdFrom, ListenerSettings, TokenSettings};
use super::{Diagnostic, FindingKind, Origin, SecurityProfile, table};

const NAME_A_KEY: &str =
    "write `jwt_public_key PATH`, `jwt_jwks_file PATH` or `jwt_secret_file PATH`";

impl Builder {
    /// A secret beside public keys invites to take one for the other; options without a key do nothing.
    pub(super) fn judge_tokens(&mut self, number: usize, listener: &ListenerSettings) {
        let tokens = &listener.security.tokens;
        let secrets = tokens.secret_file.iter().map(|file| &file.origin);
        let secret = secrets
            .chain(tokens.secret_env.iter().map(|name| &name.origin))
            .next();
        let has_public = !tokens.public_keys.is_empty()
            || tokens.jwks_file.is_some()
            || tokens.jwks_url.is_some();
        if let Some(origin) = secret
            && has_public
        {
            let message = "a secret and public keys for tokens on one listener";
            let help = "keep one of them; two listeners can have one each (per_listener_settings)";
            self.problems
                .push(Diagnostic::error(message).at(origin).help(help));
        }
        let is_asked = listener.security.introspection.url.is_some();
        if has_options(tokens, self.settings.profile) && !tokens.is_on() && !is_asked {
            self.problems.push(
                Diagnostic::error("there are settings for tokens and no key to verify them with")
                    .at(&listener.origin)
                    .help(NAME_A_KEY),
            );
        }
        // Listeners that share the keys share the finding.
        let earlier = self.listeners[..number].iter();
        let is_told = earlier
            .map(|draft| draft.settings.security.tokens.origin())
            .any(|origin| origin == tokens.origin());
        if let Some(origin) = tokens.origin()
            && tokens.audience.is_empty()
            && !is_told
        {
            self.judge(
                FindingKind::TokenWithoutAudience,
                origin,
                "tokens are taken that were issued for another service".to_owned(),
                "write `jwt_audience TEXT`".to_owned(),
            );
        }
    }

    /// `clientid_from` beside what contradicts it, or without what it takes the client id from: no client
    /// could ever connect.
    pub(super) fn judge_client_id(&mut self, number: usize, listener: &ListenerSettings) {
        let Some(from) = &listener.clientid_from else {
            return;
        };
        let line = |name| {
            let written = &self.settings.written;
            let entry = written.entry(Owner::Listener(number), name);
            entry.map_or_else(|| listener.origin.clone(), |entry| entry.origin.clone())
        };
        let mut problems: Vec<(Origin, &str, &str)> = Vec::new();
        if listener.use_username_as_clientid {
            problems.push((
                line("use_username_as_clientid"),
                "two lines say what the client id is",
                "keep `clientid_from` or `use_username_as_clientid`",
            ));
        }
        let group = &listener.security;
        let providers = &group.providers;
        let takes_tokens = group.tokens.is_on()
            && (providers.is_empty() || providers.iter().any(|one| one.value == Provider::Jwt))
            || group.introspection.url.is_some();
        if matches!(from, ClientIdFrom::Jwt(_)) && !takes_tokens {
            problems.push((
                line("clientid_from"),
                "the client id is to come out of a token, and no token is taken",
                NAME_A_KEY,
            ));
        }
        let asks_for_certificates = listener
            .tls
            .as_ref()
            .is_some_and(|tls| tls.require_certificate || tls.request_certificate);
        if matches!(from, ClientIdFrom::Certificate) && !asks_for_certificates {
            problems.push((
                line("clientid_from"),
                "the client id is to come out of a certificate, and no client is asked for one",
                "write `certfile`, `keyfile`, `cafile` and `require_certificate true`",
            ));
        }
        self.problems.extend(
            problems
                .into_iter()
                .map(|(origin, message, help)| Diagnostic::error(message).at(&origin).help(help)),
        );
    }
}

/// Whether anything is asked of tokens. What repeats a default asks for nothing.
fn has_options(tokens: &TokenSettings, profile: SecurityProfile) -> bool {
    let username_claim = table::directive("jwt_username_claim")
        .and_then(|directive| directive.default.text(profile))
        .unwrap_or_default();
    tokens.issuer.is_some()
        || !tokens.audience.is_empty()
        || !tokens.algorithms.is_empty()
        || tokens.revoked_file.is_some()
        || tokens.require_jti
        || tokens.max_lifetime.is_some()
        || tokens.groups_claim.is_some()
        || tokens.acl_claim.is_some()
        || tokens.username_claim != *username_claim
}
