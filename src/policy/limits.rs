//! Rates: so many a second, with a burst.

use std::time::{Duration, Instant};

/// A rate as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units a second, at least 1.
    pub per_second: u64,
    /// Units that may come at once, at least 1.
    pub burst: u64,
}

impl Rate {
    fn time_for(self, units: u64) -> Duration {
        let nanos = u128::from(units) * 1_000_000_000 / u128::from(self.per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// A token bucket kept as one instant: when all that was taken will have been earned. The bucket is
/// full when that is past, and empty when it is a whole burst ahead.
///
/// Something larger than the burst passes when the bucket is full, and is paid off afterwards:
/// otherwise a message larger than the burst could never be sent.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate: Rate,
    earned_at: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            earned_at: None,
        }
    }

    /// Whether `units` may be taken now; else when.
    pub fn check(&self, units: u64, now: Instant) -> Result<(), Instant> {
        let Some(earned_at) = self.earned_at else {
            return Ok(());
        };
        let burst = self.rate.time_for(self.rate.burst);
        let wanted = self.rate.time_for(units.min(self.rate.burst));
        let ahead = earned_at.saturating_duration_since(now) + wanted;
        if ahead <= burst {
            Ok(())
        } else {
            Err(now + ahead.saturating_sub(burst))
        }
    }

    /// Takes `units`; the caller has checked.
    pub fn take(&mut self, units: u64, now: Instant) {
        let from = self.earned_at.map_or(now, |at| at.max(now));
        self.earned_at = Some(from + self.rate.time_for(units));
    }

    /// Whether the bucket is full: nothing is remembered that a new one would not say.
    pub fn is_full(&self, now: Instant) -> bool {
        self.earned_at.is_none_or(|at| at <= now)
    }
}

/// What happens to a client over its rate (`rate_action`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateAction {
    /// Its socket is not read until there is budget.
    #[default]
    Throttle,
    /// The message is refused.
    Drop,
    /// The connection ends.
    Disconnect,
}

/// What each client may spend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetSettings {
    /// `client_message_rate`.
    pub messages: Option<Rate>,
    /// `client_byte_rate`: topic, properties and payload.
    pub bytes: Option<Rate>,
    /// `rate_action`.
    pub action: RateAction,
}

/// What one client has left. Owned by its connection, so nothing is locked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    messages: Option<TokenBucket>,
    bytes: Option<TokenBucket>,
    pub(crate) action: RateAction,
}

/// Which rate is used up, and when there is some again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    Messages(Instant),
    Bytes(Instant),
}

impl Budget {
    pub(crate) fn new(settings: BudgetSettings) -> Self {
        Self {
            messages: settings.messages.map(TokenBucket::new),
            bytes: settings.bytes.map(TokenBucket::new),
            action: settings.action,
        }
    }

    pub(crate) fn set(&mut self, settings: BudgetSettings) {
        let rate = |bucket: &Option<TokenBucket>| bucket.as_ref().map(|bucket| bucket.rate);
        if rate(&self.messages) != settings.messages || rate(&self.bytes) != settings.bytes {
            *self = Self::new(settings);
        }
        self.action = settings.action;
    }

    /// Pays for one message of `size` bytes; takes nothing if either rate is used up.
    #[inline]
    pub(crate) fn pay(&mut self, size: usize, now: Instant) -> Result<(), Spent> {
        if let Some(bucket) = &self.messages {
            bucket.check(1, now).map_err(Spent::Messages)?;
        }
        if let Some(bucket) = &self.bytes {
            bucket.check(size as u64, now).map_err(Spent::Bytes)?;
        }
        if let Some(bucket) = &mut self.messages {
            bucket.take(1, now);
        }
        if let Some(bucket) = &mut self.bytes {
            bucket.take(size as u64, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(Rate {
            per_second: 10,
            burst: 5,
        });
        let mut passed = 0;
        for millisecond in 0..1_000 {
            let at = now + Duration::from_millis(millisecond);
            while bucket.check(1, at).is_ok() {
                bucket.take(1, at);
                passed += 1;
            }
        }
        // Five at once, then one each tenth of a second.
        assert!((14..=15).contains(&passed), "{passed}");
    }

    #[test]
    fn what_waits_is_told_when_it_may_pass() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(Rate {
            per_second: 4,
            burst: 1,
        });
        assert!(bucket.check(1, now).is_ok());
        bucket.take(1, now);
        let until = bucket.check(1, now).expect_err("empty");
        assert!(bucket.check(1, until).is_ok());
        assert_eq!(until.duration_since(now), Duration::from_millis(250));
    }

    #[test]
    fn not_one_more_than_the_burst_passes_at_once() {
        let now = Instant::now();
        for burst in 1..5 {
            let mut bucket = TokenBucket::new(Rate {
                per_second: 1,
                burst,
            });
            let mut passed = 0;
            while bucket.check(1, now).is_ok() {
                bucket.take(1, now);
                passed += 1;
            }
            assert_eq!(passed, burst);
        }
    }

    #[test]
    fn something_larger_than_the_burst_passes_and_is_paid_off() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(Rate {
            per_second: 100,
            burst: 10,
        });
        assert!(bucket.check(1_000, now).is_ok());
        bucket.take(1_000, now);
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(bucket.check(10, later(9)).is_err());
        assert!(bucket.check(10, later(10)).is_ok());
    }
}
