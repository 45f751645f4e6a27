//! What mqttbytes reads as MQTT 3.1.1. Its readers of 5.0 are not compared: they lose packets, and
//! print a line for every UNSUBSCRIBE (see `mqttbytes_findings`).

use bytes::BytesMut;
use mqttbytes::v4::{self, Packet};

use crate::oracles::{
    Entry, Message, Opening, Verdict, said_ack, said_disconnect, said_subscribe, said_unsubscribe,
};

/// mqttbytes.
pub(crate) fn mqttbytes(bytes: &[u8]) -> Verdict<String> {
    let mut buffer = BytesMut::from(bytes);
    match v4::read(&mut buffer, 1 << 28) {
        Ok(packet) => Verdict::Accepts(said(&packet)),
        Err(mqttbytes::Error::InsufficientBytes(_)) => Verdict::Waits,
        Err(error) => Verdict::Refuses(error.to_string()),
    }
}

fn said(packet: &Packet) -> String {
    match packet {
        Packet::Connect(connect) => said_connect(connect),
        Packet::Publish(publish) => {
            let message = Message {
                topic: &publish.topic,
                qos: publish.qos as u8,
                retain: publish.retain,
                payload: &publish.payload,
                expiry: None,
                properties: Vec::new(),
            };
            message.said(
                publish.dup,
                (publish.pkid != 0).then_some(publish.pkid),
                None,
            )
        }
        Packet::PubAck(read) => said_ack("puback", read.pkid, 0, None),
        Packet::PubRec(read) => said_ack("pubrec", read.pkid, 0, None),
        Packet::PubRel(read) => said_ack("pubrel", read.pkid, 0, None),
        Packet::PubComp(read) => said_ack("pubcomp", read.pkid, 0, None),
        Packet::Subscribe(read) => {
            let entries: Vec<Entry<'_>> = read
                .filters
                .iter()
                .map(|filter| (&*filter.path, filter.qos as u8, (false, false, 0)))
                .collect();
            said_subscribe(read.pkid, None, &entries)
        }
        Packet::Unsubscribe(read) => {
            let filters: Vec<&str> = read.topics.iter().map(|filter| &**filter).collect();
            said_unsubscribe(read.pkid, &filters)
        }
        Packet::PingReq => "pingreq".to_owned(),
        Packet::Disconnect => said_disconnect(0, None, None),
        other => format!("from a server: {other:?}"),
    }
}

fn said_connect(connect: &v4::Connect) -> String {
    let login = connect.login.as_ref();
    // An empty one stands for none, whichever of the two was sent.
    let present = |text: &str| !text.is_empty();
    Opening {
        clean_start: connect.clean_session,
        keep_alive: connect.keep_alive,
        client_id: &connect.client_id,
        will: connect.last_will.as_ref().map(|will| Message {
            topic: &will.topic,
            qos: will.qos as u8,
            retain: will.retain,
            payload: &will.message,
            expiry: None,
            properties: Vec::new(),
        }),
        credentials: (
            login
                .map(|login| &*login.username)
                .filter(|text| present(text)),
            login
                .map(|login| &*login.password)
                .filter(|text| present(text))
                .map(str::as_bytes),
        ),
        session_expiry: 0,
        receive_maximum: u16::MAX,
        maximum_packet_size: u32::MAX,
        alias_maximum: 0,
        information: (false, true),
        authentication: (None, None),
        delay: 0,
    }
    .said()
}
