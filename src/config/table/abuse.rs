//! What is done about clients that guess.

use std::time::Duration;

use crate::config::abuse::{AuthFailureLimit, CountLimit, MisuseLimit};
use crate::config::directive::{Directive, Repeat, Section};
use crate::config::lexer::Line;
use crate::config::settings::Settings;
use crate::config::table::limits::seconds;
use crate::config::value::{Value, ValueError, int, positive, text};
use crate::topic::TopicFilter;

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
        "COUNT wrong passwords of one user from one address within SECONDS refuse that user from \
         there (0x8A) for BAN_SECONDS, before its password is looked at; COUNT 0 never does. Others behind \
         the same address are let in.",
    ),
    Directive::global("auth_failure_limit_user", "COUNT SECONDS", Value::Parsed(user_limit))
    .own()
    .section(Section::Access)
    .profiles("30 300", "0 300")
    .meaning(
        "After COUNT wrong passwords of one user within SECONDS, from wherever, every further wrong \
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
    Directive::global("misuse_limit_wildcards", "COUNT SECONDS [BAN_SECONDS]", Value::Parsed(|settings, line| {
        misuse_limit(&mut settings.abuse.misuse[0], line)
    }))
    .own()
    .section(Section::Access)
    .profiles("10 60", "0 60")
    .meaning(
        "COUNT refused subscriptions with wildcards of one user (or client, if it has no name) or from one address within SECONDS are misuse: an event of high severity and `portcullis_misuse_total`, and a ban of the address where BAN_SECONDS is written. COUNT 0 switches it off.",
    ),
    Directive::global("misuse_limit_topics", "COUNT SECONDS [BAN_SECONDS]", Value::Parsed(|settings, line| {
        misuse_limit(&mut settings.abuse.misuse[1], line)
    }))
    .own()
    .section(Section::Access)
    .profiles("20 60", "0 60")
    .meaning(
        "The same for COUNT different topics that were refused to be published or subscribed to, or for a will.",
    ),
    Directive::global("misuse_limit_client_ids", "COUNT SECONDS [BAN_SECONDS]", Value::Parsed(|settings, line| {
        misuse_limit(&mut settings.abuse.misuse[2], line)
    }))
    .own()
    .section(Section::Access)
    .profiles("100 60", "0 60")
    .meaning(
        "The same for COUNT different client ids of one user, and of those from one address who have no name or are refused.",
    ),
    Directive::global("misuse_limit_sequence", "COUNT SECONDS [BAN_SECONDS]", Value::Parsed(|settings, line| {
        misuse_limit(&mut settings.abuse.misuse[3], line)
    }))
    .own()
    .section(Section::Access)
    .profiles("20 60", "0 60")
    .meaning(
        "The same for COUNT client ids that count upwards (`pump-17`, `pump-18`, up to 8 further each time).",
    ),
    Directive::global("misuse_limit_takeovers", "COUNT SECONDS [BAN_SECONDS]", Value::Parsed(|settings, line| {
        misuse_limit(&mut settings.abuse.misuse[4], line)
    }))
    .own()
    .section(Section::Access)
    .profiles("10 60", "0 60")
    .meaning(
        "The same for one session that passes COUNT times from one connection to another, as when two clients have one client id, and for COUNT attempts of one user or address to take sessions of others.",
    ),
    Directive::global("canary_topic", "FILTER", Value::Parsed(|settings, line| {
        let filter = canary(line, settings.abuse.canary_topics.len())?;
        let parsed = TopicFilter::parse(filter)
            .map_err(|error| ValueError::new(line.value_at(), format!("`{filter}`: {error}")))?;
        settings.abuse.canary_topics.push(parsed);
        Ok(filter.to_owned())
    }))
    .own()
    .section(Section::Access)
    .repeat(Repeat::Accumulates)
    .example("plant/admin/#")
    .meaning(
        "A topic that nobody has any business with, mount point included. Whoever publishes to it, leaves a \
         will for it, or subscribes to a filter that could match it, allowed or not, makes an audit event of \
         high severity and counts in `portcullis_canary_touched_total`. At most 256.",
    ),
    Directive::global("canary_user", "NAME", Value::Parsed(|settings, line| {
        let name = canary(line, settings.abuse.canary_users.len())?;
        settings.abuse.canary_users.push(name.to_owned());
        Ok(name.to_owned())
    }))
    .own()
    .section(Section::Access)
    .repeat(Repeat::Accumulates)
    .example("backup-admin")
    .meaning("A user that nobody is: whoever tries to be it is told of like one who touches a canary_topic. At most 256."),
    Directive::global("canary_ban", "SECONDS", Value::Int(0..=31_536_000, |settings, value| {
        settings.abuse.canary_ban = (value > 0).then(|| seconds(value));
    }))
    .own()
    .section(Section::Access)
    .unit("seconds")
    .default("0")
    .meaning("How long the address of who touches a canary is banned, its connections included; 0 is not at all."),
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

fn misuse_limit(to: &mut Option<MisuseLimit>, line: &Line) -> Result<String, ValueError> {
    let words = line.words_before_comment();
    let (&[count, window], ban) = (match words.as_slice() {
        [numbers @ .., ban] if numbers.len() == 2 => (numbers, Some(*ban)),
        numbers => (numbers, None),
    }) else {
        let name = line.name();
        return Err(
            ValueError::new(line.value_at(), "two or three numbers are needed").help(format!(
                "{name} COUNT SECONDS [BAN_SECONDS], for example `20 60`"
            )),
        );
    };
    // Different ones are remembered, so there cannot be too many.
    let count = int(count, &(0..=1_000))?;
    let window = int(window, &WINDOW)?;
    let ban = ban.map(|ban| int(ban, &BAN)).transpose()?;
    *to = (count > 0).then(|| MisuseLimit {
        count: u32::try_from(count).unwrap_or(u32::MAX),
        window: seconds(window),
        ban: ban.map(seconds),
    });
    Ok(match ban {
        Some(ban) => format!("{count} {window} {ban}"),
        None => format!("{count} {window}"),
    })
}

/// The rest of the line, if there may be one more.
fn canary(line: &Line, known: usize) -> Result<&str, ValueError> {
    if known >= MAX_CANARIES {
        return Err(ValueError::new(
            line.name_at(),
            "256 of them are as many as there may be",
        ));
    }
    text(line)
}

const MAX_CANARIES: usize = 256;

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
