//! `portcullis store import-mosquitto`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;

use crate::app::cli::{INVALID, Stop, UNREADABLE_FILE};
use crate::app::keeping::wall_ms;
use crate::app::out;
use crate::codec::{self, Limits, Packet, PacketId, QoS, Version};
use crate::message::{
    Author, ClientId, Groups, Message, RetainHandling, Submitted, Subscription, Tokens,
};
use crate::store::{
    Batch, Journal, Receiver, Record, SessionFacts, SessionKey, Store, StoreSettings,
};
use crate::topic::{self, SubscriptionFilter, TopicName};

use super::mosquitto::{self, Client, Database, OnTheWay, Stage, Stored};
use super::{configured, disk, stop};

/// `store import-mosquitto`.
#[derive(Clone, Debug, Args)]
pub struct Import {
    /// mosquitto's database. Stop mosquitto first: it writes the file when it ends.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The configuration that names the new store.
    #[arg(short, long, value_name = "FILE", required_unless_present = "to")]
    config_file: Option<PathBuf>,
    /// Where the new store is made, if no configuration is named.
    #[arg(long, value_name = "DIR", conflicts_with = "config_file")]
    to: Option<PathBuf>,
}

/// More than any database that mosquitto reads into memory.
const MOST_BYTES: u64 = 8 << 30;

/// Runs it.
pub(super) fn run(arguments: &Import) -> Result<(), Stop> {
    let file = &arguments.file;
    let unreadable = |error: std::io::Error| Stop {
        code: UNREADABLE_FILE,
        text: format!("error: {} cannot be read: {error}\n", file.display()),
    };
    let length = std::fs::metadata(file).map_err(unreadable)?.len();
    if length > MOST_BYTES {
        return Err(unreadable(std::io::Error::other("it is larger than 8 GiB")));
    }
    let bytes = std::fs::read(file).map_err(unreadable)?;
    let database = mosquitto::read(&bytes).map_err(|problems| {
        let lines = problems
            .iter()
            .map(|problem| format!("error: {} {problem}\n", file.display()));
        Stop {
            code: INVALID,
            text: lines.collect(),
        }
    })?;
    let to = match (&arguments.to, &arguments.config_file) {
        (Some(to), _) => to.clone(),
        (None, Some(config)) => configured(config)?,
        (None, None) => return Err(stop("no store was named")),
    };
    if to.join("META").exists() {
        return Err(stop(format!(
            "{}: there is a store already; nothing was changed",
            to.display()
        )));
    }
    let now = Instant::now();
    let (journal, _) = Journal::open(
        StoreSettings::new(&to),
        disk(),
        now,
        wall_ms(),
        Box::new(|_| {}),
    )
    .map_err(stop)?;
    let mut import = Importing::new(&database, &journal, now);
    import.all();
    for note in &import.notes {
        out(&format!("{note}\n"));
    }
    let done = import.done;
    journal.close();
    if let Some(failure) = journal.failure() {
        return Err(stop(format!("{}: {failure}", to.display())));
    }
    out(&format!(
        "{}: {} sessions, {} subscriptions, {} messages that wait or are on their way, {} retained\n\
         The directory must belong to the account that the broker runs as.\n",
        to.display(),
        done.sessions,
        done.subscriptions,
        done.messages,
        done.retained,
    ));
    Ok(())
}

#[derive(Clone, Copy, Debug, Default)]
struct Done {
    sessions: usize,
    subscriptions: usize,
    messages: usize,
    retained: usize,
}

/// A session in the making.
struct Session {
    key: SessionKey,
    last_seq: u64,
}

struct Importing<'a> {
    database: &'a Database,
    store: &'a Journal,
    now: Instant,
    wall_s: i64,
    sessions: BTreeMap<&'a str, Session>,
    /// Messages that can be taken.
    messages: HashMap<u64, Arc<Message>>,
    batch: Vec<Record>,
    notes: Vec<String>,
    done: Done,
}

impl<'a> Importing<'a> {
    fn new(database: &'a Database, store: &'a Journal, now: Instant) -> Self {
        Self {
            database,
            store,
            now,
            wall_s: i64::try_from(wall_ms() / 1_000).unwrap_or(i64::MAX),
            sessions: BTreeMap::new(),
            messages: HashMap::new(),
            batch: Vec::new(),
            notes: Vec::new(),
            done: Done::default(),
        }
    }

    fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    fn all(&mut self) {
        self.sessions();
        self.subscriptions();
        self.messages();
        self.queues();
        self.retained();
        self.flush(0);
    }

