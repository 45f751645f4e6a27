//! A client of rumqttc, in either version of MQTT.

use std::collections::VecDeque;

use rumqttc::v5::mqttbytes::v5 as packets5;
use rumqttc::v5::mqttbytes::v5::{Packet as Packet5, PublishProperties};
use rumqttc::{Packet, TlsConfiguration, Transport};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::REQUEST;
use crate::interop::Place;
use crate::support::material::MATERIAL;
use crate::support::site::PASSWORD;

#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: String,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) properties: PublishProperties,
}

/// What the event loops of both versions tell.
#[derive(Debug)]
enum Heard {
    Connected { present: bool },
    Subscribed { granted: bool },
    Acknowledged,
    Message(Message),
    Lost(String),
}

enum Requests {
    V4(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

pub(super) struct Client {
    requests: Requests,
    heard: UnboundedReceiver<Heard>,
    messages: VecDeque<Message>,
    pub(super) present: bool,
    pub(super) polling: tokio::task::JoinHandle<()>,
}

/// How a client connects.
#[derive(Clone)]
pub(super) struct How<'a> {
    pub(super) place: &'a Place,
    pub(super) version: &'static str,
    pub(super) name: &'a str,
    pub(super) password: &'a str,
    pub(super) tls: bool,
    pub(super) clean: bool,
    pub(super) will: bool,
    pub(super) aliases: Option<u16>,
}

fn qos4(qos: u8) -> rumqttc::QoS {
    rumqttc::qos(qos).expect("a QoS")
}

fn qos5(qos: u8) -> rumqttc::v5::mqttbytes::QoS {
    rumqttc::v5::mqttbytes::qos(qos).expect("a QoS")
}

fn heard4(packet: Packet) -> Option<Heard> {
    Some(match packet {
        Packet::ConnAck(ack) => Heard::Connected {
            present: ack.session_present,
        },
        Packet::SubAck(ack) => Heard::Subscribed {
            granted: ack.return_codes[0] != rumqttc::SubscribeReasonCode::Failure,
        },
        Packet::PubAck(_) | Packet::PubComp(_) => Heard::Acknowledged,
        Packet::Publish(publish) => Heard::Message(Message {
            topic: publish.topic,
            payload: String::from_utf8_lossy(&publish.payload).into_owned(),
            qos: publish.qos as u8,
            retain: publish.retain,
            properties: PublishProperties::default(),
        }),
        _ => return None,
    })
}

fn heard5(packet: Packet5) -> Option<Heard> {
    Some(match packet {
        Packet5::ConnAck(ack) => Heard::Connected {
            present: ack.session_present,
        },
        Packet5::SubAck(ack) => Heard::Subscribed {
            granted: matches!(
                ack.return_codes[0],
                packets5::SubscribeReasonCode::Success(_)
            ),
        },
        Packet5::PubAck(_) | Packet5::PubComp(_) => Heard::Acknowledged,
        Packet5::Publish(publish) => Heard::Message(Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: String::from_utf8_lossy(&publish.payload).into_owned(),
            qos: publish.qos as u8,
            retain: publish.retain,
            properties: publish.properties.unwrap_or_default(),
        }),
        _ => return None,
    })
}

async fn poll4(mut events: rumqttc::EventLoop, tell: UnboundedSender<Heard>) {
    loop {
        let heard = match events.poll().await {
            Ok(rumqttc::Event::Incoming(packet)) => heard4(packet),
            Ok(rumqttc::Event::Outgoing(_)) => None,
            Err(error) => return drop(tell.send(Heard::Lost(error.to_string()))),
        };
        if let Some(heard) = heard {
            // Who listens no more has seen enough.
            drop(tell.send(heard));
        }
    }
}

async fn poll5(mut events: rumqttc::v5::EventLoop, tell: UnboundedSender<Heard>) {
    loop {
        let heard = match events.poll().await {
            Ok(rumqttc::v5::Event::Incoming(packet)) => heard5(packet),
            Ok(rumqttc::v5::Event::Outgoing(_)) => None,
            Err(error) => return drop(tell.send(Heard::Lost(error.to_string()))),
        };
        if let Some(heard) = heard {
            // Who listens no more has seen enough.
            drop(tell.send(heard));
        }
    }
}

impl<'a> How<'a> {
    pub(super) fn new(place: &'a Place, version: &'static str, name: &'a str) -> Self {
        Self {
            place,
            version,
            name,
            password: PASSWORD,
            tls: false,
            clean: true,
            will: false,
            aliases: None,
        }
    }

    /// The user is the first part of the name.
    fn user(&self) -> &str {
        self.name.split('-').next().expect("a part")
    }

    fn port(&self) -> u16 {
        if self.tls {
            self.place.site.tls
        } else {
            self.place.site.plain
        }
    }

