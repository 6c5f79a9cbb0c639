//! A pool of block builders, which bounds the memory of a backup: by their number, and by the bytes of large blocks.
//!
//! ```text
//! feeder --take--> fill --send job--> encoder --written--> give
//! ```
//!
//! A feeder that finds no free builder waits. It cannot wait forever: every builder that no feeder holds is on its way through an
//! encoder, and there are more builders than the feeders can hold at the same time.
//!
//! A block with one record or batch that is larger than a block usually is takes [`Room`] for the rest of it, before it is filled. There is room
//! for several that are a little larger, and for one of any size. Waiting for it ends, too: whoever has room fills one block and submits it, and
//! waits for nothing but a builder.
//!
//! Blocks of records and of batches have buffers of their own, and are counted together: one that is needed takes the place of an idle one
//! of another kind.
//!
//! The builder returned last is taken first, because its buffers are still in the CPU caches. A new one is created only if none is
//! free, so that a backup of few partitions uses no more memory than it needs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::block::{BlockContent, OpenBlock};

/// How much of the room for large blocks is counted as one.
const UNIT_BYTES: usize = 1 << 20;
/// All the room for what large blocks have beyond the usual size. One that needs more takes all of it.
const UNITS: usize = 16;

/// What a block has of the room for large blocks.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "it has to be given back"]
pub(super) struct Room(usize);

/// The side that takes builders, for feeders.
#[derive(Clone)]
pub(super) struct Free {
    permits: Receiver<()>,
    units: Receiver<()>,
    /// Held by who takes units: two that have some could wait for each other.
    one_takes: Arc<Mutex<()>>,
    stack: Stack,
    block_bytes: usize,
}

/// The side that returns builders, for encoders. When all of these are dropped, feeders stop.
#[derive(Clone)]
pub(super) struct Return {
    permits: Sender<()>,
    units: Sender<()>,
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
    let (give, take) = tokens(count);
    let (give_units, take_units) = tokens(UNITS);
    let stack = Stack::default();
    (
        Return {
            permits: give,
            units: give_units,
            stack: stack.clone(),
        },
        Free {
            permits: take,
            units: take_units,
            one_takes: Arc::default(),
            stack,
            block_bytes,
        },
    )
}

fn tokens(count: usize) -> (Sender<()>, Receiver<()>) {
    let (give, take) = bounded(count);
    put(&give, count);
    (give, take)
}

/// The channel has room for all that there are. That nobody receives any more is no error: then nobody needs them.
fn put(tokens: &Sender<()>, count: usize) {
    for _ in 0..count {
        let _ = tokens.send(());
    }
}

impl Free {
    /// Returns a builder for a block that covers offsets from `base_offset`; `None` once the encoders have ended.
    pub(super) fn take(&self, content: BlockContent, base_offset: i64) -> Option<OpenBlock> {
        self.permits.recv().ok()?;
        Some(self.take_idle(content, base_offset))
    }

    /// Returns the room for a block of `bytes`, which is none if they are not more than usual; `None` once the encoders have ended.
    pub(super) fn take_room(&self, bytes: usize) -> Option<Room> {
        let units = bytes.saturating_sub(self.block_bytes).div_ceil(UNIT_BYTES);
        let mut room = Room::default();
        if units > 0 {
            let _alone = self.one_takes.lock();
            while room.0 < units.min(UNITS) {
                self.units.recv().ok()?;
                room.0 += 1;
            }
        }
        Some(room)
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

    /// Returns the bytes of the blocks in use, as if all were full, and of all that there may be, beyond which there may be one block.
    pub(super) fn use_of_memory(&self) -> (u64, u64) {
        let all = |tokens: &Receiver<()>| tokens.capacity().unwrap_or_default();
        let bytes = |blocks: usize, units: usize| {
            blocks as u64 * self.block_bytes as u64 + units as u64 * UNIT_BYTES as u64
        };
        let (blocks, units) = (all(&self.permits), all(&self.units));
        let used = bytes(blocks - self.permits.len(), units - self.units.len());
        (used, bytes(blocks, units))
    }
}

impl Return {
    /// Takes a builder back, and the room that its block had.
    pub(super) fn give(&self, builder: OpenBlock, room: Room) {
        // The buffers of a large block would be idle most of the time.
        if room.0 <= 1 {
            self.stack.lock().push(builder);
        } else {
            drop(builder);
        }
        put(&self.units, room.0);
        put(&self.permits, 1);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    const BLOCK_BYTES: usize = 1 << 20;

    fn take(free: &Free) -> OpenBlock {
        free.take(BlockContent::Records, 0).unwrap()
    }

    #[test]
    fn what_is_not_larger_than_a_block_needs_no_room() {
        let (_returned, free) = pool(1, BLOCK_BYTES);
        for bytes in [0, 1, BLOCK_BYTES] {
            assert_eq!(free.take_room(bytes), Some(Room(0)));
        }
        for (bytes, units) in [(1, 1), (UNIT_BYTES, 1), (UNIT_BYTES + 1, 2)] {
            assert_eq!(free.take_room(BLOCK_BYTES + bytes), Some(Room(units)));
        }
    }

    #[test]
    fn one_block_of_any_size_is_there_at_a_time() {
        for bytes in [BLOCK_BYTES + UNITS * UNIT_BYTES, 100 << 20, usize::MAX] {
            let (returned, free) = pool(3, BLOCK_BYTES);
            let (held, limit) = free.use_of_memory();
            assert_eq!(held, 0);
            let first = free.take_room(bytes).unwrap();
            let block = take(&free);
            assert_eq!(
                free.use_of_memory(),
                (limit - 2 * BLOCK_BYTES as u64, limit)
            );
            thread::scope(|scope| {
                // A small one, and one that waits for part of the room, wait just as the next huge one does.
                let others = [bytes, BLOCK_BYTES + 1, bytes].map(|bytes| {
                    let (free, returned) = (free.clone(), returned.clone());
                    scope.spawn(move || {
                        let room = free.take_room(bytes).unwrap();
                        returned.give(take(&free), room);
                    })
                });
                thread::sleep(Duration::from_millis(50));
                assert!(others.iter().all(|other| !other.is_finished()));
                returned.give(block, first);
            });
            assert_eq!(free.use_of_memory(), (0, limit), "all of it came back");
        }
    }

    #[test]
    fn the_buffers_of_large_blocks_are_freed() {
        let (returned, free) = pool(2, BLOCK_BYTES);
        for (bytes, idle) in [(1, 1), (UNIT_BYTES, 1), (UNIT_BYTES + 1, 0)] {
            let room = free.take_room(BLOCK_BYTES + bytes).unwrap();
            returned.give(take(&free), room);
            assert_eq!(free.stack.lock().len(), idle);
        }
    }

    #[test]
    fn nobody_waits_for_room_once_the_encoders_have_ended() {
        let (returned, free) = pool(1, BLOCK_BYTES);
        let _room = free.take_room(usize::MAX).unwrap();
        thread::scope(|scope| {
            let waits = scope.spawn(|| free.take_room(usize::MAX));
            drop(returned);
            assert_eq!(waits.join().unwrap(), None);
        });
    }
}
