//! Whether those who are asked who a client is can answer.

use crate::auth::Provider;

use super::Located;
use super::builder::Builder;
use super::diagnostic::Diagnostic;
use super::settings::ListenerSettings;

impl Builder {
    /// Whoever is to be asked must have something to answer by, on one listener at least: the line
    /// may be for several.
    pub(super) fn judge_providers(&mut self) {
        let mut silent: Vec<(Located<Provider>, &'static str)> = Vec::new();
        let listeners: Vec<&ListenerSettings> =
            self.listeners.iter().map(|draft| &draft.settings).collect();
        for listener in &listeners {
            for line in &listener.security.providers {
                let can_answer = listeners.iter().any(|other| {
                    other.security.providers.contains(line) && answers(other, line.value)
                });
                if !can_answer && !silent.iter().any(|(known, _)| known == line) {
                    silent.push((line.clone(), remedy(line.value)));
                }
            }
        }
        for (line, help) in silent {
            let message = format!(
                "{} is to be asked who a client is, and has nothing to answer by",
                line.value.name()
            );
            self.problems
                .push(Diagnostic::error(message).at(&line.origin).help(help));
        }
    }

    /// Names out of certificates need somebody who reads them.
    pub(super) fn judge_certificate_names(&mut self, listener: &ListenerSettings) {
        let providers = &listener.security.providers;
        let Some(first) = providers.first() else {
            return;
        };
        let is_asked = providers
            .iter()
            .any(|one| one.value == Provider::Certificate);
        let names =
            listener.certificate_identity.is_some() || listener.certificate_groups.is_some();
        if names && !is_asked {
            let message = format!(
                "listener {} takes names from certificates, which no `auth_provider` line asks",
                listener.bind
            );
            self.problems.push(
                Diagnostic::error(message)
                    .at(&first.origin)
                    .help("write `auth_provider certificate`"),
            );
        }
    }
}

fn answers(listener: &ListenerSettings, provider: Provider) -> bool {
    let group = &listener.security;
    match provider {
        Provider::Password | Provider::Scram => group.password_file.is_some(),
        Provider::Jwt => group.tokens.is_on(),
        Provider::Introspection => group.introspection.url.is_some(),
        Provider::Certificate => listener
            .tls
            .as_ref()
            .is_some_and(|tls| tls.require_certificate || tls.request_certificate),
    }
}

fn remedy(provider: Provider) -> &'static str {
    match provider {
        Provider::Password | Provider::Scram => "write `password_file PATH`",
        Provider::Jwt => {
            "write `jwt_public_key PATH`, `jwt_jwks_file PATH` or `jwt_secret_file PATH`"
        }
        Provider::Introspection => "write `introspection_url URL`",
        Provider::Certificate => {
            "write `cafile PATH` or `capath DIRECTORY` on a listener with TLS, for those who may have \
             signed them"
        }
    }
}
