//! Properties: one table says which there are, of what type, and in which packets.

use super::error::MalformedKind;
use super::reader::Reader;

type Result<T> = std::result::Result<T, MalformedKind>;

/// Where properties stand. The value is the bit in [`Entry::places`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Connect = 1,
    Connack = 1 << 1,
    Publish = 1 << 2,
    Will = 1 << 3,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    Ack = 1 << 4,
    Subscribe = 1 << 5,
    /// SUBACK, UNSUBACK.
    SubscribeAck = 1 << 6,
    Unsubscribe = 1 << 7,
    Disconnect = 1 << 8,
    Auth = 1 << 9,
}

impl Place {
    fn bit(self) -> u16 {
        self as u16
    }
}

const ACKS: u16 = Place::Ack as u16 | Place::SubscribeAck as u16;
const EVERYWHERE: u16 = 0x3FF;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Byte,
    U16,
    U32,
    Varint,
    Text,
    Binary,
    Pair,
}

/// The identifiers of section 2.2.2.2.
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub(crate) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(crate) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(crate) const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(crate) const RESPONSE_INFORMATION: u8 = 0x1A;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1C;
    pub(crate) const REASON_STRING: u8 = 0x1F;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

struct Entry {
    id: u8,
    kind: Type,
    places: u16,
}

const fn entry(id: u8, kind: Type, places: u16) -> Entry {
    Entry { id, kind, places }
}

const MESSAGE: u16 = Place::Publish as u16 | Place::Will as u16;
const CONNACK: u16 = Place::Connack as u16;
const CONNECT: u16 = Place::Connect as u16;
const AUTHENTICATING: u16 = CONNECT | CONNACK | Place::Auth as u16;

const TABLE: [Entry; 27] = [
    entry(id::PAYLOAD_FORMAT_INDICATOR, Type::Byte, MESSAGE),
    entry(id::MESSAGE_EXPIRY_INTERVAL, Type::U32, MESSAGE),
    entry(id::CONTENT_TYPE, Type::Text, MESSAGE),
    entry(id::RESPONSE_TOPIC, Type::Text, MESSAGE),
    entry(id::CORRELATION_DATA, Type::Binary, MESSAGE),
    entry(id::SUBSCRIPTION_IDENTIFIER, Type::Varint, Place::Publish as u16 | Place::Subscribe as u16),
    entry(id::SESSION_EXPIRY_INTERVAL, Type::U32, CONNECT | CONNACK | Place::Disconnect as u16),
    entry(id::ASSIGNED_CLIENT_IDENTIFIER, Type::Text, CONNACK),
    entry(id::SERVER_KEEP_ALIVE, Type::U16, CONNACK),
    entry(id::AUTHENTICATION_METHOD, Type::Text, AUTHENTICATING),
    entry(id::AUTHENTICATION_DATA, Type::Binary, AUTHENTICATING),
    entry(id::REQUEST_PROBLEM_INFORMATION, Type::Byte, CONNECT),
    entry(id::WILL_DELAY_INTERVAL, Type::U32, Place::Will as u16),
    entry(id::REQUEST_RESPONSE_INFORMATION, Type::Byte, CONNECT),
    entry(id::RESPONSE_INFORMATION, Type::Text, CONNACK),
    entry(id::SERVER_REFERENCE, Type::Text, CONNACK | Place::Disconnect as u16),
    entry(
        id::REASON_STRING,
        Type::Text,
        CONNACK | ACKS | Place::Disconnect as u16 | Place::Auth as u16,
    ),
    entry(id::RECEIVE_MAXIMUM, Type::U16, CONNECT | CONNACK),
    entry(id::TOPIC_ALIAS_MAXIMUM, Type::U16, CONNECT | CONNACK),
    entry(id::TOPIC_ALIAS, Type::U16, Place::Publish as u16),
    entry(id::MAXIMUM_QOS, Type::Byte, CONNACK),
    entry(id::RETAIN_AVAILABLE, Type::Byte, CONNACK),
    entry(id::USER_PROPERTY, Type::Pair, EVERYWHERE),
    entry(id::MAXIMUM_PACKET_SIZE, Type::U32, CONNECT | CONNACK),
    entry(id::WILDCARD_SUBSCRIPTION_AVAILABLE, Type::Byte, CONNACK),
    entry(id::SUBSCRIPTION_IDENTIFIER_AVAILABLE, Type::Byte, CONNACK),
    entry(id::SHARED_SUBSCRIPTION_AVAILABLE, Type::Byte, CONNACK),
];

/// Index into [`TABLE`] by identifier, or 255: a property is looked up without a search.
const INDEX: [u8; 64] = {
    let mut index = [255; 64];
    let mut at = 0;
    while at < TABLE.len() {
        #[expect(
            clippy::indexing_slicing,
            clippy::cast_possible_truncation,
            clippy::arithmetic_side_effects,
            reason = "evaluated at compile time, where a mistake does not compile"
        )]
        {
            index[TABLE[at].id as usize] = at as u8;
            at += 1;
        }
    }
    index
};

fn lookup(id: u32) -> Option<&'static Entry> {
    let index = *INDEX.get(usize::try_from(id).ok()?)?;
    TABLE.get(usize::from(index))
}

/// A property's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    /// A User Property: both halves are checked and neither is needed.
    Pair,
}

