//! What each fuzz target does with its input, and what it begins with. Any panic is a finding.

mod acl;
mod codec;
mod conf;
mod connection;
mod containment;
mod owed;
mod packets;
mod passwords;
mod reading;
mod relay;
mod server;
mod standard;
mod store;
mod view;
mod world;

/// One target.
pub(crate) struct Body {
    /// Its name, which is that of its corpus.
    pub(crate) name: &'static str,
    /// Takes one input.
    pub(crate) run: fn(&[u8]),
    /// Inputs to begin with.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

const fn body(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Body {
    Body { name, run, seeds }
}

/// Arbitrary bytes as packets of each version, and as the first packet.
pub(crate) const CODEC: Body = body("codec", codec::run, codec::seeds);

/// CONNECT of each version.
pub(crate) const CONNECT: Body = body("connect", packets::connect, packets::connect_seeds);

/// PUBLISH of each version.
pub(crate) const PUBLISH: Body = body("publish", packets::publish, packets::publish_seeds);

/// PUBACK, PUBREC, PUBREL and PUBCOMP of each version.
pub(crate) const ACKNOWLEDGEMENT: Body = body(
    "acknowledgement",
    packets::acknowledgement,
    packets::acknowledgement_seeds,
);

/// SUBSCRIBE of each version.
pub(crate) const SUBSCRIBE: Body = body("subscribe", packets::subscribe, packets::subscribe_seeds);

/// UNSUBSCRIBE of each version.
pub(crate) const UNSUBSCRIBE: Body = body(
    "unsubscribe",
    packets::unsubscribe,
    packets::unsubscribe_seeds,
);

/// PINGREQ and DISCONNECT of each version, and what no client may send.
pub(crate) const CONTROL: Body = body("control", packets::control, packets::control_seeds);

/// AUTH, which only 5.0 has.
pub(crate) const AUTH: Body = body("auth", packets::auth, packets::auth_seeds);

/// A whole connection: bytes in, virtual time.
pub(crate) const CONNECTION: Body = body("connection", connection::run, connection::seeds);

/// Two connections: what one sends is written again for the other.
pub(crate) const RELAY: Body = body("relay", relay::run, relay::seeds);

/// Arbitrary bytes as a configuration file.
pub(crate) const CONF: Body = body("conf", conf::run, conf::seeds);

/// Arbitrary text as an ACL file.
pub(crate) const ACL: Body = body("acl", acl::run, acl::seeds);

/// Arbitrary bytes as a password file.
pub(crate) const PASSWORDS: Body = body("passwords", passwords::run, passwords::seeds);

/// Rules and a filter over few words: the guard against all topics.
pub(crate) const CONTAINMENT: Body = body("containment", containment::run, containment::seeds);

/// Records of the store.
pub(crate) const RECORDS: Body = body("records", store::records, store::record_seeds);

/// Files of the store.
pub(crate) const FILES: Body = body("files", store::files, store::file_seeds);

/// All of them.
pub(crate) const ALL: [Body; 16] = [
    CODEC,
    CONNECT,
    PUBLISH,
    ACKNOWLEDGEMENT,
    SUBSCRIBE,
    UNSUBSCRIBE,
    CONTROL,
    AUTH,
    CONNECTION,
    RELAY,
    CONF,
    ACL,
    PASSWORDS,
    CONTAINMENT,
    RECORDS,
    FILES,
];

/// The obvious matcher: level by level, with everything written out (MQTT 5.0 section 4.7).
fn obviously_matches(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            ([], _) | (_, []) => false,
            (["+", filter @ ..], [_, topic @ ..]) => levels(filter, topic),
            ([word, filter @ ..], [same, topic @ ..]) => word == same && levels(filter, topic),
        }
    }
    let wildcard_first = filter.starts_with('+') || filter.starts_with('#');
    if wildcard_first && topic.starts_with('$') {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    levels(&filter, &topic)
}
