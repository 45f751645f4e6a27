//! What is odd about a rule because of the others: rules that can decide nothing, and grants that beat
//! a deny.
//!
//! Filters are compared as they are written, with `%c` and its relatives unbound. Where that leaves a
//! doubt nothing is said to be covered, and filters are said to overlap.

use super::file::{AclFile, AclWarning, Order, shortened};
use super::level::{Level, Levels, Name, Part, Template};
use super::rule::{Access, Place, Rule, Wanted};
use crate::policy::rights::is_closed_for_writing;

/// Pairs of rules that are compared: a file must not take minutes to read.
const MAX_PAIRS: usize = 2_000_000;

/// A user's grant that overlaps the deny of a pattern.
const GRANT_BEATS_DENY: &str = "user-grant-beats-pattern-deny";
/// The only finding that says nothing about a rule.
pub(super) const NOT_COMPARED: &str = "rules-not-compared";

/// What comparing the rules of `file` brings to light, in the order of the lines.
pub(super) fn findings(file: &AclFile) -> Vec<AclWarning> {
    compared(file, MAX_PAIRS, false)
}

/// Every grant that beats the deny of a pattern, however many rules there are.
pub(super) fn grants_that_beat_denies(file: &AclFile) -> Vec<AclWarning> {
    compared(file, usize::MAX, true)
}

fn compared(file: &AclFile, pairs: usize, only_beaten: bool) -> Vec<AclWarning> {
    let mut lint = Lint {
        file,
        found: Vec::new(),
        pairs,
        only_beaten,
    };
    lint.list(&file.anonymous, Whom::Anonymous);
    // In an order of its own, so that what is left out of a huge file does not depend on chance.
    let mut users: Vec<_> = file.users.iter().collect();
    users.sort_unstable_by_key(|(name, _)| &**name);
    for (name, rules) in users {
        lint.list(rules, Whom::User(name));
    }
    let mut groups: Vec<_> = file.groups.iter().collect();
    groups.sort_unstable_by_key(|(name, _)| &**name);
    for (_, rules) in groups {
        lint.list(rules, Whom::Some);
    }
    for client in &file.clients {
        lint.list(&client.rules, Whom::Some);
    }
    lint.list(&file.everyone, Whom::All);
    let mut found = lint.found;
    if lint.pairs == 0 {
        found.push((
            Place { file: 0, line: 1 },
            NOT_COMPARED,
            format!("the file has so many rules that only {MAX_PAIRS} pairs of them were compared"),
        ));
    }
    found.sort_by_key(|(place, name, _)| (*place, *name));
    let warning = |(place, name, message): (Place, &'static str, String)| AclWarning {
        name,
        file: file.path(place),
        line: place.line,
        message,
    };
    found.into_iter().map(warning).collect()
}

/// Whom a list of rules is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whom<'a> {
    Anonymous,
    User(&'a str),
    /// A group, or clients.
    Some,
    All,
}

impl<'a> Whom<'a> {
    fn username(self) -> Option<&'a str> {
        match self {
            Self::User(name) => Some(name),
            _ => None,
        }
    }
}

struct Lint<'a> {
    file: &'a AclFile,
    found: Vec<(Place, &'static str, String)>,
    /// Pairs that may still be compared.
    pairs: usize,
    only_beaten: bool,
}

impl<'a> Lint<'a> {
    fn list(&mut self, rules: &'a [Rule], whom: Whom<'a>) {
        if rules.is_empty() {
            return;
        }
        let known = |rule: &'a Rule| (rule, templates(&rule.levels, whom.username()));
        let is_deny = |rule: &&Rule| rule.access.is_deny();
        let everyone = &self.file.everyone;
        // In the order of decision: in version 2 the denies of `all` come first.
        let denies_of_all: Vec<_> = match (self.file.order, whom) {
            (Order::Mosquitto, _) | (_, Whom::All) => Vec::new(),
            (Order::DenyFirst, _) => everyone.iter().rev().filter(is_deny).map(known).collect(),
        };
        let first = denies_of_all.len();
        let mut ordered = denies_of_all;
        ordered.extend(rules.iter().rev().filter(is_deny).map(known));
        ordered.extend(
            rules
                .iter()
                .filter(|rule| !rule.access.is_deny())
                .map(known),
        );
        if !self.only_beaten {
            self.idle(&ordered, first, whom);
        }
        if self.file.order == Order::Mosquitto && whom != Whom::All {
            let denies: Vec<_> = everyone.iter().filter(is_deny).map(known).collect();
            self.beaten(&ordered, &denies, whom);
        }
    }

