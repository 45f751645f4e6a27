//! What is written about rules, and about the difference between two files, compared with what they
//! answer for every topic of a small world.

use std::collections::BTreeSet;
use std::env;

use portcullis::codec::QoS;
use portcullis::policy::{Answer, Ask, Region, Rights, Survey};
use portcullis::topic::TopicFilter;

use super::twin::{Choices, World, bound, obviously, some_file};

fn random(choices: &mut Choices, world: &mut World) -> String {
    let text = some_file(choices, world).0;
    if !text.starts_with("#!acl 2") {
        return text;
    }
    // Here nothing is worked out as sets, so that the QoS may be limited.
    let limited = text.lines().map(|line| match line.strip_prefix("topic ") {
        Some(_) if choices.below(4) == 0 => format!("max_qos {}\n{line}\n", choices.below(3)),
        Some(rule) if choices.below(4) == 0 => {
            format!("topic {}\n", rule.replacen("read ", "subscribe ", 1))
        }
        _ => format!("{line}\n"),
    });
    limited.collect()
}

fn matches(filter: &str, topic: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let names: Vec<&str> = topic.split('/').collect();
    let hidden = topic.starts_with('$') && matches!(levels[0], "+" | "#");
    !hidden && obviously(&levels, &names)
}

fn is_in(region: &Region, topic: &str) -> bool {
    matches(&region.filter, topic) && !region.except.iter().any(|hole| matches(hole, topic))
}

/// What the gate would answer; whether a rule denies is not asked.
fn answer(rights: &Rights, ask: Ask, topic: &str) -> Option<u8> {
    let granted = |qos: &QoS| match ask {
        Ask::Write => rights.publish(topic, *qos).is_ok(),
        Ask::Read => rights.deliver(topic).is_ok(),
        Ask::Subscribe => {
            let filter = TopicFilter::parse(topic).expect("it has no wildcard");
            let granted = rights.subscribe(&filter, *qos);
            granted.is_ok_and(|granted| granted.qos == *qos)
        }
    };
    let all = [QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::AtMostOnce];
    all.iter().find(|qos| granted(qos)).map(|qos| qos.bits())
}

fn check(choices: &mut Choices, world: &mut World) {
    let files = [random(choices, world), random(choices, world)];
    let rights = files.each_ref().map(|file| bound(file));
    let ask = [Ask::Read, Ask::Write, Ask::Subscribe][choices.below(3)];
    let survey = Survey::new(&[&rights[0], &rights[1]], ask).expect("few steps");
    // Deliveries are not judged by QoS.
    let shown = |answer: &Answer| match ask {
        Ask::Read => answer.qos().map(|_| 2),
        Ask::Write | Ask::Subscribe => answer.qos(),
    };
    let combination = |answers: &[Answer]| answers.iter().map(shown).collect::<Vec<_>>();
    let combinations: BTreeSet<_> = survey
        .answers()
        .iter()
        .map(|all| combination(all))
        .collect();
    let regions = combinations.into_iter().map(|wanted| {
        let regions = survey.regions(|answers| combination(answers) == wanted);
        (wanted, regions.expect("few regions"))
    });
    let regions: Vec<_> = regions.collect();
    for topic in &world.topics {
        let expected: Vec<_> = rights
            .iter()
            .map(|rights| answer(rights, ask, topic))
            .collect();
        for (wanted, regions) in &regions {
            let is_said = regions.iter().any(|region| is_in(region, topic));
            assert_eq!(
                is_said,
                *wanted == expected,
                "{topic:?} is {expected:?}, asked for {wanted:?} in {regions:#?}\n{}\n{}",
                files[0],
                files[1]
            );
        }
    }
}

/// `PORTCULLIS_DIFFERENCE_CASES` says how many; each is two files and every topic.
#[test]
fn a_topic_is_answered_differently_exactly_if_the_difference_says_so() {
    let cases = env::var("PORTCULLIS_DIFFERENCE_CASES");
    let cases: u64 = cases.map_or(400, |text| text.parse().expect("a number"));
    let mut world = World::new();
    let mut choices = Choices(0x2545_F491_4F6C_DD1D);
    for _ in 0..cases {
        check(&mut choices, &mut world);
    }
}

