//! A whole connection: bytes in, virtual time, a real broker behind it.
//!
//! The input is a script: bytes as they are, packets made and spoilt, pieces of packets, messages of
//! others, acknowledgements that fit, time, and connections that break and come back. A view of the
//! connection made by another reader judges everything that is sent; what is sent and what is kept
//! stays within bounds made from what came in.

use std::collections::HashMap;

use allocation_counter::measure;
use portcullis::broker::{QueueLimits, RetainLimits};
use portcullis::codec::{QoS, Version};
use portcullis::session::Settings;

use super::codec::corpus;
use super::packets::spoil;
use super::standard::{self, Read};
use super::view::{Stage, View};
use super::world::{End, LIMITS, Link, World};
use crate::generate;
use crate::mutate::Rng;
use crate::wire::wire;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const TOPICS: [&str; 6] = ["a", "a/b", "x", "$s/a", "é/x", "a//b"];

const QUEUE: QueueLimits = QueueLimits {
    messages: 16,
    bytes: 16_384,
    queue_qos0: false,
};
const RETAIN: RetainLimits = RetainLimits {
    messages: 8,
    bytes: 8_192,
};
const INFLIGHT: u16 = 6;
const STEPS: usize = 60;
/// A broker with nobody in it.
const EMPTY_BYTES: u64 = 1 << 20;

fn settings() -> Settings {
    Settings {
        max_inflight_messages: INFLIGHT,
        max_packet_bytes: 4_096,
        topic_alias_maximum: 4,
        topic_alias_maximum_broker: 4,
        reason_strings: true,
        max_session_expiry_s: 10_000,
        ..Settings::default()
    }
}

pub(super) fn run(data: &[u8]) {
    let kept = measure(|| Script::new(data).play());
    // Everything there was at one time: the broker, its queues at their bounds, and a copy or two of
    // what the client wrote.
    let most = EMPTY_BYTES + 64 * data.len() as u64;
    assert!(
        kept.bytes_max < most,
        "{} bytes for {}",
        kept.bytes_max,
        data.len()
    );
}

/// A connection and the view of it.
struct Side {
    link: Link,
    view: View,
    /// Bytes that it may be sent, and that it was.
    allowed: usize,
    sent: usize,
}

impl Side {
    /// The most bytes that the copies of one message of `bytes` may have.
    fn copies(&self, bytes: usize) -> usize {
        let made = self.link.connection.session().subscriptions.len();
        // One, and one for each shared subscription; each with all Subscription Identifiers.
        (1 + made) * (bytes + 64 + 6 * made)
    }

    /// Looks at what was sent.
    fn look(&mut self) {
        let out = self.link.sent();
        self.sent += out.len();
        assert!(
            self.sent <= self.allowed,
            "{} of {}",
            self.sent,
            self.allowed
        );
        self.view.received(&out);
    }
}

struct Script {
    rng: Rng,
    world: World,
    side: Option<Side>,
    /// By Client Identifier: what the last connection left unacknowledged, and might have been sent.
    before: HashMap<String, (View, usize)>,
}

impl Script {
    fn new(data: &[u8]) -> Self {
        Self {
            rng: Rng::choosing(data),
            world: World::new(QUEUE, RETAIN, settings()),
            side: None,
            before: HashMap::new(),
        }
    }

    fn play(mut self) {
        for _ in 0..STEPS {
            if self.rng.left() == 0 {
                break;
            }
            match self.side.take() {
                None => self.connect(),
                Some(side) => self.side = self.step(side),
            }
        }
        if let Some(side) = self.side.take() {
            self.over(side, &End::Left);
        }
        // Sessions end, whatever they were.
        self.world.wait(20_000);
        let counts = self.world.broker.counts();
        assert_eq!((counts.sessions, counts.connected), (0, 0));
        assert_eq!(counts.subscriptions, 0);
        assert_eq!(self.world.broker.queued(), (0, 0));
    }

