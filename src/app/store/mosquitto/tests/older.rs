//! Formats 4 and 5, built by hand, and those that are refused.

use super::super::*;
use super::building::{base_message, chunk, config, file};
use super::real::{session, subscription};

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

/// A chunk of format 4.
fn chunk_4(kind: u16, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(body.len()).unwrap();
    [&kind.to_be_bytes()[..], &length.to_be_bytes(), &body].concat()
}

fn config_4() -> Vec<u8> {
    chunk_4(1, &[&[1, 8], &41_u64.to_le_bytes()])
}

fn client_4(id: &str, time: &[u8]) -> Vec<u8> {
    chunk_4(6, &[&text(id), &[0, 3], time])
}

fn whole_4() -> Vec<u8> {
    let message = chunk_4(
        2,
        &[
            &40_u64.to_le_bytes(),
            &text("source"),
            &text("writer"),
            &[0x07, 0x5B, 0, 9, 0, 0],
            &text("a/b"),
            &[2, 1, 0, 0, 0, 5],
            b"hello",
        ],
    );
    let of_client = |packet_id: u16, qos, retain, direction, state, dup| {
        chunk_4(
            3,
            &[
                &text("pump"),
                &40_u64.to_le_bytes(),
                &packet_id.to_be_bytes(),
                &[qos, retain, direction, state, dup],
            ],
        )
    };
    file(
        4,
        &[
            config_4(),
            message,
            client_4("pump", &1_500_000_000_u64.to_le_bytes()),
            of_client(7, 2, 1, 1, 9, 1),
            of_client(8, 2, 0, 0, 7, 0),
            chunk_4(5, &[&text("pump"), &text("a/+"), &[1]]),
            chunk_4(4, &[&40_u64.to_le_bytes()]),
        ],
    )
}

#[test]
fn format_4_is_read() {
    let bytes = whole_4();
    let imported = read(&bytes).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let pump = || ClientId::new("pump");
    let released = ClientMessage {
        client_id: pump(),
        store_id: 40,
        packet_id: PacketId::new(7),
        qos: QoS::ExactlyOnce,
        standing: Standing::Released,
        retain: true,
        dup: true,
        identifiers: Identifiers::new(),
    };
    let received = ClientMessage {
        client_id: pump(),
        store_id: 40,
        packet_id: PacketId::new(8),
        qos: QoS::ExactlyOnce,
        standing: Standing::Received,
        retain: false,
        dup: false,
        identifiers: Identifiers::new(),
    };
    let expected = Imported {
        version: 4,
        shutdown: true,
        last_store_id: 41,
        sessions: vec![Session {
            last_packet_id: 3,
            expiry_interval_s: u32::MAX,
            disconnected_at: Some(1_500_000_000),
            listener_port: None,
            ..session("pump")
        }],
        messages: vec![BaseMessage {
            store_id: 40,
            source_id: Some(ClientId::new("source")),
            source_username: Some("writer".into()),
            source_port: Some(1883),
            topic: TopicName::parse("a/b").unwrap(),
            payload: b"hello",
            properties: Box::default(),
            qos: QoS::ExactlyOnce,
            retain: true,
            expires_at: None,
        }],
        client_messages: vec![released, received],
        subscriptions: vec![(pump(), subscription("a/+", QoS::AtLeastOnce))],
        retained: vec![40],
    };
    assert_eq!(imported, expected);
}

#[test]
fn a_session_of_format_4_of_a_32_bit_machine_has_its_time_in_four_bytes() {
    let bytes = file(
        4,
        &[
            config_4(),
            client_4("pump", &1_500_000_000_u32.to_le_bytes()),
        ],
    );
    assert_eq!(
        read(&bytes).unwrap().sessions[0].disconnected_at,
        Some(1_500_000_000)
    );
}

#[test]
fn format_5_is_read_whose_sessions_have_no_user() {
    let whole = chunk(
        6,
        &[
            &1_600_000_000_u64.to_le_bytes(),
            &3600_u32.to_be_bytes(),
            &[0, 3, 0, 4],
            b"pump",
        ],
    );
    let message = base_message(3, "a/b", "hello", b"\x07\x26\0\x01k\0\x01v");
    let bytes = file(5, &[config(), message, whole]);
    let imported = read(&bytes).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(
        (imported.version, imported.shutdown, imported.last_store_id),
        (5, true, 9)
    );
    let expected = Session {
        last_packet_id: 3,
        expires_at: Some(1_600_000_000),
        expiry_interval_s: 3600,
        listener_port: None,
        ..session("pump")
    };
    assert_eq!(imported.sessions, [expected]);
    let message = &imported.messages[0];
    assert_eq!(message.source_username.as_deref(), Some("u"));
    assert_eq!(message.payload, b"hello");
    assert_eq!(&*message.properties, b"\x26\0\x01k\0\x01v");
}

fn refused(bytes: &[u8]) -> (usize, Option<Chunk>, Wrong) {
    let mut problems = read(bytes).expect_err("it is refused");
    assert_eq!(problems.len(), 1, "{problems:?}");
    let problem = problems.remove(0);
    (problem.at, problem.chunk, problem.wrong)
}

#[test]
fn other_formats_and_other_files_are_refused() {
    for version in 0..4 {
        let bytes = file(version, &[config_4()]);
        assert_eq!(refused(&bytes), (19, None, Wrong::Older(version)));
    }
    for version in [7, u32::MAX] {
        let bytes = file(version, &[config()]);
        assert_eq!(refused(&bytes), (19, None, Wrong::Newer(version)));
    }
    assert_eq!(refused(b""), (0, None, Wrong::Magic));
    assert_eq!(
        refused(b"SQLite format 3\0 and more"),
        (0, None, Wrong::Magic)
    );
}

#[test]
fn a_file_without_its_configuration_first_is_refused() {
    assert_eq!(refused(&file(6, &[])), (23, None, Wrong::Config));
    let bytes = file(6, &[base_message(1, "t", "", &[]), config()]);
    assert_eq!(
        refused(&bytes),
        (31, Some(Chunk::BaseMessage), Wrong::Config)
    );
}

#[test]
fn a_configuration_of_another_build_is_refused() {
    let (number, config) = (9_u64.to_le_bytes(), Some(Chunk::Config));
    let short = chunk(1, &[&number, &[1, 8]]);
    assert_eq!(
        refused(&file(6, &[short])),
        (31, config, Wrong::ConfigLength(10))
    );
    let narrow = chunk(1, &[&number, &[1, 4, 0, 0, 0, 0, 0, 0]]);
    assert_eq!(refused(&file(6, &[narrow])), (40, config, Wrong::IdSize(4)));
}

#[test]
fn each_beginning_of_a_file_of_format_4_is_refused_unless_a_chunk_ends_there() {
    super::damage::beginnings(&whole_4(), 6);
}
