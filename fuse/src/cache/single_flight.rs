//! Values by key, those used least recently evicted first; each is loaded by one and waited for by the others.
//!
//! An error that will not go away by itself is remembered for a minute, so that a damaged block is not read and reported again
//! for every page that the kernel asks for.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::budget::{Budget, Evict};
use super::locked;
use crate::error::{Location, ViewError};

/// How long damage is remembered.
const MEMORY: Duration = Duration::from_secs(60);
/// So many errors are remembered at a time.
const ERRORS: usize = 4096;

/// What a key and a value must be.
pub(crate) trait Key: Clone + Eq + Hash + Debug + Send + Sync + 'static {}
impl<K: Clone + Eq + Hash + Debug + Send + Sync + 'static> Key for K {}

/// A clone is a handle of the same value.
pub(crate) trait Value: Clone + Send + Sync + 'static {
    /// Somebody was given it who query for it.
    fn was_read(&self) {}
}

type Outcome<V> = Result<V, ViewError>;
type Waiter<V> = watch::Receiver<Option<Outcome<V>>>;

/// Values by key.
pub(crate) struct SingleFlightCache<K, V> {
    budget: Arc<Budget>,
    slots: Mutex<Slots<K, V>>,
    hits: AtomicU64,
    loads: AtomicU64,
}

struct Slots<K, V> {
    ready: HashMap<K, (V, u64)>,
    /// By when they were used last.
    order: BTreeMap<u64, K>,
    loading: HashMap<K, Waiter<V>>,
    failed: HashMap<K, (ViewError, Instant)>,
}

/// What a cache has of a key.
enum Found<K: Key, V: Value> {
    Ready(Outcome<V>),
    Loading(Waiter<V>),
    Vacant(LoadGuard<K, V>),
}

/// The right, and the duty, to load one value. Dropped, it leaves the value to the next who asks.
pub(crate) struct LoadGuard<K: Key, V: Value> {
    cache: Arc<SingleFlightCache<K, V>>,
    key: K,
    sender: watch::Sender<Option<Outcome<V>>>,
}

impl<K, V> Debug for SingleFlightCache<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SingleFlightCache").finish_non_exhaustive()
    }
}

impl<K: Key, V: Value> SingleFlightCache<K, V> {
    pub(crate) fn new(budget: &Arc<Budget>) -> Arc<Self> {
        let cache = Arc::new(SingleFlightCache {
            budget: Arc::clone(budget),
            slots: Mutex::new(Slots {
                ready: HashMap::new(),
                order: BTreeMap::new(),
                loading: HashMap::new(),
                failed: HashMap::new(),
            }),
            hits: AtomicU64::new(0),
            loads: AtomicU64::new(0),
        });
        budget.add_cache(&cache);
        cache
    }

