//! Text from outside, made fit to be shown.

use std::borrow::Cow;
use std::fmt::Write;

/// Longest piece of a client's text in a log line, in characters.
const SHOWN_CHARS: usize = 256;

/// `text` with everything escaped that could move a cursor, break a line or turn the direction of
/// reading, and cut to a bounded length.
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN_CHARS
        && text
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\')
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().min(SHOWN_CHARS * 4));
    for (index, character) in text.chars().enumerate() {
        if index == SHOWN_CHARS {
            out.push('…');
            break;
        }
        match character {
            '\\' => out.push_str("\\\\"),
            _ if character.is_control() || turns_direction(character) => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    Cow::Owned(out)
}

/// Characters that change the order in which others are shown, or are not shown at all.
fn turns_direction(character: char) -> bool {
    matches!(character,
        '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

const KEYS: [&str; 9] = [
    "password",
    "passwd",
    "api_key",
    "api-key",
    "apikey",
    "secret",
    "access_token",
    "authorization",
    "token",
];

/// `line` without secrets that somebody's error message may have brought along (requirements E1 to
/// E4, E6): bearer tokens, values of keys that name a secret, PEM blocks, passwords in URLs.
pub fn redact(line: &str) -> Cow<'_, str> {
    let lower = line.to_ascii_lowercase();
    let suspicious = lower.contains("bearer ")
        || lower.contains("-----begin")
        || lower.contains("://")
        || KEYS.iter().any(|key| lower.contains(key));
    if !suspicious {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    let mut at = 0;
    while let Some(rest) = line.get(at..)
        && !rest.is_empty()
    {
        let lower_rest = lower.get(at..).unwrap_or_default();
        let used = pem(rest, &mut out)
            .or_else(|| bearer(rest, lower_rest, &mut out))
            .or_else(|| keyed(line, at, lower_rest, &mut out))
            .or_else(|| url(rest, &mut out));
        match used {
            Some(used) => at += used,
            None => {
                let character = rest.chars().next().unwrap_or(' ');
                out.push(character);
                at += character.len_utf8();
            }
        }
    }
    Cow::Owned(out)
}

fn pem(rest: &str, out: &mut String) -> Option<usize> {
    if !rest.starts_with("-----BEGIN") {
        return None;
    }
    out.push_str("[CERTIFICATE REDACTED]");
    let end = rest.find("-----END").map_or(rest.len(), |end| {
        let tail = rest.get(end + 8..).unwrap_or_default();
        tail.find("-----")
            .map_or(rest.len(), |close| end + 8 + close + 5)
    });
    Some(end)
}

fn bearer(rest: &str, lower: &str, out: &mut String) -> Option<usize> {
    if !lower.starts_with("bearer ") {
        return None;
    }
    out.push_str(rest.get(..7)?);
    out.push_str("[REDACTED]");
    let value = rest.get(7..)?;
    Some(7 + value.find(char::is_whitespace).unwrap_or(value.len()))
}

fn keyed(line: &str, at: usize, lower: &str, out: &mut String) -> Option<usize> {
    let key = KEYS.iter().find(|key| lower.starts_with(**key))?;
    let before = line.get(..at)?.chars().next_back();
    if before.is_some_and(char::is_alphanumeric) {
        return None;
    }
    let rest = line.get(at + key.len()..)?;
    let name_end = rest.find(|c: char| !matches!(c, '"' | '\'' | ' '))?;
    let separator = rest.get(name_end..)?.chars().next()?;
    let is_a_file = rest.starts_with(':') && is_end_of_path(line.get(..at)?);
    if !matches!(separator, ':' | '=') || is_a_file {
        return None;
    }
    let value_at = name_end + 1;
    let value = rest.get(value_at..)?;
    let skipped = value.len() - value.trim_start_matches([' ', '"', '\'']).len();
    let inner = value.get(skipped..)?;
    if inner.is_empty() {
        return None;
    }
    // `Authorization: Bearer abc`: the word before the secret names its kind.
    let kind = ["bearer ", "basic ", "digest "]
        .into_iter()
        .find(|kind| {
            inner
                .get(..kind.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(kind))
        })
        .map_or(0, str::len);
    let end = inner
        .get(kind..)?
        .find(|c: char| matches!(c, '"' | '\'' | ',' | ';' | '&') || c.is_whitespace())
        .map_or(inner.len(), |end| kind + end);
    out.push_str(line.get(at..at + key.len() + value_at + skipped)?);
    out.push_str("[REDACTED]");
    Some(key.len() + value_at + skipped + end)
}

/// Whether a word behind `before` ends a path, as in `/etc/portcullis/jwt.secret: …`: what follows is
/// said about the file. `app.secret: …` is none.
fn is_end_of_path(before: &str) -> bool {
    let starts_at = before.rfind(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`'));
    let path = before.get(starts_at.unwrap_or(0)..).unwrap_or_default();
    path.contains('/') && path.ends_with(['/', '.'])
}

fn url(rest: &str, out: &mut String) -> Option<usize> {
    let tail = rest.strip_prefix("://")?;
    let end = tail
        .find(|c: char| matches!(c, '/' | '"' | '\'') || c.is_whitespace())
        .unwrap_or(tail.len());
    let authority = tail.get(..end)?;
    let (user, _) = authority.rsplit_once('@')?;
    let name = user.split(':').next().unwrap_or_default();
    out.push_str("://");
    out.push_str(name);
    out.push_str(":***@");
    Some(3 + user.len() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_client_sends_can_forge_a_log_line() {
        assert_eq!(escape("pump7"), "pump7");
        assert_eq!(escape("a\nb"), "a\\u{a}b");
        assert_eq!(escape("\u{1b}[2J"), "\\u{1b}[2J");
        assert_eq!(escape("\u{202e}evil"), "\\u{202e}evil");
        assert_eq!(escape("é"), "é");
        assert_eq!(escape(&"x".repeat(300)).chars().count(), SHOWN_CHARS + 1);
    }

    #[test]
    fn secrets_are_taken_out_of_lines() {
        for (line, expected) in [
            (
                "Authorization: Bearer abc.def ok",
                "Authorization: [REDACTED] ok",
            ),
            ("got Bearer abc.def!", "got Bearer [REDACTED]"),
            ("password=hunter2 next", "password=[REDACTED] next"),
            (
                "{\"password\": \"hunter2\"}",
                "{\"password\": \"[REDACTED]\"}",
            ),
            ("API_KEY: 1234, x", "API_KEY: [REDACTED], x"),
            (
                "mqtts://user:pw@host:8883/x",
                "mqtts://user:***@host:8883/x",
            ),
            (
                "-----BEGIN X-----AAA-----END X----- tail",
                "[CERTIFICATE REDACTED] tail",
            ),
            (
                "`/etc/portcullis/jwt.secret`: the world can read it",
                "`/etc/portcullis/jwt.secret`: the world can read it",
            ),
            (
                "/run/secrets/token: group or world can read or change it",
                "/run/secrets/token: group or world can read or change it",
            ),
            (
                "/etc/app?secret=hunter2 /x/token=hunter2",
                "/etc/app?secret=[REDACTED] /x/token=[REDACTED]",
            ),
            (
                "{\"/app/secret\": \"hunter2\"}",
                "{\"/app/secret\": \"[REDACTED]\"}",
            ),
            ("app.secret: hunter2", "app.secret: [REDACTED]"),
            ("/passwd:3: error: x", "/passwd:3: error: x"),
            (
                "the password file is missing",
                "the password file is missing",
            ),
            ("plain", "plain"),
        ] {
            assert_eq!(redact(line), expected, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_them_panic(text in ".{0,100}") {
            let _ = escape(&text);
            let _ = redact(&text);
        }
    }
}
