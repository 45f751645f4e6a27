//! Hashing on threads of its own, each set of credentials once.
//!
//! A hash run takes tens of milliseconds and megabytes, by design; on a network thread it would
//! stop thousands of clients. The number of threads and of runs that wait is bounded: whoever
//! comes when the queue is full is told so and costs nothing. Clients that ask for the same thing
//! at the same time share a run, and what was verified is remembered for a while, so that a
//! thousand clients that come back together cost one run for each password there is.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use thiserror::Error;
use tokio::sync::oneshot;

use super::cache::{CredentialCache, Fingerprint};
use super::counters::{Counters, HashCounts, count};
use super::hash::StoredHash;
use super::password_file::PasswordFile;
use super::rehash::{Rehashed, Rehashing};
use super::secret::Secret;

/// Why a password was neither right nor wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// Too many are waiting.
    #[error("too many authentications are waiting")]
    Busy,
    /// The run could not be completed.
    #[error("the password hash could not be computed")]
    Unavailable,
}

/// The hashing threads, what waits for them, and what was verified lately. One for the process:
/// it lives across reloads. Dropping it ends the threads.
pub struct Verifier {
    shared: Arc<Shared>,
}

struct Shared {
    cache: Arc<CredentialCache>,
    state: Mutex<State>,
    work: Condvar,
    counters: Counters,
    rehashing: Rehashing,
}

struct State {
    queue: VecDeque<Fingerprint>,
    limit: usize,
    flights: HashMap<Fingerprint, Flight>,
    closed: bool,
}

/// One run, waiting or under way, and who waits for it.
struct Flight {
    password: Secret,
    stored: Arc<StoredHash>,
    /// Whose hash it is; `None` for a decoy.
    user: Option<Arc<str>>,
    waiting: Vec<oneshot::Sender<Result<bool, VerifyError>>>,
}

/// A run: the password, the hash to hold it against, and whose that is.
type Job = (Fingerprint, Secret, Arc<StoredHash>, Option<Arc<str>>);

