//! Keep Alive: when silence means that the peer is gone.

use std::time::{Duration, Instant};

/// Watches for one and a half times the Keep Alive without a complete packet [MQTT-3.1.2-22].
#[derive(Debug)]
pub(crate) struct KeepAlive {
    limit: Option<Duration>,
    last_packet: Instant,
}

impl KeepAlive {
    /// `seconds` 0 switches it off.
    pub(crate) fn new(seconds: u16, now: Instant) -> Self {
        Self {
            limit: (seconds > 0).then(|| Duration::from_millis(u64::from(seconds) * 1_500)),
            last_packet: now,
        }
    }

    /// A whole packet came. Bytes of an unfinished one do not count: a trickle keeps nothing open.
    pub(crate) fn packet(&mut self, now: Instant) {
        self.last_packet = now;
    }

    /// When the connection ends if nothing more comes.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.limit.map(|limit| self.last_packet + limit)
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_a_half_times_the_interval_counted_from_the_last_packet() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(2, start);
        assert!(!keep_alive.is_over(start + Duration::from_millis(2_999)));
        assert!(keep_alive.is_over(start + Duration::from_secs(3)));
        keep_alive.packet(start + Duration::from_secs(2));
        assert!(!keep_alive.is_over(start + Duration::from_secs(3)));
    }

    #[test]
    fn zero_switches_it_off() {
        let start = Instant::now();
        assert_eq!(KeepAlive::new(0, start).deadline(), None);
    }
}
