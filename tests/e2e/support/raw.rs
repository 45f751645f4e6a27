//! A client that sends what it is told, right or wrong, and shows what comes back byte for byte.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::secrets;
use super::site::{PASSWORD, PATIENCE};

pub(crate) trait Stream: Read + Write + Send {
    fn wait_at_most(&self, time: Duration);
}

impl Stream for TcpStream {
    fn wait_at_most(&self, time: Duration) {
        self.set_read_timeout(Some(time)).expect("a timeout");
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn wait_at_most(&self, time: Duration) {
        self.sock.set_read_timeout(Some(time)).expect("a timeout");
    }
}

/// A connection and the version it speaks: 3 for MQTT 3.1, 4 for 3.1.1, 5 for 5.0.
pub(crate) struct Raw {
    stream: Box<dyn Stream>,
    version: u8,
}

/// What a CONNECT says.
#[derive(Clone)]
pub(crate) struct Hello {
    pub(crate) version: u8,
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) will: Option<Will>,
    /// The properties of CONNECT, encoded.
    pub(crate) properties: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Vec<u8>,
}

impl Will {
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: 0,
            retain: false,
            properties: Vec::new(),
        }
    }
}

impl Hello {
    /// A user of the site with its right password.
    pub(crate) fn new(version: u8, client_id: &str, user: &str) -> Self {
        Self {
            version,
            client_id: client_id.into(),
            clean: true,
            keep_alive_s: 60,
            user: Some(user.into()),
            password: Some(PASSWORD.into()),
            will: None,
            properties: Vec::new(),
        }
    }

    /// Neither a user name nor a password.
    pub(crate) fn nameless(version: u8, client_id: &str) -> Self {
        Self {
            user: None,
            password: None,
            ..Self::new(version, client_id, "")
        }
    }

    /// Without Clean Start; a 5.0 session then lives for an hour.
    pub(crate) fn kept(mut self) -> Self {
        self.clean = false;
        if self.version == 5 {
            self.properties.extend([0x11, 0, 0, 0x0E, 0x10]);
        }
        self
    }

    pub(crate) fn with_will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    pub(crate) fn with_property(mut self, bytes: &[u8]) -> Self {
        self.properties.extend_from_slice(bytes);
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_bytes(
            &mut body,
            if self.version == 3 {
                b"MQIsdp"
            } else {
                b"MQTT"
            },
        );
        body.push(self.version);
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | (will.qos << 3) | (u8::from(will.retain) << 5);
        }
        flags |= u8::from(self.user.is_some()) << 7 | u8::from(self.password.is_some()) << 6;
        body.push(flags);
        body.extend(self.keep_alive_s.to_be_bytes());
        if self.version == 5 {
            put_properties(&mut body, &self.properties);
        }
        put_bytes(&mut body, self.client_id.as_bytes());
        if let Some(will) = &self.will {
            if self.version == 5 {
                put_properties(&mut body, &will.properties);
            }
            put_bytes(&mut body, will.topic.as_bytes());
            put_bytes(&mut body, will.payload.as_bytes());
        }
        if let Some(password) = &self.password {
            secrets::used(password);
        }
        for text in [&self.user, &self.password].into_iter().flatten() {
            put_bytes(&mut body, text.as_bytes());
        }
        packet(0x10, &body)
    }
}

/// One packet as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

impl Packet {
    pub(crate) fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// Bytes on the wire, fixed header and all.
    pub(crate) fn bytes(&self) -> usize {
        packet(self.first, &self.body).len()
    }

