//! Faults put between the broker and the oracle, to see that they are found.

use crate::client::Profile;
use crate::oracle::{Message, Up};
use crate::packets::{Packet, Published};
use crate::rules;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A message of QoS 1 never comes, and the broker believes that it did.
    Lose,
    /// A message of QoS 2 comes twice, as two messages.
    Repeat,
    /// Two messages of one publisher and topic change places.
    Swap,
    /// PUBACK does not reach the broker's books: the identifier stays in use.
    Leak,
    /// An identifier in use is given to another message.
    Reuse,
    /// A message goes to a client that may not read its topic.
    Unreadable,
    /// A message is routed although its publisher may not write the topic.
    Unwritable,
    /// A message goes to a client that did not subscribe to it.
    Unasked,
    /// CONNACK says that there is a session where there is none.
    Present,
    /// One of the acknowledgements of the broker goes to another packet.
    Astray,
    /// A will is published although its client is there, or said goodbye.
    Undue,
    /// One message more is in flight than may be.
    Window,
    /// A client has one subscription more than it may have.
    Quota,
    /// The store says that it has kept what it has not, and the broker is killed.
    Forget,
}

/// Puts one fault in, the first time it can.
pub(crate) struct Tampering {
    fault: Option<Fault>,
    pub(crate) done: bool,
}

/// Whose packets are tampered with.
pub(crate) struct Victim<'a> {
    pub(crate) profile: &'a Profile,
    /// Whether the client ever asked for a topic.
    pub(crate) asked: &'a dyn Fn(&str) -> bool,
    pub(crate) messages: &'a [Message],
}

impl Tampering {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        // The bounds are not the broker's to break here: the oracle is told tighter ones.
        let done = matches!(fault, Some(Fault::Window | Fault::Quota));
        Self { fault, done }
    }

    /// Whether the store is to forget what it has said to have kept.
    pub(crate) fn forgets(&self) -> bool {
        self.fault == Some(Fault::Forget) && !self.done
    }

    /// Changes what the broker has said in one turn. Gives the identifier of a message that was lost:
    /// it is to be acknowledged.
    pub(crate) fn tamper(
        &mut self,
        packets: &mut Vec<(usize, Packet)>,
        victim: &Victim<'_>,
    ) -> Option<u16> {
        let fault = self.fault.filter(|_| !self.done)?;
        let mut lost = None;
        self.done = match fault {
            Fault::Lose => {
                lost = lose(packets);
                lost.is_some()
            }
            Fault::Repeat => repeat(packets),
            Fault::Swap => swap(packets, victim.messages),
            Fault::Leak | Fault::Window | Fault::Quota | Fault::Forget => false,
            Fault::Reuse => reuse(packets),
            Fault::Unreadable => replace(packets, victim, |message| {
                is_sent(message)
                    && message.granted
                    && (victim.asked)(&message.topic)
                    && !rules::may_read(victim.profile.user, &victim.profile.name, &message.topic)
            }),
            Fault::Unwritable => replace(packets, victim, |message| {
                is_sent(message) && !message.granted && (victim.asked)(&message.topic)
            }),
            Fault::Unasked => replace(packets, victim, |message| {
                is_sent(message)
                    && message.granted
                    && !(victim.asked)(&message.topic)
                    && rules::may_read(victim.profile.user, &victim.profile.name, &message.topic)
            }),
            Fault::Undue => replace(packets, victim, |message| {
                message.is_will && !is_sent(message) && (victim.asked)(&message.topic)
            }),
            Fault::Present => packets.iter_mut().any(|(_, packet)| match packet {
                Packet::Connack { present, code: 0 } if victim.profile.version != 3 => {
                    !std::mem::replace(present, true)
                }
                _ => false,
            }),
            Fault::Astray => packets.iter_mut().any(|(_, packet)| match packet {
                Packet::Puback { id, .. } | Packet::Pubrec { id, .. } => {
                    *id ^= 0x4000;
                    true
                }
                _ => false,
            }),
        };
        lost
    }

    /// Whether an acknowledgement gets lost although the client believes that it was sent.
    pub(crate) fn swallow(&mut self, up: &Up) -> bool {
        let leaks = self.fault == Some(Fault::Leak) && !self.done;
        let is_it = leaks && matches!(up, Up::Ack { first: 0x40, .. });
        self.done |= is_it;
        is_it
    }
}

