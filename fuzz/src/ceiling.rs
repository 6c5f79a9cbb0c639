//! An allocator that gives no more than an input can be worth, so that a small file cannot ask for much memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What may be there for any input: the columns of a block whose records are all alike, in SPEC's limits, in buffers
/// that have grown by doubling, and twice where META is read for fewer streams first.
const FOR_ANY: usize = 256 << 20;
/// And for each byte of it: zstd's largest ratio.
const FOR_A_BYTE: usize = 32 << 10;
/// And never more than the raw bytes of a block by SPEC section 6 on top.
const AT_MOST: usize = FOR_ANY + (256 << 20);

struct Ceiling;

#[global_allocator]
static ALLOCATOR: Ceiling = Ceiling;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Runs `read` on `data`. The process aborts, and so the input is kept, if it holds more memory than that may take.
pub fn with_ceiling(data: &[u8], read: impl FnOnce()) {
    let more = data
        .len()
        .saturating_mul(FOR_A_BYTE)
        .saturating_add(FOR_ANY)
        .min(AT_MOST);
    LIMIT.store(LIVE.load(Relaxed) + more, Relaxed);
    read();
    LIMIT.store(usize::MAX, Relaxed);
}

/// Whether `size` more bytes may be had; they are counted then.
fn take(size: usize) -> bool {
    let live = LIVE.fetch_add(size, Relaxed) + size;
    let granted = live <= LIMIT.load(Relaxed);
    if !granted {
        LIVE.fetch_sub(size, Relaxed);
    }
    granted
}

// SAFETY: what is granted is handed on unchanged; null is the answer of an allocator that has no memory.
unsafe impl GlobalAlloc for Ceiling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are the callee's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are the callee's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !take(size) {
            return std::ptr::null_mut();
        }
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are the callee's.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are the callee's.
        unsafe { System.dealloc(block, layout) }
    }
}
