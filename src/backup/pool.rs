//! A pool of block builders, whose number bounds the memory of a backup.
//!
//! ```text
//! feeder --take--> fill --send job--> encoder --written--> give
//! ```
//!
//! A feeder that finds no free builder waits. It cannot wait forever: every builder that no feeder holds is on its way through an
//! encoder, and there are more builders than the feeders can hold at the same time.
//!
//! Blocks of records and of batches have buffers of their own, and are counted together: one that is needed takes the place of an idle one
//! of another kind.
//!
//! The builder returned last is taken first, because its buffers are still in the CPU caches. A new one is created only if none is
//! free, so that a backup of few partitions uses no more memory than it needs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::block::{BlockContent, OpenBlock};

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
struct Stack(Arc<Mutex<Vec<OpenBlock>>>);

impl Stack {
    fn lock(&self) -> MutexGuard<'_, Vec<OpenBlock>> {
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
    pub(super) fn take(&self, content: BlockContent, base_offset: i64) -> Option<OpenBlock> {
        self.permits.recv().ok()?;
        Some(self.take_idle(content, base_offset))
    }

    fn take_idle(&self, content: BlockContent, base_offset: i64) -> OpenBlock {
        let mut idle = self.stack.lock();
        let found = idle.iter().rposition(|block| block.content() == content);
        match found {
            Some(at) => {
                let mut block = idle.remove(at);
                block.restart(base_offset);
                block
            }
            None => {
                // Not more idle ones than permits: the buffers of one that is not needed now are freed.
                if !idle.is_empty() {
                    idle.remove(0);
                }
                OpenBlock::new(content, base_offset, self.block_bytes)
            }
        }
    }

    /// Returns an empty block of another kind in the place of one, with its coverage.
    pub(super) fn exchange(&self, block: OpenBlock, content: BlockContent) -> OpenBlock {
        let (base_offset, end_offset) = (block.base_offset(), block.end_offset());
        self.stack.lock().push(block);
        let mut other = self.take_idle(content, base_offset);
        other.cover(end_offset);
        other
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
    pub(super) fn give(&self, builder: OpenBlock) {
        self.stack.lock().push(builder);
        // Fails when the feeders have ended, and then nobody needs the permit.
        let _ = self.permits.send(());
    }
}
