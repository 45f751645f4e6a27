//! What every store does, the one on disk and the one in memory.

use std::time::{Duration, Instant};

use super::faults::{Call, FaultDisk};
use super::model::{Workload, expected, open_on, small, view};
use super::world::*;
use crate::codec::QoS;
use crate::store::{
    Batch, Journal, Memory, Query, Record, Recovered, Stage, Standing, Store, StoredWill,
};

/// A store that can be made to fail.
trait Subject {
    fn store(&self) -> &dyn Store;
    /// The power fails and is back.
    fn crash(&mut self) -> Recovered;
    fn fail(&self);
    /// Nothing is committed until [`Subject::release`].
    fn hold(&self);
    fn release(&self);
}

struct OnDisk {
    begun: Instant,
    disk: FaultDisk,
    journal: Option<Journal>,
}

impl OnDisk {
    fn new() -> Self {
        let (begun, disk) = (Instant::now(), FaultDisk::new());
        let (journal, _) = open_on(&disk, begun, &small()).expect("a store");
        Self {
            begun,
            disk,
            journal: Some(journal),
        }
    }
}

impl Subject for OnDisk {
    fn store(&self) -> &dyn Store {
        self.journal.as_ref().expect("open")
    }

    fn crash(&mut self) -> Recovered {
        self.disk.kill();
        self.disk.hold(false);
        self.journal = None;
        self.disk.allow();
        self.disk.crash(5);
        let (journal, found) = open_on(&self.disk, self.begun, &small()).expect("a store");
        self.journal = Some(journal);
        found
    }

    fn fail(&self) {
        self.disk.refuse(Call::Sync, std::io::ErrorKind::Other);
    }

    fn hold(&self) {
        self.disk.hold(true);
    }

    fn release(&self) {
        self.disk.hold(false);
    }
}

struct InMemory(Memory);

impl Subject for InMemory {
    fn store(&self) -> &dyn Store {
        &self.0
    }

    fn crash(&mut self) -> Recovered {
        self.0.crash(Instant::now())
    }

    fn fail(&self) {
        self.0.fail("it was told to");
    }

    fn hold(&self) {
        self.0.hold();
    }

    fn release(&self) {
        self.0.resume();
    }
}

