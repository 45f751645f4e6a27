//! What waits for a session in the store only: places and sizes. The messages are read back when the client
//! takes them.

use std::collections::VecDeque;

use crate::store::Seq;

/// A message that waits in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// Its place in the queue.
    pub seq: Seq,
    /// Bytes it is counted for.
    pub bytes: u32,
}

/// In the order of their places.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts one in its place, which is nearly always the end.
    pub(super) fn push(&mut self, seq: Seq, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes += bytes as usize;
        let behind = self.waiting.iter().rev().take_while(|one| one.seq > seq);
        let at = self.waiting.len() - behind.count();
        self.waiting.insert(at, Waiting { seq, bytes });
    }

    /// Puts those that a connection has taken, and not sent, back in their places.
    pub(super) fn put_back(&mut self, taken: Vec<Waiting>) {
        self.bytes += taken.iter().map(|one| one.bytes as usize).sum::<usize>();
        for one in taken.into_iter().rev() {
            self.waiting.push_front(one);
        }
        if !self.waiting.iter().is_sorted() {
            self.waiting.make_contiguous().sort_unstable();
        }
    }

    fn give(&mut self, taken: Option<Waiting>) -> Option<Waiting> {
        self.bytes -= taken.map_or(0, |one| one.bytes as usize);
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        taken
    }

    pub(super) fn pop_oldest(&mut self) -> Option<Waiting> {
        let oldest = self.waiting.pop_front();
        self.give(oldest)
    }

    pub(super) fn pop_newest(&mut self) -> Option<Waiting> {
        let newest = self.waiting.pop_back();
        self.give(newest)
    }

    /// First and last of the next `most`.
    pub(super) fn next(&self, most: usize) -> Option<(Seq, Seq)> {
        let first = self.waiting.front()?;
        let last = self.waiting.get(most.min(self.waiting.len()) - 1)?;
        Some((first.seq, last.seq))
    }

    /// Forgets all up to `to`.
    pub(super) fn forget(&mut self, to: Seq) {
        while self.waiting.front().is_some_and(|one| one.seq <= to) {
            self.pop_oldest();
        }
    }
}
