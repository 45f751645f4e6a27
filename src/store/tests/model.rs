//! Random work for a store, and what it must come to.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::faults::{FaultDisk, Rng};
use super::world::*;
use crate::codec::QoS;
use crate::message::Message;
use crate::store::memory::State;
use crate::store::{
    Batch, Journal, OpenError, Page, Query, Receiver, Record, Recovered, SessionFacts, SessionKey,
    Standing, Store, StoreSettings, StoredWill,
};

/// Times that records tell of are far from now; those that a crash makes are near.
const FAR_S: u64 = 10_000_000;

const FILTERS: [&str; 5] = ["a", "a/+", "b/#", "$share/g/a/+", "c"];

/// Makes batches that fit the state they are for.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) rng: Rng,
    pub(super) state: State,
    /// Times count from here.
    begun: Instant,
    next_key: u32,
    next_seq: u64,
    number: u64,
    /// Packet Identifiers and messages are taken from the state through this.
    known: Vec<(SessionKey, u64)>,
    /// Most bytes of a large message.
    large: usize,
}

impl Workload {
    pub(super) fn new(seed: u64, begun: Instant, large: usize) -> Self {
        Self {
            rng: Rng::new(seed),
            state: State::default(),
            begun,
            next_key: 1,
            next_seq: 1,
            number: 0,
            known: Vec::new(),
            large,
        }
    }

    fn far(&mut self) -> Instant {
        let seconds = FAR_S + self.rng.next() % 1_000;
        self.begun + Duration::from_secs(seconds)
    }

    fn sessions(&self) -> Vec<SessionKey> {
        self.state.session_keys()
    }

    fn any_session(&mut self) -> SessionKey {
        let sessions = self.sessions();
        if sessions.is_empty() || self.rng.one_in(20) {
            // One that has ended, more often than not.
            let given = self.next_key as usize - 1;
            return key(1 + u32::try_from(self.rng.below(given)).expect("small"));
        }
        sessions[self.rng.below(sessions.len())]
    }

    fn seq(&mut self) -> u64 {
        let gap = match self.rng.below(40) {
            0 => 1 << 33,
            1..5 => 200,
            _ => 1,
        };
        self.next_seq += gap;
        self.next_seq
    }

    fn message(&mut self, topic: &str) -> Arc<Message> {
        self.number += 1;
        let length = match self.rng.below(30) {
            0 => self.rng.below(self.large),
            1..6 => self.rng.below(900),
            _ => self.rng.below(100),
        };
        let fill = (b'a' + (self.number % 26) as u8) as char;
        let payload = format!("{} {}", self.number, fill.to_string().repeat(length));
        let mut message = Arc::into_inner(message(topic, &payload)).expect("the only one");
        message.expires_at = self.rng.one_in(3).then(|| self.far());
        if self.rng.one_in(2) {
            message.qos = QoS::ExactlyOnce;
        }
        Arc::new(message)
    }

    fn topic(&mut self) -> String {
        format!("a/{}", self.rng.below(6))
    }

    fn publish(&mut self) -> Record {
        let topic = self.topic();
        let message = self.message(&topic);
        let mut receivers = Vec::new();
        for session in self.sessions() {
            if self.rng.one_in(2) {
                receivers.push(self.receiver(session));
            }
        }
        Record::Publish {
            message,
            retained: self.rng.one_in(5),
            receivers,
        }
    }

