//! Sessions that the store keeps: how they get there, what is written of them, how they come back.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::QoS;
use crate::message::{Delivery, Message};
use crate::policy::DenyReason;
use crate::session::{Progress, SessionState, Unfinished};
use crate::store::{
    Page, Query, Receiver, Record, Recovered, RecoveredSession, SessionFacts, SessionKey, Stage,
    Standing, Store, StoredWill, Ticket,
};

use super::backlog::Waiting;
use super::effects::Effects;
use super::mailbox::QueueOverflow;
use super::registry::{Owner, Parked, PendingWill, Registry, Session};
use super::retained::is_of_a_client;
use super::router::{Route, Target};
use super::{Broker, LastTopic, MatchCache};

/// What a connection asks to be kept of its session.
#[derive(Debug)]
pub struct Keep {
    /// Session Expiry Interval in seconds.
    pub expiry_interval_s: u32,
    /// What its listener says about a full queue.
    pub overflow: QueueOverflow,
    /// Its will.
    pub will: Option<StoredWill>,
}

impl Broker {
    /// The store, if state is kept.
    #[inline]
    pub fn store(&self) -> Option<&dyn Store> {
        self.store.as_deref()
    }

    /// Hands what was noted to the store. `None` if it was nothing.
    #[inline]
    pub fn submit(&self, effects: &mut Effects, awaited: bool) -> Option<Ticket> {
        effects.submit(self.store.as_deref()?, awaited)
    }

    /// A connection is about to live on `session`. If the session outlives it, or there is a will, the store
    /// is told; the client may be answered when that is kept.
    ///
    /// # Errors
    /// The store has no room for a new session.
    pub fn keep(
        &self,
        session: &Arc<Session>,
        state: &mut SessionState,
        keep: Keep,
        effects: &mut Effects,
    ) -> Result<(), DenyReason> {
        let Some(store) = self.store.as_deref() else {
            session.mailbox.set_overflow(keep.overflow);
            return Ok(());
        };
        if keep.expiry_interval_s > 0 && state.number.is_none() {
            if store.standing() != Standing::Good {
                return Err(DenyReason::StoreFull);
            }
            let key = store.new_session().ok_or(DenyReason::StoreFull)?;
            state.number = Some(key.0);
        }
        if let Some(number) = state.number {
            session.mailbox.keep(SessionKey(number), keep.overflow);
            let facts = Box::new(facts(session, state, keep.expiry_interval_s, None));
            effects.promise(Record::Session {
                session: SessionKey(number),
                facts,
            });
        } else {
            session.mailbox.set_overflow(keep.overflow);
        }
        if let Some(will) = keep.will {
            let number = match state.number {
                Some(number) => number,
                None => store.new_session().ok_or(DenyReason::StoreFull)?.0,
            };
            state.will_number = Some(number);
            effects.promise(Record::Will {
                session: SessionKey(number),
                will: Box::new(will),
            });
        }
        Ok(())
    }

    /// Something about a connected session is different: its topic tokens.
    pub fn keep_facts(&self, session: &Session, state: &SessionState, effects: &mut Effects) {
        if let Some(number) = state.number {
            effects.record(Record::Session {
                session: SessionKey(number),
                facts: Box::new(facts(session, state, state.expiry_interval_s, None)),
            });
        }
    }

    /// Notes the steps of a session's exchanges. True if an answer must wait for one of them.
    pub fn note_progress(&self, state: &mut SessionState, effects: &mut Effects) -> bool {
        let Some(session) = state.number.map(SessionKey) else {
            return false;
        };
        let mut awaited = false;
        for progress in state.take_progress() {
            awaited |= progress.is_awaited();
            effects.record(match progress {
                Progress::Sent { seq, id, .. } => Record::Sent {
                    session,
                    seq,
                    packet_id: id,
                },
                Progress::Released { seq, id } => Record::Released {
                    session,
                    seq,
                    packet_id: id,
                },
                Progress::Done { seq } => Record::Done { session, seq },
                Progress::Received(packet_id) => Record::Received { session, packet_id },
                Progress::ReceivedDone(packet_id) => Record::ReceivedDone { session, packet_id },
            });
        }
        awaited
    }

