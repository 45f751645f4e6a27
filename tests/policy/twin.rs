//! Decisions and proofs, compared with what is obvious: every topic of a small world is asked.
//!
//! The world is all topics of up to four levels out of six words. For each filter that can be written
//! with few words it is known which of them it matches, by the plainest matching there is. From these
//! sets what a file grants is worked out as sets: what its order says, and nothing else. Rules have at
//! most three levels, so nothing can change below the fourth.

use std::collections::HashMap;
use std::env;
use std::sync::Arc;

use portcullis::codec::QoS;
use portcullis::policy::acl::AclFile;
use portcullis::policy::{Policy, Principal, Rights, SubscribeGuard};
use portcullis::topic::{TopicFilter, check_filter};

/// `z` stands in no rule: it is any other word. `$s` only matters as a first level.
const WORDS: [&str; 6] = ["a", "b", "ab", "", "z", "$s"];
const LEVELS: usize = 3;
const TOPIC_LEVELS: usize = LEVELS + 1;
const FILTER_WORDS: [&str; 7] = ["a", "b", "ab", "", "+", "#", "$s"];
/// In patterns of mosquitto's: the client is user `a` with the id `b`.
const PATTERN_WORDS: [&str; 9] = ["a", "b", "ab", "", "+", "#", "$s", "%u", "%c"];
/// In version 2.
const WORDS_2: [&str; 12] = [
    "a", "b", "ab", "", "+", "#", "$s", "%u", "%c", "%u%c", "a*", "%u*",
];
const USERNAME: &str = "a";
const CLIENT_ID: &str = "b";

/// A set of topics.
#[derive(Clone, PartialEq, Eq)]
struct Set(Vec<u64>);

impl Set {
    fn fill(&mut self, with: impl Fn(u64, u64) -> u64, other: &Self) {
        for (mine, other) in self.0.iter_mut().zip(&other.0) {
            *mine = with(*mine, *other);
        }
    }

    fn add(&mut self, other: &Self) {
        self.fill(|mine, other| mine | other, other);
    }

    fn take_away(&mut self, other: &Self) {
        self.fill(|mine, other| mine & !other, other);
    }

    fn is_within(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(&other.0)
            .all(|(mine, other)| mine & !other == 0)
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }
}

pub(super) struct World {
    pub(super) topics: Vec<String>,
    known: HashMap<String, Set>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut topics: Vec<String> = Vec::new();
        let mut last: Vec<String> = WORDS.map(str::to_owned).to_vec();
        for _ in 0..TOPIC_LEVELS {
            topics.extend(last.iter().cloned());
            let deeper = |head: &String| WORDS.map(|word| format!("{head}/{word}"));
            last = last.iter().flat_map(deeper).collect();
        }
        // The empty text is no Topic Name [MQTT-4.7.3-1].
        topics.retain(|topic| !topic.is_empty());
        Self {
            topics,
            known: HashMap::new(),
        }
    }

    fn none(&self) -> Set {
        Set(vec![0; self.topics.len().div_ceil(64)])
    }

    /// The topics that a filter matches; a `*` at the end of a level means any rest.
    fn set(&mut self, filter: &str) -> &Set {
        if !self.known.contains_key(filter) {
            let mut set = self.none();
            for (index, topic) in self.topics.iter().enumerate() {
                let names: Vec<&str> = topic.split('/').collect();
                let levels: Vec<&str> = filter.split('/').collect();
                let hidden = topic.starts_with('$') && matches!(levels[0], "+" | "#");
                if !hidden && obviously(&levels, &names) {
                    set.0[index / 64] |= 1 << (index % 64);
                }
            }
            self.known.insert(filter.to_owned(), set);
        }
        &self.known[filter]
    }
}

pub(super) fn obviously(levels: &[&str], names: &[&str]) -> bool {
    match (levels, names) {
        ([], []) | (["#"], _) => true,
        ([level, levels @ ..], [name, names @ ..]) => {
            let takes = match level.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => *level == "+" || level == name,
            };
            takes && obviously(levels, names)
        }
        _ => false,
    }
}

/// Random choices that a number repeats.
pub(super) struct Choices(pub(super) u64);

impl Choices {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("32 bits") % bound
    }

    pub(super) fn filter(&mut self, of: &[&str]) -> String {
        let mut text = String::new();
        for level in 0..=self.below(LEVELS) {
            if level > 0 {
                text.push('/');
            }
            text.push_str(of[self.below(of.len())]);
        }
        text
    }
}

/// What may be read and written.
pub(super) struct Obvious {
    read: Set,
    write: Set,
}