/// Each function is a test of both.
macro_rules! of_both {
    ($($name:ident),* $(,)?) => {
        mod on_disk {
            $(#[test] fn $name() { super::$name(&mut super::OnDisk::new()); })*
        }
        mod in_memory {
            $(#[test] fn $name() { super::$name(&mut super::InMemory(super::Memory::default())); })*
        }
    };
}

of_both!(
    a_crash_keeps_what_was_committed_and_nothing_else_that_was_not_handed_over,
    what_was_handed_over_before_a_read_is_found_by_it,
    a_page_ends_where_it_is_told_to,
    a_place_in_the_queue_may_be_any_number,
    a_number_is_not_given_to_another_session,
    a_will_is_kept_beside_its_session_and_is_due_after_a_crash,
    who_was_connected_is_away_after_a_crash,
    what_belongs_to_a_session_ends_with_it,
    a_retained_message_takes_the_place_of_the_one_before,
    a_message_that_is_released_has_nothing_to_be_read,
    after_a_failure_nothing_is_acknowledged_and_what_was_committed_is_read,
    what_is_left_is_committed_when_it_is_closed_and_nothing_afterwards,
    random_work_comes_to_what_it_must,
);

fn session(number: u32) -> Record {
    Record::Session {
        session: key(number),
        facts: facts(&format!("client {number}")).into(),
    }
}

fn queue(found: &Recovered, at: usize) -> Vec<(u64, Stage)> {
    let queue = found.sessions[at].queue.iter();
    queue.map(|queued| (queued.seq, queued.stage)).collect()
}

fn a_crash_keeps_what_was_committed_and_nothing_else_that_was_not_handed_over(
    subject: &mut dyn Subject,
) {
    assert_eq!(subject.store().committed(), 0);
    commit(subject.store(), vec![session(1)]);
    commit(
        subject.store(),
        vec![publish("a", "one", vec![receiver(1, 1)])],
    );
    subject.hold();
    let lazy = Batch {
        records: vec![publish("a", "two", vec![receiver(1, 2)])],
        urgent: false,
    };
    let ticket = subject.store().commit(lazy);
    assert_eq!(ticket, 3);
    assert_eq!(subject.store().committed(), 2);
    let found = subject.crash();
    // What was handed over may have come to the disk or not.
    let queue = queue(&found, 0);
    let stages = [(1, Stage::Queued), (2, Stage::Queued)];
    assert!(queue == stages || queue == stages[..1], "{queue:?}");
    assert_eq!(subject.store().committed(), 0);
    let found = payloads(&read(subject.store(), 1, 9));
    assert_eq!(found, ["one", "two"][..queue.len()]);
}

fn what_was_handed_over_before_a_read_is_found_by_it(subject: &mut dyn Subject) {
    let store = subject.store();
    let lazy = |records| Batch {
        records,
        urgent: false,
    };
    store.commit(lazy(vec![session(1)]));
    store.commit(lazy(vec![publish("a", "one", vec![receiver(1, 1)])]));
    assert_eq!(payloads(&read(store, 1, 9)), ["one"]);
    // What is not committed is not read: it could vanish still.
    subject.hold();
    store.commit(lazy(vec![publish("a", "two", vec![receiver(1, 2)])]));
    let (reply, pages) = std::sync::mpsc::channel();
    let query = Query {
        session: key(1),
        from: 0,
        to: 9,
        most_messages: 9,
        most_bytes: usize::MAX,
    };
    store.read(query, Box::new(move |page| drop(reply.send(page))));
    assert!(pages.try_recv().is_err());
    subject.release();
    let page = pages.recv_timeout(Duration::from_secs(20)).expect("a page");
    assert_eq!(payloads(&page), ["one", "two"]);
}

fn a_page_ends_where_it_is_told_to(subject: &mut dyn Subject) {
    let store = subject.store();
    commit(store, vec![session(1), session(2)]);
    for seq in [2, 3, 5, 8, 13] {
        let text = seq.to_string();
        commit(
            store,
            vec![publish("a", &text, vec![receiver(1, seq), receiver(2, 90)])],
        );
    }
    let page = |from, to, most_messages, most_bytes| {
        let query = Query {
            session: key(1),
            from,
            to,
            most_messages,
            most_bytes,
        };
        let page = read_query(store, query);
        (payloads(&page).join(" "), page.to)
    };
    let all = usize::MAX;
    assert_eq!(page(0, u64::MAX, all, all), ("2 3 5 8 13".into(), u64::MAX));
    assert_eq!(page(0, u64::MAX, 3, all), ("2 3 5".into(), 7));
    assert_eq!(page(3, 8, all, all), ("3 5 8".into(), 8));
    assert_eq!(page(3, 8, 3, all), ("3 5 8".into(), 8));
    assert_eq!(page(4, 4, all, all), (String::new(), 4));
    assert_eq!(page(6, 4, all, all), (String::new(), 4));
    // One is always read.
    assert_eq!(page(3, 9, all, 0), ("3".into(), 4));
    assert_eq!(page(3, 9, all, 1), ("3".into(), 4));
    assert_eq!(page(14, u64::MAX, all, all), (String::new(), u64::MAX));
    assert_eq!(payloads(&read(store, 3, 9)), Vec::<String>::new());
}

fn a_place_in_the_queue_may_be_any_number(subject: &mut dyn Subject) {
    commit(subject.store(), vec![session(1)]);
    for seq in [u64::MAX, 1 << 40, 0, u64::MAX - 1, 1 << 63] {
        let record = publish("a", &seq.to_string(), vec![receiver(1, seq)]);
        commit(subject.store(), vec![record]);
    }
    let wanted = [0, 1 << 40, 1 << 63, u64::MAX - 1, u64::MAX].map(|seq: u64| seq.to_string());
    assert_eq!(payloads(&read(subject.store(), 1, 9)), wanted);
    let found = subject.crash();
    let seqs: Vec<_> = queue(&found, 0)
        .iter()
        .map(|(seq, _)| seq.to_string())
        .collect();
    assert_eq!(seqs, wanted);
    assert_eq!(payloads(&read(subject.store(), 1, 9)), wanted);
}

fn a_number_is_not_given_to_another_session(subject: &mut dyn Subject) {
    let given: Vec<_> = (0..3)
        .map(|_| subject.store().new_session().expect("a number"))
        .collect();
    assert_eq!(given, [key(1), key(2), key(3)]);
    commit(subject.store(), vec![session(1), session(3)]);
    let end = Record::SessionEnd { session: key(3) };
    commit(subject.store(), vec![end]);
    // Late news of a session that has ended.
    let done = Record::Done {
        session: key(3),
        seq: 7,
    };
    commit(subject.store(), vec![done]);
    let found = subject.crash();
    assert_eq!(found.sessions.len(), 1);
    assert_eq!(subject.store().new_session(), Some(key(4)));
}

fn will(text: &str) -> StoredWill {
    StoredWill {
        message: message("will", text),
        expiry_interval_s: Some(9),
        delay_s: 30,
        due: None,
    }
}

fn a_will_is_kept_beside_its_session_and_is_due_after_a_crash(subject: &mut dyn Subject) {
    let now = Instant::now();
    let wills = [1, 2, 3, 4].map(|number| Record::Will {
        session: key(number),
        will: will(&number.to_string()).into(),
    });
    commit(subject.store(), vec![session(1), session(2)]);
    commit(subject.store(), wills.into());
    let due = now + Duration::from_secs(500);
    commit(
        subject.store(),
        vec![
            Record::WillArmed {
                session: key(2),
                due,
            },
            Record::WillArmed {
                session: key(9),
                due,
            },
            Record::SessionEnd { session: key(2) },
            Record::WillDone { session: key(3) },
        ],
    );
    let found = subject.crash();
    let wills: Vec<_> = found
        .wills
        .iter()
        .map(|(session, will)| {
            let text = String::from_utf8_lossy(&will.message.payload).into_owned();
            let due = will.due.expect("it is due").saturating_duration_since(now);
            (*session, text, due.as_secs() / 100, will.expiry_interval_s)
        })
        .collect();
    assert_eq!(
        wills,
        [
            (key(1), "1".into(), 0, Some(9)),
            (key(2), "2".into(), 5 - u64::from(wills[1].2 == 4), Some(9)),
            (key(4), "4".into(), 0, Some(9)),
        ]
    );
}

fn who_was_connected_is_away_after_a_crash(subject: &mut dyn Subject) {
    let now = Instant::now();
    let away = crate::store::SessionFacts {
        away_since: Some(now + Duration::from_secs(300)),
        ..facts("away")
    };
    let away = Record::Session {
        session: key(2),
        facts: away.into(),
    };
    commit(subject.store(), vec![session(1), away]);
    let found = subject.crash();
    let since = found.sessions[0].facts.away_since.expect("it is away");
    assert!(since <= Instant::now() && since + Duration::from_secs(1) > now);
    let since = found.sessions[1].facts.away_since.expect("it is away");
    assert!(since > now + Duration::from_secs(299));
}

fn what_belongs_to_a_session_ends_with_it(subject: &mut dyn Subject) {
    let session_key = key(1);
    let records = vec![
        session(1),
        session(2),
        Record::Subscribe {
            session: session_key,
            subscription: subscription("a").into(),
        },
        Record::Received {
            session: session_key,
            packet_id: id(4),
        },
        publish("a", "both", vec![receiver(1, 1), receiver(2, 1)]),
        Record::SessionEnd {
            session: session_key,
        },
        publish("a", "late", vec![receiver(1, 2), receiver(2, 2)]),
    ];
    commit(subject.store(), records);
    let numbers = subject.store().numbers();
    assert_eq!((numbers.sessions, numbers.queued), (1, 2));
    assert_eq!(payloads(&read(subject.store(), 1, 9)), Vec::<String>::new());
    let found = subject.crash();
    assert_eq!(found.sessions.len(), 1);
    assert_eq!(found.sessions[0].session, key(2));
    assert_eq!(payloads(&read(subject.store(), 2, 9)), ["both", "late"]);
}

fn a_retained_message_takes_the_place_of_the_one_before(subject: &mut dyn Subject) {
    let retained = |topic: &str, text: &str| Record::Publish {
        message: message(topic, text),
        retained: true,
        receivers: vec![receiver(1, 1)],
    };
    commit(
        subject.store(),
        vec![
            session(1),
            retained("a", "old"),
            retained("b", "gone"),
            retained("a", "new"),
            Record::Unretain {
                topic: message("b", "").topic.clone(),
            },
            Record::Unretain {
                topic: message("never", "").topic.clone(),
            },
        ],
    );
    let numbers = subject.store().numbers();
    assert_eq!((numbers.retained, numbers.queued), (1, 1));
    let found = subject.crash();
    assert_eq!(found.retained.len(), 1);
    assert_eq!(&found.retained[0].payload[..], b"new");
    // The last message of a place in a queue is the one that waits.
    assert_eq!(payloads(&read(subject.store(), 1, 9)), ["new"]);
}

fn a_message_that_is_released_has_nothing_to_be_read(subject: &mut dyn Subject) {
    let (session_key, packet_id) = (key(1), id(6));
    let sent = |seq| Record::Sent {
        session: session_key,
        seq,
        packet_id,
    };
    let released = |seq| Record::Released {
        session: session_key,
        seq,
        packet_id,
    };
    let records = vec![
        session(1),
        publish("a", "1", vec![receiver(1, 1)]),
        publish("a", "2", vec![receiver(1, 2)]),
        sent(1),
        sent(2),
        released(1),
        // What is over stays over, and what never was is not.
        sent(1),
        sent(7),
    ];
    commit(subject.store(), records);
    let found = subject.crash();
    let stages = [(1, Stage::Released(id(6))), (2, Stage::Sent(id(6)))];
    assert_eq!(queue(&found, 0), stages);
    assert_eq!(found.sessions[0].queue[0].qos, QoS::ExactlyOnce);
    assert_eq!(found.sessions[0].queue[0].bytes, 0);
    let page = read(subject.store(), 1, 9);
    assert_eq!(payloads(&page), ["2"]);
    assert_eq!(page.messages[0].stage, Stage::Sent(id(6)));
}

fn after_a_failure_nothing_is_acknowledged_and_what_was_committed_is_read(
    subject: &mut dyn Subject,
) {
    let store = subject.store();
    commit(
        store,
        vec![session(1), publish("a", "1", vec![receiver(1, 1)])],
    );
    assert_eq!((store.standing(), store.failure()), (Standing::Good, None));
    subject.fail();
    let more = || Batch {
        records: vec![publish("a", "2", vec![receiver(1, 2)])],
        urgent: true,
    };
    store.commit(more());
    let until = Instant::now() + Duration::from_secs(20);
    while store.standing() != Standing::Failed {
        assert!(Instant::now() < until, "it does not fail");
        std::thread::yield_now();
    }
    assert!(store.failure().is_some());
    store.commit(more());
    assert_eq!(payloads(&read(store, 1, 9)), ["1"]);
    assert_eq!(store.committed(), 1);
    store.close();
    assert_eq!(store.committed(), 1);
}

fn what_is_left_is_committed_when_it_is_closed_and_nothing_afterwards(subject: &mut dyn Subject) {
    let store = subject.store();
    let lazy = |records| Batch {
        records,
        urgent: false,
    };
    store.commit(lazy(vec![session(1)]));
    store.commit(lazy(vec![publish("a", "1", vec![receiver(1, 1)])]));
    store.close();
    assert_eq!(store.committed(), 2);
    store.commit(lazy(vec![publish("a", "2", vec![receiver(1, 2)])]));
    store.close();
    assert_eq!(store.committed(), 2);
    let found = subject.crash();
    assert_eq!(queue(&found, 0), [(1, Stage::Queued)]);
}

fn random_work_comes_to_what_it_must(subject: &mut dyn Subject) {
    let begun = Instant::now();
    let mut workload = Workload::new(11, begun, 3_000);
    for _ in 0..4 {
        for _ in 0..100 {
            let batch = workload.batch();
            commit(subject.store(), batch);
        }
        let found = subject.crash();
        let seen = view(begun, &found, |query| read_query(subject.store(), query));
        assert!(seen == expected(begun, &workload.state));
    }
}
