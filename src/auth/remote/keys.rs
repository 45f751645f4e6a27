//! A JSON Web Key Set at a URL (`jwt_jwks_url`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use crate::auth::jwt::{KeyError, KeySet};

use super::Remote;
use super::https::{Endpoint, FetchError};

/// Longest key set, in bytes.
const MOST_BYTES: usize = 1 << 20;
/// A key that is not known asks for the set again, but not more often than this.
const LEAST_BETWEEN: Duration = Duration::from_secs(10);

/// How the set is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteKeysSettings {
    /// `jwt_jwks_url` and `jwt_jwks_cafile`.
    pub endpoint: Endpoint,
    /// `jwt_jwks_refresh`.
    pub refresh: Duration,
    /// `jwt_jwks_stale`: a set that is older is not used any more.
    pub stale: Duration,
}

#[derive(Debug)]
struct Fetched {
    keys: KeySet,
    /// What the set has besides.
    left_out: Vec<KeyError>,
    at: Instant,
}

/// The last good set, and the wish for a newer one.
#[derive(Debug)]
pub struct RemoteKeys {
    settings: RemoteKeysSettings,
    pub(super) least_between: Duration,
    fetched: ArcSwapOption<Fetched>,
    /// Held by who keeps the set new, without holding the set.
    wanted: Arc<Notify>,
    last_failed: AtomicBool,
}

impl RemoteKeys {
    /// No set yet.
    pub fn new(settings: RemoteKeysSettings) -> Self {
        Self {
            settings,
            least_between: LEAST_BETWEEN,
            fetched: ArcSwapOption::empty(),
            wanted: Arc::default(),
            last_failed: AtomicBool::new(false),
        }
    }

    /// Takes over what an earlier generation has fetched from the same place. False if it is another.
    pub fn adopt(&self, earlier: &Self) -> bool {
        if self.settings.endpoint != earlier.settings.endpoint {
            return false;
        }
        self.fetched.store(earlier.fetched.load_full());
        let failed = earlier.last_failed.load(Ordering::Relaxed);
        self.last_failed.store(failed, Ordering::Relaxed);
        true
    }

    /// The set, unless it is too old.
    pub fn current(&self) -> Option<KeySet> {
        let fetched = self.fetched.load();
        let fetched = fetched.as_ref()?;
        (fetched.at.elapsed() < self.settings.stale).then(|| fetched.keys.clone())
    }

    /// The last good set, however old.
    pub fn last(&self) -> Option<KeySet> {
        self.fetched
            .load()
            .as_ref()
            .map(|fetched| fetched.keys.clone())
    }

    /// A token names a key that is not in the set.
    pub fn want_newer(&self) {
        self.wanted.notify_one();
    }

    /// Keeps the set new until nobody holds it any more. `changed` is told when a key has gone.
    pub async fn keep_new(this: Weak<Self>, changed: impl Fn()) {
        loop {
            let Some(keys) = this.upgrade() else {
                return;
            };
            let asked = Instant::now();
            keys.fetch(&changed).await;
            let (soon, late) = keys.pauses();
            let wanted = Arc::clone(&keys.wanted);
            drop(keys);
            tokio::select! {
                () = tokio::time::sleep_until((asked + late).into()) => continue,
                () = wanted.notified() => {}
            }
            // Also told when nobody holds the set any more.
            if this.strong_count() > 0 {
                tokio::time::sleep_until((asked + soon).into()).await;
            }
        }
    }

    /// From one question to the next: if a key is wanted that is not there, and if none is.
    fn pauses(&self) -> (Duration, Duration) {
        let refresh = self.settings.refresh;
        let soon = self.least_between.min(refresh);
        // After a failure not much later, whatever the operator thinks of refreshing.
        let failed = self.last_failed.load(Ordering::Relaxed);
        (soon, if failed { soon } else { refresh })
    }

    async fn fetch(&self, changed: &impl Fn()) {
        let url = self.settings.endpoint.url();
        let fetched = match self.settings.endpoint.get(MOST_BYTES).await {
            Ok(json) => KeySet::from_foreign_jwks(&json)
                .map_err(|error| FetchError::Answer(error.to_string())),
            Err(error) => Err(error),
        };
        match fetched {
            Ok((keys, left_out)) => {
                let fetched = Arc::new(Fetched {
                    keys: keys.clone(),
                    left_out,
                    at: Instant::now(),
                });
                let before = self.fetched.swap(Some(Arc::clone(&fetched)));
                if self.last_failed.swap(false, Ordering::Relaxed) || before.is_none() {
                    tracing::info!(target: "portcullis::log::notice", "the key set {url} was read");
                }
                let told = before.as_ref().map(|before| &before.left_out);
                if let Some(first) = fetched.left_out.first()
                    && told != Some(&fetched.left_out)
                {
                    let count = fetched.left_out.len();
                    tracing::warn!("the key set {url}: keys that are left out: {count}; {first}");
                }
                if before.is_some_and(|before| !keys.has_all_of(&before.keys)) {
                    changed();
                }
            }
            Err(error) => {
                if !self.last_failed.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        "the key set {url} cannot be read: {error}; the last good one is kept"
                    );
                }
            }
        }
    }
}

impl Drop for RemoteKeys {
    fn drop(&mut self) {
        // Who keeps it new need not wait for its time.
        self.wanted.notify_one();
    }
}

#[cfg(test)]
impl RemoteKeys {
    pub(super) async fn refetch(&self) {
        self.fetch(&|| {}).await;
    }
}

impl Remote for RemoteKeys {
    fn name(&self) -> String {
        format!("the key set {}", self.settings.endpoint.url())
    }

    fn is_up(&self) -> bool {
        self.current().is_some()
    }

    fn answers(&self) -> bool {
        !self.last_failed.load(Ordering::Relaxed)
    }
}
