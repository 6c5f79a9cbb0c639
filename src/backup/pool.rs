//! A pool of block builders, whose number bounds the memory of a backup.
//!
//! ```text
//! feeder --take--> fill --send job--> encoder --written--> give
//! ```
//!
//! A feeder that finds no free builder waits. It cannot wait forever: every builder that no feeder holds is on its way through an
//! encoder, and there are more builders than the feeders can hold at the same time.
//!
//! The builder returned last is taken first, because its buffers are still in the CPU caches. A new one is created only if none is
//! free, so that a backup of few partitions uses no more memory than it needs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use kbk_format::BlockBuilder;

/// The side that takes builders, for feeders.
#[derive(Clone)]
pub(super) struct Free {
    permits: Receiver<()>,
    stack: Stack,
    block_bytes: usize,
}

/// The side that returns builders, for encoders. When all of these are dropped, feeders stop.
#[derive(Clone)]
pub(super) struct Return {
    permits: Sender<()>,
    stack: Stack,
}

/// The unused builders; never more than there are permits.
#[derive(Clone, Default)]
struct Stack(Arc<Mutex<Vec<BlockBuilder>>>);

impl Stack {
    fn lock(&self) -> MutexGuard<'_, Vec<BlockBuilder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates a pool of at most `count` builders for blocks of `block_bytes`.
pub(super) fn pool(count: usize, block_bytes: usize) -> (Return, Free) {
    let (give, take) = bounded(count);
    for _ in 0..count {
        // The channel has room for all of them and its receiver is alive, so this cannot fail.
        let _ = give.send(());
    }
    let stack = Stack::default();
    (
        Return {
            permits: give,
            stack: stack.clone(),
        },
        Free {
            permits: take,
            stack,
            block_bytes,
        },
    )
}

impl Free {
    /// Returns a builder for a block that covers offsets from `base_offset`; `None` once the encoders have ended.
    pub(super) fn take(&self, base_offset: i64) -> Option<BlockBuilder> {
        self.permits.recv().ok()?;
        let Some(mut builder) = self.stack.lock().pop() else {
            return Some(BlockBuilder::with_capacity(base_offset, self.block_bytes));
        };
        builder.restart(base_offset);
        Some(builder)
    }

    /// Returns the bytes of the blocks in use, as if all were full, and of all that there may be.
    pub(super) fn use_of_memory(&self) -> (u64, u64) {
        let all = self.permits.capacity().unwrap_or_default();
        let used = all - self.permits.len();
        let bytes = |blocks: usize| blocks as u64 * self.block_bytes as u64;
        (bytes(used), bytes(all))
    }
}

impl Return {
    pub(super) fn give(&self, builder: BlockBuilder) {
        self.stack.lock().push(builder);
        // Fails when the feeders have ended, and then nobody needs the permit.
        let _ = self.permits.send(());
    }
}
