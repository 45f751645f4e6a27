//! A store in memory, for tests of what stands on one: it commits at once or when it is told to, and it fails
//! in the ways a disk does.
//!
//! What its [`State`] makes of records is written apart from the journal's index, and each is tested by the
//! other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::codec::{PacketId, QoS};
use crate::message::{Delivery, Message, Subscription};

use super::journal::Wake;
use super::record::{
    QueuedMessage, Receiver, Record, Recovered, RecoveredSession, Seq, SessionFacts, SessionKey,
    Stage, StoredMessage, StoredWill,
};
use super::{Batch, Numbers, Page, Query, Reply, Standing, Store, Ticket};

#[derive(Clone, Debug)]
struct Waiting {
    stage: Stage,
    qos: QoS,
    /// Nothing once it was released.
    delivery: Option<Delivery>,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.delivery
            .as_ref()
            .map_or(0, |delivery| delivery.message.size_bytes())
    }
}

#[derive(Clone, Debug)]
struct Session {
    facts: SessionFacts,
    subscriptions: BTreeMap<String, Subscription>,
    received: BTreeSet<PacketId>,
    queue: BTreeMap<Seq, Waiting>,
}

/// What records come to.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    sessions: BTreeMap<SessionKey, Session>,
    retained: BTreeMap<String, Arc<Message>>,
    wills: BTreeMap<SessionKey, StoredWill>,
}

impl State {
    pub(super) fn apply(&mut self, record: &Record) {
        match record {
            Record::Publish {
                message,
                retained,
                receivers,
            } => {
                for receiver in receivers {
                    self.enqueue(message, receiver);
                }
                if *retained {
                    let topic = message.topic.as_str().to_owned();
                    self.retained.insert(topic, Arc::clone(message));
                }
            }
            Record::Unretain { topic } => {
                self.retained.remove(topic.as_str());
            }
            Record::Session { session, facts } => {
                let facts = SessionFacts::clone(facts);
                match self.sessions.get_mut(session) {
                    Some(known) => known.facts = facts,
                    None => {
                        let new = Session {
                            facts,
                            subscriptions: BTreeMap::new(),
                            received: BTreeSet::new(),
                            queue: BTreeMap::new(),
                        };
                        self.sessions.insert(*session, new);
                    }
                }
            }
            Record::SessionEnd { session } => {
                self.sessions.remove(session);
            }
            Record::Will { session, will } => {
                self.wills.insert(*session, StoredWill::clone(will));
            }
            Record::WillArmed { session, due } => {
                if let Some(will) = self.wills.get_mut(session) {
                    will.due = Some(*due);
                }
            }
            Record::WillDone { session } => {
                self.wills.remove(session);
            }
            Record::Alive => {}
            of_session => self.apply_to_session(of_session),
        }
    }

    fn enqueue(&mut self, message: &Arc<Message>, receiver: &Receiver) {
        let Some(session) = self.sessions.get_mut(&receiver.session) else {
            return;
        };
        let waiting = Waiting {
            stage: Stage::Queued,
            qos: receiver.qos,
            delivery: Some(Delivery {
                message: Arc::clone(message),
                qos: receiver.qos,
                retain: receiver.retain,
                identifiers: receiver.identifiers.clone(),
                seq: receiver.seq,
            }),
        };
        session.queue.insert(receiver.seq, waiting);
    }

    fn apply_to_session(&mut self, record: &Record) {
        let (Record::Sent { session: key, .. }
        | Record::Released { session: key, .. }
        | Record::Done { session: key, .. }
        | Record::Subscribe { session: key, .. }
        | Record::Unsubscribe { session: key, .. }
        | Record::Received { session: key, .. }
        | Record::ReceivedDone { session: key, .. }) = record
        else {
            return;
        };
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        match record {
            Record::Sent { seq, packet_id, .. } => {
                if let Some(waiting) = session.queue.get_mut(seq)
                    && !matches!(waiting.stage, Stage::Released(_))
                {
                    waiting.stage = Stage::Sent(*packet_id);
                }
            }
            Record::Released { seq, packet_id, .. } => {
                let released = Waiting {
                    stage: Stage::Released(*packet_id),
                    qos: QoS::ExactlyOnce,
                    delivery: None,
                };
                session.queue.insert(*seq, released);
            }
            Record::Done { seq, .. } => {
                session.queue.remove(seq);
            }
            Record::Subscribe { subscription, .. } => {
                let filter = subscription.filter.to_string();
                let subscription = Subscription::clone(subscription);
                session.subscriptions.insert(filter, subscription);
            }
            Record::Unsubscribe { filter, .. } => {
                session.subscriptions.remove(&**filter);
            }
            Record::Received { packet_id, .. } => {
                session.received.insert(*packet_id);
            }
            Record::ReceivedDone { packet_id, .. } => {
                session.received.remove(packet_id);
            }
            _ => {}
        }
    }