    fn receiver(&mut self, session: SessionKey) -> Receiver {
        let seq = self.seq();
        self.known.push((session, seq));
        let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][self.rng.below(2)];
        let identifiers = (0..self.rng.below(3)).map(|_| 1 + (self.rng.next() % 1_000) as u32);
        Receiver {
            session,
            seq,
            qos,
            identifiers: identifiers.collect(),
            retain: self.rng.one_in(2),
        }
    }

    fn session(&mut self, session: SessionKey) -> Record {
        let facts = SessionFacts {
            username: self.rng.one_in(2).then(|| "user".into()),
            expiry_interval_s: (self.rng.next() % 10_000) as u32,
            away_since: self.rng.one_in(2).then(|| self.far()),
            ..facts(&format!("client {session:?}"))
        };
        Record::Session {
            session,
            facts: facts.into(),
        }
    }

    fn of_queue(&mut self) -> Record {
        let (session, seq) = if self.known.is_empty() {
            (self.any_session(), 1)
        } else {
            // Old ones rather than new ones.
            let below = 1 + self.rng.below(self.known.len());
            let at = self.rng.below(below);
            self.known[at]
        };
        let packet_id = id(1 + (self.rng.next() % 65_535) as u16);
        match self.rng.below(6) {
            0 => Record::Sent {
                session,
                seq,
                packet_id,
            },
            1 => Record::Released {
                session,
                seq,
                packet_id,
            },
            _ => {
                self.known.retain(|known| *known != (session, seq));
                Record::Done { session, seq }
            }
        }
    }

    fn small(&mut self) -> Record {
        let session = self.any_session();
        let packet_id = id(1 + (self.rng.next() % 8) as u16);
        let filter = FILTERS[self.rng.below(FILTERS.len())];
        match self.rng.below(7) {
            0 => Record::Received { session, packet_id },
            1 => Record::ReceivedDone { session, packet_id },
            2 | 3 => {
                let mut subscription = subscription(filter);
                subscription.identifier = self.rng.one_in(2).then_some(5);
                subscription.no_local = self.rng.one_in(2);
                Record::Subscribe {
                    session,
                    subscription: subscription.into(),
                }
            }
            4 => Record::Unsubscribe {
                session,
                filter: filter.into(),
            },
            5 => Record::Alive,
            _ => {
                let topic = self.topic();
                Record::Unretain {
                    topic: message(&topic, "").topic.clone(),
                }
            }
        }
    }

    fn will(&mut self) -> Record {
        let session = self.any_session();
        match self.rng.below(4) {
            0 => Record::WillArmed {
                session,
                due: self.far(),
            },
            1 => Record::WillDone { session },
            _ => {
                let mut message = Arc::into_inner(self.message("will")).expect("the only one");
                message.expires_at = None;
                let will = StoredWill {
                    message: Arc::new(message),
                    expiry_interval_s: self.rng.one_in(2).then_some(60),
                    delay_s: (self.rng.next() % 100) as u32,
                    due: self.rng.one_in(3).then(|| self.far()),
                };
                Record::Will {
                    session,
                    will: will.into(),
                }
            }
        }
    }

    fn record(&mut self) -> Record {
        let sessions = self.sessions().len();
        let kind = if self.next_key == 1 {
            19
        } else {
            self.rng.below(20)
        };
        match kind {
            0..5 => self.publish(),
            5..13 => self.of_queue(),
            13..16 => self.small(),
            16 => self.will(),
            17 if sessions > 0 => {
                let session = self.any_session();
                if !self.sessions().contains(&session) {
                    return Record::Alive;
                }
                self.session(session)
            }
            18 if sessions > 3 => Record::SessionEnd {
                session: self.any_session(),
            },
            _ if sessions < 5 => {
                let session = key(self.next_key);
                self.next_key += 1;
                self.session(session)
            }
            _ => self.of_queue(),
        }
    }

    /// The next batch; the state is what it comes to.
    pub(super) fn batch(&mut self) -> Vec<Record> {
        let count = 1 + self.rng.below(4);
        let mut batch = Vec::new();
        for _ in 0..count {
            let record = self.record();
            self.state.apply(&record);
            batch.push(record);
        }
        batch
    }
}

/// Everything that can be seen of a store, as text: one line for each thing.
pub(super) type View = Vec<String>;

fn time(begun: Instant, at: Option<Instant>) -> String {
    let Some(at) = at else {
        return "never".into();
    };
    let seconds = (at.saturating_duration_since(begun).as_millis() + 500) / 1_000;
    if seconds < u128::from(FAR_S / 2) {
        "near".into()
    } else {
        format!("{seconds} s")
    }
}

fn message_line(begun: Instant, message: &Message) -> String {
    format!(
        "{} {:?} qos {:?} retain {} expires {} properties {:?} by {:?}",
        message.topic.as_str(),
        String::from_utf8_lossy(&message.payload),
        message.qos,
        message.retain,
        time(begun, message.expires_at),
        message.properties,
        message.author,
    )
}

fn page_lines(view: &mut View, begun: Instant, page: &Page) {
    for (seq, why) in &page.unreadable {
        view.push(format!("  {seq} is unreadable: {why}"));
    }
    for stored in &page.messages {
        let delivery = &stored.delivery;
        assert_eq!(delivery.seq, stored.seq);
        view.push(format!(
            "  {} {:?} {:?} {} {:?}: {}",
            stored.seq,
            stored.stage,
            delivery.qos,
            delivery.retain,
            delivery.identifiers,
            message_line(begun, &delivery.message)
        ));
    }
}

