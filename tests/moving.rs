//! Connections change cores while messages are on their way, and nobody notices.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portcullis::audit::{Auditor, Journal, JournalTarget, Metrics, Traffic};
use portcullis::auth::Authenticator;
use portcullis::broker::{Broker, Settings};
use portcullis::net::listener::{self, Bound, Listener, ListenerState};
use portcullis::net::{Cores, Placement, Sentry, SentrySettings, Shared};
use portcullis::policy::acl::AclFile;
use portcullis::policy::{Admission, AdmissionSettings, Gate, Policy, SubscribeGuard};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use tokio::sync::watch;

/// Pairs of a publisher and a subscriber; every second one by TLS.
const PAIRS: usize = 12;
/// Messages of each publisher.
const MESSAGES: usize = 10_000;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);

struct Site {
    shared: Arc<Shared>,
    plain: u16,
    tls: u16,
    trust: Arc<rustls::ClientConfig>,
    stop: watch::Sender<bool>,
}

impl Site {
    fn start(cores: usize) -> Self {
        let traffic = Arc::new(Traffic::new(cores));
        let journal = Journal::start(&JournalTarget::Off).unwrap();
        let metrics = Metrics::new(
            Arc::clone(&traffic),
            &[],
            &[],
            Authenticator::methods(),
            &[],
        );
        let audit = Auditor::new(journal, metrics.unwrap().1);
        let acl = AclFile::parse("acl", "topic readwrite pair/#").unwrap();
        let policy = Policy::new(vec![Some(Arc::new(acl)); 2], SubscribeGuard::Strict, 200);
        let gate = Arc::new(Gate::new(policy, Arc::clone(&audit) as Arc<_>));
        let sentry = Sentry::new(Arc::clone(&audit), &SentrySettings::default());
        let admission = AdmissionSettings {
            connections: None,
            rate: None,
        };
        let mut settings = Settings::default();
        settings.queue.messages = PAIRS * MESSAGES;
        settings.queue.bytes = 0;
        let shared = Shared::new(
            Broker::new(&settings, gate),
            audit,
            traffic,
            Admission::new(admission),
            sentry,
            Cores::start(cores, Placement::Pack).unwrap(),
        );
        let (server, trust) = certificates();
        let (stop, _) = watch::channel(false);
        let mut ports = Vec::new();
        for (id, tls) in [(0, None), (1, Some(server))] {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            ports.push(socket.local_addr().unwrap().port());
            let listener = Listener::new(ListenerState {
                id,
                tls,
                ..ListenerState::bare()
            });
            shared.add_listener(Arc::clone(&listener));
            let work = listener::serve(
                Arc::clone(&shared),
                listener,
                Bound::Tcp(socket),
                stop.subscribe(),
            );
            shared.cores.handle(0).spawn(work);
        }
        Self {
            shared,
            plain: ports[0],
            tls: ports[1],
            trust,
            stop,
        }
    }

    fn client(&self, name: &str, tls: bool) -> (Client, rumqttc::Connection) {
        let port = if tls { self.tls } else { self.plain };
        let mut options = MqttOptions::new(name, "localhost", port);
        options.set_keep_alive(Duration::from_secs(60));
        if tls {
            let trust = TlsConfiguration::Rustls(Arc::clone(&self.trust));
            options.set_transport(Transport::Tls(trust));
        }
        Client::new(options, 100)
    }
}

fn certificates() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn qos(pair: usize) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][pair % 3]
}

/// Subscribes, says so, and checks that everything comes, once and in order.
fn subscribe(site: &Site, pair: usize, ready: &AtomicUsize) {
    let (client, mut connection) = site.client(&format!("reader-{pair}"), pair.is_multiple_of(2));
    client.subscribe(format!("pair/{pair}"), qos(pair)).unwrap();
    let mut due = 0;
    for event in connection.iter() {
        match event.unwrap_or_else(|error| panic!("reader {pair} after {due}: {error}")) {
            Event::Incoming(Packet::SubAck(_)) => {
                ready.fetch_add(1, Ordering::SeqCst);
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let number: usize = std::str::from_utf8(&publish.payload)
                    .unwrap()
                    .parse()
                    .unwrap();
                assert_eq!(number, due, "of pair {pair}");
                due += 1;
                if due == MESSAGES {
                    return;
                }
            }
            _ => {}
        }
    }
}

