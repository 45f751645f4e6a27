//! The directive table as a listing, as Markdown and as a commented configuration file.

use std::fmt::Write as _;

use crate::config::directive::{Default, Directive, Scope, Section, Support};
use crate::config::{SecurityProfile, table};

/// `portcullis directives`: one line each, by chapter.
pub fn listing() -> String {
    let mut out = String::new();
    for (section, directives) in chapters() {
        line(&mut out, section.title());
        for directive in directives {
            let mark = match directive.support {
                Support::Implemented => "",
                Support::AcceptedWithWarning(_) => "  (no effect)",
                Support::Refused { .. } => "  (refused)",
            };
            let name = format!("{} {}", directive.name, directive.value);
            let default = directive.default.describe();
            line(
                &mut out,
                &format!(
                    "  {name:<44} [{}] default: {default}{mark}",
                    directive.scope.name()
                ),
            );
        }
        line(&mut out, "");
    }
    line(
        &mut out,
        "What each means: portcullis directives --markdown",
    );
    out
}

/// `portcullis directives --markdown`: docs/configuration.md.
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    for (section, directives) in chapters() {
        line(&mut out, &format!("\n## {}\n", section.title()));
        if section == Section::Bridges {
            line(
                &mut out,
                &format!(
                    "Refused: {}. Instead, {}.\n",
                    table::NO_BRIDGES,
                    table::INSTEAD_OF_BRIDGES
                ),
            );
            let names: Vec<String> = directives
                .iter()
                .flat_map(|directive| directive.names())
                .map(|name| format!("`{name}`"))
                .collect();
            line(&mut out, &format!("{}.", names.join(", ")));
            continue;
        }
        for directive in directives {
            entry(&mut out, directive);
        }
    }
    out
}

fn entry(out: &mut String, directive: &Directive) {
    line(
        out,
        &format!("### `{} {}`\n", directive.name, directive.value),
    );
    line(out, &format!("{}\n", directive.meaning));
    match directive.support {
        Support::Implemented => {}
        Support::AcceptedWithWarning(warning) => {
            line(
                out,
                &format!("**Accepted with a warning, no effect**: {warning}.\n"),
            );
        }
        Support::Refused {
            reason,
            alternative,
            harmless,
        } => {
            line(
                out,
                &format!("**Refused**: {reason}. Instead, {alternative}.\n"),
            );
            if !harmless.is_empty() {
                line(
                    out,
                    &format!(
                        "Accepted where it asks for nothing: `{}`.\n",
                        harmless.join("`, `")
                    ),
                );
            }
        }
    }
    if !directive.aliases.is_empty() {
        line(
            out,
            &format!("- also written: `{}`", directive.aliases.join("`, `")),
        );
    }
    let own = if directive.own {
        ", not in mosquitto"
    } else {
        ""
    };
    line(out, &format!("- scope: {}{own}", directive.scope.name()));
    if directive.support == Support::Implemented {
        let unit = if directive.unit.is_empty() {
            String::new()
        } else {
            format!(" ({})", directive.unit)
        };
        line(
            out,
            &format!("- default{unit}: {}", default_markdown(directive.default)),
        );
        line(
            out,
            &format!(
                "- on reload: {}; a second line: {}",
                directive.reload.describe(),
                directive.repeat.describe()
            ),
        );
    }
    line(out, "");
}

fn default_markdown(default: Default) -> String {
    match default {
        Default::Value(text) => format!("`{text}`"),
        Default::ByProfile {
            hardened,
            compatible,
        } => {
            format!("`{hardened}` in hardened, `{compatible}` in compatible")
        }
        Default::Unset(words) => words.to_owned(),
    }
}

/// `portcullis directives --conf`: conf/portcullis.conf. Every directive that has an effect, as a
/// comment with its default; as it stands it is an empty configuration.
pub fn conf() -> String {
    let mut out = CONF_INTRODUCTION.to_owned();
    for (section, directives) in chapters() {
        let shown: Vec<_> = directives
            .into_iter()
            .filter(|directive| directive.support == Support::Implemented)
            .collect();
        if shown.is_empty() {
            continue;
        }
        line(
            &mut out,
            &format!(
                "\n# {}\n# {}\n",
                section.title(),
                "=".repeat(section.title().len())
            ),
        );
        for directive in shown {
            conf_entry(&mut out, directive);
        }
    }
    out
}

