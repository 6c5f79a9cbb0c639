//! Block builders that go round: their number bounds the memory of a backup.
//!
//! ```text
//! feeder --take--> fill --send job--> encoder --written--> give back
//! ```
//!
//! A feeder that finds no free builder waits. It cannot wait for ever: builders that are not in a feeder's hands are on
//! their way through an encoder, and there are more builders than feeders can hold at a time.
//!
//! The builder given back last is taken first: its buffers are in the caches still. One is made only when none is free,
//! so that a backup of few partitions uses no more memory than it needs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use kbk_format::BlockBuilder;

/// The taking side, for feeders.
#[derive(Clone)]
pub(super) struct Free {
    permits: Receiver<()>,
    stack: Stack,
    block_bytes: usize,
}

/// The giving side, for encoders. When all of these are gone, feeders stop.
#[derive(Clone)]
pub(super) struct Return {
    permits: Sender<()>,
    stack: Stack,
}

/// Builders that nobody uses; never more than there are permits.
#[derive(Clone, Default)]
struct Stack(Arc<Mutex<Vec<BlockBuilder>>>);

impl Stack {
    fn lock(&self) -> MutexGuard<'_, Vec<BlockBuilder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most `count` builders for blocks of `block_bytes`.
pub(super) fn pool(count: usize, block_bytes: usize) -> (Return, Free) {
    let (give, take) = bounded(count);
    for _ in 0..count {
        // There is room, and the receiver is at hand: this cannot fail.
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
    /// A builder for a block that covers offsets from `base_offset`; `None` when the encoders are gone.
    pub(super) fn take(&self, base_offset: i64) -> Option<BlockBuilder> {
        self.permits.recv().ok()?;
        let Some(mut builder) = self.stack.lock().pop() else {
            return Some(BlockBuilder::with_capacity(base_offset, self.block_bytes));
        };
        builder.restart(base_offset);
        Some(builder)
    }
}

impl Return {
    pub(super) fn give(&self, builder: BlockBuilder) {
        self.stack.lock().push(builder);
        // Nobody wants it any more when the feeders are done.
        let _ = self.permits.send(());
    }
}