    fn connect(&mut self) {
        let rng = &mut self.rng;
        let bytes = match rng.below(6) {
            0 => raw(rng),
            1 => {
                let version = *rng.pick(&VERSIONS);
                let mut packet = generate::connect(rng, version);
                spoil(rng, &mut packet);
                packet
            }
            2 => {
                let version = *rng.pick(&VERSIONS);
                generate::connect(rng, version)
            }
            choice => plain(rng, choice),
        };
        let read = match standard::read(&bytes, None, &LIMITS) {
            Some(Read::Connect(read)) => Some(read),
            _ => None,
        };
        let answer = self.world.connect(&bytes);
        match (read, answer) {
            (None, Ok(_)) => panic!("accepted {bytes:02X?}"),
            (None, Err(answer)) => assert!(answer.len() <= 5, "{answer:02X?}"),
            (Some(read), Err(answer)) => {
                let mut view = View::new(&read, LIMITS);
                view.received(&answer);
                assert!(view.is_over() || answer.is_empty());
            }
            (Some(read), Ok(link)) => {
                let mut view = View::new(&read, LIMITS);
                let mut allowed = 1_024 + LIMITS.max_packet_bytes;
                let before = self.before.remove(link.session.client_id.as_str());
                if let Some((before, sent)) = before
                    && link.connection.session().inflight() > 0
                {
                    view.resumes(&before);
                    allowed += sent;
                }
                let mut side = Side {
                    link,
                    view,
                    allowed: allowed + QUEUE.bytes + LIMITS.max_packet_bytes,
                    sent: 0,
                };
                self.world.turn(&mut side.link);
                side.look();
                self.side = Some(side);
            }
        }
    }

    fn step(&mut self, mut side: Side) -> Option<Side> {
        let rng = &mut self.rng;
        let version = side.link.connection.version();
        let bytes = match rng.below(12) {
            0 | 1 => raw(rng),
            2..=4 => generate::packet(rng, version),
            5 => {
                let mut packet = generate::packet(rng, version);
                spoil(rng, &mut packet);
                packet
            }
            6 | 7 => useful(rng, version),
            8 => acknowledge(rng, &side.view),
            9 => {
                let (topic, retain) = (*rng.pick(&TOPICS), rng.below(4) == 0);
                let qos = QoS::from_bits(u8::try_from(rng.below(3)).unwrap()).unwrap();
                let payload = vec![b'p'; usize::from(rng.byte())];
                self.world
                    .publish_from_elsewhere(topic, &payload, qos, retain);
                side.allowed += side.copies(payload.len() + 16);
                Vec::new()
            }
            10 => {
                let seconds = 1 << rng.below(12);
                self.world.wait(seconds);
                if side.link.connection.is_silent(self.world.now) {
                    let end = End::Broke(portcullis::codec::ReasonCode::KEEP_ALIVE_TIMEOUT);
                    self.over(side, &end);
                    return None;
                }
                Vec::new()
            }
            _ => {
                self.over(side, &End::Left);
                return None;
            }
        };
        self.feed(side, &bytes)
    }

    fn feed(&mut self, mut side: Side, bytes: &[u8]) -> Option<Side> {
        let packets = side.view.wrote(bytes);
        let made = side.link.connection.session().subscriptions.len();
        let mut filters = 0;
        for packet in &packets {
            filters += match packet {
                Read::Subscribe(_, _, filters) => filters.len(),
                _ => 0,
            };
        }
        let made = (made + filters).min(self.world.max_subscriptions);
        for packet in &packets {
            side.allowed += 128;
            match packet {
                Read::Publish(publish) => {
                    // With an alias the name may be as long as any.
                    let bytes = publish.payload.len() + LIMITS.max_packet_bytes;
                    side.allowed += (1 + made) * (bytes + 64 + 6 * made);
                }
                Read::Subscribe(_, _, filters) => {
                    let retained = RETAIN.bytes + RETAIN.messages * 64;
                    side.allowed += filters.len() * (1 + retained);
                }
                Read::Unsubscribe(_, filters) => side.allowed += filters.len(),
                Read::Auth(_, method, data) => {
                    side.allowed += method.len() + data.as_ref().map_or(0, Vec::len);
                }
                _ => {}
            }
        }
        let outcome = self.world.feed(&mut side.link, bytes);
        for packet in packets.iter().take(side.link.taken) {
            side.view.taken(packet);
        }
        match outcome {
            Ok(()) => {
                assert_eq!(side.link.taken, packets.len());
                assert!(!side.view.broken, "{bytes:02X?} is taken");
                side.look();
                let state = side.link.connection.session();
                assert!(state.inflight() <= usize::from(INFLIGHT));
                assert!(state.subscriptions.len() <= self.world.max_subscriptions);
                let (held, _) = side.link.connection.held();
                assert!(
                    held <= QUEUE.messages + (1 + made) * (1 + packets.len()),
                    "{held}"
                );
                side.view.is_answered();
                Some(side)
            }
            Err(end) => {
                self.over(side, &end);
                None
            }
        }
    }

