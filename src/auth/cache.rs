//! Credentials that were verified a moment ago.
//!
//! The key is an HMAC under a key of this process over user, password and stored hash: nothing in
//! memory can be tried against a list of passwords without that key, and a changed password has
//! another key. Only successes are kept; a failure costs the attacker a hash each time.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bounds of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// `credential_cache`: entries; 0 switches it off.
    pub entries: usize,
    /// `credential_cache_seconds`.
    pub time: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            entries: 10_000,
            time: Duration::from_secs(3_600),
        }
    }
}

pub(crate) type Key = [u8; 32];

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<Key, Instant>,
    order: VecDeque<(Key, Instant)>,
}

/// See the module.
pub struct CredentialCache {
    settings: CacheSettings,
    key: Zeroizing<[u8; 32]>,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "CredentialCache({} entries)",
            self.inner.lock().known.len()
        )
    }
}

impl CredentialCache {
    /// An empty cache with a key of its own.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(settings: CacheSettings) -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key)?;
        Ok(Self {
            settings,
            key,
            inner: Mutex::default(),
        })
    }

    pub(crate) fn key(&self, user: &str, password: &[u8], fingerprint: &[u8; 32]) -> Key {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*self.key).expect("HMAC takes keys of every length");
        // Lengths in front, so that no two triples read as the same bytes.
        mac.update(&(user.len() as u64).to_be_bytes());
        mac.update(user.as_bytes());
        mac.update(&(password.len() as u64).to_be_bytes());
        mac.update(password);
        mac.update(fingerprint);
        mac.finalize().into_bytes().into()
    }

    pub(crate) fn contains(&self, key: &Key, now: Instant) -> bool {
        self.inner
            .lock()
            .known
            .get(key)
            .is_some_and(|&until| until > now)
    }

    pub(crate) fn insert(&self, key: Key, now: Instant) {
        if self.settings.entries == 0 {
            return;
        }
        let until = now + self.settings.time;
        let mut inner = self.inner.lock();
        while inner.order.len() >= self.settings.entries {
            let Some((oldest, at)) = inner.order.pop_front() else {
                break;
            };
            // An entry that was renewed stands in the queue twice; only its last place counts.
            if inner.known.get(&oldest) == Some(&at) {
                inner.known.remove(&oldest);
            }
        }
        inner.known.insert(key, until);
        inner.order.push_back((key, until));
    }

    /// Forgets everything: users or passwords may have changed.
    pub fn clear(&self) {
        *self.inner.lock() = Inner::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: usize) -> CredentialCache {
        CredentialCache::new(CacheSettings {
            entries,
            time: Duration::from_secs(10),
        })
        .expect("random numbers")
    }

    #[test]
    fn entries_end_with_time_and_the_oldest_makes_room() {
        let cache = cache(2);
        let now = Instant::now();
        let keys: Vec<Key> = ["a", "b", "c"]
            .iter()
            .map(|user| cache.key(user, b"pw", &[0; 32]))
            .collect();
        cache.insert(keys[0], now);
        cache.insert(keys[1], now);
        assert!(cache.contains(&keys[0], now));
        assert!(!cache.contains(&keys[0], now + Duration::from_secs(10)));
        cache.insert(keys[2], now);
        assert!(!cache.contains(&keys[0], now));
        assert!(cache.contains(&keys[1], now) && cache.contains(&keys[2], now));
        cache.clear();
        assert!(!cache.contains(&keys[2], now));
    }

    #[test]
    fn another_password_user_or_hash_is_another_key() {
        let cache = cache(10);
        let key = cache.key("ab", b"c", &[0; 32]);
        assert_ne!(key, cache.key("a", b"bc", &[0; 32]));
        assert_ne!(key, cache.key("ab", b"d", &[0; 32]));
        assert_ne!(key, cache.key("ab", b"c", &[1; 32]));
    }
}
