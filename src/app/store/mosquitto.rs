//! Reads the persistence file of mosquitto (`mosquitto.db`), formats 4, 5 and 6.
//!
//! It turns bytes into plain data and decides nothing: what has expired, whose a session is and what the store
//! is told is up to whoever calls [`read`]. It holds no more than the file does, and never half of a file: one
//! problem refuses all of it.
//!
//! # The format
//!
//! Fifteen bytes of magic, four of a checksum that nobody computes, four with the number of the format; then
//! chunks, each with its kind and the length of what follows. There is no end mark: a file that was cut between
//! two chunks looks whole. mosquitto writes beside the file and renames, so that does not happen by itself.
//!
//! Format 4 (1.5.6 to 1.5.x) has chunk headers of 2 + 4 bytes and fields one after the other, texts with two
//! bytes of length before them. Formats 5 (1.6) and 6 (2.0 and later) have headers of 4 + 4 bytes and write C
//! structs as they stand in memory, then the texts whose lengths the struct has. What mosquitto swaps is in
//! network order: kinds, lengths, ports, Packet Identifiers, intervals. What it does not swap is in the order of
//! the machine: numbers of messages, and times, which are seconds since 1970. Numbers of messages are only
//! compared, so their order does not matter; a time in the wrong order is far beyond any that is plausible, and
//! refused. Padding is that of the machine too: a struct with an eight-byte field is filled up to a multiple of
//! eight, or of four on a 32-bit x86, which shows in the length of the configuration chunk.
//!
//! # What a message of a client means here
//!
//! | direction | mosquitto's state | [`Standing`] | here |
//! | --- | --- | --- | --- |
//! | out | 11 queued | `Queued` | `Stage::Queued`; it may have an identifier, which was not sent yet |
//! | out | 1 publish QoS 0 | `Queued` | the store keeps none of QoS 0 |
//! | out | 2, 4 publish QoS 1, 2 | `Sent` | `Stage::Sent`: sent before it was set back, or about to be. Sending it again with its identifier is right in both cases, a new one would be a second delivery in one |
//! | out | 3 wait for PUBACK, 5 wait for PUBREC | `Sent` | `Stage::Sent` |
//! | out | 6 resend PUBREL, 9 wait for PUBCOMP | `Released` | `Stage::Released` |
//! | in | 7 wait for PUBREL, 10 send PUBREC, 11 queued | `Received` | `Record::Received`, and the message is routed by the import: mosquitto gives a QoS 2 message to its subscribers only when PUBREL has come |
//! | in | 8 resend PUBCOMP | `Finished` | nothing: PUBREL has come, and one that is repeated is answered without a state |
//!
//! # What mosquitto does not write
//!
//! 2.0.11 writes no shared subscription, though it keeps what waits for one. The formats have no wills. Format 4
//! has neither properties nor expiry, nor the name of a session's user.

mod chunks;
mod cursor;
mod problem;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::codec::{PacketId, QoS};
use crate::message::{ClientId, Identifiers, Subscription};
use crate::topic::TopicName;

use chunks::Layout;
use cursor::Cursor;
pub(crate) use problem::{Chunk, Problem, Wrong};

/// What a file begins with.
const MAGIC: &[u8; 15] = b"\0\xB5\0mosquitto db";
/// A file that is wrong in more places than these is not told of further.
const MOST_PROBLEMS: usize = 64;

/// What is in a file, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Imported<'a> {
    /// The format: 4, 5 or 6.
    pub(crate) version: u32,
    /// Whether it was written when mosquitto ended, and not while it ran.
    pub(crate) shutdown: bool,
    /// The last number given to a message.
    pub(crate) last_store_id: u64,
    /// Sessions.
    pub(crate) sessions: Vec<Session>,
    /// Messages, each once.
    pub(crate) messages: Vec<BaseMessage<'a>>,
    /// What waits for sessions or came from them and is not finished, in the order of each session's queues:
    /// received before outgoing, and of the outgoing those in flight before those that wait.
    pub(crate) client_messages: Vec<ClientMessage>,
    /// Subscriptions. A bridge may have some without a session.
    pub(crate) subscriptions: Vec<(ClientId, Subscription)>,
    /// Numbers of messages that are retained.
    pub(crate) retained: Vec<u64>,
}

