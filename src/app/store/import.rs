//! `portcullis store import-mosquitto`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;

use crate::app::cli::{Environment, INVALID, Stop, UNREADABLE_FILE};
use crate::app::keeping::wall_ms;
use crate::app::out;
use crate::codec::QoS;
use crate::message::{Author, ClientId, Groups, Message, Submitted, Tokens};
use crate::store::{
    Batch, Journal, Receiver, Record, SessionFacts, SessionKey, Store, StoreSettings,
};
use crate::topic;

use super::mosquitto::{self, BaseMessage, ClientMessage, Imported, Standing};
use super::{configured, disk, stop};

/// `store import-mosquitto`.
#[derive(Clone, Debug, Args)]
pub struct Import {
    /// mosquitto's database. Stop mosquitto first: it writes the file when it ends.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The configuration whose `persistence_location` names the new store.
    #[arg(short, long, value_name = "FILE", required_unless_present = "to")]
    config_file: Option<PathBuf>,
    /// Where the new store is made, if no configuration is named.
    #[arg(long, value_name = "DIR", conflicts_with = "config_file")]
    to: Option<PathBuf>,
}

/// More than any database that mosquitto reads into memory.
const MOST_BYTES: u64 = 8 << 30;

/// Runs it.
pub(super) fn run(arguments: &Import, environment: Environment) -> Result<(), Stop> {
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
        (None, Some(config)) => configured(config, environment)?,
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
    database: &'a Imported<'a>,
    store: &'a Journal,
    now: Instant,
    wall_s: u64,
    sessions: BTreeMap<&'a str, Session>,
    /// Messages that can be taken.
    messages: HashMap<u64, Arc<Message>>,
    batch: Vec<Record>,
    notes: Vec<String>,
    done: Done,
}

impl<'a> Importing<'a> {
    fn new(database: &'a Imported<'a>, store: &'a Journal, now: Instant) -> Self {
        Self {
            database,
            store,
            now,
            wall_s: wall_ms() / 1_000,
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
        for found in &database.sessions {
            let id = found.client_id.as_str();
            let gone_at = found.disconnected_at.unwrap_or(0);
            if found.expiry_interval_s == 0 {
                self.note(format!(
                    "left out: the session of {id:?} ended with its connection"
                ));
                continue;
            }
            if found.expires_at.is_some_and(|at| at <= self.wall_s) {
                self.note(format!("left out: the session of {id:?} has expired"));
                continue;
            }
            if !found.username_is_sure {
                let user = found.username.as_deref().unwrap_or_default();
                self.note(format!(
                    "unsure: the session of {id:?} may be the user {user:?}'s, or nobody's: mosquitto writes the \
                     same for both; it is taken as the user's"
                ));
            }
            let Some(key) = self.store.new_session() else {
                self.note("left out: there are too many sessions".into());
                return;
            };
            // What is left of its interval says since when it is away.
            let left_s = found.expires_at.map(|at| at - self.wall_s);
            let away_s = match left_s {
                Some(left_s) => u64::from(found.expiry_interval_s).saturating_sub(left_s),
                None if gone_at > 0 => self.wall_s.saturating_sub(gone_at),
                None => 0,
            };
            let away_since = self.now.checked_sub(Duration::from_secs(away_s));
            let facts = SessionFacts {
                client_id: found.client_id.clone(),
                username: found.username.as_deref().map(Arc::from),
                expiry_interval_s: found.expiry_interval_s,
                away_since: Some(away_since.unwrap_or(self.now)),
                tokens: None,
            };
            self.batch.push(Record::Session {
                session: key,
                facts: Box::new(facts),
            });
            self.sessions.insert(id, Session { key, last_seq: 0 });
            self.done.sessions += 1;
            self.flush(1_000);
        }
    }

    fn subscriptions(&mut self) {
        let database = self.database;
        for (client_id, subscription) in &database.subscriptions {
            let Some(session) = self.sessions.get(client_id.as_str()) else {
                continue;
            };
            self.batch.push(Record::Subscribe {
                session: session.key,
                subscription: Box::new(subscription.clone()),
            });
            self.done.subscriptions += 1;
            self.flush(1_000);
        }
    }

    fn messages(&mut self) {
        let database = self.database;
        let mut expired = 0;
        for found in &database.messages {
            if found.expires_at.is_some_and(|at| at <= self.wall_s) {
                expired += 1;
                continue;
            }
            let message = Arc::new(self.message(found));
            self.messages.insert(found.store_id, message);
        }
        if expired > 0 {
            self.note(format!("left out: {expired} messages have expired"));
        }
    }

    fn message(&self, found: &BaseMessage<'_>) -> Message {
        let expires_at = found
            .expires_at
            .and_then(|at| self.now.checked_add(Duration::from_secs(at - self.wall_s)));
        let source = found.source_id.as_ref();
        Message {
            topic: found.topic.clone(),
            payload: Bytes::copy_from_slice(found.payload),
            properties: found.properties.clone(),
            qos: found.qos,
            retain: found.retain,
            expires_at,
            author: Arc::new(Author {
                client_id: source.cloned().unwrap_or_else(|| ClientId::new("")),
                username: found.source_username.as_deref().map(Arc::from),
                groups: Groups::default(),
                grants: None,
                tokens: Tokens::default(),
                address: None,
                // The rights of authors are those of the first listener.
                listener: source.map(|_| 0),
            }),
            submitted: Submitted::default(),
        }
    }

    fn queues(&mut self) {
        let database = self.database;
        // What was sent comes before what waits, and that before what is still to be handed on, whatever the
        // order in the file.
        let turn = |way: &&ClientMessage| match way.standing {
            Standing::Sent | Standing::Released => 0,
            Standing::Queued => 1,
            Standing::Received | Standing::Finished => 2,
        };
        let mut all: Vec<&ClientMessage> = database.client_messages.iter().collect();
        all.sort_by_key(turn);
        for way in all {
            self.one_on_the_way(way);
            self.flush(1_000);
        }
    }

    fn one_on_the_way(&mut self, way: &ClientMessage) {
        // QoS 0 promises nothing, and what is finished needs nothing.
        if way.qos == QoS::AtMostOnce || way.standing == Standing::Finished {
            return;
        }
        let Some(message) = self.messages.get(&way.store_id).map(Arc::clone) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(way.client_id.as_str()) else {
            return;
        };
        let key = session.key;
        self.done.messages += 1;
        if way.standing == Standing::Received {
            if let Some(packet_id) = way.packet_id {
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
        self.batch.push(Record::Publish {
            message,
            retained: false,
            receivers: vec![Receiver {
                session: key,
                seq,
                qos: way.qos,
                retain: way.retain,
                identifiers: way.identifiers.clone(),
            }],
        });
        match (way.standing, way.packet_id) {
            (Standing::Sent, Some(packet_id)) => self.batch.push(Record::Sent {
                session: key,
                seq,
                packet_id,
            }),
            (Standing::Released, Some(packet_id)) => self.batch.push(Record::Released {
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
        let mut groups: Vec<String> = Vec::new();
        let mut receivers: BTreeMap<SessionKey, Receiver> = BTreeMap::new();
        for (client_id, one) in &database.subscriptions {
            let Some(session) = self.sessions.get_mut(client_id.as_str()) else {
                continue;
            };
            let qos = one.qos.min(message.qos);
            let name = message.topic.as_str();
            if qos == QoS::AtMostOnce || !topic::matches(one.filter.filter.as_str(), name) {
                continue;
            }
            if one.filter.share.is_some() {
                let group = one.filter.to_string();
                if groups.contains(&group) {
                    continue;
                }
                groups.push(group);
            }
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
