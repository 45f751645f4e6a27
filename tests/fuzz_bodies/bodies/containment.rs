//! The guard against enumeration, compared with brute force: a filter is granted exactly if every
//! topic that it matches may be delivered. Rules and filter are made of few words, so that all
//! topics that could tell can be tried.

use std::sync::{Arc, OnceLock};

use portcullis::codec::QoS;
use portcullis::policy::acl::AclFile;
use portcullis::policy::{Policy, Principal, SubscribeGuard};
use portcullis::topic::{TopicFilter, check_filter, matches};

use super::obviously_matches;

/// `z` stands in no rule: it is any other word. `$s` only matters as a first level.
const WORDS: [&str; 5] = ["a", "b", "", "z", "$s"];
const FILTER_WORDS: [&str; 6] = ["a", "b", "", "+", "#", "$s"];
/// In a pattern the last two stand for the client, whose names are words of topics.
const PATTERN_WORDS: [&str; 8] = ["a", "b", "", "+", "#", "$s", "%u", "%c"];
const USERNAME: &str = "a";
const CLIENT_ID: &str = "b";
const LEVELS: usize = 3;
/// One level more than rules and filters have: beyond that nothing changes.
const TOPIC_LEVELS: usize = LEVELS + 1;

fn topics() -> &'static [String] {
    static TOPICS: OnceLock<Vec<String>> = OnceLock::new();
    TOPICS.get_or_init(|| {
        let mut all: Vec<String> = Vec::new();
        let mut last: Vec<String> = WORDS.iter().map(|&word| word.to_owned()).collect();
        for _ in 0..TOPIC_LEVELS {
            all.extend(last.iter().cloned());
            let deeper = |head: &String| WORDS.map(|word| format!("{head}/{word}"));
            last = last.iter().flat_map(deeper).collect();
        }
        // The empty text is no Topic Name [MQTT-4.7.3-1].
        all.retain(|topic| !topic.is_empty());
        all
    })
}

struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % bound
    }

    fn filter(&mut self, of: &[&str]) -> String {
        let count = 1 + self.below(LEVELS);
        let words: Vec<&str> = (0..count).map(|_| of[self.below(of.len())]).collect();
        words.join("/")
    }
}

pub(super) fn run(data: &[u8]) {
    let mut choices = Choices(data.iter());
    let wanted = choices.filter(&FILTER_WORDS);
    let Ok(filter) = TopicFilter::parse(&wanted) else {
        return;
    };
    let mut acl = format!("user {USERNAME}\n");
    for _ in 0..=choices.below(6) {
        // In a topic rule they are text, which no topic here has.
        let (keyword, words) =
            [("topic", &FILTER_WORDS[..]), ("pattern", &PATTERN_WORDS)][choices.below(2)];
        let access = ["read", "deny", "readwrite", "write"][choices.below(4)];
        let rule = choices.filter(words);
        if check_filter(&rule).is_ok() {
            acl += &format!("{keyword} {access} {rule}\n");
        }
    }
    let Ok(file) = AclFile::parse("fuzz.acl", &acl) else {
        return;
    };
    let policy = Policy::new(vec![Some(Arc::new(file))], SubscribeGuard::Strict, 200);
    let rights = policy.bind(&Principal::new(Some(USERNAME), CLIENT_ID), 0);
    let mut all_granted = true;
    for topic in topics() {
        let matched = obviously_matches(&wanted, topic);
        assert_eq!(matches(&wanted, topic), matched, "{wanted} {topic}");
        all_granted &= !matched || rights.deliver(topic).is_ok();
    }
    let granted = rights.subscribe(&filter, QoS::AtMostOnce).is_ok();
    assert_eq!(granted, all_granted, "{wanted} under\n{acl}");
    match rights.explain_subscribe(&filter, QoS::AtMostOnce).witness {
        None => assert!(granted, "{wanted} under\n{acl}"),
        Some(witness) => {
            assert!(!granted);
            assert!(obviously_matches(&wanted, &witness), "{wanted} {witness}");
            assert!(rights.deliver(&witness).is_err(), "{witness} under\n{acl}");
        }
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    // Random choices: each byte is one.
    let mut state: u32 = 9;
    (0..64)
        .map(|_| {
            (0..40)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state.to_be_bytes()[0]
                })
                .collect()
        })
        .collect()
}
