//! What the broker says to a client, held against what it may say.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Flight, Message, Oracle, Step, Sub, Verdict};
use crate::client::Taken;
use crate::packets::{Packet, Published};
use crate::rules;

impl Oracle {
    /// The broker has said a packet, whether or not anybody hears it.
    pub(crate) fn said(
        &mut self,
        link: usize,
        packet: &Packet,
        bytes: usize,
        step: Step,
        now: Duration,
    ) -> Verdict {
        let client = self.links[link].client;
        let profile = &self.clients[client].profile;
        if profile.maximum_packet.is_some_and(|most| bytes > most) {
            return Err(format!("{bytes} bytes are more than {client} takes"));
        }
        if self.links[link].session.is_some() && self.clients[client].serving != Some(link) {
            // The rest of what waited for a full line when another took over.
            return Ok(());
        }
        if self.links[link].session.is_none() && !matches!(packet, Packet::Connack { .. }) {
            return Err(format!("{packet:?} before CONNACK"));
        }
        match packet {
            Packet::Connack { present, code } => self.connack(link, *present, *code, step, now),
            Packet::Publish(published) => self.published(link, published, step, now),
            Packet::Puback { id, code } => self.answered(link, 1, *id, *code, step, now),
            Packet::Pubrec { id, code } => self.answered(link, 2, *id, *code, step, now),
            Packet::Pubrel { id } => self.released(link, *id),
            Packet::Pubcomp { .. } | Packet::Pingresp => Ok(()),
            Packet::Suback { id, codes } => self.suback(link, *id, codes, step),
            Packet::Unsuback { id, codes } => self.unsuback(link, *id, codes, step),
            Packet::Disconnect { code } => self.goodbye(link, *code, now),
        }
    }

    /// A client that keeps to the standard is only sent away for a reason.
    fn goodbye(&self, link: usize, code: u8, now: Duration) -> Verdict {
        let connection = &self.links[link];
        let keep_alive = u64::from(self.clients[connection.client].profile.keep_alive_s);
        let silent = now.saturating_sub(connection.last_arrival)
            >= Duration::from_millis(keep_alive * 1_500);
        match code {
            0x8E if self.has_rival(link) => Ok(()),
            0x8D if keep_alive > 0 && silent => Ok(()),
            _ => Err(format!(
                "client {} is disconnected with 0x{code:02X}",
                connection.client
            )),
        }
    }

    /// PUBACK or PUBREC.
    fn answered(
        &mut self,
        link: usize,
        qos: u8,
        id: u16,
        code: u8,
        step: Step,
        now: Duration,
    ) -> Verdict {
        let connection = &self.links[link];
        let v5 = self.clients[connection.client].profile.version == 5;
        let Some(&number) = connection.publishing.get(&id) else {
            return Err(format!("an answer to #{id}, which was not sent"));
        };
        let message = &mut self.messages[number];
        if message.qos != qos {
            return Err(format!(
                "message {number} of QoS {} is answered so",
                message.qos
            ));
        }
        let expected = if v5 && !message.granted { 0x87 } else { 0 };
        if code != expected {
            return Err(format!("message {number} is answered with 0x{code:02X}"));
        }
        message.may_to = Some(step);
        if message.granted && message.must_by.is_none() {
            message.must_by = Some(step);
            message.by = Some(now);
        }
        Ok(())
    }

    fn released(&mut self, link: usize, id: u16) -> Verdict {
        let number = self.links[link].session.expect("accepted");
        let session = &mut self.sessions[number];
        if self.settled {
            return Err(format!("PUBREL #{id} for what was complete"));
        }
        let flight = session.flights.get_mut(&id);
        match flight.or(session.freed.get_mut(&id)) {
            Some(flight) if flight.qos == 2 => {
                flight.released = true;
                Ok(())
            }
            None if session.was_blind => Ok(()),
            _ => Err(format!("PUBREL #{id} for nothing")),
        }
    }