    fn over(&mut self, side: Side, end: &End) {
        let Side {
            link,
            mut view,
            allowed,
            ..
        } = side;
        let v5 = link.connection.version() == Version::V5;
        let client_id = link.session.client_id.as_str().to_owned();
        view.received(&self.world.end(link, end));
        let told = v5 && matches!(end, End::Broke(_));
        assert_eq!(view.is_over(), told, "{end:?}");
        self.before.insert(client_id, (view, allowed));
    }
}

/// Bytes as they are.
fn raw(rng: &mut Rng) -> Vec<u8> {
    let length = usize::from(rng.byte());
    (0..length.min(rng.left())).map(|_| rng.byte()).collect()
}

/// The CONNECT of a client whose session is kept.
fn plain(rng: &mut Rng, choice: usize) -> Vec<u8> {
    let keep_alive = ["00 00", "00 3C"][rng.below(2)];
    let notation = match choice {
        3 => format!(r#"10 ("MQIsdp" 03 00 {keep_alive} "c")"#),
        4 => format!(r#"10 ("MQTT" 04 00 {keep_alive} "c")"#),
        _ => {
            let (maximum, aliases) = (1 + rng.below(8), rng.below(6));
            let size = 20 + rng.below(200);
            let problems = rng.below(2);
            format!(
                r#"10 ("MQTT" 05 00 {keep_alive}
                    (11 00 00 00 FF 21 00 {maximum:02X} 22 00 {aliases:02X} 27 00 00 00 {size:02X} 17 {problems:02X})
                    "c")"#
            )
        }
    };
    wire(&notation)
}

/// Packets that make something happen.
fn useful(rng: &mut Rng, version: Version) -> Vec<u8> {
    let v5 = version == Version::V5;
    let block = if v5 { "()" } else { "" };
    let topic = *rng.pick(&TOPICS);
    let qos = rng.below(3);
    let notation = match rng.below(5) {
        0 => {
            let filter = *rng.pick(&["#", "+", "a/#", "+/b", "a", "$s/#", "$share/g/#"]);
            let options = qos
                + if v5 {
                    rng.below(4) * 4 + rng.below(3) * 16
                } else {
                    0
                };
            let block = if v5 {
                *rng.pick(&["()", "(0B 01)", "(0B 80 01)"])
            } else {
                ""
            };
            // Shared subscriptions have no No Local [MQTT-3.8.3-4].
            let options = if filter.starts_with("$share") {
                options & !4
            } else {
                options
            };
            format!(r#"82 (00 07 {block} "{filter}" {options:02X})"#)
        }
        1 => format!("A2 (00 08 {block} \"#\")"),
        2 if v5 => format!(r#"30 ("" (23 00 {:02X}) 'alias')"#, rng.below(6)),
        3 if v5 => format!(r#"30 ("{topic}" (23 00 {:02X}) 'named')"#, rng.below(6)),
        _ => {
            let first = 0x30 | qos << 1 | rng.below(2);
            let id = if qos > 0 {
                format!("00 {:02X}", 1 + rng.below(8))
            } else {
                String::new()
            };
            let payload = "p".repeat(usize::from(rng.byte()));
            format!(r#"{first:02X} ("{topic}" {id} {block} '{payload}')"#)
        }
    };
    wire(&notation)
}

/// An acknowledgement of something that was sent, mostly the one that fits.
fn acknowledge(rng: &mut Rng, view: &View) -> Vec<u8> {
    let known: Vec<(u16, Stage)> = view.inflight.iter().chain(&view.earlier).copied().collect();
    if known.is_empty() {
        return wire("C0 ()");
    }
    let (id, stage) = known[rng.below(known.len())];
    let fitting = match stage {
        Stage::Published(1) => "40",
        Stage::Published(_) => "50",
        Stage::Released => "70",
    };
    let first = if rng.below(8) == 7 {
        *rng.pick(&["40", "50", "70"])
    } else {
        fitting
    };
    wire(&format!("{first} ({:02X} {:02X})", id >> 8, id & 0xFF))
}

/// Each valid packet on a connection of its version, and bytes to choose by.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for seed in corpus::seeds() {
        let length = u8::try_from(seed.bytes.len()).unwrap();
        let mut script = if seed.is_connect() {
            vec![0]
        } else {
            // A plain CONNECT of that version, with its choices.
            let choices: &[u8] = if seed.version == Version::V5 {
                &[0, 7, 4, 100, 1]
            } else {
                &[0]
            };
            [&[seed.version.level()], choices, &[0]].concat()
        };
        script.push(length);
        script.extend(&seed.bytes);
        seeds.push(script);
    }
    let mut rng = Rng::new(5);
    for _ in 0..64 {
        seeds.push((0..200).map(|_| rng.byte()).collect());
    }
    seeds
}
