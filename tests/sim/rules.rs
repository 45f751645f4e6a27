//! Who may do what: an ACL file for the broker, and the same rules as a table for the oracle, which
//! matches level by level and proves a filter by trying every topic of a small world.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// What the broker reads.
pub(crate) const ACL: &str = "\
user free
topic readwrite #
user fenced
topic readwrite a/#
topic read r/+
topic readwrite s/#
topic deny a/secret/#
topic write w/#
user silent
topic read #
topic deny a/secret/#
pattern readwrite own/%c/#
";

pub(crate) const USERS: [&str; 4] = ["free", "free", "fenced", "silent"];

/// The levels that the topics of the simulation are made of, and one that none is.
const LEVELS: [&str; 10] = [
    "a", "b", "c", "r", "s", "w", "secret", "own", "c0001", "other",
];

pub(crate) const TOPICS: [&str; 14] = [
    "a",
    "a/b",
    "a/c",
    "a/b/c",
    "a/secret",
    "a/secret/b",
    "b",
    "b/c",
    "r/a",
    "r/b",
    "r/c",
    "s/a",
    "s/b",
    "own/c0001/a",
];

pub(crate) const FILTERS: [&str; 22] = [
    "#",
    "a/#",
    "a/+",
    "a/b",
    "a/b/#",
    "+/b",
    "+",
    "b/#",
    "r/+",
    "r/a",
    "r/#",
    "own/c0001/#",
    "own/#",
    "w/#",
    "a/+/c",
    "s/a",
    "$share/g/s/#",
    "$share/h/s/+",
    "$share/g/a/b",
    "$share/g/#",
    "a/secret/#",
    "$share/g/a/+",
];

fn line(allow: bool, read: bool, write: bool, filter: &str) -> Rule {
    Rule {
        allow,
        read,
        write,
        filter: filter.into(),
    }
}

struct Rule {
    allow: bool,
    read: bool,
    write: bool,
    filter: String,
}

fn rules(user: &str, client: &str) -> Vec<Rule> {
    let mut rules = match user {
        "free" => vec![line(true, true, true, "#")],
        "fenced" => vec![
            line(true, true, true, "a/#"),
            line(true, true, false, "r/+"),
            line(true, true, true, "s/#"),
            line(false, true, true, "a/secret/#"),
            line(true, false, true, "w/#"),
        ],
        _ => vec![
            line(true, true, false, "#"),
            line(false, true, true, "a/secret/#"),
        ],
    };
    rules.push(line(true, true, true, &format!("own/{client}/#")));
    rules
}

/// Whether a Topic Name matches a filter, level by level (MQTT 5.0 section 4.7).
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && !filter.starts_with('$') {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    let hash = filter.last() == Some(&"#");
    let levels = &filter[..filter.len() - usize::from(hash)];
    if topic.len() < levels.len() || (!hash && topic.len() > levels.len()) {
        return false;
    }
    let mut pairs = levels.iter().zip(&topic);
    pairs.all(|(filter, topic)| filter == &"+" || filter == topic)
}

fn may(user: &str, client: &str, topic: &str, asks: impl Fn(&Rule) -> bool) -> bool {
    let rules = rules(user, client);
    let mut hits = rules.iter().filter(|rule| matches(&rule.filter, topic));
    if hits.clone().any(|rule| !rule.allow) {
        return false;
    }
    hits.any(|rule| rule.allow && asks(rule))
}

pub(crate) fn may_write(user: &str, client: &str, topic: &str) -> bool {
    may(user, client, topic, |rule| rule.write)
}

pub(crate) fn may_read(user: &str, client: &str, topic: &str) -> bool {
    may(user, client, topic, |rule| rule.read)
}

/// Filter without `$share/<name>/`.
pub(crate) fn shared(text: &str) -> (Option<&str>, &str) {
    let Some(rest) = text.strip_prefix("$share/") else {
        return (None, text);
    };
    let (name, filter) = rest.split_once('/').expect("a valid filter");
    (Some(name), filter)
}

/// Whether every topic of the filter may be read.
pub(crate) fn may_subscribe(user: &str, client: &str, text: &str) -> bool {
    type Answers = BTreeMap<(String, bool, &'static str), bool>;
    static ANSWERS: OnceLock<Answers> = OnceLock::new();
    let is_first = client == "c0001";
    let answers = ANSWERS.get_or_init(|| {
        let mut answers = Answers::new();
        for user in USERS {
            for (is_first, client) in [(true, "c0001"), (false, "c9999")] {
                for text in FILTERS {
                    let filter = shared(text).1;
                    let granted = world()
                        .iter()
                        .filter(|topic| matches(filter, topic))
                        .all(|topic| may_read(user, client, topic));
                    answers.insert((user.into(), is_first, text), granted);
                }
            }
        }
        answers
    });
    let known = answers
        .iter()
        .find(|((name, first, filter), _)| name == user && *first == is_first && *filter == text);
    *known.expect("a filter of the table").1
}

fn world() -> &'static [String] {
    static WORLD: OnceLock<Vec<String>> = OnceLock::new();
    WORLD.get_or_init(|| {
        let mut all: Vec<String> = Vec::new();
        let mut last = vec![String::new()];
        for depth in 0..3 {
            let next: Vec<String> = last
                .iter()
                .flat_map(|head| {
                    LEVELS.iter().map(move |level| match depth {
                        0 => (*level).to_owned(),
                        _ => format!("{head}/{level}"),
                    })
                })
                .collect();
            all.extend(next.iter().cloned());
            last = next;
        }
        all
    })
}