    /// Rules that decide nothing. `ordered` is in the order of decision, and from `first` on the list
    /// that is asked about.
    fn idle(&mut self, ordered: &[(&Rule, Vec<Template>)], first: usize, whom: Whom<'_>) {
        for (index, (rule, levels)) in ordered.iter().enumerate().skip(first) {
            // For a client whose name cannot be put into it, such a deny closes everything.
            let closes = rule.access.is_deny() && matches!(rule.levels, Levels::Templates(_));
            // That there is one changes how every subscription is judged.
            if closes || rule.access == Access::Subscribe {
                continue;
            }
            if let Some(why) = unreachable(rule, levels, whom) {
                self.found.push((rule.place, "unreachable-rule", why));
                continue;
            }
            self.shadowed(rule, levels, &ordered[..index]);
        }
    }

    /// Whether a comparison may still be made.
    fn may_compare(&mut self) -> bool {
        self.pairs = self.pairs.saturating_sub(1);
        self.pairs > 0
    }

    fn shadowed(&mut self, rule: &Rule, levels: &[Template], earlier: &[(&Rule, Vec<Template>)]) {
        for (other, outer) in earlier {
            if !self.may_compare() {
                return;
            }
            if !decides_first(other, rule) || !covers(outer, levels) {
                continue;
            }
            let by = self.shown(other);
            let (name, message) = if rule.access.is_deny() {
                (
                    "unreachable-rule",
                    format!("denies nothing that {by} does not deny before it"),
                )
            } else if other.access.is_deny() {
                (
                    "shadowed-rule",
                    format!("grants nothing: {by} denies all of it"),
                )
            } else {
                (
                    "shadowed-rule",
                    format!("grants nothing that {by} does not grant already"),
                )
            };
            self.found.push((rule.place, name, message));
            return;
        }
    }

    /// Grants of the client's own list that are asked before the deny of a pattern.
    fn beaten(
        &mut self,
        own: &[(&Rule, Vec<Template>)],
        denies: &[(&Rule, Vec<Template>)],
        whom: Whom<'_>,
    ) {
        for (grant, levels) in own.iter().filter(|(rule, _)| !rule.access.is_deny()) {
            for (deny, denied) in denies {
                if whom == Whom::Anonymous && deny.levels.names(Name::Username) {
                    continue;
                }
                if !self.may_compare() {
                    return;
                }
                if overlap(levels, denied) {
                    let message = format!(
                        "beats {} where both match: a client's own rules are asked before \
                         patterns",
                        self.shown(deny)
                    );
                    self.found.push((grant.place, GRANT_BEATS_DENY, message));
                    break;
                }
            }
        }
    }

    /// How another rule is named.
    fn shown(&self, rule: &Rule) -> String {
        let Place { file, line } = rule.place;
        let written = format!("`{} {}`", rule.access.word(), shortened(&rule.filter));
        match self.file.files.get(usize::from(file)) {
            Some(name) if file > 0 => format!("{written} in line {line} of {name}"),
            _ => format!("{written} in line {line}"),
        }
    }
}

/// Why no client can ever hit the rule.
fn unreachable(rule: &Rule, levels: &[Template], whom: Whom<'_>) -> Option<String> {
    let first = match levels.first() {
        Some(Template::Fixed(Level::Literal(word))) => &**word,
        _ => "",
    };
    if first == "$share" {
        return Some("no topic begins with $share: write the filter without it".into());
    }
    let bridge_state = ["$SYS", "broker", "connection", "+", "state"];
    let bridge_state = bridge_state.map(|word| match word {
        "+" => Template::Fixed(Level::Plus),
        word => Template::Fixed(Level::Literal(word.into())),
    });
    let is_closed = is_closed_for_writing(first) && !overlap(levels, &bridge_state);
    if rule.access == Access::Write && is_closed {
        return Some(format!(
            "nobody may publish under {first}, whatever the rules"
        ));
    }
    if whom == Whom::Anonymous && rule.levels.names(Name::Username) {
        return Some("an anonymous client has no user name that %u could stand for".into());
    }
    None
}

