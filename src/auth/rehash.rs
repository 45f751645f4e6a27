//! Better hashes for users whose stored one is weak (`rehash_on_login`).
//!
//! Only at a login is the password there to be hashed anew. The threads that verify do it once they
//! have answered; whoever keeps the password file takes what they made, and says here what it has
//! put in place of what, so that a connection outlives the exchange of its hash.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::hash::{HashAlgorithm, StoredHash};

/// What waits for the file at most; the others get their turn at another login.
const MOST_WAITING: usize = 1_024;

/// A hash that is to be put in the place of a weaker one for the same password.
#[derive(Clone, Debug)]
pub struct Rehashed {
    /// Whose.
    pub username: Arc<str>,
    /// As the file has it.
    pub old: Arc<StoredHash>,
    /// As it should have it.
    pub new: Arc<StoredHash>,
}

/// What is made anew and what was put in place.
#[derive(Default)]
pub(super) struct Rehashing {
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Rehashed>,
    /// New ones by old ones; as many as there were users with weak ones.
    replaced: HashMap<Box<str>, Box<str>>,
}

impl Rehashing {
    pub(super) fn set(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Whether `stored` is to be made anew when its password is there.
    pub(super) fn wants(&self, stored: &StoredHash) -> bool {
        if !self.is_on.load(Ordering::Relaxed) || !stored.is_weaker_than_new() {
            return false;
        }
        let state = self.state.lock();
        state.waiting.len() < MOST_WAITING
            && !state.replaced.contains_key(stored.as_str())
            && !state.waiting.iter().any(|known| *known.old == *stored)
    }

    /// `password` is the one of `old`.
    pub(super) fn hash(&self, username: Arc<str>, password: &[u8], old: Arc<StoredHash>) {
        // What cannot be hashed stays as it is.
        if let Ok(new) = StoredHash::create(password, HashAlgorithm::default()) {
            self.state.lock().waiting.push(Rehashed {
                username,
                old,
                new: Arc::new(new),
            });
        }
    }

    pub(super) fn take(&self) -> Vec<Rehashed> {
        std::mem::take(&mut self.state.lock().waiting)
    }

    pub(super) fn replaced(&self, done: &Rehashed) {
        let (old, new) = (done.old.as_str(), done.new.as_str());
        self.state.lock().replaced.insert(old.into(), new.into());
    }

    /// Whether `new` was put in the place of `old`.
    pub(super) fn is_successor(&self, old: &StoredHash, new: &StoredHash) -> bool {
        let state = self.state.lock();
        state.replaced.get(old.as_str()).map(|text| &**text) == Some(new.as_str())
    }
}