    /// What is found after a crash at `died`.
    pub(super) fn recovered(&self, died: Instant) -> Recovered {
        let session = |(key, session): (&SessionKey, &Session)| RecoveredSession {
            session: *key,
            facts: SessionFacts {
                away_since: session.facts.away_since.or(Some(died)),
                ..session.facts.clone()
            },
            subscriptions: session.subscriptions.values().cloned().collect(),
            received: session.received.iter().copied().collect(),
            queue: session.queue.iter().map(queued).collect(),
        };
        let will = |(key, will): (&SessionKey, &StoredWill)| {
            let delay = Duration::from_secs(u64::from(will.delay_s));
            let due = will.due.or_else(|| died.checked_add(delay)).or(Some(died));
            let will = StoredWill {
                due,
                ..will.clone()
            };
            (*key, will)
        };
        Recovered {
            sessions: self.sessions.iter().map(session).collect(),
            retained: self.retained.values().cloned().collect(),
            wills: self.wills.iter().map(will).collect(),
        }
    }

    /// What [`Store::read`] finds.
    pub(super) fn page(&self, query: &Query) -> Page {
        let mut page = Page {
            to: query.to,
            ..Page::default()
        };
        let Some(session) = self.sessions.get(&query.session) else {
            return page;
        };
        let mut bytes = 0;
        for (seq, waiting) in session.queue.range(query.from.min(query.to)..=query.to) {
            let Some(delivery) = waiting.delivery.as_ref().filter(|_| *seq >= query.from) else {
                continue;
            };
            bytes += waiting.bytes();
            let count = page.messages.len();
            if count >= query.most_messages || (count > 0 && bytes > query.most_bytes) {
                page.to = seq.saturating_sub(1);
                break;
            }
            page.messages.push(StoredMessage {
                seq: *seq,
                stage: waiting.stage,
                delivery: delivery.clone(),
            });
        }
        page
    }

    #[cfg(test)]
    pub(super) fn session_keys(&self) -> Vec<SessionKey> {
        self.sessions.keys().copied().collect()
    }

    pub(super) fn count(&self, numbers: &mut Numbers) {
        let queues = || self.sessions.values().flat_map(|s| s.queue.values());
        numbers.queued = queues().count() as u64;
        numbers.queued_bytes = queues().map(|waiting| waiting.bytes() as u64).sum();
        numbers.sessions = self.sessions.len();
        numbers.retained = self.retained.len();
    }
}

fn queued((seq, waiting): (&Seq, &Waiting)) -> QueuedMessage {
    QueuedMessage {
        seq: *seq,
        stage: waiting.stage,
        qos: waiting.qos,
        bytes: u32::try_from(waiting.bytes()).unwrap_or(u32::MAX),
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// What comes is committed at once.
    #[default]
    Open,
    /// It is committed when it is released.
    Held,
    /// Nothing is taken.
    Closed,
}

#[derive(Default)]
struct Inner {
    state: State,
    /// Differs from `state` by what a lying disk lost.
    kept: State,
    pending: VecDeque<(Ticket, Vec<Record>)>,
    /// With the ticket that they wait for.
    reads: Vec<(Ticket, Query, Reply)>,
    unreadable: BTreeSet<(SessionKey, Seq)>,
    next: Ticket,
    committed: Ticket,
    next_session: u32,
    mode: Mode,
    lies: bool,
    full: bool,
    failure: Option<String>,
    commits: u64,
    reports_unreadable: u64,
}

impl Inner {
    fn commit(&mut self) -> bool {
        let Some((ticket, records)) = self.pending.pop_front() else {
            return false;
        };
        for record in &records {
            self.state.apply(record);
            if !self.lies {
                self.kept.apply(record);
            }
        }
        self.committed = ticket;
        self.commits += 1;
        true
    }

    /// Pages for those whose turn it is.
    fn answers(&mut self) -> Vec<(Page, Reply)> {
        let done = match self.failure {
            Some(_) => Ticket::MAX,
            None => self.committed,
        };
        let reads = std::mem::take(&mut self.reads);
        let (due, later): (Vec<_>, Vec<_>) = reads.into_iter().partition(|(at, ..)| *at <= done);
        self.reads = later;
        let mut answers = Vec::new();
        for (_, query, reply) in due {
            let mut page = self.state.page(&query);
            let unreadable = &self.unreadable;
            let is_readable =
                |message: &StoredMessage| !unreadable.contains(&(query.session, message.seq));
            let (good, bad): (Vec<_>, Vec<_>) = page.messages.into_iter().partition(is_readable);
            page.messages = good;
            self.reports_unreadable += bad.len() as u64;
            let told = |message: &StoredMessage| (message.seq, "it was made unreadable".to_owned());
            page.unreadable = bad.iter().map(told).collect();
            answers.push((page, reply));
        }
        answers
    }
}

/// See the module. Everything happens in the call that causes it; there is no thread.
pub struct Memory {
    inner: Mutex<Inner>,
    wake: Wake,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock();
        f.debug_struct("Memory")
            .field("committed", &inner.committed)
            .field("waiting", &inner.pending.len())
            .finish_non_exhaustive()
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(Box::new(|_| {}))
    }
}

