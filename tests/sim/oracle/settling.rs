//! When all have come back and taken what is theirs: whatever was certain has happened.

use std::collections::BTreeSet;

use super::deliveries::{is_plain, matches_sub};
use super::{Message, Oracle, Sub, Verdict};

/// What the oracle counted, so that a run that shows nothing is seen to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Deliveries that had to be there, and were.
    pub(crate) owed: usize,
    /// Those that a full queue may have cost.
    pub(crate) excused: usize,
}

impl Oracle {
    /// Every message that must have reached a session has; `dropped` is what the broker counted.
    pub(crate) fn settle(&self, dropped: u64) -> Result<Counted, String> {
        let mut counted = Counted::default();
        for known in &self.clients {
            let Some(session) = known.session else {
                continue;
            };
            for (number, message) in self.messages.iter().enumerate() {
                let owed = self.is_owed(session, message) || self.is_owed_retained(session, number);
                if !owed {
                    continue;
                }
                counted.owed += 1;
                let copies = self.sessions[session].copies.get(&number);
                if copies.is_some_and(|copies| copies.heard > 0) {
                    continue;
                }
                if !self.may_have_been_full(session, message) {
                    let name = &known.profile.name;
                    let subs = &self.sessions[session].subs;
                    let asked: Vec<&Sub> = subs
                        .iter()
                        .filter(|sub| matches_sub(sub, &message.topic))
                        .collect();
                    return Err(format!(
                        "message {number} never reached {name}: {message:?}\n{asked:#?}"
                    ));
                }
                counted.excused += 1;
                if counted.excused as u64 > dropped {
                    let name = &known.profile.name;
                    return Err(format!(
                        "message {number} to {name} is missing and not counted"
                    ));
                }
            }
        }
        self.settle_shared()?;
        Ok(counted)
    }

    /// A live subscription was certain while it was taken.
    pub(super) fn is_owed(&self, session: usize, message: &Message) -> bool {
        let session = &self.sessions[session];
        if !message.granted || message.qos == 0 || self.is_lost(session.client, message) {
            return false;
        }
        session.subs.iter().any(|sub| {
            let own = sub.wanted.no_local && message.publisher == session.client;
            let is_it = is_plain(sub) && matches_sub(sub, &message.topic) && !own;
            is_it && sub.wanted.qos > 0 && sub.is_certain(message)
        })
    }

    /// Expiry and size are reasons not to deliver; an empty payload has no number.
    fn is_lost(&self, client: usize, message: &Message) -> bool {
        let profile = &self.clients[client].profile;
        message.expiry_s.is_some() || message.payload.is_empty() || profile.maximum_packet.is_some()
    }

    /// It was the retained message when a subscription asked, and has been ever since.
    fn is_owed_retained(&self, number: usize, message: usize) -> bool {
        let session = &self.sessions[number];
        let known = &self.messages[message];
        let of_topic = self.retained.get(&known.topic);
        if of_topic.and_then(|all| all.last()) != Some(&message)
            || known.qos == 0
            // What was not sent when a connection ended is kept as far as there is room.
            || self.bounds.queued < 1_000
            || self.is_lost(session.client, known)
        {
            return false;
        }
        let Some(by) = known.must_by else {
            return false;
        };
        // Those before it are surely before it.
        let is_last = of_topic.into_iter().flatten().all(|&other| {
            let other = &self.messages[other];
            std::ptr::eq(other, known)
                || other
                    .may_to
                    .zip(known.may_from)
                    .is_some_and(|(by, from)| by < from)
        });
        let asks = |sub: &Sub| match sub.wanted.handling {
            0 => true,
            1 => sub.is_new == Some(true),
            _ => false,
        };
        is_last
            && known.sends == 1
            && session.subs.iter().any(|sub| {
                let own = sub.wanted.no_local && known.publisher == session.client;
                asks(sub)
                    && !sub.is_old
                    && is_plain(sub)
                    && !own
                    && sub.wanted.qos > 0
                    && matches_sub(sub, &known.topic)
                    && sub.must_from.is_some()
                    && sub.may_to.is_none()
                    && sub.may_from > by
            })
    }

