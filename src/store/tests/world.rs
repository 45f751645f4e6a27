//! What the tests of the store share.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::codec::{PacketId, QoS};
use crate::message::{Author, ClientId, Groups, Message, RetainHandling, Submitted, Subscription};
use crate::store::disk::{Disk, FileSystem};
use crate::store::{
    Batch, Journal, Page, Query, Receiver, Record, Recovered, SessionFacts, SessionKey, Store,
    StoreSettings,
};
use crate::topic::{SubscriptionFilter, TopicName};

pub(super) const WALL_MS: u64 = 1_800_000_000_000;

pub(super) fn key(number: u32) -> SessionKey {
    SessionKey(NonZeroU32::new(number).expect("not zero"))
}

pub(super) fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

pub(super) fn message(topic: &str, payload: &str) -> Arc<Message> {
    Arc::new(Message {
        topic: TopicName::parse(topic).expect("a topic"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        properties: Box::from(&b"\x01\x01"[..]),
        qos: QoS::AtLeastOnce,
        retain: false,
        expires_at: None,
        author: Arc::new(Author {
            client_id: ClientId::new("author"),
            username: Some("user".into()),
            groups: Groups::default(),
            grants: None,
            tokens: Arc::default(),
            address: None,
            listener: Some(0),
        }),
        submitted: Submitted::default(),
    })
}

pub(super) fn facts(client_id: &str) -> SessionFacts {
    SessionFacts {
        client_id: ClientId::new(client_id),
        username: None,
        expiry_interval_s: 3_600,
        away_since: None,
        tokens: None,
    }
}

pub(super) fn subscription(filter: &str) -> Subscription {
    Subscription {
        filter: SubscriptionFilter::parse(filter).expect("a filter"),
        qos: QoS::ExactlyOnce,
        no_local: false,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
        identifier: Some(7),
    }
}

pub(super) fn receiver(session: u32, seq: u64) -> Receiver {
    Receiver {
        session: key(session),
        seq,
        qos: QoS::AtLeastOnce,
        retain: false,
        identifiers: [3_u32].into_iter().collect(),
    }
}

pub(super) fn publish(topic: &str, payload: &str, receivers: Vec<Receiver>) -> Record {
    Record::Publish {
        message: message(topic, payload),
        retained: false,
        receivers,
    }
}

pub(super) fn settings(directory: &Path) -> StoreSettings {
    StoreSettings {
        segment_bytes: 16 << 10,
        ..StoreSettings::new(directory)
    }
}

pub(super) fn open(directory: &Path) -> (Journal, Recovered) {
    let disk: Arc<dyn Disk> = Arc::new(FileSystem);
    Journal::open(
        settings(directory),
        disk,
        Instant::now(),
        WALL_MS,
        Box::new(|_| {}),
    )
    .expect("a store")
}

/// Commits, and waits until it is done.
pub(super) fn commit(store: &dyn Store, records: Vec<Record>) {
    let ticket = store.commit(Batch {
        records,
        urgent: true,
    });
    let until = Instant::now() + Duration::from_secs(20);
    while store.committed() < ticket {
        assert_eq!(store.failure(), None);
        assert!(Instant::now() < until, "the commit takes too long");
        std::thread::yield_now();
    }
}

pub(super) fn read_query(store: &dyn Store, query: Query) -> Page {
    let (reply, page) = mpsc::channel();
    store.read(query, Box::new(move |page| drop(reply.send(page))));
    page.recv_timeout(Duration::from_secs(20)).expect("a page")
}

pub(super) fn read(store: &dyn Store, session: u32, most_messages: usize) -> Page {
    let query = Query {
        session: key(session),
        from: 0,
        to: u64::MAX,
        most_messages,
        most_bytes: usize::MAX,
    };
    read_query(store, query)
}

/// The payloads of a page.
pub(super) fn payloads(page: &Page) -> Vec<String> {
    assert_eq!(page.unreadable, []);
    page.messages
        .iter()
        .map(|stored| String::from_utf8_lossy(&stored.delivery.message.payload).into_owned())
        .collect()
}