/// The place of the first PUBLISH from `from` on that is new, numbered, and of one of these QoS.
fn new(packets: &[(usize, Packet)], from: usize, qos: &[u8]) -> Option<usize> {
    let is_it = |said: &Published| {
        !said.dup && !said.retain && !said.payload.is_empty() && qos.contains(&said.qos)
    };
    let mut rest = packets.iter().enumerate().skip(from);
    rest.find_map(|(place, (_, packet))| match packet {
        Packet::Publish(said) if is_it(said) => Some(place),
        _ => None,
    })
}

fn published(packets: &mut [(usize, Packet)], place: usize) -> Option<&mut Published> {
    match packets.get_mut(place) {
        Some((_, Packet::Publish(said))) => Some(said),
        _ => None,
    }
}

fn lose(packets: &mut Vec<(usize, Packet)>) -> Option<u16> {
    let place = new(packets, 0, &[1])?;
    let id = published(packets, place)?.id;
    let (length, _) = packets.remove(place);
    if let Some((before, _)) = packets.get_mut(place) {
        *before += length;
    }
    Some(id)
}

fn repeat(packets: &mut Vec<(usize, Packet)>) -> bool {
    let Some(place) = new(packets, 0, &[2]) else {
        return false;
    };
    let mut again = packets[place].clone();
    again.0 = 0;
    if let Packet::Publish(said) = &mut again.1 {
        said.id ^= 0x4000;
    }
    packets.insert(place + 1, again);
    true
}

fn swap(packets: &mut [(usize, Packet)], messages: &[Message]) -> bool {
    let publisher = |said: &Published| {
        let number = said.payload.split(':').next()?.parse::<usize>().ok()?;
        let message = &messages[number];
        (message.sends == 1 && !message.is_will).then_some((number, message.publisher))
    };
    let Some(first) = new(packets, 0, &[1, 2]) else {
        return false;
    };
    let mut second = first;
    while let Some(place) = new(packets, second + 1, &[1, 2]) {
        second = place;
        let (Packet::Publish(one), Packet::Publish(two)) = (&packets[first].1, &packets[second].1)
        else {
            return false;
        };
        let alike = one.topic == two.topic && one.qos == two.qos;
        if alike
            && let (Some(one), Some(two)) = (publisher(one), publisher(two))
            && one.1 == two.1
            && one.0 != two.0
        {
            packets.swap(first, second);
            return true;
        }
    }
    false
}

fn reuse(packets: &mut [(usize, Packet)]) -> bool {
    let Some(first) = new(packets, 0, &[1, 2]) else {
        return false;
    };
    let Some(second) = new(packets, first + 1, &[1, 2]) else {
        return false;
    };
    let id = published(packets, first).map_or(0, |said| said.id);
    if let Some(said) = published(packets, second) {
        said.id = id;
    }
    true
}

fn is_sent(message: &Message) -> bool {
    message.may_from.is_some()
}

/// Another message in the place of the one that was to come.
fn replace(
    packets: &mut [(usize, Packet)],
    victim: &Victim<'_>,
    fits: impl Fn(&Message) -> bool,
) -> bool {
    let Some(place) = new(packets, 0, &[0, 1, 2]) else {
        return false;
    };
    let mut sent = victim.messages.iter();
    let sent = sent.find(|message| fits(message));
    match (sent, published(packets, place)) {
        (Some(message), Some(said)) => {
            said.topic.clone_from(&message.topic);
            said.payload.clone_from(&message.payload);
            true
        }
        _ => false,
    }
}
