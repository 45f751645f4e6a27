//! Sessions and subscriptions: which there are, for certain or perhaps.

use std::time::Duration;

use super::deliveries::matches_sub;
use super::{Oracle, Session, Step, Sub, Unsubscribing, Verdict, Wanted};
use crate::rules;

/// Whether a client has a session.
#[derive(Clone, Copy, Debug, Default)]
struct Existence {
    /// The one it was last seen to have, surely or perhaps.
    surely: bool,
    perhaps: bool,
    /// One that a connection has made which was not seen to be accepted.
    made: bool,
}

impl Oracle {
    /// CONNACK was said.
    pub(super) fn connack(
        &mut self,
        link: usize,
        present: bool,
        code: u8,
        step: Step,
        now: Duration,
    ) -> Verdict {
        let client = self.links[link].client;
        if code != 0 {
            // Of several newcomers the latest has the session.
            self.links[link].refused = true;
            return if self.has_rival(link) {
                Ok(())
            } else {
                Err(format!("client {client} is refused with 0x{code:02X}"))
            };
        }
        let profile = &self.clients[client].profile;
        let existence = self.existence(link, now);
        let (at_least, at_most) = (existence.surely, existence.made || existence.perhaps);
        // CONNACK of 3.1 does not say; its clients are made so that there is no doubt.
        let present = present || profile.version == 3 && at_least;
        if present && !at_most || !present && at_least {
            return Err(format!("Session Present {present} for client {client}"));
        }
        // The one before has given the session up, even where its last bytes wait for a full line.
        if let Some(before) = self.clients[client].serving.take() {
            self.ended(before, false, step, now);
        }
        self.reconnected(link, present, step, now);
        let expiry = self.links[link].expiry_s;
        let number = self.continued(link, present, existence);
        self.links[link].accepted = Some(step);
        self.clients[client].given = step;
        self.clients[client].serving = Some(link);
        self.clients[client].session = Some(number);
        let session = &mut self.sessions[number];
        session.expiry_s = (expiry, expiry);
        session.ended = None;
        session.late = Duration::ZERO;
        self.links[link].session = Some(number);
        Ok(())
    }

    /// Whether the client has ever subscribed to a topic.
    pub(crate) fn ever_asked(&self, client: usize, topic: &str) -> bool {
        let mut sessions = self.sessions.iter().filter(|known| known.client == client);
        sessions.any(|session| session.subs.iter().any(|sub| matches_sub(sub, topic)))
    }

    /// The session of an accepted connection.
    pub(crate) fn session_of(&self, link: usize) -> Option<usize> {
        self.links[link].session
    }

    /// The session that a connection has: the one before, a new one, or perhaps either.
    fn continued(&mut self, link: usize, present: bool, existence: Existence) -> usize {
        let client = self.links[link].client;
        let before = self.clients[client].session;
        let new = match before {
            Some(number) if present && (existence.surely || !existence.made) => return number,
            Some(number) if present && existence.perhaps => {
                // One that nobody saw accepted may have begun it anew.
                let mut session = self.sessions[number].clone();
                session.was_blind = true;
                let flights = std::mem::take(&mut session.flights);
                session.freed.extend(flights);
                for copies in session.copies.values_mut() {
                    copies.said = 0;
                    // Its client has forgotten what it had of the one before.
                    copies.heard_twice = 0;
                }
                for sub in &mut session.subs {
                    sub.must_from = None;
                }
                session
            }
            _ => Session {
                client,
                life: self.life,
                was_blind: present,
                ..Session::default()
            },
        };
        self.sessions.push(new);
        self.sessions.len() - 1
    }