impl Memory {
    /// An empty store. `wake` is called after each commit, and when it fails, in the call that does so.
    pub fn new(wake: Wake) -> Self {
        Self {
            inner: Mutex::default(),
            wake,
        }
    }

    /// From now on nothing is committed before [`Memory::release`].
    pub fn hold(&self) {
        self.inner.lock().mode = Mode::Held;
    }

    /// Commits the next `count` of the batches that wait, or fewer if there are not so many, and answers the
    /// reads that waited for them. Gives how many it were.
    pub fn release(&self, count: usize) -> usize {
        let mut inner = self.inner.lock();
        if inner.failure.is_some() {
            return 0;
        }
        let done = (0..count).take_while(|_| inner.commit()).count();
        self.tell(inner, done > 0);
        done
    }

    /// Commits all that waits, and from now on each batch at once.
    pub fn resume(&self) {
        self.inner.lock().mode = Mode::Open;
        self.release(usize::MAX);
    }

    /// How many batches wait.
    pub fn waiting(&self) -> usize {
        self.inner.lock().pending.len()
    }

    /// There is no room, or there is again. Like the journal it goes on to take what it is given: to refuse is
    /// for those who ask how it stands.
    pub fn set_full(&self, full: bool) {
        self.inner.lock().full = full;
    }

    /// The disk fails: what waits is never committed.
    pub fn fail(&self, why: &str) {
        let mut inner = self.inner.lock();
        inner.failure.get_or_insert_with(|| why.to_owned());
        inner.pending.clear();
        self.tell(inner, true);
    }

    /// What is committed from now on is gone after a crash, as on a disk that lies about its syncs: what
    /// looks for losses must find these.
    pub fn lose(&self, lies: bool) {
        self.inner.lock().lies = lies;
    }

    /// A message cannot be read back from now on.
    pub fn spoil(&self, session: SessionKey, seq: Seq) {
        self.inner.lock().unreadable.insert((session, seq));
    }

    /// The power fails at `now` and comes back: only what was committed is there. Tickets begin anew, reads
    /// that were not answered never will be, and the store is as if it was just opened.
    pub fn crash(&self, now: Instant) -> Recovered {
        let mut inner = self.inner.lock();
        let kept = std::mem::take(&mut inner.kept);
        let reads = std::mem::take(&mut inner.reads);
        *inner = Inner {
            state: kept.clone(),
            kept,
            unreadable: std::mem::take(&mut inner.unreadable),
            // A number is never given twice.
            next_session: inner.next_session,
            full: inner.full,
            ..Inner::default()
        };
        let recovered = inner.state.recovered(now);
        drop(inner);
        // Dropping a reply may run code of those who gave it.
        drop(reads);
        recovered
    }

    fn tell(&self, mut inner: parking_lot::MutexGuard<'_, Inner>, wake: bool) {
        let answers = inner.answers();
        let committed = inner.committed;
        drop(inner);
        for (page, reply) in answers {
            reply(page);
        }
        if wake {
            (self.wake)(committed);
        }
    }
}

impl Store for Memory {
    fn commit(&self, batch: Batch) -> Ticket {
        for record in &batch.records {
            if let Record::Publish { message, .. } = record {
                message.submitted.set();
            }
        }
        let mut inner = self.inner.lock();
        inner.next += 1;
        let ticket = inner.next;
        if inner.failure.is_some() || inner.mode == Mode::Closed {
            return ticket;
        }
        inner.pending.push_back((ticket, batch.records));
        let done = inner.mode == Mode::Open && inner.commit();
        self.tell(inner, done);
        ticket
    }

    fn committed(&self) -> Ticket {
        self.inner.lock().committed
    }

    fn standing(&self) -> Standing {
        let inner = self.inner.lock();
        match (&inner.failure, inner.full) {
            (Some(_), _) => Standing::Failed,
            (None, true) => Standing::Full,
            (None, false) => Standing::Good,
        }
    }

    fn failure(&self) -> Option<String> {
        self.inner.lock().failure.clone()
    }

    fn is_crowded(&self) -> bool {
        false
    }

    fn new_session(&self) -> Option<SessionKey> {
        let mut inner = self.inner.lock();
        inner.next_session = inner.next_session.checked_add(1)?;
        NonZeroU32::new(inner.next_session).map(SessionKey)
    }

    fn read(&self, query: Query, reply: Reply) {
        let mut inner = self.inner.lock();
        let at = inner.next;
        inner.reads.push((at, query, reply));
        self.tell(inner, false);
    }

    fn checkpoint(&self) {}

    fn close(&self) {
        self.inner.lock().mode = Mode::Closed;
        self.release(usize::MAX);
    }

    fn numbers(&self) -> Numbers {
        let inner = self.inner.lock();
        let mut numbers = Numbers {
            commits: inner.commits,
            unreadable: inner.reports_unreadable,
            ..Numbers::default()
        };
        inner.state.count(&mut numbers);
        numbers
    }
}