impl Verifier {
    /// Starts `workers` threads, at least one; at most `queue` runs wait for them.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(workers: usize, queue: usize, cache: Arc<CredentialCache>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            cache,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                limit: queue.max(1),
                flights: HashMap::new(),
                closed: false,
            }),
            work: Condvar::new(),
            counters: Counters::default(),
            rehashing: Rehashing::default(),
        });
        // Made before the threads: if one of them fails to start, the others end.
        let verifier = Self {
            shared: Arc::clone(&shared),
        };
        for number in 0..workers.max(1) {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn(move || shared.work())?;
        }
        Ok(verifier)
    }

    /// Whether `password` is the one of `username` in `file`: its hash if so.
    ///
    /// A user that does not exist takes as long as a wrong password; see
    /// [`PasswordFile::decoy`].
    ///
    /// # Errors
    /// There was no room to ask, or the answer could not be computed.
    pub async fn verify(
        &self,
        file: &PasswordFile,
        username: &str,
        password: Secret,
    ) -> Result<Option<Arc<StoredHash>>, VerifyError> {
        // No stored password holds a NUL; what this costs says nothing about the user.
        if password.expose().contains(&0) {
            return Ok(None);
        }
        let (stored, exists) = match file.hash_of(username) {
            Some(stored) => (stored, true),
            None => (file.decoy(), false),
        };
        let answer = match self.shared.ask(username, password, stored, exists) {
            Asked::Known => true,
            Asked::Busy => return Err(VerifyError::Busy),
            Asked::Waiting(answer) => answer.await.unwrap_or(Err(VerifyError::Unavailable))?,
        };
        Ok((answer && exists).then(|| Arc::clone(stored)))
    }

    /// Forgets what was verified: called when the configuration was read again.
    pub fn forget(&self) {
        self.shared.cache.clear();
    }

    /// `rehash_on_login`.
    pub fn set_rehash(&self, is_on: bool) {
        self.shared.rehashing.set(is_on);
    }

    /// Better hashes that were made at logins since the last time.
    pub fn take_rehashed(&self) -> Vec<Rehashed> {
        self.shared.rehashing.take()
    }

    /// Says that one of them stands in the file now.
    pub fn replaced(&self, done: &Rehashed) {
        self.shared.rehashing.replaced(done);
    }

    /// Whether the file's `new` hash is of the same password as `old`, in whose place it was put.
    pub fn is_successor(&self, old: &StoredHash, new: &StoredHash) -> bool {
        self.shared.rehashing.is_successor(old, new)
    }

    /// What hashing has cost so far.
    pub fn counts(&self) -> HashCounts {
        self.shared.counters.read()
    }

    /// Runs that wait for a thread.
    pub fn queued(&self) -> usize {
        self.shared.state.lock().queue.len()
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        // Whoever waits hears that it comes to nothing.
        state.queue.clear();
        state.flights.clear();
        drop(state);
        self.shared.work.notify_all();
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

enum Asked {
    Known,
    Busy,
    Waiting(oneshot::Receiver<Result<bool, VerifyError>>),
}

impl Shared {
    fn ask(
        &self,
        username: &str,
        password: Secret,
        stored: &Arc<StoredHash>,
        exists: bool,
    ) -> Asked {
        let fingerprint = self
            .cache
            .fingerprint(username, password.expose(), stored.as_str());
        let now = Instant::now();
        // Under the lock, as the worker's insertion is: between a run's end and its entry in the
        // cache there is no moment at which a second run could begin.
        let mut state = self.state.lock();
        if self.cache.contains(&fingerprint, now) {
            drop(state);
            count(&self.counters.cached);
            return Asked::Known;
        }
        let (sender, receiver) = oneshot::channel();
        if let Some(flight) = state.flights.get_mut(&fingerprint) {
            flight.waiting.push(sender);
            drop(state);
            count(&self.counters.shared);
            return Asked::Waiting(receiver);
        }
        if state.queue.len() >= state.limit {
            let removed = state.remove_abandoned();
            self.counters
                .abandoned
                .fetch_add(removed, std::sync::atomic::Ordering::Relaxed);
        }
        if state.closed || state.queue.len() >= state.limit {
            drop(state);
            count(&self.counters.busy);
            return Asked::Busy;
        }
        let flight = Flight {
            password,
            stored: Arc::clone(stored),
            user: exists.then(|| username.into()),
            waiting: vec![sender],
        };
        state.flights.insert(fingerprint, flight);
        state.queue.push_back(fingerprint);
        drop(state);
        self.work.notify_one();
        Asked::Waiting(receiver)
    }

    /// The life of a hashing thread.
    fn work(&self) {
        while let Some((fingerprint, password, stored, user)) = self.next() {
            count(&self.counters.runs);
            // A panic of a hash library costs one answer, not a thread.
            let answer = catch_unwind(AssertUnwindSafe(|| stored.verify(password.expose())));
            let answer = if let Ok(Ok(right)) = answer {
                Ok(right)
            } else {
                count(&self.counters.failed);
                Err(VerifyError::Unavailable)
            };
            let mut state = self.state.lock();
            if answer == Ok(true) {
                self.cache.insert(fingerprint, Instant::now());
            }
            let flight = state.flights.remove(&fingerprint);
            drop(state);
            for waiting in flight.into_iter().flat_map(|flight| flight.waiting) {
                // Whoever has gone meanwhile needs no answer.
                let _ = waiting.send(answer);
            }
            if let (Ok(true), Some(user)) = (answer, user)
                && self.rehashing.wants(&stored)
            {
                let rehash = || self.rehashing.hash(user, password.expose(), stored);
                // As above; the old hash stays.
                let _ = catch_unwind(AssertUnwindSafe(rehash));
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            let Some(fingerprint) = state.queue.pop_front() else {
                self.work.wait(&mut state);
                continue;
            };
            if state.is_abandoned(&fingerprint) {
                state.flights.remove(&fingerprint);
                count(&self.counters.abandoned);
                continue;
            }
            if let Some(flight) = state.flights.get(&fingerprint) {
                let job = (
                    fingerprint,
                    flight.password.clone(),
                    Arc::clone(&flight.stored),
                    flight.user.clone(),
                );
                return Some(job);
            }
        }
    }
}

impl State {
    fn is_abandoned(&self, fingerprint: &Fingerprint) -> bool {
        self.flights
            .get(fingerprint)
            .is_none_or(|flight| flight.waiting.iter().all(oneshot::Sender::is_closed))
    }

    /// Clients that gave up while they waited must not keep others out.
    fn remove_abandoned(&mut self) -> u64 {
        let before = self.queue.len();
        let queue = std::mem::take(&mut self.queue);
        for fingerprint in queue {
            if self.is_abandoned(&fingerprint) {
                self.flights.remove(&fingerprint);
            } else {
                self.queue.push_back(fingerprint);
            }
        }
        (before - self.queue.len()) as u64
    }
}
