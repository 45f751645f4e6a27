//! What is in each kind of chunk, in each format.

use crate::codec::{self, PacketId, QoS};
use crate::message::{ClientId, Identifiers, RetainHandling, Subscription};
use crate::topic::{SubscriptionFilter, TopicName};

use super::cursor::Cursor;
use super::problem::{Located, Wrong};
use super::{BaseMessage, ClientMessage, Session, Standing};

type Result<T> = std::result::Result<T, Located>;
/// Of a user.
type Name = Option<Box<str>>;

/// The highest Subscription Identifier, and the most bytes of a packet.
const MOST: u32 = 268_435_455;

const CLIENT_ID: &str = "a Client Identifier";
const USERNAME: &str = "a user name";

/// How chunks are laid out in this file.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) version: u32,
    /// Bytes at the end of a client's struct that only fill it up.
    padding: usize,
}

/// About the file.
pub(super) struct Config {
    pub(super) shutdown: bool,
    pub(super) last_store_id: u64,
}

impl Layout {
    pub(super) fn config(&mut self, body: &mut Cursor<'_>) -> Result<Config> {
        let (at, length) = (body.at(), body.left());
        self.padding = match (self.version, length) {
            (4, 10) | (5 | 6, 12) => 0,
            (5 | 6, 16) => 4,
            _ => return Err(Wrong::ConfigLength(length).at(at)),
        };
        let before = if self.version == 4 { 0 } else { body.native()? };
        let shutdown = body.flag("the mark of a shutdown")?;
        let at = body.at();
        match body.u8()? {
            8 => {}
            size => return Err(Wrong::IdSize(size).at(at)),
        }
        let last_store_id = if self.version == 4 {
            body.native()?
        } else {
            body.bytes(body.left())?;
            before
        };
        Ok(Config {
            shutdown,
            last_store_id,
        })
    }

    pub(super) fn base_message<'a>(&self, body: &mut Cursor<'a>) -> Result<BaseMessage<'a>> {
        if self.version == 4 {
            base_message_4(body)
        } else {
            base_message(body)
        }
    }

    pub(super) fn client_message(&self, body: &mut Cursor<'_>) -> Result<ClientMessage> {
        if self.version == 4 {
            client_message_4(body)
        } else {
            client_message(body)
        }
    }

    pub(super) fn subscription(&self, body: &mut Cursor<'_>) -> Result<(ClientId, Subscription)> {
        if self.version == 4 {
            let length = body.u16()?;
            let client_id = client_id(body, length)?;
            let length = body.u16()?;
            let subscription = Subscription {
                filter: filter(body, length)?,
                qos: body.qos()?,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::Send,
                identifier: None,
            };
            return Ok((client_id, subscription));
        }
        let at = body.at();
        let identifier = body.u32()?;
        if identifier > MOST {
            return Err(Wrong::Identifier(identifier).at(at));
        }
        let (id_length, filter_length) = (body.u16()?, body.u16()?);
        let qos = body.qos()?;
        let at = body.at();
        let options = body.u8()?;
        let retain_handling = match options >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Wrong::Options(options).at(at)),
        };
        if options & 3 != 0 {
            return Err(Wrong::Options(options).at(at));
        }
        body.bytes(2)?;
        let client_id = client_id(body, id_length)?;
        let subscription = Subscription {
            filter: filter(body, filter_length)?,
            qos,
            no_local: options & 4 != 0,
            retain_as_published: options & 8 != 0,
            retain_handling,
            identifier: (identifier != 0).then_some(identifier),
        };
        Ok((client_id, subscription))
    }

    /// A session; and the name of the user before it if it was written with that by mistake.
    pub(super) fn session(&self, body: &mut Cursor<'_>) -> Result<(Session, Name)> {
        if self.version == 4 {
            return Ok((session_4(body)?, None));
        }
        let expires_at = body.time()?;
        let expiry_interval_s = body.u32()?;
        let last_packet_id = body.u16()?;
        let id_length = body.u16()?;
        let (mut port, mut name_length) = (0, 0);
        if self.version == 6 {
            port = body.u16()?;
            name_length = body.u16()?;
            body.bytes(self.padding)?;
        }
        let client_id = client_id(body, id_length)?;
        let (username, carried) = username(body, name_length)?;
        let session = Session {
            client_id,
            last_packet_id,
            expires_at,
            expiry_interval_s,
            disconnected_at: None,
            username,
            username_is_sure: true,
            listener_port: (port != 0).then_some(port),
        };
        Ok((session, carried))
    }
}

