//! One message to its receivers' mailboxes.

use std::sync::Arc;

use crate::codec::QoS;
use crate::message::{Delivery, Message};

use crate::store::{Receiver, Record};

use super::effects::Effects;
use super::mailbox::Pushed;
use super::registry::Session;
use super::router::{Route, Target};

/// What routing one message did.
#[derive(Clone, Debug, Default)]
pub struct Fanout {
    /// Receivers it matched.
    pub matched: usize,
    /// Mailboxes it was put in.
    pub delivered: usize,
    /// Mailboxes that were full.
    pub dropped_full: u64,
    /// A receiver whose queue is long and who takes from it: the publisher does well to step aside.
    pub crowded: Option<Arc<Session>>,
    /// RETAIN was set and the retained store is full.
    pub retain_full: bool,
    /// The store has no room for it, and somebody it would wait for is kept there.
    pub store_full: bool,
    /// Sessions whose queue in the store it is put in.
    pub(super) receivers: Vec<Receiver>,
}

#[inline]
pub(crate) fn outgoing_qos(published: QoS, granted: QoS, upgrade: bool) -> QoS {
    if upgrade {
        granted
    } else {
        published.min(granted) // [MQTT-3.8.4-8]
    }
}

/// Pushes `message` into the mailbox of each of `routes`.
#[inline]
pub(crate) fn route(
    message: &Arc<Message>,
    routes: &[Route],
    upgrade: bool,
    effects: &mut Effects,
    fanout: &mut Fanout,
) {
    for route in routes {
        match route {
            Route::Session(target) => {
                fanout.matched += 1;
                push(message, target, upgrade, effects, fanout);
            }
            Route::Group(group) => {
                fanout.matched += 1;
                let before = fanout.dropped_full;
                // A full or absent member is passed over while another can take the message; it is
                // dropped once, and only if nobody has.
                let taken = group.offer(|target| push(message, target, upgrade, effects, fanout));
                let dropped = u64::from(!taken && fanout.dropped_full > before);
                fanout.dropped_full = before + dropped;
            }
        }
    }
}

#[inline]
fn push(
    message: &Arc<Message>,
    target: &Target,
    upgrade: bool,
    effects: &mut Effects,
    fanout: &mut Fanout,
) -> bool {
    let mut target = target;
    if target.heeds_author() && message.author.client_id == target.session.client_id {
        match &target.own {
            Some(own) => target = own,
            None => return false, // [MQTT-3.8.3-3]
        }
    }
    let delivery = Delivery {
        message: Arc::clone(message),
        qos: outgoing_qos(message.qos, target.qos, upgrade),
        retain: target.retain_as_published && message.retain,
        identifiers: target.identifiers.clone(),
        seq: 0,
    };
    let session = &target.session;
    let (qos, retain) = (delivery.qos, delivery.retain);
    let push = session
        .mailbox
        .push(target.epoch, delivery, session.bounds.now());
    if !push.dropped.is_empty() {
        fanout.dropped_full += push.dropped.len() as u64;
        for (session, seq) in push.dropped.into_iter().flatten() {
            effects.record(Record::Done { session, seq });
        }
    }
    match push.outcome {
        Pushed::Queued => {}
        Pushed::QueuedWake => effects.wake(session),
        Pushed::Crowded => fanout.crowded = Some(Arc::clone(session)),
        Pushed::Full => {
            fanout.dropped_full += 1;
            return false;
        }
        Pushed::Away | Pushed::Stale => return false,
    }
    if let Some((session, seq)) = push.kept {
        fanout.receivers.push(Receiver {
            session,
            seq,
            qos,
            retain,
            identifiers: target.identifiers.clone(),
        });
    }
    fanout.delivered += 1;
    true
}
