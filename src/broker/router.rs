//! Which sessions a Topic Name goes to.
//!
//! Subscriptions stand in 64 shards by the first two levels of their filter, and in one more if a
//! wildcard is among those. A topic's receivers are in two shards: its own, and that of the
//! wildcards. Each shard counts its changes; a list of receivers remembers the two counts and is
//! good until one of them moves.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::codec::QoS;
use crate::message::{Identifiers, Subscription};
use crate::topic::{FilterTree, TopicName};

use super::registry::Session;
use super::shared::Group;

const SHARDS: usize = 64;
/// Index of the shard for filters with a wildcard in the first two levels.
const WILD: usize = SHARDS;
/// Lists each core remembers, in each of two halves.
const CACHED_LISTS: usize = 8_192;

/// One session that gets a message, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// Whose mailbox.
    pub session: Arc<Session>,
    /// The session's epoch when it subscribed.
    pub epoch: u32,
    /// Granted QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Subscription Identifiers of the subscriptions that match.
    pub identifiers: Identifiers,
    /// Of several subscriptions some are No Local: what holds for the client's own messages, to
    /// which those add nothing.
    pub own: Option<Box<Target>>,
}

impl Target {
    pub(crate) fn new(session: &Arc<Session>, epoch: u32, subscription: &Subscription) -> Self {
        Self {
            session: Arc::clone(session),
            epoch,
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            identifiers: subscription.identifier.into_iter().collect(),
            own: None,
        }
    }

    /// Whether it matters who published.
    #[inline]
    pub(crate) fn heeds_author(&self) -> bool {
        self.no_local || self.own.is_some()
    }

    /// Adds another subscription of the same session: one copy with the highest QoS
    /// [MQTT-3.3.4-2] and every Subscription Identifier [MQTT-3.3.4-4].
    fn add(&mut self, other: Self) {
        match (self.no_local, other.no_local) {
            (true, false) => {
                self.own = Some(Box::new(other.clone()));
                self.no_local = false;
            }
            (false, true) if self.own.is_none() => self.own = Some(Box::new(self.clone())),
            (true | false, true) => {}
            (false, false) => {
                if let Some(own) = &mut self.own {
                    own.add(other.clone());
                }
            }
        }
        self.qos = self.qos.max(other.qos);
        self.retain_as_published |= other.retain_as_published;
        self.identifiers.extend(other.identifiers);
    }
}

/// One receiver: a session, or whichever member of a group takes the message.
#[derive(Clone, Debug)]
pub enum Route {
    /// A session's own subscription.
    Session(Target),
    /// A shared subscription.
    Group(Arc<Group>),
}

/// Everybody a topic goes to, as of two shard generations.
#[derive(Debug)]
pub struct Routes {
    shard: usize,
    generations: [u64; 2],
    /// The receivers.
    pub list: Box<[Route]>,
}

#[derive(Default)]
struct Shard {
    generation: AtomicU64,
    tree: RwLock<FilterTree<Route>>,
}

/// See the module.
pub(crate) struct Router {
    shards: Box<[Shard]>,
    hasher: RandomState,
    /// Whether a client with several matching subscriptions gets a copy for each
    /// (`allow_duplicate_messages`).
    duplicates: bool,
    subscriptions: AtomicUsize,
    shared: AtomicUsize,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("subscriptions", &self.subscriptions)
            .finish_non_exhaustive()
    }
}

