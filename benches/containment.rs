//! What the proof that a filter lies inside what was granted costs, and binding a client's rules.
//!
//! `cargo bench --bench containment`; `cargo test` runs each once.

use std::fmt::Write as _;
use std::sync::Arc;

use divan::{Bencher, black_box};
use portcullis::codec::QoS;
use portcullis::policy::acl::AclFile;
use portcullis::policy::{Policy, Principal, Rights, SubscribeGuard};
use portcullis::topic::TopicFilter;

fn main() {
    divan::main();
}

/// Five rules of the user's own and twenty patterns, as a site with twenty kinds of devices has.
fn typical() -> String {
    let mut text =
        "user alice\ntopic read news/#\ntopic read plant/+/state\ntopic write cmd/alice/#\n\
                    topic readwrite chat/alice\ntopic deny plant/secret/state\n"
            .to_owned();
    for kind in 0..20 {
        let access = if kind % 2 == 0 { "read" } else { "write" };
        writeln!(text, "pattern {access} kind{kind}/%u/%c/#").expect("a string");
    }
    text
}

fn rights(acl: &str) -> Rights {
    let file = AclFile::parse("acl", acl).expect("valid");
    let policy = Policy::new(vec![Some(Arc::new(file))], SubscribeGuard::Strict, 200);
    policy.bind(&Principal::new(Some("alice"), "pump-7"), 0)
}

/// Granted by one literal rule, granted below a `#`, granted at a `+`, refused because of a deny, and
/// the widest of all, refused.
#[divan::bench(args = ["chat/alice", "kind4/alice/pump-7/#", "plant/7/+", "news/+/today", "plant/+/state", "#"])]
fn typical_rules(bencher: Bencher<'_, '_>, filter: &str) {
    let rights = rights(&typical());
    let filter = TopicFilter::parse(filter).expect("valid");
    bencher.bench_local(|| {
        rights
            .subscribe(black_box(&filter), QoS::AtLeastOnce)
            .is_ok()
    });
}

/// A client with many rules, each for a topic of its own.
#[divan::bench(args = [10, 100, 1_000, 10_000])]
fn many_rules(bencher: Bencher<'_, '_>, count: usize) {
    let mut text = "user alice\n".to_owned();
    for number in 0..count {
        writeln!(text, "topic read area/{number}/+").expect("a string");
    }
    let rights = rights(&text);
    let filter = TopicFilter::parse("area/7/+").expect("valid");
    bencher.bench_local(|| {
        rights
            .subscribe(black_box(&filter), QoS::AtLeastOnce)
            .is_ok()
    });
}

/// What CONNECT costs.
#[divan::bench]
fn bind(bencher: Bencher<'_, '_>) {
    let file = AclFile::parse("acl", &typical()).expect("valid");
    let policy = Policy::new(vec![Some(Arc::new(file))], SubscribeGuard::Strict, 200);
    let principal = Principal::new(Some("alice"), "pump-7");
    bencher.bench_local(|| policy.bind(black_box(&principal), 0));
}
