//! Watches for clients that guess, and bans them. What counts is decided in `policy`; here are the clock
//! and those who are told.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::audit::{Auditor, Event, Touched};
use crate::policy::{
    BanCause, Banned, Bans, Canaries, Denial, DenyReason, Found, GuessSettings, Guesses, Misuse,
    MisuseSettings, Observer, Request, Who,
};

use super::now;

/// What the operator asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentrySettings {
    /// Failed authentications.
    pub guesses: GuessSettings,
    /// What an ordinary client does not do.
    pub misuse: MisuseSettings,
    /// What nobody has any business with.
    pub canaries: Canaries,
    /// How long the address of who touches it is banned.
    pub canary_ban: Option<Duration>,
}

/// See the module.
pub struct Sentry {
    audit: Arc<Auditor>,
    /// Who is refused for a time.
    pub bans: Bans,
    guesses: Guesses,
    misuse: Misuse,
    canaries: ArcSwap<(Canaries, Option<Duration>)>,
    /// There are canary topics: all that a topic costs where there are none.
    topics_are_watched: AtomicBool,
    /// Somebody was banned who may be connected.
    expels: AtomicBool,
}

impl fmt::Debug for Sentry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentry")
            .field("bans", &self.bans)
            .finish_non_exhaustive()
    }
}

impl Sentry {
    /// Tells `audit`.
    pub fn new(audit: Arc<Auditor>, settings: &SentrySettings) -> Arc<Self> {
        Arc::new(Self {
            audit,
            bans: Bans::default(),
            guesses: Guesses::new(settings.guesses),
            misuse: Misuse::new(settings.misuse),
            canaries: ArcSwap::from_pointee((settings.canaries.clone(), settings.canary_ban)),
            topics_are_watched: AtomicBool::new(!settings.canaries.topics.is_empty()),
            expels: AtomicBool::new(false),
        })
    }

    /// Replaces the settings. Bans in force stay, unless nobody is banned for their cause any more.
    pub fn set(&self, settings: &SentrySettings) {
        self.guesses.set(settings.guesses);
        self.misuse.set(settings.misuse);
        self.canaries
            .store(Arc::new((settings.canaries.clone(), settings.canary_ban)));
        let watched = !settings.canaries.topics.is_empty();
        self.topics_are_watched.store(watched, Ordering::Relaxed);
        let GuessSettings { address, pair, .. } = settings.guesses;
        let bans = settings.misuse.iter().flatten().find_map(|limit| limit.ban);
        self.end_bans(|banned, cause| {
            let limit = if banned.user.is_some() { pair } else { address };
            match cause {
                BanCause::AuthFailures => limit.is_none(),
                BanCause::Misuse => bans.is_none(),
                BanCause::Canary => settings.canary_ban.is_none(),
                BanCause::Operator => false,
            }
        });
    }

    /// Ends the bans whose time is over. To be called each second.
    pub fn tick(&self) {
        self.end_bans(|_, _| false);
    }

    fn end_bans(&self, lifts: impl Fn(&Banned, BanCause) -> bool) {
        let now = now();
        for ban in self.bans.end(now, lifts) {
            self.audit.record(&Event::BanEnded {
                address: ban.banned.address,
                user: ban.banned.user.as_deref(),
                cause: ban.cause,
                lifted: ban.until > now,
            });
        }
    }

    /// Somebody who calls itself `user` was refused for `reason`. How long the answer is to wait.
    pub(super) fn authentication_failed(
        &self,
        address: IpAddr,
        user: Option<&str>,
        reason: DenyReason,
    ) -> Duration {
        let user = match reason {
            DenyReason::BadCredentials => user,
            // A token says itself whose it is. The name beside it may be the same for a whole fleet, of
            // which one has an old key.
            DenyReason::TokenSignature | DenyReason::TokenMalformed => None,
            // Whoever comes too early, too late or to the wrong door has not guessed.
            _ => return Duration::ZERO,
        };
        let failed = self.guesses.failed(address, user, now());
        for (user, time) in [(user, failed.ban_pair), (None, failed.ban_address)] {
            // Nobody has a name too long to be banned: it fails by itself.
            if let (Some(time), Some(banned)) = (time, Banned::new(address, user)) {
                self.ban(&banned, BanCause::AuthFailures, time);
            }
        }
        failed.delay
    }

    /// `claimed` has proved with its own secret to be `user`. A name that nothing vouches for, or that
    /// is not the one that failed, forgives nothing.
    pub(super) fn authenticated(
        &self,
        address: IpAddr,
        claimed: Option<&str>,
        user: Option<&str>,
        method: &str,
    ) {
        if let (Some(claimed), Some(user)) = (claimed, user)
            && claimed == user
            && matches!(method, "password" | "scram")
        {
            self.guesses.succeeded(address, user, now());
        }
    }

    /// Whether somebody was banned since this was last asked whose connections are to end.
    pub fn take_expulsion(&self) -> bool {
        self.expels.swap(false, Ordering::AcqRel)
    }

    /// Somebody connects who sent the Client Identifier in `who`.
    pub(super) fn connecting(&self, who: &Who, accepted: bool) {
        for found in self.misuse.connecting(who, accepted, now()) {
            self.found(found, who, who.client_id.as_str());
        }
    }

    /// Somebody asks for a session that is there.
    pub(super) fn takeover(&self, who: &Who, granted: bool) {
        let found = self.misuse.takeover(who, granted, now());
        self.found(found, who, who.client_id.as_str());
    }

    /// Somebody says to be `user`; `who` makes what is told if that is a canary.
    pub(super) fn called(&self, user: &str, who: impl FnOnce() -> Who) {
        let canaries = self.canaries.load();
        if canaries.0.users.contains(user) {
            self.touched(&who(), Touched::User, canaries.1);
        }
    }

