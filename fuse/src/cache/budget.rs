//! The memory budget that caches, readahead and reads in flight share.
//!
//! A task takes one [`Lease`] for all bytes it is about to hold, and takes no second one while it holds the first. So no task that
//! holds memory waits for memory, and there is no deadlock. Metadata of segments is the exception: it is *at rest*, which means
//! that it is small, that tasks hold it while they read blocks, and that no task waits for it. A lease ends when the last user
//! drops the bytes: a value that was evicted while it is being read still counts.
//!
//! Readers wait in line and evict the least recently used values. No read fails for lack of memory: more bytes than the whole
//! budget are granted once nothing else is held, and after [`PATIENCE`] a reader gets its bytes in any case. Readahead never
//! waits: it is refused while a reader waits, and while half of the budget is loaded ahead and unread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::locked;

/// How long a reader waits for others to release memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// A limit on the bytes that may be held.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    patience: Duration,
    held: Mutex<Held>,
    /// Bytes that were loaded ahead and not read yet.
    unread: AtomicU64,
    freed: Notify,
    /// Readers are served one at a time, or a large request could be overtaken by small ones forever.
    line: tokio::sync::Mutex<()>,
    waited_for: AtomicBool,
    /// A logical clock over the uses of all caches.
    clock: AtomicU64,
    caches: Mutex<Vec<Weak<dyn Evict>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    bytes: u64,
    most: u64,
    /// Bytes that waiting does not free, because the tasks that wait may hold them.
    at_rest: u64,
}

/// A cache whose values can be evicted.
pub(crate) trait Evict: Send + Sync + std::fmt::Debug {
    /// When its least recently used value was last used.
    fn oldest(&self) -> Option<u64>;
    /// Evicts that value.
    fn evict_oldest(&self);
}

/// A share of the budget, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    budget: Arc<Budget>,
    bytes: u64,
    /// Whether it is counted as loaded ahead and unread.
    unread: AtomicBool,
    at_rest: bool,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Arc<Budget> {
        Self::with_patience(limit, PATIENCE)
    }

    fn with_patience(limit: u64, patience: Duration) -> Arc<Budget> {
        Arc::new(Budget {
            limit,
            patience,
            held: Mutex::default(),
            unread: AtomicU64::new(0),
            freed: Notify::new(),
            line: tokio::sync::Mutex::new(()),
            waited_for: AtomicBool::new(false),
            clock: AtomicU64::new(0),
            caches: Mutex::default(),
        })
    }

    /// Registers a cache whose values may be evicted.
    pub(crate) fn add_cache(&self, cache: &Arc<impl Evict + 'static>) {
        let cache: Weak<dyn Evict> = Arc::downgrade(&(Arc::clone(cache) as Arc<dyn Evict>));
        locked(&self.caches).push(cache);
    }

    /// The next time of the logical clock.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Wakes readers that wait: there is a new value to evict.
    pub(crate) fn changed(&self) {
        self.freed.notify_waiters();
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn held(&self) -> u64 {
        locked(&self.held).bytes
    }

    /// The maximum that was held so far.
    pub(crate) fn most_held(&self) -> u64 {
        locked(&self.held).most
    }

    /// Waits until there is room for this many bytes.
    pub(crate) async fn take(self: &Arc<Self>, bytes: u64) -> Lease {
        let _line = self.line.lock().await;
        let deadline = tokio::time::Instant::now() + self.patience;
        loop {
            let freed = self.freed.notified();
            if self.make_room(bytes) {
                break;
            }
            self.waited_for.store(true, Ordering::Relaxed);
            if self.all_at_rest() || tokio::time::timeout_at(deadline, freed).await.is_err() {
                self.hold(bytes);
                break;
            }
        }
        self.waited_for.store(false, Ordering::Relaxed);
        self.lease(bytes, false)
    }

    /// Takes memory for readahead, without waiting; `None` if it is refused.
    pub(crate) fn take_ahead(self: &Arc<Self>, bytes: u64) -> Option<Lease> {
        let unread = self.unread.load(Ordering::Relaxed).saturating_add(bytes);
        let refused = self.waited_for.load(Ordering::Relaxed) || unread > self.limit / 2;
        if refused || !self.make_room(bytes) {
            return None;
        }
        self.unread.fetch_add(bytes, Ordering::Relaxed);
        Some(self.lease(bytes, true))
    }

    /// Evicts values until this many bytes fit, and holds them; `false` if nothing is left to evict.
    fn make_room(&self, bytes: u64) -> bool {
        loop {
            let mut held = locked(&self.held);
            let sum = held.bytes.saturating_add(bytes);
            if sum <= self.limit {
                held.bytes = sum;
                held.most = held.most.max(sum);
                return true;
            }
            drop(held);
            if !self.evict_oldest() {
                return false;
            }
        }
    }

    fn hold(&self, bytes: u64) {
        let mut held = locked(&self.held);
        held.bytes = held.bytes.saturating_add(bytes);
        held.most = held.most.max(held.bytes);
    }

    /// Whether everything that is held is at rest, so that waiting is pointless.
    fn all_at_rest(&self) -> bool {
        let held = locked(&self.held);
        held.bytes == held.at_rest
    }

    fn evict_oldest(&self) -> bool {
        let caches: Vec<_> = locked(&self.caches)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let aged = caches
            .iter()
            .filter_map(|cache| Some((cache.oldest()?, cache)));
        match aged.min_by_key(|(oldest, _)| *oldest) {
            Some((_, cache)) => {
                cache.evict_oldest();
                true
            }
            None => false,
        }
    }

    fn lease(self: &Arc<Self>, bytes: u64, unread: bool) -> Lease {
        Lease {
            budget: Arc::clone(self),
            bytes,
            unread: AtomicBool::new(unread),
            at_rest: false,
        }
    }
}

