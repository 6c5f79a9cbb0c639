//! How far the readers of a store read ahead of what they are asked for, and the memory that they share for it.
//!
//! What a caller waits for is always read, and needs no share: so a reader that holds much of it cannot make another one wait for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How far readers read ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadaheadLimits {
    /// Stored bytes that a reader that may stop early has ahead at first. It grows as the reader proceeds.
    pub first_bytes: u64,
    /// Stored bytes that all readers of the store together have ahead; one reader may have all of them. 0 where none reads ahead.
    pub shared_bytes: u64,
    /// Requests that all readers of the store together have ahead, likewise: small segments are far from filling the memory.
    pub shared_requests: usize,
    /// Unneeded bytes between two ranges that are read with them, rather than making two requests.
    pub gap_bytes: u64,
}

impl ReadaheadLimits {
    /// Reads only what is asked for, a range at a time.
    pub const NONE: ReadaheadLimits = ReadaheadLimits {
        first_bytes: 0,
        shared_bytes: 0,
        shared_requests: 0,
        gap_bytes: 0,
    };
}

/// How much one reader may have ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AheadShare {
    /// Stored bytes.
    pub bytes: u64,
    /// Requests whose answers its caller has not taken.
    pub requests: usize,
}

/// Of the whole, the share of a reader that its caller has not asked for anything yet.
const UNASKED: u32 = 16;

/// The unit of the shared memory: a semaphore of an odd machine has fewer permits than there are bytes.
const UNIT: u64 = 1 << 10;

/// Stored bytes of the footers that all plans of a store together keep for their readers: those of some hundred gigabytes in large segments.
const FOOTER_BYTES: u64 = 8 << 20;

/// The memory that the readers of one store share. Clones are the same memory.
#[derive(Clone, Debug)]
pub(super) struct AheadMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    footers: Arc<Semaphore>,
    limits: ReadaheadLimits,
    /// Those that were asked for something.
    readers: AtomicU32,
}

impl AheadMemory {
    pub(super) fn new(limits: ReadaheadLimits) -> AheadMemory {
        let units = usize::try_from(limits.shared_bytes / UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        AheadMemory(Arc::new(Shared {
            free: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
            footers: Arc::new(Semaphore::new((FOOTER_BYTES / UNIT) as usize)),
            limits,
            readers: AtomicU32::new(0),
        }))
    }

    /// Takes memory to keep a footer, if it is free at the moment.
    pub(super) fn keep_footer(&self, bytes: u64) -> Option<AheadBytes> {
        take(&self.0.footers, bytes)
    }

    pub(super) fn reader(&self) -> AheadReader {
        AheadReader {
            memory: Arc::clone(&self.0),
            is_asked: false,
        }
    }
}

/// One of the readers that share the memory.
#[derive(Debug)]
pub struct AheadReader {
    memory: Arc<Shared>,
    is_asked: bool,
}

/// A piece of the shared memory, until it is dropped.
#[derive(Debug)]
pub struct AheadBytes {
    _held: OwnedSemaphorePermit,
}

impl AheadReader {
    /// Notes that its caller has asked for something. From now on until it is dropped, it has an equal share of the whole.
    pub fn asked(&mut self) {
        if !std::mem::replace(&mut self.is_asked, true) {
            self.memory.readers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how much this reader may have ahead, as many as there are at present.
    #[must_use]
    pub fn share(&self) -> AheadShare {
        let readers = match self.is_asked {
            true => self.memory.readers.load(Ordering::Relaxed).max(1),
            false => UNASKED,
        };
        let limits = &self.memory.limits;
        let requests = limits.shared_requests / usize::try_from(readers).unwrap_or(usize::MAX);
        AheadShare {
            bytes: limits.shared_bytes / u64::from(readers),
            requests: requests.max(1),
        }
    }

    /// Takes memory, if it is free at the moment.
    #[must_use]
    pub fn take(&self, bytes: u64) -> Option<AheadBytes> {
        take(&self.memory.free, bytes)
    }
}

fn take(free: &Arc<Semaphore>, bytes: u64) -> Option<AheadBytes> {
    let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
    let taken = Arc::clone(free).try_acquire_many_owned(units);
    taken.ok().map(|_held| AheadBytes { _held })
}

impl Drop for AheadReader {
    fn drop(&mut self) {
        if self.is_asked {
            self.memory.readers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> AheadMemory {
        AheadMemory::new(ReadaheadLimits {
            shared_bytes: 64 * UNIT,
            shared_requests: 32,
            ..ReadaheadLimits::NONE
        })
    }

    fn share(units: u64, requests: usize) -> AheadShare {
        let bytes = units * UNIT;
        AheadShare { bytes, requests }
    }

    #[test]
    fn readers_share_the_memory_and_give_it_back() {
        let memory = memory();
        let (mut first, mut second) = (memory.reader(), memory.reader());
        first.asked();
        assert_eq!(first.share(), share(64, 32));
        second.asked();
        second.asked();
        assert_eq!(
            (first.share(), second.share()),
            (share(32, 16), share(32, 16))
        );
        let held = first.take(60 * UNIT - 1).unwrap();
        assert!(second.take(4 * UNIT + 1).is_none());
        assert!(second.take(4 * UNIT).is_some());
        drop(second);
        assert_eq!(first.share(), share(64, 32));
        drop(held);
        assert!(first.take(64 * UNIT).is_some());
        assert!(first.take(u64::MAX).is_none());
    }

    #[test]
    fn a_reader_that_nobody_has_asked_takes_little_and_nothing_from_the_share_of_others() {
        let memory = memory();
        let (mut asked, waiting) = (memory.reader(), memory.reader());
        asked.asked();
        assert_eq!(
            (asked.share(), waiting.share()),
            (share(64, 32), share(4, 2))
        );
        drop(waiting);
        assert_eq!(asked.share(), share(64, 32));
    }
}
