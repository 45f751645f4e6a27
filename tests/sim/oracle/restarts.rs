//! A broker that was killed and is there again with what its store has committed.
//!
//! What it had answered it must know: sessions, subscriptions, messages, what was received with QoS 2,
//! identifiers under which messages of QoS 2 were sent. What it was told without an answer it may know or
//! not; what it had said without waiting for the store (a PUBLISH of QoS 1, the end of an exchange) it may
//! have forgotten. Retained messages that a SUBSCRIBE asked for and that were not sent are not kept either.

use std::time::Duration;

use super::{Oracle, Step};

impl Oracle {
    pub(crate) fn restarted(&mut self, step: Step, now: Duration) {
        for link in 0..self.links.len() {
            if self.links[link].over.is_none() {
                self.links[link].over = Some(step);
                self.cut_short(link, now);
            }
        }
        self.wills_in_doubt(step, now);
        for session in &mut self.sessions {
            session.was_blind = true;
            session.late = now.saturating_sub(session.ended.unwrap_or(now));
            // Sent again, perhaps under other identifiers and with no memory of the first time.
            session.flights.retain(|_, flight| flight.qos == 2);
            session.freed.retain(|_, flight| flight.qos == 2);
            session.newest.clear();
            session.subs.iter_mut().for_each(|sub| sub.is_old = true);
            for copies in session.copies.values_mut() {
                if copies.said_twice == 0 {
                    copies.said = 0;
                }
            }
        }
        // Those before are known by their arrival alone.
        for client in &mut self.clients {
            client.given = client.given.min(step);
        }
    }

    fn cut_short(&mut self, link: usize, now: Duration) {
        let connection = &self.links[link];
        let Some(number) = connection.session else {
            return;
        };
        if self.clients[connection.client].serving == Some(link) {
            self.sessions[number].ended = Some(now);
        }
    }

    /// Whether a will was sent, or called off by DISCONNECT, the store may not have heard.
    fn wills_in_doubt(&mut self, step: Step, now: Duration) {
        self.pending.clear();
        for client in &self.clients {
            let asked = client.links.iter().rev().filter(|&&link| {
                let connection = &self.links[link];
                connection.asked.is_some() && !connection.refused
            });
            for &link in asked.take(3) {
                let connection = &self.links[link];
                if let Some((will, _)) = connection.will {
                    let will = &mut self.messages[will];
                    will.may_from.get_or_insert(step);
                    will.may_to = None;
                    will.at = will.at.min(now);
                    will.sends += 1;
                }
                // Nor whether the session ended with DISCONNECT, and when it is to end.
                if let (Some((_, Some(left))), Some(number)) = (connection.left, connection.session)
                {
                    let known = &mut self.sessions[number].expiry_s;
                    known.0 = known.0.min(left).min(connection.expiry_s);
                    known.1 = known.1.max(left).max(connection.expiry_s);
                }
            }
        }
    }
}
