//! What an audit log says was used.
//!
//! Lines are read one by one, and what is kept is bounded.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, Read};

use serde_json::Value;

use crate::topic::{check_filter, check_name};

/// Longest line that is read; the broker writes none that is longer.
const MAX_LINE: u64 = 64 << 10;
/// Most different uses that are kept, and the bytes of their names.
const MAX_USES: usize = 500_000;
const MAX_USED_BYTES: usize = 128 << 20;
/// Texts of a client that are longer are cut in the log.
const SHOWN_CHARS: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Right {
    Read,
    Write,
}

/// Somebody used a right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    pub(super) user: Option<String>,
    pub(super) client_id: String,
    /// Topic Name or Topic Filter.
    pub(super) topic: String,
    pub(super) right: Right,
}

/// What was read of the logs.
#[derive(Default)]
pub(super) struct Log {
    /// Whether it was refused each time.
    pub(super) used: BTreeMap<Use, bool>,
    bytes: usize,
    lines: u64,
    /// Lines that are no JSON objects, or are too long.
    pub(super) bad: u64,
    /// Uses that no rule can be written for, because of a character or because the log cut a name.
    pub(super) unusable: u64,
    pub(super) left_out: u64,
    /// Events of which the log only says that there were more.
    untold: u64,
}

impl Log {
    pub(super) fn read(&mut self, mut log: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut log).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            self.lines += 1;
            if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE {
                log.skip_until(b'\n')?;
                self.bad += 1;
                continue;
            }
            match serde_json::from_slice::<Value>(&line) {
                Ok(Value::Object(event)) => self.event(&Value::Object(event)),
                _ => self.bad += 1,
            }
        }
    }

    fn event(&mut self, event: &Value) {
        let text = |key: &str| event.get(key).and_then(Value::as_str);
        let is_refused = text("decision") != Some("allow");
        // What a deny rule or a limit refused is not for rules to grant.
        let lacks_grant = matches!(
            text("reason"),
            Some(
                "no_rule" | "wildcard" | "read_only" | "write_only" | "subscribe_only" | "reserved"
            )
        );
        let right = match (text("event"), text("action")) {
            (Some("acl_denied"), _) if is_refused && !lacks_grant => return,
            (Some("subscribe"), _) | (Some("acl_denied"), Some("subscribe")) => Right::Read,
            (Some("publish"), _) | (Some("acl_denied"), Some("publish" | "will")) => Right::Write,
            _ => return,
        };
        if event.get("various") == Some(&Value::Bool(true)) {
            let more = event.get("repeated").and_then(Value::as_u64);
            self.untold = self.untold.saturating_add(more.unwrap_or(1));
        }
        let Some(topic) = text("topic").map(unescaped) else {
            self.bad += 1;
            return;
        };
        let topic = match topic
            .as_deref()
            .and_then(|topic| topic.strip_prefix("$share/"))
        {
            Some(rest) => rest.split_once('/').map(|(_, filter)| filter.to_owned()),
            None => topic,
        };
        // Granted to everybody without a rule.
        if topic.as_deref() == Some("$me/token") {
            return;
        }
        let user = text("username").map(unescaped);
        let client_id = text("client_id").map_or_else(|| Some(String::new()), unescaped);
        let (Some(topic), Some(client_id), Some(user)) = (
            topic,
            client_id,
            user.map_or(Some(None), |user| user.map(Some)),
        ) else {
            self.unusable += 1;
            return;
        };
        let used = Use {
            user,
            client_id,
            topic,
            right,
        };
        if used.is_writable() {
            self.keep(used, is_refused);
        } else {
            self.unusable += 1;
        }
    }

    fn keep(&mut self, used: Use, is_refused: bool) {
        if let Some(known) = self.used.get_mut(&used) {
            *known &= is_refused;
            return;
        }
        let bytes =
            used.topic.len() + used.client_id.len() + used.user.as_ref().map_or(0, String::len);
        if self.used.len() >= MAX_USES || self.bytes + bytes > MAX_USED_BYTES {
            self.left_out += 1;
            return;
        }
        self.bytes += bytes;
        self.used.insert(used, is_refused);
    }

    pub(super) fn summary(&self) -> String {
        let mut text = format!(
            "{} line(s), {} different use(s)\n",
            self.lines,
            self.used.len()
        );
        for (count, what) in [
            (self.bad, "line(s) are no events and were passed over"),
            (
                self.unusable,
                "event(s) were passed over: no rule can be written for their topic or name, or it is cut",
            ),
            (
                self.left_out,
                "event(s) were passed over: the log has more different ones than are kept",
            ),
            (
                self.untold,
                "event(s) are not in the log, which tells only so many of one source in ten seconds",
            ),
        ] {
            if count > 0 {
                // Writing to a string does not fail.
                let _ = writeln!(text, "warning: {count} {what}");
            }
        }
        text
    }
}

impl Use {
    /// Whether a rule can be written for it.
    fn is_writable(&self) -> bool {
        let fits = |text: &str| text.trim() == text && !text.contains(char::is_control);
        let is_valid = match self.right {
            Right::Read => check_filter(&self.topic).is_ok(),
            Right::Write => check_name(&self.topic).is_ok(),
        };
        let user = self.user.as_deref();
        is_valid && fits(&self.topic) && user.is_none_or(|user| !user.is_empty() && fits(user))
    }
}

/// A text as it was before the log escaped it; `None` if the log cut it.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        rest = if let Some(behind) = escape.strip_prefix('\\') {
            out.push('\\');
            behind
        } else {
            let (code, behind) = escape.strip_prefix("u{")?.split_once('}')?;
            let code = u32::from_str_radix(code, 16).ok()?;
            out.push(char::from_u32(code)?);
            behind
        };
    }
    out.push_str(rest);
    (out.chars().count() <= SHOWN_CHARS).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::escape;

    #[test]
    fn bad_lines_are_counted_and_passed_over() {
        let mut log = Log::default();
        let long = "x".repeat(usize::try_from(MAX_LINE).expect("small") * 2 + 5);
        let cut = escape(&"t".repeat(300)).into_owned();
        let text = format!(
            "no json\n[1]\n{long}\n\u{0}\n{{\"event\":\"subscribe\"}}\n\
             {{\"event\":\"subscribe\",\"decision\":\"allow\",\"topic\":\"{cut}\"}}\n\
             {{\"event\":\"subscribe\",\"decision\":\"allow\",\"topic\":\"a+\"}}\n\
             {{\"event\":\"acl_denied\",\"action\":\"publish\",\"decision\":\"deny\",\"reason\":\"deny_rule\",\"topic\":\"a\"}}\n\
             {{\"event\":\"subscribe\",\"decision\":\"allow\",\"topic\":\"a\",\"repeated\":3}}\n\
             {{\"event\":\"subscribe\",\"decision\":\"allow\",\"topic\":\"a\",\"repeated\":7,\"various\":true}}"
        );
        log.read(text.as_bytes()).expect("memory");
        assert_eq!(
            (log.lines, log.bad, log.unusable, log.untold),
            (10, 5, 2, 7)
        );
        assert_eq!(log.used.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn what_was_escaped_is_read_again(text in "\\PC{0,40}|[\\\\u{}0-9\u{0}-\u{20}\u{200b}]{0,40}") {
            proptest::prop_assert_eq!(unescaped(&escape(&text)), Some(text));
        }
    }
}