/// The name of a session's user, or the one it was written with by mistake: see [`Session::username_is_sure`].
fn username(body: &mut Cursor<'_>, length: u16) -> Result<(Name, Name)> {
    let at = body.at();
    let bytes = body.bytes(usize::from(length))?;
    // No name has a NUL inside; behind one there is memory of mosquitto's.
    let (name, is_cut) = match bytes.iter().position(|&byte| byte == 0) {
        Some(end) => (bytes.get(..end).unwrap_or_default(), true),
        None => (bytes, false),
    };
    let name = std::str::from_utf8(name).map_err(|_| Wrong::Text(USERNAME).at(at))?;
    Ok(match (is_cut, name) {
        (true, name) => (None, Some(name.into())),
        (false, "") => (None, None),
        (false, name) => (Some(name.into()), None),
    })
}

fn session_4(body: &mut Cursor<'_>) -> Result<Session> {
    let length = body.u16()?;
    let client_id = client_id(body, length)?;
    let last_packet_id = body.u16()?;
    // As long as the machine's `time_t`.
    let disconnected_at = if body.left() == 4 {
        body.short_time()?
    } else {
        body.time()?
    };
    Ok(Session {
        client_id,
        last_packet_id,
        expires_at: None,
        expiry_interval_s: u32::MAX,
        disconnected_at,
        username: None,
        username_is_sure: true,
        listener_port: None,
    })
}

fn base_message<'a>(body: &mut Cursor<'a>) -> Result<BaseMessage<'a>> {
    let store_id = body.native()?;
    let expires_at = body.time()?;
    let payload_length = payload_length(body)?;
    body.u16()?; // the publisher's Packet Identifier
    let id_length = body.u16()?;
    let name_length = body.u16()?;
    let topic_length = body.u16()?;
    let port = body.u16()?;
    let qos = body.qos()?;
    let retain = body.flag("RETAIN")?;
    let source_id = body.text(id_length, CLIENT_ID)?;
    let source_username = body.text(name_length, USERNAME)?;
    let topic = topic(body, topic_length)?;
    let payload = body.bytes(payload_length)?;
    let mut properties = Vec::new();
    let at = body.at();
    let block = body.bytes(body.left())?;
    // Without any, not even their length is written.
    if !block.is_empty() {
        let (forwarded, _) =
            codec::decode_properties(block).map_err(|kind| Wrong::Properties(kind).at(at))?;
        forwarded.copy_forwardable(&mut properties);
    }
    Ok(BaseMessage {
        store_id,
        source_id: (!source_id.is_empty()).then(|| ClientId::new(source_id)),
        source_username: (!source_username.is_empty()).then(|| source_username.into()),
        source_port: (port != 0).then_some(port),
        topic,
        payload,
        properties: properties.into(),
        qos,
        retain,
        expires_at,
    })
}

fn base_message_4<'a>(body: &mut Cursor<'a>) -> Result<BaseMessage<'a>> {
    let store_id = body.native()?;
    let source_id = body.counted(CLIENT_ID)?;
    let source_username = body.counted(USERNAME)?;
    let port = body.u16()?;
    body.u16()?; // the publisher's Packet Identifier
    body.u16()?; // one that is never used
    let length = body.u16()?;
    let topic = topic(body, length)?;
    let qos = body.qos()?;
    let retain = body.flag("RETAIN")?;
    let payload_length = payload_length(body)?;
    Ok(BaseMessage {
        store_id,
        source_id: (!source_id.is_empty()).then(|| ClientId::new(source_id)),
        source_username: (!source_username.is_empty()).then(|| source_username.into()),
        source_port: (port != 0).then_some(port),
        topic,
        payload: body.bytes(payload_length)?,
        properties: Box::default(),
        qos,
        retain,
        expires_at: None,
    })
}

fn payload_length(body: &mut Cursor<'_>) -> Result<usize> {
    let at = body.at();
    let length = body.u32()?;
    match usize::try_from(length) {
        Ok(bytes) if length <= MOST => Ok(bytes),
        _ => Err(Wrong::Payload(length).at(at)),
    }
}