/// Whether all that `rule` would decide is decided by `other` if its filter matches too.
fn decides_first(other: &Rule, rule: &Rule) -> bool {
    let same_addresses = match (&other.addresses, &rule.addresses) {
        (None, _) => true,
        (Some(other), Some(rule)) => other == rule,
        (Some(_), None) => false,
    };
    let mut wanted = [Wanted::Write(2), Wanted::Read(2), Wanted::Subscribe(2)].into_iter();
    same_addresses
        && wanted.all(|wanted| {
            let asked = rule.access.grants(wanted) || rule.access.denies(wanted);
            !asked
                || other.access.denies(wanted)
                || (other.access.grants(wanted)
                    && !rule.access.is_deny()
                    && other.max_qos >= rule.max_qos)
        })
}

/// The levels as written, with the name of the one user they are for put in.
fn templates(levels: &Levels, username: Option<&str>) -> Vec<Template> {
    let templates = match levels {
        Levels::Fixed(levels) => return levels.iter().cloned().map(Template::Fixed).collect(),
        Levels::Templates(templates) => templates,
    };
    let named = |template: &Template| match (template, username) {
        (Template::Parts { parts, is_prefix }, Some(name)) => with_name(parts, *is_prefix, name),
        (template, _) => template.clone(),
    };
    templates.iter().map(named).collect()
}

fn with_name(parts: &[Part], is_prefix: bool, username: &str) -> Template {
    let mut merged: Vec<Part> = Vec::new();
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Name(Name::Username) => text.push_str(username),
            Part::Name(name) => {
                if !text.is_empty() {
                    merged.push(Part::Text(std::mem::take(&mut text).into()));
                }
                merged.push(Part::Name(*name));
            }
        }
    }
    if merged.is_empty() {
        return Template::Fixed(if is_prefix {
            Level::Prefix(text.into())
        } else {
            Level::Literal(text.into())
        });
    }
    if !text.is_empty() {
        merged.push(Part::Text(text.into()));
    }
    Template::Parts {
        parts: merged.into(),
        is_prefix,
    }
}

/// What the words of a level begin with, and whether that is all of them; `None` for wildcards.
fn beginning(template: &Template) -> Option<(&str, bool)> {
    match template {
        Template::Fixed(Level::Literal(word)) => Some((word, true)),
        Template::Fixed(Level::Prefix(word)) => Some((word, false)),
        Template::Fixed(Level::Plus | Level::Hash) => None,
        Template::Parts { parts, .. } => match parts.first() {
            Some(Part::Text(text)) => Some((text, false)),
            _ => Some(("", false)),
        },
    }
}

/// Whether a first level is out of reach of `+` and `#` [MQTT-4.7.2-1]. A name that is a whole first
/// level is never bound to one that begins with `$`.
fn is_reserved(template: &Template) -> bool {
    beginning(template).is_some_and(|(text, _)| text.starts_with('$'))
}

/// Whether every topic of `inner` is one of `outer`, whoever the client is. A doubt is a no.
fn covers(outer: &[Template], inner: &[Template]) -> bool {
    let hash = Template::Fixed(Level::Hash);
    let mut depth = 0;
    loop {
        let is_hidden = depth == 0 && inner.first().is_some_and(is_reserved);
        match (outer.get(depth), inner.get(depth)) {
            (None, None) => return true,
            (Some(outer), _) if *outer == hash => return !is_hidden,
            (Some(outer), Some(inner)) if *inner != hash => {
                if !takes(outer, inner, is_hidden) {
                    return false;
                }
            }
            _ => return false,
        }
        depth += 1;
    }
}

fn takes(outer: &Template, inner: &Template, is_hidden: bool) -> bool {
    match outer {
        Template::Fixed(Level::Plus | Level::Hash) => !is_hidden,
        Template::Fixed(Level::Literal(_)) => outer == inner,
        Template::Fixed(Level::Prefix(prefix)) => {
            beginning(inner).is_some_and(|(text, _)| text.starts_with(&**prefix))
        }
        Template::Parts { parts, is_prefix } => match inner {
            Template::Parts {
                parts: others,
                is_prefix: other,
            } => parts == others && (*is_prefix || !other),
            Template::Fixed(_) => false,
        },
    }
}