    /// Gives a delivery that is not for the queue, a retained message, its place in the store.
    pub fn keep_delivery(&self, session: &Session, delivery: &mut Delivery, effects: &mut Effects) {
        if delivery.qos == QoS::AtMostOnce || delivery.seq != 0 {
            return;
        }
        let Some((key, seq)) = session.mailbox.next_place() else {
            return;
        };
        delivery.seq = seq;
        effects.record(Record::Publish {
            message: Arc::clone(&delivery.message),
            retained: false,
            receivers: vec![Receiver {
                session: key,
                seq,
                qos: delivery.qos,
                retain: delivery.retain,
                identifiers: delivery.identifiers.clone(),
            }],
        });
    }

    /// Notes what the store keeps of a message.
    #[cold]
    pub(super) fn record(
        message: &Arc<Message>,
        retained: bool,
        receivers: Vec<Receiver>,
        effects: &mut Effects,
    ) {
        if !retained && receivers.is_empty() {
            return;
        }
        let unretains = retained && message.payload.is_empty();
        if unretains {
            let topic = message.topic.clone();
            effects.record(Record::Unretain { topic });
        }
        let retained = retained && !unretains;
        if retained || !receivers.is_empty() {
            effects.record(Record::Publish {
                message: Arc::clone(message),
                retained,
                receivers,
            });
        }
        if message.qos != QoS::AtMostOnce {
            effects.awaited();
        }
    }

    /// Whether the store takes nothing new.
    #[inline]
    pub fn is_store_short(&self) -> bool {
        self.store
            .as_ref()
            .is_some_and(|store| store.standing() != Standing::Good)
    }

    /// Whether the store would have to keep a message.
    #[cold]
    pub(super) fn would_be_kept(
        &self,
        message: &Message,
        last: &mut LastTopic,
        cache: &mut MatchCache,
    ) -> bool {
        if message.retain && is_of_a_client(message) && !message.payload.is_empty() {
            return true;
        }
        let routes = last.routes(&self.router, cache, &message.topic);
        message.qos != QoS::AtMostOnce
            && routes.list.iter().any(|route| match route {
                Route::Session(target) => target.session.mailbox.key().is_some(),
                Route::Group(group) => group.has_kept_member(),
            })
    }

    /// Reads messages of a session back; `reply` is called with them elsewhere. False if there is no store.
    pub fn read_back(
        &self,
        session: SessionKey,
        (from, to): (u64, u64),
        reply: impl FnOnce(Page) + Send + 'static,
    ) -> bool {
        let Some(store) = self.store.as_deref() else {
            return false;
        };
        let query = Query {
            session,
            from,
            to,
            most_messages: PAGE_MESSAGES,
            most_bytes: PAGE_BYTES,
        };
        store.read(query, Box::new(reply));
        true
    }

    /// The session goes on without a connection: what the store is told, and what is forgotten because the
    /// store has it.
    pub(super) fn keep_parked(
        &self,
        session: &Arc<Session>,
        state: &mut SessionState,
        held: (usize, usize),
        now: Instant,
        effects: &mut Effects,
    ) {
        let Some(number) = state.number else {
            session.mailbox.detach(held);
            return;
        };
        self.note_progress(state, effects);
        // Nobody waits for it, but a crash soon would find a client that is still there.
        effects.promise(Record::Session {
            session: SessionKey(number),
            facts: Box::new(facts(session, state, state.expiry_interval_s, Some(now))),
        });
        let unsent = state.strip().into_iter().map(|(seq, bytes)| Waiting {
            seq,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        });
        let unsent = unsent.collect();
        let held = (state.waiting(), state.waiting_bytes());
        // What it is asked for from here on, it has.
        self.submit(effects, false);
        session.mailbox.detach_kept(held, unsent);
    }

    /// The session has ended.
    pub(super) fn keep_end(session: &Session, effects: &mut Effects) {
        if let (_, Some(session)) = session.mailbox.reset() {
            effects.promise(Record::SessionEnd { session });
        }
    }

    /// A will was published, or is not wanted any more.
    pub(super) fn keep_will_done(number: Option<NonZeroU32>, effects: &mut Effects) {
        if let Some(number) = number {
            effects.promise(Record::WillDone {
                session: SessionKey(number),
            });
        }
    }

