//! Packets as a client writes them, and what a server sends as lines that read in a test.
//!
//! Written for the tests alone and from the standard alone: nothing of the codec is used, so a
//! mistake there cannot hide itself.

use std::fmt::Write as _;

/// A packet from its first byte and its body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    out.extend(variable(body.len()));
    out.extend_from_slice(body);
    out
}

fn variable(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(value % 128).expect("below 128");
        value /= 128;
        out.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return out;
        }
    }
}

/// Text or binary data with its two-byte length.
pub(crate) fn text(value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let length = u16::try_from(value.len()).expect("short");
    [&length.to_be_bytes()[..], value].concat()
}

/// A property block with its length.
pub(crate) fn properties(block: &[u8]) -> Vec<u8> {
    [variable(block.len()), block.to_vec()].concat()
}

/// CONNECT, field by field.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) level: u8,
    pub(crate) id: String,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    /// Property block of 5.0, without its length.
    pub(crate) properties: Vec<u8>,
    pub(crate) will: Option<Will>,
}

/// A will of topic `w` and payload `gone`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Will {
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Vec<u8>,
}

impl Connect {
    /// 5.0, Clean Start, no Keep Alive.
    pub(crate) fn new(id: &str) -> Self {
        Self {
            level: 5,
            id: id.into(),
            clean: true,
            keep_alive: 0,
            properties: Vec::new(),
            will: None,
        }
    }

    pub(crate) fn level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    pub(crate) fn resume(mut self) -> Self {
        self.clean = false;
        self
    }

    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub(crate) fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    fn property(mut self, id: u8, value: &[u8]) -> Self {
        self.properties.push(id);
        self.properties.extend_from_slice(value);
        self
    }

    pub(crate) fn expiry(self, seconds: u32) -> Self {
        self.property(0x11, &seconds.to_be_bytes())
    }

    pub(crate) fn method(self, method: &str) -> Self {
        self.property(0x15, &text(method))
    }

    /// Request Response Information.
    pub(crate) fn wants_response_information(self) -> Self {
        self.property(0x19, &[1])
    }

    /// Request Problem Information 0.
    pub(crate) fn no_problem_information(self) -> Self {
        self.property(0x17, &[0])
    }

    pub(crate) fn receive_maximum(self, count: u16) -> Self {
        self.property(0x21, &count.to_be_bytes())
    }

    pub(crate) fn maximum_packet(self, bytes: u32) -> Self {
        self.property(0x27, &bytes.to_be_bytes())
    }

