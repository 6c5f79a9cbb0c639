//! Block builders that go round: their number bounds the memory of a backup.
//!
//! ```text
//! feeder --take--> fill --send job--> encoder --written--> give back
//! ```
//!
//! A feeder that finds no free builder waits. It cannot wait for ever: builders that are not in a feeder's hands are on
//! their way through an encoder, and there are more builders than feeders can hold at a time.

use crossbeam_channel::{Receiver, Sender, unbounded};
use kbk_format::BlockBuilder;

/// The taking side, for feeders.
#[derive(Clone)]
pub(super) struct Free(Receiver<BlockBuilder>);

/// The giving side, for encoders. When all of these are gone, feeders stop.
#[derive(Clone)]
pub(super) struct Return(Sender<BlockBuilder>);

/// `count` builders for blocks of `block_bytes`.
pub(super) fn pool(count: usize, block_bytes: usize) -> (Return, Free) {
    let (give, take) = unbounded();
    for _ in 0..count {
        // The receiver is at hand, so this cannot fail.
        let _ = give.send(BlockBuilder::with_capacity(0, block_bytes));
    }
    (Return(give), Free(take))
}

impl Free {
    /// A builder for a block that covers offsets from `base_offset`; `None` when the encoders are gone.
    pub(super) fn take(&self, base_offset: i64) -> Option<BlockBuilder> {
        let mut builder = self.0.recv().ok()?;
        builder.restart(base_offset);
        Some(builder)
    }
}

impl Return {
    pub(super) fn give(&self, builder: BlockBuilder) {
        // Nobody wants it any more when the feeders are done.
        let _ = self.0.send(builder);
    }
}
