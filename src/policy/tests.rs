//! The guard against a slow, obvious twin, and the meaning of mosquitto's files.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::acl::AclFile;
use super::*;
use crate::codec::{QoS, Version};
use crate::message::{
    Author, ClientId, Delivery, Message, RetainHandling, Submitted, Subscription,
};
use crate::topic::{SubscriptionFilter, TopicFilter, TopicName, check_filter, matches};

fn policy(acl: &str, guard: SubscribeGuard) -> Policy {
    let file = AclFile::parse("acl.conf", acl).expect("valid ACL");
    Policy::new(vec![Some(Arc::new(file))], guard, 200)
}

fn rights(acl: &str, user: Option<&str>, client: &str) -> Rights {
    policy(acl, SubscribeGuard::Strict).bind(&Principal::new(user, client), 0)
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("valid filter")
}

fn may_subscribe(rights: &Rights, text: &str) -> bool {
    rights.subscribe(&filter(text), QoS::AtMostOnce).is_ok()
}

#[test]
fn a_filter_is_granted_only_if_every_topic_of_it_is() {
    let acl = "user u\ntopic read fleet/7/#\n";
    let rights = rights(acl, Some("u"), "c");
    for granted in [
        "fleet/7/#",
        "fleet/7",
        "fleet/7/+",
        "fleet/7/+/x/#",
        "fleet/7/a",
    ] {
        assert!(may_subscribe(&rights, granted), "{granted}");
    }
    for refused in [
        "#",
        "+",
        "+/7/#",
        "fleet/#",
        "fleet/+/x",
        "fleet/8",
        "+/+",
        "$SYS/#",
    ] {
        assert!(!may_subscribe(&rights, refused), "{refused}");
    }
}

#[test]
fn grants_add_up_but_literals_never_make_a_wildcard() {
    let levels = rights(
        "user u\ntopic n\ntopic n/+\ntopic n/+/+/#\n",
        Some("u"),
        "c",
    );
    assert!(may_subscribe(&levels, "n/#"));
    let two = rights("user u\ntopic m/a\ntopic m/b\n", Some("u"), "c");
    assert!(!may_subscribe(&two, "m/+"));
    let plus = rights("user u\ntopic a/+\n", Some("u"), "c");
    assert!(may_subscribe(&plus, "a/"));
    assert!(!may_subscribe(&plus, "a"));
    assert!(!may_subscribe(&plus, "a/#"));
}

#[test]
fn a_deny_inside_a_grant_refuses_what_covers_it_and_names_its_line() {
    let acl = "user u\ntopic read a/#\ntopic deny a/secret/#\n";
    let rights = rights(acl, Some("u"), "c");
    assert!(may_subscribe(&rights, "a/public/#"));
    let denial = rights
        .subscribe(&filter("a/#"), QoS::AtMostOnce)
        .expect_err("covers the secret");
    assert_eq!(denial.reason, DenyReason::Wildcard);
    assert_eq!(denial.rule.expect("a rule").to_string(), "acl.conf:3");
    let explained = rights.explain_subscribe(&filter("a/+"), QoS::AtMostOnce);
    assert_eq!(explained.witness.as_deref(), Some("a/secret"));
}

#[test]
fn wildcards_never_reach_topics_that_begin_with_a_dollar() {
    let all = rights("user u\ntopic #\n", Some("u"), "c");
    assert!(may_subscribe(&all, "#"));
    assert!(!may_subscribe(&all, "$SYS/#"));
    assert_eq!(
        all.deliver("$SYS/broker/uptime")
            .expect_err("closed")
            .reason,
        DenyReason::Reserved
    );
    let sys = rights("user u\ntopic read $SYS/#\n", Some("u"), "c");
    assert!(may_subscribe(&sys, "$SYS/broker/#"));
    assert!(!may_subscribe(&sys, "#"));
    assert_eq!(
        sys.publish("$SYS/broker/uptime", QoS::AtMostOnce)
            .expect_err("closed")
            .reason,
        DenyReason::Reserved
    );
}

