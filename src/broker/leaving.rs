//! A connection has ended: what becomes of its session and of its will.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::message::Message;
use crate::policy::{Client, Decision};
use crate::session::SessionState;
use crate::store::{Record, SessionKey};

use super::effects::Effects;
use super::registry::{Handover, Parked, PendingWill, Registry, Release, Session};
use super::router::Target;
use super::{Broker, LastTopic, MatchCache};

impl Broker {
    /// The connection of `session` has ended, or a claim was given up before it connected
    /// (`was_live` false). Parks the session, hands it over, or ends it, and publishes the will now
    /// or later.
    pub fn release(
        &self,
        session: &Arc<Session>,
        mut state: SessionState,
        will: Option<(Message, Box<Client>, Duration)>,
        was_live: bool,
        now: Instant,
        effects: &mut Effects,
    ) {
        if was_live {
            self.connected.fetch_sub(1, Ordering::Relaxed);
            session.set_live(false);
        }
        let outlives = state.outlives_connection();
        let will_number = state.will_number.take();
        let mut pending = will.map(|(message, client, delay)| PendingWill {
            due: now + delay,
            message,
            client: Some(client),
            number: will_number,
        });
        if pending.is_none() {
            Self::keep_will_done(will_number, effects);
        }
        self.note_progress(&mut state, effects);
        let held = (state.waiting(), state.waiting_bytes());
        let mut state = Some(state);
        loop {
            match Registry::release(session, outlives) {
                Release::HandOver { to, continues } => {
                    // A delayed will is cancelled when the session goes on [MQTT-3.1.3-9].
                    if let Some(will) = pending.take() {
                        if !continues || will.due <= now {
                            self.publish_will(will, now, effects);
                        } else {
                            Self::keep_will_done(will.number, effects);
                        }
                    }
                    session.mailbox.detach(held);
                    if !continues && let Some(ended) = state.take() {
                        self.forget_subscriptions(session, &ended);
                        Self::keep_end(session, effects);
                    }
                    // What the newcomer tells the store comes after it.
                    self.submit(effects, false);
                    match to.send(Handover {
                        state: state.take(),
                    }) {
                        Ok(()) => return,
                        // The newcomer has gone: look again as if it had never been.
                        Err(handover) => state = handover.state,
                    }
                }
                Release::Idle => {
                    if !outlives || state.is_none() {
                        if let Some(ended) = state.take() {
                            self.forget_subscriptions(session, &ended);
                            session.mailbox.detach((0, 0));
                            Self::keep_end(session, effects);
                        }
                        if let Some(will) = pending.take() {
                            self.publish_will(will, now, effects);
                        }
                        self.submit(effects, false);
                        if self.registry.end(session) {
                            return;
                        }
                        continue;
                    }
                    if let Some(will) = pending.take_if(|will| will.due <= now) {
                        self.publish_will(will, now, effects);
                    }
                    if let Some(will) = &pending
                        && let Some(number) = will.number
                    {
                        effects.record(Record::WillArmed {
                            session: SessionKey(number),
                            due: will.due,
                        });
                    }
                    if let Some(state) = &mut state {
                        self.keep_parked(session, state, held, now, effects);
                    }
                    let dropped = session.mailbox.settle(self.live.queue.now());
                    self.count_dropped(dropped.len());
                    for (session, seq) in dropped.into_iter().flatten() {
                        effects.record(Record::Done { session, seq });
                    }
                    self.submit(effects, false);
                    if self.park(session, &mut state, &mut pending, now) {
                        return;
                    }
                }
            }
        }
    }

    /// True if the session is parked; false if somebody claimed it meanwhile.
    fn park(
        &self,
        session: &Arc<Session>,
        state: &mut Option<SessionState>,
        pending: &mut Option<PendingWill>,
        now: Instant,
    ) -> bool {
        let Some(kept) = state.take() else {
            return true;
        };
        let until = match kept.expiry_interval_s {
            u32::MAX => None,
            seconds => now.checked_add(Duration::from_secs(u64::from(seconds))),
        };
        let due = pending.as_ref().map(|will| will.due);
        let parked = Box::new(Parked {
            state: kept,
            until,
            will: pending.take(),
        });
        match Registry::park(session, parked) {
            Ok(()) => {
                for at in [until, due].into_iter().flatten() {
                    self.agenda.add(at, &session.client_id);
                }
                true
            }
            Err(parked) => {
                *state = Some(parked.state);
                *pending = parked.will;
                false
            }
        }
    }

    pub(super) fn end_parked(
        &self,
        session: &Arc<Session>,
        parked: Parked,
        now: Instant,
        effects: &mut Effects,
    ) {
        self.forget_subscriptions(session, &parked.state);
        Self::keep_end(session, effects);
        if let Some(will) = parked.will {
            // The session ends before the delay is over [MQTT-3.1.2-8].
            self.publish_will(will, now, effects);
        }
    }

    fn forget_subscriptions(&self, session: &Arc<Session>, state: &SessionState) {
        let epoch = session.mailbox.epoch();
        for subscription in state.subscriptions.values() {
            let target = Target::new(session, epoch, subscription);
            self.router.unsubscribe(subscription, &target);
        }
    }

    pub(super) fn publish_will(&self, will: PendingWill, now: Instant, effects: &mut Effects) {
        let PendingWill {
            due,
            mut message,
            client,
            number,
        } = will;
        Self::keep_will_done(number, effects);
        // Its interval begins when it is published, which may be before it is due (section 3.1.3.2.4).
        message.expires_at = message
            .expires_at
            .and_then(|at| now.checked_add(at.saturating_duration_since(due)));
        let Some(mut client) = client else {
            self.publish_stored_will(message, now, effects);
            return;
        };
        if let Decision::Admit(message) = self.gate.will(&mut client, message) {
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
