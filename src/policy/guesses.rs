//! Failed authentications: counted by address, by user, and by user and address together.
//!
//! What follows differs, because whoever knows a name can make it fail. An address that fails too often is
//! banned, and so is a user from one address. A user that fails from many addresses is not: that would
//! let an outsider lock him out. His name is answered late instead, and only where the credential is wrong.
//!
//! How counts are kept, and why they cannot be flooded away, says [`super::tally`]. Bans are for what was
//! counted for certain; the delay also goes by what may have been counted.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::admission::counted_address;
use super::tally::Tally;

/// Addresses, users, and pairs remembered at most, each.
const MAX_ENTRIES: usize = 65_536;
/// What failures are counted in when only the delay asks for them.
const DELAY_WINDOW: Duration = Duration::from_secs(60);

/// `auth_failure_limit COUNT SECONDS BAN_SECONDS`, and the same for a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanLimit {
    /// Failures that lead to a ban.
    pub count: u32,
    /// Within this time.
    pub window: Duration,
    /// How long the ban lasts.
    pub ban: Duration,
}

/// `auth_failure_limit_user COUNT SECONDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLimit {
    /// Failures after which a wrong credential waits the longest.
    pub count: u32,
    /// Within this time.
    pub window: Duration,
}

/// `auth_failure_delay_ms MIN MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelaySettings {
    /// How long the answer to the first failure waits.
    pub least: Duration,
    /// How long it waits at most.
    pub most: Duration,
}

/// What is counted, and what follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuessSettings {
    /// An address.
    pub address: Option<BanLimit>,
    /// A user from one address.
    pub pair: Option<BanLimit>,
    /// A user, wherever from.
    pub user: Option<UserLimit>,
    /// How long a wrong credential waits for its answer.
    pub delay: Option<DelaySettings>,
}

impl GuessSettings {
    /// Pairs are counted for their own limit, for the delay, and so that a success forgives its own.
    fn pair_window(&self) -> Duration {
        let windows = [self.pair, self.address].map(|limit| limit.map(|limit| limit.window));
        windows.into_iter().flatten().max().unwrap_or(DELAY_WINDOW)
    }
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    /// The address is to be banned for so long.
    pub ban_address: Option<Duration>,
    /// The user from this address is to be banned for so long.
    pub ban_pair: Option<Duration>,
    /// The answer is to wait so long.
    pub delay: Duration,
}

#[derive(Debug)]
struct Inner {
    settings: GuessSettings,
    addresses: Tally,
    users: Tally,
    pairs: Tally,
}

/// See the module.
#[derive(Debug)]
pub struct Guesses(Mutex<Inner>);

impl Guesses {
    /// With these limits.
    pub fn new(settings: GuessSettings) -> Self {
        Self(Mutex::new(Inner {
            settings,
            addresses: Tally::new(MAX_ENTRIES),
            users: Tally::new(MAX_ENTRIES),
            pairs: Tally::new(MAX_ENTRIES),
        }))
    }

    /// Replaces the limits. What was counted stays, unless nothing is counted any more.
    pub fn set(&self, settings: GuessSettings) {
        let mut inner = self.0.lock();
        inner.settings = settings;
        if settings == GuessSettings::default() {
            inner.addresses.clear();
            inner.users.clear();
            inner.pairs.clear();
        }
    }

