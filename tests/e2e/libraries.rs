//! The client libraries programs are written with: paho (Python), MQTT.js, rumqttc.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::v5::mqttbytes::v5::Packet as Packet5;
use rumqttc::{Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};

use crate::clients::ACL;
use crate::support::material::{MATERIAL, put};
use crate::support::site::{PASSWORD, PATIENCE, Site};
use crate::support::tools::Tool;

pub(crate) fn site() -> Site {
    let site = Site::with_users(&["inside", "alice", "bob"], ACL, "");
    let alice = MATERIAL.client("alice");
    put(site.dir(), "alice.crt", &alice.certificate);
    put(site.dir(), "alice.key", &alice.key);
    let conf = site.read("portcullis.conf");
    let tls = format!("listener {} 127.0.0.1\n", site.tls);
    let with_ca = format!("{tls}cafile {}\n", site.path_text("ca.crt"));
    site.write("portcullis.conf", &conf.replacen(&tls, &with_ca, 1));
    site
}

/// Runs one of the scripts beside this file; each tells what it tried, and `all is well` at last.
fn script(interpreter: &str, name: &str) {
    let site = site();
    let broker = site.start();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join(interpreter));
    if interpreter == "node" {
        command = Command::new("node");
        command.env("NODE_PATH", root.join("target/test-js/node_modules"));
    }
    command
        .arg(root.join("tests/e2e").join(name))
        .env("PLAIN_PORT", site.plain.to_string())
        .env("TLS_PORT", site.tls.to_string())
        .env("FILES", site.dir())
        .env("PASSWORD", PASSWORD);
    let ended = Tool::start(command).finish();
    assert!(ended.text.ends_with("all is well"), "{}", ended.text);
    assert_eq!(ended.code, Some(0));
    let denied = "portcullis_subscribe_denied_total{reason=\"wildcard\"}";
    assert!(broker.metric(denied) >= 1.0);
}

#[test]
fn paho_of_python_does_its_work() {
    script("target/test-venv/bin/python", "paho_client.py");
}

#[test]
fn mqtt_js_does_its_work() {
    script("node", "mqtt_js_client.js");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn rumqttc_in_3_1_1_over_tls_sends_and_receives_every_qos() {
    let site = site();
    let _broker = site.start();
    let options = |id: &str, user: &str| {
        let mut options = MqttOptions::new(id, "localhost", site.tls);
        options.set_credentials(user, PASSWORD);
        let config = TlsConfiguration::Rustls(MATERIAL.tls(None));
        options.set_transport(Transport::tls_with_config(config));
        options
    };
    let exchange = async {
        let (alice, mut hers) = rumqttc::AsyncClient::new(options("r-alice", "alice"), 10);
        alice
            .subscribe("demo/alice/answers/#", QoS::ExactlyOnce)
            .await
            .expect("queued");
        alice.subscribe("#", QoS::AtMostOnce).await.expect("queued");
        let mut codes = Vec::new();
        while codes.len() < 2 {
            if let Event::Incoming(Packet::SubAck(ack)) = hers.poll().await.expect("connected") {
                codes.extend(ack.return_codes);
            }
        }
        let granted = rumqttc::SubscribeReasonCode::Success(QoS::ExactlyOnce);
        assert_eq!(codes, [granted, rumqttc::SubscribeReasonCode::Failure]);
        let (inside, mut its) = rumqttc::AsyncClient::new(options("r-inside", "inside"), 10);
        for (number, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
            .into_iter()
            .enumerate()
        {
            let topic = format!("demo/alice/answers/{number}");
            inside
                .publish(topic, qos, false, "x")
                .await
                .expect("queued");
        }
        let sending = async { while its.poll().await.is_ok() {} };
        let receiving = async {
            let mut topics = Vec::new();
            while topics.len() < 3 {
                if let Event::Incoming(Packet::Publish(publish)) = hers.poll().await.expect("open")
                {
                    topics.push((publish.topic, publish.qos));
                }
            }
            topics
        };
        tokio::select! {
            () = sending => panic!("the publisher lost its connection"),
            topics = receiving => topics,
        }
    };
    let topics = runtime().block_on(async { tokio::time::timeout(PATIENCE, exchange).await });
    let expected: Vec<(String, QoS)> = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
        .into_iter()
        .enumerate()
        .map(|(number, qos)| (format!("demo/alice/answers/{number}"), qos))
        .collect();
    assert_eq!(topics.expect("in time"), expected);
}

#[test]
fn rumqttc_in_5_0_hears_why_it_is_refused() {
    let site = site();
    let _broker = site.start();
    let exchange = async {
        let mut options = rumqttc::v5::MqttOptions::new("r5", "127.0.0.1", site.plain);
        options.set_credentials("alice", PASSWORD);
        options.set_keep_alive(Duration::from_secs(30));
        let (client, mut events) = rumqttc::v5::AsyncClient::new(options, 10);
        client
            .subscribe("#", QoS5::AtMostOnce)
            .await
            .expect("queued");
        client
            .publish("demo/bob/answers/1", QoS5::AtLeastOnce, false, "fake")
            .await
            .expect("queued");
        let (mut suback, mut puback) = (None, None);
        while suback.is_none() || puback.is_none() {
            // The library reports a refused publish as an error; the answer was seen before.
            match events.poll().await {
                Ok(rumqttc::v5::Event::Incoming(Packet5::SubAck(ack))) => {
                    suback = Some(format!("{:?}", ack.return_codes));
                }
                Ok(rumqttc::v5::Event::Incoming(Packet5::PubAck(ack))) => {
                    puback = Some(format!("{:?}", ack.reason));
                }
                Ok(_) => {}
                Err(error) => puback = Some(format!("{error:?}")),
            }
        }
        (suback.unwrap_or_default(), puback.unwrap_or_default())
    };
    let heard = runtime().block_on(async { tokio::time::timeout(PATIENCE, exchange).await });
    let (suback, puback) = heard.expect("in time");
    assert!(suback.contains("NotAuthorized"), "{suback}");
    assert!(puback.contains("NotAuthorized"), "{puback}");
}
