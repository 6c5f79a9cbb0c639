//! How far the readers of a store read ahead of what they are asked for, and the memory that they share for it.
//!
//! What a caller waits for is always read, and needs no share: so a reader that holds much of it cannot make another one wait for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How far readers read ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadaheadLimits {
    /// Stored bytes that a reader that may stop early has ahead at first. It grows as the reader proceeds.
    pub first_bytes: u64,
    /// Stored bytes that all readers of the store together have ahead; one reader may have all of them. 0 where none reads ahead.
    pub shared_bytes: u64,
    /// Unneeded bytes between two ranges that are read with them, rather than making two requests.
    pub gap_bytes: u64,
}

impl ReadaheadLimits {
    /// Reads only what is asked for, a range at a time.
    pub const NONE: ReadaheadLimits = ReadaheadLimits {
        first_bytes: 0,
        shared_bytes: 0,
        gap_bytes: 0,
    };
}

/// The unit of the shared memory: a semaphore of an odd machine has fewer permits than there are bytes.
const UNIT: u64 = 1 << 10;

/// The memory that the readers of one store share. Clones are the same memory.
#[derive(Clone, Debug)]
pub(super) struct AheadMemory {
    free: Arc<Semaphore>,
    bytes: u64,
    readers: Arc<AtomicU64>,
}

impl AheadMemory {
    pub(super) fn new(bytes: u64) -> AheadMemory {
        let units = usize::try_from(bytes / UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        AheadMemory {
            free: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
            bytes,
            readers: Arc::default(),
        }
    }

    /// Adds a reader, which counts until it is dropped.
    pub(super) fn reader(&self) -> AheadReader {
        self.readers.fetch_add(1, Ordering::Relaxed);
        AheadReader(self.clone())
    }
}

/// One of the readers that share the memory.
#[derive(Debug)]
pub struct AheadReader(AheadMemory);

/// A piece of the shared memory, until it is dropped.
#[derive(Debug)]
pub struct AheadBytes {
    _held: OwnedSemaphorePermit,
}

impl AheadReader {
    /// Returns how many bytes each of the present readers may have.
    #[must_use]
    pub fn share(&self) -> u64 {
        let readers = self.0.readers.load(Ordering::Relaxed);
        self.0.bytes / readers.max(1)
    }

    /// Takes memory, if it is free at the moment.
    #[must_use]
    pub fn take(&self, bytes: u64) -> Option<AheadBytes> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        let free = Arc::clone(&self.0.free).try_acquire_many_owned(units);
        free.ok().map(|_held| AheadBytes { _held })
    }
}

impl Drop for AheadReader {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_the_memory_and_give_it_back() {
        let memory = AheadMemory::new(10 * UNIT);
        let first = memory.reader();
        assert_eq!(first.share(), 10 * UNIT);
        let second = memory.reader();
        assert_eq!((first.share(), second.share()), (5 * UNIT, 5 * UNIT));
        let held = first.take(7 * UNIT - 1).unwrap();
        assert!(second.take(3 * UNIT + 1).is_none());
        assert!(second.take(3 * UNIT).is_some());
        drop(second);
        assert_eq!(first.share(), 10 * UNIT);
        drop(held);
        assert!(first.take(10 * UNIT).is_some());
        assert!(first.take(u64::MAX).is_none());
    }
}
