//! Buffers that are not used any more, to be filled again: those of parts that a store has, by any upload to it, and those of ranges that were
//! read of it, by any reader.
//!
//! A fresh buffer of a megabyte costs more than to read into it: the kernel clears its pages one by one. And an allocator that gets such buffers
//! back in any order keeps twice the memory that is used.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::upload::UploadBuffers;

/// Buffers of parts up to this size are kept in any case: no block is usually larger.
pub(super) const USUAL_BYTES: usize = 8 << 20;
/// What idle buffers of ranges may take, where these have the usual size; twice that at most. A restore frees a few megabytes at once.
const IDLE_RANGE_BYTES: usize = 8 << 20;

/// The idle buffers of a store. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct SpareBuffers(Arc<Idle>);

#[derive(Debug)]
struct Idle {
    /// The latest one comes last.
    buffers: Mutex<Vec<Vec<u8>>>,
    /// How many are kept, at least 1.
    most: usize,
    /// Larger ones are freed: a batch of 100 MB must not cost as much for ever.
    most_bytes: usize,
}

impl SpareBuffers {
    /// Keeps as many buffers as one upload has at a time: several share them, since few of their parts are done at the same moment.
    pub(super) fn of_parts(buffers: &UploadBuffers) -> SpareBuffers {
        // Each part may be the rest of a buffer, and one that was handed over.
        let most = 2 * buffers.parts_in_flight.saturating_add(1);
        SpareBuffers::keeping(most, buffers.part_bytes.max(USUAL_BYTES))
    }

    /// Keeps buffers of ranges, which are of this size unless one block is larger.
    pub(super) fn of_ranges(range_bytes: u64) -> SpareBuffers {
        let range_bytes = usize::try_from(range_bytes).unwrap_or(usize::MAX).max(1);
        let most = (IDLE_RANGE_BYTES / range_bytes).max(1);
        SpareBuffers::keeping(most, range_bytes.saturating_mul(2))
    }

    fn keeping(most: usize, most_bytes: usize) -> SpareBuffers {
        SpareBuffers(Arc::new(Idle {
            buffers: Mutex::default(),
            most,
            most_bytes,
        }))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0
            .buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an empty buffer, which has room for `bytes` if one of them has.
    pub(super) fn take(&self, bytes: usize) -> Vec<u8> {
        let mut idle = self.idle();
        let has_room = |buffer: &Vec<u8>| buffer.capacity() >= bytes;
        let mut buffer = match idle.iter().rposition(has_room) {
            Some(found) => idle.remove(found),
            None => idle.pop().unwrap_or_default(),
        };
        buffer.clear();
        buffer
    }

    /// Returns a buffer of this length, with any content. One that would leave more than a fifth of itself unused stays for others: whoever keeps
    /// what was read counts its bytes.
    pub(super) fn take_filled(&self, bytes: usize) -> Vec<u8> {
        let mut idle = self.idle();
        let fits = |buffer: &Vec<u8>| {
            let unused = buffer.capacity().checked_sub(bytes);
            unused.is_some_and(|unused| unused <= buffer.capacity() / 5)
        };
        let found = idle.iter().rposition(fits);
        let found = found.map(|found| idle.remove(found));
        drop(idle);
        match found {
            Some(mut buffer) => {
                buffer.resize(bytes, 0);
                buffer
            }
            None => vec![0; bytes],
        }
    }

    /// Keeps a buffer. Where there are enough, the oldest one goes: nobody wants its size any more.
    fn give(&self, buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > self.0.most_bytes {
            return;
        }
        let mut idle = self.idle();
        let oldest = (idle.len() >= self.0.most).then(|| idle.remove(0));
        idle.push(buffer);
        drop(idle);
        drop(oldest);
    }

    /// Returns these bytes, whose buffer comes back once they are dropped.
    pub(super) fn lend(&self, bytes: Vec<u8>) -> LentBuffer {
        LentBuffer {
            bytes,
            spare: self.clone(),
        }
    }
}

/// Bytes whose buffer is used again once nobody needs them.
pub(super) struct LentBuffer {
    bytes: Vec<u8>,
    spare: SpareBuffers,
}

impl AsRef<[u8]> for LentBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for LentBuffer {
    fn drop(&mut self) {
        self.spare.give(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare() -> SpareBuffers {
        SpareBuffers::of_parts(&UploadBuffers {
            whole_below: 0,
            part_bytes: 1000,
            parts_in_flight: 1,
            any_part_size: true,
        })
    }

    #[test]
    fn a_buffer_comes_back_with_its_part_to_whoever_shares_them() {
        let spare = spare();
        let at = {
            let part = spare.clone().lend(vec![7; 500]);
            part.as_ref().as_ptr()
        };
        drop(spare.lend(vec![7; 100]));
        let large = spare.take(300);
        assert_eq!((large.as_ptr(), large.len()), (at, 0));
        assert!(spare.take(300).capacity() < 300, "the only other one");
        assert_eq!(spare.take(300).capacity(), 0);
    }

    #[test]
    fn a_range_gets_a_buffer_of_about_its_size_or_a_new_one() {
        let spare = SpareBuffers::of_ranges(1000);
        let give = |bytes: Vec<u8>| {
            let at = bytes.as_ptr();
            drop(spare.lend(bytes));
            at
        };
        let at = give(vec![7; 1000]);
        let new = spare.take_filled(799);
        assert_ne!(new.as_ptr(), at, "more than a fifth would be unused");
        assert_eq!((new.len(), new.capacity()), (799, 799));
        let larger = spare.take_filled(1001);
        assert_ne!(larger.as_ptr(), at, "it is too small");
        let again = spare.take_filled(800);
        assert_eq!((again.as_ptr(), again.len()), (at, 800));
        give(again);
        let whole = spare.take_filled(1000);
        assert_eq!((whole.as_ptr(), whole.len()), (at, 1000));
    }

    #[test]
    fn the_latest_buffers_of_ranges_are_kept() {
        let spare = SpareBuffers::of_ranges(IDLE_RANGE_BYTES as u64 / 3);
        for size in 1..=5 {
            drop(spare.lend(vec![7; size]));
        }
        drop(spare.lend(vec![7; IDLE_RANGE_BYTES]));
        let sizes: Vec<usize> = spare.idle().iter().map(Vec::len).collect();
        assert_eq!(sizes, [3, 4, 5]);
    }

    #[test]
    fn neither_many_buffers_nor_huge_ones_are_kept() {
        let spare = spare();
        drop(spare.lend(Vec::with_capacity(USUAL_BYTES + 1)));
        assert!(spare.idle().is_empty());
        let parts: Vec<LentBuffer> = (0..9).map(|_| spare.lend(vec![7; 10])).collect();
        drop(parts);
        assert_eq!(spare.idle().len(), 4);
    }
}
