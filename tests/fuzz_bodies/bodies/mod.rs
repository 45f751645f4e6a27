//! What each fuzz target does with its input, and what it begins with. Any panic is a finding.

mod acl;
mod codec;
mod conf;
mod containment;
mod passwords;

/// One target.
pub(crate) struct Body {
    /// Its name, which is that of its corpus.
    pub(crate) name: &'static str,
    /// Takes one input.
    pub(crate) run: fn(&[u8]),
    /// Inputs to begin with.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// Arbitrary bytes as packets of each version, and as the first packet.
pub(crate) const CODEC: Body = Body {
    name: "codec",
    run: codec::run,
    seeds: codec::seeds,
};

/// Arbitrary bytes as a configuration file.
pub(crate) const CONF: Body = Body {
    name: "conf",
    run: conf::run,
    seeds: conf::seeds,
};

/// Arbitrary text as an ACL file.
pub(crate) const ACL: Body = Body {
    name: "acl",
    run: acl::run,
    seeds: acl::seeds,
};

/// Arbitrary bytes as a password file.
pub(crate) const PASSWORDS: Body = Body {
    name: "passwords",
    run: passwords::run,
    seeds: passwords::seeds,
};

/// Rules and a filter over few words: the guard against all topics.
pub(crate) const CONTAINMENT: Body = Body {
    name: "containment",
    run: containment::run,
    seeds: containment::seeds,
};

/// All of them.
pub(crate) const ALL: [Body; 5] = [CODEC, CONF, ACL, PASSWORDS, CONTAINMENT];

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
