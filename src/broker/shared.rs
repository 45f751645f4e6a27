//! Shared subscriptions: one message goes to one member of the group (MQTT 5.0 section 4.8.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::router::Target;

/// All subscribers of one `$share/<name>/<filter>`.
#[derive(Debug)]
pub struct Group {
    /// ShareName.
    pub name: Arc<str>,
    members: RwLock<Vec<Target>>,
    next: AtomicUsize,
}

impl Group {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            members: RwLock::new(Vec::new()),
            next: AtomicUsize::new(0),
        }
    }

    /// Adds a member, or replaces its options. True if it is new.
    pub(crate) fn join(&self, target: Target) -> bool {
        let mut members = self.members.write();
        match members
            .iter_mut()
            .find(|member| Arc::ptr_eq(&member.session, &target.session))
        {
            Some(member) => {
                let is_new = member.epoch != target.epoch;
                *member = target;
                is_new
            }
            None => {
                members.push(target);
                true
            }
        }
    }

    /// Removes a member; true if it was one.
    pub(crate) fn leave(&self, target: &Target) -> bool {
        let mut members = self.members.write();
        let before = members.len();
        members.retain(|member| !Arc::ptr_eq(&member.session, &target.session));
        before != members.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.read().is_empty()
    }

    /// Whether a message for the group may come to wait in the store.
    pub(crate) fn has_kept_member(&self) -> bool {
        let members = self.members.read();
        members
            .iter()
            .any(|member| member.session.mailbox.key().is_some())
    }

    /// Offers a message to the members in turn, those that are connected first, until `offer` says
    /// that one took it.
    pub(crate) fn offer(&self, mut offer: impl FnMut(&Target) -> bool) -> bool {
        let members = self.members.read();
        let count = members.len();
        if count == 0 {
            return false;
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        for connected in [true, false] {
            for step in 0..count {
                let member = &members[(start.wrapping_add(step)) % count];
                if member.session.is_live() == connected && offer(member) {
                    return true;
                }
            }
        }
        false
    }
}