#[test]
fn the_order_of_decision_is_that_of_mosquitto() {
    let acl = "topic read anon/#\npattern deny p/#\npattern read p/%u\nuser u\ntopic read p/x\n\
               topic deny q/y\npattern read q/#\nuser v\n";
    let u = rights(acl, Some("u"), "c");
    // A grant of the user's own list beats a pattern's deny, and its deny a pattern's grant.
    assert!(u.deliver("p/x").is_ok());
    assert!(u.deliver("p/u").is_err());
    assert!(u.deliver("q/y").is_err());
    assert!(u.deliver("q/z").is_ok());
    // Rules before the first user line are for anonymous clients alone.
    assert!(u.deliver("anon/1").is_err());
    let anonymous = rights(acl, None, "c");
    assert!(anonymous.deliver("anon/1").is_ok());
    // Patterns hold for everybody; those with %u for nobody without a name.
    assert!(anonymous.deliver("q/z").is_ok());
    assert!(anonymous.deliver("p/u").is_err());
    // A user the file does not know has the patterns.
    assert!(rights(acl, Some("w"), "c").deliver("q/z").is_ok());
}

#[test]
fn names_bind_as_whole_literal_levels_or_not_at_all() {
    let acl = "pattern readwrite dev/%u/%c/#\n";
    assert!(rights(acl, Some("u"), "c").deliver("dev/u/c/x").is_ok());
    for bad in ["#", "+", "a/b", "a\u{7}"] {
        for (user, client) in [(bad, "c"), ("u", bad)] {
            let rights = rights(acl, Some(user), client);
            for topic in ["dev/u/c/x", "dev/x/y/z", "dev/a/b/c"] {
                let denial = rights.deliver(topic).expect_err("bound to nothing");
                assert_eq!(
                    denial.reason,
                    DenyReason::IdentityCharacters,
                    "{bad} {topic}"
                );
            }
            assert!(!may_subscribe(&rights, "dev/#"));
        }
    }
    let dollar = rights("pattern read %u/#\n", Some("$SYS"), "c");
    assert!(dollar.deliver("$SYS/broker/uptime").is_err());
}

#[test]
fn an_empty_file_denies_everything_and_no_file_allows_everything_but_the_brokers_own() {
    let empty = rights("# nothing\n", Some("u"), "c");
    assert!(empty.publish("a", QoS::AtMostOnce).is_err() && empty.deliver("a").is_err());
    assert!(!may_subscribe(&empty, "a"));
    let open =
        Policy::new(vec![None], SubscribeGuard::Strict, 200).bind(&Principal::new(None, "c"), 0);
    assert!(open.publish("a", QoS::AtMostOnce).is_ok() && may_subscribe(&open, "#"));
    assert!(
        open.publish("$SYS/x", QoS::AtMostOnce).is_err()
            && open.publish("$CONTROL/x", QoS::AtMostOnce).is_err()
    );
    assert!(
        open.publish("$SYS/broker/connection/b/state", QoS::AtMostOnce)
            .is_ok()
    );
}

#[test]
fn a_rule_file_made_to_be_slow_ends_as_a_refusal() {
    let mut acl = String::from("user u\n");
    for index in 0..2_000 {
        acl.push_str(&format!("topic read +/+/+/+/{index}/a\n"));
        acl.push_str(&format!("topic deny {index}/+/{index}/+/x\n"));
    }
    acl.push_str("topic read #\n");
    let denial = rights(&acl, Some("u"), "c")
        .subscribe(&filter("#"), QoS::AtMostOnce)
        .expect_err("too long");
    assert!(matches!(
        denial.reason,
        DenyReason::GuardBudget | DenyReason::Wildcard
    ));
}

