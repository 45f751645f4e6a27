//! What a connection has to do with the store: answers wait for it, and what waits there is read back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::broker::{Mailbox, Session};
use crate::message::Delivery;
use crate::policy::DenyReason;
use crate::session::SessionState;
use crate::store::{Page, SessionKey, Stage, Store, StoredMessage, Ticket};

use super::Shared;
use super::cores::{Core, WRITE_BYTES};
use super::serving::Serving;

/// A connection with so many turns' answers outstanding brings nothing more.
const MOST_HELD: usize = 32;
/// Messages that are asked for at a time.
const READ_AHEAD: usize = 256;

/// Packets of one turn.
#[derive(Debug)]
struct Answers {
    ticket: Ticket,
    bytes: Vec<u8>,
    /// PUBLISH packets among them.
    publishes: usize,
}

/// Answers that wait for the store.
#[derive(Debug, Default)]
pub(super) struct Held {
    answers: VecDeque<Answers>,
    last: Ticket,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

/// What waits for the client in the store, on its way here.
#[derive(Debug, Default)]
pub(super) struct Reading {
    asked: Option<oneshot::Receiver<Page>>,
    messages: VecDeque<StoredMessage>,
    /// Up to where the last page was read.
    to: u64,
}

impl Reading {
    /// Whether messages are here that were not delivered yet.
    pub(super) fn has_more(&self) -> bool {
        !self.messages.is_empty()
    }
}

impl Serving {
    /// Sends the answers whose promises are kept.
    pub(super) fn release_held(&mut self, core: &mut Core) {
        if self.held.is_empty() {
            return;
        }
        let Some(store) = self.shared.broker.store() else {
            return;
        };
        let committed = store.committed();
        while let Some(answers) = self
            .held
            .answers
            .pop_front_if(|answers| answers.ticket <= committed)
        {
            core.output.extend_from_slice(&answers.bytes);
            self.connection.sent_after(answers.publishes);
        }
    }

    /// Whether the store has enough of this client to do for now.
    pub(super) fn is_held_up(&self) -> bool {
        if self.held.is_empty() {
            return false;
        }
        self.held.answers.len() >= MOST_HELD
            || self.shared.broker.store().is_some_and(Store::is_crowded)
    }

    /// Hands over what this turn has to keep; the answers that rest on it wait.
    pub(super) fn commit(&mut self, core: &mut Core, session: &Arc<Session>) {
        let broker = &self.shared.broker;
        if broker.store().is_none() {
            return;
        }
        let state = self.connection.session_mut();
        let mut awaited = broker.note_progress(state, &mut core.effects);
        let publishes = self.connection.take_after(&mut core.held);
        awaited |= core.effects.has_promises();
        let ticket = broker.submit(&mut core.effects, awaited);
        if core.held.is_empty() {
            return;
        }
        let ticket = match ticket.filter(|_| awaited) {
            Some(ticket) => ticket,
            None if self.held.is_empty() => {
                // Nothing is outstanding: there is nothing to wait for.
                core.output.append(&mut core.held);
                self.connection.sent_after(publishes);
                return;
            }
            None => self.held.last,
        };
        self.held.last = ticket;
        let bytes = core.held.as_slice().into();
        core.held.clear();
        self.held.answers.push_back(Answers {
            ticket,
            bytes,
            publishes,
        });
        core.await_commit(ticket, session);
    }

    /// Delivers what waits in the store. True if nothing waits there any more, so that what came since may
    /// follow.
    pub(super) fn send_backlog(
        &mut self,
        core: &mut Core,
        session: &Arc<Session>,
        now: Instant,
    ) -> bool {
        loop {
            self.take_page();
            let delivered = self.deliver_page(core, now);
            if let Some(to) = delivered {
                session.mailbox.forget_backlog(to);
            }
            if !self.reading.messages.is_empty() || self.reading.asked.is_some() {
                return false;
            }
            if core.output.len() >= WRITE_BYTES || self.connection.is_window_shut() {
                return session.mailbox.next_backlog(1).is_none();
            }
            let Some((key, from, to)) = session.mailbox.next_backlog(READ_AHEAD) else {
                return true;
            };
            self.ask(key, (from, to), session);
        }
    }

    fn ask(&mut self, key: SessionKey, places: (u64, u64), session: &Arc<Session>) {
        let (to, from) = oneshot::channel();
        let session = Arc::clone(session);
        self.reading.asked = Some(from);
        self.shared.broker.read_back(key, places, move |page| {
            // The client may have gone.
            if to.send(page).is_ok() {
                session.mailbox.wake();
            }
        });
    }

    fn take_page(&mut self) {
        let Some(asked) = &mut self.reading.asked else {
            return;
        };
        // An error is "not yet"; or never, for the store has ended. Then nothing is forgotten.
        if let Ok(page) = asked.try_recv() {
            self.reading.asked = None;
            self.reading.to = page.to;
            tell_unreadable(&page);
            self.reading.messages = page.messages.into();
        }
    }

    /// Gives the place up to which nothing waits any more.
    fn deliver_page(&mut self, core: &mut Core, now: Instant) -> Option<u64> {
        let mut delivered = None;
        let takes_retain = self.connection.version().is_v5();
        while core.output.len() < WRITE_BYTES
            && !self.connection.is_window_shut()
            && let Some(stored) = self.reading.messages.pop_front()
        {
            delivered = Some(stored.seq);
            if stored.stage != Stage::Queued {
                continue;
            }
            let mut delivery = stored.delivery;
            // What was retained when the client subscribed says so in every version.
            delivery.retain &= takes_retain || Mailbox::is_of_a_replay(stored.seq);
            self.deliver_kept(delivery, core, now);
        }
        let is_read = self.reading.asked.is_none() && self.reading.messages.is_empty();
        if is_read && self.reading.to != 0 {
            return Some(std::mem::take(&mut self.reading.to));
        }
        delivered
    }

    /// Delivers a message if the client may have it; the store is told if not.
    pub(super) fn deliver_kept(&mut self, delivery: Delivery, core: &mut Core, now: Instant) {
        let seq = delivery.seq;
        let gate = self.shared.broker.gate();
        match gate.deliver(&mut self.client, delivery) {
            Some(delivery) => {
                self.connection.deliver(delivery, now, &mut core.output);
            }
            None => self.connection.dropped(seq),
        }
    }
}

fn tell_unreadable(page: &Page) {
    for (_, error) in &page.unreadable {
        tracing::error!("a stored message cannot be read and is not delivered: {error}");
    }
}

/// Reads back the messages a resumed session had on their way.
pub(super) async fn read_inflight(
    shared: &Shared,
    state: &mut SessionState,
) -> Result<(), DenyReason> {
    let (Some(number), Some((mut from, to))) = (state.number, state.missing()) else {
        return Ok(());
    };
    while from <= to {
        let (reply, page) = oneshot::channel();
        shared
            .broker
            .read_back(SessionKey(number), (from, to), move |page| {
                drop(reply.send(page));
            });
        // Without the store there is no session to resume.
        let page = page.await.map_err(|_| DenyReason::StoreFull)?;
        tell_unreadable(&page);
        for stored in page.messages {
            if let Stage::Sent(id) = stored.stage {
                state.found(id, stored.delivery);
            }
        }
        from = page.to + 1;
    }
    let lost = state.give_up_missing();
    if lost > 0 {
        tracing::error!("{lost} messages that were on their way to a client cannot be sent again");
    }
    Ok(())
}
