//! Buffers of parts that a store has, to be filled again: by any upload to it.

use std::sync::{Arc, Mutex, PoisonError};

use super::upload::UploadBuffers;

/// Buffers up to this size are kept in any case: no block is usually larger.
const USUAL_BYTES: usize = 8 << 20;

/// The idle buffers of a store. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct SpareBuffers {
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
    /// How many are kept.
    most: usize,
    /// Larger ones are freed: a batch of 100 MB must not cost as much for ever.
    most_bytes: usize,
}

impl SpareBuffers {
    /// Keeps as many buffers as one upload has at a time: several share them, since few of their parts are done at the same moment.
    pub(super) fn new(buffers: &UploadBuffers) -> SpareBuffers {
        SpareBuffers {
            idle: Arc::default(),
            // Each part may be the rest of a buffer, and one that was handed over.
            most: 2 * buffers.parts_in_flight.saturating_add(1),
            most_bytes: buffers.part_bytes.max(USUAL_BYTES),
        }
    }

    /// Returns an empty buffer, which has room for `bytes` if one of them has.
    pub(super) fn take(&self, bytes: usize) -> Vec<u8> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = |buffer: &Vec<u8>| buffer.capacity() >= bytes;
        match idle.iter().rposition(has_room) {
            Some(found) => idle.swap_remove(found),
            None => idle.pop().unwrap_or_default(),
        }
    }

    fn give(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > self.most_bytes {
            return;
        }
        buffer.clear();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.most {
            idle.push(buffer);
        }
    }

    /// Returns the bytes of a part, whose buffer comes back once they are dropped.
    pub(super) fn part(&self, bytes: Vec<u8>) -> PartBuffer {
        PartBuffer {
            bytes,
            spare: self.clone(),
        }
    }
}

/// The bytes of a part, whose buffer is used again once the store has them.
pub(super) struct PartBuffer {
    bytes: Vec<u8>,
    spare: SpareBuffers,
}

impl AsRef<[u8]> for PartBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PartBuffer {
    fn drop(&mut self) {
        self.spare.give(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare() -> SpareBuffers {
        SpareBuffers::new(&UploadBuffers {
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
            let part = spare.clone().part(vec![7; 500]);
            part.as_ref().as_ptr()
        };
        drop(spare.part(vec![7; 100]));
        let large = spare.take(300);
        assert_eq!((large.as_ptr(), large.len()), (at, 0));
        assert!(spare.take(300).capacity() < 300, "the only other one");
        assert_eq!(spare.take(300).capacity(), 0);
    }

    #[test]
    fn neither_many_buffers_nor_huge_ones_are_kept() {
        let spare = spare();
        drop(spare.part(Vec::with_capacity(USUAL_BYTES + 1)));
        assert!(spare.idle.lock().unwrap().is_empty());
        let parts: Vec<PartBuffer> = (0..9).map(|_| spare.part(vec![7; 10])).collect();
        drop(parts);
        assert_eq!(spare.idle.lock().unwrap().len(), 4);
    }
}
