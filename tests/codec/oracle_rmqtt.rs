//! What rmqtt-codec reads.

use bytes::BytesMut;
use portcullis::codec::Version;
use rmqtt_codec::types::Publish;
use rmqtt_codec::version::{ProtocolVersion, VersionCodec};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder;

use crate::oracles::{
    Entry, Message, Opening, Verdict, said_ack, said_auth, said_disconnect, said_subscribe,
    said_unsubscribe, sorted,
};

/// rmqtt-codec, on a connection of `version`; without one the packet is the first and names it.
pub(crate) fn rmqtt(bytes: &[u8], version: Option<Version>) -> Verdict<String> {
    let mut buffer = BytesMut::from(bytes);
    let five = match version {
        Some(version) => version.is_v5(),
        None => match VersionCodec.decode(&mut buffer) {
            Ok(Some(version)) => version == ProtocolVersion::MQTT5,
            Ok(None) => return Verdict::Waits,
            Err(error) => return Verdict::Refuses(error.to_string()),
        },
    };
    let said = if five {
        let read = v5::Codec::default().decode(&mut buffer);
        read.map(|read| read.map(|(packet, _)| said5(&packet)))
    } else {
        let read = v3::Codec::default().decode(&mut buffer);
        read.map(|read| read.map(|(packet, _)| said3(&packet)))
    };
    match said {
        Ok(Some(said)) => Verdict::Accepts(said),
        Ok(None) => Verdict::Waits,
        Err(error) => Verdict::Refuses(error.to_string()),
    }
}

fn said3(packet: &v3::Packet) -> String {
    use v3::Packet;
    let ack = |name, id: &std::num::NonZeroU16| said_ack(name, id.get(), 0, None);
    match packet {
        Packet::Connect(connect) => said_connect3(connect),
        Packet::Publish(publish) => said_publish(publish),
        Packet::PublishAck { packet_id } => ack("puback", packet_id),
        Packet::PublishReceived { packet_id } => ack("pubrec", packet_id),
        Packet::PublishRelease { packet_id } => ack("pubrel", packet_id),
        Packet::PublishComplete { packet_id } => ack("pubcomp", packet_id),
        Packet::Subscribe {
            packet_id,
            topic_filters,
        } => {
            let entries: Vec<Entry<'_>> = topic_filters
                .iter()
                .map(|(filter, qos)| (&**filter, qos.value(), (false, false, 0)))
                .collect();
            said_subscribe(packet_id.get(), None, &entries)
        }
        Packet::Unsubscribe {
            packet_id,
            topic_filters,
        } => {
            let filters: Vec<&str> = topic_filters.iter().map(|filter| &**filter).collect();
            said_unsubscribe(packet_id.get(), &filters)
        }
        Packet::PingRequest => "pingreq".to_owned(),
        Packet::Disconnect => said_disconnect(0, None, None),
        other => format!("from a server: {other:?}"),
    }
}

