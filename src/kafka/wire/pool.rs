//! Buffers for frames, used again once nothing refers to their bytes any more.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers of one or more connections. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct FramePool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    idle: Mutex<Vec<Vec<u8>>>,
    /// How many idle buffers are kept.
    most_idle: usize,
    /// Larger buffers are freed: a batch of 100 MB must not cost as much for ever.
    most_bytes: usize,
}

/// A buffer that returns to its pool when it is dropped.
#[derive(Debug)]
pub(super) struct FrameBuffer {
    bytes: Vec<u8>,
    pool: Arc<Inner>,
}

impl FramePool {
    pub(super) fn new(most_idle: usize, most_bytes: usize) -> FramePool {
        FramePool(Arc::new(Inner {
            idle: Mutex::default(),
            most_idle,
            most_bytes,
        }))
    }

    /// Returns an empty buffer, with the capacity of an earlier frame where one is idle.
    pub(super) fn take(&self) -> FrameBuffer {
        let idle = self
            .0
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        FrameBuffer {
            bytes: idle.unwrap_or_default(),
            pool: Arc::clone(&self.0),
        }
    }
}

impl FrameBuffer {
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Shares the bytes, of which slices cost no copies. The buffer returns to its pool with the last of them.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for FrameBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for FrameBuffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() == 0 || bytes.capacity() > self.pool.most_bytes {
            return;
        }
        bytes.clear();
        let mut idle = self
            .pool
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.pool.most_idle {
            idle.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &FramePool, bytes: usize) -> Bytes {
        let mut buffer = pool.take();
        buffer.bytes_mut().resize(bytes, 7);
        buffer.freeze()
    }

    #[test]
    fn a_buffer_is_used_again_after_its_last_slice() {
        let pool = FramePool::new(2, 1000);
        let frame = filled(&pool, 100);
        let (at, slice) = (frame.as_ptr(), frame.slice(10..20));
        drop(frame);
        assert_ne!(filled(&pool, 50).as_ptr(), at, "a slice is still alive");
        assert_eq!(slice, [7; 10][..]);
        drop(slice);
        let buffers = [pool.take(), pool.take()];
        assert!(buffers.iter().any(|buffer| buffer.bytes.as_ptr() == at));
        assert!(buffers.iter().all(|buffer| buffer.bytes.is_empty()));
    }

    #[test]
    fn neither_many_buffers_nor_large_ones_are_kept() {
        let pool = FramePool::new(2, 1000);
        drop(filled(&pool, 1001));
        assert!(pool.0.idle.lock().unwrap().is_empty());
        let frames = [(); 5].map(|()| filled(&pool, 10));
        drop(frames);
        let idle = pool.0.idle.lock().unwrap();
        assert_eq!(idle.len(), 2);
        assert!(idle.iter().all(|buffer| buffer.capacity() <= 1000));
    }
}
