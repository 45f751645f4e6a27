//! Two connections: what one client writes is written again for the other, whatever their versions.
//!
//! The publisher sends messages, spoilt ones among them, and leaves wills; the subscriber changes its
//! subscriptions, acknowledges when it likes, and comes back with other versions and limits. What it
//! is sent must be well-formed for its version, and be what it is owed: nothing lost, nothing else,
//! nothing twice, in order.

use std::collections::{HashMap, HashSet};

use portcullis::broker::{QueueLimits, RetainLimits};
use portcullis::codec::Version;
use portcullis::session::Settings;

use super::owed::{Made, Message, Owed, Taker};
use super::packets::spoil;
use super::standard::{self, Connect, Publish, Read};
use super::view::{Stage, View};
use super::world::{End, LIMITS, Link, World};
use crate::mutate::Rng;
use crate::wire::{varint, wire};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const TOPICS: [&str; 7] = ["a", "a/b", "x/b", "/", "é", "$s/a", "a/b/c/d/e/f/g"];
const FILTERS: [&str; 10] = [
    "#",
    "a/#",
    "+/b",
    "a/b",
    "+",
    "/+",
    "$s/#",
    "é",
    "$share/g/#",
    "$share/h/+/b",
];
const STEPS: usize = 80;

/// Nothing is dropped for want of room.
const QUEUE: QueueLimits = QueueLimits {
    messages: 0,
    bytes: 0,
    queue_qos0: false,
};
const RETAIN: RetainLimits = RetainLimits {
    messages: 0,
    bytes: 0,
};

pub(super) fn run(data: &[u8]) {
    Script::new(data).play();
}

struct Writer {
    link: Link,
    view: View,
    connect: Box<Connect>,
    aliases: HashMap<u32, String>,
    /// QoS 2 messages that it has not released.
    open: HashSet<u16>,
}

struct Reader {
    link: Link,
    view: View,
    taker: Taker,
}

struct Script {
    rng: Rng,
    world: World,
    writer: Option<Writer>,
    reader: Option<Reader>,
    /// The view of the reader's connection before.
    before: Option<View>,
    owed: Owed,
    /// Messages so far: each is another.
    number: u16,
}

impl Script {
    fn new(data: &[u8]) -> Self {
        let settings = Settings {
            max_inflight_messages: 5,
            max_packet_bytes: 4_096,
            topic_alias_maximum: 4,
            topic_alias_maximum_broker: 4,
            reason_strings: true,
            ..Settings::default()
        };
        Self {
            rng: Rng::choosing(data),
            world: World::new(QUEUE, RETAIN, settings),
            writer: None,
            reader: None,
            before: None,
            owed: Owed::default(),
            number: 0,
        }
    }

    fn play(mut self) {
        for _ in 0..STEPS {
            if self.rng.left() == 0 {
                break;
            }
            match (self.rng.below(16), self.reader.is_some()) {
                (0 | 1, _) => self.reader_comes(),
                (2..=4, true) => self.subscribes(),
                (5, true) => self.unsubscribes(),
                (6 | 7, true) => self.acknowledges(),
                (8, _) => {
                    let seconds = self.rng.below(40);
                    self.world.wait(u64::try_from(seconds).unwrap());
                }
                (9, _) => self.writer_goes(),
                _ => self.writes(),
            }
        }
        self.reader_comes();
        if self.reader.is_some() {
            self.settles();
        }
    }

    /// The reader comes, or comes again: its session goes on.
    fn reader_comes(&mut self) {
        if matches!(&self.reader, Some(reader) if reader.taker.maximum < usize::from(u16::MAX)) {
            // What was too large for it is forgotten, and is not to be told from what waits.
            self.settles();
        }
        let old = self.reader.take();
        let (old, mut before) = match old {
            Some(reader) if self.rng.below(2) == 0 => {
                let left = self.world.end(reader.link, &End::Left);
                self.reader_gone(reader.view, reader.taker, &left);
                (None, None)
            }
            Some(reader) => (Some(reader.link), Some((reader.view, reader.taker))),
            None => (None, None),
        };
        let (bytes, clean) = reader_connects(&mut self.rng);
        let (link, left) = self.world.connect_over(&bytes, old);
        if let Some((view, taker)) = before.take() {
            self.reader_gone(view, taker, &left);
        }
        let Some(Read::Connect(connect)) = standard::read(&bytes, None, &LIMITS) else {
            panic!("{bytes:02X?}");
        };
        let mut view = View::new(&connect, LIMITS);
        let before = self.before.take();
        if clean {
            self.owed.forget();
        } else if let Some(before) = before {
            view.resumes(&before);
        }
        let maximum = connect.properties.number(0x27).unwrap_or(u32::MAX);
        let taker = Taker {
            version: connect.version,
            maximum: usize::try_from(maximum).unwrap(),
        };
        let link = link.expect("it is let in");
        self.reader = Some(Reader { link, view, taker });
        self.reader_takes();
    }

