//! Sessions held against the rights of their clients, when those have changed.

use std::sync::Arc;

use crate::message::{Delivery, Subscription};
use crate::policy::{Client, Denial};
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
    /// connected.
    pub fn recheck(
        &self,
        session: &Arc<Session>,
        state: &mut SessionState,
        client: &mut Client,
    ) -> Rechecked {
        let lost = self.gate.recheck(client, state.subscriptions.values());
        for (subscription, _) in &lost {
            self.unsubscribe(session, state, &subscription.filter.to_string());
        }
        let allowed = |delivery: &Delivery| client.may_receive(delivery.message.topic.as_str());
        let dropped = session.mailbox.retain(allowed) + state.retain_deliveries(allowed);
        Rechecked { lost, dropped }
    }
}