fn said_connect3(connect: &v3::Connect) -> String {
    Opening {
        clean_start: connect.clean_session,
        keep_alive: connect.keep_alive,
        client_id: &connect.client_id,
        will: connect.last_will.as_ref().map(|will| Message {
            topic: &will.topic,
            qos: will.qos.value(),
            retain: will.retain,
            payload: &will.message,
            expiry: None,
            properties: Vec::new(),
        }),
        credentials: (connect.username.as_deref(), connect.password.as_deref()),
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

fn said_connect5(connect: &v5::Connect) -> String {
    let will = connect.last_will.as_ref().map(|will| {
        let mut properties = users(&will.user_properties);
        let utf8 = will.is_utf8_payload.unwrap_or(false);
        properties.push(vec![0x01, u8::from(utf8)]);
        properties.extend(
            will.content_type
                .iter()
                .map(|text| chunk(0x03, text.as_bytes())),
        );
        properties.extend(
            will.response_topic
                .iter()
                .map(|text| chunk(0x08, text.as_bytes())),
        );
        properties.extend(will.correlation_data.iter().map(|data| chunk(0x09, data)));
        Message {
            topic: &will.topic,
            qos: will.qos.value(),
            retain: will.retain,
            payload: &will.message,
            expiry: will.message_expiry_interval.map(std::num::NonZeroU32::get),
            properties: sorted(properties),
        }
    });
    let delay = connect
        .last_will
        .as_ref()
        .and_then(|will| will.will_delay_interval_sec);
    Opening {
        clean_start: connect.clean_start,
        keep_alive: connect.keep_alive,
        client_id: &connect.client_id,
        will,
        credentials: (connect.username.as_deref(), connect.password.as_deref()),
        session_expiry: connect.session_expiry_interval_secs,
        receive_maximum: connect
            .receive_max
            .map_or(u16::MAX, std::num::NonZeroU16::get),
        maximum_packet_size: connect
            .max_packet_size
            .map_or(u32::MAX, std::num::NonZeroU32::get),
        alias_maximum: connect.topic_alias_max,
        information: (connect.request_response_info, connect.request_problem_info),
        authentication: (connect.auth_method.as_deref(), connect.auth_data.as_deref()),
        delay: delay.unwrap_or(0),
    }
    .said()
}

fn said_publish(publish: &Publish) -> String {
    let mut properties = Vec::new();
    let (mut alias, mut expiry) = (None, None);
    if let Some(read) = &publish.properties {
        properties = users(&read.user_properties);
        properties.push(vec![0x01, u8::from(read.is_utf8_payload)]);
        properties.extend(
            read.content_type
                .iter()
                .map(|text| chunk(0x03, text.as_bytes())),
        );
        properties.extend(
            read.response_topic
                .iter()
                .map(|text| chunk(0x08, text.as_bytes())),
        );
        properties.extend(read.correlation_data.iter().map(|data| chunk(0x09, data)));
        alias = read.topic_alias.map(std::num::NonZeroU16::get);
        expiry = read.message_expiry_interval.map(std::num::NonZeroU32::get);
    }
    let message = Message {
        topic: &publish.topic,
        qos: publish.qos.value(),
        retain: publish.retain,
        payload: &publish.payload,
        expiry,
        properties: sorted(properties),
    };
    let id = publish.packet_id.map(std::num::NonZeroU16::get);
    message.said(publish.dup, id, alias)
}

fn chunk(id: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![id];
    out.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    out.extend_from_slice(value);
    out
}

fn users(read: &v5::UserProperties) -> Vec<Vec<u8>> {
    read.iter()
        .map(|(name, value)| {
            let mut out = chunk(0x26, name.as_bytes());
            out.extend_from_slice(&chunk(0, value.as_bytes())[1..]);
            out
        })
        .collect()
}

fn said5(packet: &v5::Packet) -> String {
    use v5::Packet;
    let received = |name, read: &v5::PublishAck| {
        let text = read.reason_string.as_deref();
        said_ack(name, read.packet_id.get(), read.reason_code.into(), text)
    };
    let released = |name, read: &v5::PublishAck2| {
        let text = read.reason_string.as_deref();
        said_ack(name, read.packet_id.get(), read.reason_code.into(), text)
    };
    match packet {
        Packet::Connect(connect) => said_connect5(connect),
        Packet::Publish(publish) => said_publish(publish),
        Packet::PublishAck(read) => received("puback", read),
        Packet::PublishReceived(read) => received("pubrec", read),
        Packet::PublishRelease(read) => released("pubrel", read),
        Packet::PublishComplete(read) => released("pubcomp", read),
        Packet::Subscribe(read) => {
            let entries: Vec<Entry<'_>> = read
                .topic_filters
                .iter()
                .map(|(filter, o)| {
                    let handling = o.retain_handling.into();
                    let flags = (o.no_local, o.retain_as_published, handling);
                    (&**filter, o.qos.value(), flags)
                })
                .collect();
            let identifier = read.id.map(std::num::NonZeroU32::get);
            said_subscribe(read.packet_id.get(), identifier, &entries)
        }
        Packet::Unsubscribe(read) => {
            let filters: Vec<&str> = read.topic_filters.iter().map(|filter| &**filter).collect();
            said_unsubscribe(read.packet_id.get(), &filters)
        }
        Packet::PingRequest => "pingreq".to_owned(),
        Packet::Disconnect(read) => said_disconnect(
            read.reason_code.into(),
            read.session_expiry_interval_secs,
            read.reason_string.as_deref(),
        ),
        Packet::Auth(read) => said_auth(
            read.reason_code.into(),
            read.auth_method.as_deref(),
            read.auth_data.as_deref(),
        ),
        other => format!("from a server: {other:?}"),
    }
}
