//! Shared subscriptions: one message, one member.

use crate::broker::tests::world::{Hello, Peer, Q0, Q1, Q2, World, message, to, with_qos};
use crate::broker::{QueueLimits, Settings};
use crate::session::tests::wire::{PUBACK, PUBREC};

fn members(world: &mut World, filter: &str, hellos: &[Hello]) -> Vec<Peer> {
    let join = |hello| {
        let mut peer = world.connect(hello);
        world.subscribe(&mut peer, to(filter, Q1));
        peer
    };
    hellos.iter().map(join).collect()
}

fn publish(world: &mut World, writer: &mut Peer, count: usize) {
    for index in 0..count {
        world.publish(writer, with_qos(Q1, "a", &index.to_string()));
    }
}

#[test]
fn each_message_goes_to_one_member_and_the_members_take_turns() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let hellos = [Hello::clean("x"), Hello::clean("y"), Hello::clean("z")];
    let mut members = members(&mut world, "$share/g/+", &hellos);
    publish(&mut world, &mut writer, 9);
    let mut all = Vec::new();
    for member in &mut members {
        let payloads = world.payloads(member);
        assert_eq!(payloads.len(), 3);
        all.extend(payloads);
    }
    all.sort();
    assert_eq!(all, ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
}

#[test]
fn groups_of_other_names_or_filters_and_ordinary_subscriptions_get_their_own_copy() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut peers = Vec::new();
    for (id, filter) in [
        ("one", "$share/g/a"),
        ("two", "$share/h/a"),
        ("three", "$share/g/+"),
        ("four", "a"),
    ] {
        peers.extend(members(&mut world, filter, &[Hello::clean(id)]));
    }
    let fanout = world.publish(&mut writer, with_qos(Q1, "a", "x"));
    assert_eq!((fanout.matched, fanout.delivered), (4, 4));
    for peer in &mut peers {
        assert_eq!(world.payloads(peer), ["x"]);
    }
    let counts = world.broker.counts();
    assert_eq!((counts.subscriptions, counts.shared_subscriptions), (4, 3));
}

#[test]
fn mqtt_4_8_2_3_each_member_has_the_qos_it_was_granted() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut low = world.connect(&Hello::clean("low"));
    let mut high = world.connect(&Hello::clean("high"));
    world.subscribe(&mut low, to("$share/g/a", Q0));
    world.subscribe(&mut high, to("$share/g/a", Q2));
    for _ in 0..2 {
        world.publish(&mut writer, with_qos(Q2, "a", "x"));
    }
    assert_eq!(world.received(&mut low), [r#"PUBLISH q0 "a" x"#]);
    assert_eq!(world.received(&mut high), [r#"PUBLISH q2 #1 "a" x"#]);
}

#[test]
fn a_member_that_leaves_gets_nothing_more_and_the_last_one_takes_the_group_with_it() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let hellos = [Hello::clean("x"), Hello::clean("y")];
    let mut members = members(&mut world, "$share/g/a", &hellos);
    assert!(
        !world.unsubscribe(&mut members[0], "a"),
        "that is another one"
    );
    assert!(world.unsubscribe(&mut members[0], "$share/g/a"));
    publish(&mut world, &mut writer, 3);
    assert!(world.payloads(&mut members[0]).is_empty());
    assert_eq!(world.payloads(&mut members[1]), ["0", "1", "2"]);
    world.disconnect(members.remove(1));
    assert_eq!(world.publish(&mut writer, message("a", "x")).matched, 0);
    assert_eq!(world.broker.counts().shared_subscriptions, 0);
}

#[test]
fn members_that_are_away_are_passed_over_while_another_is_connected() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let hellos = [Hello::kept("x"), Hello::kept("y"), Hello::kept("z")];
    let mut members = members(&mut world, "$share/g/a", &hellos);
    world.disconnect(members.remove(2));
    world.disconnect(members.remove(1));
    publish(&mut world, &mut writer, 4);
    assert_eq!(world.payloads(&mut members[0]), ["0", "1", "2", "3"]);
    // With nobody there at all the message waits for one of them.
    world.disconnect(members.remove(0));
    publish(&mut world, &mut writer, 3);
    let mut waiting = 0;
    for hello in &hellos {
        let mut member = world.connect(hello);
        waiting += world.payloads(&mut member).len();
        world.disconnect(member);
    }
    assert_eq!(waiting, 3);
}

#[test]
fn a_message_of_qos_0_finds_nobody_where_all_members_are_away() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut members = members(&mut world, "$share/g/a", &[Hello::kept("x")]);
    world.disconnect(members.remove(0));
    let fanout = world.publish(&mut writer, message("a", "x"));
    assert_eq!(
        (fanout.matched, fanout.delivered, fanout.dropped_full),
        (1, 0, 0)
    );
}

