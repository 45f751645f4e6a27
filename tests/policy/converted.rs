//! Files made out of others: what is decided stays as it was.

use std::sync::Arc;

use portcullis::codec::QoS;
use portcullis::message::group_set;
use portcullis::policy::acl::{AclFile, convert};
use portcullis::policy::{Policy, Principal, Rights, SubscribeGuard};
use portcullis::topic::{TopicFilter, check_filter};
use proptest::prelude::*;

const WORDS: [&str; 12] = [
    "a", "b", "", "z", "+", "#", "$s", "%u", "%c", "a*", "x%c", "100%",
];
const WORDS_2: [&str; 11] = ["a", "b", "ab", "", "+", "#", "$s", "%u", "%c", "%u%c", "a*"];
/// In topics; some are what a word above is when it is text.
const TOPIC_WORDS: [&str; 9] = ["a", "b", "ab", "", "z", "$s", "%u", "a*", "x%c"];
const CLIENTS: [Client; 6] = [
    (Some("a"), "b"),
    (Some("b"), "b"),
    (Some("z"), "a"),
    (None, "a"),
    (Some("a b"), "c"),
    // It cannot stand for `%c` at the start of a topic; what becomes of such clients is in the notes.
    (Some("a b"), "$s"),
];
const USUAL: usize = 5;
type Client = (Option<&'static str>, &'static str);

fn filter(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let level = prop::sample::select(words);
    prop::collection::vec(level, 1..=3)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a valid filter", |filter| check_filter(filter).is_ok())
}

fn mosquittos() -> impl Strategy<Value = String> {
    let access = prop::sample::select(&["read", "write", "readwrite", "deny"][..]);
    let keyword = prop::sample::select(&["topic", "pattern"][..]);
    let rule = (keyword, access, filter(&WORDS))
        .prop_map(|(keyword, access, filter)| format!("{keyword} {access} {filter}"));
    let plain = prop::sample::select(
        &[
            "user a",
            "user b",
            "user a b",
            "# a comment",
            "",
            "topic a",
            "pattern %u",
            "topic deny",
        ][..],
    );
    let line = prop_oneof![3 => rule, 2 => plain.prop_map(str::to_owned)];
    prop::collection::vec(line, 0..10).prop_map(|lines| lines.join("\n"))
}

fn version_2() -> impl Strategy<Value = String> {
    let accesses = [
        "read",
        "write",
        "readwrite",
        "subscribe",
        "deny",
        "readdeny",
        "writedeny",
    ];
    let access = prop::sample::select(accesses.to_vec());
    let filter = filter(&WORDS_2);
    let rule = (access, filter).prop_map(|(access, filter)| format!("topic {access} {filter}"));
    let plain = prop::sample::select(
        &[
            "user a",
            "user b",
            "group g",
            "client b",
            "client b*",
            "anonymous",
            "all",
            "max_qos 0",
            "max_qos 1",
            "address 10.0.0.0/8",
            "address any",
        ][..],
    );
    let line = prop_oneof![3 => rule, 1 => plain.prop_map(str::to_owned)];
    prop::collection::vec(line, 1..12)
        .prop_map(|lines| format!("#!acl 2\nall\n{}", lines.join("\n")))
}

fn parsed(text: &str) -> AclFile {
    AclFile::parse("acl", text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"))
}

/// What the file means for each client.
fn rights(text: &str, clients: &[Client]) -> Vec<Rights> {
    let policy = Policy::new(
        vec![Some(Arc::new(parsed(text)))],
        SubscribeGuard::Strict,
        200,
    );
    let groups = group_set(["g"]).expect("a name");
    let bound = clients.iter().flat_map(|(user, client)| {
        ["10.1.1.1", "192.0.2.1"].map(|address| {
            let principal = Principal {
                groups: Some(&groups),
                address: Some(address.parse().expect("an address")),
                ..Principal::new(*user, client)
            };
            policy.bind(&principal, 0)
        })
    });
    bound.collect()
}

fn decide_alike(
    clients: &[Client],
    old: &str,
    new: &str,
    topics: &[String],
) -> Result<(), TestCaseError> {
    for (before, after) in rights(old, clients).iter().zip(rights(new, clients)) {
        for topic in topics.iter().filter(|topic| !topic.is_empty()) {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let is_open = |rights: &Rights| rights.publish(topic, qos).is_ok();
                prop_assert_eq!(
                    is_open(before),
                    is_open(&after),
                    "{}\n\n{}\n\n{}",
                    topic,
                    old,
                    new
                );
                let filter = TopicFilter::parse(topic).expect("it has no wildcard");
                let subscribed = |rights: &Rights| {
                    rights
                        .subscribe(&filter, qos)
                        .map(|granted| granted.qos)
                        .ok()
                };
                prop_assert_eq!(
                    subscribed(before),
                    subscribed(&after),
                    "{}\n\n{}\n\n{}",
                    topic,
                    old,
                    new
                );
            }
            let is_open = |rights: &Rights| rights.deliver(topic).is_ok();
            prop_assert_eq!(
                is_open(before),
                is_open(&after),
                "{}\n\n{}\n\n{}",
                topic,
                old,
                new
            );
        }
    }
    Ok(())
}

/// The file without the rules that are said to decide nothing.
fn without_idle(text: &str) -> (usize, String) {
    let file = parsed(text);
    let idle: Vec<u32> = file
        .warnings()
        .iter()
        .filter(|warning| matches!(warning.name, "shadowed-rule" | "unreachable-rule"))
        .map(|warning| warning.line)
        .collect();
    let lines = (1..).zip(text.split('\n'));
    let kept = lines.map(|(number, line)| if idle.contains(&number) { "" } else { line });
    (idle.len(), kept.collect::<Vec<_>>().join("\n"))
}

fn topics() -> impl Strategy<Value = Vec<String>> {
    let level = prop::sample::select(&TOPIC_WORDS[..]);
    let topic = prop::collection::vec(level, 1..=4).prop_map(|levels| levels.join("/"));
    prop::collection::vec(topic, 12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]
    #[test]
    fn a_converted_file_decides_as_the_old_one_did(old in mosquittos(), topics in topics()) {
        let converted = convert(&old).expect("valid");
        if converted.conflicts.is_empty() {
            decide_alike(&CLIENTS[..USUAL], &old, &converted.text, &topics)?;
        }
    }

    #[test]
    fn a_rule_that_is_said_to_decide_nothing_decides_nothing(
        text in prop_oneof![mosquittos(), version_2()],
        topics in topics(),
    ) {
        let (count, without) = without_idle(&text);
        if count > 0 {
            decide_alike(&CLIENTS, &text, &without, &topics)?;
        }
    }
}

#[test]
fn a_line_that_cannot_be_converted_means_something_else_indeed() {
    let old = "pattern deny a/#\nuser a\ntopic read a/b\n";
    let converted = convert(old).expect("valid");
    assert_eq!(converted.conflicts.len(), 1);
    let is_read = |text: &str| rights(text, &CLIENTS)[0].deliver("a/b").is_ok();
    assert!(is_read(old) && !is_read(&converted.text));
}