    pub(crate) fn alias_maximum(self, count: u16) -> Self {
        self.property(0x22, &count.to_be_bytes())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let name: &str = if self.level == 3 { "MQIsdp" } else { "MQTT" };
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        let mut body = text(name);
        body.extend([self.level, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.level == 5 {
            body.extend(properties(&self.properties));
        }
        body.extend(text(&self.id));
        if let Some(will) = &self.will {
            if self.level == 5 {
                body.extend(properties(&will.properties));
            }
            body.extend(text("w"));
            body.extend(text("gone"));
        }
        packet(0x10, &body)
    }
}

/// PUBLISH; `block` is the property block of 5.0, `None` for 3.x.
pub(crate) fn publish(
    flags: u8,
    topic: &str,
    id: Option<u16>,
    block: Option<&[u8]>,
    payload: &str,
) -> Vec<u8> {
    let mut body = text(topic);
    body.extend(id.into_iter().flat_map(u16::to_be_bytes));
    body.extend(block.map(properties).unwrap_or_default());
    body.extend_from_slice(payload.as_bytes());
    packet(0x30 | flags, &body)
}

/// An acknowledgement in its short form, or with a Reason Code of 5.0.
pub(crate) fn ack(first: u8, id: u16, reason: Option<u8>) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(reason);
    packet(first, &body)
}

pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;

/// Everything in `bytes`, one line for each packet.
pub(crate) fn lines(bytes: &[u8], v5: bool) -> Vec<String> {
    let mut reader = Reader(bytes);
    let mut lines = Vec::new();
    while !reader.0.is_empty() {
        let first = reader.u8();
        let length = reader.variable();
        let mut body = Reader(reader.take(length));
        lines.push(line(first, &mut body, v5));
    }
    lines
}

fn line(first: u8, body: &mut Reader<'_>, v5: bool) -> String {
    match first >> 4 {
        2 => connack(body, v5),
        3 => published(first, body, v5),
        4 => acked("PUBACK", body, v5),
        5 => acked("PUBREC", body, v5),
        6 => acked("PUBREL", body, v5),
        7 => acked("PUBCOMP", body, v5),
        9 => format!("SUBACK {}", codes(body, v5)),
        11 => format!("UNSUBACK {}", codes(body, v5)),
        13 => "PINGRESP".into(),
        14 => disconnect(body),
        15 => format!("AUTH 0x{:02X}{}", body.u8(), body.properties()),
        other => panic!("packet type {other} from a server"),
    }
}

fn disconnect(body: &mut Reader<'_>) -> String {
    let mut line = format!("DISCONNECT 0x{:02X}", body.u8());
    if !body.0.is_empty() {
        line.push_str(&body.properties());
    }
    line
}

fn connack(body: &mut Reader<'_>, v5: bool) -> String {
    let present = body.u8();
    let mut line = format!("CONNACK 0x{:02X}", body.u8());
    if present == 1 {
        line.push_str(" present");
    }
    if v5 {
        line.push_str(&body.properties());
    }
    line
}

fn published(first: u8, body: &mut Reader<'_>, v5: bool) -> String {
    let mut line = String::from("PUBLISH");
    for (bit, word) in [(0x08, " dup"), (0x01, " retain")] {
        if first & bit != 0 {
            line.push_str(word);
        }
    }
    let topic = body.text();
    let qos = (first >> 1) & 3;
    let _ = write!(line, " q{qos}");
    if qos > 0 {
        let _ = write!(line, " #{}", body.u16());
    }
    let _ = write!(line, " {topic:?}");
    if v5 {
        line.push_str(&body.properties());
    }
    let _ = write!(line, " {}", String::from_utf8_lossy(body.0));
    line
}

fn acked(name: &str, body: &mut Reader<'_>, v5: bool) -> String {
    let mut line = format!("{name} #{}", body.u16());
    if !body.0.is_empty() {
        assert!(v5, "3.x acknowledgements are two bytes");
        let _ = write!(line, " 0x{:02X}", body.u8());
    }
    if !body.0.is_empty() {
        line.push_str(&body.properties());
    }
    line
}

fn codes(body: &mut Reader<'_>, v5: bool) -> String {
    let mut line = format!("#{}", body.u16());
    if v5 {
        line.push_str(&body.properties());
    }
    for code in body.0 {
        let _ = write!(line, " {code:02X}");
    }
    line
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from(self.u8()) << 8 | u16::from(self.u8())
    }

    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    fn variable(&mut self) -> usize {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8();
            value |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
        }
        panic!("a length of more than four bytes");
    }

    fn text(&mut self) -> String {
        let length = usize::from(self.u16());
        String::from_utf8(self.take(length).to_vec()).expect("UTF-8")
    }

    /// Each property as ` name=value`, in the order of the packet.
    fn properties(&mut self) -> String {
        let length = self.variable();
        let mut block = Reader(self.take(length));
        let mut line = String::new();
        while !block.0.is_empty() {
            let (name, value) = match block.u8() {
                0x01 => ("utf8", block.u8().to_string()),
                0x02 => ("message-expiry", block.u32().to_string()),
                0x03 => ("content-type", block.text()),
                0x08 => ("response-topic", block.text()),
                0x09 => ("correlation", format!("{:?}", block.text())),
                0x0B => ("id", block.variable().to_string()),
                0x11 => ("session-expiry", block.u32().to_string()),
                0x12 => ("assigned", block.text()),
                0x13 => ("keep-alive", block.u16().to_string()),
                0x15 => ("method", block.text()),
                0x16 => ("data", block.text()),
                0x1A => ("response-information", block.text()),
                0x1C => ("server-reference", block.text()),
                0x1F => ("reason", format!("{:?}", block.text())),
                0x21 => ("receive-maximum", block.u16().to_string()),
                0x22 => ("alias-maximum", block.u16().to_string()),
                0x23 => ("alias", block.u16().to_string()),
                0x24 => ("maximum-qos", block.u8().to_string()),
                0x25 => ("retain-available", block.u8().to_string()),
                0x26 => ("user", format!("{}:{}", block.text(), block.text())),
                0x27 => ("maximum-packet", block.u32().to_string()),
                0x28 => ("wildcards", block.u8().to_string()),
                0x29 => ("identifiers", block.u8().to_string()),
                0x2A => ("shared", block.u8().to_string()),
                other => panic!("property 0x{other:02X} is not expected"),
            };
            let _ = write!(line, " {name}={value}");
        }
        line
    }
}
