//! What the store reads from its files. Its records come to the same read from a frame, from a sidecar, and
//! written again by compaction.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use portcullis::codec::{PacketId, QoS};
use portcullis::message::{
    Author, ClientId, Grants, Groups, Message, RetainHandling, Submitted, Subscription,
};
use portcullis::store::{Receiver, Record, SessionFacts, SessionKey, StoredWill, probe};
use portcullis::topic::{SubscriptionFilter, TopicName};

pub(super) fn records(data: &[u8]) {
    probe::records(data);
}

pub(super) fn files(data: &[u8]) {
    probe::files(data);
}

pub(super) fn record_seeds() -> Vec<Vec<u8>> {
    probe::record_seeds(&batches())
}

pub(super) fn file_seeds() -> Vec<Vec<u8>> {
    let mut seeds = probe::file_seeds(&batches());
    let meta = "portcullis store\nformat 1\nid 00112233445566778899aabbccddeeff\ngeneration 0\nfirst 1\nlast 1\n";
    seeds.push(format!("{meta}crc 00000000\n").into_bytes());
    seeds
}

fn key(number: u32) -> SessionKey {
    SessionKey(NonZeroU32::new(number).expect("not zero"))
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

fn message(topic: &str, address: Option<&str>) -> Message {
    let grants = Grants {
        publish: vec!["a/#".into()],
        subscribe: vec!["b/+".into(), "c".into()],
    };
    Message {
        topic: TopicName::parse(topic).expect("a topic"),
        payload: Bytes::from_static(b"payload"),
        properties: Box::from(&b"\x01\x01"[..]),
        qos: QoS::ExactlyOnce,
        retain: address.is_some(),
        expires_at: address.map(|_| Instant::now() + Duration::from_secs(60)),
        author: Arc::new(Author {
            client_id: ClientId::new("author"),
            username: address.map(|_| "user".into()),
            groups: Groups::from(["g".into(), "h".into()]),
            grants: address.map(|_| Arc::new(grants)),
            tokens: Arc::from(["token".into()]),
            address: address.map(|text| text.parse().expect("an address")),
            listener: address.map(|_| 3),
        }),
        submitted: Submitted::default(),
    }
}

fn publish(topic: &str, retained: bool, receivers: &[(u32, u64)]) -> Record {
    let receivers = receivers.iter().map(|(session, seq)| Receiver {
        session: key(*session),
        seq: *seq,
        qos: QoS::AtLeastOnce,
        retain: retained,
        identifiers: [7, 300_000].into_iter().collect(),
    });
    Record::Publish {
        message: Arc::new(message(topic, retained.then_some("::1"))),
        retained,
        receivers: receivers.collect(),
    }
}

fn session(number: u32, away: bool) -> Record {
    let facts = SessionFacts {
        client_id: ClientId::new("client"),
        username: away.then(|| "user".into()),
        expiry_interval_s: u32::MAX,
        away_since: away.then(Instant::now),
        tokens: None,
    };
    Record::Session {
        session: key(number),
        facts: facts.into(),
    }
}

fn subscribe(number: u32, filter: &str) -> Record {
    let subscription = Subscription {
        filter: SubscriptionFilter::parse(filter).expect("a filter"),
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
        identifier: Some(9),
    };
    Record::Subscribe {
        session: key(number),
        subscription: subscription.into(),
    }
}

fn will(number: u32) -> Record {
    let will = StoredWill {
        message: Arc::new(message("will", Some("192.0.2.1"))),
        expiry_interval_s: Some(1),
        delay_s: 2,
        due: None,
    };
    Record::Will {
        session: key(number),
        will: will.into(),
    }
}

/// Records of every kind.
fn batches() -> Vec<Vec<Record>> {
    let (one, packet_id) = (key(1), id(77));
    vec![
        vec![session(1, true), session(2, false), subscribe(1, "a/+")],
        vec![
            session(1, false),
            publish("a/b", false, &[(1, 1), (1, 2), (2, 1)]),
            publish("a/c", true, &[(1, u64::MAX)]),
            Record::Sent {
                session: one,
                seq: 1,
                packet_id,
            },
            Record::Released {
                session: one,
                seq: 2,
                packet_id,
            },
            Record::Done {
                session: one,
                seq: 1,
            },
        ],
        vec![
            session(3, true),
            subscribe(3, "$share/g/a/#"),
            subscribe(3, "b"),
            Record::Unsubscribe {
                session: key(3),
                filter: "b".into(),
            },
            Record::Received {
                session: key(3),
                packet_id,
            },
            Record::Received {
                session: key(3),
                packet_id: id(1),
            },
            Record::ReceivedDone {
                session: key(3),
                packet_id,
            },
        ],
        vec![
            will(1),
            Record::WillArmed {
                session: one,
                due: Instant::now(),
            },
            will(2),
            Record::WillDone { session: key(2) },
            publish("a/d", true, &[]),
            Record::Unretain {
                topic: TopicName::parse("a/d").expect("a topic"),
            },
            session(4, true),
            Record::SessionEnd { session: key(4) },
            Record::Alive,
        ],
    ]
}