    /// Hands over what is there, if it is more than `most`.
    fn flush(&mut self, most: usize) {
        if self.batch.len() > most {
            self.store.commit(Batch {
                records: std::mem::take(&mut self.batch),
                urgent: true,
            });
        }
    }

    fn sessions(&mut self) {
        let database = self.database;
        for client in &database.clients {
            if client.expires_at_s != 0 && client.expires_at_s <= self.wall_s {
                self.note(format!(
                    "left out: the session of {:?} has expired",
                    client.id
                ));
                continue;
            }
            let Some(key) = self.store.new_session() else {
                self.note("left out: there are too many sessions".into());
                return;
            };
            let facts = self.facts(client);
            self.batch.push(Record::Session {
                session: key,
                facts: Box::new(facts),
            });
            self.sessions
                .insert(&client.id, Session { key, last_seq: 0 });
            self.done.sessions += 1;
            self.flush(1_000);
        }
    }

    fn facts(&self, client: &Client) -> SessionFacts {
        let left_s = u64::try_from(client.expires_at_s - self.wall_s).unwrap_or(0);
        let away_s = match client.expires_at_s {
            0 => 0,
            _ => u64::from(client.expiry_interval_s).saturating_sub(left_s),
        };
        let away_since = self.now.checked_sub(Duration::from_secs(away_s));
        SessionFacts {
            client_id: ClientId::new(&client.id),
            username: client.username.as_deref().map(Arc::from),
            expiry_interval_s: client.expiry_interval_s,
            away_since: Some(away_since.unwrap_or(self.now)),
            tokens: None,
        }
    }

    fn subscriptions(&mut self) {
        let database = self.database;
        for one in &database.subscriptions {
            let Some(session) = self.sessions.get(&*one.client) else {
                continue;
            };
            let session = session.key;
            let Ok(filter) = SubscriptionFilter::parse(&one.filter) else {
                self.note(format!(
                    "left out: the filter {:?} of {:?} is not valid",
                    one.filter, one.client
                ));
                continue;
            };
            self.batch.push(Record::Subscribe {
                session,
                subscription: Box::new(Subscription {
                    filter,
                    qos: QoS::from_bits(one.qos).unwrap_or_default(),
                    no_local: one.no_local,
                    retain_as_published: one.retain_as_published,
                    retain_handling: RetainHandling::Send,
                    identifier: one.identifier,
                }),
            });
            self.done.subscriptions += 1;
            self.flush(1_000);
        }
    }

    fn messages(&mut self) {
        let database = self.database;
        let mut expired = 0;
        for stored in &database.messages {
            if stored.expires_at_s != 0 && stored.expires_at_s <= self.wall_s {
                expired += 1;
                continue;
            }
            match self.message(stored) {
                Ok(message) => {
                    self.messages.insert(stored.id, Arc::new(message));
                }
                Err(why) => {
                    let topic = &stored.topic;
                    self.note(format!("left out: the message to {topic:?}: {why}"));
                }
            }
        }
        if expired > 0 {
            self.note(format!("left out: {expired} messages have expired"));
        }
    }