/// Every topic over a small alphabet, up to a length that no rule of the test is longer than.
fn topics() -> Vec<String> {
    let words = ["a", "b", "", "z", "$s"];
    let mut all: Vec<String> = Vec::new();
    let mut last: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    for _ in 0..4 {
        all.extend(last.iter().cloned());
        last = last
            .iter()
            .flat_map(|head| words.iter().map(move |word| format!("{head}/{word}")))
            .collect();
    }
    all.retain(|topic| !topic.is_empty());
    all
}

fn any_filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![
        3 => Just("a"), 2 => Just("b"), 1 => Just(""), 3 => Just("+"), 2 => Just("#"), 1 => Just("$s")
    ];
    prop::collection::vec(level, 1..4)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("valid", |text| check_filter(text).is_ok())
}

fn any_acl() -> impl Strategy<Value = String> {
    let access = prop_oneof![4 => Just("read"), 2 => Just("deny"), 1 => Just("write")];
    let rule = (access, any_filter(), any::<bool>()).prop_map(|(access, filter, pattern)| {
        let keyword = if pattern { "pattern" } else { "topic" };
        format!("{keyword} {access} {filter}\n")
    });
    prop::collection::vec(rule, 0..6).prop_map(|rules| format!("user u\n{}", rules.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Four levels tell apart everything that rules of three levels can.
    #[test]
    fn the_guard_says_what_looking_at_every_topic_says(acl in any_acl(), text in any_filter()) {
        thread_local! {
            static TOPICS: Vec<String> = topics();
        }
        let rights = rights(&acl, Some("u"), "c");
        let expected = TOPICS.with(|topics| {
            topics
                .iter()
                .filter(|topic| matches(&text, topic))
                .all(|topic| rights.deliver(topic).is_ok())
        });
        prop_assert_eq!(may_subscribe(&rights, &text), expected, "{}\n{}", acl, text);
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn denied(&self, request: &Request<'_>, denial: &Denial) {
        self.0.lock().push(format!(
            "{} {} {}",
            request.action.label(),
            request.topic,
            denial.reason.label()
        ));
    }
    fn would_deny(&self, request: &Request<'_>, denial: &Denial) {
        self.0
            .lock()
            .push(format!("would {} {}", request.topic, denial.reason.label()));
    }
}

fn gate(acl: &str, guard: SubscribeGuard) -> (Gate, Arc<Told>) {
    let told = Arc::new(Told::default());
    let gate = Gate::new(policy(acl, guard), Arc::clone(&told) as Arc<dyn Observer>);
    (gate, told)
}

fn client(gate: &Gate, user: &str, budget: BudgetSettings) -> Client {
    let who = Who {
        groups: Arc::default(),
        tokens: Arc::default(),
        grants: None,
        client_id: ClientId::new("c"),
        username: Some(user.into()),
        address: Some(SocketAddr::from(([127, 0, 0, 1], 1))),
        listener: 0,
        listener_name: "test".into(),
        protocol: Version::V5,
        method: "password",
    };
    gate.client(who, budget)
}

fn message(topic: &str) -> Message {
    Message {
        topic: TopicName::parse(topic).expect("valid topic"),
        payload: Bytes::from_static(b"x"),
        properties: Box::default(),
        qos: QoS::AtMostOnce,
        retain: false,
        expires_at: None,
        author: Arc::new(Author {
            groups: Arc::default(),
            tokens: Arc::default(),
            grants: None,
            address: None,
            client_id: ClientId::new("c"),
            username: None,
            listener: Some(0),
        }),
        submitted: Submitted::default(),
    }
}

fn subscription(text: &str) -> Subscription {
    Subscription {
        filter: SubscriptionFilter::parse(text).expect("valid filter"),
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
        identifier: None,
    }
}

fn delivery(topic: &str) -> Delivery {
    Delivery {
        message: Arc::new(message(topic)),
        qos: QoS::AtMostOnce,
        retain: false,
        identifiers: smallvec::SmallVec::new(),
        seq: 0,
    }
}

#[test]
fn every_refusal_is_told_and_shared_filters_are_judged_by_what_they_share() {
    let (gate, told) = gate("user u\ntopic read a/#\n", SubscribeGuard::Strict);
    let mut client = client(&gate, "u", BudgetSettings::default());
    let now = Instant::now();
    assert!(matches!(
        gate.publish(&mut client, message("a/b"), now),
        Decision::Deny(Denial {
            reason: DenyReason::ReadOnly,
            ..
        })
    ));
    assert!(matches!(
        gate.subscribe(&mut client, subscription("$share/g/#"), now),
        Decision::Deny(_)
    ));
    assert!(matches!(
        gate.subscribe(&mut client, subscription("$share/g/a/+"), now),
        Decision::Admit(_)
    ));
    assert_eq!(
        *told.0.lock(),
        ["publish a/b read_only", "subscribe $share/g/# wildcard"]
    );
}

#[test]
fn filter_mode_admits_and_judges_each_delivery_and_report_tells() {
    for (guard, expected) in [
        (SubscribeGuard::Filter, &[][..]),
        (SubscribeGuard::Report, &["would # wildcard".to_owned()]),
    ] {
        let (gate, told) = gate("user u\ntopic read a/#\n", guard);
        let mut client = client(&gate, "u", BudgetSettings::default());
        assert!(matches!(
            gate.subscribe(&mut client, subscription("#"), Instant::now()),
            Decision::Admit(_)
        ));
        assert!(gate.deliver(&mut client, delivery("a/x")).is_some());
        assert!(gate.deliver(&mut client, delivery("b/x")).is_none());
        assert_eq!(*told.0.lock(), expected);
    }
}

#[test]
fn a_right_taken_away_holds_for_the_next_delivery_and_publish() {
    let (gate, _) = gate("user u\ntopic a/#\n", SubscribeGuard::Strict);
    let mut client = client(&gate, "u", BudgetSettings::default());
    let now = Instant::now();
    assert!(matches!(
        gate.publish(&mut client, message("a/x"), now),
        Decision::Admit(_)
    ));
    assert!(gate.deliver(&mut client, delivery("a/x")).is_some());
    gate.set_policy(policy("user u\ntopic a/y\n", SubscribeGuard::Strict));
    assert!(matches!(
        gate.publish(&mut client, message("a/x"), now),
        Decision::Deny(_)
    ));
    assert!(gate.deliver(&mut client, delivery("a/x")).is_none());
    let (wide, narrow) = (subscription("a/#"), subscription("a/y"));
    let lost = gate.recheck(&mut client, [&wide, &narrow].into_iter(), now);
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].0, wide);
    assert!(gate.deliver(&mut client, delivery("a/y")).is_some());
}

/// Tells what is admitted anew, and what is lost.
#[derive(Default)]
struct Anew(Mutex<Vec<String>>);

impl Observer for Anew {
    fn denied(&self, _: &Request<'_>, _: &Denial) {}
    fn lost(&self, request: &Request<'_>, _: &Denial) {
        self.0.lock().push(format!("lost {}", request.topic));
    }
    fn admitted(&self, request: &Request<'_>) {
        let line = format!("{} {}", request.action.label(), request.topic);
        self.0.lock().push(line);
    }
    fn would_deny(&self, _: &Request<'_>, _: &Denial) {}
}

#[test]
fn a_client_that_goes_on_with_its_topic_is_told_of_once_and_a_lost_right_is_not_its_doing() {
    let told = Arc::new(Anew::default());
    let first = policy("user u\ntopic a/#\n", SubscribeGuard::Strict);
    let gate = Gate::new(first, Arc::clone(&told) as Arc<dyn Observer>);
    let mut client = client(&gate, "u", BudgetSettings::default());
    let now = Instant::now();
    for topic in ["a/x", "a/x", "a/x", "a/y", "a/x"] {
        gate.publish(&mut client, message(topic), now);
    }
    gate.subscribe(&mut client, subscription("a/#"), now);
    let made = subscription("a/#");
    gate.recheck(&mut client, [&made].into_iter(), now);
    gate.set_policy(policy("user u\ntopic a/x\n", SubscribeGuard::Strict));
    gate.publish(&mut client, message("a/x"), now);
    gate.recheck(&mut client, [&made].into_iter(), now);
    assert_eq!(
        *told.0.lock(),
        [
            "publish a/x",
            "publish a/y",
            "publish a/x",
            "subscribe a/#",
            "publish a/x",
            "lost a/#"
        ]
    );
}

#[test]
fn over_its_rate_a_client_waits_is_refused_or_is_told_to_go() {
    let rate = Some(Rate {
        per_second: 1,
        burst: 1,
    });
    for action in [RateAction::Throttle, RateAction::Drop] {
        let (gate, told) = gate("user u\ntopic #\n", SubscribeGuard::Strict);
        let budget = BudgetSettings {
            messages: rate,
            bytes: None,
            action,
        };
        let mut client = client(&gate, "u", budget);
        let now = Instant::now();
        assert!(matches!(
            gate.publish(&mut client, message("a"), now),
            Decision::Admit(_)
        ));
        match gate.publish(&mut client, message("a"), now) {
            Decision::Wait { value, until } => {
                assert_eq!(action, RateAction::Throttle);
                assert!(matches!(
                    gate.publish(&mut client, value, until),
                    Decision::Admit(_)
                ));
            }
            Decision::Deny(denial) => {
                assert_eq!(action, RateAction::Drop);
                assert_eq!(denial.reason, DenyReason::MessageRate);
            }
            Decision::Admit(_) => panic!("over its rate"),
        }
        assert_eq!(*told.0.lock(), ["publish a message_rate"]);
    }
}

#[test]
fn a_client_has_only_so_many_steps_of_proofs_and_gets_them_back_with_time() {
    use std::fmt::Write;
    // Rules that name many words at each level make a filter of `+` levels long to prove.
    let mut rules = String::from("user u\ntopic read +/+/+/+/+\n");
    for word in 0..200 {
        let _ = writeln!(rules, "topic read w{word}/x{word}/y{word}/z{word}/+");
    }
    let (gate, told) = gate(&rules, SubscribeGuard::Strict);
    let mut client = client(&gate, "u", BudgetSettings::default());
    let now = Instant::now();
    let admitted = |gate: &Gate, client: &mut Client, now| {
        let wanted = subscription("+/+/+/+/+");
        matches!(gate.subscribe(client, wanted, now), Decision::Admit(_))
    };
    let granted = (0..10_000)
        .take_while(|_| admitted(&gate, &mut client, now))
        .count();
    assert!((10..5_000).contains(&granted), "{granted}");
    assert_eq!(*told.0.lock(), ["subscribe +/+/+/+/+ guard_budget"]);
    let later = now + std::time::Duration::from_secs(1);
    assert!(admitted(&gate, &mut client, later));
    // A session that goes on with many such filters is not proved whole, and so each of its
    // deliveries is judged; none of them is lost for it.
    let mut resumed = self::client(&gate, "u", BudgetSettings::default());
    let many = vec![subscription("+/+/+/+/+"); 10_000];
    assert!(gate.recheck(&mut resumed, many.iter(), now).is_empty());
    assert!(gate.deliver(&mut resumed, delivery("a/b/c/d/e")).is_some());
    assert!(gate.deliver(&mut resumed, delivery("a/b")).is_none());
    // Under `filter` it costs the proof, not the subscription.
    let (gate, _) = self::gate(&rules, SubscribeGuard::Filter);
    let mut client = self::client(&gate, "u", BudgetSettings::default());
    for _ in 0..10_000 {
        assert!(admitted(&gate, &mut client, now));
    }
}
