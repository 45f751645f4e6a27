//! Sessions: kept, resumed, taken over, refused, and ended.

use crate::broker::tests::world::{Hello, Peer, Q0, Q1, Q2, World, message, to, with_qos};
use crate::broker::{Settings, Signal};
use crate::policy::DenyReason;
use crate::session::tests::wire::{Connect, PUBREC};

fn expiring(id: &'static str, seconds: u32) -> Hello {
    Hello::with(id, Connect::new(id).resume().expiry(seconds))
}

fn reader(world: &mut World, hello: &Hello) -> Peer {
    let mut reader = world.connect(hello);
    world.subscribe(&mut reader, to("a/#", Q2));
    reader
}

fn publish(world: &mut World, writer: &mut Peer, payloads: &[&str]) {
    for payload in payloads {
        world.publish(writer, with_qos(Q1, "a", payload));
    }
}

#[test]
fn mqtt_3_1_2_5_a_kept_session_is_resumed_with_what_was_published_meanwhile() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let kept = reader(&mut world, &Hello::kept("reader"));
    assert!(!kept.present);
    world.disconnect(kept);
    publish(&mut world, &mut writer, &["1", "2"]);
    world.publish(&mut writer, message("a", "lost"));
    publish(&mut world, &mut writer, &["3"]);
    let mut back = world.connect(&Hello::kept("reader"));
    assert!(back.present);
    publish(&mut world, &mut writer, &["4"]);
    // QoS 0 promises nothing to who is away.
    assert_eq!(world.payloads(&mut back), ["1", "2", "3", "4"]);
}

#[test]
fn mqtt_3_1_2_4_clean_start_ends_what_was_kept() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let kept = reader(&mut world, &Hello::kept("reader"));
    world.disconnect(kept);
    publish(&mut world, &mut writer, &["1"]);
    let mut fresh = world.connect(&Hello::kept("reader").clean_start());
    assert!(!fresh.present);
    assert!(fresh.connection.session().subscriptions.is_empty());
    publish(&mut world, &mut writer, &["2"]);
    assert!(world.payloads(&mut fresh).is_empty());
    assert_eq!(world.broker.counts().subscriptions, 0);
    assert_eq!(world.broker.queued(), (0, 0));
}

#[test]
fn mqtt_4_1_0_2_a_session_ends_with_its_connection_or_when_its_interval_is_over() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let clean = reader(&mut world, &Hello::clean("clean"));
    let short = reader(&mut world, &expiring("short", 10));
    let never = reader(&mut world, &expiring("never", u32::MAX));
    assert_eq!(world.broker.counts().sessions, 4);
    for peer in [clean, short, never] {
        world.disconnect(peer);
    }
    let counts = world.broker.counts();
    assert_eq!((counts.sessions, counts.connected), (3, 1));
    publish(&mut world, &mut writer, &["x"]);
    assert_eq!(world.wait(9), 0);
    assert_eq!(world.wait(1), 1);
    let counts = world.broker.counts();
    assert_eq!((counts.sessions, counts.expired_sessions), (2, 1));
    assert_eq!(counts.subscriptions, 1);
    assert_eq!(world.broker.queued(), (1, 2), "what waited for it is gone");
    assert!(!world.connect(&expiring("short", 10)).present);
    assert_eq!(world.wait(1 << 30), 0);
    assert!(world.connect(&expiring("never", 1)).present);
}

#[test]
fn a_session_that_is_over_is_not_resumed_though_nobody_has_cleared_it_away() {
    let mut world = World::open();
    let short = reader(&mut world, &expiring("short", 10));
    world.disconnect(short);
    world.now += std::time::Duration::from_secs(10);
    let fresh = world.connect(&expiring("short", 10));
    assert!(!fresh.present);
    assert_eq!(world.broker.counts().subscriptions, 0);
}

#[test]
fn a_session_that_was_resumed_lives_by_its_new_interval() {
    let mut world = World::open();
    let peer = world.connect(&expiring("x", 10));
    world.disconnect(peer);
    world.wait(5);
    let peer = world.connect(&expiring("x", 20));
    assert!(peer.present);
    // What was noted for the first connection is due, and nothing comes of it.
    assert_eq!(world.wait(10), 0);
    world.disconnect(peer);
    assert_eq!(world.wait(19), 0);
    assert_eq!(world.wait(1), 1);
}

/// A client that comes and goes leaves a note each time; they are cleared away before they are
/// many, and no session is forgotten by that.
#[test]
fn clearing_away_old_notes_forgets_no_session_and_no_will() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut watcher = reader(&mut world, &Hello::clean("watcher"));
    let both = world.connect(&expiring("both", 20_000));
    world.leave_with(both, (with_qos(Q1, "a/will", "will"), 10_000));
    let hello = expiring("restless", 30_000);
    for _ in 0..1_100 {
        let peer = world.connect(&hello);
        world.disconnect(peer);
    }
    assert_eq!(world.wait(1), 0);
    publish(&mut world, &mut writer, &["before"]);
    assert_eq!(world.payloads(&mut watcher), ["before"]);
    assert_eq!(world.wait(9_999), 0);
    assert_eq!(world.payloads(&mut watcher), ["will"]);
    assert_eq!(world.wait(10_000), 1, "both is over");
    assert_eq!(world.wait(10_000), 1, "restless is over");
    assert_eq!(world.broker.counts().sessions, 2);
}

