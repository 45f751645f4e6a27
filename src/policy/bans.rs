//! Who is refused for a time: an address, or a user from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::admission::counted_address;

/// Bans at most. Above it the one that ends first makes room, so that a flood of them frees nobody for
/// much longer than he would have waited.
const MAX_BANS: usize = 16_384;
/// The longest user name a ban is kept for. No user is called so, and names are the attacker's to choose.
const MAX_USER_BYTES: usize = 256;

/// Who is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Banned {
    /// The address; IPv6 stands for its /64.
    pub address: IpAddr,
    /// Only this user of it.
    pub user: Option<Arc<str>>,
}

impl Banned {
    /// An address, or a user from it. `None` if the name is too long to be anybody's.
    pub fn new(address: IpAddr, user: Option<&str>) -> Option<Self> {
        let fits = user.is_none_or(|user| user.len() <= MAX_USER_BYTES);
        fits.then(|| Self {
            address: counted_address(address),
            user: user.map(Arc::from),
        })
    }
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BanCause {
    /// Failed authentications.
    AuthFailures,
    /// What an ordinary client does not do.
    Misuse,
    /// A canary was touched.
    Canary,
    /// The operator says so.
    Operator,
}

impl BanCause {
    /// Every cause.
    pub const ALL: &'static [Self] = &[
        Self::AuthFailures,
        Self::Misuse,
        Self::Canary,
        Self::Operator,
    ];

    /// The metric label value, the `reason` field of the audit log and of the ban file.
    pub fn label(self) -> &'static str {
        match self {
            Self::AuthFailures => "auth_failures",
            Self::Misuse => "misuse",
            Self::Canary => "canary",
            Self::Operator => "operator",
        }
    }

    /// For people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::AuthFailures => "too many failed authentications",
            Self::Misuse => "misuse",
            Self::Canary => "a canary was touched",
            Self::Operator => "the operator says so",
        }
    }
}

/// One ban in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who.
    pub banned: Banned,
    /// Why.
    pub cause: BanCause,
    /// Until when.
    pub until: Instant,
}

#[derive(Debug, Default)]
struct Inner {
    bans: HashMap<Banned, (BanCause, Instant)>,
    /// Changes whenever `bans` does.
    version: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Bans {
    inner: Mutex<Inner>,
}

impl Bans {
    /// Whether `address` is refused now.
    pub fn is_banned(&self, address: IpAddr, now: Instant) -> bool {
        let inner = self.inner.lock();
        // Nearly always there is nothing to look up.
        !inner.bans.is_empty()
            && inner.holds(
                &Banned {
                    address: counted_address(address),
                    user: None,
                },
                now,
            )
    }

    /// Whether `user` is refused now when it comes from `address`.
    pub fn is_user_banned(&self, address: IpAddr, user: &str, now: Instant) -> bool {
        let inner = self.inner.lock();
        !inner.bans.is_empty()
            && Banned::new(address, Some(user)).is_some_and(|banned| inner.holds(&banned, now))
    }

    /// Whether a connection of `user` from `address` is to end: unless the ban is for what others of
    /// the address may have failed.
    pub fn expels(&self, address: IpAddr, user: Option<&str>, now: Instant) -> bool {
        let inner = self.inner.lock();
        if inner.bans.is_empty() {
            return false;
        }
        let whole = Banned::new(address, None);
        let pair = user.and_then(|user| Banned::new(address, Some(user)));
        [whole, pair].into_iter().flatten().any(|banned| {
            let ban = inner.bans.get(&banned);
            ban.is_some_and(|&(cause, until)| cause != BanCause::AuthFailures && until > now)
        })
    }

    /// Bans for a time; a ban that lasts longer stays. Whether there was none before.
    pub fn ban(&self, banned: Banned, cause: BanCause, time: Duration, now: Instant) -> bool {
        let Some(until) = now.checked_add(time) else {
            return false;
        };
        let mut inner = self.inner.lock();
        if let Some((known, end)) = inner.bans.get_mut(&banned) {
            let was_over = *end <= now;
            if *end < until {
                // Who is to be gone stays so if he fails to come back.
                if was_over || cause != BanCause::AuthFailures {
                    *known = cause;
                }
                *end = until;
                inner.version += 1;
            }
            return was_over;
        }
        if inner.bans.len() >= MAX_BANS {
            let first = inner.bans.iter().min_by_key(|(_, (_, until))| *until);
            if let Some(first) = first.map(|(banned, _)| banned.clone()) {
                inner.bans.remove(&first);
            }
        }
        inner.bans.insert(banned, (cause, until));
        inner.version += 1;
        true
    }

    /// Ends a ban; whether there was one.
    pub fn lift(&self, banned: &Banned) -> bool {
        let mut inner = self.inner.lock();
        let lifted = inner.bans.remove(banned).is_some();
        inner.version += u64::from(lifted);
        lifted
    }

