//! Arbitrary text as an ACL file: errors have their place, and for whoever it is bound to, what is
//! granted as a filter is granted topic by topic.

use std::sync::Arc;

use portcullis::codec::QoS;
use portcullis::policy::acl::AclFile;
use portcullis::policy::{Policy, Principal, Rights, SubscribeGuard};
use portcullis::topic::{TopicFilter, check_name};

use super::obviously_matches;

const CLIENTS: [(Option<&str>, &str); 6] = [
    (None, "c1"),
    (Some("u"), "c1"),
    (Some("v"), "c1"),
    (Some("+"), "#"),
    (Some("a/b"), ""),
    (Some("é"), "c\u{1}"),
];
const TOPICS: [&str; 10] = [
    "a", "b", "a/b", "a/", "/", "a/b/c", "u/c1", "c1", "$SYS/a", "é/x",
];
const FILTERS: [&str; 10] = [
    "a", "#", "+", "a/#", "a/+", "+/b", "u/#", "$SYS/#", "/+", "+/+/#",
];

pub(super) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    one(&text);
    one(&format!("#!acl 2\n{text}"));
}

fn one(text: &str) {
    let file = match AclFile::parse("fuzz.acl", text) {
        Ok(file) => file,
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                placed(text, error.line);
                assert!(error.column > 0 && !error.message.is_empty());
            }
            return;
        }
    };
    for warning in file.warnings() {
        placed(text, warning.line);
    }
    let policy = Policy::new(vec![Some(Arc::new(file))], SubscribeGuard::Strict, 200);
    for (username, client_id) in CLIENTS {
        judge(&policy.bind(&Principal::new(username, client_id), 0));
    }
}

fn placed(text: &str, line: u32) {
    let lines = text.split('\n').count();
    assert!((1..=lines).contains(&usize::try_from(line).expect("a line number")));
}

fn judge(rights: &Rights) {
    for topic in TOPICS {
        let explained = rights.explain_publish(topic, QoS::AtMostOnce);
        assert_eq!(
            explained.allowed,
            rights.publish(topic, QoS::AtMostOnce).is_ok()
        );
    }
    for text in FILTERS {
        let filter = TopicFilter::parse(text).expect("it is written above");
        let explained = rights.explain_subscribe(&filter, QoS::AtMostOnce);
        if explained.allowed {
            for topic in TOPICS.iter().filter(|topic| obviously_matches(text, topic)) {
                assert!(rights.deliver(topic).is_ok(), "{topic} by {text}");
            }
        }
        if let Some(witness) = explained.witness {
            assert!(!explained.allowed);
            assert_eq!(check_name(&witness), Ok(()), "{witness:?}");
            assert!(obviously_matches(text, &witness), "{witness} by {text}");
            assert!(rights.deliver(&witness).is_err(), "{witness} by {text}");
        }
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    [
        "topic read a/#\n",
        "user u\ntopic readwrite a/+\ntopic deny a/b\npattern read %u/%c/#\n",
        "# comment\nuser u\ntopic a\ntopic b\ntopic write c/#\n\nuser v\ntopic read #\n",
        "pattern write dev/%c/up\npattern read dev/%c/down/+\npattern deny dev/%u\n",
        "user a b\ntopic read with space/#\ntopic read $SYS/#\n",
        "topic read\ntopic  a\n\ttopic a\ntopic reed a\ntopic read a#\nuser\nfoo\n",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}