impl Router {
    pub(crate) fn new(duplicates: bool) -> Self {
        Self {
            shards: (0..=SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            duplicates,
            subscriptions: AtomicUsize::new(0),
            shared: AtomicUsize::new(0),
        }
    }

    /// Subscriptions in all, and how many of them are shared.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (
            self.subscriptions.load(Ordering::Relaxed),
            self.shared.load(Ordering::Relaxed),
        )
    }

    fn shard_of_topic(&self, name: &str) -> usize {
        let head = match name.match_indices('/').nth(1) {
            Some((second, _)) => name.get(..second).unwrap_or(name),
            None => name,
        };
        usize::try_from(self.hasher.hash_one(head) % SHARDS as u64).unwrap_or(0)
    }

    fn shard_of_filter(&self, filter: &str) -> usize {
        let mut levels = filter.split('/');
        let first_two = [levels.next(), levels.next()];
        if first_two
            .iter()
            .flatten()
            .any(|level| matches!(*level, "+" | "#"))
        {
            return WILD;
        }
        // `a/b/#` also matches `a/b`, and is kept by the same two levels.
        self.shard_of_topic(filter)
    }

    /// Makes a subscription, or replaces the one with the same filter. True if it is new.
    pub(crate) fn subscribe(&self, subscription: &Subscription, target: Target) -> bool {
        let filter = subscription.filter.filter.as_str();
        let shard = &self.shards[self.shard_of_filter(filter)];
        let mut tree = shard.tree.write();
        let is_new = if let Some(name) = &subscription.filter.share {
            let group = match tree.remove(filter, |route| is_group(route, name)) {
                Some(Route::Group(group)) => group,
                _ => Arc::new(Group::new(Arc::clone(name))),
            };
            let is_new = group.join(target);
            tree.insert(filter, Route::Group(group));
            is_new
        } else {
            let replaced = tree.remove(filter, |route| is_session(route, &target.session));
            let is_new =
                !matches!(&replaced, Some(Route::Session(old)) if old.epoch == target.epoch);
            tree.insert(filter, Route::Session(target));
            is_new
        };
        if is_new {
            self.subscriptions.fetch_add(1, Ordering::Relaxed);
            if subscription.filter.share.is_some() {
                self.shared.fetch_add(1, Ordering::Relaxed);
            }
        }
        // Under the lock: whoever sees the new count also sees the new tree.
        shard.generation.fetch_add(1, Ordering::Release);
        is_new
    }

    /// Removes a subscription; true if it was there.
    pub(crate) fn unsubscribe(&self, subscription: &Subscription, target: &Target) -> bool {
        let filter = subscription.filter.filter.as_str();
        let shard = &self.shards[self.shard_of_filter(filter)];
        let mut tree = shard.tree.write();
        let removed = if let Some(name) = &subscription.filter.share {
            match tree.remove(filter, |route| is_group(route, name)) {
                Some(Route::Group(group)) => {
                    let left = group.leave(target);
                    if !group.is_empty() {
                        tree.insert(filter, Route::Group(group));
                    }
                    left
                }
                _ => false,
            }
        } else {
            tree.remove(filter, |route| is_session(route, &target.session))
                .is_some()
        };
        if removed {
            self.subscriptions.fetch_sub(1, Ordering::Relaxed);
            if subscription.filter.share.is_some() {
                self.shared.fetch_sub(1, Ordering::Relaxed);
            }
        }
        shard.generation.fetch_add(1, Ordering::Release);
        removed
    }

    fn is_current(&self, routes: &Routes) -> bool {
        let [own, wild] = routes.generations;
        self.shards[routes.shard].generation.load(Ordering::Acquire) == own
            && self.shards[WILD].generation.load(Ordering::Acquire) == wild
    }

    fn walk(&self, name: &TopicName) -> Routes {
        let index = self.shard_of_topic(name.as_str());
        let mut list: Vec<Route> = Vec::new();
        let mut generations = [0; 2];
        for (slot, shard) in generations
            .iter_mut()
            .zip([&self.shards[index], &self.shards[WILD]])
        {
            let tree = shard.tree.read();
            *slot = shard.generation.load(Ordering::Acquire);
            tree.for_each_match(name.as_str(), |route| list.push(route.clone()));
        }
        if !self.duplicates {
            list = merge(list);
        }
        Routes {
            shard: index,
            generations,
            list: list.into(),
        }
    }
}

fn is_group(route: &Route, name: &Arc<str>) -> bool {
    matches!(route, Route::Group(group) if group.name == *name)
}

fn is_session(route: &Route, session: &Arc<Session>) -> bool {
    matches!(route, Route::Session(target) if Arc::ptr_eq(&target.session, session))
}

/// One copy for a client whose subscriptions overlap.
fn merge(list: Vec<Route>) -> Vec<Route> {
    let mut merged: Vec<Route> = Vec::with_capacity(list.len());
    let mut place: HashMap<*const Session, usize> = HashMap::new();
    for route in list {
        let Route::Session(target) = route else {
            merged.push(route);
            continue;
        };
        match place.get(&Arc::as_ptr(&target.session)) {
            Some(&index) => {
                if let Route::Session(kept) = &mut merged[index] {
                    kept.add(target);
                }
            }
            None => {
                place.insert(Arc::as_ptr(&target.session), merged.len());
                merged.push(Route::Session(target));
            }
        }
    }
    merged
}

/// The lists one core has found; bounded, and only used by that core.
#[derive(Debug, Default)]
pub struct MatchCache {
    young: HashMap<TopicName, Arc<Routes>>,
    old: HashMap<TopicName, Arc<Routes>>,
}

impl MatchCache {
    /// The name itself if a list for it is here: spares making a new one.
    pub(crate) fn name(&self, text: &str) -> Option<TopicName> {
        self.young
            .get_key_value(text)
            .or_else(|| self.old.get_key_value(text))
            .map(|(name, _)| name.clone())
    }

    /// The receivers of `name`, from here or from the trees.
    pub(crate) fn routes(&mut self, router: &Router, name: &TopicName) -> Arc<Routes> {
        if let Some(routes) = self.young.get(name)
            && router.is_current(routes)
        {
            return Arc::clone(routes);
        }
        let routes = match self.old.remove(name) {
            Some(routes) if router.is_current(&routes) => routes,
            _ => Arc::new(router.walk(name)),
        };
        if self.young.len() >= CACHED_LISTS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name.clone(), Arc::clone(&routes));
        routes
    }
}

/// What one publishing connection remembers: most publish one topic again and again.
#[derive(Debug, Default)]
pub struct LastTopic {
    last: Option<(TopicName, Arc<Routes>)>,
}

impl LastTopic {
    /// The Topic Name for `text`, made anew only if it is not at hand. `None` if it is no valid
    /// name, which the decoder has excluded.
    #[inline]
    pub fn name(&self, cache: &MatchCache, text: &str) -> Option<TopicName> {
        match &self.last {
            Some((name, _)) if name.as_str() == text => Some(name.clone()),
            _ => cache.name(text).or_else(|| TopicName::parse(text).ok()),
        }
    }

    #[inline]
    pub(crate) fn routes(
        &mut self,
        router: &Router,
        cache: &mut MatchCache,
        name: &TopicName,
    ) -> &Routes {
        let entry = match self.last.take() {
            Some((last, routes)) if last == *name && router.is_current(&routes) => (last, routes),
            _ => (name.clone(), cache.routes(router, name)),
        };
        &self.last.insert(entry).1
    }
}
