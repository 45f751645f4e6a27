//! mosquitto's persistence file, versions 4 to 6.
//!
//! A file is fifteen bytes by which it is known, a checksum that mosquitto does not check, a version, and
//! chunks. From version 5 on a chunk begins with a structure as the C compiler laid it out: lengths in network
//! order, identifiers and times in the order of the machine, which is little-endian here. Before, each field
//! stands by itself.

use std::fmt;

const MAGIC: &[u8; 15] = b"\0\xB5\0mosquitto db";

/// A chunk that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Where its data begins, in bytes.
    pub(super) offset: usize,
    pub(super) what: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.what)
    }
}

/// A client with a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) username: Option<String>,
    /// Session Expiry Interval in seconds.
    pub(super) expiry_interval_s: u32,
    /// When it ends, in seconds since 1970; 0 if it is connected or never ends.
    pub(super) expires_at_s: i64,
}

/// A message, kept once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) id: u64,
    pub(super) source_id: String,
    pub(super) source_username: Option<String>,
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// When it expires, in seconds since 1970; 0 is never.
    pub(super) expires_at_s: i64,
    /// A property block with its length, as in a PUBLISH; empty if there is none.
    pub(super) properties: Vec<u8>,
}

/// How far a client's message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits: queued, or about to be sent for the first time.
    Queued,
    /// PUBLISH was sent; PUBACK or PUBREC is awaited.
    Sent,
    /// PUBREC came; PUBCOMP is awaited, or PUBREL is to be sent again.
    Released,
    /// It came from the client at QoS 2; PUBREL is awaited. mosquitto hands it on only then.
    Received,
}

/// A message on its way to a client or from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OnTheWay {
    pub(super) client: String,
    pub(super) message: u64,
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) stage: Stage,
    pub(super) identifier: Option<u32>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscribed {
    pub(super) client: String,
    pub(super) filter: String,
    pub(super) qos: u8,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) identifier: Option<u32>,
}

/// What is in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Database {
    pub(super) version: u32,
    pub(super) clients: Vec<Client>,
    pub(super) messages: Vec<Stored>,
    pub(super) on_the_way: Vec<OnTheWay>,
    pub(super) subscriptions: Vec<Subscribed>,
    /// Messages that are the retained ones of their topics.
    pub(super) retained: Vec<u64>,
}

const TOO_SHORT: &str = "the file ends in the middle";

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let end = self.at.checked_add(count).ok_or(TOO_SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(TOO_SHORT)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)?.try_into().map_err(|_| TOO_SHORT)
    }

    fn u8(&mut self) -> Result<u8, &'static str> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, &'static str> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        self.array().map(u32::from_be_bytes)
    }

    fn id(&mut self) -> Result<u64, &'static str> {
        self.array().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Result<i64, &'static str> {
        self.array().map(i64::from_le_bytes)
    }

    fn text(&mut self, bytes: usize) -> Result<String, &'static str> {
        let text = std::str::from_utf8(self.take(bytes)?);
        text.map(str::to_owned)
            .map_err(|_| "a text is not valid UTF-8")
    }

    /// A text with its length in front, as before version 5.
    fn string(&mut self) -> Result<String, &'static str> {
        let length = self.u16()?;
        self.text(length.into())
    }

    fn rest(&mut self) -> Vec<u8> {
        let rest = self.bytes.get(self.at..).unwrap_or_default().to_vec();
        self.at = self.bytes.len();
        rest
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The state of mosquitto's message, and its direction; `None` for one that promises nothing.
fn stage(state: u8, out: bool, qos: u8) -> Result<Option<Stage>, &'static str> {
    if qos == 0 {
        return Ok(None);
    }
    Ok(Some(match (out, state) {
        (true, 2 | 4 | 11) => Stage::Queued,
        (true, 3 | 5) => Stage::Sent,
        (true, 6 | 9) => Stage::Released,
        // PUBREC sent or to be sent, and PUBCOMP to be sent again: the identifier is taken.
        (false, 7 | 8 | 10 | 11) if qos == 2 => Stage::Received,
        (false, _) if qos == 1 => return Ok(None),
        _ => return Err("a message is in a state that mosquitto does not know"),
    }))
}