    /// How often a value was there, and how often it had to be loaded.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (
            self.hits.load(Ordering::Relaxed),
            self.loads.load(Ordering::Relaxed),
        )
    }

    /// The value, loaded by a task of its own where nobody has it or loads it: who query for it may go away.
    pub(crate) async fn get<F>(self: &Arc<Self>, key: K, load: impl FnOnce() -> F) -> Outcome<V>
    where
        F: Future<Output = Outcome<V>> + Send + 'static,
    {
        let mut load = Some(load);
        loop {
            let loading = match self.find(&key) {
                Found::Ready(outcome) => return outcome,
                Found::Loading(loading) => loading,
                Found::Vacant(claim) => {
                    let Some(load) = load.take() else {
                        // The task that was to load it has panicked.
                        return Err(ViewError::Internal {
                            location: Location::default(),
                        });
                    };
                    let loading = claim.sender.subscribe();
                    let value = load();
                    tokio::spawn(async move { claim.settle(value.await) });
                    loading
                }
            };
            if let Some(outcome) = outcome(loading).await {
                return outcome;
            }
        }
    }

    /// The right to load `key` ahead of anybody's asking, where nobody has it or loads it.
    pub(crate) fn reserve(self: &Arc<Self>, key: K) -> Option<LoadGuard<K, V>> {
        let mut slots = locked(&self.slots);
        let known = slots.ready.contains_key(&key)
            || slots.loading.contains_key(&key)
            || slots.failed.contains_key(&key);
        (!known).then(|| self.vacant(&mut slots, key))
    }

    fn find(self: &Arc<Self>, key: &K) -> Found<K, V> {
        let mut slots = locked(&self.slots);
        if let Some(value) = slots.used(key, self.budget.tick()) {
            drop(slots);
            self.hits.fetch_add(1, Ordering::Relaxed);
            value.was_read();
            return Found::Ready(Ok(value));
        }
        if let Some(loading) = slots.loading.get(key) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Found::Loading(loading.clone());
        }
        match slots.failed.get(key) {
            Some((error, until)) if Instant::now() < *until => Found::Ready(Err(error.clone())),
            _ => {
                slots.failed.remove(key);
                Found::Vacant(self.vacant(&mut slots, key.clone()))
            }
        }
    }

    fn vacant(self: &Arc<Self>, slots: &mut Slots<K, V>, key: K) -> LoadGuard<K, V> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let (sender, waiter) = watch::channel(None);
        slots.loading.insert(key.clone(), waiter);
        LoadGuard {
            cache: Arc::clone(self),
            key,
            sender,
        }
    }
}

impl<K: Key, V: Value> Slots<K, V> {
    fn used(&mut self, key: &K, tick: u64) -> Option<V> {
        let (value, last) = self.ready.get_mut(key)?;
        self.order.remove(last);
        *last = tick;
        let value = value.clone();
        self.order.insert(tick, key.clone());
        Some(value)
    }

    fn keep(&mut self, key: K, value: V, tick: u64) {
        self.order.insert(tick, key.clone());
        self.ready.insert(key, (value, tick));
    }

    fn remember(&mut self, key: K, error: ViewError) {
        let now = Instant::now();
        if self.failed.len() >= ERRORS {
            self.failed.retain(|_, (_, until)| now < *until);
        }
        if self.failed.len() < ERRORS {
            self.failed.insert(key, (error, now + MEMORY));
        }
    }
}

/// `None` where whoever was to load it gave it up.
async fn outcome<V: Value>(mut loading: Waiter<V>) -> Option<Outcome<V>> {
    let settled = loading.wait_for(Option::is_some).await.ok()?;
    let outcome = Option::clone(&settled);
    if let Some(Ok(value)) = &outcome {
        value.was_read();
    }
    outcome
}

impl<K: Key, V: Value> LoadGuard<K, V> {
    /// Gives the value, or why there is none, to all who wait, and keeps it.
    pub(crate) fn settle(self, outcome: Outcome<V>) {
        let tick = self.cache.budget.tick();
        let mut slots = locked(&self.cache.slots);
        slots.loading.remove(&self.key);
        match &outcome {
            Ok(value) => slots.keep(self.key.clone(), value.clone(), tick),
            Err(error) if error.is_permanent() => slots.remember(self.key.clone(), error.clone()),
            Err(_) => {}
        }
        drop(slots);
        self.sender.send_replace(Some(outcome));
        self.cache.budget.changed();
    }
}

impl<K: Key, V: Value> Drop for LoadGuard<K, V> {
    fn drop(&mut self) {
        // A settled claim's entry is gone, and another may be loading the key again.
        if self.sender.borrow().is_none() {
            locked(&self.cache.slots).loading.remove(&self.key);
        }
    }
}

impl<K: Key, V: Value> Evict for SingleFlightCache<K, V> {
    fn oldest(&self) -> Option<u64> {
        locked(&self.slots).order.keys().next().copied()
    }

    fn evict_oldest(&self) {
        let mut slots = locked(&self.slots);
        let evicted = slots
            .order
            .pop_first()
            .and_then(|(_, key)| slots.ready.remove(&key));
        // What it held is given back without the lock.
        drop(slots);
        drop(evicted);
    }
}
