//! Ours against rmqtt-codec and mqttbytes, on random valid packets and on mutated ones. Where they
//! disagree, the disagreement is a line of a table, with its reason; a line that does not happen
//! is wrong too.

use std::collections::BTreeMap;

use portcullis::codec::{
    self, DecodeError, Limits, MalformedKind as Kind, Packet, Version, frame_length,
};

use crate::corpus::seeds;
use crate::generate;
use crate::mutate::{Rng, mutate};
use crate::oracle_mqttbytes::mqttbytes;
use crate::oracle_rmqtt::rmqtt;
use crate::oracles::{Verdict, ours};

const VALID: usize = 30_000;
const MUTATED: usize = 500_000;

/// How two decoders may disagree. "It" is the other one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    /// It accepts what ours refuses for this.
    Accepts(Kind),
    /// It waits for more of what ours refuses for this, and never gets over it.
    Waits(Kind),
    /// It refuses what ours accepts, because of this.
    Refuses(Cause),
    /// Both accept; it reads something else, because of this.
    Misreads(Cause),
    /// Ours is not complete, and it accepts: never allowed.
    AcceptsPart,
}

/// Why it does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cause {
    /// Bits that 3.1 does not use are set.
    UnusedBitsOf31,
    /// The highest bit of the level, by which a mosquitto bridge is known.
    BridgeLevel,
    /// An empty Client Identifier without Clean Start: the session answers, with 0x85.
    EmptyClientId,
    /// A Message Expiry Interval of 0, which the standard allows.
    ExpiryZero,
    /// An empty Topic Filter: answered for each filter.
    EmptyFilter,
    /// A password that is not UTF-8, which need not be.
    BinaryPassword,
    /// An empty User Name or Password: there, but read as none.
    EmptyCredentials,
    /// None of these: never allowed.
    Unknown,
}

/// rmqtt-codec on connections of 3.1 and 3.1.1.
#[rustfmt::skip] // One row, one line.
const RMQTT_3: &[(Class, &str)] = &[
    (Class::Waits(Kind::LengthEncoding), "an over-long length without end is waited for"),
    (Class::Waits(Kind::Truncated), "a CONNECT is looked at before its length, and may be too short for that"),
    (Class::Waits(Kind::ProtocolName), "the same, with another name"),
    (Class::Accepts(Kind::LengthEncoding), "lengths need not be in their shortest form"),
    (Class::Accepts(Kind::Surplus), "bytes after the last field are ignored"),
    (Class::Accepts(Kind::PacketType), "it is a decoder for both sides"),
    (Class::Accepts(Kind::DupWithQos0), "not checked"),
    (Class::Accepts(Kind::Nul), "not checked"),
    (Class::Accepts(Kind::TopicName), "left to its user"),
    (Class::Accepts(Kind::WillTopic), "left to its user"),
    (Class::Accepts(Kind::SubscriptionOptions), "reserved bits are masked"),
    (Class::Accepts(Kind::ProtocolLevel), "name and level are checked each for itself"),
    (Class::Accepts(Kind::PasswordWithoutUsername), "not checked"),
    (Class::Refuses(Cause::UnusedBitsOf31), "3.1 is read as 3.1.1"),
    (Class::Refuses(Cause::BridgeLevel), "not known"),
    (Class::Refuses(Cause::EmptyClientId), "ours leaves it to the session"),
    (Class::Refuses(Cause::EmptyFilter), "ours leaves it to the session"),
];

/// rmqtt-codec on connections of 5.0.
#[rustfmt::skip] // One row, one line.
const RMQTT_5: &[(Class, &str)] = &[
    (Class::Waits(Kind::LengthEncoding), "an over-long length without end is waited for"),
    (Class::Waits(Kind::Truncated), "a CONNECT is looked at before its length, and may be too short for that"),
    (Class::Accepts(Kind::LengthEncoding), "lengths need not be in their shortest form"),
    (Class::Accepts(Kind::Surplus), "bytes after the last field of CONNECT are ignored"),
    (Class::Accepts(Kind::PacketType), "it is a decoder for both sides"),
    (Class::Accepts(Kind::ReasonCode), "the same: codes that a server says"),
    (Class::Accepts(Kind::PropertyNotAllowed), "the same: a Subscription Identifier in PUBLISH"),
    (Class::Accepts(Kind::DupWithQos0), "not checked"),
    (Class::Accepts(Kind::Nul), "not checked"),
    (Class::Accepts(Kind::TopicName), "left to its user"),
    (Class::Accepts(Kind::EmptyTopic), "left to its user, who knows the aliases"),
    (Class::Accepts(Kind::ResponseTopic), "left to its user"),
    (Class::Accepts(Kind::WillTopic), "left to its user"),
    (Class::Accepts(Kind::WillFlags), "not checked in 5.0"),
    (Class::Accepts(Kind::AuthDataWithoutMethod), "not checked"),
    (Class::Accepts(Kind::AuthMethodMissing), "not checked"),
    (Class::Refuses(Cause::ExpiryZero), "a Message Expiry Interval of 0 is malformed to it"),
    (Class::Refuses(Cause::EmptyClientId), "ours leaves it to the session"),
];

