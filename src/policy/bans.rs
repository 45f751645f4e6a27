//! Addresses that are refused for a time after repeated failures (`auth_failure_limit`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::admission::counted_address;

/// Addresses remembered at most.
const MAX_ADDRESSES: usize = 65_536;

/// `auth_failure_limit COUNT SECONDS BAN_SECONDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanSettings {
    /// Failures that lead to a ban.
    pub count: u32,
    /// Within this time.
    pub window: Duration,
    /// How long the ban lasts.
    pub ban: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    failures: u32,
    since: Instant,
    banned_until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Inner {
    settings: Option<BanSettings>,
    records: HashMap<IpAddr, Record>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Bans {
    inner: Mutex<Inner>,
}

impl Bans {
    /// `None` bans nobody.
    pub fn new(settings: Option<BanSettings>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                settings,
                records: HashMap::new(),
            }),
        }
    }

    /// Replaces the limit. Bans in force stay, unless there is no limit any more.
    pub fn set(&self, settings: Option<BanSettings>) {
        let mut inner = self.inner.lock();
        inner.settings = settings;
        if settings.is_none() {
            inner.records.clear();
        }
    }

    /// Whether `address` is refused now.
    pub fn is_banned(&self, address: IpAddr, now: Instant) -> bool {
        let inner = self.inner.lock();
        // Nearly always there is nothing to look up.
        !inner.records.is_empty()
            && inner
                .records
                .get(&counted_address(address))
                .and_then(|record| record.banned_until)
                .is_some_and(|until| until > now)
    }

    /// Counts a failure; true if it is the one that bans the address.
    pub fn failed(&self, address: IpAddr, now: Instant) -> bool {
        let mut inner = self.inner.lock();
        let Some(settings) = inner.settings else {
            return false;
        };
        let address = counted_address(address);
        if inner.records.len() >= MAX_ADDRESSES && !inner.records.contains_key(&address) {
            inner.records.retain(|_, record| {
                record.banned_until.is_some_and(|until| until > now)
                    || now.duration_since(record.since) < settings.window
            });
            if inner.records.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let record = inner.records.entry(address).or_insert(Record {
            failures: 0,
            since: now,
            banned_until: None,
        });
        if now.duration_since(record.since) >= settings.window {
            record.failures = 0;
            record.since = now;
        }
        record.failures += 1;
        if record.failures < settings.count {
            return false;
        }
        record.failures = 0;
        record.banned_until = Some(now + settings.ban);
        true
    }

    /// A client from `address` proved who it is: its failures are forgotten, a ban is not.
    pub fn succeeded(&self, address: IpAddr) {
        let mut inner = self.inner.lock();
        if inner.records.is_empty() {
            return;
        }
        let address = counted_address(address);
        if inner
            .records
            .get(&address)
            .is_some_and(|record| record.banned_until.is_none())
        {
            inner.records.remove(&address);
        }
    }

    /// Addresses that are refused now, and until when.
    pub fn list(&self, now: Instant) -> Vec<(IpAddr, Instant)> {
        let inner = self.inner.lock();
        let mut list: Vec<_> = inner
            .records
            .iter()
            .filter_map(|(&address, record)| Some((address, record.banned_until?)))
            .filter(|&(_, until)| until > now)
            .collect();
        list.sort_unstable();
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_so_many_failures_bans_and_the_ban_ends() {
        let bans = Bans::new(Some(BanSettings {
            count: 3,
            window: Duration::from_secs(60),
            ban: Duration::from_secs(300),
        }));
        let now = Instant::now();
        let address: IpAddr = "192.0.2.1".parse().expect("address");
        assert!(!bans.failed(address, now));
        assert!(!bans.failed(address, now));
        assert!(!bans.is_banned(address, now));
        assert!(bans.failed(address, now));
        assert!(bans.is_banned(address, now));
        assert_eq!(bans.list(now).len(), 1);
        assert!(!bans.is_banned(address, now + Duration::from_secs(300)));
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let bans = Bans::new(Some(BanSettings {
            count: 2,
            window: Duration::from_secs(10),
            ban: Duration::from_secs(300),
        }));
        let now = Instant::now();
        let address: IpAddr = "192.0.2.1".parse().expect("address");
        assert!(!bans.failed(address, now));
        assert!(!bans.failed(address, now + Duration::from_secs(10)));
        assert!(bans.failed(address, now + Duration::from_secs(11)));
    }
}
