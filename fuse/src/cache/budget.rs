//! The one number of bytes that cache, prefetch and what is in flight share.
//!
//! Whoever is about to hold bytes takes a [`Lease`] for all of them at once, and takes no other while it holds one, so those who
//! wait are waited for by nobody who holds. What is known of segments is at rest: small, held on the way to their blocks, and not
//! waited for. A lease ends when the last who uses the bytes drops them: a value that was evicted
//! and is still being read counts.
//!
//! A reader waits in line, and evicts what was used least recently. Nothing fails for want of memory: what is larger than the
//! whole budget is granted when it is alone, and after [`PATIENCE`] a reader is granted its bytes whatever others hold. Prefetch
//! never waits: it is refused where a reader waits, and where half of the budget is prefetched and not read yet.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::locked;

/// How long a reader waits for others to give back what they hold.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that may be held.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    patience: Duration,
    held: Mutex<Held>,
    /// Bytes that were prefetched and that nobody has read.
    unread: AtomicU64,
    freed: Notify,
    /// Readers take their bytes one behind the other: who needs many is not overtaken for ever by those who need few.
    line: tokio::sync::Mutex<()>,
    waited_for: AtomicBool,
    /// Counts uses of values, over all caches.
    clock: AtomicU64,
    caches: Mutex<Vec<Weak<dyn Evict>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    bytes: u64,
    most: u64,
    /// Bytes that are not given back by waiting: those who wait may hold them themselves.
    at_rest: u64,
}

/// Something that keeps values that it can do without.
pub(crate) trait Evict: Send + Sync + std::fmt::Debug {
    /// When the value was used that was used least recently.
    fn oldest(&self) -> Option<u64>;
    /// Gives that value up.
    fn evict_oldest(&self);
}

/// Bytes of the budget that are held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    budget: Arc<Budget>,
    bytes: u64,
    /// Counted as prefetched and not read.
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

    /// What `cache` keeps may be evicted from now on.
    pub(crate) fn add_cache(&self, cache: &Arc<impl Evict + 'static>) {
        let cache: Weak<dyn Evict> = Arc::downgrade(&(Arc::clone(cache) as Arc<dyn Evict>));
        locked(&self.caches).push(cache);
    }

    /// A number above all before it: when something was used.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// There is something new to be evicted.
    pub(crate) fn changed(&self) {
        self.freed.notify_waiters();
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn held(&self) -> u64 {
        locked(&self.held).bytes
    }

    /// The most that was ever held.
    pub(crate) fn most_held(&self) -> u64 {
        locked(&self.held).most
    }

    /// Waits until there is room for so many bytes.
    pub(crate) async fn take(self: &Arc<Self>, bytes: u64) -> Lease {
        let _line = self.line.lock().await;
        let deadline = tokio::time::Instant::now() + self.patience;
        loop {
            let freed = self.freed.notified();
            if self.make_room(bytes) {
                break;
            }
            self.waited_for.store(true, Ordering::Relaxed);
            if self.nothing_moves() || tokio::time::timeout_at(deadline, freed).await.is_err() {
                self.hold(bytes);
                break;
            }
        }
        self.waited_for.store(false, Ordering::Relaxed);
        self.lease(bytes, false)
    }

    /// Bytes for something that nobody has query for yet.
    pub(crate) fn take_ahead(self: &Arc<Self>, bytes: u64) -> Option<Lease> {
        let unread = self.unread.load(Ordering::Relaxed).saturating_add(bytes);
        let refused = self.waited_for.load(Ordering::Relaxed) || unread > self.limit / 2;
        if refused || !self.make_room(bytes) {
            return None;
        }
        self.unread.fetch_add(bytes, Ordering::Relaxed);
        Some(self.lease(bytes, true))
    }

    /// Evicts until so many bytes fit, and holds them; `false` where nothing is left to be evicted.
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

    /// Whether all that is held is at rest.
    fn nothing_moves(&self) -> bool {
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
    /// Splits so many bytes off, or all where there are fewer.
    pub(crate) fn split(&mut self, bytes: u64) -> Lease {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.lease(bytes, *self.unread.get_mut())
    }

    /// Says that the bytes are kept by who reads on: nobody needs to wait for them.
    pub(crate) fn at_rest(mut self) -> Lease {
        locked(&self.budget.held).at_rest += self.bytes;
        self.at_rest = true;
        self
    }

    /// Somebody has query for these bytes.
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
    async fn a_reader_waits_for_what_others_hold_and_is_never_refused() {
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
            "prefetch goes behind whoever waits"
        );
        drop(first);
        drop(second.await.unwrap());
        assert_eq!((budget.held(), budget.most_held()), (0, 80));
        let budget = Budget::with_patience(100, Duration::from_millis(1));
        let huge = budget.take(1_000).await;
        assert_eq!(budget.held(), 1_000, "alone, it is granted");
        let patient = budget.take(10).await;
        drop((huge, patient));
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn what_nobody_has_read_yet_is_at_most_half() {
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
