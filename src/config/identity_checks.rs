//! Whether those who are asked who a client is can answer.

use crate::auth::Provider;

use super::builder::Builder;
use super::diagnostic::Diagnostic;
use super::settings::ListenerSettings;

impl Builder {
    /// Whoever is to be asked must have something to answer by.
    pub(super) fn judge_providers(&mut self, listener: &ListenerSettings) {
        let group = &listener.security;
        for provider in &group.providers {
            let (can_answer, help) = match provider.value {
                Provider::Password | Provider::Scram => {
                    (group.password_file.is_some(), "write `password_file PATH`")
                }
                Provider::Jwt => (
                    group.tokens.is_on(),
                    "write `jwt_public_key PATH`, `jwt_jwks_file PATH` or `jwt_secret_file PATH`",
                ),
                Provider::Certificate => (
                    listener.tls.as_ref().is_some_and(|tls| {
                        tls.require_certificate || tls.cafile.is_some() || tls.capath.is_some()
                    }),
                    "write `cafile PATH` or `capath DIRECTORY`, for those who may have signed them",
                ),
            };
            if !can_answer {
                let message = format!(
                    "{} is to be asked on listener {}, and has nothing to answer by",
                    provider.value.name(),
                    listener.bind
                );
                self.problems
                    .push(Diagnostic::error(message).at(&provider.origin).help(help));
            }
        }
        let asks_certificate = group.providers.is_empty()
            || group
                .providers
                .iter()
                .any(|one| one.value == Provider::Certificate);
        let names =
            listener.certificate_identity.is_some() || listener.certificate_groups.is_some();
        if names && !asks_certificate {
            let message = format!(
                "listener {} takes names from certificates, which no `auth_provider` line asks",
                listener.bind
            );
            self.problems.push(
                Diagnostic::error(message)
                    .at(&group.providers[0].origin)
                    .help("write `auth_provider certificate`"),
            );
        }
    }
}
