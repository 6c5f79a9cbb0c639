//! A cache whose values are loaded by one task each while all others wait; the least recently used are evicted first.
//!
//! Permanent errors are cached for a moment, so that a damaged block is not read again for every page that the kernel asks for, and
//! an object that returns is read again at once.

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

/// How long permanent errors are cached. Not longer: an object that is missing now may be there again in a moment.
const ERROR_LIFETIME: Duration = Duration::from_secs(2);
/// At most this many errors are cached.
const MAX_ERRORS: usize = 4096;

/// What a key must be.
pub(crate) trait Key: Clone + Eq + Hash + Debug + Send + Sync + 'static {}
impl<K: Clone + Eq + Hash + Debug + Send + Sync + 'static> Key for K {}

/// What a value must be. A clone is a handle to the same value.
pub(crate) trait Value: Clone + Send + Sync + 'static {
    /// The value was handed to a reader, as opposed to loaded ahead.
    fn was_read(&self) {}
}

type Outcome<V> = Result<V, ViewError>;
type Waiter<V> = watch::Receiver<Option<Outcome<V>>>;

/// The cache.
pub(crate) struct SingleFlightCache<K, V> {
    budget: Arc<Budget>,
    slots: Mutex<Slots<K, V>>,
    hits: AtomicU64,
    loads: AtomicU64,
}

struct Slots<K, V> {
    ready: HashMap<K, (V, u64)>,
    /// By the time of the last use.
    order: BTreeMap<u64, K>,
    loading: HashMap<K, Waiter<V>>,
    failed: HashMap<K, (ViewError, Instant)>,
}

/// The state of a key.
enum Found<K: Key, V: Value> {
    Ready(Outcome<V>),
    Loading(Waiter<V>),
    Vacant(LoadGuard<K, V>),
}

/// The right and the duty to load one value. If it is dropped unsettled, the next caller loads the value.
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
        let cache = SingleFlightCache::kept(budget);
        budget.add_cache(&cache);
        cache
    }

    /// A cache from which nothing is evicted.
    pub(crate) fn kept(budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(SingleFlightCache {
            budget: Arc::clone(budget),
            slots: Mutex::new(Slots {
                ready: HashMap::new(),
                order: BTreeMap::new(),
                loading: HashMap::new(),
                failed: HashMap::new(),
            }),
            hits: AtomicU64::new(0),
            loads: AtomicU64::new(0),
        })
    }

    /// The numbers of hits and of loads.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (
            self.hits.load(Ordering::Relaxed),
            self.loads.load(Ordering::Relaxed),
        )
    }

    /// The value of a key. It is loaded by a task of its own, so that the load survives a caller that goes away.
    pub(crate) async fn get<F>(self: &Arc<Self>, key: K, load: impl FnOnce() -> F) -> Outcome<V>
    where
        F: Future<Output = Outcome<V>> + Send + 'static,
    {
        let mut load = Some(load);
        loop {
            let loading = match self.find(&key) {
                Found::Ready(outcome) => return outcome,
                Found::Loading(loading) => loading,
                Found::Vacant(guard) => {
                    let Some(load) = load.take() else {
                        // Our own load was dropped unsettled: its task panicked.
                        return Err(ViewError::Internal {
                            location: Location::default(),
                        });
                    };
                    let loading = guard.sender.subscribe();
                    let value = load();
                    tokio::spawn(async move { guard.settle(value.await) });
                    loading
                }
            };
            if let Some(outcome) = outcome(loading).await {
                return outcome;
            }
        }
    }

    /// Reserves the load of a key that is neither cached nor being loaded, before anyone asks for it.
    pub(crate) fn reserve(self: &Arc<Self>, key: K) -> Option<LoadGuard<K, V>> {
        let mut slots = locked(&self.slots);
        let known = slots.ready.contains_key(&key)
            || slots.loading.contains_key(&key)
            || slots.failed.contains_key(&key);
        (!known).then(|| self.vacant(&mut slots, key))
    }

    fn find(self: &Arc<Self>, key: &K) -> Found<K, V> {
        let mut slots = locked(&self.slots);
        if let Some(value) = slots.touch(key, self.budget.tick()) {
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
    fn touch(&mut self, key: &K, tick: u64) -> Option<V> {
        let (value, last) = self.ready.get_mut(key)?;
        self.order.remove(last);
        *last = tick;
        let value = value.clone();
        self.order.insert(tick, key.clone());
        Some(value)
    }

    fn insert(&mut self, key: K, value: V, tick: u64) {
        self.order.insert(tick, key.clone());
        self.ready.insert(key, (value, tick));
    }

    fn insert_error(&mut self, key: K, error: ViewError) {
        let now = Instant::now();
        if self.failed.len() >= MAX_ERRORS {
            self.failed.retain(|_, (_, until)| now < *until);
        }
        if self.failed.len() < MAX_ERRORS {
            self.failed.insert(key, (error, now + ERROR_LIFETIME));
        }
    }
}

/// Waits for a load; `None` if its guard was dropped unsettled.
async fn outcome<V: Value>(mut loading: Waiter<V>) -> Option<Outcome<V>> {
    let settled = loading.wait_for(Option::is_some).await.ok()?;
    let outcome = Option::clone(&settled);
    if let Some(Ok(value)) = &outcome {
        value.was_read();
    }
    outcome
}

impl<K: Key, V: Value> LoadGuard<K, V> {
    /// Hands the outcome to all who wait, and caches it.
    pub(crate) fn settle(self, outcome: Outcome<V>) {
        let tick = self.cache.budget.tick();
        let mut slots = locked(&self.cache.slots);
        slots.loading.remove(&self.key);
        match &outcome {
            Ok(value) => slots.insert(self.key.clone(), value.clone(), tick),
            Err(error) if error.is_permanent() => {
                slots.insert_error(self.key.clone(), error.clone())
            }
            Err(_) => {}
        }
        drop(slots);
        self.sender.send_replace(Some(outcome));
        self.cache.budget.changed();
    }
}

impl<K: Key, V: Value> Drop for LoadGuard<K, V> {
    fn drop(&mut self) {
        // Once settled, the entry is gone, and another task may already be loading the key again.
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
        // Dropped without the lock: it may free a lot of memory, and its lease takes the lock of the budget.
        drop(slots);
        drop(evicted);
    }
}