    /// The reader's connection is over; `left` is what it was sent last.
    fn reader_gone(&mut self, mut view: View, taker: Taker, left: &[u8]) {
        for message in view.received(left) {
            self.owed.received(&message, taker, self.world.now);
        }
        self.before = Some(view);
        self.owed.cut();
    }

    /// The reader's connection has a turn, and what it is sent is looked at.
    fn reader_takes(&mut self) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        self.world.turn(&mut reader.link);
        let out = reader.link.sent();
        for message in reader.view.received(&out) {
            self.owed.received(&message, reader.taker, self.world.now);
        }
    }

    /// The reader writes something that is taken.
    fn reader_writes(&mut self, bytes: &[u8]) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        let packets = reader.view.wrote(bytes);
        let outcome = self.world.feed(&mut reader.link, bytes);
        assert_eq!(outcome, Ok(()), "{bytes:02X?}");
        for packet in &packets {
            reader.view.taken(packet);
        }
        self.reader_takes();
        if let Some(reader) = &self.reader {
            reader.view.is_answered();
        }
    }

    fn subscribes(&mut self) {
        // With its window open it is sent retained messages at once, those that are there now.
        self.settles();
        let Some(reader) = &self.reader else {
            return;
        };
        let v5 = reader.taker.version == Version::V5;
        let rng = &mut self.rng;
        let filter = *rng.pick(&FILTERS);
        let qos = u8::try_from(rng.below(3)).unwrap();
        let mut options = qos;
        let mut block = "";
        let mut identifier = None;
        if v5 {
            let choice = rng.byte();
            // Shared subscriptions have no No Local [MQTT-3.8.3-4].
            let flags = if filter.starts_with("$share") {
                0x08
            } else {
                0x0C
            };
            options |= choice & flags | ((choice >> 4) % 3) << 4;
            (block, identifier) = *rng.pick(&[
                ("()", None),
                ("(0B 05)", Some(5)),
                ("(0B 80 01)", Some(128)),
            ]);
        }
        let made = Made {
            qos,
            retain_as_published: options & 8 != 0,
            identifier,
        };
        self.owed
            .subscribed(filter, made, options >> 4, self.world.now);
        let packet = wire(&format!("82 (00 09 {block} \"{filter}\" {options:02X})"));
        self.reader_writes(&packet);
    }

    fn unsubscribes(&mut self) {
        let v5 = matches!(&self.reader, Some(reader) if reader.taker.version == Version::V5);
        let filter = *self.rng.pick(&FILTERS);
        self.owed.subscriptions.remove(filter);
        let block = if v5 { "()" } else { "" };
        self.reader_writes(&wire(&format!("A2 (00 0A {block} \"{filter}\")")));
    }

    /// The reader acknowledges one message, whichever it likes.
    fn acknowledges(&mut self) {
        let Some(reader) = &self.reader else {
            return;
        };
        let known = &reader.view.inflight;
        if known.is_empty() {
            return;
        }
        let (id, stage) = known[self.rng.below(known.len())];
        self.acknowledge(id, stage);
    }

    fn acknowledge(&mut self, id: u16, stage: Stage) {
        let v5 = matches!(&self.reader, Some(reader) if reader.taker.version == Version::V5);
        let refuses = v5 && self.rng.below(8) == 7;
        let [high, low] = id.to_be_bytes();
        let (first, code) = match stage {
            Stage::Published(1) if refuses => (0x40, "97"),
            Stage::Published(1) => (0x40, ""),
            // The exchange ends with it, and the identifier is free (section 4.9).
            Stage::Published(_) if refuses => (0x50, "97"),
            Stage::Published(_) => (0x50, ""),
            Stage::Released => (0x70, ""),
        };
        if first != 0x50 || refuses {
            self.owed.completed(id);
        }
        let packet = wire(&format!("{first:02X} ({high:02X} {low:02X} {code})"));
        self.reader_writes(&packet);
    }

    /// The reader acknowledges everything until nothing more comes.
    fn settles(&mut self) {
        while let Some(reader) = &self.reader
            && let Some(&(id, stage)) = reader.view.inflight.first()
        {
            self.acknowledge(id, stage);
        }
        if let Some(reader) = &mut self.reader {
            self.owed.settled(reader.taker, self.world.now);
            let earlier = std::mem::take(&mut reader.view.earlier);
            for &(id, stage) in &earlier {
                assert_ne!(stage, Stage::Released, "{id} was not released again");
            }
            let passed = std::mem::take(&mut reader.view.given_up);
            for id in earlier.into_iter().map(|entry| entry.0).chain(passed) {
                self.owed.stays_away(id, reader.taker, self.world.now);
            }
        }
    }

    fn writes(&mut self) {
        let Some(writer) = self.writer.take() else {
            self.writer_comes();
            return;
        };
        let version = writer.link.connection.version();
        let rng = &mut self.rng;
        let open: Vec<u16> = writer.open.iter().copied().min().into_iter().collect();
        let bytes = match (rng.below(8), open.first()) {
            (0 | 1, Some(id)) => wire(&format!("62 ({:02X} {:02X})", id >> 8, id & 0xFF)),
            (2, _) => {
                let mut packet = publish(rng, version, self.number);
                spoil(rng, &mut packet);
                packet
            }
            _ => publish(rng, version, self.number),
        };
        self.number += 1;
        self.writer_writes(writer, &bytes);
    }

    fn writer_comes(&mut self) {
        let bytes = writer_connects(&mut self.rng);
        let Some(Read::Connect(connect)) = standard::read(&bytes, None, &LIMITS) else {
            panic!("{bytes:02X?}");
        };
        self.writer = Some(Writer {
            link: self.world.connect(&bytes).expect("it is let in"),
            view: View::new(&connect, LIMITS),
            connect,
            aliases: HashMap::new(),
            open: HashSet::new(),
        });
    }

    fn writer_writes(&mut self, mut writer: Writer, bytes: &[u8]) {
        let packets = writer.view.wrote(bytes);
        let outcome = self.world.feed(&mut writer.link, bytes);
        for packet in packets.iter().take(writer.link.taken) {
            writer.view.taken(packet);
            match packet {
                Read::Publish(publish) => self.published(&mut writer, publish),
                Read::Ack(6, id, ..) => {
                    writer.open.remove(id);
                }
                _ => {}
            }
        }
        match outcome {
            Ok(()) => {
                writer.view.received(&writer.link.sent());
                self.writer = Some(writer);
            }
            Err(end) => {
                let wills = match packets.get(writer.link.taken) {
                    Some(Read::Disconnect(code, ..)) => *code != 0,
                    _ => true,
                };
                self.writer_ends(writer, &end, wills);
            }
        }
        self.reader_takes();
    }

    fn published(&mut self, writer: &mut Writer, publish: &Publish) {
        let mut topic = publish.topic.clone();
        if let Some(alias) = publish.properties.number(0x23) {
            if topic.is_empty() {
                topic.clone_from(&writer.aliases[&alias]);
            } else {
                writer.aliases.insert(alias, topic.clone());
            }
        }
        if !may_be_written(&topic) {
            return;
        }
        if publish.qos == 2 && !writer.open.insert(publish.id.expect("QoS 2")) {
            return; // [MQTT-4.3.3-10]
        }
        let now = self.world.now;
        let message = Message::of(publish, &topic, now);
        self.owed.published(&message, self.reader.is_none(), now);
    }

    fn writer_goes(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.writer_ends(writer, &End::Left, true);
            self.reader_takes();
        }
    }

    /// The writer's connection is over; its will goes if `wills`.
    fn writer_ends(&mut self, mut writer: Writer, end: &End, wills: bool) {
        let now = self.world.now;
        let left = self.world.end(writer.link, end);
        writer.view.received(&left);
        let will = writer.connect.will.filter(|_| wills);
        if let Some(will) = will {
            let message = Message::of_will(&will, now);
            self.owed.published(&message, self.reader.is_none(), now);
        }
    }
}