    fn transport(&self) -> Transport {
        if self.tls {
            Transport::tls_with_config(TlsConfiguration::Rustls(MATERIAL.tls(None)))
        } else {
            Transport::tcp()
        }
    }

    fn start4(&self) -> (rumqttc::AsyncClient, rumqttc::EventLoop) {
        let mut options = rumqttc::MqttOptions::new(self.name, "localhost", self.port());
        options.set_credentials(self.user(), self.password);
        options.set_clean_session(self.clean);
        options.set_transport(self.transport());
        if self.will {
            let will = rumqttc::LastWill::new(REQUEST, "gone", qos4(1), false);
            options.set_last_will(will);
        }
        rumqttc::AsyncClient::new(options, 10)
    }

    fn start5(&self) -> (rumqttc::v5::AsyncClient, rumqttc::v5::EventLoop) {
        let mut options = rumqttc::v5::MqttOptions::new(self.name, "localhost", self.port());
        options.set_credentials(self.user(), self.password);
        options.set_clean_start(self.clean);
        options.set_transport(self.transport());
        if !self.clean {
            options.set_session_expiry_interval(Some(3_600));
        }
        if self.aliases.is_some() {
            options.set_topic_alias_max(self.aliases);
        }
        if self.will {
            let will = packets5::LastWill::new(REQUEST, "gone", qos5(1), false, None);
            options.set_last_will(will);
        }
        rumqttc::v5::AsyncClient::new(options, 10)
    }

    pub(super) async fn try_connect(&self) -> Result<Client, String> {
        let (tell, heard) = unbounded_channel();
        let (requests, polling) = if self.version == "5.0" {
            let (client, events) = self.start5();
            (Requests::V5(client), tokio::spawn(poll5(events, tell)))
        } else {
            let (client, events) = self.start4();
            (Requests::V4(client), tokio::spawn(poll4(events, tell)))
        };
        let mut client = Client {
            requests,
            heard,
            messages: VecDeque::new(),
            present: false,
            polling,
        };
        match client.heard.recv().await {
            Some(Heard::Connected { present }) => client.present = present,
            Some(Heard::Lost(error)) => return Err(error),
            other => return Err(format!("{other:?} before CONNACK")),
        }
        Ok(client)
    }

    pub(super) async fn connect(&self) -> Client {
        self.try_connect().await.expect("connected")
    }
}

impl Client {
    /// The next that is no message; messages wait.
    async fn next(&mut self) -> Heard {
        loop {
            match self.heard.recv().await.expect("it is polled") {
                Heard::Message(message) => self.messages.push_back(message),
                other => return other,
            }
        }
    }

    pub(super) async fn message(&mut self) -> Message {
        if let Some(message) = self.messages.pop_front() {
            return message;
        }
        match self.heard.recv().await {
            Some(Heard::Message(message)) => message,
            other => panic!("{other:?} and no message"),
        }
    }

    pub(super) async fn subscribe(
        &mut self,
        filter: &str,
        qos: u8,
        identifier: Option<usize>,
    ) -> bool {
        match &self.requests {
            Requests::V4(client) => client.subscribe(filter, qos4(qos)).await.expect("queued"),
            Requests::V5(client) => {
                let properties = packets5::SubscribeProperties {
                    id: identifier,
                    user_properties: Vec::new(),
                };
                let asked = client.subscribe_with_properties(filter, qos5(qos), properties);
                asked.await.expect("queued");
            }
        }
        match self.next().await {
            Heard::Subscribed { granted } => granted,
            other => panic!("{other:?} and no SUBACK"),
        }
    }

    pub(super) async fn send(&mut self, topic: &str, payload: &str, qos: u8, retain: bool) {
        let none = PublishProperties::default();
        self.send_with(topic, payload, qos, retain, none).await;
    }

    pub(super) async fn send_with(
        &mut self,
        topic: &str,
        payload: &str,
        qos: u8,
        retain: bool,
        properties: PublishProperties,
    ) {
        let payload = payload.to_owned();
        match &self.requests {
            Requests::V4(client) => {
                let sent = client.publish(topic, qos4(qos), retain, payload);
                sent.await.expect("queued");
            }
            Requests::V5(client) => {
                let (qos, payload) = (qos5(qos), payload);
                let sent = client.publish_with_properties(topic, qos, retain, payload, properties);
                sent.await.expect("queued");
            }
        }
        if qos > 0 {
            let heard = self.next().await;
            assert!(matches!(heard, Heard::Acknowledged), "{heard:?}");
        }
    }

    pub(super) async fn leave(self) {
        match &self.requests {
            Requests::V4(client) => client.disconnect().await.expect("queued"),
            Requests::V5(client) => client.disconnect().await.expect("queued"),
        }
        self.polling.await.expect("the broker closes then");
    }
}