/// Whether some topic, for some client, may be one of both. A doubt is a yes.
fn overlap(one: &[Template], other: &[Template]) -> bool {
    let hash = Template::Fixed(Level::Hash);
    let mut depth = 0;
    loop {
        let (one, other) = match (one.get(depth), other.get(depth)) {
            (None, None) => return true,
            (Some(one), Some(other)) => (one, other),
            (Some(rest), None) | (None, Some(rest)) => return *rest == hash,
        };
        if !meet(one, other, depth == 0) {
            return false;
        }
        if *one == hash || *other == hash {
            return true;
        }
        depth += 1;
    }
}

fn meet(one: &Template, other: &Template, is_first: bool) -> bool {
    let (Some((text, whole)), Some((other_text, other_whole))) = (beginning(one), beginning(other))
    else {
        return !(is_first && (is_reserved(one) || is_reserved(other)));
    };
    let is_name_alone = |template: &Template| matches!(template, Template::Parts { parts, .. } if matches!(parts.first(), Some(Part::Name(_))));
    if is_first
        && ((is_name_alone(one) && is_reserved(other))
            || (is_name_alone(other) && is_reserved(one)))
    {
        return false;
    }
    match (whole, other_whole) {
        (true, true) => text == other_text,
        (true, false) => text.starts_with(other_text),
        (false, true) => other_text.starts_with(text),
        (false, false) => text.starts_with(other_text) || other_text.starts_with(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(acl: &str) -> Vec<String> {
        let file = AclFile::parse("acl", acl).expect("valid");
        let found = findings(&file).into_iter();
        found
            .map(|warning| format!("{} {}", warning.line, warning.name))
            .collect()
    }

    #[test]
    fn a_grant_is_shadowed_by_what_is_asked_before_it_and_covers_it() {
        assert_eq!(
            names("user u\ntopic read a/#\ntopic read a/b\n"),
            ["3 shadowed-rule"]
        );
        // Asked in this order both have a say.
        assert_eq!(names("user u\ntopic read a/b\ntopic read a/#\n"), [""; 0]);
        assert_eq!(names("user u\ntopic read a/#\ntopic write a/b\n"), [""; 0]);
        assert_eq!(
            names("user u\ntopic a/+\ntopic deny a/#\n"),
            ["2 shadowed-rule"]
        );
        assert_eq!(names("user u\ntopic read #\ntopic read $SYS/a\n"), [""; 0]);
        assert_eq!(names("user u\ntopic read a/+\ntopic read a/#\n"), [""; 0]);
        // Another's rules decide nothing.
        assert_eq!(names("user u\ntopic a\nuser v\ntopic a\n"), [""; 0]);
        assert_eq!(
            names("#!acl 2\nall\ntopic deny a/#\nuser u\ntopic read a/b\n"),
            ["5 shadowed-rule"]
        );
        let qos = "#!acl 2\nuser u\nmax_qos 0\ntopic read a/#\nmax_qos 1\ntopic read a/b\n";
        assert_eq!(names(qos), [""; 0]);
        let addresses =
            "#!acl 2\nuser u\naddress 10.0.0.0/8\ntopic deny a\naddress any\ntopic read a\n";
        assert_eq!(names(addresses), [""; 0]);
        let reads = "#!acl 2\nuser u\ntopic readdeny a\ntopic read a\ntopic write a\n";
        // Who subscribes without a right to read has each delivery judged.
        assert_eq!(names(reads), [""; 0]);
    }

    #[test]
    fn a_rule_that_no_client_can_hit_is_unreachable() {
        assert_eq!(
            names("user u\ntopic deny a/b\ntopic deny a/#\n"),
            ["2 unreachable-rule"]
        );
        assert_eq!(
            names("user u\ntopic read $share/g/a\n"),
            ["2 unreachable-rule"]
        );
        assert_eq!(
            names("user u\ntopic write $SYS/a\ntopic write $SYS/#\n"),
            ["2 unreachable-rule"]
        );
        assert_eq!(
            names("#!acl 2\nanonymous\ntopic read a/%u\n"),
            ["3 unreachable-rule"]
        );
    }

    #[test]
    fn a_users_grant_that_beats_a_patterns_deny_is_told_for_this_user() {
        let beaten = ["4 user-grant-beats-pattern-deny"];
        assert_eq!(
            names("pattern deny a/#\n\nuser u\ntopic read a/b\n"),
            beaten
        );
        assert_eq!(
            names("pattern deny a/%u\n\nuser u\ntopic read a/u\n"),
            beaten
        );
        assert_eq!(names("pattern deny a/%u\n\nuser u\ntopic a/v\n"), [""; 0]);
        assert_eq!(
            names("pattern deny a/%c\n\nuser u\ntopic read a/v\n"),
            beaten
        );
        assert_eq!(names("pattern deny a/%u\ntopic read a/u\n"), [""; 0]);
        assert_eq!(names("pattern deny %c/#\nuser u\ntopic $a/b\n"), [""; 0]);
    }

    const WORDS: [&str; 7] = ["a", "b", "ab", "", "z", "b!", "$s"];

    fn written(choices: &[usize]) -> Option<Vec<Template>> {
        let all = [
            Template::Fixed(Level::Plus),
            Template::Fixed(Level::Hash),
            Template::Fixed(Level::Literal("a".into())),
            Template::Fixed(Level::Literal("b".into())),
            Template::Fixed(Level::Literal("".into())),
            Template::Fixed(Level::Literal("$s".into())),
            Template::Fixed(Level::Prefix("a".into())),
            Template::Fixed(Level::Prefix("$".into())),
            Template::Parts {
                parts: [Part::Name(Name::ClientId)].into(),
                is_prefix: false,
            },
            Template::Parts {
                parts: [Part::Text("a".into()), Part::Name(Name::ClientId)].into(),
                is_prefix: false,
            },
            Template::Parts {
                parts: [Part::Name(Name::ClientId)].into(),
                is_prefix: true,
            },
        ];
        let levels: Vec<Template> = choices
            .iter()
            .map(|at| all[at % all.len()].clone())
            .collect();
        let hash = levels.iter().position(|level| *level == all[1]);
        hash.is_none_or(|at| at + 1 == levels.len())
            .then_some(levels)
    }

    /// Which topics of up to three levels match for a client, asked of each.
    fn matched(levels: &[Template], client_id: &str) -> Vec<bool> {
        let names = super::super::level::Names {
            client_id,
            ..Default::default()
        };
        let bound = Levels::new(levels.to_vec()).bind(&names).ok().flatten();
        let mut answers = Vec::new();
        for a in WORDS {
            answers.push(matches(bound.as_deref(), &[a]));
            for b in WORDS {
                answers.push(matches(bound.as_deref(), &[a, b]));
                for c in WORDS {
                    answers.push(matches(bound.as_deref(), &[a, b, c]));
                }
            }
        }
        answers
    }

    fn matches(levels: Option<&[Level]>, words: &[&str]) -> bool {
        let Some(levels) = levels else { return false };
        let hidden = words[0].starts_with('$') && matches!(levels[0], Level::Plus | Level::Hash);
        let hash = levels.last() == Some(&Level::Hash);
        let fixed = levels.len() - usize::from(hash);
        let fits = words.len() == fixed || (hash && words.len() >= fixed);
        !hidden
            && fits
            && levels
                .iter()
                .zip(words)
                .all(|(level, word)| level.takes(word))
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4_000))]
        #[test]
        fn what_is_said_of_two_filters_is_so_for_every_topic_and_client(
            one in proptest::collection::vec(0..11_usize, 1..=3),
            other in proptest::collection::vec(0..11_usize, 1..=3),
        ) {
            let (Some(one), Some(other)) = (written(&one), written(&other)) else {
                return Ok(());
            };
            let has_names = |levels: &[Template]| {
                levels.iter().any(|level| matches!(level, Template::Parts { .. }))
            };
            let plain = !has_names(&one) && !has_names(&other);
            let mut all_covered = true;
            let mut any_common = false;
            for client in ["a", "b", "z", "b!", "$s"] {
                let pairs: Vec<_> = matched(&one, client).into_iter().zip(matched(&other, client)).collect();
                all_covered &= pairs.iter().all(|(one, other)| *one || !other);
                any_common |= pairs.iter().any(|(one, other)| *one && *other);
            }
            if covers(&one, &other) {
                proptest::prop_assert!(all_covered);
            }
            proptest::prop_assert!(overlap(&one, &other) || !any_common);
            if plain {
                // Nothing is bound, so there is no doubt: all that meet do so in this small world.
                proptest::prop_assert_eq!(overlap(&one, &other), any_common);
            }
        }
    }
}