fn publish(site: &Site, pair: usize, done: &AtomicBool) {
    let (client, mut connection) = site.client(&format!("writer-{pair}"), pair % 4 < 2);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..MESSAGES {
                let payload = number.to_string();
                client
                    .publish(format!("pair/{pair}"), qos(pair), false, payload)
                    .unwrap();
            }
            // The session of rumqttc only works while its connection is polled.
            while !done.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            client.disconnect().unwrap();
        });
        for event in connection.iter() {
            match event {
                Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) | Err(_) => break,
                Ok(_) => {}
            }
        }
    });
}

#[test]
fn connections_that_change_cores_lose_and_reorder_nothing() {
    let site = Site::start(2);
    let (ready, read) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let done = AtomicBool::new(false);
    let deadline = Instant::now() + PATIENCE;
    thread::scope(|scope| {
        for pair in 0..PAIRS {
            let (site, ready, read) = (&site, &ready, &read);
            scope.spawn(move || {
                subscribe(site, pair, ready);
                read.fetch_add(1, Ordering::SeqCst);
            });
        }
        while ready.load(Ordering::SeqCst) < PAIRS {
            assert!(Instant::now() < deadline, "they cannot subscribe");
            thread::sleep(Duration::from_millis(1));
        }
        for pair in 0..PAIRS {
            let (site, done) = (&site, &done);
            scope.spawn(move || publish(site, pair, done));
        }
        let mut from = 0;
        while read.load(Ordering::SeqCst) < PAIRS && Instant::now() < deadline {
            site.shared.cores.move_all(from, 1 - from);
            from = 1 - from;
            thread::sleep(Duration::from_millis(1));
        }
        done.store(true, Ordering::SeqCst);
        let missing = PAIRS - read.load(Ordering::SeqCst);
        if missing > 0 {
            // The readers would wait for ever.
            eprintln!("{missing} of {PAIRS} did not get everything");
            std::process::exit(1);
        }
    });
    let cores = site.shared.cores.gauges();
    assert!(cores.moved > 100, "only {} moves", cores.moved);
    site.stop.send_replace(true);
    site.shared.cores.stop();
    let left: usize = site.shared.cores.connections();
    assert_eq!(left, 0, "each connection is counted where it ended");
}

#[test]
fn a_waiting_client_that_was_moved_hears_the_next_message() {
    let site = Site::start(3);
    let (client, mut connection) = site.client("mover", false);
    client.subscribe("pair/own", QoS::AtLeastOnce).unwrap();
    let mut events = connection.iter();
    let mut until = |what: fn(&Packet) -> bool| {
        for event in events.by_ref() {
            if let Event::Incoming(packet) = event.unwrap()
                && what(&packet)
            {
                return;
            }
        }
        panic!("the connection ended");
    };
    until(|packet| matches!(packet, Packet::SubAck(_)));
    let cores = &site.shared.cores;
    for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2), (2, 1), (1, 0)] {
        let moved = cores.gauges().moved;
        cores.move_all(from, to);
        client
            .publish("pair/own", QoS::AtLeastOnce, false, "x")
            .unwrap();
        until(|packet| matches!(packet, Packet::Publish(_)));
        let deadline = Instant::now() + PATIENCE;
        while cores.gauges().moved == moved {
            assert!(Instant::now() < deadline, "never from {from} to {to}");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(cores.gauges().each[to].connections, 1);
    }
    site.stop.send_replace(true);
    site.shared.cores.stop();
}