fn client_message(body: &mut Cursor<'_>) -> Result<ClientMessage> {
    let store_id = body.native()?;
    let packet_id = body.u16()?;
    let id_length = body.u16()?;
    let at = body.at();
    let qos = body.qos()?;
    let state = body.u8()?;
    let flags_at = body.at();
    let flags = body.u8()?;
    let is_outgoing = body.flag("the direction")?;
    // Two flags with four bits each.
    if flags & !0x11 != 0 {
        return Err(Wrong::Flag {
            field: "RETAIN and DUP",
            found: flags,
        }
        .at(flags_at));
    }
    let client_id = client_id(body, id_length)?;
    let (standing, packet_id) = standing(is_outgoing, state, qos, packet_id, at)?;
    let mut identifiers = Identifiers::new();
    let at = body.at();
    let block = body.bytes(body.left())?;
    if !block.is_empty() {
        let (_, found) =
            codec::decode_properties(block).map_err(|kind| Wrong::Properties(kind).at(at))?;
        identifiers.extend(found);
    }
    Ok(ClientMessage {
        client_id,
        store_id,
        packet_id,
        qos,
        standing,
        retain: flags & 0x10 != 0,
        dup: flags & 0x01 != 0,
        identifiers,
    })
}

fn client_message_4(body: &mut Cursor<'_>) -> Result<ClientMessage> {
    let length = body.u16()?;
    let client_id = client_id(body, length)?;
    let store_id = body.native()?;
    let packet_id = body.u16()?;
    let at = body.at();
    let qos = body.qos()?;
    let retain = body.flag("RETAIN")?;
    let is_outgoing = body.flag("the direction")?;
    let state = body.u8()?;
    let dup = body.flag("DUP")?;
    let (standing, packet_id) = standing(is_outgoing, state, qos, packet_id, at)?;
    Ok(ClientMessage {
        client_id,
        store_id,
        packet_id,
        qos,
        standing,
        retain,
        dup,
        identifiers: Identifiers::new(),
    })
}

/// What direction and state mean, and the Packet Identifier that goes with it.
fn standing(
    is_outgoing: bool,
    state: u8,
    qos: QoS,
    packet_id: u16,
    at: usize,
) -> Result<(Standing, Option<PacketId>)> {
    let standing = match (is_outgoing, state) {
        (true, 1 | 11) => Standing::Queued,
        (true, 2..=5) => Standing::Sent,
        (true, 6 | 9) => Standing::Released,
        (false, 7 | 10 | 11) => Standing::Received,
        (false, 8) => Standing::Finished,
        (is_outgoing, state) => {
            let direction = if is_outgoing { "outgoing" } else { "incoming" };
            return Err(Wrong::State { direction, state }.at(at));
        }
    };
    let expected = match (standing, state) {
        (Standing::Queued, 11) => None,
        (Standing::Queued, _) => Some((QoS::AtMostOnce, "0")),
        (Standing::Sent, 2 | 3) => Some((QoS::AtLeastOnce, "1")),
        _ => Some((QoS::ExactlyOnce, "2")),
    };
    if let Some((needed, expected)) = expected
        && needed != qos
    {
        let found = qos.bits();
        return Err(Wrong::StateQoS {
            expected,
            state,
            found,
        }
        .at(at));
    }
    let packet_id = PacketId::new(packet_id);
    if packet_id.is_none() && standing != Standing::Queued {
        return Err(Wrong::PacketId.at(at));
    }
    Ok((standing, packet_id))
}

fn client_id(body: &mut Cursor<'_>, length: u16) -> Result<ClientId> {
    let at = body.at();
    match body.text(length, CLIENT_ID)? {
        "" => Err(Wrong::Empty(CLIENT_ID).at(at)),
        text => Ok(ClientId::new(text)),
    }
}

fn topic(body: &mut Cursor<'_>, length: u16) -> Result<TopicName> {
    let at = body.at();
    let text = body.text(length, "a Topic Name")?;
    TopicName::parse(text).map_err(|error| Wrong::Topic(error).at(at))
}

fn filter(body: &mut Cursor<'_>, length: u16) -> Result<SubscriptionFilter> {
    let at = body.at();
    let text = body.text(length, "a Topic Filter")?;
    SubscriptionFilter::parse(text).map_err(|error| Wrong::Filter(error).at(at))
}
