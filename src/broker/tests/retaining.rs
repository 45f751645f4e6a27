//! Retained messages: what is kept, what is sent at SUBSCRIBE, and the bounds.

use crate::broker::tests::world::{
    Hello, Peer, Q0, Q1, Q2, World, message, retained, to, with_qos,
};
use crate::broker::{RetainLimits, Settings};
use crate::message::{Message, RetainHandling, Subscription};

fn limited(messages: usize, bytes: usize) -> World {
    World::settings(Settings {
        retain: RetainLimits { messages, bytes },
        ..Settings::default()
    })
}

fn writer(world: &mut World) -> Peer {
    world.connect(&Hello::clean("writer"))
}

/// What a newcomer who subscribes to `filter` is sent.
fn found(world: &mut World, filter: &str) -> Vec<String> {
    let mut reader = world.connect(&Hello::clean("newcomer"));
    world.subscribe(&mut reader, to(filter, Q2));
    let lines = world.received(&mut reader);
    world.disconnect(reader);
    lines
}

#[test]
fn mqtt_3_3_1_5_and_8_the_last_retained_message_of_a_topic_is_kept_with_qos_and_properties() {
    let mut world = World::open();
    let mut writer = writer(&mut world);
    world.publish(&mut writer, retained("a", "old"));
    let block = [0x26, 0, 1, b'k', 0, 1, b'v'];
    let new = Message {
        properties: Box::from(block),
        ..retained("a", "new")
    };
    world.publish(&mut writer, new);
    // RETAIN 0 leaves it alone, and is kept nowhere else.
    world.publish(&mut writer, with_qos(Q1, "a", "passing"));
    world.publish(&mut writer, with_qos(Q1, "b", "passing"));
    assert!(found(&mut world, "b").is_empty());
    assert_eq!(
        found(&mut world, "a"),
        [r#"PUBLISH retain q1 #1 "a" user=k:v new"#]
    );
    assert_eq!(world.broker.counts().retained_messages, 1);
}

#[test]
fn mqtt_3_3_1_6_and_7_an_empty_retained_message_is_delivered_and_removes_what_was_kept() {
    let mut world = World::open();
    let mut writer = writer(&mut world);
    let mut reader = world.connect(&Hello::clean("reader"));
    world.subscribe(&mut reader, to("a", Q0));
    world.publish(&mut writer, retained("a", "x"));
    world.publish(&mut writer, retained("a", ""));
    assert_eq!(
        world.received(&mut reader),
        [r#"PUBLISH q0 "a" x"#, r#"PUBLISH q0 "a" "#]
    );
    assert!(found(&mut world, "#").is_empty());
    world.publish(&mut writer, retained("never/there", ""));
    let counts = world.broker.counts();
    assert_eq!((counts.retained_messages, counts.retained_bytes), (0, 0));
}

#[test]
fn mqtt_3_3_1_9_to_11_retain_handling_says_when_retained_messages_are_sent() {
    for (handling, first, again) in [
        (RetainHandling::Send, 1, 1),
        (RetainHandling::SendIfNew, 1, 0),
        (RetainHandling::DoNotSend, 0, 0),
    ] {
        let mut world = World::open();
        let mut writer = writer(&mut world);
        world.publish(&mut writer, retained("a", "x"));
        let subscription = Subscription {
            retain_handling: handling,
            ..to("+", Q0)
        };
        let mut reader = world.connect(&Hello::clean("reader"));
        for expected in [first, again] {
            world.subscribe(&mut reader, subscription.clone());
            assert_eq!(world.received(&mut reader).len(), expected, "{handling:?}");
        }
        world.unsubscribe(&mut reader, "+");
        world.subscribe(&mut reader, subscription);
        assert_eq!(world.received(&mut reader).len(), first, "new again");
    }
}

#[test]
fn a_resumed_subscription_is_not_new_and_one_of_a_session_that_ended_is() {
    let mut world = World::open();
    let mut writer = writer(&mut world);
    world.publish(&mut writer, retained("a", "x"));
    let if_new = Subscription {
        retain_handling: RetainHandling::SendIfNew,
        ..to("a", Q0)
    };
    let mut reader = world.connect(&Hello::kept("reader"));
    world.subscribe(&mut reader, if_new.clone());
    world.received(&mut reader);
    world.disconnect(reader);
    let mut reader = world.connect(&Hello::kept("reader"));
    world.subscribe(&mut reader, if_new.clone());
    assert!(world.received(&mut reader).is_empty());
    world.disconnect(reader);
    let mut reader = world.connect(&Hello::kept("reader").clean_start());
    world.subscribe(&mut reader, if_new);
    assert_eq!(world.received(&mut reader).len(), 1);
}

#[test]
fn retained_messages_are_sent_with_retain_and_the_qos_identifier_and_reach_of_the_subscription() {
    let mut world = World::open();
    let mut writer = writer(&mut world);
    for topic in ["a/1", "a/2", "b", "$own/x"] {
        world.publish(&mut writer, retained(topic, "x"));
    }
    let mut reader = world.connect(&Hello::clean("reader"));
    let subscription = Subscription {
        identifier: Some(3),
        ..to("a/+", Q0)
    };
    world.subscribe(&mut reader, subscription);
    assert_eq!(
        world.received(&mut reader),
        [
            r#"PUBLISH retain q0 "a/1" id=3 x"#,
            r#"PUBLISH retain q0 "a/2" id=3 x"#
        ]
    );
    assert_eq!(
        found(&mut world, "#").len(),
        3,
        "nothing that begins with $"
    );
    assert_eq!(found(&mut world, "$own/#").len(), 1);
}

#[test]
fn where_outgoing_qos_is_upgraded_retained_messages_are_too() {
    let mut world = World::settings(Settings {
        upgrade_outgoing_qos: true,
        ..Settings::default()
    });
    let mut writer = writer(&mut world);
    let kept = Message {
        retain: true,
        ..message("a", "x")
    };
    world.publish(&mut writer, kept);
    assert_eq!(found(&mut world, "a"), [r#"PUBLISH retain q2 #1 "a" x"#]);
}

#[test]
fn a_client_that_wants_none_of_its_own_is_not_sent_its_own_retained_messages() {
    let mut world = World::open();
    let mut writer = writer(&mut world);
    let mut other = world.connect(&Hello::clean("other"));
    world.publish(&mut writer, retained("a/own", "x"));
    world.publish(&mut other, retained("a/other", "x"));
    let not_own = Subscription {
        no_local: true,
        ..to("a/#", Q0)
    };
    world.subscribe(&mut writer, not_own);
    assert_eq!(
        world.received(&mut writer),
        [r#"PUBLISH retain q0 "a/other" x"#]
    );
}

#[test]
fn shared_subscriptions_are_sent_no_retained_messages() {
    let mut world = World::open();
    let mut writer = writer(&mut world);
    world.publish(&mut writer, retained("a", "x"));
    assert!(found(&mut world, "$share/g/a").is_empty());
    assert_eq!(found(&mut world, "a").len(), 1);
}

#[test]
fn the_number_of_retained_messages_is_bounded_and_what_is_there_can_still_be_replaced() {
    let mut world = limited(2, 0);
    let mut writer = writer(&mut world);
    let mut reader = world.connect(&Hello::clean("reader"));
    world.subscribe(&mut reader, to("#", Q0));
    assert!(!world.publish(&mut writer, retained("a", "1")).retain_full);
    assert!(!world.publish(&mut writer, retained("b", "1")).retain_full);
    let refused = world.publish(&mut writer, retained("c", "1"));
    assert!(refused.retain_full);
    // It is refused whole, so its author is told and nobody has seen it.
    assert_eq!(refused.matched, 0);
    assert!(!world.publish(&mut writer, retained("b", "2")).retain_full);
    assert!(!world.publish(&mut writer, message("c", "live")).retain_full);
    world.publish(&mut writer, retained("a", ""));
    assert!(!world.publish(&mut writer, retained("c", "2")).retain_full);
    assert_eq!(
        world.payloads(&mut reader),
        ["1", "1", "2", "live", "", "2"]
    );
    assert_eq!(world.broker.counts().retained_messages, 2);
}

#[test]
fn the_bytes_of_retained_messages_are_bounded_properties_and_topics_included() {
    let mut world = limited(0, 20);
    let mut writer = writer(&mut world);
    let large = Message {
        properties: Box::from([0x26, 0, 3, b'k', b'e', b'y', 0, 2, b'v', b'w']),
        ..retained("topic", "12345")
    };
    assert!(!world.publish(&mut writer, large).retain_full);
    assert_eq!(world.broker.counts().retained_bytes, 20);
    assert!(world.publish(&mut writer, retained("b", "1")).retain_full);
    // One that replaces it counts without it.
    assert!(
        !world
            .publish(&mut writer, retained("topic", "123456789012345"))
            .retain_full
    );
    assert!(
        world
            .publish(&mut writer, retained("topic", "1234567890123456"))
            .retain_full
    );
    assert!(
        !world
            .publish(&mut writer, retained("topic", "1"))
            .retain_full
    );
    assert_eq!(world.broker.counts().retained_bytes, 6);
    assert_eq!(found(&mut world, "topic").len(), 1);
}

#[test]
fn mqtt_3_3_2_5_a_retained_message_is_not_sent_once_it_has_expired_and_is_then_removed() {
    let mut world = World::open();
    let mut writer = writer(&mut world);
    let expiring = |world: &World, topic: &str, seconds| Message {
        expires_at: Message::expiry(seconds, world.now),
        ..retained(topic, "x")
    };
    let (five, nine) = (expiring(&world, "a", 5), expiring(&world, "b", 9));
    world.publish(&mut writer, five);
    world.publish(&mut writer, nine);
    world.publish(&mut writer, retained("c", "x"));
    world.wait(4);
    let lines = found(&mut world, "#");
    assert_eq!(
        lines,
        [
            r#"PUBLISH retain q1 #1 "a" message-expiry=1 x"#,
            r#"PUBLISH retain q1 #2 "b" message-expiry=5 x"#,
            r#"PUBLISH retain q1 #3 "c" x"#,
        ]
    );
    world.wait(1);
    assert_eq!(found(&mut world, "#").len(), 2);
    assert_eq!(world.broker.counts().retained_messages, 3);
    assert_eq!(
        world.broker.expire_retained(world.now, &mut world.effects),
        1
    );
    let counts = world.broker.counts();
    assert_eq!((counts.retained_messages, counts.retained_bytes), (2, 4));
}