    fn published(&mut self, link: usize, said: &Published, step: Step, now: Duration) -> Verdict {
        let client = self.links[link].client;
        let profile = &self.clients[client].profile;
        if !rules::may_read(profile.user, &profile.name, &said.topic) {
            return Err(format!("{} may not read {}", profile.name, said.topic));
        }
        if self.settled {
            return Err(format!("client {client} is sent what it had: {said:?}"));
        }
        let number = self.known(said)?;
        let session = self.links[link].session.expect("accepted");
        let known = &self.sessions[session];
        // The first of it waits for a line that was full.
        let unseen = !known.flights.contains_key(&said.id) && !known.freed.contains_key(&said.id);
        self.in_flight(link, said, number)?;
        if said.qos == 2
            && (!said.dup || unseen)
            && let Some(number) = number
        {
            let copies = self.sessions[session].copies.entry(number).or_default();
            copies.said_twice += 1;
        }
        if said.dup {
            if let Some(number) = number.filter(|_| unseen) {
                let copies = self.sessions[session].copies.entry(number).or_default();
                copies.first_said.get_or_insert(step);
            }
            return Ok(());
        }
        let Some(number) = number else {
            // A removal of a retained message: there may be many that look alike.
            let mut subs = self.sessions[session].subs.iter();
            let wanted = subs.any(|sub| matches_sub(sub, &said.topic));
            return wanted.then_some(()).ok_or(format!("{said:?} unasked"));
        };
        let message = self.messages[number].clone();
        self.wanted(session, said, number, &message)?;
        if !self.links[link].was_full {
            // Written, and then held until the store has its identifier.
            let is_held = self.bounds.is_kept && said.qos == 2;
            timely(said, number, &message, is_held, now)?;
        }
        self.ordered(session, said, number, &message)?;
        let copies = self.sessions[session].copies.entry(number).or_default();
        copies.first_said.get_or_insert(step);
        Ok(())
    }

    /// The message, if its payload has a number, is one that was sent so.
    fn known(&self, said: &Published) -> Result<Option<usize>, String> {
        if said.payload.is_empty() {
            return Ok(None);
        }
        let number = said
            .payload
            .split(':')
            .next()
            .and_then(|text| text.parse().ok());
        let number: usize = number.ok_or_else(|| format!("{said:?} is nobody's"))?;
        let message = self.messages.get(number).ok_or("a number nobody gave")?;
        if message.topic != said.topic || message.payload != said.payload {
            return Err(format!("{said:?} is not what was published"));
        }
        if !message.granted {
            return Err(format!("message {number} was refused and is delivered"));
        }
        if message.may_from.is_none() {
            return Err(format!("message {number} is delivered and was not due"));
        }
        Ok(Some(number))
    }

    /// Packet Identifiers: none twice at a time, no more than the client takes, DUP only for what a
    /// connection before this one was sent.
    fn in_flight(&mut self, link: usize, said: &Published, number: Option<usize>) -> Verdict {
        let id = said.id;
        if said.qos == 0 {
            return (!said.dup).then_some(()).ok_or("DUP with QoS 0".into());
        }
        let connection = &mut self.links[link];
        let profile = &self.clients[connection.client].profile;
        let session = &mut self.sessions[connection.session.expect("accepted")];
        let flight = session.flights.get(&id).copied();
        if said.dup {
            let known = flight.or(session.freed.get(&id).copied());
            match known {
                Some(known) if known.message != number || known.qos != said.qos => {
                    return Err(format!("#{id} is another message than before"));
                }
                Some(known) if known.link == link || known.released && flight.is_some() => {
                    return Err(format!("{said:?} again on one connection or after PUBREC"));
                }
                None if !session.was_blind && !self.bounds.is_kept => {
                    return Err(format!("DUP, but new: {said:?}"));
                }
                _ => {}
            }
        } else if flight.is_some() {
            return Err(format!("#{id} is in use and used again"));
        }
        self.sendings += 1;
        let known = flight.or(session.freed.remove(&id)).filter(|_| said.dup);
        // One whose first time is not known has the place in which it comes.
        let order = match (known, said.dup) {
            (Some(known), _) => known.order,
            (None, true) => connection.last_order,
            (None, false) => self.sendings,
        };
        // What is sent again comes in the order it had, and before anything new [MQTT-4.6.0-1].
        if connection.last_order > order {
            return Err(format!("sent again in another order: {said:?}"));
        }
        connection.last_order = order;
        session.flights.insert(
            id,
            Flight {
                message: number,
                qos: said.qos,
                link,
                released: false,
                order,
            },
        );
        connection.window.insert(id);
        let most = profile.receive_maximum.min(self.bounds.inflight);
        if connection.window.len() > most {
            let window = &connection.window;
            return Err(format!("{window:?} in flight, {most} allowed"));
        }
        Ok(())
    }