    /// Whether as many messages as fill a queue may have waited for the session.
    pub(super) fn may_have_been_full(&self, session: usize, message: &Message) -> bool {
        let session = &self.sessions[session];
        let (mut messages, mut bytes) = (0, 0);
        let mut add = |copies: usize, of: &Message| {
            messages += copies;
            bytes += copies * (of.topic.len() + of.payload.len());
        };
        for (number, other) in self.messages.iter().enumerate() {
            let began = other
                .may_from
                .is_some_and(|from| Some(from) <= message.must_by);
            let copies = session.copies.get(&number);
            let said = copies.and_then(|copies| copies.first_said);
            let sent = said.is_some_and(|said| Some(said) < message.may_from);
            if began && !sent && other.granted {
                let subs = session.subs.iter();
                let ways: BTreeSet<Option<&str>> = subs
                    .filter(|sub| matches_sub(sub, &other.topic))
                    .map(|sub| (!is_plain(sub)).then_some(sub.wanted.filter))
                    .collect();
                add(
                    ways.len() * usize::try_from(other.sends).expect("few"),
                    other,
                );
            }
        }
        // Retained messages wait in the same line.
        for sub in session.subs.iter().filter(|sub| sub.wanted.handling < 2) {
            for kept in self.retained.values().flatten() {
                let kept = &self.messages[*kept];
                add(usize::from(matches_sub(sub, &kept.topic)), kept);
            }
        }
        messages > self.bounds.queued || bytes > self.bounds.queued_bytes
    }

    /// One member of a group gets what is published, and one only.
    fn settle_shared(&self) -> Verdict {
        for (number, message) in self.messages.iter().enumerate() {
            if message.may_from.is_none() || message.payload.is_empty() || message.retain {
                continue;
            }
            let mut groups: BTreeSet<(u32, &str)> = BTreeSet::new();
            let (mut plain, mut said) = (0, 0);
            for session in &self.sessions {
                let live = || {
                    let subs = session.subs.iter();
                    subs.filter(|sub| matches_sub(sub, &message.topic) && sub.is_possible(message))
                };
                plain += u32::from(live().any(is_plain));
                let shared = live().filter(|sub| !is_plain(sub));
                groups.extend(shared.map(|sub| (session.life, sub.wanted.filter)));
                said += session.copies.get(&number).map_or(0, |copies| copies.said);
            }
            let ways = plain + u32::try_from(groups.len()).expect("few");
            if said > message.repeats() * ways {
                return Err(format!("message {number} to {said} instead of {ways}"));
            }
        }
        self.settle_groups()
    }

    /// A group of which every member that ever was is still there has lost nothing.
    fn settle_groups(&self) -> Verdict {
        let filters: BTreeSet<&str> = self
            .sessions
            .iter()
            .flat_map(|session| &session.subs)
            .filter(|sub| !is_plain(sub))
            .map(|sub| sub.wanted.filter)
            .collect();
        for filter in filters {
            for (number, message) in self.messages.iter().enumerate() {
                self.settle_group(filter, number, message)?;
            }
        }
        Ok(())
    }

    fn settle_group(&self, filter: &str, number: usize, message: &Message) -> Verdict {
        if message.qos == 0 || !message.granted || message.must_by.is_none() {
            return Ok(());
        }
        let mut certain = false;
        for (index, session) in self.sessions.iter().enumerate() {
            let is_member = |sub: &&Sub| {
                sub.wanted.filter == filter
                    && matches_sub(sub, &message.topic)
                    && sub.is_possible(message)
            };
            let members: Vec<&Sub> = session.subs.iter().filter(is_member).collect();
            if members.is_empty() {
                continue;
            }
            let gone = self.clients[session.client].session != Some(index);
            let lossy = members.iter().any(|sub| sub.wanted.qos == 0);
            if gone
                || lossy
                || self.is_lost(session.client, message)
                || self.may_have_been_full(index, message)
            {
                return Ok(());
            }
            certain |= members.iter().any(|sub| sub.is_certain(message));
            let copies = session.copies.get(&number);
            if copies.is_some_and(|copies| copies.heard > 0) {
                return Ok(());
            }
        }
        if certain {
            return Err(format!("message {number} reached nobody of {filter}"));
        }
        Ok(())
    }

    /// Subscriptions, if every one is certain.
    pub(crate) fn subscriptions(&self) -> Option<usize> {
        let mut count = 0;
        for known in &self.clients {
            let session = &self.sessions[known.session?];
            for sub in session.subs.iter().filter(|sub| !sub.is_over()) {
                if sub.must_from.is_none() || sub.may_to.is_some() {
                    return None;
                }
                count += 1;
            }
        }
        Some(count)
    }
}
