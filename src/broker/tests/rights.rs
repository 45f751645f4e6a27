//! What a session holds against what its client may have now.

use crate::broker::Settings;
use crate::broker::tests::world::{Hello, Q1, Q2, World, message, policy, retained, to, with_qos};
use crate::policy::{DenyReason, SubscribeGuard};
use crate::session::tests::wire::{Connect, PUBREC};

const STRICT: SubscribeGuard = SubscribeGuard::Strict;
/// What `reader` may read; `writer` may write everything.
const WIDE: &str = "user reader\ntopic read plant/#\nuser writer\ntopic #\n";
const NARROW: &str = "user reader\ntopic read plant/open\nuser writer\ntopic #\n";

fn world(acl: &str, guard: SubscribeGuard) -> World {
    World::new(&Settings::default(), policy(&[Some(acl)], guard))
}

/// The policy changes while the session is parked: what was granted when it subscribed is not
/// granted to the connection that resumes it (attack list, points 5 and 17).
#[test]
fn a_resumed_session_loses_what_its_client_may_no_longer_read() {
    let mut world = world(WIDE, STRICT);
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut reader = world.connect(&Hello::kept("reader"));
    assert!(world.subscribe(&mut reader, to("plant/#", Q1)));
    assert!(world.subscribe(&mut reader, to("plant/open", Q1)));
    world.disconnect(reader);
    world.publish(&mut writer, with_qos(Q1, "plant/secret", "queued"));
    world.publish(&mut writer, with_qos(Q1, "plant/open", "open"));
    world
        .broker
        .gate()
        .set_policy(policy(&[Some(NARROW)], STRICT));
    let mut reader = world.connect(&Hello::kept("reader"));
    assert!(reader.present);
    let rechecked = reader.rechecked.take().expect("held against its rights");
    assert_eq!(rechecked.lost.len(), 1);
    assert_eq!(rechecked.lost[0].0.filter.to_string(), "plant/#");
    assert_eq!(rechecked.lost[0].1.reason, DenyReason::Wildcard);
    assert_eq!(rechecked.dropped, 1);
    world.publish(&mut writer, with_qos(Q1, "plant/secret", "later"));
    world.publish(&mut writer, with_qos(Q1, "plant/open", "again"));
    assert_eq!(world.payloads(&mut reader), ["open", "again"]);
    assert_eq!(world.told(), ["subscribe plant/# wildcard"]);
}

/// mosquitto's behaviour, filtering at delivery, has nothing proved to rely on after a resume.
#[test]
fn under_the_filter_guard_a_resumed_session_is_judged_delivery_by_delivery() {
    let mut world = world(WIDE, SubscribeGuard::Filter);
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut reader = world.connect(&Hello::kept("reader"));
    assert!(world.subscribe(&mut reader, to("#", Q1)));
    world.disconnect(reader);
    world.publish(&mut writer, with_qos(Q1, "office/1", "secret"));
    world.publish(&mut writer, with_qos(Q1, "plant/1", "queued"));
    let mut reader = world.connect(&Hello::kept("reader"));
    world.publish(&mut writer, with_qos(Q1, "office/2", "secret"));
    world.publish(&mut writer, with_qos(Q1, "plant/2", "live"));
    assert_eq!(world.payloads(&mut reader), ["queued", "live"]);
    // And the same for one that takes over a connection that lives.
    let mut reader = world.take_over(&Hello::kept("reader"), reader);
    world.publish(&mut writer, with_qos(Q1, "office/3", "secret"));
    world.publish(&mut writer, with_qos(Q1, "plant/3", "taken"));
    assert_eq!(world.payloads(&mut reader), ["taken"]);
}

#[test]
fn a_session_resumed_by_a_listener_with_other_rules_has_the_rights_of_that_listener() {
    let mut world = World::new(
        &Settings::default(),
        policy(&[Some(WIDE), Some(NARROW)], STRICT),
    );
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut inside = world.connect(&Hello::kept("reader"));
    assert!(world.subscribe(&mut inside, to("plant/#", Q1)));
    world.disconnect(inside);
    world.publish(&mut writer, with_qos(Q1, "plant/secret", "queued"));
    let mut outside = world.connect(&Hello::kept("reader").listener(1));
    assert!(outside.present);
    world.publish(&mut writer, with_qos(Q1, "plant/secret", "live"));
    assert!(world.payloads(&mut outside).is_empty());
    assert!(outside.connection.session().subscriptions.is_empty());
    assert_eq!(world.broker.counts().subscriptions, 0);
}