    fn asked(&self, request: &Request<'_>, allowed: bool) {
        if !self.topics_are_watched.load(Ordering::Relaxed) {
            return;
        }
        let canaries = self.canaries.load();
        let Request { who, action, topic } = *request;
        if canaries.0.are_touched(action, topic) {
            let touched = Touched::Topic {
                action,
                topic,
                allowed,
            };
            self.touched(who, touched, canaries.1);
        }
    }

    #[cold]
    fn touched(&self, who: &Who, touched: Touched<'_>, ban: Option<Duration>) {
        let banned = who.remote_ip().and_then(|ip| Banned::new(ip, None));
        let ban = ban.zip(banned);
        let bans = ban.is_some();
        self.audit.record(&Event::Canary { who, touched, bans });
        if let Some((time, banned)) = ban {
            self.ban(&banned, BanCause::Canary, time);
        }
    }

    fn found(&self, found: Option<Found>, who: &Who, example: &str) {
        let Some(found) = found else {
            return;
        };
        self.audit.record(&Event::Misuse {
            who,
            found,
            example,
        });
        if let (Some(time), Some(address)) = (found.limit.ban, who.remote_ip())
            && let Some(banned) = Banned::new(address, None)
        {
            self.ban(&banned, BanCause::Misuse, time);
        }
    }

    /// A ban from before the start.
    pub fn restore(&self, banned: Banned, cause: BanCause, left: Duration) {
        self.bans.ban(banned, cause, left, now());
    }

    /// The operator ends a ban.
    pub fn lift(&self, banned: &Banned) {
        self.end_bans(|other, _| other == banned);
    }

    /// Refuses somebody for a time.
    pub fn ban(&self, banned: &Banned, cause: BanCause, time: Duration) {
        let is_new = self.bans.ban(banned.clone(), cause, time, now());
        if cause != BanCause::AuthFailures {
            self.expels.store(true, Ordering::Release);
        }
        if is_new {
            self.audit.record(&Event::Banned {
                address: banned.address,
                user: banned.user.as_deref(),
                cause,
                lasts: time,
            });
        }
    }
}

/// What the gate refuses is told to the auditor, and then looked at. What it admits comes here where it is
/// judged anew, which a client that goes on with its topic is not.
impl Observer for Sentry {
    fn denied(&self, request: &Request<'_>, denial: &Denial) {
        self.audit.denied(request, denial);
        self.asked(request, false);
        let found = self.misuse.denied(request, denial, now());
        self.found(found, request.who, request.topic);
    }

    fn lost(&self, request: &Request<'_>, denial: &Denial) {
        // The operator has taken a right away; the client has asked for nothing.
        self.audit.denied(request, denial);
    }

    fn admitted(&self, request: &Request<'_>) {
        self.asked(request, true);
    }

    fn used(&self, request: &Request<'_>) {
        self.audit.used(request);
    }

    fn would_deny(&self, request: &Request<'_>, denial: &Denial) {
        self.audit.would_deny(request, denial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Journal, JournalTarget, Metrics, Traffic};
    use crate::policy::{BanLimit, DelaySettings};

    fn sentry() -> Arc<Sentry> {
        let journal = Journal::start(&JournalTarget::Off).expect("no file is opened");
        let metrics = Metrics::new(Arc::new(Traffic::new(1)), &[], &[], &[], &[]);
        let audit = Auditor::new(journal, metrics.expect("names differ").1);
        let limit = |count| {
            Some(BanLimit {
                count,
                window: Duration::from_secs(60),
                ban: Duration::from_secs(60),
            })
        };
        let settings = SentrySettings {
            guesses: GuessSettings {
                address: limit(5),
                pair: limit(2),
                user: None,
                delay: Some(DelaySettings {
                    least: Duration::from_millis(1),
                    most: Duration::from_millis(1),
                }),
            },
            ..SentrySettings::default()
        };
        Sentry::new(audit, &settings)
    }

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn only_wrong_credentials_count_and_wait() {
        let sentry = sentry();
        for reason in DenyReason::ALL {
            let counts = matches!(
                reason,
                DenyReason::BadCredentials
                    | DenyReason::TokenSignature
                    | DenyReason::TokenMalformed
            );
            let delay = sentry.authentication_failed(ADDRESS, Some("alice"), *reason);
            assert_eq!(!delay.is_zero(), counts, "{reason:?}");
        }
        assert_eq!(sentry.bans.list(now()), []);
    }

    #[test]
    fn wrong_tokens_ban_their_address_and_not_the_name_a_fleet_shares() {
        let sentry = sentry();
        for count in 1..=5 {
            assert_eq!(sentry.bans.count(now()), (0, 0), "{count}");
            sentry.authentication_failed(ADDRESS, Some("fleet"), DenyReason::TokenSignature);
        }
        assert_eq!(sentry.bans.count(now()), (1, 0));
    }

    #[test]
    fn a_name_that_nothing_vouches_for_forgives_nothing() {
        for (claimed, user, method, forgives) in [
            ("alice", "alice", "password", true),
            ("alice", "alice", "scram", true),
            ("alice", "alice", "unchecked", false),
            ("alice", "eve", "token", false),
            ("alice", "eve", "certificate", false),
        ] {
            let sentry = sentry();
            let fail = || {
                sentry.authentication_failed(ADDRESS, Some("alice"), DenyReason::BadCredentials);
            };
            fail();
            sentry.authenticated(ADDRESS, Some(claimed), Some(user), method);
            fail();
            let banned = sentry.bans.count(now()).1 == 1;
            assert_eq!(banned, !forgives, "{method}");
        }
    }
}