    /// The properties behind `at` bytes of the body, in their order, as they stand there.
    pub(crate) fn properties(&self, at: usize) -> Vec<(u8, Vec<u8>)> {
        let Some(mut rest) = self.body.get(at..).filter(|rest| !rest.is_empty()) else {
            return Vec::new();
        };
        let length = take_varint(&mut rest);
        let (mut block, _) = rest.split_at(length);
        let mut properties = Vec::new();
        while let Some((&id, mut value)) = block.split_first() {
            let length = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => 1,
                0x13 | 0x21..=0x23 => 2,
                0x02 | 0x11 | 0x18 | 0x27 => 4,
                0x0B => {
                    let mut after = value;
                    take_varint(&mut after);
                    value.len() - after.len()
                }
                0x26 => {
                    let name = text_bytes(value);
                    name + text_bytes(&value[name..])
                }
                _ => text_bytes(value),
            };
            let taken;
            (taken, value) = value.split_at(length);
            properties.push((id, taken.to_vec()));
            block = value;
        }
        properties
    }

    /// The text or data of a property of CONNACK.
    pub(crate) fn said(&self, property: u8) -> Option<Vec<u8>> {
        let all = self.properties(2);
        let (_, value) = all.into_iter().find(|(id, _)| *id == property)?;
        Some(value[2..].to_vec())
    }

    /// What it says as a PUBLISH, which it must be.
    pub(crate) fn publish(&self, version: u8) -> Received {
        assert_eq!(self.kind(), 3, "not a PUBLISH: {self:02x?}");
        let body = &self.body;
        let topic_bytes = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let mut at = 2 + topic_bytes;
        let topic = String::from_utf8(body[2..at].to_vec()).expect("UTF-8");
        let qos = (self.first >> 1) & 3;
        let id = (qos > 0).then(|| {
            at += 2;
            u16::from_be_bytes([body[at - 2], body[at - 1]])
        });
        let mut properties = Vec::new();
        if version == 5 {
            let length = usize::from(body[at]);
            assert!(length < 128, "these tests use few properties");
            properties = body[at + 1..at + 1 + length].to_vec();
            at += 1 + length;
        }
        Received {
            topic,
            payload: String::from_utf8(body[at..].to_vec()).expect("UTF-8"),
            qos,
            retain: self.first & 1 == 1,
            dup: self.first & 8 == 8,
            id,
            properties,
        }
    }

    /// Takes the first packet out of what has come, if it is whole.
    pub(crate) fn take(from: &mut Vec<u8>) -> Option<Self> {
        let mut length = 0;
        for at in 1..=4 {
            let byte = *from.get(at)?;
            length |= usize::from(byte & 0x7F) << (7 * (at - 1));
            if byte & 0x80 == 0 {
                let end = at + 1 + length;
                let body = from.get(at + 1..end)?.to_vec();
                let first = from[0];
                from.drain(..end);
                return Some(Self { first, body });
            }
        }
        panic!("a length of five bytes");
    }
}

/// Text or binary data with its length.
fn text_bytes(value: &[u8]) -> usize {
    2 + usize::from(u16::from_be_bytes([value[0], value[1]]))
}

fn take_varint(rest: &mut &[u8]) -> usize {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let (&byte, after) = rest.split_first().expect("a whole length");
        *rest = after;
        value |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

/// A PUBLISH as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) id: Option<u16>,
    pub(crate) properties: Vec<u8>,
}