impl Lease {
    /// Splits this many bytes off, or all if there are fewer.
    pub(crate) fn split(&mut self, bytes: u64) -> Lease {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.lease(bytes, *self.unread.get_mut())
    }

    /// Marks the bytes as held by tasks that may take further leases, so that no task waits for them.
    pub(crate) fn at_rest(mut self) -> Lease {
        locked(&self.budget.held).at_rest += self.bytes;
        self.at_rest = true;
        self
    }

    /// Marks the bytes as read.
    pub(crate) fn read(&self) {
        if self.unread.swap(false, Ordering::Relaxed) {
            self.budget.unread.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.read();
        let mut held = locked(&self.budget.held);
        held.bytes -= self.bytes;
        if self.at_rest {
            held.at_rest -= self.bytes;
        }
        drop(held);
        self.budget.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_waits_for_memory_and_is_never_refused() {
        let budget = Budget::with_patience(100, Duration::from_secs(600));
        let first = budget.take(80).await;
        let second = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.take(50).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(budget.held(), 80);
        assert!(
            budget.take_ahead(1).is_none(),
            "readers that wait come before readahead"
        );
        drop(first);
        drop(second.await.unwrap());
        assert_eq!((budget.held(), budget.most_held()), (0, 80));
        let budget = Budget::with_patience(100, Duration::from_millis(1));
        let huge = budget.take(1_000).await;
        assert_eq!(budget.held(), 1_000, "granted because nothing else is held");
        let patient = budget.take(10).await;
        drop((huge, patient));
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn at_most_half_of_the_budget_is_loaded_ahead() {
        let budget = Budget::new(100);
        let mut ahead = budget.take_ahead(50).unwrap();
        assert!(budget.take_ahead(1).is_none());
        let part = ahead.split(20);
        part.read();
        part.read();
        let more = budget.take_ahead(20).unwrap();
        assert!(budget.take_ahead(1).is_none());
        drop((ahead, part, more));
        assert_eq!(budget.held(), 0);
        assert!(budget.take_ahead(50).is_some());
    }
}