fn shown(acl: &str, ask: Ask, is_wanted: impl Fn(Answer) -> bool) -> Vec<String> {
    let rights = bound(acl);
    let survey = Survey::new(&[&rights], ask).expect("few steps");
    let regions = survey.regions(|answers| answers.iter().all(|answer| is_wanted(*answer)));
    let regions = regions.expect("few regions").into_iter().map(|region| {
        let rules: Vec<String> = region
            .rules
            .iter()
            .map(|rule| rule.1.line.to_string())
            .collect();
        let except: Vec<String> = region
            .except
            .iter()
            .map(|hole| format!(" -{hole}"))
            .collect();
        format!("{}{} [{}]", region.filter, except.concat(), rules.join(" "))
    });
    regions.collect()
}

fn granted(acl: &str, ask: Ask) -> Vec<String> {
    shown(acl, ask, |answer| answer.qos().is_some())
}

#[test]
fn what_is_granted_is_written_as_the_fewest_filters() {
    let two = "#!acl 2\nall\n";
    for (rules, expected) in [
        ("topic read a/#", &["a/# [3]"][..]),
        ("topic read #", &["# [3]"]),
        ("topic read a/+/#", &["a/+/# [3]"]),
        ("topic read a\ntopic read a/+/#", &["a/# [3 4]"]),
        ("topic read a/b\ntopic read a/#", &["a/# [3 4]"]),
        ("topic read a/b\ntopic read a/+", &["a/+ [3 4]"]),
        ("topic read #\ntopic deny a/b/#", &["# -a/b/# [3]"]),
        (
            "topic read #\ntopic deny a/b/#\ntopic deny a/c",
            &["# -a/b/# -a/c [3]"],
        ),
        ("topic read a/+/c\ntopic deny a/b/#", &["a/+/c -a/b/c [3]"]),
        (
            "topic read a/n*/c\ntopic deny a/nb/#",
            &["a/n*/c -a/nb/c [3]"],
        ),
        ("topic read +/x\ntopic read a/+", &["a/+ [3 4]", "+/x [3]"]),
        ("topic read $SYS/#", &["$SYS/# [3]"]),
        ("topic read $S*/a", &["$S*/a [3]"]),
        ("topic read a%*", &["a%* [3]"]),
        ("topic write a/#", &[]),
    ] {
        assert_eq!(
            granted(&format!("{two}{rules}\n"), Ask::Read),
            expected,
            "{rules}"
        );
    }
}

#[test]
fn nobody_is_said_to_write_where_the_broker_lets_nobody_write() {
    let acl = "#!acl 2\nall\ntopic readwrite $SYS/#\ntopic readwrite $me/#\ntopic write $share/a\n\
               topic write $other/#\n";
    assert_eq!(granted(acl, Ask::Read), ["$SYS/# [3]", "$me/# [4]"]);
    assert_eq!(
        granted(acl, Ask::Write),
        ["$SYS/broker/connection/+/state [3]", "$other/# [6]"]
    );
}

#[test]
fn to_subscribe_alone_and_a_limited_qos_are_told_apart() {
    let acl = "#!acl 2\nall\ntopic subscribe a/#\ntopic read a/b\nmax_qos 1\ntopic write w\n";
    assert_eq!(granted(acl, Ask::Subscribe), ["a/# [3]"]);
    assert_eq!(granted(acl, Ask::Read), ["a/b [4]"]);
    assert_eq!(
        shown(acl, Ask::Write, |answer| answer == Answer::Granted(1)),
        ["w [6]"]
    );
    assert_eq!(
        shown(acl, Ask::Write, |answer| answer == Answer::Granted(2)),
        [""; 0]
    );
}

#[test]
fn rules_with_too_many_combinations_are_refused_and_do_not_run_on() {
    let mut acl = "#!acl 2\nall\n".to_owned();
    for level in 0..24 {
        acl += &format!("topic read {}x{level}/#\n", "+/".repeat(level));
        acl += &format!("topic deny {}y{level}/z\n", "+/".repeat(level));
    }
    let rights = bound(&acl);
    let survey = Survey::new(&[&rights], Ask::Read);
    assert!(survey.is_err());
}

#[test]
fn a_word_that_is_answered_otherwise_than_those_that_begin_alike_is_told_by_itself() {
    let old = bound("#!acl 2\nall\ntopic read #\n");
    let new = bound("#!acl 2\nall\ntopic read n*/x\ntopic deny nb/x\n");
    let survey = Survey::new(&[&old, &new], Ask::Read).expect("few steps");
    let lost = survey.regions(|answers| answers[0].qos().is_some() && answers[1].qos().is_none());
    let lost = lost.expect("few regions");
    let told = lost
        .iter()
        .map(|region| (region.filter.as_str(), region.except.as_slice()));
    let told: Vec<_> = told.collect();
    assert_eq!(told, [("nb/#", &[][..]), ("#", &["n*/x".to_owned()])]);
}