#[test]
fn mqtt_3_1_4_3_a_newcomer_takes_the_session_over_and_no_message_is_lost_or_passes_another() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let narrow = Connect::new("reader")
        .resume()
        .expiry(60)
        .receive_maximum(2);
    let mut old = reader(&mut world, &Hello::with("reader", narrow));
    publish(&mut world, &mut writer, &["1", "2", "3"]);
    assert_eq!(world.received(&mut old).len(), 2);
    publish(&mut world, &mut writer, &["4"]);
    let newcomer = world.ask(&Hello::kept("reader"));
    let signals = old.session.take_signals().expect("told to look");
    assert!(signals.has(Signal::Takeover) && !signals.has(Signal::Shutdown));
    publish(&mut world, &mut writer, &["5"]);
    world.disconnect(old);
    publish(&mut world, &mut writer, &["6"]);
    let mut new = world.receive(newcomer).expect("handed over");
    assert!(new.present);
    publish(&mut world, &mut writer, &["7"]);
    let lines = world.received(&mut new);
    assert_eq!(
        lines,
        [
            r#"PUBLISH dup q1 #1 "a" 1"#,
            r#"PUBLISH dup q1 #2 "a" 2"#,
            r#"PUBLISH q1 #3 "a" 3"#,
            r#"PUBLISH q1 #4 "a" 4"#,
            r#"PUBLISH q1 #5 "a" 5"#,
            r#"PUBLISH q1 #6 "a" 6"#,
            r#"PUBLISH q1 #7 "a" 7"#,
        ]
    );
    let counts = world.broker.counts();
    assert_eq!((counts.sessions, counts.connected), (2, 2));
}

#[test]
fn mqtt_3_1_4_4_a_takeover_with_clean_start_gets_an_empty_session() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let old = reader(&mut world, &Hello::kept("reader"));
    publish(&mut world, &mut writer, &["1"]);
    let mut new = world.take_over(&Hello::kept("reader").clean_start(), old);
    assert!(!new.present);
    publish(&mut world, &mut writer, &["2"]);
    assert!(world.payloads(&mut new).is_empty());
    assert_eq!(world.broker.counts().subscriptions, 0);
}

#[test]
fn a_session_that_ends_with_its_connection_is_not_handed_over() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let old = reader(&mut world, &Hello::clean("reader"));
    publish(&mut world, &mut writer, &["1"]);
    let mut new = world.take_over(&Hello::kept("reader"), old);
    assert!(!new.present);
    publish(&mut world, &mut writer, &["2"]);
    assert!(world.payloads(&mut new).is_empty());
    assert_eq!(world.broker.queued(), (0, 0));
}

#[test]
fn of_several_newcomers_the_latest_has_the_session() {
    let mut world = World::open();
    let old = reader(&mut world, &Hello::kept("reader"));
    let first = world.ask(&Hello::kept("reader"));
    let second = world.ask(&Hello::kept("reader"));
    let third = world.ask(&Hello::kept("reader"));
    world.disconnect(old);
    assert!(world.receive(first).is_none());
    assert!(world.receive(second).is_none());
    assert!(world.receive(third).expect("handed over").present);
    assert_eq!(world.broker.counts().connected, 1);
}

/// The old connection may end by itself before it has looked at what it was told; the newcomer
/// must not find that and leave in its turn.
#[test]
fn a_request_that_was_served_is_not_seen_by_the_connection_it_was_made_for() {
    let mut world = World::open();
    let old = world.connect(&Hello::kept("reader"));
    let newcomer = world.ask(&Hello::kept("reader"));
    world.disconnect(old);
    let new = world.receive(newcomer).expect("handed over");
    let signals = new.session.take_signals();
    assert!(signals.is_none_or(|signals| !signals.has(Signal::Takeover)));
    // The next one's request is seen.
    let _next = world.ask(&Hello::kept("reader"));
    let signals = new.session.take_signals().expect("told to look");
    assert!(signals.has(Signal::Takeover));
}

#[test]
fn a_newcomer_that_goes_away_leaves_the_session_as_it_was() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let old = reader(&mut world, &Hello::kept("reader"));
    drop(world.ask(&Hello::kept("reader")));
    publish(&mut world, &mut writer, &["1"]);
    world.disconnect(old);
    publish(&mut world, &mut writer, &["2"]);
    let mut back = world.connect(&Hello::kept("reader"));
    assert!(back.present);
    assert_eq!(world.payloads(&mut back), ["1", "2"]);
}