/// Rules that are asked in order: what one of them decides is not asked again.
fn in_order(world: &mut World, lists: &[&[(&str, String)]]) -> Obvious {
    let mut decided = [world.none(), world.none()];
    let mut granted = [world.none(), world.none()];
    for list in lists {
        let is_deny = |(access, _): &&&(&str, String)| access.ends_with("deny");
        let (denies, grants): (Vec<_>, Vec<_>) = list.iter().partition(|rule| is_deny(&rule));
        for (access, filter) in denies.into_iter().chain(grants) {
            let set = world.set(filter).clone();
            for (bit, name) in ["read", "write"].into_iter().enumerate() {
                let denies = *access == "deny" || *access == format!("{name}deny");
                if !denies && *access != name && *access != "readwrite" {
                    continue;
                }
                let mut new = set.clone();
                new.take_away(&decided[bit]);
                if !denies {
                    granted[bit].add(&new);
                }
                decided[bit].add(&new);
            }
        }
    }
    let [read, write] = granted;
    Obvious { read, write }
}

fn mosquittos(choices: &mut Choices, world: &mut World) -> (String, Obvious) {
    let mut text = format!("user {USERNAME}\n");
    let (mut own, mut patterns) = (Vec::new(), Vec::new());
    for _ in 0..=choices.below(6) {
        let is_pattern = choices.below(2) == 1;
        let words = if is_pattern {
            &PATTERN_WORDS[..]
        } else {
            &FILTER_WORDS
        };
        let access = ["read", "deny", "readwrite", "write"][choices.below(4)];
        let filter = choices.filter(words);
        if check_filter(&filter).is_err() {
            continue;
        }
        let keyword = if is_pattern { "pattern" } else { "topic" };
        text += &format!("{keyword} {access} {filter}\n");
        if is_pattern {
            let bound = filter.replace("%u", USERNAME).replace("%c", CLIENT_ID);
            patterns.push((access, bound));
        } else {
            own.push((access, filter));
        }
    }
    (text, in_order(world, &[&own, &patterns]))
}

fn version_2(choices: &mut Choices, world: &mut World) -> (String, Obvious) {
    let sections = [
        ("all", true),
        ("user a", true),
        ("user b", false),
        ("group g", true),
        ("group h", false),
        ("client b", true),
        ("client b*", true),
        ("client c*", false),
        ("anonymous", false),
    ];
    let mut text = "#!acl 2\n".to_owned();
    let mut rules = Vec::new();
    for _ in 0..=choices.below(6) {
        let (section, holds) = sections[choices.below(sections.len())];
        let access = [
            "read",
            "deny",
            "readwrite",
            "write",
            "readdeny",
            "writedeny",
        ][choices.below(6)];
        let filter = choices.filter(&WORDS_2);
        if check_filter(&filter.replace('*', "")).is_err() {
            continue;
        }
        text += &format!("{section}\ntopic {access} {filter}\n");
        if holds {
            let bound = filter.replace("%u", USERNAME).replace("%c", CLIENT_ID);
            rules.push((access, bound));
        }
    }
    (text, in_order(world, &[&rules]))
}

pub(super) fn some_file(choices: &mut Choices, world: &mut World) -> (String, Obvious) {
    match choices.below(2) {
        0 => mosquittos(choices, world),
        _ => version_2(choices, world),
    }
}

pub(super) fn bound(acl: &str) -> Rights {
    let file = AclFile::parse("acl", acl).unwrap_or_else(|errors| panic!("{acl}{errors:?}"));
    let policy = Policy::new(vec![Some(Arc::new(file))], SubscribeGuard::Strict, 200);
    let groups = [Arc::from("g")].into();
    let principal = Principal {
        groups: Some(&groups),
        ..Principal::new(Some(USERNAME), CLIENT_ID)
    };
    policy.bind(&principal, 0)
}

fn check(choices: &mut Choices, world: &mut World) {
    let (acl, obvious) = some_file(choices, world);
    let rights = bound(&acl);
    for _ in 0..4 {
        let index = choices.below(world.topics.len());
        let topic = &world.topics[index];
        let may_read = rights.deliver(topic).is_ok();
        assert_eq!(may_read, obvious.read.has(index), "{topic}\n{acl}");
        let may_write = rights.publish(topic, QoS::AtMostOnce).is_ok();
        assert_eq!(may_write, obvious.write.has(index), "{topic}\n{acl}");
    }
    let wanted = choices.filter(&FILTER_WORDS);
    let Ok(filter) = TopicFilter::parse(&wanted) else {
        return;
    };
    let may_subscribe = rights.subscribe(&filter, QoS::AtMostOnce).is_ok();
    let is_within = world.set(&wanted).is_within(&obvious.read);
    assert_eq!(may_subscribe, is_within, "{wanted}\n{acl}");
}

/// `PORTCULLIS_CONTAINMENT_CASES` says how many; each is one file and one filter.
#[test]
fn what_is_granted_is_what_is_obvious_in_every_case() {
    let cases = env::var("PORTCULLIS_CONTAINMENT_CASES");
    let cases: u64 = cases.map_or(60_000, |text| text.parse().expect("a number"));
    let mut world = World::new();
    let mut choices = Choices(0x9E37_79B9_7F4A_7C15);
    for _ in 0..cases {
        check(&mut choices, &mut world);
    }
    // The sets would be worth nothing if all of them were alike.
    assert!(world.known.len() > 100);
}
