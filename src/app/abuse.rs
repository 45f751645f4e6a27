//! What is done about clients that guess, from the settings to those who do it.

use crate::config::{self, Settings};
use crate::net::SentrySettings;
use crate::policy::{BanLimit, Canaries, DelaySettings, GuessSettings, MisuseLimit, UserLimit};

/// What the sentry is to watch for.
pub(crate) fn sentry(settings: &Settings) -> SentrySettings {
    let abuse = &settings.abuse;
    let ban = |limit: config::AuthFailureLimit| BanLimit {
        count: limit.count,
        window: limit.window,
        ban: limit.ban,
    };
    SentrySettings {
        guesses: GuessSettings {
            address: abuse.auth_failure_limit.map(ban),
            pair: abuse.auth_failure_limit_pair.map(ban),
            user: abuse.auth_failure_limit_user.map(|limit| UserLimit {
                count: limit.count,
                window: limit.window,
            }),
            delay: abuse
                .auth_failure_delay
                .map(|(least, most)| DelaySettings { least, most }),
        },
        canaries: Canaries {
            topics: abuse.canary_topics.clone(),
            users: abuse
                .canary_users
                .iter()
                .map(|user| user.as_str().into())
                .collect(),
        },
        canary_ban: abuse.canary_ban,
        misuse: abuse.misuse.map(|limit| {
            limit.map(|limit| MisuseLimit {
                count: limit.count,
                window: limit.window,
                ban: limit.ban,
            })
        }),
    }
}