/// mqttbytes on connections of 3.1.1.
#[rustfmt::skip] // One row, one line.
const MQTTBYTES: &[(Class, &str)] = &[
    (Class::Waits(Kind::LengthEncoding), "an over-long length without end is waited for"),
    (Class::Accepts(Kind::LengthEncoding), "lengths need not be in their shortest form"),
    (Class::Accepts(Kind::Surplus), "bytes after the last field are ignored"),
    (Class::Accepts(Kind::Flags), "not checked"),
    (Class::Accepts(Kind::PacketType), "it is a decoder for both sides"),
    (Class::Accepts(Kind::ConnectFlags), "not checked"),
    (Class::Accepts(Kind::PasswordWithoutUsername), "not checked"),
    (Class::Accepts(Kind::DupWithQos0), "not checked"),
    (Class::Accepts(Kind::PacketId), "0 is refused in PUBLISH only"),
    (Class::Accepts(Kind::Nul), "not checked"),
    (Class::Accepts(Kind::TopicName), "left to its user"),
    (Class::Accepts(Kind::EmptyTopic), "left to its user"),
    (Class::Accepts(Kind::WillTopic), "left to its user"),
    (Class::Accepts(Kind::NoFilter), "not checked"),
    (Class::Accepts(Kind::SubscriptionOptions), "reserved bits are masked"),
    (Class::Refuses(Cause::BinaryPassword), "passwords are read as text"),
    (Class::Refuses(Cause::BridgeLevel), "not known"),
    (Class::Misreads(Cause::EmptyCredentials), "empty User Name and Password are read as none"),
];

/// How the two disagree: one class, or several that it may be for what is peculiar to the packet.
fn compare(
    packet: &[u8],
    version: Version,
    mine: &Verdict<DecodeError>,
    theirs: &Verdict<String>,
) -> Vec<Class> {
    use Verdict::{Accepts, Refuses, Waits};
    let classes = |make: fn(Cause) -> Class| causes(packet, version).map(make).collect();
    match (mine, theirs) {
        (Accepts(a), Accepts(b)) if a == b => Vec::new(),
        (Accepts(_), Accepts(_)) => classes(Class::Misreads),
        (Accepts(_), Refuses(_) | Waits) => classes(Class::Refuses),
        (Refuses(error), Accepts(_)) => vec![Class::Accepts(error.kind)],
        (Refuses(error), Waits) => vec![Class::Waits(error.kind)],
        (Waits, Accepts(_)) => vec![Class::AcceptsPart],
        (Refuses(_), Refuses(_)) | (Waits, _) => Vec::new(),
    }
}

/// What is peculiar to a packet that ours accepts; `Unknown` always.
fn causes(packet: &[u8], version: Version) -> impl Iterator<Item = Cause> {
    let limits = Limits::default();
    let (kind, flags) = (packet[0] >> 4, packet[0] & 0x0F);
    let mut found = vec![(true, Cause::Unknown)];
    if kind == 1 {
        let connect = codec::decode_connect(packet, &limits).unwrap();
        // Frames of this test have one byte of length; after 'MQIsdp' and level come the flags.
        let unused = flags != 0 || packet.get(11).is_some_and(|flags| flags & 1 != 0);
        let password = connect.password.unwrap_or(b"text");
        let expiry = connect.will.and_then(|will| will.expiry_interval_s);
        let anonymous = connect.client_id.is_empty() && !connect.clean_start;
        found.extend([
            (
                connect.version == Version::V31 && unused,
                Cause::UnusedBitsOf31,
            ),
            (connect.bridge, Cause::BridgeLevel),
            (anonymous, Cause::EmptyClientId),
            (expiry == Some(0), Cause::ExpiryZero),
            (str::from_utf8(password).is_err(), Cause::BinaryPassword),
            (
                password.is_empty() || connect.username == Some(""),
                Cause::EmptyCredentials,
            ),
        ]);
    } else {
        let expected = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
        let unused = version == Version::V31 && kind != 3 && flags != expected;
        found.push((unused, Cause::UnusedBitsOf31));
        found.push(match codec::decode(packet, version, &limits).unwrap() {
            Packet::Publish(read) => (read.expiry_interval_s == Some(0), Cause::ExpiryZero),
            Packet::Subscribe(read) => (
                read.filters().any(|entry| entry.filter.is_empty()),
                Cause::EmptyFilter,
            ),
            Packet::Unsubscribe(read) => (read.filters().any(str::is_empty), Cause::EmptyFilter),
            _ => (true, Cause::Unknown),
        });
    }
    found
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, cause)| cause)
}