impl<'a> Value<'a> {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Number(number) => number,
            _ => 0,
        }
    }

    pub(crate) fn number16(self) -> u16 {
        u16::try_from(self.number()).unwrap_or(u16::MAX)
    }

    pub(crate) fn text(self) -> &'a str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    pub(crate) fn binary(self) -> &'a [u8] {
        match self {
            Self::Binary(bytes) => bytes,
            _ => &[],
        }
    }

    /// 0 or 1, and nothing else.
    pub(crate) fn flag(self) -> Result<bool> {
        match self.number() {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(MalformedKind::PropertyValue),
        }
    }

    /// Anything but 0.
    pub(crate) fn not_zero(self) -> Result<u32> {
        match self.number() {
            0 => Err(MalformedKind::PropertyValue),
            number => Ok(number),
        }
    }
}

/// Walks one property block: exactly as long as it says, each property allowed where it stands,
/// none twice but User Properties (and Subscription Identifiers in what a server sends).
pub(crate) struct Properties<'a> {
    reader: Reader<'a>,
    place: Place,
    seen: u64,
    users_left: usize,
    from_server: bool,
}

impl<'a> Properties<'a> {
    /// Takes the block off the front of `reader`.
    pub(crate) fn read(
        reader: &mut Reader<'a>,
        place: Place,
        max_user_properties: usize,
    ) -> Result<(Self, &'a [u8])> {
        let length = reader.varint()?;
        let block = reader.bytes(usize::try_from(length).unwrap_or(usize::MAX))?;
        Ok((Self::over(block, place, max_user_properties), block))
    }

    pub(crate) fn over(block: &'a [u8], place: Place, max_user_properties: usize) -> Self {
        Self {
            reader: Reader::new(block),
            place,
            seen: 0,
            users_left: max_user_properties,
            from_server: false,
        }
    }

    /// Reads what a server sends: Subscription Identifiers may repeat in PUBLISH.
    pub(crate) fn from_server(mut self) -> Self {
        self.from_server = true;
        self
    }

    pub(crate) fn next(&mut self) -> Result<Option<(u8, Value<'a>)>> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let wire_id = self.reader.varint()?;
        let entry = lookup(wire_id).ok_or(MalformedKind::UnknownProperty)?;
        if entry.places & self.place.bit() == 0 {
            return Err(MalformedKind::PropertyNotAllowed);
        }
        let repeats = entry.id == id::USER_PROPERTY
            || (entry.id == id::SUBSCRIPTION_IDENTIFIER
                && self.from_server
                && self.place == Place::Publish);
        let bit = 1_u64 << (entry.id & 63);
        if !repeats && self.seen & bit != 0 {
            return Err(MalformedKind::DuplicateProperty);
        }
        self.seen |= bit;
        Ok(Some((entry.id, self.value(entry.kind)?)))
    }

    fn value(&mut self, kind: Type) -> Result<Value<'a>> {
        let reader = &mut self.reader;
        Ok(match kind {
            Type::Byte => Value::Number(u32::from(reader.u8()?)),
            Type::U16 => Value::Number(u32::from(reader.u16()?)),
            Type::U32 => Value::Number(reader.u32()?),
            Type::Varint => Value::Number(reader.varint()?),
            Type::Text => Value::Text(reader.string()?),
            Type::Binary => Value::Binary(reader.binary()?),
            Type::Pair => {
                self.users_left = self
                    .users_left
                    .checked_sub(1)
                    .ok_or(MalformedKind::UserProperties)?;
                reader.string()?; // [MQTT-1.5.7-1]
                reader.string()?;
                Value::Pair
            }
        })
    }

    /// Checks a block of which only User Properties and Reason Strings are expected.
    pub(crate) fn skip(mut self) -> Result<()> {
        while self.next()?.is_some() {}
        Ok(())
    }
}

/// Properties that a receiver gets as they were sent: Payload Format Indicator, Content Type,
/// Response Topic, Correlation Data, User Properties.
fn is_forwarded(property: u8) -> bool {
    matches!(
        property,
        id::PAYLOAD_FORMAT_INDICATOR
            | id::CONTENT_TYPE
            | id::RESPONSE_TOPIC
            | id::CORRELATION_DATA
            | id::USER_PROPERTY
    )
}

/// The property block of a PUBLISH or will that was checked when it was decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardProperties<'a> {
    block: &'a [u8],
    in_will: bool,
}

impl<'a> ForwardProperties<'a> {
    pub(crate) fn new(block: &'a [u8], place: Place) -> Self {
        Self {
            block,
            in_will: place == Place::Will,
        }
    }

    /// Whether there is no property at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// Appends the properties that are forwarded, in their wire form and order [MQTT-3.3.2-17],
    /// [MQTT-3.3.2-18]. What belongs to this hop stays: alias, expiry, delay, identifiers.
    pub fn copy_forwardable(&self, out: &mut Vec<u8>) {
        let place = if self.in_will {
            Place::Will
        } else {
            Place::Publish
        };
        // The block was bounded when it was checked, so no bound is needed for walking it again.
        let mut properties = Properties::over(self.block, place, usize::MAX).from_server();
        let mut before = properties.reader.rest();
        while let Ok(Some((property, _))) = properties.next() {
            let after = properties.reader.rest();
            let used = before.len().saturating_sub(after.len());
            if is_forwarded(property)
                && let Some(bytes) = before.get(..used)
            {
                out.extend_from_slice(bytes);
            }
            before = after;
        }
    }
}
