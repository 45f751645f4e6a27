//! What an ordinary client does not do, or not often: trying doors.
//!
//! Counted for who asks and for where he asks from, each by itself: one client that changes its address
//! is found by its name, and many names from one address by that. Only refusals, connects and takeovers
//! are looked at. What is counted, and how it is bounded, says [`super::tally`]; different topics and
//! names are told apart by keyed hashes, as many as the limit.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::codec::ReasonCode;

use super::admission::counted_address;
use super::request::{Action, Request, Who};
use super::tally::{Slot, Tally};
use super::{Denial, DenyReason};

/// Clients, users and addresses remembered for each kind.
const MAX_ENTRIES: usize = 4_096;
/// A number this much above the last one goes on with the sequence.
const STEP: u64 = 8;

/// A kind of misuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MisuseKind {
    /// Refused subscriptions with wildcards.
    Wildcards,
    /// Different topics that were refused.
    Topics,
    /// Different client ids.
    ClientIds,
    /// Client ids that count upwards.
    Sequence,
    /// One session taken again and again, or the sessions of others asked for.
    Takeovers,
}

impl MisuseKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Wildcards,
        Self::Topics,
        Self::ClientIds,
        Self::Sequence,
        Self::Takeovers,
    ];

    /// The metric label value and the `reason` field of the audit log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Wildcards => "wildcards",
            Self::Topics => "topics",
            Self::ClientIds => "client_ids",
            Self::Sequence => "sequence",
            Self::Takeovers => "takeovers",
        }
    }

    /// What was counted, for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Wildcards => "refused subscriptions with wildcards",
            Self::Topics => "different topics refused",
            Self::ClientIds => "different client ids tried",
            Self::Sequence => "client ids tried that count upwards",
            Self::Takeovers => "takeovers of sessions",
        }
    }
}

/// `misuse_limit_… COUNT SECONDS [BAN_SECONDS]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MisuseLimit {
    /// How many are misuse.
    pub count: u32,
    /// Within this time.
    pub window: Duration,
    /// How long the address is banned for it.
    pub ban: Option<Duration>,
}

/// The limit of each kind, in the order of [`MisuseKind::ALL`].
pub type MisuseSettings = [Option<MisuseLimit>; 5];

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which kind.
    pub kind: MisuseKind,
    /// The limit that was reached.
    pub limit: MisuseLimit,
}

