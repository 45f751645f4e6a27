//! Sessions held against the rights of their clients, when those have changed.

use std::sync::Arc;
use std::time::Instant;

use crate::message::{Delivery, Subscription};
use crate::policy::{Client, Denial, DenyReason};
use crate::session::SessionState;

use super::Broker;
use crate::store::Record;

use super::effects::Effects;
use super::registry::Session;

/// What a session lost when it was held against the rights of its client.
#[derive(Debug)]
pub struct Rechecked {
    /// Subscriptions that ended, each with the reason.
    pub lost: Vec<(Subscription, Denial)>,
    /// Messages that were dropped.
    pub dropped: usize,
}

impl Broker {
    /// Holds what a session has against its client's rights of now: subscriptions that are no longer
    /// granted end, and what waits and may no longer be received is dropped. Asked when the policy
    /// has changed, and when a session is resumed, for rights may have changed while nobody was
    /// connected. It may also have come from another listener: what lies outside the mount point of
    /// this one is not for its clients.
    pub fn recheck(
        &self,
        session: &Arc<Session>,
        state: &mut SessionState,
        client: &mut Client,
        mount_point: &str,
        now: Instant,
        effects: &mut Effects,
    ) -> Rechecked {
        let outside: Vec<Subscription> = state
            .subscriptions
            .values()
            .filter(|made| !made.filter.filter.as_str().starts_with(mount_point))
            .cloned()
            .collect();
        let mut lost = Vec::new();
        for subscription in outside {
            let text = subscription.filter.to_string();
            let denial = Denial::new(DenyReason::MountPoint);
            self.gate.refuse_subscribe(client, &text, &denial);
            self.unsubscribe(session, state, &text, effects);
            lost.push((subscription, denial));
        }
        let refused = self.gate.recheck(client, state.subscriptions.values(), now);
        for (subscription, _) in &refused {
            self.unsubscribe(session, state, &subscription.filter.to_string(), effects);
        }
        lost.extend(refused);
        let allowed = |delivery: &Delivery| {
            let topic = delivery.message.topic.as_str();
            topic.starts_with(mount_point) && client.may_take(delivery)
        };
        let of_queue = session.mailbox.retain(allowed);
        for (session, seq) in of_queue.iter().flatten().copied() {
            effects.record(Record::Done { session, seq });
        }
        let dropped = of_queue.len() + state.retain_deliveries(allowed);
        Rechecked { lost, dropped }
    }
}