    fn message(&self, stored: &Stored) -> Result<Message, &'static str> {
        let left_s = u64::try_from(stored.expires_at_s - self.wall_s).unwrap_or(0);
        let expires_at = match stored.expires_at_s {
            0 => None,
            _ => self.now.checked_add(Duration::from_secs(left_s)),
        };
        Ok(Message {
            topic: TopicName::parse(&stored.topic).map_err(|_| "the topic is not valid")?,
            payload: Bytes::copy_from_slice(&stored.payload),
            properties: forwarded(&stored.properties).ok_or("its properties are not valid")?,
            qos: QoS::from_bits(stored.qos).ok_or("its QoS is not valid")?,
            retain: stored.retain,
            expires_at,
            author: Arc::new(Author {
                client_id: ClientId::new(&stored.source_id),
                username: stored.source_username.as_deref().map(Arc::from),
                groups: Groups::default(),
                grants: None,
                tokens: Tokens::default(),
                address: None,
                // The rights of authors are those of the first listener.
                listener: (!stored.source_id.is_empty()).then_some(0),
            }),
            submitted: Submitted::default(),
        })
    }

    fn queues(&mut self) {
        let database = self.database;
        // What was sent comes before what waits, and that before what is still to be handed on, whatever the
        // order in the file.
        let turn = |way: &&OnTheWay| match way.stage {
            Stage::Sent | Stage::Released => 0,
            Stage::Queued => 1,
            Stage::Received => 2,
        };
        let mut all: Vec<&OnTheWay> = database.on_the_way.iter().collect();
        all.sort_by_key(turn);
        for way in all {
            self.one_on_the_way(way);
            self.flush(1_000);
        }
    }

    fn one_on_the_way(&mut self, way: &OnTheWay) {
        let Some(message) = self.messages.get(&way.message).map(Arc::clone) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(&*way.client) else {
            return;
        };
        let key = session.key;
        let packet_id = PacketId::new(way.packet_id);
        self.done.messages += 1;
        if way.stage == Stage::Received {
            if let Some(packet_id) = packet_id {
                self.batch.push(Record::Received {
                    session: key,
                    packet_id,
                });
            }
            // mosquitto would hand it on at PUBREL; here that was done with PUBLISH.
            self.hand_on(&message);
            return;
        }
        session.last_seq += 1;
        let seq = session.last_seq;
        let retain = way.retain;
        self.batch.push(Record::Publish {
            message,
            retained: false,
            receivers: vec![Receiver {
                session: key,
                seq,
                qos: QoS::from_bits(way.qos).unwrap_or_default(),
                retain,
                identifiers: way.identifier.into_iter().collect(),
            }],
        });
        match (way.stage, packet_id) {
            (Stage::Sent, Some(packet_id)) => self.batch.push(Record::Sent {
                session: key,
                seq,
                packet_id,
            }),
            (Stage::Released, Some(packet_id)) => self.batch.push(Record::Released {
                session: key,
                seq,
                packet_id,
            }),
            _ => {}
        }
    }

    /// Puts a message into the queue of everybody who subscribed: once each, and of a shared subscription
    /// into the first one's.
    fn hand_on(&mut self, message: &Arc<Message>) {
        let database = self.database;
        let mut groups: Vec<&str> = Vec::new();
        let mut receivers: BTreeMap<SessionKey, Receiver> = BTreeMap::new();
        for one in &database.subscriptions {
            let Ok((share, filter)) = topic::split_share(&one.filter) else {
                continue;
            };
            let Some(session) = self.sessions.get_mut(&*one.client) else {
                continue;
            };
            if one.qos == 0 || !topic::matches(filter, message.topic.as_str()) {
                continue;
            }
            if share.is_some() {
                if groups.contains(&&*one.filter) {
                    continue;
                }
                groups.push(&one.filter);
            }
            let qos = QoS::from_bits(one.qos).unwrap_or_default().min(message.qos);
            let receiver = receivers.entry(session.key).or_insert_with(|| {
                session.last_seq += 1;
                Receiver {
                    session: session.key,
                    seq: session.last_seq,
                    qos,
                    retain: one.retain_as_published && message.retain,
                    identifiers: smallvec::SmallVec::new(),
                }
            });
            receiver.qos = receiver.qos.max(qos);
            receiver.identifiers.extend(one.identifier);
        }
        self.batch.push(Record::Publish {
            message: Arc::clone(message),
            retained: message.retain && !message.payload.is_empty(),
            receivers: receivers.into_values().collect(),
        });
    }

    fn retained(&mut self) {
        let database = self.database;
        for id in &database.retained {
            let Some(message) = self.messages.get(id).map(Arc::clone) else {
                continue;
            };
            if message.topic.as_str().starts_with("$SYS") || message.payload.is_empty() {
                continue;
            }
            self.batch.push(Record::Publish {
                message,
                retained: true,
                receivers: Vec::new(),
            });
            self.done.retained += 1;
            self.flush(1_000);
        }
    }
}

/// What of a property block is forwarded; `None` if it is not one of a PUBLISH.
fn forwarded(block: &[u8]) -> Option<Box<[u8]>> {
    if block.is_empty() {
        return Some(Box::default());
    }
    // Read as what it is: the properties of a packet.
    let mut body = vec![0, 1, b'a'];
    body.extend_from_slice(block);
    let mut frame = vec![0x30];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length & 0x7F).unwrap_or(0);
        length >>= 7;
        frame.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    frame.extend_from_slice(&body);
    let limits = Limits {
        max_packet_bytes: frame.len(),
        ..Limits::default()
    };
    let Ok(Packet::Publish(publish)) = codec::decode(&frame, Version::V5, &limits) else {
        return None;
    };
    let mut out = Vec::new();
    publish.properties.copy_forwardable(&mut out);
    Some(out.into())
}