/// The metric of drops counts messages that were lost, not members that were asked in vain.
#[test]
fn a_full_member_is_passed_over_and_nothing_is_dropped_while_another_has_room() {
    let queue = QueueLimits {
        messages: 2,
        ..QueueLimits::default()
    };
    let mut world = World::settings(Settings {
        queue,
        ..Settings::default()
    });
    let mut writer = world.connect(&Hello::clean("writer"));
    let hellos = [Hello::kept("x"), Hello::kept("y")];
    for member in members(&mut world, "$share/g/a", &hellos) {
        world.disconnect(member);
    }
    let drops: Vec<u64> = (0..6)
        .map(|_| {
            world
                .publish(&mut writer, with_qos(Q1, "a", "x"))
                .dropped_full
        })
        .collect();
    assert_eq!(drops, [0, 0, 0, 0, 1, 1]);
    assert_eq!(world.broker.counts().dropped_queue_full, 2);
    let mut first = world.connect(&hellos[0]);
    assert_eq!(world.payloads(&mut first).len(), 2);
    // It is connected and has room; the other is away and full.
    let fanout = world.publish(&mut writer, with_qos(Q1, "a", "x"));
    assert_eq!((fanout.delivered, fanout.dropped_full), (1, 0));
}

#[test]
fn joining_again_changes_what_was_granted_and_makes_no_second_member() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut member = world.connect(&Hello::clean("x"));
    world.subscribe(&mut member, to("$share/g/a", Q2));
    world.subscribe(&mut member, to("$share/g/a", Q0));
    assert_eq!(world.broker.counts().shared_subscriptions, 1);
    world.publish(&mut writer, with_qos(Q2, "a", "x"));
    assert_eq!(world.received(&mut member), [r#"PUBLISH q0 "a" x"#]);
}

#[test]
fn mqtt_4_8_2_5_what_was_begun_with_a_member_goes_to_nobody_else() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let hellos = [Hello::kept("x"), Hello::kept("y")];
    let mut members = members(&mut world, "$share/g/a", &hellos);
    world.publish(&mut writer, with_qos(Q1, "a", "x"));
    let sent: Vec<usize> = members
        .iter_mut()
        .map(|member| world.received(member).len())
        .collect();
    assert_eq!(sent.iter().sum::<usize>(), 1);
    let taker = sent.iter().position(|&count| count == 1).expect("one");
    world.disconnect(members.remove(taker));
    assert!(world.received(&mut members[0]).is_empty());
    // The one that began gets it again when it comes back.
    let mut back = world.connect(&hellos[taker]);
    assert_eq!(world.received(&mut back), [r#"PUBLISH dup q1 #1 "a" x"#]);
}

#[test]
fn mqtt_4_8_2_4_a_qos_2_message_begun_with_a_member_is_finished_with_it_when_it_is_back() {
    for released in [false, true] {
        let mut world = World::open();
        let mut writer = world.connect(&Hello::clean("writer"));
        let hello = Hello::kept("first");
        let mut first = world.connect(&hello);
        world.subscribe(&mut first, to("$share/g/a", Q2));
        world.publish(&mut writer, with_qos(Q2, "a", "x"));
        assert_eq!(world.received(&mut first), [r#"PUBLISH q2 #1 "a" x"#]);
        if released {
            world.acknowledge(&mut first, PUBREC, 1);
        }
        let mut second = world.connect(&Hello::kept("second"));
        world.subscribe(&mut second, to("$share/g/a", Q2));
        world.disconnect(first);
        world.wait(60);
        assert!(world.received(&mut second).is_empty());
        let mut back = world.connect(&hello);
        let owed = if released {
            "PUBREL #1"
        } else {
            r#"PUBLISH dup q2 #1 "a" x"#
        };
        assert_eq!(world.received(&mut back), [owed]);
        assert!(world.received(&mut second).is_empty());
    }
}

#[test]
fn mqtt_4_8_2_6_what_a_member_refuses_is_offered_to_nobody_else() {
    for (qos, kind) in [(Q1, PUBACK), (Q2, PUBREC)] {
        let mut world = World::open();
        let mut writer = world.connect(&Hello::clean("writer"));
        let mut first = world.connect(&Hello::kept("first"));
        world.subscribe(&mut first, to("$share/g/a", qos));
        world.publish(&mut writer, with_qos(qos, "a", "x"));
        assert_eq!(world.received(&mut first).len(), 1);
        let mut second = world.connect(&Hello::kept("second"));
        world.subscribe(&mut second, to("$share/g/a", qos));
        world.acknowledge_with(&mut first, kind, 1, Some(0x97));
        assert!(world.received(&mut first).is_empty());
        assert!(world.received(&mut second).is_empty());
        // Nor is it kept for when it comes back.
        world.disconnect(first);
        let mut back = world.connect(&Hello::kept("first"));
        assert!(world.received(&mut back).is_empty());
        assert!(world.received(&mut second).is_empty());
        assert_eq!(world.broker.queued(), (0, 0));
    }
}
