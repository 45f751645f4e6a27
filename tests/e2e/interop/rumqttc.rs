//! rumqttc: what it does with the broker.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5 as packets5;
use rumqttc::v5::mqttbytes::v5::{Packet as Packet5, PublishProperties};
use rumqttc::{Packet, TlsConfiguration, Transport};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Place, Sheet};
use crate::support::material::MATERIAL;
use crate::support::site::PASSWORD;

const BOTH: [&str; 2] = ["3.1.1", "5.0"];
const LAST: [&str; 1] = ["5.0"];
const ANSWERS: &str = "demo/alice/answers/+";
const ANSWER: &str = "demo/alice/answers/1";
const REQUESTS: &str = "demo/+/requests/+";
const REQUEST: &str = "demo/alice/requests/1";

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Message {
    topic: String,
    payload: String,
    qos: u8,
    retain: bool,
    properties: PublishProperties,
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

struct Client {
    requests: Requests,
    heard: UnboundedReceiver<Heard>,
    messages: VecDeque<Message>,
    present: bool,
    polling: tokio::task::JoinHandle<()>,
}

/// How a client connects.
#[derive(Clone)]
struct How<'a> {
    place: &'a Place,
    version: &'static str,
    name: &'a str,
    password: &'a str,
    tls: bool,
    clean: bool,
    will: bool,
    aliases: Option<u16>,
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
    fn new(place: &'a Place, version: &'static str, name: &'a str) -> Self {
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

    async fn try_connect(&self) -> Result<Client, String> {
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

    async fn connect(&self) -> Client {
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

    async fn message(&mut self) -> Message {
        if let Some(message) = self.messages.pop_front() {
            return message;
        }
        match self.heard.recv().await {
            Some(Heard::Message(message)) => message,
            other => panic!("{other:?} and no message"),
        }
    }

    async fn subscribe(&mut self, filter: &str, qos: u8, identifier: Option<usize>) -> bool {
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

    async fn send(&mut self, topic: &str, payload: &str, qos: u8, retain: bool) {
        let none = PublishProperties::default();
        self.send_with(topic, payload, qos, retain, none).await;
    }

    async fn send_with(
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

    async fn leave(self) {
        match &self.requests {
            Requests::V4(client) => client.disconnect().await.expect("queued"),
            Requests::V5(client) => client.disconnect().await.expect("queued"),
        }
        self.polling.await.expect("the broker closes then");
    }
}

async fn connect(how: How<'_>) {
    how.connect().await.leave().await;
}

async fn wrong_password(mut how: How<'_>) {
    how.password = "wrong";
    let refused = how.try_connect().await.err().expect("let in");
    assert!(refused.contains("refused"), "{refused}");
}

async fn exchange(how: How<'_>, qos: u8) {
    let (mut alice, mut inside) = pair(&how).await;
    assert!(alice.subscribe(ANSWERS, qos, None).await);
    inside.send(ANSWER, "sent", qos, false).await;
    let message = alice.message().await;
    assert_eq!((message.payload.as_str(), message.qos), ("sent", qos));
}

/// alice and somebody inside.
async fn pair(how: &How<'_>) -> (Client, Client) {
    let inside = How {
        name: "inside",
        aliases: None,
        ..how.clone()
    };
    (how.connect().await, inside.connect().await)
}

async fn retained(how: How<'_>) {
    let (mut alice, mut inside) = pair(&how).await;
    inside.send(ANSWER, "kept", 1, true).await;
    alice.subscribe(ANSWERS, 1, None).await;
    let message = alice.message().await;
    assert_eq!((message.payload.as_str(), message.retain), ("kept", true));
    inside.send(ANSWER, "", 1, true).await;
}

async fn will(mut how: How<'_>) {
    let mut inside = How {
        name: "inside",
        ..how.clone()
    }
    .connect()
    .await;
    inside.subscribe(REQUESTS, 1, None).await;
    how.will = true;
    // With the event loop the connection goes, and nothing says why.
    how.connect().await.polling.abort();
    assert_eq!(inside.message().await.payload, "gone");
}

async fn persistent(how: How<'_>) {
    let name = format!("alice-kept-{}", how.version);
    let keeping = How {
        name: &name,
        clean: false,
        ..how.clone()
    };
    let mut first = keeping.connect().await;
    assert!(!first.present);
    first.subscribe(ANSWERS, 1, None).await;
    first.leave().await;
    let (_, mut inside) = pair(&how).await;
    inside.send(ANSWER, "while away", 1, false).await;
    let mut again = keeping.connect().await;
    assert!(again.present);
    assert_eq!(again.message().await.payload, "while away");
}

async fn shared(how: How<'_>) {
    let (mut alice, mut first) = pair(&how).await;
    let second = How {
        name: "inside-2",
        ..how
    };
    let mut second = second.connect().await;
    for member in [&mut first, &mut second] {
        let filter = "$share/workers/demo/alice/requests/+";
        assert!(member.subscribe(filter, 1, None).await);
    }
    for number in 0..10 {
        alice.send(REQUEST, &number.to_string(), 1, false).await;
    }
    let (mut seen, mut of_first) = (Vec::new(), 0);
    for _ in 0..10 {
        let message = tokio::select! {
            message = first.message() => {
                of_first += 1;
                message
            }
            message = second.message() => message,
        };
        seen.push(message.payload.parse::<u8>().expect("a number"));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    assert!((1..10).contains(&of_first), "{of_first}");
}

async fn guarded(how: How<'_>) {
    let mut alice = how.connect().await;
    assert!(!alice.subscribe("#", 0, None).await);
}

async fn arrives(how: How<'_>, properties: PublishProperties) -> PublishProperties {
    let (mut alice, mut inside) = pair(&how).await;
    alice.subscribe(ANSWERS, 1, None).await;
    inside.send_with(ANSWER, "x", 1, false, properties).await;
    alice.message().await.properties
}

async fn user_properties(how: How<'_>) {
    let pairs = [("a", "1"), ("a", "2")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sent = PublishProperties {
        user_properties: pairs.to_vec(),
        ..Default::default()
    };
    assert_eq!(arrives(how, sent).await.user_properties, pairs);
}

async fn expiry(how: How<'_>) {
    let sent = PublishProperties {
        message_expiry_interval: Some(100),
        ..Default::default()
    };
    let left = arrives(how, sent).await.message_expiry_interval;
    assert!(
        left.is_some_and(|left| (1..=100).contains(&left)),
        "{left:?}"
    );
}

async fn respond(how: How<'_>) {
    let (mut alice, mut inside) = pair(&how).await;
    inside.subscribe(REQUESTS, 1, None).await;
    alice.subscribe(ANSWERS, 1, None).await;
    let correlation_data = Some(vec![0, 255].into());
    let asking = PublishProperties {
        response_topic: Some(ANSWER.to_owned()),
        correlation_data: correlation_data.clone(),
        ..Default::default()
    };
    alice.send_with(REQUEST, "ask", 1, false, asking).await;
    let asked = inside.message().await.properties;
    let topic = asked.response_topic.expect("a topic");
    let answering = PublishProperties {
        correlation_data: asked.correlation_data,
        ..Default::default()
    };
    inside
        .send_with(&topic, "answer", 1, false, answering)
        .await;
    let answer = alice.message().await;
    assert_eq!(answer.payload, "answer");
    assert_eq!(answer.properties.correlation_data, correlation_data);
}

async fn identifiers(how: How<'_>) {
    let (mut alice, mut inside) = pair(&how).await;
    alice.subscribe(ANSWERS, 1, Some(7)).await;
    alice.subscribe(ANSWER, 1, Some(8)).await;
    inside.send(ANSWER, "x", 1, false).await;
    // The broker is configured, as mosquitto is, to send a copy for each subscription.
    let mut copies = Vec::new();
    for _ in 0..2 {
        copies.push(alice.message().await.properties.subscription_identifiers);
    }
    copies.sort();
    assert_eq!(copies, [[7], [8]]);
}

async fn aliases_out(how: How<'_>) {
    let (mut alice, mut inside) = pair(&how).await;
    alice.subscribe(ANSWERS, 1, None).await;
    for (number, topic) in [ANSWER, "", ""].into_iter().enumerate() {
        let properties = PublishProperties {
            topic_alias: Some(1),
            ..Default::default()
        };
        let payload = number.to_string();
        inside
            .send_with(topic, &payload, 1, false, properties)
            .await;
        let message = alice.message().await;
        assert_eq!((message.topic.as_str(), message.payload), (ANSWER, payload));
    }
}

async fn aliases_in(mut how: How<'_>) {
    how.aliases = Some(5);
    let (mut alice, mut inside) = pair(&how).await;
    alice.subscribe(ANSWERS, 1, None).await;
    // The library hands the aliases on, and leaves the names to the program.
    let mut names = BTreeMap::new();
    for number in 0..10 {
        let payload = number.to_string();
        inside.send(ANSWER, &payload, 1, false).await;
        let mut message = alice.message().await;
        match message.properties.topic_alias {
            Some(alias) if message.topic.is_empty() => message.topic.clone_from(&names[&alias]),
            Some(alias) => drop(names.insert(alias, message.topic.clone())),
            None => {}
        }
        assert_eq!((message.topic.as_str(), message.payload), (ANSWER, payload));
    }
    assert_eq!(names.len(), 1, "no alias was used");
}

/// Tries it with alice as who connects.
fn tried<'a, F: Future<Output = ()>>(
    sheet: &mut Sheet,
    place: &'a Place,
    feature: &str,
    versions: &[&'static str],
    attempt: impl Fn(How<'a>) -> F,
) {
    sheet.tried(feature, versions, |version| {
        let how = How::new(place, version, "alice");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let limited = async { tokio::time::timeout(PATIENCE, attempt(how)).await };
        runtime.block_on(limited).expect("in time");
    });
}

pub(super) fn seen(place: &Place) -> String {
    let mut sheet = Sheet::of(&version());
    let all = &mut sheet;
    all.cannot("connect 3.1", "it speaks 3.1.1 and 5.0");
    tried(all, place, "connect 3.1.1", &BOTH[..1], connect);
    tried(all, place, "connect 5.0", &LAST, connect);
    tried(
        all,
        place,
        "wrong password is refused",
        &BOTH,
        wrong_password,
    );
    for qos in [0, 1, 2] {
        tried(all, place, &format!("QoS {qos}"), &BOTH, |how| {
            exchange(how, qos)
        });
    }
    tried(all, place, "retained", &BOTH, retained);
    tried(all, place, "will", &BOTH, will);
    tried(all, place, "persistent session", &BOTH, persistent);
    tried(all, place, "shared subscription", &BOTH, shared);
    tried(all, place, "# is refused", &BOTH, guarded);
    tried(all, place, "TLS", &BOTH, |how| {
        exchange(How { tls: true, ..how }, 1)
    });
    all.cannot(
        "WebSocket",
        "not tried: the tests build it without its feature `websocket`",
    );
    tried(all, place, "user properties", &LAST, user_properties);
    tried(all, place, "message expiry", &LAST, expiry);
    tried(all, place, "request and response", &LAST, respond);
    tried(all, place, "subscription identifiers", &LAST, identifiers);
    tried(
        all,
        place,
        "topic aliases to the broker",
        &LAST,
        aliases_out,
    );
    tried(
        all,
        place,
        "topic aliases from the broker",
        &LAST,
        aliases_in,
    );
    sheet.remark(
        "topic aliases from the broker",
        "the program has to remember the names",
    );
    sheet.said()
}

/// The version that is locked, which is the one that was built.
fn version() -> String {
    let lock = std::fs::read_to_string(super::root().join("Cargo.lock")).expect("it is there");
    let found = lock.split("name = \"rumqttc\"\nversion = \"").nth(1);
    let version = found.and_then(|rest| rest.split('"').next());
    version.expect("a version").to_owned()
}