#[test]
fn a_newcomer_with_clean_start_that_goes_away_leaves_nothing_behind() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut old = reader(&mut world, &Hello::kept("reader"));
    // Something waits for the window, so that there is something to count.
    publish(&mut world, &mut writer, &["x"; 30]);
    assert_eq!(world.received(&mut old).len(), 20);
    drop(world.ask(&Hello::kept("reader").clean_start()));
    world.disconnect(old);
    let counts = world.broker.counts();
    assert_eq!((counts.sessions, counts.subscriptions), (1, 0));
    assert_eq!(world.broker.queued(), (0, 0));
}

/// Whoever has the client id has not the session (attack list, point 8).
#[test]
fn a_session_of_another_identity_is_neither_resumed_nor_taken_nor_disturbed() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut owner = reader(&mut world, &Hello::kept("device"));
    let mut anonymous = Hello::kept("device");
    anonymous.user = None;
    let others = [
        Hello::kept("device").user("thief"),
        Hello::kept("device").user("thief").clean_start(),
        Hello::kept("device").user("Device"),
        anonymous,
    ];
    for other in &others {
        assert_eq!(world.refused(other), DenyReason::SessionOwner);
    }
    assert!(
        owner.session.take_signals().is_none(),
        "it was told nothing"
    );
    publish(&mut world, &mut writer, &["1"]);
    assert_eq!(world.payloads(&mut owner), ["1"]);
    world.disconnect(owner);
    publish(&mut world, &mut writer, &["2"]);
    for other in &others {
        assert_eq!(world.refused(other), DenyReason::SessionOwner);
    }
    let mut owner = world.connect(&Hello::kept("device"));
    assert!(owner.present);
    assert_eq!(world.payloads(&mut owner), ["2"]);
}

#[test]
fn a_client_id_is_free_for_everybody_once_its_session_has_ended() {
    let mut world = World::open();
    let first = reader(&mut world, &Hello::clean("device"));
    world.disconnect(first);
    let second = world.connect(&expiring("device", 10).user("other"));
    assert!(!second.present);
    world.disconnect(second);
    world.wait(10);
    assert!(!world.connect(&Hello::clean("device")).present);
}

#[test]
fn a_session_that_is_over_keeps_nobody_out_though_nobody_has_cleared_it_away() {
    let mut world = World::open();
    let first = reader(&mut world, &expiring("device", 10));
    world.disconnect(first);
    let other = Hello::kept("device").user("other");
    world.now += std::time::Duration::from_secs(9);
    assert_eq!(world.refused(&other), DenyReason::SessionOwner);
    world.now += std::time::Duration::from_secs(1);
    assert!(!world.connect(&other).present);
    assert_eq!(world.broker.counts().subscriptions, 0);
}

#[test]
fn the_number_of_sessions_is_bounded_absent_ones_included() {
    let mut world = World::settings(Settings {
        max_sessions: Some(2),
        ..Settings::default()
    });
    let absent = world.connect(&Hello::kept("absent"));
    world.disconnect(absent);
    let present = world.connect(&Hello::clean("present"));
    assert_eq!(
        world.refused(&Hello::clean("third")),
        DenyReason::MaxClients
    );
    // Who has a session already needs no further place.
    assert!(world.connect(&Hello::kept("absent")).present);
    world.disconnect(present);
    world.connect(&Hello::clean("third"));
}

#[test]
fn a_message_published_for_a_session_that_has_ended_does_not_reach_the_next_of_its_name() {
    let mut world = World::open();
    let old = reader(&mut world, &Hello::kept("reader"));
    let (session, epoch) = (
        std::sync::Arc::clone(&old.session),
        old.session.mailbox.epoch(),
    );
    world.disconnect(old);
    let mut fresh = world.connect(&Hello::kept("reader").clean_start());
    let late = crate::message::Delivery {
        message: std::sync::Arc::new(message("a", "late")),
        qos: Q1,
        retain: false,
        identifiers: crate::message::Identifiers::new(),
        seq: 0,
    };
    let pushed = session.mailbox.push(epoch, late, session.bounds.now());
    assert_eq!(pushed.outcome, crate::broker::Pushed::Stale);
    assert!(world.payloads(&mut fresh).is_empty());
}

#[test]
fn qos_2_state_goes_with_the_session() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut old = reader(&mut world, &Hello::kept("reader"));
    world.publish(&mut writer, with_qos(Q2, "a", "x"));
    world.received(&mut old);
    world.acknowledge(&mut old, PUBREC, 1);
    let mut new = world.take_over(&Hello::kept("reader"), old);
    assert_eq!(world.received(&mut new), ["PUBREL #1"]);
}

#[test]
fn connections_are_counted_and_so_is_the_most_there_ever_were() {
    let mut world = World::open();
    let first = world.connect(&Hello::clean("1"));
    let second = world.connect(&Hello::kept("2"));
    world.disconnect(first);
    let third = world.take_over(&Hello::kept("2"), second);
    let counts = world.broker.counts();
    assert_eq!(
        (counts.connected, counts.connected_maximum, counts.accepted),
        (1, 2, 3)
    );
    world.disconnect(third);
    assert_eq!(world.broker.counts().connected, 0);
    let mut peer = world.connect(&Hello::kept("2"));
    world.subscribe(&mut peer, to("a", Q0));
    assert!(peer.session.is_live());
}
