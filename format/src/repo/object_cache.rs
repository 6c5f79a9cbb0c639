//! A cache of objects that never change, by their digest. Each is read once, however many tasks need it at that moment.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::error::Result;
use super::id::Digest;

/// The objects that were used last, within a budget of bytes.
pub(super) struct ObjectCache<T> {
    budget: u64,
    entries: Mutex<Entries<T>>,
}

struct Entries<T> {
    by_digest: HashMap<Digest, Entry<T>>,
    bytes: u64,
    /// Counts uses.
    clock: u64,
}

struct Entry<T> {
    cell: Arc<OnceCell<Arc<T>>>,
    bytes: u64,
    last_used: u64,
}

impl<T> fmt::Debug for ObjectCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectCache")
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

impl<T> ObjectCache<T> {
    pub(super) fn new(budget: u64) -> ObjectCache<T> {
        ObjectCache {
            budget,
            entries: Mutex::new(Entries {
                by_digest: HashMap::new(),
                bytes: 0,
                clock: 0,
            }),
        }
    }

    /// Returns the object of this digest, which takes about `bytes` in memory; reads it if it is not there.
    pub(super) async fn get<F: Future<Output = Result<T>>>(
        &self,
        digest: Digest,
        bytes: u64,
        read: impl FnOnce() -> F,
    ) -> Result<Arc<T>> {
        let cell = self.entry(digest, bytes);
        let read = async || read().await.map(Arc::new);
        cell.get_or_try_init(read).await.map(Arc::clone)
    }

    fn entry(&self, digest: Digest, bytes: u64) -> Arc<OnceCell<Arc<T>>> {
        // Nothing panics while the lock is held, and no entry is ever half made.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clock += 1;
        let now = entries.clock;
        if let Some(entry) = entries.by_digest.get_mut(&digest) {
            entry.last_used = now;
            return Arc::clone(&entry.cell);
        }
        let cell = Arc::new(OnceCell::new());
        let entry = Entry {
            cell: Arc::clone(&cell),
            bytes,
            last_used: now,
        };
        entries.bytes = entries.bytes.saturating_add(bytes);
        entries.by_digest.insert(digest, entry);
        entries.shrink(self.budget, digest);
        cell
    }
}

impl<T> Entries<T> {
    /// Removes what was not used for longest; tasks that use it keep it.
    fn shrink(&mut self, budget: u64, kept: Digest) {
        while self.bytes > budget {
            let others = self.by_digest.iter().filter(|(digest, _)| **digest != kept);
            let Some(oldest) = others.min_by_key(|(_, entry)| entry.last_used) else {
                return;
            };
            let oldest = *oldest.0;
            if let Some(entry) = self.by_digest.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(entry.bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::error::{RepoError, RepoErrorKind};
    use crate::repo::id::Hex;

    async fn get(cache: &ObjectCache<u8>, digest: u8, value: Option<u8>) -> Option<u8> {
        let failed = || RepoError::of_object("r", "k", RepoErrorKind::Changed);
        let read = async || value.ok_or_else(failed);
        let got = cache.get(Hex([digest; 32]), 10, read).await;
        got.ok().map(|value| *value)
    }

    #[tokio::test]
    async fn what_was_used_last_is_kept_and_errors_are_not() {
        let cache = ObjectCache::new(20);
        assert_eq!(get(&cache, 1, Some(1)).await, Some(1));
        assert_eq!(get(&cache, 2, None).await, None);
        assert_eq!(get(&cache, 2, Some(2)).await, Some(2));
        assert_eq!(get(&cache, 1, None).await, Some(1));
        // The third takes the place of the second.
        assert_eq!(get(&cache, 3, Some(3)).await, Some(3));
        assert_eq!(get(&cache, 1, None).await, Some(1));
        assert_eq!(get(&cache, 2, None).await, None);
    }
}
