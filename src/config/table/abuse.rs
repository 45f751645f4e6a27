//! What is done about clients that guess.

use std::time::Duration;

use crate::config::abuse::{AuthFailureLimit, CountLimit};
use crate::config::directive::{Directive, Section};
use crate::config::lexer::Line;
use crate::config::settings::Settings;
use crate::config::table::limits::seconds;
use crate::config::value::{Value, ValueError, int, positive};

pub(super) static DIRECTIVES: &[Directive] = &[
    Directive::global("auth_failure_limit", "COUNT SECONDS BAN_SECONDS", Value::Parsed(|settings, line| {
        let (limit, text) = ban_limit(line)?;
        settings.abuse.auth_failure_limit = limit;
        Ok(text)
    }))
    .own()
    .section(Section::Access)
    .profiles("20 60 300", "0 60 300")
    .meaning(
        "COUNT failed authentications from one address within SECONDS refuse its connections for \
         BAN_SECONDS; COUNT 0 never bans. A user that succeeds is forgiven its own failures there, not those \
         of others.",
    ),
    Directive::global("auth_failure_limit_pair", "COUNT SECONDS BAN_SECONDS", Value::Parsed(|settings, line| {
        let (limit, text) = ban_limit(line)?;
        settings.abuse.auth_failure_limit_pair = limit;
        Ok(text)
    }))
    .own()
    .section(Section::Access)
    .profiles("10 300 300", "0 300 300")
    .meaning(
        "COUNT failed authentications of one user from one address within SECONDS refuse that user from \
         there (0x8A) for BAN_SECONDS, before its password is looked at; COUNT 0 never does. Others behind \
         the same address are let in.",
    ),
    Directive::global("auth_failure_limit_user", "COUNT SECONDS", Value::Parsed(user_limit))
    .own()
    .section(Section::Access)
    .profiles("30 300", "0 300")
    .meaning(
        "After COUNT failed authentications of one user within SECONDS, from wherever, every further wrong \
         credential for it waits the longest time of auth_failure_delay_ms. Nobody is locked out by it: the \
         right credential is not delayed. COUNT 0 switches it off.",
    ),
    Directive::global("auth_failure_delay_ms", "MIN MAX", Value::Parsed(delay))
    .own()
    .section(Section::Access)
    .unit("milliseconds")
    .profiles("100 2000", "0 0")
    .meaning(
        "A wrong credential is answered after MIN, twice as long with each failure of the address or user, \
         MAX at the longest and never longer than half of what is left of connect_timeout. At most a quarter \
         of max_handshakes connections, and 256, are held back; more are answered at once. 0 0 never waits.",
    ),
    Directive::global("ban_file", "PATH", Value::Path(|settings, path| settings.abuse.ban_file = Some(path)))
    .own()
    .section(Section::Access)
    .example("/var/lib/portcullis/bans.jsonl")
    .meaning(
        "The bans in force, one JSON object a line, written at most once a second and read at the start, so \
         that a restart frees nobody. A line taken out lifts its ban within about a second, one put in begins \
         one; `portcullis bans` does both. The broker must be able to write its directory.",
    ),
];

/// `COUNT SECONDS BAN_SECONDS`; a count of 0 is none.
fn ban_limit(line: &Line) -> Result<(Option<AuthFailureLimit>, String), ValueError> {
    let words = line.words_before_comment();
    let &[count, window, ban] = words.as_slice() else {
        let name = line.name();
        return Err(
            ValueError::new(line.value_at(), "three numbers are needed").help(format!(
                "{name} COUNT SECONDS BAN_SECONDS, for example `20 60 300`"
            )),
        );
    };
    let count = int(count, &COUNT)?;
    let window = int(window, &WINDOW)?;
    let ban = int(ban, &BAN)?;
    let limit = (count > 0).then(|| AuthFailureLimit {
        count: u32::try_from(count).unwrap_or(u32::MAX),
        window: seconds(window),
        ban: seconds(ban),
    });
    Ok((limit, format!("{count} {window} {ban}")))
}

fn user_limit(settings: &mut Settings, line: &Line) -> Result<String, ValueError> {
    let words = line.words_before_comment();
    let &[count, window] = words.as_slice() else {
        return Err(ValueError::new(line.value_at(), "two numbers are needed")
            .help("auth_failure_limit_user COUNT SECONDS, for example `30 300`"));
    };
    let count = int(count, &COUNT)?;
    let window = int(window, &WINDOW)?;
    settings.abuse.auth_failure_limit_user = (count > 0).then(|| CountLimit {
        count: u32::try_from(count).unwrap_or(u32::MAX),
        window: seconds(window),
    });
    Ok(format!("{count} {window}"))
}

fn delay(settings: &mut Settings, line: &Line) -> Result<String, ValueError> {
    let words = line.words_before_comment();
    let &[least, most] = words.as_slice() else {
        return Err(ValueError::new(line.value_at(), "two numbers are needed")
            .help("auth_failure_delay_ms MIN MAX, for example `100 2000`"));
    };
    let range = 0..=60_000;
    let shortest = int(least, &range)?;
    let longest = int(most, &range)?;
    if longest < shortest {
        return Err(ValueError::new(most.at, "MAX is less than MIN"));
    }
    let millis = |value| Duration::from_millis(positive(value));
    settings.abuse.auth_failure_delay = (longest > 0).then(|| (millis(shortest), millis(longest)));
    Ok(format!("{shortest} {longest}"))
}

const COUNT: std::ops::RangeInclusive<i64> = 0..=1_000_000;
const WINDOW: std::ops::RangeInclusive<i64> = 1..=86_400;
const BAN: std::ops::RangeInclusive<i64> = 1..=31_536_000;