/// Reads a file.
///
/// # Errors
/// It is none of mosquitto's, or of a version that is not known, or chunks of it cannot be read.
pub(super) fn read(bytes: &[u8]) -> Result<Database, Vec<Problem>> {
    let problem = |offset, what| vec![Problem { offset, what }];
    let mut reader = Reader { bytes, at: 0 };
    if reader.take(MAGIC.len()) != Ok(MAGIC) {
        return Err(problem(0, "it is no database of mosquitto's"));
    }
    let version = reader
        .take(4)
        .and_then(|_| reader.u32())
        .map_err(|what| problem(MAGIC.len(), what))?;
    if !(4..=6).contains(&version) {
        let what = "its version is not 4, 5 or 6";
        return Err(problem(MAGIC.len() + 4, what));
    }
    let mut database = Database {
        version,
        ..Database::default()
    };
    let mut problems = Vec::new();
    while reader.at < bytes.len() {
        let from = reader.at;
        let head = if version == 4 {
            reader.u16().map(u32::from)
        } else {
            reader.u32()
        };
        let chunk = head.and_then(|kind| {
            let length = usize::try_from(reader.u32()?).map_err(|_| TOO_SHORT)?;
            Ok((kind, reader.at, reader.take(length)?))
        });
        let (kind, offset, data) = match chunk {
            Ok(chunk) => chunk,
            Err(what) => {
                problems.push(Problem { offset: from, what });
                break;
            }
        };
        if let Err(what) = database.take(kind, data) {
            problems.push(Problem { offset, what });
        }
    }
    if problems.is_empty() {
        Ok(database)
    } else {
        Err(problems)
    }
}

