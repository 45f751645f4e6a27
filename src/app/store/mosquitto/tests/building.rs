//! Files built by hand, and what each field of them can and cannot be.

use super::super::*;
use super::real::subscription;
use crate::codec::MalformedKind;
use crate::message::RetainHandling;
use crate::topic::TopicError;

pub(super) fn file(version: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend(chunks.concat());
    bytes
}

/// A chunk of formats 5 and 6.
pub(super) fn chunk(kind: u32, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(body.len()).unwrap();
    [&kind.to_be_bytes()[..], &length.to_be_bytes(), &body].concat()
}

pub(super) fn config() -> Vec<u8> {
    chunk(1, &[&9_u64.to_le_bytes(), &[1, 8, 0, 0, 0, 0, 0, 0]])
}

pub(super) fn base_message(store_id: u64, topic: &str, payload: &str, tail: &[u8]) -> Vec<u8> {
    base_message_expiring(store_id, 0, topic, payload, tail)
}

fn base_message_expiring(id: u64, expiry: u64, topic: &str, payload: &str, tail: &[u8]) -> Vec<u8> {
    let lengths = [0, 1, 1, u16::try_from(topic.len()).unwrap(), 1883].map(u16::to_be_bytes);
    chunk(
        2,
        &[
            &id.to_le_bytes(),
            &expiry.to_le_bytes(),
            &u32::try_from(payload.len()).unwrap().to_be_bytes(),
            &lengths.concat(),
            &[1, 0],
            b"pu",
            topic.as_bytes(),
            payload.as_bytes(),
            tail,
        ],
    )
}

/// A message of client `c`: QoS, state, RETAIN with DUP, direction.
fn client_message(store_id: u64, packet_id: u16, bytes: [u8; 4], tail: &[u8]) -> Vec<u8> {
    let numbers = [packet_id, 1].map(u16::to_be_bytes);
    chunk(
        3,
        &[
            &store_id.to_le_bytes(),
            &numbers.concat(),
            &bytes,
            b"c",
            tail,
        ],
    )
}

/// A session of format 6 with a length of the name as it is written, and what follows the Client Identifier.
fn client(expiry: u64, id: &str, name_length: u16, padding: usize, tail: &[u8]) -> Vec<u8> {
    let numbers = [3, u16::try_from(id.len()).unwrap(), 1883, name_length].map(u16::to_be_bytes);
    let fixed = [
        &expiry.to_le_bytes()[..],
        &60_u32.to_be_bytes(),
        &numbers.concat(),
    ]
    .concat();
    chunk(6, &[&fixed, &vec![0; padding], id.as_bytes(), tail])
}

fn sub(identifier: u32, filter: &str, qos: u8, options: u8) -> Vec<u8> {
    let lengths = [1, u16::try_from(filter.len()).unwrap()].map(u16::to_be_bytes);
    chunk(
        5,
        &[
            &identifier.to_be_bytes(),
            &lengths.concat(),
            &[qos, options, 0, 0],
            b"c",
            filter.as_bytes(),
        ],
    )
}

fn retained(store_id: u64) -> Vec<u8> {
    chunk(4, &[&store_id.to_le_bytes()])
}

/// What is wrong with a file of these chunks behind its configuration, and how far behind it.
fn wrong(chunks: &[Vec<u8>]) -> Vec<(usize, Wrong)> {
    let bytes = file(6, &[config(), chunks.concat()]);
    let start = file(6, &[config()]).len();
    read(&bytes)
        .expect_err("it is wrong")
        .into_iter()
        .map(|problem| (problem.at - start, problem.wrong))
        .collect()
}

