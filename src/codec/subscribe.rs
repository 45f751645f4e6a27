//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5.0 sections 3.8 and 3.10).
//!
//! The list of filters is checked once when the packet is decoded and walked again when it is
//! used, so that nothing is allocated for it.

use super::error::MalformedKind;
use super::frame::Limits;
use super::property::{Place, Properties, id};
use super::reader::Reader;
use super::types::{PacketId, QoS, Version};

/// A SUBSCRIBE packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Packet Identifier.
    pub packet_id: PacketId,
    /// Subscription Identifier, 1 to 268,435,455.
    pub identifier: Option<u32>,
    list: &'a [u8],
}

/// One entry of a SUBSCRIBE packet. The syntax of the filter has not been judged: it is answered
/// for each filter by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// Topic Filter as sent.
    pub filter: &'a str,
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling: 0, 1 or 2.
    pub retain_handling: u8,
}

impl<'a> Subscribe<'a> {
    /// The entries in their order.
    pub fn filters(&self) -> impl Iterator<Item = SubscribeFilter<'a>> + use<'a> {
        let mut reader = Reader::new(self.list);
        std::iter::from_fn(move || {
            if reader.is_empty() {
                return None;
            }
            // Checked when the packet was decoded.
            entry(&mut reader).ok()
        })
    }
}

fn entry<'a>(reader: &mut Reader<'a>) -> Result<SubscribeFilter<'a>, MalformedKind> {
    let filter = reader.string()?;
    let options = reader.u8()?;
    Ok(SubscribeFilter {
        filter,
        qos: QoS::from_bits(options & 3).ok_or(MalformedKind::SubscriptionQoS)?,
        no_local: options & 0x04 != 0,
        retain_as_published: options & 0x08 != 0,
        retain_handling: (options >> 4) & 3,
    })
}

pub(crate) fn decode_subscribe<'a>(
    body: &'a [u8],
    version: Version,
    limits: &Limits,
) -> Result<Subscribe<'a>, MalformedKind> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut identifier = None;
    if version.is_v5() {
        let (mut properties, _) =
            Properties::read(&mut reader, Place::Subscribe, limits.max_user_properties)?;
        while let Some((property, value)) = properties.next()? {
            if property == id::SUBSCRIPTION_IDENTIFIER {
                identifier = Some(value.not_zero()?);
            }
        }
    }
    let list = reader.rest();
    if list.is_empty() {
        return Err(MalformedKind::NoFilter);
    }
    while !reader.is_empty() {
        reader.string()?; // [MQTT-3.8.3-1]
        check_options(reader.u8()?, version)?;
    }
    Ok(Subscribe {
        packet_id,
        identifier,
        list,
    })
}

fn check_options(options: u8, version: Version) -> Result<(), MalformedKind> {
    let reserved = if version.is_v5() { 0xC0 } else { 0xFC };
    if options & reserved != 0 {
        return Err(MalformedKind::SubscriptionOptions); // [MQTT-3.8.3-5]
    }
    // Section 3.8.3.1 makes these Protocol Errors and the reserved bits Malformed Packets.
    if options & 3 == 3 {
        return Err(MalformedKind::SubscriptionQoS);
    }
    if (options >> 4) & 3 == 3 {
        return Err(MalformedKind::RetainHandling);
    }
    Ok(())
}

/// An UNSUBSCRIBE packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Packet Identifier.
    pub packet_id: PacketId,
    list: &'a [u8],
}

impl<'a> Unsubscribe<'a> {
    /// The filters in their order.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.list);
        std::iter::from_fn(move || {
            if reader.is_empty() {
                return None;
            }
            reader.string().ok()
        })
    }
}

pub(crate) fn decode_unsubscribe<'a>(
    body: &'a [u8],
    version: Version,
    limits: &Limits,
) -> Result<Unsubscribe<'a>, MalformedKind> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    if version.is_v5() {
        let (properties, _) =
            Properties::read(&mut reader, Place::Unsubscribe, limits.max_user_properties)?;
        properties.skip()?;
    }
    let list = reader.rest();
    if list.is_empty() {
        return Err(MalformedKind::NoFilter);
    }
    while !reader.is_empty() {
        reader.string()?; // [MQTT-3.10.3-1]
    }
    Ok(Unsubscribe { packet_id, list })
}