    /// Somebody asked for it, with this QoS, this RETAIN, these identifiers and this often.
    fn wanted(
        &mut self,
        session: usize,
        said: &Published,
        number: usize,
        message: &Message,
    ) -> Verdict {
        let client = self.sessions[session].client;
        let reaches = |sub: &&Sub| {
            matches_sub(sub, &said.topic) && !(sub.wanted.no_local && message.publisher == client)
        };
        let same = |sub: &&Sub| matches_sub(sub, &said.topic);
        let every: Vec<Sub> = self.sessions[session]
            .subs
            .iter()
            .filter(same)
            .cloned()
            .collect();
        let all: Vec<Sub> = self.sessions[session]
            .subs
            .iter()
            .filter(reaches)
            .cloned()
            .collect();
        // Looked up when their turn comes: by the subscription as it is then.
        let asked = |sub: &Sub| {
            let same = every
                .iter()
                .filter(|other| other.wanted.filter == sub.wanted.filter);
            let mut asking = same.filter(|other| other.wanted.handling < 2);
            asking.any(|other| self.is_retained_for(other, number))
        };
        let replay: Vec<&Sub> = all
            .iter()
            .filter(|sub| said.retain && message.retain && is_plain(sub) && asked(sub))
            .collect();
        let live: Vec<&Sub> = all.iter().filter(|sub| sub.is_possible(message)).collect();
        let can_be_live = !said.retain || live.iter().any(|sub| sub.wanted.as_published);
        if replay.is_empty() && (live.is_empty() || !can_be_live || said.retain && !message.retain)
        {
            return Err(format!("client {client} did not ask for {said:?}"));
        }
        let candidates = || live.iter().chain(&replay);
        let fits = |sub: &&&Sub| message.qos.min(sub.wanted.qos) == said.qos;
        if !candidates().any(|sub| fits(&sub)) {
            return Err(format!(
                "{message:?} with another QoS: {said:?} for {live:?}"
            ));
        }
        let asked: BTreeSet<u32> = candidates()
            .filter_map(|sub| sub.wanted.identifier)
            .collect();
        if said.identifiers.iter().any(|id| !asked.contains(id)) {
            return Err(format!("identifiers nobody gave: {said:?}"));
        }
        if said.retain {
            return Ok(());
        }
        if message.sends == 1
            && live
                .iter()
                .all(|sub| is_plain(sub) && sub.is_certain(message))
        {
            exact(said, number, message, &live)?;
        }
        let shares: BTreeSet<&str> = live
            .iter()
            .filter(|sub| !is_plain(sub))
            .map(|sub| sub.wanted.filter)
            .collect();
        let plain = u32::from(live.iter().any(|sub| is_plain(sub)));
        let ways = plain + u32::try_from(shares.len()).expect("few");
        let copies = self.sessions[session].copies.entry(number).or_default();
        copies.said += 1;
        if copies.said > message.repeats() * ways {
            return Err(format!(
                "{message:?} too often to client {client}, not {ways}: {live:?}"
            ));
        }
        Ok(())
    }

    /// The message may be the retained one at some moment after this SUBSCRIBE arrived.
    fn is_retained_for(&self, sub: &Sub, number: usize) -> bool {
        let message = &self.messages[number];
        let of_topic = self
            .retained
            .get(&message.topic)
            .map_or(&[][..], Vec::as_slice);
        let replaced = of_topic.iter().any(|&other| {
            let other = &self.messages[other];
            let later = message
                .may_to
                .zip(other.may_from)
                .is_some_and(|(by, from)| by < from);
            later && other.must_by.is_some_and(|by| by < sub.may_from)
        });
        of_topic.contains(&number) && !replaced
    }

