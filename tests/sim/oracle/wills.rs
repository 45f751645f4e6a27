//! Wills: which are published when, and which never.

use std::time::Duration;

use super::{Oracle, Step};

/// A will that waits for its delay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    message: usize,
    link: usize,
    client: usize,
    due: Duration,
}

impl Oracle {
    /// A connection with a will has ended.
    pub(super) fn will_of(&mut self, link: usize, certain: bool, step: Step, now: Duration) {
        let Some((message, delay_s)) = self.links[link].will else {
            return;
        };
        let left = self.links[link].left;
        if certain && matches!(left, Some((0, _))) {
            return;
        }
        let client = self.links[link].client;
        let number = self.links[link].session.expect("it was accepted");
        let (at_least, at_most) = self.sessions[number].expiry_s;
        let will = &mut self.messages[message];
        // It may have ended before, while its last bytes were waiting for a full line.
        will.may_from.get_or_insert(step);
        will.at = now;
        will.sends = 1;
        // What the broker took first is not known, and so neither is whether it is published.
        if left.is_some_and(|(code, _)| code == 0) || at_least != at_most {
            return;
        }
        // With the end of the session the delay is over.
        let delay_s = delay_s.min(at_most);
        if delay_s == 0 {
            will.must_by = Some(step);
            will.by = Some(now);
            return;
        }
        let due = now + Duration::from_secs(u64::from(delay_s));
        // Who takes over with Clean Start ends the session and with it the delay.
        let newer = self.clients[client]
            .links
            .iter()
            .filter(|other| **other > link);
        let ends = newer.clone().any(|other| self.links[*other].clean);
        will.at = if ends { now } else { due };
        self.pending.push(Pending {
            message,
            link,
            client,
            due,
        });
    }

    /// A connection has ended that may have been accepted unseen: so may its will be sent.
    pub(super) fn unseen_will(&mut self, link: usize, step: Step) {
        let connection = &self.links[link];
        if let Some((will, _)) = connection.will.filter(|_| connection.asked.is_some()) {
            self.messages[will].may_from.get_or_insert(step);
        }
    }

    /// A client is there again: a session that goes on cancels the will, one that ended sends it.
    pub(super) fn reconnected(&mut self, link: usize, present: bool, step: Step, now: Duration) {
        let client = self.links[link].client;
        let of_client: Vec<Pending> = self
            .pending
            .extract_if(.., |pending| pending.client == client)
            .collect();
        for pending in of_client {
            let doubtful = self.has_come_unseen(&pending, Some(link));
            let will = &mut self.messages[pending.message];
            if doubtful {
                continue;
            }
            if present && now < pending.due {
                // [MQTT-3.1.3-9]
                will.may_from = None;
            } else {
                will.at = will.at.min(now);
                will.must_by = Some(step);
                will.by = Some(now);
            }
        }
    }

    /// A connection asks for the session: with Clean Start it ends the one there is, and with it the
    /// delay of its will.
    pub(super) fn claimed(&mut self, link: usize, now: Duration) {
        let connection = &self.links[link];
        for pending in &self.pending {
            if connection.clean && pending.client == connection.client {
                let will = &mut self.messages[pending.message];
                will.at = will.at.min(now);
            }
        }
    }

    /// Whether the client may have come back on a connection that was not seen to be accepted.
    fn has_come_unseen(&self, pending: &Pending, seen: Option<usize>) -> bool {
        let since = self.links[pending.link].over;
        self.clients[pending.client].links.iter().any(|&other| {
            let later = &self.links[other];
            let accepted = later.session.is_some() || Some(other) == seen;
            // The end of the one before may be seen after that of the one that took over from it.
            let in_time = later.over.is_none() || later.over >= since || other > pending.link;
            other != pending.link && later.asked.is_some() && !accepted && !later.refused && in_time
        })
    }

    /// Time has passed, and the broker has done what was due.
    pub(crate) fn waited(&mut self, step: Step, now: Duration) {
        let due: Vec<Pending> = self
            .pending
            .extract_if(.., |pending| pending.due <= now)
            .collect();
        for pending in due {
            if self.has_come_unseen(&pending, None) {
                continue;
            }
            let will = &mut self.messages[pending.message];
            will.must_by = Some(step);
            will.by = Some(now);
        }
    }
}
