//! What is written about rules, and about the difference between two files, compared with what they
//! answer for every topic of a small world.

use std::collections::BTreeSet;
use std::env;
use std::sync::Arc;

use portcullis::codec::QoS;
use portcullis::policy::acl::AclFile;
use portcullis::policy::{Answer, Ask, Policy, Principal, Region, Rights, SubscribeGuard, Survey};

use super::twin::{CLIENT_ID, Choices, USERNAME, World, mosquittos, obviously, version_2};

fn rights(acl: &str) -> Rights {
    let file = AclFile::parse("acl", acl).unwrap_or_else(|errors| panic!("{acl}{errors:?}"));
    let policy = Policy::new(vec![Some(Arc::new(file))], SubscribeGuard::Strict, 200);
    let groups = [Arc::from("g")].into();
    let principal = Principal {
        groups: Some(&groups),
        ..Principal::new(Some(USERNAME), CLIENT_ID)
    };
    policy.bind(&principal, 0)
}

fn random(choices: &mut Choices, world: &mut World) -> String {
    let text = match choices.below(2) {
        0 => return mosquittos(choices, world).0,
        _ => version_2(choices, world).0,
    };
    // Here nothing is worked out as sets, so that the QoS may be limited.
    let limited = text.lines().map(|line| match line.strip_prefix("topic ") {
        Some(_) if choices.below(4) == 0 => format!("max_qos {}\n{line}\n", choices.below(3)),
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
        _ => rights.deliver(topic).is_ok(),
    };
    let all = [QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::AtMostOnce];
    all.iter().find(|qos| granted(qos)).map(|qos| qos.bits())
}

fn check(choices: &mut Choices, world: &mut World) {
    let files = [random(choices, world), random(choices, world)];
    let bound = [rights(&files[0]), rights(&files[1])];
    let ask = [Ask::Read, Ask::Write][choices.below(2)];
    let survey = Survey::new(&[&bound[0], &bound[1]], ask).expect("few steps");
    // Deliveries are not judged by QoS.
    let shown = |answer: &Answer| match ask {
        Ask::Write => answer.qos(),
        _ => answer.qos().map(|_| 2),
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
        let expected: Vec<_> = bound
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
    let cases: u64 = cases.map_or(600, |text| text.parse().expect("a number"));
    let mut world = World::new();
    let mut choices = Choices(0x2545_F491_4F6C_DD1D);
    for _ in 0..cases {
        check(&mut choices, &mut world);
    }
}