/// Whom it is counted for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'a> {
    User(&'a str),
    Client(&'a str),
    Address(IpAddr),
}

impl<'a> Key<'a> {
    /// The user, or of an anonymous client its name.
    fn identity(who: &'a Who) -> Self {
        match &who.username {
            Some(user) => Self::User(user),
            None => Self::Client(who.client_id.as_str()),
        }
    }

    fn address(who: &Who) -> Option<Self> {
        who.remote_ip().map(counted_address).map(Self::Address)
    }
}

/// What is kept beside the count.
#[derive(Debug, Default)]
struct Seen {
    hashes: Vec<u64>,
    last: Option<u64>,
}

struct Inner {
    settings: MisuseSettings,
    hasher: RandomState,
    tallies: [Tally<Seen>; 5],
}

/// See the module.
pub struct Misuse(Mutex<Inner>);

impl Misuse {
    /// With these limits.
    pub fn new(settings: MisuseSettings) -> Self {
        Self(Mutex::new(Inner {
            settings,
            hasher: RandomState::new(),
            tallies: std::array::from_fn(|_| Tally::new(MAX_ENTRIES)),
        }))
    }

    /// Replaces the limits. What was counted stays for the kinds that still have one.
    pub fn set(&self, settings: MisuseSettings) {
        let mut inner = self.0.lock();
        for (tally, limit) in inner.tallies.iter_mut().zip(settings) {
            if limit.is_none() {
                tally.clear();
            }
        }
        inner.settings = settings;
    }

    /// The gate refused something for want of a right.
    pub fn denied(&self, request: &Request<'_>, denial: &Denial, now: Instant) -> Option<Found> {
        // A mount point that has changed is not the client's doing.
        if denial.reason.reason_code() != ReasonCode::NOT_AUTHORIZED
            || denial.reason == DenyReason::MountPoint
        {
            return None;
        }
        let keys = [Some(Key::identity(request.who)), Key::address(request.who)];
        let mut inner = self.0.lock();
        if request.action == Action::Subscribe && request.topic.contains(['+', '#']) {
            inner.each(MisuseKind::Wildcards, &keys, now, |slot, _| slot.add())
        } else {
            inner.different(MisuseKind::Topics, &keys, request.topic, now)
        }
    }

    /// Somebody connects, and sent the Client Identifier in `who` itself. Those who proved who they are
    /// count by that: a fleet behind one address is no guesser. The others count by their address,
    /// whatever they say.
    pub fn connecting(&self, who: &Who, accepted: bool, now: Instant) -> [Option<Found>; 2] {
        let key = match &who.username {
            Some(user) if accepted => Some(Key::User(user)),
            _ => Key::address(who),
        };
        if key.is_none() {
            return [None, None];
        }
        let id = who.client_id.as_str();
        let mut inner = self.0.lock();
        let different = inner.different(MisuseKind::ClientIds, &[key], id, now);
        let sequence = numbered(id).and_then(|(stem, number)| {
            let key = (key, stem);
            inner.each(MisuseKind::Sequence, &[Some(key)], now, |slot, _| {
                follow(slot, number);
            })
        });
        [different, sequence]
    }

    /// Somebody asks for a session that is there: `granted` if it is his own, which then passes from
    /// one connection to another. A fleet that comes back through one address does that once for each
    /// session, so only the sessions of others count for the address and the user.
    pub fn takeover(&self, who: &Who, granted: bool, now: Instant) -> Option<Found> {
        let session = Key::Client(who.client_id.as_str());
        let keys = if granted {
            [Some(session), None]
        } else {
            let user = who.username.as_deref().map(Key::User);
            [user, Key::address(who)]
        };
        let mut inner = self.0.lock();
        inner.each(MisuseKind::Takeovers, &keys, now, |slot, _| slot.add())
    }
}

impl Inner {
    /// Counts for each key; what is found the moment a limit is reached, once in its time.
    fn each<K: Hash>(
        &mut self,
        kind: MisuseKind,
        keys: &[Option<K>],
        now: Instant,
        count: impl Fn(&mut Slot<Seen>, MisuseLimit),
    ) -> Option<Found> {
        let index = kind as usize;
        let limit = self.settings[index]?;
        let mut found = None;
        for key in keys.iter().flatten() {
            let slot = self.tallies[index].slot(key, limit.window, now);
            let before = slot.sure();
            count(slot, limit);
            if before < limit.count && slot.sure() >= limit.count {
                found = Some(Found { kind, limit });
            }
        }
        found
    }

    fn different<K: Hash>(
        &mut self,
        kind: MisuseKind,
        keys: &[Option<K>],
        item: &str,
        now: Instant,
    ) -> Option<Found> {
        let hash = self.hasher.hash_one(item);
        self.each(kind, keys, now, |slot, limit| {
            let seen = &mut slot.more.hashes;
            if seen.len() < limit.count as usize && !seen.contains(&hash) {
                seen.push(hash);
                slot.add();
            }
        })
    }
}

/// The next number of a sequence, or the first of another one.
fn follow(slot: &mut Slot<Seen>, number: u64) {
    let last = slot.more.last;
    if last == Some(number) {
        return;
    }
    let goes_on = last.is_some_and(|last| number > last && number - last <= STEP);
    if !goes_on {
        slot.restart();
    }
    slot.more.last = Some(number);
    slot.add();
}

/// A name around its last number, and the number: `pump-0017-a` is (`pump-`, `-a`) and 17.
fn numbered(id: &str) -> Option<((&str, &str), u64)> {
    let end = id.rfind(|c: char| c.is_ascii_digit())? + 1;
    let head = id.get(..end)?;
    let start = head.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    // More digits than a number holds are no counter; the last of them may be.
    let start = start.max(end.saturating_sub(18));
    let number = head.get(start..)?.parse().ok()?;
    Some(((id.get(..start)?, id.get(end..)?), number))
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::net::SocketAddr;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::codec::Version;
    use crate::message::{ClientId, Groups};

    const SECOND: Duration = Duration::from_secs(1);

    fn who(client_id: &str, user: Option<&str>, address: &str) -> Who {
        let address: IpAddr = address.parse().expect("an address");
        Who {
            tokens: Arc::default(),
            client_id: ClientId::new(client_id),
            username: user.map(Arc::from),
            groups: Groups::default(),
            grants: None,
            address: Some(SocketAddr::new(address, 40_000)),
            listener: 0,
            listener_name: "l".into(),
            protocol: Version::V5,
            method: "password",
        }
    }

    fn misuse(kind: MisuseKind, count: u32) -> Misuse {
        let mut settings = MisuseSettings::default();
        settings[kind as usize] = Some(MisuseLimit {
            count,
            window: 60 * SECOND,
            ban: None,
        });
        Misuse::new(settings)
    }

    fn denied(misuse: &Misuse, who: &Who, action: Action, topic: &str, now: Instant) -> bool {
        let request = Request { who, action, topic };
        let denial = Denial::new(DenyReason::NoRule);
        misuse.denied(&request, &denial, now).is_some()
    }

    #[test]
    fn the_order_of_the_kinds_is_that_of_their_settings() {
        for (index, kind) in MisuseKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
        }
    }

    #[test]
    fn refused_wildcards_are_found_once_in_their_time_and_anew_in_the_next() {
        let misuse = misuse(MisuseKind::Wildcards, 3);
        let eve = who("e", Some("eve"), "192.0.2.1");
        let now = Instant::now();
        let tried = |at| denied(&misuse, &eve, Action::Subscribe, "plant/#", at);
        assert_eq!(
            [(); 5].map(|()| tried(now)),
            [false, false, true, false, false]
        );
        let later = now + 60 * SECOND;
        assert_eq!([(); 3].map(|()| tried(later)), [false, false, true]);
    }

    #[test]
    fn different_topics_count_and_the_same_one_again_does_not() {
        let misuse = misuse(MisuseKind::Topics, 3);
        let eve = who("e", None, "192.0.2.1");
        let now = Instant::now();
        let mut found = Vec::new();
        for topic in ["a", "a", "b", "a", "b", "c", "d"] {
            found.push(denied(&misuse, &eve, Action::Publish, topic, now));
        }
        assert_eq!(found, [false, false, false, false, false, true, false]);
    }

    #[test]
    fn what_is_refused_for_other_reasons_than_a_right_is_no_misuse() {
        let misuse = misuse(MisuseKind::Topics, 1);
        let who = who("c", None, "192.0.2.1");
        let now = Instant::now();
        let request = Request {
            who: &who,
            action: Action::Publish,
            topic: "a",
        };
        for reason in [
            DenyReason::MessageRate,
            DenyReason::RetainQuota,
            DenyReason::MaxSubscriptions,
            DenyReason::TopicLevels,
            DenyReason::MountPoint,
        ] {
            let found = misuse.denied(&request, &Denial::new(reason), now);
            assert_eq!(found, None, "{reason:?}");
        }
        assert!(denied(&misuse, &who, Action::Will, "a", now));
    }

    #[test]
    fn one_who_changes_addresses_is_found_by_name_and_many_names_by_their_address() {
        let misuse = misuse(MisuseKind::Wildcards, 4);
        let now = Instant::now();
        let tried = |who: &Who| denied(&misuse, who, Action::Subscribe, "#", now);
        let moving: Vec<bool> = (1..=4)
            .map(|number| tried(&who("e", Some("eve"), &format!("192.0.2.{number}"))))
            .collect();
        assert_eq!(moving, [false, false, false, true]);
        let changing: Vec<bool> = (1..=4)
            .map(|number| {
                let address = format!("2001:db8::{number}");
                tried(&who(&format!("c{number}"), None, &address))
            })
            .collect();
        assert_eq!(changing, [false, false, false, true]);
    }

    #[test]
    fn a_fleet_of_users_behind_one_address_is_no_guesser_and_one_user_with_many_names_is() {
        let misuse = misuse(MisuseKind::ClientIds, 5);
        let now = Instant::now();
        let tried = |id: &str, user: Option<&str>, accepted| {
            let found = misuse.connecting(&who(id, user, "192.0.2.1"), accepted, now);
            found[0].is_some()
        };
        for number in 0..100 {
            let name = format!("pump{number}");
            assert!(!tried(&name, Some(&name), true));
        }
        let one: Vec<bool> = (0..5)
            .map(|number| tried(&format!("x{number}"), Some("eve"), true))
            .collect();
        assert_eq!(one, [false, false, false, false, true]);
        // Who is refused counts by address, whatever name he gives.
        let refused: Vec<bool> = (0..5)
            .map(|number| {
                let name = format!("y{number}");
                tried(&name, Some(&name), false)
            })
            .collect();
        assert_eq!(refused, [false, false, false, false, true]);
    }

    #[test]
    fn client_ids_that_count_upwards_are_found_in_any_form() {
        for ids in [
            ["pump-8", "pump-9", "pump-10", "pump-11"],
            ["d007a", "d008a", "d009a", "d010a"],
            ["1", "3", "5", "13"],
            [
                "\u{e4}1\u{f6}",
                "\u{e4}2\u{f6}",
                "\u{e4}3\u{f6}",
                "\u{e4}4\u{f6}",
            ],
        ] {
            let misuse = misuse(MisuseKind::Sequence, 4);
            let now = Instant::now();
            let found = ids.map(|id| misuse.connecting(&who(id, None, "192.0.2.1"), true, now)[1]);
            assert_eq!(
                found.map(|found| found.is_some()),
                [false, false, false, true],
                "{ids:?}"
            );
        }
    }

    #[test]
    fn numbers_that_jump_go_down_or_stay_are_no_sequence() {
        for ids in [
            ["p1", "p100", "p200", "p300"],
            ["p4", "p3", "p2", "p1"],
            ["p1", "p1", "p1", "p1"],
            ["a1", "b2", "c3", "d4"],
            ["x", "", "+", "#"],
        ] {
            let misuse = misuse(MisuseKind::Sequence, 3);
            let now = Instant::now();
            for id in ids {
                let found = misuse.connecting(&who(id, None, "192.0.2.1"), true, now);
                assert_eq!(found[1], None, "{ids:?}");
            }
        }
    }

    #[test]
    fn a_session_that_flaps_is_found_and_a_fleet_that_comes_back_is_not() {
        let misuse = misuse(MisuseKind::Takeovers, 3);
        let now = Instant::now();
        for number in 0..50 {
            let id = format!("pump{number}");
            let found = misuse.takeover(&who(&id, Some("fleet"), "192.0.2.1"), true, now);
            assert_eq!(found, None);
        }
        let flapping =
            [(); 3].map(|()| misuse.takeover(&who("x", Some("a"), "192.0.2.1"), true, now));
        assert_eq!(flapping.map(|found| found.is_some()), [false, false, true]);
        // Asking for the sessions of others counts by who asks, whichever they are.
        let others = ["a", "b", "c"].map(|id| {
            let found = misuse.takeover(&who(id, Some("eve"), "192.0.2.9"), false, now);
            found.is_some()
        });
        assert_eq!(others, [false, false, true]);
    }

    #[test]
    fn with_no_limit_nothing_is_counted() {
        let misuse = Misuse::new(MisuseSettings::default());
        let eve = who("e1", None, "192.0.2.1");
        let now = Instant::now();
        assert!(!denied(&misuse, &eve, Action::Subscribe, "#", now));
        assert_eq!(misuse.connecting(&eve, true, now), [None, None]);
        assert_eq!(misuse.takeover(&eve, false, now), None);
    }

    #[test]
    fn whoever_floods_with_names_finds_memory_bounded_and_is_found_himself() {
        let misuse = misuse(MisuseKind::Topics, 10);
        let now = Instant::now();
        let mut found = 0;
        for number in 0..20_000 {
            let flood = who(&format!("c{number}"), None, "192.0.2.1");
            let topic = format!("t{number}");
            found += u32::from(denied(&misuse, &flood, Action::Publish, &topic, now));
        }
        // By the address; each name tried one topic only.
        assert_eq!(found, 1);
    }

    #[test]
    fn numbers_are_found_where_they_stand() {
        for (id, expected) in [
            ("pump-0017-a", Some((("pump-", "-a"), 17))),
            ("17", Some((("", ""), 17))),
            ("a1b2", Some((("a1b", ""), 2))),
            ("none", None),
            ("", None),
            (
                "x123456789012345678901",
                Some((("x123", ""), 456_789_012_345_678_901)),
            ),
        ] {
            assert_eq!(numbered(id), expected, "{id}");
        }
    }

    proptest! {
        #[test]
        fn no_name_is_too_strange(id in ".*") {
            if let Some(((before, after), _)) = numbered(&id) {
                prop_assert!(before.len() + after.len() < id.len());
                prop_assert!(id.starts_with(before) && id.ends_with(after));
            }
        }

        #[test]
        fn different_topics_are_found_as_an_obvious_count_finds_them(
            tries in prop::collection::vec((0_u8..4, 0_u8..12), 0..120)
        ) {
            let misuse = misuse(MisuseKind::Topics, 6);
            let now = Instant::now();
            let mut seen: HashMap<u8, HashSet<u8>> = HashMap::new();
            for (user, topic) in tries {
                // Each from an address of its own, so that only the user counts.
                let name = format!("user{user}");
                let address = format!("192.0.2.{user}");
                let who = who(&name, Some(&name), &address);
                let topics = seen.entry(user).or_default();
                let before = topics.len();
                topics.insert(topic);
                let expected = before == 5 && topics.len() == 6;
                let found = denied(&misuse, &who, Action::Publish, &format!("t/{topic}"), now);
                prop_assert_eq!(found, expected);
            }
        }
    }
}
