//! Sessions held against the rights of their clients, when those have changed.

use std::sync::Arc;

use crate::message::{Delivery, Subscription};
use crate::policy::{Client, Denial, DenyReason};
use crate::session::SessionState;

use super::Broker;
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
    ) -> Rechecked {
        let mut lost = self.gate.recheck(client, state.subscriptions.values());
        for subscription in state.subscriptions.values() {
            let is_lost = lost.iter().any(|(other, _)| other == subscription);
            if !is_lost && !subscription.filter.filter.as_str().starts_with(mount_point) {
                let denial = Denial::new(DenyReason::MountPoint);
                let text = subscription.filter.to_string();
                self.gate.refuse_subscribe(client, &text, &denial);
                lost.push((subscription.clone(), denial));
            }
        }
        for (subscription, _) in &lost {
            self.unsubscribe(session, state, &subscription.filter.to_string());
        }
        let allowed = |delivery: &Delivery| {
            let topic = delivery.message.topic.as_str();
            topic.starts_with(mount_point) && client.may_receive(topic)
        };
        let dropped = session.mailbox.retain(allowed) + state.retain_deliveries(allowed);
        Rechecked { lost, dropped }
    }
}
