//! What waits for a client, and how much of it may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use crate::broker::tests::world::{Hello, Peer, Q0, Q1, World, message, to, with_qos};
use crate::broker::{QueueLimits, Settings};
use crate::message::Message;
use crate::session::tests::wire::Connect;

fn bounded(messages: usize, bytes: usize, queue_qos0: bool) -> World {
    World::settings(Settings {
        queue: QueueLimits {
            messages,
            bytes,
            queue_qos0,
        },
        ..Settings::default()
    })
}

fn clients(world: &mut World) -> (Peer, Peer) {
    let writer = world.connect(&Hello::clean("writer"));
    let mut reader = world.connect(&Hello::kept("reader"));
    world.subscribe(&mut reader, to("#", Q1));
    (writer, reader)
}

/// Publishes numbers from 0 and gives how many were dropped.
fn publish(world: &mut World, writer: &mut Peer, count: usize) -> u64 {
    let mut dropped = 0;
    for index in 0..count {
        let message = with_qos(Q1, "a", &index.to_string());
        dropped += world.publish(writer, message).dropped_full;
    }
    dropped
}

#[test]
fn for_an_absent_client_so_many_messages_wait_and_the_newest_are_dropped_and_counted() {
    let mut world = bounded(3, 0, false);
    let (mut writer, reader) = clients(&mut world);
    world.disconnect(reader);
    assert_eq!(publish(&mut world, &mut writer, 5), 2);
    assert_eq!(world.broker.counts().dropped_queue_full, 2);
    assert_eq!(world.broker.queued(), (3, 6));
    let mut reader = world.connect(&Hello::kept("reader"));
    assert_eq!(world.payloads(&mut reader), ["0", "1", "2"]);
    assert_eq!(world.broker.queued(), (0, 0));
}

/// A client that takes may be handed more at once than may wait for one that is away.
#[test]
fn what_was_handed_to_a_client_in_a_burst_is_cut_to_the_bound_when_it_leaves_and_counted() {
    for (messages, bytes, kept) in [(3, 0, 3), (0, 5, 2), (0, 1, 1)] {
        let mut world = bounded(messages, bytes, false);
        let (mut writer, reader) = clients(&mut world);
        assert_eq!(publish(&mut world, &mut writer, 5), 0, "it is there");
        world.publish(&mut writer, with_qos(Q0, "a", "not kept"));
        world.disconnect(reader);
        assert_eq!(world.broker.queued(), (kept, 2 * kept));
        let dropped = u64::try_from(5 - kept).expect("small");
        assert_eq!(world.broker.counts().dropped_queue_full, dropped);
        let mut reader = world.connect(&Hello::kept("reader"));
        let expected: Vec<String> = (0..kept).map(|number| number.to_string()).collect();
        assert_eq!(world.payloads(&mut reader), expected);
    }
}

/// One-byte payloads with large properties have filled a broker before (attack list, point 13).
#[test]
fn bytes_count_with_topic_and_properties_and_one_message_may_always_wait() {
    let mut world = bounded(0, 50, false);
    let (mut writer, reader) = clients(&mut world);
    world.disconnect(reader);
    let heavy = |bytes: usize| Message {
        properties: vec![0x26; bytes].into(),
        ..with_qos(Q1, "a", "x")
    };
    assert_eq!(world.publish(&mut writer, heavy(1_000)).delivered, 1);
    assert_eq!(world.publish(&mut writer, heavy(0)).dropped_full, 1);
    assert_eq!(world.broker.queued(), (1, 1_002));
    let mut world = bounded(0, 50, false);
    let (mut writer, reader) = clients(&mut world);
    world.disconnect(reader);
    let outcome = [24, 23, 22].map(|bytes| world.publish(&mut writer, heavy(bytes)).delivered);
    assert_eq!(
        outcome,
        [1, 0, 1],
        "26 bytes, 25 more are too many, 24 are not"
    );
    assert_eq!(world.broker.queued(), (2, 50));
}

#[test]
fn zero_is_no_limit() {
    let mut world = bounded(0, 0, false);
    let (mut writer, reader) = clients(&mut world);
    world.disconnect(reader);
    assert_eq!(publish(&mut world, &mut writer, 5_000), 0);
    assert_eq!(world.broker.queued().0, 5_000);
}

#[test]
fn qos_0_waits_for_an_absent_client_only_where_that_was_asked_for() {
    for (queue_qos0, expected) in [(false, &["1"][..]), (true, &["0", "1"])] {
        let mut world = bounded(10, 0, queue_qos0);
        let (mut writer, reader) = clients(&mut world);
        world.disconnect(reader);
        let fanout = world.publish(&mut writer, message("a", "0"));
        assert_eq!((fanout.matched, fanout.dropped_full), (1, 0), "no overflow");
        world.publish(&mut writer, with_qos(Q1, "a", "1"));
        let mut reader = world.connect(&Hello::kept("reader"));
        assert_eq!(world.payloads(&mut reader), expected);
    }
}