fn conf_entry(out: &mut String, directive: &Directive) {
    for text in wrapped(directive.meaning, 96) {
        line(out, &format!("# {text}"));
    }
    let unit = if directive.unit.is_empty() {
        String::new()
    } else {
        format!(" ({})", directive.unit)
    };
    let scope = match directive.scope {
        Scope::Global => String::new(),
        scope => format!(" Scope: {}.", scope.name()),
    };
    line(
        out,
        &format!(
            "# Value{unit}: {}. Default: {}.{scope}",
            directive.value,
            directive.default.describe()
        ),
    );
    let name = directive.name.replace('*', "acl_file");
    let value = match directive.default.text(SecurityProfile::Hardened) {
        Some(text) if directive.example.is_empty() => text,
        _ => directive.example,
    };
    line(out, &format!("#{name} {value}"));
    line(out, "");
}

fn chapters() -> impl Iterator<Item = (Section, Vec<&'static Directive>)> {
    Section::ALL.into_iter().map(|section| {
        (
            section,
            table::directives()
                .filter(|directive| directive.section == section)
                .collect(),
        )
    })
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

/// `text` in lines of at most `width` characters, broken at spaces.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

const CONF_INTRODUCTION: &str = "\
# Every directive of Portcullis that has an effect, with its default.
# Made from the directive table: `portcullis directives --conf`.
#
# The grammar is that of mosquitto.conf: one directive a line, a space between name and value, and
# comments only where `#` is the first character of the line.
# `portcullis check -c FILE` says what is wrong with a file, and in which line.
";

const INTRODUCTION: &str = "\
# Configuration

Made from the directive table in `src/config/table/`; do not edit it by hand. To make it again:
`cargo run -- directives --markdown > docs/configuration.md`.

Portcullis reads mosquitto.conf files. `portcullis check -c FILE` reports everything that is wrong
with a file and with the files it names, with line, column and remedy, and changes nothing.

## The file

- One directive a line: a name, a space, a value. Only the space separates; a TAB is an error.
- A comment has its `#` in the first column. An indented `#` is an error. After a truth value, a number
  or a choice the rest of the line is ignored (with a warning unless it begins with `#`); a path or text
  takes the whole rest of the line, `#` included (with a warning).
- A truth value is `true`, `false`, `1` or `0`. A number is decimal, `0x` hexadecimal, or octal with a
  leading `0`.
- `listener` begins a listener; the directives of scope *listener* after it belong to it.
- Scope *security group* means the broker, or the current listener under `per_listener_settings true`.
- `include_dir` reads the `.conf` files of a directory, in mosquitto's order (without regard to case;
  upper case first where only the case differs). An included file begins without a current listener.
- Every error of every file is reported at once; one error keeps the broker from starting, and keeps a
  reload from changing anything.

## Profiles

`security_profile` decides every default and whether an unsafe configuration starts:
`--security-profile` beats the environment variable `PORTCULLIS_SECURITY_PROFILE`, which beats the line.

- **hardened** (the default) refuses: a listener that other hosts can reach without TLS (unless it says
  `allow_insecure_listener true`), with anonymous clients, or without an ACL; keys and password files
  that group or world can read; ACL files that world can write; a store that group or world can look
  into; queues without a bound; tokens without `jwt_audience`.
- **compatible** does what mosquitto would do, with a warning and a metric for each of these.
  `portcullis check --security -c FILE` prints what still stands between a file and hardened.

Without any listener (no file, or a file without `listener`, `port` and `bind_address`) the broker listens
on 127.0.0.1 and ::1, port 1883 or the ports of `-p`, and anonymous clients are allowed unless
`allow_anonymous false` says otherwise. That holds in both profiles.

## Where it differs from mosquitto

mosquitto drops some lines without a word. Here they are errors, because whoever wrote
`require_certificate true` relies on it:

- listener directives before any `listener` (`certfile` and `keyfile` alone gave a plaintext broker).
  With the deprecated `port` or `bind_address` they belong to that listener, wherever it stands;
- TLS directives of a listener without `certfile` and `keyfile`, and `require_certificate true` without
  `cafile` or `capath`;
- an unknown number in `accept_protocol_versions`, junk where a number is expected
  (`persistent_client_expiration`, `memory_limit`), anything after a NUL byte;
- the same `listener` twice, and two sources for one ACL or password file.

A single-valued line that is given twice replaces the first, as in mosquitto, with a warning. A listener
that nobody could connect to gets a warning. A reload is all or nothing. A listener
that is added or taken away is so after a restart; until then those that are open stay open.
";
