//! The time of day, for what must be known after a restart.

use std::time::{Duration, Instant};

/// Ties the monotonic clock to the time of day, once, when the store is opened. From then on the time of day
/// that is written goes on with the monotonic clock: setting the machine's clock changes no expiry.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    instant: Instant,
    wall_ms: u64,
}

impl Clock {
    /// At `instant` it is `wall_ms` milliseconds after 1970.
    pub fn new(instant: Instant, wall_ms: u64) -> Self {
        Self { instant, wall_ms }
    }

    /// The time of day when the store was opened.
    pub(super) fn begun_ms(&self) -> u64 {
        self.wall_ms
    }

    /// The time of day at `at`, in milliseconds since 1970.
    pub fn wall_ms(&self, at: Instant) -> u64 {
        let later = at.saturating_duration_since(self.instant).as_millis();
        let earlier = self.instant.saturating_duration_since(at).as_millis();
        let later = u64::try_from(later).unwrap_or(u64::MAX);
        let earlier = u64::try_from(earlier).unwrap_or(u64::MAX);
        self.wall_ms.saturating_add(later).saturating_sub(earlier)
    }

    /// When it is `wall_ms`; the nearest time that can be told if that is too far away.
    pub fn instant(&self, wall_ms: u64) -> Instant {
        let later = Duration::from_millis(wall_ms.saturating_sub(self.wall_ms));
        let earlier = Duration::from_millis(self.wall_ms.saturating_sub(wall_ms));
        let far = Duration::from_secs(100 * 366 * 86_400);
        self.instant
            .checked_add(later)
            .or_else(|| self.instant.checked_add(far))
            .and_then(|at| at.checked_sub(earlier))
            .unwrap_or(self.instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_the_opening_come_back_as_they_were() {
        let now = Instant::now();
        let clock = Clock::new(now, 1_000_000);
        for offset in [0, 1, 999_999] {
            let later = now + Duration::from_millis(offset);
            assert_eq!(clock.wall_ms(later), 1_000_000 + offset);
            assert_eq!(clock.instant(1_000_000 + offset), later);
        }
        assert_eq!(
            clock.instant(clock.wall_ms(now) - 400),
            now.checked_sub(Duration::from_millis(400)).expect("a time")
        );
    }

    #[test]
    fn a_time_that_cannot_be_told_is_far_away_and_no_panic() {
        let now = Instant::now();
        let clock = Clock::new(now, 5);
        assert!(clock.instant(u64::MAX) > now);
        assert_eq!(
            clock.instant(0),
            now.checked_sub(Duration::from_millis(5)).expect("a time")
        );
    }
}