    /// Takes out those that are over, for `lifts` those of which it says so, and gives them.
    pub fn end(&self, now: Instant, lifts: impl Fn(&Banned, BanCause) -> bool) -> Vec<Ban> {
        let mut inner = self.inner.lock();
        let ended: Vec<Ban> = inner
            .bans
            .extract_if(|banned, (cause, until)| *until <= now || lifts(banned, *cause))
            .map(|(banned, (cause, until))| Ban {
                banned,
                cause,
                until,
            })
            .collect();
        inner.version += ended.len() as u64;
        ended
    }

    /// Another number whenever a ban begins, ends or is prolonged.
    pub fn version(&self) -> u64 {
        self.inner.lock().version
    }

    /// How many addresses, and users from one, are refused now.
    pub fn count(&self, now: Instant) -> (usize, usize) {
        let inner = self.inner.lock();
        let live = inner.bans.iter().filter(|(_, (_, until))| *until > now);
        live.fold((0, 0), |(addresses, users), (banned, _)| {
            match banned.user {
                None => (addresses + 1, users),
                Some(_) => (addresses, users + 1),
            }
        })
    }

    /// Who is refused now.
    pub fn list(&self, now: Instant) -> Vec<Ban> {
        let inner = self.inner.lock();
        let mut list: Vec<_> = inner
            .bans
            .iter()
            .map(|(banned, &(cause, until))| Ban {
                banned: banned.clone(),
                cause,
                until,
            })
            .filter(|ban| ban.until > now)
            .collect();
        list.sort_unstable_by(|a, b| a.banned.cmp(&b.banned));
        list
    }
}

impl Inner {
    fn holds(&self, banned: &Banned, now: Instant) -> bool {
        self.bans.get(banned).is_some_and(|&(_, until)| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const CAUSE: BanCause = BanCause::AuthFailures;

    fn at(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn banned(address: &str, user: Option<&str>) -> Banned {
        Banned::new(at(address), user).expect("short")
    }

    #[test]
    fn a_ban_holds_for_its_time_and_for_the_whole_slash_64() {
        let bans = Bans::default();
        let now = Instant::now();
        assert!(bans.ban(banned("2001:db8::1", None), CAUSE, 60 * SECOND, now));
        assert!(bans.is_banned(at("2001:db8::ffff"), now + 59 * SECOND));
        assert!(!bans.is_banned(at("2001:db8:0:1::1"), now));
        assert!(!bans.is_banned(at("2001:db8::1"), now + 60 * SECOND));
    }

    #[test]
    fn a_user_is_banned_from_one_address_alone() {
        let bans = Bans::default();
        let now = Instant::now();
        bans.ban(banned("192.0.2.1", Some("alice")), CAUSE, SECOND, now);
        assert!(bans.is_user_banned(at("192.0.2.1"), "alice", now));
        assert!(!bans.is_user_banned(at("192.0.2.1"), "bob", now));
        assert!(!bans.is_user_banned(at("192.0.2.2"), "alice", now));
        assert!(!bans.is_banned(at("192.0.2.1"), now));
        assert_eq!(bans.count(now), (0, 1));
        assert_eq!(Banned::new(at("192.0.2.1"), Some(&"x".repeat(257))), None);
    }

    #[test]
    fn a_shorter_ban_does_not_end_a_longer_one() {
        let bans = Bans::default();
        let now = Instant::now();
        let who = banned("192.0.2.1", None);
        assert!(bans.ban(who.clone(), CAUSE, 60 * SECOND, now));
        assert!(!bans.ban(who.clone(), CAUSE, SECOND, now));
        assert!(bans.is_banned(who.address, now + 59 * SECOND));
    }

    #[test]
    fn bans_end_when_they_are_over_or_lifted_and_are_given_once() {
        let bans = Bans::default();
        let now = Instant::now();
        let (short, long) = (banned("192.0.2.1", None), banned("192.0.2.2", None));
        bans.ban(short.clone(), CAUSE, SECOND, now);
        bans.ban(long.clone(), BanCause::Operator, 60 * SECOND, now);
        let version = bans.version();
        let ended = bans.end(now + SECOND, |_, _| false);
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].banned, short);
        assert_ne!(bans.version(), version);
        assert_eq!(bans.end(now + SECOND, |_, cause| cause == CAUSE).len(), 0);
        assert!(bans.lift(&long));
        assert!(!bans.lift(&long));
        assert_eq!(bans.list(now), []);
    }

    #[test]
    fn more_bans_than_there_may_be_push_out_the_one_that_ends_first() {
        let bans = Bans::default();
        let now = Instant::now();
        for number in 0..u32::try_from(MAX_BANS).expect("small") {
            let address = IpAddr::from(number.to_be_bytes());
            let time = (100 + number) * SECOND;
            bans.ban(Banned::new(address, None).expect("short"), CAUSE, time, now);
        }
        bans.ban(banned("203.0.113.1", None), CAUSE, 200 * SECOND, now);
        assert_eq!(bans.count(now), (MAX_BANS, 0));
        assert!(!bans.is_banned(at("0.0.0.0"), now));
        assert!(bans.is_banned(at("0.0.0.1"), now) && bans.is_banned(at("203.0.113.1"), now));
    }
}
