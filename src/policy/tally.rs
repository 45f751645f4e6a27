//! Counts by key within a time, in bounded memory, that nobody can have forgotten.
//!
//! A key belongs to one of many small buckets, which one is secret. In a full bucket a newcomer takes the
//! place of an entry whose time is over, or else of the lowest count, and goes on from that count: what
//! was counted for the other is *doubt* in the newcomer's count. So
//!
//! * whoever is pushed out and comes back has at least the count he had: to be forgotten one must first
//!   bring everybody else of the bucket up to one's own count, in every bucket, for want of knowing which;
//! * a count without its doubt never says more than was counted. What hurts, as a ban does, asks for
//!   [`Slot::sure`]; what only slows down may ask for [`Slot::most`].

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::{Duration, Instant};

/// Entries of a bucket.
const WAYS: usize = 16;

/// One key's count, and what else is kept for it.
#[derive(Debug)]
pub(super) struct Slot<M> {
    key: u64,
    since: Instant,
    count: u32,
    doubt: u32,
    /// What else is kept; empty when the time begins.
    pub(super) more: M,
}

impl<M> Slot<M> {
    /// What was counted for this key for certain.
    pub(super) fn sure(&self) -> u32 {
        self.count - self.doubt
    }

    /// What may have been counted.
    pub(super) fn most(&self) -> u32 {
        self.count
    }

    /// Counts from the beginning; the doubt stays.
    pub(super) fn restart(&mut self) {
        self.count = self.doubt;
    }

