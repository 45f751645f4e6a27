//! What the broker sends, read from its bytes: written from the standard alone, so that a mistake of
//! the codec cannot hide itself.

/// A PUBLISH as the client gets it, its alias resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) id: u16,
    pub(crate) topic: String,
    pub(crate) identifiers: Vec<u32>,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) payload: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Connack { present: bool, code: u8 },
    Publish(Published),
    Puback { id: u16, code: u8 },
    Pubrec { id: u16, code: u8 },
    Pubrel { id: u16 },
    Pubcomp { id: u16 },
    Suback { id: u16, codes: Vec<u8> },
    Unsuback { id: u16, codes: Vec<u8> },
    Pingresp,
    Disconnect { code: u8 },
}

/// Reads packets off a growing stream.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    rest: Vec<u8>,
    aliases: std::collections::BTreeMap<u16, String>,
}

impl Reader {
    /// The next packets and the length of each.
    pub(crate) fn read(&mut self, bytes: &[u8], v5: bool) -> Result<Vec<(usize, Packet)>, String> {
        self.rest.extend_from_slice(bytes);
        let mut packets = Vec::new();
        let mut at = 0;
        while let Some((head, length)) = frame(&self.rest[at..]) {
            let first = self.rest[at];
            let body = self.rest[at + head..at + head + length].to_vec();
            let mut fields = Fields(&body);
            let packet = packet(first, &mut fields, v5, &mut self.aliases)
                .filter(|_| fields.0.is_empty())
                .ok_or_else(|| format!("malformed packet 0x{first:02X} {body:02X?}"))?;
            at += head + length;
            packets.push((head + length, packet));
        }
        self.rest.drain(..at);
        Ok(packets)
    }
}

fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let head = index + 2;
            return (bytes.len() >= head + length).then_some((head, length));
        }
    }
    None
}

fn packet(
    first: u8,
    fields: &mut Fields<'_>,
    v5: bool,
    aliases: &mut std::collections::BTreeMap<u16, String>,
) -> Option<Packet> {
    Some(match first {
        0x20 => {
            let present = fields.u8()? == 1;
            let code = fields.u8()?;
            if v5 {
                fields.properties()?;
            }
            Packet::Connack { present, code }
        }
        _ if first >> 4 == 3 => Packet::Publish(published(first, fields, v5, aliases)?),
        0x40 => acked(fields, v5).map(|(id, code)| Packet::Puback { id, code })?,
        0x50 => acked(fields, v5).map(|(id, code)| Packet::Pubrec { id, code })?,
        0x62 => acked(fields, v5).map(|(id, _)| Packet::Pubrel { id })?,
        0x70 => acked(fields, v5).map(|(id, _)| Packet::Pubcomp { id })?,
        0x90 | 0xB0 => {
            let id = fields.u16()?;
            if v5 {
                fields.properties()?;
            }
            let codes = fields.take(fields.0.len())?.to_vec();
            if first == 0x90 {
                Packet::Suback { id, codes }
            } else {
                Packet::Unsuback { id, codes }
            }
        }
        0xD0 => Packet::Pingresp,
        0xE0 if v5 => {
            let code = if fields.0.is_empty() { 0 } else { fields.u8()? };
            if !fields.0.is_empty() {
                fields.properties()?;
            }
            Packet::Disconnect { code }
        }
        _ => return None,
    })
}

fn acked(fields: &mut Fields<'_>, v5: bool) -> Option<(u16, u8)> {
    let id = fields.u16()?;
    if fields.0.is_empty() {
        return Some((id, 0));
    }
    let code = if v5 { fields.u8()? } else { return None };
    if !fields.0.is_empty() {
        fields.properties()?;
    }
    Some((id, code))
}

fn published(
    first: u8,
    fields: &mut Fields<'_>,
    v5: bool,
    aliases: &mut std::collections::BTreeMap<u16, String>,
) -> Option<Published> {
    let qos = (first >> 1) & 3;
    let mut topic = fields.text()?;
    let id = if qos > 0 { fields.u16()? } else { 0 };
    let mut found = Properties::default();
    if v5 {
        found = fields.properties()?;
    }
    if let Some(alias) = found.alias {
        if topic.is_empty() {
            topic.clone_from(aliases.get(&alias)?);
        } else {
            aliases.insert(alias, topic.clone());
        }
    }
    let payload = String::from_utf8(fields.take(fields.0.len())?.to_vec()).ok()?;
    let valid = qos < 3 && !topic.is_empty() && (qos == 0 || id != 0);
    valid.then_some(Published {
        dup: first & 8 != 0,
        qos,
        retain: first & 1 != 0,
        id,
        topic,
        identifiers: found.identifiers,
        expiry_s: found.expiry_s,
        payload,
    })
}

#[derive(Debug, Default)]
struct Properties {
    alias: Option<u16>,
    expiry_s: Option<u32>,
    identifiers: Vec<u32>,
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from(self.u8()?) << 8 | u16::from(self.u8()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.u16()?);
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn variable(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn properties(&mut self) -> Option<Properties> {
        let length = usize::try_from(self.variable()?).ok()?;
        let mut block = Fields(self.take(length)?);
        let mut found = Properties::default();
        while !block.0.is_empty() {
            match block.u8()? {
                0x01 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => drop(block.u8()?),
                0x02 => found.expiry_s = Some(block.u32()?),
                0x03 | 0x08 | 0x09 | 0x12 | 0x1A | 0x1C | 0x1F => drop(block.text()?),
                0x0B => found.identifiers.push(block.variable()?),
                0x11 | 0x27 => drop(block.u32()?),
                0x13 | 0x21 | 0x22 => drop(block.u16()?),
                0x23 => found.alias = Some(block.u16()?),
                0x26 => drop((block.text()?, block.text()?)),
                _ => return None,
            }
        }
        Some(found)
    }
}