/// A session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Its Client Identifier.
    pub(crate) client_id: ClientId,
    /// The Packet Identifier that was given last; 0 if none was.
    pub(crate) last_packet_id: u16,
    /// When it ends, in seconds since 1970. `None` if it never does, or if its client was connected when
    /// mosquitto 2.0 wrote the file: then its interval has not begun.
    pub(crate) expires_at: Option<u64>,
    /// Session Expiry Interval; `u32::MAX` is never, and so is format 4 where there is none. One of 0 was to end
    /// with the connection.
    pub(crate) expiry_interval_s: u32,
    /// Since when it was away, in seconds since 1970; only in format 4, which tells the time of writing if the
    /// client was connected.
    pub(crate) disconnected_at: Option<u64>,
    /// Whose it is; only in format 6.
    pub(crate) username: Option<Box<str>>,
    /// Whether `username` can be relied on. mosquitto 2.0 forgets to clear the length of the name between two
    /// sessions. The first anonymous session after one with a name is written with that name, its length's bytes
    /// swapped and memory behind it; a NUL inside gives that away, and its name is `None` here. The one after has
    /// the length right again, and if it has the same name it may be that user's, or nobody's: that is `false`.
    pub(crate) username_is_sure: bool,
    /// Port of the listener it came by; only in format 6. mosquitto 2.0 may write one of another session.
    pub(crate) listener_port: Option<u16>,
}

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BaseMessage<'a> {
    /// Its number, by which the others name it.
    pub(crate) store_id: u64,
    /// Client Identifier of its publisher; `None` if mosquitto made it itself.
    pub(crate) source_id: Option<ClientId>,
    /// User name of its publisher.
    pub(crate) source_username: Option<Box<str>>,
    /// Port of the listener its publisher came by.
    pub(crate) source_port: Option<u16>,
    /// Where it was published.
    pub(crate) topic: TopicName,
    /// The Application Message.
    pub(crate) payload: &'a [u8],
    /// Properties that are forwarded, in wire form, as `Message` has them.
    pub(crate) properties: Box<[u8]>,
    /// The QoS it was published with.
    pub(crate) qos: QoS,
    /// Whether RETAIN was set. That alone does not make it a retained message: another may have come since.
    pub(crate) retain: bool,
    /// When its Message Expiry Interval is over, in seconds since 1970.
    pub(crate) expires_at: Option<u64>,
}

/// A message on its way to a session or from it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientMessage {
    /// The session.
    pub(crate) client_id: ClientId,
    /// Number of the message, which is among [`Imported::messages`].
    pub(crate) store_id: u64,
    /// Its Packet Identifier. There is one for all that is sent, released or received.
    pub(crate) packet_id: Option<PacketId>,
    /// The QoS it is delivered with.
    pub(crate) qos: QoS,
    /// How far it has come.
    pub(crate) standing: Standing,
    /// The RETAIN flag it is delivered with.
    pub(crate) retain: bool,
    /// DUP.
    pub(crate) dup: bool,
    /// Subscription Identifiers it is delivered with.
    pub(crate) identifiers: Identifiers,
}

/// How far a message of a client has come: direction and state, as the table above has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Outgoing, not sent yet.
    Queued,
    /// Outgoing and sent: PUBACK or PUBREC is awaited.
    Sent,
    /// Outgoing: PUBREC has come, PUBCOMP is awaited.
    Released,
    /// Incoming QoS 2: PUBREL is awaited, and nobody was given the message.
    Received,
    /// Incoming QoS 2: PUBREL has come, PUBCOMP may not have been sent.
    Finished,
}

/// Reads a whole file.
///
/// # Errors
/// All that is wrong, in the order of the file, unless it is very much. Kinds of chunks that are not known are
/// refused and not skipped: what stands in them would be lost.
pub(crate) fn read(bytes: &[u8]) -> Result<Imported<'_>, Vec<Problem>> {
    let mut reading = Reading {
        layout: Layout::default(),
        imported: Imported {
            version: 0,
            shutdown: false,
            last_store_id: 0,
            sessions: Vec::new(),
            messages: Vec::new(),
            client_messages: Vec::new(),
            subscriptions: Vec::new(),
            retained: Vec::new(),
        },
        known: HashSet::new(),
        carried: None,
        problems: Vec::new(),
    };
    let mut file = Cursor::new(bytes);
    if let Err(problem) = reading.file(&mut file) {
        reading.problems.push(problem);
    }
    if reading.problems.is_empty() {
        Ok(reading.imported)
    } else {
        Err(reading.problems)
    }
}