    /// Per topic and publisher in the order of publishing.
    fn ordered(
        &mut self,
        session: usize,
        said: &Published,
        number: usize,
        message: &Message,
    ) -> Verdict {
        if message.sends != 1 || message.is_will || said.retain {
            return Ok(());
        }
        let key = (message.publisher, said.topic.clone(), said.qos);
        let newest = self.sessions[session].newest.insert(key, number);
        if newest.is_some_and(|newest| newest > number) {
            return Err(format!("message {number} after message {newest:?}"));
        }
        self.gapless(session, said, newest.unwrap_or(0)..number, message)
    }

    /// What was surely taken before a message, and is owed, has been said before it.
    fn gapless(
        &self,
        session: usize,
        said: &Published,
        between: std::ops::Range<usize>,
        message: &Message,
    ) -> Verdict {
        if said.qos == 0 || self.sessions[session].was_blind {
            return Ok(());
        }
        for number in between {
            let earlier = &self.messages[number];
            let is_before = earlier.must_by.zip(message.may_from);
            if earlier.publisher == message.publisher
                && earlier.topic == message.topic
                && earlier.sends == 1
                && !earlier.is_will
                && is_before.is_some_and(|(by, from)| by < from)
                && self.is_owed(session, earlier)
                && !self.sessions[session].copies.contains_key(&number)
                && !self.may_have_been_full(session, earlier)
            {
                return Err(format!("message {number} never reached who gets {said:?}"));
            }
        }
        Ok(())
    }

    /// The client has taken a message as new, or refused it.
    pub(crate) fn heard(&mut self, link: usize, said: &Published, taken: Taken) -> Verdict {
        let Some(number) = self.known(said)? else {
            return Ok(());
        };
        let session = self.links[link].session.expect("accepted");
        let copies = self.sessions[session].copies.entry(number).or_default();
        copies.heard += 1;
        if said.qos == 2 && taken == Taken::New {
            copies.heard_twice += 1;
            if copies.heard_twice > copies.said_twice {
                return Err(format!("message {number} of QoS 2 more than once"));
            }
        }
        Ok(())
    }
}

pub(super) fn matches_sub(sub: &Sub, topic: &str) -> bool {
    rules::matches(rules::shared(sub.wanted.filter).1, topic)
}

pub(super) fn is_plain(sub: &Sub) -> bool {
    rules::shared(sub.wanted.filter).0.is_none()
}

/// All that matched is known: one copy, with the highest QoS and every identifier.
fn exact(said: &Published, number: usize, message: &Message, live: &[&Sub]) -> Verdict {
    let highest = live.iter().map(|sub| sub.wanted.qos).max().unwrap_or(0);
    if message.qos.min(highest) != said.qos {
        return Err(format!(
            "message {number} {message:?} with QoS {} for {live:?}",
            said.qos
        ));
    }
    let mut given: Vec<u32> = live
        .iter()
        .filter_map(|sub| sub.wanted.identifier)
        .collect();
    let mut got = said.identifiers.clone();
    given.sort_unstable();
    got.sort_unstable();
    if given != got && !got.is_empty() {
        return Err(format!("message {number} with {got:?} for {given:?}"));
    }
    Ok(())
}

/// A Message Expiry Interval is counted down, and what is over is not sent.
fn timely(
    said: &Published,
    number: usize,
    message: &Message,
    is_held: bool,
    now: Duration,
) -> Verdict {
    if message.is_will && now < message.at {
        return Err(format!("will {number} before its delay is over"));
    }
    let Some(expiry_s) = message.expiry_s else {
        return Ok(());
    };
    let whole = Duration::from_secs(u64::from(expiry_s));
    // One that came again is counted anew.
    let latest = match message.sends {
        1 => message.by.unwrap_or(now).min(now) + whole,
        _ => now + whole,
    };
    if latest <= now && !is_held {
        return Err(format!("message {number} has expired and is sent"));
    }
    let up = |left: Duration| left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let at_most = if is_held {
        whole
    } else {
        latest.saturating_sub(now)
    };
    let bounds = up((message.at + whole).saturating_sub(now))..=up(at_most);
    match said.expiry_s {
        Some(left) if !bounds.contains(&u64::from(left)) => {
            Err(format!("message {number} has {left} s left of {bounds:?}"))
        }
        _ => Ok(()),
    }
}