    /// Somebody at `address` who calls itself `user` failed to prove it.
    pub fn failed(&self, address: IpAddr, user: Option<&str>, now: Instant) -> Failed {
        let mut inner = self.0.lock();
        let settings = inner.settings;
        let mut failed = Failed::default();
        if settings == GuessSettings::default() {
            return failed;
        }
        let address = counted_address(address);
        let mut failures = 0;
        if let Some(limit) = settings.address {
            let slot = inner.addresses.slot(&address, limit.window, now);
            slot.add();
            failures = slot.most();
            if slot.sure() >= limit.count {
                failed.ban_address = Some(limit.ban);
                inner.addresses.forget(&address, limit.window, now);
            }
        }
        let pair = (address, user);
        let window = settings.pair_window();
        let slot = inner.pairs.slot(&pair, window, now);
        slot.add();
        failures = failures.max(slot.most());
        if let (Some(limit), Some(_)) = (settings.pair, user)
            && slot.sure() >= limit.count
        {
            failed.ban_pair = Some(limit.ban);
            inner.pairs.forget(&pair, window, now);
        }
        let mut user_is_tried = false;
        if let (Some(limit), Some(user)) = (settings.user, user) {
            let slot = inner.users.slot(&user, limit.window, now);
            slot.add();
            user_is_tried = slot.most() >= limit.count;
        }
        failed.delay = match settings.delay {
            None => Duration::ZERO,
            Some(delay) if user_is_tried => delay.most,
            Some(delay) => doubled(delay, failures),
        };
        failed
    }

    /// `user` at `address` proved who it is: what it failed there before is forgiven, and nothing else.
    /// Whoever has one right password would otherwise use it to go on guessing others for ever.
    pub fn succeeded(&self, address: IpAddr, user: &str, now: Instant) {
        let mut inner = self.0.lock();
        let settings = inner.settings;
        if settings == GuessSettings::default() {
            return;
        }
        let address = counted_address(address);
        let forgiven = inner
            .pairs
            .forget(&(address, Some(user)), settings.pair_window(), now);
        inner.addresses.take_off(&address, forgiven);
    }
}

