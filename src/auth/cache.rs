//! Credentials that were verified lately.
//!
//! After a restart or a network fault a thousand clients come back at once with the credentials
//! they had; hashing each again would take minutes. What is kept is an HMAC under a key that
//! exists only in this process, over user, password and stored hash: it is worth nothing outside,
//! and a changed password or a removed user cannot be found under it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Credentials as this process knows them.
pub(super) type Fingerprint = [u8; 32];

/// The key of this process.
pub(super) struct FingerprintKey(Zeroizing<[u8; 64]>);

impl FingerprintKey {
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 64]);
        getrandom::fill(&mut *key)?;
        Ok(Self(key))
    }

    pub(super) fn fingerprint(
        &self,
        username: &str,
        password: &[u8],
        stored_hash: &str,
    ) -> Fingerprint {
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&(*self.0).into());
        for part in [username.as_bytes(), password, stored_hash.as_bytes()] {
            // Lengths first, or `ab` + `c` would be `a` + `bc`.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// A bounded set in which each entry stays for a fixed time from its verification on.
#[derive(Debug)]
pub(super) struct CredentialCache {
    entries: HashMap<Fingerprint, Instant>,
    /// The same entries in the order in which they expire.
    order: VecDeque<(Instant, Fingerprint)>,
    capacity: usize,
    lifetime: Duration,
}

impl CredentialCache {
    pub(super) fn new(capacity: usize, lifetime: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            capacity,
            lifetime,
        }
    }

    pub(super) fn contains(&self, fingerprint: &Fingerprint, now: Instant) -> bool {
        self.entries
            .get(fingerprint)
            .is_some_and(|expires| *expires > now)
    }

    pub(super) fn insert(&mut self, fingerprint: Fingerprint, now: Instant) {
        while self
            .order
            .front()
            .is_some_and(|(expires, _)| *expires <= now)
        {
            self.remove_oldest();
        }
        if self.capacity == 0 || self.entries.contains_key(&fingerprint) {
            return;
        }
        if self.entries.len() >= self.capacity {
            self.remove_oldest();
        }
        let expires = now + self.lifetime;
        self.entries.insert(fingerprint, expires);
        self.order.push_back((expires, fingerprint));
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn remove_oldest(&mut self) {
        if let Some((_, fingerprint)) = self.order.pop_front() {
            self.entries.remove(&fingerprint);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{CredentialCache, FingerprintKey};

    #[test]
    fn user_password_and_hash_cannot_be_shifted_into_one_another() {
        let key = FingerprintKey::random().unwrap();
        let one = key.fingerprint("ab", b"c", "$6$");
        assert_ne!(one, key.fingerprint("a", b"bc", "$6$"));
        assert_ne!(one, key.fingerprint("ab", b"", "c$6$"));
        assert_eq!(one, key.fingerprint("ab", b"c", "$6$"));
        assert_ne!(
            one,
            FingerprintKey::random()
                .unwrap()
                .fingerprint("ab", b"c", "$6$")
        );
    }

    #[test]
    fn an_entry_ends_after_its_time_and_is_not_prolonged() {
        let start = Instant::now();
        let mut cache = CredentialCache::new(8, Duration::from_secs(60));
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
        let mut cache = CredentialCache::new(2, Duration::from_secs(60));
        for name in 1..=3 {
            cache.insert([name; 32], start);
        }
        assert_eq!(cache.len(), 2);
        assert!(!cache.contains(&[1; 32], start));
        assert!(cache.contains(&[3; 32], start));
    }

    #[test]
    fn a_cache_of_no_entries_keeps_none() {
        let mut cache = CredentialCache::new(0, Duration::from_secs(60));
        cache.insert([1; 32], Instant::now());
        assert_eq!(cache.len(), 0);
    }
}