fn of_one(chunks: &[Vec<u8>]) -> (usize, Wrong) {
    let mut found = wrong(chunks);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_time_in_the_other_byte_order_is_refused_where_it_stands() {
    let time = 1_795_460_595_u64.swap_bytes();
    let message = base_message_expiring(1, time, "t", "", &[]);
    assert_eq!(of_one(&[message]), (16, Wrong::Time(time)));
    assert_eq!(
        of_one(&[client(time, "c", 0, 4, &[])]),
        (8, Wrong::Time(time))
    );
}

#[test]
fn structs_of_a_32_bit_x86_are_read() {
    let config = chunk(1, &[&9_u64.to_le_bytes(), &[0, 8, 0, 0]]);
    let bytes = file(6, &[config, client(0, "c", 4, 0, b"user")]);
    let imported = read(&bytes).unwrap();
    assert_eq!(imported.sessions[0].client_id.as_str(), "c");
    assert_eq!(imported.sessions[0].username.as_deref(), Some("user"));
    assert_eq!(imported.sessions[0].listener_port, Some(1883));
}

#[test]
fn the_name_that_mosquitto_gives_an_anonymous_session_by_mistake_is_not_taken() {
    // What 2.0.11 writes for the users `user`, nobody, nobody, nobody, `user`.
    let memory = [b"user\0".to_vec(), vec![0xEE; 0x0400 - 5]].concat();
    let swapped = |id| client(0, id, 0x0400, 4, &memory);
    let plain = |id| client(0, id, 4, 4, b"user");
    let bytes = file(
        6,
        &[
            config(),
            plain("a"),
            swapped("b"),
            plain("c"),
            swapped("d"),
            plain("e"),
            plain("f"),
        ],
    );
    let found: Vec<_> = read(&bytes)
        .unwrap()
        .sessions
        .into_iter()
        .map(|client| {
            let name = client.username.as_deref().unwrap_or("-").to_owned();
            (
                client.client_id.as_str().to_owned(),
                name,
                client.username_is_sure,
            )
        })
        .collect();
    let expected = [
        ("a", "user", true),
        ("b", "-", true),
        ("c", "user", false),
        ("d", "-", true),
        ("e", "user", false),
        ("f", "user", true),
    ];
    assert_eq!(
        found,
        expected.map(|(id, name, is_sure)| (id.to_owned(), name.to_owned(), is_sure))
    );
}

#[test]
fn another_name_after_an_anonymous_session_is_sure() {
    let memory = [b"user\0".to_vec(), vec![0xEE; 0x0400 - 5]].concat();
    let bytes = file(
        6,
        &[
            config(),
            client(0, "b", 0x0400, 4, &memory),
            client(0, "c", 4, 4, b"bert"),
        ],
    );
    let imported = read(&bytes).unwrap();
    assert_eq!(imported.sessions[1].username.as_deref(), Some("bert"));
    assert!(imported.sessions[1].username_is_sure);
}

#[test]
fn each_state_stands_for_what_the_table_says() {
    let all = (0..=1).flat_map(|direction| {
        (0..=2).flat_map(move |qos| (0..=12).map(move |state| (direction, qos, state)))
    });
    let found: Vec<_> = all
        .filter_map(|(direction, qos, state)| {
            let message = client_message(1, 5, [qos, state, 0, direction], &[]);
            let bytes = file(6, &[config(), base_message(1, "t", "", &[]), message]);
            let standing = read(&bytes).ok()?.client_messages[0].standing;
            Some((direction, qos, state, standing))
        })
        .collect();
    let expected = [
        (0, 2, 7, Standing::Received),
        (0, 2, 8, Standing::Finished),
        (0, 2, 10, Standing::Received),
        (0, 2, 11, Standing::Received),
        (1, 0, 1, Standing::Queued),
        (1, 0, 11, Standing::Queued),
        (1, 1, 2, Standing::Sent),
        (1, 1, 3, Standing::Sent),
        (1, 1, 11, Standing::Queued),
        (1, 2, 4, Standing::Sent),
        (1, 2, 5, Standing::Sent),
        (1, 2, 6, Standing::Released),
        (1, 2, 9, Standing::Released),
        (1, 2, 11, Standing::Queued),
    ];
    assert_eq!(found, expected);
}

#[test]
fn all_options_of_a_subscription_are_read() {
    let bytes = file(
        6,
        &[
            config(),
            sub(268_435_455, "$share/g/t", 2, 0x2C),
            sub(0, "t", 0, 0x10),
        ],
    );
    let expected = [
        Subscription {
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
            identifier: Some(268_435_455),
            ..subscription("$share/g/t", QoS::ExactlyOnce)
        },
        Subscription {
            retain_handling: RetainHandling::SendIfNew,
            ..subscription("t", QoS::AtMostOnce)
        },
    ];
    let subscriptions = read(&bytes).unwrap().subscriptions;
    assert_eq!(
        subscriptions,
        expected.map(|found| (ClientId::new("c"), found))
    );
}

#[test]
fn what_belongs_to_one_hop_is_not_among_the_properties() {
    // Topic Alias, Content Type, Message Expiry Interval, Subscription Identifier.
    let block = b"\x0E\x23\0\x01\x03\0\x01x\x02\0\0\0\x05\x0B\x07";
    let bytes = file(6, &[config(), base_message(1, "t", "p", block)]);
    assert_eq!(
        &*read(&bytes).unwrap().messages[0].properties,
        b"\x03\0\x01x"
    );
}

/// Each chunk after a message with number 1 is refused at this byte of itself.
fn are_refused<const N: usize>(cases: [(Vec<u8>, usize, Wrong); N]) {
    let known = base_message(1, "t", "", &[]);
    for (chunk, at, expected) in cases {
        let expected = (known.len() + at, expected);
        assert_eq!(of_one(&[known.clone(), chunk]), expected);
    }
}

fn flag(field: &'static str, found: u8) -> Wrong {
    Wrong::Flag { field, found }
}

#[test]
fn what_a_message_of_a_client_cannot_be_is_refused_where_it_stands() {
    let zero = MalformedKind::PropertyValue;
    let (direction, state) = ("outgoing", 12);
    let (expected, found) = ("1", 2);
    let qos = Wrong::StateQoS {
        expected,
        state: 3,
        found,
    };
    are_refused([
        (client_message(1, 0, [1, 3, 0, 1], &[]), 20, Wrong::PacketId),
        (client_message(1, 1, [3, 3, 0, 1], &[]), 20, Wrong::QoS(3)),
        (client_message(1, 1, [2, 3, 0, 1], &[]), 20, qos),
        (
            client_message(1, 1, [1, 3, 2, 1], &[]),
            22,
            flag("RETAIN and DUP", 2),
        ),
        (
            client_message(1, 1, [1, 3, 0, 2], &[]),
            23,
            flag("the direction", 2),
        ),
        (
            client_message(1, 1, [1, state, 0, 1], &[]),
            20,
            Wrong::State { direction, state },
        ),
        (
            client_message(2, 1, [1, 3, 0, 1], &[]),
            8,
            Wrong::NoMessage(2),
        ),
        (
            client_message(1, 1, [1, 3, 0, 1], b"\x02\x0B\x00"),
            25,
            Wrong::Properties(zero),
        ),
    ]);
}

#[test]
fn what_a_message_cannot_be_is_refused_where_it_stands() {
    let mut long = base_message(2, "t", "", &[]);
    long[24..28].copy_from_slice(&[0x10, 0, 0, 0]);
    are_refused([
        (retained(2), 8, Wrong::NoMessage(2)),
        (base_message(1, "t", "", &[]), 8, Wrong::Twice(1)),
        (
            base_message(2, "t/+", "", &[]),
            42,
            Wrong::Topic(TopicError::WildcardInName),
        ),
        (
            base_message(2, "", "", &[]),
            42,
            Wrong::Topic(TopicError::Empty),
        ),
        (
            base_message(2, "t\0", "", &[]),
            42,
            Wrong::Text("a Topic Name"),
        ),
        (long, 24, Wrong::Payload(268_435_456)),
        (
            base_message(2, "t", "", b"\x04\x08\0\x01#"),
            43,
            Wrong::Properties(MalformedKind::ResponseTopic),
        ),
        (
            base_message(2, "t", "", b"\0\0"),
            43,
            Wrong::Properties(MalformedKind::Surplus),
        ),
    ]);
}

#[test]
fn what_a_session_or_subscription_cannot_be_is_refused_where_it_stands() {
    are_refused([
        (
            sub(268_435_456, "t", 0, 0),
            8,
            Wrong::Identifier(268_435_456),
        ),
        (sub(0, "t", 3, 0), 16, Wrong::QoS(3)),
        (sub(0, "t", 0, 0x30), 17, Wrong::Options(0x30)),
        (sub(0, "t", 0, 1), 17, Wrong::Options(1)),
        (
            sub(0, "a/#/b", 0, 0),
            21,
            Wrong::Filter(TopicError::HashNotLast),
        ),
        (
            client(0, "", 0, 4, &[]),
            32,
            Wrong::Empty("a Client Identifier"),
        ),
        (client(0, "c", 0, 4, b"x"), 33, Wrong::Surplus(1)),
    ]);
}

#[test]
fn a_chunk_that_is_not_known_or_comes_twice_is_refused() {
    are_refused([
        (chunk(0, &[b"x"]), 0, Wrong::Kind(0)),
        (chunk(7, &[b"x"]), 0, Wrong::Kind(7)),
        (config(), 8, Wrong::Config),
    ]);
}

#[test]
fn all_that_is_wrong_is_told_up_to_a_bound() {
    let bad = [
        retained(5),
        retained(6),
        base_message(1, "t", "", &[]),
        retained(7),
    ];
    let told: Vec<_> = wrong(&bad).into_iter().map(|(_, wrong)| wrong).collect();
    assert_eq!(told, [5, 6, 7].map(Wrong::NoMessage));
    assert_eq!(wrong(&vec![retained(5); 1000]).len(), MOST_PROBLEMS);
}

#[test]
fn a_problem_names_place_chunk_and_expectation() {
    let problems = read(&file(6, &[config(), retained(5)])).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "byte 55 (retained message chunk): expected message 5 to have come before, and it has not"
    );
}
