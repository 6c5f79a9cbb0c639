//! Bounds what threads that decode one block each have decoded of large ones, all threads of the process together.
//!
//! A block has about `--block-size` of records, but one of Kafka's own batches may have up to 128 MiB: a producer that estimates how well its records compress
//! writes batches that decompress to some fifty times `batch.size`. On many cores, a few such blocks each would be gigabytes. So there is room for
//! large blocks of 64 MiB at a time, or for one that is larger, and whoever has decoded one frees its buffers; a block that is not large needs no
//! room, and each thread keeps the buffers of one. A decoder takes up to as much again while it decompresses.
//!
//! A thread that has room must not ask for more, since it would wait for itself: this is for threads that decode one block after the other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Blocks whose records take more than this are large.
const LARGE_BYTES: usize = 8 << 20;

/// What decoded large blocks may take at a time.
const ROOM_BYTES: usize = 64 << 20;

static ROOM: Room = Room::new(ROOM_BYTES);

/// Waits until there is room for a block whose records take this many bytes, and takes it; `None` where the block is not large. Blocks.
pub(crate) fn wait_for_room(bytes: usize) -> Option<LargeBlock<'static>> {
    (bytes > LARGE_BYTES).then(|| ROOM.take(bytes))
}

/// Returns whether buffers of this size are not to be kept for the next block. Those of a block that is not large may be twice as large as it is.
pub(crate) fn are_large(buffer_bytes: usize) -> bool {
    buffer_bytes > 2 * LARGE_BYTES
}

/// Room that is handed out in the order in which it is asked for.
struct Room {
    all: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    taken: usize,
    /// The number of the next one that asks, and of the one that gets room next.
    next: u64,
    served: u64,
}

/// The room of a large block, until it is dropped.
pub(crate) struct LargeBlock<'a> {
    room: &'a Room,
    bytes: usize,
}

impl Room {
    const fn new(all: usize) -> Room {
        Room {
            all,
            state: Mutex::new(State {
                taken: 0,
                next: 0,
                served: 0,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves these numbers inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: usize) -> LargeBlock<'_> {
        // One that is larger than all of it has it for itself.
        let bytes = bytes.min(self.all);
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        while state.served != number || state.taken + bytes > self.all {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.served += 1;
        state.taken += bytes;
        drop(state);
        self.changed.notify_all();
        LargeBlock { room: self, bytes }
    }
}

impl Drop for LargeBlock<'_> {
    fn drop(&mut self) {
        self.room.lock().taken -= self.bytes;
        self.room.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn threads_have_no_more_than_there_is_room_for_and_all_get_some() {
        let (room, held, alone) = (Room::new(100), AtomicUsize::new(0), AtomicUsize::new(0));
        let most = AtomicUsize::new(0);
        thread::scope(|scope| {
            for seed in 0..8_usize {
                let (room, held, alone, most) = (&room, &held, &alone, &most);
                scope.spawn(move || {
                    for turn in 0..200 {
                        let bytes = [10, 40, 90, 250][(seed * 7 + turn * 3) % 4];
                        let taken = room.take(bytes);
                        let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        most.fetch_max(now, Ordering::SeqCst);
                        assert!(now <= 100 || now == bytes, "{now} with {bytes}");
                        if bytes == 250 {
                            alone.fetch_add(1, Ordering::SeqCst);
                        }
                        thread::yield_now();
                        held.fetch_sub(bytes, Ordering::SeqCst);
                        drop(taken);
                    }
                });
            }
        });
        assert_eq!(alone.into_inner(), 8 * 200 / 4);
        assert_eq!((room.lock().taken, held.into_inner()), (0, 0));
        assert_eq!(most.into_inner(), 250);
    }

    #[test]
    fn only_large_blocks_need_room() {
        assert!(wait_for_room(LARGE_BYTES).is_none());
        let all = wait_for_room(usize::MAX).unwrap();
        assert!(wait_for_room(LARGE_BYTES).is_none(), "without waiting");
        drop(all);
        drop(wait_for_room(LARGE_BYTES + 1).unwrap());
    }
}