/// What is seen: `page` reads a part of a queue.
pub(super) fn view(
    begun: Instant,
    recovered: &Recovered,
    mut page: impl FnMut(Query) -> Page,
) -> View {
    let mut view = View::new();
    for session in &recovered.sessions {
        let facts = &session.facts;
        view.push(format!(
            "session {:?} {:?} {:?} {} away {}",
            session.session,
            facts.client_id,
            facts.username,
            facts.expiry_interval_s,
            time(begun, facts.away_since),
        ));
        view.push(format!(" subscriptions {:?}", session.subscriptions));
        view.push(format!(" received {:?}", session.received));
        view.push(format!(" queue {:?}", session.queue));
        let mut from = 0;
        loop {
            let query = Query {
                session: session.session,
                from,
                to: u64::MAX,
                most_messages: 7,
                most_bytes: 1_000,
            };
            let read = page(query);
            page_lines(&mut view, begun, &read);
            if read.to == u64::MAX {
                break;
            }
            from = read.to + 1;
        }
    }
    let mut retained: Vec<String> = recovered
        .retained
        .iter()
        .map(|message| format!("retained {}", message_line(begun, message)))
        .collect();
    retained.sort_unstable();
    view.extend(retained);
    for (session, will) in &recovered.wills {
        view.push(format!(
            "will {session:?} {} {:?} {} due {}",
            message_line(begun, &will.message),
            will.expiry_interval_s,
            will.delay_s,
            time(begun, will.due),
        ));
    }
    view
}

/// What must be seen.
pub(super) fn expected(begun: Instant, state: &State) -> View {
    let recovered = state.recovered(begun);
    view(begun, &recovered, |query| state.page(&query))
}

/// What is seen of a journal that was just opened.
pub(super) fn seen(begun: Instant, store: &Journal, recovered: &Recovered) -> View {
    view(begun, recovered, |query| read_query(store, query))
}

/// Opens a journal with small segments on a disk in memory.
pub(super) fn open_on(
    disk: &FaultDisk,
    begun: Instant,
    settings: &StoreSettings,
) -> Result<(Journal, Recovered), OpenError> {
    let now = Instant::now();
    let passed = u64::try_from((now - begun).as_millis()).expect("short");
    Journal::open(
        settings.clone(),
        Arc::new(disk.clone()),
        now,
        WALL_MS + passed,
        Box::new(|_| {}),
    )
}

pub(super) fn small() -> StoreSettings {
    StoreSettings {
        segment_bytes: 2 << 10,
        ..StoreSettings::new(Path::new("/data/store"))
    }
}

/// The states that a store may be in, the last one that of all it was given.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) states: Vec<State>,
    /// Which of them is the least that must be there.
    pub(super) committed: usize,
}

impl History {
    pub(super) fn new(state: State) -> Self {
        Self {
            states: vec![state],
            committed: 0,
        }
    }

    /// Gives a store `count` batches, and waits for some of them; ends early if it fails.
    pub(super) fn work(&mut self, store: &Journal, workload: &mut Workload, count: usize) {
        let base = self.states.len() as u64 - 1;
        assert_eq!(store.committed(), 0, "a store that was just opened");
        for _ in 0..count {
            let records = workload.batch();
            self.states.push(workload.state.clone());
            let urgent = !workload.rng.one_in(4);
            let ticket = store.commit(Batch { records, urgent });
            if urgent && !workload.rng.one_in(4) {
                while store.committed() < ticket && store.standing() != Standing::Failed {
                    std::thread::yield_now();
                }
            }
            if store.standing() == Standing::Failed {
                break;
            }
        }
        store.close();
        self.committed = usize::try_from(base + store.committed()).expect("few");
    }

    /// A store shows one of the states: it is the one that holds from now on.
    pub(super) fn settle_on(&mut self, begun: Instant, found: &View) {
        let mut states = std::mem::take(&mut self.states);
        let least = self.committed;
        let at = (least..states.len())
            .rev()
            .find(|at| expected(begun, &states[*at]) == *found);
        let Some(at) = at else {
            let short = |line: &String| line.chars().take(120).collect::<String>();
            let found: View = found.iter().map(short).collect();
            let all = found.iter().collect::<BTreeSet<_>>();
            let differences = |state: &State| {
                let wanted: View = expected(begun, state).iter().map(short).collect();
                wanted
                    .iter()
                    .collect::<BTreeSet<_>>()
                    .symmetric_difference(&all)
                    .count()
            };
            let least = (least..states.len())
                .min_by_key(|at| differences(&states[*at]))
                .expect("a state");
            let wanted: View = expected(begun, &states[least]).iter().map(short).collect();
            let wanted: BTreeSet<_> = wanted.iter().collect();
            let got: BTreeSet<_> = found.iter().collect();
            panic!(
                "none of the states {} to {}; of {least}:\nnot found: {:#?}\nfound beside it: {:#?}",
                self.committed,
                states.len() - 1,
                wanted.difference(&got).collect::<Vec<_>>(),
                got.difference(&wanted).collect::<Vec<_>>(),
            );
        };
        *self = Self::new(states.swap_remove(at));
    }
}
