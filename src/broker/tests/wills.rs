//! Wills: at once, after their delay, with the end of the session, or not at all.

use std::time::Duration;

use crate::broker::Settings;
use crate::broker::tests::world::{Hello, Peer, Q1, World, policy, retained, to, with_qos};
use crate::message::Message;
use crate::policy::SubscribeGuard;
use crate::session::tests::wire::Connect;

fn hello(seconds: u32) -> Hello {
    Hello::with("mortal", Connect::new("mortal").resume().expiry(seconds))
}

fn watcher(world: &mut World) -> Peer {
    let mut watcher = world.connect(&Hello::clean("watcher"));
    world.subscribe(&mut watcher, to("will/#", Q1));
    watcher
}

fn will(delay: u64) -> (Message, u64) {
    (with_qos(Q1, "will/mortal", "gone"), delay)
}

/// Connects as `hello` and breaks off; then gives the seconds at which a will was seen.
fn seen(hello: &Hello, delay: u64, until: u64) -> Vec<u64> {
    let mut world = World::open();
    let mut watcher = watcher(&mut world);
    let mortal = world.connect(hello);
    world.leave_with(mortal, will(delay));
    let mut seen = Vec::new();
    for second in 0..=until {
        seen.extend(world.payloads(&mut watcher).iter().map(|_| second));
        world.wait(1);
    }
    seen
}

#[test]
fn mqtt_3_1_2_8_a_will_is_published_when_its_delay_is_over_or_its_session_whichever_is_first() {
    assert_eq!(seen(&hello(60), 0, 70), [0]);
    assert_eq!(seen(&hello(60), 5, 70), [5]);
    assert_eq!(seen(&hello(2), 5, 70), [2]);
    assert_eq!(seen(&hello(5), 5, 70), [5]);
    // A session that ends with its connection waits for nothing.
    assert_eq!(seen(&hello(0), 5, 70), [0]);
    assert_eq!(seen(&hello(u32::MAX), 5, 70), [5]);
}

#[test]
fn mqtt_3_1_3_9_a_connection_made_before_the_delay_is_over_cancels_the_will() {
    let mut world = World::open();
    let mut watcher = watcher(&mut world);
    let mortal = world.connect(&hello(60));
    world.leave_with(mortal, will(5));
    world.wait(4);
    let mortal = world.connect(&hello(60));
    assert!(mortal.present);
    world.wait(100);
    assert!(world.payloads(&mut watcher).is_empty());
    // Forgotten for good, not put off [MQTT-3.1.2-10].
    world.disconnect(mortal);
    world.wait(100);
    assert!(world.payloads(&mut watcher).is_empty());
}

#[test]
fn clean_start_ends_the_session_and_so_sends_the_will_that_waits() {
    let mut world = World::open();
    let mut watcher = watcher(&mut world);
    let mortal = world.connect(&hello(60));
    world.leave_with(mortal, will(50));
    world.wait(1);
    world.connect(&hello(60).clean_start());
    assert_eq!(world.payloads(&mut watcher), ["gone"]);
    world.wait(100);
    assert!(world.payloads(&mut watcher).is_empty(), "once is enough");
}

#[test]
fn a_takeover_sends_a_will_without_delay_and_cancels_one_with() {
    for (delay, clean, expected) in [(0, false, 1), (5, false, 0), (5, true, 1), (0, true, 1)] {
        let mut world = World::open();
        let mut watcher = watcher(&mut world);
        let old = world.connect(&hello(60));
        let mut next = hello(60);
        next.connect.clean = clean;
        let newcomer = world.ask(&next);
        world.leave_with(old, will(delay));
        let new = world.receive(newcomer).expect("handed over");
        assert_eq!(new.present, !clean);
        world.wait(10);
        let seen = world.payloads(&mut watcher).len();
        assert_eq!(seen, expected, "delay {delay}, clean {clean}");
    }
}

#[test]
fn the_expiry_interval_of_a_will_begins_when_it_is_published_whenever_that_is() {
    // Session Expiry Interval, Will Delay Interval; section 3.1.3.2.4.
    for (kept, delay) in [(60, 0), (60, 5), (0, 5), (2, 5)] {
        let mut world = World::open();
        let mut watcher = watcher(&mut world);
        let mortal = world.connect(&hello(kept));
        let (message, _) = will(delay);
        let message = Message {
            expires_at: Some(world.now + Duration::from_secs(delay + 20)),
            ..message
        };
        world.leave_with(mortal, (message, delay));
        world.wait(delay.min(u64::from(kept)));
        assert_eq!(
            world.received(&mut watcher),
            [r#"PUBLISH q1 #1 "will/mortal" message-expiry=20 gone"#],
            "kept {kept}, delay {delay}"
        );
    }
}

#[test]
fn mqtt_3_1_2_15_a_retained_will_is_kept_for_those_who_come_later() {
    let mut world = World::open();
    let mortal = world.connect(&hello(0));
    world.leave_with(mortal, (retained("will/mortal", "gone"), 0));
    let mut late = watcher(&mut world);
    assert_eq!(
        world.received(&mut late),
        [r#"PUBLISH retain q1 #1 "will/mortal" gone"#]
    );
}

#[test]
fn a_will_whose_author_may_not_write_it_any_more_is_not_published() {
    let granted = "user mortal\ntopic will/mortal\nuser watcher\ntopic #\n";
    let revoked = "user mortal\ntopic read will/mortal\nuser watcher\ntopic #\n";
    let strict = SubscribeGuard::Strict;
    for (after, expected) in [(granted, 1), (revoked, 0)] {
        let mut world = World::new(&Settings::default(), policy(&[Some(granted)], strict));
        let mut watcher = watcher(&mut world);
        let mortal = world.connect(&hello(60));
        world.leave_with(mortal, will(5));
        world
            .broker
            .gate()
            .set_policy(policy(&[Some(after)], strict));
        world.wait(5);
        assert_eq!(world.payloads(&mut watcher).len(), expected);
        if expected == 0 {
            assert_eq!(world.told(), ["will will/mortal read_only"]);
        }
    }
}

#[test]
fn a_client_subscribed_to_its_own_will_does_not_find_it_when_it_ends_with_its_session() {
    let mut world = World::open();
    let mut mortal = world.connect(&hello(0));
    world.subscribe(&mut mortal, to("will/#", Q1));
    world.leave_with(mortal, will(0));
    let mut back = world.connect(&hello(0));
    assert!(world.payloads(&mut back).is_empty());
    // Where the session goes on, its subscription does too.
    let mut mortal = world.take_over(&hello(60), back);
    world.subscribe(&mut mortal, to("will/#", Q1));
    world.leave_with(mortal, will(0));
    let mut back = world.connect(&hello(60));
    assert_eq!(world.payloads(&mut back), ["gone"]);
}