/// Twice as long with each failure.
fn doubled(delay: DelaySettings, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    delay.least.saturating_mul(1 << doublings).min(delay.most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limit(count: u32) -> BanLimit {
        BanLimit {
            count,
            window: 60 * SECOND,
            ban: 300 * SECOND,
        }
    }

    fn delay(least: u64, most: u64) -> DelaySettings {
        DelaySettings {
            least: Duration::from_millis(least),
            most: Duration::from_millis(most),
        }
    }

    fn at(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_last_of_so_many_failures_bans_the_address() {
        let guesses = Guesses::new(GuessSettings {
            address: Some(limit(3)),
            ..GuessSettings::default()
        });
        let now = Instant::now();
        let failed = |user| guesses.failed(at("192.0.2.1"), user, now).ban_address;
        assert_eq!(failed(Some("a")), None);
        assert_eq!(failed(None), None);
        assert_eq!(failed(Some("b")), Some(300 * SECOND));
        // It begins anew once the ban is over.
        assert_eq!(failed(Some("b")), None);
        assert_eq!(
            guesses.failed(at("192.0.2.2"), None, now),
            Failed::default()
        );
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let guesses = Guesses::new(GuessSettings {
            address: Some(limit(2)),
            ..GuessSettings::default()
        });
        let now = Instant::now();
        let failed = |after: u64| {
            let then = now + Duration::from_secs(after);
            guesses.failed(at("192.0.2.1"), None, then).ban_address
        };
        assert_eq!(failed(0), None);
        assert_eq!(failed(60), None);
        assert_eq!(failed(61), Some(300 * SECOND));
    }

    #[test]
    fn a_pair_is_banned_and_neither_its_address_nor_its_user() {
        let guesses = Guesses::new(GuessSettings {
            address: Some(limit(100)),
            pair: Some(limit(2)),
            ..GuessSettings::default()
        });
        let now = Instant::now();
        let failed = |address, user| guesses.failed(at(address), Some(user), now);
        assert_eq!(failed("192.0.2.1", "alice").ban_pair, None);
        assert_eq!(failed("192.0.2.2", "alice").ban_pair, None);
        assert_eq!(failed("192.0.2.1", "bob").ban_pair, None);
        let third = failed("192.0.2.1", "alice");
        assert_eq!(
            (third.ban_pair, third.ban_address),
            (Some(300 * SECOND), None)
        );
    }

    #[test]
    fn a_user_that_fails_from_everywhere_is_slowed_down_and_never_banned() {
        let guesses = Guesses::new(GuessSettings {
            address: Some(limit(20)),
            pair: Some(limit(10)),
            user: Some(UserLimit {
                count: 5,
                window: 60 * SECOND,
            }),
            delay: Some(delay(100, 2_000)),
        });
        let now = Instant::now();
        for number in 0..200_u8 {
            let address = IpAddr::from([198, 51, 100, number]);
            let failed = guesses.failed(address, Some("alice"), now);
            assert_eq!((failed.ban_address, failed.ban_pair), (None, None));
            let expected = if number < 4 { 100 } else { 2_000 };
            assert_eq!(failed.delay, Duration::from_millis(expected), "{number}");
        }
        let bob = guesses.failed(at("203.0.113.1"), Some("bob"), now);
        assert_eq!(bob.delay, Duration::from_millis(100));
    }

    #[test]
    fn the_delay_doubles_with_each_failure_of_the_address_up_to_its_most() {
        for settings in [
            GuessSettings {
                address: Some(limit(100)),
                delay: Some(delay(100, 1_500)),
                ..GuessSettings::default()
            },
            // Without any limit the pair is counted for the delay alone.
            GuessSettings {
                delay: Some(delay(100, 1_500)),
                ..GuessSettings::default()
            },
        ] {
            let guesses = Guesses::new(settings);
            let now = Instant::now();
            for expected in [100, 200, 400, 800, 1_500, 1_500] {
                let failed = guesses.failed(at("192.0.2.1"), Some("a"), now);
                assert_eq!(failed.delay, Duration::from_millis(expected));
            }
        }
        // However many: nothing overflows.
        let longest = delay(60_000, 60_000);
        assert_eq!(doubled(longest, u32::MAX), longest.most);
    }

    #[test]
    fn a_success_forgives_its_own_failures_and_no_others() {
        let guesses = Guesses::new(GuessSettings {
            address: Some(limit(4)),
            ..GuessSettings::default()
        });
        let now = Instant::now();
        let address = at("192.0.2.1");
        let failed = |user| guesses.failed(address, Some(user), now).ban_address;
        for _ in 0..10 {
            assert_eq!(failed("clumsy"), None);
            assert_eq!(failed("clumsy"), None);
            guesses.succeeded(address, "clumsy", now);
        }
        // Who has a password of his own does not buy guesses with it.
        for _ in 0..3 {
            assert_eq!(failed("victim"), None);
            guesses.succeeded(address, "eve", now);
        }
        assert_eq!(failed("victim"), Some(300 * SECOND));
    }

    #[test]
    fn all_of_a_slash_64_counts_as_one_address() {
        let guesses = Guesses::new(GuessSettings {
            address: Some(limit(2)),
            ..GuessSettings::default()
        });
        let now = Instant::now();
        assert_eq!(
            guesses.failed(at("2001:db8::1"), None, now).ban_address,
            None
        );
        assert!(
            guesses
                .failed(at("2001:db8::2"), None, now)
                .ban_address
                .is_some()
        );
    }

    #[test]
    fn with_nothing_set_nothing_is_counted_and_a_reload_that_sets_nothing_forgets() {
        let guesses = Guesses::new(GuessSettings::default());
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(
                guesses.failed(at("192.0.2.1"), Some("a"), now),
                Failed::default()
            );
        }
        let settings = GuessSettings {
            address: Some(limit(2)),
            ..GuessSettings::default()
        };
        guesses.set(settings);
        assert_eq!(guesses.failed(at("192.0.2.1"), None, now).ban_address, None);
        guesses.set(GuessSettings::default());
        guesses.set(settings);
        assert_eq!(guesses.failed(at("192.0.2.1"), None, now).ban_address, None);
    }
}
