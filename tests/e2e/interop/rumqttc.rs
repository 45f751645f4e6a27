//! rumqttc: what it does with the broker.

mod client;

use std::collections::BTreeMap;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::PublishProperties;

use self::client::{Client, How};
use super::{Place, Sheet};

const BOTH: [&str; 2] = ["3.1.1", "5.0"];
const LAST: [&str; 1] = ["5.0"];
const ANSWERS: &str = "demo/alice/answers/+";
const ANSWER: &str = "demo/alice/answers/1";
const REQUESTS: &str = "demo/+/requests/+";
const REQUEST: &str = "demo/alice/requests/1";

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

async fn connect(how: How<'_>) {
    how.connect().await.leave().await;
}

async fn wrong_password(mut how: How<'_>) {
    how.password = "wrong battery";
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