/// Packets to compare: random valid ones, then mutated ones of those and of the corpus.
fn each_packet(mut visit: impl FnMut(&[u8], Version, bool)) {
    let seeds = seeds();
    let mut rng = Rng::new(5_417);
    let mut packet;
    for number in 0..VALID + MUTATED {
        let valid = number < VALID;
        let seed = rng.pick(&seeds);
        let version = seed.version;
        packet = match rng.below(8) {
            0 => generate::connect(&mut rng, version),
            1..=4 => generate::packet(&mut rng, version),
            _ => seed.bytes.clone(),
        };
        if !valid {
            let other = &rng.pick(&seeds).bytes;
            mutate(&mut rng, &mut packet, other);
        }
        visit(&packet, version, valid);
    }
}

/// Compares ours with `theirs` on all packets that `fits` lets through.
fn agree_but_for(
    table: &[(Class, &str)],
    fits: impl Fn(&[u8], Version) -> bool,
    theirs: impl Fn(&[u8], Option<Version>) -> Verdict<String>,
) {
    let mut unexplained = BTreeMap::new();
    let mut seen = vec![false; table.len()];
    each_packet(|packet, version, valid| {
        let packet = match frame_length(packet, usize::MAX) {
            Ok(Some(length)) if length < packet.len() => &packet[..length],
            _ => packet,
        };
        if packet.is_empty() || !fits(packet, version) {
            return;
        }
        let connected = (packet[0] >> 4 != 1).then_some(version);
        let mine = ours(packet, connected);
        assert!(
            !valid || matches!(mine, Verdict::Accepts(_)),
            "{mine:?}: {packet:02X?}"
        );
        let classes = compare(packet, version, &mine, &theirs(packet, connected));
        let line = |class: &Class| table.iter().position(|(known, _)| known == class);
        match classes.iter().find_map(line) {
            Some(line) => seen[line] = true,
            None if classes.is_empty() => {}
            None => {
                let example = format!("{packet:02X?}");
                unexplained.entry(format!("{classes:?}")).or_insert(example);
            }
        }
    });
    assert!(unexplained.is_empty(), "not in the table: {unexplained:#?}");
    for ((class, reason), seen) in table.iter().zip(seen) {
        assert!(seen, "{class:?} ({reason}) did not happen");
    }
}

/// Whether a CONNECT begins with this name (and level).
fn holds(packet: &[u8], text: &[u8]) -> bool {
    let front = &packet[..packet.len().min(12)];
    front.windows(text.len()).any(|part| part == text)
}

/// Whether a packet is one of 5.0: a CONNECT says so itself.
fn is_v5(packet: &[u8], version: Version) -> bool {
    if packet[0] >> 4 == 1 {
        holds(packet, b"MQTT\x05")
    } else {
        version.is_v5()
    }
}

#[test]
fn rmqtt_codec_agrees_on_3_x_but_for_the_table() {
    agree_but_for(RMQTT_3, |packet, version| !is_v5(packet, version), rmqtt);
}

#[test]
fn rmqtt_codec_agrees_on_5_but_for_the_table() {
    agree_but_for(RMQTT_5, is_v5, rmqtt);
}

#[test]
fn mqttbytes_agrees_on_3_1_1_but_for_the_table() {
    // It reads a CONNECT of level 5 as one of 3.1.1, and knows no 3.1.
    let foreign: [&[u8]; 2] = [b"MQTT\x05", b"MQIsdp"];
    let fits = |packet: &[u8], version| {
        version == Version::V311 && !foreign.into_iter().any(|text| holds(packet, text))
    };
    agree_but_for(MQTTBYTES, fits, |packet, _| mqttbytes(packet));
}
