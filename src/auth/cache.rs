//! Credentials that were verified lately.
//!
//! After a restart or a network fault a thousand clients come back at once with the credentials
//! they had; hashing each again would take minutes. What is kept is an HMAC under a key that
//! exists only in this process, over user, password and stored hash: it is worth nothing outside,
//! and a changed password or a removed user cannot be found under it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Credentials as this process knows them.
pub(super) type Fingerprint = [u8; 32];

/// Bounds of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// `credential_cache`: entries; 0 switches it off.
    pub entries: usize,
    /// `credential_cache_seconds`: how long each stays.
    pub time: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            entries: 10_000,
            time: Duration::from_hours(1),
        }
    }
}

/// A bounded set in which each entry stays for a fixed time from its verification on.
pub struct CredentialCache {
    settings: CacheSettings,
    key: Zeroizing<[u8; 64]>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    entries: HashMap<Fingerprint, Instant>,
    /// The same entries in the order in which they expire.
    order: VecDeque<(Instant, Fingerprint)>,
}

impl CredentialCache {
    /// An empty cache with a key of its own.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(settings: CacheSettings) -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 64]);
        getrandom::fill(&mut *key)?;
        Ok(Self {
            settings,
            key,
            known: Mutex::default(),
        })
    }

    pub(super) fn fingerprint(
        &self,
        username: &str,
        password: &[u8],
        stored_hash: &str,
    ) -> Fingerprint {
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&(*self.key).into());
        for part in [username.as_bytes(), password, stored_hash.as_bytes()] {
            // Lengths first, or `ab` + `c` would be `a` + `bc`.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    pub(super) fn contains(&self, fingerprint: &Fingerprint, now: Instant) -> bool {
        self.known
            .lock()
            .entries
            .get(fingerprint)
            .is_some_and(|expires| *expires > now)
    }

    pub(super) fn insert(&self, fingerprint: Fingerprint, now: Instant) {
        let mut known = self.known.lock();
        while known
            .order
            .front()
            .is_some_and(|(expires, _)| *expires <= now)
        {
            known.remove_oldest();
        }
        if self.settings.entries == 0 || known.entries.contains_key(&fingerprint) {
            return;
        }
        if known.entries.len() >= self.settings.entries {
            known.remove_oldest();
        }
        let expires = now + self.settings.time;
        known.entries.insert(fingerprint, expires);
        known.order.push_back((expires, fingerprint));
    }

    /// Forgets everything: users or passwords may have changed.
    pub fn clear(&self) {
        *self.known.lock() = Known::default();
    }

    /// How many credentials are remembered.
    pub fn len(&self) -> usize {
        self.known.lock().entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Known {
    fn remove_oldest(&mut self) {
        if let Some((_, fingerprint)) = self.order.pop_front() {
            self.entries.remove(&fingerprint);
        }
    }
}

impl std::fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CredentialCache({} entries)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{CacheSettings, CredentialCache};

    fn cache(entries: usize) -> CredentialCache {
        let settings = CacheSettings {
            entries,
            time: Duration::from_secs(60),
        };
        CredentialCache::new(settings).unwrap()
    }

    #[test]
    fn user_password_and_hash_cannot_be_shifted_into_one_another() {
        let key = cache(1);
        let one = key.fingerprint("ab", b"c", "$6$");
        assert_ne!(one, key.fingerprint("a", b"bc", "$6$"));
        assert_ne!(one, key.fingerprint("ab", b"", "c$6$"));
        assert_eq!(one, key.fingerprint("ab", b"c", "$6$"));
        assert_ne!(one, cache(1).fingerprint("ab", b"c", "$6$"));
    }

    #[test]
    fn an_entry_ends_after_its_time_and_is_not_prolonged() {
        let start = Instant::now();
        let cache = cache(8);
        cache.insert([1; 32], start);
        cache.insert([1; 32], start + Duration::from_secs(30));
        assert!(cache.contains(&[1; 32], start + Duration::from_secs(59)));
        assert!(!cache.contains(&[1; 32], start + Duration::from_secs(60)));
        cache.insert([2; 32], start + Duration::from_secs(60));
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn the_oldest_entry_leaves_when_the_cache_is_full() {
        let start = Instant::now();
        let cache = cache(2);
        for name in 1..=3 {
            cache.insert([name; 32], start);
        }
        assert_eq!(cache.len(), 2);
        assert!(!cache.contains(&[1; 32], start));
        assert!(cache.contains(&[3; 32], start));
        cache.clear();
        assert!(cache.is_empty());
    }

    #[test]
    fn a_cache_of_no_entries_keeps_none() {
        let cache = cache(0);
        cache.insert([1; 32], Instant::now());
        assert!(cache.is_empty());
    }
}
