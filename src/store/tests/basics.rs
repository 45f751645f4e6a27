//! What was committed is there again.

use super::world::*;
use crate::codec::QoS;
use crate::store::{Record, Stage, Store};

#[test]
fn what_was_committed_is_there_when_the_store_is_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let (store, found) = open(dir.path());
        assert!(found.sessions.is_empty() && found.retained.is_empty() && found.wills.is_empty());
        let session = store.new_session().expect("a number");
        assert_eq!(session, key(1));
        commit(
            &store,
            vec![
                Record::Session {
                    session,
                    facts: facts("pump").into(),
                },
                Record::Subscribe {
                    session,
                    subscription: subscription("a/+").into(),
                },
                Record::Subscribe {
                    session,
                    subscription: subscription("b").into(),
                },
                Record::Unsubscribe {
                    session,
                    filter: "b".into(),
                },
                Record::Received {
                    session,
                    packet_id: id(9),
                },
                Record::Received {
                    session,
                    packet_id: id(8),
                },
                Record::ReceivedDone {
                    session,
                    packet_id: id(9),
                },
            ],
        );
        commit(
            &store,
            vec![
                publish("a/1", "one", vec![receiver(1, 1)]),
                publish("a/2", "two", vec![receiver(1, 2)]),
                publish("a/3", "three", vec![receiver(1, 3)]),
                Record::Sent {
                    session,
                    seq: 1,
                    packet_id: id(5),
                },
                Record::Done { session, seq: 2 },
                Record::Publish {
                    message: message("r", "kept"),
                    retained: true,
                    receivers: vec![],
                },
                Record::Publish {
                    message: message("q", "gone"),
                    retained: true,
                    receivers: vec![],
                },
                Record::Unretain {
                    topic: message("q", "").topic.clone(),
                },
            ],
        );
    }
    let (store, found) = open(dir.path());
    let [session] = &found.sessions[..] else {
        panic!("{found:?}");
    };
    assert_eq!(session.facts.client_id.as_str(), "pump");
    assert!(session.facts.away_since.is_some());
    assert_eq!(session.subscriptions, [subscription("a/+")]);
    assert_eq!(session.received, [id(8)]);
    let queue: Vec<_> = session
        .queue
        .iter()
        .map(|queued| (queued.seq, queued.stage))
        .collect();
    assert_eq!(queue, [(1, Stage::Sent(id(5))), (3, Stage::Queued)]);
    assert_eq!(session.queue[0].qos, QoS::AtLeastOnce);
    assert_eq!(found.retained.len(), 1);
    assert_eq!(&found.retained[0].payload[..], b"kept");
    let page = read(&store, 1, 10);
    assert_eq!(payloads(&page), ["one", "three"]);
    assert_eq!(page.messages[0].delivery.identifiers[..], [3]);
    assert_eq!(
        page.messages[0].delivery.message.author.username.as_deref(),
        Some("user")
    );
    // A number is never given twice.
    assert_eq!(store.new_session(), Some(key(2)));
}

#[test]
fn segments_of_which_nothing_is_alive_go_and_what_is_alive_in_old_ones_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "x".repeat(500);
    {
        let (store, _) = open(dir.path());
        commit(
            &store,
            vec![
                Record::Session {
                    session: key(1),
                    facts: facts("pump").into(),
                },
                Record::Subscribe {
                    session: key(1),
                    subscription: subscription("a").into(),
                },
                publish("a", "the oldest", vec![receiver(1, 1)]),
                Record::Sent {
                    session: key(1),
                    seq: 1,
                    packet_id: id(77),
                },
            ],
        );
        for seq in 2..2_000 {
            commit(
                &store,
                vec![
                    publish("a", &text, vec![receiver(1, seq)]),
                    Record::Done {
                        session: key(1),
                        seq,
                    },
                ],
            );
        }
        let numbers = store.numbers();
        assert!(numbers.bytes_written > 1_000_000);
        assert!(numbers.disk_bytes < 200_000, "{numbers:?}");
        assert_eq!(payloads(&read(&store, 1, 10)), ["the oldest"]);
    }
    let (store, found) = open(dir.path());
    assert_eq!(found.sessions[0].queue.len(), 1);
    assert_eq!(found.sessions[0].queue[0].stage, Stage::Sent(id(77)));
    assert_eq!(found.sessions[0].subscriptions, [subscription("a")]);
    assert_eq!(payloads(&read(&store, 1, 10)), ["the oldest"]);
}

#[test]
fn two_brokers_cannot_have_one_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, _) = open(dir.path());
    let second = crate::store::Journal::open(
        settings(dir.path()),
        std::sync::Arc::new(crate::store::disk::FileSystem),
        std::time::Instant::now(),
        WALL_MS,
        Box::new(|_| {}),
    );
    let error = second.expect_err("it is locked").to_string();
    assert!(
        error.ends_with("another process uses this store"),
        "{error}"
    );
}