/// Else its topics would be cut where the prefix of the other listener ends.
#[test]
fn a_session_resumed_behind_a_mount_point_keeps_only_what_lies_there() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut whole = world.connect(&Hello::kept("reader"));
    world.subscribe(&mut whole, to("#", Q1));
    world.subscribe(&mut whole, to("$share/g/site/7/#", Q1));
    world.subscribe(&mut whole, to("site/8/#", Q1));
    world.disconnect(whole);
    world.publish(&mut writer, with_qos(Q1, "office/secret", "queued"));
    let mut mounted = Hello::kept("reader");
    mounted.mount_point = "site/7/";
    let mut reader = world.connect(&mounted);
    assert_eq!(
        world.told(),
        ["subscribe # mount_point", "subscribe site/8/# mount_point"]
    );
    for topic in ["office/secret", "site/8/pump", "site/7/pump"] {
        world.publish(&mut writer, with_qos(Q1, topic, "live"));
    }
    assert_eq!(
        world.received(&mut reader),
        [r#"PUBLISH q1 #1 "pump" live"#]
    );
}

#[test]
fn what_is_in_flight_or_waits_for_the_window_is_judged_again_at_a_resume() {
    let mut world = world(WIDE, STRICT);
    let mut writer = world.connect(&Hello::clean("writer"));
    let narrow = Connect::new("reader")
        .resume()
        .expiry(60)
        .receive_maximum(2);
    let mut reader = world.connect(&Hello::with("reader", narrow));
    world.subscribe(&mut reader, to("plant/#", Q2));
    for (qos, topic, payload) in [
        (Q1, "plant/secret", "sent"),
        (Q2, "plant/secret", "released"),
        (Q1, "plant/secret", "waiting"),
        (Q1, "plant/open", "open"),
    ] {
        world.publish(&mut writer, with_qos(qos, topic, payload));
    }
    assert_eq!(world.received(&mut reader).len(), 2);
    world.acknowledge(&mut reader, PUBREC, 2);
    world.disconnect(reader);
    world
        .broker
        .gate()
        .set_policy(policy(&[Some(NARROW)], STRICT));
    let mut reader = world.connect(&Hello::kept("reader"));
    assert_eq!(
        world.received(&mut reader),
        ["PUBREL #2", r#"PUBLISH q1 #3 "plant/open" open"#]
    );
}

#[test]
fn a_live_session_loses_what_the_new_policy_does_not_grant_and_keeps_the_rest() {
    let mut world = world(WIDE, STRICT);
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut reader = world.connect(&Hello::clean("reader"));
    world.subscribe(&mut reader, to("plant/#", Q1));
    world.subscribe(&mut reader, to("plant/open", Q1));
    world.publish(&mut writer, with_qos(Q1, "plant/secret", "queued"));
    world.publish(&mut writer, with_qos(Q1, "plant/open", "open"));
    world
        .broker
        .gate()
        .set_policy(policy(&[Some(NARROW)], STRICT));
    // Before it has looked up, each delivery is judged by itself.
    let mut early = world.received(&mut reader);
    assert_eq!(early.len(), 1);
    assert!(early.remove(0).ends_with("open"));
    world.recheck(&mut reader);
    let filters: Vec<&str> = reader
        .connection
        .session()
        .subscriptions
        .keys()
        .map(|filter| &**filter)
        .collect();
    assert_eq!(filters, ["plant/open"]);
    world.publish(&mut writer, with_qos(Q1, "plant/secret", "later"));
    assert!(world.received(&mut reader).is_empty());
}

/// A publisher that found its receivers just before the subscription ended may still push after it.
#[test]
fn a_delivery_that_arrives_late_for_a_lost_subscription_is_still_refused() {
    let mut world = world(WIDE, STRICT);
    let mut reader = world.connect(&Hello::clean("reader"));
    world.subscribe(&mut reader, to("plant/#", Q1));
    world
        .broker
        .gate()
        .set_policy(policy(&[Some(NARROW)], STRICT));
    world.recheck(&mut reader);
    let late = crate::message::Delivery {
        message: std::sync::Arc::new(message("plant/secret", "late")),
        qos: Q1,
        retain: false,
        identifiers: crate::message::Identifiers::new(),
        seq: 0,
    };
    let epoch = reader.session.mailbox.epoch();
    let limits = reader.session.bounds.now();
    reader.session.mailbox.push(epoch, late, limits);
    assert!(world.received(&mut reader).is_empty());
}

#[test]
fn retained_messages_are_withheld_once_their_author_may_not_write_them() {
    let acl = "user reader\ntopic read #\nuser writer\ntopic #\n";
    let revoked = "user reader\ntopic read #\nuser writer\ntopic write other\n";
    for (check, expected) in [(true, 0), (false, 1)] {
        let settings = Settings {
            check_retain_source: check,
            ..Settings::default()
        };
        let mut world = World::new(&settings, policy(&[Some(acl)], STRICT));
        let mut writer = world.connect(&Hello::clean("writer"));
        world.publish(&mut writer, retained("a", "x"));
        world
            .broker
            .gate()
            .set_policy(policy(&[Some(revoked)], STRICT));
        let mut reader = world.connect(&Hello::clean("reader"));
        world.subscribe(&mut reader, to("a", Q1));
        assert_eq!(world.received(&mut reader).len(), expected);
    }
}