impl Raw {
    pub(crate) fn plain(port: u16, version: u8) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the broker accepts");
        stream.set_nodelay(true).expect("no delay");
        let raw = Self {
            stream: Box::new(stream),
            version,
        };
        raw.wait_at_most(PATIENCE);
        raw
    }

    pub(crate) fn tls(port: u16, version: u8, config: Arc<ClientConfig>) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the broker accepts");
        let name = "localhost".try_into().expect("a name");
        let tls = ClientConnection::new(config, name).expect("a TLS client");
        let raw = Self {
            stream: Box::new(StreamOwned::new(tls, stream)),
            version,
        };
        raw.wait_at_most(PATIENCE);
        raw
    }

    /// Over a stream of the test's own.
    pub(crate) fn over(stream: impl Stream + 'static, version: u8) -> Self {
        Self {
            stream: Box::new(stream),
            version,
        }
    }

    /// Connects and expects to be accepted; gives Session Present.
    pub(crate) fn hello(port: u16, hello: &Hello) -> (Self, bool) {
        let mut raw = Self::plain(port, hello.version);
        raw.send(&hello.encode());
        let connack = raw.receive();
        assert_eq!(connack.kind(), 2, "{connack:02x?}");
        assert_eq!(connack.body[1], 0, "refused: {connack:02x?}");
        let present = connack.body[0] == 1;
        (raw, present)
    }

    /// Connects and expects to be refused; gives the code.
    pub(crate) fn refused(port: u16, hello: &Hello) -> u8 {
        let mut raw = Self::plain(port, hello.version);
        raw.send(&hello.encode());
        let connack = raw.receive();
        assert_eq!(connack.kind(), 2, "{connack:02x?}");
        assert_ne!(connack.body[1], 0, "it was accepted");
        raw.expect_end();
        connack.body[1]
    }

    pub(crate) fn wait_at_most(&self, time: Duration) {
        self.stream.wait_at_most(time);
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("it can be sent");
    }

    /// The next packet, or `None` at the end of the connection.
    pub(crate) fn next(&mut self) -> Option<Packet> {
        let mut first = [0];
        match self.stream.read(&mut first) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe
                ) =>
            {
                return None;
            }
            Err(error) => panic!("nothing came: {error}"),
        }
        let mut length = 0_usize;
        for shift in [0, 7, 14, 21] {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("a whole packet");
            length |= usize::from(byte[0] & 0x7F) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a whole packet");
        Some(Packet {
            first: first[0],
            body,
        })
    }

    pub(crate) fn receive(&mut self) -> Packet {
        self.next().expect("a packet, not the end")
    }

    /// Whether nothing comes but the end, or a TLS alert.
    pub(crate) fn ends_without_a_packet(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// The connection ends without another packet.
    pub(crate) fn expect_end(&mut self) {
        if let Some(packet) = self.next() {
            panic!("the connection goes on: {packet:02x?}");
        }
    }

    /// A DISCONNECT with this code, and the end.
    pub(crate) fn expect_disconnect(&mut self, code: u8) {
        let packet = self.receive();
        assert_eq!(packet.first, 0xE0, "{packet:02x?}");
        assert_eq!(packet.body.first(), Some(&code), "{packet:02x?}");
        self.expect_end();
    }

    /// Publishes without waiting for anything.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str, qos: u8, id: u16) {
        self.publish_with(topic, payload, qos, id, false, &[]);
    }

    pub(crate) fn publish_with(
        &mut self,
        topic: &str,
        payload: &str,
        qos: u8,
        id: u16,
        retain: bool,
        properties: &[u8],
    ) {
        let packet = publish(
            self.version,
            topic,
            payload.as_bytes(),
            qos,
            id,
            retain,
            properties,
        );
        self.send(&packet);
    }

    /// Publishes at QoS 1 and gives the code of the PUBACK (0 in 3.x).
    pub(crate) fn publish_acked(&mut self, topic: &str, payload: &str, id: u16) -> u8 {
        self.publish(topic, payload, 1, id);
        let ack = self.receive();
        assert_eq!(ack.first, 0x40, "{ack:02x?}");
        assert_eq!(ack.body[..2], id.to_be_bytes());
        ack.body.get(2).copied().unwrap_or(0)
    }

    /// Subscribes and gives the codes of the SUBACK.
    pub(crate) fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        self.send(&subscribe(self.version, 7, filters, &[]));
        let suback = self.receive();
        assert_eq!(suback.first, 0x90, "{suback:02x?}");
        let skip = if self.version == 5 { 3 } else { 2 };
        suback.body[skip..].to_vec()
    }

    /// The next packet, which must be a PUBLISH. It is acknowledged as its QoS wants.
    pub(crate) fn message(&mut self) -> Received {
        let received = self.unacknowledged();
        match (received.qos, received.id) {
            (1, Some(id)) => self.send(&ack(0x40, id)),
            (2, Some(id)) => {
                self.send(&ack(0x50, id));
                let pubrel = self.receive();
                assert_eq!(pubrel.first, 0x62, "{pubrel:02x?}");
                self.send(&ack(0x70, id));
            }
            _ => {}
        }
        received
    }

    /// The next packet, which must be a PUBLISH, left without an answer.
    pub(crate) fn unacknowledged(&mut self) -> Received {
        self.receive().publish(self.version)
    }

    /// Nothing is on its way: a PINGREQ is answered before anything else.
    pub(crate) fn expect_silence(&mut self) {
        self.send(&[0xC0, 0]);
        let packet = self.receive();
        assert_eq!(packet.first, 0xD0, "{packet:02x?}");
    }

    pub(crate) fn disconnect(mut self) {
        self.send(&[0xE0, 0]);
        self.expect_end();
    }

    /// Closes the connection without DISCONNECT.
    pub(crate) fn vanish(self) {
        drop(self);
    }
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("short enough");
    out.extend(length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A property block with its length.
pub(crate) fn put_properties(out: &mut Vec<u8>, properties: &[u8]) {
    put_length(out, properties.len());
    out.extend_from_slice(properties);
}

/// A packet with its header.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    put_length(&mut out, body.len());
    out.extend_from_slice(body);
    out
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let byte = u8::try_from(length % 128).expect("seven bits");
        length /= 128;
        out.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
}

pub(crate) fn publish(
    version: u8,
    topic: &str,
    payload: &[u8],
    qos: u8,
    id: u16,
    retain: bool,
    properties: &[u8],
) -> Vec<u8> {
    let mut body = Vec::new();
    put_bytes(&mut body, topic.as_bytes());
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    if version == 5 {
        put_properties(&mut body, properties);
    }
    body.extend_from_slice(payload);
    packet(0x30 | (qos << 1) | u8::from(retain), &body)
}

pub(crate) fn subscribe(
    version: u8,
    id: u16,
    filters: &[(&str, u8)],
    properties: &[u8],
) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == 5 {
        put_properties(&mut body, properties);
    }
    for (filter, options) in filters {
        put_bytes(&mut body, filter.as_bytes());
        body.push(*options);
    }
    packet(0x82, &body)
}

pub(crate) fn ack(first: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![first, 2, high, low]
}