#[test]
fn what_waits_for_the_window_counts_against_the_bounds_of_a_connected_client() {
    let mut world = bounded(3, 0, false);
    let mut writer = world.connect(&Hello::clean("writer"));
    let narrow = Connect::new("reader").receive_maximum(1);
    let mut reader = world.connect(&Hello::with("reader", narrow));
    world.subscribe(&mut reader, to("a", Q1));
    // A client that takes what it is sent may be handed more than that between two turns.
    assert_eq!(publish(&mut world, &mut writer, 10), 0);
    assert_eq!(world.received(&mut reader).len(), 1);
    assert_eq!(reader.connection.held().0, 9);
    // It is told with the next look what the connection holds.
    assert!(world.received(&mut reader).is_empty());
    assert_eq!(publish(&mut world, &mut writer, 2), 2);
    let payloads = world.payloads(&mut reader);
    assert_eq!(payloads.len(), 0, "nothing was acknowledged");
    world.acknowledge(&mut reader, crate::session::tests::wire::PUBACK, 1);
    assert_eq!(world.payloads(&mut reader).len(), 9);
}

#[test]
fn a_client_whose_socket_is_full_is_bounded_like_an_absent_one_until_it_takes_again() {
    let mut world = bounded(3, 0, false);
    let (mut writer, reader) = clients(&mut world);
    assert_eq!(publish(&mut world, &mut writer, 5), 0);
    let mut taken = std::collections::VecDeque::new();
    reader.session.mailbox.take(&mut taken, (0, 0));
    taken.drain(..4);
    reader.session.mailbox.give_back(&mut taken, (0, 0));
    assert!(taken.is_empty());
    assert_eq!(publish(&mut world, &mut writer, 5), 3, "one was given back");
    reader.session.mailbox.take(&mut taken, (0, 0));
    let payloads: Vec<&[u8]> = taken
        .iter()
        .map(|delivery| &*delivery.message.payload)
        .collect();
    assert_eq!(payloads, [b"4", b"0", b"1"]);
    assert_eq!(publish(&mut world, &mut writer, 5), 0);
}

#[test]
fn between_two_turns_of_a_client_that_takes_there_is_a_bound_as_well() {
    let mut world = bounded(10, 0, false);
    let (mut writer, mut reader) = clients(&mut world);
    let large = "x".repeat(1 << 20);
    let mut outcome = Vec::new();
    for _ in 0..20 {
        let fanout = world.publish(&mut writer, with_qos(Q0, "a", &large));
        outcome.push((fanout.delivered, fanout.crowded.is_some()));
    }
    // 15 of a mebibyte and a byte fit below 16 MiB; from a quarter of that its publishers are told
    // to step aside.
    assert_eq!(
        outcome
            .iter()
            .filter(|(delivered, _)| *delivered == 1)
            .count(),
        15
    );
    assert!(!outcome[1].1 && outcome[8].1);
    assert!(reader.session.mailbox.is_crowded());
    assert_eq!(world.received(&mut reader).len(), 15);
    assert!(!reader.session.mailbox.is_crowded());
}

#[test]
fn a_client_that_takes_is_never_kept_less_than_one_that_is_away() {
    let many = 70_000;
    for (messages, dropped) in [(many, 0), (many - 1, 1), (0, 0)] {
        let mut world = bounded(messages, 64 << 20, false);
        let (mut writer, mut reader) = clients(&mut world);
        assert_eq!(publish(&mut world, &mut writer, many), dropped as u64);
        assert_eq!(reader.session.mailbox.queued().0, many - dropped);
        world.received(&mut reader);
    }
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waking costs more than all the rest: once for each time the receiver has looked.
#[test]
fn a_receiver_is_woken_once_until_it_has_looked() {
    let mut world = World::open();
    let (mut writer, mut reader) = clients(&mut world);
    let counter = Arc::new(Counter::default());
    reader
        .session
        .mailbox
        .attach(Waker::from(Arc::clone(&counter)));
    let wake = |world: &mut World| {
        let sessions: Vec<_> = world.effects.drain().collect();
        for session in &sessions {
            session.mailbox.wake();
        }
        sessions.len()
    };
    // It looks for itself when it begins.
    publish(&mut world, &mut writer, 3);
    assert_eq!(wake(&mut world), 0);
    world.received(&mut reader);
    publish(&mut world, &mut writer, 3);
    assert_eq!(wake(&mut world), 1);
    publish(&mut world, &mut writer, 3);
    assert_eq!(wake(&mut world), 0);
    // Also when there was nothing to take, the next message wakes it again.
    world.received(&mut reader);
    world.received(&mut reader);
    publish(&mut world, &mut writer, 1);
    assert_eq!(wake(&mut world), 1);
    assert_eq!(counter.0.load(Ordering::Relaxed), 2);
    world.disconnect(reader);
    publish(&mut world, &mut writer, 1);
    assert_eq!(wake(&mut world), 0, "nobody is there to be woken");
}