    /// Other connections that may have claimed the session since it was last seen to be given, in
    /// whatever order the broker came to read their CONNECT.
    fn rivals(&self, link: usize) -> impl Iterator<Item = usize> + '_ {
        let known = &self.clients[self.links[link].client];
        known.links.iter().copied().filter(move |&other| {
            let rival = &self.links[other];
            // One that was accepted before this one had asked is what this one takes over from.
            let before = rival.accepted.is_some() && rival.accepted < self.links[link].asked;
            other != link
                && rival.asked.is_some()
                && !before
                && rival.life == self.life
                && rival.over.is_none_or(|over| over >= known.given)
        })
    }

    /// Whether another connection may have, or have had, what this one claims.
    pub(super) fn has_rival(&self, link: usize) -> bool {
        self.rivals(link).next().is_some()
    }

    /// Rivals that were cut before they were seen to be accepted.
    fn unseen(&self, link: usize) -> impl Iterator<Item = usize> + '_ {
        let unseen = |other: &usize| {
            let rival = &self.links[*other];
            rival.session.is_none() && !rival.refused
        };
        self.rivals(link).filter(unseen)
    }

    /// Whether the client of a CONNECT has a session.
    fn existence(&self, link: usize, now: Duration) -> Existence {
        let connect = &self.links[link];
        let none = Existence::default();
        if connect.clean {
            return none;
        }
        let made = self
            .unseen(link)
            .any(|other| self.links[other].expiry_s > 0);
        let unmade = self.unseen(link).any(|other| self.links[other].clean);
        let Some(number) = self.clients[connect.client].session else {
            return Existence { made, ..none };
        };
        let session = &self.sessions[number];
        // Taken over: the connection ended just now.
        let since = now.saturating_sub(session.ended.unwrap_or(now));
        // It is looked up when CONNECT is read, and answered when the store has heard of it.
        let asked = connect
            .last_arrival
            .saturating_sub(session.ended.unwrap_or(now));
        let lives = |expiry_s: u32, since: Duration| match expiry_s {
            u32::MAX => true,
            seconds => since < Duration::from_secs(u64::from(seconds)),
        };
        // While its last bytes were waiting for a full line the end was not seen.
        let slack = Duration::from_secs(if session.was_blind { 60 } else { 0 });
        let surely = lives(session.expiry_s.0, since + slack) && !unmade;
        Existence {
            surely,
            // One that nobody saw accepted may have gone on with it, and so have put its end off.
            perhaps: made || lives(session.expiry_s.1, asked.saturating_sub(session.late)),
            made,
        }
    }

    /// The broker has closed a connection, by itself or after its client.
    pub(crate) fn ended(&mut self, link: usize, is_read: bool, step: Step, now: Duration) {
        if self.links[link].over.replace(step).is_some() {
            return;
        }
        let client = self.links[link].client;
        let Some(number) = self.links[link].session else {
            self.unseen_will(link, step);
            return;
        };
        let session = &mut self.sessions[number];
        if self.clients[client].serving == Some(link) {
            session.ended = Some(now);
        }
        // DISCONNECT was surely taken if nothing else can have ended the connection before.
        let certain = is_read && !self.links[link].was_full && !self.has_rival(link);
        if certain && let Some((_, Some(expiry_s))) = self.links[link].left {
            self.sessions[number].expiry_s = (expiry_s, expiry_s);
        }
        self.will_of(link, certain, step, now);
    }

    pub(super) fn leaving(&mut self, link: usize, code: u8, expiry_s: Option<u32>) {
        self.links[link].left = Some((code, expiry_s));
        if let (Some(expiry_s), Some(session)) = (expiry_s, self.links[link].session) {
            let known = &mut self.sessions[session].expiry_s;
            *known = (known.0.min(expiry_s), known.1.max(expiry_s));
        }
    }

    pub(super) fn subscribing(&mut self, link: usize, id: u16, wanted: Vec<Wanted>, step: Step) {
        let Some(number) = self.links[link].session else {
            return;
        };
        let session = &mut self.sessions[number];
        for wanted in wanted {
            let mut is_new = Some(true);
            for sub in &mut session.subs {
                if sub.wanted.filter == wanted.filter && !sub.is_over() {
                    let certain = sub.must_from.is_some() && sub.may_to.is_none();
                    is_new = if certain { Some(false) } else { None };
                    sub.may_to.get_or_insert(step);
                }
            }
            session.subs.push(Sub {
                wanted,
                link,
                packet_id: id,
                may_from: step,
                must_from: None,
                may_to: None,
                must_to: None,
                is_new,
                is_old: false,
            });
        }
    }

    pub(super) fn suback(&mut self, link: usize, id: u16, codes: &[u8], step: Step) -> Verdict {
        let client = self.links[link].client;
        let profile = self.clients[client].profile.clone();
        let number = self.links[link].session.ok_or("SUBACK without a session")?;
        let subs = &mut self.sessions[number].subs;
        let asked: Vec<usize> = (0..subs.len())
            .filter(|&index| subs[index].link == link && subs[index].packet_id == id)
            .filter(|&index| subs[index].must_from.is_none() && !subs[index].is_over())
            .collect();
        if asked.len() != codes.len() {
            return Err(format!("SUBACK #{id} has {} codes", codes.len()));
        }
        for (index, &code) in asked.into_iter().zip(codes) {
            let filter = subs[index].wanted.filter;
            let granted = rules::may_subscribe(profile.user, &profile.name, filter);
            let earlier = |sub: &Sub| sub.wanted.filter == filter && !sub.is_over();
            let others = subs.iter().filter(|sub| !sub.is_over()).count() - 1;
            let over_quota = code >= 0x80 && others >= self.bounds.subscriptions;
            let is_granted = if profile.version == 3 {
                // Its SUBACK has no code for a refusal.
                granted
            } else {
                code < 0x80
            };
            if profile.version != 3 && is_granted != granted && !over_quota
                || is_granted && code != subs[index].wanted.qos
            {
                return Err(format!("{} gets 0x{code:02X} for {filter}", profile.name));
            }
            if is_granted {
                for sub in subs[..index].iter_mut().filter(|sub| earlier(sub)) {
                    sub.must_to = Some(step);
                }
                subs[index].must_from = Some(step);
            } else {
                subs[index].must_to = Some(subs[index].may_from);
                subs[index].may_to = Some(0);
                // What there was before goes on.
                let begun = subs[index].may_from;
                for sub in subs[..index].iter_mut().filter(|sub| earlier(sub)) {
                    if sub.may_to == Some(begun) {
                        sub.may_to = None;
                    }
                }
            }
        }
        let certain = |sub: &&Sub| sub.must_from.is_some() && sub.may_to.is_none();
        let count = subs.iter().filter(certain).count();
        if count > self.bounds.subscriptions {
            return Err(format!("client {client} has {count} subscriptions"));
        }
        Ok(())
    }

    pub(super) fn unsubscribing(
        &mut self,
        link: usize,
        id: u16,
        filters: &[&'static str],
        step: Step,
    ) {
        let Some(number) = self.links[link].session else {
            return;
        };
        let mut asked = Vec::new();
        for filter in filters {
            let mut existed = Some(false);
            for sub in &mut self.sessions[number].subs {
                if sub.wanted.filter == *filter && !sub.is_over() {
                    let certain = sub.must_from.is_some() && sub.may_to.is_none();
                    existed = if certain { Some(true) } else { None };
                    sub.may_to.get_or_insert(step);
                }
            }
            asked.push((*filter, existed));
        }
        let asked = Unsubscribing {
            filters: asked,
            before: self.sessions[number].subs.len(),
        };
        self.links[link].unsubscribing.insert(id, asked);
    }

    pub(super) fn unsuback(&mut self, link: usize, id: u16, codes: &[u8], step: Step) -> Verdict {
        let asked = self.links[link].unsubscribing.remove(&id);
        let asked = asked.ok_or_else(|| format!("UNSUBACK #{id} unasked"))?;
        let number = self.links[link].session.ok_or("UNSUBACK, no session")?;
        for (index, (filter, existed)) in asked.filters.into_iter().enumerate() {
            let found = codes.get(index).map(|code| *code == 0);
            if existed
                .zip(found)
                .is_some_and(|(existed, found)| existed != found)
            {
                return Err(format!("UNSUBACK {codes:02X?} for {filter}"));
            }
            for sub in &mut self.sessions[number].subs[..asked.before] {
                if sub.wanted.filter == filter && !sub.is_over() {
                    sub.must_to = Some(step);
                }
            }
        }
        Ok(())
    }
}
