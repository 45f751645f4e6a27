//! A circuit breaker: who does not answer is left alone for a while.

use std::time::{Duration, Instant};

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// Successes in a row that close it again.
const SUCCESSES: u32 = 2;
/// How long it stays open before it lets one through.
const REST: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// One at a time is let through.
    Trying {
        successes: u32,
        busy: bool,
    },
}

#[derive(Debug)]
pub(super) struct Breaker(State);

impl Default for Breaker {
    fn default() -> Self {
        Self(State::Closed { failures: 0 })
    }
}

impl Breaker {
    /// Whether a question may be asked now. Its outcome must be told.
    pub(super) fn lets_through(&mut self, now: Instant) -> bool {
        match &mut self.0 {
            State::Closed { .. } => true,
            State::Open { until } if *until > now => false,
            State::Open { .. } => {
                self.0 = State::Trying {
                    successes: 0,
                    busy: true,
                };
                true
            }
            State::Trying { busy, .. } => !std::mem::replace(busy, true),
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.0 = match self.0 {
            State::Trying { successes, .. } if successes + 1 < SUCCESSES => State::Trying {
                successes: successes + 1,
                busy: false,
            },
            // One that was asked before it opened says nothing about now.
            State::Open { until } => State::Open { until },
            _ => State::Closed { failures: 0 },
        };
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.0 = match self.0 {
            State::Closed { failures } if failures + 1 < FAILURES => State::Closed {
                failures: failures + 1,
            },
            State::Open { until } => State::Open { until },
            _ => State::Open { until: now + REST },
        };
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.0, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_open_it_and_two_successes_close_it_after_half_a_minute() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert!(breaker.lets_through(begin));
            breaker.failed(begin);
        }
        assert!(breaker.is_closed() && breaker.lets_through(begin));
        breaker.failed(begin);
        assert!(!breaker.is_closed());
        assert!(!breaker.lets_through(at(29)));
        assert!(breaker.lets_through(at(30)));
        assert!(!breaker.lets_through(at(30)), "one at a time");
        breaker.succeeded();
        assert!(!breaker.is_closed() && breaker.lets_through(at(30)));
        breaker.succeeded();
        assert!(breaker.is_closed());
    }

    #[test]
    fn a_success_forgets_failures_and_a_failed_try_opens_it_again() {
        let begin = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.failed(begin);
        }
        breaker.succeeded();
        breaker.failed(begin);
        assert!(breaker.is_closed());
        for _ in 0..4 {
            breaker.failed(begin);
        }
        let later = begin + REST;
        assert!(breaker.lets_through(later));
        breaker.failed(later);
        assert!(!breaker.lets_through(later + Duration::from_secs(29)));
        assert!(breaker.lets_through(later + REST));
    }
}