/// What was read so far.
struct Reading<'a> {
    layout: Layout,
    imported: Imported<'a>,
    /// Numbers of the messages.
    known: HashSet<u64>,
    /// The name of a user that the session after this one may have by mistake.
    carried: Option<Box<str>>,
    problems: Vec<Problem>,
}

impl<'a> Reading<'a> {
    /// Reads until the end or until nothing can be said about what follows.
    fn file(&mut self, file: &mut Cursor<'a>) -> Result<(), Problem> {
        self.start(file).map_err(|wrong| wrong.in_chunk(None))?;
        let mut is_first = true;
        while !file.is_empty() {
            let (chunk, mut body) = self.header(file)?;
            let at = body.at();
            let is_config = chunk == Chunk::Config;
            let read = if is_config == is_first {
                self.chunk(chunk, &mut body)
            } else {
                Err(Wrong::Config.at(at))
            };
            if let Err(wrong) = read.and_then(|()| body.finish()) {
                self.problems.push(wrong.in_chunk(Some(chunk)));
                // Without the first chunk it is not known how the others are laid out.
                if is_first || self.problems.len() >= MOST_PROBLEMS {
                    return Ok(());
                }
            }
            is_first = false;
        }
        if is_first {
            return Err(Wrong::Config.at(file.at()).in_chunk(None));
        }
        Ok(())
    }

    fn start(&mut self, file: &mut Cursor<'a>) -> Result<(), problem::Located> {
        match file.bytes(MAGIC.len()) {
            Ok(magic) if magic == MAGIC => {}
            _ => return Err(Wrong::Magic.at(0)),
        }
        file.bytes(4)?;
        let at = file.at();
        let version = file.u32()?;
        match version {
            4..=6 => {}
            0..4 => return Err(Wrong::Older(version).at(at)),
            _ => return Err(Wrong::Newer(version).at(at)),
        }
        self.imported.version = version;
        self.layout.version = version;
        Ok(())
    }

    /// The kind of the next chunk, and what is in it.
    fn header(&self, file: &mut Cursor<'a>) -> Result<(Chunk, Cursor<'a>), Problem> {
        let at = file.at();
        let header = |file: &mut Cursor<'a>| {
            let kind = if self.layout.version == 4 {
                u32::from(file.u16()?)
            } else {
                file.u32()?
            };
            Ok((kind, file.u32()?))
        };
        let (kind, length) =
            header(file).map_err(|wrong: problem::Located| wrong.in_chunk(None))?;
        let chunk = Chunk::of(kind).ok_or_else(|| Wrong::Kind(kind).at(at).in_chunk(None))?;
        let body = file
            .part(usize::try_from(length).unwrap_or(usize::MAX))
            .map_err(|wrong| wrong.in_chunk(Some(chunk)))?;
        Ok((chunk, body))
    }

    fn chunk(&mut self, chunk: Chunk, body: &mut Cursor<'a>) -> Result<(), problem::Located> {
        let at = body.at();
        match chunk {
            Chunk::Config => {
                let config = self.layout.config(body)?;
                self.imported.shutdown = config.shutdown;
                self.imported.last_store_id = config.last_store_id;
            }
            Chunk::BaseMessage => {
                let message = self.layout.base_message(body)?;
                if !self.known.insert(message.store_id) {
                    return Err(Wrong::Twice(message.store_id).at(at));
                }
                self.imported.messages.push(message);
            }
            Chunk::ClientMessage => {
                let message = self.layout.client_message(body)?;
                self.must_know(message.store_id, at)?;
                self.imported.client_messages.push(message);
            }
            Chunk::Retained => {
                let store_id = body.native()?;
                self.must_know(store_id, at)?;
                self.imported.retained.push(store_id);
            }
            Chunk::Subscription => {
                let subscription = self.layout.subscription(body)?;
                self.imported.subscriptions.push(subscription);
            }
            Chunk::Client => {
                let (mut session, carried) = self.layout.session(body)?;
                let before = std::mem::replace(&mut self.carried, carried);
                session.username_is_sure = before.is_none() || before != session.username;
                self.imported.sessions.push(session);
            }
        }
        Ok(())
    }

    /// mosquitto writes all messages before it names one.
    fn must_know(&self, store_id: u64, at: usize) -> Result<(), problem::Located> {
        if self.known.contains(&store_id) {
            Ok(())
        } else {
            Err(Wrong::NoMessage(store_id).at(at))
        }
    }
}