    pub(super) fn add(&mut self) {
        self.count = self.count.saturating_add(1);
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tally<M = ()> {
    hasher: RandomState,
    buckets: Vec<Vec<Slot<M>>>,
    wanted: usize,
}

impl<M: Default> Tally<M> {
    /// Holds about `entries` keys. Takes no memory before the first.
    pub(super) fn new(entries: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            buckets: Vec::new(),
            wanted: (entries / WAYS).max(1),
        }
    }

    fn bucket(&mut self, key: u64) -> &mut Vec<Slot<M>> {
        if self.buckets.is_empty() {
            self.buckets.resize_with(self.wanted, Vec::new);
        }
        let count = self.buckets.len() as u64;
        let index = usize::try_from(key % count).unwrap_or_default();
        &mut self.buckets[index]
    }

    /// What stands for `key` within `window`; made if nothing does.
    pub(super) fn slot(&mut self, key: &impl Hash, window: Duration, now: Instant) -> &mut Slot<M> {
        let key = self.hasher.hash_one(key);
        let bucket = self.bucket(key);
        let is_over = |slot: &Slot<M>| now.saturating_duration_since(slot.since) >= window;
        let empty = Slot {
            key,
            since: now,
            count: 0,
            doubt: 0,
            more: M::default(),
        };
        if let Some(index) = bucket.iter().position(|slot| slot.key == key) {
            if is_over(&bucket[index]) {
                bucket[index] = empty;
            }
            return &mut bucket[index];
        }
        if bucket.len() < WAYS {
            bucket.push(empty);
            let last = bucket.len() - 1;
            return &mut bucket[last];
        }
        // Over comes first, then the lowest count, then the oldest.
        let rank = |slot: &Slot<M>| (!is_over(slot), slot.count, slot.since);
        let (index, inherited) = bucket
            .iter()
            .enumerate()
            .min_by_key(|(_, slot)| rank(slot))
            .map_or((0, 0), |(index, slot)| {
                (index, if is_over(slot) { 0 } else { slot.count })
            });
        bucket[index] = Slot {
            count: inherited,
            doubt: inherited,
            ..empty
        };
        &mut bucket[index]
    }

    /// Takes off what was counted for `key` for certain, and gives it.
    pub(super) fn forget(&mut self, key: &impl Hash, window: Duration, now: Instant) -> u32 {
        if self.buckets.is_empty() {
            return 0;
        }
        let key = self.hasher.hash_one(key);
        let bucket = self.bucket(key);
        let Some(index) = bucket.iter().position(|slot| slot.key == key) else {
            return 0;
        };
        let slot = &mut bucket[index];
        if now.saturating_duration_since(slot.since) >= window || slot.doubt == 0 {
            let slot = bucket.swap_remove(index);
            let over = now.saturating_duration_since(slot.since) >= window;
            return if over { 0 } else { slot.count };
        }
        let sure = slot.sure();
        slot.count = slot.doubt;
        slot.more = M::default();
        sure
    }

    /// Takes `less` off what was counted for `key` for certain.
    pub(super) fn take_off(&mut self, key: &impl Hash, less: u32) {
        if self.buckets.is_empty() || less == 0 {
            return;
        }
        let key = self.hasher.hash_one(key);
        if let Some(slot) = self.bucket(key).iter_mut().find(|slot| slot.key == key) {
            slot.count -= less.min(slot.sure());
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.buckets = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn add(tally: &mut Tally, key: u32, now: Instant) -> (u32, u32) {
        let slot = tally.slot(&key, WINDOW, now);
        slot.add();
        (slot.sure(), slot.most())
    }

    #[test]
    fn what_is_over_counts_from_the_beginning() {
        let mut tally = Tally::new(64);
        let now = Instant::now();
        assert_eq!(add(&mut tally, 1, now), (1, 1));
        assert_eq!(add(&mut tally, 1, now + WINDOW / 2), (2, 2));
        assert_eq!(add(&mut tally, 1, now + WINDOW), (1, 1));
    }

    #[test]
    fn a_count_cannot_be_forgotten_by_asking_for_other_keys() {
        let mut tally = Tally::new(256);
        let now = Instant::now();
        for _ in 0..9 {
            add(&mut tally, 0, now);
        }
        // Names that are made up for this, far more than there is room for.
        for key in 1..=1_000 {
            add(&mut tally, key, now);
        }
        assert_eq!(add(&mut tally, 0, now), (10, 10));
        // Only who brings everybody up to his own count is pushed out, and then keeps it as doubt.
        for _ in 0..11 {
            for key in 1..=1_000 {
                add(&mut tally, key, now);
            }
        }
        let (sure, most) = add(&mut tally, 0, now);
        assert!(most >= 11, "{sure} {most}");
        let kept: usize = tally.buckets.iter().map(Vec::len).sum();
        assert!(kept <= 256);
    }

    #[test]
    fn forgetting_gives_what_was_counted_and_leaves_the_doubt() {
        let mut tally = Tally::new(16);
        let now = Instant::now();
        for key in 0..16 {
            for _ in 0..3 {
                add(&mut tally, key, now);
            }
        }
        assert_eq!(add(&mut tally, 16, now), (1, 4));
        assert_eq!(add(&mut tally, 16, now), (2, 5));
        assert_eq!(tally.forget(&16, WINDOW, now), 2);
        assert_eq!(add(&mut tally, 16, now), (1, 4));
        assert_eq!(tally.forget(&99, WINDOW, now), 0);
        tally.take_off(&5, 2);
        assert_eq!(tally.forget(&5, WINDOW, now), 1);
    }

    proptest! {
        #[test]
        fn the_truth_lies_between_sure_and_most(
            steps in prop::collection::vec((0_u32..200, 0_u64..3), 1..2_000)
        ) {
            let mut tally = Tally::new(32);
            let mut truth: HashMap<u32, u32> = HashMap::new();
            let start = Instant::now();
            let mut at = start;
            for (key, millis) in steps {
                at += Duration::from_millis(millis);
                let counted = truth.entry(key).or_default();
                *counted += 1;
                // All of it is within one window.
                let (sure, most) = add(&mut tally, key, at);
                prop_assert!(sure <= *counted && *counted <= most, "{sure} {counted} {most}");
            }
        }
    }
}
