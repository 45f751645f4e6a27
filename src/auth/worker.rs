//! Hashing on threads of its own, with a bounded queue and one run for equal questions.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::cache::{CredentialCache, Key};
use super::password::{Entry, Hash, PasswordFile, default_decoy};
use super::secret::Secret;

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// What hashing has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashCounts {
    /// Hashes computed.
    pub runs: u64,
    /// Answers from the cache.
    pub cached: u64,
    /// Answers shared with a run that was under way.
    pub shared: u64,
    /// Questions turned away because the queue was full.
    pub busy: u64,
}

struct Job {
    key: Key,
    hash: Arc<Hash>,
    password: Secret,
    /// A user that does not exist: the work is done, and the answer is no.
    decoy: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<HashMap<Key, Vec<oneshot::Sender<bool>>>>,
    runs: AtomicU64,
    cached: AtomicU64,
    joined: AtomicU64,
    busy: AtomicU64,
}

/// Verifies passwords.
pub struct Verifier {
    queue: SyncSender<Job>,
    shared: Arc<Shared>,
    cache: Arc<CredentialCache>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// Starts `workers` threads; at most `queue` questions wait for them.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(workers: usize, queue: usize, cache: Arc<CredentialCache>) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(queue.max(1));
        let receiver = Arc::new(Mutex::new(receiver));
        let shared = Arc::new(Shared::default());
        for index in 0..workers.max(1) {
            let receiver = Arc::clone(&receiver);
            let shared = Arc::clone(&shared);
            let cache = Arc::clone(&cache);
            std::thread::Builder::new()
                .name(format!("hash-{index}"))
                .spawn(move || work(&receiver, &shared, &cache))?;
        }
        Ok(Self {
            queue: sender,
            shared,
            cache,
        })
    }

    /// Whether `password` is that of `user` in `file`. A user that is not there costs as much as a
    /// wrong password.
    ///
    /// # Errors
    /// The queue is full.
    pub async fn verify(
        &self,
        file: &PasswordFile,
        user: &str,
        password: Secret,
    ) -> Result<bool, Busy> {
        let entry = file.entry(user);
        let (hash, fingerprint) = match entry {
            Some(Entry { hash, fingerprint }) => (Arc::clone(hash), *fingerprint),
            None => match file.decoy().or_else(|| default_decoy().map(Arc::new)) {
                Some(decoy) => (decoy, [0; 32]),
                None => return Ok(false),
            },
        };
        let key = self.cache.key(user, password.expose(), &fingerprint);
        if entry.is_some() && self.cache.contains(&key, Instant::now()) {
            self.shared.cached.fetch_add(1, Ordering::Relaxed);
            return Ok(true);
        }
        let job = Job {
            key,
            hash,
            password,
            decoy: entry.is_none(),
        };
        let answer = self.ask(job)?;
        // A worker that went away without an answer is a fault: closed, not open.
        Ok(answer.await.unwrap_or(false))
    }

    fn ask(&self, job: Job) -> Result<oneshot::Receiver<bool>, Busy> {
        let (sender, receiver) = oneshot::channel();
        let key = job.key;
        let mut waiting = self.shared.waiting.lock();
        if let Some(others) = waiting.get_mut(&key) {
            others.push(sender);
            self.shared.joined.fetch_add(1, Ordering::Relaxed);
            return Ok(receiver);
        }
        match self.queue.try_send(job) {
            Ok(()) => {
                waiting.insert(key, vec![sender]);
                Ok(receiver)
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.busy.fetch_add(1, Ordering::Relaxed);
                Err(Busy)
            }
        }
    }

    /// Forgets what was verified.
    pub fn forget(&self) {
        self.cache.clear();
    }

    /// What hashing has cost so far.
    pub fn counts(&self) -> HashCounts {
        HashCounts {
            runs: self.shared.runs.load(Ordering::Relaxed),
            cached: self.shared.cached.load(Ordering::Relaxed),
            shared: self.shared.joined.load(Ordering::Relaxed),
            busy: self.shared.busy.load(Ordering::Relaxed),
        }
    }
}

fn work(queue: &Mutex<Receiver<Job>>, shared: &Shared, cache: &CredentialCache) {
    loop {
        // One worker waits in `recv`, the others for the lock: each job wakes one.
        let job = queue.lock().recv();
        let Ok(job) = job else { return };
        let verified = job.hash.verify(job.password.expose()) && !job.decoy;
        shared.runs.fetch_add(1, Ordering::Relaxed);
        if verified {
            cache.insert(job.key, Instant::now());
        }
        let waiting = shared.waiting.lock().remove(&job.key).unwrap_or_default();
        for sender in waiting {
            // A client that gave up does not wait for its answer.
            let _ = sender.send(verified);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{CacheSettings, hash_argon2id, hash_sha512};

    fn verifier(queue: usize) -> Verifier {
        let cache = CredentialCache::new(CacheSettings::default()).expect("random numbers");
        Verifier::start(2, queue, Arc::new(cache)).expect("threads")
    }

    fn file(user: &str, hash: &str) -> PasswordFile {
        PasswordFile::parse(&format!("{user}:{hash}\n"))
            .expect("valid")
            .0
    }

    #[tokio::test]
    async fn a_thousand_clients_that_come_at_once_cost_one_hash() {
        let verifier = Arc::new(verifier(4));
        let file = Arc::new(file("u", &hash_argon2id(b"pw").expect("hash")));
        let mut tasks = Vec::new();
        for _ in 0..1_000 {
            let (verifier, file) = (Arc::clone(&verifier), Arc::clone(&file));
            tasks.push(tokio::spawn(async move {
                verifier.verify(&file, "u", Secret::from(&b"pw"[..])).await
            }));
        }
        for task in tasks {
            assert_eq!(task.await.expect("task"), Ok(true));
        }
        let counts = verifier.counts();
        assert_eq!(counts.runs, 1);
        assert_eq!(counts.cached + counts.shared, 999);
    }

    #[tokio::test]
    async fn wrong_passwords_and_unknown_users_are_hashed_each_time() {
        let verifier = verifier(4);
        let file = file("u", &hash_sha512(b"pw").expect("hash"));
        for _ in 0..3 {
            assert_eq!(
                verifier.verify(&file, "u", Secret::from(&b"no"[..])).await,
                Ok(false)
            );
            assert_eq!(
                verifier.verify(&file, "x", Secret::from(&b"pw"[..])).await,
                Ok(false)
            );
        }
        assert_eq!(verifier.counts().runs, 6);
    }
}