/// `$SYS` is the broker's own, `$CONTROL` is not served, `$share` is no topic, and topics have so many
/// levels.
fn may_be_written(topic: &str) -> bool {
    let levels: Vec<&str> = topic.split('/').collect();
    levels.len() <= 200 && !matches!(levels[0], "$SYS" | "$CONTROL" | "$share")
}

/// The CONNECT of a reader whose session goes on, and whether it begins anew. One of 3.x that begins
/// anew has a session that ends with its connection, and is not among them.
fn reader_connects(rng: &mut Rng) -> (Vec<u8>, bool) {
    match *rng.pick(&VERSIONS) {
        Version::V31 => (wire(r#"10 ("MQIsdp" 03 00 00 00 "r")"#), false),
        Version::V311 => (wire(r#"10 ("MQTT" 04 00 00 00 "r")"#), false),
        Version::V5 => {
            let (maximum, aliases) = (1 + rng.below(8), rng.below(5));
            let size = *rng.pick(&[0xFFFF, 40, 60, 100]);
            let problems = rng.below(2);
            let clean = rng.below(8) == 7;
            let bytes = wire(&format!(
                r#"10 ("MQTT" 05 {:02X} 00 00
                    (11 FF FF FF FF 21 00 {maximum:02X} 22 00 {aliases:02X} 17 {problems:02X}
                     27 00 00 {:02X} {:02X}) "r")"#,
                u8::from(clean) << 1,
                size >> 8,
                size & 0xFF
            ));
            (bytes, clean)
        }
    }
}

/// The CONNECT of a writer whose session ends with its connection, perhaps with a will.
fn writer_connects(rng: &mut Rng) -> Vec<u8> {
    let version = *rng.pick(&VERSIONS);
    let name = if version == Version::V31 {
        "MQIsdp"
    } else {
        "MQTT"
    };
    let mut flags = 0x02;
    let mut payload = wire(r#""w""#);
    if rng.below(2) == 0 {
        flags |= 0x04 | rng.below(3) << 3 | rng.below(2) << 5;
        if version == Version::V5 {
            let mut block = properties(rng);
            if rng.below(4) == 0 {
                block.extend(wire("18 00 00 00 09"));
            }
            payload.extend(varint(block.len()));
            payload.extend(block);
        }
        payload.extend(wire(&format!(r#""{}" "gone""#, rng.pick(&TOPICS[..]))));
    }
    let mut body = wire(&format!(
        r#""{name}" {:02X} {flags:02X} 00 00"#,
        version.level()
    ));
    if version == Version::V5 {
        body.extend(wire("()"));
    }
    body.extend(payload);
    [vec![0x10], varint(body.len()), body].concat()
}

/// A message that is unlike any before.
fn publish(rng: &mut Rng, version: Version, number: u16) -> Vec<u8> {
    let qos = rng.below(3);
    let first = u8::try_from(0x30 | qos << 1 | rng.below(2)).unwrap();
    let alias = rng.below(12);
    // An alias alone, which may not be set.
    let topic = if version == Version::V5 && alias == 1 {
        ""
    } else {
        *rng.pick(&TOPICS)
    };
    let mut body = wire(&format!("\"{topic}\""));
    if qos > 0 {
        body.extend([0, u8::try_from(1 + rng.below(9)).unwrap()]);
    }
    if version == Version::V5 {
        let mut block = properties(rng);
        if (1..4).contains(&alias) {
            block.extend([0x23, 0, 1]);
        }
        body.extend(varint(block.len()));
        body.extend(block);
    }
    if rng.below(6) != 5 {
        body.extend(number.to_be_bytes());
        let filling = *rng.pick(&[0, 3, 30, 120]);
        body.resize(body.len() + filling, b'.');
    }
    [vec![first], varint(body.len()), body].concat()
}

/// Properties of a message, in any order.
fn properties(rng: &mut Rng) -> Vec<u8> {
    const KNOWN: [&str; 8] = [
        "01 01",
        "01 00",
        "02 00 00 00 00",
        "02 00 00 00 14",
        r#"03 "text""#,
        r#"08 "answer/é""#,
        "09 00 02 00 FF",
        r#"26 "k" "v""#,
    ];
    let mut block = Vec::new();
    let mut used = HashSet::new();
    for _ in 0..rng.below(5) {
        let notation = *rng.pick(&KNOWN);
        let property = wire(notation);
        if property[0] == 0x26 || used.insert(property[0]) {
            block.extend(property);
        }
    }
    block
}

/// Choices.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(21);
    (0..128)
        .map(|_| (0..300).map(|_| rng.byte()).collect())
        .collect()
}