impl Database {
    fn take(&mut self, kind: u32, data: &[u8]) -> Result<(), &'static str> {
        let reader = &mut Reader { bytes: data, at: 0 };
        let is_old = self.version == 4;
        match kind {
            1 => self.configuration(reader)?,
            2 if is_old => self.messages.push(old_message(reader)?),
            2 => self.messages.push(message(reader)?),
            3 if is_old => self.on_the_way.extend(old_on_the_way(reader)?),
            3 => self.on_the_way.extend(on_the_way(reader)?),
            4 => {
                let id = reader.id()?;
                self.retained.push(id);
            }
            5 if is_old => self.subscriptions.push(old_subscription(reader)?),
            5 => self.subscriptions.push(subscription(reader)?),
            6 => {
                let client = self.client(reader)?;
                self.clients.push(client);
            }
            _ => return Err("a chunk is of a kind that mosquitto does not write"),
        }
        if reader.at == data.len() {
            Ok(())
        } else {
            Err("a chunk is longer than what it holds")
        }
    }

    fn configuration(&self, reader: &mut Reader<'_>) -> Result<(), &'static str> {
        let id_bytes = if self.version == 4 {
            reader.u8()?;
            let size = reader.u8()?;
            reader.id()?;
            size
        } else {
            reader.id()?;
            reader.u8()?;
            let size = reader.u8()?;
            reader.take(6)?;
            size
        };
        if id_bytes == 8 {
            Ok(())
        } else {
            Err("its identifiers do not have 8 bytes: it comes from another kind of machine")
        }
    }

    fn client(&self, reader: &mut Reader<'_>) -> Result<Client, &'static str> {
        if self.version == 4 {
            let id = reader.string()?;
            reader.u16()?;
            reader.time()?;
            return Ok(Client {
                id,
                username: None,
                expiry_interval_s: u32::MAX,
                expires_at_s: 0,
            });
        }
        let expires_at_s = reader.time()?;
        let expiry_interval_s = reader.u32()?;
        reader.u16()?;
        let id_bytes = reader.u16()?;
        let mut username_bytes = 0;
        if self.version == 6 {
            reader.u16()?;
            username_bytes = reader.u16()?;
            reader.take(4)?;
        }
        Ok(Client {
            expires_at_s,
            expiry_interval_s,
            id: reader.text(id_bytes.into())?,
            username: some(reader.text(username_bytes.into())?),
        })
    }
}

fn message(reader: &mut Reader<'_>) -> Result<Stored, &'static str> {
    let id = reader.id()?;
    let expires_at_s = reader.time()?;
    let payload_bytes = usize::try_from(reader.u32()?).map_err(|_| TOO_SHORT)?;
    reader.u16()?;
    let source_bytes = reader.u16()?;
    let username_bytes = reader.u16()?;
    let topic_bytes = reader.u16()?;
    reader.u16()?;
    let (qos, retain) = (reader.u8()?, reader.u8()?);
    Ok(Stored {
        id,
        expires_at_s,
        source_id: reader.text(source_bytes.into())?,
        source_username: some(reader.text(username_bytes.into())?),
        topic: reader.text(topic_bytes.into())?,
        payload: reader.take(payload_bytes)?.to_vec(),
        qos,
        retain: retain != 0,
        properties: reader.rest(),
    })
}

fn old_message(reader: &mut Reader<'_>) -> Result<Stored, &'static str> {
    let id = reader.id()?;
    let source_id = reader.string()?;
    let source_username = some(reader.string()?);
    reader.take(6)?;
    let topic = reader.string()?;
    let (qos, retain) = (reader.u8()?, reader.u8()? != 0);
    let payload_bytes = usize::try_from(reader.u32()?).map_err(|_| TOO_SHORT)?;
    Ok(Stored {
        id,
        source_id,
        source_username,
        topic,
        payload: reader.take(payload_bytes)?.to_vec(),
        qos,
        retain,
        expires_at_s: 0,
        properties: Vec::new(),
    })
}

fn on_the_way(reader: &mut Reader<'_>) -> Result<Option<OnTheWay>, &'static str> {
    let message = reader.id()?;
    let packet_id = reader.u16()?;
    let id_bytes = reader.u16()?;
    let (qos, state) = (reader.u8()?, reader.u8()?);
    let (retain_dup, direction) = (reader.u8()?, reader.u8()?);
    let client = reader.text(id_bytes.into())?;
    let properties = reader.rest();
    let stage = stage(state, direction == 1, qos)?;
    Ok(stage.map(|stage| OnTheWay {
        client,
        message,
        packet_id,
        qos,
        retain: retain_dup >> 4 != 0,
        stage,
        identifier: identifier(&properties),
    }))
}

/// The Subscription Identifier in a property block that holds nothing else.
fn identifier(block: &[u8]) -> Option<u32> {
    let [_, 0x0B, number @ ..] = block else {
        return None;
    };
    let mut value = 0;
    for (index, byte) in number.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(value).filter(|value| *value > 0);
        }
    }
    None
}

fn old_on_the_way(reader: &mut Reader<'_>) -> Result<Option<OnTheWay>, &'static str> {
    let client = reader.string()?;
    let message = reader.id()?;
    let packet_id = reader.u16()?;
    let (qos, retain) = (reader.u8()?, reader.u8()? != 0);
    let (direction, state) = (reader.u8()?, reader.u8()?);
    reader.u8()?;
    let stage = stage(state, direction == 1, qos)?;
    Ok(stage.map(|stage| OnTheWay {
        client,
        message,
        packet_id,
        qos,
        retain,
        stage,
        identifier: None,
    }))
}

fn subscription(reader: &mut Reader<'_>) -> Result<Subscribed, &'static str> {
    let identifier = reader.u32()?;
    let id_bytes = reader.u16()?;
    let filter_bytes = reader.u16()?;
    let (qos, options) = (reader.u8()?, reader.u8()?);
    reader.take(2)?;
    Ok(Subscribed {
        client: reader.text(id_bytes.into())?,
        filter: reader.text(filter_bytes.into())?,
        qos: qos & 3,
        no_local: options & 4 != 0,
        retain_as_published: options & 8 != 0,
        identifier: (identifier > 0).then_some(identifier),
    })
}

fn old_subscription(reader: &mut Reader<'_>) -> Result<Subscribed, &'static str> {
    Ok(Subscribed {
        client: reader.string()?,
        filter: reader.string()?,
        qos: reader.u8()? & 3,
        no_local: false,
        retain_as_published: false,
        identifier: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(version: u32, chunks: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0; 4]);
        bytes.extend(version.to_be_bytes());
        for (kind, data) in chunks {
            if version == 4 {
                let kind = u16::try_from(*kind).expect("small");
                bytes.extend(kind.to_be_bytes());
            } else {
                bytes.extend(kind.to_be_bytes());
            }
            bytes.extend(u32::try_from(data.len()).expect("small").to_be_bytes());
            bytes.extend(data);
        }
        bytes
    }

    fn text(text: &str) -> Vec<u8> {
        let length = u16::try_from(text.len()).expect("short");
        [&length.to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn version_4() -> Vec<u8> {
        let id = 7_u64.to_le_bytes();
        let message = [
            &id[..],
            &text("source"),
            &text(""),
            &[7, 91, 0, 1, 0, 2],
            &text("a/b"),
            &[1, 1],
            &[0, 0, 0, 2],
            b"hi",
        ]
        .concat();
        let way = [&text("c")[..], &id, &[0, 9], &[1, 0, 1, 3, 0]].concat();
        file(
            4,
            &[
                (1, [&[1, 8][..], &id].concat()),
                (2, message),
                (6, [&text("c")[..], &[0, 3], &[0; 8]].concat()),
                (3, way),
                (5, [&text("c")[..], &text("a/+"), &[2]].concat()),
                (4, id.to_vec()),
            ],
        )
    }

    #[test]
    fn a_file_of_version_4_is_read_field_by_field() {
        let database = read(&version_4()).expect("it is sound");
        assert_eq!(database.clients[0].id, "c");
        assert_eq!(database.clients[0].expiry_interval_s, u32::MAX);
        let message = &database.messages[0];
        assert_eq!((message.id, message.topic.as_str()), (7, "a/b"));
        assert_eq!(
            (&message.payload[..], message.qos, message.retain),
            (&b"hi"[..], 1, true)
        );
        let way = &database.on_the_way[0];
        assert_eq!((way.packet_id, way.qos, way.stage), (9, 1, Stage::Sent));
        assert_eq!(database.subscriptions[0].filter, "a/+");
        assert_eq!(database.retained, [7]);
    }

    #[test]
    fn a_client_of_version_5_has_no_name() {
        let client = [
            &5_i64.to_le_bytes()[..],
            &60_u32.to_be_bytes(),
            &[0, 1, 0, 2],
            b"id",
        ]
        .concat();
        let database = read(&file(5, &[(6, client)])).expect("it is sound");
        assert_eq!(
            database.clients,
            [Client {
                id: "id".into(),
                username: None,
                expiry_interval_s: 60,
                expires_at_s: 5
            }]
        );
    }

    #[test]
    fn what_is_none_of_mosquittos_or_newer_is_told_with_its_place() {
        let first = |bytes: &[u8]| read(bytes).expect_err("refused").remove(0).to_string();
        assert_eq!(
            first(b"SQLite format 3"),
            "at byte 0: it is no database of mosquitto's"
        );
        assert_eq!(
            first(&file(7, &[])),
            "at byte 19: its version is not 4, 5 or 6"
        );
        assert_eq!(
            first(&file(6, &[(9, vec![])])),
            "at byte 31: a chunk is of a kind that mosquitto does not write"
        );
        assert_eq!(
            first(&file(6, &[(4, vec![0; 9])])),
            "at byte 31: a chunk is longer than what it holds"
        );
    }

    #[test]
    fn a_file_that_ends_in_the_middle_is_refused() {
        let whole = version_4();
        let ends = [23, 37, 87, 107, 127, 141];
        for end in 0..whole.len() {
            let refused = read(&whole[..end]).is_err();
            assert!(refused || end >= 23, "{end}");
        }
        assert!(ends.iter().any(|end| read(&whole[..*end]).is_ok()));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_reading_them_ends(version in 4_u32..=6, rest: Vec<u8>) {
            let mut bytes = file(version, &[]);
            bytes.extend(rest);
            let _ = read(&bytes);
        }

        #[test]
        fn a_changed_byte_is_an_error_or_other_data_and_no_panic(at in 0_usize..140, to: u8) {
            let mut bytes = version_4();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            let _ = read(&bytes);
        }
    }
}