    /// Takes what was found in the store. Nobody is connected yet.
    pub fn restore(&self, recovered: Recovered, now: Instant, effects: &mut Effects) {
        for message in recovered.retained {
            self.retained.restore(&message);
        }
        let mut wills: HashMap<SessionKey, StoredWill> = recovered.wills.into_iter().collect();
        let mut over = Vec::new();
        for found in recovered.sessions {
            let key = found.session;
            if found.facts.expiry_interval_s == 0 {
                // It was to end with its connection.
                effects.record(Record::SessionEnd { session: key });
                continue;
            }
            let will = wills.remove(&key).map(|will| pending(key, &will, now));
            if let Some(will) = self.restore_session(found, will, now) {
                over.push(will);
            }
        }
        let mut left: Vec<_> = wills.into_iter().collect();
        left.sort_unstable_by_key(|(key, _)| *key);
        over.extend(left.into_iter().map(|(key, will)| pending(key, &will, now)));
        for will in over {
            self.publish_will(will, now, effects);
        }
    }

    /// Gives the will back if there is no such session for it.
    fn restore_session(
        &self,
        found: RecoveredSession,
        will: Option<PendingWill>,
        now: Instant,
    ) -> Option<PendingWill> {
        let facts = found.facts;
        let mut state = SessionState {
            expiry_interval_s: facts.expiry_interval_s,
            tokens: facts.tokens,
            number: Some(found.session.0),
            will_number: will.as_ref().and_then(|will| will.number),
            ..SessionState::default()
        };
        let unfinished = found.queue.iter().filter_map(|queued| {
            let (id, released) = match queued.stage {
                Stage::Queued => return None,
                Stage::Sent(id) => (id, false),
                Stage::Released(id) => (id, true),
            };
            Some(Unfinished {
                id,
                seq: queued.seq,
                qos: queued.qos,
                released,
                bytes: queued.bytes as usize,
            })
        });
        state.restore(found.received, unfinished);
        let owner = Owner {
            username: facts.username,
        };
        let Some(session) = self
            .registry
            .restore(&facts.client_id, owner, &self.live.queue)
        else {
            return will;
        };
        let last = found.queue.last().map_or(0, |queued| queued.seq);
        let waiting = found
            .queue
            .iter()
            .filter(|queued| queued.stage == Stage::Queued)
            .map(|queued| Waiting {
                seq: queued.seq,
                bytes: queued.bytes,
            });
        session
            .mailbox
            .restore(found.session, last, waiting.collect());
        for subscription in found.subscriptions {
            let key = subscription.filter.to_string().into();
            let target = Target::new(&session, session.mailbox.epoch(), &subscription);
            self.router.subscribe(&subscription, target);
            state.subscriptions.insert(key, subscription);
        }
        let until = match facts.expiry_interval_s {
            u32::MAX => None,
            seconds => facts
                .away_since
                .unwrap_or(now)
                .checked_add(Duration::from_secs(u64::from(seconds))),
        };
        let due = will.as_ref().map(|will| will.due);
        for at in [until, due].into_iter().flatten() {
            self.agenda.add(at, &session.client_id);
        }
        let parked = Box::new(Parked { state, until, will });
        Registry::park(&session, parked).err()?.will
    }

    /// A will whose session is gone, or that is due.
    pub(super) fn publish_stored_will(
        &self,
        message: Message,
        now: Instant,
        effects: &mut Effects,
    ) {
        if let Some(message) = self.gate.will_of_author(message) {
            self.publish(
                message,
                &mut LastTopic::default(),
                &mut MatchCache::default(),
                now,
                effects,
            );
        }
    }
}

/// Messages that are read back at a time.
const PAGE_MESSAGES: usize = 256;
/// Bytes of them.
const PAGE_BYTES: usize = 1 << 20;

fn facts(
    session: &Session,
    state: &SessionState,
    expiry_interval_s: u32,
    away_since: Option<Instant>,
) -> SessionFacts {
    SessionFacts {
        client_id: session.client_id.clone(),
        username: session.owner.username.clone(),
        expiry_interval_s,
        away_since,
        tokens: state.tokens.clone(),
    }
}

fn pending(key: SessionKey, will: &StoredWill, now: Instant) -> PendingWill {
    let stored = &will.message;
    let due = will.due.unwrap_or(now);
    PendingWill {
        due,
        message: Message {
            topic: stored.topic.clone(),
            payload: stored.payload.clone(),
            properties: stored.properties.clone(),
            qos: stored.qos,
            retain: stored.retain,
            expires_at: will
                .expiry_interval_s
                .and_then(|seconds| Message::expiry(seconds, due)),
            author: Arc::clone(&stored.author),
            submitted: crate::message::Submitted::default(),
        },
        client: None,
        number: Some(key.0),
    }
}
